"""`serve` as people run it: processes, ports, signals."""

import asyncio
import json
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from gateway import serve
from gateway.web.grace import Requests
from tests import kept
from tests.clients import JSON, ROOT
from tests.factories import content_type, dicom_file, image, multipart
from tests.settings import settings
from tests.starting import CHECKOUT, Server, announced, ask, command, get

STUDIES = f"{ROOT}/studies"


def at(server: Server, path: str) -> str:
    return f"http://127.0.0.1:{server.port}{path}"


def post(server: Server, *files: bytes) -> Any:
    """Store files on a connection of their own; the data set that answers."""
    headers = {"Content-Type": content_type()}
    answer = ask("POST", at(server, STUDIES), multipart(*files), headers)
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == JSON
    return json.loads(answer.body)


def count(server: Server) -> int:
    found: int = json.loads(get(at(server, "/statistics")).body)["CountInstances"]
    return found


def refused(folder: Path, *words: str) -> str:
    """What `serve` says when it will not start; the exit code must be 2."""
    done = subprocess.run(
        command("serve", "--config", str(folder / "gateway.json"), *words),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "http://" not in done.stderr  # it never said that it serves
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_it_tells_where_it_is_serves_and_ends_with_code_zero(
    tmp_path: Path, workers: int
) -> None:
    settings(tmp_path)
    with announced(tmp_path, "--workers", str(workers)) as server:
        print(f"started in {server.seconds:.2f} s with {workers} workers")
        assert server.url == f"http://localhost:{server.port}/dicom-web/"
        # Who reads the line may connect at once.
        assert get(at(server, "/health")).status == 200
        post(server, image())
        assert count(server) == 1
        workers_found = server.workers()
        assert len(workers_found) == (0 if workers == 1 else 2)
        assert server.stop() == 0
        assert not any(worker.is_running() for worker in workers_found)
        assert server.said().count("dicomweb-gateway ") == 1
        assert "Traceback" not in server.said()
    assert kept.under_way(tmp_path / "storage") == []


def test_an_interrupt_ends_it_too(tmp_path: Path) -> None:
    settings(tmp_path, {"StorageCompression": True, "HttpPrt": 1})
    with announced(tmp_path) as server:
        # What was odd in the configuration was said at the start.
        assert "StorageCompression" in server.said()
        assert "HttpPort" in server.said()
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(10) == 0


def test_what_one_worker_stores_the_other_finds(tmp_path: Path) -> None:
    settings(tmp_path)
    with announced(tmp_path, "--workers", "2") as server:
        served_by = set()
        for number in range(1, 25):
            post(server, dicom_file())
            # Every request is a new connection, given to either worker.
            assert count(server) == number
            served_by.update(
                worker.pid
                for worker in server.workers()
                if sum(worker.cpu_times()[:2]) > 0
            )
        assert len(served_by) == 2
        found = json.loads(get(at(server, f"{ROOT}/instances")).body)
        assert len(found) == 24
        # What both get is stored once.
        file = image()
        first = post(server, file)
        for _ in range(10):
            assert post(server, file) == first
        assert count(server) == 25
    assert len(kept.contents(tmp_path / "storage")) == 25


def test_a_worker_that_is_killed_is_replaced(tmp_path: Path) -> None:
    settings(tmp_path)
    with announced(tmp_path, "--workers", "2") as server:
        post(server, dicom_file())
        victim, survivor = server.workers()
        victim.kill()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            now = {worker.pid for worker in server.workers()}
            if len(now) == 2 and victim.pid not in now:
                break
            time.sleep(0.05)
        assert survivor.pid in now
        assert victim.pid not in now
        assert len(now) == 2
        for _ in range(10):
            assert count(server) == 1
        assert f"worker {victim.pid} ended (signal 9)" in server.said()
        assert server.stop() == 0


@pytest.mark.slow
def test_workers_do_not_outlive_the_process_that_looks_after_them(
    tmp_path: Path,
) -> None:
    settings(tmp_path)
    with announced(tmp_path, "--workers", "2") as server:
        workers = server.workers()
        server.process.kill()
        server.process.wait(10)
        _, alive = psutil.wait_procs(workers, timeout=10)
        assert alive == []


def test_a_request_under_way_is_finished_before_the_end(tmp_path: Path) -> None:
    settings(tmp_path)
    body = multipart(dicom_file())
    with announced(tmp_path) as server:
        request = (
            f"POST {STUDIES} HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: {content_type()}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode()
        with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
            connection.sendall(request + body[:-10])
            time.sleep(0.2)
            server.process.terminate()
            time.sleep(0.2)
            assert server.process.poll() is None
            connection.sendall(body[-10:])
            answer = connection.makefile("rb").readline()
        assert answer == b"HTTP/1.1 200 OK\r\n"
        assert server.process.wait(10) == 0


# -- what keeps it from starting ---------------------------------------------------------


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use_is_said_in_one_line(tmp_path: Path, workers: str) -> None:
    settings(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        said = refused(tmp_path, "--port", port, "--workers", workers)
    assert said.count("\n") == 1
    assert f"127.0.0.1:{port}" in said
    assert "in use" in said


@pytest.mark.parametrize(
    ("first", "second"),
    [("2", "2"), pytest.param("1", "1", marks=pytest.mark.slow)],
)
def test_a_second_gateway_does_not_share_the_port_of_the_first(
    tmp_path: Path, first: str, second: str
) -> None:
    settings(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    settings(other)
    with announced(tmp_path, "--workers", first) as server:
        said = refused(other, "--port", str(server.port), "--workers", second)
        assert said.count("\n") == 1
        assert "in use" in said


def test_a_port_is_free_again_at_once(tmp_path: Path) -> None:
    settings(tmp_path)
    with announced(tmp_path) as server:
        post(server, dicom_file())
        port = str(server.port)
        assert server.stop() == 0
    with announced(tmp_path, "--port", port) as again:
        assert again.port == int(port)
        assert count(again) == 1


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('{"HttpPort": "x"}', "HttpPort"),
        ('{"StorageDirectory": "/proc/nowhere"}', "archive cannot be used"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_said_to_be_so(
    tmp_path: Path, text: str, wanted: str
) -> None:
    (tmp_path / "gateway.json").write_text(text)
    assert wanted in refused(tmp_path, "--port", "0")


def test_an_address_of_another_machine_cannot_be_listened_on(tmp_path: Path) -> None:
    settings(tmp_path)
    assert "203.0.113.9" in refused(tmp_path, "--host", "203.0.113.9", "--port", "0")


def test_addresses_to_listen_on_may_be_configured(tmp_path: Path) -> None:
    settings(tmp_path, {"HttpBindAddresses": ["127.0.0.2", "127.0.0.3"]})
    with announced(tmp_path) as server:
        for host in ("127.0.0.2", "127.0.0.3"):
            assert get(f"http://{host}:{server.port}/health").status == 200
        with pytest.raises(OSError, match="refused"):
            get(at(server, "/health"))


async def test_who_waits_for_a_job_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Jobs:
        def let_all_go(self) -> None:
            requests.under_way = 0
            requests.last_one()

    monkeypatch.setattr(serve, "_JOBS", 0.01)
    requests = Requests()
    requests.under_way = 1
    async with asyncio.timeout(5):
        assert await serve._all_end(requests, Jobs())  # type: ignore[arg-type]
