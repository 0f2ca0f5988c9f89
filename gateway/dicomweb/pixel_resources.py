"""The pixel data of a study, series or instance, frame by frame (PS3.18 10.4.1.1.6).

Each frame is negotiated and given as at its own address, which its part names. A video is
one part, at the address of its bulk data: it has no frames that could be cut out.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from aiohttp import web

from gateway.archive import Instance
from gateway.dicom.frames import check_whole
from gateway.dicom.pixels import PIXEL_DATA, PixelLayout
from gateway.dicom.subject import video_type
from gateway.dicomweb import bulk, frames, gathered
from gateway.dicomweb.frame_types import wanted, what_there_is
from gateway.dicomweb.frames import Frames
from gateway.dicomweb.gathered import Gathering, Tally
from gateway.errors import CannotTranscode, NotFound, Truncated
from gateway.web.context import accept, gateway
from gateway.web.context import uids as uids_of
from gateway.web.replies import MULTIPART
from gateway.web.transmission import Body
from gateway.wire.media import Offer, choose


async def retrieve(
    request: web.Request,
    study: str,
    series: str | None = None,
    instance: str | None = None,
) -> web.StreamResponse:
    """The frames of all images under an address, and videos."""
    gathering = Gathering(
        "pixel data", look=partial(_look, request), parts=partial(_parts, request)
    )
    return await gathered.answer(request, uids_of(study, series, instance), gathering)


async def _look(request: web.Request, held: Instance) -> Tally:
    layout = (await gateway(request).imaging.pixels(held)).layout
    if layout is None:
        return Tally()
    if video_type(held.transfer_syntax):
        offer = await _video(request, held)
        told = f'here there is {MULTIPART}; type="{video_type(held.transfer_syntax)}"'
        return Tally(str(offer.inner)) if offer else Tally(refused=1, offered=told)
    chosen = wanted(accept(request), layout, one=False)
    if chosen is None or not await _can_be_told_apart(request, held, layout):
        return Tally(refused=1, offered=what_there_is(layout))
    return Tally(chosen.media_type)


async def _can_be_told_apart(
    request: web.Request, held: Instance, layout: PixelLayout
) -> bool:
    """Whether it is known where all the frames of an instance are."""
    try:
        check_whole(layout)
        if layout.encapsulated:
            await gateway(request).imaging.stored_runs(held, [1])
    except (CannotTranscode, NotFound, Truncated):
        return False
    return True


async def _video(request: web.Request, held: Instance) -> Offer | None:
    """How a video is given, its own media type first."""
    value = await bulk.find(gateway(request).archive, held, PIXEL_DATA.lower())
    return choose(accept(request), bulk.parts_of(value)[::-1])


async def _parts(
    request: web.Request, held: Instance, boundary: str, first: bool
) -> AsyncGenerator[Body, None]:
    layout = (await gateway(request).imaging.pixels(held)).layout
    if layout is None:
        return
    of_kind = _video_parts if video_type(held.transfer_syntax) else _image_parts
    async with aclosing(of_kind(request, held, layout, boundary, first)) as bodies:
        async for body in bodies:
            yield body


async def _video_parts(
    request: web.Request, held: Instance, _: PixelLayout, boundary: str, first: bool
) -> AsyncGenerator[Body, None]:
    offer = await _video(request, held)
    if offer is not None:
        path, kind = PIXEL_DATA.lower(), str(offer.inner)
        value = await bulk.find(gateway(request).archive, held, path)
        for body in bulk.bodies(request, value, kind, boundary, first=first):
            yield body


async def _image_parts(
    request: web.Request,
    held: Instance,
    layout: PixelLayout,
    boundary: str,
    first: bool,
) -> AsyncGenerator[Body, None]:
    chosen = wanted(accept(request), layout, one=False)
    if chosen is None or not await _can_be_told_apart(request, held, layout):
        return
    numbers = range(1, layout.number_of_frames + 1)
    location = frames.location_of(request, held)
    found = Frames(held, layout, numbers, chosen, location)
    imaging = gateway(request).imaging
    async with aclosing(
        frames.bodies(imaging, found, boundary, first=first)
    ) as several:
        async for body in several:
            yield body
