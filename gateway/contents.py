"""What is held and what is known of it: the half of the archive that only looks.

Searches, addresses, headers, counts. Everything here leaves the index and the files as
they are.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, TypeVar

import orjson

from gateway.dicom.hierarchy import Level, Uids
from gateway.dicom.query import Query
from gateway.errors import GatewayError, NotFound
from gateway.storage.blobs import DiskBlobs
from gateway.storage.database import STREAM_ROWS, Session, SqliteDatabase
from gateway.storage.entries import inflate
from gateway.storage.index import Described, Index, Instance, Totals
from gateway.storage.looks import Look
from gateway.storage.metadata import AS_KEPT, Manner, texts
from gateway.storage.pages import Page, Pages, State, Wanted
from gateway.storage.search import Found, Search
from gateway.storage.stamp import ARCHIVE, Stamp, version_of
from gateway.storage.threads import Tell

__all__ = ["Contents", "Look", "Page", "State", "Wanted", "nothing_at"]

T = TypeVar("T")

#: Instances that are looked for together with the one before them in their series, and
#: bytes of their headers; and series of which is known that they are read one by one.
_AHEAD = 16
_AHEAD_SIZE = 128 * 1024
_SERIES_READ = 256

#: Finds something in the header of an instance; gets what `Contents.described` tells.
Examine = Callable[[Instance, bytes, dict[str, Any]], T]

#: Is told an instance, and what was found in its header.
Ahead = Callable[[Instance, T], object]

#: Headers that are handed over at a time: a client reads some while others are inflated.
_HEADERS = 32

#: Instances whose rows are remembered by their addresses.
_LOCATED = 8192


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
        self._read: OrderedDict[Sequence[str], None] = OrderedDict()
        self._pages = Pages(index, stamp)

    @property
    def version(self) -> int:
        """What grows with each change of what is held, by whatever process.

        It may tell of a change that is not to be seen yet, or never will be.
        """
        return self._stamp.read(ARCHIVE)

    # -- finding ---------------------------------------------------------------------

    def find(
        self,
        query: Query,
        present: Callable[[Found], T],
        wanted: Callable[[State], bool],
        page: int | None = None,
    ) -> Look[T]:
        """The matches of a query, each as `present` makes it.

        After so many of them as a `page` holds, those that the limit cuts off are counted.
        """
        look: Look[T] = Look()

        def rows(session: Session) -> Iterator[T]:
            search = Search(session, query)
            for place, found in enumerate(search.matches(), 1):
                if place == page:
                    look.remaining = search.remaining()
                yield present(found)

        return look.at(self._look(None, (), wanted, rows))

    def find_soon(self, wanted: Wanted, tell: Tell) -> bool:
        """Have a page found for who waits in no task, if there is a place for it now.

        `tell` gets a `Page`, or None for one that is too long.
        """
        work = partial(self._pages.find, wanted=wanted)
        return self._database.read_soon(work, tell)

    def _look(
        self,
        level: Level | None,
        uids: Sequence[str],
        wanted: Callable[[State], bool],
        rows: Callable[[Session], Iterator[T]],
        size: int = STREAM_ROWS,
    ) -> AsyncGenerator[list[T | State], None]:
        """The state, and then what is found, all of it as it was at one moment."""

        def work(session: Session) -> Iterator[T | State]:
            session.stay()
            version = version_of(session, ARCHIVE)
            state = State(version, self._index.state(session, level, uids))
            yield state
            if wanted(state):
                yield from rows(session)
            session.move_on()

        return self._database.stream(work, size)

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
        return await self._looked_for(study, series, uid)

    def known(self, *names: str) -> Instance | None:
        """An instance by its address or Orthanc's identifier, if nothing has changed
        since it was looked for.
        """
        held = self._located.get(names)
        if held is None or held[0] != self.version:
            return None
        with suppress(KeyError):  # a thread may have had to forget it just now
            self._located.move_to_end(names)
        return held[1]

    async def described(
        self, *names: str, examine: Examine[T], ahead: Ahead[T] | None = None
    ) -> tuple[Instance, T]:
        """An instance, and what `examine` finds in its header, with one look at the index.

        `names` are its address or Orthanc's identifier. `examine` runs in a thread; it
        gets the header as JSON, and where the values lie that the file keeps. Where a
        series is read one by one, `ahead` is told the same of those that follow. Raises
        NotFound.
        """
        held = self.known(*names)
        if held is not None:
            return held, await self._described(held, examine)
        count = _AHEAD if ahead is not None and self._reads_on(names) else 0
        first, *others = await self._database.read(
            lambda session: self._described_anew(session, names, examine, count)
        )
        if ahead is not None:
            for instance, what in others:
                ahead(instance, what)
        return first

    def described_here(self, *names: str, examine: Examine[T]) -> tuple[Instance, T]:
        """The same for one of a few threads: it blocks."""
        return self._database.read_here(
            lambda session: self._described_anew(session, names, examine)[0]
        )

    def _described_anew(
        self,
        session: Session,
        names: Sequence[str],
        examine: Examine[T],
        following: int = 0,
    ) -> list[tuple[Instance, T]]:
        """What is found out of the index, and of so many that follow."""
        found = self._index.described(session, names)
        if found is None:
            raise _nothing_named(names)
        results = [(found.instance, _result(found, examine))]
        self._remember(names, found.version, found.instance)
        for one in self._following(session, found, following):
            with suppress(GatewayError):  # who asks for that one is told
                results.append((one.instance, _result(one, examine)))
                uids = one.instance.study, one.instance.series, one.instance.uid
                self._remember(uids, one.version, one.instance)
        return results

    def _following(
        self, session: Session, found: Described, count: int
    ) -> Iterator[Described]:
        """Those that follow, as long as little is to be read for it."""
        size = 0
        if count:
            for one in self._index.following(session, found.instance.id, count):
                size += len(one.header or b"")
                if one.header is None or size > _AHEAD_SIZE:
                    return
                yield one

    def _reads_on(self, names: Sequence[str]) -> bool:
        """Whether an instance of the same series was asked for before."""
        series = names[:-1]
        is_known = series in self._read
        self._read[series] = None
        self._read.move_to_end(series)
        if len(self._read) > _SERIES_READ:
            self._read.popitem(last=False)
        return bool(series) and is_known

    async def _described(self, instance: Instance, examine: Examine[T]) -> T:
        return await self._database.read(
            lambda session: _examined(
                instance, self._index.header(session, instance.id), examine
            )
        )

    async def _looked_for(self, *names: str) -> Instance:
        """An instance out of the index, if nothing tells that it is still as it was."""
        held = self.known(*names)
        if held is not None:
            return held

        def work(session: Session) -> tuple[int, Instance | None]:
            # The version first: what comes in between is looked for again.
            version = version_of(session, ARCHIVE)
            if len(names) == 1:
                return version, self._index.by_orthanc_id(session, names[0])
            uids = Uids("", *names)
            return version, self._index.locate(session, uids)

        version, found = await self._database.read(work)
        if found is None:
            raise _nothing_named(names)
        self._remember(names, version, found)
        return found

    def _remember(self, names: Sequence[str], version: int, found: Instance) -> None:
        """For any thread: each step is one by itself."""
        self._located[names] = version, found
        with suppress(KeyError):
            self._located.move_to_end(names)
            if len(self._located) > _LOCATED:
                self._located.popitem(last=False)

    async def by_uid(self, uid: str) -> list[Instance]:
        """The instances with this SOP Instance UID, in whatever studies they are."""
        return await self._database.read(
            lambda session: self._index.by_uid(session, uid)
        )

    async def by_orthanc_id(self, orthanc_id: str) -> Instance:
        """One instance by Orthanc's identifier; raises NotFound."""
        return await self._looked_for(orthanc_id)

    def look_at_headers(
        self,
        level: Level,
        *uids: str,
        present: Callable[[str, str, str, bytes], T],
        wanted: Callable[[State], bool],
        manner: Manner = AS_KEPT,
    ) -> Look[T]:
        """Header JSON of what is under an address, as `present` makes it in a thread.

        Raises NotFound if there is none.
        """

        def rows(session: Session) -> Iterator[T]:
            for text in texts(session, self._blobs, level, uids, manner):
                yield present(*text)

        def check(state: State) -> None:
            if not state.told[0]:
                raise nothing_at(level, uids)

        look: Look[T] = Look(check)
        return look.at(self._look(level, uids, wanted, rows, _HEADERS))

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

        return await self._described(
            instance, lambda _, header, places: examine(header, places)
        )

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
        return await asyncio.to_thread(self.seen, instance, examine)

    def seen(
        self, instance: Instance, examine: Callable[[Callable[[int, int], bytes]], T]
    ) -> T:
        """The same for somebody who is in a thread: it blocks."""
        with self._blobs.open(instance.blob) as opened:
            return examine(opened.read)

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


def _result(found: Described, examine: Examine[T]) -> T:
    return _examined(found.instance, (found.header, found.bulk), examine)


def _examined(
    instance: Instance, row: tuple[bytes | None, str | None] | None, examine: Examine[T]
) -> T:
    if row is None or row[0] is None:
        raise nothing_at(Level.INSTANCE, (instance.uid,))
    return examine(instance, inflate(row[0]), orjson.loads(row[1]) if row[1] else {})


def _nothing_named(names: Sequence[str]) -> NotFound:
    if len(names) == 1:
        return NotFound(f"no instance has the identifier {names[0]}")
    return nothing_at(Level.INSTANCE, names)


def nothing_at(level: Level, uids: Sequence[str]) -> NotFound:
    """The error of an address under which nothing is held."""
    return NotFound(f"no {level.name.lower()} {'/'.join(uids)} is held here")
