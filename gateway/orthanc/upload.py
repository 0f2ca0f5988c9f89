"""POST /instances: a DICOM file, several in a form, or a zip full of them, as in Orthanc.

What the body is, its first bytes tell: Orthanc's clients send any Content-Type.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator

from aiohttp import web

from gateway.archive import Archive
from gateway.errors import (
    BadRequest,
    Conflict,
    GatewayError,
    NotDicom,
    StorageFull,
)
from gateway.intake import Receiver
from gateway.orthanc.system import reply
from gateway.outcomes import FailureReason, Outcome, Refused, Stored
from gateway.web.context import body, gateway
from gateway.wire.media import parse_media_type
from gateway.wire.multipart import (
    MultipartReader,
    PartBegin,
    PartData,
    PartEnd,
    boundary_of,
)
from gateway.zips import store_zip

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_ERRORS: dict[FailureReason, type[GatewayError]] = {
    FailureReason.CANNOT_UNDERSTAND: NotDicom,
    FailureReason.DUPLICATE_INSTANCE: Conflict,
    FailureReason.OUT_OF_RESOURCES: StorageFull,
}


async def upload(request: web.Request) -> web.StreamResponse:
    """Store what the body holds: POST /instances."""
    archive = gateway(request).archive
    await archive.check_room(request.content_length or 0)
    chunks = body(request)
    content_type = request.headers.get("Content-Type", "")
    if content_type.lower().startswith("multipart/"):
        boundary = boundary_of(parse_media_type(content_type).parameters)
        outcomes = await _store_form(archive, MultipartReader(boundary), chunks)
        return reply([_stored(outcome) for outcome in outcomes])
    start = await _beginning(chunks)
    if not start:
        raise BadRequest("Received an empty DICOM file")
    if start.startswith(_ZIP):
        return reply([_stored(o) async for o in _store_zip(archive, start, chunks)])
    async with archive.receive() as receiver:
        await receiver.write(start)
        async for chunk in chunks:
            await receiver.write(chunk)
        return reply(_stored(await receiver.keep()))


async def _beginning(chunks: AsyncIterator[bytes]) -> bytes:
    """The first chunk, long enough to tell what the body is."""
    start = b""
    async for chunk in chunks:
        start += chunk
        if len(start) >= len(_ZIP[0]):
            break
    return start


def _stored(outcome: Outcome) -> dict[str, str]:
    """Orthanc's words for a stored instance; raises the error of a refused one."""
    if isinstance(outcome, Refused):
        raise _ERRORS.get(outcome.reason, BadRequest)(outcome.message)
    patient, study, series, instance = outcome.orthanc_ids
    return {
        "ID": instance,
        "ParentPatient": patient,
        "ParentSeries": series,
        "ParentStudy": study,
        "Path": f"/instances/{instance}",
        "Status": "AlreadyStored" if outcome.already_there else "Success",
    }


async def _store_form(
    archive: Archive, reader: MultipartReader, chunks: AsyncIterator[bytes]
) -> list[Outcome]:
    """Store each part of a form, as browsers send it."""
    outcomes: list[Outcome] = []
    receiver: Receiver | None = None
    try:
        async for chunk in chunks:
            for event in reader.feed(chunk):
                if isinstance(event, PartBegin):
                    receiver = archive.receive()
                elif isinstance(event, PartData) and receiver:
                    await receiver.write(event.body)
                elif isinstance(event, PartEnd) and receiver:
                    outcomes.append(await receiver.keep())
        reader.close()
    finally:
        if receiver:
            await receiver.__aexit__(None, None, None)
    return outcomes


async def _store_zip(
    archive: Archive, start: bytes, chunks: AsyncIterator[bytes]
) -> AsyncIterator[Stored]:
    """Store the DICOM files of a zip; what is no DICOM file is passed over."""
    with await asyncio.to_thread(tempfile.TemporaryFile) as file:
        await asyncio.to_thread(file.write, start)
        async for chunk in chunks:
            await asyncio.to_thread(file.write, chunk)
        async for outcome in store_zip(archive, file):
            if isinstance(outcome, Stored):
                yield outcome
            elif outcome.reason is FailureReason.OUT_OF_RESOURCES:
                raise StorageFull(outcome.message)
