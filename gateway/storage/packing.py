"""Writing packs: groups of small blobs, one after the other, flushed together.

A pack is written by one process, which holds a lock far behind its end, and never again
once that is gone. While it is written, a mark of its name stands in the process's lane.
"""

import contextlib
import errno
import logging
import mmap
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.places import try_lock, unlock
from gateway.storage.disk import as_our_own, flush_folder, write_all
from gateway.storage.packs import (
    SUFFIX,
    WRITER,
    framing,
    is_empty,
    packed_name,
    punch,
    room_of,
)

log = logging.getLogger(__name__)

#: Bytes of a pack, after which the next one begins.
PACK_SIZE = 256 * 1024 * 1024

#: A group of so many bytes passes by the page cache: to fill that costs more than the
#: writing, and what arrives in bulk is seldom read at once.
DIRECT_FROM = 1024 * 1024

#: Bytes written directly at a time.
_STAGE = 4 * 1024 * 1024

Buffers = Sequence[bytes | memoryview]


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
                with contextlib.suppress(OSError):  # else the next start does it
                    punch(self._descriptor, start, self._end - start)
                raise
        except OSError as error:
            raise as_our_own(error) from error
        return names

    def _write(self, start: int, buffers: list[bytes | memoryview]) -> None:
        if self._direct < 0 or self._end - start < DIRECT_FROM:
            write_all(self._descriptor, buffers, start)
            return
        try:
            self._write_directly(start, buffers)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # The disk wants what is not promised here: it is done without from now on.
            os.close(self._direct)
            self._direct = -1
            write_all(self._descriptor, buffers, start)

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
                        write_all(self._direct, [stage], start)
                        start += filled
                        filled = 0
            write_all(self._direct, [stage[:filled]], start)

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
            names.append(packed_name(self._name, self._end, size))
            buffers += blob
            buffers.append(framing(size))
            self._end += room_of(size)
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
        os.close(os.open(self._lane / (name + SUFFIX), os.O_CREAT | os.O_EXCL, 0o640))
        flush_folder(self._lane)
        self._descriptor = _created(place)
        try:
            self._direct = _opened_directly(place)
            self._name, self._end = name, 0
            try_lock(self._descriptor, WRITER, 1, alone=True)
            for folder in list(place.parents)[:4]:
                flush_folder(folder)
        except BaseException:
            self._give_up()
            raise

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
            # Who makes the last hole now finds no writer any more, or we find the hole.
            unlock(self._descriptor, WRITER, 1)
            if is_empty(self._descriptor):
                place.unlink(missing_ok=True)
            (self._lane / (self._name + SUFFIX)).unlink(missing_ok=True)
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
