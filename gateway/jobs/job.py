"""A job as everybody may see it."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.storage.jobs import JobRow


class JobState(enum.Enum):
    """Where a job is on its way; the words are Orthanc's."""

    PENDING = "Pending"  # waits for its turn
    RUNNING = "Running"
    SUCCESS = "Success"
    FAILURE = "Failure"  # also: was cancelled
    PAUSED = "Paused"  # until somebody resumes it
    RETRY = "Retry"  # waits for another attempt

    @property
    def finished(self) -> bool:
        """Whether the job goes no further by itself."""
        return self in (JobState.SUCCESS, JobState.FAILURE)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job did not succeed, or has to be tried again."""

    code: int  # Orthanc's number
    description: str  # Orthanc's name of it
    details: str  # what happened


# Compared by identity: there is one object for each version of a job, and what is made
# of it can be kept beside it.
@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One version of a job. What it was asked for is not in it: that may hold secrets."""

    id: str
    number: int  # grows with every job that is submitted
    version: int  # grows with every change of any job
    type: str  # Orthanc's name of what it does
    priority: int  # higher ones are started first
    state: JobState
    content: Mapping[str, Any]  # what its work tells of it
    progress: float  # from 0 to 1
    created: float  # seconds since 1970
    completed: float | None  # likewise, once it is finished
    runtime: float  # seconds that it has run, in all attempts
    attempts: int  # failed ones since it last got ahead
    due: float  # not started before; seconds since 1970
    failure: Failure | None

    @property
    def finished(self) -> bool:
        """Whether the job goes no further by itself."""
        return self.state.finished


def job_of(row: JobRow) -> Job:
    """The job in a row of the database."""
    return Job(
        id=row.id,
        number=row.number,
        version=row.version,
        type=row.type,
        priority=row.priority,
        state=JobState(row.state),
        content=orjson.loads(row.content),
        progress=row.progress,
        created=row.created,
        completed=row.completed,
        runtime=row.runtime,
        attempts=row.attempts,
        due=row.due,
        failure=None if row.error is None else Failure(**orjson.loads(row.error)),
    )
