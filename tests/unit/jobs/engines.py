"""An engine with its database in a folder, as each process of a gateway has one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.jobs.engine import Engine, Patience, Run
from gateway.jobs.job import Job, JobState
from gateway.storage.database import SqliteDatabase
from gateway.storage.migrations import migrate
from gateway.storage.owners import Owners
from gateway.storage.stamp import Stamp

#: Nobody waits for long in a test.
HASTE = Patience(retries=3, first_pause=0.02, longest_pause=0.05, grace=0.3)

#: Longer than anything here takes (seconds).
LONG = 20.0


class Works:
    """Works that do as they are told, and note what they did."""

    def __init__(self) -> None:
        self.started: list[str] = []  # names in the requests, as their works began
        self.at_once = 0  # works under way now
        self.most_at_once = 0
        self.free = asyncio.Event()  # lets `hold` go on
        self.errors: list[Exception] = []  # what the next attempts of `fail` raise
        self.seen: list[Any] = []  # checkpoints with which attempts began

    def table(self) -> dict[str, Callable[[Run], Any]]:
        """By the types of their jobs."""
        works = (self.do, self.hold, self.fail, self.count, self.stubborn)
        return {work.__name__: self._noting(work) for work in works}

    def _noting(self, work: Callable[[Run], Any]) -> Callable[[Run], Any]:
        async def noted(run: Run) -> None:
            self.started.append(run.request.get("name", ""))
            self.seen.append(dict(run.checkpoint))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            try:
                await work(run)
            finally:
                self.at_once -= 1

        return noted

    async def do(self, run: Run) -> None:
        """What is done at once."""

    async def hold(self, run: Run) -> None:
        """Until it is let go, with many checkpoints."""
        while not self.free.is_set():
            await run.save(content={**run.content, "Held": True})
            await asyncio.sleep(0.005)

    async def stubborn(self, run: Run) -> None:
        """Reaches no checkpoint by itself."""
        await run.save(progress=0.25, checkpoint={"at": 1})
        await self.free.wait()

    async def fail(self, run: Run) -> None:
        """Fails in the given ways, then succeeds."""
        if self.errors:
            raise self.errors.pop(0)

    async def count(self, run: Run) -> None:
        """Goes through its items, one by one."""
        total = await run.item_count()
        for place in range(run.checkpoint.get("next", 0), total):
            (item,) = await run.items(place, 1)
            done = [*run.content.get("Done", []), item]
            ahead = {"next": place + 1}
            await run.save(
                progress=(place + 1) / total,
                content={"Done": done},
                checkpoint=ahead,
                now=True,
            )


@asynccontextmanager
async def engine(
    folder: Path, works: dict[str, Any], **options: Any
) -> AsyncIterator[Engine]:
    """An engine of a process that opens the folder."""
    path = folder / "gateway.db"
    async with SqliteDatabase(path) as database, Stamp(folder) as stamp:
        await database.write(migrate)
        async with Owners(folder) as owners:
            given = {"patience": HASTE, **options}
            async with Engine(database, stamp, owners, works, **given) as made:
                yield made


async def until(check: Callable[[], Any]) -> None:
    """Return once it is so."""
    async with asyncio.timeout(LONG):
        while not check():  # noqa: ASYNC110 - also what other processes do
            await asyncio.sleep(0.005)


async def reach(engine: Engine, job_id: str, state: JobState) -> Job:
    """The job once it is in the state."""
    async with asyncio.timeout(LONG):
        job = await engine.get(job_id)
        while job.state is not state:
            job = await engine.wait(job_id, since=job.version, seconds=1)
            if job.finished and job.state is not state:
                raise AssertionError(f"the job ended as {job}")
    return job
