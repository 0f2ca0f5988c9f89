"""POST /instances: a DICOM file, several in a form, or a zip full of them, as in Orthanc.

What the body is, its first bytes tell: Orthanc's clients send any Content-Type.
"""

import asyncio
import errno
import tempfile
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import IO

from aiohttp import web

from gateway.archive import Archive
from gateway.errors import (
    BadRequest,
    Busy,
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
        return reply(_several(outcomes))
    start = await _beginning(chunks)
    if not start:
        raise BadRequest("Received an empty DICOM file")
    if start.startswith(_ZIP):
        return reply(_several(await _store_zip(request, start, chunks)))
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
        if outcome.fault is not None:
            raise (Busy if outcome.is_for_later else GatewayError)(outcome.message)
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


def _several(outcomes: list[Outcome]) -> list[dict[str, str]]:
    """What became of several; raises if room lacked, or if all were refused."""
    full = [o for o in outcomes if _reason(o) is FailureReason.OUT_OF_RESOURCES]
    if full or (outcomes and not any(isinstance(o, Stored) for o in outcomes)):
        _stored((full or outcomes)[0])
    return [
        {"Status": "Failure", "Details": outcome.message}
        if isinstance(outcome, Refused)
        else _stored(outcome)
        for outcome in outcomes
    ]


def _reason(outcome: Outcome) -> FailureReason | None:
    return outcome.reason if isinstance(outcome, Refused) else None


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
                    receiver = None
        reader.close()
    finally:
        if receiver:
            await receiver.__aexit__(None, None, None)
    return outcomes


async def _store_zip(
    request: web.Request, start: bytes, chunks: AsyncIterator[bytes]
) -> list[Outcome]:
    """Store the DICOM files of a zip; what is no DICOM file is passed over.

    It waits beside what arrives, on the disk that is meant for so much, unless the
    settings name another place.
    """
    archive = gateway(request).archive
    folder = gateway(request).settings.temporary_directory or archive.lane
    with await asyncio.to_thread(lambda: tempfile.TemporaryFile(dir=folder)) as file:
        await _write(file, start)
        async for chunk in chunks:
            await archive.check_room(len(chunk))
            await _write(file, chunk)
        async with aclosing(store_zip(archive, file)) as outcomes:
            return [
                outcome
                async for outcome in outcomes
                if not (isinstance(outcome, Refused) and outcome.is_other)
            ]


async def _write(file: IO[bytes], chunk: bytes) -> None:
    try:
        await asyncio.to_thread(file.write, chunk)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StorageFull from error
        raise
