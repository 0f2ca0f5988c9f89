"""Documents: what one process keeps, all have."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.storage.database import SqliteDatabase
from gateway.storage.documents import Documents
from gateway.storage.migrations import migrate
from gateway.storage.stamp import Stamp


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Documents]:
    path = folder / "gateway.db"
    async with SqliteDatabase(path) as database, Stamp(folder) as stamp:
        await database.write(migrate)
        yield Documents(database, stamp, "servers")


@pytest.fixture
async def documents(tmp_path: Path) -> AsyncIterator[Documents]:
    async with opened(tmp_path) as made:
        yield made


async def test_what_is_put_is_there_in_the_order_of_names(documents: Documents) -> None:
    assert await documents.all() == {}
    await documents.put("pacs", {"Url": "http://a/", "Timeout": 5})
    await documents.put("Archiv Süd", {"Url": "http://ä/"})
    await documents.put("pacs", {"Url": "http://b/"})
    found = await documents.all()
    assert list(found.items()) == [
        ("Archiv Süd", {"Url": "http://ä/"}),
        ("pacs", {"Url": "http://b/"}),
    ]


async def test_what_is_deleted_is_gone(documents: Documents) -> None:
    await documents.put("pacs", {})
    assert await documents.delete("pacs")
    assert not await documents.delete("pacs")
    assert await documents.all() == {}


async def test_another_process_sees_every_change(
    tmp_path: Path, documents: Documents
) -> None:
    async with opened(tmp_path) as other:
        for number in range(5):
            await other.put("pacs", {"n": number})
            assert await documents.all() == {"pacs": {"n": number}}
        await documents.delete("pacs")
        assert await other.all() == {}


async def test_unchanged_documents_cost_no_reading(
    documents: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    await documents.put("pacs", {"a": 1})
    found = await documents.all()

    async def read(work: Any) -> None:
        raise AssertionError("the database was read")

    monkeypatch.setattr(documents._database, "read", read)
    for _ in range(10):
        assert await documents.all() is found


async def test_a_change_that_is_undone_is_not_seen(documents: Documents) -> None:
    await documents.put("pacs", {"a": 1})
    stamp = documents._stamp
    stamp.set("servers", stamp.read("servers") + 1)
    assert await documents.all() == {"pacs": {"a": 1}}
    await documents.put("pacs", {"a": 2})  # gets the same version
    assert await documents.all() == {"pacs": {"a": 2}}


async def test_all_can_be_replaced_at_once(documents: Documents) -> None:
    await documents.put("old", {"a": 1})
    await documents.replace_all({"b": {"x": 1}, "a": {"y": 2}})
    assert list(await documents.all()) == ["a", "b"]
    version = documents._stamp.read("servers")
    await documents.replace_all({"a": {"y": 2}, "b": {"x": 1}})  # nothing to change
    assert documents._stamp.read("servers") == version
    await documents.replace_all({})
    assert await documents.all() == {}


async def test_kinds_do_not_see_each_other(
    tmp_path: Path, documents: Documents
) -> None:
    other = Documents(documents._database, documents._stamp, "jobs")
    await documents.put("x", {"of": "servers"})
    await other.put("x", {"of": "jobs"})
    await other.replace_all({})
    assert await documents.all() == {"x": {"of": "servers"}}


async def test_many_changes_at_once_all_count(documents: Documents) -> None:
    await asyncio.gather(*[documents.put(f"{n:02}", {"n": n}) for n in range(20)])
    assert await documents.all() == {f"{n:02}": {"n": n} for n in range(20)}
