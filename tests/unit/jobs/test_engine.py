"""The engine: every job gets its turn, ends as it must, and obeys in between."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import (
    BadRequest,
    Conflict,
    NotFound,
    RemoteFailure,
    RemoteTimeout,
    StorageFull,
)
from gateway.jobs import board, ledger
from gateway.jobs.engine import Engine, Patience, Run
from gateway.jobs.failures import UNWRITABLE
from gateway.jobs.job import Failure, JobState
from tests.unit.jobs.engines import HASTE, LONG, Works, engine, reach, until

PENDING, RUNNING, PAUSED = JobState.PENDING, JobState.RUNNING, JobState.PAUSED
SUCCESS, FAILURE, RETRY = JobState.SUCCESS, JobState.FAILURE, JobState.RETRY

NOBODY = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def works() -> Works:
    return Works()


@pytest.fixture
async def jobs(tmp_path: Path, works: Works) -> AsyncIterator[Engine]:
    async with engine(tmp_path, works.table()) as made:
        yield made


async def submit(jobs: Engine, kind: str, name: str = "", **more: Any) -> str:
    return (await jobs.submit(kind, {"name": name}, **more)).id


# -- turns -----------------------------------------------------------------------------


async def test_a_job_is_pending_then_runs_and_succeeds(jobs: Engine) -> None:
    job = await jobs.submit("do", {"secret": "x"}, priority=3, content={"Server": "a"})
    assert (job.state, job.type, job.priority, job.progress) == (PENDING, "do", 3, 0)
    assert job.content == {"Server": "a"}
    assert "secret" not in repr(job)
    done = await jobs.wait(job.id, finished=True)
    assert (done.state, done.progress, done.failure) == (SUCCESS, 1.0, None)
    assert done.completed is not None
    assert job.created <= done.completed <= time.time()
    assert done.version > job.version
    assert done.content == {"Server": "a"}


async def test_no_more_run_at_once_than_allowed(jobs: Engine, works: Works) -> None:
    started = [await submit(jobs, "hold", str(n)) for n in range(5)]
    await until(lambda: works.at_once == 2)
    await asyncio.sleep(0.3)
    assert works.started == ["0", "1"]
    states = [job.state for job in await jobs.list()]
    assert states == [RUNNING, RUNNING, PENDING, PENDING, PENDING]
    works.free.set()
    for job_id in started:
        assert (await jobs.wait(job_id, finished=True)).state is SUCCESS
    assert works.most_at_once == 2


async def test_higher_priorities_come_first_then_older_jobs(
    tmp_path: Path, works: Works
) -> None:
    async with engine(tmp_path, works.table(), concurrent=1) as jobs:
        await submit(jobs, "hold", "first")
        await until(lambda: works.started)
        ids = [
            await submit(jobs, "do", name, priority=priority)
            for name, priority in [("b", 0), ("d", -1), ("a", 5), ("c", 0)]
        ]
        works.free.set()
        for job_id in ids:
            await jobs.wait(job_id, finished=True)
    assert works.started == ["first", "a", "b", "c", "d"]


async def test_a_job_of_a_type_that_nobody_knows_is_refused(jobs: Engine) -> None:
    with pytest.raises(ValueError, match="type unknown"):
        await jobs.submit("unknown", {})
    assert await jobs.list() == []


async def test_a_job_whose_type_this_version_does_not_know_waits(
    tmp_path: Path, works: Works
) -> None:
    async with engine(tmp_path, works.table(), concurrent=1) as jobs:
        blocking = await submit(jobs, "hold")
        waiting = await submit(jobs, "do")
        await until(lambda: works.started)
        await jobs.cancel(blocking)
        await jobs.pause(waiting)
    others = {"count": works.count}
    async with engine(tmp_path, others) as jobs:
        await jobs.resume(waiting)
        known = await submit(jobs, "count", items=["x"])
        assert (await jobs.wait(known, finished=True)).state is SUCCESS
        assert (await jobs.get(waiting)).state is PENDING


async def test_ten_jobs_in_a_row_take_no_ticks(jobs: Engine) -> None:
    started = time.monotonic()
    for _ in range(10):
        await jobs.wait(await submit(jobs, "do"), finished=True)
    assert time.monotonic() - started < 0.8


# -- what a work saves -----------------------------------------------------------------


async def test_a_work_goes_through_its_items(jobs: Engine) -> None:
    job_id = await submit(jobs, "count", items=["a", "b", "c"])
    done = await jobs.wait(job_id, finished=True)
    assert done.content == {"Done": ["a", "b", "c"]}


async def test_what_is_saved_is_seen_while_the_job_runs(tmp_path: Path) -> None:
    free = asyncio.Event()

    async def work(run: Any) -> None:
        await run.save(progress=0.4, content={"Step": 1})
        await free.wait()

    async with engine(tmp_path, {"work": work}) as jobs:
        job = await jobs.submit("work", {})
        while job.progress != 0.4:  # it comes without another call of save
            job = await jobs.wait(job.id, since=job.version, seconds=LONG)
        assert (job.content, job.state) == ({"Step": 1}, RUNNING)
        assert job.runtime > 0
        free.set()
        assert (await jobs.wait(job.id, finished=True)).content == {"Step": 1}


async def test_saving_often_writes_seldom(tmp_path: Path) -> None:
    versions = set()

    async def work(run: Any) -> None:
        for step in range(2000):
            await run.save(progress=step / 2000, content={"Step": step})
            if step % 200 == 0:
                await asyncio.sleep(0.01)

    async with engine(tmp_path, {"work": work}) as jobs:
        job = await jobs.submit("work", {})
        while not job.finished:
            job = await jobs.wait(job.id, since=job.version)
            versions.add(job.version)
        assert job.content == {"Step": 1999}
    assert len(versions) <= 4


async def test_items_can_be_added_by_the_work(tmp_path: Path) -> None:
    async def work(run: Any) -> None:
        await run.add_items(["b", "c"])
        found = await run.items(0, 10)
        await run.save(content={"Items": found, "Count": await run.item_count()})

    async with engine(tmp_path, {"work": work}) as jobs:
        job = await jobs.submit("work", {}, items=["a"])
        done = await jobs.wait(job.id, finished=True)
        assert done.content == {"Items": ["a", "b", "c"], "Count": 3}


# -- failing ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (BadRequest("no such tag"), Failure(8, "Bad request", "no such tag")),
        (NotFound("gone"), Failure(17, "Unknown resource", "gone")),
        (StorageFull("no room"), Failure(19, "Full storage", "no room")),
        (
            RemoteFailure("pacs answered 403"),
            Failure(9, "Network protocol", "pacs answered 403"),
        ),
        (
            ZeroDivisionError("Doe^Jane"),
            Failure(-1, "Internal error", "internal error: ZeroDivisionError"),
        ),
        (
            ExceptionGroup("two", [ValueError("x"), NotFound("gone")]),
            Failure(17, "Unknown resource", "gone"),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_an_error_that_does_not_pass_is_a_failure_with_its_cause(
    jobs: Engine, works: Works, error: Exception, failure: Failure
) -> None:
    works.errors = [error]
    done = await jobs.wait(await submit(jobs, "fail"), finished=True)
    assert (done.state, done.failure, done.progress) == (FAILURE, failure, 0.0)
    assert len(works.started) == 1


async def test_an_error_that_may_pass_is_tried_again(
    jobs: Engine, works: Works
) -> None:
    works.errors = [RemoteTimeout("silent", retry=True)] * 3
    done = await jobs.wait(await submit(jobs, "fail"), finished=True)
    assert (done.state, done.failure) == (SUCCESS, None)
    assert len(works.started) == 4


async def test_it_is_not_tried_for_ever(jobs: Engine, works: Works) -> None:
    works.errors = [RemoteTimeout(f"silent {n}", retry=True) for n in range(9)]
    done = await jobs.wait(await submit(jobs, "fail"), finished=True)
    assert done.failure == Failure(16, "Timeout", "silent 3")
    assert len(works.started) == 1 + HASTE.retries


async def test_while_it_waits_for_another_attempt_it_says_why(
    tmp_path: Path, works: Works
) -> None:
    patience = Patience(first_pause=60)
    works.errors = [RemoteFailure("pacs answered 503", retry=True)]
    async with engine(tmp_path, works.table(), patience=patience) as jobs:
        job = await reach(jobs, await submit(jobs, "fail"), RETRY)
        assert job.failure == Failure(9, "Network protocol", "pacs answered 503")
        assert 30 <= job.due - time.time() <= 60
        assert job.attempts == 1
        await jobs.resume(job.id)  # at once, then
        assert (await jobs.wait(job.id, finished=True)).state is SUCCESS


async def test_whoever_asks_for_time_gets_it(tmp_path: Path, works: Works) -> None:
    works.errors = [RemoteFailure("busy", retry=True, retry_after=90.0)]
    async with engine(tmp_path, works.table()) as jobs:
        job = await reach(jobs, await submit(jobs, "fail"), RETRY)
        assert 85 < job.due - time.time() <= 90


async def test_attempts_that_get_ahead_do_not_count(
    tmp_path: Path,
) -> None:
    async def work(run: Any) -> None:
        place = run.checkpoint.get("next", 0)
        if place < 8:
            await run.save(checkpoint={"next": place + 1})
            raise RemoteTimeout("silent", retry=True)

    async with engine(tmp_path, {"work": work}) as jobs:
        job = await jobs.submit("work", {})
        done = await jobs.wait(job.id, finished=True)
        assert (done.state, done.attempts) == (SUCCESS, 1)


# -- steering --------------------------------------------------------------------------


async def test_a_pending_job_is_cancelled_at_once(tmp_path: Path, works: Works) -> None:
    async with engine(tmp_path, works.table(), concurrent=1) as jobs:
        await submit(jobs, "hold")
        job = await jobs.cancel(await submit(jobs, "do", "never"))
        assert job.state is FAILURE
        assert job.failure is not None
        assert job.failure.code == 37
        works.free.set()
    assert "never" not in works.started


async def test_a_running_job_is_cancelled_at_its_next_checkpoint(
    jobs: Engine, works: Works
) -> None:
    job_id = await submit(jobs, "hold")
    await reach(jobs, job_id, RUNNING)
    await jobs.cancel(job_id)
    done = await jobs.wait(job_id, finished=True)
    assert done.failure is not None
    assert (done.state, done.failure.code) == (FAILURE, 37)
    assert done.content == {"Held": True}


@pytest.mark.parametrize("kind", ["stubborn", "hold"])
async def test_a_job_pauses_and_goes_on_where_it_stopped(
    jobs: Engine, works: Works, kind: str
) -> None:
    job_id = await submit(jobs, kind)
    await reach(jobs, job_id, RUNNING)
    await jobs.pause(job_id)
    paused = await reach(jobs, job_id, PAUSED)
    assert works.at_once == 0
    assert paused.completed is None
    works.free.set()
    await jobs.resume(job_id)
    assert (await jobs.wait(job_id, finished=True)).state is SUCCESS
    if kind == "stubborn":
        assert works.seen == [{}, {"at": 1}]


async def test_a_pause_can_be_taken_back_before_it_comes(
    tmp_path: Path, works: Works
) -> None:
    patient = Patience(grace=30)
    async with engine(tmp_path, works.table(), patience=patient) as jobs:
        job_id = await submit(jobs, "stubborn")
        await reach(jobs, job_id, RUNNING)
        await jobs.pause(job_id)
        await asyncio.sleep(0.15)
        await jobs.resume(job_id)
        await asyncio.sleep(0.15)
        works.free.set()
        assert (await jobs.wait(job_id, finished=True)).state is SUCCESS
    assert len(works.started) == 1


async def test_a_job_that_is_to_pause_can_still_be_cancelled(
    jobs: Engine, works: Works
) -> None:
    job_id = await submit(jobs, "stubborn")
    await reach(jobs, job_id, RUNNING)
    await jobs.pause(job_id)
    await jobs.cancel(job_id)
    await jobs.pause(job_id)  # too late
    done = await jobs.wait(job_id, finished=True)
    assert done.failure is not None
    assert done.failure.code == 37


async def test_a_work_that_ends_before_it_notices_has_succeeded(
    tmp_path: Path, works: Works
) -> None:
    patient = Patience(grace=30)
    async with engine(tmp_path, works.table(), patience=patient) as jobs:
        job_id = await submit(jobs, "stubborn")
        await reach(jobs, job_id, RUNNING)
        await jobs.cancel(job_id)
        works.free.set()
        assert (await jobs.wait(job_id, finished=True)).state is SUCCESS


async def test_a_failed_job_is_done_again_from_the_start(
    tmp_path: Path,
) -> None:
    attempts: list[Any] = []

    async def work(run: Any) -> None:
        attempts.append((dict(run.checkpoint), await run.item_count()))
        await run.add_items(["more"])
        await run.save(progress=0.5, content={"Now": 1}, checkpoint={"next": 1})
        if len(attempts) == 1:
            raise NotFound("gone")

    async with engine(tmp_path, {"work": work}) as jobs:
        job = await jobs.submit("work", {}, content={"First": 1}, items=["a"])
        failed = await jobs.wait(job.id, finished=True)
        assert (failed.content, failed.progress) == ({"Now": 1}, 0.5)
        again = await jobs.resubmit(job.id)
        assert (again.state, again.content) == (PENDING, {"First": 1})
        assert (again.progress, again.runtime, again.failure) == (0, 0, None)
        assert again.completed is None
        assert (await jobs.wait(job.id, finished=True)).state is SUCCESS
    assert attempts == [({}, 1), ({}, 1)]


async def test_what_does_not_fit_the_state_is_refused_or_does_nothing(
    tmp_path: Path, works: Works
) -> None:
    async with engine(tmp_path, works.table(), concurrent=1) as jobs:
        running, pending = await submit(jobs, "hold"), await submit(jobs, "do")
        await reach(jobs, running, RUNNING)
        for job_id in (running, pending):
            for action in (jobs.resume, jobs.resubmit, jobs.delete):
                with pytest.raises(Conflict, match=r"its state is (Running|Pending)"):
                    await action(job_id)
        works.free.set()
        done = await jobs.wait(pending, finished=True)
        assert await jobs.cancel(pending) is done
        assert await jobs.pause(pending) is done
        for action in (jobs.resume, jobs.resubmit):
            with pytest.raises(Conflict, match="Success"):
                await action(pending)


async def test_a_paused_job_stays_so_and_can_be_cancelled(
    tmp_path: Path, works: Works
) -> None:
    async with engine(tmp_path, works.table(), concurrent=1) as jobs:
        await submit(jobs, "hold")
        job_id = await submit(jobs, "do")
        paused = await jobs.pause(job_id)
        assert paused.state is PAUSED
        assert await jobs.pause(job_id) is paused
        with pytest.raises(Conflict, match="Paused"):
            await jobs.delete(job_id)
        assert (await jobs.cancel(job_id)).state is FAILURE
        works.free.set()


async def test_a_deleted_job_is_gone(jobs: Engine) -> None:
    job_id = await submit(jobs, "do", items=["a"])
    done = await jobs.wait(job_id, finished=True)
    assert await jobs.delete(job_id) is done
    assert await jobs.list() == []
    for action in (
        *(jobs.get, jobs.wait, jobs.cancel, jobs.pause),
        *(jobs.resume, jobs.resubmit, jobs.delete),
    ):
        with pytest.raises(NotFound, match=job_id):
            await action(job_id)


# -- waiting and polling ---------------------------------------------------------------


async def test_who_waits_for_a_change_gets_it_or_what_there_is(
    jobs: Engine, works: Works
) -> None:
    job = await reach(jobs, await submit(jobs, "stubborn"), RUNNING)
    job = await jobs.wait(job.id, since=job.version, seconds=LONG)  # what it saved
    assert job.progress == 0.25
    assert await jobs.wait(job.id, since=job.version, seconds=0.05) is job
    assert await jobs.wait(job.id, since=job.version - 1) is job
    waiting = asyncio.create_task(jobs.wait(job.id))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    works.free.set()
    assert (await waiting).version > job.version
    with pytest.raises(NotFound):
        await jobs.wait(NOBODY, seconds=0)


async def test_for_a_change_of_a_finished_job_nobody_waits(jobs: Engine) -> None:
    job = await jobs.wait(await submit(jobs, "do"), finished=True)
    assert await jobs.wait(job.id, since=1 << 60) is job
    assert await jobs.wait(job.id) is job


async def test_before_a_stop_who_waits_for_news_is_let_go(
    jobs: Engine, works: Works
) -> None:
    job = await reach(jobs, await submit(jobs, "hold"), RUNNING)
    news = asyncio.create_task(jobs.wait(job.id, since=1 << 60))
    end = asyncio.create_task(jobs.wait(job.id, finished=True))
    await asyncio.sleep(0.02)
    jobs.let_go()
    assert (await news).state is RUNNING
    assert not end.done()
    works.free.set()
    assert (await end).state is SUCCESS


async def test_at_a_stop_who_waits_for_the_end_is_let_go_too(jobs: Engine) -> None:
    job = await reach(jobs, await submit(jobs, "hold"), RUNNING)
    end = asyncio.create_task(jobs.wait(job.id, finished=True))
    await asyncio.sleep(0.02)
    jobs.let_all_go()
    assert (await end).state is RUNNING
    assert (await jobs.wait(job.id, finished=True)).state is RUNNING


async def test_polling_an_unchanged_job_reads_nothing(
    jobs: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await jobs.wait(await submit(jobs, "do"), finished=True)

    async def read(work: Any) -> None:
        raise AssertionError("the database was read")

    monkeypatch.setattr(jobs._database, "read", read)
    for _ in range(100):
        assert await jobs.get(job.id) is job
        assert await jobs.list() == [job]


async def test_many_who_ask_at_once_share_one_reading(
    jobs: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await submit(jobs, "hold")
    await reach(jobs, job_id, RUNNING)
    reading, readings = jobs._database.read, []

    async def read(work: Any) -> Any:
        readings.append(work)
        return await reading(work)

    monkeypatch.setattr(jobs._database, "read", read)
    stamp = jobs._board._stamp
    stamp.set("jobs", stamp.read("jobs") + 1)  # of a change that never comes
    await asyncio.gather(*[jobs.get(job_id) for _ in range(200)])
    assert len(readings) <= 3


# -- history ---------------------------------------------------------------------------


async def test_the_newest_finished_jobs_are_remembered(
    tmp_path: Path, works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, "LINGER", 0.2)
    monkeypatch.setattr("gateway.jobs.ledger.LINGER", 0.2)
    monkeypatch.setattr("gateway.jobs.engine.ROUND", 0.1)
    async with engine(tmp_path, works.table(), history=2) as jobs:
        ids = []
        for _ in range(4):
            ids.append(await submit(jobs, "do"))
            await jobs.wait(ids[-1], finished=True)
        assert [job.id for job in await jobs.list()] == ids[2:]
        with pytest.raises(NotFound):
            await jobs.get(ids[0])
        await until(lambda: len(jobs._board._rows) == 2)
        assert [job.id for job in await jobs.list()] == ids[2:]


async def test_without_a_history_who_waits_still_gets_the_result(
    tmp_path: Path, works: Works
) -> None:
    async with engine(tmp_path, works.table(), history=0) as jobs:
        job_id = await submit(jobs, "count", items=["a"])
        done = await jobs.wait(job_id, finished=True)
        assert (done.state, done.content) == (SUCCESS, {"Done": ["a"]})
        assert await jobs.list() == []
        with pytest.raises(NotFound):
            await jobs.get(job_id)
        assert await jobs.wait(job_id, finished=True) is done  # a little late


# -- when the disk is full -------------------------------------------------------------


async def test_an_end_that_cannot_be_written_is_not_the_end(
    tmp_path: Path, works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.jobs.engine.ROUND", 0.05)
    async with engine(tmp_path, works.table()) as jobs:
        finish, failed = jobs._ledger.finish, []

        def broken(session: Any, run: Any, change: Any) -> None:
            if len(failed) < 2:
                failed.append(run)
                raise StorageFull
            finish(session, run, change)

        monkeypatch.setattr(jobs._ledger, "finish", broken)
        done = await jobs.wait(await submit(jobs, "do", "x"), finished=True)
        assert done.state is SUCCESS
    assert works.started == ["x"] * 3


# -- what cannot be written ------------------------------------------------------------


@pytest.mark.parametrize("content", [{"Reason": 2**70}, {"Name": "\udcff"}])
async def test_a_job_whose_content_cannot_be_written_fails(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    async def tell(run: Run) -> None:
        run.content = content

    async with engine(tmp_path, {"tell": tell}) as jobs:
        async with asyncio.timeout(LONG):
            job = await jobs.wait(await submit(jobs, "tell"), finished=True)
    assert (job.state, job.failure) == (FAILURE, UNWRITABLE)


async def test_words_that_are_no_text_do_not_keep_a_job_from_its_end(
    jobs: Engine, works: Works
) -> None:
    works.errors = [RemoteFailure("it redirects to \udcff", server="a")]
    async with asyncio.timeout(LONG):
        job = await jobs.wait(await submit(jobs, "fail"), finished=True)
    assert job.failure is not None
    assert job.failure.details == "it redirects to ?"


async def test_who_waits_learns_that_the_end_cannot_be_written(
    jobs: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(session: object, **_: object) -> None:
        raise StorageFull

    monkeypatch.setattr("gateway.jobs.engine.UNWRITTEN", 0.05)
    with monkeypatch.context() as patched:
        patched.setattr(jobs._ledger, "finish", full)
        job_id = await submit(jobs, "do")
        async with asyncio.timeout(LONG):
            with pytest.raises(StorageFull, match=job_id):
                await jobs.wait(job_id, finished=True)
    job = await reach(jobs, job_id, SUCCESS)  # once there is room again
    assert (await jobs.wait(job_id, finished=True)).id == job.id


async def test_a_clock_that_is_put_back_does_not_stop_jobs(
    tmp_path: Path, works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time
    async with engine(tmp_path, works.table(), concurrent=1) as jobs:
        await reach(jobs, await submit(jobs, "hold"), RUNNING)
        with monkeypatch.context() as patched:
            patched.setattr(ledger.time, "time", lambda: now() + 86_400)
            later = await submit(jobs, "do")
        works.free.set()
        async with asyncio.timeout(LONG):
            assert (await jobs.wait(later, finished=True)).state is SUCCESS
