"""The pulse of a worker: how late its event loop comes, and what it is busy with.

Ten times a second it writes that to the board, and what was counted meanwhile. Who
looks after the workers sees in it that they live.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

from gateway.telemetry.counters import Counters, State

#: Seconds between two beats.
INTERVAL = 0.1

Busy = Callable[[], Mapping[State, float]]


@asynccontextmanager
async def beating(
    counters: Counters, busy: Busy, meanwhile: Callable[[], None]
) -> AsyncIterator[None]:
    """Beat within; `busy` says how full the queues are, `meanwhile` is done each time."""
    counters.row[State.PROCESS] = os.getpid()
    counters.row[State.STARTED] = time.time()
    counters.row[State.BEAT] = time.monotonic()
    task = asyncio.create_task(_beat(counters, busy, meanwhile))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        counters.settle()


async def _beat(counters: Counters, busy: Busy, meanwhile: Callable[[], None]) -> None:
    row = counters.row
    while True:
        due = time.monotonic() + INTERVAL
        await asyncio.sleep(INTERVAL)
        now = time.monotonic()
        row[State.BEAT] = now
        counters.settle()
        counters.delay(max(0.0, now - due))
        for state, value in busy().items():
            row[state] = value
        meanwhile()
