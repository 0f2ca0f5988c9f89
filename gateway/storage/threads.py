"""Waiting for threads: to their end, also when whoever waits is cancelled.

A thread cannot be stopped. Who leaves while one still writes to a file or uses a
connection would close it under its feet.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
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


#: What is told of work: its result, or how it failed.
Tell = Callable[[Any, BaseException | None], object]


class _Step:
    """Work on its way to a thread, and who is told of its end, in the loop's thread."""

    __slots__ = ("_loop", "_tell", "_work")

    def __init__(self, work: Callable[[], Any], tell: Tell) -> None:
        self._work = work
        self._tell = tell
        self._loop = asyncio.get_running_loop()

    def do(self) -> None:
        """Do the work. For a thread."""
        result, error = None, None
        try:
            result = self._work()
        except BaseException as raised:
            error = raised
        self._loop.call_soon_threadsafe(self._tell, result, error)
        del error  # which would hold itself, by its traceback


class _Awaited:
    """The end of a step that somebody waits for."""

    __slots__ = ("left", "over", "told")

    def __init__(self) -> None:
        self.told = asyncio.get_running_loop().create_future()
        self.over = False
        self.left: asyncio.Future[None] | None = None  # of who was cancelled meanwhile

    def tell(self, result: Any, error: BaseException | None) -> None:
        """Wake who waits."""
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

    An executor of the standard library makes two futures and three locks for each, and
    lets its threads take turns; here the one that rested last goes first, whose memory is
    still in the processor's caches.
    """

    def __init__(self, count: int, name: str) -> None:
        self._steps: deque[_Step] = deque()
        self._bells: list[SimpleQueue[bool]] = [SimpleQueue() for _ in range(count)]
        self._resting = list(self._bells)
        self._threads = [
            threading.Thread(
                target=self._serve, args=(bell,), name=f"{name}_{n}", daemon=True
            )
            for n, bell in enumerate(self._bells)
        ]

    def start(self) -> None:
        """Begin to take work."""
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Return once all that was asked for is done. It blocks."""
        for bell in self._bells:
            bell.put(False)
        for thread in self._threads:
            thread.join()

    def _serve(self, bell: "SimpleQueue[bool]") -> None:
        goes_on = bell.get()
        while goes_on:
            self._work_off()
            self._resting.append(bell)
            # What came before this was said has called nobody.
            if not (self._steps and self._is_up_again(bell)):
                goes_on = bell.get()
        self._work_off()

    def _is_up_again(self, bell: "SimpleQueue[bool]") -> bool:
        """Whether a thread that said it rests does not; else its bell was rung."""
        try:
            self._resting.remove(bell)
        except ValueError:
            return False
        return True

    def _work_off(self) -> None:
        with suppress(IndexError):  # in one step: several threads may want the last one
            while self._steps:
                self._steps.popleft().do()

    def ask(self, work: Callable[[], Any], tell: Tell) -> None:
        """Have work done, and `tell` called in the loop's thread once it is.

        What `tell` raises is for the loop's own handler of exceptions.
        """
        self._steps.append(_Step(work, tell))
        with suppress(IndexError):  # nobody rests: who is done looks for more
            self._resting.pop().put(True)

    async def run(self, work: Callable[[], T]) -> T:
        """The result of the work; who is cancelled waits for its end as well."""
        step = _Awaited()
        self.ask(work, step.tell)
        try:
            result: T = await step.told
            return result
        except asyncio.CancelledError:
            if not step.over:
                step.left = asyncio.get_running_loop().create_future()
                await done(step.left)
            raise
