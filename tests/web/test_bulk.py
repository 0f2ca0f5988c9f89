"""Bulk data: every reference in metadata leads to the bytes it stands for."""

import asyncio
import re
import struct
import warnings
import zlib
from pathlib import Path

import orjson
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_fragments
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from gateway.dicom.bulk import word_size
from gateway.dicom.header import read_header
from gateway.dicom.values import little_endian
from gateway.errors import NotDicom
from tests import raw
from tests.clients import JSON, ROOT, store
from tests.factories import dataset, encode
from tests.web.test_wado_rs import instance_path, parts_of

DATA = Path(pydicom.__file__).parent / "data/test_files"
OCTETS = "application/octet-stream"
MULTIPART = f'multipart/related; type="{OCTETS}"'


def references(attributes, path=()):
    """The references in a header, with the way to them."""
    for tag, element in attributes.items():
        if "BulkDataURI" in element:
            yield (*path, tag), element["BulkDataURI"]
        if element["vr"] == "SQ":
            for number, item in enumerate(element.get("Value", ())):
                yield from references(item, (*path, tag, number))


def value_at(data_set, path):
    """The value pydicom has at the end of the way, as PS3.18 wants it handed out."""
    *way, tag = path
    for sequence, number in zip(way[::2], way[1::2], strict=True):
        data_set = data_set[int(sequence, 16)].value[number]
    return data_set[int(tag, 16)]


async def fetch(client, url, accept=None, **headers):
    url = re.sub("^http://[^/]*", "", url)
    headers = {**headers, "Accept": accept} if accept else headers
    response = await client.get(url, headers=headers)
    return response, await response.read()


async def metadata(client, file):
    url = f"{ROOT}/{instance_path(file)}/metadata"
    return orjson.loads((await fetch(client, url, JSON))[1])[0]


def usable():
    """pydicom's files that can be stored and hold bulk data."""
    for path in sorted(DATA.glob("*.dcm")):
        content = path.read_bytes()
        try:
            header = read_header(content)
        except NotDicom:
            continue
        if header.bulk and len(content) < 2_000_000:
            yield path, content, header


async def test_every_reference_of_every_file_leads_to_its_bytes(client):
    seen = set()
    for path, content, header in usable():
        await store_once(client, content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data_set = pydicom.dcmread(path)
        for way, uri in references(await metadata(client, content)):
            element = value_at(data_set, way)
            response, body = await fetch(client, uri, MULTIPART)
            assert response.status == 200, path.name
            parts = parts_of(response.headers["Content-Type"], body)
            assert int(response.headers["Content-Length"]) == len(body)
            assert {headers["content-location"] for headers, _ in parts} == {uri}
            value = element.value
            if element.tag == 0x7FE00010 and data_set.file_meta.TransferSyntaxUID in (
                pydicom.uid.AllTransferSyntaxes
            ):
                encapsulated = data_set.file_meta.TransferSyntaxUID.is_encapsulated
            else:
                encapsulated = False
            if encapsulated:
                check_fragments(path.name, data_set, parts, value)
            else:
                assert [data for _, data in parts] == [expected(header, element)], (
                    path.name
                )
                assert parts[0][0]["content-type"] == OCTETS
            seen.add((header.transfer_syntax, encapsulated, len(way) > 1))
    assert {syntax for syntax, encapsulated, _ in seen if encapsulated} >= {
        "1.2.840.10008.1.2.5",
        "1.2.840.10008.1.2.4.50",
        "1.2.840.10008.1.2.4.90",
    }
    assert ("1.2.840.10008.1.2.2", False, False) in seen
    assert ("1.2.840.10008.1.2.1.99", False, False) in seen


def expected(header, element):
    value = element.value
    if header.transfer_syntax == ExplicitVRBigEndian:
        return little_endian(value, word_size(str(element.VR)))
    return value


def check_fragments(name, data_set, parts, value):
    _, *wanted = generate_fragments(value)
    if int(data_set.get("NumberOfFrames") or 1) == 1:
        wanted = [b"".join(wanted)]
    assert [data for _, data in parts] == wanted, name
    kind = f"{OCTETS}; transfer-syntax={data_set.file_meta.TransferSyntaxUID}"
    assert {headers["content-type"] for headers, _ in parts} == {kind}


async def store_once(client, content):
    """Store a file; some of pydicom's are the same instance in another syntax."""
    await client.delete(f"{ROOT}/{instance_path(content)}")
    await store(client, content)


# --- each kind ------------------------------------------------------------------------


def nested() -> Dataset:
    inner = Dataset()
    inner.ICCProfile = bytes(range(256)) * 8
    return dataset(
        OpticalPathSequence=[Dataset(), inner],
        ICCProfile=b"first value" * 200,
        Rows=2,
        BitsAllocated=16,
        PixelData=bytes(range(256)) * 20,
    )


@pytest.mark.parametrize(
    "syntax",
    ["1.2.840.10008.1.2.1", ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian],
)
async def test_values_can_be_had_whole_and_in_ranges(client, syntax):
    data_set = nested()
    content = encode(data_set, syntax)
    await store(client, content)
    found = dict(references(await metadata(client, content)))
    values = {
        ("00282000",): data_set.ICCProfile,
        ("00480105", 1, "00282000"): data_set.OpticalPathSequence[1].ICCProfile,
        ("7FE00010",): data_set.PixelData,
    }
    assert found.keys() == values.keys()
    uri = found["00480105", 1, "00282000"]
    assert uri.endswith("/bulk/00480105/2/00282000")
    for way, value in values.items():
        response, body = await fetch(client, found[way], OCTETS)
        assert body == value
        assert response.headers["Content-Type"] == OCTETS
        assert response.headers["Content-Location"] == found[way]
        etag = response.headers["ETag"]
        for span, start, stop in [
            ("0-9", 0, 10),
            ("7-1100", 7, 1101),
            ("1500-", 1500, len(value)),
            ("-3", len(value) - 3, len(value)),
        ]:
            response, body = await fetch(
                client, found[way], OCTETS, Range=f"bytes={span}"
            )
            assert response.status == 206
            assert body == value[start:stop]
            total = response.headers["Content-Range"]
            assert total == f"bytes {start}-{stop - 1}/{len(value)}"
            assert response.headers["ETag"] == etag
        response, _ = await fetch(
            client, found[way], OCTETS, Range=f"bytes={len(value)}-"
        )
        assert response.status == 416
        response, _ = await fetch(client, found[way], OCTETS, **{"If-None-Match": etag})
        assert response.status == 304
    etags = {
        (await fetch(client, uri, OCTETS))[0].headers["ETag"] for uri in found.values()
    }
    assert len(etags) == 3


@pytest.mark.parametrize(
    ("tag", "vr", "word"),
    [
        (0x7FE00010, b"OW", 2),
        (0x00660016, b"OF", 4),
        (0x00660129, b"OL", 4),
        (0x7FE00009, b"OD", 8),
        (0x7FE00001, b"OV", 8),
        (0x00720083, b"UV", 8),
        (0x00282000, b"OB", 1),
        (0x00091001, b"UN", 1),
        (0x00181020, b"UT", 1),
    ],
)
async def test_words_of_big_endian_files_come_out_little_endian(client, tag, vr, word):
    value = struct.pack(">18000I", *(n * 2654435761 % 2**32 for n in range(18_000)))
    content = big_endian(raw.explicit(tag, vr, value, order=">"))
    await store(client, content)
    [(_, uri)] = references(await metadata(client, content))
    wanted = b"".join(value[at : at + word][::-1] for at in range(0, len(value), word))
    _, body = await fetch(client, uri, OCTETS)
    assert body == wanted
    response, body = await fetch(client, uri, MULTIPART)
    assert parts_of(response.headers["Content-Type"], body)[0][1] == wanted
    for span, start, stop in [("1-2", 1, 3), ("3-1001", 3, 1002), ("-5", -5, None)]:
        _, body = await fetch(client, uri, OCTETS, Range=f"bytes={span}")
        assert body == wanted[start:stop]


def big_endian(element: bytes) -> bytes:
    uids = zip(
        (0x00080018, 0x0020000D, 0x0020000E), (b"1.3", b"1.1", b"1.2"), strict=True
    )
    elements = [raw.explicit(tag, b"UI", uid + b"\0", order=">") for tag, uid in uids]
    return raw.meta(raw.BIG) + b"".join(sorted([*elements, element]))


async def test_a_large_big_endian_value_is_right_across_all_its_chunks(client):
    value = b"".join(struct.pack(">H", n % 65536) for n in range(1_600_001))
    content = big_endian(raw.explicit(0x7FE00010, b"OW", value, order=">"))
    await store(client, content)
    uri = f"{ROOT}/{instance_path(content)}/bulk/7FE00010"
    _, body = await fetch(client, uri, OCTETS)
    assert body == little_endian(value, 2)
    _, body = await fetch(client, uri, OCTETS, Range="bytes=1048575-2097153")
    assert body == little_endian(value, 2)[1048575:2097154]


async def test_a_large_deflated_value_is_right_across_all_its_chunks(client):
    value = b"".join(
        struct.pack("<I", n * 2654435761 % 2**32) for n in range(1_200_000)
    )
    content = encode(
        dataset(Rows=1, BitsAllocated=16, PixelData=value),
        DeflatedExplicitVRLittleEndian,
    )
    await store(client, content)
    path = await asyncio.to_thread(instance_path, content)
    uri = f"{ROOT}/{path}/bulk/7fe00010"
    response, body = await fetch(client, uri, OCTETS)
    assert response.headers["Content-Length"] == str(len(value))
    assert body == value
    _, body = await fetch(client, uri, OCTETS, Range="bytes=-11")
    assert body == value[-11:]
    response, body = await fetch(client, uri, MULTIPART)
    assert parts_of(response.headers["Content-Type"], body)[0][1] == value


def compressed(frames, fragments_per_frame=1, number=None):
    data_set = dataset(NumberOfFrames=number or len(frames))
    data_set.PixelData = encapsulate(frames, fragments_per_frame=fragments_per_frame)
    data_set["PixelData"].VR = "OB"
    data_set["PixelData"].is_undefined_length = True
    return encode(data_set, JPEG2000Lossless)


async def test_compressed_frames_come_without_their_items_a_part_for_each(client):
    frames = [bytes([n % 256]) * (100 + 2 * n) for n in range(600)]
    content = compressed(frames)
    await store(client, content)
    uri = f"{ROOT}/{instance_path(content)}/bulk/7fe00010"
    for accept in (MULTIPART, f"{MULTIPART}; transfer-syntax=*", None):
        response, body = await fetch(client, uri, accept)
        assert int(response.headers["Content-Length"]) == len(body)
        parts = parts_of(response.headers["Content-Type"], body)
        assert [data for _, data in parts] == frames
        assert {headers["content-type"] for headers, _ in parts} == {
            f"{OCTETS}; transfer-syntax={JPEG2000Lossless}"
        }
    for accept in (OCTETS, f"{MULTIPART}; transfer-syntax=1.2.840.10008.1.2.1"):
        response, body = await fetch(client, uri, accept)
        assert response.status == 406
        assert b"here there is multipart/related" in body


async def test_one_compressed_frame_is_one_part_or_a_single_answer(client):
    frame = bytes(range(256)) * 10
    content = compressed([frame], fragments_per_frame=5)
    await store(client, content)
    uri = f"{ROOT}/{instance_path(content)}/bulk/7fe00010"
    response, body = await fetch(client, uri, MULTIPART)
    assert [data for _, data in parts_of(response.headers["Content-Type"], body)] == [
        frame
    ]
    response, body = await fetch(client, uri, f"{OCTETS}; transfer-syntax=*")
    assert body == frame
    kind = f"{OCTETS}; transfer-syntax={JPEG2000Lossless}"
    assert response.headers["Content-Type"] == kind
    _, body = await fetch(client, uri, OCTETS, Range="bytes=500-1100")
    assert body == frame[500:1101]


async def test_pixel_data_of_no_fragments_is_not_found(client):
    empty = raw.explicit(0x7FE00010, b"OB", raw.item(b""), raw.UNDEFINED)
    content = raw.file() + empty + raw.SEQUENCE_END
    await store(client, content)
    uri = f"{ROOT}/{instance_path(content)}/bulk/7fe00010"
    assert (await fetch(client, uri))[0].status == 404


async def test_fragments_in_a_deflated_data_set_are_refused_rather_than_sent_wrong(
    client,
):
    squeezed = raw.explicit(
        0x7FE00010, b"OB", raw.item(b"") + raw.item(b"x" * 2000), raw.UNDEFINED
    )
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    data_set = b"".join(raw.UIDS) + squeezed + raw.SEQUENCE_END
    content = raw.meta(raw.DEFLATED) + squeeze.compress(data_set) + squeeze.flush()
    await store(client, content)
    uri = f"{ROOT}/{instance_path(content)}/bulk/7fe00010"
    assert (await fetch(client, uri))[0].status == 406


# --- asking wrongly -------------------------------------------------------------------


async def test_what_is_no_bulk_data_is_refused_or_not_found(client):
    content = encode(nested())
    await store(client, content)
    base = f"{ROOT}/{instance_path(content)}/bulk"
    for path, status in [
        ("00282001", 404),
        ("00100021", 404),
        ("00480105", 404),
        ("NoSuchKeyword", 404),
        ("OpticalPathSequence/2/NoSuchKeyword", 404),
        ("00480105/1/00282000", 404),
        ("00480105/9/00282000", 404),
        ("00480105/2", 400),
        ("00480105/0/00282000", 400),
        ("PixelData/1", 400),
        ("PixelData", 200),
        ("%2e%2e/%2e%2e/metadata", 400),
        ("7fe00010/", 200),
        ("7FE00010", 200),
    ]:
        assert (await fetch(client, f"{base}/{path}"))[0].status == status, path
    assert (
        await fetch(client, f"{ROOT}/studies/1/series/2/instances/3/bulk/7fe00010")
    )[0].status == 404
    for accept, status in [
        ("image/jpeg", 406),
        (JSON, 406),
        ("application/dicom", 406),
        ("*/*", 200),
        ('multipart/related; type="*/*"', 200),
        ("application/*", 200),
        (f"{OCTETS}; transfer-syntax=1.2.840.10008.1.2.1", 200),
        (f"{MULTIPART}; transfer-syntax=1.2.840.10008.1.2.4.80", 406),
    ]:
        response, body = await fetch(client, f"{base}/7fe00010", accept)
        assert response.status == status, accept
        assert status == 200 or b"here there is" in body


async def test_every_spelling_and_every_value_leads_to_its_bytes(client):
    content = encode(nested())
    await store(client, content)
    base = f"{ROOT}/{instance_path(content)}/bulk"
    profile = nested().OpticalPathSequence[1].ICCProfile
    for path, value in [
        ("PixelData", nested().PixelData),
        ("7FE0,0010", nested().PixelData),
        ("7fe0-0010", nested().PixelData),
        ("OpticalPathSequence/2/ICCProfile", profile),
        ("0048-0105/2/0028%2c2000", profile),
        ("PatientName", b"Doe^Jane"),
        ("Modality", b"CT"),
        ("StudyInstanceUID", b"1.2.3.1\0"),
        ("Rows", b"\2\0"),
    ]:
        response, body = await fetch(client, f"{base}/{path}", OCTETS)
        assert response.status == 200, body
        assert body == value, path
        response, body = await fetch(client, f"{base}/{path}", MULTIPART)
        [(headers, data)] = parts_of(response.headers["Content-Type"], body)
        assert data == value
        assert re.search(r"/bulk/[0-9a-f/]+$", headers["content-location"])
    response, body = await fetch(client, f"{base}/Modality", OCTETS, Range="bytes=1-")
    assert (response.status, body) == (206, b"T")


async def test_many_readers_of_one_value_get_the_same(client):
    content = encode(nested(), DeflatedExplicitVRLittleEndian)
    await store(client, content)
    uri = f"{ROOT}/{instance_path(content)}/bulk/7fe00010"
    answers = await asyncio.gather(*(fetch(client, uri, OCTETS) for _ in range(20)))
    assert {body for _, body in answers} == {nested().PixelData}
