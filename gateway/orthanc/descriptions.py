"""What files say of themselves: their attributes, one by one or as far as they agree."""

from contextlib import aclosing
from typing import Any

import orjson
from aiohttp import web

from gateway.dicom.header import meta_of
from gateway.dicom.hierarchy import PATIENT_TAGS, Attributes, Level
from gateway.errors import NotFound
from gateway.orthanc.answers import joined, reply
from gateway.orthanc.resources import last_part, manner_of, resource_of
from gateway.orthanc.tags import Manner, named_tag, shown
from gateway.web.context import gateway

#: Bytes that hold the file meta information of any file.
_META = 1024 * 1024

_PATIENT_MODULE = PATIENT_TAGS | {
    *("00080204", "00100024", "00100026", "00100027", "00100028", "00101002"),
    *("00101100", "00102201", "00102202", "00102292", "00102293", "00102294"),
    *("00102295", "00102296", "00102297", "00102298", "00102299", "00120062"),
    *("00120063", "00120064"),
}
_STUDY_MODULE = frozenset(
    {
        *("00080020", "00080030", "00080050", "00080051", "00080090", "00080096"),
        *("0008009C", "0008009D", "00081030", "00081032", "00081048", "00081049"),
        *("00081060", "00081062", "00081110", "0020000D", "00200010", "00321034"),
        *("00401012",),
    }
)
_SERIES_MODULE = frozenset(
    {
        *("00080021", "00080031", "00080060", "0008103E", "0008103F", "00081050"),
        *("00081052", "00081070", "00081072", "00081111", "00081250", "00180015"),
        *("00181030", "00185100", "0020000E", "00200011", "00200060", "00280108"),
        *("00280109", "00400244", "00400245", "00400250", "00400251", "00400253"),
        *("00400254", "00400260", "00400275", "00400280"),
    }
)
_INSTANCE_MODULE = frozenset(
    {
        *("00080005", "00080012", "00080013", "00080014", "00080015", "00080016"),
        *("00080018", "0008001A", "0008001B", "00080201", "00080304", "00100212"),
        *("00189004", "00200013", "0040E008", "0040A170", "01000410", "01000411"),
        *("01000414", "01000420", "01000424", "01000426", "04000500", "04000561"),
        *("FFFAFFFA",),
    }
)

#: The attributes of the module of each level (PS3.3 C.7.1.1, C.7.2.1, C.7.3.1, C.12.1).
_MODULES = {
    Level.PATIENT: _PATIENT_MODULE,
    Level.STUDY: _STUDY_MODULE,
    Level.SERIES: _SERIES_MODULE,
    Level.INSTANCE: _INSTANCE_MODULE,
}


def _whole(request: web.Request) -> frozenset[str]:
    """The tags whose text is shown however long it is: ?ignore-length=0020-4000."""
    names = ",".join(request.query.getall("ignore-length", []))
    return frozenset(named_tag(name) for name in names.split(",") if name.strip())


async def _header(request: web.Request, orthanc_id: str) -> Attributes:
    resource = await resource_of(request, orthanc_id, header=True)
    return resource.header


async def tags(request: web.Request, orthanc_id: str) -> web.StreamResponse:
    """All attributes: GET /instances/{id}/tags?simplify, ?short."""
    manner, whole = manner_of(request, Manner.FULL), _whole(request)
    return reply(shown(await _header(request, orthanc_id), manner, whole))


async def simplified(request: web.Request, orthanc_id: str) -> web.StreamResponse:
    """All attributes by their names: GET /instances/{id}/simplified-tags."""
    whole = _whole(request)
    return reply(shown(await _header(request, orthanc_id), Manner.SIMPLE, whole))


async def header(request: web.Request, orthanc_id: str) -> web.StreamResponse:
    """The file meta information: GET /instances/{id}/header."""
    archive = gateway(request).archive
    instance = await archive.by_orthanc_id(orthanc_id)
    meta = await archive.look(instance, lambda read: _meta_in(read(0, _META)))
    return reply(shown(meta, manner_of(request, Manner.FULL)))


def _meta_in(start: bytes) -> Attributes:
    found = {tag: e for tag, e in meta_of(start).items() if "Value" in e}
    if start[132:136] == b"\x02\x00\x00\x00":  # group lengths are not kept elsewhere
        length = int.from_bytes(start[140:144], "little")
        return {"00020000": {"vr": "UL", "Value": [length]}, **found}
    return found


# -- what several agree in ---------------------------------------------------------------


async def shared(request: web.Request, orthanc_id: str) -> web.StreamResponse:
    """What all instances below agree in: GET /studies/{id}/shared-tags."""
    found = await _shared(request, orthanc_id)
    return reply(shown(found, manner_of(request, Manner.FULL), _whole(request)))


async def module(request: web.Request, orthanc_id: str) -> web.StreamResponse:
    """The same of the module of the level: GET /studies/{id}/module."""
    resource = await resource_of(request, orthanc_id)
    is_of_patient = last_part(request) == "module-patient"
    module = _MODULES[Level.PATIENT if is_of_patient else resource.level]
    found = await _shared(request, orthanc_id)
    agreed = {tag: element for tag, element in found.items() if tag in module}
    return reply(shown(agreed, manner_of(request, Manner.FULL), _whole(request)))


async def _shared(request: web.Request, orthanc_id: str) -> Attributes:
    resource = await resource_of(request, orthanc_id)
    headers = gateway(request).archive.catalogue.headers(
        resource, lambda orthanc_id, header: header
    )
    agreed: Attributes | None = None
    async with aclosing(headers) as groups:
        async for group in groups:
            for one in group:
                agreed = one if agreed is None else _common(agreed, one)
    if agreed is None:
        raise NotFound("the resource has just gone")
    return agreed


def _common(first: Attributes, second: Attributes) -> Attributes:
    """What both have alike; values that stayed in their files are not compared."""
    return {
        tag: element
        for tag, element in first.items()
        if second.get(tag) == element and "BulkDataURI" not in element
    }


async def of_instances(request: web.Request, orthanc_id: str) -> web.StreamResponse:
    """The attributes of each instance below: GET /studies/{id}/instances-tags."""
    resource = await resource_of(request, orthanc_id)
    manner, whole = manner_of(request, Manner.FULL), _whole(request)

    def present(orthanc_id: str, header: Attributes) -> bytes:
        told: dict[str, Any] = shown(header, manner, whole)
        return orjson.dumps(orthanc_id) + b":" + orjson.dumps(told)

    headers = gateway(request).archive.catalogue.headers(resource, present)
    async with aclosing(headers) as groups:
        return await joined(request, groups, b"{}")
