"""The measured client, a process of its own: ``python -m tests.benchmarks.client``.

It reads a plan of requests, prepares what it will send, says ``ready`` and waits for
``go``. Only then does the clock start, so that neither the making of the bodies nor
the start of Python is measured. Its answer is one line of JSON.
"""

import json
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from . import bodies
from .connection import (
    BrokenAnswerError,
    ClosedBeforeAnswerError,
    Connection,
)

_TYPES = {"file": "application/dicom", "json": "application/json"}


class Prepared:
    """A request whose bytes are ready to go."""

    def __init__(self, request: dict[str, Any], host: str) -> None:
        self.request = request
        body = request.get("body")
        made_as_it_goes = body is not None and body["kind"] in ("many", "large")
        self._ready: list[bytes] = []
        if body is not None and not made_as_it_goes:
            self._ready = self._framed(body)
        self.head = self._head(host, body)

    @property
    def body(self) -> Iterable[bytes]:
        """The framed body, again from its start."""
        body = self.request.get("body")
        if body is not None and not self._ready:
            return bodies.chunked(bodies.pieces(body))
        return self._ready

    def _framed(self, body: dict[str, Any]) -> list[bytes]:
        if self.request.get("chunked"):
            return list(bodies.chunked(bodies.pieces(body)))
        return list(bodies.pieces(body))

    def _head(self, host: str, body: dict[str, Any] | None) -> bytes:
        lines = [f"{self.request['method']} {self.request['path']} HTTP/1.1"]
        lines += [f"Host: {host}", "Connection: keep-alive"]
        lines.append(f"Accept: {self.request.get('accept', '*/*')}")
        if body is not None:
            content_type = _TYPES.get(body["kind"], bodies.STOW_TYPE)
            lines.append(f"Content-Type: {content_type}")
            if self.request.get("chunked"):
                lines.append("Transfer-Encoding: chunked")
            else:
                lines.append(f"Content-Length: {bodies.body_length(body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Run:
    """The requests of a plan, taken by so many connections as they get free."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._host, self._port = plan["host"], plan["port"]
        self._connections = plan["connections"]
        bodies.prepared(plan["requests"])
        host = f"{self._host}:{self._port}"
        unique = [Prepared(request, host) for request in plan["requests"]]
        self._waiting = deque(unique * plan.get("repeat", 1))
        self._lock = threading.Lock()
        self.seconds: list[float] = []
        self.statuses: dict[int, int] = {}
        self.problems: list[str] = []
        self.received = 0

    def go(self) -> dict[str, Any]:
        """Ask for everything and tell how it went."""
        started, spent = time.perf_counter(), time.process_time()
        threads = [
            threading.Thread(target=self._take) for _ in range(self._connections)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {
            "wall": time.perf_counter() - started,
            "client_cpu": time.process_time() - spent,
            "seconds": self.seconds,
            "statuses": self.statuses,
            "problems": self.problems[:5],
            "received": self.received,
        }

    def _take(self) -> None:
        connection = Connection(self._host, self._port)
        while True:
            try:
                prepared = self._waiting.popleft()
            except IndexError:
                break
            self._ask(connection, prepared)
        connection.close()

    def _ask(self, connection: Connection, prepared: Prepared) -> None:
        sink = bodies.sink_for(prepared.request)
        started = time.perf_counter()
        try:
            answer = connection.ask(prepared.head, prepared.body, sink)
        except (OSError, BrokenAnswerError, ClosedBeforeAnswerError) as error:
            connection.close()
            self._note(prepared, time.perf_counter() - started, 0, 0, repr(error))
            return
        seconds = time.perf_counter() - started
        problem = sink.problem() if answer.status // 100 == 2 else "refused"
        self._note(prepared, seconds, answer.status, answer.received, problem)

    def _note(
        self,
        prepared: Prepared,
        seconds: float,
        status: int,
        received: int,
        problem: str | None,
    ) -> None:
        with self._lock:
            self.seconds.append(seconds)
            self.statuses[status] = self.statuses.get(status, 0) + 1
            self.received += received
            if problem is not None:
                path = prepared.request["path"]
                self.problems.append(f"{path}: status {status}: {problem}")


def main() -> None:
    """Obey the measuring process at the other end of the pipes."""
    run = Run(bodies.read_plan(sys.stdin.readline()))
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(run.go()), flush=True)


if __name__ == "__main__":
    main()
