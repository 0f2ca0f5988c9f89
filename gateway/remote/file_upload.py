"""A body made of files, on its way to another server by the shortest way there is.

On a plain connection the kernel moves the bytes of the files itself, and nothing of them
passes here. With TLS they are read and written.
"""

import asyncio
import errno
import socket
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Protocol

from aiohttp import Payload
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_writer import StreamWriter

from gateway.remote.silence import Silence
from gateway.remote.upload import ChunkUpload
from gateway.storage.handover import emptied, is_plain, own_socket, writable
from gateway.storage.reading import FileRange, Piece
from gateway.storage.sending import Sending
from gateway.storage.threads import in_thread

#: Bytes pushed before we look around: whether to stop, and to tell how far it is.
STEP = 8 * 1024 * 1024

#: Bytes of one chunk at most (RFC 9112 7.1): its length has to fit into whatever the other
#: server counts with.
CHUNK = 64 * 1024 * 1024

#: Faults that come from the network, beside those that Python has a name for.
_NETWORK = frozenset(
    {
        *(errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN),
        *(errno.ENOTCONN, errno.EPROTO),
    }
)


class Files(Protocol):
    """Where the bytes of the pieces are."""

    def read(self, pieces: Sequence[Piece]) -> AsyncGenerator[memoryview, None]:
        """The bytes of the pieces in chunks."""

    def sending(self, pieces: Sequence[Piece]) -> Sending:
        """The pieces, to be pushed to a socket."""


class FileUpload(Payload):
    """A body of pieces; closed by whoever made it."""

    def __init__(
        self,
        files: Files,
        pieces: Sequence[Piece],
        silence: Silence,
        sent: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__(None)
        self.total = 0
        self.finished = False
        self.failure: Exception | None = None
        self._files = files
        self._pieces = pieces
        self._length = sum(map(_size, pieces))
        self._silence = silence
        self._sent = sent
        self._idle = asyncio.Event()  # nothing is written now
        self._idle.set()

    @property
    def size(self) -> int | None:
        """None: how the body is framed was said by who sends it."""
        return None

    @property
    def whole(self) -> bool:
        """Whether all of the body was handed over."""
        return self.finished

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Nobody needs the body as a text."""
        raise TypeError("a body of files is no text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send all of it; raises OSError, and GatewayError if a file cannot be read."""
        assert isinstance(writer, StreamWriter)
        self._idle.clear()
        try:
            if is_plain(writer.transport):
                await self._push(writer)
            else:
                await self._copy(writer)
        except Exception as error:
            if not _of_the_network(error):
                self.failure = error
            raise
        finally:
            self._idle.set()
        self.finished = True
        self._silence.moved()

    async def _copy(self, writer: StreamWriter) -> None:
        chunks = self._files.read(self._pieces)
        upload = ChunkUpload(chunks, self._length, self._silence, self._sent)
        async with aclosing(chunks):
            async for piece in upload:
                self.total = upload.total
                await writer.write(piece)

    async def _push(self, writer: StreamWriter) -> None:
        transport = writer.transport
        assert transport is not None
        pieces = chunked(self._pieces) if writer.chunked else self._pieces
        sending = self._files.sending(pieces)
        writer.send_headers()
        await emptied(transport, writer.drain)
        with own_socket(transport) as connection:
            try:
                while not await self._pushed(sending, connection):
                    await writable(connection)
            finally:
                sending.close()

    async def _pushed(self, sending: Sending, connection: socket.socket) -> bool:
        """Send what the other takes at once; whether that was all."""
        self._silence.rest()  # it may be our disk that is waited for
        try:
            return await in_thread(lambda: sending.push(connection, STEP))
        finally:
            self._silence.moved()
            self._tell(min(sending.sent, self._length))

    def _tell(self, total: int) -> None:
        """Tell how many bytes of the body have gone."""
        if self._sent is not None and total > self.total:
            self._sent(total - self.total)
        self.total = total

    async def close(self) -> None:
        """Wait until nothing is written; who writes must have been told to stop."""
        await self._idle.wait()


def _size(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece.stop - piece.start


def chunked(pieces: Sequence[Piece]) -> list[Piece]:
    """The same in chunks (RFC 9112 7.1), but for the last one, which is empty.

    What stands before a file is in one chunk with it.
    """
    framed: list[Piece] = []
    lead = end = b""  # before the file; behind the chunk before
    for piece in pieces:
        if isinstance(piece, bytes):
            lead += piece
            continue
        for part in _cut(piece):
            framed += [end + _chunk_size(len(lead) + _size(part)) + lead, part]
            lead, end = b"", b"\r\n"
    if lead:
        end += _chunk_size(len(lead)) + lead + b"\r\n"
    return [*framed, end]


def _cut(file: FileRange) -> list[FileRange]:
    """The file in pieces that are no larger than a chunk may be, and not empty."""
    return [
        FileRange(file.blob, start, min(start + CHUNK, file.stop))
        for start in range(file.start, file.stop, CHUNK)
    ]


def _chunk_size(size: int) -> bytes:
    return b"%x\r\n" % size


def _of_the_network(error: Exception) -> bool:
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    return isinstance(error, OSError) and error.errno in _NETWORK
