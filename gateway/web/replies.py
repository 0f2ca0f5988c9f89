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
from gateway.web.compression import Writer
from gateway.web.context import public_root
from gateway.wire import multipart

log = logging.getLogger(__name__)

JSON = "application/dicom+json"
XML = "application/dicom+xml"
MULTIPART = "multipart/related"

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
    headers: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    """An array of the JSON texts; no charset, clients compare the type by equality."""
    found, complete = await _gathered(texts)
    if complete:
        return web.Response(
            body=b"[" + b",".join(found) + b"]", content_type=JSON, headers=headers
        )
    response = web.StreamResponse(headers=headers)
    response.content_type = JSON
    writer = Writer(request, response)
    async with streaming(request, response) as wanted:
        if wanted:
            await writer.write(b"[" + b",".join(found))
            async for group in texts:
                await writer.write(b"," + b",".join(group))
            await writer.write(b"]")
            await writer.end()
    return response


async def xml_documents(
    request: web.Request,
    documents: AsyncIterator[list[bytes]],
    headers: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    """One part for each document (PS3.18 8.7.3.2); none is only the closing boundary."""
    boundary = multipart.new_boundary()
    response = web.StreamResponse(headers=headers)
    response.headers["Content-Type"] = multipart.content_type(XML, boundary)
    found, complete = await _gathered(documents)
    writer = Writer(request, response)
    async with streaming(request, response) as wanted:
        if wanted:
            await writer.write(b"".join(_parts(boundary, found, first=True)))
            if not complete:
                async for group in documents:
                    await writer.write(b"".join(_parts(boundary, group, first=False)))
            await writer.write(multipart.closing(boundary))
            await writer.end()
    return response


def _parts(boundary: str, documents: list[bytes], *, first: bool) -> Iterator[bytes]:
    for document in documents:
        headers = (("Content-Type", XML), ("Content-Length", str(len(document))))
        yield multipart.part_header(boundary, headers, first=first)
        yield document
        first = False


def warning(request: web.Request, *texts: str) -> dict[str, str]:
    """The Warning header that says so, none for nothing to say (PS3.18 8.4.2)."""
    root = public_root(request)
    told = ", ".join(f"299 {root}: {text}" for text in texts)
    return {"Warning": told} if told else {}


def no_content() -> web.Response:
    """Done, and nothing to say of it."""
    return web.Response(status=HTTPStatus.NO_CONTENT)
