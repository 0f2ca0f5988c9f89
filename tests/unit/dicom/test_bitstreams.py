"""What compressed pictures say of themselves, against what Pillow wrote."""

import io

import numpy
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom.data import get_testdata_file

from gateway.dicom.bitstreams import jpeg2000_picture, jpeg_picture

SAMPLES = {
    "JPEG-lossy.dcm": jpeg_picture,
    "JPGExtended.dcm": jpeg_picture,
    "JPEGLSNearLossless_08.dcm": jpeg_picture,
    "JPEGLSNearLossless_16.dcm": jpeg_picture,
    "MR_small_jpeg_ls_lossless.dcm": jpeg_picture,
    "SC_rgb_jpeg_dcmtk.dcm": jpeg_picture,
    "JPEG2000.dcm": jpeg2000_picture,
    "MR_small_jp2klossless.dcm": jpeg2000_picture,
}


def reading(content):
    return lambda start, size: content[start : start + size]


def picture(kind, mode, **how):
    shape = (16, 24) if mode == "L" else (16, 24, 3)
    noise = numpy.random.default_rng(1).integers(0, 256, shape, numpy.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, kind, **how)
    return out.getvalue()


@pytest.mark.parametrize("name", SAMPLES)
def test_pictures_of_other_makers_are_what_their_files_say(name):
    look = SAMPLES[name]
    read = pydicom.dcmread(get_testdata_file(name, download=False))
    frame = next(
        pydicom.encaps.generate_frames(
            read.PixelData, number_of_frames=int(read.get("NumberOfFrames", 1))
        )
    )
    found = look(reading(frame), len(frame))
    assert found is not None
    assert found.transfer_syntax == read.file_meta.TransferSyntaxUID
    assert (found.rows, found.columns) == (read.Rows, read.Columns)
    assert found.samples == read.SamplesPerPixel
    assert found.photometric == read.PhotometricInterpretation
    assert found.bits <= read.BitsAllocated


@pytest.mark.parametrize(
    ("how", "photometric"),
    [
        ({"subsampling": 0}, "YBR_FULL"),
        ({"subsampling": 1}, "YBR_FULL_422"),
        ({"keep_rgb": True}, "RGB"),
    ],
)
def test_colours_of_a_jpeg(how, photometric):
    content = picture("JPEG", "RGB", **how)
    found = jpeg_picture(reading(content), len(content))
    assert found is not None
    assert found.photometric == photometric
    assert found.lossy


@pytest.mark.parametrize(("predictor", "last"), [(1, "70"), (6, "57")])
def test_a_lossless_jpeg_tells_its_process_by_its_predictor(predictor, last):
    frame = b"\xff\xc3\0\x0b\x0c\0\x10\0\x18\1\1\x11\0"
    scan = b"\xff\xda\0\x08\1\1\0" + bytes([predictor]) + b"\0\0"
    content = b"\xff\xd8" + b"\xff\xfe\0\4ok" + frame + scan + b"\0\xff\xd9"
    found = jpeg_picture(reading(content), len(content))
    assert found is not None
    assert found.transfer_syntax == f"1.2.840.10008.1.2.4.{last}"
    assert (found.rows, found.columns, found.bits, found.lossy) == (16, 24, 12, False)


def test_a_progressive_jpeg_has_no_transfer_syntax():
    content = picture("JPEG", "L", progressive=True)
    found = jpeg_picture(reading(content), len(content))
    assert found is not None
    assert found.transfer_syntax == ""


STARTS = [
    picture("JPEG", "RGB")[:700],
    picture("JPEG2000", "RGB")[:300],
    picture("JPEG2000", "L", no_jp2=True)[:200],
]


@given(st.sampled_from(STARTS), st.data())
def test_whatever_the_bytes_nothing_breaks(start, data):
    content = bytearray(start[: data.draw(st.integers(0, len(start)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(
                st.integers(0, 255)
            )
    for look in (jpeg_picture, jpeg2000_picture):
        look(reading(bytes(content)), len(content))
