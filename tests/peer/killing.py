"""A server that is killed under its writers, and a book of what it has promised.

Each address is written by one writer at a time, so the book knows what may be found there
after a kill: what was acknowledged, or, where the answer never came, either of the two.
"""

import hashlib
import http.client
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tests import kept
from tests.factories import content_type, dicom_file, multipart
from tests.peers import CHECKOUT

SECONDS_TO_START = 30.0
ROOT = "/dicom-web"


class Address(NamedTuple):
    """Where an instance is found."""

    study: str
    series: str
    instance: str

    @property
    def path(self) -> str:
        return (
            f"{ROOT}/studies/{self.study}/series/{self.series}"
            f"/instances/{self.instance}"
        )


class Server:
    """Our server as a process that can be killed and started again."""

    def __init__(
        self, folder: Path, workers: int, prelude: str = "", **options: Any
    ) -> None:
        self.folder = folder
        self.storage = folder / "storage"
        self.starts = 0
        self.port = 0
        self._workers = workers
        self._prelude = prelude  # statements that are run before it starts
        self._config = folder / "gateway.json"
        given = {"StorageDirectory": str(self.storage), "MinimumFreeSpaceMB": 0}
        self._config.write_text(json.dumps(given | options))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.starts += 1
        log = self.folder / f"server-{self.starts}.log"
        program = (
            f"{self._prelude}\nfrom gateway.cli import main\nraise SystemExit(main())"
        )
        command = [sys.executable, "-c", program, "serve", "--host", "127.0.0.1"]
        command += ["--config", str(self._config), "--port", "0"]
        command += ["--workers", str(self._workers)]
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                command, cwd=CHECKOUT, stderr=out, stdin=subprocess.DEVNULL
            )
        deadline = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < deadline:
            assert self._process.poll() is None, log.read_text()
            announced = re.search(r"http://[^:]+:([0-9]+)/", log.read_text())
            if announced:
                self.port = int(announced[1])
                if self._answers():
                    return
            time.sleep(0.01)
        raise AssertionError(f"the server does not answer: {log.read_text()}")

    def _answers(self) -> bool:
        try:
            return self.get("/health").status == 200
        except OSError:
            return False

    def get(self, path: str, accept: str = "*/*") -> "Answer":
        with closing(self.connect()) as connection:
            connection.request("GET", path, headers={"Accept": accept})
            return answer_of(connection)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def workers(self) -> list[psutil.Process]:
        assert self._process is not None
        return psutil.Process(self._process.pid).children(recursive=True)

    def terminate(self) -> None:
        self.signal(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, seconds: float = 60) -> int:
        assert self._process is not None
        return self._process.wait(seconds)

    def kill(self) -> None:
        """SIGKILL to every process of it, the one that restarts the others first."""
        if self._process is None or self._process.poll() is not None:
            return
        workers = self.workers()
        os.kill(self._process.pid, signal.SIGKILL)
        for worker in workers:
            if worker.is_running():
                worker.kill()
        self._process.wait()
        while any(map(_is_alive, workers)):
            time.sleep(0.001)

    def log(self) -> str:
        logs = sorted(self.folder.glob("server-*.log"))
        return "".join(log.read_text() for log in logs)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class Answer(NamedTuple):
    status: int
    body: bytes


def answer_of(connection: http.client.HTTPConnection) -> Answer:
    response = connection.getresponse()
    return Answer(response.status, response.read())


def digest(file: bytes) -> str:
    return hashlib.sha256(file).hexdigest()


class Book:
    """What may be found at each address: digests, None for nothing."""

    def __init__(self) -> None:
        self.may_be: dict[Address, set[str | None]] = {}
        self.touched: set[Address] = set()
        self.wrong: list[str] = []
        self.acknowledged = 0
        self.unanswered = 0
        self.repeats = self.replaced = self.deleted = 0
        self.lock = threading.Lock()

    def sent(self, address: Address, found: str | None) -> None:
        """Something is on its way; until the answer, both may be there."""
        with self.lock:
            self.touched.add(address)
            self.may_be.setdefault(address, {None}).add(found)
            self.unanswered += 1

    def answered(self, address: Address, found: str | None) -> None:
        with self.lock:
            self.may_be[address] = {found}
            self.unanswered -= 1
            self.acknowledged += 1

    def complain(self, text: str) -> None:
        with self.lock:
            self.wrong.append(text)


class Writer(threading.Thread):
    """Sends, repeats and, if it may, replaces and deletes, until the server is gone."""

    def __init__(
        self, server: Server, book: Book, name: str, seed: int, *, changes: bool
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.ending = threading.Event()
        self.own: list[Address] = []  # acknowledged, nobody else's
        self.files: dict[Address, bytes] = {}
        self._server = server
        self._book = book
        self._random = random.Random(seed)
        self._changes = changes
        self._count = 0

    def run(self) -> None:
        while not self.ending.is_set():
            try:
                with closing(self._server.connect()) as connection:
                    while not self.ending.is_set():
                        self._act(connection)
            except (OSError, http.client.HTTPException):
                time.sleep(0.01)  # killed: the whole server, or the worker we spoke to
            except Exception as error:
                self._book.complain(f"{self.name}: {error!r}")
                return

    def _act(self, connection: http.client.HTTPConnection) -> None:
        chance = self._random.random()
        if self._count == 0:
            self._store(connection, [common(self.name)])
        elif self.own and chance < 0.1:
            address = self._random.choice(self.own)
            self._store(connection, [(address, self.files[address])])
            self._book.repeats += 1
        elif self.own and self._changes and chance < 0.25:
            address = self._random.choice(self.own)
            self._store(connection, [(address, self._file(address))])
            self._book.replaced += 1
        elif self.own and self._changes and chance < 0.35:
            self._withdraw(connection, self._random.choice(self.own))
        elif chance < 0.45:
            self._store(connection, [self._new(1_200_000)])
        elif chance < 0.7:
            count = self._random.randint(2, 12)
            self._store(connection, [self._new() for _ in range(count)])
        else:
            self._store(connection, [self._new()])
        self._count += 1

    def _new(self, pixels: int = 64) -> tuple[Address, bytes]:
        number = self._random.getrandbits(64)
        # A study of its own, and one that all writers add to.
        study = f"1.2.3.{self.name}" if number % 2 else shared_study(self.name)
        address = Address(study, f"{study}.1", f"1.2.4.{number}")
        return address, self._file(address, pixels)

    def _file(self, address: Address, pixels: int = 64) -> bytes:
        return file_at(address, self._random.randbytes(pixels))

    def _store(
        self,
        connection: http.client.HTTPConnection,
        files: list[tuple[Address, bytes]],
    ) -> None:
        for address, file in files:
            if address in self.own:
                self.own.remove(address)
            self._book.sent(address, digest(file))
        whole = multipart(*(file for _, file in files))
        body: Any = whole
        if self._random.random() < 0.5:  # chunked
            body = iter([whole[i : i + 50_000] for i in range(0, len(whole), 50_000)])
        connection.request(
            "POST", f"{ROOT}/studies", body, {"Content-Type": content_type()}
        )
        answer = answer_of(connection)
        if answer.status != 200:
            self._book.complain(f"store: {answer.status} {answer.body!r}")
            return
        items = json.loads(answer.body)["00081199"]["Value"]
        stored = {item["00081155"]["Value"][0] for item in items}
        for address, file in files:
            if address.instance not in stored:
                self._book.complain(f"200 without {address}")
                continue
            self._book.answered(address, digest(file))
            if address.series != COMMON_SERIES:
                self.own.append(address)
                self.files[address] = file

    def _withdraw(
        self, connection: http.client.HTTPConnection, address: Address
    ) -> None:
        self.own.remove(address)
        self._book.sent(address, None)
        connection.request("DELETE", address.path)
        answer = answer_of(connection)
        if answer.status != 204:
            self._book.complain(f"delete: {answer.status} {answer.body!r}")
            return
        self._book.answered(address, None)
        self._book.deleted += 1


COMMON_SERIES = "1.2.5.1"


def shared_study(name: str) -> str:
    return f"1.2.6.{name.partition('.')[0]}"


def common(name: str) -> tuple[Address, bytes]:
    """What all writers of a round send at once: the same instance, the same bytes."""
    turn = name.partition(".")[0]
    address = Address("1.2.5", COMMON_SERIES, f"1.2.5.1.{turn}")
    return address, file_at(address, turn.encode().ljust(64, b"."))


def file_at(address: Address, pixels: bytes) -> bytes:
    return dicom_file(
        StudyInstanceUID=address.study,
        SeriesInstanceUID=address.series,
        SOPInstanceUID=address.instance,
        InstanceNumber=1,
        BitsAllocated=8,
        PixelData=pixels,
    )


# -- checks --------------------------------------------------------------------------


def check_promises(server: Server, book: Book, addresses: set[Address]) -> None:
    """Find at each address what may be there, and note which it is."""
    with closing(server.connect()) as connection:
        for address in addresses:
            connection.request(
                "GET", address.path, headers={"Accept": "application/dicom"}
            )
            answer = answer_of(connection)
            found = None if answer.status == 404 else digest(answer.body)
            assert answer.status in (200, 404), (address, answer)
            assert found in book.may_be[address], (
                f"{address} holds {found}, promised {book.may_be[address]}"
            )
            book.may_be[address] = {found}


def check_lists(server: Server, book: Book, addresses: set[Address]) -> None:
    """What a search lists is just what is there."""
    for study in {address.study for address in addresses}:
        listed = set(list_instances(server, study))
        held = {
            address
            for address, found in book.may_be.items()
            if address.study == study and found != {None}
        }
        assert listed == held, (listed - held, held - listed)


def list_instances(server: Server, study: str) -> Iterator[Address]:
    offset = 0
    while True:
        answer = server.get(f"{ROOT}/studies/{study}/instances?offset={offset}")
        found = json.loads(answer.body or b"[]")
        if not found:
            return
        for item in found:
            series, instance = item["0020000E"], item["00080018"]
            yield Address(study, series["Value"][0], instance["Value"][0])
        offset += len(found)


def check_strays(storage: Path) -> None:
    """Files and rows name the same blobs, nothing is under way, counters are right."""
    with closing(sqlite3.connect(storage / "gateway.db")) as database:
        rows = [row[0] for row in database.execute("SELECT blob FROM instances")]
        garbage = database.execute("SELECT blob FROM garbage").fetchall()
        counted = database.execute("SELECT instances, size FROM totals").fetchone()
        size = database.execute("SELECT COALESCE(SUM(size), 0) FROM instances")
        wrong = database.execute(
            "SELECT uid FROM studies s WHERE instance_count <> (SELECT COUNT(*) FROM"
            " instances i JOIN series e ON e.id = i.series WHERE e.study = s.id)"
            " OR series_count <> (SELECT COUNT(*) FROM series e WHERE e.study = s.id)"
        ).fetchall()
        assert counted == (len(rows), size.fetchone()[0])
        assert not wrong
        assert not database.execute("PRAGMA foreign_key_check").fetchall()
        assert database.execute("PRAGMA quick_check").fetchall() == [("ok",)]
    kept.check(storage, storage / "gateway.db")
    assert not garbage
    assert not list((storage / "incoming").glob("*/*"))
