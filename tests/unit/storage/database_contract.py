"""What any database engine must do behind the small face; a backend's tests inherit it."""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, suppress
from typing import Any

import pytest

from gateway.storage.database import READER_LIMIT, READERS, STREAM_ROWS, Session

Database = Any  # a backend

MAKE = "CREATE TABLE numbers (id INTEGER PRIMARY KEY, value INTEGER NOT NULL UNIQUE)"
INSERT = "INSERT INTO numbers (value) VALUES (?)"
SELECT = "SELECT value FROM numbers ORDER BY value"
COUNT = "SELECT COUNT(*) FROM numbers"
DELETE = "DELETE FROM numbers"


class Broken(Exception):
    """Somebody's work went wrong."""


def fill(session: Session, count: int, first: int = 0) -> None:
    values = range(first, first + count)
    session.execute_many(INSERT, [(value,) for value in values])


def count(session: Session) -> int:
    row = session.first(COUNT)
    return int(row[0]) if row else -1


def values(session: Session) -> Iterator[int]:
    return (row[0] for row in session.iterate(SELECT))


class DatabaseContract(ABC):
    """Tests of one engine: `another` is the same database as one more process has it."""

    @abstractmethod
    def another(self) -> Database:
        """The database, still closed."""

    @pytest.fixture
    async def database(self) -> AsyncIterator[Database]:
        async with self.another() as database:
            await database.write(lambda session: session.execute(MAKE))
            yield database

    # -- one moment --------------------------------------------------------------------

    async def test_a_reading_that_stays_sees_one_moment(
        self, database: Database
    ) -> None:
        await database.write(lambda session: fill(session, 3))
        loop = asyncio.get_running_loop()

        def work(session: Session) -> list[int]:
            session.stay()
            found = [count(session)]
            more = database.write(lambda other: fill(other, 2, first=10))
            asyncio.run_coroutine_threadsafe(more, loop).result()
            found.append(count(session))
            session.move_on()
            return [*found, count(session)]

        assert await database.read(work) == [3, 3, 5]

    async def test_who_leaves_a_stream_early_leaves_its_moment(
        self, database: Database
    ) -> None:
        await database.write(lambda session: fill(session, STREAM_ROWS * 3))

        def work(session: Session) -> Iterator[int]:
            session.stay()
            yield from values(session)

        for _ in range(READERS + 1):
            async with aclosing(database.stream(work)) as groups:
                assert len(await anext(groups)) == STREAM_ROWS
        await database.write(lambda session: session.execute(DELETE))
        found = await asyncio.gather(*(database.read(count) for _ in range(20)))
        assert found == [0] * 20

    # -- statements --------------------------------------------------------------------

    async def test_a_session_runs_statements(self, database: Database) -> None:
        def work(session: Session) -> tuple[Any, ...]:
            number = session.insert(INSERT, (7,))
            session.execute_many(INSERT, [(8,), (9,)])
            touched = session.execute("UPDATE numbers SET value = value + 10")
            return (
                session.first("SELECT value FROM numbers WHERE id = ?", (number,)),
                touched,
                session.fetch(SELECT),
                list(session.iterate(SELECT)),
                session.first("SELECT value FROM numbers WHERE value = 0"),
            )

        rows = [(17,), (18,), (19,)]
        assert await database.write(work) == ((17,), 3, rows, rows, None)

    # -- transactions ------------------------------------------------------------------

    async def test_what_is_written_is_read_by_all(self, database: Database) -> None:
        await database.write(lambda session: fill(session, 3))
        assert await database.read(count) == 3
        async with self.another() as other:
            assert await other.read(count) == 3

    async def test_work_that_fails_leaves_nothing_and_the_next_goes_on(
        self, database: Database
    ) -> None:
        def work(session: Session) -> None:
            fill(session, 3)
            raise Broken

        with pytest.raises(Broken):
            await database.write(work)
        assert await database.read(count) == 0
        await database.write(lambda session: fill(session, 2))
        assert await database.read(count) == 2

    async def test_a_statement_that_fails_takes_the_transaction_with_it(
        self, database: Database
    ) -> None:
        def work(session: Session) -> None:
            session.insert(INSERT, (1,))
            session.insert(INSERT, (1,))

        with pytest.raises(Exception, match="UNIQUE"):
            await database.write(work)
        assert await database.read(count) == 0

    async def test_a_transaction_that_is_left_while_iterating_is_committed(
        self, database: Database
    ) -> None:
        def work(session: Session) -> None:
            fill(session, 3)
            next(session.iterate(SELECT))

        await database.write(work)
        assert await database.read(count) == 3

    async def test_what_comes_before_and_after_a_transaction_is_outside_of_it(
        self, database: Database
    ) -> None:
        async with self.another() as other:
            seen: list[int] = []
            loop = asyncio.get_running_loop()

            def look(session: object = None) -> None:
                reading = asyncio.run_coroutine_threadsafe(other.read(count), loop)
                seen.append(reading.result(10))

            def work(session: Session) -> str:
                fill(session, 3)
                look()
                return "result"

            def after(result: str) -> str:
                look()
                return result.upper()

            assert await database.write_between(look, work, after) == "RESULT"
            assert seen == [0, 0, 3]

    async def test_what_fails_before_is_not_followed_by_a_transaction(
        self, database: Database
    ) -> None:
        def before(session: Session) -> None:
            raise Broken

        with pytest.raises(Broken):
            await database.write_between(before, lambda s: fill(s, 3), print)
        assert await database.read(count) == 0

    async def test_what_fails_after_a_transaction_does_not_undo_it(
        self, database: Database
    ) -> None:
        def after(result: object) -> None:
            raise Broken

        with pytest.raises(Broken):
            await database.write_between(
                lambda session: None, lambda session: fill(session, 3), after
            )
        assert await database.read(count) == 3

    async def test_nothing_comes_after_a_transaction_that_failed(
        self, database: Database
    ) -> None:
        called: list[object] = []

        def work(session: Session) -> None:
            raise Broken

        with pytest.raises(Broken):
            await database.write_between(lambda s: None, work, called.append)
        assert called == []

    async def test_writers_come_one_after_the_other(self, database: Database) -> None:
        def add(session: Session) -> None:
            highest = session.first("SELECT COALESCE(MAX(value), 0) FROM numbers")
            assert highest is not None
            session.insert(INSERT, (highest[0] + 1,))

        async with self.another() as other:
            both = [d.write(add) for _ in range(50) for d in (database, other)]
            await asyncio.gather(*both)
        assert await database.read(count) == 100

    async def test_readers_do_not_wait_for_a_writer(self, database: Database) -> None:
        writing, enough = threading.Event(), threading.Event()

        def work(session: Session) -> None:
            fill(session, 3)
            writing.set()
            assert enough.wait(10)

        task = asyncio.create_task(database.write(work))
        assert await asyncio.to_thread(writing.wait, 10)
        assert await database.read(count) == 0
        enough.set()
        await task
        assert await database.read(count) == 3

    # -- streams -----------------------------------------------------------------------

    @pytest.mark.parametrize(
        "many", [0, 1, STREAM_ROWS - 1, STREAM_ROWS, STREAM_ROWS + 1, 3 * STREAM_ROWS]
    )
    async def test_a_stream_hands_over_everything_in_its_order(
        self, database: Database, many: int
    ) -> None:
        await database.write(lambda session: fill(session, many))
        groups = [group async for group in database.stream(values)]
        assert all(0 < len(group) <= STREAM_ROWS for group in groups)
        assert [value for group in groups for value in group] == list(range(many))

    async def test_a_stream_shows_one_moment_while_others_write(
        self, database: Database
    ) -> None:
        many = 3 * STREAM_ROWS
        await database.write(lambda session: fill(session, many))
        seen: list[int] = []
        async for group in database.stream(values):
            seen += group
            await database.write(lambda session: session.execute(DELETE))
            await database.write(lambda session: fill(session, 5, 10_000))
        assert seen == list(range(many))
        assert await database.read(count) == 5

    async def test_a_stream_and_the_statements_beside_it_see_the_same_moment(
        self, database: Database
    ) -> None:
        many = 2 * STREAM_ROWS
        await database.write(lambda session: fill(session, many))

        def counts(session: Session) -> Iterator[int]:
            for _ in session.iterate(SELECT):
                yield count(session)

        seen: list[int] = []
        async for group in database.stream(counts):
            seen += group
            await database.write(lambda session: session.execute(DELETE))
        # With the last row the iteration is over, and its moment may be.
        assert seen[:-1] == [many] * (many - 1)

    async def test_a_stream_that_is_left_holds_nothing_back(
        self, database: Database
    ) -> None:
        """Also behind a `map`, which cannot be closed: as a search streams."""
        await database.write(lambda session: fill(session, 2 * STREAM_ROWS))
        held = []
        for _ in range(2 * READER_LIMIT):
            stream = database.stream(
                lambda session: map(held_by(held), values(session))
            )
            async with aclosing(stream):
                async for _group in stream:
                    break
        await database.write(lambda session: session.execute(DELETE))
        # Every connection that was lent sees the present again.
        for seen in await asyncio.gather(*[database.read(count) for _ in range(50)]):
            assert seen == 0

    async def test_work_that_fails_in_a_stream_holds_nothing_back(
        self, database: Database
    ) -> None:
        await database.write(lambda session: fill(session, 3))

        def work(session: Session) -> Iterator[int]:
            for value in values(session):
                yield value
                raise Broken

        for _ in range(2 * READER_LIMIT):
            with pytest.raises(Broken):
                _ = [group async for group in database.stream(work)]
        await database.write(lambda session: session.execute(DELETE))
        for seen in await asyncio.gather(*[database.read(count) for _ in range(50)]):
            assert seen == 0

    # -- cancellation ------------------------------------------------------------------

    async def test_a_cancelled_stream_gives_its_connection_back(
        self, database: Database
    ) -> None:
        await database.write(lambda session: fill(session, 2 * STREAM_ROWS))
        for _ in range(2 * READER_LIMIT):
            started, enough = threading.Event(), threading.Event()

            def work(
                session: Session,
                started: threading.Event = started,
                enough: threading.Event = enough,
            ) -> Iterator[int]:
                for value in values(session):
                    yield value
                    started.set()
                    assert enough.wait(10)

            async def run(work: Any = work) -> None:
                async with aclosing(database.stream(work)) as stream:
                    async for _group in stream:
                        pass

            task = asyncio.create_task(run())
            assert await asyncio.to_thread(started.wait, 10)
            task.cancel()
            await asyncio.sleep(0)
            assert not task.done()  # the thread still uses the connection
            enough.set()
            with pytest.raises(asyncio.CancelledError):
                await task
        await database.write(lambda session: session.execute(DELETE))
        for seen in await asyncio.gather(*[database.read(count) for _ in range(50)]):
            assert seen == 0

    async def test_a_cancelled_reading_ends_before_whoever_asked_goes_on(
        self, database: Database
    ) -> None:
        """Work may use a file that its owner is about to close."""
        started, enough, ended = threading.Event(), threading.Event(), []

        def work(session: Session) -> None:
            started.set()
            assert enough.wait(10)
            ended.append(count(session))

        task = asyncio.create_task(database.read(work))
        assert await asyncio.to_thread(started.wait, 10)
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
        enough.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == [0]

    async def test_a_reading_that_is_left_while_iterating_holds_nothing_back(
        self, database: Database
    ) -> None:
        await database.write(lambda session: fill(session, 2 * STREAM_ROWS))
        held: list[Any] = []

        def work(session: Session) -> None:
            held.append(session.iterate(SELECT))
            next(held[-1])

        await asyncio.gather(*[database.read(work) for _ in range(READERS)])
        await database.write(lambda session: session.execute(DELETE))
        for seen in await asyncio.gather(*[database.read(count) for _ in range(20)]):
            assert seen == 0

    async def test_tasks_cancelled_at_any_moment_leave_the_database_usable(
        self, database: Database
    ) -> None:
        await database.write(lambda session: fill(session, STREAM_ROWS + 1))

        async def use() -> None:
            await database.read(count)
            async with aclosing(database.stream(values)) as stream:
                async for _group in stream:
                    pass
            await database.write(count)

        for steps in range(3 * READER_LIMIT):
            task = asyncio.create_task(use())
            for _ in range(steps % 12):
                await asyncio.sleep(0.0002 * (steps % 3))
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        async with asyncio.timeout(30):
            readings = [database.read(count) for _ in range(2 * READER_LIMIT)]
            assert set(await asyncio.gather(*readings)) == {STREAM_ROWS + 1}

    async def test_more_streams_than_connections_wait_for_each_other(
        self, database: Database
    ) -> None:
        await database.write(lambda session: fill(session, 2 * STREAM_ROWS))

        async def run() -> int:
            seen = 0
            async for group in database.stream(values):
                seen += len(group)
                await asyncio.sleep(0.001)
            return seen

        async with asyncio.timeout(60):
            totals = await asyncio.gather(*[run() for _ in range(2 * READER_LIMIT)])
        assert set(totals) == {2 * STREAM_ROWS}

    async def test_readings_of_many_tasks_share_what_connections_there_are(
        self, database: Database
    ) -> None:
        """Threads that reach for the same kept connection do not stumble."""
        await database.write(lambda session: fill(session, 3))
        for _ in range(20):
            readings = [database.read(count) for _ in range(8 * READERS)]
            assert set(await asyncio.gather(*readings)) == {3}


def held_by(place: list[Any]) -> Any:
    def hold(value: int) -> int:
        place.append(value)
        return value

    return hold
