"""Pixel data written at the end of a file, frame by frame.

Native values are written with their length, which is known beforehand; fragments are
preceded by an offset table that is filled in when all are there.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy

from gateway.dicom import codecs, encoders
from gateway.dicom.bulk import ReadAt
from gateway.dicom.frames import check_whole, exactly, index_of, read_frame, word_of
from gateway.dicom.pixels import EXPLICIT_LITTLE_ENDIAN, PixelLayout
from gateway.dicom.rewrite import head
from gateway.dicom.values import little_endian
from gateway.errors import CannotTranscode

_LARGEST = 0xFFFFFFFE  # bytes of a native value (PS3.5 7.1.1)
_UNDEFINED = 0xFFFFFFFF
_ITEM = struct.Struct("<HHI")
_STEP = 1024 * 1024


def is_encoded_anew(layout: PixelLayout, target: str) -> bool:
    """Whether frames become others; native ones are only copied to native ones."""
    return layout.encapsulated or target != EXPLICIT_LITTLE_ENDIAN


def write_pixels(
    layout: PixelLayout, read: ReadAt, target: str, out: BinaryIO
) -> float:
    """Write the element of pixel data; how much smaller than the samples it is."""
    start = out.tell()
    if not is_encoded_anew(layout, target):
        _copy(layout, read, out)
    elif target == EXPLICIT_LITTLE_ENDIAN:
        check_whole(layout)
        _write_native(layout, read, out)
    else:
        check_whole(layout)
        _write_fragments(layout, read, target, out)
    return encoders.decoded(layout).length / max(out.tell() - start, 1)


def _copy(layout: PixelLayout, read: ReadAt, out: BinaryIO) -> None:
    """Native pixel data as it is, its words turned around if need be."""
    word = word_of(layout)
    vr = layout.vr if layout.vr in ("OB", "OW", "OF", "OD") else "OW"
    out.write(head(int(layout.tag, 16), vr, layout.length + layout.length % 2))
    for position in range(0, layout.length, _STEP):
        size = min(_STEP, layout.length - position)
        piece = exactly(read, layout.offset + position, size)
        out.write(little_endian(piece, word) if word > 1 else piece)
    out.write(b"\0" * (layout.length % 2))


def _samples(layout: PixelLayout, read: ReadAt) -> Iterator[numpy.ndarray]:
    index = index_of(layout, read) if layout.encapsulated else None
    for number in range(1, layout.number_of_frames + 1):
        yield codecs.decode(layout, read_frame(layout, read, number, index))


def _write_native(layout: PixelLayout, read: ReadAt, out: BinaryIO) -> None:
    plain = encoders.decoded(layout)
    if plain.length > _LARGEST:
        raise CannotTranscode("the pixels are too many for a native value")
    vr = "OB" if layout.bits_allocated <= 8 else "OW"
    out.write(head(int(layout.tag, 16), vr, plain.length + plain.length % 2))
    left = numpy.empty(0, numpy.uint8)  # bits of a byte that is not full yet
    for samples in _samples(layout, read):
        if layout.bits_allocated > 1:
            out.write(encoders.encode(plain, samples, EXPLICIT_LITTLE_ENDIAN))
            continue
        bits = numpy.concatenate((left, samples.reshape(-1)))
        whole = bits.size - bits.size % 8
        out.write(numpy.packbits(bits[:whole], bitorder="little").tobytes())
        left = bits[whole:]
    out.write(numpy.packbits(left, bitorder="little").tobytes())
    out.write(b"\0" * (plain.length % 2))


def _write_fragments(
    layout: PixelLayout, read: ReadAt, target: str, out: BinaryIO
) -> None:
    """One fragment a frame after the table of their offsets (PS3.5 A.4)."""
    plain = encoders.decoded(layout)
    count = layout.number_of_frames
    out.write(head(int(layout.tag, 16), "OB", _UNDEFINED))
    out.write(_ITEM.pack(0xFFFE, 0xE000, 4 * count))
    table = out.tell()
    out.write(bytes(4 * count))
    begin = out.tell()
    offsets = []
    for samples in _samples(layout, read):
        frame = encoders.encode(plain, samples, target)
        offsets.append(out.tell() - begin)
        out.write(_ITEM.pack(0xFFFE, 0xE000, len(frame) + len(frame) % 2))
        out.write(frame)
        out.write(b"\0" * (len(frame) % 2))
    out.write(_ITEM.pack(0xFFFE, 0xE0DD, 0))
    if offsets[-1] > _LARGEST:
        raise CannotTranscode("the compressed pixels are too many for an offset table")
    end = out.tell()
    out.seek(table)
    out.write(struct.pack(f"<{count}I", *offsets))
    out.seek(end)
