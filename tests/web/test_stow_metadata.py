"""STOW-RS of metadata with bulk data through real HTTP: JSON, XML, pictures, documents."""

import asyncio
import base64
import io
import json
import os
import socket
from pathlib import Path
from typing import Any

import numpy
import pydicom
import pydicom.data
import pytest
from PIL import Image

from gateway.dicom.write import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from gateway.dicom.xml import to_xml
from gateway.dicomweb import stow_metadata
from tests import kept
from tests.clients import JSON, ROOT, find, values
from tests.factories import dataset

STUDIES = f"{ROOT}/studies"
XML = "application/dicom+xml"
OCTETS = "application/octet-stream"
MIB = 1024 * 1024

REFERENCED, FAILED, OTHER_FAILURES = "00081199", "00081198", "0008119A"
INSTANCE, REASON, WARNING, COMMENT = "00081155", "00081197", "00081196", "00000902"
COERCED, NOT_OF_ITS_CLASS = 0xB000, 0xB007
CANNOT_UNDERSTAND = 0xC000
PIXEL_DATA = "7FE00010"

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
#: Image Pixel attributes that a bitstream tells.
LEFT_OUT = (
    *(
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "Rows",
        "Columns",
        "BitsAllocated",
    ),
    *("BitsStored", "HighBit", "PixelRepresentation", "PlanarConfiguration"),
)

JPEG_BASELINE = "1.2.840.10008.1.2.4.50"


# -- asking and looking ------------------------------------------------------------------


def metadata(uid: str = "1.2.3.4.1", **attributes: Any) -> dict[str, Any]:
    """A data set in JSON; attributes by keyword, or by tag as elements of the model."""
    elements = {key: value for key, value in attributes.items() if key[0] in "07"}
    rest = {key: value for key, value in attributes.items() if key not in elements}
    made: dict[str, Any] = dataset(SOPInstanceUID=uid, **rest).to_json_dict()
    return made | elements


def image_attributes(
    rows: int = 16, columns: int = 16, bits: int = 16
) -> dict[str, Any]:
    return {
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": 0,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
    }


def pixels_at(uri: str, vr: str = "OW") -> dict[str, Any]:
    return {PIXEL_DATA: {"vr": vr, "BulkDataURI": uri}}


def bulk(content: bytes, location: str | None, kind: str = OCTETS) -> Any:
    headers = {"Content-Type": kind}
    if location is not None:
        headers["Content-Location"] = location
    return headers, content


def body_of(*parts: Any) -> bytes:
    lines = []
    for headers, content in parts:
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        lines.append(f"--B\r\n{head}\r\n".encode() + content + b"\r\n")
    return b"".join(lines) + b"--B--\r\n"


def json_part(*data_sets: Any) -> Any:
    return {"Content-Type": JSON}, json.dumps(list(data_sets)).encode()


def xml_part(data_set: Any) -> Any:
    return {"Content-Type": XML}, to_xml(data_set)


async def post(
    client: Any, *parts: Any, inner: str = JSON, path: str = STUDIES, **more: str
) -> Any:
    kind = f'multipart/related; type="{inner}"; boundary=B'
    return await client.post(
        path, data=io.BytesIO(body_of(*parts)), headers={"Content-Type": kind, **more}
    )


async def told(response: Any, status: int) -> Any:
    assert response.status == status, await response.text()
    assert response.headers["Content-Type"] == JSON
    return json.loads(await response.read())


def items(answer: Any, sequence: str) -> list[Any]:
    found: list[Any] = answer.get(sequence, {}).get("Value", [])
    return found


def of_items(answer: Any, sequence: str, tag: str) -> list[Any]:
    return [
        item.get(tag, {}).get("Value", [None])[0] for item in items(answer, sequence)
    ]


async def fetched(client: Any, uid: str = "1.2.3.4.1") -> Any:
    """The instance as pydicom reads its file."""
    path = f"{STUDIES}/1.2.3.1/series/1.2.3.1.1/instances/{uid}"
    headers = {"Accept": "application/dicom; transfer-syntax=*"}
    response = await client.get(path, headers=headers)
    assert response.status == 200, await response.text()
    return pydicom.dcmread(io.BytesIO(await response.read()))


async def held(client: Any) -> list[str]:
    return sorted(values(await find(client, "instances"), "00080018"))


def under_way(folder: Path) -> list[Path]:
    return kept.under_way(folder / "storage")


def frames_of(read: Any) -> list[bytes]:
    count = int(read.get("NumberOfFrames", 1))
    return list(pydicom.encaps.generate_frames(read.PixelData, number_of_frames=count))


def picture(
    kind: str = "JPEG", mode: str = "L", size: Any = (24, 16), **how: Any
) -> bytes:
    rows, columns = size[1], size[0]
    shape = (rows, columns) if mode == "L" else (rows, columns, 3)
    noise = numpy.random.default_rng(1).integers(0, 256, shape, numpy.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, kind, **how)
    return out.getvalue()


def even(content: bytes) -> bytes:
    return content + b"\0" * (len(content) % 2)


# -- JSON and XML ------------------------------------------------------------------------


async def test_metadata_alone_becomes_a_file(client: Any) -> None:
    data_set = metadata(PatientName="Müller^Jürgen", SeriesNumber=7)
    answer = await told(await post(client, json_part(data_set)), 200)
    (item,) = items(answer, REFERENCED)
    assert item[INSTANCE]["Value"] == ["1.2.3.4.1"]
    assert WARNING not in item
    read = await fetched(client)
    assert read.PatientName == "Müller^Jürgen"
    assert read.SpecificCharacterSet == "ISO_IR 192"
    assert read.SeriesNumber == 7
    meta = read.file_meta
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert meta.ImplementationVersionName == IMPLEMENTATION_VERSION_NAME
    assert meta.MediaStorageSOPInstanceUID == "1.2.3.4.1"
    assert meta.TransferSyntaxUID.is_little_endian


@pytest.mark.parametrize("inner", [JSON, XML])
async def test_bulk_parts_are_found_by_their_location(client: Any, inner: str) -> None:
    contents = {f"1.2.3.4.{n}": os.urandom(512) for n in (1, 2, 3)}
    data_sets = [
        metadata(uid, **image_attributes(), **pixels_at(f"pixels/{uid}"))
        for uid in contents
    ]
    first = [json_part(*data_sets)] if inner == JSON else map(xml_part, data_sets)
    # In another order than the data sets.
    parts = [bulk(contents[uid], f"pixels/{uid}") for uid in reversed(contents)]
    answer = await told(await post(client, *first, *parts, inner=inner), 200)
    assert of_items(answer, REFERENCED, INSTANCE) == list(contents)
    for uid, content in contents.items():
        read = await fetched(client, uid)
        assert read.PixelData == content
        assert read.Rows == 16


@pytest.mark.parametrize(
    ("uri", "location"),
    [
        ("bulk/1", "bulk/1"),
        ("bulk/1", "./bulk/1"),
        ("{root}/9/bulk", "9/bulk"),  # relative to .../dicom-web/studies
        ("/dicom-web/x", "{origin}/dicom-web/x"),
        ("{origin}/a/b?c=1", "{origin}/a/b?c=1"),
        ("cid:17@here", "cid:17@here"),
        ("urn:uuid:2c0bb9a6", "urn:uuid:2c0bb9a6"),
        ("https://elsewhere.example/1", "https://elsewhere.example/1"),
    ],
)
async def test_locations_may_be_relative_or_absolute(
    client: Any, uri: str, location: str
) -> None:
    origin = f"http://{client.server.host}:{client.server.port}"
    uri = uri.format(origin=origin, root=ROOT)
    data_set = metadata(**image_attributes(), **pixels_at(uri))
    part = bulk(bytes(512), location.format(origin=origin, root=ROOT))
    await told(await post(client, json_part(data_set), part), 200)
    assert (await fetched(client)).PixelData == bytes(512)


async def test_a_content_id_is_a_location(client: Any) -> None:
    data_set = metadata(**image_attributes(), **pixels_at("cid:a@b"))
    part = {"Content-Type": OCTETS, "Content-ID": "<a@b>"}, bytes(512)
    await told(await post(client, json_part(data_set), part), 200)


async def test_bulk_data_may_lie_in_sequences_and_be_of_any_kind(client: Any) -> None:
    item = {
        "00281201": {"vr": "OW", "BulkDataURI": "lut"},
        "0040A160": {"vr": "UT", "BulkDataURI": "text"},
    }
    data_set = metadata(
        **{"00400275": {"vr": "SQ", "Value": [item]}},
        **{"00189073": {"vr": "FD", "BulkDataURI": "numbers"}},
    )
    numbers = numpy.arange(20000, dtype="<f8").tobytes()
    parts = [bulk(b"\1\2\3\4", "lut"), bulk(b"odd", "text"), bulk(numbers, "numbers")]
    await told(await post(client, json_part(data_set), *parts), 200)
    read = await fetched(client)
    inside = read.RequestAttributesSequence[0]
    assert inside.RedPaletteColorLookupTableData == b"\1\2\3\4"
    assert inside.TextValue == "odd"
    # Longer than a short form can say: PS3.5 6.2.2 writes it as UN.
    assert bytes(read[0x00189073].value) == numbers


async def test_large_bulk_data_passes_through(client: Any, tmp_path: Path) -> None:
    content = os.urandom(5 * MIB)
    attributes = image_attributes(1280, 2048)
    data_set = metadata(**attributes, **pixels_at("big"))
    await told(await post(client, json_part(data_set), bulk(content, "big")), 200)
    assert (await fetched(client)).PixelData == content
    assert under_way(tmp_path) == []


async def test_frames_may_come_as_one_part_each(client: Any) -> None:
    data_set = metadata(NumberOfFrames=3, **image_attributes(bits=8), **pixels_at("f"))
    frames = [os.urandom(256) for _ in range(3)]
    parts = [bulk(frame, "f") for frame in frames]
    await told(await post(client, json_part(data_set), *parts), 200)
    assert (await fetched(client)).PixelData == b"".join(frames)


async def test_inline_and_lenient_spellings_are_taken(client: Any) -> None:
    data_set = metadata() | {
        "0008103e": {"Value": ["no vr, and small letters"]},
        "00100010": {"vr": "PN", "Value": ["Doe^Jane=J"]},
        "00282000": {"vr": "OB", "InlineBinary": base64.b64encode(b"abc").decode()},
        "00080008": {"vr": "CS", "Value": ["A", None, "B"]},
        "00020010": {"vr": "UI", "Value": ["1.2.3"]},
        "00080050": {"vr": "SH", "Value": [None]},
        "00201041": None,
    }
    await told(await post(client, json_part(data_set)), 200)
    read = await fetched(client)
    assert read.SeriesDescription == "no vr, and small letters"
    assert read.PatientName.ideographic == "J"
    assert read.ICCProfile == b"abc\0"
    assert list(read.ImageType) == ["A", "", "B"]
    assert read.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"


async def test_the_same_again_is_the_same_file(client: Any) -> None:
    data_set = metadata(**image_attributes(), **pixels_at("p"))
    for _ in range(2):
        response = await post(client, json_part(data_set), bulk(bytes(512), "p"))
        await told(response, 200)


async def test_metadata_we_gave_out_comes_back(client: Any) -> None:
    data_set = metadata(**image_attributes(), **pixels_at("p"))
    content = os.urandom(512)
    await told(await post(client, json_part(data_set), bulk(content, "p")), 200)
    path = f"{STUDIES}/1.2.3.1"
    given = await (await client.get(f"{path}/metadata")).json(content_type=JSON)
    uri = given[0][PIXEL_DATA]["BulkDataURI"]
    assert (await client.delete(path)).status in (200, 204)
    await told(await post(client, json_part(*given), bulk(content, uri)), 200)
    assert (await fetched(client)).PixelData == content


async def test_the_answer_may_be_xml(client: Any) -> None:
    response = await post(client, json_part(metadata()), Accept=XML)
    assert response.status == 200
    assert (await response.read()).startswith(b"<?xml")


async def test_a_hundred_instances_in_one_request(client: Any) -> None:
    data_sets = [metadata(f"1.2.3.5.{number}") for number in range(100)]
    answer = await told(await post(client, json_part(*data_sets)), 200)
    uids = [f"1.2.3.5.{number}" for number in range(100)]
    assert of_items(answer, REFERENCED, INSTANCE) == uids


# -- pictures ----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "RGB"])
async def test_a_jpeg_is_kept_and_tells_what_was_left_out(
    client: Any, mode: str
) -> None:
    content = picture(mode=mode)
    data_set = metadata(**pixels_at("jpeg"))
    part = bulk(content, "jpeg", "image/jpeg")
    answer = await told(await post(client, json_part(data_set), part), 202)
    assert of_items(answer, REFERENCED, WARNING) == [COERCED]
    read = await fetched(client)
    assert read.file_meta.TransferSyntaxUID == JPEG_BASELINE
    assert frames_of(read) == [even(content)]
    assert (read.Rows, read.Columns) == (16, 24)
    assert (read.BitsAllocated, read.BitsStored, read.HighBit) == (8, 8, 7)
    expected = (1, "MONOCHROME2") if mode == "L" else (3, "YBR_FULL_422")
    assert (read.SamplesPerPixel, read.PhotometricInterpretation) == expected
    assert read.LossyImageCompression == "01"
    assert read.pixel_array.shape[:2] == (16, 24)


async def test_compressed_pixels_come_back_byte_for_byte(client: Any) -> None:
    attributes = image_attributes(16, 24, 8) | {"LossyImageCompression": "01"}
    frames = [even(picture(quality=quality)) for quality in (50, 70, 90)]
    data_set = metadata(NumberOfFrames=3, **attributes, **pixels_at("f", "OB"))
    kind = f"image/jpeg; transfer-syntax={JPEG_BASELINE}"
    parts = [bulk(frame, "f", kind) for frame in frames]
    answer = await told(await post(client, json_part(data_set), *parts), 200)
    assert of_items(answer, REFERENCED, WARNING) == [None]
    assert frames_of(await fetched(client)) == frames
    path = f"{STUDIES}/1.2.3.1/series/1.2.3.1.1/instances/1.2.3.4.1/bulk/7fe00010"
    accept = 'multipart/related; type="*/*"; transfer-syntax=*'
    response = await client.get(path, headers={"Accept": accept})
    assert response.status == 200, await response.text()
    got = await response.read()
    assert all(frame in got for frame in frames)


@pytest.mark.parametrize("boxed", [True, False])
@pytest.mark.parametrize("reversible", [True, False])
async def test_jpeg_2000_is_kept_without_its_boxes(
    client: Any, boxed: bool, reversible: bool
) -> None:
    content = picture("JPEG2000", "RGB", no_jp2=not boxed, irreversible=not reversible)
    assert content.startswith(b"\0\0\0\x0cjP") == boxed
    part = bulk(content, "j", "image/jp2")
    await told(await post(client, json_part(metadata(**pixels_at("j"))), part), 202)
    read = await fetched(client)
    last = "90" if reversible else "91"
    assert read.file_meta.TransferSyntaxUID == f"1.2.840.10008.1.2.4.{last}"
    start = content.index(b"\xff\x4f\xff\x51")
    assert frames_of(read) == [even(content[start:])]
    assert (read.Rows, read.Columns, read.SamplesPerPixel) == (16, 24, 3)
    assert read.PhotometricInterpretation in ("YBR_RCT", "YBR_ICT", "RGB")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("SC_rgb_jpeg_dcmtk.dcm", "image/jpeg"),
        ("JPEG-lossy.dcm", "image/jpeg"),
        ("JPEGLSNearLossless_08.dcm", "image/jls"),
        ("MR_small_jpeg_ls_lossless.dcm", "image/jls"),
        ("MR_small_jp2klossless.dcm", "image/jp2"),
        ("SC_rgb_rle_2frame.dcm", "image/dicom-rle"),
    ],
)
async def test_files_of_other_makers_taken_apart_are_put_together(
    client: Any, name: str, kind: str
) -> None:
    path = pydicom.data.get_testdata_file(name, download=False)
    original = await asyncio.to_thread(pydicom.dcmread, path)
    frames = frames_of(original)
    data_set = metadata(NumberOfFrames=original.get("NumberOfFrames", 1))
    for keyword in LEFT_OUT:
        if kind == "image/dicom-rle" and keyword in original:
            element = original[keyword]
            data_set |= json.loads(json.dumps(pydicom_only(element)))
    parts = [bulk(frame, "f", kind) for frame in frames]
    response = await post(client, json_part(data_set | pixels_at("f")), *parts)
    await told(response, 200 if kind == "image/dicom-rle" else 202)
    read = await fetched(client)
    assert read.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
    assert frames_of(read) == frames
    for keyword in ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation"):
        assert read[keyword].value == original[keyword].value
    assert read.BitsAllocated == original.BitsAllocated


def pydicom_only(element: Any) -> Any:
    made = pydicom.Dataset()
    made.add(element)
    return made.to_json_dict()


async def test_the_bitstream_knows_its_process_better_than_its_label(
    client: Any,
) -> None:
    attributes = image_attributes(16, 24, 8) | {"LossyImageCompression": "01"}
    data_set = metadata(**attributes, **pixels_at("j"))
    part = bulk(picture(), "j", "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.70")
    answer = await told(await post(client, json_part(data_set), part), 202)
    assert of_items(answer, REFERENCED, WARNING) == [COERCED]
    assert (await fetched(client)).file_meta.TransferSyntaxUID == JPEG_BASELINE


async def test_octets_with_a_compressed_syntax_are_fragments(client: Any) -> None:
    content = even(picture())
    data_set = metadata(**image_attributes(16, 24, 8), **pixels_at("j", "UN"))
    part = bulk(content, "j", f"{OCTETS}; transfer-syntax={JPEG_BASELINE}")
    await told(await post(client, json_part(data_set), part), 200)
    assert frames_of(await fetched(client)) == [content]


async def test_an_icon_is_native(client: Any) -> None:
    icon = metadata(**image_attributes(16, 24, 8)) | pixels_at("icon")
    data_set = metadata() | {"00880200": {"vr": "SQ", "Value": [icon]}}
    part = bulk(picture(), "icon", "image/jpeg")
    await told(await post(client, json_part(data_set), part), 409)
    await told(await post(client, json_part(data_set), bulk(bytes(384), "icon")), 200)
    assert (await fetched(client)).IconImageSequence[0].PixelData == bytes(384)


async def test_a_size_that_contradicts_the_picture_is_put_right(client: Any) -> None:
    attributes = image_attributes(99, 24, 8) | {"LossyImageCompression": "01"}
    data_set = metadata(**attributes, **pixels_at("j"))
    part = bulk(picture(), "j", "image/jpeg")
    answer = await told(await post(client, json_part(data_set), part), 202)
    assert of_items(answer, REFERENCED, WARNING) == [COERCED]
    assert (await fetched(client)).Rows == 16


@pytest.mark.parametrize("bits", [8, 16])
async def test_a_png_becomes_native_pixels(client: Any, bits: int) -> None:
    kind = numpy.uint8 if bits == 8 else numpy.uint16
    noise = numpy.random.default_rng(1).integers(0, 2**bits, (16, 24), kind)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, "PNG")
    data_set = metadata(SOPClassUID=SECONDARY_CAPTURE, **pixels_at("png"))
    part = bulk(out.getvalue(), "png", "image/png")
    await told(await post(client, json_part(data_set), part), 202)
    read = await fetched(client)
    assert read.SOPClassUID == SECONDARY_CAPTURE
    assert numpy.array_equal(read.pixel_array, noise)


async def test_a_picture_nobody_refers_to_belongs_to_the_only_data_set(
    client: Any,
) -> None:
    data_set = metadata(SOPClassUID=None)
    out = picture("PNG", "RGB")
    part = bulk(out, None, "image/png")
    await told(await post(client, json_part(data_set), part), 202)
    read = await fetched(client)
    assert read.SOPClassUID == SECONDARY_CAPTURE
    expected = numpy.asarray(Image.open(io.BytesIO(out)))
    assert numpy.array_equal(read.pixel_array, expected)


# -- documents and videos ----------------------------------------------------------------


@pytest.mark.parametrize("location", ["doc", None])
async def test_a_pdf_becomes_an_encapsulated_pdf(client: Any, location: Any) -> None:
    content = b"%PDF-1.7 an odd number of bytes"
    reference = {"00420011": {"vr": "OB", "BulkDataURI": "doc"}} if location else {}
    data_set = metadata(SOPClassUID=None, **reference)
    part = bulk(content, location, "application/pdf")
    answer = await told(await post(client, json_part(data_set), part), 202)
    assert of_items(answer, REFERENCED, WARNING) == [COERCED]
    read = await fetched(client)
    assert read.SOPClassUID == ENCAPSULATED_PDF
    assert read.EncapsulatedDocument == content + b"\0"
    assert read.EncapsulatedDocumentLength == len(content)
    assert read.MIMETypeOfEncapsulatedDocument == "application/pdf"


async def test_a_complete_pdf_needs_no_warning(client: Any) -> None:
    content = b"%PDF-1.7"
    data_set = metadata(
        SOPClassUID=ENCAPSULATED_PDF,
        MIMETypeOfEncapsulatedDocument="application/pdf",
        EncapsulatedDocumentLength=len(content),
        **{"00420011": {"vr": "OB", "BulkDataURI": "doc"}},
    )
    part = bulk(content, "doc", "application/pdf")
    await told(await post(client, json_part(data_set), part), 200)


async def test_a_pdf_in_a_ct_image_is_told(client: Any) -> None:
    data_set = metadata(**{"00420011": {"vr": "OB", "BulkDataURI": "doc"}})
    part = bulk(b"%PDF-1.7", "doc", "application/pdf")
    answer = await told(await post(client, json_part(data_set), part), 202)
    assert of_items(answer, REFERENCED, WARNING) == [NOT_OF_ITS_CLASS]


async def test_an_mp4_is_kept_as_it_is(client: Any) -> None:
    content = b"\0\0\0\x18ftypmp42" + os.urandom(2 * MIB)
    attributes = image_attributes(1080, 1920, 8) | {"NumberOfFrames": 50}
    data_set = metadata(**attributes, **pixels_at("video"))
    part = bulk(content, "video", "video/mp4")
    await told(await post(client, json_part(data_set), part), 200)
    read = await fetched(client)
    assert read.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.102"
    (fragment,) = pydicom.encaps.generate_fragments(
        read.PixelData[8:]  # behind the offset table
    )
    assert fragment == content


@pytest.mark.parametrize(
    "kind", ["image/jpeg", "image/png", "application/pdf", "video/mp4", "model/stl"]
)
async def test_a_bare_picture_is_told_how_to_be_sent(client: Any, kind: str) -> None:
    response = await client.post(
        STUDIES, data=io.BytesIO(b"x"), headers={"Content-Type": kind}
    )
    assert response.status == 415
    details = (await response.json())["Details"]
    assert 'multipart/related; type="application/dicom+json"' in details
    assert kind in details


# -- warnings ----------------------------------------------------------------------------


async def test_another_character_set_is_replaced_and_told(client: Any) -> None:
    data_set = metadata(PatientName="Müller") | {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}
    }
    answer = await told(await post(client, json_part(data_set)), 202)
    assert of_items(answer, REFERENCED, WARNING) == [COERCED]
    read = await fetched(client)
    assert read.SpecificCharacterSet == "ISO_IR 192"
    assert read.PatientName == "Müller"


async def test_a_character_set_that_makes_no_difference_stays(client: Any) -> None:
    data_set = metadata() | {"00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}}
    await told(await post(client, json_part(data_set)), 200)
    assert (await fetched(client)).SpecificCharacterSet == "ISO_IR 100"


# -- what is refused ---------------------------------------------------------------------


async def test_a_missing_part_fails_its_instance_alone(client: Any) -> None:
    data_sets = [
        metadata("1.1", **image_attributes(), **pixels_at("here")),
        metadata("1.2", **image_attributes(), **pixels_at("gone")),
    ]
    response = await post(client, json_part(*data_sets), bulk(bytes(512), "here"))
    answer = await told(response, 202)
    assert of_items(answer, REFERENCED, INSTANCE) == ["1.1"]
    assert of_items(answer, FAILED, INSTANCE) == ["1.2"]
    assert of_items(answer, FAILED, REASON) == [CANNOT_UNDERSTAND]
    assert of_items(answer, FAILED, COMMENT) == ["(7FE0,0010) refers to no part: gone"]


async def test_nothing_is_fetched_from_anywhere(client: Any, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(512))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.setblocking(False)
        port = listening.getsockname()[1]
        for uri in (f"http://127.0.0.1:{port}/x", f"file://{secret}", str(secret)):
            data_set = metadata(**image_attributes(), **pixels_at(uri))
            answer = await told(await post(client, json_part(data_set)), 409)
            assert of_items(answer, FAILED, INSTANCE) == ["1.2.3.4.1"]
        await asyncio.sleep(0.05)
        with pytest.raises(BlockingIOError):
            listening.accept()
    assert await held(client) == []
    assert under_way(tmp_path) == []


async def test_parts_nobody_refers_to_are_told(client: Any) -> None:
    data_sets = [metadata("1.1"), metadata("1.2")]
    response = await post(client, json_part(*data_sets), bulk(b"xx", "x"))
    answer = await told(response, 202)
    assert of_items(answer, OTHER_FAILURES, COMMENT) == [
        "no data set refers to 1 of the parts"
    ]


@pytest.mark.parametrize("inner", [JSON, XML])
async def test_another_study_than_that_of_the_address_is_refused(
    client: Any, inner: str
) -> None:
    part = json_part(metadata()) if inner == JSON else xml_part(metadata())
    response = await post(client, part, inner=inner, path=f"{STUDIES}/1.2.7")
    answer = await told(response, 409)
    assert of_items(answer, FAILED, INSTANCE) == ["1.2.3.4.1"]


MALFORMED = {
    "no tag": {"PatientName": {"vr": "PN"}},
    "no representation": {"00100020": {"vr": "XX", "Value": ["1"]}},
    "no array": {"00100020": {"vr": "LO", "Value": "1"}},
    "no number": {"00280010": {"vr": "US", "Value": ["many"]}},
    "too large a number": {"00280010": {"vr": "US", "Value": [65536]}},
    "a fraction": {"00280010": {"vr": "US", "Value": [1.5]}},
    "no base64": {"00282000": {"vr": "OB", "InlineBinary": "?"}},
    "two forms": {"00282000": {"vr": "OB", "InlineBinary": "AA==", "BulkDataURI": "x"}},
    "no name": {"00100010": {"vr": "PN", "Value": [{"Phonetic": 1}]}},
    "an unknown group": {"00100010": {"vr": "PN", "Value": [{"Family": "x"}]}},
    "a backslash": {"00100020": {"vr": "LO", "Value": ["a\\b"]}},
    "an item": {"00400275": {"vr": "SQ", "Value": ["x"]}},
    "no tag value": {"00280009": {"vr": "AT", "Value": ["x"]}},
    "a delimiter": {"FFFEE000": {"vr": "UN"}},
    "twice": {"0008103e": {"vr": "LO"}, "0008103E": {"vr": "LO"}},
    "no element": {"00100020": ["1"]},
}


@pytest.mark.parametrize("what", MALFORMED)
async def test_a_data_set_that_is_none_is_a_bad_request(client: Any, what: str) -> None:
    response = await post(client, json_part(metadata() | MALFORMED[what]))
    assert response.status == 400
    answer = json.loads(await response.read())
    (comment,) = of_items(answer, OTHER_FAILURES, COMMENT)
    tag = next(iter(MALFORMED[what]))
    assert f"({tag[:4]},{tag[4:]})".upper() in comment or tag in comment


async def test_a_malformed_data_set_does_not_touch_the_others(client: Any) -> None:
    bad = metadata("1.2") | MALFORMED["no array"]
    answer = await told(await post(client, json_part(metadata("1.1"), bad)), 202)
    assert of_items(answer, REFERENCED, INSTANCE) == ["1.1"]
    assert len(items(answer, OTHER_FAILURES)) == 1


def nested(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(depth):
        found = {"00400275": {"vr": "SQ", "Value": [found]}}
    return found


BAD_TEXTS = {
    "no json": b"{",
    "empty": b"",
    "no array of objects": b"[1]",
    "an empty array": b"[]",
    "a number": b"7",
    "endless brackets": b"[" * 100_000,
    "endless numbers": b'[{"00280010":{"vr":"US","Value":[' + b"9" * 100_000 + b"]}}]",
    "a depth bomb": json.dumps([metadata() | nested(60)]).encode(),
}


@pytest.mark.parametrize("what", BAD_TEXTS)
async def test_json_that_is_none_is_a_bad_request(client: Any, what: str) -> None:
    response = await post(client, ({"Content-Type": JSON}, BAD_TEXTS[what]))
    assert response.status == 400
    assert await held(client) == []


def document(prolog: str = "", inside: str = "") -> bytes:
    whole = to_xml(metadata()).decode()
    start = whole.index("<Native")
    return (prolog + whole[start:].replace("</Native", f"{inside}</Native")).encode()


_DEEP = '<DicomAttribute tag="00400275" vr="SQ"><Item number="1">'
_DEEP_END = "</Item></DicomAttribute>"
_LOL = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))

BAD_DOCUMENTS = {
    "external entity": document(
        '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    ),
    "external subset": document('<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">'),
    "billion laughs": document(f'<!DOCTYPE x [<!ENTITY l0 "lol">{_LOL}]>'),
    "undeclared entity": document(inside="&e;"),
    "depth bomb": document(inside=_DEEP * 60 + _DEEP_END * 60),
    "deeper": document(inside=_DEEP * 50_000 + _DEEP_END * 50_000),
    "another element": document(inside="<script/>"),
    "not closed": b"<NativeDicomModel>",
    "number bomb": document(
        inside='<DicomAttribute tag="00080008" vr="CS"><Value number="999999999">x'
        "</Value></DicomAttribute>"
    ),
    "no xml": b"hello",
    "empty": b"",
    "unknown encoding": b'<?xml version="1.0" encoding="x-no"?><NativeDicomModel/>',
}


@pytest.mark.parametrize("what", BAD_DOCUMENTS)
async def test_xml_that_is_none_is_a_bad_request(client: Any, what: str) -> None:
    part = {"Content-Type": XML}, BAD_DOCUMENTS[what]
    response = await post(client, part, inner=XML)
    assert response.status == 400
    assert "root:" not in await response.text()
    assert await held(client) == []


async def test_xml_without_namespace_and_with_private_blocks(client: Any) -> None:
    private = (
        '<DicomAttribute tag="00090001" vr="LO" privateCreator="ACME">'
        '<Value number="1">mine</Value></DicomAttribute>'
    )
    plain = document(inside=private).replace(
        b' xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM"', b""
    )
    part = {"Content-Type": XML}, plain
    await told(await post(client, part, inner=XML), 200)
    read = await fetched(client)
    assert read[0x00090010].value == "ACME"
    assert read[0x00091001].value == "mine"


async def test_a_body_cut_off_leaves_nothing(client: Any, tmp_path: Path) -> None:
    data_set = metadata(**image_attributes(), **pixels_at("p"))
    whole = body_of(json_part(data_set), bulk(bytes(3 * MIB), "p"))
    kind = f'multipart/related; type="{JSON}"; boundary=B'
    response = await client.post(
        STUDIES, data=io.BytesIO(whole[:-5]), headers={"Content-Type": kind}
    )
    assert response.status == 400
    assert await held(client) == []
    assert under_way(tmp_path) == []


async def test_no_metadata_is_a_bad_request(client: Any) -> None:
    response = await post(client, bulk(b"x", "x"))
    assert response.status == 400


async def test_too_much_metadata_is_too_large(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stow_metadata, "METADATA_LIMIT", 1000)
    response = await post(client, json_part(metadata(PatientComments="x" * 2000)))
    assert response.status == 413


async def test_little_does_not_become_much(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.dicomweb.assembly._SHARING_FREE", 0)
    many = [metadata(f"1.{n}", **pixels_at("p")) for n in range(20)]
    answer = await told(await post(client, json_part(*many), bulk(bytes(9), "p")), 202)
    assert len(items(answer, REFERENCED)) == 8


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("image/jpeg", b"no jpeg"),
        ("image/jpeg", b"\xff\xd8\xff\xc0\0\x04"),
        ("image/jpeg", b""),
        ("image/jp2", b"\xff\x4f\xff\x51"),
        ("image/png", b"\x89PNG no"),
        ("image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.90", b"x"),
        ("image/gif", b"GIF89a"),
        ("application/pdf", b"%PDF"),
        ("application/octet-stream; transfer-syntax=1.2.840.10008.1.2.2", b"xx"),
        ("application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1.99", b"xx"),
        ("application/octet-stream; transfer-syntax=1.2.840.10008.1.2.4.50", b""),
    ],
)
async def test_a_picture_that_is_none_fails(
    client: Any, kind: str, content: bytes
) -> None:
    data_set = metadata(**image_attributes(), **pixels_at("p"))
    response = await post(client, json_part(data_set), bulk(content, "p", kind))
    answer = await told(response, 409)
    assert of_items(answer, FAILED, REASON) == [CANNOT_UNDERSTAND]
