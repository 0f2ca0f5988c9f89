"""RLE as DICOM has it: a segment for each byte of each sample (PS3.5 annex G)."""

import re
import struct
from collections.abc import Iterator

import numpy

from gateway.errors import CannotTranscode

_HEADER = 64
_MOST_SEGMENTS = 15
_LONGEST = 128
#: Bytes that are worth a run of their own: three or more alike.
_RUN = re.compile(rb"(.)\1{2,127}", re.DOTALL)


def decode(frame: bytes, pixels: int, samples: int, sample_bytes: int) -> bytes:
    """The samples colour by colour, little endian, of a frame of so many pixels."""
    if len(frame) < _HEADER:
        raise CannotTranscode("an RLE frame ends inside its header")
    count, *offsets = struct.unpack_from("<16I", frame)
    if count != samples * sample_bytes or count > _MOST_SEGMENTS:
        raise CannotTranscode(
            f"an RLE frame has {count} segments where there must be"
            f" {samples * sample_bytes}"
        )
    stops = [*offsets[1:count], len(frame)]
    planes = numpy.empty((samples, pixels, sample_bytes), numpy.uint8)
    for number, (start, stop) in enumerate(zip(offsets, stops, strict=False)):
        segment = _unpacked(frame[start:stop], pixels)
        sample, byte = divmod(number, sample_bytes)
        # The most significant byte comes first.
        planes[sample, :, sample_bytes - 1 - byte] = numpy.frombuffer(
            segment, numpy.uint8
        )
    return planes.tobytes()


def _unpacked(segment: bytes, size: int) -> bytes:
    """A segment unpacked to just so many bytes, never more."""
    out = bytearray()
    position, end = 0, len(segment)
    while position < end and len(out) < size:
        header = segment[position]
        if header < 128:
            out += segment[position + 1 : position + 2 + header]
            position += 2 + header
        elif header > 128:
            out += segment[position + 1 : position + 2] * (257 - header)
            position += 2
        else:
            position += 1
    if len(out) < size:
        raise CannotTranscode("a segment of an RLE frame is too short")
    return bytes(out[:size])


def encode(planes: numpy.ndarray) -> bytes:
    """A frame of samples shaped (samples, rows, columns), little endian."""
    samples = planes.shape[0]
    width = planes.dtype.itemsize
    if samples * width > _MOST_SEGMENTS:
        raise CannotTranscode("RLE has no room for samples that wide")
    segments = []
    for sample in planes:
        split = numpy.ascontiguousarray(sample).view(numpy.uint8)
        split = split.reshape(*sample.shape, width)
        for byte in range(width - 1, -1, -1):
            segments.append(_packed(split[:, :, byte]))
    offsets = [_HEADER]
    for segment in segments[:-1]:
        offsets.append(offsets[-1] + len(segment))
    header = struct.pack("<I", len(segments)) + struct.pack(
        f"<{len(offsets)}I", *offsets
    )
    return header.ljust(_HEADER, b"\0") + b"".join(segments)


def _packed(rows: numpy.ndarray) -> bytes:
    """A segment: no run goes beyond its row (G.3.1)."""
    packed = b"".join(piece for row in rows for piece in _packed_row(row.tobytes()))
    return packed + b"\0" * (len(packed) % 2)


def _packed_row(row: bytes) -> Iterator[bytes]:
    position = 0
    for run in _RUN.finditer(row):
        yield from _literals(row[position : run.start()])
        position = run.end()
        yield bytes((257 - (position - run.start()), row[run.start()]))
    yield from _literals(row[position:])


def _literals(piece: bytes) -> Iterator[bytes]:
    for start in range(0, len(piece), _LONGEST):
        some = piece[start : start + _LONGEST]
        yield bytes((len(some) - 1,)) + some
