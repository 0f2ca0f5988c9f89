"""How long another server may be silent.

Never how long a transfer may take: a study that needs an hour needs an hour. Whatever
moves, in either direction, starts the time again. The time that we ourselves need, to
read a disk or to wait for whoever sends the body, is not the other's silence.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Silence:
    """Ends a wait in which nothing moves, with TimeoutError."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds  # 0: no limit
        self._watch: asyncio.Timeout | None = None  # of the wait that goes on
        self._resting = False  # it is our turn

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Wait in here."""
        async with asyncio.timeout(None) as self._watch:
            try:
                self._set()
                yield
            finally:
                self._watch = None

    def moved(self) -> None:
        """Something came or went: from now on the other is waited for."""
        self._resting = False
        self._set()

    def rest(self) -> None:
        """From now on the other waits for us."""
        self._resting = True
        self._set()

    def _set(self) -> None:
        if self._watch is None or self._watch.expired():
            return
        if self._resting or not self.seconds:
            self._watch.reschedule(None)
        else:
            now = asyncio.get_running_loop().time()
            self._watch.reschedule(now + self.seconds)
