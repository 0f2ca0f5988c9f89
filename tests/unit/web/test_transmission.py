"""A body in one write: beside its head, and as long as its reader takes something."""

import asyncio
import socket
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.errors import TooSlow
from gateway.telemetry.exchange import CURRENT, Exchange
from gateway.web import transmission
from gateway.web.transmission import _write_whole


class Transport:
    """Takes what is written, and tells that some of it waits."""

    def __init__(self, waiting: Iterable[int] = (0,)) -> None:
        self.written: list[bytes] = []
        self.is_closing: Callable[[], bool] = lambda: False
        self.socket: socket.socket | None = None
        self._waiting = list(waiting)

    def writelines(self, buffers: Iterable[bytes]) -> None:
        """Take them."""
        self.written += map(bytes, buffers)

    def get_extra_info(self, name: str) -> Any:
        """There is no socket to write to, unless a test gives one."""
        return self.socket if name == "socket" else None

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Bytes, low and high."""
        return 16, 64

    def get_write_buffer_size(self) -> int:
        """One after the other, the last of them from then on."""
        return self._waiting.pop(0) if len(self._waiting) > 1 else self._waiting[0]


class Writer:
    """Holds a head back; its buffer never gets empty enough."""

    def __init__(self, head: bytes | None) -> None:
        self._headers_buf = head
        self._headers_written = head is None
        self.asked = 0

    def send_headers(self) -> None:
        """They are gone already."""
        assert self._headers_written

    async def drain(self) -> None:
        """Wait for longer than anybody would."""
        self.asked += 1
        await asyncio.sleep(60)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transmission, "STALLED", 0.01)


def asked(transport: Transport | None, head: bytes | None = b"head") -> Any:
    return SimpleNamespace(transport=transport, writer=Writer(head))


async def test_head_and_body_leave_together_and_are_counted() -> None:
    CURRENT.set(Exchange("x"))
    transport = Transport()
    request = asked(transport)
    await _write_whole(request, memoryview(b"body"))
    assert transport.written == [b"head", b"body"]
    assert request.writer._headers_buf is None
    assert request.writer._headers_written
    assert request.writer.asked == 0
    assert CURRENT.get().past == 4


async def test_a_head_that_is_gone_is_not_sent_again() -> None:
    transport = Transport()
    await _write_whole(asked(transport, None), memoryview(b"body"))
    assert transport.written == [b"body"]


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


@pytest.mark.parametrize("size", [4, 4_000_000])
async def test_what_the_socket_takes_does_not_pass_the_transport(
    ends: tuple[socket.socket, socket.socket], size: int
) -> None:
    ours, theirs = ends
    transport = Transport()
    transport.socket = ours
    body = memoryview(bytearray(b"b" * size))
    await _write_whole(asked(transport), body)
    body[:] = bytes(size)  # it is another's now
    ours.shutdown(socket.SHUT_WR)
    with theirs.makefile("rb") as taken:
        direct = taken.read()
    assert direct.startswith(b"headb")
    assert direct + b"".join(transport.written) == b"head" + b"b" * size
    assert bool(transport.written) == (size > 4)


async def test_what_waits_already_goes_first(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    transport = Transport([7, 0])
    transport.socket = ends[0]
    await _write_whole(asked(transport), memoryview(b"body"))
    assert transport.written == [b"head", b"body"]


async def test_a_reader_that_takes_something_is_waited_for() -> None:
    request = asked(Transport([0, 900, 500, 500, 100, 100, 64]))
    await _write_whole(request, memoryview(bytes(1000)))
    assert request.writer.asked == 3


async def test_one_that_takes_nothing_is_not() -> None:
    request = asked(Transport([0, 900, 500, 500, 500]))
    with pytest.raises(TooSlow):
        await _write_whole(request, memoryview(bytes(1000)))
    assert request.writer.asked == 2


async def test_nobody_is_there_any_more() -> None:
    gone = Transport()
    gone.is_closing = lambda: True
    for transport in (None, gone):
        with pytest.raises(ConnectionResetError):
            await _write_whole(asked(transport), memoryview(b"body"))
    assert not gone.written
