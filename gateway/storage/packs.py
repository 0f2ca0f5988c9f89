"""Packs: files that many small instances share.

To make a file, to flush it and to move it costs more than to write what is in it, where
instances are small. So what arrives together is written one after the other into one
file and flushed once. Each begins at a block of its own: what is removed becomes a hole
and its room is free at once.

The name of a blob in a pack tells where it is: the pack's name, then the offset and the
size, in hexadecimal. A pack is written by one process, which holds a lock far behind its
end, and never again once that is gone. While it is written, a mark of its name stands in
the process's lane; a start that finds one of a dead process makes holes of all that got
no row.
"""

import ctypes
import errno
import logging
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from gateway.places import Place, try_lock, unlock
from gateway.storage.disk import as_our_own, flush_folder

log = logging.getLogger(__name__)

#: Bytes at whose multiples blobs begin: the block of the usual file systems.
ALIGNMENT = 4096

#: Bytes of a pack, after which the next one begins.
PACK_SIZE = 256 * 1024 * 1024

#: Bytes of an instance that is packed, at most; more fits into no name.
PACKED_LIMIT = 2 * 1024 * 1024

#: A group of so many bytes passes by the page cache: to fill that costs more than the
#: writing, and what arrives in bulk is seldom read at once.
DIRECT_FROM = 1024 * 1024

#: Bytes written directly at a time.
_STAGE = 4 * 1024 * 1024

#: The ending of the marks of packs.
MARK = ".pack"

_NAME = 32  # characters of a pack's name
_OFFSET, _SIZE = 8, 6  # hexadecimal digits of those
_PACKED_NAME = _NAME + _OFFSET + _SIZE

#: The byte whose lock says that somebody writes to the pack; no file is so large.
_WRITER = 2**62

#: Buffers given to the kernel in one call at most (Linux takes 1024).
_VECTOR_LIMIT = 512

_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # of fallocate(2)
_NO_HOLES = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})

_PADDING = bytes(ALIGNMENT)

Buffers = Sequence[bytes | memoryview]


def pack_of(name: str) -> str | None:
    """The pack that a blob of this name is in; None if it has a file of its own."""
    return name[:_NAME] if len(name) == _PACKED_NAME else None


def extent_of(name: str) -> tuple[int, int]:
    """Where in its pack a blob begins, and its size."""
    digits = name[_NAME:]
    return int(digits[:_OFFSET], 16), int(digits[_OFFSET:], 16)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


class PackWriter:
    """Writes blobs into packs. Its methods block; one thread at a time calls them.

    `new_name` makes the names of packs, `place` tells where one lies, and marks are made
    in `lane`.
    """

    def __init__(
        self,
        lane: Path,
        new_name: Callable[[], str],
        place: Callable[[str], Path],
    ) -> None:
        self._lane = lane
        self._new_name = new_name
        self._place = place
        self._descriptor = -1
        self._direct = -1
        self._stage = mmap.mmap(-1, _STAGE)  # begins at a page, as direct writing wants
        self._name = ""
        self._end = 0

    def append(self, blobs: Sequence[Buffers]) -> list[str]:
        """Write blobs, each of not more than PACKED_LIMIT bytes; their names.

        They are safe after `flush`. Raises StorageFull; then nothing of them is there.
        """
        try:
            if self._descriptor < 0 or self._end >= PACK_SIZE:
                self._begin()
            start = self._end
            names, buffers = self._laid_out(blobs)
            try:
                self._write(start, buffers)
            except OSError:
                punch(self._descriptor, start, self._end - start)
                raise
        except OSError as error:
            raise as_our_own(error) from error
        return names

    def _write(self, start: int, buffers: list[bytes | memoryview]) -> None:
        if self._direct < 0 or self._end - start < DIRECT_FROM:
            _write(self._descriptor, start, buffers)
            return
        try:
            self._write_directly(start, buffers)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # The disk wants what is not promised here: it is done without from now on.
            os.close(self._direct)
            self._direct = -1
            _write(self._descriptor, start, buffers)

    def _write_directly(self, start: int, buffers: list[bytes | memoryview]) -> None:
        """Write by way of memory that the disk can read from itself."""
        filled = 0
        with memoryview(self._stage) as stage:
            for buffer in buffers:
                left = memoryview(buffer)
                while left:
                    count = min(len(left), _STAGE - filled)
                    stage[filled : filled + count] = left[:count]
                    filled += count
                    left = left[count:]
                    if filled == _STAGE:
                        _write_all(self._direct, start, stage)
                        start += filled
                        filled = 0
            _write_all(self._direct, start, stage[:filled])

    def _laid_out(
        self, blobs: Sequence[Buffers]
    ) -> tuple[list[str], list[bytes | memoryview]]:
        """The names of blobs by where they go, and their bytes with what is between.

        Whatever comes of it, this part of the pack is never written again: a row that
        outlived a failed commit must not find another's bytes.
        """
        names = []
        buffers: list[bytes | memoryview] = []
        for blob in blobs:
            size = sum(map(len, blob))
            names.append(f"{self._name}{self._end:0{_OFFSET}x}{size:0{_SIZE}x}")
            buffers += blob
            if padding := -size % ALIGNMENT:
                buffers.append(_PADDING[:padding])
            self._end += size + padding
        return names, buffers

    def flush(self) -> None:
        """Return once all that was appended is on the disk."""
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            # The kernel reports lost pages once: nothing more is added to this pack.
            self._give_up()
            raise as_our_own(error) from error

    def _begin(self) -> None:
        self.close()
        name = self._new_name()
        place = self._place(name)
        os.close(os.open(self._lane / (name + MARK), os.O_CREAT | os.O_EXCL, 0o640))
        flush_folder(self._lane)
        self._descriptor = _created(place)
        self._direct = _opened_directly(place)
        self._name, self._end = name, 0
        try_lock(self._descriptor, _WRITER, 1, alone=True)
        for folder in list(place.parents)[:4]:
            flush_folder(folder)

    def _give_up(self) -> None:
        """Write no more to this pack; its mark stays until the next start."""
        for descriptor in (self._direct, self._descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self._direct = self._descriptor = -1

    def close(self) -> None:
        """End the pack: it is as complete as it will ever be."""
        if self._descriptor < 0:
            return
        place = self._place(self._name)
        try:
            if _is_empty(self._descriptor):
                place.unlink(missing_ok=True)
            (self._lane / (self._name + MARK)).unlink(missing_ok=True)
        except OSError:
            log.exception("a pack is not ended; the next start does it")
        finally:
            self._give_up()


def _created(place: Path) -> int:
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
    while True:
        # Somebody who removes a blob beside may take the folder away again.
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            return os.open(place, flags, 0o640)
        except FileNotFoundError:
            continue


def _opened_directly(place: Path) -> int:
    """A descriptor whose writes pass by the page cache; negative where there is none."""
    try:
        return os.open(place, os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
    except OSError:
        return -1


def _write_all(descriptor: int, start: int, view: memoryview) -> None:
    while view:
        written = os.pwrite(descriptor, view, start)
        start += written
        view = view[written:]


def _write(descriptor: int, start: int, buffers: list[bytes | memoryview]) -> None:
    for first in range(0, len(buffers), _VECTOR_LIMIT):
        some = buffers[first : first + _VECTOR_LIMIT]
        while some:
            written = os.pwritev(descriptor, some, start)
            start += written
            passed = 0
            while passed < len(some) and written >= len(some[passed]):
                written -= len(some[passed])
                passed += 1
            some = some[passed:]
            if written:
                some[0] = memoryview(some[0])[written:]


# -- away ----------------------------------------------------------------------------------


def take_out(path: Path, names: Iterable[str]) -> tuple[list[str], bool]:
    """Make holes of blobs; those that somebody reads just now stay, and are returned.

    Also returned: whether the pack went with the last of its blobs. What became a hole
    stays one whatever happens.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return [], False
    try:
        busy = [name for name in names if not _take_out(descriptor, *extent_of(name))]
        os.fdatasync(descriptor)
        is_gone = _is_empty(descriptor) and try_lock(descriptor, _WRITER, 1, alone=True)
        if is_gone:
            path.unlink(missing_ok=True)
        return busy, is_gone
    finally:
        os.close(descriptor)


def _take_out(descriptor: int, start: int, size: int) -> bool:
    """Make a hole unless somebody reads there; whether it was made."""
    size = _aligned(size)
    if not size:
        return True
    if not try_lock(descriptor, start, size, alone=True):
        return False
    try:
        punch(descriptor, start, size)
    finally:
        unlock(descriptor, start, size)
    return True


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


def _fallocate(descriptor: int, mode: int, start: int, size: int) -> int:
    call = _library().fallocate
    call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return int(call(descriptor, mode, start, size))


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _is_empty(descriptor: int) -> bool:
    """Whether a pack holds nothing but holes."""
    return not _holds_data(descriptor, 0, _WRITER)


def can_pack(folder: Path) -> bool:
    """Whether the file system of a folder has what packs need: holes and locks."""
    path = folder / "probe"
    descriptor = os.open(
        path, os.O_CREAT | os.O_TRUNC | os.O_RDWR | os.O_CLOEXEC, 0o640
    )
    try:
        os.write(descriptor, _PADDING)
        return (
            try_lock(descriptor, 0, ALIGNMENT, alone=True)
            and _fallocate(descriptor, _KEEP_SIZE | _PUNCH_HOLE, 0, ALIGNMENT) == 0
        )
    except OSError:
        return False
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)


# -- after a crash -------------------------------------------------------------------------


def mend(path: Path, names: Iterable[str]) -> int:
    """End a pack whose writer died: only what has these names stays; how much went.

    What somebody reads just now stays as well: it has been removed, and is removed
    again by whoever did.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        gaps = list(_gaps(sorted(map(extent_of, names)), os.fstat(descriptor).st_size))
        removed = sum(
            _holds_data(descriptor, start, end)
            and _take_out(descriptor, start, end - start)
            for start, end in gaps
        )
        os.fsync(descriptor)
        if _is_empty(descriptor):
            path.unlink(missing_ok=True)
        return removed
    finally:
        os.close(descriptor)


def _gaps(extents: list[tuple[int, int]], end: int) -> Iterator[tuple[int, int]]:
    position = 0
    for start, size in extents:
        if start > position:
            yield position, start
        position = start + _aligned(size)
    if end > position:
        yield position, end


def _holds_data(descriptor: int, start: int, end: int) -> bool:
    try:
        return os.lseek(descriptor, start, os.SEEK_DATA) < end
    except OSError as error:
        if error.errno == errno.ENXIO:
            return False
        raise


def place_in(path: Path, name: str) -> Place:
    """Where in a pack a blob is."""
    return Place(str(path), *extent_of(name))
