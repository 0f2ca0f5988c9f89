"""Orthanc's patients, studies, series and instances through real HTTP."""

from pathlib import Path
from typing import Any

import pytest

from gateway.dicom.hierarchy import orthanc_id
from tests import kept
from tests.factories import dicom_file, image

PATIENT = orthanc_id("P1")
STUDY = orthanc_id("P1", "1.2.3.1")
SERIES = orthanc_id("P1", "1.2.3.1", "1.2.3.1.1")


def instance(uid: str) -> str:
    return orthanc_id("P1", "1.2.3.1", "1.2.3.1.1", uid)


async def store(client: Any, *files: bytes) -> list[Any]:
    answers = []
    for file in files:
        response = await client.post("/instances", data=file)
        assert response.status == 200, await response.text()
        answers.append(await response.json())
    return answers


async def get(client: Any, path: str, status: int = 200) -> Any:
    response = await client.get(path)
    assert response.status == status, await response.text()
    return await response.json()


# -- lists and objects -------------------------------------------------------------------


async def test_each_level_is_listed_oldest_first(client: Any) -> None:
    stored = await store(
        client,
        dicom_file(),
        dicom_file(SeriesInstanceUID="1.2.3.1.2"),
        dicom_file(StudyInstanceUID="1.9", SeriesInstanceUID="1.9.1", PatientID="P9"),
    )
    assert await get(client, "/patients") == [PATIENT, orthanc_id("P9")]
    assert await get(client, "/studies") == [STUDY, orthanc_id("P9", "1.9")]
    assert await get(client, "/series") == [one["ParentSeries"] for one in stored]
    assert await get(client, "/instances") == [one["ID"] for one in stored]
    assert await get(client, "/series?since=1&limit=1") == [stored[1]["ParentSeries"]]
    assert await get(client, "/studies?since=5&limit=1") == []


async def test_lists_are_expanded_if_that_is_wanted(client: Any) -> None:
    await store(client, dicom_file())
    for path in ("/patients", "/studies", "/series", "/instances"):
        (one,) = await get(client, f"{path}?expand")
        assert one == await get(client, f"{path}/{one['ID']}")
        assert await get(client, f"{path}?expand=false") == [one["ID"]]
        (limited,) = await get(client, f"{path}?expand=true&since=0&limit=3")
        assert limited == one


async def test_a_series_says_whether_it_is_complete(client: Any) -> None:
    parts = {"ImagesInAcquisition": "2", "NumberOfTemporalPositions": "1"}
    await store(client, dicom_file(InstanceNumber=1, **parts))
    found = await get(client, f"/series/{SERIES}")
    assert (found["ExpectedNumberOfInstances"], found["Status"]) == (2, "Missing")
    await store(client, dicom_file(InstanceNumber=2, **parts))
    assert (await get(client, f"/series/{SERIES}"))["Status"] == "Complete"
    await store(client, dicom_file(InstanceNumber=2, **parts))
    assert (await get(client, f"/series/{SERIES}"))["Status"] == "Inconsistent"


async def test_tags_are_added_that_are_asked_for(client: Any) -> None:
    await store(client, image(WindowCenter="40"))
    asked = "requested-tags=WindowCenter;ModalitiesInStudy;0010,0020;SeriesDescription"
    found = await get(client, f"/studies/{STUDY}?{asked}")
    assert found["RequestedTags"] == {
        "ModalitiesInStudy": "CT",
        "PatientID": "P1",
        "SeriesDescription": None,
        "WindowCenter": "40",
    }
    error = await get(client, f"/studies/{STUDY}?requested-tags=Nonsense", 400)
    assert "Nonsense" in error["Message"]


async def test_what_is_not_there_is_not_found_at_its_level(client: Any) -> None:
    await store(client, dicom_file())
    for path in ("/patients", "/studies", "/series", "/instances"):
        error = await get(client, f"{path}/nothing", 404)
        assert error["OrthancStatus"] == 17
    await get(client, f"/studies/{PATIENT}", 404)
    await get(client, f"/series/{SERIES}/nothing", 404)


async def test_a_wrong_flag_is_named(client: Any) -> None:
    error = await get(client, "/studies?expand=perhaps", 400)
    assert "expand" in error["Message"]


async def test_what_is_written_beside_one_is_shown_with_it(client: Any) -> None:
    await store(client, dicom_file())
    assert (await client.put(f"/patients/{PATIENT}/labels/seen")).status == 200
    assert (await client.put(f"/patients/{PATIENT}/protected", data="1")).status == 200
    found = await get(client, f"/patients/{PATIENT}")
    assert found["Labels"] == ["seen"]
    assert found["IsProtected"] is True


# -- deleting ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "remaining"),
    [
        (f"/patients/{PATIENT}", None),
        (f"/studies/{STUDY}", "Patient"),
        (f"/series/{SERIES}", "Study"),
    ],
)
async def test_deleting_takes_what_is_below(
    client: Any, tmp_path: Path, path: str, remaining: str | None
) -> None:
    await store(
        client,
        dicom_file(),
        dicom_file(),
        dicom_file(SeriesInstanceUID="1.2.3.1.2"),
        dicom_file(StudyInstanceUID="1.9", SeriesInstanceUID="1.9.1"),
    )
    response = await client.delete(path)
    assert response.status == 200
    ancestor = (await response.json())["RemainingAncestor"]
    assert (ancestor and ancestor["Type"]) == remaining
    left = {None: 0, "Patient": 1, "Study": 2}[remaining]
    assert len(await get(client, "/instances")) == left
    assert len(kept.contents(tmp_path / "storage")) == left
    await get(client, path, 404)
    assert (await client.delete(path)).status == 404


async def test_a_study_of_two_patients_goes_for_one_of_them(client: Any) -> None:
    await store(
        client,
        dicom_file(),
        dicom_file(PatientID="P2", SeriesInstanceUID="1.2.3.1.2"),
    )
    assert (await client.delete(f"/studies/{STUDY}")).status == 200
    assert await get(client, "/patients") == [orthanc_id("P2")]
    assert await get(client, "/studies") == [orthanc_id("P2", "1.2.3.1")]


async def test_many_are_deleted_at_once_and_unknown_ones_passed_over(
    client: Any,
) -> None:
    first, second, _ = await store(
        client,
        dicom_file(),
        dicom_file(PatientID="P2", StudyInstanceUID="1.9", SeriesInstanceUID="1.9.1"),
        dicom_file(PatientID="P3", StudyInstanceUID="1.8", SeriesInstanceUID="1.8.1"),
    )
    names = [first["ID"], second["ParentPatient"], first["ParentStudy"], "nothing"]
    response = await client.post("/tools/bulk-delete", json={"Resources": names})
    assert response.status == 200
    assert await get(client, "/patients") == [orthanc_id("P3")]
    for wrong in ({}, {"Resources": "x"}, {"Resources": [1]}):
        response = await client.post("/tools/bulk-delete", json=wrong)
        assert response.status == 400


async def test_nothing_is_written_where_it_is_read_only(start: Any) -> None:
    client = await start(ReadOnly=True)
    for method, path in (
        ("DELETE", "/patients/x"),
        ("PUT", "/patients/x/labels/a"),
        ("PUT", "/patients/x/metadata/1024"),
        ("DELETE", "/changes"),
    ):
        response = await client.request(method, path)
        assert response.status == 405, path
    assert (await client.post("/tools/shutdown")).status == 404
    response = await client.post("/tools/find", json={"Level": "Study", "Query": {}})
    assert await response.json() == []


# -- what files say ----------------------------------------------------------------------


async def test_what_instances_agree_in_is_told(client: Any) -> None:
    await store(
        client,
        dicom_file(StudyDescription="Knee", PatientAge="040Y"),
        dicom_file(StudyDescription="Knee", PatientAge="041Y"),
    )
    found = await get(client, f"/studies/{STUDY}/shared-tags?simplify")
    assert found["StudyDescription"] == "Knee"
    assert "PatientAge" not in found
    assert "SOPInstanceUID" not in found
    module = await get(client, f"/studies/{STUDY}/module?simplify")
    assert module["StudyDescription"] == "Knee"
    assert "PatientName" not in module
    module = await get(client, f"/studies/{STUDY}/module-patient?simplify")
    assert module == {"PatientID": "P1", "PatientName": "Doe^Jane"}
    tags = await get(client, f"/series/{SERIES}/instances-tags?simplify")
    assert {one["PatientAge"] for one in tags.values()} == {"040Y", "041Y"}


async def test_text_that_is_too_long_is_said_to_be_so(client: Any) -> None:
    (stored,) = await store(client, dicom_file(ImageComments="x" * 300))
    found = await get(client, f"{stored['Path']}/tags")
    assert found["0020,4000"] == {
        "Name": "ImageComments",
        "Type": "TooLong",
        "Value": None,
    }
    path = f"{stored['Path']}/tags?ignore-length=ImageComments"
    assert (await get(client, path))["0020,4000"]["Value"] == "x" * 300
    found = await get(client, f"{stored['Path']}/simplified-tags")
    assert found["ImageComments"] is None


async def test_metadata_need_no_refreshing(client: Any) -> None:
    await store(client, dicom_file(PatientID="P1", StudyInstanceUID="1.2.3.1"))
    response = await client.post(f"/studies/{STUDY}/update-dicomweb-cache")
    assert response.status == 200
    assert await response.json() == {}
    response = await client.post(f"/studies/{PATIENT}/update-dicomweb-cache")
    assert response.status == 404
