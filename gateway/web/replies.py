"""Answers on their way out, streamed: arrays of JSON, documents of XML, files.

What is short goes out whole, with its length; what is long goes out as it is found. Once
the first byte is out, an error can only break the connection: a reader must never take
half an answer for a whole one (RFC 9112 8).
"""

import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus

from aiohttp import web

from gateway.errors import GatewayError
from gateway.web.answers import Gathering
from gateway.web.compression import Writer
from gateway.web.context import public_root
from gateway.wire import multipart

log = logging.getLogger(__name__)

JSON = "application/dicom+json"
XML = "application/dicom+xml"
MULTIPART = "multipart/related"

#: What every answer says that depends on what is held and on who asks.
PLAIN = {"Vary": "Accept, Authorization", "Cache-Control": "private, no-cache"}

#: An answer up to this many bytes goes out in one piece.
WHOLE = 256 * 1024


@asynccontextmanager
async def streaming(
    request: web.Request, response: web.StreamResponse
) -> AsyncIterator[bool]:
    """Send the head of the answer, then its body by `response.write` within.

    The value tells whether a body is wanted: HEAD has none. What goes wrong within
    breaks the connection, and so does a head that cannot be sent: by then the framing
    of the answer may be chosen, and no other answer would fit into it.
    """
    try:
        await response.prepare(request)
    except Exception:
        if request.transport is not None:
            request.transport.abort()
        raise
    try:
        yield request.method != "HEAD"
        await response.write_eof()
    except ConnectionError:
        log.debug("the client went away")
    except BaseException as error:
        if request.transport is not None:
            request.transport.abort()
        if not isinstance(error, Exception):
            raise
        unforeseen = error if not isinstance(error, GatewayError) else None
        log.warning(
            "%s %s broke off: %s",
            request.method,
            request.path,
            error,
            exc_info=unforeseen,
        )


async def _gathered(
    texts: AsyncIterator[list[bytes]],
) -> tuple[list[bytes], bool]:
    """Texts until there is enough to send, and whether that was all."""
    found: list[bytes] = []
    size = 0
    async for group in texts:
        found += group
        size += sum(map(len, group))
        if size > WHOLE:
            return found, False
    return found, True


async def json_array(
    request: web.Request,
    texts: AsyncIterator[list[bytes]],
    headers: Mapping[str, str],
    gathering: Gathering,
) -> web.StreamResponse:
    """An array of the JSON texts; no charset, clients compare the type by equality."""
    found, complete = await _gathered(texts)
    headers = {**headers, "Content-Type": JSON}
    if complete:
        body = b"[" + b",".join(found) + b"]"
        gathering.add(body)
        gathering.done(headers)
        return web.Response(body=body, headers=headers)
    response = web.StreamResponse(headers=headers)
    writer = Writer(request, response)
    async with streaming(request, response) as wanted:
        if wanted:
            async for text in _pieces(found, texts):
                gathering.add(text)
                await writer.write(text)
            await writer.end()
            gathering.done(headers)
    return response


async def _pieces(
    found: list[bytes], texts: AsyncIterator[list[bytes]]
) -> AsyncIterator[bytes]:
    yield b"[" + b",".join(found)
    async for group in texts:
        yield b"," + b",".join(group)
    yield b"]"


async def xml_documents(
    request: web.Request,
    documents: AsyncIterator[list[bytes]],
    headers: Mapping[str, str],
    gathering: Gathering,
) -> web.StreamResponse:
    """One part for each document (PS3.18 8.7.3.2); none is only the closing boundary."""
    boundary = multipart.new_boundary()
    headers = {**headers, "Content-Type": multipart.content_type(XML, boundary)}
    response = web.StreamResponse(headers=headers)
    found, _ = await _gathered(documents)
    writer = Writer(request, response)
    async with streaming(request, response) as wanted:
        if wanted:
            async for text in _in_parts(boundary, found, documents):
                gathering.add(text)
                await writer.write(text)
            await writer.end()
            gathering.done(headers)
    return response


async def _in_parts(
    boundary: str, found: list[bytes], documents: AsyncIterator[list[bytes]]
) -> AsyncIterator[bytes]:
    yield b"".join(_parts(boundary, found, first=True))
    async for group in documents:
        yield b"".join(_parts(boundary, group, first=False))
    yield multipart.closing(boundary)


def _parts(boundary: str, documents: list[bytes], *, first: bool) -> Iterator[bytes]:
    for document in documents:
        headers = (("Content-Type", XML), ("Content-Length", str(len(document))))
        yield multipart.part_header(boundary, headers, first=first)
        yield document
        first = False


def warning(request: web.Request, *texts: str) -> dict[str, str]:
    """The Warning header that says so, none for nothing to say (PS3.18 8.4.2)."""
    if not texts:
        return {}
    root = public_root(request)
    return {"Warning": ", ".join(f"299 {root}: {text}" for text in texts)}


def no_content() -> web.Response:
    """Done, and nothing to say of it."""
    return web.Response(status=HTTPStatus.NO_CONTENT)
