"""Pictures as parts of one answer, each made when its turn comes (PS3.18 10.4.3.3.3)."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from http import HTTPStatus

from aiohttp import web

from gateway.dicom.pictures import KINDS
from gateway.web.replies import MULTIPART, streaming
from gateway.wire import multipart
from gateway.wire.media import Offer

#: What pictures can be given as: alone, or as parts.
SINGLES = tuple(Offer(kind) for kind in KINDS)
PARTS = tuple(Offer(MULTIPART, kind) for kind in KINDS)


async def in_parts(
    request: web.Request,
    pictures: AsyncGenerator[tuple[str, bytes], None],
    kind: str,
    headers: dict[str, str],
    status: HTTPStatus,
) -> web.StreamResponse:
    """One part for each picture; the first is made before anything is said."""
    boundary = multipart.new_boundary()
    async with aclosing(pictures):
        location, data = await anext(pictures)
        first = _part(boundary, location, kind, data, first=True)
        response = web.StreamResponse(status=status, headers=headers)
        response.headers["Content-Type"] = multipart.content_type(kind, boundary)
        async with streaming(request, response) as wanted:
            if wanted:
                await response.write(first)
                await _write_others(response, pictures, boundary, kind)
        return response


async def _write_others(
    response: web.StreamResponse,
    pictures: AsyncIterator[tuple[str, bytes]],
    boundary: str,
    kind: str,
) -> None:
    async for location, data in pictures:
        await response.write(_part(boundary, location, kind, data, first=False))
    await response.write(multipart.closing(boundary))


def _part(
    boundary: str, location: str, kind: str, data: bytes, *, first: bool
) -> bytes:
    headers = (
        ("Content-Type", kind),
        ("Content-Length", str(len(data))),
        ("Content-Location", location),
    )
    return multipart.part_header(boundary, headers, first=first) + data
