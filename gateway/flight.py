"""What is being done, once for all who want it at the same time."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Doing:
    task: asyncio.Task[Any]
    waiting: int = 0


class SingleFlight:
    """Works under way by what they are; `async with` ends them."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, _Doing] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        tasks = [doing.task for doing in self._under_way.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def do(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """The result of the work, which goes on as long as anybody waits for it."""
        doing = self._under_way.get(key)
        if doing is None:
            doing = _Doing(asyncio.create_task(_run(work)))
            self._under_way[key] = doing
            doing.task.add_done_callback(lambda task: self._ended(key, task))
        doing.waiting += 1
        try:
            result: T = await asyncio.shield(doing.task)
            return result
        finally:
            doing.waiting -= 1
            if not doing.waiting and not doing.task.done():
                self._forget(key, doing.task)  # whoever comes now begins anew
                doing.task.cancel()

    def _ended(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        self._forget(key, task)
        if not task.cancelled():
            task.exception()  # whoever waits has it

    def _forget(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        doing = self._under_way.get(key)
        if doing is not None and doing.task is task:
            del self._under_way[key]


async def _run(work: Callable[[], Awaitable[T]]) -> T:
    return await work()
