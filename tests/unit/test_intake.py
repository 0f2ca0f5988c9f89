"""Taking instances in: bounded, cancelled anywhere, several at once, and faults of one."""

import asyncio
import contextlib
import errno
import os
import re
import sqlite3
import threading
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from gateway import commit
from gateway import intake as module
from gateway.archive import Archive
from gateway.arrived import QUICK
from gateway.dicom import header
from gateway.dicom.hierarchy import Level
from gateway.errors import NotFound
from gateway.outcomes import (
    FailureReason,
    Limits,
    Outcome,
    Overwrite,
    Refused,
    Stored,
)
from gateway.room import Room
from gateway.storage.blobs import DiskBlobs
from gateway.storage.index import Index
from tests import kept
from tests.factories import dataset, dicom_file, encode

STUDY, SERIES = "1.2.3.1", "1.2.3.1.1"
LARGE = 3 * module.SPOOL_CHUNK
LONG_HEADER = 2 * QUICK


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is replaced goes at once."""
    monkeypatch.setattr("gateway.storage.replaced.STAYS", 0.0)
    monkeypatch.setattr("gateway.storage.replaced.BUSY", 0.0)


def file(number: int, pixels: int = 64, content: bytes = b"x", **more: Any) -> bytes:
    return dicom_file(
        SOPInstanceUID=f"1.2.4.{number}",
        InstanceNumber=number,
        BitsAllocated=8,
        PixelData=content * pixels,
        **more,
    )


#: The ways through: read at once, read in a thread, flowing into a file.
SIZES = {
    "small": lambda number: file(number),
    "long header": lambda number: file(number, TextValue="t" * LONG_HEADER),
    "large": lambda number: file(number, LARGE),
}
each_size = pytest.mark.parametrize("make", SIZES.values(), ids=list(SIZES))


class Place:
    """A folder, and archives opened on it as by several processes."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder = folder
        self._stack = stack

    async def open(self, **options: Any) -> Archive:
        return await self._stack.enter_async_context(
            Archive(self.folder, self.folder, **options)
        )

    async def close(self) -> None:
        await self._stack.aclose()

    def under_way(self) -> list[str]:
        return [path.name for path in kept.under_way(self.folder)]

    def check(self) -> None:
        """Files and rows are the same, and nothing is under way."""
        with closing(sqlite3.connect(self.folder / "gateway.db")) as database:
            counted = database.execute("SELECT instances FROM totals").fetchone()
        count = kept.check(self.folder, self.folder / "gateway.db")
        assert counted == (count,)
        assert self.under_way() == []


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        yield Place(tmp_path, stack)


async def store(
    archive: Archive, content: bytes, step: int = 100_000, **keeping: Any
) -> Outcome:
    async with archive.receive() as receiver:
        for start in range(0, len(content), step):
            await receiver.write(content[start : start + step])
        return await receiver.keep(**keeping)


async def read(archive: Archive, number: int) -> bytes:
    instance = await archive.instance(STUDY, SERIES, f"1.2.4.{number}")
    chunks = archive.read([archive.file_range(instance)])
    return b"".join([bytes(chunk) async for chunk in chunks])


def opened_files() -> list[str]:
    """The files of instances that this process has open."""
    links = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            links.append(os.readlink(f"/proc/self/fd/{name}"))
    return [link for link in links if re.search("/[0-9a-f]{32}$", link)]


def reasons(outcomes: list[Outcome]) -> list[FailureReason | None]:
    return [o.reason if isinstance(o, Refused) else None for o in outcomes]


# -- memory ----------------------------------------------------------------------------


async def test_many_unfinished_instances_hold_no_more_than_the_bound_in_memory(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SPOOL_MEMORY", 10_000)
    archive = await place.open()
    memory = archive._intake
    contents = [file(number, 5000) for number in range(20)]
    async with AsyncExitStack() as stack:
        receivers = [
            await stack.enter_async_context(archive.receive()) for _ in contents
        ]
        for start in range(0, 6000, 500):
            for receiver, content in zip(receivers, contents, strict=True):
                await receiver.write(content[start : start + 500])
                assert memory.memory <= 10_000
        assert len(place.under_way()) > 15
        outcomes = await asyncio.gather(*[receiver.keep() for receiver in receivers])
    assert all(isinstance(outcome, Stored) for outcome in outcomes)
    assert memory.memory == 0
    for number, content in enumerate(contents):
        assert await read(archive, number) == content
    place.check()


async def test_what_is_deflated_is_inflated_in_a_thread_however_it_comes(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set()
    inflate = header.inflate

    def inflated(*arguments: Any) -> None:
        threads.add(threading.current_thread())
        inflate(*arguments)

    monkeypatch.setattr(header, "inflate", inflated)
    archive = await place.open()
    content = encode(dataset(), DeflatedExplicitVRLittleEndian)
    for step in (1, 100, 10_000):
        assert isinstance(await store(archive, content, step), Stored)
    assert threads
    assert threading.main_thread() not in threads


async def test_one_large_instance_goes_to_its_file_a_chunk_at_a_time(
    place: Place,
) -> None:
    archive = await place.open()
    content = file(1, LARGE)
    most = 0
    async with archive.receive() as receiver:
        for start in range(0, len(content), 50_000):
            await receiver.write(content[start : start + 50_000])
            most = max(most, archive._intake.memory)
        assert isinstance(await receiver.keep(), Stored)
    assert most < module.SPOOL_CHUNK
    assert archive._intake.memory == 0
    assert await read(archive, 1) == content


# -- leaving early ---------------------------------------------------------------------


@pytest.mark.parametrize("size", [100, LARGE], ids=["small", "large"])
async def test_who_leaves_without_keeping_leaves_nothing(
    place: Place, size: int
) -> None:
    archive = await place.open()

    async def leave() -> None:
        async with archive.receive() as receiver:
            for _ in range(3):
                await receiver.write(bytes(size))
            raise RuntimeError("the client is gone")

    with pytest.raises(RuntimeError):
        await leave()
    assert archive._intake.memory == 0
    assert opened_files() == []
    place.check()


@each_size
@pytest.mark.parametrize("late", [False, True], ids=["waiting", "on its way"])
async def test_a_cancellation_at_any_await_leaves_nothing_half(
    place: Place, make: Callable[[int], bytes], late: bool
) -> None:
    """Late is after the result is there and before the one who waits has got it."""
    archive = await place.open()
    await store(archive, file(0))
    await read(archive, 0)
    for number in range(1, 100):
        content = make(number)
        task = cancelled_at(number, store(archive, content), late=late)
        try:
            outcome = await task
        except asyncio.CancelledError:
            outcome = None
        # Whatever goes on behind the one who left has ended when another is through.
        await settled(archive, place)
        assert place.under_way() == []
        assert archive._intake.memory == 0
        assert opened_files() == []
        try:
            assert await read(archive, number) == content
        except NotFound:
            assert outcome is None
        # To send it again is safe, whatever became of it.
        assert isinstance(await store(archive, content), Stored)
        if outcome is not None:
            assert number > 1
            break
    else:
        raise AssertionError("there are more awaits than anybody thought")
    place.check()


def cancelled_at(
    count: int, work: Coroutine[Any, Any, Outcome], *, late: bool
) -> "asyncio.Task[Outcome]":
    """A task that is cancelled at its await of that number, counted from one."""

    @types.coroutine
    def run() -> Generator[Any, Any, Outcome]:
        awaited = 0
        try:
            step = work.send(None)
            while True:
                awaited += 1
                if awaited == count and late and step is not None:
                    step.add_done_callback(lambda _: task.cancel())
                elif awaited == count:
                    asyncio.get_running_loop().call_soon(lambda: task.cancel())
                if step is not None:
                    step._asyncio_future_blocking = True
                try:
                    yield step
                except BaseException as error:
                    step = work.throw(error)
                else:
                    step = work.send(None)
        except StopIteration as stop:
            outcome: Outcome = stop.value
            return outcome

    async def whole() -> Outcome:
        return await run()

    task = asyncio.create_task(whole())
    return task


async def settled(archive: Archive, place: Place) -> None:
    assert isinstance(await store(archive, file(0)), Stored)
    async with asyncio.timeout(10):
        while place.under_way() or archive._intake.memory:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_an_instance_whose_sender_was_cancelled_late_is_stored_whole(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = await place.open()
    committing, enough = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    flush = DiskBlobs.flush_pack

    def wait_then_flush(blobs: DiskBlobs) -> None:
        loop.call_soon_threadsafe(committing.set)
        asyncio.run_coroutine_threadsafe(enough.wait(), loop).result(10)
        flush(blobs)

    monkeypatch.setattr(DiskBlobs, "flush_pack", wait_then_flush)
    task = asyncio.create_task(store(archive, file(1)))
    async with asyncio.timeout(10):
        await committing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    enough.set()
    await place.close()
    place.check()
    monkeypatch.undo()
    assert await read(await place.open(), 1) == file(1)


# -- several at once -------------------------------------------------------------------


@each_size
@pytest.mark.parametrize("processes", [1, 2])
async def test_of_the_same_instance_sent_many_times_at_once_one_is_stored(
    place: Place, make: Callable[[int], bytes], processes: int
) -> None:
    archives = [await place.open() for _ in range(processes)]
    content = make(1)
    outcomes = await asyncio.gather(
        *[store(archive, content) for _ in range(10) for archive in archives]
    )
    assert all(isinstance(outcome, Stored) for outcome in outcomes)
    new = [outcome for outcome in outcomes if not outcome.already_there]
    assert len(new) == 1
    assert await read(archives[0], 1) == content
    place.check()


@each_size
@pytest.mark.parametrize("processes", [1, 2])
async def test_of_different_instances_with_one_name_sent_at_once_one_is_stored(
    place: Place, make: Callable[[int], bytes], processes: int
) -> None:
    archives = [await place.open() for _ in range(processes)]
    base = make(1)
    contents = [base[:-1] + bytes([number]) for number in range(12)]
    outcomes = await asyncio.gather(
        *[store(archives[n % processes], c) for n, c in enumerate(contents)]
    )
    stored = [
        c for c, o in zip(contents, outcomes, strict=True) if isinstance(o, Stored)
    ]
    assert len(stored) == 1
    others = [reason for reason in reasons(outcomes) if reason is not None]
    assert others == [FailureReason.DUPLICATE_INSTANCE] * 11
    assert await read(archives[0], 1) == stored[0]
    place.check()


@each_size
@pytest.mark.parametrize("processes", [1, 2])
async def test_of_different_instances_that_replace_each_other_the_last_stays(
    place: Place, make: Callable[[int], bytes], processes: int
) -> None:
    archives = [await place.open(overwrite=Overwrite.ALWAYS) for _ in range(processes)]
    base = make(1)
    contents = [base[:-1] + bytes([number]) for number in range(12)]
    outcomes = await asyncio.gather(
        *[store(archives[n % processes], c) for n, c in enumerate(contents)]
    )
    assert all(isinstance(outcome, Stored) for outcome in outcomes)
    assert await read(archives[0], 1) in contents
    place.check()
    last = base[:-1] + b"\xff"
    await store(archives[0], last)
    assert await read(archives[-1], 1) == last
    place.check()


async def test_garbage_of_replaced_instances_does_not_pile_up(place: Place) -> None:
    archive = await place.open(overwrite=Overwrite.ALWAYS)
    for number in range(20):
        await store(archive, file(1, content=bytes([number])))
    garbage = await archive._database.read(Index().garbage)
    assert len(garbage) <= 1


@pytest.mark.parametrize("overwrite", [Overwrite.NEVER, Overwrite.ALWAYS])
async def test_storing_and_deleting_the_same_at_once_ends_in_one_or_the_other(
    place: Place, overwrite: Overwrite
) -> None:
    archives = [await place.open(overwrite=overwrite) for _ in range(2)]
    contents = [file(1), file(1, LARGE)] if overwrite is Overwrite.ALWAYS else [file(1)]

    async def storing(archive: Archive) -> list[Outcome]:
        return [await store(archive, contents[n % len(contents)]) for n in range(25)]

    async def deleting(archive: Archive) -> None:
        for _ in range(40):
            try:
                await archive.delete(Level.STUDY, STUDY)
            except NotFound:
                await asyncio.sleep(0.0005)

    async def reading(archive: Archive) -> None:
        for _ in range(100):
            try:
                assert await read(archive, 1) in contents
            except NotFound:
                await asyncio.sleep(0.0002)

    async with asyncio.timeout(60):
        results = await asyncio.gather(
            *[storing(archive) for archive in archives],
            *[deleting(archive) for archive in archives],
            *[reading(archive) for archive in archives],
        )
    for outcomes in results[:2]:
        assert all(isinstance(outcome, Stored) for outcome in outcomes), outcomes
    for archive in archives:  # what was being read goes a little later
        await asyncio.to_thread(lambda a=archive: a._intake.replaced.remove())
    place.check()


# -- faults ----------------------------------------------------------------------------


def spoil(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, number: int, when: str
) -> None:
    """Let a call fail with that error when its first argument's file is named so."""
    call = getattr(owner, name)

    def failing(target: int, *rest: Any) -> Any:
        held = Path(f"/proc/self/fd/{target}").read_bytes()
        if when.encode() in (b"".join(rest[0]) if rest else held):
            raise OSError(number, os.strerror(number))
        return call(target, *rest)

    monkeypatch.setattr(owner, name, failing)


@pytest.mark.parametrize("name", ["pwritev", "fdatasync"])
@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, {FailureReason.OUT_OF_RESOURCES}),
        (
            errno.EIO,
            {FailureReason.PROCESSING_FAILURE, FailureReason.OUT_OF_RESOURCES},
        ),
    ],
    ids=["full", "broken"],
)
async def test_one_file_that_the_disk_does_not_take_spoils_no_other(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    number: int,
    reason: set[FailureReason],
) -> None:
    archive = await place.open()
    await store(archive, file(0))
    contents = [file(n, PatientID="POISON" if n == 5 else "P1") for n in range(10)]
    spoil(monkeypatch, os, name, number, "POISON")
    outcomes = await asyncio.gather(*[store(archive, content) for content in contents])
    told = reasons(list(outcomes))
    assert told[5] in reason
    assert told[:5] + told[6:] == [None] * 9
    monkeypatch.undo()
    place.check()
    for n, content in enumerate(contents):
        if n != 5:
            assert await read(archive, n) == content
    assert opened_files() == []


async def test_one_entry_that_the_index_does_not_take_spoils_no_other(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = await place.open()
    add = Index.add

    def poisoned(index: Index, session: Any, entries: Any) -> Any:
        if any(entry.uids.instance == "1.2.4.5" for entry, *_ in entries):
            raise sqlite3.IntegrityError("poison")
        return add(index, session, entries)

    monkeypatch.setattr(Index, "add", poisoned)
    contents = [file(n, LARGE if n % 3 == 0 else 64) for n in range(10)]
    outcomes = await asyncio.gather(*[store(archive, content) for content in contents])
    told = reasons(list(outcomes))
    assert told[5] is FailureReason.PROCESSING_FAILURE
    assert told[:5] + told[6:] == [None] * 9
    place.check()
    for n, content in enumerate(contents):
        if n != 5:
            assert await read(archive, n) == content


async def test_what_a_spoilt_group_knew_of_its_others_is_still_true(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is held, one with its name, one that is new, and one that spoils them."""
    archive = await place.open()
    await store(archive, file(1))
    add = Index.add

    def poisoned(index: Index, session: Any, entries: Any) -> Any:
        if any(entry.uids.instance == "1.2.4.5" for entry, *_ in entries):
            raise sqlite3.IntegrityError("poison")
        return add(index, session, entries)

    monkeypatch.setattr(Index, "add", poisoned)
    contents = [file(1), file(1, content=b"y"), file(2), file(5)]
    outcomes = await asyncio.gather(*[store(archive, content) for content in contents])
    assert reasons(list(outcomes)) == [
        None,
        FailureReason.DUPLICATE_INSTANCE,
        None,
        FailureReason.PROCESSING_FAILURE,
    ]
    assert outcomes[0].already_there
    assert await read(archive, 1) == file(1)
    place.check()


async def test_a_large_one_that_is_found_held_late_is_a_success_in_a_spoilt_group(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file is gone when the group is tried again, one by one."""
    archive = await place.open()
    await store(archive, file(1, LARGE))
    add = Index.add

    def poisoned(index: Index, session: Any, entries: Any) -> Any:
        if any(entry.uids.instance == "1.2.4.5" for entry, *_ in entries):
            raise sqlite3.IntegrityError("poison")
        return add(index, session, entries)

    monkeypatch.setattr(Index, "add", poisoned)
    monkeypatch.setattr(module, "held_already", lambda *arguments: None)
    group_before = DiskBlobs.flush_pack
    entered, enough = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait_once(blobs: DiskBlobs) -> None:
        if not entered.is_set():
            loop.call_soon_threadsafe(entered.set)
            asyncio.run_coroutine_threadsafe(enough.wait(), loop).result(10)
        group_before(blobs)

    monkeypatch.setattr(DiskBlobs, "flush_pack", wait_once)
    first = asyncio.create_task(store(archive, file(9)))
    async with asyncio.timeout(10):
        await entered.wait()
    contents = [file(1, LARGE), file(5)]  # these two wait for the same group
    others = [asyncio.create_task(store(archive, content)) for content in contents]
    async with asyncio.timeout(10):
        while len(archive._intake._committing._waiting) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    enough.set()
    held, poison = await asyncio.gather(*others)
    assert isinstance(await first, Stored)
    assert isinstance(held, Stored)
    assert held.already_there
    assert isinstance(poison, Refused)
    place.check()


@pytest.mark.parametrize("overwrite", [Overwrite.NEVER, Overwrite.ALWAYS])
async def test_what_is_held_and_goes_away_while_it_is_compared_is_no_obstacle(
    place: Place, monkeypatch: pytest.MonkeyPatch, overwrite: Overwrite
) -> None:
    archive = await place.open(overwrite=overwrite)
    await store(archive, file(1))
    compare = commit.same_bytes
    gone = False

    def go_away(*arguments: Any) -> bool:
        nonlocal gone
        if not gone:
            gone = True
            if overwrite is Overwrite.NEVER:
                # Its transaction comes before ours: another process has done it.
                asyncio.run(elsewhere(place.folder))
            raise NotFound
        return compare(*arguments)

    monkeypatch.setattr(commit, "same_bytes", go_away)
    again = await store(archive, file(1))
    assert isinstance(again, Stored)
    assert not again.already_there
    assert await read(archive, 1) == file(1)
    place.check()


async def elsewhere(folder: Path) -> None:
    """Delete the study as another process would."""
    async with Archive(folder, folder) as other:
        await other.delete(Level.STUDY, STUDY)


@each_size
async def test_a_database_that_is_full_is_out_of_resources_and_goes_on_later(
    place: Place, monkeypatch: pytest.MonkeyPatch, make: Callable[[int], bytes]
) -> None:
    archive = await place.open()
    add = Index.add

    def full(index: Index, session: Any, entries: Any) -> Any:
        add(index, session, entries)
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(Index, "add", full)
    outcomes = await asyncio.gather(*[store(archive, make(n)) for n in range(3)])
    assert reasons(list(outcomes)) == [FailureReason.OUT_OF_RESOURCES] * 3
    place.check()
    monkeypatch.undo()
    assert isinstance(await store(archive, make(1)), Stored)
    place.check()


async def test_a_file_that_cannot_be_moved_is_stored_read_and_moved_at_the_next_start(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = SIZES["large"]
    archive = await place.open()

    def broken(blobs: DiskBlobs, name: str) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(DiskBlobs, "publish", broken)
    assert isinstance(await store(archive, make(1)), Stored)
    again = await store(archive, make(1))
    assert isinstance(again, Stored)
    assert again.already_there
    assert await read(archive, 1) == make(1)
    assert len(place.under_way()) == 1
    monkeypatch.undo()
    await place.close()
    archive = await place.open()
    assert await read(archive, 1) == make(1)
    place.check()


@each_size
async def test_what_is_held_is_a_success_also_when_there_is_no_room(
    place: Place, make: Callable[[int], bytes]
) -> None:
    archive = await place.open()
    await store(archive, make(1))
    size = (await archive.totals()).size
    await place.close()
    full = await place.open(limits=Limits(storage_size=size))
    again = await store(full, make(1))
    assert isinstance(again, Stored)
    assert again.already_there
    (refused,) = reasons([await store(full, make(2))])
    assert refused is FailureReason.OUT_OF_RESOURCES
    place.check()


async def test_room_that_another_process_takes_meanwhile_is_not_taken_twice(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await place.open()
    await store(first, file(1))
    size = (await first.totals()).size
    full = await place.open(limits=Limits(storage_size=size + 10))
    # As if it had looked before the other one was through.
    monkeypatch.setattr(Room, "check_new", lambda *_: None)
    found = await asyncio.gather(*(store(full, file(number)) for number in (2, 3)))
    assert set(reasons(found)) == {FailureReason.OUT_OF_RESOURCES}
    assert (await full.totals()).instances == 1
    place.check()


async def test_too_little_free_space_is_out_of_resources(place: Place) -> None:
    archive = await place.open(limits=Limits(free_space=1 << 60))
    (refused,) = reasons([await store(archive, file(1))])
    assert refused is FailureReason.OUT_OF_RESOURCES
    place.check()


@pytest.mark.parametrize("size", [64, LARGE], ids=["small", "large"])
async def test_what_is_no_dicom_or_of_another_study_leaves_nothing(
    place: Place, size: int
) -> None:
    archive = await place.open()
    outcomes = [
        await store(archive, b"no DICOM" * size),
        await store(archive, b""),
        await store(archive, file(1, size)[:-10]),
        await store(archive, file(1, size), within="1.2.3.9"),
    ]
    assert all(isinstance(outcome, Refused) for outcome in outcomes)
    assert opened_files() == []
    place.check()


async def test_an_index_that_cannot_be_asked_refuses_and_leaves_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = await place.open()

    def broken(*arguments: Any) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Index, "locate", broken)
    outcomes = [await store(archive, make(1)) for make in SIZES.values()]
    assert reasons(outcomes) == [FailureReason.PROCESSING_FAILURE] * 3
    assert all("internal" in outcome.message for outcome in outcomes)
    monkeypatch.undo()
    place.check()
    assert opened_files() == []


# -- start -----------------------------------------------------------------------------


async def test_a_second_process_leaves_alone_what_a_living_one_receives(
    place: Place,
) -> None:
    archive = await place.open()
    content = file(1, LARGE)
    async with archive.receive() as receiver:
        await receiver.write(content)
        assert len(place.under_way()) == 1
        await place.open()
        assert len(place.under_way()) == 1
        assert isinstance(await receiver.keep(), Stored)
    assert await read(archive, 1) == content
    place.check()
