"""Several engines on one database: those of worker processes, living and dead."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.errors import Conflict
from gateway.jobs.engine import Patience
from gateway.jobs.failures import LOST
from gateway.jobs.job import JobState
from gateway.storage.database import SqliteDatabase
from tests.peers import CHECKOUT
from tests.unit.jobs.engines import LONG, Works, engine, reach, until

pytestmark = pytest.mark.slow

#: A process that counts through the items of the jobs, slowly, and tells when it began.
COUNTER = """
import asyncio, sys
from pathlib import Path
from tests.unit.jobs.engines import engine

async def count(run):
    total = await run.item_count()
    for place in range(run.checkpoint.get("next", 0), total):
        done = [*run.content.get("Done", []), place]
        ahead = {"next": place + 1}
        print("working", flush=True)
        await run.save(
            progress=place / total, content={"Done": done}, checkpoint=ahead, now=True
        )
        await asyncio.sleep(0.05)

async def deadly(run):
    print("working", flush=True)
    import os
    os.kill(os.getpid(), 9)

async def main():
    async with engine(Path(sys.argv[1]), {"count": count, "deadly": deadly}):
        await asyncio.sleep(600)

asyncio.run(main())
"""


@asynccontextmanager
async def process(folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Another process of the gateway; killed in the end."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", COUNTER, str(folder)),
        cwd=CHECKOUT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def works_on(child: asyncio.subprocess.Process) -> None:
    """Return once the process works on a job."""
    assert child.stdout is not None
    async with asyncio.timeout(LONG):
        assert await child.stdout.readline() == b"working\n"


# -- two living ones ---------------------------------------------------------------------


async def test_the_number_of_jobs_at_once_is_that_of_all_processes(
    tmp_path: Path,
) -> None:
    one, two = Works(), Works()
    async with (
        engine(tmp_path, one.table(), concurrent=3) as first,
        engine(tmp_path, two.table(), concurrent=3) as second,
    ):
        jobs = [
            await asked.submit("hold", {})
            for _ in range(4)
            for asked in (first, second)
        ]
        await until(lambda: one.at_once + two.at_once == 3)
        await asyncio.sleep(0.4)
        assert one.at_once + two.at_once == 3
        assert one.at_once  # neither of them takes all
        assert two.at_once
        one.free.set()
        two.free.set()
        for job in jobs:
            done = await first.wait(job.id, finished=True)
            assert done.state is JobState.SUCCESS
    assert one.most_at_once + two.most_at_once <= 6
    assert len(one.started) + len(two.started) == 8  # none was run twice


async def test_any_process_answers_for_a_job_and_steers_it(tmp_path: Path) -> None:
    works = Works()
    async with (
        engine(tmp_path, works.table()) as runs,
        engine(tmp_path, {"none": works.do}) as asks,
    ):
        job = await runs.submit("hold", {})
        assert (await asks.get(job.id)).id == job.id  # at once, whoever took it
        await reach(asks, job.id, JobState.RUNNING)
        await asks.pause(job.id)
        await reach(asks, job.id, JobState.PAUSED)
        assert (await runs.get(job.id)).state is JobState.PAUSED
        await asks.resume(job.id)
        await reach(asks, job.id, JobState.RUNNING)
        await asks.cancel(job.id)
        done = await asks.wait(job.id, finished=True)
        assert done.state is JobState.FAILURE
        with pytest.raises(Conflict):
            await asks.resume(job.id)
        await asks.delete(job.id)
        assert await runs.list() == []


async def test_news_of_another_process_comes_within_a_moment(tmp_path: Path) -> None:
    works = Works()
    async with (
        engine(tmp_path, works.table()) as runs,
        engine(tmp_path, {"none": works.do}) as asks,
    ):
        job = await runs.submit("stubborn", {})
        await reach(runs, job.id, JobState.RUNNING)
        waiting = asyncio.create_task(asks.wait(job.id, finished=True))
        await asyncio.sleep(0.1)
        works.free.set()
        started = time.monotonic()
        assert (await waiting).state is JobState.SUCCESS
        assert time.monotonic() - started < 1


async def test_without_history_another_process_still_gets_the_result(
    tmp_path: Path,
) -> None:
    works = Works()
    async with (
        engine(tmp_path, works.table(), history=0) as _runs,
        engine(tmp_path, {"count": works.count}, history=0) as asks,
    ):
        await asyncio.sleep(0.05)
        for _ in range(5):
            job = await asks.submit("count", {}, items=["a"])
            done = await asks.wait(job.id, finished=True)
            assert done.content == {"Done": ["a"]}


# -- the dead ----------------------------------------------------------------------------


async def test_a_living_process_takes_over_from_a_killed_one(tmp_path: Path) -> None:
    works = Works()
    async with engine(tmp_path, works.table()) as jobs:
        jobs._concurrent = 0  # only asks
        job = await jobs.submit("count", {}, items=[str(n) for n in range(20)])
        async with process(tmp_path) as child:
            await works_on(child)
            await works_on(child)
        assert works.started == []
        jobs._concurrent = 1
        done = await jobs.wait(job.id, finished=True, seconds=LONG)
        assert done.state is JobState.SUCCESS
        assert works.seen[0]["next"] >= 1  # it began where the other had stopped
        assert len(done.content["Done"]) == 20


async def test_a_process_that_stands_still_is_not_taken_for_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.jobs.engine.ROUND", 0.1)
    works = Works()
    async with engine(tmp_path, works.table()) as jobs:
        jobs._concurrent = 0
        job = await jobs.submit("count", {}, items=["a", "b"])
        async with process(tmp_path) as child:
            await works_on(child)
            os.kill(child.pid, signal.SIGSTOP)
            await asyncio.sleep(0.5)
            assert (await jobs.get(job.id)).state is JobState.RUNNING
            os.kill(child.pid, signal.SIGCONT)
            done = await jobs.wait(job.id, finished=True, seconds=LONG)
            assert done.content == {"Done": [0, 1]}


async def test_after_a_kill_a_start_goes_on_where_it_stopped(tmp_path: Path) -> None:
    works = Works()
    async with engine(tmp_path, works.table()) as jobs:
        jobs._concurrent = 0
        job = await jobs.submit("count", {}, items=[str(n) for n in range(20)])
    async with process(tmp_path) as child:
        await works_on(child)
        await works_on(child)
    async with engine(tmp_path, works.table()) as jobs:
        done = await jobs.wait(job.id, finished=True, seconds=LONG)
        assert done.state is JobState.SUCCESS
        assert works.seen[0]["next"] >= 1
        assert len(done.content["Done"]) == 20


async def test_a_job_that_kills_whoever_runs_it_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.jobs.engine.ROUND", 0.05)
    patience = Patience(retries=1)
    works = Works()
    options: dict[str, Any] = {"patience": patience}
    async with engine(tmp_path, {"deadly": works.do}, **options) as jobs:
        jobs._concurrent = 0
        job = await jobs.submit("deadly", {})
        for _ in range(2):
            async with process(tmp_path) as child:
                assert await child.wait() == -signal.SIGKILL
        done = await jobs.wait(job.id, finished=True, seconds=LONG)
        assert (done.state, done.failure) == (JobState.FAILURE, LOST)


# -- stopping and starting ---------------------------------------------------------------


@pytest.mark.parametrize("kind", ["hold", "stubborn"])
async def test_a_stop_lets_works_reach_a_checkpoint_and_a_start_goes_on(
    tmp_path: Path, kind: str
) -> None:
    works = Works()
    async with engine(tmp_path, works.table()) as jobs:
        job = await jobs.submit(kind, {"name": "x"})
        await until(lambda: works.at_once)
    assert works.at_once == 0
    works.free.set()
    async with engine(tmp_path, works.table()) as jobs:
        done = await jobs.wait(job.id, finished=True)
        assert (done.state, done.attempts) == (JobState.SUCCESS, 0)
    assert works.started == ["x", "x"]
    if kind == "stubborn":
        assert works.seen == [{}, {"at": 1}]


async def test_what_was_paused_or_finished_is_so_after_a_start(tmp_path: Path) -> None:
    works = Works()
    async with engine(tmp_path, works.table(), concurrent=1) as jobs:
        held = await jobs.submit("hold", {})
        paused = await jobs.pause((await jobs.submit("do", {})).id)
        await reach(jobs, held.id, JobState.RUNNING)
        cancelled = await jobs.cancel(held.id)
        cancelled = await jobs.wait(held.id, finished=True)
    async with engine(tmp_path, works.table()) as jobs:
        assert [job.state for job in await jobs.list()] == [
            JobState.FAILURE,
            JobState.PAUSED,
        ]
        again = await jobs.get(held.id)
        assert (again.failure, again.version) == (cancelled.failure, cancelled.version)
        assert (await jobs.get(paused.id)).version == paused.version


async def test_a_pause_asked_for_while_it_stops_is_not_forgotten(
    tmp_path: Path,
) -> None:
    works = Works()
    async with engine(tmp_path, works.table()) as jobs:
        job = await jobs.submit("stubborn", {})
        await until(lambda: works.at_once)
        stopping = asyncio.create_task(jobs.__aexit__(None, None, None))
        await asyncio.sleep(0.05)
        await jobs.pause(job.id)
        await stopping
        jobs._watcher = asyncio.create_task(asyncio.sleep(0))  # for the second exit
    async with engine(tmp_path, works.table()) as jobs:
        assert (await jobs.get(job.id)).state is JobState.PAUSED


async def test_jobs_that_are_not_to_be_saved_are_dropped_by_the_first_to_start(
    tmp_path: Path,
) -> None:
    works = Works()
    works.free.set()
    async with engine(tmp_path, works.table(), save=False) as jobs:
        job = await jobs.submit("do", {})
        await jobs.wait(job.id, finished=True)
        async with engine(tmp_path, works.table(), save=False) as beside:
            assert [found.id for found in await beside.list()] == [job.id]
    async with engine(tmp_path, works.table(), save=False) as jobs:
        assert await jobs.list() == []


async def test_the_database_never_shows_what_it_was_told_to_hide(
    tmp_path: Path,
) -> None:
    works = Works()
    async with engine(tmp_path, works.table()) as jobs:
        job = await jobs.submit("do", {"password": "hunter2"}, content={"A": 1})
        done = await jobs.wait(job.id, finished=True)
        assert "hunter2" not in repr(done)
    async with SqliteDatabase(tmp_path / "gateway.db") as database:
        rows = await database.read(lambda s: s.fetch("SELECT request FROM jobs"))
    assert orjson.loads(rows[0][0])[0] == {"password": "hunter2"}  # but it is kept
