"""HTTP/1.1 over a blocking socket, with as little between as can be.

A client library costs more than a good server; what the client spends on the machine's
processors the servers can't have, so this one only frames, counts and passes on.
"""

import contextlib
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

BUFFER = 1 << 20
TIMEOUT = 900.0


class Sink(Protocol):
    """Takes the body of an answer as it comes."""

    def take(self, piece: memoryview) -> None:
        """Look at the bytes now: the buffer is used again afterwards."""


class BrokenAnswerError(Exception):
    """The connection ended, or went astray, in the middle of an answer."""


class ClosedBeforeAnswerError(Exception):
    """The server closed a connection that we meant to use again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The status, and how many bytes of body came."""

    status: int
    received: int


class Connection:
    """One connection at a time to one server, opened again when it was closed."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._socket: socket.socket | None = None
        self._buffer = bytearray(BUFFER)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0

    def ask(self, head: bytes, body: Iterable[bytes], sink: Sink) -> Answer:
        """Send a request whose framing is done, and pass its answer's body on."""
        used_before = self._socket is not None
        try:
            return self._ask(head, body, sink)
        except ClosedBeforeAnswerError:
            # Between two requests a server may close what is kept alive. A body made
            # while it is sent is gone, but those are only sent first.
            self.close()
            if not used_before:
                raise
            return self._ask(head, body, sink)

    def close(self) -> None:
        """Forget the connection."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._start = self._end = 0

    def _ask(self, head: bytes, body: Iterable[bytes], sink: Sink) -> Answer:
        self._send(head, body)
        status, fields = self._read_head()
        while status == 100:
            status, fields = self._read_head()
        received = self._read_body(status, fields, sink)
        if fields.get("connection", "").lower() == "close":
            self.close()
        return Answer(status, received)

    def _send(self, head: bytes, body: Iterable[bytes]) -> None:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, TIMEOUT)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A server may refuse before it has read everything: its answer says why.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(head)
            for piece in body:
                self._socket.sendall(piece)

    def _read_head(self) -> tuple[int, dict[str, str]]:
        try:
            if self._start == self._end and not self._fill():
                raise ClosedBeforeAnswerError
        except ConnectionResetError as error:
            raise ClosedBeforeAnswerError from error
        status = int(self._line().split(None, 2)[1])
        fields = {}
        while line := self._line():
            name, _, value = line.decode("latin-1").partition(":")
            fields[name.lower()] = value.strip()
        return status, fields

    def _read_body(self, status: int, fields: dict[str, str], sink: Sink) -> int:
        if status in (204, 304):
            return 0
        if "chunked" in fields.get("transfer-encoding", "").lower():
            return self._pass_chunks(sink)
        if "content-length" in fields:
            length = int(fields["content-length"])
            self._pass(length, sink)
            return length
        return self._pass_rest(sink)

    def _pass_chunks(self, sink: Sink) -> int:
        total = 0
        while length := int(self._line().split(b";")[0], 16):
            self._pass(length, sink)
            self._line()
            total += length
        while self._line():
            pass
        return total

    def _pass(self, length: int, sink: Sink) -> None:
        while length:
            if self._start == self._end and not self._fill():
                raise BrokenAnswerError(f"closed {length} bytes before the end")
            stop = min(self._end, self._start + length)
            length -= stop - self._start
            sink.take(self._view[self._start : stop])
            self._start = stop

    def _pass_rest(self, sink: Sink) -> int:
        total = 0
        while self._start < self._end or self._fill():
            total += self._end - self._start
            sink.take(self._view[self._start : self._end])
            self._start = self._end
        self.close()
        return total

    def _line(self) -> bytes:
        while (found := self._buffer.find(b"\n", self._start, self._end)) < 0:
            if self._end == BUFFER:
                self._buffer[: BUFFER - self._start] = self._buffer[self._start :]
                self._start, self._end = 0, BUFFER - self._start
            if not self._fill():
                raise BrokenAnswerError("closed in the middle of a line")
        line = bytes(self._view[self._start : found]).rstrip(b"\r")
        self._start = found + 1
        return line

    def _fill(self) -> int:
        assert self._socket is not None
        if self._start == self._end:
            self._start = self._end = 0
        count = self._socket.recv_into(self._view[self._end :])
        self._end += count
        return count
