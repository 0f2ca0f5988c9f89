"""Files on their way to the network, by the shortest way there is.

What is short and in memory goes out with one write, and no thread is asked. Of the rest,
on a plain connection the kernel moves the bytes itself: threads push as long as the
reader keeps up, and a slow reader is waited for by the event loop alone. Where that
cannot be (TLS, an answer in chunks), the files are read and written.
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from aiohttp import web

from gateway.archive import Archive, Piece
from gateway.errors import TooSlow
from gateway.storage.handover import (
    emptied,
    is_plain,
    own_socket,
    writable,
    write_at_once,
)
from gateway.storage.threads import in_thread
from gateway.telemetry.exchange import CURRENT
from gateway.web.replies import streaming

#: Bytes to send: pieces to be read, or what is made on the way.
Body = Sequence[Piece] | AsyncGenerator[bytes, None]

#: A reader that takes nothing for so many seconds is gone.
STALLED = 120.0

#: Answers shorter than this are written: handing a socket over costs more (bytes).
_WORTH_IT = 64 * 1024


#: Bytes written at a time: what a reader does not take waits in memory, more than once
#: with TLS.
_WRITTEN = 128 * 1024


class Answer(web.StreamResponse):
    """One whose head waits for its body: alone it would only wake its reader."""

    _send_headers_immediately = False


async def transmit(
    request: web.Request, response: web.StreamResponse, archive: Archive, body: Body
) -> None:
    """Send a body, or a part of one, after the head of a prepared answer."""
    if isinstance(body, AsyncGenerator):
        await _write(response, body)
    elif not _is_plain(request) or response.content_length is None:
        await _write(response, archive.read(body))
    elif (whole := archive.at_once(body)) is not None:
        await _write_whole(request, whole)
    elif response.content_length < _WORTH_IT:
        await _write(response, archive.read(body))
    else:
        await _send(request, archive, body)


async def send_made(
    request: web.Request, body: bytes, kind: str, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Answer with what was made in memory: bytes of a media type."""
    headers = {**headers, "Content-Type": kind}
    if len(body) < _WORTH_IT or not _is_plain(request):
        return web.Response(body=body, headers=headers)
    response = Answer(headers=headers)
    response.content_length = len(body)
    async with streaming(request, response) as wanted:
        if wanted:
            await _write_whole(request, memoryview(body))
    return response


async def _write_whole(request: web.Request, whole: memoryview) -> None:
    """Write all of it at once, and return when the reader has taken most of it.

    What `whole` holds may be another's as soon as this waits for anything.
    """
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError
    head = _taken_head(request.writer)
    write_at_once(transport, head, whole)
    CURRENT.get().past += len(whole)
    much = transport.get_write_buffer_limits()[1]
    while (left := transport.get_write_buffer_size()) > much:
        try:
            async with asyncio.timeout(STALLED):
                await request.writer.drain()
        except TimeoutError:
            if transport.get_write_buffer_size() >= left:
                raise TooSlow("the client takes nothing") from None


def _taken_head(writer: Any) -> bytes:
    """The head that waits in a writer; nothing if it is gone.

    The writer itself would copy a body, to have it stand behind its head: to copy half a
    mebibyte costs more than to send it.
    """
    head: bytes | None = getattr(writer, "_headers_buf", None)
    if not head:
        writer.send_headers()  # wherever it is
        return b""
    writer._headers_buf, writer._headers_written = None, True
    return head


async def _write(
    response: web.StreamResponse,
    chunks: AsyncGenerator[bytes, None] | AsyncGenerator[memoryview, None],
) -> None:
    loop = asyncio.get_running_loop()
    async with aclosing(chunks), asyncio.timeout(None) as patience:
        async for chunk in chunks:
            for start in range(0, len(chunk), _WRITTEN):
                patience.reschedule(loop.time() + STALLED)
                await response.write(chunk[start : start + _WRITTEN])
                patience.reschedule(None)


async def _send(
    request: web.Request, archive: Archive, pieces: Sequence[Piece]
) -> None:
    transport = request.transport
    if transport is None:
        raise ConnectionResetError
    head = _taken_head(request.writer)
    if transport.get_write_buffer_size():
        transport.write(head)
        head = b""
        await _in_time(emptied(transport, request.writer.drain))
    sending = archive.sending([head, *pieces] if head else pieces)
    with own_socket(transport) as connection:
        try:
            while not await in_thread(lambda: sending.push(connection)):
                await _in_time(writable(connection))
        except BrokenPipeError as error:
            raise ConnectionResetError from error
        finally:
            CURRENT.get().past += max(0, sending.sent - len(head))
            sending.close()


def _is_plain(request: web.Request) -> bool:
    return is_plain(request.transport)


async def _in_time(step: Coroutine[Any, Any, None]) -> None:
    """Wait for the client to take something; raises TooSlow if it takes nothing."""
    try:
        async with asyncio.timeout(STALLED):
            await step
    except TimeoutError:
        raise TooSlow("the client takes nothing") from None
