"""Doing together what arrives together.

A disk flush or a commit costs the same for one instance as for fifty. Whoever comes while
a group is under way joins the next one: alone one waits for nothing, in a crowd the cost
is shared. This is the group commit of databases, for any work.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Grouping(Generic[Item, Result]):
    """Hands what is submitted to `process`, in groups of at most `limit`.

    At most `lanes` groups are under way at the same time.

    `process` answers one result for each item; what it raises, every member of the group
    gets. Items of a caller that was cancelled are processed all the same, and their
    results given to `unclaimed`.
    """

    def __init__(
        self,
        process: Callable[[list[Item]], Awaitable[list[Result]]],
        limit: int,
        lanes: int = 1,
        unclaimed: Callable[[Result], object] = lambda result: None,
    ) -> None:
        self._process = process
        self._limit = limit
        self._lanes = lanes
        self._unclaimed = unclaimed
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._arrived = asyncio.Event()
        self._closing = False

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._run()) for _ in range(self._lanes)]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing = True
        self._arrived.set()
        await asyncio.gather(*self._tasks)

    def __len__(self) -> int:
        """How many wait for a group."""
        return len(self._waiting)

    def put(self, item: Item) -> asyncio.Future[Result]:
        """Let the item be processed; its result comes in the future."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._arrived.set()
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

    async def _run(self) -> None:
        while self._waiting or not self._closing:
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            count = min(len(self._waiting), self._limit)
            group = [self._waiting.popleft() for _ in range(count)]
            try:
                results = await self._process([item for item, _ in group])
            except Exception as error:
                for _, future in group:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), result in zip(group, results, strict=True):
                if future.done():
                    self._unclaimed(result)
                else:
                    future.set_result(result)
