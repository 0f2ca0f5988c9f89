"""Where the bytes of an instance lie: in a file of their own, or in one that many share.

A shared file is a pack. Every instance in it begins with the preamble and ``DICM`` of
PS3.10 7.1; one that was removed is a hole, which reads as zeros. So that nobody reads a
hole for an image, who reads holds a lock on the first byte of the instance, and who
removes it takes the lock of all its bytes first. The locks are those of the open file
description (fcntl(2)): they hold between threads and processes alike, and end with the
descriptor.
"""

import errno
import fcntl
import os
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from gateway.errors import NotFound
from gateway.memory import open_at_once, read_at_once

#: What each instance in a pack has at its 128th byte.
_MAGIC, _MAGIC_AT = b"DICM", 128

#: `struct flock`: type, whence, start, length, and a process, which has to be 0.
_FLOCK = "hhqqi4x"

_TAKEN = frozenset({errno.EAGAIN, errno.EACCES})


def try_lock(descriptor: int, start: int, size: int, *, alone: bool) -> bool:
    """Lock some bytes of a file, without waiting; whether that went.

    `alone` keeps everybody out, and needs a descriptor that can be written to. Raises
    OSError where a file system knows no locks.
    """
    return _set_lock(descriptor, start, size, fcntl.F_WRLCK if alone else fcntl.F_RDLCK)


def unlock(descriptor: int, start: int, size: int) -> None:
    """Let the bytes go."""
    _set_lock(descriptor, start, size, fcntl.F_UNLCK)


def _set_lock(descriptor: int, start: int, size: int, kind: int) -> bool:
    wanted = struct.pack(_FLOCK, kind, os.SEEK_SET, start, size, 0)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, wanted)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True


@dataclass(frozen=True, slots=True)
class Place:
    """A file, or so many bytes of a pack from `start` on."""

    path: str
    start: int = 0
    size: int | None = None  # None: the whole file

    @property
    def name(self) -> str:
        """What no other place is called."""
        return self.path if self.size is None else f"{self.path}@{self.start}"

    def open(self) -> "Opened":
        """Open it to read; raises FileNotFoundError, or NotFound for a hole."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        if self.size is not None:
            try:
                self._enter(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
        return Opened(descriptor, self.start, self.size)

    def open_at_once(self) -> "Opened | None":
        """The same without ever waiting for a disk; None if that is not to be had."""
        descriptor = open_at_once(self.path)
        if descriptor is None:
            return None
        opened = Opened(descriptor, self.start, self.size)
        if self.size is not None:
            seen = bytearray(len(_MAGIC))
            room = memoryview(seen)
            if (
                not try_lock(descriptor, self.start, 1, alone=False)
                or not read_at_once(descriptor, room, self.start + _MAGIC_AT)
                or seen != _MAGIC
            ):
                opened.close()
                return None
        return opened

    def _enter(self, descriptor: int) -> None:
        if (
            not try_lock(descriptor, self.start, 1, alone=False)
            or os.pread(descriptor, 4, self.start + _MAGIC_AT) != _MAGIC
        ):
            raise NotFound("the file of this instance is gone")


#: No place at all: for who finds the bytes another way.
NOWHERE = Place("")


class Opened:
    """The bytes of one instance, as long as this is open."""

    __slots__ = ("_size", "descriptor", "start")

    def __init__(
        self, descriptor: int, start: int = 0, size: int | None = None
    ) -> None:
        self.descriptor = descriptor
        self.start = start  # where its bytes begin in the file
        self._size = size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def read(self, offset: int, size: int) -> bytes:
        """So many bytes from an offset on, fewer at the end; it blocks."""
        if self._size is not None:
            size = max(0, min(size, self._size - offset))
        return os.pread(self.descriptor, size, self.start + offset)

    def size(self) -> int:
        """Bytes of the instance."""
        if self._size is None:
            return os.fstat(self.descriptor).st_size - self.start
        return self._size

    def close(self) -> None:
        """Give the descriptor back; more than once does no harm."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
