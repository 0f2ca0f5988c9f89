"""Chunks of an answer, filled from files and from bytes that stand between them.

Large pieces are read in large chunks, many small ones share a chunk: either way one hop
to a thread and one write to the socket move about a mebibyte.
"""

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.errors import Truncated
from gateway.memory import read_at_once
from gateway.places import Opened
from gateway.storage.blobs import DiskBlobs

#: Bytes handed to the network at a time; each answer holds at most two such chunks.
CHUNK = 1024 * 1024

#: Files that are opened at most to read from them without a thread.
_FEW = 8


@dataclass(frozen=True, slots=True)
class FileRange:
    """The bytes of a blob from `start` up to, not including, `stop`."""

    blob: str
    start: int
    stop: int


Piece = bytes | FileRange


def size_of(piece: Piece) -> int:
    """The bytes of a piece."""
    return len(piece) if isinstance(piece, bytes) else piece.stop - piece.start


def at_once(
    blobs: DiskBlobs, pieces: Sequence[Piece], room: memoryview
) -> memoryview | None:
    """All bytes of the pieces, if these are few and in memory; never waits for a disk.

    They are put into the room, as far as they have room there. None is for whoever then
    reads in a thread, which also finds out what is wrong.
    """
    size = sum(map(size_of, pieces))
    files = sum(isinstance(piece, FileRange) for piece in pieces)
    if size > len(room) or files > _FEW:
        return None
    whole = room[:size]
    filled = 0
    for piece in pieces:
        part = whole[filled : filled + size_of(piece)]
        if isinstance(piece, bytes):
            part[:] = piece
        elif not _fill_at_once(blobs, piece, part):
            return None
        filled += len(part)
    return whole


def _fill_at_once(blobs: DiskBlobs, piece: FileRange, room: memoryview) -> bool:
    opened = blobs.open_at_once(piece.blob)
    if opened is None:
        return False
    with opened:
        return read_at_once(opened.descriptor, room, opened.start + piece.start)


class Reading:
    """Reads pieces one after the other. Its methods block; they belong into a thread."""

    def __init__(self, blobs: DiskBlobs, pieces: Sequence[Piece]) -> None:
        self._blobs = blobs
        self._pieces: Iterator[Piece] = iter(pieces)
        self._piece: Piece | None = next(self._pieces, None)
        self._position = 0  # within the piece
        self._open: Opened | None = None

    @property
    def ended(self) -> bool:
        """Whether all is read."""
        return self._piece is None

    def fill(self) -> memoryview:
        """The next chunk, empty at the end.

        Raises NotFound when a file is gone and Truncated when one is too short.
        """
        if self._piece is None:
            return memoryview(b"")
        chunk = memoryview(bytearray(min(CHUNK, self._needed())))
        filled = 0
        while self._piece is not None and filled < len(chunk):
            if isinstance(self._piece, bytes):
                filled += self._copy(self._piece, chunk[filled:])
            else:
                filled += self._read(self._piece, chunk[filled:])
        return chunk[:filled]

    def _needed(self) -> int:
        """Room to make: a lone small file takes no whole chunk."""
        following = next(self._pieces, None)
        if following is not None:
            self._pieces = itertools.chain((following,), self._pieces)
            return CHUNK
        piece = self._piece
        if isinstance(piece, FileRange):
            return piece.stop - piece.start - self._position or 1
        return len(piece or b"") - self._position or 1

    def _next(self) -> None:
        self.close()
        self._piece = next(self._pieces, None)
        self._position = 0

    def _copy(self, piece: bytes, room: memoryview) -> int:
        count = min(len(room), len(piece) - self._position)
        room[:count] = piece[self._position : self._position + count]
        self._position += count
        if self._position == len(piece):
            self._next()
        return count

    def _read(self, piece: FileRange, room: memoryview) -> int:
        if self._open is None:
            self._open = self._blobs.open(piece.blob)
        left = piece.stop - piece.start - self._position
        count = 0
        if left:
            count = os.preadv(
                self._open.descriptor,
                [room[:left]],
                self._open.start + piece.start + self._position,
            )
            if not count:
                raise Truncated("the file of an instance is shorter than it was")
        self._position += count
        if count == left:
            self._next()
        return count

    def close(self) -> None:
        """Give the descriptor back; more than once does no harm."""
        if self._open is not None:
            self._open.close()
            self._open = None


def same_bytes(
    blobs: DiskBlobs, name: str, size: int, other: Sequence[bytes | memoryview] | str
) -> bool:
    """Whether a blob of this size holds just what the buffers, or the file, hold."""
    reading = Reading(blobs, [FileRange(name, 0, size)])
    try:
        if isinstance(other, str):
            return _same_as_file(reading, other)
        return _same_as_buffers(reading, other)
    finally:
        reading.close()


def _same_as_file(reading: Reading, path: str) -> bool:
    with open(path, "rb") as file:  # noqa: PTH123 - a path as text is what we hold
        while chunk := reading.fill():
            if file.read(len(chunk)) != chunk:
                return False
        return not file.read(1)


def _same_as_buffers(reading: Reading, buffers: Sequence[bytes | memoryview]) -> bool:
    whole = b"".join(buffers)
    position = 0
    while chunk := reading.fill():
        if whole[position : position + len(chunk)] != chunk:
            return False
        position += len(chunk)
    return position == len(whole)
