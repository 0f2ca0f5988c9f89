"""Files of instances: whole, in another form, or a value in them."""

from contextlib import aclosing

import orjson
from aiohttp import web

from gateway.archive import FileRange, Instance, Manner
from gateway.dicom.bulk import ReadAt
from gateway.dicom.content import LIST, content_of
from gateway.dicom.dictionary import tag_of
from gateway.dicom.header import DEFLATED
from gateway.dicom.hierarchy import Level, is_uid
from gateway.dicom.pixels import PIXEL_DATA, PixelLayout
from gateway.dicom.subject import PDF, Kind, subject_of
from gateway.dicom.transcode import can_transcode
from gateway.dicom.xml import to_xml
from gateway.errors import BadRequest, NotFound
from gateway.orthanc.answers import reply
from gateway.web import files
from gateway.web.context import accept, gateway
from gateway.web.files import Section, send_file
from gateway.web.whole import Whole
from gateway.wire.media import Offer, choose

_DICOM = "application/dicom"
_JSON = "application/dicom+json"
_XML = "application/dicom+xml"
_OFFERS = (Offer(_DICOM), Offer(_JSON), Offer(_XML))
_ANY = frozenset({"*/*", _DICOM})  # what is accepted, if it is nothing else
_OCTETS = "application/octet-stream"
_ITEM_HEADER = 8  # bytes before each fragment


async def file(request: web.Request, orthanc_id: str) -> web.StreamResponse:
    """The file: GET /instances/{id}/file?transcode=; or its attributes, by Accept."""
    instance = await gateway(request).archive.by_orthanc_id(orthanc_id)
    offer = choose(accept(request), _OFFERS)
    if offer is not None and offer.kind != _DICOM:
        return await _attributes(request, instance, offer.kind)
    target = request.query.get("transcode", instance.transfer_syntax)
    if not is_uid(target):
        raise BadRequest(f"Unknown transfer syntax: {target[:64]}")
    headers = _named(instance)
    if target == instance.transfer_syntax:
        return await send_file(request, instance, _DICOM, headers)
    return await _transcoded(request, instance, target, headers)


def file_at_once(request: web.Request, orthanc_id: str) -> Whole | None:
    """The same, where there is nothing to ask and nothing to make."""
    instance = gateway(request).archive.known(orthanc_id)
    wanted = request.headers.get("Accept", "*/*")
    if instance is None or wanted not in _ANY or request.rel_url.raw_query_string:
        return None
    return files.file_at_once(request, instance, _DICOM, _named(instance))


def _named(instance: Instance) -> dict[str, str]:
    name = f'attachment; filename="{instance.orthanc_id}.dcm"'
    return {"Content-Disposition": name}


async def _transcoded(
    request: web.Request, instance: Instance, target: str, headers: dict[str, str]
) -> web.StreamResponse:
    imaging = gateway(request).imaging
    layout = (await imaging.pixels(instance)).layout
    if not can_transcode(instance.transfer_syntax, layout, target):
        raise BadRequest(f"this instance cannot be had in the syntax {target}")
    async with imaging.transcoded(instance, target) as piece:
        section = Section(
            piece.stop,
            lambda start, stop: [FileRange(piece.blob, start, stop)],
            label=f"-{target}",
        )
        return await send_file(request, instance, _DICOM, headers, section)


async def _attributes(
    request: web.Request, instance: Instance, kind: str
) -> web.StreamResponse:
    """The attributes of a file in the forms of the standard (PS3.18 F)."""

    def present(study: str, series: str, uid: str, header: bytes) -> bytes:
        return header if kind == _JSON else to_xml(orjson.loads(header))

    uids = (instance.study, instance.series, instance.uid)
    found = gateway(request).archive.headers(
        Level.INSTANCE, *uids, present=present, manner=Manner(values=True)
    )
    async with aclosing(found) as groups:
        async for group in groups:
            return web.Response(body=group[0], content_type=kind)
    raise NotFound("the instance has just gone")


async def pdf(request: web.Request, orthanc_id: str) -> web.StreamResponse:
    """The document in an instance: GET /instances/{id}/pdf."""
    archive = gateway(request).archive
    instance = await archive.by_orthanc_id(orthanc_id)
    resource = await archive.catalogue.resource(Level.INSTANCE, orthanc_id, header=True)
    subject = subject_of(resource.header, instance.transfer_syntax, {})
    if subject.kind is not Kind.DOCUMENT or subject.media_type != PDF:
        raise NotFound("there is no PDF in this instance")
    value = await _value(request, instance, ("0042-0011",))
    size = subject.size
    if isinstance(value, bytes):
        return web.Response(body=value[:size], content_type=PDF)
    if isinstance(value, list):
        raise NotFound("the PDF of this instance cannot be read")
    start = value.start
    section = Section(
        value.stop - start if size is None else min(size, value.stop - start),
        lambda low, high: [FileRange(value.blob, start + low, start + high)],
        label="-pdf",
    )
    return await send_file(request, instance, PDF, None, section)


# -- values ------------------------------------------------------------------------------


async def content(
    request: web.Request, orthanc_id: str, path: str = ""
) -> web.StreamResponse:
    """A value as it lies in the file, or what there is: GET .../content/0010-0010."""
    instance = await gateway(request).archive.by_orthanc_id(orthanc_id)
    parts = tuple(filter(None, path.split("/")))
    if parts and tag_of(parts[0]) == PIXEL_DATA:
        return await _pixels(request, instance, parts[1:])
    value = await _value(request, instance, parts)
    if isinstance(value, FileRange):
        return await _send(request, instance, value)
    if isinstance(value, list):
        return reply(value)
    return web.Response(body=value, content_type=_OCTETS)


async def _value(
    request: web.Request, instance: Instance, parts: tuple[str, ...]
) -> FileRange | bytes | list[str]:
    """Where a long value lies, a short one, or the names of what is inside."""
    parts_of = gateway(request)
    key = _key(parts)
    if key and instance.transfer_syntax not in DEFLATED:
        places = await parts_of.archive.header(instance, lambda header, places: places)
        if key in places:
            offset, length = places[key]
            return FileRange(instance.blob, offset, offset + length)
    source = await parts_of.imaging.source(instance)
    found = await parts_of.imaging.once(
        ("content", instance.blob, parts), content_of, source, parts
    )
    if found[:1] == LIST:
        names: list[str] = orjson.loads(found[1:])
        return names
    return found[1:]


def _key(parts: tuple[str, ...]) -> str:
    """The path as ingest noted it: items from 1, tags in hexadecimal; or nothing."""
    if len(parts) % 2 == 0:
        return ""
    names = [tag_of(part) or "" for part in parts[::2]]
    items = parts[1::2]
    if not all(names) or not all(item.isdecimal() for item in items):
        return ""
    pairs = zip([*items, ""], names, strict=True)
    return "".join(
        f"{name.lower()}{f'/{int(item) + 1}/' if item else ''}" for item, name in pairs
    )


async def _send(
    request: web.Request, instance: Instance, value: FileRange
) -> web.StreamResponse:
    section = Section(
        value.stop - value.start,
        lambda start, stop: [
            FileRange(value.blob, value.start + start, value.start + stop)
        ],
        label=f"-{value.start}",
    )
    return await send_file(request, instance, _OCTETS, None, section)


async def _pixels(
    request: web.Request, instance: Instance, parts: tuple[str, ...]
) -> web.StreamResponse:
    """The fragments of pixel data, the offset table being the first; or all, if plain."""
    layout = await gateway(request).imaging.layout(instance)
    if layout.is_deflated:
        raise BadRequest("the pixel data of a deflated file is in frames/{n}/raw")
    found = await gateway(request).archive.look(
        instance, lambda read: _fragments(layout, read)
    )
    if not parts:
        return reply([str(place) for place in range(len(found))])
    if len(parts) > 1 or not parts[0].isdecimal() or int(parts[0]) >= len(found):
        raise NotFound("there is no such fragment")
    start, stop = found[int(parts[0])]
    return await _send(request, instance, FileRange(instance.blob, start, stop))


def _fragments(layout: PixelLayout, read: ReadAt) -> list[tuple[int, int]]:
    start, stop = layout.offset, layout.offset + layout.length
    if not layout.encapsulated:
        return [(start, stop)]
    found = []
    while start + _ITEM_HEADER <= stop:
        length = int.from_bytes(read(start + 4, 4), "little")
        begin = start + _ITEM_HEADER
        found.append((begin, min(begin + length, stop)))
        start = begin + length
    return found
