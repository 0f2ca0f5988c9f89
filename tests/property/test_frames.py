"""Frames: their ranges tile the pixel data, whatever the layout and the fragments."""

import struct
from itertools import accumulate

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dicom import rle
from gateway.dicom.frames import (
    FrameIndexes,
    frame_runs,
    index_of,
    native_run,
    read_frame,
)
from gateway.dicom.pixels import PixelLayout
from gateway.errors import CannotTranscode, NotFound

RLE = "1.2.840.10008.1.2.5"
JPEG = "1.2.840.10008.1.2.4.50"


def layout(**changes):
    """A layout of one small image."""
    usual = {
        "transfer_syntax": "1.2.840.10008.1.2.1",
        "tag": "7FE00010",
        "rows": 3,
        "columns": 5,
        "samples_per_pixel": 1,
        "bits_allocated": 8,
        "bits_stored": 8,
        "high_bit": 7,
        "pixel_representation": 0,
        "photometric_interpretation": "MONOCHROME2",
        "planar_configuration": 0,
        "number_of_frames": 1,
        "offset": 0,
        "length": 0,
        "encapsulated": False,
    }
    return PixelLayout(**{**usual, **changes})


def reader(content, sizes=None):
    """A function that reads the content, and notes how much each time."""

    def read(offset, size):
        if sizes is not None:
            sizes.append(size)
        return content[offset : offset + size]

    return read


@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 5),
    st.sampled_from([(1, 1), (8, 1), (8, 3), (16, 1), (32, 1)]),
    st.data(),
)
def test_native_frames_tile_the_pixel_data(rows, columns, frames, kind, data):
    bits, samples = kind
    total = rows * columns * samples * bits * frames
    size = -(-total // 8)
    content = data.draw(st.binary(min_size=size, max_size=size))
    one = layout(
        rows=rows,
        columns=columns,
        bits_allocated=bits,
        samples_per_pixel=samples,
        number_of_frames=frames,
        length=size,
    )
    number = 0
    for frame in reversed(range(1, frames + 1)):
        found = read_frame(one, reader(content), frame)
        assert len(found) == -(-one.frame_bits // 8)
        value = int.from_bytes(found, "little")
        assert value < 1 << one.frame_bits
        number = number << one.frame_bits | value
        run = native_run(one, frame)
        if run is not None:
            assert content[run[0] : sum(run)] == found
    assert number == int.from_bytes(content, "little") & ((1 << total) - 1)


@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(1, 4),
    st.sampled_from([(8, "OW"), (16, "OW"), (32, "OW")]),
)
def test_big_endian_words_are_turned_around(rows, columns, frames, kind):
    bits, vr = kind
    width = bits // 8
    values = numpy.arange(rows * columns * frames, dtype=f"<u{width}")
    content = values.tobytes() + b"\0" * (values.nbytes % 2)
    word = max(width, 2)
    turned = numpy.frombuffer(content, f"<u{word}").byteswap().tobytes()
    one = layout(
        transfer_syntax="1.2.840.10008.1.2.2",
        rows=rows,
        columns=columns,
        bits_allocated=bits,
        number_of_frames=frames,
        length=len(content),
        vr=vr,
    )
    found = [read_frame(one, reader(turned), n + 1) for n in range(frames)]
    assert b"".join(found) == values.tobytes()


def items(*values):
    return b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(v)) + v for v in values)


PIECE = st.binary(max_size=12).map(
    lambda found: found.replace(b"\xff", b"\0") + b"\0" * (len(found) % 2)
)
FRAMES = st.lists(st.lists(PIECE, min_size=1, max_size=4), min_size=1, max_size=5)


@given(FRAMES, st.sampled_from(["none", "basic", "extended", "wrong"]))
def test_fragments_are_put_together_to_frames(frames, table):
    fragments = []
    for pieces in frames:
        first, *rest = pieces
        pieces = [b"\xff\xd8" + first, *rest]
        pieces[-1] += b"\xff\xd9"
        if table == "extended":
            pieces = [b"".join(pieces)]
        fragments.append(pieces)
    sizes = [len(items(*pieces)) for pieces in fragments]
    offsets = [0, *accumulate(sizes)][:-1]
    if table == "wrong":
        offsets = [offset + 2 * (place > 0) for place, offset in enumerate(offsets)]
    basic = table in ("basic", "wrong")
    packed = struct.pack(f"<{len(offsets)}I", *offsets) if basic else b""
    content = items(packed, *(piece for pieces in fragments for piece in pieces))
    extended = {}
    if table == "extended":
        lengths = [len(pieces[0]) for pieces in fragments]
        extended = {
            "extended_offsets": struct.pack(f"<{len(offsets)}Q", *offsets),
            "extended_lengths": struct.pack(f"<{len(offsets)}Q", *lengths),
        }
    one = layout(
        transfer_syntax=JPEG,
        encapsulated=True,
        number_of_frames=len(frames),
        length=len(content),
        **extended,
    )
    read = reader(content)
    for number, pieces in enumerate(fragments, 1):
        assert read_frame(one, read, number) == b"".join(pieces)


def test_one_frame_of_many_takes_a_few_short_reads():
    frames = [bytes([n % 251]) * 1000 for n in range(4000)]
    offsets = struct.pack("<4000I", *range(0, 4000 * 1008, 1008))
    content = items(offsets, *frames)
    one = layout(
        transfer_syntax=RLE,
        encapsulated=True,
        number_of_frames=4000,
        length=len(content),
    )
    sizes = []
    assert read_frame(one, reader(content, sizes), 3000) == frames[2999]
    assert len(sizes) < 6
    assert sum(sizes) < 20_000


def test_fragments_that_nothing_tells_apart_are_refused():
    content = items(b"", b"ab", b"cd", b"ef")
    one = layout(
        transfer_syntax=RLE,
        encapsulated=True,
        number_of_frames=2,
        length=len(content),
    )
    with pytest.raises(CannotTranscode):
        index_of(one, reader(content))
    with pytest.raises(NotFound):
        frame_runs(one, reader(content), 3)


def test_the_index_that_was_not_needed_for_longest_goes():
    one = layout(transfer_syntax=RLE, encapsulated=True, length=16)
    index = index_of(one, reader(items(b"", b"")))
    indexes = FrameIndexes(2)
    for name in ("a", "b"):
        indexes.put(name, index)
    indexes.get("a")
    indexes.put("c", index)
    assert indexes.get("b") is None
    assert indexes.get("a") is index


@given(
    st.integers(1, 20),
    st.integers(1, 300),
    st.integers(1, 3),
    st.sampled_from(["u1", "<u2", "<i4"]),
    st.integers(0, 2**32 - 1),
    st.integers(1, 4),
)
def test_rle_gives_back_every_bit(rows, columns, samples, kind, seed, few):
    random = numpy.random.default_rng(seed)
    planes = random.integers(0, few, (samples, rows, columns)).astype(kind)
    encoded = rle.encode(planes)
    assert len(encoded) % 2 == 0
    width = planes.dtype.itemsize
    assert rle.decode(encoded, rows * columns, samples, width) == planes.tobytes()
