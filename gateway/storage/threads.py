"""Waiting for threads: to their end, also when whoever waits is cancelled.

A thread cannot be stopped. Who leaves while one still writes to a file or uses a
connection would close it under its feet.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def done(step: asyncio.Future[Any]) -> None:
    """Return once the step has ended, however it did; a cancellation comes after that."""
    cancelled: asyncio.CancelledError | None = None
    while not step.done():
        try:
            await asyncio.wait([step])
        except asyncio.CancelledError as error:
            cancelled = error
    if not step.cancelled():
        step.exception()  # seen already, or of no interest any more
    if cancelled is not None:
        raise cancelled


async def to_its_end(step: asyncio.Future[T]) -> T:
    """The result of a step that is waited for even by somebody who is cancelled."""
    try:
        return await asyncio.shield(step)
    except asyncio.CancelledError:
        await done(step)
        raise


async def in_thread(work: Callable[[], T]) -> T:
    """Run work in a thread to its end."""
    return await to_its_end(asyncio.ensure_future(asyncio.to_thread(work)))
