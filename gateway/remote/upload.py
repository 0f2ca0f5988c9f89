"""A body on its way to another server.

The web framework takes it from here as fast as the other reads. Large chunks are cut:
each piece that goes shows that the other is alive, so a piece must not take long.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from gateway.errors import Truncated
from gateway.remote.silence import Silence

PIECE = 64 * 1024  # bytes


class Upload(Protocol):
    """A body that goes, as it is seen by who waits for the answer."""

    total: int  # bytes that were taken to be sent
    finished: bool  # all has gone
    failure: Exception | None  # of what the body is made of, not of the other server

    @property
    def whole(self) -> bool:
        """Whether all of the body was handed over."""

    async def close(self) -> None:
        """Let go of what the body is made of; who sent it must have been told to stop."""


#: Makes the body; it is told whose turn it is, and tells how many bytes went.
UploadMaker = Callable[[Silence, Callable[[int], None] | None], Upload]


class ChunkUpload:
    """An iterable of the pieces of a body; closed by whoever made it."""

    def __init__(
        self,
        chunks: AsyncIterator[bytes] | AsyncIterator[memoryview],
        length: int | None,
        silence: Silence,
        sent: Callable[[int], None] | None = None,
    ) -> None:
        self._chunks = chunks
        self._length = length  # that was announced
        self._silence = silence
        self._sent = sent  # is told how many bytes went, since it was last told
        self._rest = memoryview(b"")
        self._taken = asyncio.Event()  # nobody waits for the next chunk
        self._taken.set()
        self._given = 0  # bytes of the last piece
        self.total = 0
        self.finished = False
        self.failure: Exception | None = None

    @property
    def whole(self) -> bool:
        """Whether all of the body was handed over."""
        return self.finished or (self.total == self._length and not self._rest)

    def __aiter__(self) -> "ChunkUpload":
        return self

    async def __anext__(self) -> memoryview:
        """The next piece; the one before has gone."""
        if self._sent is not None and self._given:
            self._sent(self._given)
        self._given = 0
        while not self._rest:
            self._rest = memoryview(await self._next())
        self._silence.moved()
        piece, self._rest = self._rest[:PIECE], self._rest[PIECE:]
        self._given = len(piece)
        return piece

    async def _next(self) -> bytes | memoryview:
        self._silence.rest()
        self._taken.clear()
        try:
            chunk: bytes | memoryview = await anext(self._chunks)
            self._count(len(chunk))
            return chunk
        except StopAsyncIteration:
            self._end()
            raise
        except Exception as error:
            self.failure = error
            raise
        finally:
            self._taken.set()

    def _count(self, size: int) -> None:
        self.total += size
        if self._length is not None and self.total > self._length:
            raise Truncated(f"the body is longer than the {self._length} bytes it said")

    def _end(self) -> None:
        self._silence.moved()
        if self._length is not None and self.total < self._length:
            self.failure = Truncated(
                f"the body ended after {self.total} of {self._length} bytes"
            )
            raise self.failure
        self.finished = True

    async def close(self) -> None:
        """Let go of the chunks; whoever took them must have been told to stop."""
        await self._taken.wait()
        close = getattr(self._chunks, "aclose", None)
        if close is not None:
            await close()
