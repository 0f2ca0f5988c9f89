"""Whatever is asked of jobs, by whichever process, and whoever dies: none goes astray."""

import asyncio
import os
import tempfile
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.errors import Conflict, NotFound, RemoteFailure
from gateway.jobs import engine as engine_module
from gateway.jobs.engine import Engine, Patience, Run
from gateway.jobs.job import Job, JobState
from gateway.storage.database import SqliteDatabase
from gateway.storage.migrations import migrate
from gateway.storage.owners import Owners
from gateway.storage.stamp import Stamp

CONCURRENT = 2
RETRIES = 2
PATIENCE = Patience(RETRIES, first_pause=0.001, longest_pause=0.001, grace=0.01)

ACTIVE = "active"  # pending, running, or about to be tried again
PAUSED, SUCCESS, FAILURE = "Paused", "Success", "Failure"

processes = st.sampled_from([0, 1])

#: Which of the jobs there are; not all that happens happens in the same order each time,
#: so what is drawn may not depend on it.
places = st.integers(0, 7)


class Process:
    """What one process has open, and how it ends."""

    def __init__(self, folder: Path, work: Any) -> None:
        self._folder = folder
        self._work = work
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        enter = self._stack.enter_async_context
        database = await enter(SqliteDatabase(self._folder / "gateway.db"))
        await database.write(migrate)
        stamp = await enter(Stamp(self._folder))
        self.owners = Owners(self._folder)
        await self.owners.__aenter__()
        self.engine = Engine(
            *(database, stamp, self.owners, {"work": self._work}),
            concurrent=CONCURRENT,
            history=1000,
            patience=PATIENCE,
        )
        await self.engine.__aenter__()

    async def stop(self) -> None:
        await self.engine.__aexit__(None, None, None)
        await self.owners.__aexit__(None, None, None)
        await self._stack.aclose()

    async def kill(self) -> None:
        """End as by SIGKILL: nothing is written any more, only the lock is free."""
        tasks = [self.engine._watcher]
        for running in self.engine._running.values():
            tasks += [running.attending, running._task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        os.close(self.owners._lock)
        await self._stack.aclose()


@dataclass(slots=True)
class Expected:
    """What is known of a job."""

    state: str = ACTIVE
    stumbles: int = 0  # since it last got ahead
    steps: int = 0  # that were made durable since it was submitted


class Jobs(RuleBasedStateMachine):
    """Two processes, some jobs whose works do as they are told, and all that may come."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.expected: dict[str, Expected] = {}
        self.commands: dict[str, asyncio.Queue[str]] = {}  # of works under way
        self.done: dict[str, asyncio.Event] = {}
        self.processes = [self.process(), self.process()]
        for process in self.processes:
            self.runner.run(process.start())

    def process(self) -> Process:
        return Process(Path(self.folder.name), self.work)

    def teardown(self) -> None:
        for process in self.processes:
            self.runner.run(process.stop())
        self.runner.close()
        self.folder.cleanup()

    async def work(self, run: Run) -> None:
        """Do as the commands say; nobody else may do the same job."""
        assert run.job_id not in self.commands, "two works on one job"
        while run.job_id not in self.expected:  # noqa: ASYNC110 - it is submitted now
            await asyncio.sleep(0.001)
        steps = run.checkpoint.get("steps", 0)
        assert steps == self.expected[run.job_id].steps, "work was lost or done twice"
        commands = self.commands[run.job_id] = asyncio.Queue()
        assert len(self.commands) <= CONCURRENT
        try:
            while (command := await commands.get()) != "succeed":
                if command == "fail":
                    raise NotFound("gone")
                if command == "stumble":
                    self.done[run.job_id].set()
                    raise RemoteFailure("busy", retry=True)
                steps += 1
                await run.save(checkpoint={"steps": steps}, now=True)
                self.done[run.job_id].set()
        finally:
            del self.commands[run.job_id]

    # -- waiting until all is as it must be ----------------------------------------------

    async def settle(self) -> None:
        """Return once both processes agree, and every job is where it must be."""
        end = asyncio.get_running_loop().time() + 10
        while not await self.settled():
            late = asyncio.get_running_loop().time() > end
            assert not late, (self.rows(), self.expected, self.commands)
            await asyncio.sleep(0.002)

    async def settled(self) -> bool:
        one, two = [await each.engine.list() for each in self.processes]
        if [(j.id, j.version) for j in one] != [(j.id, j.version) for j in two]:
            return False
        running = [job.id for job in one if job.state is JobState.RUNNING]
        active = [job for job in one if self.expected[job.id].state == ACTIVE]
        return (
            {job.id for job in one} == set(self.expected)
            and sorted(running) == sorted(self.commands)
            and len(running) == min(len(active), CONCURRENT)
            and not any(row.wanted for row in self.rows())
            and all(self.fits(job) for job in one)
        )

    def rows(self) -> list[Any]:
        return list(self.processes[0].engine._board._rows.values())

    def fits(self, job: Job) -> bool:
        state = self.expected[job.id].state
        if state == ACTIVE:
            return job.state in (JobState.PENDING, JobState.RUNNING, JobState.RETRY)
        return job.state.value == state

    def job(self, place: int) -> str | None:
        """One of the jobs, if there is any."""
        jobs = list(self.expected)
        return jobs[place % len(jobs)] if jobs else None

    def engine(self, process: int) -> Engine:
        return self.processes[process].engine

    # -- what may come -------------------------------------------------------------------

    @rule(process=processes, priority=st.integers(-1, 1))
    def submit(self, process: int, priority: int) -> None:
        async def run() -> None:
            job = await self.engine(process).submit("work", {}, priority=priority)
            self.expected[job.id] = Expected()
            await self.settle()

        self.runner.run(run())

    @rule(
        process=processes,
        place=places,
        action=st.sampled_from(["cancel", "pause", "resume", "resubmit"]),
    )
    def act(self, process: int, place: int, action: str) -> None:
        job = self.job(place)
        if job is None:
            return
        expected = self.expected[job]
        state = expected.state
        finished = state in (SUCCESS, FAILURE)
        refused = (action == "resume" and state != PAUSED) or (
            action == "resubmit" and state != FAILURE
        )
        if action == "cancel" and not finished:
            expected.state = FAILURE
        elif action == "pause" and not finished:
            expected.state = PAUSED
        elif not refused and action in ("resume", "resubmit"):
            expected.state, expected.stumbles = ACTIVE, 0
            expected.steps = 0 if action == "resubmit" else expected.steps

        async def run() -> None:
            method = getattr(self.engine(process), action)
            if refused:
                with pytest.raises(Conflict):
                    await method(job)
            else:
                await method(job)
            await self.settle()

        self.runner.run(run())

    @rule(process=processes, place=places)
    def delete(self, process: int, place: int) -> None:
        job = self.job(place)
        if job is None:
            return

        async def run() -> None:
            if self.expected[job].state in (SUCCESS, FAILURE):
                await self.engine(process).delete(job)
                del self.expected[job]
                await self.settle()
                for each in (0, 1):
                    with pytest.raises(NotFound):
                        await self.engine(each).get(job)
                return
            with pytest.raises(Conflict):
                await self.engine(process).delete(job)

        self.runner.run(run())

    @rule(
        place=places,
        command=st.sampled_from(["step", "step", "succeed", "fail", "stumble"]),
    )
    def command(self, place: int, command: str) -> None:
        running = sorted(self.commands)
        if not running:
            return
        job = running[place % len(running)]
        expected = self.expected[job]
        if command == "step":
            expected.steps, expected.stumbles = expected.steps + 1, 0
        elif command == "stumble":
            self.stumble(expected)
        else:
            expected.state = SUCCESS if command == "succeed" else FAILURE

        async def run() -> None:
            self.done[job] = asyncio.Event()
            self.commands[job].put_nowait(command)
            if command in ("step", "stumble"):
                await self.done[job].wait()
            await self.settle()

        self.runner.run(run())

    def stumble(self, expected: Expected) -> None:
        expected.stumbles += 1
        if expected.stumbles > RETRIES:
            expected.state = FAILURE

    @rule(process=processes)
    def kill(self, process: int) -> None:
        for job in self.engine(process)._running:
            self.stumble(self.expected[job])

        async def run() -> None:
            await self.processes[process].kill()
            self.processes[process] = self.process()
            await self.processes[process].start()
            await self.settle()

        self.runner.run(run())

    @rule(process=processes)
    def restart(self, process: int) -> None:
        async def run() -> None:
            await self.processes[process].stop()
            self.processes[process] = self.process()
            await self.processes[process].start()
            await self.settle()

        self.runner.run(run())

    @rule(process=processes, place=places)
    def pause_and_kill(self, process: int, place: int) -> None:
        """Ask for a pause of a process that dies before it can know."""
        running = sorted(self.engine(process)._running)
        if not running:
            return
        job = running[place % len(running)]
        expected = self.expected[job]
        if expected.stumbles == RETRIES:  # it might be given up before it pauses
            return
        for other in self.engine(process)._running:
            if other != job:
                self.stumble(self.expected[other])
        expected.state = PAUSED

        async def run() -> None:
            await self.processes[process].kill()
            with suppress(Conflict):
                await self.engine(1 - process).pause(job)
            self.processes[process] = self.process()
            await self.processes[process].start()
            await self.settle()
            row = self.engine(process)._board.row(job)
            assert row is not None
            expected.stumbles = row.attempts

        self.runner.run(run())

    @invariant()
    def finished_jobs_have_an_end_and_others_none(self) -> None:
        for job in self.runner.run(self.engine(0).list()):
            finished = self.expected[job.id].state in (SUCCESS, FAILURE)
            assert (job.completed is not None) == finished
            wrong = job.state in (JobState.FAILURE, JobState.RETRY)
            assert (job.failure is not None) == wrong


@pytest.fixture(autouse=True)
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "TICK", 0.004)
    monkeypatch.setattr(engine_module, "ROUND", 0.02)
    monkeypatch.setattr(engine_module, "SPREAD", 0.005)


TestJobs = Jobs.TestCase
TestJobs.settings = settings(
    max_examples=12,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
