"""A way between two servers that counts what passes, and may be made narrow."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_CHUNK = 64 * 1024


class Way:
    """Passes connections on to a port and counts the bytes of each direction."""

    def __init__(self, port: int, speed: float) -> None:
        self.sent = 0  # bytes from whoever connects
        self.received = 0  # bytes to them
        self.speed = speed  # bytes a second of each connection and direction
        self._port = port
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._open: list[socket.socket] = []

    def start(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return  # closed
            try:
                far = socket.create_connection(("127.0.0.1", self._port))
            except OSError:
                near.close()
                continue
            self._open += [near, far]
            for source, target, inward in ((near, far, True), (far, near, False)):
                threading.Thread(
                    target=self._pass_on, args=(source, target, inward), daemon=True
                ).start()

    def _pass_on(
        self, source: socket.socket, target: socket.socket, inward: bool
    ) -> None:
        try:
            while chunk := source.recv(_CHUNK):
                self._count(len(chunk), inward=inward)
                time.sleep(len(chunk) / self.speed)
                target.sendall(chunk)
        except OSError:
            pass  # either side is gone, which the other is to learn
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def _count(self, size: int, *, inward: bool) -> None:
        with self._lock:
            if inward:
                self.sent += size
            else:
                self.received += size


@contextmanager
def way_to(port: int, speed: float) -> Iterator[Way]:
    """A way to the port of this machine."""
    way = Way(port, speed)
    way.start()
    try:
        yield way
    finally:
        way.close()
