"""Orthanc's tools, plugins and the end of the server, through real HTTP."""

import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.settings import settings
from tests.starting import Server, announced, ask, get
from tests.web.test_orthanc_resources import get as found


async def test_the_time_is_told(client: Any) -> None:
    text = await (await client.get("/tools/now")).text()
    told = datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - told).total_seconds()) < 10
    text = await (await client.get("/tools/now-local")).text()
    assert datetime.strptime(text, "%Y%m%dT%H%M%S").year == datetime.now().year


async def test_identifiers_are_made(client: Any) -> None:
    made = set()
    for level in ("study", "series", "instance", "study"):
        text = await (await client.get(f"/tools/generate-uid?level={level}")).text()
        assert text.startswith("2.25.")
        assert len(text) <= 64
        made.add(text)
    assert len(made) == 4
    await found(client, "/tools/generate-uid?level=x", 404)


async def test_the_encoding_is_that_of_the_configuration(start: Any) -> None:
    client = await start(DefaultEncoding="Greek")
    assert await (await client.get("/tools/default-encoding")).text() == "Greek"
    response = await client.put("/tools/default-encoding", data="Greek")
    assert (response.status, await response.text()) == (200, "Greek")
    response = await client.put("/tools/default-encoding", data="Latin1")
    assert response.status == 403


async def test_no_script_is_run(client: Any) -> None:
    response = await client.post("/tools/execute-script", data="print(1)")
    assert response.status == 403
    assert "Lua" in (await response.json())["Message"]


async def test_the_plugin_that_clients_look_for_is_there(start: Any) -> None:
    client = await start()
    assert await found(client, "/plugins") == ["dicom-web"]
    plugin = await found(client, "/plugins/dicom-web")
    assert plugin["Version"] == "1.20"
    assert plugin["RootUri"] == "../dicom-web/app/client/index.html"
    await found(client, "/plugins/other", 404)
    other = await start(DicomWeb={"Enable": False})
    assert await found(other, "/plugins") == []


async def test_each_tool_that_is_listed_is_there(client: Any) -> None:
    for name in await found(client, "/tools"):
        response = await client.options(f"/tools/{name}")
        assert response.status == 204, name


async def test_a_part_of_another_program_is_not_ended(client: Any) -> None:
    for name in ("shutdown", "reset"):
        response = await client.post(f"/tools/{name}")
        assert response.status == 403


async def test_strangers_do_not_end_the_server(start: Any) -> None:
    client = await start(RemoteAccessAllowed=True, AuthenticationEnabled=False)
    response = await client.post("/tools/shutdown")
    assert response.status == 403
    assert "who he is" in (await response.json())["Message"]


def wait_until_said(server: Server, text: str, times: int) -> None:
    until = time.monotonic() + 20
    while server.said().count(text) < times:
        assert time.monotonic() < until, server.said()
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_server_is_started_anew_and_ended(tmp_path: Path, workers: str) -> None:
    settings(tmp_path, {"Name": "before"})
    with announced(tmp_path, "--workers", workers) as server:
        base = f"http://127.0.0.1:{server.port}"
        assert b"before" in get(f"{base}/system").body
        config = tmp_path / "gateway.json"
        config.write_text('{"Name": 7}')
        refused = ask("POST", f"{base}/tools/reset", b"")
        assert refused.status == 400
        assert b"Name" in refused.body
        os.kill(server.process.pid, signal.SIGUSR2)
        wait_until_said(server, "not started again", 1)
        assert b"before" in get(f"{base}/system").body
        settings(tmp_path, {"Name": "after"})
        assert ask("POST", f"{base}/tools/reset", b"").status == 200
        wait_until_said(server, "dicomweb-gateway ", 2)
        assert server.process.poll() is None
        port = int(server.said().rsplit("localhost:", 1)[1].partition("/")[0])
        base = f"http://127.0.0.1:{port}"
        assert b"after" in get(f"{base}/system").body
        assert ask("POST", f"{base}/tools/shutdown", b"").status == 200
        assert server.process.wait(20) == 0
