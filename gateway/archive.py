"""What we hold: the one way to the index and the files.

Handlers take in, find, read and delete here and nowhere else, so that what is in the
index and what is on the disk cannot drift apart: a file before its row, a row removed
before its file, and start-up finishes what a crash left between the two.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from gateway.catalogue import Catalogue, Resource
from gateway.contents import Contents, Look, Page, State, Wanted, nothing_at
from gateway.dicom.charsets import LATIN1, Encodings
from gateway.dicom.hierarchy import Level
from gateway.dicom.walk import INLINE_BINARY_LIMIT
from gateway.errors import BadConfiguration, NotFound, StorageFull
from gateway.intake import Intake, Receiver
from gateway.outcomes import NO_LIMITS, Limits, Overwrite
from gateway.places import Place
from gateway.storage.blobs import DiskBlobs, new_name
from gateway.storage.database import Session, SqliteDatabase
from gateway.storage.holdings import Holdings
from gateway.storage.identity import identify
from gateway.storage.index import Index, Instance
from gateway.storage.metadata import Manner
from gateway.storage.migrations import migrate
from gateway.storage.reading import CHUNK, FileRange, Piece, Reading, at_once
from gateway.storage.resources import some_instances
from gateway.storage.search import Found, Remaining
from gateway.storage.sending import Sending
from gateway.storage.spool import Spool
from gateway.storage.stamp import ARCHIVE, Stamp
from gateway.storage.threads import done, in_thread

__all__ = [
    "Archive",
    "FileRange",
    "Found",
    "Instance",
    "Look",
    "Manner",
    "Page",
    "Piece",
    "Remaining",
    "Spool",
    "State",
    "Wanted",
]

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Instances removed in one transaction: a large study must not keep others waiting.
_DELETE_GROUP = 500


class Archive(Contents):
    """The instances held in a folder and its index; opened and closed by `async with`."""

    def __init__(
        self,
        storage: Path,
        index: Path,
        *,
        overwrite: Overwrite = Overwrite.NEVER,
        encodings: Encodings = LATIN1,
        inline_binary: int = INLINE_BINARY_LIMIT,
        limits: Limits = NO_LIMITS,
        stable_age: float = 60.0,
    ) -> None:
        self.stamp = Stamp(index)
        super().__init__(
            SqliteDatabase(index / "gateway.db"),
            DiskBlobs(storage),
            Index(lambda session: self.stamp.advance(session, ARCHIVE)),
            self.stamp,
        )
        self.database = self._database
        self.holdings = Holdings(self.database)
        self.catalogue = Catalogue(self._database, self._blobs, self.stamp, stable_age)
        self._folders = (storage, index)
        self._room = memoryview(bytearray(CHUNK))
        self._stack = AsyncExitStack()
        self._intake = Intake(
            self._database,
            self._blobs,
            self._index,
            overwrite=overwrite,
            encodings=encodings,
            inline_binary=inline_binary,
            limits=limits,
        )

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(in_thread, self._blobs.close_lane)
            try:
                await asyncio.to_thread(self._open_folders)
                await stack.enter_async_context(self.stamp)
                await stack.enter_async_context(self._database)
                await self._database.write(migrate)
                await self._database.write(self.stamp.correct)
                await self._database.write(self._identify)
                await self._sweep()
            except (OSError, StorageFull) as error:
                raise BadConfiguration(
                    f"the archive cannot be used: {error}"
                ) from error
            await stack.enter_async_context(self._intake)
            await stack.enter_async_context(self.catalogue.watching())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    def _open_folders(self) -> None:
        self._folders[1].mkdir(parents=True, exist_ok=True)
        self._blobs.open_lane()

    def _identify(self, session: Session) -> None:
        identify(session, self._folders[0], holds_files=self._blobs.holds_any())

    async def _sweep(self) -> None:
        """Finish what a crash interrupted, and say so."""
        swept = await self._database.read(
            lambda session: self._blobs.sweep(
                lambda name: self._index.has_blob(session, name),
                lambda pack: self._index.packed(session, pack),
            )
        )
        if swept.completed or swept.removed:
            log.warning(
                "an earlier run was interrupted: %d stored instances put in place,"
                " %d unfinished ones removed",
                swept.completed,
                swept.removed,
            )
        garbage = await self._database.read(self._index.garbage)
        if swept.alone:
            await self._remove_garbage(garbage)
        else:  # others may be sending what was replaced
            await asyncio.to_thread(self._intake.replaced.add, garbage)

    # -- taking in -------------------------------------------------------------------

    def receive(self) -> Receiver:
        """A place for the bytes of one instance on its way in."""
        return self._intake.receive()

    def spool(self) -> Spool:
        """A place for bytes that wait for the end of their request."""
        return Spool(self._blobs.lane)

    async def check_room(self, size: int = 0) -> None:
        """Raise StorageFull if that many more bytes would be too much."""
        await self._intake.room.check(size)

    async def place(self, instance: Instance) -> Place:
        """Where an instance is, for another process to read; raises NotFound."""
        return await asyncio.to_thread(self._blobs.locate, instance.blob)

    async def present(self, instances: list[Instance]) -> list[Instance]:
        """Those of the instances whose files are there."""

        def work() -> list[Instance]:
            return [one for one in instances if self._blobs.is_there(one.blob)]

        return await asyncio.to_thread(work)

    @property
    def lane(self) -> Path:
        """The folder of what arrives; a start removes what is left in it."""
        return self._blobs.lane

    def scratch(self) -> Path:
        """A new file name beside what arrives; a start removes what is left of it.

        Until it is removed, its bytes can be read as those of a blob of that name.
        """
        return self._blobs.lane / new_name()

    # -- reading ---------------------------------------------------------------------

    async def read(self, pieces: Sequence[Piece]) -> AsyncGenerator[memoryview, None]:
        """The bytes of the pieces in chunks; the next is read while one is sent."""
        reading = Reading(self._blobs, pieces)
        ahead = asyncio.ensure_future(asyncio.to_thread(reading.fill))
        try:
            while chunk := await asyncio.shield(ahead):
                if reading.ended:
                    yield chunk
                    return
                ahead = asyncio.ensure_future(asyncio.to_thread(reading.fill))
                yield chunk
        finally:
            try:
                await done(ahead)
            finally:
                reading.close()

    def at_once(self, pieces: Sequence[Piece]) -> memoryview | None:
        """The bytes of the pieces, up to a mebibyte, if no disk has to be waited for.

        They are there until this is asked again: memory that is new each time costs as
        much as the bytes do.
        """
        return at_once(self._blobs, pieces, self._room)

    def sending(self, pieces: Sequence[Piece]) -> Sending:
        """The pieces, to be pushed to a socket; its methods belong into a thread."""
        return Sending(self._blobs, pieces)

    @staticmethod
    def file_range(
        instance: Instance, start: int = 0, stop: int | None = None
    ) -> FileRange:
        """The bytes of an instance's file, or some of them, as a piece to read."""
        return FileRange(instance.blob, start, instance.size if stop is None else stop)

    # -- deleting --------------------------------------------------------------------

    async def delete(self, level: Level, *uids: str) -> int:
        """Delete a study, series or instance, and parents left empty; how many went.

        Raises NotFound if there is none.
        """
        removed: list[str] = []
        while some := await self._database.write(
            lambda session: self._delete_some(session, level, uids)
        ):
            removed += some
        if not removed:
            raise nothing_at(level, uids)
        await self._remove_garbage(removed)
        return len(removed)

    async def remove(self, resource: Resource) -> int:
        """Delete a resource, what is below it, and parents left empty; how many went.

        Raises NotFound if nothing of it is there any more.
        """

        def work(session: Session) -> list[str]:
            some = some_instances(session, resource.level, resource.id, _DELETE_GROUP)
            return self._index.remove(session, some)

        removed: list[str] = []
        while some := await self._database.write(work):
            removed += some
        if not removed:
            raise NotFound(f"nothing of {resource.orthanc_id} is held here")
        await self._remove_garbage(removed)
        return len(removed)

    def _delete_some(
        self, session: Session, level: Level, uids: Sequence[str]
    ) -> list[str]:
        found = self._index.instances(session, level, uids)
        some = [instance.id for instance in islice(found, _DELETE_GROUP)]
        return self._index.remove(session, some)

    async def _remove_garbage(self, names: list[str]) -> None:
        if not names:
            return
        gone = await asyncio.to_thread(self._intake.replaced.remove_now, names)
        await self._database.write(lambda session: self._index.discarded(session, gone))
