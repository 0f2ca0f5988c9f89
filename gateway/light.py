"""Light work: done by a few threads of this process, once for all who want the same.

So few that their memory is bounded. It is for what another process would do in less time
than it takes to ask one; a task of its own for each would cost as much again.
"""

import asyncio
from collections.abc import Callable, Hashable
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from gateway.errors import Busy, CannotTranscode
from gateway.storage.threads import Tell, Threads

T = TypeVar("T")

#: Works under way or waiting, beyond which who waits in no task is not taken.
_MOST_WAITING = 64

#: Whether somebody still wants to know. For any thread.
IsThere = Callable[[], bool]


class _Doing:
    """Work that waits for a thread or is under way, and who waits for its result."""

    __slots__ = ("_work", "begun", "given_up", "waiting")

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self.begun = False
        self.given_up = False
        self.waiting: dict[Tell, IsThere] = {}

    @property
    def is_wanted(self) -> bool:
        """Whether anybody waits. For any thread."""
        return any(is_there() for is_there in list(self.waiting.values()))

    def do(self) -> Any:
        """Do it, unless nobody waits any more. For a thread."""
        self.begun = True
        self.given_up = not self.is_wanted
        if self.given_up:
            return None
        try:
            return self._work()
        except MemoryError as error:
            raise CannotTranscode("these pixels need too much memory") from error

    def tell(self, result: Any, error: BaseException | None) -> None:
        """Tell all who wait."""
        waiting = list(self.waiting)
        self.waiting.clear()
        for tell in waiting:
            tell(result, error)


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
        for doing in list(self._under_way.values()):  # what has not begun won't
            doing.tell(None, Busy("the server ends"))
        await asyncio.to_thread(self._threads.end)

    async def once(
        self, key: Hashable, work: Callable[[], T], *, fresh: bool = False
    ) -> T:
        """The result of work; of the same key it is done once at a time.

        It is `fresh` if the work begins after this was called: what it looks at may have
        changed since it began for somebody else, who was told nothing yet.

        Who is cancelled leaves at once, and what nobody waits for any more is not begun.
        Raises CannotTranscode if there is too little memory.
        """
        told: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        tell = partial(_settle, told)
        doing = self._joined(key, work, tell, _always, fresh=fresh)
        try:
            return await told
        finally:
            doing.waiting.pop(tell, None)
            if not doing.waiting:
                self._forget(key, doing)  # whoever comes now begins anew
            if told.done() and not told.cancelled():
                told.exception()  # seen already, or of no interest any more

    def soon(
        self, key: Hashable, work: Callable[[], Any], tell: Tell, is_there: IsThere
    ) -> bool:
        """The same, fresh, for who waits in no task; false if too much waits already.

        `tell` is called in the loop's thread. It gets neither a result nor an error if
        nobody was there any more.
        """
        if len(self._under_way) >= _MOST_WAITING:
            return False
        self._joined(key, work, tell, is_there, fresh=True)
        return True

    def _joined(
        self,
        key: Hashable,
        work: Callable[[], Any],
        tell: Tell,
        is_there: IsThere,
        *,
        fresh: bool,
    ) -> _Doing:
        doing = self._under_way.get(key)
        if doing is not None and not (fresh and doing.begun):
            doing.waiting[tell] = is_there
            return doing
        doing = self._under_way[key] = _Doing(work)
        doing.waiting[tell] = is_there  # before a thread looks whether anybody waits
        self._threads.ask(doing.do, partial(self._done, key, doing))
        return doing

    def _done(
        self,
        key: Hashable,
        doing: _Doing,
        result: Any,
        error: BaseException | None,
    ) -> None:
        if doing.given_up and doing.is_wanted:  # by somebody who came just then
            self._threads.ask(doing.do, partial(self._done, key, doing))
            return
        self._forget(key, doing)
        doing.tell(result, error)

    def _forget(self, key: Hashable, doing: _Doing) -> None:
        if self._under_way.get(key) is doing:
            del self._under_way[key]


def _always() -> bool:
    return True


def _settle(
    told: asyncio.Future[Any], result: Any, error: BaseException | None
) -> None:
    if told.done():  # by a cancellation: nobody asks any more
        return
    if error is None:
        told.set_result(result)
    else:
        told.set_exception(error)
