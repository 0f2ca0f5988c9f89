"""Death at every single step between the bytes and the answer, and the start after it.

A child process takes one request and ends before its n-th change to the disk, for every
n; the archive that is opened then holds what was acknowledged, whole, and nothing else.
"""

import asyncio
import os
import re
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from gateway.archive import Archive
from gateway.dicom.hierarchy import Level
from gateway.errors import NotFound
from gateway.intake import SPOOL_CHUNK
from gateway.outcomes import Overwrite, Stored
from tests import kept
from tests.factories import dicom_file
from tests.unit.steps import watched

STUDY, SERIES = "1.2.3.1", "1.2.3.1.1"
KILLED = 9
MOST_STEPS = 60

Act = Callable[[Archive], Awaitable[None]]


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is replaced goes at once."""
    monkeypatch.setattr("gateway.storage.replaced.STAYS", 0.0)
    monkeypatch.setattr("gateway.storage.replaced.BUSY", 0.0)


def file(number: int, content: bytes = b"abcd") -> bytes:
    return dicom_file(
        SOPInstanceUID=f"1.2.4.{number}",
        InstanceNumber=number,
        BitsAllocated=8,
        PixelData=content,
    )


OLD = [file(1), file(2)]
NEW, OTHER = file(3), file(4)
LARGE = file(5, bytes(2 * SPOOL_CHUNK))
CHANGED = file(1, b"efgh")


def archive(folder: Path) -> Archive:
    return Archive(folder, folder, overwrite=Overwrite.ALWAYS)


async def store(opened: Archive, content: bytes) -> None:
    async with opened.receive() as receiver:
        for start in range(0, len(content), 100_000):
            await receiver.write(content[start : start + 100_000])
        assert isinstance(await receiver.keep(), Stored)


async def store_two(opened: Archive) -> None:
    await asyncio.gather(store(opened, NEW), store(opened, OTHER))


async def store_large(opened: Archive) -> None:
    await store(opened, LARGE)


async def replace(opened: Archive) -> None:
    await store(opened, CHANGED)


async def replace_twice(opened: Archive) -> None:
    await store(opened, CHANGED)
    await store(opened, file(2, b"ijkl"))


async def delete(opened: Archive) -> None:
    await opened.delete(Level.INSTANCE, STUDY, SERIES, "1.2.4.1")


async def delete_all(opened: Archive) -> None:
    await opened.delete(Level.STUDY, STUDY)


# What is there after each, by the numbers of instances; before it, OLD is.
AFTER: list[tuple[Act, dict[int, bytes]]] = [
    (store_two, {1: OLD[0], 2: OLD[1], 3: NEW, 4: OTHER}),
    (store_large, {1: OLD[0], 2: OLD[1], 5: LARGE}),
    (replace, {1: CHANGED, 2: OLD[1]}),
    (replace_twice, {1: CHANGED, 2: file(2, b"ijkl")}),
    (delete, {2: OLD[1]}),
    (delete_all, {}),
]


@pytest.mark.parametrize(
    ("act", "after"), AFTER, ids=[act.__name__ for act, _ in AFTER]
)
def test_whatever_the_step_that_never_came_the_next_start_makes_all_good(
    tmp_path: Path, act: Act, after: dict[int, bytes]
) -> None:
    before = dict(enumerate(OLD, 1))
    for step in range(MOST_STEPS):
        folder = tmp_path / str(step)
        code, answered = die_at(folder, act, step)
        found = asyncio.run(held(folder))
        for number, content in found.items():
            assert content in (before.get(number), after.get(number)), step
        # What neither was nor comes is not there, what was and stays has not gone.
        assert set(found) <= set(before) | set(after)
        assert set(found) >= set(before) & set(after)
        if answered:
            assert found == after, step
        check_no_strays(folder)
        if not code:
            assert answered
            assert step > 5
            return
        assert code == KILLED
    raise AssertionError("it takes more steps than anybody thought")


def die_at(folder: Path, act: Act, step: int) -> tuple[int, bool]:
    """Act in a process that ends at a step; its exit code, and whether it answered."""
    acknowledged = folder / "acknowledged"
    process = os.fork()
    if not process:
        code = 1
        try:
            asyncio.run(_live(folder, act, step, acknowledged))
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(process, 0)
    answered = acknowledged.exists()
    acknowledged.unlink(missing_ok=True)
    return os.waitstatus_to_exitcode(status), answered


async def _live(folder: Path, act: Act, step: int, acknowledged: Path) -> None:
    async with archive(folder) as opened:
        for content in OLD:
            await store(opened, content)
    count = -1

    def watch(name: str) -> None:
        nonlocal count
        if armed:
            count += 1
            if count == step:
                os._exit(KILLED)

    armed = False
    with watched(watch):
        async with archive(folder) as opened:
            armed = True
            await act(opened)
            armed = False
            acknowledged.touch()
            os._exit(0)  # no orderly end: nobody closes anything


async def held(folder: Path) -> dict[int, bytes]:
    """All that is there after the next start, read whole."""
    async with archive(folder) as opened:
        found = {}
        try:
            async for group in opened.instances(Level.STUDY, STUDY):
                for instance in group:
                    number = int(instance.uid.rpartition(".")[2])
                    pieces = [opened.file_range(instance)]
                    chunks = [bytes(chunk) async for chunk in opened.read(pieces)]
                    found[number] = b"".join(chunks)
        except NotFound:
            pass
        totals = await opened.totals()
        assert (totals.instances, totals.size) == (
            len(found),
            sum(map(len, found.values())),
        )
        assert (totals.studies, totals.series, totals.patients) == (bool(found),) * 3
        return found


def check_no_strays(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "gateway.db")) as database:
        assert database.execute("SELECT * FROM garbage").fetchall() == []
    kept.check(folder, folder / "gateway.db")
    assert list(folder.glob("incoming/*/*")) == []


# -- the order that a loss of power needs ----------------------------------------------


async def test_bytes_then_name_then_row_are_on_the_disk_before_the_answer(
    tmp_path: Path,
) -> None:
    steps: list[str] = []
    with watched(steps.append):
        async with archive(tmp_path) as opened:
            steps.clear()
            await store(opened, LARGE)
            steps.append("answer")
    (created,) = [step for step in steps if step.startswith("create")]
    name = re.escape(Path(created.removeprefix("create ")).name)
    lane = r".*/incoming/[0-9]+"
    order = [
        f"create {lane}/{name}",
        f"write {lane}/{name}",
        f"fdatasync {lane}/{name}",
        f"fsync {lane}",
        "before COMMIT",
        "after COMMIT",
        f"rename {lane}/{name}",
        "answer",
    ]
    places = [last(steps, wanted) for wanted in order]
    assert places == sorted(places), steps


async def test_a_pack_has_its_name_and_its_bytes_on_the_disk_before_the_row(
    tmp_path: Path,
) -> None:
    steps: list[str] = []
    with watched(steps.append):
        async with archive(tmp_path) as opened:
            steps.clear()
            await store(opened, NEW)
            steps.append("answer")
            first = list(steps)
            steps.clear()
            await store(opened, OTHER)
            steps.append("answer")
    pack = r".*/blobs/.*\.pack"
    made = [
        "create .*/incoming/.*",
        f"create {pack}",
        "fsync .*/blobs",
        f"write {pack}",
    ]
    stored = [f"fdatasync {pack}", "before COMMIT", "after COMMIT", "answer"]
    for taken, order in (
        (first, made + stored),
        (steps[: steps.index("answer") + 1], [f"write {pack}", *stored]),
    ):
        places = [last(taken, wanted) for wanted in order]
        assert places == sorted(places), taken
    # The second costs one flush of bytes, beside that of the index.
    assert [step.split()[0] for step in steps[:5]] == [
        "write",
        "fdatasync",
        "before",
        "after",
        "answer",
    ]


async def test_a_replaced_file_goes_after_the_row_of_its_successor_is_on_the_disk(
    tmp_path: Path,
) -> None:
    steps: list[str] = []
    async with archive(tmp_path) as opened:
        await store(opened, OLD[0])
    with watched(steps.append):
        async with archive(tmp_path) as opened:
            steps.clear()
            await store(opened, CHANGED)
            steps.append("answer")
    order = ["after COMMIT", r"punch .*/blobs/.*", r"unlink .*/blobs/.*", "answer"]
    places = [last(steps, wanted) for wanted in order]
    assert places == sorted(places), steps


async def test_a_deleted_row_goes_before_its_file_and_that_before_it_is_forgotten(
    tmp_path: Path,
) -> None:
    steps: list[str] = []
    with watched(steps.append):
        async with archive(tmp_path) as opened:
            await store(opened, OLD[0])
            await store(opened, OLD[1])
            steps.clear()
            await delete(opened)
    kinds = [step.partition(" ")[0] for step in steps]
    row_gone, *_, forgotten = [n for n, s in enumerate(steps) if s == "after COMMIT"]
    (file_gone,) = [n for n, s in enumerate(steps) if re.search("punch.*/blobs/", s)]
    flushed = kinds.index("fdatasync", file_gone)
    assert row_gone < file_gone < flushed < forgotten, steps


def last(steps: list[str], wanted: str) -> int:
    """Where the last such step is."""
    found = [n for n, step in enumerate(steps) if re.fullmatch(wanted, step)]
    assert found, (wanted, steps)
    return found[-1]
