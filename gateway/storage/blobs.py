"""Files of instances on a disk: written beside, made durable, then put in place.

A blob's name is made here from the time and chance, never from what a client sent. Files
arrive under ``incoming/``, are flushed, get their row in the index, and only then move to
``blobs/``. A crash at any point leaves files in ``incoming/`` alone: those with a row are
complete and move on at the next start, those without were never acknowledged and go. So
start-up looks at what was under way, not at the whole archive. The last move is not
flushed: file systems with a journal have a renamed file under one of its two names after
a loss of power, and under either it is found.

::

    incoming/<lane>/<name>              under way
    blobs/<time>/<time>/<time>/<name>   kept; what arrives together lies together
"""

import contextlib
import ctypes
import errno
import fcntl
import itertools
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import NotFound, StorageFull
from gateway.storage.memory import open_at_once

log = logging.getLogger(__name__)

_SYNC_FILE_RANGE_WRITE = 2
_NAME_LENGTH = 32

#: Buffers given to the kernel in one call at most (POSIX promises 16, Linux 1024).
_VECTOR_LIMIT = 512

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def new_name() -> str:
    """A name for a blob: milliseconds since 1970, then chance, in hexadecimal."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def _is_name(text: str) -> bool:
    return len(text) == _NAME_LENGTH and all(c in "0123456789abcdef" for c in text)


def _start_writeback() -> Callable[[int], None]:
    """A call that makes the kernel begin writing a file out, where there is one.

    Many files flushed after that cost little more than one.
    """
    try:
        call = ctypes.CDLL(None, use_errno=True).sync_file_range
    except (OSError, AttributeError):
        return lambda descriptor: None
    call.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return lambda descriptor: call(descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE)


_begin_writing = _start_writeback()


class Incoming:
    """One blob on its way in. All methods block; they belong into a thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.size = 0
        self._flushed = False
        try:
            self._descriptor = os.open(
                path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640
            )
        except OSError as error:
            raise as_our_own(error) from error

    def append(self, buffers: Sequence[bytes | memoryview]) -> None:
        """Write the buffers, one after the other; raises StorageFull."""
        try:
            for start in range(0, len(buffers), _VECTOR_LIMIT):
                self._write(list(buffers[start : start + _VECTOR_LIMIT]))
            _begin_writing(self._descriptor)
        except OSError as error:
            raise as_our_own(error) from error

    def _write(self, buffers: list[bytes | memoryview]) -> None:
        while buffers:
            written = os.writev(self._descriptor, buffers)
            self.size += written
            while buffers and written >= len(buffers[0]):
                written -= len(buffers.pop(0))
            if written:
                buffers[0] = memoryview(buffers[0])[written:]

    def flush(self) -> None:
        """Return once the bytes are on the disk; a second time answers the same."""
        if self._descriptor < 0:
            if not self._flushed:
                raise StorageFull("the disk did not take the file")
            return
        try:
            os.fdatasync(self._descriptor)
            self._flushed = True
        except OSError as error:
            raise as_our_own(error) from error
        finally:
            self.close()

    def close(self) -> None:
        """Give the descriptor back; more than once does no harm."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def discard(self) -> None:
        """Leave nothing of it behind; what cannot go now goes at the next start."""
        self.close()
        try:
            self.path.unlink(missing_ok=True)
        except OSError:
            log.exception("an unfinished file cannot be removed")


def as_our_own(error: OSError) -> Exception:
    """StorageFull if the disk took no more, else the error itself."""
    return StorageFull() if error.errno in _NO_ROOM else error


@dataclass(frozen=True, slots=True)
class Swept:
    """What start-up found under way."""

    completed: int  # had their row, moved into place
    removed: int  # never acknowledged, removed


class DiskBlobs:
    """Blobs in a folder, shared by any number of processes.

    Each process writes to a lane of its own under ``incoming/`` and holds the lane's
    lock while it lives; a lane whose lock is free belongs to nobody any more. All methods
    block; they belong into a thread.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._kept = folder / "blobs"
        self._arriving = folder / "incoming"
        self._mine = self._arriving
        self._folder = "", self._kept  # the one that was needed last, and its time
        self._lock = -1

    def open_lane(self) -> None:
        """Make the folders and take a lane."""
        _make_folder(self.folder)
        self._arriving.mkdir(exist_ok=True)
        self._kept.mkdir(exist_ok=True)
        for number in itertools.count():
            self._mine = self._arriving / str(number)
            self._mine.mkdir(exist_ok=True)
            self._lock = _try_lock(self._mine)
            if self._lock >= 0:
                break
        for folder in (self.folder, self._arriving):
            _flush_folder(folder)

    def close_lane(self) -> None:
        """Let the lane go."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def incoming(self) -> Incoming:
        """A new blob to write to."""
        return Incoming(self._mine / new_name())

    @property
    def lane(self) -> Path:
        """The folder of this process for what is under way."""
        return self._mine

    def settle(self) -> None:
        """Return once the names of what arrived are on the disk."""
        _flush_folder(self._mine)

    def _place(self, name: str) -> Path:
        # The time in a name counts milliseconds: folders of 65 s, 4.7 h and 50 days.
        # What arrived together is asked for together: the folder is made once for all.
        time, folder = self._folder
        if name[:8] != time:
            folder = self._kept / name[:4] / name[4:6] / name[6:8]
            self._folder = name[:8], folder
        return folder / name

    def publish(self, name: str) -> None:
        """Put a blob that has its row in place; a second time does no harm."""
        self._move(self._mine / name, name)

    def _move(self, source: Path, name: str) -> None:
        """Move a file; one that was removed meanwhile needs no place any more."""
        place = self._place(name)
        while True:
            try:
                source.rename(place)
                return
            except FileNotFoundError:
                if not source.exists():
                    return
            # Somebody who removes a blob beside may take the folder away again.
            with contextlib.suppress(FileNotFoundError, FileExistsError):
                place.parent.mkdir(parents=True, exist_ok=True)

    def open(self, name: str) -> int:
        """A descriptor to read the blob; raises NotFound.

        A blob that has just got its row may still be moving: look where it comes from,
        then again where it goes.
        """
        place = self._place(name)
        for candidates in ((place,), self._arriving.glob(f"*/{name}"), (place,)):
            for path in candidates:
                try:
                    return os.open(path, os.O_RDONLY)
                except FileNotFoundError:
                    continue
        raise NotFound("the file of this instance is gone")

    def open_at_once(self, name: str) -> int | None:
        """A descriptor to read the blob; None if that could wait. For any thread."""
        folders = f"{name[:4]}/{name[4:6]}/{name[6:8]}"
        return open_at_once(f"{self._kept}/{folders}/{name}")

    def is_there(self, name: str) -> bool:
        """Whether the blob can be opened, for all that can be told without doing so."""
        if self._place(name).exists():
            return True
        try:
            os.close(self.open(name))
        except NotFound:
            return False
        return True

    def locate(self, name: str) -> Path:
        """Where the file of a blob is, for another process; raises NotFound."""
        descriptor = self.open(name)
        try:
            return Path(f"/proc/self/fd/{descriptor}").readlink()
        finally:
            os.close(descriptor)

    def remove(self, names: Iterable[str]) -> None:
        """Remove blobs whose rows are gone, and folders that they leave empty.

        When this returns, no loss of power brings them back.
        """
        touched: set[Path] = set()
        for name in names:
            self._unlink(name)
            for folder in list(self._place(name).parents)[:4]:
                touched.add(folder)
                if folder == self._kept or not _remove_empty(folder):
                    break
        for folder in touched:
            with contextlib.suppress(FileNotFoundError):
                _flush_folder(folder)

    def _unlink(self, name: str) -> None:
        # A blob that has just got its row may still be moving: look as `open` does.
        place = self._place(name)
        for candidates in ((place,), self._arriving.glob(f"*/{name}"), (place,)):
            for path in candidates:
                try:
                    path.unlink()
                except FileNotFoundError:
                    continue
                return

    def sweep(self, known: Callable[[str], bool]) -> Swept:
        """Finish or remove what was under way when its process ended.

        `known` tells whether a blob has its row. Lanes of living processes are left
        alone; call it before this one takes anything in.
        """
        completed = removed = 0
        for lane in sorted(self._arriving.glob("*/")):
            lock = self._lock if lane == self._mine else _try_lock(lane)
            if lock < 0:
                continue
            try:
                found = self._sweep_lane(lane, known)
            finally:
                if lock != self._lock:
                    os.close(lock)
            completed += found.completed
            removed += found.removed
        return Swept(completed, removed)

    def _sweep_lane(self, lane: Path, known: Callable[[str], bool]) -> Swept:
        completed = removed = 0
        for path in list(lane.iterdir()):
            if _is_name(path.name) and known(path.name):
                self._move(path, path.name)
                completed += 1
            elif not path.is_dir():
                path.unlink()
                removed += 1
        return Swept(completed, removed)

    def holds_any(self) -> bool:
        """Whether there is any file, kept or under way."""
        return any(self._kept.glob("*/*/*/*")) or any(self._arriving.glob("*/*"))

    def free_space(self, beside: Path | None = None) -> int:
        """Bytes that may still be written, here and on the disk of another folder."""
        states = [os.statvfs(folder) for folder in (self.folder, beside) if folder]
        return min(state.f_bavail * state.f_frsize for state in states)

    def names(self) -> list[str]:
        """Every blob kept; for checks, it walks the whole archive."""
        return [path.name for path in self._kept.glob("*/*/*/*")]


def _try_lock(lane: Path) -> int:
    """A descriptor that holds the lane's lock; negative if a process lives there."""
    descriptor = os.open(f"{lane}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return -1
    return descriptor


def _make_folder(folder: Path) -> None:
    """Make a folder that outlives a loss of power, and those above that lack."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        _flush_folder(path.parent)


def _remove_empty(folder: Path) -> bool:
    """Remove the folder if it is empty; whether it is gone."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False  # another blob lies there
    return True


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
