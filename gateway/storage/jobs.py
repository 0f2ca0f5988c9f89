"""The rows of jobs and of what they work through: SQL only.

What a change means, and which ones are allowed, is said in ``gateway.jobs``.
"""

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field, fields

from gateway.storage.database import Session
from gateway.storage.stamp import Stamp, version_of

KIND = "jobs"


@dataclass(frozen=True, slots=True)
class JobRow:
    """A row of the table jobs; the schema says what each column is."""

    id: str
    number: int
    version: int
    type: str
    priority: int
    state: str
    wanted: str
    owner: str
    due: float
    request: str = field(repr=False)  # may hold secrets
    checkpoint: str = field(repr=False)
    content: str
    progress: float
    created: float
    completed: float | None
    runtime: float
    attempts: int
    error: str | None


_NAMES = tuple(column.name for column in fields(JobRow))
_COLUMNS = ", ".join(_NAMES)
_SELECT = f"SELECT {_COLUMNS} FROM jobs"
_ONE = f"{_SELECT} WHERE id = ?"
_CHANGED = f"{_SELECT} WHERE version > ? ORDER BY version"
_PUT = (
    f"INSERT INTO jobs ({_COLUMNS}) VALUES ({', '.join('?' * len(_NAMES))})"
    " ON CONFLICT (id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _NAMES[2:])
)
_IN_STATE = f"{_SELECT} WHERE state = ? ORDER BY number"
_IDS = "SELECT id FROM jobs"
_COUNT = "SELECT COUNT(*) FROM jobs"
_NEXT_NUMBER = "SELECT COALESCE(MAX(number), 0) + 1 FROM jobs"
_WAITING = (
    f"{_SELECT} WHERE state IN ('Pending', 'Retry') ORDER BY priority DESC, number"
)
_DELETE = "DELETE FROM jobs WHERE id = ?"
_DELETE_OLDER = "DELETE FROM jobs WHERE created < ?"
_OLD = (
    "DELETE FROM jobs WHERE completed < ? AND id NOT IN (SELECT id FROM jobs"
    " WHERE completed IS NOT NULL ORDER BY completed DESC, number DESC LIMIT ?)"
)

_ITEMS = (
    "SELECT item FROM job_items WHERE job = ? AND position >= ?"
    " ORDER BY position LIMIT ?"
)
_ITEM_COUNT = "SELECT COUNT(*) FROM job_items WHERE job = ?"
_ADD_ITEM = "INSERT INTO job_items (job, position, item) VALUES (?, ?, ?)"
_CUT_ITEMS = "DELETE FROM job_items WHERE job = ? AND position >= ?"


# -- reading -------------------------------------------------------------------------------


def version(session: Session) -> int:
    """The version of all jobs together."""
    return version_of(session, KIND)


def one(session: Session, job_id: str) -> JobRow | None:
    """The row of a job."""
    row = session.first(_ONE, (job_id,))
    return JobRow(*row) if row else None


def changed(session: Session, since: int) -> list[JobRow]:
    """The rows that were changed after a version."""
    return [JobRow(*row) for row in session.fetch(_CHANGED, (since,))]


def in_state(session: Session, state: str) -> list[JobRow]:
    """The rows of jobs in a state, oldest first."""
    return [JobRow(*row) for row in session.fetch(_IN_STATE, (state,))]


def first_waiting(session: Session, fits: Callable[[JobRow], bool]) -> JobRow | None:
    """The first in line of those that wait and fit."""
    for row in session.iterate(_WAITING, ()):
        found = JobRow(*row)
        if fits(found):
            return found
    return None


def next_number(session: Session) -> int:
    """The number of the next job that is submitted."""
    row = session.first(_NEXT_NUMBER)
    return int(row[0]) if row else 1


def count(session: Session) -> int:
    """How many jobs there are."""
    row = session.first(_COUNT)
    return int(row[0]) if row else 0


def ids(session: Session) -> set[str]:
    """The identifiers of all jobs."""
    return {row[0] for row in session.fetch(_IDS)}


# -- changing ------------------------------------------------------------------------------


def advance(session: Session, stamp: Stamp) -> int:
    """The version for what this transaction changes."""
    return stamp.advance(session, KIND)


def put(session: Session, row: JobRow) -> None:
    """Keep a row, new or changed."""
    session.execute(_PUT, astuple(row))


def delete(session: Session, job_id: str) -> bool:
    """Remove a job and its items; whether there was one."""
    return session.execute(_DELETE, (job_id,)) > 0


def delete_older(session: Session, moment: float) -> int:
    """Remove all jobs that were made before a moment; how many there were."""
    return session.execute(_DELETE_OLDER, (moment,))


def forget(session: Session, keep: int, before: float) -> int:
    """Remove finished jobs but the newest, if they were finished before; how many."""
    return session.execute(_OLD, (before, keep))


# -- items ---------------------------------------------------------------------------------


def items(session: Session, job_id: str, start: int, limit: int) -> list[str]:
    """Some items of a job, in their order."""
    return [row[0] for row in session.fetch(_ITEMS, (job_id, start, limit))]


def item_count(session: Session, job_id: str) -> int:
    """How many items a job has."""
    row = session.first(_ITEM_COUNT, (job_id,))
    return int(row[0]) if row else 0


def add_items(session: Session, job_id: str, added: Sequence[str]) -> None:
    """Add items behind those that a job has."""
    start = item_count(session, job_id)
    rows = ((job_id, start + place, item) for place, item in enumerate(added))
    session.execute_many(_ADD_ITEM, rows)


def cut_items(session: Session, job_id: str, keep: int) -> None:
    """Remove all items of a job but the first ones."""
    session.execute(_CUT_ITEMS, (job_id, keep))
