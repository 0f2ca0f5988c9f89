"""Health: who spreads requests, and who starts processes again, learn what they need."""

import asyncio
import http.client
import json
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.app import MONITOR
from gateway.errors import BadConfiguration
from gateway.storage import blobs
from tests.clients import store
from tests.factories import dicom_file
from tests.settings import settings
from tests.starting import announced


async def complaints(client: Any) -> list[str]:
    response = await client.get("/health/ready")
    assert response.status == 503
    found: list[str] = (await response.json())["Complaints"]
    return found


async def test_all_is_well(client: Any) -> None:
    await store(client, dicom_file())
    for path in ("/health", "/health/live", "/health/ready"):
        response = await client.get(path)
        assert response.status == 200
        assert await response.json() == {"Status": "ok"}
        assert (await client.head(path)).status == 200


async def test_nobody_is_asked_for_a_password(start: Any) -> None:
    client = await start(AuthenticationEnabled=True, RegisteredUsers={"a": "b"})
    for path in ("/health", "/health/live", "/health/ready"):
        assert (await client.get(path)).status == 200
    assert (await client.put("/health/ready")).status == 401


async def test_too_little_room_is_a_reason_not_to_send_anything(start: Any) -> None:
    client = await start(MinimumFreeSpaceMB=10**9)
    assert await complaints(client) == ["too little room is left"]
    assert (await client.get("/health/live")).status == 200


async def test_a_folder_that_was_taken_away_is_noticed(
    client: Any, tmp_path: Path
) -> None:
    storage = tmp_path / "storage"
    await asyncio.to_thread((storage / "incoming").rename, tmp_path / "gone")
    assert await complaints(client) == [
        "the folder of the files is gone: is it mounted?"
    ]
    await asyncio.to_thread((tmp_path / "gone").rename, storage / "incoming")
    assert (await client.get("/health/ready")).status == 200


async def test_a_folder_that_cannot_be_written_is_noticed(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    assert await complaints(client) == ["the folder of the files cannot be written"]


async def test_a_disk_that_does_not_answer_is_noticed(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await start(MinimumFreeSpaceMB=1)

    def fails(*arguments: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(blobs.DiskBlobs, "free_space", fails)
    assert await complaints(client) == ["the disk cannot be asked for its room"]


async def test_an_index_that_cannot_be_read_is_noticed_and_nothing_else_told(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (
        BadConfiguration("/secret/gateway.db: disk image is malformed"),
        sqlite3.OperationalError("disk I/O error"),
    ):

        async def fails(self: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("gateway.archive.Archive.totals", fails)
        assert await complaints(client) == ["the index cannot be read"]


async def test_a_server_that_stops_is_not_ready_but_alive(client: Any) -> None:
    client.server.app[MONITOR].telemetry.stop()
    assert await complaints(client) == ["the server stops"]
    assert (await client.get("/health/live")).status == 200
    assert (await client.get("/system")).status == 200


@pytest.mark.parametrize("workers", [1, 2])
def test_it_serves_on_for_a_while_after_it_said_that_it_stops(
    tmp_path: Path, workers: int
) -> None:
    settings(tmp_path, {"StopDelay": 60})
    with announced(tmp_path, "--workers", str(workers)) as server:
        assert status(server.port) == 200
        server.process.terminate()
        deadline = time.monotonic() + 10
        while status(server.port) == 200 and time.monotonic() < deadline:
            time.sleep(0.02)
        # On connections of their own, which come to any of the workers.
        for _ in range(8):
            assert status(server.port) == 503
        assert server.process.poll() is None
        # Who does not want to wait says it again.
        assert server.stop() == 0


def status(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/health/ready")
        answer = connection.getresponse()
        body = json.loads(answer.read())
        assert body["Status"] == ("ok" if answer.status == 200 else "not ready")
        return answer.status
    finally:
        connection.close()
