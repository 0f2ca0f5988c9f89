"""Light work: done by a few threads of this process, once for all who want the same.

So few that their memory is bounded. It is for what another process would do in less time
than it takes to ask one; a task of its own for each would cost as much again.
"""

import asyncio
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import Any, Self, TypeVar

from gateway.errors import CannotTranscode
from gateway.storage.threads import Threads

T = TypeVar("T")


class _Doing:
    """Work that waits for a thread or is under way, and who waits for its result."""

    __slots__ = ("_work", "waiting")

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self.waiting: set[asyncio.Future[Any]] = set()

    def do(self) -> Any:
        """Do it, unless nobody waits any more. For a thread."""
        return self._work() if self.waiting else None

    def tell(self, result: Any, error: BaseException | None) -> None:
        """Tell all who wait; those who are cancelled meanwhile have left."""
        for told in self.waiting:
            if told.done():
                continue
            if error is None:
                told.set_result(result)
            else:
                told.set_exception(error)


class LightWork:
    """So many threads; used within `async with`."""

    def __init__(self, count: int) -> None:
        self._threads = Threads(count, "light")
        self._under_way: dict[Hashable, _Doing] = {}

    async def __aenter__(self) -> Self:
        self._threads.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for doing in self._under_way.values():
            for told in doing.waiting:
                told.cancel()
            doing.waiting.clear()  # what has not begun won't
        await asyncio.to_thread(self._threads.end)

    async def once(self, key: Hashable, work: Callable[[], T]) -> T:
        """The result of work; of the same key it is done once at a time.

        Who is cancelled leaves at once, and what nobody waits for any more is not begun.
        Raises CannotTranscode if there is too little memory.
        """
        told: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        doing = self._under_way.get(key) or self._begin(key, work, told)
        doing.waiting.add(told)
        try:
            return await told
        except MemoryError as error:
            raise CannotTranscode("these pixels need too much memory") from error
        finally:
            self._leave(key, doing, told)

    def _begin(
        self, key: Hashable, work: Callable[[], Any], told: asyncio.Future[Any]
    ) -> _Doing:
        doing = self._under_way[key] = _Doing(work)
        doing.waiting.add(told)  # before a thread looks whether anybody waits

        def tell(result: Any, error: BaseException | None) -> None:
            self._forget(key, doing)
            doing.tell(result, error)

        self._threads.ask(doing.do, tell)
        return doing

    def _leave(self, key: Hashable, doing: _Doing, told: asyncio.Future[Any]) -> None:
        doing.waiting.discard(told)
        if not doing.waiting:
            self._forget(key, doing)  # whoever comes now begins anew
        if not told.cancelled():
            told.exception()  # seen already, or of no interest any more

    def _forget(self, key: Hashable, doing: _Doing) -> None:
        if self._under_way.get(key) is doing:
            del self._under_way[key]
