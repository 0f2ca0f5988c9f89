"""The archive, watched: what comes in, how long its queues are, whether it is well.

What is seen is told to whoever asked at the start; nothing here knows of metrics.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.archive import Archive
from gateway.errors import StorageFull
from gateway.outcomes import FailureReason, Outcome, Stored

log = logging.getLogger(__name__)

#: How an instance that came in ended: the names that `outcome_name` gives.
OUTCOMES = (
    "stored",
    "already_held",
    *(reason.name.lower() for reason in FailureReason),
)


def outcome_name(outcome: Outcome) -> str:
    """What became of an instance, in a word."""
    if isinstance(outcome, Stored):
        return "already_held" if outcome.already_there else "stored"
    return outcome.reason.name.lower()


@dataclass(frozen=True, slots=True)
class Queues:
    """What waits."""

    parts: int  # instances that are read and wait to be made durable
    part_bytes: int  # bytes of unfinished instances in memory
    reads: int  # of the index, under way or waiting for a place


class WatchedArchive(Archive):
    """An archive that tells what becomes of each instance that comes in."""

    def __init__(
        self,
        storage: Path,
        index: Path,
        *,
        watch: Callable[[Outcome], object],
        **options: Any,
    ) -> None:
        super().__init__(storage, index, **options)
        self._intake.watch = watch

    def queues(self) -> Queues:
        """How much waits in this process."""
        return Queues(
            self._intake.waiting, max(0, self._intake.memory), self._database.reads
        )

    async def complaints(self) -> list[str]:
        """Why nothing can be found or stored at the moment; empty when all is well."""
        found = await asyncio.to_thread(self._complaints_of_the_disk)
        try:
            await self.totals()
        except Exception as error:  # whatever it is, nothing can be found
            log.warning("the index cannot be read: %s", error)
            found.append("the index cannot be read")
        return found

    def _complaints_of_the_disk(self) -> list[str]:
        # The lane is made at the start: it is missing when a disk was taken away.
        if not self._blobs.lane.is_dir():
            return ["the folder of the files is gone: is it mounted?"]
        if not os.access(self._blobs.lane, os.W_OK):
            return ["the folder of the files cannot be written"]
        try:
            self._intake.room.check_disk(0)
        except StorageFull:
            return ["too little room is left"]
        except OSError:
            return ["the disk cannot be asked for its room"]
        return []

    async def free_space(self) -> int:
        """Bytes that may still be written, of files and of the index."""
        return await asyncio.to_thread(self._blobs.free_space, self._folders[1])
