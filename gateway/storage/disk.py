"""Files and folders of a disk, as an archive needs them: durable, and locked."""

import errno
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from gateway.errors import StorageFull

#: Buffers given to the kernel in one call at most (POSIX promises 16, Linux 1024).
_VECTOR_LIMIT = 512

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def as_our_own(error: OSError) -> Exception:
    """StorageFull if the disk took no more, else the error itself."""
    return StorageFull() if error.errno in _NO_ROOM else error


def write_all(
    descriptor: int, buffers: Sequence[bytes | memoryview], start: int
) -> None:
    """Write buffers, one after the other, from a place in a file on."""
    for first in range(0, len(buffers), _VECTOR_LIMIT):
        some = list(buffers[first : first + _VECTOR_LIMIT])
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


def lock_lane(lane: Path) -> int:
    """A descriptor that holds the lane's lock; negative if a process lives there."""
    descriptor = os.open(f"{lane}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return -1
    return descriptor


def make_folder(folder: Path) -> None:
    """Make a folder that outlives a loss of power, and those above that lack."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        flush_folder(path.parent)


def remove_empty(folder: Path) -> bool:
    """Remove the folder if it is empty; whether it is gone."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False  # another blob lies there
    return True


def flush_folder(folder: Path) -> None:
    """Return once the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
