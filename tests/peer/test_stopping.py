"""How a server ends when it is told to, and how it does not begin when it cannot."""

import json
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.factories import content_type, multipart
from tests.peer.killing import Address, Server, check_strays, file_at
from tests.peers import CHECKOUT

#: What the tests below let the server have of its grace, in seconds.
GRACE = 2.0
SHORT_GRACE = f"import gateway.serve; gateway.serve.GRACE = {GRACE}"

each_count = pytest.mark.parametrize("workers", [1, 2], ids=["one", "two workers"])


@pytest.fixture
def server(tmp_path: Path, workers: int) -> Iterator[Server]:
    made = Server(tmp_path, workers, prelude=SHORT_GRACE)
    made.start()
    yield made
    made.kill()


def posting(server: Server, body: bytes) -> socket.socket:
    """A connection with a STOW of which some bytes are under way."""
    connection = socket.create_connection(("127.0.0.1", server.port), 30)
    connection.sendall(
        b"POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: %s\r\nContent-Length: %d\r\n\r\n"
        % (content_type().encode(), len(body))
    )
    return connection


def answer(connection: socket.socket) -> bytes:
    received = b""
    try:
        while more := connection.recv(65536):
            received += more
    except ConnectionResetError:
        pass
    return received


@each_count
@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(100, id="small"),
        pytest.param(3_000_000, id="large", marks=pytest.mark.slow),
    ],
)
def test_a_store_that_runs_when_the_server_is_told_to_stop_ends_well(
    server: Server, pixels: int
) -> None:
    address = Address("1.2.3", "1.2.3.1", "1.2.3.1.1")
    file = file_at(address, bytes(pixels))
    body = multipart(file)
    with closing(posting(server, body)) as connection:
        connection.sendall(body[: len(body) // 2])
        time.sleep(0.2)
        server.terminate()
        time.sleep(0.3)
        connection.sendall(body[len(body) // 2 :])
        told = answer(connection)
    assert told.startswith(b"HTTP/1.1 200 "), told
    assert b'"1.2.3.1.1"' in told
    assert server.wait(10) == 0
    check_strays(server.storage)
    server.start()
    assert server.get(address.path, "application/dicom").body == file
    assert "ERROR" not in server.log()


@pytest.mark.slow
@each_count
def test_a_client_that_stalls_keeps_the_server_no_longer_than_its_grace(
    server: Server,
) -> None:
    address = Address("1.2.3", "1.2.3.1", "1.2.3.1.1")
    body = multipart(file_at(address, bytes(3_000_000)))
    with closing(posting(server, body)) as connection:
        connection.sendall(body[: len(body) // 2])
        time.sleep(0.2)
        started = time.monotonic()
        server.terminate()
        assert server.wait(30) == 0
        took = time.monotonic() - started
        assert GRACE - 0.5 < took < 3 * GRACE + 1
        assert not answer(connection).startswith(b"HTTP/1.1 2")
    # What was under way is gone already, without a next start.
    check_strays(server.storage)
    assert "Traceback" not in server.log()


@pytest.mark.parametrize(
    ("workers", "number"), [(1, signal.SIGTERM), (2, signal.SIGINT)]
)
def test_clients_that_only_wait_keep_nobody(
    server: Server, number: signal.Signals
) -> None:
    with closing(server.connect()) as idle:
        idle.request("GET", "/health")
        assert idle.getresponse().read()
        with closing(socket.create_connection(("127.0.0.1", server.port))):
            started = time.monotonic()
            server.signal(number)
            assert server.wait(10) == 0
            assert time.monotonic() - started < GRACE


@pytest.mark.parametrize("workers", [2])
def test_a_worker_that_falls_is_replaced_and_no_other_notices(server: Server) -> None:
    fallen, other = server.workers()
    fallen.kill()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        now = {worker.pid for worker in server.workers() if worker.is_running()}
        if len(now - {fallen.pid}) == 2:
            break
        time.sleep(0.05)
    assert other.pid in now
    assert len(now - {fallen.pid}) == 2
    assert server.get("/health").status == 200


# -- what cannot begin -----------------------------------------------------------------


def no_folder(folder: Path) -> dict[str, Any]:
    (folder / "storage").write_text("a file where the folder should be")
    return {}


def read_only(folder: Path) -> dict[str, Any]:
    return {"StorageDirectory": "/sys"}  # nobody makes a folder there, root neither


def no_database(folder: Path) -> dict[str, Any]:
    (folder / "storage").mkdir()
    (folder / "storage" / "gateway.db").write_bytes(b"no database at all " * 500)
    return {}


def damaged(folder: Path) -> dict[str, Any]:
    (folder / "storage").mkdir()
    path = folder / "storage" / "gateway.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE schema_version (version INTEGER NOT NULL)")
        database.executemany("INSERT INTO schema_version VALUES (?)", [(1,)] * 5000)
        database.commit()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8192)
    return {}


def newer(folder: Path) -> dict[str, Any]:
    (folder / "storage").mkdir()
    with closing(sqlite3.connect(folder / "storage" / "gateway.db")) as database:
        database.execute("CREATE TABLE schema_version (version INTEGER NOT NULL)")
        database.execute("INSERT INTO schema_version VALUES (999)")
        database.commit()
    return {}


@pytest.mark.parametrize(
    ("workers", "spoil", "said"),
    [
        (1, no_folder, "storage"),
        (1, read_only, "/sys"),
        (1, no_database, "gateway.db: file is not a database"),
        (2, damaged, "gateway.db: database disk image is malformed"),
        (1, newer, "schema version 999"),
    ],
)
def test_an_archive_that_cannot_be_used_is_told_in_one_line_and_exit_code_2(
    tmp_path: Path, workers: int, spoil: Callable[[Path], dict[str, Any]], said: str
) -> None:
    options = {"StorageDirectory": "storage"} | spoil(tmp_path)
    config = tmp_path / "gateway.json"
    config.write_text(json.dumps(options))
    command = [sys.executable, "-m", "gateway", "serve", "--config", str(config)]
    command += ["--port", "0", "--workers", str(workers)]
    done = subprocess.run(
        command, cwd=CHECKOUT, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 2, done.stderr
    *before, last = done.stderr.splitlines()
    assert last.startswith("dicomweb-gateway: ")
    assert said in last
    assert not [line for line in before if line.startswith("dicomweb-gateway: ")]
    assert "Traceback" not in done.stderr
