"""Whether something has changed, told between processes without a system call.

Every kind of thing that processes share has a version in the database, which grows with
each change. Reading it costs a query; the stamp is a copy of it in memory that all
processes map. It is written within the transaction that makes the change, before it is
committed. So who reads it may learn of a change too early, or of one that is undone, but
never too late: whoever finds the stamp to differ from the version that it last read *from
the database* reads again.
"""

import asyncio
import mmap
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.storage.database import Session

#: What is counted; the place of each in the file is its place here.
#: What is held: instances, and what is shown of them and of their parents.
ARCHIVE = "archive"

KINDS = ("jobs", "servers", ARCHIVE)

_PLACES = {kind: place for place, kind in enumerate(KINDS)}

_NAME = "gateway.stamp"
_SIZE = mmap.PAGESIZE

_VERSION = "SELECT version FROM versions WHERE kind = ?"
_ADVANCE = """
INSERT INTO versions (kind, version) VALUES (?, 1)
ON CONFLICT (kind) DO UPDATE SET version = version + 1
"""


def version_of(session: Session, kind: str) -> int:
    """The version of a kind, as the database has it."""
    row = session.first(_VERSION, (kind,))
    return int(row[0]) if row else 0


class Stamp:
    """The counters of all kinds in a file of the folder; opened by `async with`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _NAME
        self._map: mmap.mmap | None = None
        self._numbers = memoryview(bytes(_SIZE)).cast("Q")

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._open)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._numbers.release()
        if self._map is not None:
            self._map.close()

    def _open(self) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            if os.fstat(descriptor).st_size < _SIZE:
                os.ftruncate(descriptor, _SIZE)  # keeps what another has written
            self._map = mmap.mmap(descriptor, _SIZE)
        finally:
            os.close(descriptor)
        self._numbers = memoryview(self._map).cast("Q")

    def read(self, kind: str) -> int:
        """The version that a change of this kind was last given."""
        return self._numbers[_PLACES[kind]]

    def set(self, kind: str, version: int) -> None:
        """Tell all processes; only within the transaction that writes the version."""
        self._numbers[_PLACES[kind]] = version

    def advance(self, session: Session, kind: str) -> int:
        """Count a change that this transaction makes; the version it has from now on."""
        session.execute(_ADVANCE, (kind,))
        version = version_of(session, kind)
        self.set(kind, version)
        return version

    def correct(self, session: Session) -> None:
        """Take back what was told of changes that were never committed.

        Within a transaction, beside which no other process's runs.
        """
        for kind in KINDS:
            self.set(kind, version_of(session, kind))
