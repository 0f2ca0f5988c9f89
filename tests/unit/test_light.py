"""Light work is done once for all who wait, and not at all once nobody does."""

import asyncio
import threading
from typing import NoReturn

import pytest

from gateway.errors import Busy, CannotTranscode, NotFound
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


async def test_what_has_begun_is_not_fresh_for_who_comes_later() -> None:
    work, later = Work(), Work()
    later.go.set()
    async with LightWork(2) as light:
        first = asyncio.ensure_future(light.once("a", work, fresh=True))
        assert await asyncio.to_thread(work.begun.wait, 10)
        assert await light.once("a", later, fresh=True) == 1
        told = Told()
        assert light.soon("a", later, told, lambda: True)
        assert await told.heard == (2, None)
        work.go.set()
        assert await first == 1


async def test_who_waits_for_what_has_not_begun_has_it_together_and_fresh() -> None:
    busy, work = Work(), Work()
    work.go.set()
    async with LightWork(1) as light:
        first = asyncio.ensure_future(light.once("other", busy))
        assert await asyncio.to_thread(busy.begun.wait, 10)
        waiting = [
            asyncio.ensure_future(light.once("a", work, fresh=True)) for _ in range(3)
        ]
        await asyncio.sleep(0)
        busy.go.set()
        assert await asyncio.gather(first, *waiting) == [1, 1, 1, 1]


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
        with pytest.raises(Busy):
            await each
    assert unwanted.times == 0


# -- for who waits in no task ------------------------------------------------------------


class Told:
    """What somebody was told who waits in no task, and may have left."""

    def __init__(self) -> None:
        self.is_there = True
        self.heard = asyncio.get_running_loop().create_future()

    def __call__(self, result: object, error: BaseException | None) -> None:
        self.heard.set_result((result, error))


async def test_who_waits_in_no_task_is_told_as_well() -> None:
    work, told, gone, late = Work(), Told(), Told(), Told()
    async with LightWork(1) as light:
        waiting = asyncio.ensure_future(light.once("a", work))
        assert await asyncio.to_thread(work.begun.wait, 10)
        assert light.soon("a", work, told, lambda: True)
        gone.is_there = False
        unwanted = Work()
        assert light.soon("b", unwanted, gone, lambda: gone.is_there)
        work.go.set()
        assert await waiting == 1
        assert await told.heard == (2, None)
        assert await gone.heard == (None, None)
        assert unwanted.times == 0
        assert light.soon("b", lambda: 1 / 0, late, lambda: True)
        assert isinstance((await late.heard)[1], ZeroDivisionError)


async def test_who_comes_when_it_was_given_up_gets_it_all_the_same() -> None:
    gone = Told()
    looked = threading.Event()

    def is_there() -> bool:
        looked.set()
        return False

    async with LightWork(1) as light:
        assert light.soon("a", lambda: 1, gone, is_there)
        assert looked.wait(10)  # the loop has no time to hear of it
        assert await light.once("a", lambda: 2) == 1


async def test_so_many_wait_in_no_task_and_no_more() -> None:
    work, told = Work(), [Told() for _ in range(64)]
    async with LightWork(1) as light:
        for number, one in enumerate(told):
            assert light.soon(number, work, one, lambda: True)
        assert not light.soon("one more", work, Told(), lambda: True)
        work.go.set()
        assert [(await one.heard)[1] for one in told] == [None] * 64
        assert light.soon("one more", work, one := Told(), lambda: True)
        assert await one.heard == (65, None)
