"""WADO-RS: instances go out (PS3.18 10.4).

Files that leave as they are stored do so byte for byte. Sizes are in the index, so that
an answer has its length and a reader sees when it is cut; what is missing is known before
the first byte. What is wanted in another transfer syntax is for `converted`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from http import HTTPStatus

from aiohttp import web

from gateway.archive import Instance, Piece
from gateway.dicom.hierarchy import Level
from gateway.dicomweb import bulk, bulk_resources, converted, pixel_resources, zip_rs
from gateway.dicomweb.gathered import GONE
from gateway.dicomweb.instance_types import (
    DICOM,
    MULTIPART,
    ZIP,
    all_as_stored,
    offer_of,
)
from gateway.errors import NotAcceptable, NotFound
from gateway.web.context import accept, gateway, instance_address, public_root
from gateway.web.context import uids as uids_of
from gateway.web.files import send_file
from gateway.web.observation import retrieved
from gateway.web.replies import streaming, warning
from gateway.web.transmission import transmit
from gateway.wire import multipart
from gateway.wire.media import MediaType, choose

#: Instances of an answer whose length is told beforehand; of more, each part's is.
LENGTH_KNOWN = 8192

# -- instances ---------------------------------------------------------------------------


async def retrieve(
    request: web.Request,
    study: str,
    series: str | None = None,
    instance: str | None = None,
) -> web.StreamResponse:
    """The instances of a study or series, or the one (PS3.18 10.4.1.1.1)."""
    uids = uids_of(study, series, instance)
    level = Level(len(uids))
    archive = gateway(request).archive
    held = await archive.transfer_syntaxes(level, *uids)
    if not held:
        # Absent is absent, whatever the client would have taken.
        async with aclosing(archive.instances(level, *uids)) as groups:
            await anext(groups)
        held = await archive.transfer_syntaxes(level, *uids)  # it has come just now
    offers = [offer_of(MULTIPART, held)]
    if level is Level.INSTANCE:
        offers.append(offer_of(DICOM, held))
    offers.append(offer_of(ZIP, held))
    ranges = accept(request)
    offer = choose(ranges, offers)
    if offer is None and (other := _alias(ranges)) is not None:
        return await other(request, study, series, instance)
    if offer is None:
        raise NotAcceptable(_what_there_is(level, held))
    as_stored = all_as_stored(ranges, offer.kind, held)
    if offer.kind == DICOM:
        retrieved(1)
        return await (_single if as_stored else converted.single)(request, uids)
    if offer.kind == ZIP:
        return await zip_rs.retrieve(request, uids, as_stored=as_stored)
    if not as_stored:
        return await converted.several(request, uids)
    async with aclosing(archive.instances(level, *uids)) as groups:
        return await _multipart(request, groups)


def _alias(
    ranges: Sequence[MediaType],
) -> Callable[..., Awaitable[web.StreamResponse]] | None:
    """The resource of parts that are no files, asked for here as in 2013 (10.4.4)."""
    for one in sorted(ranges, key=lambda one: -one.q):
        if one.kind == MULTIPART and one.q > 0 and one.inner is not None:
            if one.inner == bulk.OCTETS:
                return bulk_resources.retrieve
            if one.inner.startswith(("image/", "video/")):
                return pixel_resources.retrieve
    return None


def _what_there_is(level: Level, held: Iterable[str]) -> str:
    single = ", application/dicom" if level is Level.INSTANCE else ""
    syntaxes = ", ".join(sorted(held))
    return (
        f'here there is multipart/related; type="application/dicom"{single}, {ZIP},'
        f" with transfer-syntax {syntaxes}, or what can be made of it"
    )


async def _single(request: web.Request, uids: tuple[str, ...]) -> web.StreamResponse:
    archive = gateway(request).archive
    instance = await archive.instance(*uids)
    if not await archive.present([instance]):
        raise NotFound("the file of this instance is gone")
    return await send_file(
        request,
        instance,
        f"{DICOM}; transfer-syntax={instance.transfer_syntax}",
        {"Content-Location": instance_address(public_root(request), instance)},
    )


async def _multipart(
    request: web.Request, groups: AsyncIterator[list[Instance]]
) -> web.StreamResponse:
    """One part for each instance, as its file is."""
    boundary = multipart.new_boundary()
    root = public_root(request)
    response = web.StreamResponse(headers={"Vary": "Accept, Authorization"})
    response.headers["Content-Type"] = multipart.content_type(DICOM, boundary)
    pieces, complete, lost = await _first_pieces(request, groups, boundary)
    if lost:
        response.set_status(HTTPStatus.PARTIAL_CONTENT)
        response.headers.update(warning(request, GONE))
    if complete:
        response.content_length = sum(map(_length, pieces))
    archive = gateway(request).archive
    async with streaming(request, response) as body_wanted:
        if not body_wanted:
            return response
        await transmit(request, response, archive, pieces)
        if not complete:
            async for group in groups:
                more = _parts(request, root, boundary, group, first=False)
                await transmit(request, response, archive, more)
            await response.write(multipart.closing(boundary))
    return response


async def _first_pieces(
    request: web.Request,
    groups: AsyncIterator[list[Instance]],
    boundary: str,
) -> tuple[list[Piece], bool, bool]:
    """Pieces of the first instances, whether these are all, and whether some are lost.

    Raises NotFound if all are.
    """
    archive, root = gateway(request).archive, public_root(request)
    pieces: list[Piece] = []
    count = found = 0
    async for group in groups:
        there = await archive.present(group)
        pieces += _parts(request, root, boundary, there, first=not pieces)
        count += len(group)
        found += len(there)
        if count > LENGTH_KNOWN and found:
            return pieces, False, found < count
    if not found:
        raise NotFound("the files of these instances are gone")
    pieces.append(multipart.closing(boundary))
    return pieces, True, found < count


def _length(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece.stop - piece.start


def _parts(
    request: web.Request,
    root: str,
    boundary: str,
    instances: list[Instance],
    *,
    first: bool,
) -> list[Piece]:
    """The part of each instance: its header, then its file."""
    archive = gateway(request).archive
    retrieved(len(instances))
    pieces: list[Piece] = []
    for instance in instances:
        headers = (
            ("Content-Type", f"{DICOM}; transfer-syntax={instance.transfer_syntax}"),
            ("Content-Length", str(instance.size)),
            ("Content-Location", instance_address(root, instance)),
        )
        pieces.append(multipart.part_header(boundary, headers, first=first))
        pieces.append(archive.file_range(instance))
        first = False
    return pieces
