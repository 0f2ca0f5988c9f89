"""Servers as people start them, a process of its own, on a port that it tells; or here."""

import http.client
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psutil
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.app import make_runner

CHECKOUT = Path(__file__).resolve().parents[1]

_ANNOUNCEMENT = re.compile(
    r"^(?:\{.*\"message\":\")?dicomweb-gateway \S+: (https?://\S+:(\d+)/\S*)",
    re.MULTILINE,
)
_SECONDS = 20.0


class GatewayServer(TestServer):
    """A gateway in this process, for aiohttp's client for tests."""

    async def _make_runner(self, **options: Any) -> web.AppRunner:
        return make_runner(self.app, **options)


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes


class Server:
    """A server that has told its address."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process = process
        self.url = ""
        self.port = 0
        self.seconds = 0.0  # that the start took
        self._log = log

    def said(self) -> str:
        """All that it wrote."""
        return self._log.read_text(errors="replace")

    def workers(self) -> list[psutil.Process]:
        """The processes that it started."""
        return psutil.Process(self.process.pid).children()

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        self.process.terminate()
        return self.process.wait(_SECONDS)

    def wait_until_announced(self) -> None:
        """Return once it told where it is."""
        started = time.monotonic()
        while time.monotonic() < started + _SECONDS:
            if found := _ANNOUNCEMENT.search(self.said()):
                self.url, self.port = found[1], int(found[2])
                self.seconds = time.monotonic() - started
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        raise AssertionError(f"it did not start: {self.said()}")


def command(*words: str) -> list[str]:
    """The command line of the gateway, run by this Python."""
    return [sys.executable, "-m", "gateway", *words]


@contextmanager
def announced(folder: Path, *words: str) -> Iterator[Server]:
    """Run `serve` with the configuration in the folder; end it by its process id."""
    log = folder / "server.log"
    config = str(folder / "gateway.json")
    with log.open("wb") as out:
        process = subprocess.Popen(
            command("serve", "--config", config, "--port", "0", *words),
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    server = Server(process, log)
    workers: list[psutil.Process] = []
    try:
        server.wait_until_announced()
        yield server
    finally:
        if process.poll() is None:
            workers = server.workers()
            process.terminate()
        try:
            process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for worker in workers:
            if worker.is_running():
                worker.kill()


def ask(
    method: str,
    url: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    context: ssl.SSLContext | None = None,
) -> Answer:
    """Send a request on a connection of its own, past every proxy."""
    parts = urlsplit(url)
    place, port = parts.hostname or "", parts.port
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            place, port, timeout=_SECONDS, context=context
        )
    else:
        connection = http.client.HTTPConnection(place, port, timeout=_SECONDS)
    try:
        connection.request(method, parts.path, body, headers or {})
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()


def get(url: str, context: ssl.SSLContext | None = None) -> Answer:
    """What is at an address."""
    return ask("GET", url, context=context)
