"""What Orthanc's dialect asks of the archive: resources by identifier, and their notes.

Resources of the four levels, how they hang together, what happened to them, and what
users wrote beside them. Files are read and removed by the archive.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TypeVar

from gateway.dicom.hierarchy import Attributes, Level
from gateway.dicom.normal_forms import normalise_text
from gateway.errors import NotFound
from gateway.storage import changes, labels, resources
from gateway.storage.blobs import DiskBlobs
from gateway.storage.changes import Change, ChangesPage, ChangesWanted
from gateway.storage.database import Session, SqliteDatabase
from gateway.storage.index import Instance
from gateway.storage.labels import Written
from gateway.storage.resources import Below, Resource
from gateway.storage.selection import Ordering, Selection, select
from gateway.storage.stamp import ARCHIVE, Stamp, version_of

__all__ = [
    "Below",
    "Catalogue",
    "Change",
    "ChangesPage",
    "ChangesWanted",
    "Ordering",
    "Resource",
    "Selection",
    "Written",
]

log = logging.getLogger(__name__)

T = TypeVar("T")

#: How often one looks for resources that have become stable (seconds).
_LOOK = 1.0

_STEP = 1024 * 1024


def _now() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S")


class Catalogue:
    """The resources of an archive; one is stable after so many quiet seconds."""

    def __init__(
        self,
        database: SqliteDatabase,
        blobs: DiskBlobs,
        stamp: Stamp,
        stable_age: float,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._stamp = stamp
        self._stable_age = stable_age

    # -- resources -------------------------------------------------------------------

    async def resource(
        self, level: Level, orthanc_id: str, *, header: bool = False
    ) -> Resource:
        """The resource of a level with an identifier; raises NotFound."""
        found = await self._database.read(
            lambda session: resources.by_orthanc_id(session, level, orthanc_id, header)
        )
        if found is None:
            raise NotFound(f"no {level.name.lower()} has the identifier {orthanc_id}")
        return found

    async def of_any_level(self, orthanc_id: str) -> Resource | None:
        """The resource with an identifier, of whatever level."""

        def work(session: Session) -> Resource | None:
            for level in reversed(Level):
                found = resources.by_orthanc_id(session, level, orthanc_id)
                if found:
                    return found
            return None

        return await self._database.read(work)

    def resources(
        self,
        level: Level,
        present: Callable[[Resource], T],
        since: int = 0,
        limit: int = -1,
        *,
        header: bool = False,
    ) -> AsyncGenerator[list[T], None]:
        """Resources of a level, oldest first, each as `present` makes it in a thread.

        With `header`, each has the header of an instance below it.
        """
        return self._database.stream(
            lambda session: map(
                present, resources.pages(session, level, since, limit, header)
            )
        )

    def identifiers(
        self, level: Level, since: int = 0, limit: int = -1
    ) -> AsyncGenerator[list[str], None]:
        """Identifiers of resources of a level, oldest first."""
        return self._database.stream(
            lambda session: resources.identifiers(session, level, since, limit)
        )

    def related(
        self,
        resource: Resource,
        level: Level,
        present: Callable[[Resource], T],
        *,
        header: bool = False,
    ) -> AsyncGenerator[list[T], None]:
        """The resources of another level above or below one."""
        return self._database.stream(
            lambda session: map(
                present, resources.related(session, resource, level, header)
            )
        )

    async def ancestors(self, resource: Resource) -> list[tuple[Level, str]]:
        """Level and identifier of what a resource belongs to, the nearest first."""
        return await self._database.read(
            lambda session: resources.ancestors(session, resource)
        )

    async def is_held(self, level: Level, orthanc_id: str) -> bool:
        """Whether there is a resource of the level with this identifier."""
        return await self._database.read(
            lambda session: resources.is_held(session, level, orthanc_id)
        )

    async def holdings(self, resource: Resource) -> Below:
        """How much is below a resource."""
        return await self._database.read(
            lambda session: resources.holdings(session, resource)
        )

    def instances(self, resource: Resource) -> AsyncGenerator[list[Instance], None]:
        """The instances below a resource, in the order of their numbers."""
        return self._database.stream(
            lambda session: resources.instances(session, resource.level, resource.id)
        )

    def headers(
        self,
        resource: Resource,
        present: Callable[[str, Attributes], T],
        count: int = -1,
    ) -> AsyncGenerator[list[T], None]:
        """The headers of the instances below, each as `present` makes it in a thread.

        It gets Orthanc's identifier and the header; -1 for all of them.
        """

        def work(session: Session) -> Iterator[T]:
            for orthanc_id, header in resources.headers(session, resource, count):
                yield present(orthanc_id, header)

        return self._database.stream(work)

    # -- searching -------------------------------------------------------------------

    def select(
        self,
        wanted: Selection,
        present: Callable[[Resource], T],
        *,
        header: bool = False,
    ) -> AsyncGenerator[list[T], None]:
        """The resources that are wanted, each as `present` makes it in a thread."""

        def work(session: Session) -> Iterator[T]:
            ids = select(session, wanted)
            return map(present, resources.by_ids(session, wanted.level, ids, header))

        return self._database.stream(work)

    async def count(self, wanted: Selection) -> int:
        """How many resources are wanted."""
        return await self._database.read(
            lambda session: sum(1 for _ in select(session, wanted))
        )

    async def lookup(self, text: str) -> list[tuple[Level, str]]:
        """Level and identifier of what has this PatientID or UID."""
        key = normalise_text(text)
        return await self._database.read(
            lambda session: resources.lookup(session, text, key)
        )

    # -- notes -----------------------------------------------------------------------

    async def add_label(self, resource: Resource, label: str) -> None:
        """Put a label on a resource."""
        await self._database.write(
            lambda session: labels.add_label(
                session, resource.level, resource.id, label
            )
        )

    async def remove_label(self, resource: Resource, label: str) -> None:
        """Take a label away."""
        await self._database.write(
            lambda session: labels.remove_label(
                session, resource.level, resource.id, label
            )
        )

    async def labels(self) -> list[str]:
        """The labels that any resource has."""
        return await self._database.read(labels.all_labels)

    async def metadata(self, resource: Resource) -> dict[str, Written]:
        """What users wrote beside a resource, by name."""
        return await self._database.read(
            lambda session: labels.metadata(session, resource.level, resource.id)
        )

    async def write_metadata(
        self, resource: Resource, name: str, value: bytes, expected: int | None
    ) -> int:
        """Write beside a resource; the revision. Raises Conflict if another is there."""
        level, one, date = resource.level, resource.id, _now()
        return await self._database.write(
            lambda session: labels.write_metadata(
                session, level, one, name, value, expected, date
            )
        )

    async def erase_metadata(
        self, resource: Resource, name: str, expected: int | None
    ) -> None:
        """Take away what was written; raises NotFound or Conflict."""
        level, one, date = resource.level, resource.id, _now()
        await self._database.write(
            lambda session: labels.erase_metadata(
                session, level, one, name, expected, date
            )
        )

    async def protect(self, patient: Resource, value: bool) -> None:
        """Let a patient stay when room is made, or no longer."""
        await self._database.write(
            lambda session: resources.protect(session, patient.id, value)
        )

    async def md5(self, instance: Resource) -> str:
        """The MD5 of an instance's file, in hexadecimal; raises NotFound."""

        def work() -> str:
            digest = hashlib.md5(usedforsecurity=False)
            position = 0
            with self._blobs.open(instance.blob) as opened:
                while chunk := opened.read(position, _STEP):
                    digest.update(chunk)
                    position += len(chunk)
            return digest.hexdigest()

        return await asyncio.to_thread(work)

    # -- changes ---------------------------------------------------------------------

    async def changes(self, wanted: ChangesWanted) -> ChangesPage:
        """Some of what happened."""
        return await self._database.read(lambda session: changes.page(session, wanted))

    async def last_change(self) -> ChangesPage:
        """What happened last."""
        return await self._database.read(changes.latest)

    async def clear_changes(self) -> None:
        """Forget what happened."""
        await self._database.write(changes.clear)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Tell resources stable, once nothing new came for a while, as long as this lasts.

        Every process may do so: a resource is told stable once.
        """
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            try:
                await self._settle()
                await self._correct()
            except Exception:
                log.exception("stable resources could not be told")

    async def _settle(self) -> None:
        age = self._stable_age
        while await self._database.read(lambda session: changes.quiet(session, age)):
            await self._database.write(lambda session: changes.settle(session, age))

    async def _correct(self) -> None:
        """Take back what the stamp tells of changes that never came to be.

        While it does, nobody would believe an answer that was prepared.
        """
        told = self._stamp.read(ARCHIVE)
        known = await self._database.read(lambda session: version_of(session, ARCHIVE))
        if told != known:
            await self._database.write(self._stamp.correct)
