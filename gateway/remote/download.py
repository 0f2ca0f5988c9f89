"""The bytes of an answer on their way from another server, by the shortest way there is.

The HTTP library reads the head, and all of an answer that is short, comes in chunks or
over TLS. The rest of a long one is read from the socket itself, into the bytes that are
handed on: on the library's way they are copied three times more. Such a connection is not
used again.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator

import aiohttp

from gateway.remote.silence import Silence
from gateway.storage.handover import is_plain, own_socket, readable

#: Bytes that are still to come: for fewer a connection is not given up.
WORTH_IT = 2 * 1024 * 1024

#: Bytes read at a time.
CHUNK = 512 * 1024


class Download:
    """The body of an answer, read once."""

    def __init__(self, response: aiohttp.ClientResponse, silence: Silence) -> None:
        self.received = 0  # bytes that came
        self._response = response
        self._silence = silence
        self._length = _length(response)  # of the body; 0 if it does not say

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The bytes as they came; raises TimeoutError, OSError, aiohttp.ClientError."""
        content = self._response.content
        while True:
            async with self._silence.watched():
                chunk = await content.readany()
            if not chunk:
                return
            yield self._came(chunk)
            transport = self._transport()
            if transport is not None:
                break
        while self._left:
            chunk = await self._read_already(transport)
            if not chunk:
                break
            yield self._came(chunk)
        if self._left:
            with own_socket(transport) as connection:
                while self._left:
                    yield self._came(await self._next(connection))

    @property
    def _left(self) -> int:
        return max(self._length - self.received, 0)

    def _came(self, chunk: bytes) -> bytes:
        self.received += len(chunk)
        return chunk

    def _transport(self) -> asyncio.Transport | None:
        """The connection, if the rest is to be read from its socket."""
        if self._left < WORTH_IT or not self._response.connection:
            return None
        transport = self._response.connection.transport
        return transport if is_plain(transport) else None

    async def _read_already(self, transport: asyncio.Transport) -> bytes:
        """What the library has read, which reads no more once this is nothing."""
        # Without a connection all is here, and that one is nobody's, or another's.
        if self._response.connection:
            transport.pause_reading()
            await asyncio.sleep(0)  # the loop may have been about to read
        return self._response.content.read_nowait()

    async def _next(self, connection: socket.socket) -> bytes:
        """The next bytes from the socket."""
        await asyncio.sleep(0)  # others have their turn, however fast they come
        size = min(self._left, CHUNK)
        while True:
            try:
                chunk = connection.recv(size)
            except BlockingIOError:
                async with self._silence.watched():
                    await readable(connection)
                continue
            if not chunk:
                raise aiohttp.ClientPayloadError("the connection ended")
            return chunk


def _length(response: aiohttp.ClientResponse) -> int:
    if "Transfer-Encoding" in response.headers:
        return 0
    return response.content_length or 0
