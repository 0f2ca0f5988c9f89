"""A look at what is held: its state first, and then what is found, as it comes.

Who knows what was found in the same state needs to look no further.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from types import TracebackType
from typing import Generic, Self, TypeVar, cast

from gateway.storage.pages import State
from gateway.storage.search import Remaining

T = TypeVar("T")


class Look(Generic[T]):
    """What is found, and of what state it is; nothing is found if that is not wanted.

    Opened by `async with`.
    """

    state: State
    groups: AsyncIterator[list[T]]
    remaining: Remaining | None = None  # known once a page is there

    def __init__(self, check: Callable[[State], None] = lambda state: None) -> None:
        self._check = check  # may raise
        self._stream: AsyncGenerator[list[T | State], None]

    def at(self, stream: AsyncGenerator[list[T | State], None]) -> Self:
        """The same; its state comes first, and then what is found."""
        self._stream = stream
        return self

    async def __aenter__(self) -> Self:
        try:
            first = await anext(self._stream)
            self.state = cast("State", first[0])
            self._check(self.state)
        except BaseException:
            await self._stream.aclose()
            raise
        more = cast("AsyncGenerator[list[T], None]", self._stream)
        self.groups = _led_by(cast("list[T]", first[1:]), more)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stream.aclose()


async def _led_by(
    first: list[T], groups: AsyncIterator[list[T]]
) -> AsyncIterator[list[T]]:
    if first:
        yield first
    async for group in groups:
        yield group
