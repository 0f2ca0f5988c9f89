"""Files that are made of attributes and bulk values."""

import io
import itertools
import struct

import pydicom
import pytest

from gateway.dicom.from_json import attributes_of
from gateway.dicom.header import read_header
from gateway.dicom.write import (
    EXPLICIT_LITTLE_ENDIAN,
    IMPLEMENTATION_CLASS_UID,
    Bytes,
    Fragments,
    dicom_file,
)
from gateway.errors import BadRequest
from tests.factories import dataset

JPEG = "1.2.840.10008.1.2.4.50"
GIB = 1024**3


def held(content):
    return Bytes(len(content), lambda start, size: content[start : start + size])


def zeros(size):
    return Bytes(size, lambda start, count: bytes(count))


def with_pixels(**attributes):
    made = attributes_of(dataset(**attributes).to_json_dict())
    return {**made, "7FE00010": {"vr": "OB", "BulkDataURI": "p"}}


def written(attributes, bulk=None, syntax=EXPLICIT_LITTLE_ENDIAN):
    return b"".join(dicom_file(attributes, syntax, bulk or {}))


def test_the_implementation_is_a_valid_uid():
    assert pydicom.uid.UID(IMPLEMENTATION_CLASS_UID).is_valid


def test_the_meta_information_tells_its_length():
    file = written(attributes_of(dataset().to_json_dict()))
    (length,) = struct.unpack("<I", file[140:144])
    assert file[144 + length : 146 + length] == b"\x08\x00"
    read = pydicom.dcmread(io.BytesIO(file))
    assert read.file_meta.FileMetaInformationGroupLength == length


@pytest.mark.parametrize("sizes", [(10,), (10, 12, 7), (1, 1, 1, 1)])
def test_frames_are_found_by_their_offsets(sizes):
    frames = [bytes([number]) * size for number, size in enumerate(sizes, 1)]
    bulk = {"p": Fragments(tuple(map(held, frames)))}
    file = written(with_pixels(NumberOfFrames=len(sizes)), bulk, JPEG)
    read = pydicom.dcmread(io.BytesIO(file))
    found = list(
        pydicom.encaps.generate_frames(read.PixelData, number_of_frames=len(sizes))
    )
    assert [frame.rstrip(b"\0") for frame in found] == frames
    assert read_header(file).transfer_syntax == JPEG


def test_odd_native_values_are_padded():
    file = written(with_pixels(), {"p": held(b"abc")})
    assert file.endswith(b"\x04\0\0\0abc\0")


def test_offsets_of_more_than_four_gibibytes_take_a_table_of_64_bits():
    frames = tuple(zeros(2 * GIB) for _ in range(3))
    chunks = dicom_file(with_pixels(), JPEG, {"p": Fragments(frames)})
    start = b"".join(itertools.islice(chunks, 2))
    offsets = struct.pack(
        "<HH2sHI3Q", 0x7FE0, 1, b"OV", 0, 24, 0, 2 * GIB + 8, 4 * GIB + 16
    )
    assert offsets in start
    lengths = struct.pack("<HH2sHI3Q", 0x7FE0, 2, b"OV", 0, 24, *[2 * GIB] * 3)
    assert lengths in start
    assert struct.pack("<HHIHHI", 0xFFFE, 0xE000, 0, 0xFFFE, 0xE000, 2 * GIB) in start


def test_a_large_video_takes_several_fragments():
    video = Fragments((zeros(5 * GIB),))
    sizes = [item.size for item in video.items()]
    assert sum(sizes) == 5 * GIB
    assert all(size <= 0xFFFFFFFE and size % 2 == 0 for size in sizes)


def test_a_native_value_of_four_gibibytes_cannot_be_written():
    with pytest.raises(BadRequest, match=r"\(7FE0,0010\) is too large"):
        list(dicom_file(with_pixels(), EXPLICIT_LITTLE_ENDIAN, {"p": zeros(4 * GIB)}))


def test_bulk_passes_through_in_bounded_pieces():
    chunks = dicom_file(with_pixels(), EXPLICIT_LITTLE_ENDIAN, {"p": zeros(50 << 20)})
    assert max(map(len, chunks)) <= 3 << 20


@pytest.mark.parametrize(
    ("value", "spelled"),
    [
        (0.1, "0.1"),
        (1 / 3, "0.33333333333333"),
        (-1e300 / 3, "-3.33333333e+299"),
        (5, "5"),
    ],
)
def test_decimals_fit_their_sixteen_characters(value, spelled):
    made = attributes_of({"00101030": {"vr": "DS", "Value": [value]}})
    made |= attributes_of(dataset().to_json_dict())
    read = pydicom.dcmread(io.BytesIO(written(made)))
    assert str(read.PatientWeight.original_string) == spelled


def test_text_too_long_for_its_form_is_written_as_unknown():
    made = attributes_of(dataset().to_json_dict())
    made["00081030"] = {"vr": "LO", "Value": ["x" * 70_000]}
    read = pydicom.dcmread(io.BytesIO(written(made)))
    assert read.StudyInstanceUID == "1.2.3.1"
