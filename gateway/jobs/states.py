"""From one state of a job to the next: which ways there are, and what each changes.

Only words here, no clock, no database: each function takes a row and says what it
becomes. None stands for nothing to change; what is not allowed raises Conflict.

::

    Pending ──> Running ──> Success
       ^  ^        │  └───> Failure ──> Pending   (resubmit)
       │  └─ Retry <┘
       └─── Paused  <── Pending, Running, Retry
"""

import random
from dataclasses import asdict, dataclass, replace

import orjson

from gateway.errors import Conflict, encodable
from gateway.jobs.failures import CANCELLED, LOST
from gateway.jobs.job import Failure, JobState
from gateway.storage.jobs import JobRow

#: What the process that runs a job is asked for.
CANCEL, PAUSE = "Cancel", "Pause"

#: Nobody is waited for longer than this, whatever they ask for (seconds).
_LONGEST_ASKED = 3600.0

#: Moments that are written and read are no further apart than this (seconds).
_CLOCK = 1.0

_FINISHED = (JobState.SUCCESS.value, JobState.FAILURE.value)


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a job is tried again, after how long, and how long one is waited for."""

    retries: int = 10  # attempts without getting ahead, after the first
    first_pause: float = 1.0  # seconds; each pause is twice the one before
    longest_pause: float = 300.0
    grace: float = 5.0  # to reach a checkpoint, before the work is cancelled

    def pause(self, attempts: int, asked: float) -> float:
        """Seconds to wait after so many failed attempts; chance keeps jobs apart."""
        longest = min(self.longest_pause, self.first_pause * 2.0 ** (attempts - 1))
        return max(longest * random.uniform(0.5, 1.0), min(asked, _LONGEST_ASKED))


PATIENCE = Patience()


def is_due(row: JobRow, since: float, patience: Patience = PATIENCE) -> bool:
    """Whether the turn of a job that waits has come, if it had to come before `since`.

    A moment further away than any pause is of a clock that was put back: it would never
    come.
    """
    if row.state not in (JobState.PENDING.value, JobState.RETRY.value):
        return False
    pause = 0.0
    if row.state == JobState.RETRY.value:
        pause = max(patience.longest_pause, _LONGEST_ASKED)
    return row.due <= since or row.due > since + pause + _CLOCK


# -- what users ask for ------------------------------------------------------------------


def cancel(row: JobRow, now: float) -> JobRow | None:
    """End the job, without success."""
    if row.state in _FINISHED:
        return None
    if row.state == JobState.RUNNING.value:
        return None if row.wanted == CANCEL else replace(row, wanted=CANCEL)
    return _failed(row, CANCELLED, now)


def pause(row: JobRow, now: float) -> JobRow | None:
    """Stop the job until somebody resumes it."""
    if row.state in (*_FINISHED, JobState.PAUSED.value):
        return None
    if row.state == JobState.RUNNING.value:
        return None if row.wanted else replace(row, wanted=PAUSE)
    return replace(row, state=JobState.PAUSED.value)


def resume(row: JobRow, now: float) -> JobRow:
    """Let a paused job go on; one that waits for another attempt is tried at once."""
    if row.state in (JobState.PAUSED.value, JobState.RETRY.value):
        return replace(row, state=JobState.PENDING.value, due=now, attempts=0)
    if row.state == JobState.RUNNING.value and row.wanted == PAUSE:
        return replace(row, wanted="")
    raise Conflict(f"the job is not paused: its state is {row.state}")


def resubmit(row: JobRow, now: float) -> JobRow:
    """Do a job that failed once more, from the start."""
    if row.state != JobState.FAILURE.value:
        raise Conflict(f"the job has not failed: its state is {row.state}")
    return replace(
        row,
        state=JobState.PENDING.value,
        due=now,
        checkpoint="{}",
        content=content_at_first(row),
        progress=0.0,
        completed=None,
        runtime=0.0,
        attempts=0,
        error=None,
    )


def refuse_to_delete(row: JobRow) -> None:
    """Raise Conflict unless the job is finished."""
    if row.state not in _FINISHED:
        raise Conflict(f"the job is not finished: its state is {row.state}")


# -- what a request for a job holds beside -----------------------------------------------


def kept_request(request: object, content: object, items: int) -> str:
    """The text of a request, with what resubmitting has to bring back."""
    return orjson.dumps([request, content, items]).decode()


def request_of(row: JobRow) -> dict[str, object]:
    """What was asked for."""
    request: dict[str, object] = orjson.loads(row.request)[0]
    return request


def content_at_first(row: JobRow) -> str:
    """What was shown of the job when it was submitted."""
    return orjson.dumps(orjson.loads(row.request)[1]).decode()


def items_at_first(row: JobRow) -> int:
    """How many items it was submitted with."""
    return int(orjson.loads(row.request)[2])


# -- what happens to a job ---------------------------------------------------------------


def claimed(row: JobRow, owner: str) -> JobRow:
    """A process starts it."""
    return replace(row, state=JobState.RUNNING.value, owner=owner, error=None)


def succeeded(row: JobRow, now: float) -> JobRow:
    """Its work is done."""
    return replace(
        _idle(row), state=JobState.SUCCESS.value, progress=1.0, completed=now
    )


def failed(row: JobRow, failure: Failure, now: float) -> JobRow:
    """Its work cannot be done."""
    return _failed(row, CANCELLED if row.wanted == CANCEL else failure, now)


def left_off(row: JobRow, now: float) -> JobRow:
    """Its work was interrupted: as somebody wanted, or because the process ends."""
    if row.wanted == CANCEL:
        return _failed(row, CANCELLED, now)
    paused = row.wanted == PAUSE
    state = JobState.PAUSED if paused else JobState.PENDING
    return replace(_idle(row), state=state.value, due=now)


def stumbled(
    row: JobRow, failure: Failure, asked: float, patience: Patience, now: float
) -> JobRow:
    """Its work failed in a way that may pass; `asked` are seconds to wait at least."""
    if row.wanted:
        return left_off(row, now)
    attempts = row.attempts + 1
    if attempts > patience.retries:
        return _failed(row, failure, now)
    return replace(
        _idle(row),
        state=JobState.RETRY.value,
        attempts=attempts,
        due=now + patience.pause(attempts, asked),
        error=_text(failure),
    )


def orphaned(row: JobRow, patience: Patience, now: float) -> JobRow:
    """The process that ran it is dead: it may be what killed it."""
    attempts = row.attempts + 1
    if attempts > patience.retries and not row.wanted:
        return _failed(row, LOST, now)
    return replace(left_off(row, now), attempts=attempts)


def _failed(row: JobRow, failure: Failure, now: float) -> JobRow:
    failure_state = JobState.FAILURE.value
    return replace(_idle(row), state=failure_state, completed=now, error=_text(failure))


def _idle(row: JobRow) -> JobRow:
    return replace(row, owner="", wanted="")


def _text(failure: Failure) -> str:
    made = replace(failure, details=encodable(failure.details))
    return orjson.dumps(asdict(made)).decode()
