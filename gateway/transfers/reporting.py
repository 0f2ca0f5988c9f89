"""How far a transfer is: told at regular times while it runs, and why it failed.

The work itself only counts. Here somebody looks at the counters, tells the job, and ends
the work when the job is to pause, be cancelled, or make room for the end of the process.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gateway.errors import GatewayError, RemoteFailure
from gateway.jobs.engine import Interrupted, Run
from gateway.jobs.failures import failure_of

T = TypeVar("T")

#: Seconds between two reports.
INTERVAL = 0.5

#: Seconds that a request under way may still take when the job is to stop.
WIND_UP = 3.0

#: Failed attempts without getting ahead before somebody who waits is told.
ATTEMPTS_WAITED_FOR = 2

#: Seconds over which a speed is measured.
_WINDOW = 10.0

#: Failed instances that are listed one by one; of more there is only the number.
MOST_LISTED = 100

_MEBIBYTE = 1024 * 1024


class Incomplete(RemoteFailure):
    """Some of it was not transferred."""


class Pace:
    """How fast something grows, measured over the last seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque()

    def measure(self, value: float) -> float:
        """Note the value that it has now; its growth in a second."""
        now = time.monotonic()
        self._samples.append((now, value))
        while now - self._samples[0][0] > _WINDOW and len(self._samples) > 1:
            self._samples.popleft()
        then, before = self._samples[0]
        return max(value - before, 0.0) / (now - then) if now > then else 0.0


@dataclass(slots=True)
class Failures:
    """What was not transferred: the first ones by name, all of them counted."""

    count: int = 0
    listed: list[dict[str, object]] = field(default_factory=list)

    def add(self, name: dict[str, object], reason: int | None, words: str) -> None:
        """Note a failure; `reason` is that of the standard, if there is one."""
        self.count += 1
        if len(self.listed) < MOST_LISTED:
            known = {} if reason is None else {"Reason": reason}
            self.listed.append({**name, **known, "Description": words})

    def message(self, total: int, what: str, server: str) -> str:
        """A sentence for the job, which names the first of them."""
        first = self.listed[0]
        names = [key for key in first if key not in ("Reason", "Description")]
        named = [key for key in names if key != "ID"] or names
        which = "/".join(str(first[key]) for key in named)
        return (
            f"{self.count} of {total} {what} with the server {server};"
            f" the first is {which}: {first['Description']}"
        )


@dataclass(slots=True)
class Report:
    """What the job is told."""

    progress: float  # from 0 to 1
    content: dict[str, Any]
    checkpoint: dict[str, Any]


async def reported(
    run: Run, work: Coroutine[Any, Any, T], tell: Callable[[], Report]
) -> T:
    """The result of the work, while the job is told how far it is.

    Raises Interrupted when the job is to stop; what the work had under way then got a
    moment to end, and what it counted in that moment is told as well.
    """
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=INTERVAL)
            if not task.done():
                await save(run, tell())
        return task.result()
    except Interrupted:
        await asyncio.wait([task], timeout=WIND_UP)
        if task.done() and not task.cancelled() and task.exception() is None:
            return task.result()
        await _end(task)
        await save(run, tell(), now=True)
        raise
    finally:
        await _end(task)


async def _end(task: "asyncio.Future[Any]") -> None:
    if not task.done():
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # seen already, or of no interest any more


async def save(run: Run, report: Report, *, now: bool = False) -> None:
    """Tell the job how far it is."""
    await run.save(
        progress=report.progress,
        content=report.content,
        checkpoint=report.checkpoint,
        now=now,
    )


async def explained(
    run: Run, work: Coroutine[Any, Any, T], tell: Callable[[], Report]
) -> T:
    """The result of the work; why it failed is put into the job's content as well.

    Somebody who waits for the answer does not wait for as many attempts as a job makes.
    """
    try:
        return await work
    except GatewayError as error:
        if isinstance(error, RemoteFailure) and run.request.get("Synchronous"):
            error.retry = error.retry and run.attempts < ATTEMPTS_WAITED_FOR
        report, failure = tell(), failure_of(error)
        report.content |= {
            "FunctionErrorCode": failure.code,
            "FunctionErrorDescription": failure.description,
            "FunctionErrorDetails": failure.details,
        }
        await save(run, report, now=True)
        raise


def mebibytes(size: int) -> str:
    """A size as Orthanc writes it in the content of its jobs."""
    return str(size // _MEBIBYTE)


def pace_fields(speed: float, remaining: float | None) -> dict[str, int]:
    """What is told of the speed (bytes a second), and of the seconds that remain."""
    fields = {"Speed": round(speed)}
    if remaining is not None:
        fields["ExpectedSeconds"] = round(remaining)
    return fields
