"""What is held and what is known of it: the half of the archive that only looks.

Searches, addresses, headers, counts. Everything here leaves the index and the files as
they are.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import orjson

from gateway.dicom.hierarchy import Attributes, Level
from gateway.dicom.pixels import PixelLayout, layout_of
from gateway.dicom.query import Query
from gateway.errors import NotFound
from gateway.storage.blobs import DiskBlobs
from gateway.storage.database import Session, SqliteDatabase
from gateway.storage.entries import inflate
from gateway.storage.index import Index, Instance, Totals
from gateway.storage.metadata import AS_KEPT, Manner, texts
from gateway.storage.search import Found, Remaining, find, remaining
from gateway.storage.stamp import ARCHIVE, Stamp, version_of

T = TypeVar("T")

#: Instances whose rows are remembered by their addresses.
_LOCATED = 8192


@dataclass(frozen=True, slots=True)
class State:
    """What is held at a moment, as far as one needs to tell it from another."""

    version: int  # of the archive, as the database has it
    told: tuple[object, ...]  # what differs whenever what is asked for does


class Look(Generic[T]):
    """What is found, and of what state it is; nothing is found if that is not wanted."""

    state: State
    groups: AsyncIterator[list[T]]
    remaining: Remaining | None = None  # known once a page is there


async def _led_by(
    first: list[T], groups: AsyncIterator[list[T]]
) -> AsyncIterator[list[T]]:
    if first:
        yield first
    async for group in groups:
        yield group


class Contents:
    """What the index and the files of an archive hold."""

    def __init__(
        self, database: SqliteDatabase, blobs: DiskBlobs, index: Index, stamp: Stamp
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._index = index
        self._stamp = stamp
        self._located: OrderedDict[Sequence[str], tuple[int, Instance]] = OrderedDict()

    @property
    def version(self) -> int:
        """What grows with each change of what is held, by whatever process.

        It may tell of a change that is not to be seen yet, or never will be.
        """
        return self._stamp.read(ARCHIVE)

    # -- finding ---------------------------------------------------------------------

    @asynccontextmanager
    async def find(
        self,
        query: Query,
        present: Callable[[Found], T],
        wanted: Callable[[State], bool],
        page: int | None = None,
    ) -> AsyncIterator[Look[T]]:
        """The matches of a query, each as `present` makes it.

        After so many of them as a `page` holds, those that the limit cuts off are counted.
        """
        look: Look[T] = Look()

        def rows(session: Session) -> Iterator[T]:
            for place, found in enumerate(find(session, query), 1):
                if place == page:
                    look.remaining = remaining(session, query)
                yield present(found)

        async with self._look(look, None, (), wanted, rows):
            yield look

    @asynccontextmanager
    async def _look(
        self,
        look: Look[T],
        level: Level | None,
        uids: Sequence[str],
        wanted: Callable[[State], bool],
        rows: Callable[[Session], Iterator[T]],
    ) -> AsyncIterator[None]:
        """Fill in what is found, all of it as it was at one moment."""

        def work(session: Session) -> Iterator[T | State]:
            session.stay()
            version = version_of(session, ARCHIVE)
            state = State(version, self._index.state(session, level, uids))
            yield state
            if wanted(state):
                yield from rows(session)
            session.move_on()

        async with aclosing(self._database.stream(work)) as groups:
            first = await anext(groups)
            look.state = cast("State", first[0])
            look.groups = cast("AsyncIterator[list[T]]", _led_by(first[1:], groups))
            yield

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
            raise nothing_at(level, uids)

    async def instance(self, study: str, series: str, uid: str) -> Instance:
        """One instance by its address; raises NotFound."""
        found = await self._one(
            (study, series, uid),
            lambda session: next(
                self._index.instances(session, Level.INSTANCE, (study, series, uid)),
                None,
            ),
        )
        if found is None:
            raise nothing_at(Level.INSTANCE, (study, series, uid))
        return found

    async def _one(
        self, key: Sequence[str], find: Callable[[Session], Instance | None]
    ) -> Instance | None:
        """An instance, not looked for again as long as nothing changes."""
        held = self._located.get(key)
        if held is not None and held[0] == self.version:
            self._located.move_to_end(key)
            return held[1]
        # The version first: what comes in between is looked for again.
        version, found = await self._database.read(
            lambda session: (version_of(session, ARCHIVE), find(session))
        )
        if found is not None:
            self._located[key] = version, found
            self._located.move_to_end(key)
            if len(self._located) > _LOCATED:
                self._located.popitem(last=False)
        return found

    async def by_uid(self, uid: str) -> list[Instance]:
        """The instances with this SOP Instance UID, in whatever studies they are."""
        return await self._database.read(
            lambda session: self._index.by_uid(session, uid)
        )

    async def by_orthanc_id(self, orthanc_id: str) -> Instance:
        """One instance by Orthanc's identifier; raises NotFound."""
        found = await self._one(
            (orthanc_id,),
            lambda session: self._index.by_orthanc_id(session, orthanc_id),
        )
        if found is None:
            raise NotFound(f"no instance has the identifier {orthanc_id}")
        return found

    @asynccontextmanager
    async def look_at_headers(
        self,
        level: Level,
        *uids: str,
        present: Callable[[str, str, str, bytes], T],
        wanted: Callable[[State], bool],
        manner: Manner = AS_KEPT,
    ) -> AsyncIterator[Look[T]]:
        """Header JSON of what is under an address, as `present` makes it in a thread.

        Raises NotFound if there is none.
        """

        def rows(session: Session) -> Iterator[T]:
            for text in texts(session, self._blobs, level, uids, manner):
                yield present(*text)

        look: Look[T] = Look()
        async with self._look(look, level, uids, wanted, rows):
            if not look.state.told[0]:
                raise nothing_at(level, uids)
            yield look

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
            raise nothing_at(level, uids)

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
                raise nothing_at(Level.INSTANCE, (instance.uid,))
            return examine(inflate(row[0]), orjson.loads(row[1]) if row[1] else {})

        return await self._database.read(work)

    async def images(self, instance: Instance) -> tuple[Attributes, PixelLayout | None]:
        """The header of an instance and the layout of its pixels, if it has any."""

        def work(session: Session) -> tuple[Attributes, PixelLayout | None]:
            row = self._index.header(session, instance.id)
            if row is None:
                raise nothing_at(Level.INSTANCE, (instance.uid,))
            attributes = orjson.loads(inflate(row[0]))
            places = orjson.loads(row[1]) if row[1] else {}
            return attributes, layout_of(attributes, instance.transfer_syntax, places)

        return await self._database.read(work)

    async def present(self, instances: list[Instance]) -> list[Instance]:
        """Those of the instances whose files are there."""

        def work() -> list[Instance]:
            return [one for one in instances if self._blobs.is_there(one.blob)]

        return await asyncio.to_thread(work)

    async def look(
        self, instance: Instance, examine: Callable[[Callable[[int, int], bytes]], T]
    ) -> T:
        """What `examine` finds in an instance's file; it runs in a thread.

        It gets a function that reads so many bytes from an offset on.
        """

        def work() -> T:
            with self._blobs.open(instance.blob) as opened:
                return examine(opened.read)

        return await asyncio.to_thread(work)

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


def nothing_at(level: Level, uids: Sequence[str]) -> NotFound:
    """The error of an address under which nothing is held."""
    return NotFound(f"no {level.name.lower()} {'/'.join(uids)} is held here")
