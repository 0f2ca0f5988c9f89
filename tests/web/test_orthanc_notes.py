"""Metadata, labels, attachments, changes and stability through real HTTP."""

import asyncio
import hashlib
import io
from typing import Any

import pytest

from gateway.dicom.hierarchy import orthanc_id
from tests.factories import dicom_file, image
from tests.web.test_orthanc_resources import PATIENT, SERIES, STUDY, get, store

# -- metadata and labels -----------------------------------------------------------------


async def test_users_write_beside_resources(client: Any) -> None:
    await store(client, dicom_file())
    path = f"/studies/{STUDY}/metadata"
    response = await client.put(f"{path}/1024", data="a value")
    assert response.status == 200
    response = await client.get(f"{path}/1024")
    assert await response.text() == "a value"
    digest = hashlib.md5(b"a value").hexdigest()
    assert response.headers["ETag"] == f'"0-{digest}"'
    assert "1024" in await get(client, path)
    assert (await get(client, f"{path}?expand"))["1024"] == "a value"
    assert (await client.delete(f"{path}/1024")).status == 200
    await get(client, f"{path}/1024", 404)
    assert (await client.delete(f"{path}/1024")).status == 404


async def test_a_revision_that_is_not_the_last_is_a_conflict(client: Any) -> None:
    await store(client, dicom_file())
    path = f"/studies/{STUDY}/metadata/1024"
    first = (await client.put(path, data="1")).headers["ETag"]
    second = await client.put(path, data="2", headers={"If-Match": first})
    assert second.headers["ETag"].startswith('"1-')
    for method in ("PUT", "DELETE"):
        response = await client.request(method, path, headers={"If-Match": first})
        assert response.status == 409
    assert await (await client.get(path)).text() == "2"
    response = await client.delete(path, headers={"If-Match": "nonsense"})
    assert response.status == 400
    response = await client.delete(path, headers={"If-Match": second.headers["ETag"]})
    assert response.status == 200


@pytest.mark.parametrize("name", ["TransferSyntax", "500", "70000", "Nonsense"])
async def test_what_is_not_for_users_is_not_written(client: Any, name: str) -> None:
    await store(client, dicom_file())
    response = await client.put(f"/studies/{STUDY}/metadata/{name}", data="x")
    assert response.status == 403
    assert "1024" in (await response.json())["Message"]


@pytest.mark.parametrize("label", ["bad%20one", "x" * 65, "%C3%A9"])
async def test_a_label_is_made_of_letters_and_digits(client: Any, label: str) -> None:
    await store(client, dicom_file())
    assert (await client.put(f"/studies/{STUDY}/labels/{label}")).status == 400
    assert await get(client, f"/studies/{STUDY}/labels") == []


async def test_labels_are_put_on_and_taken_off(client: Any) -> None:
    await store(client, dicom_file())
    path = f"/series/{SERIES}/labels"
    for label in ("b", "a", "a"):
        assert (await client.put(f"{path}/{label}")).status == 200
    assert await get(client, path) == ["a", "b"]
    assert (await client.get(f"{path}/a")).status == 200
    assert (await client.delete(f"{path}/a")).status == 200
    assert (await client.get(f"{path}/a")).status == 404


async def test_notes_go_with_their_resource(client: Any) -> None:
    await store(client, dicom_file())
    await client.put(f"/studies/{STUDY}/labels/a")
    await client.put(f"/studies/{STUDY}/metadata/1024", data="x")
    await client.delete(f"/studies/{STUDY}")
    assert await get(client, "/tools/labels") == []
    await store(client, dicom_file())
    assert "1024" not in await get(client, f"/studies/{STUDY}/metadata")
    assert (await get(client, f"/studies/{STUDY}"))["Labels"] == []


async def test_a_patient_is_protected_or_not(client: Any) -> None:
    await store(client, dicom_file())
    path = f"/patients/{PATIENT}/protected"
    for value in ("1", "0"):
        assert (await client.put(path, data=value)).status == 200
        assert await (await client.get(path)).text() == value
    assert (await client.put(path, data="perhaps")).status == 400
    assert (await client.get("/patients/nobody/protected")).status == 404


# -- attachments -------------------------------------------------------------------------


async def test_the_file_is_an_attachment(client: Any) -> None:
    file = image()
    (stored,) = await store(client, file)
    path = f"{stored['Path']}/attachments"
    assert await get(client, path) == ["dicom"]
    digest = hashlib.md5(file).hexdigest()
    for question, wanted in (
        ("size", str(len(file))),
        ("compressed-size", str(len(file))),
        ("md5", digest),
        ("compressed-md5", digest),
        ("is-compressed", "0"),
    ):
        response = await client.get(f"{path}/dicom/{question}")
        assert await response.text() == wanted
    info = await get(client, f"{path}/dicom/info")
    assert info["UncompressedMD5"] == digest
    response = await client.get(f"{path}/1/data", headers={"Range": "bytes=128-131"})
    assert (response.status, await response.read()) == (206, b"DICM")
    await get(client, f"{path}/other/size", 404)
    assert await get(client, f"/studies/{STUDY}/attachments") == []


# -- changes -----------------------------------------------------------------------------


async def test_changes_are_told_in_pages(client: Any) -> None:
    await store(client, dicom_file(), dicom_file())
    page = await get(client, "/changes")
    kinds = [change["ChangeType"] for change in page["Changes"]]
    assert kinds == [
        *("NewInstance", "NewSeries", "NewStudy", "NewPatient", "NewInstance")
    ]
    assert (page["First"], page["Last"], page["Done"]) == (1, 5, True)
    page = await get(client, "/changes?since=1&limit=2")
    assert [change["Seq"] for change in page["Changes"]] == [2, 3]
    assert (page["First"], page["Last"], page["Done"]) == (2, 3, False)
    page = await get(client, "/changes?last")
    assert [change["Seq"] for change in page["Changes"]] == [5]
    page = await get(client, "/changes?to=3&limit=2")
    assert [change["Seq"] for change in page["Changes"]] == [2, 3]
    page = await get(client, "/changes?type=NewStudy;NewPatient")
    assert [change["ID"] for change in page["Changes"]] == [STUDY, PATIENT]
    assert (await get(client, "/changes?type=Deleted"))["Changes"] == []
    await get(client, "/changes?limit=x", 400)
    await get(client, "/changes?type=NewStudy;Foo", 400)


async def test_forgotten_changes_do_not_give_their_numbers_away(client: Any) -> None:
    await store(client, dicom_file())
    assert (await client.delete("/changes")).status == 200
    assert await get(client, "/changes") == {"Changes": [], "Done": True, "Last": 4}
    await store(client, dicom_file())
    page = await get(client, "/changes")
    assert [change["Seq"] for change in page["Changes"]] == [5]


async def test_changes_of_what_is_gone_are_gone(client: Any) -> None:
    first, second = await store(client, dicom_file(), dicom_file())
    await client.delete(second["Path"])
    page = await get(client, "/changes")
    assert second["ID"] not in [change["ID"] for change in page["Changes"]]
    assert page["Last"] == 4
    await store(client, dicom_file())
    assert (await get(client, "/changes?last"))["Last"] == 6
    await client.delete(f"/patients/{PATIENT}")
    assert (await get(client, "/changes"))["Changes"] == []
    assert first["ID"]


async def test_what_is_replaced_is_new_again(start: Any) -> None:
    client = await start(OverwriteInstances=True)
    await store(client, dicom_file(SOPInstanceUID="1.2", PatientName="A"))
    await store(client, dicom_file(SOPInstanceUID="1.2", PatientName="B"))
    page = await get(client, "/changes?since=4")
    assert page["Changes"][0]["ChangeType"] == "NewInstance"


async def test_what_is_quiet_for_a_while_is_stable(start: Any) -> None:
    client = await start(StableAge=1)
    await store(client, dicom_file())
    assert (await get(client, f"/studies/{STUDY}"))["IsStable"] is False
    for _ in range(60):
        await asyncio.sleep(0.1)
        page = await get(client, "/changes?since=4")
        if page["Changes"]:
            break
    assert [(change["ChangeType"], change["ID"]) for change in page["Changes"]] == [
        ("StableSeries", SERIES),
        ("StableStudy", STUDY),
        ("StablePatient", PATIENT),
    ]
    assert (await get(client, f"/studies/{STUDY}"))["IsStable"] is True
    await store(client, dicom_file())
    assert (await get(client, f"/series/{SERIES}"))["IsStable"] is False
    assert (await get(client, f"/patients/{PATIENT}"))["IsStable"] is False


async def test_nothing_was_exported(client: Any) -> None:
    assert await get(client, "/exports") == {"Done": True, "Exports": [], "Last": 0}
    assert (await client.delete("/exports")).status == 200


# -- room --------------------------------------------------------------------------------


def of(patient: str, rows: int = 16) -> bytes:
    return image(
        rows,
        512,
        PatientID=patient,
        StudyInstanceUID=f"1.{patient}",
        SeriesInstanceUID=f"1.{patient}.1",
    )


async def test_the_oldest_patient_makes_room(start: Any) -> None:
    client = await start(MaximumStorageSize=1)
    await store(client, of("1", 700), of("2", 400))
    assert await get(client, "/patients") == [orthanc_id("2")]
    await store(client, of("3", 400))
    assert len(await get(client, "/patients")) == 2
    await asyncio.sleep(1.1)  # times are kept in whole seconds
    await store(client, of("2", 16))
    await store(client, of("4", 300))
    # 2 came before 3, but got something since.
    assert await get(client, "/patients") == [orthanc_id("2"), orthanc_id("4")]
    assert int((await get(client, "/statistics"))["TotalDiskSize"]) <= 1024 * 1024


async def test_a_protected_patient_stays(start: Any) -> None:
    client = await start(MaximumStorageSize=1)
    await store(client, of("1", 400))
    await client.put(f"/patients/{orthanc_id('1')}/protected", data="1")
    await store(client, of("2", 400), of("3", 400))
    assert await get(client, "/patients") == [orthanc_id("1"), orthanc_id("3")]
    await client.put(f"/patients/{orthanc_id('3')}/protected", data="1")
    response = await client.post("/instances", data=of("4", 300))
    assert response.status == 507
    assert "MaximumStorageSize" in (await response.json())["Message"]


async def test_a_patient_does_not_make_room_for_himself(start: Any) -> None:
    client = await start(MaximumStorageSize=1)
    await store(client, of("1", 512), of("1", 256))
    response = await client.post("/instances", data=of("1", 512))
    assert response.status == 507
    assert len(await get(client, "/instances")) == 2


async def test_nobody_goes_for_what_never_fits(start: Any) -> None:
    client = await start(MaximumStorageSize=1)
    await store(client, of("1", 256))
    response = await client.post("/instances", data=io.BytesIO(of("2", 1100)))
    assert response.status == 507
    assert await get(client, "/patients") == [orthanc_id("1")]


async def test_nobody_goes_for_what_is_here_already(start: Any) -> None:
    client = await start()
    await store(client, of("1", 700), of("2", 700))
    client = await start(MaximumStorageSize=1)
    response = await client.post("/instances", data=of("3", 16))
    assert response.status == 200
    assert await get(client, "/patients") == [orthanc_id("2"), orthanc_id("3")]
    client = await start()
    file = of("1", 700)
    await store(client, file)
    client = await start(MaximumStorageSize=1)
    response = await client.post("/instances", data=file)
    assert (await response.json())["Status"] == "AlreadyStored"
    assert len(await get(client, "/patients")) == 3


async def test_the_number_of_patients_is_a_bound(start: Any) -> None:
    client = await start(MaximumPatientCount=2)
    await store(client, of("1"), of("2"), of("3"), of("3"))
    assert await get(client, "/patients") == [orthanc_id("2"), orthanc_id("3")]
    assert (await get(client, "/statistics"))["CountPatients"] == 2


async def test_where_nothing_gives_way_more_patients_are_refused(start: Any) -> None:
    client = await start(MaximumPatientCount=1, MaximumStorageMode="Reject")
    await store(client, of("1"), of("1"))
    response = await client.post("/instances", data=of("2"))
    assert response.status == 507
    assert "MaximumPatientCount" in (await response.json())["Message"]
    assert await get(client, "/patients") == [orthanc_id("1")]
