"""The registry: who is known, what survives, and which client speaks to whom."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import BadConfiguration, BadRequest, UnknownServer
from gateway.remote.outgoing import Outgoing
from gateway.remote.servers import Servers
from gateway.storage.database import SqliteDatabase
from gateway.storage.documents import Documents
from gateway.storage.migrations import migrate
from gateway.storage.stamp import Stamp

CONFIGURED = {"b": {"Url": "http://b/"}, "a": {"Url": "http://a/", "Timeout": 5}}

Open = Callable[..., Any]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Open]:
    """Open a registry as one of the processes that share a folder does."""
    async with AsyncExitStack() as stack:

        async def begin(
            configured: Any = CONFIGURED,
            *,
            in_database: bool = False,
            alone: bool = True,
        ) -> Servers:
            path = tmp_path / "gateway.db"
            database = await stack.enter_async_context(SqliteDatabase(path))
            await database.write(migrate)
            stamp = await stack.enter_async_context(Stamp(tmp_path))
            kept = Documents(database, stamp, "servers")
            servers = Servers(kept, configured, in_database, alone, Outgoing())
            return await stack.enter_async_context(servers)

        yield begin


async def test_the_configured_ones_are_known_by_name(opened: Open) -> None:
    servers = await opened()
    assert await servers.names() == ["a", "b"]
    assert list(await servers.all()) == ["a", "b"]
    assert (await servers.get("a")).timeout == 5
    for unknown in (servers.get, servers.client, servers.delete):
        with pytest.raises(UnknownServer, match="Inexistent server: c"):
            await unknown("c")


async def test_a_change_is_seen_by_the_other_processes(opened: Open) -> None:
    one = await opened()
    other = await opened(alone=False)
    await one.put("c", ["http://c/", "alice", "secret"])
    assert (await other.get("c")).password == "secret"
    await other.put("c", ["http://new/"])
    assert (await one.get("c")).url == "http://new/"
    await other.delete("c")
    assert await one.names() == ["a", "b"]


async def test_without_the_database_a_start_forgets_changes(opened: Open) -> None:
    first = await opened()
    await first.put("c", ["http://c/"])
    await first.delete("a")
    assert await (await opened()).names() == ["a", "b"]


async def test_with_the_database_changes_survive_and_the_file_is_left_aside(
    opened: Open,
) -> None:
    first = await opened(in_database=True)
    assert await first.names() == []
    await first.put("c", ["http://c/"])
    assert await (await opened(in_database=True)).names() == ["c"]


async def test_a_wrong_definition_changes_nothing(opened: Open) -> None:
    servers = await opened()
    with pytest.raises(BadRequest, match="Url of the server a"):
        await servers.put("a", ["ftp://a/"])
    assert (await servers.get("a")).url == "http://a/"


async def test_what_cannot_be_used_is_told_at_the_start(tmp_path: Path) -> None:
    kept: Any = None
    with pytest.raises(BadConfiguration, match="name of a server"):
        Servers(kept, {"": {"Url": "http://a/"}}, False, True, Outgoing())
    with pytest.raises(BadConfiguration, match='"HttpProxy"'):
        Servers(kept, {}, False, True, Outgoing(http_proxy="nowhere"))


async def test_a_client_is_kept_while_its_server_stays_as_it_is(opened: Open) -> None:
    servers, other = await opened(), await opened(alone=False)
    client = await servers.client("a")
    await servers.put("b", ["http://new/"])
    assert await servers.client("a") is client
    await other.put("a", ["http://new/"])
    changed = await servers.client("a")
    assert changed is not client
    assert changed.server.url == "http://new/"
