"""What we hold: the one way to the index and the files.

Handlers take in, find, read and delete here and nowhere else, so that what is in the
index and what is on the disk cannot drift apart: a file before its row, a row removed
before its file, and start-up finishes what a crash left between the two.
"""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import orjson

from gateway.dicom.charsets import LATIN1, Encodings
from gateway.dicom.hierarchy import Attributes, Level
from gateway.dicom.pixels import PixelLayout, layout_of
from gateway.dicom.query import Query
from gateway.dicom.walk import INLINE_BINARY_LIMIT
from gateway.errors import BadConfiguration, NotFound, StorageFull
from gateway.intake import Intake, Receiver
from gateway.outcomes import NO_LIMITS, Limits, Overwrite
from gateway.storage.blobs import DiskBlobs, new_name
from gateway.storage.database import Session, SqliteDatabase
from gateway.storage.entries import inflate
from gateway.storage.holdings import Holdings
from gateway.storage.identity import identify
from gateway.storage.index import Index, Instance, Totals
from gateway.storage.metadata import AS_KEPT, Manner, texts
from gateway.storage.migrations import migrate
from gateway.storage.reading import FileRange, Piece, Reading
from gateway.storage.search import Found, Remaining, find, remaining
from gateway.storage.sending import Sending
from gateway.storage.spool import Spool
from gateway.storage.threads import done

__all__ = [
    "Archive",
    "FileRange",
    "Found",
    "Instance",
    "Manner",
    "Piece",
    "Remaining",
    "Spool",
]

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Instances removed in one transaction: a large study must not keep others waiting.
_DELETE_GROUP = 500


class Archive:
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
    ) -> None:
        self._blobs = DiskBlobs(storage)
        self.database = self._database = SqliteDatabase(index / "gateway.db")
        self.holdings = Holdings(self.database)
        self._index = Index()
        self._folders = (storage, index)
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
            stack.callback(self._blobs.close_lane)
            try:
                await asyncio.to_thread(self._open_folders)
                await stack.enter_async_context(self._database)
                await self._database.write(migrate)
                await self._database.write(self._identify)
                await self._sweep()
            except (OSError, StorageFull) as error:
                raise BadConfiguration(
                    f"the archive cannot be used: {error}"
                ) from error
            await stack.enter_async_context(self._intake)
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
                lambda name: self._index.has_blob(session, name)
            )
        )
        if swept.completed or swept.removed:
            log.warning(
                "an earlier run was interrupted: %d stored instances put in place,"
                " %d unfinished ones removed",
                swept.completed,
                swept.removed,
            )
        await self._remove_garbage(await self._database.read(self._index.garbage))

    # -- taking in -------------------------------------------------------------------

    def receive(self) -> Receiver:
        """A place for the bytes of one instance on its way in."""
        return self._intake.receive()

    def spool(self) -> Spool:
        """A place for bytes that wait for the end of their request."""
        return Spool(self._blobs.lane)

    async def check_room(self, size: int = 0) -> None:
        """Raise StorageFull if that many more bytes would be too much."""
        await self._intake.check_room(size)

    # -- finding ---------------------------------------------------------------------

    def find(
        self, query: Query, present: Callable[[Found], T]
    ) -> AsyncGenerator[list[T], None]:
        """The matches of a query, each as `present` makes it, in lists.

        `present` runs in a thread.
        """
        return self._database.stream(lambda session: map(present, find(session, query)))

    async def remaining(self, query: Query) -> Remaining:
        """How many matches the limit of a query cuts off."""
        return await self._database.read(lambda session: remaining(session, query))

    async def instances(
        self, level: Level, *uids: str
    ) -> AsyncGenerator[list[Instance], None]:
        """The instances of a study, series, or the one; raises NotFound if none."""
        any_found = False
        async with aclosing(
            self._database.stream(
                lambda session: self._index.instances(session, level, uids)
            )
        ) as groups:
            async for group in groups:
                any_found = True
                yield group
        if not any_found:
            raise _nothing(level, uids)

    async def instance(self, study: str, series: str, uid: str) -> Instance:
        """One instance by its address; raises NotFound."""
        async with aclosing(
            self.instances(Level.INSTANCE, study, series, uid)
        ) as groups:
            async for group in groups:
                return group[0]
        raise _nothing(Level.INSTANCE, (study, series, uid))

    async def by_uid(self, uid: str) -> list[Instance]:
        """The instances with this SOP Instance UID, in whatever studies they are."""
        return await self._database.read(
            lambda session: self._index.by_uid(session, uid)
        )

    async def by_orthanc_id(self, orthanc_id: str) -> Instance:
        """One instance by Orthanc's identifier; raises NotFound."""
        found = await self._database.read(
            lambda session: self._index.by_orthanc_id(session, orthanc_id)
        )
        if found is None:
            raise NotFound(f"no instance has the identifier {orthanc_id}")
        return found

    async def headers(
        self,
        level: Level,
        *uids: str,
        present: Callable[[str, str, str, bytes], T],
        manner: Manner = AS_KEPT,
    ) -> AsyncGenerator[list[T], None]:
        """Header JSON of a study, series or instance; raises NotFound if there is none.

        `present` gets study, series and instance UID and the JSON, in a thread.
        """

        def work(session: Session) -> Iterator[T]:
            for text in texts(session, self._blobs, level, uids, manner):
                yield present(*text)

        any_found = False
        async with aclosing(self._database.stream(work)) as groups:
            async for group in groups:
                any_found = True
                yield group
        if not any_found:
            raise _nothing(level, uids)

    async def header(
        self, instance: Instance, examine: Callable[[bytes, dict[str, Any]], T]
    ) -> T:
        """What `examine` finds in an instance's header; it runs in a thread.

        It gets the header as JSON, and where the values lie that the file keeps. Raises
        NotFound when the instance is gone.
        """

        def work(session: Session) -> T:
            row = self._index.header(session, instance.id)
            if row is None:
                raise _nothing(Level.INSTANCE, (instance.uid,))
            return examine(inflate(row[0]), orjson.loads(row[1]) if row[1] else {})

        return await self._database.read(work)

    async def images(self, instance: Instance) -> tuple[Attributes, PixelLayout | None]:
        """The header of an instance and the layout of its pixels, if it has any."""

        def work(session: Session) -> tuple[Attributes, PixelLayout | None]:
            row = self._index.header(session, instance.id)
            if row is None:
                raise _nothing(Level.INSTANCE, (instance.uid,))
            attributes = orjson.loads(inflate(row[0]))
            places = orjson.loads(row[1]) if row[1] else {}
            return attributes, layout_of(attributes, instance.transfer_syntax, places)

        return await self._database.read(work)

    async def path(self, instance: Instance) -> Path:
        """Where an instance's file is, for another process to read; raises NotFound."""
        return await asyncio.to_thread(self._blobs.locate, instance.blob)

    async def present(self, instances: list[Instance]) -> list[Instance]:
        """Those of the instances whose files are there."""

        def work() -> list[Instance]:
            return [one for one in instances if self._blobs.is_there(one.blob)]

        return await asyncio.to_thread(work)

    def scratch(self) -> Path:
        """A new file name beside what arrives; a start removes what is left of it.

        Until it is removed, its bytes can be read as those of a blob of that name.
        """
        return self._blobs.lane / new_name()

    async def look(
        self, instance: Instance, examine: Callable[[Callable[[int, int], bytes]], T]
    ) -> T:
        """What `examine` finds in an instance's file; it runs in a thread.

        It gets a function that reads so many bytes from an offset on.
        """

        def work() -> T:
            descriptor = self._blobs.open(instance.blob)
            try:
                return examine(lambda offset, size: os.pread(descriptor, size, offset))
            finally:
                os.close(descriptor)

        return await asyncio.to_thread(work)

    async def parent_series(self, instance: Instance) -> str:
        """Orthanc's identifier of the series of an instance."""
        return (await self.parents(instance))[0][1]

    async def parents(self, instance: Instance) -> list[tuple[str, str]]:
        """Kind and Orthanc's identifier of series, study and patient; NotFound if gone."""
        found = await self._database.read(
            lambda session: self._index.parents(session, instance.id)
        )
        if found is None:
            raise NotFound(f"no instance has the identifier {instance.orthanc_id}")
        return list(zip(("Series", "Study", "Patient"), found, strict=True))

    async def exists(self, kind: str, orthanc_id: str) -> bool:
        """Whether Orthanc's identifier names a Series, Study or Patient."""
        return await self._database.read(
            lambda session: self._index.exists(session, kind, orthanc_id)
        )

    async def orthanc_ids(self, since: int, limit: int) -> list[str]:
        """Orthanc's identifiers of instances, oldest first."""
        return await self._database.read(
            lambda session: list(self._index.orthanc_ids(session, limit, since))
        )

    async def transfer_syntaxes(self, level: Level, *uids: str) -> frozenset[str]:
        """The transfer syntaxes in which the instances under an address are held."""
        return await self._database.read(
            lambda session: self._index.transfer_syntaxes(session, level, uids)
        )

    async def state(self, level: Level | None = None, *uids: str) -> tuple[object, ...]:
        """What differs whenever what is held under an address does; without one, all."""
        return await self._database.read(
            lambda session: self._index.state(session, level, uids)
        )

    async def totals(self) -> Totals:
        """How much is held."""
        return await self._database.read(self._index.totals)

    # -- reading ---------------------------------------------------------------------

    async def read(self, pieces: Sequence[Piece]) -> AsyncGenerator[memoryview, None]:
        """The bytes of the pieces in chunks; the next is read while one is sent."""
        reading = Reading(self._blobs, pieces)
        ahead = asyncio.ensure_future(asyncio.to_thread(reading.fill))
        try:
            while chunk := await asyncio.shield(ahead):
                ahead = asyncio.ensure_future(asyncio.to_thread(reading.fill))
                yield chunk
        finally:
            try:
                await done(ahead)
            finally:
                reading.close()

    def sending(self, pieces: Sequence[Piece]) -> Sending:
        """The pieces, to be pushed to a socket; its methods belong into a thread."""
        return Sending(self._blobs, pieces)

    @staticmethod
    def file_range(
        instance: Instance, start: int = 0, stop: int | None = None
    ) -> Piece:
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
            raise _nothing(level, uids)
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
        await asyncio.to_thread(self._blobs.remove, names)
        await self._database.write(
            lambda session: self._index.discarded(session, names)
        )


def _nothing(level: Level, uids: Sequence[str]) -> NotFound:
    return NotFound(f"no {level.name.lower()} {'/'.join(uids)} is held here")
