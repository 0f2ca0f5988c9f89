"""Packs: files that many small instances share.

To make a file, to flush it and to move it costs more than to write what is in it, where
instances are small. So what arrives together is written one after the other into one
file and flushed once. Each begins at a block of its own: what is removed becomes a hole
and its room is free at once. Each is followed by its size at the end of its last block,
so that a pack can be read without the index.

The name of a blob in a pack tells where it is: the pack's name, then the offset and the
size, in hexadecimal. A pack is written by one process, which holds a lock far behind its
end, and never again once that is gone. While it is written, a mark of its name stands in
the process's lane; a start that finds one of a dead process makes holes of all that got
no row.
"""

import ctypes
import errno
import logging
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.memory import leave_memory
from gateway.places import Place, try_lock, unlock

log = logging.getLogger(__name__)

#: Bytes at whose multiples blobs begin: the block of the usual file systems.
ALIGNMENT = 4096

#: Bytes of an instance that is packed, at most; more fits into no name.
PACKED_LIMIT = 2 * 1024 * 1024

#: The ending of packs, and of the marks that they are being written.
SUFFIX = ".pack"

#: What stands at the end of the last block of a blob: this, and its size.
_TRAILER = struct.Struct(">8sQ")
_TRAILER_MARK = b"\x89PACKED\n"

_NAME = 32  # characters of a pack's name
_OFFSET, _SIZE = 8, 6  # hexadecimal digits of those
_PACKED_NAME = _NAME + _OFFSET + _SIZE

#: The byte whose lock says that somebody writes to the pack; no file is so large.
WRITER = 2**62

_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # of fallocate(2)
_NO_HOLES = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})

_PADDING = bytes(ALIGNMENT)


def pack_of(name: str) -> str | None:
    """The pack that a blob of this name is in; None if it has a file of its own."""
    return name[:_NAME] if len(name) == _PACKED_NAME else None


def extent_of(name: str) -> tuple[int, int]:
    """Where in its pack a blob begins, and its size."""
    digits = name[_NAME:]
    return int(digits[:_OFFSET], 16), int(digits[_OFFSET:], 16)


def packed_name(pack: str, start: int, size: int) -> str:
    """The name of a blob of that size which begins there."""
    return f"{pack}{start:0{_OFFSET}x}{size:0{_SIZE}x}"


def framing(size: int) -> bytes:
    """What stands behind a blob of that size, up to the next one."""
    padding = bytes(room_of(size) - size - _TRAILER.size)
    return padding + _TRAILER.pack(_TRAILER_MARK, size)


def room_of(size: int) -> int:
    """Bytes that a blob of that size takes, with what stands behind it."""
    return -(-(size + _TRAILER.size) // ALIGNMENT) * ALIGNMENT


# -- away ----------------------------------------------------------------------------------


def take_out(path: Path, names: Iterable[str], *, lent: bool) -> tuple[list[str], bool]:
    """Make holes of blobs; those that somebody reads just now stay, and are returned.

    `lent` says that somebody may have got the very memory that holds them, and they stay
    as long as he does. Also returned: whether the pack went with the last of its blobs.
    What became a hole stays one whatever happens.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return [], False
    try:
        busy = []
        for name in names:
            start, size = extent_of(name)
            if not _take_out(descriptor, start, room_of(size), lent=lent):
                busy.append(name)
        os.fdatasync(descriptor)
        is_gone = is_empty(descriptor) and try_lock(descriptor, WRITER, 1, alone=True)
        if is_gone:
            path.unlink(missing_ok=True)
        return busy, is_gone
    finally:
        os.close(descriptor)


def _take_out(descriptor: int, start: int, room: int, *, lent: bool = False) -> bool:
    """Make a hole unless somebody reads there; whether it was made."""
    if not try_lock(descriptor, start, room, alone=True):
        return False
    try:
        # A hole would make zeros of what is under way to a reader, with no lock to tell.
        if lent and not _is_nowhere(descriptor, start, room):
            return False
        punch(descriptor, start, room)
    finally:
        unlock(descriptor, start, room)
    return True


def _is_nowhere(descriptor: int, start: int, room: int) -> bool:
    """Whether nobody has the memory that holds some bytes, which leaves it then."""
    if leave_memory(descriptor, start, room):
        return True
    os.fdatasync(descriptor)  # what is not on the disk cannot leave, nor its neighbours
    return leave_memory(descriptor, start, room)


def punch(descriptor: int, start: int, size: int) -> None:
    """Make some bytes of a file read as zeros, and give their room back.

    Where a file system knows no holes the room stays taken.
    """
    if _fallocate(descriptor, _KEEP_SIZE | _PUNCH_HOLE, start, size) == 0:
        return
    number = ctypes.get_errno()
    if number not in _NO_HOLES:
        raise OSError(number, os.strerror(number))
    end = min(start + size, os.fstat(descriptor).st_size)
    for position in range(start, end, len(_PADDING)):
        os.pwrite(descriptor, _PADDING[: end - position], position)


def _holes() -> Callable[[int, int, int, int], int]:
    """fallocate(2), which no module has in full."""
    call = ctypes.CDLL(None, use_errno=True).fallocate
    call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return lambda *arguments: int(call(*arguments))


_fallocate = _holes()


def is_empty(descriptor: int) -> bool:
    """Whether a pack holds nothing but holes."""
    return not _holds_data(descriptor, 0, WRITER)


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a file system can do for packs."""

    packs: bool = False  # make holes, and lock bytes
    lends: bool = False  # tell whether somebody has the memory that holds some bytes


def abilities_of(folder: Path) -> Abilities:
    """What the file system of a folder can do."""
    path = folder / "probe"
    try:
        descriptor = os.open(
            path, os.O_CREAT | os.O_TRUNC | os.O_RDWR | os.O_CLOEXEC, 0o640
        )
    except OSError:
        return Abilities()
    try:
        os.write(descriptor, _PADDING)
        lends = _is_nowhere(descriptor, 0, ALIGNMENT)
        packs = (
            try_lock(descriptor, 0, ALIGNMENT, alone=True)
            and _fallocate(descriptor, _KEEP_SIZE | _PUNCH_HOLE, 0, ALIGNMENT) == 0
        )
        return Abilities(packs, packs and lends)
    except OSError:
        return Abilities()
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)


# -- after a crash -------------------------------------------------------------------------


def mend(path: Path, names: Iterable[str]) -> int:
    """End a pack whose writer died: only what has these names stays; how much went.

    Nobody was ever told of the rest. What somebody reads just now stays as well: it has
    been removed, and is removed again by whoever did.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        # Up to a whole block: a file system keeps what is left of one at the end.
        end = -(-os.fstat(descriptor).st_size // ALIGNMENT) * ALIGNMENT
        gaps = list(_gaps(sorted(map(extent_of, names)), end))
        removed = sum(_clear(descriptor, start, end) for start, end in gaps)
        os.fsync(descriptor)
        if is_empty(descriptor):
            path.unlink(missing_ok=True)
        return removed
    finally:
        os.close(descriptor)


def _clear(descriptor: int, start: int, end: int) -> int:
    """Make holes of all but what somebody reads just now; how many were made.

    From the end on, where each blob tells its size: what stands within one, and looks
    like an end, says nothing.
    """
    if not _holds_data(descriptor, start, end):
        return 0
    if _take_out(descriptor, start, end - start):
        return 1
    removed, stop = 0, end
    while stop > start:
        size = _size_before(descriptor, stop)
        room = ALIGNMENT if size is None else room_of(size)
        room = room if room <= stop - start else ALIGNMENT
        removed += _take_out(descriptor, stop - room, room)
        stop -= room
    return removed


def _gaps(extents: list[tuple[int, int]], end: int) -> Iterator[tuple[int, int]]:
    position = 0
    for start, size in extents:
        if start > position:
            yield position, start
        position = start + room_of(size)
    if end > position:
        yield position, end


def _holds_data(descriptor: int, start: int, end: int) -> bool:
    try:
        return os.lseek(descriptor, start, os.SEEK_DATA) < end
    except OSError as error:
        if error.errno == errno.ENXIO:
            return False
        raise


# -- without the index -------------------------------------------------------------------


def blobs_in(path: Path) -> Iterator[Place]:
    """The blobs in a pack, as it tells by itself; it blocks."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        end = os.fstat(descriptor).st_size // ALIGNMENT * ALIGNMENT
        start = 0
        for position in range(ALIGNMENT, end + 1, ALIGNMENT):
            size = _size_before(descriptor, position)
            if size is not None and position - room_of(size) >= start:
                yield Place(str(path), position - room_of(size), size)
                start = position
    finally:
        os.close(descriptor)


def _size_before(descriptor: int, position: int) -> int | None:
    """The size of the blob whose last block ends there, if one does."""
    behind = os.pread(descriptor, _TRAILER.size, position - _TRAILER.size)
    if len(behind) < _TRAILER.size:
        return None
    mark, size = _TRAILER.unpack(behind)
    return size if mark == _TRAILER_MARK else None
