"""What is fetched is fetched once for all who wait, and for as long as anybody does."""

import asyncio

import pytest

from gateway.flight import SingleFlight


class Work:
    """Work that lasts until it is told to end."""

    def __init__(self, result: bool | Exception = True) -> None:
        self.begun = 0
        self.cancelled = 0
        self.end = asyncio.Event()
        self._result = result

    async def __call__(self) -> bool:
        self.begun += 1
        try:
            await self.end.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self._result, Exception):
            raise self._result
        return self._result


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_it_is_done_once_for_all_who_wait():
    work, other = Work(), Work(result=False)
    async with SingleFlight() as fetches:
        waiting = [asyncio.create_task(fetches.do("a", work)) for _ in range(5)]
        alone = asyncio.create_task(fetches.do("b", other))
        await turn()
        work.end.set()
        other.end.set()
        assert await asyncio.gather(*waiting) == [True] * 5
        assert await alone is False
        assert (work.begun, other.begun) == (1, 1)
        assert await fetches.do("a", work)
        assert work.begun == 2  # what is done is not remembered


async def test_it_goes_on_while_anybody_waits():
    work = Work()
    async with SingleFlight() as fetches:
        first = asyncio.create_task(fetches.do("a", work))
        second = asyncio.create_task(fetches.do("a", work))
        await turn()
        first.cancel()
        await turn()
        assert first.cancelled()
        work.end.set()
        assert await second
        assert (work.begun, work.cancelled) == (1, 0)


async def test_it_ends_when_nobody_waits_and_can_begin_again():
    work = Work()
    async with SingleFlight() as fetches:
        first = asyncio.create_task(fetches.do("a", work))
        await turn()
        first.cancel()
        again = asyncio.create_task(fetches.do("a", work))
        await turn()
        assert (work.begun, work.cancelled) == (2, 1)
        work.end.set()
        assert await again  # the end of the first took nothing from the second


async def test_an_error_is_told_to_all():
    work = Work(ValueError("broken"))
    async with SingleFlight() as fetches:
        waiting = [asyncio.create_task(fetches.do("a", work)) for _ in range(2)]
        await turn()
        work.end.set()
        for task in waiting:
            with pytest.raises(ValueError, match="broken"):
                await task


async def test_the_end_of_all_ends_it():
    work = Work()
    async with SingleFlight() as fetches:
        waiting = asyncio.create_task(fetches.do("a", work))
        await turn()
    await turn()
    assert work.cancelled == 1
    assert waiting.cancelled()
