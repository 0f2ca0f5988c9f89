"""The parts of an answer, one after the other, as they come.

Servers differ in what they answer to a retrieval: many parts, one file without any
multipart around it, nothing. What is handed on here is always parts. A part that ends
is whole; what was cut raises, so nobody takes half a file for a file.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from gateway.errors import BadRequest, RemoteFailure, Truncated
from gateway.remote.answer import Answer
from gateway.wire.media import parse_media_type
from gateway.wire.multipart import (
    Event,
    MultipartEnd,
    MultipartReader,
    PartBegin,
    PartData,
    PartEnd,
    boundary_of,
)

#: Bytes that may follow the closing delimiter; they mean nothing.
EPILOGUE = 64 * 1024


#: Bytes of a part; a memoryview holds the chunk of the answer that it points into.
Chunk = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Part:
    """A part whose headers are here."""

    headers: Mapping[str, str]  # names in lower case
    chunks: AsyncIterator[Chunk]  # ends only when the part is whole


class Parts:
    """An iterable of the parts of one answer; what is not read of one is skipped."""

    def __init__(self, answer: Answer, kinds: tuple[str, ...]) -> None:
        self._answer = answer
        self._failures = answer.failures
        self._kinds = kinds  # media types that a part may have
        self._number = 0  # of the part that was begun last
        self._events: AsyncGenerator[Event, None]
        self._open = False  # a part is not at its end yet
        self._all: AsyncGenerator[Part, None] | None = None
        self._one: AsyncGenerator[bytes, None] | AsyncGenerator[Chunk, None] | None = (
            None  # of the last part
        )

    @property
    def received(self) -> int:
        """Bytes of the answer that came so far."""
        return self._answer.received

    def __aiter__(self) -> AsyncIterator[Part]:
        """Each part, once; raises RemoteFailure for what is none."""
        self._all = self._each()
        return self._all

    async def aclose(self) -> None:
        """Stop, wherever the reader left off."""
        for generator in (self._one, self._all):
            if generator is not None:
                await generator.aclose()

    async def _each(self) -> AsyncGenerator[Part, None]:
        if self._answer.status == 204:
            return
        if self._answer.kind in self._kinds:
            self._number = 1
            self._one = self._answer.chunks()
            yield Part({"content-type": self._answer.kind}, self._one)
            return
        if not self._answer.kind.startswith("multipart/"):
            raise await self._foreign()
        async with aclosing(self._read(self._boundary())) as self._events:
            async for event in self._events:
                if isinstance(event, PartBegin):
                    self._check(event.headers)
                    self._open = True
                    self._one = self._chunks()
                    yield Part(event.headers, self._one)
                elif isinstance(event, PartEnd):
                    self._open = False
        if not self._number:
            what = "its multipart answer has no part at all"
            raise self._failures.nonsense(what, self._answer.status)

    def _boundary(self) -> str:
        try:
            media = parse_media_type(self._answer.headers["Content-Type"])
            return boundary_of(media.parameters)
        except BadRequest as error:
            raise self._unreadable(str(error)) from None

    async def _read(self, boundary: str) -> AsyncGenerator[Event, None]:
        """The events of the body, up to its closing delimiter."""
        reader = MultipartReader(boundary)
        after: int | None = None  # bytes since the closing delimiter
        async with aclosing(self._answer.chunks()) as chunks:
            async for chunk in chunks:
                if after is not None:
                    after += len(chunk)
                    if after > EPILOGUE:
                        return
                    continue
                for event in self._fed(reader, chunk):
                    yield event
                    if isinstance(event, MultipartEnd):
                        after = 0
        self._close(reader)

    def _fed(self, reader: MultipartReader, chunk: bytes) -> list[Event]:
        try:
            return reader.feed(chunk)
        except BadRequest as error:
            raise self._unreadable(str(error)) from None

    def _close(self, reader: MultipartReader) -> None:
        try:
            reader.close()
        except Truncated as error:
            what = str(error).rstrip(".")
            if self._number:
                raise self._failures.truncated(what, self._answer.status) from None
            if self._answer.received:
                what += "; is it the boundary of the Content-Type?"
                raise self._unreadable(what) from None
        except BadRequest as error:
            raise self._unreadable(str(error)) from None

    def _unreadable(self, what: str) -> RemoteFailure:
        what = f"its answer cannot be read: {what}"
        return self._failures.nonsense(what, self._answer.status)

    def _check(self, headers: Mapping[str, str]) -> None:
        """Raise unless the part is what was asked for; one that says nothing may be."""
        self._number += 1
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind and kind not in self._kinds:
            raise self._failures.nonsense(
                f"part {self._number} of its answer is {kind[:60]!r}"
                f" and not {self._kinds[0]}",
                self._answer.status,
            )

    async def _chunks(self) -> AsyncGenerator[Chunk, None]:
        """The bytes of the open part."""
        while self._open:
            event = await anext(self._events)
            if isinstance(event, PartData):
                yield event.body
            elif isinstance(event, PartEnd):
                self._open = False

    async def _foreign(self) -> RemoteFailure:
        return await self._answer.unexpected(
            f"it answered {self._answer.content_type or 'without any Content-Type'}"
            f" and not {self._kinds[0]}"
        )
