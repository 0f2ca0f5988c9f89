"""Instances in other transfer syntaxes than they are held in."""

import asyncio
import io
import warnings
from pathlib import Path

import numpy
import pydicom
import pytest
from pydicom.dataset import Dataset

from gateway.dicom import codecs, encoders
from gateway.dicom.header import read_header
from gateway.dicom.pixels import layout_of
from gateway.errors import NotDicom
from gateway.web.context import GATEWAY
from tests.clients import ROOT, store
from tests.factories import dataset, encode
from tests.web.test_bulk import store_once
from tests.web.test_wado_rs import instance_path, parts_of

DATA = Path(pydicom.__file__).parent / "data/test_files"
SINGLE = "application/dicom"
MULTIPART = 'multipart/related; type="application/dicom"'
ELE, ILE, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"

#: What is another once pixels are decoded or encoded.
OF_PIXELS = {
    "7FE00010",
    "7FE00001",
    "7FE00002",
    "00280004",
    "00280006",
    "00880200",
}


def fixture(name):
    return (DATA / name).read_bytes()


async def fetch(client, path, accept):
    response = await client.get(f"{ROOT}/{path}", headers={"Accept": accept})
    return response, await response.read()


async def fetch_one(client, file, accept=SINGLE):
    response, body = await fetch(client, instance_path(file), accept)
    assert response.status == 200, body
    told = response.headers["Content-Type"]
    held = read_header(body)
    assert told == f"application/dicom; transfer-syntax={held.transfer_syntax}"
    return body, held


def pixels(file, rgb):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set = pydicom.dcmread(io.BytesIO(file), force=True)
        data_set.pixel_array_options(raw=not rgb)
        return data_set.pixel_array


def without_pixels(attributes):
    return {tag: attributes[tag] for tag in attributes if tag not in OF_PIXELS}


async def test_every_file_comes_in_explicit_little_endian_unless_that_loses(client):
    seen = 0
    for path in sorted(DATA.glob("*.dcm")):
        file = path.read_bytes()
        try:
            header = read_header(file)
        except NotDicom:
            continue
        if len(file) > 2_000_000:
            continue
        await store_once(client, file)
        made, held = await fetch_one(client, file)
        stored = header.transfer_syntax
        broken = path.name == "JPEG2000-embedded-sequence-delimiter.dcm"
        if stored in (ELE, *codecs.LOSSY) or broken:
            assert made == file, path.name
            continue
        assert held.transfer_syntax == ELE, path.name
        assert without_pixels(held.attributes) == without_pixels(header.attributes)
        layout = layout_of(header.attributes, stored, header.bulk)
        if layout is None:
            continue
        rgb = codecs.photometric_after(layout) == "RGB"
        try:
            expected = pixels(file, rgb)
        except Exception:
            continue
        assert numpy.array_equal(pixels(made, rgb), expected), path.name
        seen += 1
    assert seen > 20


def behind_pixels(syntax):
    """An image with private attributes, a signature and padding after its pixels."""
    data_set = dataset(
        Rows=4,
        Columns=4,
        BitsAllocated=16,
        BitsStored=16,
        HighBit=15,
        PixelRepresentation=0,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        PixelData=bytes(range(32)),
    )
    block = data_set.private_block(0x7FE1, "SOMEBODY", create=True)
    block.add_new(1, "UL", 4711)
    signature = Dataset()
    signature.MACIDNumber = 7
    data_set.DigitalSignaturesSequence = [signature]
    data_set.DataSetTrailingPadding = bytes(10)
    return encode(data_set, syntax)


@pytest.mark.parametrize("stored", [ILE, BIG, DEFLATED, ELE])
async def test_what_lies_behind_pixels_stays(client, stored):
    file = behind_pixels(stored)
    await store(client, file)
    for target in (ELE, "1.2.840.10008.1.2.5"):
        made, _ = await fetch_one(client, file, f"{SINGLE}; transfer-syntax={target}")
        found = pydicom.dcmread(io.BytesIO(made))
        assert found[0x7FE11001].value in (4711, (4711).to_bytes(4, "little"))
        assert found[0x7FE10010].value == "SOMEBODY"
        assert found.DigitalSignaturesSequence[0].MACIDNumber == 7
        assert found.DataSetTrailingPadding == bytes(10)


@pytest.mark.parametrize("accept", [SINGLE, "application/zip", MULTIPART, None])
async def test_pixels_of_which_nothing_is_known_are_never_left_out(client, accept):
    file = encode(dataset(PixelData=bytes(2000), BitsAllocated=16), ILE)
    await store(client, file)
    path = instance_path(file)
    response, body = await fetch(client, path, accept or "*/*")
    assert response.status == 200
    assert file in body
    if accept:
        asked = f"{accept}; transfer-syntax={ELE}"
        response, body = await fetch(client, path, asked)
        assert response.status == 406
    uri = f"/wado?requestType=WADO&objectUID={path.rsplit('/', 1)[1]}"
    response = await client.get(f"{uri}&contentType=application/dicom")
    assert await response.read() == file


@pytest.mark.parametrize("syntax", sorted(encoders.ENCODABLE))
@pytest.mark.parametrize(
    "name", ["MR_small.dcm", "rtdose.dcm", "examples_rgb_color.dcm", "chrH31.dcm"]
)
async def test_lossless_and_back_is_the_same(client, name, syntax):
    path = next(DATA.parent.rglob(name))
    file = path.read_bytes()
    header = read_header(file)
    layout = layout_of(header.attributes, header.transfer_syntax, header.bulk)
    lossless = encoders.is_lossless(syntax)
    if not lossless or not encoders.can_encode(encoders.decoded(layout), syntax):
        pytest.skip("not to be had")
    await store(client, file)
    made, held = await fetch_one(client, file, f"{SINGLE}; transfer-syntax={syntax}")
    assert held.transfer_syntax == syntax
    if syntax in (ELE, header.transfer_syntax):
        return
    await store_once(client, made)
    back, _ = await fetch_one(client, file, f"{SINGLE}; transfer-syntax={ELE}")
    plain = encoders.decoded(layout)
    found = read_header(back)
    start, _ = found.bulk["7fe00010"]
    assert back[start : start + plain.length] == file_pixels(file, layout)
    assert found.attributes["00280004"] == header.attributes["00280004"]


def file_pixels(file, layout):
    return file[layout.offset : layout.offset + encoders.decoded(layout).length]


async def test_lossy_pixels_are_made_when_asked_for_and_say_so(client):
    file = fixture("SC_rgb_rle.dcm")
    await store(client, file)
    for syntax in (codecs.JPEG_BASELINE, codecs.JPEG_2000):
        _, held = await fetch_one(client, file, f"{SINGLE}; transfer-syntax={syntax}")
        assert held.transfer_syntax == syntax
        assert held.attributes["00282110"]["Value"] == ["01"]
        assert held.attributes["00282112"]["Value"][0] > 1
        assert held.attributes["00282114"]["Value"][0].startswith("ISO_1")


async def test_a_mixed_study_comes_as_each_instance_can(client):
    files = [
        fixture("MR_small_RLE.dcm"),
        fixture("JPEGLSNearLossless_08.dcm"),
        fixture("rtdose.dcm"),
    ]
    moved = []
    for number, file in enumerate(files):
        data_set = pydicom.dcmread(io.BytesIO(file))
        data_set.StudyInstanceUID = "1.2.3.1"
        data_set.SeriesInstanceUID = f"1.2.3.1.{number}"
        data_set.PatientID = "P1"
        data_set.SOPInstanceUID = f"1.2.3.{number + 1}"
        moved.append(encode(data_set, data_set.file_meta.TransferSyntaxUID))
    moved.append(encode(dataset(), ILE))
    await store(client, *moved)
    response, body = await fetch(client, "studies/1.2.3.1", MULTIPART)
    assert response.status == 200
    parts = parts_of(response.headers["Content-Type"], body)
    syntaxes = {}
    for headers, part in parts:
        header = read_header(part)
        syntaxes[header.uids.instance] = header.transfer_syntax
        assert headers["content-type"].endswith(header.transfer_syntax)
        assert int(headers["content-length"]) == len(part)
    assert list(syntaxes.values()).count(ELE) == 3
    assert syntaxes["1.2.3.2"] == codecs.JPEG_LS_NEAR_LOSSLESS
    response, body = await fetch(
        client, "studies/1.2.3.1", f"{MULTIPART}; transfer-syntax=*"
    )
    found = parts_of(response.headers["Content-Type"], body)
    assert sorted(part for _, part in found) == sorted(moved)
    wanted = f"{MULTIPART}; transfer-syntax={codecs.RLE_LOSSLESS}"
    response, body = await fetch(client, "studies/1.2.3.1", wanted)
    assert response.status == 206  # the last has no pixels
    assert len(parts_of(response.headers["Content-Type"], body)) == 3


async def test_the_same_instance_asked_twice_at_once_is_made_once(client, monkeypatch):
    file = fixture("MR_small_RLE.dcm")
    await store(client, file)
    pool = client.server.app[GATEWAY].imaging._pool
    asked = []
    run = pool.run

    async def counted(*arguments):
        asked.append(arguments)
        await asyncio.sleep(0.05)
        return await run(*arguments)

    monkeypatch.setattr(pool, "run", counted)
    found = await asyncio.gather(*(fetch_one(client, file) for _ in range(4)))
    assert len({body for body, _ in found}) == 1
    assert len(asked) == 1


async def test_what_was_made_leaves_nothing_behind(client, tmp_path):
    file = fixture("MR_small_RLE.dcm")
    await store(client, file)
    await fetch_one(client, file)
    await client.server.close()
    left = [
        path for path in (tmp_path / "storage/incoming").rglob("*") if path.is_file()
    ]
    assert [path for path in left if path.suffix != ".lock"] == []
