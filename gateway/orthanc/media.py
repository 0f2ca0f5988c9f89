"""Resources as zips to be written to a medium: short names, and a DICOMDIR (PS3.10 8)."""

import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime

from aiohttp import web

from gateway.archive import Archive, FileRange
from gateway.catalogue import Resource
from gateway.dicom.dicomdir import Record, dicomdir
from gateway.dicom.hierarchy import Attributes, Level, first_text
from gateway.errors import TooLarge
from gateway.orthanc.archives import asked_at_once
from gateway.orthanc.resources import resource_of
from gateway.orthanc.tags import text_of
from gateway.web.context import gateway
from gateway.web.zip_stream import Entry, send_zip
from gateway.wire.zip_format import Member

#: Instances on one medium: the directory is made in memory.
_MOST = 100_000

_KINDS = {Level.PATIENT: "PATIENT", Level.STUDY: "STUDY", Level.SERIES: "SERIES"}

#: What the directory tells of each level, with its value representation (PS3.3 F.5).
_KEYS = {
    Level.PATIENT: ((0x00100010, "PN"), (0x00100020, "LO")),
    Level.STUDY: (
        (0x00080020, "DA"),
        (0x00080030, "TM"),
        (0x00080050, "SH"),
        (0x00081030, "LO"),
        (0x0020000D, "UI"),
        (0x00200010, "SH"),
    ),
    Level.SERIES: ((0x00080060, "CS"), (0x0020000E, "UI"), (0x00200011, "IS")),
}


async def of_resource(request: web.Request, orthanc_id: str) -> web.StreamResponse:
    """All files of a resource, for a medium: GET or POST /studies/{id}/media."""
    resource = await resource_of(request, orthanc_id)
    await asked_at_once(request)
    archive = gateway(request).archive
    held = await archive.catalogue.holdings(resource)
    if held.instances > _MOST:
        raise TooLarge(f"more than {_MOST} instances are too many for one medium")
    async with aclosing(_members(archive, resource)) as members:
        return await send_zip(request, archive, f"{orthanc_id}.zip", members)


async def _members(archive: Archive, resource: Resource) -> AsyncGenerator[Entry, None]:
    """Each file under a short name, and the directory at the end."""
    top, by_id = await _records(archive, resource)
    found = archive.catalogue.related(resource, Level.INSTANCE, lambda one: one)
    now, count = datetime.now(UTC), 0
    async with aclosing(found) as groups:
        async for group in groups:
            for instance in group:
                name = ("IMAGES", f"IM{count}")
                by_id[instance.parent].below.append(_image(instance, name))
                piece = FileRange(instance.blob, 0, instance.size)
                yield Entry(Member("/".join(name), instance.size, now), [piece])
                count += 1
    directory = dicomdir(top, f"2.25.{uuid.uuid4().int}")
    yield Entry(Member("DICOMDIR", len(directory), now), [directory])


async def _records(
    archive: Archive, resource: Resource
) -> tuple[list[Record], dict[str, Record]]:
    """The records of patients, and all down to series by Orthanc's identifiers."""
    by_id: dict[str, Record] = {}
    top: list[Record] = []
    for level in (Level.PATIENT, Level.STUDY, Level.SERIES):
        found = archive.catalogue.related(resource, level, lambda one: one)
        async with aclosing(found) as groups:
            async for group in groups:
                for one in group:
                    record = Record(_KINDS[level], _keys(one.attributes, level))
                    by_id[one.orthanc_id] = record
                    above = by_id[one.parent].below if one.parent else top
                    above.append(record)
    return top, by_id


def _keys(attributes: Attributes, level: Level) -> tuple[tuple[int, str, str], ...]:
    return tuple(
        (tag, vr, text_of(attributes.get(f"{tag:08X}", {"vr": vr})) or "")
        for tag, vr in _KEYS[level]
    )


def _image(instance: Resource, name: tuple[str, ...]) -> Record:
    number = first_text(instance.attributes, "00200013")
    return Record(
        "IMAGE",
        ((0x00200013, "IS", number),),
        name,
        instance.sop_class,
        instance.uid,
        instance.transfer_syntax,
    )
