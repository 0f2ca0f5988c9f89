"""Searches among many: what the engine reads for them, and pages far behind."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import count

import pytest

from gateway.dicom.filters import parse_filter
from gateway.dicom.header import read_header
from gateway.dicom.hierarchy import Level
from gateway.dicom.query import Query, Sorting
from gateway.storage import blocks, resources, search
from gateway.storage.database import SqliteSession
from gateway.storage.entries import Entry, entry_of
from gateway.storage.index import Index
from gateway.storage.migrations import STEPS, migrate
from gateway.storage.search import Search
from tests.factories import dicom_file

NAME = "Yamada^Tarou=山田^太郎"

_blobs = count()


@pytest.fixture
def session() -> Iterator[SqliteSession]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        session = SqliteSession(connection)
        migrate(session)
        yield session


def add(session: SqliteSession, *entries: Entry, overwrite: bool = False) -> None:
    named = [(entry, f"{next(_blobs):032x}", overwrite) for entry in entries]
    Index().add(session, named)


def entry(study: str, number: int = 1, **attributes: str) -> Entry:
    file = dicom_file(
        StudyInstanceUID=study,
        SeriesInstanceUID=f"{study}.1",
        SOPInstanceUID=f"{study}.1.{number}",
        SpecificCharacterSet="ISO_IR 192",
        **attributes,
    )
    return entry_of(read_header(file), 100)


def asked(level: Level = Level.STUDY, **keys: str) -> Query:
    filters = tuple(
        parse_filter(
            key,
            value,
            empty_value_matching=False,
            multiple_value_matching=False,
            fuzzy_matching=False,
        )
        for key, value in keys.items()
    )
    return Query(level, filters=filters, limit=50)


def found(session: SqliteSession, query: Query) -> list[str]:
    return [match.uids[-1] for match in Search(session, query).matches()]


def plan(session: SqliteSession, query: Query) -> list[str]:
    """What the engine does to find which ones are on a page."""
    sql, parameters = Search(session, query)._ids(50)
    return [row[3] for row in session.fetch(f"EXPLAIN QUERY PLAN {sql}", parameters)]


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"StudyDate": "20240101-"},
        {"PatientName": "*x*"},
        {"PatientName": "*x*", "StudyDate": "20240101-20240131"},
        {"PatientSex": "F"},
        {"StudyDescription": "*x*", "ModalitiesInStudy": "C*"},
    ],
    ids=str,
)
def test_what_many_may_be_is_walked_over_without_whole_rows(
    session: SqliteSession, keys: dict[str, str]
) -> None:
    steps = plan(session, asked(**keys))
    assert steps[0] == "SCAN s USING COVERING INDEX studies_keys"
    assert not any("TEMP B-TREE" in step for step in steps)


@pytest.mark.parametrize(
    "keys",
    [
        {"StudyInstanceUID": "1.2"},
        {"PatientID": "A"},
        {"PatientName": "Doe^Jane"},
        {"PatientName": "Doe*", "StudyDate": "20240101-"},
        {"AccessionNumber": "A*"},
        {"StudyDate": "20240101"},
        {"SeriesInstanceUID": "1.2.1"},
        {"SOPInstanceUID": "1.2.1"},
    ],
    ids=str,
)
@pytest.mark.parametrize("level", [Level.STUDY, Level.SERIES, Level.INSTANCE])
def test_what_is_rare_is_sought_in_an_index(
    session: SqliteSession, level: Level, keys: dict[str, str]
) -> None:
    steps = plan(session, asked(level, **keys))
    assert not any(step.startswith("SCAN") for step in steps), steps


def test_classes_are_looked_for_in_each_study_alone(session: SqliteSession) -> None:
    steps = plan(session, asked(SOPClassesInStudy="1.2.3"))
    assert any("(sop_class=? AND series=?)" in step for step in steps), steps


def test_the_latest_studies_come_from_an_index(session: SqliteSession) -> None:
    order = (Sorting("00080020", True), Sorting("00080030", True))
    query = Query(Level.STUDY, limit=50, order=order)
    assert plan(session, query) == ["SCAN s USING COVERING INDEX studies_date"]


@pytest.mark.parametrize("rare", [0, 1000])
def test_a_modality_is_found_however_frequent_it_is(
    session: SqliteSession, monkeypatch: pytest.MonkeyPatch, rare: int
) -> None:
    monkeypatch.setattr(search, "RARE", dict.fromkeys(Level, rare))
    for number in range(5):
        add(session, entry(f"1.{number}", Modality=["CT", "MR"][number % 2]))
    for level in (Level.STUDY, Level.SERIES, Level.INSTANCE):
        assert len(found(session, asked(level, Modality="MR"))) == 2
        assert len(found(session, asked(level, Modality="US"))) == 0
        assert len(found(session, asked(level, ModalitiesInStudy="CT"))) == 3


def test_pages_of_instances_are_the_same_after_removals(session: SqliteSession) -> None:
    add(session, *(entry("1", number) for number in range(1, 2100)))
    ids = [row[0] for row in session.fetch("SELECT id FROM instances ORDER BY id")]
    Index().remove(session, [*ids[:5], *ids[1000:1100], *ids[-3:]])
    left = [row[0] for row in session.fetch("SELECT uid FROM instances ORDER BY id")]
    for offset in (0, 1, 995, 1018, 1019, 1020, 1990, len(left) - 1, len(left), 9999):
        query = Query(Level.INSTANCE, limit=3, offset=offset)
        assert found(session, query) == left[offset : offset + 3]
        known = resources.identifiers(session, Level.INSTANCE, offset, 3)
        assert len(list(known)) == len(left[offset : offset + 3])
    counted = session.fetch("SELECT id >> 10, COUNT(*) FROM instances GROUP BY 1")
    assert session.fetch("SELECT block, instances FROM blocks") == counted


def test_a_page_behind_the_last_block_is_empty(session: SqliteSession) -> None:
    assert blocks.place(session, 1) == (0, 1)
    add(session, entry("1"))
    assert blocks.place(session, 5) == (1024, 4)


def test_each_group_of_a_name_is_found_until_it_goes(session: SqliteSession) -> None:
    add(session, entry("1", PatientName=NAME), entry("2", PatientName="Doe^Jane"))
    for name in ("山田^太郎", "yamada*", "山*", "*太*"):
        assert found(session, asked(PatientName=name)) == ["1"]
    assert found(session, asked(PatientName="*a*郎")) == []  # no star crosses groups
    add(session, entry("1", PatientName="Doe^John"), overwrite=True)
    assert found(session, asked(PatientName="山*")) == []
    assert sorted(found(session, asked(PatientName="doe*"))) == ["1", "2"]
    add(session, entry("1", PatientName=NAME), overwrite=True)
    held = session.fetch("SELECT id FROM instances")
    Index().remove(session, [row[0] for row in held])
    assert session.fetch("SELECT * FROM name_groups") == []


def test_an_older_index_gets_its_blocks_and_names() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        session = SqliteSession(connection)
        migrate(session)
        add(
            session,
            entry("1", PatientName=NAME, ReferringPhysicianName='A"\\b^=乙'),
            entry("2", PatientName="Doe^Jane"),
        )
        kept = [
            (table, session.fetch(f"SELECT * FROM {table} ORDER BY 1, 2"))
            for table in ("name_groups", "blocks")
        ]
        for table, rows in kept:
            assert rows
            session.execute(f"DROP TABLE {table}")
        session.execute("DROP INDEX studies_keys")
        session.execute("DROP INDEX series_keys")
        session.execute("UPDATE schema_version SET version = 3")
        migrate(session, 4, STEPS)
        for table, rows in kept:
            assert session.fetch(f"SELECT * FROM {table} ORDER BY 1, 2") == rows
