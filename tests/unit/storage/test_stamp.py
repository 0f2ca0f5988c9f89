"""The stamp: no change is missed, whatever becomes of the transaction that told of it."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.storage.database import Session, SqliteDatabase
from gateway.storage.migrations import migrate
from gateway.storage.stamp import KINDS, Stamp, version_of
from tests.peers import CHECKOUT
from tests.unit.storage.blob_contract import descriptors

ADVANCE = """
import asyncio, sys
from pathlib import Path
from gateway.storage.database import SqliteDatabase
from gateway.storage.stamp import Stamp

async def main():
    folder = Path(sys.argv[1])
    async with SqliteDatabase(folder / "gateway.db") as database, Stamp(folder) as stamp:
        for _ in range(int(sys.argv[2])):
            await database.write(lambda session: stamp.advance(session, "servers"))

asyncio.run(main())
"""


class Broken(Exception):
    """Somebody's work went wrong."""


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    async with SqliteDatabase(tmp_path / "gateway.db") as made:
        await made.write(migrate)
        yield made


@pytest.fixture
async def stamp(tmp_path: Path) -> AsyncIterator[Stamp]:
    async with Stamp(tmp_path) as made:
        yield made


async def test_each_kind_counts_for_itself(
    database: SqliteDatabase, stamp: Stamp
) -> None:
    assert [stamp.read(kind) for kind in KINDS] == [0, 0, 0]
    for version in (1, 2, 3):
        found = await database.write(lambda session: stamp.advance(session, "servers"))
        assert found == version
    assert [stamp.read(kind) for kind in KINDS] == [0, 3, 0]
    assert await database.read(lambda session: version_of(session, "servers")) == 3


async def test_others_see_it_within_the_transaction(
    tmp_path: Path, database: SqliteDatabase, stamp: Stamp
) -> None:
    async with Stamp(tmp_path) as other:

        def work(session: Session) -> int:
            stamp.advance(session, "jobs")
            return other.read("jobs")

        assert await database.write(work) == 1


async def test_what_was_never_committed_can_be_taken_back(
    database: SqliteDatabase, stamp: Stamp
) -> None:
    await database.write(lambda session: stamp.advance(session, "jobs"))

    def work(session: Session) -> None:
        stamp.advance(session, "jobs")
        raise Broken

    with pytest.raises(Broken):
        await database.write(work)
    assert stamp.read("jobs") == 2  # too early: costs a reading, no more
    await database.write(stamp.correct)
    assert stamp.read("jobs") == 1


async def test_processes_that_count_at_once_lose_nothing(
    tmp_path: Path, database: SqliteDatabase, stamp: Stamp
) -> None:
    others = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", ADVANCE, str(tmp_path), "40"), cwd=CHECKOUT
        )
        for _ in range(2)
    ]
    for _ in range(40):
        await database.write(lambda session: stamp.advance(session, "servers"))
    assert [await other.wait() for other in others] == [0, 0]
    assert stamp.read("servers") == 120
    assert await database.read(lambda session: version_of(session, "servers")) == 120


async def test_what_another_has_written_outlives_a_second_opening(
    tmp_path: Path, stamp: Stamp
) -> None:
    stamp.set("jobs", 2**63)
    async with Stamp(tmp_path) as other:
        assert other.read("jobs") == 2**63


async def test_opening_and_closing_leaves_no_descriptor(tmp_path: Path) -> None:
    before = descriptors()
    for _ in range(3):
        async with Stamp(tmp_path) as stamp:
            stamp.read("jobs")
    assert descriptors() == before
