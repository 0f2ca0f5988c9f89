"""Running jobs: whose turn it is, how many at once, and who may tell them what.

The database says what each job is and which process runs it; any process may answer for
any job. A process takes jobs by a transaction that counts what runs in all of them, and
looks often at the stamp: there it learns what others ask of the jobs that it runs. A
process that ends leaves its jobs to the next one that looks, as far as they had got.
"""

import asyncio
import logging
import os
import time
from collections.abc import Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

from gateway.errors import GatewayError, StorageFull
from gateway.jobs import states
from gateway.jobs.board import Board
from gateway.jobs.failures import UNWRITABLE, cause, failure_of, may_pass, wait_asked
from gateway.jobs.job import Job
from gateway.jobs.ledger import Change, Ledger
from gateway.jobs.run import Interrupted, Run, Work
from gateway.jobs.running import Running
from gateway.jobs.states import PATIENCE, Patience
from gateway.storage.database import Database
from gateway.storage.owners import Owners
from gateway.storage.stamp import Stamp

__all__ = ["Engine", "Interrupted", "Patience", "Run", "Work"]

log = logging.getLogger(__name__)

#: Seconds between two looks at the stamp.
TICK = 0.1

#: Seconds between two looks for jobs whose process has died, and for those to forget.
ROUND = 1.0

#: A process that runs a job already leaves new ones to others for so long (seconds).
SPREAD = 0.15

#: Seconds until those who wait for an end are told that it cannot be written.
UNWRITTEN = 5.0


class Engine:
    """The jobs of the gateway, seen from one of its processes; opened by `async with`.

    `concurrent` jobs run at once in all processes together (0: one for each processor);
    `history` finished ones are remembered; without `save`, the first process to start
    drops those of an earlier run.
    """

    def __init__(  # noqa: PLR0913 - each is a part or a setting of its own
        self,
        database: Database,
        stamp: Stamp,
        owners: Owners,
        works: Mapping[str, Work],
        *,
        concurrent: int = 2,
        history: int = 10,
        save: bool = True,
        patience: Patience = PATIENCE,
    ) -> None:
        self._database = database
        self._owners = owners
        self._works = dict(works)
        self._save = save
        self._patience = patience
        self._concurrent = concurrent or os.cpu_count() or 1
        self._board = Board(database, stamp, history)
        self._ledger = Ledger(
            stamp,
            owners,
            concurrent=self._concurrent,
            history=history,
            patience=patience,
        )
        self._running: dict[str, Running] = {}
        self._woken = asyncio.Event()
        self._stopping = False
        self._next_round = 0.0
        self._others = False  # other processes live beside this one
        self.leaving = False  # nobody shall wait for news any more
        self._left = False  # nor for the end of a job
        # Why the end of a job is not written, and the version of it that still runs.
        self._unwritten: dict[str, tuple[int, GatewayError]] = {}

    async def __aenter__(self) -> Self:
        await self._database.write(partial(self._ledger.open, keep=self._save))
        self._others = not self._owners.alone
        self._watcher = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let works reach a checkpoint; their jobs go on in the next process."""
        self._stopping = True
        self._woken.set()
        await self._watcher
        for running in self._running.values():
            running.interrupt(self._patience.grace)
        attending = [running.attending for running in self._running.values()]
        if attending:
            _, late = await asyncio.wait(
                attending, timeout=2 * self._patience.grace + 1.0
            )
            for task in late:
                log.error("a job does not end and is left alone")
                task.cancel()
        self.let_all_go()

    # -- what there is -----------------------------------------------------------------

    async def get(self, job_id: str) -> Job:
        """One job; raises NotFound. Reads nothing while no job changes."""
        return await self._board.get(job_id)

    def known(self, job_id: str) -> Job | None:
        """One job, if nothing has to be read to know it."""
        return self._board.known(job_id)

    async def list(self) -> list[Job]:
        """All jobs, oldest first; not to be changed by the caller."""
        return await self._board.all()

    @property
    def version(self) -> int:
        """Of all jobs together, as of what was read last."""
        return self._board.version

    async def wait(
        self,
        job_id: str,
        *,
        since: int | None = None,
        seconds: float | None = None,
        finished: bool = False,
    ) -> Job:
        """The job once its version is past `since`, or it is finished, or time is up.

        With `finished` only the end counts; without `since`, what comes from now on.
        Raises NotFound, also when the job is deleted meanwhile, and for whoever waits
        for the end why that cannot be written.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        job = await self._board.get(job_id, hidden=True)
        since = job.version if since is None else since
        while not job.finished and (finished or job.version <= since):
            if self._left or (self.leaving and not finished):
                break
            version, error = self._unwritten.get(job_id, (None, None))
            if finished and error is not None and version == job.version:
                raise error
            left = None if deadline is None else deadline - time.monotonic()
            if not await self._board.news(job_id, left):
                break
            job = await self._board.get(job_id, hidden=True)
        return job

    def let_go(self) -> None:
        """The process is about to stop: who waits for news gets what there is.

        Who waits for the end of a job still does; jobs go on until the engine closes.
        """
        self.leaving = True
        self._board.wake_all()

    def let_all_go(self) -> None:
        """The same for who waits for the end of a job, which comes in another process."""
        self._left = True
        self.let_go()

    # -- what may be asked for ---------------------------------------------------------

    async def submit(
        self,
        kind: str,
        request: Mapping[str, Any],
        *,
        priority: int = 0,
        content: Mapping[str, Any] | None = None,
        items: Sequence[str] = (),
    ) -> Job:
        """Add a job of this type; durable when this returns."""
        if kind not in self._works:
            raise ValueError(f"no work is known for jobs of type {kind}")
        job_id = await self._database.write(
            lambda session: self._ledger.submit(
                session, kind, request, priority, content or {}, items
            )
        )
        self._woken.set()
        return await self._board.get(job_id, hidden=True)

    async def cancel(self, job_id: str) -> Job:
        """End a job; one that runs at its next checkpoint. A finished one stays so."""
        return await self._change(job_id, states.cancel)

    async def pause(self, job_id: str) -> Job:
        """Stop a job until it is resumed; one that runs at its next checkpoint."""
        return await self._change(job_id, states.pause)

    async def resume(self, job_id: str) -> Job:
        """Let a paused job go on where it stopped; raises Conflict if it is not."""
        return await self._change(job_id, states.resume)

    async def resubmit(self, job_id: str) -> Job:
        """Do a failed job again from the start; raises Conflict if it has not failed."""
        await self._board.get(job_id)
        await self._database.write(partial(self._ledger.resubmit, job_id=job_id))
        self._woken.set()
        return await self._board.get(job_id, hidden=True)

    async def delete(self, job_id: str) -> Job:
        """Forget a finished job, the one that is returned; raises Conflict."""
        job = await self._board.get(job_id)
        await self._database.write(partial(self._ledger.delete, job_id=job_id))
        self._woken.set()
        return job

    async def _change(self, job_id: str, change: Change) -> Job:
        await self._board.get(job_id)
        await self._database.write(
            partial(self._ledger.change, job_id=job_id, change=change)
        )
        self._woken.set()
        return await self._board.get(job_id, hidden=True)

    # -- watching ----------------------------------------------------------------------

    async def _watch(self) -> None:
        """Look at the stamp, again and again; what goes wrong is tried again."""
        loop = asyncio.get_running_loop()
        while not self._stopping:
            pause = TICK
            try:
                if await self._look():
                    continue
            except Exception:
                log.exception("jobs cannot be looked after; trying again")
                pause = ROUND
            timer = loop.call_later(pause, self._woken.set)
            await self._woken.wait()
            timer.cancel()

    async def _look(self) -> bool:
        """Do what there is to do; true if there may be more at once."""
        self._woken.clear()
        await self._board.refresh()
        self._pass_on()
        for running in list(self._running.values()):
            await running.run.write_if_due()
        if time.monotonic() >= self._next_round:
            self._next_round = time.monotonic() + ROUND
            await self._go_round()
        return await self._claim()

    def _pass_on(self) -> None:
        """Tell works what is asked of their jobs."""
        for job_id, running in self._running.items():
            row = self._board.row(job_id)
            if row is not None and row.wanted:
                running.interrupt(self._patience.grace)
            elif not self._stopping:
                running.go_on()

    async def _go_round(self) -> None:
        """Look after what others left."""
        if any(row.id not in self._running for row in self._board.running):
            own = frozenset(self._running)
            await self._database.write(partial(self._ledger.adopt, own=own))
        if self._board.any_to_forget(time.time()):
            await self._database.write(self._ledger.forget)
        if self._board.behind:
            await self._database.write(self._ledger.correct)
        if self._running:
            self._others = await asyncio.to_thread(self._owners.others)

    async def _claim(self) -> bool:
        """Start the job whose turn it is; true if there was one."""
        if len(self._board.running) >= self._concurrent:
            return False
        waits = self._running and self._others
        since = time.time() - (SPREAD if waits else 0.0)
        types = frozenset(self._works)
        if self._stopping or not self._board.any_due(since, types, self._patience):
            return False
        row = await self._database.write(
            lambda session: self._ledger.claim(session, types, since)
        )
        if row is not None:
            self._unwritten.pop(row.id, None)
            run = Run(row, self._database, self._keep)
            self._running[row.id] = Running(run, self._works[row.type], self._attend)
        return row is not None

    # -- running -----------------------------------------------------------------------

    async def _keep(self, run: Run) -> None:
        await self._database.write(partial(self._ledger.keep, run=run))
        self._woken.set()

    async def _attend(self, running: Running) -> None:
        """Wait for the end of a work, and write it down."""
        error = await running.end()
        change = self._succession(running, error)
        try:
            await self._finish(running.run, change)
        except Exception as failure:
            # As it stands it runs nowhere: it is put back in line with the next round.
            log.exception("the end of a job cannot be written")
            self._remember(running.run.job_id, failure)
        finally:
            del self._running[running.run.job_id]
            self._woken.set()

    async def _finish(self, run: Run, change: Change) -> None:
        """Write the end of a job; if its content is what cannot be written, without."""
        try:
            await self._database.write(
                partial(self._ledger.finish, run=run, change=change)
            )
        except (TypeError, ValueError, OverflowError):
            log.exception("what a job tells cannot be written")
            await self._database.write(
                partial(self._ledger.give_up, job_id=run.job_id, failure=UNWRITABLE)
            )

    def _remember(self, job_id: str, why: Exception) -> None:
        """Tell those who wait here for the end of a job, unless it comes soon."""
        words = str(why) if isinstance(why, GatewayError) else type(why).__name__
        kind = StorageFull if isinstance(why, StorageFull) else GatewayError
        row = self._board.row(job_id)
        if row is not None:
            error = kind(f"the end of the job {job_id} cannot be written: {words}")
            loop = asyncio.get_running_loop()
            loop.call_later(UNWRITTEN, self._tell_unwritten, row.id, row.version, error)

    def _tell_unwritten(self, job_id: str, version: int, error: GatewayError) -> None:
        row = self._board.row(job_id)
        if row is not None and row.version == version:
            self._unwritten[job_id] = version, error
            self._board.wake(job_id)

    def _succession(self, running: Running, error: BaseException | None) -> Change:
        """What becomes of a job whose work has ended."""
        if error is None:
            return states.succeeded
        error = cause(error)
        if running.broken_off or isinstance(error, Interrupted):
            return states.left_off
        failure = failure_of(error)
        if not may_pass(error):
            return lambda row, now: states.failed(row, failure, now)
        asked, patience = wait_asked(error), self._patience
        return lambda row, now: states.stumbled(row, failure, asked, patience, now)
