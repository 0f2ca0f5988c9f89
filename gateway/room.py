"""Whether there is room for what arrives, and making it where the settings say so.

Two bounds are refused by: the free space of the disks, and what is held altogether, in
bytes and in patients. Where the oldest give way to the newest (Recycle), patients are
removed that got nothing new for longest: never one that is protected, nor one that
something is just arriving for. Room is made before a group is written, a part of a
patient at a time, so that nobody waits long.
"""

import asyncio
import logging
import math
import time
from collections.abc import Collection, Sequence

from gateway.errors import Busy, StorageFull
from gateway.outcomes import Limits
from gateway.storage import recycling
from gateway.storage.blobs import DiskBlobs
from gateway.storage.database import Database, Session
from gateway.storage.entries import Entry
from gateway.storage.index import Index
from gateway.storage.replaced import Replaced

log = logging.getLogger(__name__)

#: For so many seconds the free space of the disk is believed to be about the same.
_ROOM_SECONDS = 1.0

#: Instances removed in one transaction to make room.
_AT_A_TIME = 500


class Room:
    """The bounds of an archive."""

    def __init__(
        self,
        database: Database,
        blobs: DiskBlobs,
        index: Index,
        limits: Limits,
        replaced: Replaced,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._index = index
        self._limits = limits
        self._replaced = replaced  # what is kept for a while only if there is room
        self._free, self._measured = 0, -math.inf  # free space, and when it was

    async def check(self, size: int) -> None:
        """Raise StorageFull if the disk cannot take that many more bytes.

        Busy if the disk is gone.

        What it said a moment ago is believed. The bound on what is held comes later,
        for what is new alone: a request that is sent again must not fail by it.
        """
        free_space = self._limits.free_space
        age = time.monotonic() - self._measured
        is_known = age < _ROOM_SECONDS and self._free - size > 2 * free_space
        if free_space and not is_known:
            try:
                await asyncio.to_thread(self.check_disk, size)
            except OSError as error:
                log.error("the disk cannot be asked for its room: %s", error)
                raise Busy("the storage cannot be reached") from error

    def check_disk(self, size: int) -> None:
        """Raise StorageFull if so many bytes more would leave too little free space."""
        if self._limits.free_space:
            self._measure()
            if self._free - size < self._limits.free_space and self._replaced.remove(
                all_of_them=True
            ):
                self._measure()
            if self._free - size < self._limits.free_space:
                raise StorageFull("too little free space is left on the disk")

    def _measure(self) -> None:
        self._free = self._blobs.free_space(self._limits.index_folder)
        self._measured = time.monotonic()

    def check_new(self, session: Session, size: int, patients: Collection[str]) -> None:
        """Raise StorageFull if so many bytes of these patients would be too much.

        Where the oldest give way, room was made: what another process took meanwhile is
        made again with the next group.
        """
        self.check_disk(size)
        self.check_held(session, size, patients)

    def check_held(
        self, session: Session, size: int, patients: Collection[str]
    ) -> None:
        """The same, but for the disk: in the transaction that adds them it is certain."""
        limits = self._limits
        if limits.recycle:
            return
        if (
            limits.storage_size
            and self._index.size(session) + size > limits.storage_size
        ):
            raise StorageFull("MaximumStorageSize is reached")
        if limits.patients:
            count, new = recycling.count_patients(session, patients)
            if new and count + new > limits.patients:
                raise StorageFull("MaximumPatientCount is reached")

    # -- making room -----------------------------------------------------------------

    async def make(self, entries: Sequence[Entry]) -> None:
        """Remove the oldest patients until these instances fit; raises StorageFull."""
        limits = self._limits
        if not limits.recycle or not (limits.storage_size or limits.patients):
            return
        removed = 0
        try:
            while await self._database.read(
                lambda session: self._is_short(session, entries)
            ):
                removed += await self._remove_some(entries)
        finally:
            if removed:
                log.info("%d of the oldest instances made room", removed)

    def _is_short(self, session: Session, entries: Sequence[Entry]) -> bool:
        limits = self._limits
        if limits.patients:
            patients = {entry.orthanc_ids[0] for entry in entries}
            count, new = recycling.count_patients(session, patients)
            if new > limits.patients:
                raise StorageFull("MaximumPatientCount is too small for this")
            if new and count + new > limits.patients:
                return True
        if not limits.storage_size:
            return False
        held = self._index.size(session)
        if held + sum(entry.size for entry in entries) <= limits.storage_size:
            return False
        # Only what is not held already needs room.
        size = sum(
            entry.size
            for entry in entries
            if self._index.locate(session, entry.uids) is None
        )
        if size > limits.storage_size:
            raise StorageFull("MaximumStorageSize is too small for this")
        return size > 0 and held + size > limits.storage_size

    async def _remove_some(self, entries: Sequence[Entry]) -> int:
        """Remove a part of the oldest patient; how many instances went."""
        spared = {entry.orthanc_ids[0] for entry in entries}

        def work(session: Session) -> list[str]:
            some = recycling.oldest_instances(session, spared, _AT_A_TIME)
            return self._index.remove(session, some)

        blobs = await self._database.write(work)
        if not blobs:
            raise StorageFull(
                "MaximumStorageSize or MaximumPatientCount is reached,"
                " and no patient can be removed"
            )
        gone = await asyncio.to_thread(self._replaced.remove_now, blobs)
        await self._database.write(lambda session: self._index.discarded(session, gone))
        return len(blobs)
