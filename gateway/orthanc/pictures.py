"""Pictures of frames by Orthanc's routes; frames are counted from 0 here."""

import asyncio
import gzip
from collections.abc import Sequence
from typing import Any

import orjson
from aiohttp import web

from gateway.archive import Instance
from gateway.dicom.extraction import Mode, matlab_of, numbers_of, picture_of
from gateway.dicom.hierarchy import Attributes
from gateway.dicom.job import Job, needed
from gateway.dicom.pictures import JPEG, PAM, PNG
from gateway.dicom.pixels import EXPLICIT_LITTLE_ENDIAN
from gateway.dicom.render import attributes_of
from gateway.dicom.render_options import (
    LARGEST_SIDE,
    RenderOptions,
    Window,
)
from gateway.dicom.transcode import Source
from gateway.errors import BadRequest, NotAcceptable, NotFound, TooLarge
from gateway.orthanc.answers import flag, reply
from gateway.orthanc.resources import last_part
from gateway.places import NOWHERE
from gateway.web.conditional import etag, not_modified
from gateway.web.context import accept, gateway
from gateway.web.transmission import send_made
from gateway.wire.media import Offer, choose

_OFFERS = (Offer(PNG), Offer(JPEG), Offer(PAM))
_MODES = {mode.value: mode for mode in Mode}
_OCTETS = "application/octet-stream"

#: What there is of a frame.
_OF_A_FRAME = [
    *("image-int16", "image-uint16", "image-uint8", "matlab", "numpy", "preview"),
    *("raw", "raw.gz", "rendered"),
]

#: Frames of an instance of which all values are given at once.
_MOST_FRAMES = 1000

#: Frames that are listed: there is a number in the answer for each.
_MOST_LISTED = 100_000


async def frames(request: web.Request, orthanc_id: str) -> web.StreamResponse:
    """The numbers of the frames that the file has room for: GET /instances/{id}/frames."""
    parts = gateway(request)
    _, pixels = await parts.imaging.find(orthanc_id)
    layout = pixels.layout
    if layout is None:
        return reply([0])
    count = min(layout.number_of_frames, max(layout.frames_at_most, 1))
    if count > _MOST_LISTED:
        raise TooLarge(f"more than {_MOST_LISTED} frames are not listed: ask for each")
    return reply(list(range(count)))


async def frame(
    request: web.Request, orthanc_id: str, frame: str
) -> web.StreamResponse:
    """What there is of a frame: GET /instances/{id}/frames/{n}."""
    await _found(request, orthanc_id, frame)
    return reply(_OF_A_FRAME)


async def picture(
    request: web.Request, orthanc_id: str, frame: str = "0"
) -> web.StreamResponse:
    """A picture of a frame: .../preview, rendered, image-uint8, image-uint16, -int16."""
    instance, number = await _found(request, orthanc_id, frame)
    mode = _MODES[last_part(request)]
    offer = choose(accept(request), _OFFERS)
    if offer is None:
        raise NotAcceptable(f"here there is {', '.join(o.kind for o in _OFFERS)}")
    options = _options(request)
    headers = {"Vary": "Accept, Authorization", "Cache-Control": "private, no-cache"}
    tag = etag(request, instance.blob, number, offer.kind)
    held = not_modified(request, tag, headers)
    if held is not None:
        return held
    job = await _job(request, instance, (number,), options, offer.kind)
    made = await gateway(request).imaging.picture(instance, picture_of, job, mode)
    return await send_made(request, made, offer.kind, headers)


async def numbers(
    request: web.Request, orthanc_id: str, frame: str = ""
) -> web.StreamResponse:
    """The values of a frame, or of all, for NumPy: .../numpy?rescale=&compress=."""
    instance, number = await _found(request, orthanc_id, frame or "0")
    layout = await gateway(request).imaging.layout(instance)
    if not frame and layout.number_of_frames > _MOST_FRAMES:
        raise BadRequest(f"there are more than {_MOST_FRAMES} frames: ask for each")
    rescaled, compressed = flag(request, "rescale", True), flag(request, "compress")
    wanted = (number,) if frame else tuple(range(1, layout.number_of_frames + 1))
    job = await _job(request, instance, wanted, RenderOptions(), PNG)
    made = await gateway(request).imaging.numbers(
        instance, numbers_of, job, rescaled, bool(frame), compressed
    )
    return web.Response(body=made, content_type=_OCTETS)


async def matlab(
    request: web.Request, orthanc_id: str, frame: str = "0"
) -> web.StreamResponse:
    """The values of a frame for MATLAB or Octave: .../matlab."""
    instance, number = await _found(request, orthanc_id, frame)
    job = await _job(request, instance, (number,), RenderOptions(), PNG)
    made = await gateway(request).imaging.numbers(instance, matlab_of, job)
    return web.Response(body=made, content_type="text/plain")


async def raw(request: web.Request, orthanc_id: str, frame: str) -> web.StreamResponse:
    """A frame as it is stored: .../frames/{n}/raw, or compressed as raw.gz."""
    instance, number = await _found(request, orthanc_id, frame)
    imaging = gateway(request).imaging
    layout = await imaging.layout(instance)
    target = layout.transfer_syntax if layout.encapsulated else EXPLICIT_LITTLE_ENDIAN
    stored = await imaging.frame(instance, number, target)
    if last_part(request) == "raw":
        return web.Response(body=stored, content_type=_OCTETS)
    packed = await asyncio.to_thread(gzip.compress, stored, 1)
    return web.Response(body=packed, content_type="application/gzip")


# -- what is asked for -------------------------------------------------------------------


async def _found(
    request: web.Request, orthanc_id: str, frame: str
) -> tuple[Instance, int]:
    """The instance, and the number of the frame from 1; raises NotFound."""
    instance, pixels = await gateway(request).imaging.find(orthanc_id)
    layout = pixels.known_layout
    if not (frame.isascii() and frame.isdigit() and len(frame) < 10):
        raise BadRequest("a frame is a whole number from 0 on")
    if int(frame) >= layout.number_of_frames:
        raise NotFound(
            f"no frame {frame}: they are 0 to {layout.number_of_frames - 1} here"
        )
    return instance, int(frame) + 1


def _options(request: web.Request) -> RenderOptions:
    center = _decimal(request, "window-center")
    width = _decimal(request, "window-width")
    window = None
    if center is not None or width is not None:
        window = Window(center or 0.0, 256.0 if width is None else width)
        if not window.is_valid:
            raise BadRequest("window-width is at least 1")
    return RenderOptions(
        quality=_whole(request, "quality", 100) or 90,
        width=_whole(request, "width", LARGEST_SIDE),
        height=_whole(request, "height", LARGEST_SIDE),
        window=window,
    )


def _decimal(request: web.Request, name: str) -> float | None:
    value = request.query.get(name)
    try:
        return None if value is None else float(value)
    except ValueError:
        raise BadRequest(f"{name} is no number") from None


def _whole(request: web.Request, name: str, largest: int) -> int | None:
    value = request.query.get(name, "0")
    if not (value.isascii() and value.isdigit()) or int(value) > largest:
        raise BadRequest(f"{name} is no whole number up to {largest}")
    return int(value) or None


async def _job(
    request: web.Request,
    instance: Instance,
    numbers: Sequence[int],
    options: RenderOptions,
    kind: str,
) -> Job:
    """All that pictures are made of but for what is read from the file."""
    parts = gateway(request)

    def prepare(
        header: bytes, places: dict[str, Any]
    ) -> tuple[list[Attributes], dict[str, Any]]:
        attributes = attributes_of(orjson.loads(header), numbers, options)
        return attributes, needed(attributes, places)

    attributes, places = await parts.archive.header(instance, prepare)
    layout = await parts.imaging.layout(instance)
    source = Source(NOWHERE, instance.transfer_syntax, layout)
    return Job(source, tuple(numbers), attributes, places, options, kind)
