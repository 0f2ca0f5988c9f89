"""Instances in another transfer syntax than they are held in (PS3.18 10.4.1.1.1).

What becomes of each instance is known from the index before the answer begins. The files
are made by other processes, some ahead of what the client has taken; the first is made
before the answer begins, so that what cannot be made is refused with a status.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from itertools import islice

from aiohttp import web

from gateway.archive import FileRange, Instance, Piece
from gateway.dicom.hierarchy import Level
from gateway.dicomweb.gathered import LEFT_OUT
from gateway.dicomweb.instance_types import (
    DICOM,
    MULTIPART,
    Choice,
    all_as_stored,
    choice,
)
from gateway.errors import CannotTranscode, NotAcceptable
from gateway.imaging import Imaging
from gateway.web.context import accept, gateway, instance_address, public_root
from gateway.web.files import Section, send_file
from gateway.web.observation import retrieved
from gateway.web.replies import streaming, warning
from gateway.web.transmission import transmit
from gateway.wire import multipart
from gateway.wire.media import MediaType


@dataclass(frozen=True, slots=True)
class Given:
    """An instance's bytes, as they go out."""

    content_type: str
    piece: FileRange


async def _choice(
    imaging: Imaging, ranges: Sequence[MediaType], kind: str, instance: Instance
) -> Choice | None:
    """What an instance goes out in."""
    stored = instance.transfer_syntax
    if all_as_stored(ranges, kind, [stored]):
        return Choice(stored, asked=False)
    pixels = await imaging.pixels(instance)
    return choice(
        ranges, kind, stored, lambda target: pixels.can_become(stored, target)
    )


@asynccontextmanager
async def _given(
    imaging: Imaging, instance: Instance, chosen: Choice
) -> AsyncIterator[Given]:
    """The bytes of an instance; raises CannotTranscode if nothing else would do."""
    target = chosen.transfer_syntax
    async with AsyncExitStack() as stack:
        piece = FileRange(instance.blob, 0, instance.size)
        if target != instance.transfer_syntax:
            try:
                made = imaging.transcoded(instance, target)
                piece = await stack.enter_async_context(made)
            except CannotTranscode:
                if chosen.asked:
                    raise
                target = instance.transfer_syntax
        yield Given(f"{DICOM}; transfer-syntax={target}", piece)


async def single(request: web.Request, uids: Sequence[str]) -> web.StreamResponse:
    """One instance, alone."""
    parts = gateway(request)
    instance = await parts.archive.instance(*uids)
    chosen = await _choice(parts.imaging, accept(request), DICOM, instance)
    if chosen is None:
        raise NotAcceptable(_refusal([instance]))
    async with _given(parts.imaging, instance, chosen) as given:
        section = None
        if given.piece.blob != instance.blob:
            blob = given.piece.blob
            section = Section(
                given.piece.stop,
                lambda start, stop: [FileRange(blob, start, stop)],
                label=f"-{chosen.transfer_syntax}",
            )
        return await send_file(request, instance, given.content_type, None, section)


def _refusal(instances: Sequence[Instance]) -> str:
    held = ", ".join(sorted({one.transfer_syntax for one in instances}))
    return f"none of these can be made of what is held in {held}"


async def several(request: web.Request, uids: Sequence[str]) -> web.StreamResponse:
    """A part for each instance that can be had as it is asked for."""
    found, partial = await choices(request, MULTIPART, uids)
    return await _send(request, found, partial=partial)


async def choices(
    request: web.Request, kind: str, uids: Sequence[str]
) -> tuple[list[tuple[Instance, Choice]], bool]:
    """What each instance goes out in, and whether some cannot be had as asked.

    Raises NotAcceptable if none can.
    """
    parts = gateway(request)
    ranges, level = accept(request), Level(len(uids))
    found: list[tuple[Instance, Choice]] = []
    refused: list[Instance] = []
    async with aclosing(parts.archive.instances(level, *uids)) as groups:
        async for group in groups:
            for one in group:
                chosen = await _choice(parts.imaging, ranges, kind, one)
                if chosen is None:
                    refused.append(one)
                else:
                    found.append((one, chosen))
    if not found:
        raise NotAcceptable(_refusal(refused))
    return found, bool(refused)


async def _send(
    request: web.Request, found: list[tuple[Instance, Choice]], *, partial: bool
) -> web.StreamResponse:
    boundary = multipart.new_boundary()
    response = web.StreamResponse(headers={"Vary": "Accept, Authorization"})
    response.headers["Content-Type"] = multipart.content_type(DICOM, boundary)
    if partial:
        response.set_status(HTTPStatus.PARTIAL_CONTENT)
        response.headers.update(warning(request, LEFT_OUT))
    async with aclosing(ahead(gateway(request).imaging, found)) as files:
        # What cannot be made is refused before the answer begins.
        first = await anext(files)
        async with streaming(request, response) as body_wanted:
            if body_wanted:
                await _part(request, response, boundary, found[0][0], first)
                for instance, _ in found[1:]:
                    given = await anext(files)
                    await _part(request, response, boundary, instance, given, False)
                await response.write(multipart.closing(boundary))
    return response


async def _part(
    request: web.Request,
    response: web.StreamResponse,
    boundary: str,
    instance: Instance,
    given: Given,
    first: bool = True,
) -> None:
    location = instance_address(public_root(request), instance)
    headers = (
        ("Content-Type", given.content_type),
        ("Content-Length", str(given.piece.stop)),
        ("Content-Location", location),
    )
    head = multipart.part_header(boundary, headers, first=first)
    pieces: list[Piece] = [head, given.piece]
    retrieved(1)
    await transmit(request, response, gateway(request).archive, pieces)


async def ahead(
    imaging: Imaging, found: list[tuple[Instance, Choice]]
) -> AsyncGenerator[Given, None]:
    """The files in turn, the next ones being made meanwhile; each is kept until then."""
    under_way: deque[asyncio.Task[tuple[AsyncExitStack, Given]]] = deque()
    waiting = iter(found)
    try:
        while True:
            for one in islice(waiting, imaging.at_once - len(under_way)):
                under_way.append(asyncio.ensure_future(_opened(imaging, *one)))
            if not under_way:
                return
            stack, given = await under_way[0]
            yield given
            await stack.aclose()
            del under_way[0]
    finally:
        for task in under_way:
            task.cancel()
        for ended in await asyncio.gather(*under_way, return_exceptions=True):
            if isinstance(ended, tuple):
                await ended[0].aclose()


async def _opened(
    imaging: Imaging, instance: Instance, chosen: Choice
) -> tuple[AsyncExitStack, Given]:
    async with AsyncExitStack() as stack:
        given = await stack.enter_async_context(_given(imaging, instance, chosen))
        return stack.pop_all(), given
