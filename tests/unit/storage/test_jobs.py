"""The rows of jobs: kept as they are, found by what changed and whose turn it is."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.storage import jobs as rows
from gateway.storage.database import SqliteDatabase
from gateway.storage.jobs import JobRow
from gateway.storage.migrations import migrate

ROW = JobRow(
    id="a",
    number=1,
    version=1,
    type="work",
    priority=0,
    state="Pending",
    wanted="",
    owner="",
    due=5.0,
    request="[{}, {}, 0]",
    checkpoint="{}",
    content="{}",
    progress=0.25,
    created=4.5,
    completed=None,
    runtime=1.5,
    attempts=2,
    error=None,
)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    async with SqliteDatabase(tmp_path / "gateway.db") as made:
        await made.write(migrate)
        yield made


def row(number: int, **more: Any) -> JobRow:
    return replace(ROW, id=f"job{number}", number=number, version=number, **more)


async def put(database: SqliteDatabase, *kept: JobRow) -> None:
    await database.write(lambda session: [rows.put(session, each) for each in kept])


async def test_a_row_comes_back_as_it_was(database: SqliteDatabase) -> None:
    changed = replace(
        ROW, version=9, state="Failure", completed=7.5, error="{}", wanted="Cancel"
    )
    for kept in (ROW, changed):
        await put(database, kept)
        assert await database.read(lambda session: rows.one(session, "a")) == kept
    assert await database.read(lambda session: rows.one(session, "b")) is None
    assert await database.read(rows.count) == 1
    assert await database.read(rows.next_number) == 2


def test_a_row_does_not_print_what_was_asked_for() -> None:
    secret = replace(ROW, request="hush", checkpoint="hush")
    assert "hush" not in repr(secret)


async def test_what_has_changed_since_is_found(database: SqliteDatabase) -> None:
    await put(database, *[row(number) for number in range(1, 5)])
    found = await database.read(lambda session: rows.changed(session, 2))
    assert [each.number for each in found] == [3, 4]
    assert await database.read(rows.ids) == {"job1", "job2", "job3", "job4"}


async def test_whose_turn_it_is(database: SqliteDatabase) -> None:
    await put(
        database,
        row(1, due=9.0),
        row(2),
        row(3, priority=1, state="Retry"),
        row(4, priority=5, type="unknown"),
        row(5, priority=5, state="Paused"),
        row(6, priority=5, state="Running"),
        row(7, priority=1),
    )
    order = []

    def fits(row: JobRow) -> bool:
        return row.type == "work" and row.due <= 5.0

    while found := await database.read(lambda s: rows.first_waiting(s, fits)):
        order.append(found.number)
        await put(database, replace(found, state="Running"))
    assert order == [3, 7, 2]
    running = await database.read(lambda session: rows.in_state(session, "Running"))
    assert [each.number for each in running] == [2, 3, 6, 7]


async def test_old_ends_are_forgotten_but_for_the_newest(
    database: SqliteDatabase,
) -> None:
    await put(
        database,
        row(1, completed=10.0),
        row(2, completed=40.0),
        row(3, completed=20.0),
        row(4, completed=30.0),
        row(5),
    )
    assert await database.write(lambda session: rows.forget(session, 2, 15.0)) == 1
    assert await database.write(lambda session: rows.forget(session, 2, 99.0)) == 1
    assert await database.read(rows.ids) == {"job2", "job4", "job5"}
    assert await database.write(lambda session: rows.forget(session, 0, 99.0)) == 2
    assert await database.write(lambda session: rows.delete_older(session, 4.5)) == 0
    assert await database.write(lambda session: rows.delete_older(session, 4.6)) == 1


async def test_items_go_with_their_job(database: SqliteDatabase) -> None:
    await put(database, row(1), row(2))

    def fill(session: Any) -> None:
        rows.add_items(session, "job1", ["a", "b"])
        rows.add_items(session, "job2", ["x"])
        rows.add_items(session, "job1", ["c", "d"])

    await database.write(fill)
    assert await database.read(lambda s: rows.items(s, "job1", 1, 2)) == ["b", "c"]
    assert await database.read(lambda s: rows.item_count(s, "job1")) == 4
    await database.write(lambda session: rows.cut_items(session, "job1", 1))
    assert await database.read(lambda s: rows.items(s, "job1", 0, 9)) == ["a"]
    assert await database.write(lambda session: rows.delete(session, "job1"))
    assert not await database.write(lambda session: rows.delete(session, "job1"))
    assert await database.read(lambda s: rows.item_count(s, "job1")) == 0
    assert await database.read(lambda s: rows.items(s, "job2", 0, 9)) == ["x"]
