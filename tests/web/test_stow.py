"""STOW-RS through real HTTP: what is taken, what is refused, and what the answer says."""

import asyncio
import errno
import gzip
import io
import json
import os
import threading
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.storage import blobs
from tests.clients import JSON, ROOT, find, store, values
from tests.connection import LAST_CHUNK, chunk, connected, head
from tests.factories import content_type, dataset, dicom_file, encode, image, multipart
from tests.kept import contents
from tests.kept import under_way as files_under_way

STUDIES = f"{ROOT}/studies"
MIB = 1024 * 1024

REFERENCED = "00081199"
FAILED = "00081198"
OTHER_FAILURES = "0008119A"
RETRIEVE_URL = "00081190"
INSTANCE = "00081155"
REASON = "00081197"

PROCESSING_FAILURE = 0x0110
DUPLICATE = 0x0111
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000


# -- asking and looking ------------------------------------------------------------------


async def post(client: Any, body: Any, path: str = STUDIES, **headers: str) -> Any:
    """Send a body as STOW-RS does; headers given by keyword, underscores as dashes."""
    given = {"Content-Type": content_type()}
    given.update({name.replace("_", "-"): value for name, value in headers.items()})
    data = io.BytesIO(body) if isinstance(body, bytes) else body
    return await client.post(path, data=data, headers=given)


async def told(response: Any, status: int) -> Any:
    """The data set of an answer, which must have that status and JSON's exact type."""
    assert response.status == status, await response.text()
    assert response.headers["Content-Type"] == JSON
    return json.loads(await response.read())


def items(answer: Any, sequence: str) -> list[Any]:
    found: list[Any] = answer.get(sequence, {}).get("Value", [])
    return found


def of_items(answer: Any, sequence: str, tag: str) -> list[Any]:
    return [item[tag]["Value"][0] for item in items(answer, sequence)]


def reasons(answer: Any, sequence: str) -> list[Any]:
    return of_items(answer, sequence, REASON)


async def held(client: Any) -> list[str]:
    """SOPInstanceUIDs of what is held, in order."""
    found = await find(client, "instances")
    return sorted(values(found, "00080018"), key=lambda uid: list(uid.split(".")))


def kept(folder: Path) -> list[bytes]:
    """The instances on the disk."""
    return contents(folder / "storage")


def under_way(folder: Path) -> list[Path]:
    """The files of unfinished instances on the disk."""
    return files_under_way(folder / "storage")


async def until_held(client: Any, count: int) -> list[str]:
    """What is held once there are so many; for when nobody answers."""
    for _ in range(200):
        found = await held(client)
        if len(found) >= count:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"{count} instances did not come to be held: {found}")


async def until_nothing_is_under_way(folder: Path) -> None:
    for _ in range(200):
        if not under_way(folder):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(under_way(folder))


def named(uid: str, **attributes: Any) -> bytes:
    return dicom_file(SOPInstanceUID=uid, **attributes)


# -- what is taken -----------------------------------------------------------------------


async def test_one_part_is_stored_and_the_answer_says_where(client: Any) -> None:
    file = named("1.2.3.1.1.7")
    answer = await told(await post(client, multipart(file)), 200)
    origin = f"http://{client.server.host}:{client.server.port}"
    study = f"{origin}{STUDIES}/1.2.3.1"
    assert answer["00080005"]["Value"] == ["ISO_IR 192"]
    assert answer[RETRIEVE_URL] == {"vr": "UR", "Value": [study]}
    assert items(answer, REFERENCED) == [
        {
            "00081150": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]},
            "00081155": {"vr": "UI", "Value": ["1.2.3.1.1.7"]},
            "00081190": {
                "vr": "UR",
                "Value": [f"{study}/series/1.2.3.1.1/instances/1.2.3.1.1.7"],
            },
        }
    ]
    assert FAILED not in answer
    assert OTHER_FAILURES not in answer


async def test_the_answer_names_instances_in_the_order_of_the_parts(
    client: Any,
) -> None:
    # Large and small ones take different ways and different times.
    uids = [f"1.2.9.{number}" for number in (5, 3, 9, 1, 8, 2, 7)]
    files = [
        image(512, 512, SOPInstanceUID=uid) if number % 2 else named(uid)
        for number, uid in enumerate(uids)
    ]
    answer = await told(await post(client, multipart(*files)), 200)
    assert of_items(answer, REFERENCED, INSTANCE) == uids


async def test_failures_keep_their_order_too(client: Any) -> None:
    files = [named("1.9"), named("1.5", StudyInstanceUID="1.1"), named("1.2")]
    files += [named("1.4", StudyInstanceUID="1.1")]
    answer = await told(
        await post(client, multipart(*files), f"{STUDIES}/1.2.3.1"), 202
    )
    assert of_items(answer, REFERENCED, INSTANCE) == ["1.9", "1.2"]
    assert of_items(answer, FAILED, INSTANCE) == ["1.5", "1.4"]


async def test_several_studies_leave_the_study_address_empty(client: Any) -> None:
    files = [dicom_file(), dicom_file(StudyInstanceUID="1.2.3.2")]
    answer = await told(await post(client, multipart(*files)), 200)
    assert answer[RETRIEVE_URL] == {"vr": "UR"}
    assert len(items(answer, REFERENCED)) == 2


async def test_every_file_comes_back_byte_for_byte(client: Any) -> None:
    files = [image(512, 512), dicom_file(), image(2048, 1024), image()]
    answer = await told(await post(client, multipart(*files)), 200)
    for file, url in zip(
        files, of_items(answer, REFERENCED, RETRIEVE_URL), strict=True
    ):
        path = url[url.index(ROOT) :]
        response = await client.get(path, headers={"Accept": "application/dicom"})
        assert await response.read() == file


async def test_two_thousand_small_parts_in_one_request(
    client: Any, tmp_path: Path
) -> None:
    made = named("1.2.777000")  # encoding each of them would take most of the time
    files = [made.replace(b"777000", b"%d" % n) for n in range(777000, 779000)]
    answer = await told(await post(client, multipart(*files)), 200)
    assert len(items(answer, REFERENCED)) == 2000
    assert len(kept(tmp_path)) == 2000
    assert under_way(tmp_path) == []
    statistics = await (await client.get("/statistics")).json()
    assert statistics["CountInstances"] == 2000
    assert statistics["TotalDiskSize"] == str(sum(map(len, files)))


async def test_a_single_instance_may_be_the_body(client: Any) -> None:
    response = await post(client, dicom_file(), Content_Type="application/dicom")
    answer = await told(response, 200)
    assert len(items(answer, REFERENCED)) == 1


async def test_a_single_body_of_another_study_is_refused(client: Any) -> None:
    response = await post(
        client, dicom_file(), f"{STUDIES}/1.2.7", Content_Type="application/dicom"
    )
    answer = await told(response, 409)
    assert reasons(answer, FAILED) == [PROCESSING_FAILURE]


async def test_an_empty_single_body_is_a_bad_request(client: Any) -> None:
    response = await post(client, b"", Content_Type="application/dicom")
    assert response.status == 400


# -- how bodies are spelled --------------------------------------------------------------

FORMS = {
    "dcmjs: a line end before the first boundary, none after the last": (
        lambda file: b"\r\n" + multipart(file).removesuffix(b"\r\n"),
        'multipart/related; type="application/dicom"; boundary="BOUNDARY"',
    ),
    "python client: its constant boundary": (
        lambda file: (
            b"\r\n" + multipart(file, boundary="0f3cf5c0-70e0-41ef-baef-c6f9f65ec3e1")
        )[:-2],
        'multipart/related; type="application/dicom";'
        ' boundary="0f3cf5c0-70e0-41ef-baef-c6f9f65ec3e1"',
    ),
    "Orthanc: two identifiers as the boundary, longer than it may be": (
        lambda file: multipart(
            file, boundary="-".join(["0f3cf5c0-70e0-41ef-baef-c6f9f65ec3e1"] * 2)
        ),
        'multipart/related; type="application/dicom"; boundary='
        "0f3cf5c0-70e0-41ef-baef-c6f9f65ec3e1-0f3cf5c0-70e0-41ef-baef-c6f9f65ec3e1",
    ),
    "Weasis: no blanks, no quotes around the boundary": (
        multipart,
        'multipart/related;type="application/dicom";boundary=BOUNDARY',
    ),
    "the type without quotes": (
        multipart,
        "multipart/related; type=application/dicom; boundary=BOUNDARY",
    ),
    "everything in capitals": (
        multipart,
        'MULTIPART/RELATED; TYPE="APPLICATION/DICOM"; BOUNDARY=BOUNDARY',
    ),
    "the boundary before the type, and a start": (
        multipart,
        "multipart/related; boundary=BOUNDARY; start=abc; type=application/dicom",
    ),
    "a preamble and an epilogue": (
        lambda file: b"This is multipart.\r\n" + multipart(file) + b"\r\nThe end.\r\n",
        content_type(),
    ),
    "blanks after the boundary": (
        lambda file: multipart(file).replace(b"--BOUNDARY\r\n", b"--BOUNDARY \t\r\n"),
        content_type(),
    ),
    "a part without Content-Type": (
        lambda file: multipart(file).replace(
            b"Content-Type: application/dicom\r\n", b""
        ),
        content_type(),
    ),
    "a part whose Content-Length is wrong": (
        lambda file: multipart(file).replace(
            b"Content-Type: ", b"Content-Length: 17\r\nContent-Type: "
        ),
        content_type(),
    ),
    "a part of another type, with more headers": (
        lambda file: multipart(file).replace(
            b"Content-Type: application/dicom",
            b"MIME-Version: 1.0\r\nCONTENT-TYPE: APPLICATION/OCTET-STREAM\r\n"
            b"Content-Transfer-Encoding: binary\r\nContent-ID: <1@x>",
        ),
        content_type(),
    ),
    "line feeds alone": (
        lambda file: (
            b"--BOUNDARY\nContent-Type: application/dicom\n\n"
            + file
            + b"\n--BOUNDARY--\n"
        ),
        content_type(),
    ),
    "a boundary of all that is allowed": (
        lambda file: multipart(file, boundary="aZ09'()+_,-./:=?"),
        'multipart/related; type="application/dicom"; boundary="aZ09\'()+_,-./:=?"',
    ),
}


@pytest.mark.parametrize("form", FORMS)
async def test_bodies_are_understood_as_clients_write_them(
    client: Any, form: str
) -> None:
    make, spelled = FORMS[form]
    file = named("1.2.6")
    answer = await told(await post(client, make(file), Content_Type=spelled), 200)
    assert of_items(answer, REFERENCED, INSTANCE) == ["1.2.6"]
    url = of_items(answer, REFERENCED, RETRIEVE_URL)[0]
    back = await client.get(
        url[url.index(ROOT) :], headers={"Accept": "application/dicom"}
    )
    assert await back.read() == file


async def test_what_looks_like_a_boundary_in_pixel_data_is_pixel_data(
    client: Any,
) -> None:
    looks = (
        b"\r\n--BOUNDARY-\r\n--BOUNDARYX\r\n--BOUND\r\n\r\n\r\n\n--BOUNDARY--\r\n-- "
    )
    made = dataset(
        Rows=1, Columns=len(looks) // 2, BitsAllocated=16, PixelRepresentation=0
    )
    made.PixelData = looks[: len(looks) // 2 * 2]
    file, after = encode(made), named("1.2.8")
    answer = await told(await post(client, multipart(file, after)), 200)
    urls = of_items(answer, REFERENCED, RETRIEVE_URL)
    assert len(urls) == 2
    back = await client.get(
        urls[0][urls[0].index(ROOT) :], headers={"Accept": "application/dicom"}
    )
    assert await back.read() == file


@pytest.mark.parametrize("size", [1, 7, 1000, 65_536])
async def test_chunked_bodies_are_taken_however_they_are_cut(
    client: Any, size: int
) -> None:
    body = multipart(named("1.1"), image(64, 64, SOPInstanceUID="1.2"))
    if size == 1:
        body = multipart(named("1.1"), named("1.2"))

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    response = await post(client, pieces())
    assert response.request_info.headers["Transfer-Encoding"] == "chunked"
    answer = await told(response, 200)
    assert of_items(answer, REFERENCED, INSTANCE) == ["1.1", "1.2"]


# -- XML ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "accepted",
    [
        "application/dicom+xml",
        "text/xml",
        "application/json;q=0.1, application/xml",
        'multipart/related; type="application/dicom+xml"',
    ],
)
async def test_who_asks_for_xml_gets_one_document(client: Any, accepted: str) -> None:
    body = multipart(named("1.2.6"), b"no DICOM")
    response = await post(client, body, Accept=accepted)
    assert response.status == 202
    assert response.headers["Content-Type"] == "application/dicom+xml"
    model = ElementTree.fromstring(await response.read())
    space = {"d": "http://dicom.nema.org/PS3.19/models/NativeDICOM"}
    if not model.tag.startswith("{"):
        space = {"d": ""}
    stored = model.findall(f"d:DicomAttribute[@tag='{REFERENCED}']/d:Item", space)
    assert len(stored) == 1
    uid = stored[0].find(f"d:DicomAttribute[@tag='{INSTANCE}']/d:Value", space)
    assert uid is not None
    assert uid.text == "1.2.6"
    other = model.findall(f"d:DicomAttribute[@tag='{OTHER_FAILURES}']/d:Item", space)
    assert len(other) == 1


@pytest.mark.parametrize("accepted", [None, "*/*", JSON, "application/json", "a/b"])
async def test_everybody_else_gets_json_without_a_charset(
    client: Any, accepted: str | None
) -> None:
    asked = {} if accepted is None else {"Accept": accepted}
    await told(await post(client, multipart(dicom_file()), **asked), 200)


# -- Content-Encoding --------------------------------------------------------------------


def raw_deflate(data: bytes) -> bytes:
    made = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return made.compress(data) + made.flush()


@pytest.mark.parametrize(
    ("coding", "compress"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("x-gzip", lambda data: gzip.compress(data[:99]) + gzip.compress(data[99:])),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("identity", bytes),
    ],
)
async def test_compressed_bodies_are_inflated(
    client: Any, coding: str, compress: Any
) -> None:
    body = compress(multipart(named("1.1"), image(512, 512, SOPInstanceUID="1.2")))
    answer = await told(await post(client, body, Content_Encoding=coding), 200)
    assert of_items(answer, REFERENCED, INSTANCE) == ["1.1", "1.2"]


@pytest.mark.parametrize("coding", ["br", "compress", "zstd", "gzip, gzip", "x"])
async def test_a_coding_that_nobody_knows_is_said_to_be_so(
    client: Any, tmp_path: Path, coding: str
) -> None:
    response = await post(client, multipart(dicom_file()), Content_Encoding=coding)
    assert response.status == 415
    assert response.headers["Connection"] == "close"
    assert await held(client) == []
    assert under_way(tmp_path) == []


async def test_a_body_that_inflates_absurdly_far_is_turned_down(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.web.inflating.INFLATED_FREELY", 1_000_000)
    bomb = gzip.compress(multipart(bytes(9_000_000)))
    response = await post(client, bomb, Content_Encoding="gzip")
    assert response.status == 413
    assert b"absurdly far" in await response.read()
    assert under_way(tmp_path) == []
    usual = gzip.compress(multipart(dicom_file(), os.urandom(2_000_000)))
    response = await post(client, usual, Content_Encoding="gzip")
    assert response.status == 202


async def test_a_corrupt_gzip_body_is_a_bad_request(
    client: Any, tmp_path: Path
) -> None:
    good = gzip.compress(multipart(*(image(64, 64) for _ in range(20))))
    bad = good[:600] + bytes(400) + good[1000:]
    response = await post(client, bad, Content_Encoding="gzip")
    assert response.status == 400
    assert under_way(tmp_path) == []
    assert (await client.get("/health")).status == 200


async def test_a_gzip_body_that_ends_too_soon_is_truncated(
    client: Any, tmp_path: Path
) -> None:
    first = named("1.1")
    made = zlib.compressobj(wbits=31)
    body = made.compress(multipart(first, os.urandom(200_000)))
    body += made.flush(zlib.Z_SYNC_FLUSH)
    response = await post(client, body[:-100_000], Content_Encoding="gzip")
    answer = await told(response, 202)
    assert of_items(answer, REFERENCED, INSTANCE) == ["1.1"]
    assert reasons(answer, OTHER_FAILURES) == [PROCESSING_FAILURE]
    assert under_way(tmp_path) == []


# -- what is refused, part by part -------------------------------------------------------


async def test_a_part_of_another_study_is_refused_and_the_others_stored(
    client: Any,
) -> None:
    files = [named("1.1"), named("1.2", StudyInstanceUID="1.2.3.9"), named("1.3")]
    answer = await told(
        await post(client, multipart(*files), f"{STUDIES}/1.2.3.1"), 202
    )
    assert of_items(answer, REFERENCED, INSTANCE) == ["1.1", "1.3"]
    assert of_items(answer, FAILED, INSTANCE) == ["1.2"]
    assert reasons(answer, FAILED) == [PROCESSING_FAILURE]
    assert await held(client) == ["1.1", "1.3"]


async def test_nothing_but_parts_of_another_study_is_a_conflict(
    client: Any, tmp_path: Path
) -> None:
    body = multipart(named("1.1"), image(1024, 1024, SOPInstanceUID="1.2"))
    answer = await told(await post(client, body, f"{STUDIES}/1.2.3.9"), 409)
    assert reasons(answer, FAILED) == [PROCESSING_FAILURE] * 2
    assert answer[REFERENCED] == {"vr": "SQ"}
    assert answer[RETRIEVE_URL] == {"vr": "UR"}
    assert kept(tmp_path) == under_way(tmp_path) == []


async def test_a_study_that_is_no_uid_is_a_bad_request(client: Any) -> None:
    response = await post(client, multipart(dicom_file()), f"{STUDIES}/..%2F..%2Fetc")
    assert response.status == 400
    assert "StudyInstanceUID" in (await response.json())["Details"]


UNREADABLE = {
    "text": b"not DICOM at all",
    "nothing": b"",
    "the prefix alone": bytes(128) + b"DICM",
    "cut off": image()[:300],
    "no StudyInstanceUID": dicom_file(StudyInstanceUID=None),
    "no SeriesInstanceUID": dicom_file(SeriesInstanceUID=None),
    "an identifier that climbs": dicom_file(SeriesInstanceUID="1.2")[:-1].replace(
        b"1.2.3.1\0", b"../../x\0"
    ),
}


@pytest.mark.parametrize("kind", UNREADABLE)
async def test_what_is_no_instance_is_told_apart_from_the_others(
    client: Any, tmp_path: Path, kind: str
) -> None:
    body = multipart(named("1.1"), UNREADABLE[kind], named("1.2"))
    answer = await told(await post(client, body), 202)
    assert of_items(answer, REFERENCED, INSTANCE) == ["1.1", "1.2"]
    assert FAILED not in answer
    assert reasons(answer, OTHER_FAILURES) == [CANNOT_UNDERSTAND]
    assert await held(client) == ["1.1", "1.2"]
    assert under_way(tmp_path) == []


async def test_nothing_but_what_is_no_instance_is_a_conflict(client: Any) -> None:
    answer = await told(await post(client, multipart(b"x", b"y")), 409)
    assert reasons(answer, OTHER_FAILURES) == [CANNOT_UNDERSTAND] * 2


async def test_a_large_file_that_is_no_dicom_leaves_nothing_behind(
    client: Any, tmp_path: Path
) -> None:
    body = multipart(os.urandom(5 * MIB), named("1.1"))
    answer = await told(await post(client, body), 202)
    assert reasons(answer, OTHER_FAILURES) == [CANNOT_UNDERSTAND]
    assert len(kept(tmp_path)) == 1
    assert under_way(tmp_path) == []


# -- what is held already ----------------------------------------------------------------


async def test_the_same_bytes_again_are_a_success_that_stores_nothing(
    client: Any, tmp_path: Path
) -> None:
    body = multipart(image(1024, 1024), named("1.1"))
    first = await told(await post(client, body), 200)
    before = sorted(kept(tmp_path))
    totals = await (await client.get("/statistics")).json()
    again = await told(await post(client, body), 200)
    assert again == first
    assert sorted(kept(tmp_path)) == before
    assert under_way(tmp_path) == []
    assert await (await client.get("/statistics")).json() == totals


async def test_other_content_under_a_held_identifier_is_refused(
    client: Any, tmp_path: Path
) -> None:
    await store(client, named("1.1", PatientName="First"))
    before = kept(tmp_path)[0]
    body = multipart(named("1.1", PatientName="Other"), named("1.2"))
    answer = await told(await post(client, body), 202)
    assert of_items(answer, FAILED, INSTANCE) == ["1.1"]
    assert reasons(answer, FAILED) == [DUPLICATE]
    assert of_items(answer, REFERENCED, INSTANCE) == ["1.2"]
    assert before in kept(tmp_path)
    names = values(await find(client, "instances"), "00100010")
    assert {name["Alphabetic"] for name in names} == {"First"}


async def test_nothing_but_other_content_is_a_conflict(client: Any) -> None:
    await store(client, named("1.1", PatientName="First"))
    response = await post(client, multipart(named("1.1", PatientName="Other")))
    assert reasons(await told(response, 409), FAILED) == [DUPLICATE]


@pytest.mark.parametrize("mode", ["Always", "IfChanged", True])
async def test_overwriting_replaces_file_and_attributes_at_once(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Any
) -> None:
    monkeypatch.setattr("gateway.storage.replaced.STAYS", 0.0)
    monkeypatch.setattr("gateway.storage.replaced.BUSY", 0.0)
    client = await start(OverwriteInstances=mode)
    old = named("1.1", PatientName="Old", StudyDescription="Before", Modality="CT")
    await store(client, old)
    new = named("1.1", PatientName="New", StudyDescription="After", Modality="MR")
    answer = await told(await post(client, multipart(new)), 200)
    assert of_items(answer, REFERENCED, INSTANCE) == ["1.1"]
    assert kept(tmp_path) == [new]
    assert under_way(tmp_path) == []
    study = (await find(client, "studies", {"includefield": "all"}))[0]
    assert study["00100010"]["Value"] == [{"Alphabetic": "New"}]
    assert study["00081030"]["Value"] == ["After"]
    assert study["00080061"]["Value"] == ["MR"]
    assert study["00201208"]["Value"] == [1]
    assert await find(client, "studies", {"PatientName": "Old"}) == []
    statistics = await (await client.get("/statistics")).json()
    assert statistics["TotalDiskSize"] == str(len(new))


async def test_the_same_instance_twice_in_one_request_is_stored_once(
    client: Any, tmp_path: Path
) -> None:
    file = named("1.1")
    answer = await told(await post(client, multipart(file, file, named("1.2"))), 200)
    assert of_items(answer, REFERENCED, INSTANCE) == ["1.1", "1.1", "1.2"]
    assert len(kept(tmp_path)) == 2
    assert under_way(tmp_path) == []


async def test_two_contents_for_one_identifier_in_one_request_keep_the_first(
    client: Any, tmp_path: Path
) -> None:
    first, second = named("1.1", PatientName="A"), named("1.1", PatientName="B")
    answer = await told(await post(client, multipart(first, second)), 202)
    assert reasons(answer, FAILED) == [DUPLICATE]
    assert kept(tmp_path) == [first]
    assert under_way(tmp_path) == []


async def test_many_clients_that_send_the_same_instance_all_succeed(
    client: Any, tmp_path: Path
) -> None:
    body = multipart(image(256, 256))
    responses = await asyncio.gather(*(post(client, body) for _ in range(16)))
    assert [response.status for response in responses] == [200] * 16
    assert len(kept(tmp_path)) == 1
    assert under_way(tmp_path) == []


# -- bodies that break off ---------------------------------------------------------------


@pytest.mark.parametrize("size", [16, 1024])
async def test_a_part_without_its_end_is_not_stored_and_the_answer_says_so(
    client: Any, tmp_path: Path, size: int
) -> None:
    body = multipart(named("1.1"), named("1.2"), image(size, size))
    answer = await told(await post(client, body[: -size * size]), 202)
    assert of_items(answer, REFERENCED, INSTANCE) == ["1.1", "1.2"]
    assert reasons(answer, OTHER_FAILURES) == [PROCESSING_FAILURE]
    assert await held(client) == ["1.1", "1.2"]
    assert under_way(tmp_path) == []
    assert len(kept(tmp_path)) == 2


async def test_a_whole_part_without_the_closing_boundary_is_not_trusted(
    client: Any,
) -> None:
    body = multipart(named("1.1"), named("1.2")).removesuffix(b"\r\n--BOUNDARY--\r\n")
    answer = await told(await post(client, body), 202)
    assert of_items(answer, REFERENCED, INSTANCE) == ["1.1"]
    assert len(items(answer, OTHER_FAILURES)) == 1


async def test_only_a_part_without_its_end_is_a_bad_request(
    client: Any, tmp_path: Path
) -> None:
    response = await post(client, multipart(image(1024, 1024))[:-2000])
    answer = await told(response, 400)
    assert reasons(answer, OTHER_FAILURES) == [PROCESSING_FAILURE]
    assert kept(tmp_path) == under_way(tmp_path) == []


@pytest.mark.parametrize(
    ("body", "spelled"),
    [
        (b"", content_type()),
        (b"--BOUNDARY--\r\n", content_type()),
        (b"only a preamble\r\n", content_type()),
        (multipart(b"x", boundary="OTHER"), content_type()),
        (b"x" * 100_000, content_type()),
        (multipart(b"x"), 'multipart/related; type="application/dicom"'),
        (multipart(b"x"), content_type('""')),
        (multipart(b"x", boundary="b" * 201), content_type("b" * 201)),
        (multipart(b"x"), content_type('"BOUNDARY')),
    ],
)
async def test_a_body_without_a_part_is_a_bad_request(
    client: Any, tmp_path: Path, body: bytes, spelled: str
) -> None:
    response = await post(client, body, Content_Type=spelled)
    assert response.status == 400, await response.text()
    assert await held(client) == []
    assert under_way(tmp_path) == []


async def test_absurd_part_headers_end_the_body_and_keep_what_came_before(
    client: Any, tmp_path: Path
) -> None:
    bomb = b"--BOUNDARY\r\nX: " + b"a" * 20_000 + b"\r\n\r\nx\r\n--BOUNDARY--\r\n"
    before = multipart(named("1.1")).removesuffix(b"--BOUNDARY--\r\n")
    answer = await told(await post(client, before + bomb), 202)
    assert of_items(answer, REFERENCED, INSTANCE) == ["1.1"]
    assert reasons(answer, OTHER_FAILURES) == [CANNOT_UNDERSTAND]
    alone = await told(await post(client, bomb), 400)
    assert reasons(alone, OTHER_FAILURES) == [CANNOT_UNDERSTAND]
    lines = b"".join(b"X%d: y\r\n" % number for number in range(40))
    many = b"--BOUNDARY\r\n" + lines + b"\r\nx\r\n--BOUNDARY--\r\n"
    await told(await post(client, many), 400)
    assert under_way(tmp_path) == []


async def test_a_client_that_disappears_leaves_whole_parts_and_nothing_else(
    client: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    body = multipart(named("1.1"), named("1.2"), image(2048, 2048))
    async with connected(client) as connection:
        await connection.send(
            head(
                "POST",
                STUDIES,
                Content_Type=content_type(),
                Transfer_Encoding="chunked",
            )
        )
        await connection.send(chunk(body[: len(body) // 2]))
        await until_held(client, 2)
        connection.vanish()
    await until_nothing_is_under_way(tmp_path)
    assert await held(client) == ["1.1", "1.2"]
    assert len(kept(tmp_path)) == 2
    assert [r.getMessage() for r in caplog.records if r.levelname == "ERROR"] == []


async def test_a_client_that_hangs_up_at_once_leaves_nothing_or_whole_parts(
    client: Any, tmp_path: Path
) -> None:
    body = multipart(named("1.1"), image(1024, 1024))
    for end in (10, 800, len(body) // 2, len(body) - 3):
        async with connected(client) as connection:
            length = str(len(body))
            await connection.send(
                head(
                    "POST", STUDIES, Content_Type=content_type(), Content_Length=length
                )
                + body[:end]
            )
            connection.half_close()
    await until_held(client, 1)
    await until_nothing_is_under_way(tmp_path)
    assert await held(client) == ["1.1"]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (
            {"Content_Length": "5"},
            chunk(multipart(named("1.1"))) + LAST_CHUNK,
        ),
        ({}, b"zz\r\n" + multipart(named("1.1")) + LAST_CHUNK),
        ({}, b"-1\r\n" + multipart(named("1.1")) + LAST_CHUNK),
    ],
    ids=["two lengths", "no number", "a negative number"],
)
async def test_a_body_framed_in_two_ways_or_none_is_a_bad_request(
    client: Any, headers: dict[str, str], body: bytes
) -> None:
    given = {"Content_Type": content_type(), "Transfer_Encoding": "chunked", **headers}
    async with connected(client) as connection:
        await connection.send(head("POST", STUDIES, **given) + body)
        assert (await connection.answer()).status == 400
        assert await connection.ended()
    assert await held(client) == []


# -- wrong types -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelled",
    [
        "multipart/related; boundary=BOUNDARY",
        "multipart/form-data; boundary=BOUNDARY",
        'multipart/mixed; type="application/dicom"; boundary=BOUNDARY',
        "application/dicom+json",
        "application/zip",
        "application/octet-stream",
    ],
)
async def test_bodies_of_another_type_are_turned_down_unread(
    client: Any, spelled: str
) -> None:
    body = multipart(dicom_file())
    response = await post(client, body, Content_Type=spelled)
    assert response.status == 415
    assert response.headers["Connection"] == "close"
    assert "multipart/related" in (await response.json())["Details"]
    assert await held(client) == []


async def test_a_body_without_a_type_is_turned_down(client: Any) -> None:
    body = multipart(dicom_file())
    async with connected(client) as connection:
        await connection.send(
            head("POST", STUDIES, Content_Length=str(len(body))) + body
        )
        assert (await connection.answer()).status == 415


@pytest.mark.parametrize("spelled", ["nonsense", "multipart/*; type=x", ";"])
async def test_a_type_that_cannot_be_read_is_a_bad_request(
    client: Any, spelled: str
) -> None:
    response = await post(client, multipart(dicom_file()), Content_Type=spelled)
    assert response.status in (400, 415)
    assert await held(client) == []


# -- bounds ------------------------------------------------------------------------------


async def test_a_body_whose_length_is_too_large_is_turned_down_unread(
    start: Any,
) -> None:
    client = await start(MaximumRequestBodySizeMB=1)
    async with connected(client) as connection:
        await connection.send(
            head(
                "POST",
                STUDIES,
                Content_Type=content_type(),
                Content_Length=f"{MIB + 1}",
            )
        )
        answer = await connection.answer()
    assert answer.status == 413
    assert answer.headers["connection"] == "close"
    assert json.loads(answer.body)["HttpStatus"] == 413


async def test_a_chunked_body_that_grows_too_large_is_broken_off(
    start: Any, tmp_path: Path
) -> None:
    client = await start(MaximumRequestBodySizeMB=1)
    body = multipart(image(2048, 1024))

    async def pieces() -> AsyncIterator[bytes]:
        for place in range(0, len(body), 65_536):
            yield body[place : place + 65_536]

    response = await post(client, pieces())
    assert response.status == 413
    assert kept(tmp_path) == under_way(tmp_path) == []


async def test_a_small_body_that_inflates_too_far_is_broken_off(
    start: Any, tmp_path: Path
) -> None:
    client = await start(MaximumRequestBodySizeMB=1)
    body = gzip.compress(multipart(named("1.1"), bytes(50 * MIB)))
    assert len(body) < MIB
    answer = await told(await post(client, body, Content_Encoding="gzip"), 202)
    assert of_items(answer, REFERENCED, INSTANCE) == ["1.1"]
    assert reasons(answer, OTHER_FAILURES) == [PROCESSING_FAILURE]
    assert await held(client) == ["1.1"]
    assert under_way(tmp_path) == []


async def test_a_client_that_stalls_is_told_so(start: Any, tmp_path: Path) -> None:
    client = await start(HttpRequestTimeout=1)
    body = multipart(image(2048, 1024))
    async with connected(client) as connection:
        length = str(len(body))
        await connection.send(
            head("POST", STUDIES, Content_Type=content_type(), Content_Length=length)
            + body[: 2 * MIB]
        )
        answer = await connection.answer()
    assert answer.status == 408
    assert answer.headers["connection"] == "close"
    assert kept(tmp_path) == under_way(tmp_path) == []


async def test_a_client_that_stalls_after_whole_parts_is_told_what_is_stored(
    start: Any, tmp_path: Path
) -> None:
    client = await start(HttpRequestTimeout=1)
    body = multipart(named("1.1"), image(64, 64))
    async with connected(client) as connection:
        length = str(len(body))
        await connection.send(
            head("POST", STUDIES, Content_Type=content_type(), Content_Length=length)
            + body[:-100]
        )
        answer = await connection.answer()
    assert answer.status == 202
    found = json.loads(answer.body)
    assert of_items(found, REFERENCED, INSTANCE) == ["1.1"]
    assert reasons(found, OTHER_FAILURES) == [PROCESSING_FAILURE]
    assert under_way(tmp_path) == []


async def test_a_slow_client_that_keeps_sending_is_waited_for(start: Any) -> None:
    client = await start(HttpRequestTimeout=1)
    body = multipart(named("1.1"))

    async def slowly() -> AsyncIterator[bytes]:
        for place in range(0, len(body), len(body) // 4):
            yield body[place : place + len(body) // 4]
            await asyncio.sleep(0.35)

    await told(await post(client, slowly()), 200)


# -- no room -----------------------------------------------------------------------------


async def chunked(client: Any, body: bytes) -> Any:
    """Send without a length, so that only what arrives can tell that room lacks."""

    async def pieces() -> AsyncIterator[bytes]:
        yield body

    return await post(client, pieces())


async def test_what_does_not_fit_any_more_is_refused_for_that_reason(
    start: Any, tmp_path: Path
) -> None:
    client = await start(MaximumStorageSize=1, MaximumStorageMode="Reject")
    fits = image(512, 512, SOPInstanceUID="1.1")
    too_much = image(1024, 512, SOPInstanceUID="1.2")
    answer = await told(
        await chunked(client, multipart(fits, too_much, named("1.3"))), 202
    )
    assert of_items(answer, REFERENCED, INSTANCE) == ["1.1", "1.3"]
    assert of_items(answer, FAILED, INSTANCE) == ["1.2"]
    assert reasons(answer, FAILED) == [OUT_OF_RESOURCES]
    assert under_way(tmp_path) == []
    alone = await told(await post(client, multipart(too_much)), 507)
    assert reasons(alone, FAILED) == [OUT_OF_RESOURCES]
    again = await told(await post(client, multipart(fits, fits, fits)), 200)
    assert of_items(again, REFERENCED, INSTANCE) == ["1.1"] * 3
    assert len(kept(tmp_path)) == 2


async def test_a_length_for_which_there_is_no_room_is_turned_down_unread(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs.DiskBlobs, "free_space", lambda *_: 11 * MIB)
    client = await start(MinimumFreeSpaceMB=10)
    async with connected(client) as connection:
        await connection.send(
            head(
                "POST",
                STUDIES,
                Content_Type=content_type(),
                Content_Length=f"{2 * MIB}",
            )
        )
        answer = await connection.answer()
    assert answer.status == 507
    assert json.loads(answer.body)["OrthancStatus"] == 19


async def test_without_reject_the_oldest_patient_gives_way(start: Any) -> None:
    client = await start(MaximumStorageSize=1)
    await store(client, image(512, 600))
    other = {"PatientID": "P2", "StudyInstanceUID": "1.7", "SeriesInstanceUID": "1.7.1"}
    await store(client, image(512, 600, **other))
    assert values(await find(client, "studies"), "00100020") == ["P2"]


async def test_a_disk_that_must_stay_free_is_left_alone(
    start: Any, tmp_path: Path
) -> None:
    client = await start(MinimumFreeSpaceMB=10**9)
    response = await post(client, multipart(dicom_file()))
    assert response.status == 507
    assert kept(tmp_path) == under_way(tmp_path) == []


async def test_a_disk_that_must_stay_free_is_not_filled_by_what_still_comes(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await start(MinimumFreeSpaceMB=10)
    answers = [100 * MIB, 100 * MIB, 12 * MIB, 11 * MIB - 1]

    def free_space(*_: Any) -> int:
        return answers.pop(0) if answers else 100 * MIB

    monkeypatch.setattr(blobs.DiskBlobs, "free_space", free_space)
    body = multipart(bytes(8 * MIB), named("1.1"))
    answer = await told(await chunked(client, body), 202)
    assert reasons(answer, OTHER_FAILURES) == [OUT_OF_RESOURCES]
    assert of_items(answer, REFERENCED, INSTANCE) == ["1.1"]
    assert answers == []
    assert under_way(tmp_path) == []


class FullDisk:
    """A disk that takes so many writes, then none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
        self.left = 10**9
        self.failed = threading.Event()
        self._error = error
        monkeypatch.setattr(blobs.os, "pwritev", self._failing(os.pwritev))

    def _failing(self, real: Callable[..., int]) -> Callable[..., int]:
        def write(*arguments: Any) -> int:
            self.left -= 1
            if self.left < 0:
                self.failed.set()
                raise OSError(self._error, os.strerror(self._error))
            return real(*arguments)

        return write


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errno.ENOSPC, OUT_OF_RESOURCES),
        (errno.EDQUOT, OUT_OF_RESOURCES),
        (errno.EIO, PROCESSING_FAILURE),
    ],
)
async def test_a_disk_that_fails_costs_the_part_that_it_fails_and_no_other(
    client: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: int,
    reason: int,
) -> None:
    await store(client, named("1.1"))
    disk = FullDisk(monkeypatch, error)

    async def pieces() -> AsyncIterator[bytes]:
        # The second part flows to the disk while it comes, and there it fails.
        before = multipart(named("1.2")).removesuffix(b"--BOUNDARY--\r\n")
        yield before + b"--BOUNDARY\r\n\r\n" + image(1024, 512)
        await until_held(client, 2)
        disk.left = 1
        yield image(2048, 1024)
        assert await asyncio.to_thread(disk.failed.wait, 10)
        disk.left = 10**9
        yield b"\r\n" + multipart(named("1.3"))

    answer = await told(await post(client, pieces()), 202)
    assert of_items(answer, REFERENCED, INSTANCE) == ["1.2", "1.3"]
    assert reasons(answer, OTHER_FAILURES) == [reason]
    assert await held(client) == ["1.1", "1.2", "1.3"]
    assert under_way(tmp_path) == []
    assert len(kept(tmp_path)) == 3


async def test_a_full_disk_refuses_small_parts_too_and_recovers(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch, errno.ENOSPC)
    disk.left = 0
    body = multipart(named("1.1"), named("1.2"))
    answer = await told(await post(client, body), 507)
    assert of_items(answer, FAILED, INSTANCE) == ["1.1", "1.2"]
    assert reasons(answer, FAILED) == [OUT_OF_RESOURCES] * 2
    assert kept(tmp_path) == under_way(tmp_path) == []
    disk.left = 10**9
    await told(await post(client, body), 200)


# -- Expect: 100-continue ----------------------------------------------------------------


def expecting(body: bytes, path: str = STUDIES, **headers: str) -> bytes:
    given = {"Content_Type": content_type(), "Content_Length": str(len(body))}
    return head("POST", path, Expect="100-continue", **{**given, **headers})


async def test_who_waits_is_told_to_go_on_and_then_what_became_of_it(
    client: Any,
) -> None:
    body = multipart(dicom_file())
    async with connected(client) as connection:
        await connection.send(expecting(body))
        assert await connection.head() == (100, {})
        await connection.send(body)
        assert (await connection.answer()).status == 200


TURNED_DOWN = {
    "without a password": (401, {}, STUDIES),
    "of another type": (415, {"Content_Type": "text/plain"}, STUDIES),
    "without a boundary": (
        400,
        {"Content_Type": "multipart/related; type=application/dicom"},
        STUDIES,
    ),
    "coded as nobody knows": (415, {"Content_Encoding": "x"}, STUDIES),
    "too large": (413, {"Content_Length": f"{2 * MIB}"}, STUDIES),
    "to nowhere": (404, {}, f"{ROOT}/nowhere"),
    "to a wrong place": (405, {}, f"{STUDIES}/1.2/series"),
}


@pytest.mark.parametrize("kind", TURNED_DOWN)
async def test_who_waits_is_turned_down_before_the_body(start: Any, kind: str) -> None:
    client = await start(
        AuthenticationEnabled=True,
        RegisteredUsers={"u": "p"},
        MaximumRequestBodySizeMB=1,
    )
    status, headers, path = TURNED_DOWN[kind]
    if status != 401:
        headers = {"Authorization": "Basic dTpw", **headers}
    async with connected(client) as connection:
        await connection.send(expecting(b"x" * 1000, path, **headers))
        answer = await connection.answer()
        assert answer.status == status
        assert answer.headers["connection"] == "close"


async def test_other_expectations_fail(client: Any) -> None:
    async with connected(client) as connection:
        await connection.send(head("GET", "/health", Expect="the-moon"))
        assert (await connection.answer()).status == 417


# -- the rest ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", [STUDIES, f"{STUDIES}/1.2.3.1"])
async def test_a_gateway_that_only_reads_takes_nothing(start: Any, path: str) -> None:
    client = await start(ReadOnly=True)
    response = await post(client, multipart(dicom_file()), path)
    assert response.status == 405
    assert response.headers["Allow"] == "GET,HEAD,OPTIONS"


async def test_requests_follow_each_other_on_one_connection(client: Any) -> None:
    async with connected(client) as connection:
        for number in range(3):
            body = multipart(named(f"1.{number}"))
            await connection.send(
                head(
                    "POST",
                    STUDIES,
                    Content_Type=content_type(),
                    Transfer_Encoding="chunked",
                )
                + chunk(body)
                + LAST_CHUNK
            )
            answer = await connection.answer()
            assert answer.status == 200
            assert answer.headers.get("connection") != "close"
    assert len(await held(client)) == 3


async def test_addresses_in_the_answer_are_those_the_client_sees(client: Any) -> None:
    response = await post(
        client,
        multipart(dicom_file()),
        X_Forwarded_Host="pacs.example",
        X_Forwarded_Proto="https",
        X_Forwarded_Prefix="/archive",
    )
    answer = await told(response, 200)
    wanted = f"https://pacs.example/archive{STUDIES}/1.2.3.1"
    assert answer[RETRIEVE_URL]["Value"] == [wanted]
    assert of_items(answer, REFERENCED, RETRIEVE_URL)[0].startswith(f"{wanted}/series/")


async def test_answers_of_long_requests_are_whole_json(client: Any) -> None:
    files = [named("1.1"), *(b"no DICOM %d" % number for number in range(300))]
    answer = await told(await post(client, multipart(*files)), 202)
    assert len(items(answer, OTHER_FAILURES)) == 300
    for item in items(answer, OTHER_FAILURES):
        assert len(item["00000902"]["Value"][0]) <= 64
