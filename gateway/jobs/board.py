"""All jobs as this process knows them: a copy, as good as the stamp says it is.

Whoever polls reads here. As long as no job changes, that costs a look into memory and
nothing else, whichever process runs the job.
"""

import asyncio
from collections.abc import Collection, Iterable

from gateway.errors import NotFound
from gateway.jobs import states
from gateway.jobs.job import Job, JobState, job_of
from gateway.jobs.states import Patience
from gateway.storage import jobs as rows
from gateway.storage.database import Database, Session
from gateway.storage.jobs import KIND, JobRow
from gateway.storage.stamp import Stamp

#: Finished jobs that history has no place for are kept for so long (seconds): whoever
#: waits for one must find it, also in another process. They are not shown.
LINGER = 10.0


class Board:
    """The jobs, and who waits for news of one."""

    def __init__(self, database: Database, stamp: Stamp, history: int) -> None:
        self._database = database
        self._stamp = stamp
        self._history = history
        self._version = -1  # that the copy is of
        self._rows: dict[str, JobRow] = {}
        self._jobs: dict[str, Job] = {}
        self._shown: list[Job] | None = None  # in the order they came, once asked for
        self._hidden: frozenset[str] = frozenset()
        self._reading = asyncio.Lock()
        self._readings = 0
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}

    # -- looking -----------------------------------------------------------------------

    async def refresh(self) -> None:
        """Read what has changed, if anything has."""
        if self._stamp.read(KIND) == self._version:
            return
        before = self._readings
        async with self._reading:
            # One that began after this was called has seen all that we came for.
            if self._readings > before or self._stamp.read(KIND) == self._version:
                return
            self._readings += 1
            changed, kept, version = await self._database.read(self._read)
            self._take(changed, kept)
            self._version = version

    def _read(
        self, session: Session
    ) -> tuple[list[tuple[JobRow, Job]], set[str] | None, int]:
        # The version first: what comes in between is read once more the next time.
        version = rows.version(session)
        changed = [(row, job_of(row)) for row in rows.changed(session, self._version)]
        known = self._rows.keys() | {row.id for row, _ in changed}
        some_are_gone = rows.count(session) != len(known)
        return changed, rows.ids(session) if some_are_gone else None, version

    def _take(
        self, changed: Iterable[tuple[JobRow, Job]], kept: set[str] | None
    ) -> None:
        news = set()
        for row, job in changed:
            if job.id not in self._jobs or self._jobs[job.id].version != job.version:
                self._rows[job.id], self._jobs[job.id] = row, job
                news.add(job.id)
        for gone in () if kept is None else self._rows.keys() - kept:
            del self._rows[gone], self._jobs[gone]
            news.add(gone)
        if not news:
            return
        self._shown = None
        self._hidden = self._beyond_history()
        for job_id in news & self._waiting.keys():
            self.wake(job_id)

    def _beyond_history(self) -> frozenset[str]:
        done = [(job.completed, job.number, job.id) for job in self._jobs.values()]
        finished = sorted(
            ((when, number, key) for when, number, key in done if when is not None),
            reverse=True,
        )
        return frozenset(key for _, _, key in finished[self._history :])

    async def get(self, job_id: str, *, hidden: bool = False) -> Job:
        """One job, also one that is not shown if `hidden`; raises NotFound."""
        if self._stamp.read(KIND) != self._version:
            await self.refresh()
        job = self._jobs.get(job_id)
        if job is None or (job_id in self._hidden and not hidden):
            raise NotFound(f"there is no job {job_id[:64]}")
        return job

    def known(self, job_id: str) -> Job | None:
        """One job that is shown, if nothing has to be read to know it."""
        if self.behind or job_id in self._hidden:
            return None
        return self._jobs.get(job_id)

    async def all(self) -> list[Job]:
        """All jobs that are shown, oldest first; not to be changed by the caller."""
        await self.refresh()
        if self._shown is None:
            jobs = (job for key, job in self._jobs.items() if key not in self._hidden)
            self._shown = sorted(jobs, key=lambda job: job.number)
        return self._shown

    # -- for the engine, without reading -------------------------------------------------

    @property
    def version(self) -> int:
        """Of all jobs together, as far as it was read."""
        return self._version

    @property
    def running(self) -> list[JobRow]:
        """What runs, in whatever process."""
        return [r for r in self._rows.values() if r.state == JobState.RUNNING.value]

    def row(self, job_id: str) -> JobRow | None:
        """The row of a job."""
        return self._rows.get(job_id)

    @property
    def behind(self) -> bool:
        """Whether the stamp tells of changes that were not found."""
        return self._stamp.read(KIND) != self._version

    def any_due(self, since: float, types: Collection[str], patience: Patience) -> bool:
        """Whether any job of these types waits to be started since then."""
        return any(
            row.type in types and states.is_due(row, since, patience)
            for row in self._rows.values()
        )

    def any_to_forget(self, now: float) -> bool:
        """Whether a job that is not shown has been kept for long enough."""
        return any(
            (self._jobs[k].completed or now) < now - LINGER for k in self._hidden
        )

    # -- waiting -----------------------------------------------------------------------

    async def news(self, job_id: str, seconds: float | None) -> bool:
        """Wait until a job changes or is gone; false when the time is up before."""
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(job_id, set())
        waiting.add(told)
        try:
            async with asyncio.timeout(seconds):
                await told
        except TimeoutError:
            return False
        finally:
            waiting.discard(told)
            if not waiting and self._waiting.get(job_id) is waiting:
                del self._waiting[job_id]
        return True

    def wake_all(self) -> None:
        """Let everybody look again who waits for news."""
        for job_id in list(self._waiting):
            self.wake(job_id)

    def wake(self, job_id: str) -> None:
        """The same for one job."""
        for told in self._waiting.pop(job_id, ()):
            if not told.done():
                told.set_result(None)
