"""Pictures and thumbnails: the right pixels, the right media type, nothing that lies."""

import asyncio
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless

from gateway.archive import Archive
from gateway.dicom.header import read_header
from gateway.errors import NotDicom
from gateway.pool import Pool
from tests.clients import ROOT, store
from tests.factories import dataset, dicom_file, encode, image
from tests.unit.dicom.test_render import linear, rounded
from tests.web.test_wado_rs import instance_path, parts_of

MPEG4 = "1.2.840.10008.1.2.4.102"
PDF_STORAGE = "1.2.840.10008.5.1.4.1.1.104.1"
SR_STORAGE = "1.2.840.10008.5.1.4.1.1.88.11"
DATA = Path(pydicom.__file__).parent / "data" / "test_files"


async def get(client: Any, path: str, accept: str | None = None, **query: str) -> Any:
    headers = {"Accept": accept} if accept else {}
    response = await client.get(f"{ROOT}/{path}", headers=headers, params=query or None)
    return response, await response.read()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def multiframe(frames: int = 3, **attributes: Any) -> bytes:
    values = np.arange(frames * 64, dtype=np.uint16).reshape(frames, 8, 8) * 10
    return dicom_file(
        Rows=8,
        Columns=8,
        NumberOfFrames=frames,
        BitsAllocated=16,
        BitsStored=16,
        HighBit=15,
        PixelRepresentation=0,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        WindowCenter=1300,
        WindowWidth=2600,
        PixelData=values.tobytes(),
        **attributes,
    )


# -- one image ---------------------------------------------------------------------------


async def test_a_picture_is_jpeg_unless_something_else_is_wanted(client: Any) -> None:
    file = image(32, 16)
    await store(client, file)
    path = instance_path(file)
    for accept, kind in (
        (None, "image/jpeg"),
        ("*/*", "image/jpeg"),
        ("image/*", "image/jpeg"),
        ("image/png", "image/png"),
        ("image/gif", "image/gif"),
        ("image/jp2", "image/jp2"),
        ("image/jpg", "image/jpeg"),
        ("image/avif,image/webp,image/png;q=0.9,*/*;q=0.8", "image/png"),
        ("image/jpeg;q=0.2, image/png;q=0.7", "image/png"),
    ):
        response, data = await get(client, f"{path}/rendered", accept)
        assert response.status == 200, data
        assert response.headers["Content-Type"] == kind
        assert Image.open(io.BytesIO(data)).size == (16, 32)


async def test_the_accept_parameter_goes_before_the_header(client: Any) -> None:
    file = image()
    await store(client, file)
    path = f"{instance_path(file)}/rendered"
    response, _ = await get(client, f"{path}?accept=image/png", "image/jpeg")
    assert response.headers["Content-Type"] == "image/png"


async def test_what_cannot_be_made_is_told(client: Any) -> None:
    file = image()
    await store(client, file)
    response, data = await get(client, f"{instance_path(file)}/rendered", "video/mp4")
    assert response.status == 406
    assert b"image/jpeg" in data


async def test_a_picture_that_the_client_holds_is_not_sent_again(client: Any) -> None:
    file = image()
    await store(client, file)
    path = f"{instance_path(file)}/rendered"
    response, _ = await get(client, path)
    headers = {"If-None-Match": response.headers["ETag"]}
    again = await client.get(f"{ROOT}/{path}", headers=headers)
    assert again.status == 304
    other = await client.get(f"{ROOT}/{path}?quality=50", headers=headers)
    assert other.status == 200


async def test_quality_goes_with_what_loses_something(client: Any) -> None:
    file = image()
    await store(client, file)
    path = instance_path(file)
    for resource in ("rendered", "thumbnail", "frames/1/rendered"):
        for accept, status in (("image/png", 400), ("image/jpeg", 200), ("*/*", 200)):
            response, data = await get(
                client, f"{path}/{resource}", accept, quality="50"
            )
            assert response.status == status
            assert status == 200 or b"quality" in data


async def test_head_answers_as_get(client: Any) -> None:
    file = image()
    await store(client, file)
    response = await client.head(f"{ROOT}/{instance_path(file)}/rendered")
    assert response.status == 200
    assert int(response.headers["Content-Length"]) > 0


@pytest.mark.parametrize(
    "query",
    [
        {"viewport": "0,0"},
        {"viewport": "9000,10"},
        {"quality": "101"},
        {"window": "1,0,linear"},
        {"iccprofile": "adobergb"},
    ],
)
async def test_a_wrong_parameter_is_named(client: Any, query: dict[str, str]) -> None:
    file = image()
    await store(client, file)
    response, data = await get(client, f"{instance_path(file)}/rendered", **query)
    assert response.status == 400
    assert next(iter(query)).encode() in data


async def test_parameters_are_obeyed(client: Any) -> None:
    file = image(16, 16)
    await store(client, file)
    path = f"{instance_path(file)}/rendered"
    _, data = await get(
        client, path, "image/png", window="20000,40000", viewport="64,32"
    )
    found = pixels(data)
    assert found.shape == (32, 64)
    assert not found[:, :16].any()
    assert found[:, 16:48].any()


async def test_an_annotation_that_is_not_known_is_left_out_and_said(
    client: Any,
) -> None:
    file = image()
    await store(client, file)
    path = f"{instance_path(file)}/rendered"
    response, _ = await get(client, path, annotation="patient,poem")
    assert response.status == 200
    assert response.headers["Warning"].startswith("299 ")


@pytest.mark.parametrize("bits", [8, 16])
async def test_a_palette_that_is_too_long_for_the_header(
    client: Any, bits: int
) -> None:
    generator = np.random.default_rng(3)
    tables = generator.integers(0, 2**16, (3, 4096)).astype("<u2")
    values = generator.integers(0, 4096, (16, 16)).astype("<u2")
    attributes: dict[str, Any] = {}
    for name, entries in zip(("Red", "Green", "Blue"), tables, strict=True):
        stem = f"{name}PaletteColorLookupTable"
        attributes[f"{stem}Descriptor"] = [4096, 0, 16]
        attributes[f"{stem}Data"] = entries.tobytes()
    file = dicom_file(
        Rows=16,
        Columns=16,
        BitsAllocated=16,
        BitsStored=16,
        HighBit=15,
        PixelRepresentation=0,
        SamplesPerPixel=1,
        PhotometricInterpretation="PALETTE COLOR",
        PixelData=values.tobytes(),
        **attributes,
    )
    await store(client, file)
    response, data = await get(client, f"{instance_path(file)}/rendered", "image/png")
    assert response.status == 200, data
    expected = np.stack([table[values] >> 8 for table in tables], 2)
    np.testing.assert_array_equal(pixels(data), expected)


@pytest.mark.parametrize("planar", [0, 1])
async def test_colour_by_pixel_and_by_plane(client: Any, planar: int) -> None:
    values = np.random.default_rng(4).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    stored = values.transpose(2, 0, 1) if planar else values
    data = stored.tobytes()
    file = dicom_file(
        Rows=9,
        Columns=7,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        SamplesPerPixel=3,
        PlanarConfiguration=planar,
        PhotometricInterpretation="RGB",
        PixelData=data + b"\0" * (len(data) % 2),
    )
    await store(client, file)
    _, found = await get(client, f"{instance_path(file)}/rendered", "image/png")
    np.testing.assert_array_equal(pixels(found), values)


async def test_twelve_signed_bits_in_sixteen(client: Any) -> None:
    values = np.arange(-128, 128, dtype=np.int16).reshape(16, 16) * 16
    stored = (values & 0x0FFF).astype("<u2")  # the sign is in bit 11
    file = dicom_file(
        Rows=16,
        Columns=16,
        BitsAllocated=16,
        BitsStored=12,
        HighBit=11,
        PixelRepresentation=1,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        PixelData=stored.tobytes(),
    )
    await store(client, file)
    path = f"{instance_path(file)}/rendered"
    _, data = await get(client, path, "image/png", window="0,4096")
    np.testing.assert_array_equal(pixels(data), linear(values, 0, 4096))


async def test_pixels_that_cannot_be_decoded_are_no_fault_of_ours(client: Any) -> None:
    made = dataset(
        Rows=16,
        Columns=16,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
    )
    made.PixelData = encapsulate([b"this is no codestream at all"])
    made["PixelData"].is_undefined_length = True
    file = encode(made, JPEG2000Lossless)
    await store(client, file)
    response, data = await get(client, f"{instance_path(file)}/rendered")
    assert response.status == 406, data


def colour_file(values: np.ndarray, syntax: str, **attributes: Any) -> bytes:
    rows, columns = values.shape[:2]
    made = dataset(
        Rows=rows,
        Columns=columns,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PixelData=values.tobytes(),
        **attributes,
    )
    return encode(made, syntax)


async def test_colour_that_two_pixels_share(client: Any) -> None:
    generator = np.random.default_rng(5)
    halved = generator.integers(0, 256, (4, 3, 4)).astype(np.uint8)  # Y Y Cb Cr
    file = colour_file(
        halved.reshape(4, 6, 2),
        "1.2.840.10008.1.2.1",
        PhotometricInterpretation="YBR_FULL_422",
    )
    await store(client, file)
    response, data = await get(client, f"{instance_path(file)}/rendered", "image/png")
    assert response.status == 200, data
    light = halved[:, :, :2].reshape(4, 6).astype(float)
    blue, red = (halved[:, :, place].repeat(2, 1) - 128.0 for place in (2, 3))
    expected = np.stack(
        (
            light + 1.402 * red,
            light - 0.344136 * blue - 0.714136 * red,
            light + 1.772 * blue,
        ),
        2,
    )
    assert np.abs(pixels(data) - np.clip(expected, 0, 255)).max() <= 0.51


async def test_the_profile_of_the_colours(client: Any) -> None:
    profile = (DATA / "crayons.icc").read_bytes()
    # Its colours are almost sRGB's: let red and blue change places.
    profile = profile.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ")
    profile = profile.replace(b"????", b"bXYZ")
    values = np.random.default_rng(7).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    file = colour_file(
        values,
        "1.2.840.10008.1.2.1",
        PhotometricInterpretation="RGB",
        ICCProfile=profile + b"\0" * (len(profile) % 2),
    )
    await store(client, file)
    path = f"{instance_path(file)}/rendered"
    for kind in ("image/png", "image/jpeg"):
        found = {}
        for wanted in ("no", "yes", "srgb"):
            _, data = await get(client, path, kind, iccprofile=wanted)
            image = Image.open(io.BytesIO(data))
            found[wanted] = image.info.get("icc_profile"), np.asarray(image)
        assert found["no"][0] is None
        assert found["yes"][0][: len(profile)] == profile
        assert "sRGB".encode("utf-16-be") in found["srgb"][0]
        np.testing.assert_array_equal(found["yes"][1], found["no"][1])
        assert (found["srgb"][1] != found["no"][1]).any()


async def test_a_deflated_file(client: Any) -> None:
    values = np.random.default_rng(6).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    file = colour_file(
        values, "1.2.840.10008.1.2.1.99", PhotometricInterpretation="RGB"
    )
    await store(client, file)
    _, data = await get(client, f"{instance_path(file)}/rendered", "image/png")
    np.testing.assert_array_equal(pixels(data), values)


async def test_the_same_picture_for_many_is_made_for_few(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = image()
    await store(client, file)
    runs = []
    run, seen = Pool.run, Archive.seen

    async def counted(self: Pool, *arguments: Any) -> Any:
        runs.append("process")
        return await run(self, *arguments)

    def counted_here(self: Archive, *arguments: Any) -> Any:
        runs.append("thread")
        return seen(self, *arguments)

    monkeypatch.setattr(Pool, "run", counted)
    monkeypatch.setattr(Archive, "seen", counted_here)
    # A thread looks into the index as well, so who comes later cannot have what it does.
    for query, place, most in (
        ({}, "thread", 10),
        ({"annotation": "patient"}, "process", 1),
    ):
        runs.clear()
        path = f"{instance_path(file)}/rendered"
        answers = await asyncio.gather(*(get(client, path, **query) for _ in range(30)))
        assert len({data for _, data in answers}) == 1
        assert set(runs) == {place}
        assert len(runs) <= most


async def test_frames_that_nobody_has(client: Any) -> None:
    file = image(NumberOfFrames="2000000000")
    await store(client, file)
    path = f"{instance_path(file)}/rendered"
    response, _ = await get(client, path, "image/gif")
    assert response.status == 413
    response, _ = await get(client, path, "image/png")
    assert response.status in (200, 406)


# -- frames ------------------------------------------------------------------------------


async def test_a_frame(client: Any) -> None:
    file = multiframe()
    await store(client, file)
    path = instance_path(file)
    values = np.arange(192).reshape(3, 8, 8) * 10
    for frame in (1, 2, 3):
        _, data = await get(client, f"{path}/frames/{frame}/rendered", "image/png")
        np.testing.assert_array_equal(
            pixels(data), linear(values[frame - 1], 1300, 2600)
        )


@pytest.mark.parametrize(
    ("frames", "status"),
    [("0", 400), ("x", 400), ("1,", 400), ("-1", 400), ("4", 404), ("1,4", 404)],
)
async def test_frames_that_are_not_there(client: Any, frames: str, status: int) -> None:
    file = multiframe()
    await store(client, file)
    response, _ = await get(client, f"{instance_path(file)}/frames/{frames}/rendered")
    assert response.status == status


async def test_several_frames_are_parts(client: Any) -> None:
    file = multiframe()
    await store(client, file)
    path = f"{instance_path(file)}/frames/3,1/rendered"
    for accept in (None, "multipart/related; type=image/jpeg"):
        response, data = await get(client, path, accept)
        assert response.status == 200, data
        parts = parts_of(response.headers["Content-Type"], data)
        assert [part["content-type"] for part, _ in parts] == ["image/jpeg"] * 2
        ends = [part["content-location"].rsplit("/", 2)[1] for part, _ in parts]
        assert ends == ["3", "1"]
    response, _ = await get(client, path, "image/jpeg")
    assert response.status == 406


async def test_frames_move_in_a_gif(client: Any) -> None:
    file = multiframe(4, FrameTime="50")
    await store(client, file)
    response, data = await get(client, f"{instance_path(file)}/rendered", "image/gif")
    assert response.headers["Content-Type"] == "image/gif"
    found = Image.open(io.BytesIO(data))
    assert (found.n_frames, found.info["duration"]) == (4, 50)
    _, data = await get(
        client, f"{instance_path(file)}/frames/2,3/rendered", "image/gif"
    )
    assert Image.open(io.BytesIO(data)).n_frames == 2


async def test_an_instance_gives_its_first_frame_or_all_of_them(client: Any) -> None:
    file = multiframe()
    await store(client, file)
    path = f"{instance_path(file)}/rendered"
    _, first = await get(client, path, "image/png")
    _, same = await get(
        client, path.replace("/rendered", "/frames/1/rendered"), "image/png"
    )
    assert first == same
    response, data = await get(client, path, 'multipart/related; type="image/png"')
    assert len(parts_of(response.headers["Content-Type"], data)) == 3


# -- studies and series ------------------------------------------------------------------


async def test_a_study_is_a_part_for_each_image(client: Any) -> None:
    files = [image(16, 16 * n) for n in (1, 2, 3)]
    await store(client, *files, dicom_file())
    for path in ("studies/1.2.3.1", "studies/1.2.3.1/series/1.2.3.1.1"):
        response, data = await get(client, f"{path}/rendered")
        assert response.status == 200, data
        parts = parts_of(response.headers["Content-Type"], data)
        sizes = [Image.open(io.BytesIO(part)).size for _, part in parts]
        assert sizes == [(16, 16), (32, 16), (48, 16)]
        response, data = await get(client, f"{path}/rendered", "image/jpeg")
        assert response.status == 406
        assert b"multipart/related" in data


async def test_images_that_cannot_be_decoded_are_left_out_and_said(client: Any) -> None:
    made = dataset(Rows=16, Columns=16, BitsAllocated=8, BitsStored=8, HighBit=7)
    made.PixelRepresentation, made.SamplesPerPixel = 0, 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.PixelData = encapsulate([b"\xff\x4f\xff\x51"])
    made["PixelData"].is_undefined_length = True
    await store(client, image(), encode(made, "1.2.840.10008.1.2.4.92"))
    response, data = await get(client, "studies/1.2.3.1/rendered")
    assert response.status == 206
    assert len(parts_of(response.headers["Content-Type"], data)) == 1


async def test_a_study_of_one_image_is_a_picture(client: Any) -> None:
    await store(client, image(), dicom_file())
    response, _ = await get(client, "studies/1.2.3.1/rendered")
    assert response.headers["Content-Type"] == "image/jpeg"


async def test_what_is_absent_is_not_found(client: Any) -> None:
    for path in (
        "studies/9.9",
        "studies/9.9/series/9",
        "studies/9.9/series/9/instances/9",
        "studies/9.9/series/9/instances/9/frames/1",
    ):
        for resource in ("rendered", "thumbnail"):
            response, _ = await get(client, f"{path}/{resource}")
            assert response.status == 404, path


# -- thumbnails --------------------------------------------------------------------------


async def test_a_thumbnail_is_the_image_in_the_middle(client: Any) -> None:
    files = [image(16, 16 * n) for n in (1, 2, 3)]
    await store(client, *files, dicom_file())
    for path in ("studies/1.2.3.1", "studies/1.2.3.1/series/1.2.3.1.1"):
        response, data = await get(client, f"{path}/thumbnail")
        assert response.headers["Content-Type"] == "image/jpeg"
        assert Image.open(io.BytesIO(data)).size == (32, 16)


async def test_a_thumbnail_fits_its_box(client: Any) -> None:
    file = image(512, 1024)
    await store(client, file)
    path = instance_path(file)
    for resource in ("thumbnail", "frames/1/thumbnail"):
        _, data = await get(client, f"{path}/{resource}")
        assert Image.open(io.BytesIO(data)).size == (256, 128)
        _, data = await get(client, f"{path}/{resource}", viewport="64,64")
        assert Image.open(io.BytesIO(data)).size == (64, 64)


async def test_nothing_is_written_on_a_thumbnail(client: Any) -> None:
    file = image(64, 64)
    await store(client, file)
    path = instance_path(file)
    _, plain = await get(client, f"{path}/thumbnail")
    _, asked = await get(client, f"{path}/thumbnail", annotation="patient,technique")
    assert plain == asked
    _, asked = await get(client, f"{path}/rendered", annotation="patient")
    assert plain != asked


# -- what is no image --------------------------------------------------------------------


@pytest.mark.parametrize("size", [301, 5001])
async def test_a_document_is_given_as_it_is(client: Any, size: int) -> None:
    document = b"%PDF-1.7 " + bytes(range(256)) * 20
    document = document[:size]
    file = dicom_file(
        SOPClassUID=PDF_STORAGE,
        MIMETypeOfEncapsulatedDocument="application/pdf",
        EncapsulatedDocumentLength=size,
        EncapsulatedDocument=document + b"\0" * (size % 2),
    )
    await store(client, file)
    path = instance_path(file)
    response, data = await get(client, f"{path}/rendered")
    assert (response.status, data) == (200, document)
    assert response.headers["Content-Type"] == "application/pdf"
    response, _ = await get(client, f"{path}/rendered", "image/jpeg")
    assert response.status == 406
    response, data = await get(client, "studies/1.2.3.1/rendered")
    assert data == document
    for place in ("studies/1.2.3.1", path):
        await is_icon(client, place)


async def test_a_video_is_handed_through(client: Any) -> None:
    stream = bytes(range(256)) * 50
    made = dataset(
        Rows=16,
        Columns=16,
        NumberOfFrames=25,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="YBR_PARTIAL_420",
    )
    made.PixelData = encapsulate([stream], has_bot=False)
    made["PixelData"].is_undefined_length = True
    file = encode(made, MPEG4)
    await store(client, file)
    path = instance_path(file)
    response, data = await get(client, f"{path}/rendered")
    assert (response.status, data) == (200, stream)
    assert response.headers["Content-Type"] == "video/mp4"
    part = await client.get(
        f"{ROOT}/{path}/rendered", headers={"Range": "bytes=300-309"}
    )
    assert (part.status, await part.read()) == (206, stream[300:310])
    response, _ = await get(client, f"{path}/frames/1/rendered")
    assert response.status == 404
    await is_icon(client, path)


def report() -> bytes:
    def code(meaning: str) -> Sequence:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator = "1", "99T"
        item.CodeMeaning = meaning
        return Sequence([item])

    text = Dataset()
    text.ValueType, text.RelationshipType = "TEXT", "CONTAINS"
    text.ConceptNameCodeSequence = code("Finding")
    text.TextValue = "<script>alert(1)</script> & no more"
    number = Dataset()
    number.ValueType, number.RelationshipType = "NUM", "CONTAINS"
    number.ConceptNameCodeSequence = code("Length")
    measured = Dataset()
    measured.NumericValue = "12.5"
    unit = Dataset()
    unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "mm", "UCUM", "mm"
    measured.MeasurementUnitsCodeSequence = Sequence([unit])
    number.MeasuredValueSequence = Sequence([measured])
    section = Dataset()
    section.ValueType, section.RelationshipType = "CONTAINER", "CONTAINS"
    section.ConceptNameCodeSequence = code("Findings")
    section.ContentSequence = Sequence([text, number])
    return dicom_file(
        SOPClassUID=SR_STORAGE,
        Modality="SR",
        ValueType="CONTAINER",
        ConceptNameCodeSequence=code("Chest Report"),
        ContentSequence=Sequence([section]),
    )


async def test_a_report_is_a_page_or_text(client: Any) -> None:
    file = report()
    await store(client, file)
    path = f"{instance_path(file)}/rendered"
    response, data = await get(client, path)
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert b"<h1>Chest Report</h1>" in data
    assert b"<script" not in data
    assert b"&lt;script&gt;alert(1)&lt;/script&gt; &amp; no more" in data
    assert data.count(b"<ul>") == data.count(b"</ul>") == 2
    response, data = await get(client, path, "text/plain")
    assert b"\n  Finding: <script>" in data
    assert b"Length: 12.5 mm" in data
    response, data = await get(client, path, "text/xml")
    assert response.status == 200
    assert data.startswith(b"<?xml")
    response, data = await get(client, path, charset="iso-8859-1")
    assert response.status == 400
    assert b"charset" in data
    response, _ = await get(client, path, charset="iso-8859-1,utf-8;q=0.5")
    assert response.status == 200
    await is_icon(client, instance_path(file))


async def is_icon(client: Any, path: str) -> None:
    """A thumbnail that stands for what has no image, with a word on a light sheet."""
    response, data = await get(client, f"{path}/thumbnail", "image/png")
    assert response.status == 200
    icon = pixels(data)
    assert icon.shape == (256, 256)
    assert icon[0, 0] == 0
    assert icon[64, 100] == 224
    assert 64 in icon[120:180]
    tag = {"If-None-Match": response.headers["ETag"], "Accept": "image/png"}
    again = await client.get(f"{ROOT}/{path}/thumbnail", headers=tag)
    assert again.status == 304
    response, data = await get(client, f"{path}/thumbnail", viewport="64,32")
    assert pixels(data).shape == (32, 64)


async def test_nothing_to_be_shown_is_not_found(client: Any) -> None:
    file = dicom_file()
    await store(client, file)
    response, data = await get(client, f"{instance_path(file)}/rendered")
    assert response.status == 404
    assert b"no image" in data


# -- pydicom's own files -----------------------------------------------------------------


def _files() -> list[str]:
    found = []
    for path in sorted(DATA.rglob("*.dcm")):
        try:
            header = read_header(path.read_bytes())
        except (NotDicom, OSError):
            continue
        has_pixels = any(tag.startswith("7FE0") for tag in header.attributes)
        if has_pixels and "00280010" in header.attributes:
            found.append(str(path.relative_to(DATA)))
    return found


def _decoded(data: Dataset) -> np.ndarray | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values: np.ndarray = data.pixel_array
            return values
    except Exception:
        return None


@pytest.mark.parametrize("name", _files())
async def test_every_image_of_pydicom_is_shown(client: Any, name: str) -> None:
    path = DATA / name
    file = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = pydicom.dcmread(path)
        values = _decoded(data)
    await store(client, file)
    address = f"{instance_path(file)}/rendered"
    response, answer = await get(client, address, "image/png")
    if values is None and response.status == 406:
        pytest.skip("pydicom does not decode it either")
    assert response.status == 200, answer
    found = pixels(answer)
    high, wide = data.Rows, data.Columns
    spacing = data.get("PixelSpacing") or data.get("PixelAspectRatio")
    if spacing and float(spacing[0]) != float(spacing[1]):
        ratio = float(spacing[0]) / float(spacing[1])
        high, wide = round(high * max(ratio, 1)), round(wide * max(1 / ratio, 1))
    assert found.shape[:2] == (high, wide)
    expected = None if values is None else _expected(data, values)
    if expected is not None and expected.shape == found.shape:
        np.testing.assert_array_equal(found, expected)
    for resource in ("rendered", "thumbnail"):
        response, _ = await get(client, f"{instance_path(file)}/{resource}")
        assert response.status == 200


def _expected(data: Dataset, values: np.ndarray) -> np.ndarray | None:
    """The shades of the first frame of a plain image; None for others."""
    if not str(data.PhotometricInterpretation).startswith("MONOCHROME"):
        return None
    if "VOILUTSequence" in data or "PerFrameFunctionalGroupsSequence" in data:
        return None
    if "PixelPaddingValue" in data or data.get("VOILUTFunction", "LINEAR") != "LINEAR":
        return None
    frame = values[0] if int(data.get("NumberOfFrames", 1) or 1) > 1 else values
    real = np.asarray(apply_modality_lut(frame, data), float)
    center, width = data.get("WindowCenter"), data.get("WindowWidth")
    if center is not None and width is not None:
        first = [
            v[0] if isinstance(v, pydicom.multival.MultiValue) else v
            for v in (center, width)
        ]
        shades = linear(real, float(first[0]), float(first[1]))
    elif data.BitsStored == 1:
        shades = rounded(real * 255)
    elif real.max() == real.min():
        shades = np.zeros(real.shape, np.uint8)
    else:
        shades = rounded((real - real.min()) / (real.max() - real.min()) * 255)
    return 255 - shades if data.PhotometricInterpretation == "MONOCHROME1" else shades
