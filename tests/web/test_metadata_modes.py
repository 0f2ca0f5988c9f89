"""Metadata as the settings have it: of the index, with guesses, with binary values."""

import asyncio
import base64
import struct

import numpy
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
)

from gateway.dicom import inline
from tests.clients import JSON, ROOT, store
from tests.factories import dataset, encode, image
from tests.web.test_wado_rs import instance_path

STUDY = "studies/1.2.3.1"
SERIES = f"{STUDY}/series/1.2.3.1.1"


async def metadata(client, path: str):
    response = await client.get(f"{ROOT}/{path}/metadata")
    assert response.status == 200, await response.text()
    return await response.json(content_type=JSON)


def three() -> list[bytes]:
    return [
        image(
            SOPInstanceUID=f"1.2.3.{n}",
            InstanceNumber=4 - n,
            StudyDescription="Head",
            SliceThickness=thickness,
            KVP=100 + n,
            BodyPartExamined="HEAD",
            PatientComments="said once",
        )
        for n, thickness in ((1, 2), (2, 2), (3, 5))
    ]


async def test_main_tags_come_from_the_index_alone(start):
    client = await start(DicomWeb={"StudiesMetadata": "MainDicomTags"})
    await store(client, *three())
    found = await metadata(client, STUDY)
    assert [one["00200013"]["Value"] for one in found] == [[1], [2], [3]]
    for one in found:
        assert list(one) == sorted(one)
        assert one["00100010"]["Value"] == [{"Alphabetic": "Doe^Jane"}]
        assert one["00081030"]["Value"] == ["Head"]
        assert one["00180015"]["Value"] == ["HEAD"]
        assert one["00080016"]["Value"] == ["1.2.840.10008.5.1.4.1.1.2"]
        assert one["0020000D"]["Value"] == ["1.2.3.1"]
        assert one["0020000E"]["Value"] == ["1.2.3.1.1"]
        assert one["00280010"]["Value"] == [16]
        assert not {"7FE00010", "00180050", "00180060"} & set(one)
    # The other levels have modes of their own; one instance is always whole.
    for path in (SERIES, f"{SERIES}/instances/1.2.3.1"):
        for one in await metadata(client, path):
            assert {"7FE00010", "00180050"} <= set(one)


async def test_tags_are_guessed_from_a_few_instances(start):
    client = await start(
        DicomWeb={
            "SeriesMetadata": "Extrapolate",
            "SeriesMetadataExtrapolatedTags": [
                *("SliceThickness", "0018,0060", "PatientComments", "PixelData"),
                *("ImageComments", "NoSuchTag"),
            ],
        }
    )
    await store(client, *three())
    found = await metadata(client, SERIES)
    assert len(found) == 3
    for one in found:
        assert one["00180050"]["Value"] == [2]  # what most have
        assert one["00180060"]["Value"] == [101]  # of as many, the first
        assert one["00104000"]["Value"] == ["said once"]
        assert "7FE00010" not in one
        assert "00204000" not in one
    whole = await metadata(client, STUDY)
    assert {one["00180060"]["Value"][0] for one in whole} == {101, 102, 103}


async def test_what_is_not_held_is_not_found_in_any_mode(start):
    for mode in ("MainDicomTags", "Extrapolate"):
        client = await start(
            DicomWeb={
                "StudiesMetadata": mode,
                "StudiesMetadataExtrapolatedTags": ["KVP"],
            },
            StorageDirectory=mode,
        )
        assert (await client.get(f"{ROOT}/studies/1.9/metadata")).status == 404


async def test_main_tags_come_as_xml_too(start):
    client = await start(DicomWeb={"StudiesMetadata": "MainDicomTags"})
    await store(client, *three())
    response = await client.get(
        f"{ROOT}/{STUDY}/metadata",
        headers={"Accept": 'multipart/related; type="application/dicom+xml"'},
    )
    assert (await response.read()).count(b'keyword="StudyDescription"') == 3


# --- binary values --------------------------------------------------------------------

FLOATS = [0.5, -1.25, *(float(n) for n in range(400))]
LONGS = [1, 2**53 + 1, 2**64 - 1, *range(400)]


def binary(order: str, **attributes) -> Dataset:
    made = dataset(SOPInstanceUID="1.2.3.9", **attributes)
    made.add_new(0x00660016, "OF", struct.pack(f"{order}{len(FLOATS)}f", *FLOATS))
    made.add_new(0x00660022, "OD", struct.pack(f"{order}{len(FLOATS)}d", *FLOATS))
    made.add_new(0x00660040, "OL", struct.pack(f"{order}400I", *range(400)))
    made.add_new(0x00080019, "OV", struct.pack(f"{order}{len(LONGS)}Q", *LONGS))
    made.add_new(0x00281201, "OW", struct.pack(f"{order}1000H", *range(1000)))
    made.add_new(0x00660023, "OW", struct.pack(f"{order}2H", 1, 2))
    made.add_new(0x00420011, "OB", b"%PDF" * 600)
    item = Dataset()
    item.add_new(0x00281201, "OW", struct.pack(f"{order}900H", *range(900)))
    made.add_new(0x00289145, "SQ", [item])
    made.Rows = made.Columns = 64
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit = 15
    made.PixelRepresentation = 0
    made.SamplesPerPixel = 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.add_new(0x7FE00010, "OW", bytes(64 * 64 * 2))
    return made


@pytest.mark.parametrize(
    ("syntax", "order"), [(ExplicitVRLittleEndian, "<"), (ExplicitVRBigEndian, ">")]
)
async def test_values_are_shown_instead_of_the_way_to_them(start, syntax, order):
    client = await start(DicomWeb={"OtherBinaryMode": "InlineBinary"})
    await store(client, encode(binary(order), syntax))
    for path in (STUDY, SERIES, f"{SERIES}/instances/1.2.3.9"):
        [one] = await metadata(client, path)
        assert one["7FE00010"]["BulkDataURI"].endswith("/bulk/7fe00010")
        shown = {
            tag: base64.b64decode(one[tag]["InlineBinary"])
            for tag in ("00660016", "00660022", "00660040", "00080019", "00281201")
        }
        assert numpy.frombuffer(shown["00660016"], "<f4").tolist() == FLOATS
        assert numpy.frombuffer(shown["00660022"], "<f8").tolist() == FLOATS
        assert numpy.frombuffer(shown["00660040"], "<u4").tolist() == [*range(400)]
        assert numpy.frombuffer(shown["00080019"], "<u8").tolist() == LONGS
        assert numpy.frombuffer(shown["00281201"], "<u2").tolist() == [*range(1000)]
        [item] = one["00289145"]["Value"]
        nested = base64.b64decode(item["00281201"]["InlineBinary"])
        assert numpy.frombuffer(nested, "<u2").tolist() == [*range(900)]
        assert base64.b64decode(one["00420011"]["InlineBinary"]) == b"%PDF" * 600


async def test_numbers_are_shown_as_numbers(start):
    client = await start(DicomWeb={"OtherBinaryMode": "ArrayOfValues"})
    await store(client, encode(binary(">"), ExplicitVRBigEndian))
    [one] = await metadata(client, SERIES)
    assert one["00660016"] == {"vr": "OF", "Value": FLOATS}
    assert one["00660022"] == {"vr": "OD", "Value": FLOATS}
    assert one["00660040"] == {"vr": "OL", "Value": [*range(400)]}
    assert one["00080019"]["Value"][:3] == [1, str(2**53 + 1), str(2**64 - 1)]
    assert one["00660023"]["InlineBinary"] == base64.b64encode(b"\1\0\2\0").decode()
    assert "BulkDataURI" in one["7FE00010"]


async def test_numbers_are_shown_as_numbers_in_xml(start):
    client = await start(DicomWeb={"OtherBinaryMode": "ArrayOfValues"})
    await store(client, encode(binary("<")))
    response = await client.get(
        f"{ROOT}/{SERIES}/metadata",
        headers={"Accept": 'multipart/related; type="application/dicom+xml"'},
    )
    assert b'<Value number="2">-1.25</Value>' in await response.read()


async def test_what_is_large_or_deflated_keeps_its_address(start, monkeypatch):
    client = await start(DicomWeb={"OtherBinaryMode": "InlineBinary"})
    await store(client, encode(binary("<"), DeflatedExplicitVRLittleEndian))
    [one] = await metadata(client, SERIES)
    assert one["00281201"]["BulkDataURI"].endswith("/bulk/00281201")
    assert (await client.delete(f"{ROOT}/{STUDY}")).status == 204
    await store(client, encode(binary("<")))
    monkeypatch.setattr(inline, "LARGEST_VALUE", 2000)
    [one] = await metadata(client, SERIES)
    assert "BulkDataURI" in one["00660022"]
    assert "InlineBinary" in one["00281201"]
    monkeypatch.setattr(inline, "LARGEST_SUM", 100)
    [one] = await metadata(client, f"/{SERIES}")  # not the answer of before
    assert "BulkDataURI" in one["00281201"]


# --- what is known already ------------------------------------------------------------


async def test_metadata_that_would_be_the_same_is_not_sent_again(client):
    first, second, third = three()
    await store(client, first, second)
    for path in (STUDY, SERIES, f"{SERIES}/instances/1.2.3.1"):
        url = f"{ROOT}/{path}/metadata"
        response = await client.get(url)
        assert response.headers["Cache-Control"] == "private, no-cache"
        known = {"If-None-Match": response.headers["ETag"]}
        again = await client.get(url, headers=known)
        assert (again.status, await again.read()) == (304, b"")
        assert again.headers["ETag"] == response.headers["ETag"]
        xml = {"Accept": 'multipart/related; type="application/dicom+xml"'}
        assert (await client.get(url, headers={**known, **xml})).status == 200
        missing = f"{ROOT}/{path}9/metadata"
        assert (await client.get(missing, headers={"If-None-Match": "*"})).status == 404
    response = await client.get(f"{ROOT}/{STUDY}/metadata")
    known = {"If-None-Match": response.headers["ETag"]}
    await store(client, third)
    response = await client.get(f"{ROOT}/{STUDY}/metadata", headers=known)
    assert response.status == 200
    known = {"If-None-Match": response.headers["ETag"]}
    await store(client, image(StudyInstanceUID="9.9", SeriesInstanceUID="9.9.1"))
    again = await client.get(f"{ROOT}/{STUDY}/metadata", headers=known)
    assert again.status == 304
    gone = f"{ROOT}/{SERIES}/instances/1.2.3.3"
    assert (await client.delete(gone)).status == 204
    again = await client.get(f"{ROOT}/{STUDY}/metadata", headers=known)
    assert again.status == 200


async def test_metadata_of_an_overwritten_instance_is_sent_again(start):
    client = await start(OverwriteInstances="Always")
    uid = {"SOPInstanceUID": "1.2.3.9"}
    await store(client, image(KVP=1, **uid))
    response = await client.get(f"{ROOT}/{STUDY}/metadata")
    known = {"If-None-Match": response.headers["ETag"]}
    await store(client, image(KVP=2, **uid))
    response = await client.get(f"{ROOT}/{STUDY}/metadata", headers=known)
    assert response.status == 200


async def test_how_large_a_value_in_metadata_may_be_is_configured(start):
    values = {"00281201": bytes(8), "00282000": b"icc!" * 300}
    file = image(ICCProfile=values["00282000"], RedPaletteColorLookupTableData=bytes(8))
    path = await asyncio.to_thread(instance_path, file)
    for size, shown in ((0, set()), (8, {"00281201"}), (1200, set(values))):
        client = await start(DicomWeb={"InlineBinaryMaximumSize": size})
        await client.delete(f"{ROOT}/{path}")
        await store(client, file)
        [told] = await metadata(client, path)
        assert {tag for tag in told if "InlineBinary" in told[tag]} == shown
        await client.close()
    # It counted when this was stored; an address is good whatever is configured.
    client = await start(DicomWeb={"InlineBinaryMaximumSize": 0})
    [again] = await metadata(client, path)
    assert all(told[tag] == again[tag] for tag in values)
    for tag, value in values.items():
        headers = {"Accept": "application/octet-stream"}
        answer = await client.get(f"{ROOT}/{path}/bulk/{tag}", headers=headers)
        assert await answer.read() == value
