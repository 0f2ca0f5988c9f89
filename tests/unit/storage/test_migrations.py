"""The schema's way from one version to the next."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import BadConfiguration
from gateway.storage.database import SqliteDatabase
from gateway.storage.migrations import STEPS, VERSION, migrate, statements

V = VERSION

#: A way two versions on; the second needs what the first has made.
TWO_STEPS = {
    **STEPS,
    V: (
        "ALTER TABLE studies ADD COLUMN colour TEXT",
        "CREATE INDEX c ON studies (colour)",
    ),
    V + 1: ("UPDATE studies SET colour = 'red'", "CREATE TABLE more (id INTEGER)"),
}


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    async with SqliteDatabase(tmp_path / "gateway.db") as database:
        yield database


async def version(database: SqliteDatabase) -> list[Any]:
    return await database.read(lambda s: s.fetch("SELECT version FROM schema_version"))


async def tables(database: SqliteDatabase) -> set[str]:
    sql = "SELECT name FROM sqlite_schema WHERE type = 'table'"
    return {row[0] for row in await database.read(lambda s: s.fetch(sql))}


async def columns(database: SqliteDatabase) -> set[str]:
    sql = "SELECT name FROM pragma_table_info('studies')"
    return {row[0] for row in await database.read(lambda s: s.fetch(sql))}


async def test_a_new_database_is_made_whole(database: SqliteDatabase) -> None:
    assert await database.write(migrate) == 0
    assert await version(database) == [(VERSION,)]
    made = {
        "patients",
        "studies",
        "series",
        "instances",
        "headers",
        "totals",
        "garbage",
        "identity",
        "documents",
        "versions",
        "jobs",
        "job_items",
        "changes",
        "unstable",
        "labels",
        "metadata",
        "name_groups",
        "blocks",
    }
    assert await tables(database) == made | {"schema_version"}


async def test_one_that_is_as_it_should_be_is_left_alone(
    database: SqliteDatabase,
) -> None:
    await database.write(migrate)
    insert = "INSERT INTO garbage (blob) VALUES ('x')"
    await database.write(lambda session: session.execute(insert))
    assert await database.write(migrate) == VERSION
    assert await version(database) == [(VERSION,)]
    kept = await database.read(lambda session: session.fetch("SELECT * FROM garbage"))
    assert kept == [("x",)]


async def test_one_of_a_newer_program_is_refused_and_not_touched(
    database: SqliteDatabase,
) -> None:
    await database.write(migrate)
    newer = "UPDATE schema_version SET version = 999"
    await database.write(lambda session: session.execute(newer))
    with pytest.raises(BadConfiguration, match=r"version 999.*knows \d+:.*newer"):
        await database.write(migrate)
    assert await version(database) == [(999,)]


async def test_an_older_one_goes_all_steps_forward(database: SqliteDatabase) -> None:
    await database.write(migrate)
    went_from = await database.write(lambda s: migrate(s, V + 2, TWO_STEPS))
    assert went_from == VERSION
    assert await version(database) == [(V + 2,)]
    assert "colour" in await columns(database)
    assert "more" in await tables(database)


async def test_a_step_that_fails_leaves_the_version_that_was(
    database: SqliteDatabase,
) -> None:
    await database.write(migrate)
    broken = {**TWO_STEPS, V + 1: ("CREATE TABLE more (id INTEGER)", "NONSENSE")}
    with pytest.raises(Exception, match="NONSENSE"):
        await database.write(lambda s: migrate(s, V + 2, broken))
    assert await version(database) == [(VERSION,)]
    assert "colour" not in await columns(database)
    assert "more" not in await tables(database)
    # The right program still finds its way.
    assert await database.write(lambda s: migrate(s, V + 2, TWO_STEPS)) == VERSION


async def test_a_schema_that_breaks_off_half_way_leaves_nothing(
    database: SqliteDatabase,
) -> None:
    last = VERSION - 1
    half = {**STEPS, last: (*STEPS[last][: len(STEPS[last]) // 2], "NONSENSE")}
    with pytest.raises(Exception, match="NONSENSE"):
        await database.write(lambda session: migrate(session, steps=half))
    assert await tables(database) == set()
    assert await database.write(migrate) == 0


async def test_one_of_an_older_program_becomes_like_a_new_one(
    database: SqliteDatabase, tmp_path: Path
) -> None:
    await database.write(lambda session: migrate(session, 1))
    assert await database.write(migrate) == 1
    sql = "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name"
    async with SqliteDatabase(tmp_path / "new.db") as new:
        await new.write(migrate)
        made = await new.read(lambda session: session.fetch(sql))
    assert await database.read(lambda session: session.fetch(sql)) == made


async def test_two_processes_that_start_at_once_make_one_schema(
    database: SqliteDatabase, tmp_path: Path
) -> None:
    async with SqliteDatabase(tmp_path / "gateway.db") as other:
        found = await asyncio.gather(database.write(migrate), other.write(migrate))
    assert sorted(found) == [0, VERSION]
    assert await version(database) == [(VERSION,)]


def test_there_is_a_step_from_every_older_version() -> None:
    assert sorted(STEPS) == list(range(VERSION))


def test_a_script_is_taken_apart_into_statements_without_comments() -> None:
    script = "-- first\nCREATE TABLE a (b);  -- why; not\n\nINSERT\n INTO a;;\n-- end"
    assert statements(script) == ("CREATE TABLE a (b)", "INSERT\n INTO a")
