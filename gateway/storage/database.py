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
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from gateway.errors import BadConfiguration, StorageFull

Row = tuple[Any, ...]
T = TypeVar("T")

#: Threads that read, and connections kept for them.
READERS = 4

#: More connections than this are never open for reading; further readers wait.
READER_LIMIT = 32

#: Rows handed over at a time by `stream`.
STREAM_ROWS = 256

#: Page cache of a connection (KiB): the writer's and a reader's.
_WRITER_CACHE, _READER_CACHE = 8 * 1024, 2 * 1024

_BUSY_SECONDS = 60.0


class Session(Protocol):
    """SQL inside one transaction or one consistent reading."""

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


class Database(Protocol):
    """What the index needs of an engine."""

    async def read(self, work: Callable[[Session], T]) -> T:
        """Run work that only reads."""

    async def write(self, work: Callable[[Session], T]) -> T:
        """Run work as one transaction, durable when this returns."""

    def stream(
        self, work: Callable[[Session], Iterator[T]]
    ) -> AsyncGenerator[list[T], None]:
        """Run work that yields, handing over what it yields in lists."""


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


async def _to_its_end(step: asyncio.Future[T]) -> T:
    """Wait for a thread; when cancelled, wait all the same: it uses a connection."""
    try:
        return await asyncio.shield(step)
    except asyncio.CancelledError:
        await asyncio.wait([step])
        raise


class SqliteSession:
    """A session of SQLite's."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

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
        try:
            yield from cursor
        finally:
            cursor.close()


class SqliteDatabase:
    """SQLite: one file, WAL, full synchronisation, any number of processes.

    Writers of all processes queue at a lock file. SQLite's own waiting polls with growing
    pauses, which starves some and lets the disk idle; a file lock wakes who is next.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._readers = ThreadPoolExecutor(READERS, "reader")
        self._writer = ThreadPoolExecutor(1, "writer")
        self._places = asyncio.Semaphore(READER_LIMIT)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._lock = await loop.run_in_executor(self._writer, self._open_lock)
        self._write = await loop.run_in_executor(
            self._writer, self._connect, _WRITER_CACHE
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self._readers.shutdown)
        for connection in self._idle:
            connection.close()
        await asyncio.get_running_loop().run_in_executor(
            self._writer, self._write.close
        )
        await asyncio.to_thread(self._writer.shutdown)
        self._lock.close()

    def _open_lock(self) -> Any:
        return self._path.with_suffix(".lock").open("a")

    def _connect(self, cache: int) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                self._path,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=256,
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA cache_size = -{cache}")
        except sqlite3.Error as error:
            raise BadConfiguration(f"{self._path}: {error}") from error
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[SqliteSession]:
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            self._write.execute("BEGIN IMMEDIATE")
            try:
                yield SqliteSession(self._write)
                self._write.execute("COMMIT")
            except BaseException as error:
                if self._write.in_transaction:
                    self._write.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error) and _is_full(error):
                    raise StorageFull from error
                raise
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    async def write(self, work: Callable[[Session], T]) -> T:
        """Run work as one transaction, durable when this returns."""

        def run() -> T:
            with self._transaction() as session:
                return work(session)

        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writer, run)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if len(self._idle) < READERS:
            self._idle.append(connection)
        else:
            connection.close()

    async def read(self, work: Callable[[Session], T]) -> T:
        """Run work that only reads."""

        def run() -> T:
            connection = (
                self._idle.pop() if self._idle else self._connect(_READER_CACHE)
            )
            try:
                return work(SqliteSession(connection))
            finally:
                self._give_back(connection)

        async with self._places:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._readers, run)

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[sqlite3.Connection]:
        """A connection that stays with one task while it streams."""
        loop = asyncio.get_running_loop()
        async with self._places:
            connection = (
                self._idle.pop()
                if self._idle
                else await loop.run_in_executor(
                    self._readers, self._connect, _READER_CACHE
                )
            )
            try:
                yield connection
            finally:
                self._give_back(connection)

    async def stream(
        self, work: Callable[[Session], Iterator[T]]
    ) -> AsyncGenerator[list[T], None]:
        """Run work that yields, handing over what it yields in lists."""
        loop = asyncio.get_running_loop()
        async with self._lent() as connection:
            rows = work(SqliteSession(connection))
            try:
                more = True
                while more:
                    step = loop.run_in_executor(
                        self._readers, list, itertools.islice(rows, STREAM_ROWS)
                    )
                    found = await _to_its_end(step)
                    more = len(found) == STREAM_ROWS
                    if found:
                        yield found
            finally:
                # A cursor that is left open would hold its snapshot of the database.
                if isinstance(rows, Generator):
                    rows.close()
