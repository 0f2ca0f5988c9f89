"""What is answered where the request arrives is what a handler would have answered."""

import asyncio
import base64
import json
import re
from typing import Any

import pytest

from gateway.web.context import GATEWAY
from gateway.web.whole import Whole
from tests.clients import ROOT, store
from tests.connection import connected
from tests.factories import dicom_file
from tests.unit.jobs.engines import Works

STUDY = "9.1"
_CHANGING = re.compile(rb'"Timestamp": ?"[0-9T.]+"')
_OF_EACH = ("date", "x-request-id", "connection")


@pytest.fixture
async def filled(handled: list[str], start: Any) -> Any:
    """A gateway with an instance."""
    client = await start()
    await store(client, dicom_file(StudyInstanceUID=STUDY))
    return client


@pytest.fixture
async def job(handled: list[str], start: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A gateway, and the path of a job that it was told to do and did."""
    works = Works()
    monkeypatch.setattr("gateway.parts.works", lambda *parts: works.table())
    works.free.set()
    client = await start()
    engine = client.server.app[GATEWAY].jobs
    job = await engine.submit("hold", {})
    await engine.wait(job.id, seconds=10, finished=True)
    return client, f"/jobs/{job.id}"


async def both(client: Any, path: str, **headers: str) -> tuple[Any, Any]:
    """What is answered on a connection that stays, and on one that ends."""
    answers = []
    for more in ({}, {"Connection": "close"}):
        lines = {"Host": "localhost", **headers, **more}
        async with connected(client) as connection:
            for _ in range(2):  # the connection is new the first time, and then idle
                head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
                await connection.send(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
                found = await connection.answer()
                if more:
                    break
        named = {k: v for k, v in found.headers.items() if k not in _OF_EACH}
        assert set(_OF_EACH[:2]) < set(found.headers)
        answers.append((found.status, named, _CHANGING.sub(b"", found.body)))
    return answers[0], answers[1]


@pytest.mark.parametrize(
    "path",
    [
        "/system",
        "/health/live",
        f"{ROOT}/studies",
        f"{ROOT}/studies/{STUDY}/series?limit=1",
        f"{ROOT}/instances?PatientName=%2A",
        f"{ROOT}/studies/{STUDY}/metadata",
    ],
)
async def test_the_answer_is_the_same_either_way(
    filled: Any, handled: list[str], path: str
) -> None:
    assert (await filled.get(path)).status == 200
    handled.clear()
    quick, other = await both(filled, path, Accept="*/*")
    assert quick[0] == 200
    assert quick == other
    assert handled.count(path) < 3
    tag = quick[1].get("etag")
    if tag is not None:
        quick, other = await both(filled, path, Accept="*/*", **{"If-None-Match": tag})
        assert (quick[0], quick[2]) == (304, b"")
        assert quick == other


async def test_a_job_is_the_same_either_way(job: Any, handled: list[str]) -> None:
    client, path = job
    first = await client.get(path)
    await first.read()
    handled.clear()
    assert (await client.get(path)).status == 200
    assert handled == []
    quick, other = await both(client, path)
    assert quick == other
    same = {"If-None-Match": first.headers["ETag"]}
    quick, other = await both(client, path, **same)
    assert quick[0] == 304
    assert quick == other
    quick, other = await both(client, f"{path}0")
    assert quick[0] == 404
    assert quick == other


@pytest.mark.parametrize(
    ("line", "headers", "status"),
    [
        ("HEAD /system HTTP/1.1", "", 200),
        ("GET /system HTTP/1.0", "", 200),
        ("GET /system?_method=DELETE HTTP/1.1", "", 405),
        ("GET /system?%5Fmethod=PUT HTTP/1.1", "", 405),
        ("GET /system HTTP/1.1", "X-HTTP-Method-Override: DELETE\r\n", 405),
        ("GET /system HTTP/1.1", "Expect: the-unexpected\r\n", 417),
        ("GET /system HTTP/1.1", "Host: evil.example\r\n", 421),
        ("GET /system HTTP/1.1", "Content-Length: 2\r\n", 200),
        ("GET /nothing HTTP/1.1", "", 404),
        ("POST /system HTTP/1.1", "Content-Length: 0\r\n", 405),
    ],
)
async def test_what_is_unusual_goes_to_the_handlers(
    filled: Any, handled: list[str], line: str, headers: str, status: int
) -> None:
    async with connected(filled) as connection:
        await connection.send(b"GET /system HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await connection.answer()).status == 200
        handled.clear()
        host = "" if "Host" in headers else "Host: localhost\r\n"
        body = "{}" if "Content-Length: 2" in headers else ""
        await connection.send(f"{line}\r\n{host}{headers}\r\n{body}".encode())
        told, _ = await connection.head()
        assert told == status
    assert len(handled) == 1


async def test_nobody_gets_past_the_door(handled: list[str], start: Any) -> None:
    client = await start(
        AuthenticationEnabled=True, RegisteredUsers={"alice": "secret"}
    )
    known = base64.b64encode(b"alice:secret").decode()
    async with connected(client) as connection:
        for line, status in (
            ("", 401),
            ("Authorization: Basic YWxpY2U6\r\n", 401),
            (f"Authorization: Basic {known}\r\n", 200),
            ("", 401),
        ):
            text = f"GET /system HTTP/1.1\r\nHost: localhost\r\n{line}\r\n"
            await connection.send(text.encode())
            found = await connection.answer()
            assert found.status == status
            assert (b"ApiVersion" in found.body) == (status == 200)
    assert len(handled) == 3


async def test_answers_come_in_the_order_of_the_requests(
    job: Any, handled: list[str]
) -> None:
    client, path = job
    line = b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with connected(client) as connection:
        await connection.send(b"GET /system" + line)
        assert b"ApiVersion" in (await connection.answer()).body
        # One that reads the disk, and before it has ended one that nothing waits for.
        await connection.send(b"GET /statistics" + line)
        await connection.send(b"GET " + path.encode() + line)
        await connection.send((b"GET /system" + line) * 3 + b"GET /health/live" + line)
        bodies = [(await connection.answer()).body for _ in range(6)]
    assert b"CountInstances" in bodies[0]
    assert path[6:].encode() in bodies[1]
    assert all(b"ApiVersion" in body for body in bodies[2:5])
    assert b"ok" in bodies[5]


async def test_a_request_that_comes_in_pieces_is_answered(filled: Any) -> None:
    text = b"GET /system HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with connected(filled) as connection:
        for start in range(0, len(text), 11):
            await connection.send(text[start : start + 11])
            await asyncio.sleep(0.002)
        assert b"ApiVersion" in (await connection.answer()).body


async def test_each_is_counted_and_has_an_id(filled: Any) -> None:
    given = {"X-Request-Id": "mine-1"}
    assert (await filled.get("/health/live", headers=given)).headers[
        "X-Request-Id"
    ] == "mine-1"
    ids = {(await filled.get("/health/live")).headers["X-Request-Id"] for _ in range(3)}
    assert len(ids) == 3
    text = await (await filled.get("/metrics")).text()
    labels = 'method="GET",route="/health/live",status="200"'
    assert f"dicomweb_gateway_requests_total{{{labels}}} 4.0" in text
    sent = re.search(r'sent_bytes_total\{[^}]*"/health/live"\} ([0-9.]+)', text)
    body = await (await filled.get("/health/live")).read()
    assert json.loads(body) == {"Status": "ok"}
    assert sent is not None
    assert float(sent[1]) == 4 * len(body)


async def test_a_connection_that_is_used_stays(start: Any) -> None:
    client = await start()
    client.server.runner.server._kwargs["keepalive_timeout"] = 1.0
    async with connected(client) as connection:
        for _ in range(6):
            await connection.send(b"GET /system HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await connection.answer()).status == 200
            await asyncio.sleep(0.25)
        async with asyncio.timeout(5):
            assert await connection.reader.read() == b""


def test_no_header_ends_before_its_time() -> None:
    for value in ("a\r\nSet-Cookie: b", "a\nb", "a\rb"):
        with pytest.raises(ValueError, match="header"):
            Whole.of(200, {"Warning": value})


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /system HTTP/1.1\r\n\r\n",
        b"get /system HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /system HTTP/1.1\r\nHost: localhost\r\nX: " + bytes(9) + b"\r\n\r\n",
    ],
)
async def test_what_is_no_http_gets_an_answer_with_an_id(
    filled: Any, sent: bytes
) -> None:
    async with connected(filled) as connection:
        await connection.send(sent)
        status, headers = await connection.head()
    assert status == 400
    assert headers["x-request-id"]
