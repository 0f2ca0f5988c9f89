"""Pictures and thumbnails over WADO-RS (PS3.18 10.4.1.1.3 and 10.4.1.1.4).

One image is answered as it is wanted: JPEG, PNG, GIF, JPEG 2000, by itself or as the only
part of a multipart answer. Several images are parts of one answer; who takes nothing but
a single picture is told so (406), as PS3.18 10.4.4 has it. A study or series gives one
part for each instance with an image, in the order of their numbers; an instance gives one
for each frame, and by itself its first frame, or all of them as a GIF that moves. A
thumbnail is always one picture, of the image in the middle, with nothing written on it;
what has no image but can be shown has an icon.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from http import HTTPStatus

from aiohttp import web

from gateway.archive import Instance
from gateway.dicom.hierarchy import Level
from gateway.dicom.pictures import GIF
from gateway.dicom.render_options import (
    RenderOptions,
    rendered_options,
    thumbnail_of,
)
from gateway.dicom.subject import Kind
from gateway.dicomweb import looking, showing, states
from gateway.dicomweb.gathered import LEFT_OUT
from gateway.dicomweb.looking import Shown
from gateway.dicomweb.picture_parts import PARTS, SINGLES, in_parts
from gateway.errors import BadRequest, NotFound
from gateway.web.conditional import etag, not_modified
from gateway.web.context import (
    accept,
    chosen,
    gateway,
    instance_address,
    public_root,
)
from gateway.web.context import uids as uids_of
from gateway.web.replies import MULTIPART
from gateway.wire.media import Offer

_CHOICE = showing.Pictures(*SINGLES, *PARTS)

#: The box that a thumbnail fits into when the request names none.
THUMBNAIL_SIDE = 256

# -- rendered ----------------------------------------------------------------------------


async def rendered(
    request: web.Request,
    study: str,
    series: str | None = None,
    instance: str | None = None,
) -> web.StreamResponse:
    """The pictures of a study, series or instance."""
    uids = uids_of(study, series, instance)
    options = rendered_options(request.query)
    if len(uids) < Level.INSTANCE:
        return await _several(request, uids, options)
    kind, one = _single(request), None
    if kind is not None:
        found, one, made = await showing.first_picture(
            gateway(request), uids, options, kind
        )
        if made is not None:
            return await showing.send_first(request, found, options, kind, made)
    if one is None:
        one = await looking.found(gateway(request).archive, *uids)
    if one.subject.is_state:
        return await states.rendered(request, one.instance, options)
    return await _instance(request, one, options)


def _single(request: web.Request) -> str | None:
    """The media type of the one picture that is wanted, unless the client may hold it."""
    offer = chosen(request, _CHOICE)
    if offer is None or offer.kind in (MULTIPART, GIF):
        return None
    return None if "If-None-Match" in request.headers else offer.kind


async def _instance(
    request: web.Request, one: Shown, options: RenderOptions
) -> web.StreamResponse:
    if one.subject.kind is not Kind.IMAGE:
        offer = showing.chosen(accept(request), showing.other_offers(one.subject))
        return await showing.send_other(request, one, offer)
    offer = showing.chosen(accept(request), SINGLES + PARTS)
    every = range(1, one.subject.frames + 1)
    if offer.kind == MULTIPART:
        return await _frames(request, one, every, options, str(offer.inner))
    numbers = every if offer.kind == GIF else [1]
    return await showing.send_picture(request, one, numbers, options, offer.kind)


async def frames(
    request: web.Request, study: str, series: str, instance: str, frames: str
) -> web.StreamResponse:
    """The pictures of some frames of an instance."""
    one, numbers = await _found_frames(request, (study, series, instance), frames)
    options = rendered_options(request.query)
    single = SINGLES if len(numbers) == 1 else (Offer(GIF),)
    parts = PARTS if len(numbers) == 1 else ()
    several = () if len(numbers) == 1 else PARTS
    offer = showing.chosen(accept(request), (*several, *single, *parts))
    if offer.kind == MULTIPART:
        return await _frames(request, one, numbers, options, str(offer.inner))
    return await showing.send_picture(request, one, numbers, options, offer.kind)


async def _found_frames(
    request: web.Request, uids: Sequence[str], frames: str
) -> tuple[Shown, list[int]]:
    numbers = frame_numbers(frames)
    archive = gateway(request).archive
    one = await looking.found(archive, *uids_of(*uids))
    if one.subject.kind is not Kind.IMAGE:
        raise NotFound("this instance has no frames that can be shown")
    if max(numbers) > one.subject.frames:
        raise NotFound(
            f"no frame {max(numbers)}: the instance has {one.subject.frames}"
        )
    return one, numbers


def frame_numbers(text: str) -> list[int]:
    """A list of frames, counting from 1; raises BadRequest."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > showing.MOST_FRAMES:
        raise BadRequest(f"more than {showing.MOST_FRAMES} frames")
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise BadRequest("frames are whole numbers from 1 on, with commas between them")
    numbers = [int(part) for part in parts]
    if min(numbers) < 1:
        raise BadRequest("frames are counted from 1")
    return numbers


# -- several -----------------------------------------------------------------------------


async def _several(
    request: web.Request, uids: Sequence[str], options: RenderOptions
) -> web.StreamResponse:
    """The pictures of a study or series."""
    archive = gateway(request).archive
    instances, others = await looking.images(archive, Level(len(uids)), uids)
    if len(instances) + others < 2:
        only = await _only(request, uids, instances)
        return await _instance(request, only, options)
    if not instances:
        raise NotFound("none of the images here can be decoded")
    offer = showing.chosen(accept(request), PARTS)
    kind = str(offer.inner)
    headers = showing.common_headers(request, options)
    blobs = (instance.blob for instance in instances)
    held = not_modified(request, etag(request, kind, *blobs), headers)
    if held is not None:
        return held
    pictures = showing.pictures(gateway(request), instances, options, kind)
    status = HTTPStatus.OK
    if others:
        status = HTTPStatus.PARTIAL_CONTENT
        options = replace(options, warnings=(*options.warnings, LEFT_OUT))
        headers |= showing.common_headers(request, options)
    return await in_parts(request, _located(request, pictures), kind, headers, status)


async def _only(
    request: web.Request, uids: Sequence[str], images: Sequence[Instance]
) -> Shown:
    """The one instance that can be shown of a study or series."""
    archive = gateway(request).archive
    if images:
        return await looking.shown(archive, images[0])
    async for one in _all_shown(request, uids):
        if one.subject.kind is not Kind.NOTHING:
            return one
    raise NotFound("there is no image here, no document and no report")


async def _all_shown(
    request: web.Request, uids: Sequence[str]
) -> AsyncGenerator[Shown, None]:
    archive = gateway(request).archive
    async with aclosing(archive.instances(Level(len(uids)), *uids)) as groups:
        async for group in groups:
            for instance in group:
                yield await looking.shown(archive, instance)


async def _located(
    request: web.Request, pictures: AsyncGenerator[tuple[Instance, bytes], None]
) -> AsyncGenerator[tuple[str, bytes], None]:
    async with aclosing(pictures):
        async for instance, data in pictures:
            yield f"{instance_address(public_root(request), instance)}/rendered", data


async def _frames(
    request: web.Request,
    one: Shown,
    numbers: Sequence[int],
    options: RenderOptions,
    kind: str,
) -> web.StreamResponse:
    """The pictures of some frames as parts of one answer."""
    headers = showing.common_headers(request, options)
    tag = etag(request, one.instance.blob, numbers, MULTIPART, kind)
    held = not_modified(request, tag, headers)
    if held is not None:
        return held
    address = instance_address(public_root(request), one.instance)

    async def parts() -> AsyncGenerator[tuple[str, bytes], None]:
        found = showing.pictures_of_frames(
            gateway(request), one, numbers, options, kind
        )
        async with aclosing(found):
            async for number, data in found:
                yield f"{address}/frames/{number}/rendered", data

    return await in_parts(request, parts(), kind, headers, HTTPStatus.OK)


# -- thumbnails --------------------------------------------------------------------------


async def thumbnail(
    request: web.Request,
    study: str,
    series: str | None = None,
    instance: str | None = None,
) -> web.StreamResponse:
    """One small picture that stands for a study, series or instance."""
    uids = uids_of(study, series, instance)
    options = thumbnail_of(rendered_options(request.query), THUMBNAIL_SIDE)
    archive = gateway(request).archive
    if len(uids) == Level.INSTANCE:
        one = await looking.found(archive, *uids)
    else:
        found, _ = await looking.images(archive, Level(len(uids)), uids)
        one = await _standing(request, uids, found)
    offer = showing.chosen(accept(request), SINGLES)
    if one.subject.kind is not Kind.IMAGE:
        return await showing.send_icon(request, one, options, offer.kind)
    number = [one.subject.representative]
    return await showing.send_picture(request, one, number, options, offer.kind)


async def _standing(
    request: web.Request, uids: Sequence[str], images: Sequence[Instance]
) -> Shown:
    """What stands for a study or series: an image, or else what has an icon."""
    archive = gateway(request).archive
    if images:
        return await looking.shown(archive, images[len(images) // 2])
    async for one in _all_shown(request, uids):
        if one.subject.word:
            return one
    raise NotFound("there is nothing here that could stand for the rest")


async def frame_thumbnail(
    request: web.Request, study: str, series: str, instance: str, frames: str
) -> web.StreamResponse:
    """One small picture of a frame, the first of those that are named."""
    options = thumbnail_of(rendered_options(request.query), THUMBNAIL_SIDE)
    one, numbers = await _found_frames(request, (study, series, instance), frames)
    offer = showing.chosen(accept(request), SINGLES)
    return await showing.send_picture(request, one, numbers[:1], options, offer.kind)
