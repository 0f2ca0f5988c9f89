"""What is waited for without a task keeps its turn, and is answered as by a handler."""

import asyncio
import base64
import gc
import json
import logging
import re
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.dicom.hierarchy import Level
from gateway.errors import Busy
from gateway.storage import pages
from gateway.storage.database import SqliteSession
from gateway.storage.pages import Page, Pages
from gateway.web.context import GATEWAY
from gateway.web.monitor import REQUESTS
from tests.clients import ROOT, store
from tests.connection import Connection, connected, head
from tests.factories import dicom_file

STUDY = "9.1"
SEARCH = f"{ROOT}/studies?StudyInstanceUID={STUDY}"
_LABELS = 'method="GET",route="/dicom-web/studies",status="{}"'


class Gate:
    """Holds back what a thread looks for."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.waiting = threading.Semaphore(0)
        self.error: Exception | None = None
        self.found: list[bytes] | None = None

    async def until_asked(self) -> None:
        """Return once somebody waits for it to open."""
        assert await asyncio.to_thread(self.waiting.acquire, timeout=10)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """What each search that is begun without a task goes through."""
    gate = Gate()
    find = Pages.find

    def held(pages: Pages, session: Any, wanted: Any) -> Page | None:
        gate.waiting.release()
        assert gate.open.wait(10)
        if gate.error is not None:
            raise gate.error
        page = find(pages, session, wanted)
        if gate.found is None or page is None:
            return page
        return Page(page.state, gate.found)

    monkeypatch.setattr(Pages, "find", held)
    yield gate
    gate.open.set()


@pytest.fixture
async def filled(gate: Gate, handled: list[str], start: Any) -> Any:
    """A gateway with an instance."""
    client = await start()
    await store(client, dicom_file(StudyInstanceUID=STUDY))
    handled.clear()
    return client


async def awake(connection: Connection) -> None:
    """Return once aiohttp's task for a new connection has begun to wait."""
    await connection.send(head("GET", "/system"))
    assert (await connection.answer()).status == 200


async def until(true: Any) -> None:
    """Return once something is so."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)


async def counted(client: Any, status: int) -> float:
    """How many searches for studies were answered so."""
    text = await (await client.get("/metrics")).text()
    labels = re.escape(_LABELS.format(status))
    found = re.search(rf"requests_total\{{{labels}\}} ([0-9.]+)", text)
    return float(found[1]) if found else 0.0


async def searching(connection: Connection, gate: Gate) -> None:
    """Let a search be under way on the connection until the gate is opened."""
    await awake(connection)
    gate.open.clear()
    await connection.send(head("GET", SEARCH))
    await gate.until_asked()


@pytest.mark.parametrize(
    "path",
    [
        SEARCH,
        f"{ROOT}/studies?limit=1&includefield=all",
        f"{ROOT}/studies?PatientName=*&fuzzymatching=true",
        f"{ROOT}/studies?Timezone%4FffsetFromUTC=%2B0100&StudyDate=20200101",
        f"{ROOT}/studies/{STUDY}/series",
        f"{ROOT}/studies/9.9.9/series",
        f"{ROOT}/series?limit=1&offset=1",
        f"{ROOT}/studies/{STUDY}/instances?limit=3",
    ],
)
async def test_a_search_needs_no_handler_and_is_answered_as_by_one(
    filled: Any, handled: list[str], path: str
) -> None:
    answers = []
    for more in ({}, {"Connection": "close"}):
        filled.app[GATEWAY].answers._answers.clear()
        async with connected(filled) as connection:
            await awake(connection)
            handled.clear()
            await connection.send(head("GET", path, Accept="*/*", **more))
            answer = await connection.answer()
            assert handled == [path] * len(more)
        kept = {
            name: value
            for name, value in answer.headers.items()
            if name not in ("date", "x-request-id", "connection")
        }
        assert answer.headers["x-request-id"]
        answers.append((answer.status, kept, answer.body))
    assert answers[0] == answers[1]
    assert answers[0][0] == 200


async def test_what_is_known_already_is_not_sent_again(
    filled: Any, gate: Gate, handled: list[str]
) -> None:
    async with connected(filled) as connection:
        await awake(connection)
        await connection.send(head("GET", SEARCH))
        tag = (await connection.answer()).headers["etag"]
        filled.app[GATEWAY].answers._answers.clear()
        handled.clear()
        await connection.send(head("GET", SEARCH, If_None_Match=tag))
        again = await connection.answer()
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    assert handled == []


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("HEAD", SEARCH, {}, 200),
        ("GET", SEARCH, {"Connection": "close"}, 200),
        ("GET", SEARCH, {"Accept": "application/dicom+xml"}, 200),
        ("GET", SEARCH, {"Expect": "the-unexpected"}, 417),
        ("GET", SEARCH, {"X-HTTP-Method-Override": "DELETE"}, 405),
        ("GET", f"{ROOT}/studies?limit=x", {}, 400),
        ("GET", f"{ROOT}/studies?orderby=PatientWeight", {}, 400),
        ("GET", f"{ROOT}/studies/x/series", {}, 400),
        ("GET", f"{ROOT}/instances", {}, 200),
    ],
)
async def test_what_is_unusual_goes_to_the_handlers(
    filled: Any,
    handled: list[str],
    method: str,
    path: str,
    headers: dict[str, str],
    status: int,
) -> None:
    async with connected(filled) as connection:
        await awake(connection)
        handled.clear()
        await connection.send(head(method, path, **headers))
        told, fields = await connection.head()
    assert told == status
    assert handled == [path]
    assert fields["x-request-id"]


async def test_an_old_client_is_answered_by_a_handler(
    filled: Any, handled: list[str]
) -> None:
    async with connected(filled) as connection:
        await awake(connection)
        handled.clear()
        await connection.send(f"GET {SEARCH} HTTP/1.0\r\n\r\n".encode())
        assert (await connection.head())[0] == 200
        await connection.reader.read()
    assert handled == [SEARCH]


async def test_nobody_gets_past_the_door(handled: list[str], start: Any) -> None:
    client = await start(
        AuthenticationEnabled=True, RegisteredUsers={"alice": "secret"}
    )
    known = {"Authorization": "Basic " + base64.b64encode(b"alice:secret").decode()}
    wrong = {"Authorization": "Basic " + base64.b64encode(b"alice:").decode()}
    async with connected(client) as connection:
        await connection.send(head("GET", "/health/live"))
        await connection.answer()
        handled.clear()
        for headers, status in (({}, 401), (known, 200), (wrong, 401), (known, 200)):
            await connection.send(head("GET", SEARCH, **headers))
            assert (await connection.answer()).status == status
    assert len(handled) == 2


async def test_answers_come_in_the_order_of_the_requests(
    filled: Any, gate: Gate
) -> None:
    async with connected(filled) as connection:
        await awake(connection)
        gate.open.clear()
        await connection.send(head("GET", f"{SEARCH}&offset=0"))
        await gate.until_asked()
        await connection.send(head("GET", "/system"))
        later = head("GET", "/health/live") + head("GET", f"{SEARCH}&limit=1")
        await connection.send(later + head("GET", "/system")[:20])
        await asyncio.sleep(0.05)
        assert not connection.reader._buffer  # nobody came before
        gate.open.set()
        await connection.send(head("GET", "/system")[20:])
        bodies = [(await connection.answer()).body for _ in range(5)]
        await connection.send(head("GET", SEARCH))
        last = await connection.answer()
    assert b"00081190" in bodies[0]
    assert b"ApiVersion" in bodies[1]
    assert json.loads(bodies[2]) == {"Status": "ok"}
    assert b"00081190" in bodies[3]
    assert b"ApiVersion" in bodies[4]
    assert last.body == bodies[0]


async def test_many_requests_behind_one_are_all_answered(
    filled: Any, gate: Gate
) -> None:
    async with connected(filled) as connection:
        await searching(connection, gate)
        for number in range(100):  # more than aiohttp takes before it stops reading
            await connection.send(
                head("GET", "/health/live", X_Request_Id=f"n{number}")
            )
        gate.open.set()
        assert b"00081190" in (await connection.answer()).body
        ids = [(await connection.answer()).headers["x-request-id"] for _ in range(100)]
    assert ids == [f"n{number}" for number in range(100)]


async def test_no_http_behind_a_search_is_refused_after_its_answer(
    filled: Any, gate: Gate
) -> None:
    async with connected(filled) as connection:
        await searching(connection, gate)
        await connection.send(b"\x00\x01 what\r\n\r\n")
        gate.open.set()
        assert (await connection.answer()).status == 200
        assert (await connection.head())[0] == 400


async def test_a_client_that_goes_away_costs_nothing(
    filled: Any, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    requests, server = filled.app[REQUESTS], filled.server.runner.server
    others = len(server.connections)
    gate.open.clear()
    async with connected(filled) as connection:
        await awake(connection)
        await connection.send(head("GET", SEARCH))
        await gate.until_asked()
        connection.vanish()
        await until(
            lambda: all(one.transport is None for one in server.connections[others:])
        )
    assert requests.under_way == 1
    gate.open.set()
    await until(lambda: not requests.under_way)
    await until(lambda: len(server.connections) == others)
    gc.collect()
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert await counted(filled, 200) == 1


async def test_so_does_one_whose_request_would_go_to_a_handler(
    filled: Any, gate: Gate, caplog: pytest.LogCaptureFixture, handled: list[str]
) -> None:
    gate.open.clear()
    gate.error = RuntimeError("nobody is told")
    requests, server = filled.app[REQUESTS], filled.server.runner.server
    others = len(server.connections)
    async with connected(filled) as connection:
        await awake(connection)
        handled.clear()
        await connection.send(head("GET", SEARCH))
        await gate.until_asked()
        connection.vanish()
        await until(
            lambda: all(one.transport is None for one in server.connections[others:])
        )
    gate.open.set()
    await until(lambda: not requests.under_way)
    await until(lambda: len(server.connections) == others)
    assert handled == []
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


async def test_who_stops_waits_for_it_and_ends_the_connection(
    filled: Any, gate: Gate
) -> None:
    async with connected(filled) as connection:
        await awake(connection)
        gate.open.clear()
        await connection.send(head("GET", SEARCH) + head("GET", SEARCH)[:9])
        await gate.until_asked()
        ending = asyncio.create_task(filled.app[REQUESTS].end(10))
        await asyncio.sleep(0.05)
        assert not ending.done()
        gate.open.set()
        answer = await connection.answer()
        assert await ending
        assert answer.status == 200
        assert answer.headers["connection"] == "close"
        assert await connection.ended()


async def test_a_shutdown_sends_what_is_under_way(filled: Any, gate: Gate) -> None:
    async with connected(filled) as connection:
        await searching(connection, gate)
        server = filled.server.runner.server
        server.pre_shutdown()
        ending = asyncio.create_task(server.shutdown(10))
        await asyncio.sleep(0.05)
        assert not ending.done()
        gate.open.set()
        await ending
        assert (await connection.answer()).status == 200
        assert await connection.ended()


async def test_a_shutdown_does_not_wait_for_ever(filled: Any, gate: Gate) -> None:
    async with connected(filled) as connection:
        await searching(connection, gate)
        server = filled.server.runner.server
        server.pre_shutdown()
        await server.shutdown(0.05)
        assert await connection.ended()
        gate.open.set()
        await until(lambda: not filled.app[REQUESTS].under_way)


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (RuntimeError("secret"), 500, "Internal error"),
        (Busy("the index is busy"), 503, "Database is not available"),
    ],
)
async def test_an_error_is_told_as_by_a_handler(
    filled: Any,
    gate: Gate,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    status: int,
    name: str,
) -> None:
    gate.error = error
    async with connected(filled) as connection:
        await awake(connection)
        await connection.send(head("GET", SEARCH, X_Request_Id="mine"))
        answer = await connection.answer()
        gate.error = None
        await connection.send(head("GET", SEARCH))
        assert (await connection.answer()).status == 200  # the connection goes on
    told = json.loads(answer.body)
    assert answer.status == told["HttpStatus"] == status
    assert told["OrthancError"] == name
    assert "secret" not in told["Message"]
    assert answer.headers["x-request-id"] == "mine"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert ("retry-after" in answer.headers) == (status == 503)
    logged = [one for one in caplog.records if one.exc_info]
    assert len(logged) == (status == 500)
    assert filled.app[REQUESTS].under_way == 0
    assert await counted(filled, status) == 1
    assert await counted(filled, 200) == 1


async def test_what_is_too_long_is_given_to_the_handler(
    filled: Any,
    handled: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.dicomweb.qido.LONGEST", 100)
    async with connected(filled) as connection:
        await awake(connection)
        handled.clear()
        await connection.send(head("GET", SEARCH, X_Request_Id="long") * 2)
        await connection.send(head("GET", "/system"))
        for _ in range(2):
            answer = await connection.answer()
            assert answer.status == 200
            assert len(json.loads(answer.body)) == 1
            assert answer.headers["x-request-id"] == "long"
        assert b"ApiVersion" in (await connection.answer()).body
    assert handled[0] == SEARCH
    assert filled.app[REQUESTS].under_way == 0
    assert await counted(filled, 200) == 2


async def test_a_connection_stays_while_its_answer_is_made(
    filled: Any, gate: Gate
) -> None:
    filled.server.runner.server._kwargs["keepalive_timeout"] = 0.2
    async with connected(filled) as connection:
        await searching(connection, gate)
        await asyncio.sleep(0.6)
        gate.open.set()
        assert (await connection.answer()).status == 200
        await connection.send(head("GET", SEARCH))
        assert (await connection.answer()).status == 200
        assert await connection.ended()  # once it rests for long


async def test_a_client_that_does_not_read_is_waited_for(
    filled: Any, gate: Gate
) -> None:
    gate.found = [b"1" * 200_000]
    server = filled.server.runner.server
    before = set(server.connections)
    async with connected(filled) as connection:
        sock = connection.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
        await awake(connection)
        (here,) = set(server.connections) - before
        connection.writer.transport.pause_reading()
        most = 0
        for number in range(60):
            await connection.send(head("GET", f"{SEARCH}&offset={number}"))
            await asyncio.sleep(0.005)
            most = max(most, here.transport.get_write_buffer_size())
        assert 0 < most < 1_000_000
        connection.writer.transport.resume_reading()
        for _ in range(60):
            assert len((await connection.answer()).body) in (2, 200_002)


async def test_without_a_place_it_is_for_the_handler(
    filled: Any, handled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = filled.app[GATEWAY].archive.database
    monkeypatch.setattr(database, "_places", asyncio.Semaphore(0))
    async with connected(filled) as connection:
        await awake(connection)
        handled.clear()
        await connection.send(head("GET", SEARCH))
        await until(lambda: handled)
        database._places.release()
        assert (await connection.answer()).status == 200
    assert database.reads == 0


async def test_each_is_counted_once_and_has_an_id(filled: Any) -> None:
    async with connected(filled) as connection:
        await awake(connection)
        ids = []
        size = 0
        for number in range(4):
            await connection.send(head("GET", f"{SEARCH}&limit={number + 1}"))
            answer = await connection.answer()
            ids.append(answer.headers["x-request-id"])
            size += len(answer.body)
        await connection.send(head("GET", f"{SEARCH}&limit=9", X_Request_Id="mine-1"))
        answer = await connection.answer()
        size += len(answer.body)
    assert len(set(ids)) == 4
    assert answer.headers["x-request-id"] == "mine-1"
    assert await counted(filled, 200) == 5
    text = await (await filled.get("/metrics")).text()
    sent = re.search(r'sent_bytes_total\{[^}]*"/dicom-web/studies"\} ([0-9.]+)', text)
    assert sent is not None
    assert float(sent[1]) == size
    assert filled.app[REQUESTS].under_way == 0
    assert filled.app[GATEWAY].archive.database.reads == 0


@pytest.mark.parametrize("place", ["before", "after"])
async def test_what_changes_while_a_search_is_made_is_in_its_answer_or_the_next(
    filled: Any, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """What is found of an older state is never taken for what is found of a newer one."""
    await store(filled, dicom_file(StudyInstanceUID="9.2"))
    archive, loop = filled.app[GATEWAY].archive, asyncio.get_running_loop()
    find, looked = pages._page, []

    def interrupted(*given: Any) -> Page | None:
        looked.append(place)
        page = find(*given) if place == "after" else None
        if len(looked) == 2:  # the state is known since the first
            going = archive.delete(Level.STUDY, "9.2")
            asyncio.run_coroutine_threadsafe(going, loop).result(10)
        return page if place == "after" else find(*given)

    monkeypatch.setattr(pages, "_page", interrupted)
    found = []
    async with connected(filled) as connection:
        await awake(connection)
        for path in ("studies?offset=0", "studies", "studies", "studies?offset=0"):
            await connection.send(head("GET", f"{ROOT}/{path}"))
            found.append(len(json.loads((await connection.answer()).body)))
    assert found == [2, 1, 1, 1]
    assert len(looked) == 4  # the second was done again, and is given again


async def test_what_is_known_costs_one_statement(
    filled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    execute = SqliteSession.fetch, SqliteSession.first, SqliteSession.iterate

    def noted(name: str, run: Any) -> None:
        def ran(session: Any, sql: str, parameters: Any = ()) -> Any:
            asked.append(sql)
            return run(session, sql, parameters)

        monkeypatch.setattr(SqliteSession, name, ran)

    for run in execute:
        noted(run.__name__, run)
    async with connected(filled) as connection:
        await awake(connection)
        await connection.send(head("GET", SEARCH))
        assert (await connection.answer()).status == 200
        asked.clear()
        await connection.send(head("GET", f"{ROOT}/studies/{STUDY}/series"))
        assert (await connection.answer()).status == 200
        assert len(asked) == 1
