"""Zips full of DICOM files, as people send and keep them.

A zip says what it holds before one looks, and may lie: sizes are checked as it inflates,
and nothing is named after what it says.
"""

import asyncio
import zipfile
from collections.abc import AsyncIterator
from typing import IO

from gateway.archive import Archive
from gateway.errors import BadRequest, TooLarge
from gateway.outcomes import Outcome

_STEP = 1024 * 1024

#: A zip may hold so many files, and each may inflate to so many bytes and so far.
_ZIP_MEMBERS, _ZIP_MEMBER_SIZE, _ZIP_RATIO = 1_000_000, 64 * 1024**3, 1100


async def store_zip(archive: Archive, file: IO[bytes]) -> AsyncIterator[Outcome]:
    """Store each file in a zip; raises BadRequest or TooLarge for a bad one."""
    try:
        container = await asyncio.to_thread(zipfile.ZipFile, file)
        with container:
            members = [m for m in container.infolist() if not m.is_dir()]
            if len(members) > _ZIP_MEMBERS:
                raise TooLarge(f"the zip holds more than {_ZIP_MEMBERS} files")
            for member in members:
                yield await _store_member(archive, container, member)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise BadRequest(f"the zip cannot be read: {error}") from error


async def _store_member(
    archive: Archive, container: zipfile.ZipFile, member: zipfile.ZipInfo
) -> Outcome:
    if member.file_size > max(_STEP, _ZIP_RATIO * member.compress_size):
        raise TooLarge("a file of the zip inflates absurdly far")
    if member.file_size > _ZIP_MEMBER_SIZE:
        raise TooLarge("a file of the zip is absurdly large")
    async with archive.receive() as receiver:
        with container.open(member) as inflated:
            while chunk := await asyncio.to_thread(inflated.read, _STEP):
                await receiver.write(chunk)
        return await receiver.keep()
