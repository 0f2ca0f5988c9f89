"""Orthanc's door through real HTTP: upload, instances one by one, and the server itself."""

import asyncio
import gzip
import hashlib
import io
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import FormData
from aiohttp.test_utils import TestClient

from gateway.dicom.hierarchy import orthanc_id
from gateway.errors import BadConfiguration
from gateway.orthanc import answers
from gateway.parts import use_temporary_directory
from gateway.web.context import GATEWAY
from tests import kept
from tests.clients import ROOT, store
from tests.connection import connected, head
from tests.factories import content_type, dicom_file, image, multipart
from tests.settings import settings

MIB = 1024 * 1024
ERROR_KEYS = {
    "Details",
    "HttpError",
    "HttpStatus",
    "Message",
    "Method",
    "OrthancError",
    "OrthancStatus",
    "Uri",
}


def identifier(*parts: str) -> str:
    """Orthanc's identifier by its recipe: written once more, to compare with."""
    digest = hashlib.sha1("|".join(parts).encode()).hexdigest()
    return "-".join(digest[place : place + 8] for place in range(0, 40, 8))


async def upload(client: Any, body: Any, **headers: str) -> Any:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    data = io.BytesIO(body) if isinstance(body, bytes) else body
    return await client.post("/instances", data=data, headers=given)


async def uploaded(client: Any, body: Any, **headers: str) -> Any:
    """The answer to an upload, which must succeed."""
    response = await upload(client, body, **headers)
    assert response.status == 200, await response.text()
    assert response.headers["Content-Type"] == "application/json"
    return await response.json()


async def refused(client: Any, body: Any, status: int, **headers: str) -> Any:
    """The error that answers an upload, which must fail so."""
    response = await upload(client, body, **headers)
    assert response.status == status, await response.text()
    error = await response.json()
    assert set(error) == ERROR_KEYS
    assert error["HttpStatus"] == status
    return error


async def count(client: Any) -> int:
    statistics = await (await client.get("/statistics")).json()
    found: int = statistics["CountInstances"]
    return found


def under_way(folder: Path) -> list[Path]:
    return kept.under_way(folder / "storage")


def zipped(entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as container:
        for name, content in entries.items():
            container.writestr(name, content)
    return out.getvalue()


# -- identifiers -------------------------------------------------------------------------

# Checked against the real Orthanc; `orthanc-behaviour` has the table.
KNEE = (
    "5Yp0E",
    "2.16.840.1.113669.632.20.1211.10000357775",
    "1.3.46.670589.11.0.0.11.4.2.0.8743.5.5396.2006120114314125550",
    "1.3.46.670589.11.0.0.11.4.2.0.8743.5.5396.2006120114333648576",
)
BRAIN = (
    "887",
    "2.16.840.1.113669.632.20.121711.10000160881",
    "1.3.46.670589.11.17521.5.0.3124.2008081908564160709",
    "1.3.46.670589.11.17521.5.0.3124.2008081908590448738",
)
VECTORS = [
    (KNEE, 0, "16738bc3-e47ed42a-43ce044c-a3414a45-cb069bd0"),
    (KNEE, 1, "27f7126f-4f66fb14-03f4081b-f9341db2-53925988"),
    (KNEE, 2, "2ac1316d-3e432022-62eabff2-c59f5475-9b1ac3f8"),
    (KNEE, 3, "1d429ccb-bdcc78a1-7d129d6a-ba4966ed-fe4dbd87"),
    (BRAIN, 0, "ca29faea-b6a0e17f-067743a1-8b778011-a48b2a17"),
    (BRAIN, 1, "0a9b3153-2512774b-2d9580de-1fc3dcf6-3bd83918"),
    (BRAIN, 2, "6de73705-c4e65c1b-9d9ea1b5-cabcd8e7-f15e4285"),
    (BRAIN, 3, "c8df6478-d7794217-0f11c293-a41237c9-31d98357"),
    (("", "1.2", "1", "1"), 0, "da39a3ee-5e6b4b0d-3255bfef-95601890-afd80709"),
    (("", "1.2", "1", "1"), 1, "8ce84afd-c9fdeccc-831b731a-5867e537-db9442b0"),
    (("A", "1.2", "1", "1"), 1, "14430a69-6bc303ac-7500b35e-49a25f88-c8c9d2a9"),
    (("é", "1.2", "1", "1"), 0, "bf15be71-7ac1b080-b4f1c456-69282589-1ff5073d"),
    ((" A B", "1.2", "1", "1"), 0, "cb242e07-ef0fbae9-0dc28830-505f8e0c-c2a32970"),
]


@pytest.mark.parametrize(("uids", "level", "wanted"), VECTORS)
def test_identifiers_are_those_of_orthanc(
    uids: tuple[str, str, str, str], level: int, wanted: str
) -> None:
    assert orthanc_id(*uids[: level + 1]) == wanted


@pytest.mark.parametrize(
    ("charset", "patient", "hashed"),
    [
        ("ISO_IR 100", "é", "é"),
        ("ISO_IR 192", "é", "é"),
        ("ISO_IR 100", "A B ", "A B"),
        ("ISO_IR 144", "Ж", "Ж"),
        ("ISO_IR 192", "", ""),
    ],
)
async def test_patients_of_files_have_the_identifiers_of_orthanc(
    client: Any, charset: str, patient: str, hashed: str
) -> None:
    file = dicom_file(SpecificCharacterSet=charset, PatientID=patient)
    found = await uploaded(client, file)
    assert found["ParentPatient"] == identifier(hashed)


async def test_a_file_without_patient_id_belongs_to_the_empty_one(client: Any) -> None:
    found = await uploaded(client, dicom_file(PatientID=None))
    assert found["ParentPatient"] == "da39a3ee-5e6b4b0d-3255bfef-95601890-afd80709"


# -- a file ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelled", ["application/dicom", "text/plain", "nonsense", None]
)
async def test_a_file_is_stored_whatever_its_content_type(
    client: Any, spelled: str | None
) -> None:
    file = dicom_file(SOPInstanceUID="1.2.6")
    headers = {"Content_Type": spelled} if spelled else {}
    answer = await uploaded(client, file, **headers)
    uids = ("P1", "1.2.3.1", "1.2.3.1.1", "1.2.6")
    assert answer == {
        "ID": identifier(*uids),
        "ParentPatient": identifier(*uids[:1]),
        "ParentStudy": identifier(*uids[:2]),
        "ParentSeries": identifier(*uids[:3]),
        "Path": f"/instances/{identifier(*uids)}",
        "Status": "Success",
    }


async def test_the_same_file_again_is_already_stored(client: Any) -> None:
    file = dicom_file()
    first = await uploaded(client, file)
    again = await uploaded(client, file)
    assert again == {**first, "Status": "AlreadyStored"}
    assert await count(client) == 1


async def test_other_content_under_a_held_identifier_is_a_conflict(client: Any) -> None:
    await uploaded(client, dicom_file(SOPInstanceUID="1.2", PatientName="A"))
    other = dicom_file(SOPInstanceUID="1.2", PatientName="B")
    error = await refused(client, other, 409)
    assert "SOPInstanceUID" in error["Details"]


async def test_a_large_file_comes_in_pieces_of_unknown_number(
    client: Any, tmp_path: Path
) -> None:
    file = image(2048, 2048)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(file), 100_000):
            yield file[start : start + 100_000]

    answer = await uploaded(client, pieces())
    back = await client.get(f"{answer['Path']}/file")
    assert await back.read() == file
    assert under_way(tmp_path) == []


async def test_a_compressed_file_is_inflated(client: Any) -> None:
    file = image(256, 256)
    answer = await uploaded(client, gzip.compress(file), Content_Encoding="gzip")
    assert answer["Status"] == "Success"
    assert (await uploaded(client, file))["Status"] == "AlreadyStored"


async def test_nothing_is_no_file(client: Any) -> None:
    error = await refused(client, b"", 400)
    assert error["Message"] == "Received an empty DICOM file"


@pytest.mark.parametrize(
    "body",
    [b"x", b"PK", b"no DICOM" * 1000, bytes(2 * MIB), dicom_file()[:200]],
    ids=["one byte", "a begun zip", "text", "zeros", "cut off"],
)
async def test_what_is_no_dicom_file_is_a_bad_request(
    client: Any, tmp_path: Path, body: bytes
) -> None:
    error = await refused(client, body, 400)
    assert error["OrthancStatus"] == 15
    assert await count(client) == 0
    assert under_way(tmp_path) == []


async def test_a_file_without_an_identifier_says_which(client: Any) -> None:
    error = await refused(client, dicom_file(SeriesInstanceUID=None), 400)
    assert "SeriesInstanceUID (0020,000E)" in error["Details"]


async def test_a_client_that_disappears_leaves_nothing(
    client: Any, tmp_path: Path
) -> None:
    file = image(2048, 2048)
    async with connected(client) as connection:
        await connection.send(
            head("POST", "/instances", Content_Length=str(len(file))) + file[:-1]
        )
        connection.vanish()
    for _ in range(100):
        await asyncio.sleep(0.02)
        if not under_way(tmp_path):
            break
    assert under_way(tmp_path) == []
    assert await count(client) == 0


async def test_no_room_is_said_to_be_so(start: Any) -> None:
    client = await start(MaximumStorageSize=1, MaximumStorageMode="Reject")
    error = await refused(client, image(1024, 1024), 507)
    assert error["OrthancStatus"] == 19


async def test_a_gateway_that_only_reads_takes_and_deletes_nothing(start: Any) -> None:
    client = await start(ReadOnly=True)
    assert (await upload(client, dicom_file())).status == 405
    assert (await client.delete("/instances/x")).status == 405


# -- a form ------------------------------------------------------------------------------


async def test_each_file_of_a_form_is_stored(client: Any) -> None:
    files = [dicom_file() for _ in range(3)]
    form = FormData()
    for number, file in enumerate(files):
        form.add_field("files", file, filename=f"{number}.dcm")
    answer = await uploaded(client, form)
    assert [item["Status"] for item in answer] == ["Success"] * 3
    for item, file in zip(answer, files, strict=True):
        back = await client.get(f"{item['Path']}/file")
        assert await back.read() == file


async def test_a_bad_file_of_a_form_does_not_spoil_the_others(client: Any) -> None:
    form = FormData()
    for content in (dicom_file(), b"no DICOM", dicom_file()):
        form.add_field("files", content, filename="../../x.dcm")
    answer = await uploaded(client, form)
    assert [item["Status"] for item in answer] == ["Success", "Failure", "Success"]
    assert "not a DICOM file" in answer[1]["Details"]
    assert await count(client) == 2


async def test_a_form_of_bad_files_is_a_bad_request(client: Any) -> None:
    form = FormData()
    form.add_field("files", b"no DICOM", filename="x.dcm")
    await refused(client, form, 400)


async def test_a_form_that_breaks_off_keeps_whole_files_alone(
    client: Any, tmp_path: Path
) -> None:
    body = (
        b"--B\r\nContent-Disposition: form-data; name=f; filename=a\r\n\r\n"
        + dicom_file()
        + b"\r\n--B\r\n\r\n"
        + image(1024, 1024)
    )
    await refused(client, body, 400, Content_Type="multipart/form-data; boundary=B")
    assert await count(client) == 1
    assert under_way(tmp_path) == []


async def test_a_form_without_a_boundary_is_a_bad_request(client: Any) -> None:
    await refused(client, b"x", 400, Content_Type="multipart/form-data")


# -- a zip -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "compression",
    [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA],
)
async def test_the_dicom_files_of_a_zip_are_stored_and_others_passed_over(
    client: Any, tmp_path: Path, compression: int
) -> None:
    files = [dicom_file(), image(512, 512), dicom_file()]
    container = zipped(
        {
            "IMAGES/A/1": files[0],
            "IMAGES/A/B/../2.dcm": files[1],
            "/etc/passwd": files[2],
            "IMAGES/": b"",
            "DICOMDIR": dicom_file(
                StudyInstanceUID=None, SeriesInstanceUID=None, SOPInstanceUID=None
            ),
            "README.txt": b"read me",
            "empty": b"",
            "cut off.dcm": files[1][:300],
        },
        compression,
    )
    answer = await uploaded(client, container, Content_Type="application/zip")
    assert [item["Status"] for item in answer] == ["Success"] * 3 + ["Failure"]
    assert answer.pop()["Details"]
    for item, file in zip(answer, files, strict=True):
        back = await client.get(f"{item['Path']}/file")
        assert await back.read() == file
    assert under_way(tmp_path) == []


async def test_a_zip_waits_beside_what_arrives(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = tempfile.TemporaryFile

    def noted(*arguments: Any, **named: Any) -> Any:
        asked.append(named["dir"])
        return real(*arguments, **named)

    monkeypatch.setattr(tempfile, "TemporaryFile", noted)
    client = await start()
    lane = client.server.app[GATEWAY].archive.lane
    await uploaded(client, zipped({"1": dicom_file()}))
    client = await start(TemporaryDirectory=str(tmp_path))
    await uploaded(client, zipped({"1": dicom_file()}))
    assert asked == [lane, tmp_path]
    client = await start(MinimumFreeSpaceMB=10**9)
    await refused(client, zipped({"1": dicom_file()}), 507)


async def test_a_storage_that_is_gone_is_no_fault_of_the_file(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> Any:
        raise FileNotFoundError(2, "gone")

    blobs = client.server.app[GATEWAY].archive._blobs
    monkeypatch.setattr(type(blobs), "pack", gone)
    monkeypatch.setattr(type(blobs), "free_space", gone)
    error = await refused(client, dicom_file(), 503)
    assert "storage" in error["Details"]
    response = await client.post(
        f"{ROOT}/studies",
        data=multipart(dicom_file()),
        headers={"Content-Type": content_type()},
    )
    assert response.status == 503
    assert "00081198" in await response.json(content_type=None)
    response = await client.get("/metrics")
    assert response.status == 200
    assert "free_bytes " not in await response.text()
    assert "stored_bytes " in await response.text()


async def test_a_zip_without_dicom_files_is_an_empty_list(client: Any) -> None:
    assert await uploaded(client, zipped({"a.txt": b"x"})) == []
    assert await uploaded(client, zipped({})) == []


async def test_what_a_zip_holds_in_conflict_is_not_passed_over(client: Any) -> None:
    await uploaded(client, dicom_file(SOPInstanceUID="1.2", PatientName="A"))
    container = zipped(
        {
            "1": dicom_file(SOPInstanceUID="1.2", PatientName="B"),
            "2": dicom_file(SOPInstanceUID="1.3"),
        }
    )
    answer = await uploaded(client, container)
    assert [item["Status"] for item in answer] == ["Failure", "Success"]
    assert "other content" in answer[0]["Details"]


def bomb(member: bytes, claimed: int | None = None) -> bytes:
    """A zip whose one member is that, or says it is so many bytes."""
    made = bytearray(zipped({"bomb": member}))
    if claimed is not None:
        directory = made.index(b"PK\x01\x02")
        made[directory + 24 : directory + 28] = claimed.to_bytes(4, "little")
    return bytes(made)


async def test_a_bomb_that_is_no_dicom_file_is_not_inflated_to_its_end(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inflated = 0
    real = zipfile.ZipExtFile.read

    def read(self: Any, n: int | None = -1) -> bytes:
        nonlocal inflated
        chunk = real(self, n)
        inflated += len(chunk)
        return chunk

    monkeypatch.setattr(zipfile.ZipExtFile, "read", read)
    assert await uploaded(client, bomb(bytes(100 * MIB))) == []
    assert inflated <= 2 * MIB
    assert under_way(tmp_path) == []


async def test_a_zip_that_claims_absurd_sizes_is_turned_down(client: Any) -> None:
    await refused(client, bomb(bytes(1000), 2**32 - 2), 413)


async def test_a_zip_that_claims_less_than_it_holds_gives_no_more(client: Any) -> None:
    error = await refused(client, bomb(dicom_file(), 300), 400)
    assert "zip" in error["Details"]
    assert await count(client) == 0


async def test_a_broken_file_in_a_zip_does_not_spoil_the_others(
    client: Any, tmp_path: Path
) -> None:
    file = image(64, 64, PatientName="Broken")
    whole = bytearray(zipped({"1": dicom_file(), "2": file, "3": dicom_file()}))
    compressed = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    start = whole.index((compressed.compress(file) + compressed.flush())[:40])
    whole[start + 50 : start + 90] = os.urandom(40)
    answer = await uploaded(client, bytes(whole))
    assert [item["Status"] for item in answer] == ["Success", "Failure", "Success"]
    assert await count(client) == 2
    assert under_way(tmp_path) == []


@pytest.mark.parametrize("keep", [10, 200, -30])
async def test_a_zip_that_is_cut_off_is_a_bad_request(
    client: Any, tmp_path: Path, keep: int
) -> None:
    error = await refused(client, zipped({"1": dicom_file()})[:keep], 400)
    assert "zip" in error["Details"]
    assert await count(client) == 0
    assert under_way(tmp_path) == []


async def test_an_encrypted_zip_is_a_bad_request(client: Any) -> None:
    made = bytearray(zipped({"1": dicom_file()}))
    made[6] |= 1  # the flag, in the file's own head and in the directory
    made[made.index(b"PK\x01\x02") + 8] |= 1
    error = await refused(client, bytes(made), 400)
    assert "encrypted" in error["Details"]


async def test_a_zip_stops_where_there_is_no_room(start: Any) -> None:
    client = await start(MaximumStorageSize=1, MaximumStorageMode="Reject")
    await refused(client, zipped({"1": dicom_file(), "2": image(1024, 1024)}), 507)


# -- instances, listed -------------------------------------------------------------------


async def test_instances_are_listed_oldest_first_in_pages(client: Any) -> None:
    identifiers = [(await uploaded(client, dicom_file()))["ID"] for _ in range(5)]
    response = await client.get("/instances")
    assert response.headers["Content-Type"] == "application/json"
    assert await response.json() == identifiers
    for since, limit in ((0, 2), (2, 2), (4, 2), (5, 2), (0, 99)):
        query = {"since": str(since), "limit": str(limit)}
        page = await (await client.get("/instances", params=query)).json()
        assert page == identifiers[since : since + limit]


async def test_nothing_held_is_an_empty_list(client: Any) -> None:
    assert await (await client.get("/instances")).json() == []


async def test_a_long_list_is_streamed_whole(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "WHOLE", 50)
    for held in range(1, 6):
        await store(client, dicom_file())
        response = await client.get("/instances")
        assert len(set(await response.json())) == held
    response = await client.head("/instances")
    assert response.status == 200
    assert await response.read() == b""


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("since=1", 'Missing "limit"'),
        ("limit=1", 'Missing "since"'),
        ("since=-1&limit=1", "since"),
        ("since=0&limit=x", "limit"),
        ("since=0&limit=" + "9" * 30, "limit"),
        ("since=%D9%A1&limit=1", "since"),
    ],
)
async def test_half_a_page_is_a_bad_request(
    client: Any, query: str, wanted: str
) -> None:
    response = await client.get(f"/instances?{query}")
    assert response.status == 400
    assert wanted in (await response.json())["Message"]


# -- one instance ------------------------------------------------------------------------


async def test_what_is_known_of_an_instance_is_told_as_orthanc_tells_it(
    client: Any,
) -> None:
    file = image(
        SOPInstanceUID="1.2",
        InstanceNumber=7,
        ImagePositionPatient=[-1.5, 0, 2],
        InstanceCreationDate="20240131",
    )
    stored = await uploaded(client, file)
    found = await (await client.get(stored["Path"])).json()
    assert found.pop("FileUuid")
    assert found == {
        "FileSize": len(file),
        "ID": stored["ID"],
        "IndexInSeries": 7,
        "Labels": [],
        "MainDicomTags": {
            "ImagePositionPatient": "-1.5\\0.0\\2.0",
            "InstanceCreationDate": "20240131",
            "InstanceNumber": "7",
            "SOPInstanceUID": "1.2",
        },
        "ParentSeries": stored["ParentSeries"],
        "Type": "Instance",
    }


@pytest.mark.parametrize("number", [None, "", "x"])
async def test_an_instance_without_a_number_has_no_index(
    client: Any, number: str | None
) -> None:
    made = dicom_file(InstanceNumber=None)
    if number is not None:
        made = dicom_file(InstanceNumber="")
    stored = await uploaded(client, made)
    assert (await (await client.get(stored["Path"])).json())["IndexInSeries"] is None


@pytest.mark.parametrize("path", ["", "/file"])
async def test_an_unknown_instance_is_not_found(client: Any, path: str) -> None:
    for unknown in ("x", identifier("x"), "%00", "é"):
        response = await client.get(f"/instances/{unknown}{path}")
        assert response.status == 404
        assert set(await response.json()) == ERROR_KEYS
    assert (await client.delete("/instances/x")).status == 404


async def test_the_file_of_an_instance_is_a_download(client: Any) -> None:
    file = image()
    stored = await uploaded(client, file)
    response = await client.get(f"{stored['Path']}/file")
    assert response.headers["Content-Type"] == "application/dicom"
    assert response.headers["Content-Length"] == str(len(file))
    name = f'attachment; filename="{stored["ID"]}.dcm"'
    assert response.headers["Content-Disposition"] == name
    assert response.headers["Accept-Ranges"] == "bytes"
    assert await response.read() == file
    only_head = await client.head(f"{stored['Path']}/file")
    assert only_head.headers["Content-Length"] == str(len(file))
    assert await only_head.read() == b""


@pytest.mark.parametrize(
    ("wanted", "span"),
    [
        ("bytes=0-9", (0, 10)),
        ("bytes=10-", (10, None)),
        ("bytes=-5", (-5, None)),
        ("bytes=128-131", (128, 132)),
        ("bytes=0-999999", (0, None)),
    ],
)
async def test_a_range_of_the_file_is_that_range(
    client: Any, wanted: str, span: tuple[int, int | None]
) -> None:
    file = image()
    stored = await uploaded(client, file)
    response = await client.get(f"{stored['Path']}/file", headers={"Range": wanted})
    start, stop, _ = slice(*span).indices(len(file))
    assert response.status == 206
    assert response.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(file)}"
    assert await response.read() == file[start:stop]


async def test_a_range_beyond_the_file_cannot_be_satisfied(client: Any) -> None:
    file = image()
    stored = await uploaded(client, file)
    response = await client.get(
        f"{stored['Path']}/file", headers={"Range": f"bytes={len(file)}-"}
    )
    assert response.status == 416
    assert response.headers["Content-Range"] == f"bytes */{len(file)}"


async def test_a_file_that_is_known_is_not_sent_again(client: Any) -> None:
    stored = await uploaded(client, image())
    path = f"{stored['Path']}/file"
    etag = (await client.get(path)).headers["ETag"]
    assert etag.startswith('"')
    known = await client.get(path, headers={"If-None-Match": etag})
    assert (known.status, await known.read()) == (304, b"")
    other = await client.get(path, headers={"If-Match": '"other"'})
    assert other.status == 412
    stale = await client.get(path, headers={"Range": "bytes=0-1", "If-Range": '"x"'})
    assert stale.status == 200


# -- deleting ----------------------------------------------------------------------------


async def test_deleting_tells_what_remains_above(client: Any, tmp_path: Path) -> None:
    first = await uploaded(client, dicom_file())
    second = await uploaded(client, dicom_file())
    series = await uploaded(client, dicom_file(SeriesInstanceUID="1.2.3.1.2"))
    study = await uploaded(
        client, dicom_file(StudyInstanceUID="1.2.4", SeriesInstanceUID="1.2.4.1")
    )

    async def remaining(stored: Any) -> Any:
        response = await client.delete(stored["Path"])
        assert response.status == 200
        return (await response.json())["RemainingAncestor"]

    for stored, kind, path in (
        (first, "Series", "series"),
        (second, "Study", "studies"),
        (series, "Patient", "patients"),
    ):
        above = stored[f"Parent{kind}"]
        wanted = {"ID": above, "Path": f"/{path}/{above}", "Type": kind}
        assert await remaining(stored) == wanted
    assert await remaining(study) is None
    assert await count(client) == 0
    assert kept.contents(tmp_path / "storage") == []


async def test_what_is_deleted_twice_was_not_found(client: Any) -> None:
    stored = await uploaded(client, dicom_file())
    assert (await client.delete(stored["Path"])).status == 200
    assert (await client.delete(stored["Path"])).status == 404
    assert (await client.get(f"{stored['Path']}/file")).status == 404


# -- the server itself -------------------------------------------------------------------


async def test_the_system_says_what_it_is(start: Any) -> None:
    client = await start(Name="Here", OverwriteInstances=True, HttpPort=8049)
    response = await client.get("/system")
    assert response.headers["Content-Type"] == "application/json"
    system = await response.json()
    assert system["Name"] == "Here"
    assert system["ApiVersion"] >= 1
    assert system["HttpPort"] == 8049
    assert system["OverwriteInstances"] is True
    assert system["OverwriteInstancesMode"] == "Always"
    assert system["ReadOnly"] is False
    assert system["Version"]


async def test_statistics_count_and_measure_what_is_held(client: Any) -> None:
    files = [
        dicom_file(),
        dicom_file(SeriesInstanceUID="1.9"),
        dicom_file(StudyInstanceUID="1.8", SeriesInstanceUID="1.8.1"),
        image(
            1024,
            1024,
            StudyInstanceUID="1.7",
            SeriesInstanceUID="1.7.1",
            PatientID="P2",
        ),
    ]
    for file in files:
        await uploaded(client, file)
    size = sum(map(len, files))
    assert await (await client.get("/statistics")).json() == {
        "CountInstances": 4,
        "CountPatients": 2,
        "CountSeries": 4,
        "CountStudies": 3,
        "TotalDiskSize": str(size),
        "TotalDiskSizeMB": size // MIB,
        "TotalUncompressedSize": str(size),
        "TotalUncompressedSizeMB": size // MIB,
    }


async def test_health_is_told(client: Any) -> None:
    response = await client.get("/health")
    assert response.status == 200
    assert json.loads(await response.read()) == {"Status": "ok"}


def test_a_zip_is_spooled_where_the_settings_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", tempfile.gettempdir())
    made = settings(tmp_path, {"TemporaryDirectory": str(spool)})
    use_temporary_directory(made)
    assert tempfile.gettempdir() == str(spool)
    missing = settings(tmp_path, {"TemporaryDirectory": str(tmp_path / "none")})
    with pytest.raises(BadConfiguration, match="TemporaryDirectory"):
        use_temporary_directory(missing)


async def test_blanks_before_a_patient_id_count_in_its_identifier(
    client: TestClient[Any, Any],
) -> None:
    response = await client.post("/instances", data=dicom_file(PatientID=" A B "))
    stored = await response.json()
    expected = "cb242e07-ef0fbae9-0dc28830-505f8e0c-c2a32970"
    assert stored["ParentPatient"] == expected
