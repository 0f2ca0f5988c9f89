"""Frames: the pixels of an instance, one by one (PS3.18 10.4.1.1.6).

Frames of uncompressed little-endian files and compressed frames as they are stored go
straight from the file to the network. All others are made in other processes, a few
ahead of what the client has taken; the first is made before the answer begins, so that
what cannot be made is refused with a status.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from http import HTTPStatus
from urllib.parse import unquote

from aiohttp import web

from gateway.archive import Archive, Instance, Piece
from gateway.dicom import encoders
from gateway.dicom.frames import check_number, check_whole, native_run
from gateway.dicom.pixels import EXPLICIT_LITTLE_ENDIAN, PixelLayout
from gateway.dicomweb.frame_types import (
    Wanted,
    as_stored,
    wanted,
    wanted_by,
    what_there_is,
)
from gateway.errors import BadRequest, GatewayError, NotAcceptable
from gateway.imaging import Imaging
from gateway.web.context import accept, gateway, instance_address, public_root
from gateway.web.context import uids as uids_of
from gateway.web.files import Section, send_file
from gateway.web.replies import PLAIN, streaming
from gateway.web.transmission import Answer, Body, transmit
from gateway.web.whole import Whole
from gateway.wire import multipart

_LONGEST_NUMBER = 9

#: Frames whose places in the file are held at a time. An answer with more of them does
#: not tell its length: to count it is to look at each.
GROUP = 4096


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames of an instance that were asked for, and how they are given."""

    held: Instance
    layout: PixelLayout
    numbers: Sequence[int]
    wanted: Wanted
    location: str  # of the frames, with a last slash

    def head(self, boundary: str, number: int, size: int, *, first: bool) -> bytes:
        """What stands before a frame."""
        headers = (
            ("Content-Type", self.wanted.content_type),
            ("Content-Length", str(size)),
            ("Content-Location", f"{self.location}{number}"),
        )
        return multipart.part_header(boundary, headers, first=first)


async def retrieve(
    request: web.Request, study: str, series: str, instance: str, frames: str = ""
) -> web.StreamResponse:
    """Frames of an instance in the order they are asked for, or all of them."""
    parts = gateway(request)
    asked = _numbers(unquote(frames)) if frames else []
    held, pixels = await parts.imaging.find(*uids_of(study, series, instance))
    layout = pixels.known_layout
    for number in asked:
        check_number(layout, number)
    if not asked:
        check_whole(layout)
    numbers = asked or range(1, layout.number_of_frames + 1)
    chosen = _chosen(request, layout, one=len(numbers) == 1)
    if chosen is None:
        raise NotAcceptable(what_there_is(layout))
    found = Frames(held, layout, numbers, chosen, location_of(request, held))
    if len(numbers) > GROUP:
        return await _in_groups(request, found)
    runs = await stored(parts.imaging, found)
    if runs is not None:
        return await _given(request, found, runs)
    return await _made(request, found)


def frame_at_once(
    request: web.Request, study: str, series: str, instance: str, frames: str = ""
) -> Whole | None:
    """The same for one frame that lies in memory as it is wanted."""
    parts = gateway(request)
    held = parts.archive.known(study, series, instance)
    pixels = None if held is None else parts.imaging.known_pixels(held)
    layout = None if pixels is None else pixels.layout
    if held is None or layout is None or layout.encapsulated:
        return None
    try:
        (number,) = _numbers(frames)
        check_number(layout, number)
        chosen = _chosen(request, layout, one=True)
    except (GatewayError, ValueError):
        return None  # what is wrong, or more, is for `retrieve`
    if chosen is None or chosen.single:
        return None
    if chosen.transfer_syntax != as_stored(layout.transfer_syntax):
        return None
    span = native_run(layout, number)
    if span is None:
        return None
    found = Frames(held, layout, [number], chosen, location_of(request, held))
    run: list[Piece] = [Archive.file_range(held, span[0], span[0] + span[1])]
    boundary = multipart.new_boundary()
    pieces = pieces_of(found, [run], boundary, first=True)
    body = parts.archive.at_once([*pieces, multipart.closing(boundary)])
    return (
        None
        if body is None
        else Whole.of(HTTPStatus.OK, _headers(found, boundary), body)
    )


def _chosen(request: web.Request, layout: PixelLayout, *, one: bool) -> Wanted | None:
    if "accept" in request.query:
        return wanted(accept(request), layout, one=one)
    return wanted_by(tuple(request.headers.getall("Accept", ())), layout, one=one)


def location_of(request: web.Request, held: Instance) -> str:
    """The address of an instance's frames, with a last slash."""
    return f"{instance_address(public_root(request), held)}/frames/"


def _numbers(text: str) -> list[int]:
    """The numbers of a list, as they come."""
    numbers = []
    for part in text.split(","):
        if not part.isdecimal() or not part.isascii() or len(part) > _LONGEST_NUMBER:
            raise BadRequest(f"{part[:20]!r} is no number of a frame")
        numbers.append(int(part))
    if 0 in numbers:
        raise BadRequest("frames are counted from 1")
    return numbers


# -- frames that are in the file ---------------------------------------------------------


async def stored(imaging: Imaging, found: Frames) -> list[list[Piece]] | None:
    """The bytes of each frame in the file; None if frames are to be made."""
    layout = found.layout
    target = found.wanted.transfer_syntax
    if target != as_stored(layout.transfer_syntax):
        return None
    if layout.encapsulated:
        return await imaging.stored_runs(found.held, found.numbers)
    spans = [native_run(layout, number) for number in found.numbers]
    return [
        [Archive.file_range(found.held, span[0], span[0] + span[1])]
        for span in spans
        if span is not None
    ] or None


def pieces_of(
    found: Frames, runs: list[list[Piece]], boundary: str, *, first: bool
) -> list[Piece]:
    """The parts of frames that are in the file; `first` of an answer or not."""
    pieces: list[Piece] = []
    for number, run in zip(found.numbers, runs, strict=True):
        is_first = first and not pieces
        pieces.append(found.head(boundary, number, _size(run), first=is_first))
        pieces += run
    return pieces


def _size(pieces: Sequence[Piece]) -> int:
    return sum(
        len(piece) if isinstance(piece, bytes) else piece.stop - piece.start
        for piece in pieces
    )


def _cut(pieces: Sequence[Piece], start: int, stop: int) -> list[Piece]:
    """The bytes of the pieces from `start` up to `stop`."""
    cut: list[Piece] = []
    position = 0
    for piece in pieces:
        size = _size([piece])
        low, high = max(start - position, 0), min(stop - position, size)
        if low < high:
            if isinstance(piece, bytes):
                cut.append(piece[low:high])
            else:
                begin = piece.start
                cut.append(type(piece)(piece.blob, begin + low, begin + high))
        position += size
    return cut


async def _single(
    request: web.Request, found: Frames, pieces: Sequence[Piece]
) -> web.StreamResponse:
    number = found.numbers[0]
    section = Section(
        _size(pieces),
        lambda start, stop: _cut(pieces, start, stop),
        label=f"-{number}-{found.wanted.transfer_syntax}",
    )
    headers = {"Content-Location": f"{found.location}{number}"}
    content_type = found.wanted.content_type
    return await send_file(request, found.held, content_type, headers, section)


async def _given(
    request: web.Request, found: Frames, runs: list[list[Piece]]
) -> web.StreamResponse:
    if found.wanted.single:
        return await _single(request, found, runs[0])
    boundary = multipart.new_boundary()
    pieces = pieces_of(found, runs, boundary, first=True)
    pieces.append(multipart.closing(boundary))
    response = _response(found, boundary)
    response.content_length = _size(pieces)
    async with streaming(request, response) as body_wanted:
        if body_wanted:
            await transmit(request, response, gateway(request).archive, pieces)
    return response


async def _in_groups(request: web.Request, found: Frames) -> web.StreamResponse:
    """Very many frames: what is known of each is held for some of them only."""
    parts = gateway(request)
    boundary = multipart.new_boundary()
    async with aclosing(bodies(parts.imaging, found, boundary)) as several:
        body = await anext(several, None)
        response = _response(found, boundary)
        async with streaming(request, response) as body_wanted:
            while body_wanted and body is not None:
                await transmit(request, response, parts.archive, body)
                body = await anext(several, None)
            if body_wanted:
                await response.write(multipart.closing(boundary))
        return response


async def bodies(
    imaging: Imaging, found: Frames, boundary: str, *, first: bool = True
) -> AsyncGenerator[Body, None]:
    """The parts of frames: a group at a time from the file, or one by one as made."""
    for start in range(0, len(found.numbers), GROUP):
        some = replace(found, numbers=found.numbers[start : start + GROUP])
        runs = await stored(imaging, some)
        if runs is not None:
            yield pieces_of(some, runs, boundary, first=first)
            first = False
            continue
        numbers = iter(some.numbers)
        async with aclosing(made(imaging, some)) as frames:
            async for frame in frames:
                head = some.head(boundary, next(numbers), len(frame), first=first)
                yield [head, frame]
                first = False


def _response(found: Frames, boundary: str) -> web.StreamResponse:
    return Answer(headers=_headers(found, boundary))


def _headers(found: Frames, boundary: str) -> dict[str, str]:
    content_type = multipart.content_type(found.wanted.media_type, boundary)
    return {**PLAIN, "Content-Type": content_type}


# -- frames that are made ----------------------------------------------------------------


async def _made(request: web.Request, found: Frames) -> web.StreamResponse:
    parts = gateway(request)
    async with aclosing(made(parts.imaging, found)) as frames:
        first = await anext(frames)
        if found.wanted.single:
            return await _single(request, found, [first])
        boundary = multipart.new_boundary()
        response = _response(found, boundary)
        if found.wanted.transfer_syntax == EXPLICIT_LITTLE_ENDIAN:
            response.content_length = _length(found, boundary)
        async with streaming(request, response) as body_wanted:
            if body_wanted:
                body = _body(found, boundary, first, frames)
                await transmit(request, response, parts.archive, body)
        return response


def _length(found: Frames, boundary: str) -> int:
    """The length of an answer whose frames are not compressed."""
    layout = found.layout
    plain = encoders.decoded(layout) if layout.encapsulated else layout
    size = -(-plain.frame_bits // 8)
    total = len(multipart.closing(boundary)) + size * len(found.numbers)
    for place, number in enumerate(found.numbers):
        total += len(found.head(boundary, number, size, first=place == 0))
    return total


async def _body(
    found: Frames, boundary: str, frame: bytes, frames: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    for place, number in enumerate(found.numbers):
        if place:
            frame = await anext(frames)
        yield found.head(boundary, number, len(frame), first=place == 0)
        yield frame
    yield multipart.closing(boundary)


async def made(imaging: Imaging, found: Frames) -> AsyncGenerator[bytes, None]:
    """The frames in turn, the next ones being made meanwhile."""
    target = found.wanted.transfer_syntax
    under_way: deque[asyncio.Task[bytes]] = deque()
    numbers = iter(found.numbers)
    try:
        while True:
            while len(under_way) < imaging.at_once:
                number = next(numbers, None)
                if number is None:
                    break
                work = imaging.frame(found.held, number, target)
                under_way.append(asyncio.ensure_future(work))
            if not under_way:
                return
            yield await under_way[0]
            del under_way[0]
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
