"""What is to be sent: found by Orthanc's identifiers, and held as asked for."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.archive import Archive
from gateway.dicom.hierarchy import orthanc_id
from gateway.errors import NotFound
from gateway.transfers.selection import select
from tests.factories import dicom_file

STUDY = "1.2.3.1"


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    async with Archive(tmp_path, tmp_path) as opened:
        for number in (3, 1, 2):
            for series in (2, 1):
                await keep(
                    opened,
                    SOPInstanceUID=f"1.2.9.{series}.{number}",
                    SeriesInstanceUID=f"{STUDY}.{series}",
                    SeriesNumber=series,
                    InstanceNumber=number,
                )
        await keep(opened, StudyInstanceUID="1.2.3.2", SOPInstanceUID="1.2.9.9")
        yield opened


async def keep(archive: Archive, **attributes: object) -> None:
    async with archive.receive() as receiver:
        await receiver.write(dicom_file(**attributes))
        await receiver.keep()


async def names(archive: Archive, *identifiers: str) -> list[str]:
    selection = await select(archive, identifiers)
    held = await archive.holdings.instances(selection.instances)
    assert selection.size == sum(instance.size for instance in held.values())
    return [held[identifier].uid for identifier in selection.instances]


ORDERED = [f"1.2.9.{series}.{number}" for series in (1, 2) for number in (1, 2, 3)]


async def test_instances_come_in_the_order_of_their_numbers(archive: Archive) -> None:
    assert await names(archive, orthanc_id("P1", STUDY)) == ORDERED
    assert await names(archive, orthanc_id("P1")) == [*ORDERED, "1.2.9.9"]
    series = orthanc_id("P1", STUDY, f"{STUDY}.2")
    assert await names(archive, series) == ORDERED[3:]


async def test_each_instance_comes_once(archive: Archive) -> None:
    one = orthanc_id("P1", STUDY, f"{STUDY}.2", "1.2.9.2.2")
    study = orthanc_id("P1", STUDY)
    found = await names(archive, one, study, one)
    assert found[0] == "1.2.9.2.2"
    assert sorted(found) == ORDERED
    selection = await select(archive, [one, study, one])
    assert selection.given == {"Instances": [one, one], "Studies": [study]}
    assert selection.resources()["Instances"] == selection.instances


async def test_what_is_not_held_is_not_found(archive: Archive) -> None:
    for name in ("", "nobody", "x" * 100_000):
        with pytest.raises(NotFound):
            await select(archive, [orthanc_id("P1", STUDY), name])


async def test_many_identifiers_are_found_at_once(archive: Archive) -> None:
    one = orthanc_id("P1", STUDY, f"{STUDY}.2", "1.2.9.2.2")
    assert await names(archive, *[one] * 2000) == ["1.2.9.2.2"]


async def test_what_is_held_of_a_study_is_told_from_what_lacks(
    archive: Archive,
) -> None:
    there = {(f"{STUDY}.1", "1.2.9.1.1"), (f"{STUDY}.2", "1.2.9.2.3")}
    elsewhere = {(f"{STUDY}.2", "1.2.9.1.1"), (f"{STUDY}.1", "1.2.9.9")}
    many = {(f"{STUDY}.1", f"1.2.77.{number}") for number in range(1200)}
    held = await archive.holdings.held(STUDY, there | elsewhere | many)
    assert held == there
    assert await archive.holdings.held("1.2.3.2", there) == set()
