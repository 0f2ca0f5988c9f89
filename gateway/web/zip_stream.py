"""Zips that are made while they are sent, at constant memory (APPNOTE.TXT of PKWARE).

Files are stored as they are: DICOM files hardly shrink, and their bytes go out as fast as
they are read. Sizes and checksums stand before each file, so that readers that do not
wait for the end understand it too; for that a file is read twice. What the directory at
the end needs waits in a spool. All of it may be larger than 4 GiB (zip64).
"""

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from aiohttp import web

from gateway.archive import Archive, Piece, Spool
from gateway.web.replies import streaming
from gateway.web.transmission import transmit

_LOCAL, _CENTRAL = 0x04034B50, 0x02014B50
_END, _END64, _LOCATOR = 0x06054B50, 0x06064B50, 0x07064B50
_VERSION, _UTF8 = 45, 0x800
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_FILE = 0o100640 << 16  # what the file may be for whom, as Unix has it
_STEP = 256 * 1024

#: Fewer bytes than this are summed up where they are, without a thread.
_AT_ONCE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a zip."""

    name: str  # with slashes between folders
    size: int  # bytes
    pieces: tuple[Piece, ...]  # what it is made of
    moment: datetime


async def send_zip(
    request: web.Request, archive: Archive, name: str, members: AsyncIterator[Member]
) -> web.StreamResponse:
    """Answer with a zip of the members; the first is found before the answer begins."""
    first = await anext(members, None)
    response = web.StreamResponse(
        headers={
            "Content-Type": "application/zip",
            "Content-Disposition": f'attachment; filename="{name}"',
        }
    )
    async with streaming(request, response) as wanted, archive.spool() as directory:
        if wanted:
            zipping = _Zipping(request, response, archive, directory)
            if first is not None:
                await zipping.add(first)
            async for member in members:
                await zipping.add(member)
            await zipping.end()
    return response


class _Zipping:
    """A zip on its way."""

    def __init__(
        self,
        request: web.Request,
        response: web.StreamResponse,
        archive: Archive,
        directory: Spool,
    ) -> None:
        self._request = request
        self._response = response
        self._archive = archive
        self._directory = directory
        self._position = 0
        self._count = 0

    async def add(self, member: Member) -> None:
        """Send a file."""
        checksum = await self._checksum(member)
        name = member.name.encode()
        head = head_of(member, name, checksum)
        await self._directory.write(
            directory_entry(member, name, checksum, self._position)
        )
        pieces: list[Piece] = [head, *member.pieces]
        await transmit(self._request, self._response, self._archive, pieces)
        self._position += len(head) + member.size
        self._count += 1

    async def _checksum(self, member: Member) -> int:
        checksum = 0
        async with aclosing(self._archive.read(member.pieces)) as chunks:
            async for chunk in chunks:
                if len(chunk) < _AT_ONCE:
                    checksum = zlib.crc32(chunk, checksum)
                else:
                    checksum = await asyncio.to_thread(zlib.crc32, chunk, checksum)
        return checksum

    async def end(self) -> None:
        """Send the directory."""
        directory = self._directory
        for start in range(0, directory.size, _STEP):
            chunk = await directory.work(partial(directory.read_at, start, _STEP))
            await self._response.write(chunk)
        await self._response.write(end_of(self._count, directory.size, self._position))


def _stamp(moment: datetime) -> tuple[int, int]:
    """Time and date as MS-DOS had them."""
    year = max(moment.year - 1980, 0)
    date = year << 9 | moment.month << 5 | moment.day
    return moment.hour << 11 | moment.minute << 5 | moment.second // 2, date


def head_of(member: Member, name: bytes, checksum: int) -> bytes:
    """What stands before a file; its sizes are always those of zip64."""
    extra = struct.pack("<HHQQ", 1, 16, member.size, member.size)
    time, date = _stamp(member.moment)
    fixed = struct.pack(
        "<IHHHHHIIIHH",
        *(_LOCAL, _VERSION, _UTF8, 0, time, date, checksum, _FULL32, _FULL32),
        *(len(name), len(extra)),
    )
    return fixed + name + extra


def directory_entry(member: Member, name: bytes, checksum: int, at: int) -> bytes:
    """The entry of a file in the directory; `at` is where its head begins."""
    extra = struct.pack("<HHQQQ", 1, 24, member.size, member.size, at)
    time, date = _stamp(member.moment)
    made_by = 3 << 8 | _VERSION  # Unix
    fixed = struct.pack(
        "<IHHHHHHIIIHHHHHII",
        *(_CENTRAL, made_by, _VERSION, _UTF8, 0, time, date, checksum),
        *(_FULL32, _FULL32, len(name), len(extra), 0, 0, 0, _FILE, _FULL32),
    )
    return fixed + name + extra


def end_of(count: int, size: int, at: int) -> bytes:
    """The end: where the directory is, in both sizes."""
    end64 = struct.pack(
        "<IQHHIIQQQQ", _END64, 44, _VERSION, _VERSION, 0, 0, count, count, size, at
    )
    locator = struct.pack("<IIQI", _LOCATOR, 0, at + size, 1)
    few, small = min(count, _FULL16), min(size, _FULL32)
    end = struct.pack("<IHHHHIIH", _END, 0, 0, few, few, small, min(at, _FULL32), 0)
    return end64 + locator + end
