"""Files of instances on a disk: written beside, made durable, then put in place.

A blob's name is made here from the time and chance, never from what a client sent. Files
arrive under ``incoming/``, are flushed, get their row in the index, and only then move to
``blobs/``. A crash at any point leaves files in ``incoming/`` alone: those with a row are
complete and move on at the next start, those without were never acknowledged and go. So
start-up looks at what was under way, not at the whole archive. The last move is not
flushed: file systems with a journal have a renamed file under one of its two names after
a loss of power, and under either it is found.

What is small is not worth a file: it goes into a pack, see there.

::

    incoming/<lane>/<name>              under way
    incoming/<lane>/<name>.pack         the pack of that name is being written
    blobs/<time>/<time>/<time>/<name>   kept, or <name>.pack; what arrives together
                                        lies together
"""

import contextlib
import ctypes
import itertools
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import NotFound, StorageFull
from gateway.places import Opened, Place
from gateway.storage import packs
from gateway.storage.disk import (
    as_our_own,
    flush_folder,
    lock_lane,
    make_folder,
    remove_empty,
    write_all,
)
from gateway.storage.packing import Buffers, PackWriter

log = logging.getLogger(__name__)

_SYNC_FILE_RANGE_WRITE = 2
_NAME_LENGTH = 32


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
            write_all(self._descriptor, buffers, self.size)
            self.size += sum(map(len, buffers))
            _begin_writing(self._descriptor)
        except OSError as error:
            raise as_our_own(error) from error

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


@dataclass(frozen=True, slots=True)
class Swept:
    """What start-up found under way."""

    completed: int  # had their row, moved into place
    removed: int  # never acknowledged, removed
    alone: bool = True  # no other process lives that may be sending something


class DiskBlobs:
    """Blobs in a folder, shared by any number of processes.

    Each process writes to a lane of its own under ``incoming/`` and holds the lane's
    lock while it lives; a lane whose lock is free belongs to nobody any more. All methods
    block; they belong into a thread.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # What the file system can do is known with the lane.
        self.packs = False  # whether small blobs go into packs
        self.lends = False  # whether the network may have the memory that holds packs
        self._kept = folder / "blobs"
        self._arriving = folder / "incoming"
        self._mine = self._arriving
        self._lock = -1

    def open_lane(self) -> None:
        """Make the folders and take a lane."""
        make_folder(self.folder)
        self._arriving.mkdir(exist_ok=True)
        self._kept.mkdir(exist_ok=True)
        for number in itertools.count():
            self._mine = self._arriving / str(number)
            self._mine.mkdir(exist_ok=True)
            self._lock = lock_lane(self._mine)
            if self._lock >= 0:
                break
        for folder in (self.folder, self._arriving):
            flush_folder(folder)
        able = packs.abilities_of(self._mine)
        self.packs, self.lends = able.packs, able.lends
        self._pack = PackWriter(self._mine, new_name, self._place_of_pack)

    def close_lane(self) -> None:
        """Let the lane go."""
        if self._lock >= 0:
            self._pack.close()
            os.close(self._lock)
            self._lock = -1

    def incoming(self) -> Incoming:
        """A new blob to write to."""
        return Incoming(self._mine / new_name())

    def pack(self, blobs: Sequence[Buffers]) -> list[str]:
        """Write small blobs into a pack; the names under which they are kept.

        They are safe after `flush_pack`. Raises StorageFull.
        """
        return self._pack.append(blobs)

    def flush_pack(self) -> None:
        """Return once what was packed is on the disk."""
        self._pack.flush()

    @property
    def lane(self) -> Path:
        """The folder of this process for what is under way."""
        return self._mine

    def settle(self) -> None:
        """Return once the names of what arrived are on the disk."""
        flush_folder(self._mine)

    def _path(self, name: str) -> str:
        # The time in a name counts milliseconds: folders of 65 s, 4.7 h and 50 days.
        return f"{self._kept}/{name[:4]}/{name[4:6]}/{name[6:8]}/{name}"

    def _place(self, name: str) -> Path:
        return Path(self._path(name))

    def _place_of_pack(self, pack: str) -> Path:
        return Path(self._path(pack) + packs.SUFFIX)

    def _kept_at(self, name: str) -> Place:
        """Where a blob is once it is in place."""
        pack = packs.pack_of(name)
        if pack is None:
            return Place(self._path(name))
        return Place(self._path(pack) + packs.SUFFIX, *packs.extent_of(name))

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

    def open(self, name: str) -> Opened:
        """The blob to be read; raises NotFound.

        A blob that has just got its row may still be moving: look where it comes from,
        then again where it goes.
        """
        place = self._kept_at(name)
        arriving = (Place(str(path)) for path in self._arriving.glob(f"*/{name}"))
        for candidates in ((place,), arriving, (place,)):
            for candidate in candidates:
                try:
                    return candidate.open()
                except FileNotFoundError:
                    continue
        raise NotFound("the file of this instance is gone")

    def open_at_once(self, name: str) -> Opened | None:
        """The blob to be read; None if that could wait. For any thread."""
        return self._kept_at(name).open_at_once()

    def is_there(self, name: str) -> bool:
        """Whether the blob can be opened, for all that can be told without doing so."""
        if packs.pack_of(name) is None and self._place(name).exists():
            return True
        try:
            self.open(name).close()
        except NotFound:
            return False
        return True

    def locate(self, name: str) -> Place:
        """Where a blob is, for another process; raises NotFound."""
        with self.open(name) as opened:
            if packs.pack_of(name) is not None:
                return self._kept_at(name)
            return Place(str(Path(f"/proc/self/fd/{opened.descriptor}").readlink()))

    def remove(self, names: Iterable[str], *, seen: bool = True) -> list[str]:
        """Remove blobs whose rows are gone, and folders that they leave empty.

        When this returns, no loss of power brings them back. Blobs in packs that
        somebody reads just now stay, and are returned: they are to be removed later.
        Of what was never `seen`, having had no rows, nothing is on its way to anybody.
        """
        busy: list[str] = []
        emptied: list[str] = []
        packed: dict[str, list[str]] = {}
        for name in names:
            pack = packs.pack_of(name)
            if pack is None:
                self._unlink(name)
                emptied.append(name)
            else:
                packed.setdefault(pack, []).append(name)
        for pack, some in packed.items():
            stay, is_gone = packs.take_out(
                self._place_of_pack(pack), some, lent=self.lends and seen
            )
            busy += stay
            if is_gone:
                emptied.append(pack)
        self._tidy(emptied)
        return busy

    def _tidy(self, gone: list[str]) -> None:
        """Remove the folders that files left empty, and make sure that those are gone."""
        touched: set[Path] = set()
        for name in gone:
            for folder in list(self._place(name).parents)[:4]:
                touched.add(folder)
                if folder == self._kept or not remove_empty(folder):
                    break
        for folder in touched:
            with contextlib.suppress(FileNotFoundError):
                flush_folder(folder)

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

    def sweep(
        self, known: Callable[[str], bool], packed: Callable[[str], Iterable[str]]
    ) -> Swept:
        """Finish or remove what was under way when its process ended.

        `known` tells whether a blob has its row, `packed` which blobs of a pack have
        theirs. Lanes of living processes are left alone; call it before this one takes
        anything in.
        """
        completed = removed = 0
        alone = True
        for lane in sorted(self._arriving.glob("*/")):
            lock = self._lock if lane == self._mine else lock_lane(lane)
            if lock < 0:
                alone = False
                continue
            try:
                found = self._sweep_lane(lane, known, packed)
            finally:
                if lock != self._lock:
                    os.close(lock)
            completed += found.completed
            removed += found.removed
        return Swept(completed, removed, alone)

    def _sweep_lane(
        self,
        lane: Path,
        known: Callable[[str], bool],
        packed: Callable[[str], Iterable[str]],
    ) -> Swept:
        completed = removed = 0
        for path in list(lane.iterdir()):
            if path.suffix == packs.SUFFIX and _is_name(path.stem):
                removed += packs.mend(self._place_of_pack(path.stem), packed(path.stem))
                self._tidy([path.stem])
                path.unlink()
            elif _is_name(path.name) and known(path.name):
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
        """Every file kept, packs among them; for checks, it walks the whole archive."""
        return [path.name for path in self._kept.glob("*/*/*/*")]
