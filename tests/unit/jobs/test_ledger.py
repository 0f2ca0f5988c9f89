"""The transactions on jobs, one by one: what holds however they follow each other."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.jobs import states
from gateway.jobs.ledger import Ledger
from gateway.jobs.run import Run
from gateway.jobs.states import PATIENCE
from gateway.storage import jobs as rows
from gateway.storage.database import SqliteDatabase
from gateway.storage.jobs import JobRow
from gateway.storage.migrations import migrate
from gateway.storage.owners import Owners
from gateway.storage.stamp import Stamp

TYPES = frozenset({"work"})
LATER = 1e12


class Place:
    """Two processes on one database."""

    def __init__(self, database: SqliteDatabase, stamp: Stamp, *owners: Owners) -> None:
        self.database = database
        self.stamp = stamp
        self.one, self.two = (
            Ledger(stamp, each, concurrent=2, history=10, patience=PATIENCE)
            for each in owners
        )

    async def submit(self) -> str:
        return await self.database.write(
            lambda session: self.one.submit(session, "work", {}, 0, {}, ["a"])
        )

    async def claim(self, ledger: Ledger) -> JobRow | None:
        return await self.database.write(
            lambda session: ledger.claim(session, TYPES, LATER)
        )

    async def row(self, job_id: str) -> JobRow:
        found = await self.database.read(lambda session: rows.one(session, job_id))
        assert found is not None
        return found

    async def write(self, work: Any) -> None:
        await self.database.write(work)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with (
        SqliteDatabase(tmp_path / "gateway.db") as database,
        Stamp(tmp_path) as stamp,
        Owners(tmp_path) as one,
        Owners(tmp_path) as two,
    ):
        await database.write(migrate)
        yield Place(database, stamp, one, two)


async def test_claims_of_all_processes_count(place: Place) -> None:
    ids = [await place.submit() for _ in range(4)]
    claimed = [
        await place.claim(ledger) for ledger in (place.one, place.two, place.one)
    ]
    assert [row and row.id for row in claimed] == [ids[0], ids[1], None]
    owners = {row.owner for row in claimed if row}
    assert len(owners) == 2


async def test_every_change_counts_and_nothing_else_does(place: Place) -> None:
    job_id = await place.submit()
    version = place.stamp.read("jobs")
    assert version == (await place.row(job_id)).version
    await place.write(lambda s: place.two.change(s, job_id, states.pause))
    assert place.stamp.read("jobs") == version + 1
    await place.write(lambda s: place.one.change(s, job_id, states.pause))
    assert place.stamp.read("jobs") == version + 1
    assert (await place.row(job_id)).version == version + 1
    assert await place.claim(place.one) is None
    assert place.stamp.read("jobs") == version + 1


async def test_a_run_whose_job_went_to_another_process_writes_nothing(
    place: Place,
) -> None:
    job_id = await place.submit()
    row = await place.claim(place.one)
    assert row is not None

    async def none(run: Run) -> None:
        raise AssertionError

    run = Run(row, place.database, none)
    run.checkpoint = {"late": 1}
    # Another process believes that this one is dead, and takes the job.
    await place.write(lambda session: place.one.adopt(session, frozenset()))
    taken = await place.claim(place.two)
    await place.write(lambda session: place.one.keep(session, run))
    await place.write(lambda session: place.one.finish(session, run, states.succeeded))
    assert await place.row(job_id) == taken


async def test_living_processes_keep_their_jobs(place: Place) -> None:
    await place.submit()
    row = await place.claim(place.one)
    assert row is not None
    await place.write(lambda session: place.two.adopt(session, frozenset()))
    await place.write(lambda session: place.one.adopt(session, frozenset({row.id})))
    assert await place.row(row.id) == row
    await place.write(lambda session: place.one.adopt(session, frozenset()))
    orphan = await place.row(row.id)
    assert (orphan.state, orphan.owner, orphan.attempts) == ("Pending", "", 1)
