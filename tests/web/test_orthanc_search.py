"""/tools/find, /tools/count-resources and /tools/lookup through real HTTP."""

from typing import Any

import pytest

from gateway.dicom.hierarchy import orthanc_id
from tests.factories import dicom_file
from tests.web.test_orthanc_resources import store

ONE = orthanc_id("P1", "1.2.3.1")
TWO = orthanc_id("P2", "1.2.5")
THREE = orthanc_id("P2", "1.2.6")


@pytest.fixture
async def held(client: Any) -> Any:
    await store(
        client,
        dicom_file(StudyDate="20240101"),
        dicom_file(
            PatientID="P2",
            PatientName="Roe^Richard",
            StudyInstanceUID="1.2.5",
            SeriesInstanceUID="1.2.5.1",
            StudyDate="20230101",
            Modality="MR",
        ),
        dicom_file(
            PatientID="P2",
            PatientName="Roe^Richard",
            StudyInstanceUID="1.2.6",
            SeriesInstanceUID="1.2.6.1",
            StudyDate="20250101",
            StudyDescription="Knee",
        ),
    )
    return client


async def find(client: Any, **asked: Any) -> Any:
    response = await client.post("/tools/find", json={"Level": "Study", **asked})
    assert response.status == 200, await response.text()
    return await response.json()


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, [ONE, TWO, THREE]),
        ({"PatientName": "roe*"}, [TWO, THREE]),
        ({"StudyDate": "20240101-"}, [ONE, THREE]),
        ({"StudyDate": "-"}, [ONE, TWO, THREE]),
        ({"ModalitiesInStudy": "MR"}, [TWO]),
        ({"Modality": "MR"}, [TWO]),
        ({"StudyDescription": "*"}, [THREE]),
        ({"StudyDescription": ""}, [ONE, TWO, THREE]),
        ({"StudyInstanceUID": "1.2.5\\1.2.6"}, [TWO, THREE]),
        ({"0010,0020": "P1"}, [ONE]),
    ],
    ids=str,
)
async def test_attributes_are_matched(held: Any, query: Any, wanted: Any) -> None:
    assert await find(held, Query=query) == wanted
    response = await held.post(
        "/tools/count-resources", json={"Level": "Study", "Query": query}
    )
    assert await response.json() == {"Count": len(wanted)}


async def test_upper_and_lower_case_count_if_they_shall(held: Any) -> None:
    assert await find(held, Query={"PatientName": "ROE*"}) == [TWO, THREE]
    assert await find(held, Query={"PatientName": "ROE*"}, CaseSensitive=True) == []


async def test_every_level_is_found(held: Any) -> None:
    query = {"PatientID": "P2"}
    assert await find(held, Level="Patient", Query=query) == [orthanc_id("P2")]
    assert len(await find(held, Level="Series", Query=query)) == 2
    assert len(await find(held, Level="instances", Query=query)) == 2
    (one,) = await find(held, Level="Patient", Query=query, Since=0, Limit=1)
    assert one == orthanc_id("P2")
    assert await find(held, Level="Patient", Query=query, Since=1, Limit=1) == []


async def test_pages_and_their_order_are_as_wanted(held: Any) -> None:
    assert await find(held, Query={}, Since=1, Limit=1) == [TWO]
    for key, wanted in (
        ({"Type": "DicomTag", "Key": "StudyDate"}, [TWO, ONE, THREE]),
        (
            {"Type": "DicomTag", "Key": "0008,0020", "Direction": "DESC"},
            [THREE, ONE, TWO],
        ),
        ({"Type": "Metadata", "Key": "LastUpdate"}, [ONE, TWO, THREE]),
    ):
        assert await find(held, Query={}, OrderBy=[key]) == wanted
        assert await find(held, Query={}, OrderBy=[key], Limit=2) == wanted[:2]


async def test_labels_are_all_any_or_none_of_those(held: Any) -> None:
    for study, labels in ((ONE, ("a", "b")), (TWO, ("b",))):
        for label in labels:
            await held.put(f"/studies/{study}/labels/{label}")
    for constraint, wanted in (
        ("All", [ONE]),
        ("Any", [ONE, TWO]),
        ("None", [THREE]),
    ):
        found = await find(
            held, Query={}, Labels=["a", "b"], LabelsConstraint=constraint
        )
        assert found == wanted
    assert await (await held.get("/tools/labels")).json() == ["a", "b"]


async def test_only_children_of_a_parent_are_found(held: Any) -> None:
    assert await find(held, Query={}, ParentPatient=orthanc_id("P2")) == [TWO, THREE]
    found = await find(held, Level="Series", Query={}, ParentStudy=TWO)
    assert found == [orthanc_id("P2", "1.2.5", "1.2.5.1")]
    assert await find(held, Query={}, ParentPatient="nobody") == []
    assert await find(held, Query={}, ParentStudy=TWO) == [TWO]
    patient = orthanc_id("P2")
    found = await find(held, Level="Patient", Query={}, ParentPatient=patient)
    assert found == [patient]


async def test_objects_have_what_is_asked_for(held: Any) -> None:
    (found,) = await find(held, Query={"PatientID": "P1"}, Expand=True)
    assert found == await (await held.get(f"/studies/{ONE}")).json()
    (found,) = await find(
        held, Query={"PatientID": "P1"}, ResponseContent=["Children", "Labels"]
    )
    assert set(found) == {"ID", "Type", "Series", "Labels"}
    (found,) = await find(
        held,
        Query={"PatientID": "P1"},
        Expand=True,
        RequestedTags=["Modality"],
        Short=True,
    )
    assert found["RequestedTags"] == {"0008,0060": "CT"}
    assert found["MainDicomTags"]["0008,0020"] == "20240101"


async def test_what_is_below_a_patient_is_counted(held: Any) -> None:
    names = [f"NumberOfPatientRelated{what}" for what in ("Studies", "Series")]
    names.append("NumberOfPatientRelatedInstances")
    (found,) = await find(
        held,
        Level="Patient",
        Query={"PatientID": "P2"},
        RequestedTags=names,
        Expand=True,
    )
    assert found["RequestedTags"] == dict.fromkeys(names, "2")


async def test_the_classes_of_a_study_are_told(held: Any) -> None:
    await store(held, dicom_file(SOPClassUID="1.2.840.10008.5.1.4.1.1.4"))
    (found,) = await find(
        held,
        Query={"PatientID": "P1"},
        RequestedTags=["SOPClassesInStudy"],
        Expand=True,
    )
    told = found["RequestedTags"]["SOPClassesInStudy"]
    assert told == "1.2.840.10008.5.1.4.1.1.2\\1.2.840.10008.5.1.4.1.1.4"


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"Query": {}, "Level": "Nonsense"}, "Nonsense"),
        ({"Query": {}, "Level": 3}, "Level"),
        ({}, "Query"),
        ({"Query": []}, "Query"),
        ({"Query": {"Nonsense": "x"}}, "Nonsense"),
        ({"Query": {"PatientID": 3}}, "PatientID"),
        ({"Query": {"StudyDate": "yesterday"}}, "StudyDate"),
        ({"Query": {}, "Limit": -1}, "Limit"),
        ({"Query": {}, "Since": "x"}, "Since"),
        ({"Query": {}, "Expand": "yes"}, "Expand"),
        ({"Query": {}, "Labels": "a"}, "Labels"),
        ({"Query": {}, "LabelsConstraint": "Some"}, "LabelsConstraint"),
        ({"Query": {}, "OrderBy": [{"Type": "x"}]}, "OrderBy"),
        ({"Query": {}, "OrderBy": [{"Type": "DicomTag", "Key": "Rows"}]}, "OrderBy"),
        ({"Query": {}, "ParentSeries": "x"}, "study"),
        ({"Query": {}, "ResponseContent": ["Nonsense"]}, "Nonsense"),
        ({"Query": {}, "RequestedTags": ["Nonsense"]}, "Nonsense"),
        ({"Query": {}, "MetadataQuery": {"1024": "x"}}, "MetadataQuery"),
    ],
    ids=str,
)
async def test_a_wrong_question_is_told_what_is_wrong(
    client: Any, asked: Any, named: str
) -> None:
    response = await client.post("/tools/find", json={"Level": "Study", **asked})
    assert response.status == 400
    assert named in (await response.json())["Message"]


async def test_uids_and_patients_are_looked_up(held: Any) -> None:
    for text, kind, wanted in (
        ("p2", "Patient", orthanc_id("P2")),
        (" 1.2.5\n", "Study", TWO),
        ("1.2.5.1", "Series", orthanc_id("P2", "1.2.5", "1.2.5.1")),
    ):
        response = await held.post("/tools/lookup", data=text)
        (found,) = await response.json()
        assert (found["Type"], found["ID"]) == (kind, wanted)
        assert found["Path"].endswith(wanted)
    response = await held.post("/tools/lookup", data="nothing")
    assert await response.json() == []
