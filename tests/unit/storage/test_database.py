"""SQLite behind the face."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import BadConfiguration, Busy, StorageFull
from gateway.storage.database import SqliteDatabase
from tests.peers import CHECKOUT
from tests.unit.storage.blob_contract import descriptors
from tests.unit.storage.database_contract import (
    COUNT,
    INSERT,
    MAKE,
    DatabaseContract,
    count,
    fill,
    values,
)

ADD_MANY = """
import asyncio, sys
from pathlib import Path
from gateway.storage.database import SqliteDatabase

def add(session):
    highest = session.first("SELECT COALESCE(MAX(value), 0) FROM numbers")[0]
    session.insert("INSERT INTO numbers (value) VALUES (?)", (highest + 1,))

async def main():
    async with SqliteDatabase(Path(sys.argv[1])) as database:
        for _ in range(int(sys.argv[2])):
            await database.write(add)

asyncio.run(main())
"""


class TestSqlite(DatabaseContract):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "gateway.db"

    def another(self) -> SqliteDatabase:
        return SqliteDatabase(self.path)

    async def test_a_database_that_somebody_keeps_is_busy(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gateway.storage.database._BUSY_SECONDS", 0.05)
        async with self.another() as database:
            await database.write(lambda session: session.execute(MAKE))
            with sqlite3.connect(self.path, isolation_level=None) as other:
                other.execute("BEGIN IMMEDIATE")
                with pytest.raises(Busy):
                    await database.write(lambda session: session.insert(INSERT, (1,)))
                other.execute("ROLLBACK")
            other.close()

    # -- durability --------------------------------------------------------------------

    async def test_every_commit_is_flushed(self, database: SqliteDatabase) -> None:
        def work(session: Any) -> list[Any]:
            return [
                session.first(f"PRAGMA {name}")[0]
                for name in ("journal_mode", "synchronous", "foreign_keys")
            ]

        full = 2
        assert await database.write(work) == ["wal", full, 1]
        assert await database.read(work) == ["wal", full, 1]

    async def test_a_kept_connection_that_another_thread_took_is_no_fault(
        self, database: SqliteDatabase
    ) -> None:
        class Taken(list[Any]):
            def pop(self, *place: Any) -> Any:
                super().pop().close()
                raise IndexError

        await database.read(count)
        database._idle = Taken(database._idle)
        assert await database.read(count) == 0

    # -- several processes -------------------------------------------------------------

    async def test_writers_of_several_processes_lose_nothing(
        self, database: SqliteDatabase
    ) -> None:
        arguments = [sys.executable, "-c", ADD_MANY, str(self.path), "100"]
        others = [
            await asyncio.create_subprocess_exec(*arguments, cwd=CHECKOUT)
            for _ in range(2)
        ]

        def add(session: Any) -> None:
            highest = session.first("SELECT COALESCE(MAX(value), 0) FROM numbers")[0]
            session.insert(INSERT, (highest + 1,))

        for _ in range(100):
            await database.write(add)
        assert [await other.wait() for other in others] == [0, 0]
        assert await database.read(count) == 300

    async def test_a_transaction_of_a_killed_process_is_not_there(
        self, database: SqliteDatabase
    ) -> None:
        script = ADD_MANY.replace(
            "    session.insert(", "    import os; session.insert("
        )
        script = script.replace(
            "(highest + 1,))", "(highest + 1,)); os.kill(os.getpid(), 9)"
        )
        killed = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", script, str(self.path), "1"],
            cwd=CHECKOUT,
        )
        assert killed.returncode == -9
        assert await database.read(count) == 0
        await database.write(lambda session: fill(session, 1))
        assert await database.read(count) == 1

    # -- what can be wrong with the file -----------------------------------------------

    async def test_a_full_disk_is_storage_full_and_undoes_the_transaction(
        self, database: SqliteDatabase
    ) -> None:
        def little_room(session: Any) -> None:
            pages = session.first("PRAGMA page_count")[0]
            session.first(f"PRAGMA max_page_count = {pages + 5}")

        await database.write(lambda session: fill(session, 10))
        await database.write(little_room)
        with pytest.raises(StorageFull):
            await database.write(lambda session: fill(session, 100_000, 10))
        assert await database.read(count) == 10
        await database.write(lambda session: fill(session, 5, 10))
        assert await database.read(count) == 15

    async def test_a_file_that_is_no_database_is_named(self) -> None:
        self.path.write_bytes(b"not a database, but long enough to look like one" * 50)
        before = descriptors()
        with pytest.raises(
            BadConfiguration, match=r"gateway\.db: file is not a database"
        ):
            async with self.another():
                pass
        assert descriptors() - before == set()

    async def test_a_database_that_is_damaged_is_named(
        self, database: SqliteDatabase
    ) -> None:
        await database.write(lambda session: fill(session, 20_000))
        await database.write(lambda session: session.first(COUNT))
        with sqlite3.connect(self.path) as raw:
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        raw.close()
        size = self.path.stat().st_size
        with self.path.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(size - 4096))
        async with self.another() as damaged:
            with pytest.raises(BadConfiguration, match="malformed"):
                await damaged.read(lambda session: list(values(session)))
            with pytest.raises(BadConfiguration, match="malformed"):
                await damaged.write(lambda session: list(values(session)))

    async def test_a_folder_that_is_not_there_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            async with SqliteDatabase(tmp_path / "none" / "gateway.db"):
                pass

    async def test_opening_and_closing_leaves_no_descriptor(self) -> None:
        async with self.another() as database:
            await database.write(lambda session: session.execute(MAKE))
        before = descriptors()
        for _ in range(3):
            async with self.another() as database:
                await asyncio.gather(*[database.read(count) for _ in range(20)])
                async for _group in database.stream(values):
                    pass
        assert descriptors() == before
