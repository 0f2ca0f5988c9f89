"""What the work of a job gets: its task, its memory, and the place to look up from it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import orjson

from gateway.jobs.states import request_of
from gateway.storage import jobs as rows
from gateway.storage.database import Database
from gateway.storage.jobs import JobRow

#: What is saved more often than this is written together (seconds).
SAVE_INTERVAL = 0.5


class Interrupted(Exception):
    """The job is to pause or be cancelled, or the process stops: leave off here."""


class Run:
    """One attempt at a job, for the work that does it."""

    def __init__(
        self,
        row: JobRow,
        database: Database,
        write: Callable[["Run"], Awaitable[None]],
    ) -> None:
        self.job_id = row.id
        self.type = row.type
        self.request: Mapping[str, Any] = request_of(row)
        self.checkpoint: Mapping[str, Any] = orjson.loads(row.checkpoint)
        self.content: Mapping[str, Any] = orjson.loads(row.content)
        self.progress = row.progress
        self.interrupted = False
        self.attempts = row.attempts
        self._seconds_before = row.runtime
        self._started = time.monotonic()
        self._database = database
        self._write = write
        self._writing = asyncio.Lock()
        self._changed = False
        self._written = self._started

    @property
    def seconds(self) -> float:
        """How long the job has run, with all attempts before."""
        return self._seconds_before + time.monotonic() - self._started

    # -- for the work ------------------------------------------------------------------

    async def save(
        self,
        *,
        progress: float | None = None,
        content: Mapping[str, Any] | None = None,
        checkpoint: Mapping[str, Any] | None = None,
        now: bool = False,
    ) -> None:
        """Keep how far the work is: where it goes on from, and what is shown of it.

        Written at most every SAVE_INTERVAL seconds; with `now` it is durable when this
        returns. What is given must not be changed afterwards. Raises Interrupted when
        the work is to leave off: what was saved is kept, and the next attempt gets it.
        """
        ahead = progress is not None and progress > self.progress
        if ahead or (checkpoint is not None and checkpoint != self.checkpoint):
            self.attempts = 0
        if progress is not None:
            self.progress = min(max(progress, 0.0), 1.0)
        if content is not None:
            self.content = content
        if checkpoint is not None:
            self.checkpoint = checkpoint
        self._changed = True
        if now or self._is_due():
            await self.write()
        if self.interrupted:
            raise Interrupted

    async def items(self, start: int, limit: int) -> list[str]:
        """Some of what the job works through, in its order."""
        return await self._database.read(
            lambda session: rows.items(session, self.job_id, start, limit)
        )

    async def item_count(self) -> int:
        """How many items there are."""
        return await self._database.read(partial(rows.item_count, job_id=self.job_id))

    async def add_items(self, items: Sequence[str]) -> None:
        """Add items behind those there are; durable when this returns."""
        await self._database.write(
            lambda session: rows.add_items(session, self.job_id, items)
        )

    # -- for the engine ----------------------------------------------------------------

    def _is_due(self) -> bool:
        return self._changed and time.monotonic() >= self._written + SAVE_INTERVAL

    async def write_if_due(self) -> None:
        """Write what was saved some time ago."""
        if self._is_due() and not self._writing.locked():
            await self.write()

    async def write(self) -> None:
        """Write what was saved."""
        async with self._writing:
            self._changed = False
            self._written = time.monotonic()
            await self._write(self)

    def applied_to(self, row: JobRow) -> JobRow:
        """The row with what was saved."""
        return replace(
            row,
            checkpoint=orjson.dumps(dict(self.checkpoint)).decode(),
            content=orjson.dumps(dict(self.content)).decode(),
            progress=self.progress,
            runtime=self.seconds,
            attempts=self.attempts,
        )


#: Does what a job of one type is there for. Returning is success; an error with a true
#: `retry` lets the engine try again later, any other one is a failure.
Work = Callable[[Run], Awaitable[None]]
