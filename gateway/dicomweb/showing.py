"""Pictures of instances, for WADO-RS and WADO-URI alike.

What there is to see of an instance is found in its header; frames are read in a thread
and made into pictures where the work keeps nobody waiting. Videos, documents and reports
are given as they are or as text.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar

import orjson
from aiohttp import web

from gateway.archive import Instance
from gateway.dicom import report
from gateway.dicom.hierarchy import Attributes
from gateway.dicom.icons import icon
from gateway.dicom.job import Job, needed, perform
from gateway.dicom.pictures import GIF, JP2, JPEG, KINDS, PNG
from gateway.dicom.presentation import with_state
from gateway.dicom.render import attributes_of
from gateway.dicom.render_options import RenderOptions, check_quality
from gateway.dicom.subject import DOCUMENT, Kind, Subject
from gateway.dicom.transcode import Source
from gateway.dicom.xml import to_xml
from gateway.dicomweb import bulk, looking
from gateway.dicomweb.looking import Header, Shown
from gateway.errors import NotAcceptable, NotFound, TooLarge
from gateway.places import NOWHERE
from gateway.web.conditional import etag, not_modified
from gateway.web.context import Gateway, check_charset, gateway
from gateway.web.files import send_file
from gateway.web.replies import warning
from gateway.web.transmission import send_made
from gateway.wire.media import Choice, MediaType, Offer, accept_of, choose

T = TypeVar("T")

#: Frames that one picture, or one request, may name.
MOST_FRAMES = 10_000

#: Frames of an instance that are read and held at a time.
_FRAMES_AT_A_TIME = 16

_PIXEL_DATA = "7fe00010"
_HTML, _PLAIN, _XML = "text/html", "text/plain", "text/xml"
_TEXTS = (_HTML, _PLAIN, _XML)
_ALIASES = {"image/jpg": JPEG, "image/pjpeg": JPEG, "image/j2k": JP2}
_UNSAFE = re.compile(r"[^0-9A-Za-z._-]")

__all__ = ["GIF", "JPEG", "KINDS", "PNG"]


# -- what can be given -------------------------------------------------------------------


def without_aliases(ranges: Sequence[MediaType]) -> list[MediaType]:
    """The media ranges, with the names that clients have for the usual types replaced."""
    return [
        MediaType(_ALIASES.get(r.kind, r.kind), r.parameters, (), r.q) for r in ranges
    ]


class Pictures(Choice):
    """Pictures that clients choose among, by whatever names they have for them."""

    def _choose(
        self, query_values: tuple[str, ...], header_values: tuple[str, ...]
    ) -> Offer | None:
        ranges = accept_of(query_values, header_values)
        return choose(without_aliases(ranges), self._offers)


def chosen(ranges: Sequence[MediaType], offers: Sequence[Offer]) -> Offer:
    """The offer to answer with; raises NotAcceptable with a list of them."""
    offer = choose(without_aliases(ranges), offers)
    if offer is None:
        names = (
            f'{offer.kind}; type="{offer.inner}"' if offer.inner else offer.kind
            for offer in offers
        )
        raise NotAcceptable(f"here there is {', '.join(names)}")
    return offer


def other_offers(subject: Subject) -> list[Offer]:
    """What can be given of an instance that is no image; raises NotFound if nothing."""
    if subject.kind is Kind.REPORT:
        return [Offer(kind) for kind in _TEXTS]
    if not subject.media_type:
        raise NotFound(
            "there is nothing to be shown of this instance: it has no image,"
            " no document and no report"
        )
    return [Offer(subject.media_type)]


# -- pictures ----------------------------------------------------------------------------


async def picture(
    parts: Gateway,
    one: Shown,
    numbers: Sequence[int],
    options: RenderOptions,
    kind: str,
    state: Attributes | None = None,
) -> bytes:
    """The picture of a frame, or of several as one that moves; in a presentation state."""
    job = await _job(parts, one, numbers, options, kind, state)
    return await _done(parts, one, job)


async def first_picture(
    parts: Gateway, uids: tuple[str, ...], options: RenderOptions, kind: str
) -> tuple[Instance, Shown | None, bytes | None]:
    """The instance at an address, and the picture of its first frame if that is light.

    If not, what there is to see of it. Raises NotFound.
    """

    def look(
        instance: Instance, header: bytes, places: dict[str, Any]
    ) -> tuple[Shown, Job | None]:
        one = looking.at_once(instance, header, places)
        if one.subject.kind is not Kind.IMAGE or one.header is None:
            return one, None
        check_quality(options, kind)
        return one, _prepared(one, one.header, (1,), options, kind)

    return await parts.imaging.picture_at(uids, perform, look, ((1,), options, kind))


async def pictures_of_frames(
    parts: Gateway,
    one: Shown,
    numbers: Sequence[int],
    options: RenderOptions,
    kind: str,
    state: Attributes | None = None,
) -> AsyncGenerator[tuple[int, bytes], None]:
    """The number and the picture of each frame; some are made ahead."""
    for start in range(0, len(numbers), _FRAMES_AT_A_TIME):
        some = numbers[start : start + _FRAMES_AT_A_TIME]
        job = await _job(parts, one, some, options, kind, state)
        works = [partial(_done, parts, one, each) for each in job.each()]
        async with aclosing(_ahead(works, parts.imaging.at_once)) as made:
            position = start
            async for data in made:
                yield numbers[position], data
                position += 1


async def pictures(
    parts: Gateway,
    instances: Sequence[Instance],
    options: RenderOptions,
    kind: str,
) -> AsyncGenerator[tuple[Instance, bytes], None]:
    """The picture of each image; of one with several frames, that stands for it."""

    async def made(instance: Instance) -> tuple[Instance, bytes]:
        one = await looking.shown(parts.archive, instance)
        number = [one.subject.representative]
        return instance, await picture(parts, one, number, options, kind)

    works = (partial(made, instance) for instance in instances)
    async with aclosing(_ahead(works, parts.imaging.at_once)) as results:
        async for result in results:
            yield result


async def _done(parts: Gateway, one: Shown, job: Job) -> bytes:
    return await parts.imaging.picture(one.instance, perform, job)


async def _job(
    parts: Gateway,
    one: Shown,
    numbers: Sequence[int],
    options: RenderOptions,
    kind: str,
    state: Attributes | None = None,
) -> Job:
    """All that pictures are made of but for what is read from the file."""
    check_quality(options, kind)
    if len(numbers) > MOST_FRAMES:
        raise TooLarge(f"more than {MOST_FRAMES} frames in one picture")

    def prepared(header: Header) -> Job:
        return _prepared(one, header, numbers, options, kind, state)

    if one.header is not None and len(numbers) == 1:
        return prepared(one.header)
    return await parts.archive.header(
        one.instance, lambda text, at: prepared(Header(orjson.loads(text), at))
    )


def _prepared(
    one: Shown,
    header: Header,
    numbers: Sequence[int],
    options: RenderOptions,
    kind: str,
    state: Attributes | None = None,
) -> Job:
    attributes = attributes_of(header.attributes, numbers, options)
    if state is not None:
        uid = one.instance.uid
        pairs = zip(attributes, numbers, strict=True)
        attributes = [with_state(each, state, uid, n) for each, n in pairs]
    source = Source(NOWHERE, one.instance.transfer_syntax, one.subject.layout)
    places = needed(attributes, header.places)
    return Job(source, tuple(numbers), attributes, places, options, kind)


async def _ahead(
    works: Iterable[Callable[[], Awaitable[T]]], count: int
) -> AsyncGenerator[T, None]:
    """The results in turn; so many more are under way while one is used."""
    tasks: deque[asyncio.Future[T]] = deque()
    try:
        for work in works:
            tasks.append(asyncio.ensure_future(work()))
            if len(tasks) > count:
                yield await tasks.popleft()
        while tasks:
            yield await tasks.popleft()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# -- answers -----------------------------------------------------------------------------


def common_headers(request: web.Request, options: RenderOptions) -> dict[str, str]:
    """The headers of every answer with pictures."""
    headers = {"Vary": "Accept, Authorization", "Cache-Control": "private, no-cache"}
    return (
        headers | warning(request, *options.warnings) if options.warnings else headers
    )


async def send_picture(
    request: web.Request,
    one: Shown,
    numbers: Sequence[int],
    options: RenderOptions,
    kind: str,
    state: Attributes | None = None,
) -> web.StreamResponse:
    """Answer with one picture, unless the client holds it already."""
    headers = common_headers(request, options)
    tag = _tag(request, one.instance, numbers, options, kind)
    held = not_modified(request, tag, headers)
    if held is not None:
        return held
    made = await picture(gateway(request), one, numbers, options, kind, state)
    return await send_made(request, made, kind, headers)


async def send_first(
    request: web.Request,
    instance: Instance,
    options: RenderOptions,
    kind: str,
    made: bytes,
) -> web.StreamResponse:
    """Answer a client that holds nothing with the picture of the first frame."""
    headers = common_headers(request, options)
    headers["ETag"] = _tag(request, instance, [1], options, kind)
    return await send_made(request, made, kind, headers)


def _tag(
    request: web.Request,
    instance: Instance,
    numbers: Sequence[int],
    options: RenderOptions,
    kind: str,
) -> str:
    shown_as = options.presentation.state if options.presentation else ""
    return etag(request, instance.blob, numbers, kind, shown_as)


async def send_icon(
    request: web.Request, one: Shown, options: RenderOptions, kind: str
) -> web.StreamResponse:
    """Answer with a small picture of what kind of instance this is."""
    word = one.subject.word
    if not word:
        raise NotFound("there is nothing in this instance that has a thumbnail")
    check_quality(options, kind)
    headers = common_headers(request, options)
    held = not_modified(request, etag(request, word, kind), headers)
    if held is not None:
        return held
    sides = [side for side in (options.width, options.height) if side]
    size = (options.width or sides[0], options.height or sides[0])
    work = (word, size, kind, options.quality)
    data = await gateway(request).imaging.once(("icon", *work), icon, *work)
    return web.Response(body=data, content_type=kind, headers=headers)


async def send_other(
    request: web.Request, one: Shown, offer: Offer
) -> web.StreamResponse:
    """Answer with a video, a document or a report."""
    if one.subject.kind is Kind.REPORT:
        return await _send_report(request, one.instance, offer.kind)
    archive = gateway(request).archive
    instance, subject = one.instance, one.subject
    if subject.kind is Kind.VIDEO:
        section = await bulk.joined(archive, instance, _PIXEL_DATA, None)
    else:
        section = await bulk.joined(archive, instance, DOCUMENT.lower(), subject.size)
    headers = {
        "Content-Disposition": f'inline; filename="{file_name(instance, offer.kind)}"',
        "Content-Security-Policy": report.CONTENT_SECURITY_POLICY,
    }
    if offer.kind == "application/pdf":
        del headers["Content-Security-Policy"]  # it would stop the browser's own viewer
    media_type = bulk.SPELLED.get(offer.kind, offer.kind)
    return await send_file(request, instance, media_type, headers, section)


def file_name(instance: Instance, kind: str) -> str:
    """A safe name for what is saved."""
    ending = {"application/dicom": "dcm", "video/mpeg": "mpg", "text/xml": "xml"}
    name = _UNSAFE.sub("_", instance.uid)
    return f"{name}.{ending.get(kind) or kind.split('/')[1]}"


async def _send_report(
    request: web.Request, instance: Instance, kind: str
) -> web.StreamResponse:
    headers = {
        "Vary": "Accept, Authorization",
        "Cache-Control": "private, no-cache",
        "Content-Security-Policy": report.CONTENT_SECURITY_POLICY,
    }
    check_charset(request)
    held = not_modified(request, etag(request, instance.blob, kind), headers)
    if held is not None:
        return held

    def text(header: bytes, places: dict[str, Any]) -> bytes:
        attributes = orjson.loads(header)
        if kind == _XML:
            return to_xml(attributes)
        written = report.as_html if kind == _HTML else report.as_text
        return written(attributes).encode()

    body = await gateway(request).archive.header(instance, text)
    return web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)
