"""WADO-RS: instances and their metadata go out (PS3.18 10.4).

Files leave as they are stored, byte for byte. Sizes are in the index, so that an answer
has its length and a reader sees when it is cut; what is missing is known before the first
byte.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from http import HTTPStatus

import orjson
from aiohttp import web

from gateway.archive import Instance, Piece
from gateway.dicom.hierarchy import Level
from gateway.dicom.xml import to_xml
from gateway.errors import NotAcceptable
from gateway.web.context import accept, gateway, public_root, uid
from gateway.web.files import send_file
from gateway.web.replies import JSON, XML, json_array, streaming, xml_documents
from gateway.web.transmission import transmit
from gateway.wire import multipart
from gateway.wire.media import (
    MediaType,
    Offer,
    choose,
    deciding_range,
)

_DICOM = "application/dicom"
_MULTIPART = "multipart/related"

#: Instances of an answer whose length is told beforehand; of more, each part's is.
LENGTH_KNOWN = 8192

_METADATA_OFFERS = (
    Offer(JSON),
    Offer("application/json"),
    Offer(_MULTIPART, XML),
)
_REFERENCE = b'"BulkDataURI":"'
_NAMES = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


def _uids(*texts: str | None) -> tuple[str, ...]:
    pairs = zip(texts, _NAMES, strict=False)
    return tuple(uid(text, name) for text, name in pairs if text is not None)


# -- instances ---------------------------------------------------------------------------


async def retrieve(
    request: web.Request,
    study: str,
    series: str | None = None,
    instance: str | None = None,
) -> web.StreamResponse:
    """The instances of a study or series, or the one (PS3.18 10.4.1.1.1)."""
    uids = _uids(study, series, instance)
    level = Level(len(uids))
    archive = gateway(request).archive
    held = await archive.transfer_syntaxes(level, *uids)
    offers = [Offer(_MULTIPART, _DICOM, tuple(held))]
    if level is Level.INSTANCE:
        offers.append(Offer(_DICOM, None, tuple(held)))
    ranges = accept(request)
    offer = choose(ranges, offers)
    if offer is None:
        # Absent is absent, whatever the client would have taken.
        async with aclosing(archive.instances(level, *uids)) as groups:
            await anext(groups)
        raise NotAcceptable(_what_there_is(level, held))
    if offer.kind == _DICOM:
        return await _single(request, uids)
    wanted = _wanted(ranges, held)
    async with aclosing(archive.instances(level, *uids)) as groups:
        return await _multipart(request, groups, wanted, partial=wanted < held)


def _what_there_is(level: Level, held: Iterable[str]) -> str:
    single = ", application/dicom" if level is Level.INSTANCE else ""
    syntaxes = ", ".join(sorted(held))
    return (
        f'here there is multipart/related; type="application/dicom"{single},'
        f" with transfer-syntax {syntaxes}"
    )


def _wanted(ranges: list[MediaType], held: frozenset[str]) -> frozenset[str]:
    """Which of the transfer syntaxes there are the client takes (PS3.18 8.7.8.1)."""
    return frozenset(
        syntax
        for syntax in held
        if deciding_range(ranges, Offer(_MULTIPART, _DICOM, (syntax,)))
    )


async def _single(request: web.Request, uids: tuple[str, ...]) -> web.StreamResponse:
    instance = await gateway(request).archive.instance(*uids)
    return await send_file(
        request, instance, f"{_DICOM}; transfer-syntax={instance.transfer_syntax}"
    )


async def _multipart(
    request: web.Request,
    groups: AsyncIterator[list[Instance]],
    wanted: frozenset[str],
    *,
    partial: bool,
) -> web.StreamResponse:
    """One part for each instance in a syntax that is wanted."""
    boundary = multipart.new_boundary()
    root = public_root(request)
    response = web.StreamResponse(headers={"Vary": "Accept, Authorization"})
    response.headers["Content-Type"] = multipart.content_type(_DICOM, boundary)
    if partial:
        response.set_status(HTTPStatus.PARTIAL_CONTENT)
    pieces, complete = await _first_pieces(request, groups, wanted, boundary)
    if complete:
        response.content_length = sum(map(_length, pieces))
    archive = gateway(request).archive
    async with streaming(request, response) as body_wanted:
        if not body_wanted:
            return response
        await transmit(request, response, archive, pieces)
        if not complete:
            async for group in groups:
                more = _parts(request, root, boundary, _of(group, wanted), first=False)
                await transmit(request, response, archive, more)
            await response.write(multipart.closing(boundary))
    return response


async def _first_pieces(
    request: web.Request,
    groups: AsyncIterator[list[Instance]],
    wanted: frozenset[str],
    boundary: str,
) -> tuple[list[Piece], bool]:
    """Pieces of the first instances, and whether these are all."""
    root = public_root(request)
    pieces: list[Piece] = []
    count = 0
    async for group in groups:
        instances = _of(group, wanted)
        pieces += _parts(request, root, boundary, instances, first=not pieces)
        count += len(instances)
        if count > LENGTH_KNOWN:
            return pieces, False
    pieces.append(multipart.closing(boundary))
    return pieces, True


def _of(group: list[Instance], wanted: frozenset[str]) -> list[Instance]:
    return [instance for instance in group if instance.transfer_syntax in wanted]


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
    pieces: list[Piece] = []
    for instance in instances:
        headers = (
            ("Content-Type", f"{_DICOM}; transfer-syntax={instance.transfer_syntax}"),
            ("Content-Length", str(instance.size)),
            ("Content-Location", _address(root, instance)),
        )
        pieces.append(multipart.part_header(boundary, headers, first=first))
        pieces.append(archive.file_range(instance))
        first = False
    return pieces


def _address(root: str, instance: Instance) -> str:
    return (
        f"{root}studies/{instance.study}/series/{instance.series}"
        f"/instances/{instance.uid}"
    )


# -- metadata ----------------------------------------------------------------------------


async def metadata(
    request: web.Request,
    study: str,
    series: str | None = None,
    instance: str | None = None,
) -> web.StreamResponse:
    """Headers of a study, series or instance (PS3.18 10.4.1.1.2)."""
    uids = _uids(study, series, instance)
    offer = choose(accept(request), _METADATA_OFFERS)
    if offer is None:
        raise NotAcceptable(
            "here there is application/dicom+json,"
            ' and multipart/related; type="application/dicom+xml"'
        )
    root = public_root(request).encode()
    as_xml = offer.inner == XML

    def present(study: str, series: str, instance: str, header: bytes) -> bytes:
        base = b"%sstudies/%s/series/%s/instances/%s/" % (
            root,
            study.encode(),
            series.encode(),
            instance.encode(),
        )
        # Only a key can look like this: within a text, quotes are escaped.
        absolute = header.replace(_REFERENCE, _REFERENCE + base)
        return to_xml(orjson.loads(absolute)) if as_xml else absolute

    headers = {"Vary": "Accept, Authorization", "Cache-Control": "private, no-cache"}
    reply = xml_documents if as_xml else json_array
    found = gateway(request).archive.headers(Level(len(uids)), *uids, present=present)
    async with aclosing(found) as texts:
        return await reply(request, texts, headers)
