"""Waiting for threads: to their end, also when whoever waits is cancelled.

A thread cannot be stopped. Who leaves while one still writes to a file or uses a
connection would close it under its feet.
"""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
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


class _Step:
    """Work on its way to a thread and back."""

    __slots__ = ("_loop", "_work", "left", "over", "told")

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._loop = asyncio.get_running_loop()
        self.told = self._loop.create_future()
        self.over = False
        self.left: asyncio.Future[None] | None = None  # of who was cancelled meanwhile

    def do(self) -> None:
        """Do the work. For a thread."""
        result, error = None, None
        try:
            result = self._work()
        except BaseException as raised:
            error = raised
        self._loop.call_soon_threadsafe(self._tell, result, error)
        del error  # which would hold itself, by its traceback

    def _tell(self, result: Any, error: BaseException | None) -> None:
        self.over = True
        if self.left is not None:
            self.left.set_result(None)
        if self.told.done():  # by a cancellation: nobody asks any more
            return
        if error is None:
            self.told.set_result(result)
        else:
            self.told.set_exception(error)


class Threads:
    """Some threads of one purpose; a hop to one of them and back costs next to nothing.

    An executor of the standard library makes two futures and three locks for each.
    """

    def __init__(self, count: int, name: str) -> None:
        self._steps: SimpleQueue[_Step | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._serve, name=f"{name}_{n}", daemon=True)
            for n in range(count)
        ]

    def start(self) -> None:
        """Begin to take work."""
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Return once all that was asked for is done. It blocks."""
        for _ in self._threads:
            self._steps.put(None)
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        while (step := self._steps.get()) is not None:
            step.do()
            del step  # what it holds is not kept until the next one comes

    async def run(self, work: Callable[[], T]) -> T:
        """The result of the work; who is cancelled waits for its end as well."""
        step = _Step(work)
        self._steps.put(step)
        try:
            result: T = await step.told
            return result
        except asyncio.CancelledError:
            if not step.over:
                step.left = asyncio.get_running_loop().create_future()
                await done(step.left)
            raise
