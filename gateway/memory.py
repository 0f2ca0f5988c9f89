"""What the system has in memory of files, read without ever waiting for a disk.

A thread costs more than to copy half a mebibyte. Where a file is known to the kernel and
its pages are in memory, an event loop may read them itself; where anything at all would
have to be fetched, nothing is read, and a thread does it.
"""

import ctypes
import os
from collections.abc import Callable

_OPENAT2 = 437  # on all architectures that are younger than it
_HERE = -100  # AT_FDCWD
_RESOLVE_CACHED = 0x20  # of paths that the kernel has in memory alone (Linux 5.12)


class _How(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def _opener() -> Callable[[bytes], int]:
    """A call that gives a descriptor, or a negative number."""
    try:
        call = ctypes.CDLL(None).syscall
    except (OSError, AttributeError):
        return lambda path: -1
    how = _How(os.O_RDONLY | os.O_CLOEXEC, 0, _RESOLVE_CACHED)
    pointer = ctypes.pointer(how)
    size = ctypes.sizeof(how)
    call.argtypes = (
        *(ctypes.c_long, ctypes.c_int, ctypes.c_char_p),
        *(ctypes.POINTER(_How), ctypes.c_size_t),
    )
    call.restype = ctypes.c_long
    return lambda path: int(call(_OPENAT2, _HERE, path, pointer, size))


_open = _opener()


def open_at_once(path: str) -> int | None:
    """A descriptor to read a file; None if that might wait, or for any other reason."""
    descriptor = _open(os.fsencode(path))
    return descriptor if descriptor >= 0 else None


def read_at_once(descriptor: int, room: memoryview, offset: int) -> bool:
    """Fill the room with bytes of a file; False if not all of them are in memory."""
    try:
        return os.preadv(descriptor, [room], offset, os.RWF_NOWAIT) == len(room)
    except OSError:  # they are not, or the file system cannot tell
        return False
