"""Files on their way to the network, by the shortest way there is.

On a plain connection the kernel moves the bytes itself: threads push as long as the
reader keeps up, and a slow reader is waited for by the event loop alone. Where that
cannot be (TLS, an answer in chunks), the files are read and written.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from gateway.archive import Archive, Piece
from gateway.errors import TooSlow
from gateway.storage.threads import in_thread

#: A reader that takes nothing for so many seconds is gone.
STALLED = 120.0

#: Answers shorter than this are written: handing a socket over costs more (bytes).
_WORTH_IT = 64 * 1024


async def transmit(
    request: web.Request,
    response: web.StreamResponse,
    archive: Archive,
    pieces: Sequence[Piece],
) -> None:
    """Send the pieces as the body, or a part of the body, of a prepared answer."""
    length = response.content_length
    if length is None or length < _WORTH_IT or not _is_plain(request):
        async with asyncio.timeout(None) as patience:
            async for chunk in archive.read(pieces):
                patience.reschedule(asyncio.get_running_loop().time() + STALLED)
                await response.write(chunk)
                patience.reschedule(None)
        return
    async with _emptied_socket(request) as descriptor:
        sending = archive.sending(pieces)
        try:
            while not await in_thread(lambda: sending.push(descriptor)):
                await _writable(descriptor)
        except BrokenPipeError as error:
            raise ConnectionResetError from error
        finally:
            sending.close()


def _is_plain(request: web.Request) -> bool:
    transport = request.transport
    return (
        transport is not None
        and transport.get_extra_info("sslcontext") is None
        and transport.get_extra_info("socket") is not None
    )


@asynccontextmanager
async def _emptied_socket(request: web.Request) -> AsyncIterator[int]:
    """The socket, with nothing left to write to it, as a descriptor of our own.

    Our own, because the connection may be closed meanwhile and its number given to
    another file.
    """
    transport = request.transport
    if transport is None:
        raise ConnectionResetError
    request.writer.send_headers()
    transport.set_write_buffer_limits(high=0)
    try:
        async with asyncio.timeout(STALLED):
            while transport.get_write_buffer_size():
                await request.writer.drain()
                await asyncio.sleep(0)
    except TimeoutError:
        raise TooSlow("the client takes nothing") from None
    finally:
        transport.set_write_buffer_limits()
    if transport.is_closing():
        raise ConnectionResetError
    connection: socket.socket = transport.get_extra_info("socket")
    descriptor = os.dup(connection.fileno())
    try:
        yield descriptor
    finally:
        os.close(descriptor)


async def _writable(descriptor: int) -> None:
    """Return once the socket takes bytes again."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(descriptor, ready.set)
    try:
        async with asyncio.timeout(STALLED):
            await ready.wait()
    except TimeoutError:
        raise TooSlow("the client takes nothing") from None
    finally:
        loop.remove_writer(descriptor)
