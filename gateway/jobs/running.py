"""A work under way in this process: how it is told to leave off, and how it ended.

What becomes of its job then is for ``gateway.jobs.engine`` to say.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from gateway.jobs.run import Run, Work


class Running:
    """A job that this process runs: its work, and who waits for its end."""

    def __init__(
        self,
        run: Run,
        work: Work,
        attend: Callable[["Running"], Coroutine[Any, Any, None]],
    ) -> None:
        self.run = run
        self.broken_off = False  # did not end by itself in time
        self._timer: asyncio.TimerHandle | None = None
        self._task = asyncio.ensure_future(work(run))
        self.attending = asyncio.create_task(attend(self))

    async def end(self) -> BaseException | None:
        """Wait for the end of the work; what it raised."""
        await asyncio.wait([self._task])
        self.broken_off = self.broken_off or self.run.interrupted
        self.go_on()
        if self._task.cancelled():
            return asyncio.CancelledError()
        return self._task.exception()

    def interrupt(self, grace: float) -> None:
        """Let the work leave off at its next checkpoint, or where it is after that."""
        if not self.run.interrupted:
            self.run.interrupted = True
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(grace, self._break_off)

    def go_on(self) -> None:
        """Let the work go on after all, if it has not left off."""
        self.run.interrupted = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _break_off(self) -> None:
        self.broken_off = True
        self._task.cancel()
