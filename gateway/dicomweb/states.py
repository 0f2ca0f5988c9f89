"""Presentation states, and the images that they concern, as they have them (8.3.5.1).

A state is asked for by name along with an image (WADO-URI), or is itself what is
rendered: then each image that it refers to is a part of the answer.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from http import HTTPStatus

import orjson
from aiohttp import web

from gateway.archive import Archive, Instance, Manner
from gateway.dicom.hierarchy import Attributes, Level
from gateway.dicom.presentation import presentation_of, referenced_images
from gateway.dicom.render_options import RenderOptions
from gateway.dicom.subject import Kind
from gateway.dicomweb import looking, showing
from gateway.dicomweb.gathered import GONE
from gateway.dicomweb.looking import Shown
from gateway.dicomweb.picture_parts import PARTS, SINGLES, in_parts
from gateway.errors import BadRequest, NotAcceptable, NotFound, TooLarge
from gateway.web.conditional import etag, not_modified
from gateway.web.context import accept, gateway, instance_address, public_root
from gateway.web.replies import MULTIPART

#: What a state tells, so that the request may not.
_BY_THE_STATE = ("annotation", "viewport", "window")


@dataclass(frozen=True, slots=True)
class _Image:
    """An image that a state concerns, and how it is shown."""

    one: Shown
    numbers: Sequence[int]
    options: RenderOptions


async def attributes_of(archive: Archive, held: Instance) -> Attributes:
    """The attributes of a state, its tables among them."""
    found = archive.headers(
        Level.INSTANCE,
        *(held.study, held.series, held.uid),
        present=lambda *text: orjson.loads(text[3]),
        manner=Manner(values=True),
    )
    async with aclosing(found) as groups:
        attributes: Attributes = (await anext(groups))[0]
        return attributes


def presented(
    one: Shown,
    held: Instance,
    state: Attributes,
    numbers: Sequence[int],
    options: RenderOptions,
) -> RenderOptions:
    """How frames of an instance are shown by the state that is held there.

    Raises BadRequest if it does not concern them, NotAcceptable if that is not done here.
    """
    layout = one.subject.layout
    if layout is None or "MONOCHROME" not in layout.photometric_interpretation:
        raise NotAcceptable(
            "presentationUID: states are applied to shades of grey alone"
        )
    found = presentation_of(state, held.blob, one.instance.uid, numbers)
    return replace(options, presentation=found)


# -- rendered by itself ------------------------------------------------------------------


async def rendered(
    request: web.Request, held: Instance, options: RenderOptions
) -> web.StreamResponse:
    """The images of a state: parts, or a single picture if there is only one."""
    for name in _BY_THE_STATE:
        if name in request.query:
            raise BadRequest(f"{name}: the presentation state tells this")
    archive = gateway(request).archive
    state = await attributes_of(archive, held)
    images, lost = await _images(archive, held, state, options)
    if not images:
        raise NotFound("none of the images of this presentation state is held here")
    only = len(images) == 1 and not lost
    offers = SINGLES + PARTS if only and len(images[0].numbers) == 1 else PARTS
    offer = showing.chosen(accept(request), offers)
    if offer.kind != MULTIPART:
        image = images[0]
        return await showing.send_picture(
            request, image.one, image.numbers, image.options, offer.kind, state
        )
    return await _parts(request, images, state, str(offer.inner), lost=lost)


async def _images(
    archive: Archive, held: Instance, state: Attributes, options: RenderOptions
) -> tuple[list[_Image], bool]:
    """The images that a state refers to and that are held; whether others are not."""
    found: list[_Image] = []
    lost = False
    for series, uid, named in referenced_images(state):
        try:
            instance = await archive.instance(held.study, series, uid)
        except NotFound:
            lost = True
            continue
        one = await looking.shown(archive, instance)
        if one.subject.kind is not Kind.IMAGE:
            raise NotAcceptable("this presentation state concerns what is no image")
        if one.subject.frames > showing.MOST_FRAMES:
            raise TooLarge(
                f"a state is applied to images of up to {showing.MOST_FRAMES} frames"
            )
        every = range(1, one.subject.frames + 1)
        numbers = [number for number in named if number in every] or every
        shown_as = presented(one, held, state, numbers, options)
        found.append(_Image(one, numbers, shown_as))
    return found, lost


async def _parts(
    request: web.Request,
    images: Sequence[_Image],
    state: Attributes,
    kind: str,
    *,
    lost: bool,
) -> web.StreamResponse:
    options = images[0].options
    if lost:
        options = replace(options, warnings=(*options.warnings, GONE))
    headers = showing.common_headers(request, options)
    names = [image.one.instance.blob for image in images]
    shown_as = options.presentation.state if options.presentation else ""
    unchanged = not_modified(request, etag(request, kind, shown_as, *names), headers)
    if unchanged is not None:
        return unchanged
    status = HTTPStatus.PARTIAL_CONTENT if lost else HTTPStatus.OK
    pictures = _pictures(request, images, state, kind)
    return await in_parts(request, pictures, kind, headers, status)


async def _pictures(
    request: web.Request, images: Sequence[_Image], state: Attributes, kind: str
) -> AsyncGenerator[tuple[str, bytes], None]:
    for image in images:
        address = instance_address(public_root(request), image.one.instance)
        made = showing.pictures_of_frames(
            gateway(request), image.one, image.numbers, image.options, kind, state
        )
        async with aclosing(made):
            async for number, data in made:
                yield f"{address}/frames/{number}/rendered", data
