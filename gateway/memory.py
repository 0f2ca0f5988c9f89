"""What the system has in memory of files, read without ever waiting for a disk.

A thread costs more than to copy half a mebibyte. Where a file is known to the kernel and
its pages are in memory, an event loop may read them itself; where anything at all would
have to be fetched, nothing is read, and a thread does it.

The pages themselves may be lent: the network, given a file to send, keeps them until
the reader has taken them, long after the call. Such pages cannot be made to leave memory,
which is how one can tell.
"""

import ctypes
import mmap
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


#: The largest piece of memory that holds a file: what is around goes with it (bytes).
_FOLIO = 2 * 1024 * 1024


def leave_memory(descriptor: int, start: int, size: int) -> bool:
    """Make some bytes of a file leave memory; whether they did.

    Those that somebody maps, or that are on their way to a reader, do not; nor do those
    that are not on the disk yet, or whose file system lives in memory.
    """
    first = start // _FOLIO * _FOLIO
    end = -(-(start + size) // _FOLIO) * _FOLIO
    os.posix_fadvise(descriptor, first, end - first, os.POSIX_FADV_DONTNEED)
    pages = _pages(descriptor, start, size)
    return pages is not None and not any(pages)


def _mapper() -> Callable[[int, int, int], bytes | None]:
    """A call that tells of each page of a part of a file whether it is in memory."""
    library = ctypes.CDLL(None)
    library.mmap.restype = ctypes.c_void_p
    library.mmap.argtypes = (
        *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int),
        *(ctypes.c_int, ctypes.c_int, ctypes.c_int64),
    )
    library.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    library.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)
    failed = ctypes.c_void_p(-1).value

    def look(descriptor: int, start: int, size: int) -> bytes | None:
        address = library.mmap(
            None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, start
        )
        if address == failed:
            return None
        pages = ctypes.create_string_buffer(-(-size // mmap.PAGESIZE))
        told = library.mincore(address, size, pages)
        library.munmap(address, size)
        return None if told else pages.raw

    return look


_look = _mapper()


def _pages(descriptor: int, start: int, size: int) -> bytes | None:
    """For each page that holds some of the bytes: 1 if it is in memory; None unknown."""
    first = start // mmap.PAGESIZE * mmap.PAGESIZE
    return _look(descriptor, first, start + size - first)
