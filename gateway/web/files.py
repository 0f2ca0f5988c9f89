"""A single file, or the part of it that was asked for (RFC 9110 13 and 14).

Range, If-Range, ETag and the conditional headers, for answers that are one instance's
file. A blob never changes under its name, so its name makes a strong validator.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from http import HTTPStatus

from aiohttp import web

from gateway.archive import Instance
from gateway.web.context import gateway
from gateway.web.replies import streaming
from gateway.web.transmission import Answer, Body, transmit
from gateway.web.whole import Whole

_RANGE = re.compile(r"bytes=\s*([0-9]*)-([0-9]*)\s*", re.IGNORECASE)
_LONGEST_NUMBER = 19

#: What makes another answer than the whole file.
_SELECTIVE = (
    *("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"),
    *("If-Range", "Range"),
)


@dataclass(frozen=True, slots=True)
class Section:
    """What is answered as a whole: a file, or a value in it."""

    size: int  # bytes
    body: Callable[[int, int], Body]  # gives the bytes from, up to
    label: str = ""  # tells sections of one file apart


class _Unsatisfiable(Exception):
    """No byte of the range is there."""


async def send_file(
    request: web.Request,
    instance: Instance,
    content_type: str,
    headers: dict[str, str] | None = None,
    section: Section | None = None,
) -> web.StreamResponse:
    """Answer with an instance's file, or with what the request wants of it."""
    archive = gateway(request).archive
    section = section or Section(
        instance.size, lambda start, stop: [archive.file_range(instance, start, stop)]
    )
    common = _common(instance, section.label, headers)
    etag, (stored, _) = common["ETag"], _times(instance.stored)
    status = _condition(request, etag, stored)
    if status is not None:
        return web.Response(status=status, headers=common)
    try:
        span = _span(request, etag, section.size)
    except _Unsatisfiable:
        common["Content-Range"] = f"bytes */{section.size}"
        return web.Response(
            status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers=common
        )
    response = Answer(headers={**common, "Content-Type": content_type})
    start, stop = span or (0, section.size)
    if span is not None:
        response.set_status(HTTPStatus.PARTIAL_CONTENT)
        response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{section.size}"
    response.content_length = stop - start
    async with streaming(request, response) as wanted:
        if wanted:
            await transmit(request, response, archive, section.body(start, stop))
    return response


def file_at_once(
    request: web.Request,
    instance: Instance,
    content_type: str,
    headers: dict[str, str] | None = None,
) -> Whole | None:
    """The same answer, if the whole file is wanted, is short and lies in memory."""
    if any(name in request.headers for name in _SELECTIVE):
        return None
    archive = gateway(request).archive
    body = archive.at_once([archive.file_range(instance)])
    if body is None:
        return None
    told = {**_common(instance, "", headers), "Content-Type": content_type}
    return Whole.of(HTTPStatus.OK, told, body)


def _common(
    instance: Instance, label: str, headers: dict[str, str] | None
) -> dict[str, str]:
    """The headers of an answer, whatever it says of the file."""
    return {
        "ETag": f'"{instance.blob}{label}"',
        "Last-Modified": _times(instance.stored)[1],
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Vary": "Accept, Authorization",
        **(headers or {}),
    }


@lru_cache(1024)
def _times(stored: str) -> tuple[datetime, str]:
    """When an instance was stored, and as HTTP has it."""
    moment = datetime.strptime(stored, "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC)
    return moment, format_datetime(moment.replace(microsecond=0), usegmt=True)


def _tags(value: str) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in value.split(",")}


def _condition(request: web.Request, etag: str, stored: datetime) -> int | None:
    """The status that the conditional headers lead to; None to go on (RFC 9110 13.2.2)."""
    headers = request.headers
    second = stored.replace(microsecond=0)
    if "If-Match" in headers:
        if not _tags(headers["If-Match"]) & {etag, "*"}:
            return HTTPStatus.PRECONDITION_FAILED
    elif request.if_unmodified_since and second > request.if_unmodified_since:
        return HTTPStatus.PRECONDITION_FAILED
    if "If-None-Match" in headers:
        if _tags(headers["If-None-Match"]) & {etag, "*"}:
            return HTTPStatus.NOT_MODIFIED
    elif request.if_modified_since and second <= request.if_modified_since:
        return HTTPStatus.NOT_MODIFIED
    return None


def _span(request: web.Request, etag: str, size: int) -> tuple[int, int] | None:
    """The bytes that Range asks for; None for the whole.

    Several ranges, other units and what cannot be read are answered with the whole, as
    RFC 9110 14.2 allows.
    """
    if request.headers.get("If-Range", etag) != etag or request.method != "GET":
        return None
    found = _RANGE.fullmatch(request.headers.get("Range", ""))
    if found is None or found[1] == found[2] == "":
        return None
    if max(len(found[1]), len(found[2])) > _LONGEST_NUMBER:
        raise _Unsatisfiable
    if found[1] == "":
        start, stop = max(size - int(found[2]), 0), size
    else:
        start = int(found[1])
        stop = min(int(found[2]) + 1, size) if found[2] else size
        if found[2] and int(found[2]) < start:
            return None
    if start >= stop:
        raise _Unsatisfiable
    return start, stop
