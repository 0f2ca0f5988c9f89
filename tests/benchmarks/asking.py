"""Letting the measured client ask: a process of its own, spoken to by pipes.

And telling a server something by its REST API, which is not measured.
"""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from tests.peers import CHECKOUT, Running

from .meter import Meter

_PATIENCE = 3600.0  # seconds


class FailedWorkloadError(Exception):
    """A server refused, or answered something else than it had to."""


def told(server: Running, method: str, path: str, body: Any = None) -> Any:
    """Tell a server something by its REST API; its answer."""
    request = urllib.request.Request(
        server.url + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_PATIENCE) as answer:
        return json.loads(answer.read() or b"null")


def ask(
    server: Running,
    requests: list[dict[str, Any]],
    connections: int,
    repeat: int = 1,
    meter: Meter | None = None,
    begin: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Let a client of its own process ask, and return what it tells."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    plan = {"host": host, "port": int(port), "connections": connections}
    plan |= {"requests": requests, "repeat": repeat}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.client"],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        try:
            _say(client, json.dumps(plan))
            _hear(client)
            with meter or nullcontext():
                begin()
                return _let_go(client)
        except BaseException:
            client.kill()
            raise


def _let_go(client: "subprocess.Popen[str]") -> dict[str, Any]:
    _say(client, "go")
    told: dict[str, Any] = json.loads(_hear(client))
    return told


def _say(client: "subprocess.Popen[str]", line: str) -> None:
    assert client.stdin is not None
    client.stdin.write(line + "\n")
    client.stdin.flush()


def _hear(client: "subprocess.Popen[str]") -> str:
    assert client.stdout is not None
    line = client.stdout.readline()
    if not line:
        raise FailedWorkloadError("the client ended before it had finished")
    return line
