"""The index: what is held, and in which series, studies and patients."""

from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pytest

from gateway.dicom.header import read_header
from gateway.dicom.hierarchy import Level, Uids, orthanc_id
from gateway.storage.database import Session, SqliteDatabase
from gateway.storage.entries import Entry, entry_of, inflate
from gateway.storage.index import Added, Index, Instance, Occupied, Totals
from gateway.storage.metadata import _whole
from gateway.storage.migrations import migrate
from tests.factories import dicom_file

T = TypeVar("T")

index = Index()
_blobs = count()


class Held:
    """The index with its database, in few words."""

    def __init__(self, database: SqliteDatabase) -> None:
        self.database = database

    async def add(self, *entries: Entry, overwrite: bool = False) -> list[Any]:
        named = [(entry, blob(), overwrite) for entry in entries]
        return await self.database.write(lambda session: index.add(session, named))

    async def ask(self, work: Callable[[Session], T]) -> T:
        return await self.database.read(work)

    async def instances(self, level: Level, *uids: str) -> list[Instance]:
        return await self.ask(lambda s: list(index.instances(s, level, uids)))

    async def remove(self, *instances: Instance) -> list[str]:
        ids = [instance.id for instance in instances]
        return await self.database.write(lambda session: index.remove(session, ids))

    async def rows(self, sql: str) -> list[Any]:
        found = await self.ask(lambda session: session.fetch(sql))
        return [row[0] if len(row) == 1 else row for row in found]

    async def counters(self) -> tuple[Totals, list[Any], list[Any]]:
        """Totals; instances of each series; series and instances of each study."""
        return (
            await self.ask(index.totals),
            await self.rows("SELECT instance_count FROM series ORDER BY id"),
            await self.rows(
                "SELECT series_count, instance_count FROM studies ORDER BY id"
            ),
        )


@pytest.fixture
async def held(tmp_path: Path) -> AsyncIterator[Held]:
    async with SqliteDatabase(tmp_path / "gateway.db") as database:
        await database.write(migrate)
        yield Held(database)


def blob() -> str:
    return f"{next(_blobs):032x}"


def entry(size: int = 100, **attributes: Any) -> Entry:
    return entry_of(read_header(dicom_file(**attributes)), size)


def one(number: int, series: str = "1.1", study: str = "1", **more: Any) -> Entry:
    return entry(
        StudyInstanceUID=study,
        SeriesInstanceUID=series,
        SOPInstanceUID=f"{series}.{number}",
        InstanceNumber=number,
        **more,
    )


# -- adding ----------------------------------------------------------------------------


async def test_what_is_added_is_found_by_its_address_and_by_orthancs_name(
    held: Held,
) -> None:
    added = one(1)
    assert await held.add(added) == [Added()]
    (found,) = await held.instances(Level.INSTANCE, "1", "1.1", "1.1.1")
    assert (found.study, found.series, found.uid) == ("1", "1.1", "1.1.1")
    assert found.size == 100
    assert found.orthanc_id == orthanc_id("P1", "1", "1.1", "1.1.1")
    assert await held.ask(lambda s: index.by_orthanc_id(s, found.orthanc_id)) == found
    assert await held.ask(lambda s: index.locate(s, added.uids)) == found
    assert await held.ask(lambda s: index.has_blob(s, found.blob))
    stored = await held.ask(lambda s: index.header(s, found.id))
    assert stored is not None
    assert orjson.loads(inflate(stored[0]))["00080018"]["Value"] == ["1.1.1"]


async def test_parents_appear_with_their_first_child_and_count_them_all(
    held: Held,
) -> None:
    await held.add(one(1), one(2), one(1, "1.2"))
    await held.add(one(3), one(1, "2.1", "2"))
    totals, series, studies = await held.counters()
    assert totals == Totals(patients=1, studies=2, series=3, instances=5, size=500)
    assert series == [3, 1, 1]
    assert studies == [(2, 4), (1, 1)]


async def test_the_modalities_of_a_study_are_those_of_its_series(held: Held) -> None:
    await held.add(one(1, "1.1", Modality="MR"), one(1, "1.2", Modality="CT"))
    await held.add(one(1, "1.3", Modality="CT"), one(1, "1.4", Modality=None))
    assert await held.rows("SELECT modalities FROM studies") == ["CT\\MR"]
    (gone,) = await held.instances(Level.SERIES, "1", "1.1")
    await held.remove(gone)
    assert await held.rows("SELECT modalities FROM studies") == ["CT"]


async def test_the_same_instance_in_two_studies_is_two_instances(held: Held) -> None:
    twins = [
        entry(StudyInstanceUID=study, SeriesInstanceUID="9", SOPInstanceUID="9.9")
        for study in ("1", "2")
    ]
    assert await held.add(*twins) == [Added(), Added()]
    for study in ("1", "2"):
        (found,) = await held.instances(Level.INSTANCE, study, "9", "9.9")
        assert found.study == study


async def test_an_address_that_is_taken_is_told_with_who_has_it(held: Held) -> None:
    await held.add(one(1))
    (taken, free) = await held.add(one(1, PatientName="Other"), one(2))
    (found,) = await held.instances(Level.INSTANCE, "1", "1.1", "1.1.1")
    assert taken == Occupied(found)
    assert free == Added()
    assert (await held.counters())[0].instances == 2


async def test_an_address_is_taken_whoever_the_patient_is(held: Held) -> None:
    await held.add(one(1, PatientID="P1"))
    (outcome,) = await held.add(one(1, PatientID="P2"))
    assert isinstance(outcome, Occupied)


async def test_the_second_of_two_with_one_address_in_a_group_finds_it_taken(
    held: Held,
) -> None:
    first, second = await held.add(one(1), one(1))
    assert first == Added()
    assert isinstance(second, Occupied)
    assert (await held.counters())[0].instances == 1


async def test_one_poisoned_entry_takes_its_whole_group_with_it(held: Held) -> None:
    """The transaction is whole or not at all; who shared it tries again alone."""
    twice = blob()
    named = [(one(1), twice, False), (one(2), twice, False)]
    with pytest.raises(Exception, match="UNIQUE"):
        await held.database.write(lambda session: index.add(session, named))
    assert (await held.counters())[0] == Totals(0, 0, 0, 0, 0)


# -- replacing -------------------------------------------------------------------------


async def test_a_replacement_takes_the_address_and_makes_the_old_blob_garbage(
    held: Held,
) -> None:
    await held.add(one(1, size=100), one(2))
    (before,) = await held.instances(Level.INSTANCE, "1", "1.1", "1.1.1")
    (outcome,) = await held.add(one(1, size=70), overwrite=True)
    assert outcome == Added(replaced=before.blob)
    (after,) = await held.instances(Level.INSTANCE, "1", "1.1", "1.1.1")
    assert after.blob != before.blob
    assert await held.ask(index.garbage) == [before.blob]
    assert await held.counters() == (Totals(1, 1, 1, 2, 170), [2], [(1, 2)])
    assert not await held.ask(lambda s: index.has_blob(s, before.blob))
    await held.database.write(lambda s: index.discarded(s, [before.blob]))
    assert await held.ask(index.garbage) == []


async def test_the_only_instance_is_replaced_and_its_parents_stay(held: Held) -> None:
    await held.add(one(1))
    await held.add(one(1), overwrite=True)
    assert await held.counters() == (Totals(1, 1, 1, 1, 100), [1], [(1, 1)])
    assert await held.rows("SELECT modalities FROM studies") == ["CT"]


async def test_a_group_that_replaces_and_adds_counts_right(held: Held) -> None:
    await held.add(one(1), one(2))
    group = [one(3), one(1), one(1), one(4), one(2), one(1, "1.2")]
    outcomes = await held.add(*group, overwrite=True)
    assert [bool(outcome.replaced) for outcome in outcomes] == [
        *(False, True, True, False, True, False)
    ]
    assert await held.counters() == (Totals(1, 1, 2, 5, 500), [4, 1], [(2, 5)])
    assert len(await held.ask(index.garbage)) == 3


async def test_a_correction_shows_at_the_parents(held: Held) -> None:
    await held.add(one(1, PatientName="Wrong", Modality="CT", StudyDescription="a"))
    corrected = one(1, PatientName="Right", Modality="MR", StudyDescription="b")
    await held.add(corrected, overwrite=True)
    for table in ("patients", "studies"):
        (attributes,) = await held.rows(f"SELECT attributes FROM {table}")
        name = orjson.loads(attributes)["00100010"]["Value"]
        assert name == [{"Alphabetic": "Right"}]
    assert await held.rows("SELECT modalities FROM studies") == ["MR"]
    assert await held.rows("SELECT description_key FROM studies") == ["b"]


async def test_a_correction_of_the_patient_moves_the_instance(held: Held) -> None:
    await held.add(one(1, PatientID="WRONG"), one(2, PatientID="WRONG"))
    await held.add(one(1, PatientID="RIGHT"), overwrite=True)
    totals, *_ = await held.counters()
    assert (totals.patients, totals.instances) == (2, 2)
    await held.add(one(2, PatientID="RIGHT"), overwrite=True)
    assert await held.counters() == (Totals(1, 1, 1, 2, 200), [2], [(1, 2)])
    assert await held.rows("SELECT patient_id FROM patients") == ["RIGHT"]
    assert len(await held.instances(Level.STUDY, "1")) == 2


# -- removing --------------------------------------------------------------------------


async def test_what_lies_in_a_pack_does_so_until_it_is_removed_from_there(
    held: Held,
) -> None:
    pack = "0" * 32
    blobs = [pack + "00000000000120", pack + "00001000000120"]
    named = [(one(n), blob, False) for n, blob in enumerate(blobs)]
    await held.database.write(lambda session: index.add(session, named))
    first = (await held.instances(Level.STUDY, "1"))[0]
    await held.remove(first)
    packed = await held.ask(lambda session: index.packed(session, pack))
    assert sorted(packed) == blobs
    await held.database.write(lambda session: index.discarded(session, [first.blob]))
    assert await held.ask(lambda session: index.packed(session, pack)) == [
        blob for blob in blobs if blob != first.blob
    ]


async def test_parents_vanish_with_their_last_child(held: Held) -> None:
    await held.add(one(1), one(2), one(1, "1.2"), one(1, "2.1", "2"))
    first, second = await held.instances(Level.SERIES, "1", "1.1")
    assert await held.remove(first) == [first.blob]
    assert await held.counters() == (
        Totals(1, 2, 3, 3, 300),
        [1, 1, 1],
        [(2, 2), (1, 1)],
    )
    await held.remove(second)
    assert await held.counters() == (Totals(1, 2, 2, 2, 200), [1, 1], [(1, 1), (1, 1)])
    await held.remove(*await held.instances(Level.STUDY, "1"))
    assert await held.counters() == (Totals(1, 1, 1, 1, 100), [1], [(1, 1)])
    await held.remove(*await held.instances(Level.STUDY, "2"))
    assert await held.counters() == (Totals(0, 0, 0, 0, 0), [], [])
    assert len(await held.ask(index.garbage)) == 4
    assert await held.rows("SELECT COUNT(*) FROM headers") == [0]


async def test_what_is_not_there_cannot_be_removed(held: Held) -> None:
    with pytest.raises(LookupError):
        await held.database.write(lambda session: index.remove(session, [7]))


# -- asking ----------------------------------------------------------------------------


async def test_instances_come_in_the_order_of_their_numbers(held: Held) -> None:
    await held.add(one(10), one(9), one(1, "1.0", SeriesNumber=0))
    await held.add(one(100), one(2))
    found = [i.uid for i in await held.instances(Level.STUDY, "1")]
    assert found == ["1.0.1", "1.1.2", "1.1.9", "1.1.10", "1.1.100"]
    headers = await held.ask(lambda s: list(_whole(s, Level.STUDY, ("1",))))
    assert [row[2] for row in headers] == found


async def test_each_level_has_its_own_and_no_other(held: Held) -> None:
    await held.add(one(1), one(1, "1.2"), one(1, "2.1", "2"))

    async def found(level: Level, *uids: str) -> list[str]:
        return [instance.uid for instance in await held.instances(level, *uids)]

    assert await found(Level.STUDY, "1") == ["1.1.1", "1.2.1"]
    assert await found(Level.SERIES, "1", "1.2") == ["1.2.1"]
    assert await found(Level.SERIES, "2", "1.2") == []
    assert await found(Level.INSTANCE, "1", "1.2", "1.1.1") == []
    syntaxes = await held.ask(lambda s: index.transfer_syntaxes(s, Level.STUDY, ("1",)))
    assert syntaxes == {"1.2.840.10008.1.2.1"}


async def test_an_empty_index_holds_nothing(held: Held) -> None:
    nowhere = Uids("P1", "1", "1.1", "1.1.1")
    assert await held.ask(lambda s: index.locate(s, nowhere)) is None
    assert await held.ask(lambda s: index.by_orthanc_id(s, "x")) is None
    assert await held.ask(lambda s: index.header(s, 1)) is None
    assert await held.ask(index.size) == 0
    assert await held.ask(index.totals) == Totals(0, 0, 0, 0, 0)
