"""Running SQL, and nothing else: which statements exist is the index's business.

The face is small so that more than one engine fits behind it: work is a plain function
that gets a session and runs in a thread of the database's, reads beside each other,
writes one after the other. `write` returns once the transaction would survive a loss of
power. This module holds the embedded engine, SQLite in WAL mode.
"""

import asyncio
import fcntl
import itertools
import sqlite3
from collections.abc import (
    AsyncGenerator,
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from gateway.storage.threads import Tell, Threads
from gateway.storage.troubles import told_as_ours

Row = tuple[Any, ...]
T = TypeVar("T")
R = TypeVar("R")

#: Threads that read, and connections kept for them.
READERS = 4

#: More connections than this are never open for reading; further readers wait.
READER_LIMIT = 32

#: Rows handed over at a time by `stream`.
STREAM_ROWS = 256

#: Page cache of a connection (KiB): the writer's and a reader's.
_WRITER_CACHE, _READER_CACHE = 8 * 1024, 4 * 1024

#: Pages of the log that are written back together: many of them are the same pages.
_LOG_PAGES = 4000

_BUSY_SECONDS = 60.0


class Session(Protocol):
    """SQL inside one transaction, or a reading.

    In a reading, a statement sees what was committed before it; while `iterate` is under
    way, it and all statements beside it see the same moment.
    """

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement; the number of rows it touched."""

    def insert(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run an INSERT; the id of the row."""

    def execute_many(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        """Run a statement once for each row of parameters."""

    def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """All rows of a query that is known to be short."""

    def first(self, sql: str, parameters: Sequence[Any] = ()) -> Row | None:
        """The first row of a query."""

    def iterate(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[Row]:
        """The rows of a query, one by one."""

    def stay(self) -> None:
        """In a reading: let all that follows see one and the same moment."""

    def move_on(self) -> None:
        """Let what follows see what was committed meanwhile."""


class Database(Protocol):
    """What the index needs of an engine."""

    async def read(self, work: Callable[[Session], T]) -> T:
        """Run work that only reads."""

    async def write(self, work: Callable[[Session], T]) -> T:
        """Run work as one transaction, durable when this returns."""

    async def write_between(
        self,
        before: Callable[[Session], None],
        work: Callable[[Session], T],
        after: Callable[[T], R],
    ) -> R:
        """Run work as one transaction, and something right before and after it."""

    def stream(
        self, work: Callable[[Session], Iterator[T]], rows: int = STREAM_ROWS
    ) -> AsyncGenerator[list[T], None]:
        """Run work that yields, handing over what it yields in lists of so many."""


class SqliteSession:
    """A session of SQLite's."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._cursors: list[sqlite3.Cursor] = []
        self.stays = False  # at one moment

    def close(self) -> None:
        """Let go of what is still being iterated: it holds its view of the database."""
        for cursor in self._cursors:
            cursor.close()
        self._cursors.clear()
        self.move_on()

    def stay(self) -> None:
        """In a reading: let all that follows see one and the same moment."""
        self._connection.execute("BEGIN")
        self.stays = True

    def move_on(self) -> None:
        """Let what follows see what was committed meanwhile."""
        if self.stays:
            self.stays = False
            self._connection.execute("ROLLBACK")  # nothing was written

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement; the number of rows it touched."""
        return self._connection.execute(sql, parameters).rowcount

    def insert(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run an INSERT; the id of the row."""
        return self._connection.execute(sql, parameters).lastrowid or 0

    def execute_many(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        """Run a statement once for each row of parameters."""
        self._connection.executemany(sql, parameters)

    def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """All rows of a query that is known to be short."""
        return self._connection.execute(sql, parameters).fetchall()

    def first(self, sql: str, parameters: Sequence[Any] = ()) -> Row | None:
        """The first row of a query."""
        row: Row | None = self._connection.execute(sql, parameters).fetchone()
        return row

    def iterate(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[Row]:
        """The rows of a query, one by one."""
        cursor = self._connection.execute(sql, parameters)
        self._cursors.append(cursor)
        try:
            yield from cursor
        finally:
            cursor.close()
            if cursor in self._cursors:
                self._cursors.remove(cursor)


class SqliteDatabase:
    """SQLite: one file, WAL, full synchronisation, any number of processes.

    Writers of all processes queue at a lock file. SQLite's own waiting polls with growing
    pauses, which starves some and lets the disk idle; a file lock wakes who is next.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._readers = Threads(READERS, "reader")
        self._writer = Threads(1, "writer")
        self._places = asyncio.Semaphore(READER_LIMIT)
        self.reads = 0  # that are under way or wait for a place

    async def __aenter__(self) -> Self:
        self._writer.start()
        try:
            await self._writer.run(self._open)
        except BaseException:
            await asyncio.to_thread(self._writer.end)
            raise
        self._readers.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self._readers.end)
        for connection in self._idle:
            connection.close()
        await self._writer.run(self._write.close)
        await asyncio.to_thread(self._writer.end)
        self._lock.close()

    def _open(self) -> None:
        self._lock = self._path.with_suffix(".lock").open("a")
        try:
            self._write = self._connect(_WRITER_CACHE)
        except BaseException:
            self._lock.close()
            raise

    def _connect(self, cache: int) -> sqlite3.Connection:
        with told_as_ours(self._path):
            connection = sqlite3.connect(
                self._path,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=256,
            )
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
                connection.execute(f"PRAGMA cache_size = -{cache}")
            except BaseException:
                connection.close()
                raise
            return connection

    @contextmanager
    def _transaction(self) -> Iterator[SqliteSession]:
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            with told_as_ours(self._path):
                session = SqliteSession(self._write)
                self._write.execute("BEGIN IMMEDIATE")
                try:
                    yield session
                    session.close()
                    self._write.execute("COMMIT")
                except BaseException:
                    session.close()
                    if self._write.in_transaction:
                        self._write.execute("ROLLBACK")
                    raise
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    async def write(self, work: Callable[[Session], T]) -> T:
        """Run work as one transaction, durable when this returns."""
        return await self.write_between(lambda _: None, work, lambda result: result)

    async def write_between(
        self,
        before: Callable[[Session], None],
        work: Callable[[Session], T],
        after: Callable[[T], R],
    ) -> R:
        """Run work as one transaction, and something right before and after it.

        All in one go on the writer's thread; nobody else's transaction waits for what
        comes before or after.
        """

        def run() -> R:
            before(SqliteSession(self._write))
            with self._transaction() as session:
                result = work(session)
            return after(result)

        return await self._writer.run(run)

    def _lend(self) -> sqlite3.Connection:
        with suppress(IndexError):  # in one step: several threads may want it
            return self._idle.pop()
        return self._connect(_READER_CACHE)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if len(self._idle) < READERS:
            self._idle.append(connection)
        else:
            connection.close()

    async def read(self, work: Callable[[Session], T]) -> T:
        """Run work that only reads."""
        self.reads += 1
        try:
            async with self._places:
                # Work may use more than the connection: who is cancelled waits for it.
                return await self._readers.run(partial(self.read_here, work))
        finally:
            self.reads -= 1

    def read_soon(self, work: Callable[[Session], Any], tell: Tell) -> bool:
        """Run work that only reads, for who waits in no task.

        `tell` is called in the loop's thread once it is done. False if there is no place.
        """

        def told(result: Any, error: BaseException | None) -> None:
            self.reads -= 1
            tell(result, error)

        has_place = not self._places.locked()  # while it has a thread it needs no other
        if has_place:
            self.reads += 1
            self._readers.ask(partial(self.read_here, work), told)
        return has_place

    def read_here(self, work: Callable[[Session], T]) -> T:
        """The same for one of a few threads: it blocks."""
        connection = self._lend()
        session = SqliteSession(connection)
        try:
            with told_as_ours(self._path):
                return work(session)
        finally:
            session.close()
            self._give_back(connection)

    async def stream(
        self, work: Callable[[Session], Iterator[T]], rows: int = STREAM_ROWS
    ) -> AsyncGenerator[list[T], None]:
        """Run work that yields, handing over what it yields in lists of so many.

        The connection stays with it; a short one costs one hop to a thread.
        """
        reading = _Streamed(work, self._lend, rows)
        self.reads += 1
        try:
            async with self._places:
                try:
                    while reading.more:
                        found = await self._readers.run(reading.some)
                        if found:
                            yield found
                finally:
                    if reading.stays:  # it was left early, and SQL is for threads
                        await self._readers.run(reading.close)
                    connection = reading.close()
                    if connection is not None:
                        self._give_back(connection)
        finally:
            self.reads -= 1


class _Streamed(Generic[T]):
    """Work that yields, done a list at a time in whichever thread."""

    def __init__(
        self,
        work: Callable[[Session], Iterator[T]],
        lend: Callable[[], sqlite3.Connection],
        size: int,
    ) -> None:
        self._work = work
        self._lend = lend
        self._size = size  # of a list
        self._connection: sqlite3.Connection | None = None
        self._session: SqliteSession | None = None
        self._rows: Iterator[T] = iter(())
        self.more = True

    @property
    def stays(self) -> bool:
        """Whether it holds its view of the database."""
        return self._session is not None and self._session.stays

    def some(self) -> list[T]:
        """The next list; there are no more after one that is not full."""
        if self._session is None:
            self._connection = self._lend()
            self._session = SqliteSession(self._connection)
            self._rows = self._work(self._session)
        found = list(itertools.islice(self._rows, self._size))
        self.more = len(found) == self._size
        return found

    def close(self) -> sqlite3.Connection | None:
        """Let go of all that is held; the connection, if there was one."""
        if self._session is not None:
            self._session.close()
        return self._connection
