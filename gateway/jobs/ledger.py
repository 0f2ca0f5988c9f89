"""The transactions on jobs: each a plain function of a session, whole or not at all.

They run in the database's thread. Every one that changes something counts the version of
jobs up, so that all processes take notice.
"""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from gateway.errors import NotFound
from gateway.jobs import states
from gateway.jobs.board import LINGER
from gateway.jobs.job import Failure, JobState
from gateway.jobs.run import Run
from gateway.jobs.states import Patience
from gateway.storage import jobs as rows
from gateway.storage.database import Session
from gateway.storage.jobs import JobRow
from gateway.storage.owners import Owners
from gateway.storage.stamp import Stamp

#: What a row becomes at a moment, None for no change.
Change = Callable[[JobRow, float], JobRow | None]

_RUNNING = JobState.RUNNING.value


class Ledger:
    """What one process may write of jobs."""

    def __init__(
        self,
        stamp: Stamp,
        owners: Owners,
        *,
        concurrent: int,
        history: int,
        patience: Patience,
    ) -> None:
        self._stamp = stamp
        self._owners = owners
        self._concurrent = concurrent
        self._history = history
        self._patience = patience

    def open(self, session: Session, *, keep: bool) -> None:
        """Clear away what earlier processes left; without `keep` their jobs as well."""
        self._stamp.correct(session)
        # Jobs of a process that came right after this one stay.
        drop = self._owners.alone and not keep
        if drop and rows.delete_older(session, self._owners.since):
            rows.advance(session, self._stamp)
        self.adopt(session, frozenset())

    def submit(
        self,
        session: Session,
        kind: str,
        request: Mapping[str, Any],
        priority: int,
        content: Mapping[str, Any],
        items: Sequence[str],
    ) -> str:
        """Add a job; its identifier."""
        now = time.time()
        shown = dict(content)
        row = JobRow(
            id=str(uuid.uuid4()),
            number=rows.next_number(session),
            version=rows.advance(session, self._stamp),
            type=kind,
            priority=priority,
            state=JobState.PENDING.value,
            wanted="",
            owner="",
            due=now,
            request=states.kept_request(dict(request), shown, len(items)),
            checkpoint="{}",
            content=orjson.dumps(shown).decode(),
            progress=0.0,
            created=now,
            completed=None,
            runtime=0.0,
            attempts=0,
            error=None,
        )
        rows.put(session, row)
        rows.add_items(session, row.id, items)
        return row.id

    def change(self, session: Session, job_id: str, change: Change) -> None:
        """Do to a job what somebody asks for; raises NotFound, Conflict."""
        row = _existing(session, job_id)
        self._put(session, change(row, time.time()))

    def resubmit(self, session: Session, job_id: str) -> None:
        """Let a failed job begin again, with the items that it came with."""
        row = _existing(session, job_id)
        self._put(session, states.resubmit(row, time.time()))
        rows.cut_items(session, job_id, states.items_at_first(row))

    def delete(self, session: Session, job_id: str) -> None:
        """Remove a finished job."""
        states.refuse_to_delete(_existing(session, job_id))
        rows.delete(session, job_id)
        rows.advance(session, self._stamp)

    def claim(
        self, session: Session, types: frozenset[str], since: float
    ) -> JobRow | None:
        """Take the job whose turn it is, if another may run and it waits since then."""
        if len(rows.in_state(session, _RUNNING)) >= self._concurrent:
            return None
        patience = self._patience
        row = rows.first_waiting(
            session,
            lambda row: row.type in types and states.is_due(row, since, patience),
        )
        return row and self._put(session, states.claimed(row, self._owners.token))

    def keep(self, session: Session, run: Run) -> None:
        """Write what a run has saved, if the job is still its own."""
        row = rows.one(session, run.job_id)
        if row is not None and row.owner == self._owners.token:
            self._put(session, run.applied_to(row))

    def finish(self, session: Session, run: Run, change: Change) -> None:
        """Write how a run has ended, if the job is still its own."""
        row = rows.one(session, run.job_id)
        if row is not None and row.owner == self._owners.token:
            self._put(session, change(run.applied_to(row), time.time()))

    def give_up(self, session: Session, job_id: str, failure: Failure) -> None:
        """End a job without what its run has saved, if the job is still its own."""
        row = rows.one(session, job_id)
        if row is not None and row.owner == self._owners.token:
            self._put(session, states.failed(row, failure, time.time()))

    def adopt(self, session: Session, own: frozenset[str]) -> None:
        """Put back in line what no living process runs; this one runs `own`."""
        for row in rows.in_state(session, _RUNNING):
            if row.owner == self._owners.token:
                orphan = row.id not in own
            else:
                orphan = not self._owners.alive(row.owner)
            if orphan:
                now = time.time()
                self._put(session, states.orphaned(row, self._patience, now))

    def forget(self, session: Session) -> None:
        """Remove finished jobs that history has no place for."""
        if rows.forget(session, self._history, time.time() - LINGER):
            rows.advance(session, self._stamp)

    def correct(self, session: Session) -> None:
        """Take back what the stamp tells of changes that never came to be."""
        self._stamp.correct(session)

    def _put(self, session: Session, row: JobRow | None) -> JobRow | None:
        if row is None:
            return None
        numbered = replace(row, version=rows.advance(session, self._stamp))
        rows.put(session, numbered)
        return numbered


def _existing(session: Session, job_id: str) -> JobRow:
    row = rows.one(session, job_id)
    if row is None:
        raise NotFound(f"there is no job {job_id[:64]}")
    return row
