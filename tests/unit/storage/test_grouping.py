"""Doing together what arrives together."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.storage.grouping import Grouping


class Work:
    """Processes groups when it is let; notes them, and how many are under way."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.under_way = self.most = 0

    async def process(self, group: list[int]) -> list[int]:
        self.groups.append(group)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.gate.wait()
        self.under_way -= 1
        if any(item < 0 for item in group):
            raise ValueError(str(group))
        return [item * 10 for item in group]


async def soon(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - there is nobody to tell
            await asyncio.sleep(0)


def start(*coroutines: Awaitable[int]) -> list["asyncio.Future[int]"]:
    return [asyncio.ensure_future(coroutine) for coroutine in coroutines]


async def test_one_alone_waits_for_nobody() -> None:
    work = Work()
    async with Grouping(work.process, 10) as grouping:
        assert await grouping.submit(1) == 10
        assert await grouping.submit(2) == 20
    assert work.groups == [[1], [2]]


async def test_who_comes_while_a_group_is_under_way_shares_the_next() -> None:
    work = Work()
    work.gate.clear()
    async with Grouping(work.process, 3) as grouping:
        tasks = start(grouping.submit(0))
        await soon(lambda: work.groups)
        tasks += start(*[grouping.submit(n) for n in range(1, 8)])
        await asyncio.sleep(0)
        work.gate.set()
        assert await asyncio.gather(*tasks) == [n * 10 for n in range(8)]
    assert work.groups == [[0], [1, 2, 3], [4, 5, 6], [7]]
    assert work.most == 1


async def test_who_was_in_the_last_group_is_waited_for() -> None:
    work = Work()
    work.gate.clear()
    async with Grouping(work.process, 10, patience=5) as grouping:
        tasks = start(*[grouping.submit(n) for n in range(4)])
        await soon(lambda: work.groups)
        tasks += start(grouping.submit(4))
        await asyncio.sleep(0)
        work.gate.set()
        await asyncio.gather(*tasks[:4])
        for n in range(5, 9):
            assert len(work.groups) == 1
            tasks += start(grouping.submit(n))
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
    assert work.groups == [[0, 1, 2, 3], [4, 5, 6, 7, 8]]


async def test_who_does_not_come_again_is_not_waited_for_long() -> None:
    work = Work()
    async with Grouping(work.process, 10, patience=0.05) as grouping:
        await asyncio.gather(*[grouping.submit(n) for n in range(3)])
        began = asyncio.get_running_loop().time()
        assert await grouping.submit(3) == 30
        assert asyncio.get_running_loop().time() - began >= 0.04
        began = asyncio.get_running_loop().time()
        assert await grouping.submit(4) == 40
        assert asyncio.get_running_loop().time() - began < 0.04
    assert work.groups == [[0, 1, 2], [3], [4]]


async def test_where_waiting_is_in_vain_it_is_seldom_tried() -> None:
    groups = list[list[int]]()

    async def process(group: list[int]) -> list[int]:
        groups.append(group)
        if len(groups) < 60:  # one comes while a group is under way, nobody else does
            grouping.put(len(groups))
        return group

    async with Grouping(process, 10, patience=0.02) as grouping:
        began = asyncio.get_running_loop().time()
        await grouping.submit(0)
        await soon(lambda: len(groups) == 60)
        assert 0.08 < asyncio.get_running_loop().time() - began < 0.6
    assert groups == [[n] for n in range(60)]


async def test_at_its_end_nobody_is_waited_for() -> None:
    work = Work()
    async with asyncio.timeout(5):
        async with Grouping(work.process, 10, patience=60) as grouping:
            await asyncio.gather(*[grouping.submit(n) for n in range(3)])
            task = asyncio.ensure_future(grouping.submit(3))
            await asyncio.sleep(0)
        assert await task == 30


async def test_an_error_is_for_its_group_and_the_next_goes_on() -> None:
    work = Work()
    work.gate.clear()
    async with Grouping(work.process, 2) as grouping:
        tasks = start(*[grouping.submit(n) for n in (1, -1, 2, 3)])
        await soon(lambda: work.groups)
        work.gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(result) for result in results] == ["[1, -1]", "[1, -1]", "20", "30"]


async def test_the_item_of_a_cancelled_caller_is_processed_and_its_result_not_lost() -> (
    None
):
    work, unclaimed = Work(), list[int]()
    work.gate.clear()
    async with Grouping(work.process, 2, unclaimed.append) as grouping:
        waiting, running, other = start(*[grouping.submit(n) for n in (1, 2, 3)])
        await soon(lambda: work.groups)
        for task in (waiting, running):
            task.cancel()
        await asyncio.sleep(0)
        work.gate.set()
        assert await other == 30
    for task in (waiting, running):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert unclaimed == [10, 20]


async def test_a_result_that_meets_a_cancellation_on_its_way_is_not_lost() -> None:
    work, unclaimed = Work(), list[int]()
    async with Grouping(work.process, 1, unclaimed.append) as grouping:
        for steps in range(8):
            unclaimed.clear()
            task = asyncio.ensure_future(grouping.submit(steps))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            try:
                claimed = [await task]
            except asyncio.CancelledError:
                claimed = []
            if not work.groups or work.groups[-1] != [steps]:
                assert steps == 0  # cancelled before it came to anything
                continue
            await soon(lambda claimed=claimed: claimed or unclaimed)
            assert claimed + unclaimed == [steps * 10]


async def test_what_waits_when_it_closes_is_still_processed() -> None:
    work = Work()
    work.gate.clear()
    tasks = []
    async with Grouping(work.process, 2) as grouping:
        tasks = start(*[grouping.submit(n) for n in range(5)])
        await soon(lambda: work.groups)
        asyncio.get_running_loop().call_later(0.01, work.gate.set)
    assert [task.result() for task in tasks] == [n * 10 for n in range(5)]


async def test_closing_with_nothing_to_do_ends() -> None:
    async with asyncio.timeout(5):
        async with Grouping(Work().process, 2):
            await asyncio.sleep(0)
