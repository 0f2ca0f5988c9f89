"""Frames over HTTP: from the file, decoded and encoded, in all the ways to ask."""

import asyncio
import dataclasses
import io
import warnings
from pathlib import Path

import numpy
import pydicom
import pytest
from pydicom.encaps import encapsulate, generate_frames

from gateway.archive import Archive
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
OCTETS = "application/octet-stream"
MULTIPART = f'multipart/related; type="{OCTETS}"'
PLAIN = "1.2.840.10008.1.2.1"


def fixture(name):
    return (DATA / name).read_bytes()


def grey(frames=3, **attributes):
    """A small native image of 16 bits with several frames."""
    pixels = numpy.arange(frames * 64 * 64, dtype="<u2") % 4096
    return encode(
        dataset(
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
    )


async def fetch(client, file, frames, accept=MULTIPART, **headers):
    if accept is not None:
        headers["Accept"] = accept
    path = f"{ROOT}/{instance_path(file)}/frames{frames}"
    response = await client.get(path, headers=headers)
    return response, await response.read()


async def frames_of(client, file, frames, accept=MULTIPART):
    response, body = await fetch(client, file, frames, accept)
    assert response.status == 200, body
    if "Content-Length" in response.headers:
        assert int(response.headers["Content-Length"]) == len(body)
    return parts_of(response.headers["Content-Type"], body)


@pytest.mark.parametrize("asked", ["/2,1,2", "/2%2C1%2c2"])
async def test_frames_come_in_the_order_of_the_list(client, asked):
    file = grey()
    await store(client, file)
    parts = await frames_of(client, file, asked)
    size = 64 * 64 * 2
    pixels = pydicom.dcmread(io.BytesIO(file)).PixelData
    assert [body for _, body in parts] == [
        pixels[size : 2 * size],
        pixels[:size],
        pixels[size : 2 * size],
    ]
    assert [part["content-location"].rsplit("/", 2)[1:] for part, _ in parts] == [
        ["frames", "2"],
        ["frames", "1"],
        ["frames", "2"],
    ]
    assert parts[0][0]["content-type"] == f"{OCTETS}; transfer-syntax={PLAIN}"


async def test_no_list_is_all_frames(client):
    file = grey()
    await store(client, file)
    assert len(await frames_of(client, file, "")) == 3


@pytest.mark.parametrize(
    ("syntax", "kind"),
    [
        ("1.2.840.10008.1.2.4.110", "image/jxl"),
        ("1.2.840.10008.1.2.4.111", "image/jxl"),
        ("1.2.840.10008.1.2.4.112", "image/jxl"),
        ("1.2.840.10008.1.2.4.92", "image/jpx"),
    ],
)
async def test_what_nothing_here_decodes_is_given_as_stored(client, syntax, kind):
    frames = [bytes([0xFF, 0x0A, number]) + bytes(99) for number in range(3)]
    data_set = pydicom.dcmread(io.BytesIO(grey()))
    data_set.PixelData = encapsulate(frames)
    data_set["PixelData"].VR = "OB"
    data_set["PixelData"].is_undefined_length = True
    known = syntax if syntax.endswith(".92") else "1.2.840.10008.1.2.4.100"
    file = encode(data_set, known).replace(known.encode(), syntax.encode())
    await store(client, file)
    own, stored = f'multipart/related; type="{kind}"', f"{MULTIPART}; transfer-syntax=*"
    for accept in (own, "*/*", stored):
        parts = await frames_of(client, file, "/1,3", accept)
        assert [body for _, body in parts] == [frames[0], frames[2]]
        assert parts[0][0]["content-type"].endswith(f"; transfer-syntax={syntax}")
    response, body = await fetch(client, file, "/2", kind)
    assert response.headers["Content-Type"] == f"{kind}; transfer-syntax={syntax}"
    assert body == frames[1]
    response, body = await fetch(client, file, "/2", MULTIPART)
    assert response.status == 406
    assert kind in body.decode()


@pytest.mark.parametrize("fragments", [1, 2])
async def test_frames_in_fragments_that_are_not_compressed(client, fragments):
    data_set = pydicom.dcmread(io.BytesIO(grey()))
    pixels, size = data_set.PixelData, 64 * 64 * 2
    frames = [pixels[start : start + size] for start in range(0, len(pixels), size)]
    data_set.PixelData = encapsulate(frames, fragments_per_frame=fragments)
    data_set["PixelData"].VR = "OB"
    data_set["PixelData"].is_undefined_length = True
    file = encode(data_set, "1.2.840.10008.1.2.1.98")
    await store(client, file)
    for accept in (MULTIPART, f"{MULTIPART}; transfer-syntax=*"):
        parts = await frames_of(client, file, "", accept)
        assert [body for _, body in parts] == frames
    parts = await frames_of(client, file, "/2", 'multipart/related; type="image/jls"')
    assert parts[0][0]["content-type"].startswith("image/jls")
    path = f"{ROOT}/{instance_path(file)}"
    response = await client.get(path, headers={"Accept": "application/dicom"})
    whole = pydicom.dcmread(io.BytesIO(await response.read()))
    assert whole.file_meta.TransferSyntaxUID == PLAIN
    assert whole.PixelData == pixels
    assert (await client.get(f"{path}/rendered")).status == 200


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("/0", 400),
        ("/-1", 400),
        ("/a", 400),
        ("/1,,2", 400),
        ("/1,", 400),
        ("/%C2%B2", 400),
        ("/4", 404),
        ("/1,4", 404),
        ("/99999999999", 400),
    ],
)
async def test_frames_that_are_not_there(client, asked, status):
    file = grey()
    await store(client, file)
    response, _ = await fetch(client, file, asked)
    assert response.status == status


async def test_an_instance_without_pixels_has_no_frames(client):
    file = encode(dataset())
    await store(client, file)
    response, _ = await fetch(client, file, "/1")
    assert response.status == 404


async def test_one_frame_alone_may_be_had_in_ranges(client):
    file = grey()
    await store(client, file)
    whole, body = await fetch(client, file, "/2", OCTETS)
    assert whole.status == 200
    assert whole.headers["Content-Type"] == f"{OCTETS}; transfer-syntax={PLAIN}"
    part, some = await fetch(client, file, "/2", OCTETS, Range="bytes=10-19")
    assert part.status == 206
    assert some == body[10:20]
    several, _ = await fetch(client, file, "/1,2", OCTETS)
    assert several.status == 406


ACCEPTS = [  # of RLE as it is stored: media type and syntax, and whether it is alone
    (None, OCTETS, PLAIN, False),
    ("*/*", OCTETS, PLAIN, False),
    ("multipart/*", OCTETS, PLAIN, False),
    ('multipart/related; type="*/*"', OCTETS, PLAIN, False),
    (MULTIPART, OCTETS, PLAIN, False),
    ("text/html,application/xhtml+xml,*/*;q=0.8", OCTETS, PLAIN, False),
    (
        "multipart/related; type=application/octet-stream; transfer-syntax=*",
        OCTETS,
        codecs.RLE_LOSSLESS,
        False,
    ),
    (f'{MULTIPART}; transfer-syntax="*"', OCTETS, codecs.RLE_LOSSLESS, False),
    (
        "application/dicom+json, multipart/related; type=application/octet-stream;"
        " transfer-syntax=*",
        OCTETS,
        codecs.RLE_LOSSLESS,
        False,
    ),
    (
        f"{MULTIPART}; transfer-syntax=1.2.840.10008.1.2.4.80; transfer-syntax=*",
        OCTETS,
        codecs.RLE_LOSSLESS,
        False,
    ),
    ("image/*", "image/dicom-rle", codecs.RLE_LOSSLESS, True),
    ("image/jpeg, image/png;q=0.8", "image/jpeg", codecs.JPEG_LOSSLESS_SV1, True),
    ("image/x-jls", "image/jls", codecs.JPEG_LS_LOSSLESS, True),
    ("image/jp2", "image/jp2", codecs.JPEG_2000_LOSSLESS, True),
    ("image/jphc", "image/jphc", codecs.HTJ2K_LOSSLESS, True),
    (
        'multipart/related; type="image/dicom+jpeg-ls"',
        "image/jls",
        codecs.JPEG_LS_LOSSLESS,
        False,
    ),
    (
        f"{MULTIPART}; transfer-syntax={codecs.JPEG_2000_LOSSLESS}",
        OCTETS,
        codecs.JPEG_2000_LOSSLESS,
        False,
    ),
    (
        'multipart/related; type="image/jpeg"; transfer-syntax=1.2.840.10008.1.2.4.50,'
        f" {MULTIPART}; q=0.5",
        OCTETS,
        PLAIN,
        False,
    ),
]


@pytest.mark.parametrize(("accept", "kind", "syntax", "alone"), ACCEPTS)
async def test_what_is_asked_for_decides_what_comes(
    client, accept, kind, syntax, alone
):
    file = fixture("MR_small_RLE.dcm")
    await store(client, file)
    response, body = await fetch(client, file, "/1", accept)
    assert response.status == 200, body
    told = response.headers["Content-Type"]
    if not alone:
        assert told.startswith(f'multipart/related; type="{kind}"; boundary=')
        ((part, body),) = parts_of(told, body)
        told = part["content-type"]
    assert told == f"{kind}; transfer-syntax={syntax}"
    layout = laid_out(file)
    if syntax == PLAIN:
        assert body == codecs.decode(layout, stored_frames(file)[0]).tobytes()


@pytest.mark.parametrize(
    "accept",
    [
        "application/dicom+json",
        "application/dicom+json, application/json",
        'multipart/related;type="application/dicom";transfer-syntax=*',
        "application/dicom; transfer-syntax=*",
        "application/dicom+xml",
        'multipart/related; type="application/dicom+xml"',
        "image/jpx",
        f"{MULTIPART}; transfer-syntax=1.2.840.10008.1.2.4.102",
    ],
)
async def test_what_there_is_not_is_refused_with_what_there_is(client, accept):
    file = fixture("MR_small_RLE.dcm")
    await store(client, file)
    response, body = await fetch(client, file, "/1", accept)
    assert response.status == 406
    assert b"image/dicom-rle" in body


def laid_out(file):
    header = read_header(file)
    return layout_of(header.attributes, header.transfer_syntax, header.bulk)


def stored_frames(file):
    data_set = pydicom.dcmread(io.BytesIO(file))
    count = int(data_set.get("NumberOfFrames") or 1)
    return list(generate_frames(data_set.PixelData, number_of_frames=count))


def images():
    """pydicom's small files with pixels."""
    for path in sorted(DATA.glob("*.dcm")):
        content = path.read_bytes()
        try:
            header = read_header(content)
        except NotDicom:
            continue
        layout = layout_of(header.attributes, header.transfer_syntax, header.bulk)
        if layout is not None and len(content) < 3_000_000:
            yield path, content, layout


def truth(path, layout):
    """The samples as pydicom has them; None if it cannot decode them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set = pydicom.dcmread(path)
        rgb = layout.encapsulated and codecs.photometric_after(layout) == "RGB"
        data_set.pixel_array_options(raw=not rgb)
        try:
            array = data_set.pixel_array
        except Exception:
            return None
    return array.astype(array.dtype.newbyteorder("<")).reshape(
        layout.number_of_frames, -1
    )


async def test_uncompressed_frames_are_what_pydicom_has(client):
    seen = 0
    for path, content, layout in images():
        expected = truth(path, layout)
        if expected is None or layout.is_halved or layout.planar_configuration:
            continue
        await store_once(client, content)
        if layout.bits_allocated == 1:
            expected = numpy.packbits(expected, axis=1, bitorder="little")
        parts = await frames_of(client, content, "")
        assert [part for _, part in parts] == [row.tobytes() for row in expected], path
        seen += 1
    assert seen > 45


@pytest.mark.parametrize(
    "name",
    ["MR_small.dcm", "693_J2KI.dcm", "SC_rgb_rle.dcm", "MR_small_bigendian.dcm"],
)
@pytest.mark.parametrize("syntax", sorted(encoders.ENCODABLE))
async def test_lossless_frames_give_back_every_bit(client, name, syntax):
    file = fixture(name)
    layout = laid_out(file)
    plain = encoders.decoded(layout)
    if not encoders.can_encode(plain, syntax) or not encoders.is_lossless(syntax):
        pytest.skip("not to be had")
    await store(client, file)
    accept = f"{MULTIPART}; transfer-syntax={syntax}"
    ((_, encoded),) = await frames_of(client, file, "/1", accept)
    ((_, expected),) = await frames_of(client, file, "/1")
    if syntax != PLAIN:
        made = dataclasses.replace(plain, transfer_syntax=syntax, encapsulated=True)
        encoded = codecs.decode(made, encoded).tobytes()
    assert encoded == expected


async def test_compressed_frames_leave_as_they_are_stored(client):
    file = fixture("SC_rgb_rle_2frame.dcm")
    await store(client, file)
    parts = await frames_of(client, file, "", f"{MULTIPART}; transfer-syntax=*")
    assert [body for _, body in parts] == stored_frames(file)


async def test_the_same_frame_asked_twice_at_once_is_made_once(client, monkeypatch):
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
    answers = await asyncio.gather(
        *(frames_of(client, file, "/1", MULTIPART) for _ in range(5))
    )
    assert len({body for ((_, body),) in answers}) == 1
    assert len(asked) == 1
    await frames_of(client, file, "/1")
    assert len(asked) == 1


async def test_a_broken_frame_is_refused_before_the_answer_begins(client):
    file = fixture("JPEG2000-embedded-sequence-delimiter.dcm")
    await store(client, file)
    response, _ = await fetch(client, file, "/1")
    assert response.status == 406
    response, _ = await fetch(client, file, "/1", f"{MULTIPART}; transfer-syntax=*")
    assert response.status == 200


async def test_a_frame_is_the_same_from_memory_and_from_the_disk(client, monkeypatch):
    file = grey(frames=20)
    await store(client, file)
    numbers = ",".join(map(str, range(1, 12)))
    answers = []
    for at_once in (Archive.at_once, lambda *_: None):
        monkeypatch.setattr(Archive, "at_once", at_once)
        for path, accept in (
            ("/frames/2", OCTETS),
            ("/frames/2", MULTIPART),
            (f"/frames/{numbers}", MULTIPART),
            ("", "application/dicom"),
        ):
            response = await client.get(
                f"{ROOT}/{instance_path(file)}{path}", headers={"Accept": accept}
            )
            assert response.status == 200
            body = await response.read()
            boundary = response.headers["Content-Type"].partition("boundary=")[2]
            kept = body.replace(boundary.encode(), b"") if boundary else body
            answers.append((kept, response.headers["Content-Length"]))
    assert answers[:4] == answers[4:]
