"""What went wrong in a job, for those who read of it later, in Orthanc's numbers."""

import logging

from gateway.errors import (
    BadRequest,
    Conflict,
    GatewayError,
    NotAllowed,
    NotFound,
    ReadOnly,
    RemoteFailure,
    RemoteTimeout,
    StorageFull,
)
from gateway.jobs.job import Failure

log = logging.getLogger(__name__)

#: Error, and Orthanc's number and name of it; the first that fits counts.
_NUMBERS: tuple[tuple[type[GatewayError], int, str], ...] = (
    (RemoteTimeout, 16, "Timeout"),
    (RemoteFailure, 9, "Network protocol"),
    (BadRequest, 8, "Bad request"),
    (NotFound, 17, "Unknown resource"),
    (Conflict, 46, "Duplicate resource"),
    (StorageFull, 19, "Full storage"),
    (NotAllowed, 45, "Forbidden access"),
    (ReadOnly, 22, "Read-only"),
)
_INTERNAL = (-1, "Internal error")

CANCELLED = Failure(37, "Canceled job", "the job was cancelled")
LOST = Failure(
    *_INTERNAL, "the process that ran the job ended, each time that it was tried"
)
#: Of a job whose end has words that cannot be written.
UNWRITABLE = Failure(*_INTERNAL, "the job ended, but what it tells cannot be kept")


def cause(error: BaseException) -> BaseException:
    """The error itself, or of several that came together the one that tells most."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    causes = [cause(each) for each in error.exceptions]
    return next((each for each in causes if isinstance(each, GatewayError)), causes[0])


def failure_of(error: BaseException) -> Failure:
    """What to say of an error; what was not foreseen goes into the log."""
    if not isinstance(error, GatewayError):
        log.error("a job went wrong", exc_info=error)
        return Failure(*_INTERNAL, f"internal error: {type(error).__name__}")
    for kind, number, name in _NUMBERS:
        if isinstance(error, kind):
            return Failure(number, name, error.message)
    return Failure(*_INTERNAL, error.message)


def may_pass(error: BaseException) -> bool:
    """Whether the same may succeed when it is tried again."""
    return bool(getattr(error, "retry", False))


def wait_asked(error: BaseException) -> float:
    """How long to wait at least, as whoever failed has asked for (seconds)."""
    return float(getattr(error, "retry_after", None) or 0.0)
