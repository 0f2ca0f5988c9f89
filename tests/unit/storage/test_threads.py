"""Threads of one purpose: what is asked of them comes back, at its end."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from gateway.storage.threads import Threads


@pytest.fixture
async def threads() -> AsyncIterator[Threads]:
    made = Threads(2, "hop")
    made.start()
    yield made
    await asyncio.to_thread(made.end)


async def test_what_comes_of_work_comes_back(threads: Threads) -> None:
    results = [threads.run(lambda n=n: n * n) for n in range(50)]  # type: ignore[misc]
    assert await asyncio.gather(*results) == [n * n for n in range(50)]
    assert await threads.run(lambda: threading.current_thread().name) in (
        "hop_0",
        "hop_1",
    )


async def test_what_goes_wrong_comes_back_too(threads: Threads) -> None:
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)
    assert await threads.run(lambda: 1) == 1


async def test_who_waits_in_no_task_is_told_in_the_thread_of_the_loop(
    threads: Threads,
) -> None:
    told: asyncio.Queue[tuple[object, BaseException | None, str]] = asyncio.Queue()

    def tell(result: object, error: BaseException | None) -> None:
        told.put_nowait((result, error, threading.current_thread().name))

    here = threading.current_thread().name
    threads.ask(lambda: threading.current_thread().name, tell)
    result, error, where = await asyncio.wait_for(told.get(), 10)
    assert result in ("hop_0", "hop_1")
    assert (error, where) == (None, here)
    threads.ask(lambda: 1 // 0, tell)
    result, error, where = await asyncio.wait_for(told.get(), 10)
    assert (result, type(error), where) == (None, ZeroDivisionError, here)


async def test_who_is_cancelled_waits_for_the_end_of_the_work(threads: Threads) -> None:
    begun, free, over = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        free.wait(10)
        over.set()

    task = asyncio.create_task(threads.run(work))
    assert await asyncio.to_thread(begun.wait, 10)
    for _ in range(2):  # also when cancelled again
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
    free.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert over.is_set()


async def test_the_end_comes_after_all_that_was_asked_for() -> None:
    made = Threads(1, "hop")
    made.start()
    done: list[int] = []
    tasks = [
        asyncio.create_task(made.run(lambda n=n: done.append(n)))  # type: ignore[misc]
        for n in range(20)
    ]
    await asyncio.sleep(0)
    await asyncio.to_thread(made.end)
    await asyncio.gather(*tasks)
    assert done == list(range(20))
