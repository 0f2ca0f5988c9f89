"""Zips of files that we hold, made while they are sent.

Files go in as they come, one after the other, and no zip is ever anywhere as a whole:
what is remembered of each file until the end waits in memory, then on the disk.
"""

import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

from aiohttp import web

from gateway.archive import Archive, Instance, Piece, Spool
from gateway.storage.threads import in_thread
from gateway.web.replies import streaming
from gateway.web.transmission import transmit
from gateway.wire import zip_format
from gateway.wire.zip_format import Member

#: Short pieces are gathered to so many bytes before they are sent.
_GATHERED = 128 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """A file to be put into a zip."""

    member: Member
    content: Sequence[Piece]  # its bytes


def entry_of(instance: Instance, name: str, content: Piece | None = None) -> Entry:
    """An instance as a file of this name; its own file unless there is another one."""
    piece = Archive.file_range(instance) if content is None else content
    size = len(piece) if isinstance(piece, bytes) else piece.stop - piece.start
    stored = datetime.strptime(instance.stored, "%Y%m%dT%H%M%S.%f")
    return Entry(Member(name, size, stored), [piece])


async def send_zip(
    request: web.Request,
    archive: Archive,
    name: str,
    entries: AsyncGenerator[Entry, None],
) -> web.StreamResponse:
    """Answer with a zip of this name; the first file is found before the answer begins."""
    response = web.StreamResponse(
        headers={
            "Content-Type": "application/zip",
            "Content-Disposition": f'attachment; filename="{name}"',
        }
    )
    first = await anext(entries, None)

    async def all_of_them() -> AsyncGenerator[Entry, None]:
        if first is not None:
            yield first
            async for entry in entries:
                yield entry

    async with streaming(request, response) as wanted, aclosing(all_of_them()) as files:
        if wanted:
            await transmit(request, response, archive, zipped(archive, files))
    return response


async def zipped(
    archive: Archive, entries: AsyncIterator[Entry]
) -> AsyncGenerator[bytes, None]:
    """The bytes of a zip of the files, in pieces; each entry is used before the next.

    Raises NotFound when a file is gone, and Truncated when one is too short: a zip that
    ends early must not look like a whole one.
    """
    gathered = bytearray()
    async with archive.spool() as directory:
        zipping = _Zip(directory).pieces(archive, entries)
        async with aclosing(zipping) as pieces:
            async for piece in pieces:
                gathered += piece
                if len(gathered) >= _GATHERED:
                    yield bytes(gathered)
                    gathered.clear()
    yield bytes(gathered)


class _Zip:
    """A zip on its way: where it is, and what its directory will say."""

    def __init__(self, directory: Spool) -> None:
        self._directory = directory
        self._position = 0
        self._count = 0

    async def pieces(
        self, archive: Archive, entries: AsyncIterator[Entry]
    ) -> AsyncGenerator[bytes | memoryview, None]:
        async for entry in entries:
            async with aclosing(self._file(archive, entry)) as file:
                async for piece in file:
                    yield piece
        start, size = self._position, self._directory.size
        for offset in range(0, size, _GATHERED):
            yield await self._listed(offset)
        yield zip_format.ending(self._count, start, size)

    async def _listed(self, offset: int) -> bytes:
        directory = self._directory
        return await directory.work(lambda: directory.read_at(offset, _GATHERED))

    async def _file(
        self, archive: Archive, entry: Entry
    ) -> AsyncGenerator[bytes | memoryview, None]:
        member, offset = entry.member, self._position
        checksum = 0
        async with aclosing(archive.read(entry.content)) as chunks:
            async for chunk in chunks:
                checksum = await _checksum(chunk, checksum)
        yield self._counted(zip_format.before(member, checksum))
        async with aclosing(archive.read(entry.content)) as chunks:
            async for chunk in chunks:
                yield self._counted(chunk)
        await self._directory.write(zip_format.listed(member, checksum, offset))
        self._count += 1

    def _counted(self, piece: bytes | memoryview) -> bytes | memoryview:
        self._position += len(piece)
        return piece


async def _checksum(chunk: memoryview, before: int) -> int:
    if len(chunk) < _GATHERED:
        return zlib.crc32(chunk, before)
    return await in_thread(lambda: zlib.crc32(chunk, before))
