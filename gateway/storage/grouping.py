"""Doing together what arrives together.

A disk flush or a commit costs the same for one instance as for fifty. Whoever comes while
a group is under way joins the next one: alone one waits for nothing, in a crowd the cost
is shared. This is the group commit of databases, for any work.

Those of one group are answered together and come back together, a moment after the next
group has begun with who was left: so a crowd would go in two, a large group and one that
is hardly any. That moment is waited for. Others that come one by one, as parts of a long
body do, are no more because somebody waits: where it was in vain it is seldom tried again.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

#: After waiting in vain again and again, so many groups go without.
_LONGEST_PAUSE = 63


class Grouping(Generic[Item, Result]):
    """Hands what is submitted to `process`, in groups of at most `limit`.

    A group waits up to `patience` seconds for as many as took part in the last one or
    came meanwhile.

    `process` answers one result for each item; what it raises, every member of the group
    gets. Items of a caller that was cancelled are processed all the same, and their
    results given to `unclaimed`.
    """

    def __init__(
        self,
        process: Callable[[list[Item]], Awaitable[list[Result]]],
        limit: int,
        unclaimed: Callable[[Result], object] = lambda result: None,
        *,
        patience: float = 0.0,
    ) -> None:
        self._process = process
        self._limit = limit
        self._unclaimed = unclaimed
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._enough = asyncio.Event()
        self._wanted = 1  # how many are enough
        self._patience = patience
        self._expected = 1  # how many are likely to be in the next group
        self._pause = self._left = 0  # groups that wait for nobody; so many from now on
        self._closing = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing = True
        self._enough.set()
        await self._task

    def __len__(self) -> int:
        """How many wait for a group."""
        return len(self._waiting)

    def put(self, item: Item) -> asyncio.Future[Result]:
        """Let the item be processed; its result comes in the future."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if len(self._waiting) >= self._wanted:
            self._enough.set()
        return future

    async def submit(self, item: Item) -> Result:
        """The result for the item, once its group is through."""
        future = self.put(item)
        try:
            return await future
        except asyncio.CancelledError:
            # The result may have been there already, on its way to this caller.
            if not future.cancelled() and future.exception() is None:
                self._unclaimed(future.result())
            raise

    async def _come(self, count: int, seconds: float | None = None) -> None:
        """Return when so many wait, or after this time, or at the end."""
        if self._closing or len(self._waiting) >= count:
            return
        self._wanted = count
        self._enough.clear()
        timer = None
        if seconds is not None:
            timer = asyncio.get_running_loop().call_later(seconds, self._enough.set)
        await self._enough.wait()
        if timer is not None:
            timer.cancel()

    async def _gather(self) -> None:
        """Wait for those who are likely to come, not for long."""
        before = len(self._waiting)
        missing = self._expected - before
        if not self._patience or missing <= 0:
            return
        if self._left:
            self._left -= 1
            return
        await self._come(self._expected, self._patience)
        is_worth_it = 2 * (len(self._waiting) - before) >= missing
        self._pause = 0 if is_worth_it else min(2 * self._pause + 1, _LONGEST_PAUSE)
        self._left = self._pause

    async def _run(self) -> None:
        while self._waiting or not self._closing:
            if not self._waiting:
                await self._come(1)
                continue
            await self._gather()
            count = min(len(self._waiting), self._limit)
            group = [self._waiting.popleft() for _ in range(count)]
            try:
                results = await self._process([item for item, _ in group])
            except Exception as error:
                _fail(group, error)
                continue
            self._expected = min(count + len(self._waiting), self._limit)
            self._tell(group, results)

    def _tell(
        self, group: list[tuple[Item, asyncio.Future[Result]]], results: list[Result]
    ) -> None:
        for (_, future), result in zip(group, results, strict=True):
            if future.done():
                self._unclaimed(result)
            else:
                future.set_result(result)


def _fail(group: list[tuple[Item, asyncio.Future[Result]]], error: Exception) -> None:
    for _, future in group:
        if not future.done():
            future.set_exception(error)
