"""A connection's socket, handed over by the event loop to be written or read without it.

It is always a socket of our own, because the connection may be closed meanwhile and its
number given to another file. How long to wait for the other side is left to the caller.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager


def is_plain(transport: asyncio.Transport | None) -> bool:
    """Whether the bytes of a connection go as they are, to a socket."""
    return (
        transport is not None
        and transport.get_extra_info("sslcontext") is None
        and transport.get_extra_info("socket") is not None
    )


def write_at_once(transport: asyncio.Transport, head: bytes, body: memoryview) -> None:
    """Write both, the body without a copy as far as the socket takes it.

    What the body holds may be another's as soon as this returns.
    """
    sent = _taken(transport, head, body)
    if sent < len(head) + len(body):
        rest = bytes(body[max(0, sent - len(head)) :])
        transport.writelines((head[sent:], rest) if sent < len(head) else (rest,))


def _taken(transport: asyncio.Transport, head: bytes, body: memoryview) -> int:
    """How many bytes the socket took, of which the transport would make copies."""
    if transport.get_write_buffer_size() or not is_plain(transport):
        return 0
    try:
        descriptor = transport.get_extra_info("socket").fileno()
        return os.writev(descriptor, (head, body))
    except OSError:  # it takes none now, or never: the transport finds out
        return 0


@contextmanager
def own_socket(transport: asyncio.Transport) -> Iterator[socket.socket]:
    """The socket of a connection; raises ConnectionResetError if it is closed."""
    if transport.is_closing():
        raise ConnectionResetError
    theirs: socket.socket = transport.get_extra_info("socket")
    with socket.socket(fileno=os.dup(theirs.fileno())) as ours:
        ours.setblocking(False)
        yield ours


async def emptied(
    transport: asyncio.Transport, drain: Callable[[], Awaitable[None]]
) -> None:
    """Return once nothing is left that the loop has to write.

    `drain` waits until it has written something.
    """
    transport.set_write_buffer_limits(high=0)
    try:
        while transport.get_write_buffer_size():
            await drain()
            await asyncio.sleep(0)
    finally:
        transport.set_write_buffer_limits()


async def writable(connection: socket.socket) -> None:
    """Return once the socket takes bytes again, or is broken."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(connection, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(connection)


async def readable(connection: socket.socket) -> None:
    """Return once bytes have come, or the end of them."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(connection, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(connection)
