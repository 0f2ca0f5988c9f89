"""Logs: each line says which request it is about, in text or JSON, as loud as asked for."""

import asyncio
import json
import logging
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import BadRequest
from gateway.telemetry.board import Board
from gateway.telemetry.exchange import CURRENT, Exchange
from gateway.telemetry.logs import (
    LEVELS,
    JsonLines,
    TextLines,
    Volume,
    access,
    set_level,
)
from tests.clients import ROOT
from tests.factories import content_type, dicom_file, multipart
from tests.settings import settings
from tests.starting import Server, announced, ask, get

ID = "X-Request-Id"


@pytest.fixture(autouse=True)
def level_as_before() -> Iterator[None]:
    """The log of the tests is as loud as it was."""
    before = logging.getLogger().level, access.level
    yield
    logging.getLogger().setLevel(before[0])
    access.setLevel(before[1])


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if holds():
            return
        time.sleep(0.02)
    raise AssertionError("it never came true")


# -- ids of requests ---------------------------------------------------------------------


async def test_each_answer_names_its_request(client: Any) -> None:
    found = set()
    for path in ("/system", "/nowhere", f"{ROOT}/studies", "/health/live"):
        response = await client.get(path)
        found.add(response.headers[ID])
    assert len(found) == 4
    assert all(re.fullmatch("[0-9a-f]{12,24}", one) for one in found)


async def test_an_id_that_a_client_gives_is_kept(client: Any) -> None:
    for given in ("abc-123", "a" * 128, "Root=1-67891233-abcdef:_./+@"):
        response = await client.get("/system", headers={ID: given})
        assert response.headers[ID] == given


@pytest.mark.parametrize("given", ["", "a b", "a" * 129, "é", 'x"y', "<script>", "a,b"])
async def test_an_id_that_could_do_harm_is_replaced(client: Any, given: str) -> None:
    response = await client.get("/system", headers={ID: given})
    assert re.fullmatch("[0-9a-f]{12,24}", response.headers[ID])


async def test_requests_at_the_same_time_keep_their_ids(client: Any) -> None:
    async def one(number: int) -> bool:
        name = f"number-{number}"
        response = await client.get(f"{ROOT}/studies", headers={ID: name})
        return bool(response.headers[ID] == name)

    assert all(await asyncio.gather(*map(one, range(40))))


async def test_who_is_not_let_in_gets_an_id_too(start: Any) -> None:
    client = await start(AuthenticationEnabled=True, RegisteredUsers={"a": "b"})
    response = await client.get("/system", headers={ID: "mine"})
    assert (response.status, response.headers[ID]) == (401, "mine")


# -- lines -------------------------------------------------------------------------------


def record(message: str, **more: Any) -> logging.LogRecord:
    made = logging.LogRecord("gateway.x", logging.INFO, "", 1, message, None, None)
    made.__dict__.update(more)
    return made


def test_a_line_of_text_ends_with_the_id_of_its_request() -> None:
    token = CURRENT.set(Exchange("the-id"))
    try:
        line = TextLines().format(record("hello"))
    finally:
        CURRENT.reset(token)
    assert line.endswith("INFO gateway.x: hello [the-id]")
    assert TextLines().format(record("hello")).endswith("gateway.x: hello")


def test_a_line_of_json_is_an_object_on_one_line() -> None:
    token = CURRENT.set(Exchange("the-id"))
    try:
        raise ValueError("two\nlines")
    except ValueError:
        made = record("a\nb", exc_info=sys.exc_info(), fields={"status": 200})
        line = JsonLines().format(made)
    finally:
        CURRENT.reset(token)
    assert "\n" not in line
    found = json.loads(line)
    assert found["message"] == "a\nb"
    assert found["level"] == "info"
    assert found["logger"] == "gateway.x"
    assert found["request_id"] == "the-id"
    assert found["status"] == 200
    assert "ValueError: two\nlines" in found["exception"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found["time"])


def test_what_json_cannot_hold_does_not_lose_the_line() -> None:
    line = JsonLines().format(record("x", fields={"path": Path("/a"), "n": 2**70}))
    assert json.loads(line)["path"] == "/a"
    line = JsonLines().format(record("a\udcffb"))
    assert line.isascii()
    assert json.loads(line)["message"] == "a\udcffb"


# -- how loud ----------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_lets_through_what_follows_it(level: str) -> None:
    set_level(level)
    ours = logging.getLogger("gateway.anything")
    wanted = {"verbose": "info"}.get(level, level).upper()
    assert logging.getLevelName(ours.getEffectiveLevel()) == wanted
    assert access.isEnabledFor(logging.DEBUG) is (level in ("debug", "verbose"))


def test_what_one_process_says_the_others_obey() -> None:
    board = Board(8, 2)
    one, other = Volume(board, "warning"), Volume(board, "warning")
    assert (one.word, one.level) == ("default", "warning")
    one.turn("trace")
    assert (other.word, other.level) == ("trace", "debug")
    set_level("error")
    assert not other.tells_requests
    other.obey()
    assert other.tells_requests
    assert logging.getLogger().level == logging.DEBUG
    other.turn("verbose")
    assert (one.word, one.level) == ("verbose", "verbose")
    one.turn("default")
    assert other.level == "warning"
    one.configure("error")
    assert (other.word, other.level) == ("default", "error")
    # Who comes later obeys as well.
    late = Volume(board, "warning")
    late.obey()
    assert logging.getLogger().level == logging.ERROR


def test_a_word_that_nobody_knows_is_refused() -> None:
    with pytest.raises(BadRequest, match="default, verbose, trace"):
        Volume(Board(8), "info").turn("loud")


async def test_the_level_is_read_and_set_as_in_orthanc(client: Any) -> None:
    for word in ("verbose", "trace", "default"):
        response = await client.put("/tools/log-level", data=word)
        assert response.status == 200
        response = await client.get("/tools/log-level")
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert await response.text() == word


@pytest.mark.parametrize("body", ["", "loud", "TRACE", "x" * 1000, "\xff"])
async def test_another_word_changes_nothing(client: Any, body: str) -> None:
    response = await client.put("/tools/log-level", data=body)
    assert response.status == 400
    assert await (await client.get("/tools/log-level")).text() == "default"


async def test_a_page_of_another_site_does_not_change_it(client: Any) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    response = await client.put("/tools/log-level", data="trace", headers=headers)
    assert response.status == 403


# -- a server with several processes -----------------------------------------------------


def at(server: Server, path: str) -> str:
    return f"http://127.0.0.1:{server.port}{path}"


def lines_of(server: Server, message: str) -> list[dict[str, Any]]:
    """The objects of the log whose message has these words."""
    found = [json.loads(line) for line in server.said().splitlines()[1:] if line]
    return [one for one in found if message in one["message"]]


def test_all_workers_become_louder_and_tell_no_name(tmp_path: Path) -> None:
    settings(tmp_path, {"LogFormat": "json"})
    with announced(tmp_path, "--workers", "3") as server:
        first = json.loads(server.said().splitlines()[0])
        assert first["level"] == "info"
        assert first["message"].startswith("dicomweb-gateway ")

        def lines() -> list[dict[str, Any]]:
            return lines_of(server, "GET /dicom-web/studies ")

        for _ in range(5):
            get(at(server, f"{ROOT}/studies?PatientName=DOE"))
        assert lines() == []
        assert ask("PUT", at(server, "/tools/log-level"), b"verbose").status == 200
        for _ in range(10):  # whichever worker is asked
            assert get(at(server, "/tools/log-level")).body == b"verbose"

        def all_tell() -> bool:
            get(at(server, f"{ROOT}/studies?PatientName=DOE"))
            return len({line["process"] for line in lines()}) == 3

        eventually(all_tell)
        [line] = [one for one in lines() if one == lines()[-1]]
        assert line["route"] == f"{ROOT}/studies"
        assert line["status"] == 200
        assert line["bytes"] == 2
        assert 0 < line["milliseconds"] < 5000
        assert line["request_id"]
        file = dicom_file(PatientName="Doe^John", PatientID="secret-4711")
        ask(
            "POST",
            at(server, f"{ROOT}/studies"),
            multipart(file),
            {"Content-Type": content_type()},
        )
        get(at(server, "/nowhere/Doe^John"))
        eventually(lambda: bool(lines_of(server, "(none) 404")))
        assert "doe" not in server.said().lower()
        assert "4711" not in server.said()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_hang_up_reads_the_level_again(tmp_path: Path, workers: int) -> None:
    settings(tmp_path)
    with announced(tmp_path, "--workers", str(workers)) as server:
        get(at(server, "/system"))
        settings(tmp_path, {"LogLevel": "verbose"})
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: "LogLevel was read again: verbose" in server.said())

        def tells() -> bool:
            get(at(server, "/system"))
            return "gateway.access: GET /system 200" in server.said()

        eventually(tells)
        (tmp_path / "gateway.json").write_text('{"LogLevel": "loud"}')
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: "everything stays as it is" in server.said())
        assert get(at(server, "/system")).status == 200
        assert len(server.workers()) == (0 if workers == 1 else 2)
        assert server.stop() == 0
