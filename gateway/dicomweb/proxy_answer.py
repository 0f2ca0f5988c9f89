"""The answer of a remote server on its way to the client.

Most bodies go through byte for byte. Those that hold addresses, metadata and the parts of
multipart answers, are rewritten as they stream, see `gateway.wire.rewriting`. However
long an answer is, a chunk of it is in memory at a time, and the next is taken from the
remote once the client took this one. A remote that breaks off breaks the answer: half of
it never looks like the whole.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

from gateway.dicom.report import CONTENT_SECURITY_POLICY
from gateway.dicomweb.proxy_headers import OF_THE_BYTES, passed, weakened
from gateway.dicomweb.proxy_keeping import Keeping
from gateway.errors import BadRequest, RemoteFailure, TooSlow
from gateway.remote.answer import Answer
from gateway.web.compression import Writer
from gateway.web.context import gateway
from gateway.web.cors import add_vary
from gateway.web.replies import MULTIPART, streaming
from gateway.web.transmission import STALLED, transmit
from gateway.wire import multipart
from gateway.wire.media import MediaType, parse_media_type
from gateway.wire.multipart import (
    MultipartEnd,
    MultipartReader,
    PartBegin,
    PartData,
    boundary_of,
)
from gateway.wire.relocation import Relocation
from gateway.wire.rewriting import JsonRewriter, Rewriter
from gateway.wire.xml_rewriting import XmlRewriter

_DICOM = "application/dicom"
_JSON = ("application/dicom+json", "application/json")
_XML = ("application/dicom+xml", "application/xml", "text/xml")
_REFUSED = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
)
#: What a browser would run as a page of ours.
_PAGES = ("html", "xml", "svg", "text/")
_EMPTY = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
_CODINGS = ("", "identity", "gzip", "x-gzip", "deflate")

Chunks = AsyncGenerator[bytes, None]


@dataclass(frozen=True, slots=True)
class Passing:
    """An answer that is to be passed on."""

    answer: Answer
    relocation: Relocation
    keeping: Keeping | None = None  # takes the instances in it, if they are to be kept

    @property
    def media(self) -> MediaType:
        """What the body is; raises BadRequest if that cannot be read."""
        return parse_media_type(self.answer.headers.get("Content-Type", ""))

    @property
    def is_empty(self) -> bool:
        """Whether there is no body at all."""
        return self.answer.status in _EMPTY

    @property
    def is_rewritten(self) -> bool:
        """Whether there are addresses in the body."""
        try:
            kind = self.media.kind
        except BadRequest:
            return False
        return not self.is_empty and (kind in (MULTIPART, *_JSON, *_XML))

    @property
    def is_piece(self) -> bool:
        """Whether it is a piece of a body that cannot be rewritten in pieces."""
        return self.answer.status == HTTPStatus.PARTIAL_CONTENT and self.is_rewritten

    def failure(self, what: str) -> RemoteFailure:
        """What is said of a remote whose answer cannot be passed on."""
        return self.answer.failures.nonsense(what, self.answer.status)


async def check(answer: Answer) -> None:
    """Raise RemoteFailure for an answer that is not for the client.

    Passwords are between us and the remote, and so is where it may be found. A status
    of no known class means nothing (RFC 9110 15).
    """
    if not 200 <= answer.status < 600:
        what = f"it answered the status {answer.status}, which means nothing"
        raise answer.failures.nonsense(what, answer.status)
    elsewhere = 300 <= answer.status < 400 and answer.status not in _EMPTY
    if elsewhere or answer.status in _REFUSED:
        raise await answer.failure()


async def send(request: web.Request, passing: Passing) -> web.StreamResponse:
    """Pass an answer on; raises RemoteFailure as long as nothing is sent."""
    answer, relocation = passing.answer, passing.relocation
    if passing.is_piece:
        raise passing.failure("it answered a piece of what was asked for as a whole")
    response = web.StreamResponse(
        status=answer.status, headers=passed(answer.headers, relocation)
    )
    kind = answer.headers.get("Content-Type", "").lower()
    if any(page in kind for page in _PAGES):
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    add_vary(response, "Accept")
    add_vary(response, "Authorization")
    if passing.is_rewritten:
        return await _send_rewritten(request, response, passing)
    length = answer.headers.get("Content-Length", "")
    if length.isdecimal() and not passing.is_empty:
        response.content_length = int(length)
    body = _as_it_is(passing)
    async with streaming(request, response) as wanted, aclosing(body):
        if wanted and not passing.is_empty:
            await transmit(request, response, gateway(request).archive, body)
    return response


async def _send_rewritten(
    request: web.Request, response: web.StreamResponse, passing: Passing
) -> web.StreamResponse:
    for name in OF_THE_BYTES:
        response.headers.popall(name, None)
    if "ETag" in response.headers:
        response.headers["ETag"] = weakened(response.headers["ETag"])
    async with aclosing(_rewritten(passing)) as body:
        writer = Writer(request, response)
        async with streaming(request, response) as wanted:
            if wanted:
                await _write(writer, body)
    return response


async def _write(writer: Writer, body: Chunks) -> None:
    try:
        async for chunk in body:
            async with asyncio.timeout(STALLED):
                await writer.write(chunk)
        async with asyncio.timeout(STALLED):
            await writer.end()
    except TimeoutError:
        raise TooSlow("the client takes nothing") from None


# -- as it is ----------------------------------------------------------------------------


async def _as_it_is(passing: Passing) -> Chunks:
    keeping = passing.keeping
    if keeping is not None and passing.answer.kind == _DICOM:
        keeping.begin()
    async with aclosing(passing.answer.chunks()) as chunks:
        async for chunk in chunks:
            if keeping is not None:
                await keeping.write(chunk)
            yield chunk
    if keeping is not None:
        await keeping.end()
        await keeping.settle()


# -- rewritten ---------------------------------------------------------------------------


def _rewritten(passing: Passing) -> Chunks:
    """The body with its addresses moved; raises RemoteFailure if it cannot be read."""
    headers = passing.answer.headers
    coding = headers.get("Content-Encoding", "").strip().lower()
    if coding not in _CODINGS:
        raise passing.failure(f"it answered in the coding {coding[:40]!r}, unasked")
    location = headers.get("Content-Location")
    relocation = passing.relocation.at(location) if location else passing.relocation
    chunks = passing.answer.chunks(decode=True)
    media = passing.media
    rewriter = rewriter_of(media.kind, relocation)
    if rewriter is not None:
        return _text(chunks, rewriter)
    try:
        boundary = boundary_of(media.parameters)
    except BadRequest as error:
        raise passing.failure(f"its answer cannot be read: {error}") from error
    return _parts(passing, chunks, boundary, relocation)


def rewriter_of(kind: str, relocation: Relocation) -> Rewriter | None:
    """What moves the addresses in a text of this kind."""
    if kind in _JSON:
        return JsonRewriter(relocation)
    return XmlRewriter(relocation) if kind in _XML else None


async def _text(chunks: Chunks, rewriter: Rewriter) -> Chunks:
    async with aclosing(chunks):
        async for chunk in chunks:
            if text := rewriter.feed(chunk):
                yield text
    if text := rewriter.close():
        yield text


async def _parts(
    passing: Passing, chunks: Chunks, boundary: str, relocation: Relocation
) -> Chunks:
    """The same parts behind headers whose addresses are moved."""
    reader = MultipartReader(boundary)
    parts = _Parts(boundary, relocation, passing.keeping)
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                pieces: list[bytes | memoryview] = []
                for event in reader.feed(chunk):
                    pieces += await parts.take(event)
                if pieces:
                    yield b"".join(pieces)
        reader.close()
        if passing.keeping is not None:
            await passing.keeping.settle()
    except BadRequest as error:
        raise passing.failure(f"its answer cannot be read: {error}") from error


class _Parts:
    """The parts of a body on their way through."""

    def __init__(
        self, boundary: str, relocation: Relocation, keeping: Keeping | None
    ) -> None:
        self._boundary = boundary
        self._relocation = relocation
        self._keeping = keeping
        self._rewriter: Rewriter | None = None
        self._first = True

    async def take(self, event: multipart.Event) -> list[bytes | memoryview]:
        """What of an event is to be sent."""
        if isinstance(event, PartData):
            if self._rewriter is not None:
                return [self._rewriter.feed(bytes(event.body))]
            if self._keeping is not None:
                await self._keeping.write(event.body)
            return [event.body]
        if isinstance(event, PartBegin):
            return [self._begin(event.headers)]
        if isinstance(event, MultipartEnd):
            return [multipart.closing(self._boundary)]
        if self._rewriter is not None:
            return [self._rewriter.close()]
        if self._keeping is not None:
            await self._keeping.end()
        return []

    def _begin(self, headers: Mapping[str, str]) -> bytes:
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        location = headers.get("content-location")
        relocation = self._relocation.at(location) if location else self._relocation
        self._rewriter = rewriter_of(kind, relocation)
        if self._keeping is not None and kind == _DICOM:
            self._keeping.begin()
        told = []
        for name, value in headers.items():
            if name == "content-length" and self._rewriter is not None:
                continue
            if name == "content-location":
                value = self._relocation.moved(value)
            told.append((_spelled(name), value))
        first, self._first = self._first, False
        return multipart.part_header(self._boundary, told, first=first)


def _spelled(name: str) -> str:
    """The name of a header as viewers look for it."""
    if name == "mime-version":
        return "MIME-Version"
    return "-".join(word.capitalize() for word in name.split("-"))
