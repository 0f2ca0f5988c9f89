"""Light work is done once for all who wait, and not at all once nobody does."""

import asyncio
import threading
from typing import NoReturn

import pytest

from gateway.errors import CannotTranscode, NotFound
from gateway.light import LightWork


class Work:
    """Work that lasts until it is told to end."""

    def __init__(self) -> None:
        self.times = 0
        self.begun = threading.Event()
        self.go = threading.Event()

    def __call__(self) -> int:
        self.times += 1
        self.begun.set()
        assert self.go.wait(10)
        return self.times


async def test_it_is_done_once_for_all_who_wait() -> None:
    work = Work()
    async with LightWork(2) as light:
        waiting = [asyncio.ensure_future(light.once("a", work)) for _ in range(5)]
        assert await asyncio.to_thread(work.begun.wait, 10)
        assert await light.once("b", lambda: "beside it") == "beside it"
        work.go.set()
        assert await asyncio.gather(*waiting) == [1] * 5
        assert await light.once("a", work) == 2  # what is done is not remembered


async def test_who_leaves_takes_nothing_from_who_stays() -> None:
    work = Work()
    async with LightWork(1) as light:
        first, second = (asyncio.ensure_future(light.once("a", work)) for _ in range(2))
        assert await asyncio.to_thread(work.begun.wait, 10)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        work.go.set()
        assert await second == 1


async def test_what_nobody_waits_for_is_not_begun() -> None:
    work, unwanted = Work(), Work()
    async with LightWork(1) as light:
        first = asyncio.ensure_future(light.once("a", work))
        left = asyncio.ensure_future(light.once("b", unwanted))
        assert await asyncio.to_thread(work.begun.wait, 10)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        work.go.set()
        assert await first == 1
        assert await light.once("b", lambda: "anew") == "anew"
    assert unwanted.times == 0


async def test_all_who_wait_are_told_how_it_failed() -> None:
    def fail() -> NoReturn:
        raise NotFound("it has just gone")

    def greedy() -> NoReturn:
        raise MemoryError

    async with LightWork(1) as light:
        both = [asyncio.ensure_future(light.once("a", fail)) for _ in range(2)]
        told = await asyncio.gather(*both, return_exceptions=True)
        assert [str(error) for error in told] == ["it has just gone"] * 2
        with pytest.raises(CannotTranscode, match="memory"):
            await light.once("a", greedy)
        assert await light.once("a", lambda: 7) == 7


async def test_at_the_end_nothing_more_is_begun() -> None:
    work, unwanted = Work(), Work()
    async with LightWork(1) as light:
        waiting = [
            asyncio.ensure_future(light.once(name, each))
            for name, each in (("a", work), ("b", unwanted))
        ]
        assert await asyncio.to_thread(work.begun.wait, 10)
        asyncio.get_running_loop().call_later(0.05, work.go.set)
    for each in waiting:
        with pytest.raises(asyncio.CancelledError):
            await each
    assert unwanted.times == 0
