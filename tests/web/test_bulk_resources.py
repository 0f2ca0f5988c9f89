"""All bulk data, all pixel data of a study, series or instance (PS3.18 10.4.1.1.5/6)."""

import asyncio
from pathlib import Path

import numpy
import pydicom
import pytest
from pydicom.encaps import generate_frames
from pydicom.uid import JPEG2000Lossless

from gateway.dicomweb import frames
from gateway.web.context import GATEWAY
from tests import kept
from tests.clients import JSON, ROOT, store
from tests.factories import dataset, dicom_file, encode, image
from tests.web.test_bulk import compressed, metadata, references
from tests.web.test_wado_rs import instance_path, parts_of

DATA = Path(pydicom.__file__).parent / "data/test_files"
OCTETS = "application/octet-stream"
MULTIPART = f'multipart/related; type="{OCTETS}"'
PLAIN = "1.2.840.10008.1.2.1"
STUDY = "studies/1.2.3.1"
SERIES = f"{STUDY}/series/1.2.3.1.1"


async def fetch(client, path, accept=None, **headers):
    headers |= {"Accept": accept} if accept else {}
    response = await client.get(f"{ROOT}/{path}", headers=headers)
    return response, await response.read()


async def parts(client, path, accept=None, status=200):
    response, body = await fetch(client, path, accept)
    assert response.status == status, body
    return parts_of(response.headers["Content-Type"], body)


def multiframe(frames=3, **attributes):
    pixels = numpy.arange(frames * 64 * 64, dtype="<u2") % 4096
    return dicom_file(
        Rows=64,
        Columns=64,
        BitsAllocated=16,
        BitsStored=12,
        HighBit=11,
        PixelRepresentation=0,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        NumberOfFrames=frames,
        PixelData=pixels.tobytes(),
        **attributes,
    )


# --- bulk data --------------------------------------------------------------------------


@pytest.mark.parametrize("level", [STUDY, SERIES])
async def test_every_value_comes_as_at_its_own_address(client, level):
    files = [
        image(InstanceNumber=1, ICCProfile=b"icc!" * 600),
        dicom_file(InstanceNumber=2),
        compressed([b"a" * 300, b"b" * 200]),
        image(InstanceNumber=2**31 - 1, RedPaletteColorLookupTableData=bytes(2000)),
    ]
    await store(client, *files)
    wanted = []
    for file in files:
        for _, uri in references(await metadata(client, file)):
            _, one = await fetch(client, uri.partition(ROOT)[2][1:], MULTIPART)
            wanted.append((uri, one.split(b"\r\n\r\n", 1)[1].split(b"\r\n--")[0]))
    found = await parts(client, f"{level}/bulkdata", MULTIPART)
    assert {headers["content-location"] for headers, _ in found} == {
        uri for uri, _ in wanted
    }
    assert len(found) == len(wanted) + 1  # the compressed one has two frames
    assert set(wanted) <= {(h["content-location"], data) for h, data in found}
    for headers, data in found:
        assert int(headers["content-length"]) == len(data)
    one = await parts(client, f"{instance_path(files[0])}/bulkdata")
    assert [h["content-location"].rsplit("/", 1)[1] for h, _ in one] == [
        "00282000",
        "7fe00010",
    ]


async def test_what_cannot_be_given_as_asked_is_left_out_and_said_to_be(client):
    plain, other = image(), compressed([b"a" * 300])
    await store(client, plain, other)
    accept = f"{MULTIPART}; transfer-syntax={PLAIN}"
    response, body = await fetch(client, f"{STUDY}/bulkdata", accept)
    assert response.status == 206
    assert "ETag" not in response.headers
    assert response.headers["Warning"].startswith("299 http://")
    assert "left out" in response.headers["Warning"]
    found = parts_of(response.headers["Content-Type"], body)
    assert [h["content-type"] for h, _ in found] == [OCTETS]
    response, body = await fetch(client, f"{instance_path(other)}/bulkdata", accept)
    assert response.status == 406
    assert b"here there is" in body


async def test_a_lost_file_is_left_out_and_said_to_be(client):
    files = [image(), image()]
    await store(client, *files)
    archive = client.app[GATEWAY].archive
    uids = instance_path(files[0]).split("/")[1::2]
    place = await archive.place(await archive.instance(*uids))
    await asyncio.to_thread(kept.lose, place)
    for what in ("bulkdata", "pixeldata"):
        response, body = await fetch(client, f"{STUDY}/{what}")
        assert response.status == 206
        assert "gone" in response.headers["Warning"]
        assert len(parts_of(response.headers["Content-Type"], body)) == 1


@pytest.mark.parametrize("what", ["bulkdata", "pixeldata"])
async def test_nothing_to_be_given_is_not_found(client, what):
    file = dicom_file()
    await store(client, file)
    for path in (STUDY, SERIES, instance_path(file), "studies/1.2.9"):
        response, _ = await fetch(client, f"{path}/{what}")
        assert response.status == 404
    assert (await fetch(client, f"studies/x/{what}"))[0].status == 400


@pytest.mark.parametrize("what", ["bulkdata", "pixeldata"])
async def test_an_answer_that_the_client_holds_is_not_sent_again(client, what):
    await store(client, image())
    response, _ = await fetch(client, f"{STUDY}/{what}")
    tag = {"If-None-Match": response.headers["ETag"]}
    again, body = await fetch(client, f"{STUDY}/{what}", **tag)
    assert (again.status, body) == (304, b"")
    await store(client, image())
    again, _ = await fetch(client, f"{STUDY}/{what}", **tag)
    assert again.status == 200
    head = await client.head(f"{ROOT}/{STUDY}/{what}")
    assert head.status == 200
    assert head.headers["Content-Type"].startswith("multipart/related")


@pytest.mark.parametrize("what", ["bulkdata", "pixeldata"])
@pytest.mark.parametrize("accept", [JSON, OCTETS, "application/dicom"])
async def test_only_parts_are_given(client, what, accept):
    await store(client, image())
    assert (await fetch(client, f"{STUDY}/{what}", accept))[0].status == 406


# --- pixel data -------------------------------------------------------------------------


async def test_frames_come_one_by_one_from_every_instance(client, monkeypatch):
    monkeypatch.setattr(frames, "GROUP", 2)
    file = multiframe(5, InstanceNumber=2)
    single = image(InstanceNumber=1)
    await store(client, dicom_file(), file, single)
    found = await parts(client, f"{SERIES}/pixeldata", MULTIPART)
    size = 64 * 64 * 2
    pixels = pydicom.dcmread(pydicom.filebase.DicomBytesIO(file)).PixelData
    assert [data for _, data in found[1:]] == [
        pixels[start : start + size] for start in range(0, 5 * size, size)
    ]
    base = f"{client.make_url(ROOT)}/"
    assert [h["content-location"].removeprefix(base) for h, _ in found] == [
        f"{instance_path(single)}/frames/1",
        *(f"{instance_path(file)}/frames/{number}" for number in range(1, 6)),
    ]
    assert {h["content-type"] for h, _ in found} == {
        f"{OCTETS}; transfer-syntax={PLAIN}"
    }


async def test_pixel_data_is_negotiated_as_frames_are(client):
    file = (DATA / "SC_rgb_rle_2frame.dcm").read_bytes()
    data_set = pydicom.dcmread(DATA / "SC_rgb_rle_2frame.dcm")
    await store(client, file)
    path = f"{instance_path(file)}/pixeldata"
    stored = list(generate_frames(data_set.PixelData, number_of_frames=2))
    for accept in (
        'multipart/related; type="image/dicom-rle"',
        f"{MULTIPART}; transfer-syntax=*",
    ):
        found = await parts(client, path, accept)
        assert [data for _, data in found] == stored
    found = await parts(client, path, MULTIPART)
    frames = [data_set.pixel_array[number].tobytes() for number in range(2)]
    assert [data for _, data in found] == frames
    assert (await fetch(client, path, 'multipart/related; type="video/mp4"'))[
        0
    ].status == 406


async def test_pixels_that_cannot_be_told_apart_are_left_out(client):
    unclear = compressed([b"a" * 100, b"b" * 100, b"c" * 100], number=2)
    data_set = pydicom.dcmread(pydicom.filebase.DicomBytesIO(unclear))
    data_set.Rows = data_set.Columns = 8
    unclear = encode(data_set, JPEG2000Lossless)
    await store(client, unclear)
    response, _ = await fetch(client, f"{STUDY}/pixeldata", "*/*")
    assert response.status == 406
    await store(client, image())
    found = await parts(client, f"{STUDY}/pixeldata", "*/*", status=206)
    assert len(found) == 1


def video(frames=3):
    data_set = dataset(
        Rows=64,
        Columns=64,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="YBR_PARTIAL_420",
        NumberOfFrames=frames,
    )
    data_set.PixelData = pydicom.encaps.encapsulate([b"moov" * 500, b"mdat" * 500])
    data_set["PixelData"].VR = "OB"
    data_set["PixelData"].is_undefined_length = True
    return encode(data_set, "1.2.840.10008.1.2.4.102")


async def test_a_video_is_one_part_of_its_own_kind(client):
    file = video()
    await store(client, file)
    stream = b"moov" * 500 + b"mdat" * 500
    kind = "video/mp4; transfer-syntax=1.2.840.10008.1.2.4.102"
    for accept in ('multipart/related; type="video/mp4"', "*/*"):
        found = await parts(client, f"{STUDY}/pixeldata", accept)
        assert [data for _, data in found] == [stream]
        assert found[0][0]["content-type"] == kind
    response, body = await fetch(client, f"{STUDY}/pixeldata", "image/jpeg")
    assert response.status == 406
    bulk = f"{instance_path(file)}/bulk/7fe00010"
    response, body = await fetch(client, bulk, "video/mp4", Range="bytes=5-9")
    assert response.headers["Content-Type"] == kind
    assert body == stream[5:10]
    found = await parts(client, bulk, 'multipart/related; type="video/*"')
    assert found[0][0]["content-type"] == kind


# --- the addresses of 2013 --------------------------------------------------------------


async def test_octets_of_instances_are_their_bulk_data(client):
    file = image(ICCProfile=b"icc!" * 600)
    await store(client, file)
    for path in (STUDY, SERIES, instance_path(file)):
        found = await parts(client, path, MULTIPART)
        assert len(found) == 2
        frames = await parts(client, path, 'multipart/related; type="image/jls"')
        assert frames[0][0]["content-type"].startswith("image/jls; transfer-syntax=")
    response, _ = await fetch(client, "studies/1.2.9", MULTIPART)
    assert response.status == 404
