"""Zips full of DICOM files, as people send and keep them.

A zip says what it holds before one looks, and may lie: sizes are checked as it inflates,
and nothing is named after what it says.
"""

import asyncio
import lzma
import struct
import zipfile
import zlib
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import IO

from gateway.archive import Archive
from gateway.errors import BadRequest, TooLarge
from gateway.outcomes import FailureReason, Outcome, Refused

_STEP = 1024 * 1024

#: A zip may hold so many files, and each may inflate to so many bytes and so far.
_ZIP_MEMBERS, _ZIP_MEMBER_SIZE, _ZIP_RATIO = 1_000_000, 64 * 1024**3, 1100

#: What the zip module raises for zips that are broken, encrypted, or lie.
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


async def store_zip(archive: Archive, file: IO[bytes]) -> AsyncGenerator[Outcome, None]:
    """Store each file in a zip; raises BadRequest or TooLarge for a bad one.

    A file that cannot be inflated is refused; it does not spoil the others.
    """
    try:
        container = await asyncio.to_thread(zipfile.ZipFile, file)
    except _BROKEN as error:
        raise BadRequest(f"the zip cannot be read: {error}") from error
    with container:
        members = [m for m in container.infolist() if not m.is_dir()]
        if len(members) > _ZIP_MEMBERS:
            raise TooLarge(f"the zip holds more than {_ZIP_MEMBERS} files")
        for member in members:
            yield await _store_member(archive, container, member)


async def _store_member(
    archive: Archive, container: zipfile.ZipFile, member: zipfile.ZipInfo
) -> Outcome:
    if member.file_size > max(_STEP, _ZIP_RATIO * member.compress_size):
        raise TooLarge("a file of the zip inflates absurdly far")
    if member.file_size > _ZIP_MEMBER_SIZE:
        raise TooLarge("a file of the zip is absurdly large")
    is_other = not member.file_size or _is_directory(member.filename)
    async with archive.receive() as receiver:
        try:
            inflated = await asyncio.to_thread(container.open, member)
            with inflated:
                while chunk := await asyncio.to_thread(inflated.read, _STEP):
                    await receiver.write(chunk)
                    if not _may_be_dicom(chunk, inflated):
                        is_other = True
                        break  # whatever it is, it is not worth the room on the disk
        except (*_BROKEN, OSError) as error:
            return Refused(
                FailureReason.PROCESSING_FAILURE,
                f"it cannot be read from the zip: {error}",
            )
        outcome = await receiver.keep()
    if isinstance(outcome, Refused):
        is_other &= outcome.reason is FailureReason.CANNOT_UNDERSTAND
        return replace(outcome, is_other=is_other)
    return outcome


def _is_directory(name: str) -> bool:
    """Whether it is the list of the others on a medium (PS3.10 8.6), no instance."""
    return name.rpartition("/")[2].partition(".")[0].upper() == "DICOMDIR"


def _may_be_dicom(chunk: bytes, inflated: IO[bytes]) -> bool:
    """Whether to read on: false if the first chunk shows that it is no DICOM file."""
    return inflated.tell() > len(chunk) or chunk[128:132] == b"DICM"
