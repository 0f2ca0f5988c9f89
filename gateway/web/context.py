"""What every handler gets: the parts of the gateway, and what a request says of itself."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass

import aiohttp
from aiohttp import StreamReader, web

from gateway.archive import Instance
from gateway.config.settings import Settings
from gateway.dicom.hierarchy import is_uid
from gateway.errors import BadRequest, TooLarge, TooSlow, Truncated, UnsupportedMedia
from gateway.imaging import Imaging
from gateway.jobs.engine import Engine
from gateway.remote.servers import Servers
from gateway.watch import WatchedArchive
from gateway.web.addresses import Addresses
from gateway.web.answers import Answers
from gateway.web.inflating import Inflating
from gateway.wire.inflating import CODINGS
from gateway.wire.media import Choice, MediaType, Offer, accept_of

#: Content codings that change nothing.
_AS_IT_IS = frozenset({"", "identity"})
_CODINGS = CODINGS | _AS_IT_IS


#: UTF-8 as queries name it, or anything.
_CHARSETS = frozenset({"utf-8", "utf8", "iso_ir 192", "iso-ir-192", "*"})

#: Pieces of a body that are smaller (bytes) are joined, and the next ones, too.
_SMALL, _SOME = 16 * 1024, 64

_NAMES = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


@dataclass(frozen=True, slots=True)
class Gateway:
    """The parts of a running gateway."""

    settings: Settings
    archive: WatchedArchive
    imaging: Imaging
    servers: Servers
    jobs: Engine
    addresses: Addresses
    version: str
    answers: Answers


@dataclass(frozen=True, slots=True)
class Ending:
    """How the whole server is told to end, all its processes."""

    stop: Callable[[], None]
    restart: Callable[[], None]  # with the configuration as it is then
    check: Callable[[], None]  # raises BadConfiguration if that cannot be used; blocks


GATEWAY = web.AppKey("gateway", Gateway)
ENDING = web.AppKey("ending", Ending)  # only where there is a server to be ended

#: In a request: the public address that what is held stands under, once it is known.
ROOT = web.RequestKey("root", str)


def gateway(request: web.Request) -> Gateway:
    """The gateway that a request came to."""
    return request.app[GATEWAY]


def public_root(request: web.Request) -> str:
    """The address of the DICOMweb server as this client sees it, with a last slash."""
    if ROOT not in request:
        request[ROOT] = gateway(request).addresses.root(
            request.headers, request.remote, request.secure
        )
    return request[ROOT]


def accept(request: web.Request) -> list[MediaType]:
    """The media types the client takes (PS3.18 8.3.3.1); raises BadRequest."""
    return accept_of(
        request.query.getall("accept", []), request.headers.getall("Accept", [])
    )


def chosen(request: web.Request, choice: Choice) -> Offer | None:
    """What the client chooses of what there is (PS3.18 8.7.8.1); raises BadRequest."""
    return choice.of(
        request.query.getall("accept", ()), request.headers.getall("Accept", ())
    )


def check_charset(request: web.Request) -> None:
    """Raise BadRequest if text is asked for in other characters than UTF-8 (8.3.3.2).

    The Accept-Charset header is passed over, as RFC 9110 12.5.2 wants it today.
    """
    if "charset" not in request.query:
        return
    asked = ",".join(request.query.getall("charset"))
    wanted = {name.split(";")[0].strip().lower() for name in asked.split(",")} - {""}
    if wanted and not wanted & _CHARSETS:
        raise BadRequest("charset: text is given in utf-8 here")


def uid(text: str, name: str) -> str:
    """A UID of an address; raises BadRequest naming it (PS3.18 8.1)."""
    if not is_uid(text):
        raise BadRequest(
            f"{name} is not a UID: digits and dots, at most 64 (PS3.5 9.1)"
        )
    return text


def uids(*texts: str | None) -> tuple[str, ...]:
    """The UIDs of an address, from the study down as far as it goes; raises BadRequest."""
    pairs = zip(texts, _NAMES, strict=False)
    return tuple(uid(text, name) for text, name in pairs if text is not None)


def instance_address(root: str, instance: Instance) -> str:
    """The public address of an instance under that of the DICOMweb server."""
    return (
        f"{root}studies/{instance.study}/series/{instance.series}"
        f"/instances/{instance.uid}"
    )


async def body(request: web.Request) -> AsyncIterator[bytes]:
    """The body as it arrives, inflated where it was compressed.

    Raises TooSlow when nothing comes for too long, TooLarge past the configured size,
    UnsupportedMedia for a coding nobody knows, Truncated when the client goes away.
    """
    settings = gateway(request).settings
    coding = _coding(request)
    limit = settings.maximum_request_body_size_mb * 1024 * 1024
    if limit and (request.content_length or 0) > limit:
        raise _too_large(limit)
    _go_on(request)
    content = request.content
    if content.is_eof() and coding in _AS_IT_IS and content.exception() is None:
        whole = content.read_nowait()  # all of it is here: nothing to wait for
        if limit and len(whole) > limit:
            raise _too_large(limit)
        if whole:
            yield whole
        return
    seen = 0
    chunks = _chunks(request, settings.http_request_timeout)
    if coding not in _AS_IT_IS:
        chunks = _inflated(chunks, coding)
    async with aclosing(chunks):
        async for chunk in chunks:
            seen += len(chunk)
            if limit and seen > limit:
                raise _too_large(limit)
            yield chunk


def _coding(request: web.Request) -> str:
    """What the body is compressed by; raises UnsupportedMedia."""
    coding = request.headers.get("Content-Encoding", "").strip().lower()
    if coding not in _CODINGS:
        raise UnsupportedMedia(f"Content-Encoding {coding[:40]!r} is not understood")
    return coding


async def _chunks(request: web.Request, seconds: int) -> AsyncGenerator[bytes, None]:
    """The pieces of a body as they came; those that its sender cut small are joined."""
    content, joined = request.content, 0
    is_cut_by_sender = request.content_length is None
    while True:
        if request.transport is None and not content.is_eof():
            # A reader of a connection that is gone says so in a way of its own.
            raise Truncated("the body cannot be read to its end")
        piece = await _next_chunk(content, seconds, joined > 0)
        if piece:
            yield piece
            is_small = is_cut_by_sender and len(piece) < _SMALL
            joined = _SOME if is_small else joined - 1
        elif content.at_eof():
            return


async def _inflated(
    chunks: AsyncGenerator[bytes, None], coding: str
) -> AsyncGenerator[bytes, None]:
    inflating = Inflating(coding)
    async for chunk in chunks:
        for piece in inflating.feed(chunk):
            yield piece
    inflating.end()


def _go_on(request: web.Request) -> None:
    """Tell a client that waits for it to send the body (RFC 9110 10.1.1).

    Only now: whoever may not come in, or sends what is not taken, has been told so
    before it sent gigabytes.
    """
    if (
        request.headers.get("Expect", "").lower() == "100-continue"
        and request.version >= aiohttp.HttpVersion11
        and request.transport is not None
    ):
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _next_chunk(content: StreamReader, seconds: int, is_joined: bool) -> bytes:
    """The next piece, or all that is here in one; none at the end, or of a chunk."""
    try:
        if content.is_eof():  # all of it is here: nothing to wait for
            return await content.readany()
        async with asyncio.timeout(seconds or None):
            if is_joined:
                return await content.readany()
            return (await content.readchunk())[0]
    except TimeoutError:
        raise TooSlow(f"nothing of the body came for {seconds} s") from None
    except (web.RequestPayloadError, ConnectionError) as error:
        raise Truncated("the body cannot be read to its end") from error
    except (aiohttp.ClientPayloadError, aiohttp.http.HttpProcessingError) as error:
        raise BadRequest("the body is not encoded as it says") from error


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than the {limit} bytes that are taken here")
