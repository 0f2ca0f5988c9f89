"""WADO-RS: what comes out is what went in, or the connection breaks (PS3.18 10.4)."""

import asyncio
import email
import os
import re
from contextlib import suppress

import aiohttp
import orjson
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from gateway.archive import Archive
from gateway.dicom.header import read_header
from gateway.dicomweb import wado_rs
from gateway.wire.media import parse_media_type
from gateway.wire.multipart import MultipartReader, PartBegin, PartData, PartEnd
from tests import kept
from tests.clients import JSON, ROOT, find, store
from tests.factories import dataset, dicom_file, encode, image

STUDY = "studies/1.2.3.1"
SERIES = f"{STUDY}/series/1.2.3.1.1"
DICOM = 'multipart/related; type="application/dicom"'
ELE, ILE = str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)


def parts_of(content_type: str, body: bytes) -> list[tuple[dict[str, str], bytes]]:
    """Headers and data of each part, as our own reader sees them; it must be closed."""
    reader = MultipartReader(parse_media_type(content_type).parameters["boundary"])
    parts = []
    for event in reader.feed(body):
        if isinstance(event, PartBegin):
            headers, data = event.headers, bytearray()
        elif isinstance(event, PartData):
            data += event.body
        elif isinstance(event, PartEnd):
            parts.append((dict(headers), bytes(data)))
    reader.close()
    return parts


async def retrieve(client, path, accept=None, **headers):
    headers = {"Accept": accept, **headers} if accept is not None else headers
    response = await client.get(f"{ROOT}/{path}", headers=headers)
    return response, await response.read()


def instance_path(file: bytes) -> str:
    uids = read_header(file).uids
    return f"studies/{uids.study}/series/{uids.series}/instances/{uids.instance}"


def blobs(folder):
    return kept.places(folder / "storage")


# --- multipart ------------------------------------------------------------------------


async def test_a_study_a_series_and_an_instance_come_back_byte_for_byte(client):
    files = [image(InstanceNumber=n, SeriesInstanceUID=f"5.{n % 2}") for n in range(4)]
    await store(client, *files)
    series = [file for file in files if read_header(file).uids.series == "5.1"]
    one = instance_path(files[0])
    for path, expected in [
        (STUDY, files),
        (f"{STUDY}/series/5.1", series),
        (one, files[:1]),
    ]:
        response, body = await retrieve(client, path, DICOM)
        assert response.status == 200
        assert int(response.headers["Content-Length"]) == len(body)
        kind = response.headers["Content-Type"]
        assert re.fullmatch(
            'multipart/related; type="application/dicom"; boundary=[0-9a-f]{64}', kind
        )
        parts = parts_of(kind, body)
        assert sorted(data for _, data in parts) == sorted(expected)
        for headers, data in parts:
            assert (
                headers["content-type"] == f"application/dicom; transfer-syntax={ELE}"
            )
            assert headers["content-length"] == str(len(data))
            assert headers["content-location"].endswith(
                f"/dicom-web/{instance_path(data)}"
            )
            assert headers["content-location"].startswith("http://127.0.0.1:")


async def test_other_readers_understand_the_parts_too(client):
    files = [image(InstanceNumber=n) for n in (1, 2)]
    await store(client, *files)
    response = await client.get(f"{ROOT}/{STUDY}")
    read = []
    reader = aiohttp.MultipartReader.from_response(response)
    while (part := await reader.next()) is not None:
        read.append(bytes(await part.read(decode=False)))
    assert read == files
    response, body = await retrieve(client, STUDY)
    kind = response.headers["Content-Type"].encode()
    message = email.message_from_bytes(b"Content-Type: " + kind + b"\r\n\r\n" + body)
    assert [part.get_content_type() for part in message.get_payload()] == [
        "application/dicom"
    ] * 2


async def test_the_bytes_of_a_part_are_what_viewers_look_for_literally(client):
    file = image()
    await store(client, file)
    response, body = await retrieve(client, STUDY, DICOM)
    boundary = response.headers["Content-Type"].rpartition("=")[2]
    head = (
        f"--{boundary}\r\n"
        f"Content-Type: application/dicom; transfer-syntax={ELE}\r\n"
        f"Content-Length: {len(file)}\r\n"
        f"Content-Location: {client.make_url(ROOT)}/{instance_path(file)}\r\n\r\n"
    )
    assert body == head.encode() + file + f"\r\n--{boundary}--\r\n".encode()
    assert len(head) < 512


async def test_instances_come_in_the_order_of_their_numbers(client):
    files = [image(InstanceNumber=n) for n in (3, 1, 2)]
    await store(client, *files)
    response, body = await retrieve(client, SERIES, DICOM)
    parts = parts_of(response.headers["Content-Type"], body)
    assert [data for _, data in parts] == [files[1], files[2], files[0]]


async def test_a_long_study_comes_in_chunks_and_whole(client, monkeypatch):
    monkeypatch.setattr(wado_rs, "LENGTH_KNOWN", 3)
    monkeypatch.setattr("gateway.storage.database.STREAM_ROWS", 2)
    files = [image(InstanceNumber=n) for n in range(11)]
    await store(client, *files)
    response, body = await retrieve(client, STUDY, DICOM)
    assert "Content-Length" not in response.headers
    parts = parts_of(response.headers["Content-Type"], body)
    assert [data for _, data in parts] == files
    assert (await client.head(f"{ROOT}/{STUDY}")).status == 200


async def test_addresses_in_an_answer_are_those_of_the_outside(client):
    file = image(ICCProfile=b"icc!" * 600)
    await store(client, file)
    proxied = {"X-Forwarded-Host": "pacs.example", "X-Forwarded-Proto": "https"}
    root = "https://pacs.example/dicom-web/"
    response, body = await retrieve(client, STUDY, DICOM, **proxied)
    [(headers, _)] = parts_of(response.headers["Content-Type"], body)
    assert headers["content-location"] == root + instance_path(file)
    response, body = await retrieve(client, f"{STUDY}/metadata", **proxied)
    uri = orjson.loads(body)[0]["00282000"]["BulkDataURI"]
    assert uri == f"{root}{instance_path(file)}/bulk/00282000"


# --- which representation -------------------------------------------------------------

OCTETS = "multipart/related; type=application/octet-stream; transfer-syntax=*"
#: The strings of real clients: the answer for a study, an instance, and metadata.
ACCEPT = [
    ("application/dicom+json", 406, 406, "json"),
    ("application/dicom+json, application/json", 406, 406, "json"),
    (f"application/dicom+json, {OCTETS}", "bulk", "bulk", "json"),
    (OCTETS, "bulk", "bulk", 406),
    (
        OCTETS.replace("application/octet-stream", '"application/octet-stream"'),
        "bulk",
        "bulk",
        406,
    ),
    (
        'multipart/related; type="application/octet-stream";'
        " transfer-syntax=1.2.840.10008.1.2.4.80; transfer-syntax=*",
        "bulk",
        "bulk",
        406,
    ),
    (
        'multipart/related;type="application/dicom";transfer-syntax=*',
        "multi",
        "multi",
        406,
    ),
    (DICOM, "multi", "multi", 406),
    ("multipart/related; type=application/dicom", "multi", "multi", 406),
    ("application/dicom; transfer-syntax=*", 406, "single", 406),
    (
        'multipart/related; type="image/jpeg"; transfer-syntax=1.2.840.10008.1.2.4.50,'
        ' multipart/related; type="application/octet-stream"; q=0.5',
        "bulk",
        "bulk",
        406,
    ),
    ('multipart/related; type="*/*"', "multi", "multi", "xml"),
    ("image/jpeg, image/png;q=0.8", 406, 406, 406),
    ("application/dicom+xml", 406, 406, 406),
    ('multipart/related; type="application/dicom+xml"', 406, 406, "xml"),
    ("*/*", "multi", "multi", "json"),
    ("", "multi", "multi", "json"),
    ("multipart/*", "multi", "multi", "xml"),
    ("image/*", 406, 406, 406),
    ("text/html,application/xhtml+xml,*/*;q=0.8", "multi", "multi", "json"),
    ("application/dicom, multipart/related;q=0.5", "multi", "single", "xml"),
]
KINDS = {
    "multi": 'multipart/related; type="application/dicom"; boundary=',
    "bulk": 'multipart/related; type="application/octet-stream"; boundary=',
    "single": f"application/dicom; transfer-syntax={ELE}",
    "json": JSON,
    "xml": 'multipart/related; type="application/dicom+xml"; boundary=',
}


async def test_every_accept_header_of_a_real_client_gets_its_answer(client):
    file = image()
    await store(client, file)
    one = instance_path(file)
    for accept, study, instance, metadata in ACCEPT:
        for path, expected in [
            (STUDY, study),
            (SERIES, study),
            (one, instance),
            (f"{STUDY}/metadata", metadata),
            (f"{one}/metadata", metadata),
        ]:
            response, body = await retrieve(client, path, accept)
            if expected == 406:
                assert response.status == 406, (accept, path)
                assert b"here there is" in body
            else:
                assert response.status == 200, (accept, path)
                kind = response.headers["Content-Type"]
                assert kind.startswith(KINDS[expected]), (accept, path)
                assert "Accept" in response.headers["Vary"]
    absent = await client.get(f"{ROOT}/{STUDY}", skip_auto_headers=["Accept"])
    assert absent.headers["Content-Type"].startswith(KINDS["multi"])
    asked = await client.get(f"{ROOT}/{one}?accept=application/dicom")
    assert asked.headers["Content-Type"] == KINDS["single"]


@pytest.mark.parametrize("accept", ["application", "a/b;q=2", 'a/b; c="', "*/x"])
async def test_an_accept_header_that_means_nothing_is_refused(client, accept):
    await store(client, image())
    response, body = await retrieve(client, STUDY, accept)
    assert response.status in (400, 406)
    assert b"Accept" in body or b"here there is" in body


async def test_syntaxes_that_cannot_be_made_are_left_out(client):
    explicit, implicit = dataset(InstanceNumber=1), dataset(InstanceNumber=2)
    files = [encode(explicit, ELE), encode(implicit, ILE)]
    await store(client, *files)
    for asked, expected in [
        ([ILE], [files[1]]),  # nobody writes it anew
        ([ELE, ILE], files),
        (["*"], files),
        (["1.2.840.10008.1.2.4.50", ILE], [files[1]]),
    ]:
        one_range = DICOM + "".join(f"; transfer-syntax={uid}" for uid in asked)
        many = ", ".join(f"{DICOM}; transfer-syntax={uid}" for uid in asked)
        for accept in (one_range, many):
            response, body = await retrieve(client, STUDY, accept)
            assert response.status == (200 if expected == files else 206), accept
            parts = parts_of(response.headers["Content-Type"], body)
            assert [data for _, data in parts] == expected, accept
    response, body = await retrieve(
        client, STUDY, f"{DICOM}; transfer-syntax=1.2.840.10008.1.2.4.50"
    )
    assert response.status == 406
    assert ELE.encode() in body
    assert ILE.encode() in body
    one = instance_path(files[0])
    response, _ = await retrieve(
        client, one, f"application/dicom; transfer-syntax={ILE}"
    )
    assert response.status == 406


@pytest.mark.parametrize(
    "path",
    [
        "studies/9",
        f"{STUDY}/series/9",
        f"{SERIES}/instances/9",
        "studies/9/series/1.2.3.1.1",
        "studies/9/series/1.2.3.1.1/instances/1.5",
        f"{STUDY}/series/9/instances/1.5",
    ],
)
@pytest.mark.parametrize(
    "accept", [None, "application/dicom", f"{DICOM};transfer-syntax=1"]
)
async def test_what_is_not_there_is_not_found_before_the_first_byte(
    client, path, accept
):
    await store(client, image(SOPInstanceUID="1.5"))
    for below in ("", "/metadata"):
        response, body = await retrieve(client, path + below, None if below else accept)
        assert response.status == 404
        assert b"is held here" in body
    assert (await client.delete(f"{ROOT}/{path}")).status == 404


@pytest.mark.parametrize("uid", ["1.2.x", "1" * 65, "%2e%2e", "a", "1%002", "*"])
async def test_an_address_of_no_uids_is_refused(client, uid):
    for path in (
        f"studies/{uid}",
        f"studies/1/series/{uid}",
        f"studies/{uid}/metadata",
    ):
        if uid == "%2e%2e":  # two dots are a bad name for a UID, but can be one
            assert (await client.get(f"{ROOT}/studies/1/series/%2e.")).status == 404
            continue
        response, body = await retrieve(client, path)
        assert response.status == 400, path
        assert b"InstanceUID is not a UID" in body


# --- one file -------------------------------------------------------------------------


async def test_a_single_file_can_be_had_in_ranges_and_only_when_it_changed(client):
    file = image()
    size = len(file)
    await store(client, file)
    url = f"{ROOT}/{instance_path(file)}"
    base = {"Accept": "application/dicom"}
    whole = await client.get(url, headers=base)
    assert await whole.read() == file
    etag, modified = whole.headers["ETag"], whole.headers["Last-Modified"]
    assert whole.headers["Accept-Ranges"] == "bytes"
    assert whole.headers["Content-Length"] == str(size)
    assert re.fullmatch('"[^"]+"', etag)
    old, new = "Mon, 01 Jan 2001 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
    for headers, status, span in [
        ({"Range": "bytes=0-9"}, 206, (0, 10)),
        ({"Range": "bytes=5-5"}, 206, (5, 6)),
        ({"Range": "bytes=100-"}, 206, (100, size)),
        ({"Range": "bytes=-7"}, 206, (size - 7, size)),
        ({"Range": f"bytes=-{size + 100}"}, 206, (0, size)),
        ({"Range": f"bytes=10-{size * 2}"}, 206, (10, size)),
        ({"Range": f"bytes={size - 1}-"}, 206, (size - 1, size)),
        ({"Range": f"bytes={size}-"}, 416, None),
        ({"Range": "bytes=-0"}, 416, None),
        ({"Range": f"bytes={'9' * 5000}-"}, 416, None),
        ({"Range": "bytes=9-5"}, 200, None),
        ({"Range": "bytes=0-1,5-6"}, 200, None),
        ({"Range": "frames=1-2"}, 200, None),
        ({"Range": "bytes=-"}, 200, None),
        ({"Range": "bytes=0-9", "If-Range": etag}, 206, (0, 10)),
        ({"Range": "bytes=0-9", "If-Range": '"other"'}, 200, None),
        ({"Range": "bytes=0-9", "If-Range": old}, 200, None),
        ({"If-None-Match": etag}, 304, None),
        ({"If-None-Match": f'"x", W/{etag}'}, 304, None),
        ({"If-None-Match": "*"}, 304, None),
        ({"If-None-Match": '"x"', "If-Modified-Since": new}, 200, None),
        ({"If-Modified-Since": modified}, 304, None),
        ({"If-Modified-Since": old}, 200, None),
        ({"If-Modified-Since": "yesterday"}, 200, None),
        ({"If-Match": etag}, 200, None),
        ({"If-Match": '"x"'}, 412, None),
        ({"If-Unmodified-Since": old}, 412, None),
        ({"If-Unmodified-Since": new}, 200, None),
    ]:
        response = await client.get(url, headers={**base, **headers})
        body = await response.read()
        assert response.status == status, headers
        if status == 206:
            start, stop = span
            assert body == file[start:stop], headers
            told = response.headers["Content-Range"]
            assert told == f"bytes {start}-{stop - 1}/{size}"
        elif status == 200:
            assert body == file
        elif status == 416:
            assert response.headers["Content-Range"] == f"bytes */{size}"
        else:
            assert body == b""
        assert response.headers["ETag"] == etag


async def test_head_tells_the_length_of_everything_and_sends_nothing(client):
    file = image(ICCProfile=b"icc!" * 600)
    await store(client, file)
    one = instance_path(file)
    for path, accept in [
        (STUDY, DICOM),
        (SERIES, DICOM),
        (one, DICOM),
        (one, "application/dicom"),
        (f"{STUDY}/metadata", JSON),
        (f"{one}/metadata", 'multipart/related; type="application/dicom+xml"'),
        (f"{one}/bulk/00282000", "application/octet-stream"),
        (f"{one}/bulk/7fe00010", OCTETS),
        ("studies", JSON),
    ]:
        headers = {"Accept": accept}
        whole = await client.get(f"{ROOT}/{path}", headers=headers)
        length = len(await whole.read())
        head = await client.head(f"{ROOT}/{path}", headers=headers)
        assert head.status == 200, path
        assert await head.read() == b""
        told = head.headers["Content-Type"].partition("boundary")[0]
        assert told == whole.headers["Content-Type"].partition("boundary")[0]
        if "Content-Length" in head.headers:
            assert int(head.headers["Content-Length"]) == length, path
    assert (await client.head(f"{ROOT}/studies/9")).status == 404


# --- metadata -------------------------------------------------------------------------


async def test_metadata_is_the_header_at_every_level(client):
    files = [
        dicom_file(
            InstanceNumber=n,
            SeriesInstanceUID=f"5.{n % 2}",
            PatientName="Ж^Ω=山田",
            SpecificCharacterSet="ISO_IR 192",
            ImageComments='"BulkDataURI":"x',
        )
        for n in range(4)
    ]
    await store(client, *files)
    headers = [read_header(file).attributes for file in files]
    for path, expected in [
        (STUDY, headers),
        (f"{STUDY}/series/5.1", [headers[1], headers[3]]),
        (instance_path(files[2]), [headers[2]]),
    ]:
        response, body = await retrieve(client, f"{path}/metadata", JSON)
        assert response.headers["Content-Type"] == JSON
        found = orjson.loads(body)
        assert sorted(found, key=lambda one: one["00080018"]["Value"]) == expected
        assert all(list(one) == sorted(one) for one in found)
        accept = 'multipart/related; type="application/dicom+xml"'
        response, body = await retrieve(client, f"{path}/metadata", accept)
        parts = parts_of(response.headers["Content-Type"], body)
        assert len(parts) == len(expected)
        for headers_of_part, document in parts:
            assert headers_of_part["content-type"] == "application/dicom+xml"
            assert headers_of_part["content-length"] == str(len(document))
            assert "山田".encode() in document


async def test_metadata_of_a_long_study_is_streamed_and_whole(client):
    files = [dicom_file(InstanceNumber=n, ImageComments="x" * 9000) for n in range(60)]
    await store(client, *files)
    response, body = await retrieve(client, f"{STUDY}/metadata")
    assert "Content-Length" not in response.headers
    assert [one["00200013"]["Value"][0] for one in orjson.loads(body)] == list(
        range(60)
    )
    accept = 'multipart/related; type="application/dicom+xml"'
    response, body = await retrieve(client, f"{STUDY}/metadata", accept)
    assert len(parts_of(response.headers["Content-Type"], body)) == 60


# --- when it goes wrong ---------------------------------------------------------------


async def test_a_file_that_vanished_breaks_the_connection(
    client, tmp_path, monkeypatch
):
    async def all_of_them(archive, instances):
        return instances

    # It went after the answer had looked for it.
    monkeypatch.setattr("gateway.archive.Archive.present", all_of_them)
    files = [image(512, 512, InstanceNumber=n) for n in (1, 2, 3)]
    await store(client, *files)
    assert len(blobs(tmp_path)) == 3
    kept.lose(blobs(tmp_path)[1])
    for path in (STUDY, SERIES):
        assert not await is_whole(client, path, DICOM)
    answers = [
        await is_whole(client, instance_path(file), "application/dicom")
        for file in files
    ]
    assert sorted(answers) == [False, True, True]


@pytest.mark.parametrize("known", [8192, 0])
async def test_a_file_that_was_cut_breaks_the_connection(
    client, tmp_path, monkeypatch, known
):
    monkeypatch.setattr(wado_rs, "LENGTH_KNOWN", known)
    await store(client, *(image(512, 512, InstanceNumber=n) for n in (1, 2, 3)))
    last = blobs(tmp_path)[-1]
    os.truncate(last.path, last.start + last.size - 1)
    assert not await is_whole(client, STUDY, DICOM)


async def is_whole(client, path, accept) -> bool:
    """Whether an answer came to its end; if not, nothing in it may say that it did."""
    received = bytearray()
    try:
        response = await client.get(f"{ROOT}/{path}", headers={"Accept": accept})
        assert response.status == 200
        async for chunk in response.content.iter_any():
            received += chunk
    except aiohttp.ClientError:
        assert not received.endswith(b"--\r\n")
        return False
    return True


async def test_a_reader_that_goes_away_harms_nobody(client):
    await store(client, *(image(1024, 1024, InstanceNumber=n) for n in range(8)))
    for _ in range(5):
        response = await client.get(f"{ROOT}/{STUDY}")
        await response.content.read(10)
        response.close()
    response, body = await retrieve(client, STUDY)
    assert len(parts_of(response.headers["Content-Type"], body)) == 8


# --- deleting -------------------------------------------------------------------------


async def test_deleting_takes_files_and_empty_parents_and_nothing_else(
    client, tmp_path
):
    files = {
        (series, number): image(
            StudyInstanceUID="6.1",
            SeriesInstanceUID=f"6.1.{series}",
            SOPInstanceUID=f"6.{series}.{number}",
        )
        for series in (1, 2)
        for number in (1, 2)
    }
    await store(client, *files.values(), image())
    study = "studies/6.1"
    steps = [
        (f"{study}/series/6.1.1/instances/6.1.1", 4, ["6.1.1", "6.1.2"]),
        (f"{study}/series/6.1.1/instances/6.1.2", 3, ["6.1.2"]),
        (f"{study}/series/6.1.2", 1, []),
    ]
    for path, left, series in steps:
        response = await client.delete(f"{ROOT}/{path}")
        assert response.status == 204
        assert await response.read() == b""
        assert (await client.delete(f"{ROOT}/{path}")).status == 404
        assert (await client.get(f"{ROOT}/{path}")).status == 404
        assert len(blobs(tmp_path)) == left
        found = await find(client, f"{study}/series")
        assert [one["0020000E"]["Value"][0] for one in found] == series
    assert len(await find(client, "studies")) == 1
    assert (await client.delete(f"{ROOT}/{STUDY}")).status == 204
    assert blobs(tmp_path) == []
    totals = await (await client.get("/statistics")).json()
    assert totals["CountPatients"] == totals["CountInstances"] == 0


async def test_counts_follow_what_is_deleted(client):
    await store(
        client,
        image(Modality="CT", SeriesInstanceUID="5.1"),
        image(Modality="MR", SeriesInstanceUID="5.2"),
    )
    await client.delete(f"{ROOT}/{STUDY}/series/5.2")
    [study] = await find(client, "studies")
    assert study["00080061"]["Value"] == ["CT"]
    assert study["00201206"]["Value"] == [1]
    assert study["00201208"]["Value"] == [1]


async def test_deleting_a_study_deletes_it_under_every_patient(client, tmp_path):
    files = [
        image(PatientID=patient, SeriesInstanceUID=f"5.{patient[1]}")
        for patient in ("P1", "P2")
    ]
    await store(client, *files)
    response, body = await retrieve(client, STUDY)
    assert len(parts_of(response.headers["Content-Type"], body)) == 2
    assert len(orjson.loads((await retrieve(client, f"{STUDY}/metadata"))[1])) == 2
    assert (await client.delete(f"{ROOT}/{STUDY}")).status == 204
    assert await find(client, "studies") == []
    assert blobs(tmp_path) == []


async def test_what_comes_while_it_is_asked_for_is_there_or_not_but_never_refused(
    client, monkeypatch
):
    file = dicom_file(StudyInstanceUID="1.2.3.1")
    await store(client, file)
    look = Archive.transfer_syntaxes
    looks = []

    async def too_early(archive, *address):
        looks.append(address)
        return frozenset() if len(looks) == 1 else await look(archive, *address)

    monkeypatch.setattr(Archive, "transfer_syntaxes", too_early)
    headers = {"Accept": f"{DICOM}; transfer-syntax=*"}
    response = await client.get(f"{ROOT}/{STUDY}", headers=headers)
    assert (response.status, len(looks)) == (200, 2)
    looks.clear()
    response = await client.get(f"{ROOT}/studies/1.2.3.77", headers=headers)
    assert response.status == 404


async def test_a_study_of_many_instances_is_deleted_in_groups(client, monkeypatch):
    monkeypatch.setattr("gateway.archive._DELETE_GROUP", 3)
    await store(client, *(dicom_file(InstanceNumber=n) for n in range(10)))
    assert (await client.delete(f"{ROOT}/{STUDY}")).status == 204
    assert await find(client, "instances") == []


async def test_what_is_deleted_while_it_is_read_comes_whole_or_breaks_off(client):
    files = [image(1024, 2048, InstanceNumber=n) for n in range(12)]
    await store(client, *files)

    async def read() -> bool:
        with suppress(aiohttp.ClientError):
            response = await client.get(f"{ROOT}/{STUDY}", headers={"Accept": DICOM})
            if response.status == 404:
                return False
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                await asyncio.sleep(0)
            parts = parts_of(response.headers["Content-Type"], bytes(body))
            assert [data for _, data in parts] == files
            return True
        return False

    readers = [asyncio.create_task(read()) for _ in range(3)]
    await asyncio.sleep(0.02)
    assert (await client.delete(f"{ROOT}/{STUDY}")).status == 204
    await asyncio.gather(*readers)
    assert await find(client, "studies") == []


async def test_a_read_only_gateway_deletes_nothing(start):
    client = await start()
    await store(client, image())
    closed = await start(ReadOnly=True, StorageDirectory="other")
    assert (await closed.delete(f"{ROOT}/{STUDY}")).status in (403, 405)


async def test_a_single_file_says_where_it_is(client):
    file = image()
    await store(client, file)
    path = instance_path(file)
    answer, _ = await retrieve(client, path, "application/dicom")
    assert answer.status == 200
    assert answer.headers["Content-Location"].endswith(f"{ROOT}/{path}")
