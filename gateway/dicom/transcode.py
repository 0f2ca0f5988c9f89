"""Frames and whole instances in another transfer syntax; the work of other processes.

Each function takes the path of a file and plain values, so that it can be called in a
worker. An instance is written to a file frame by frame: it may be larger than memory.
"""

import mmap
import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from gateway.dicom import codecs, encoders
from gateway.dicom.bulk import ReadAt
from gateway.dicom.frames import FrameIndex, FrameIndexes, index_of, read_frame
from gateway.dicom.header import DEFLATED, data_set_start, encoding_of, inflate
from gateway.dicom.pixel_writing import is_encoded_anew, write_pixels
from gateway.dicom.pixels import EXPLICIT_LITTLE_ENDIAN, PixelLayout
from gateway.dicom.rewrite import Changes, meta_with, rewriter
from gateway.dicom.walk import Buffer
from gateway.errors import CannotTranscode
from gateway.places import Opened, Place

_LARGEST = 0xFFFFFFFE  # bytes of a native value (PS3.5 7.1.1)
_META = 1024 * 1024
_RATIO_WIDTH = 16  # characters of a DS
_RATIO = struct.pack("<HH", 0x0028, 0x2112)

_indexes = FrameIndexes()


@dataclass(frozen=True, slots=True)
class Source:
    """An instance as a worker needs to know it."""

    place: Place  # NOWHERE where another way to read it comes along
    transfer_syntax: str
    layout: PixelLayout | None = None
    lossy_ratio: str = ""  # (0028,2112) so far
    lossy_method: str = ""  # (0028,2114) so far


def can_transcode(
    transfer_syntax: str, layout: PixelLayout | None, target: str
) -> bool:
    """Whether an instance can be had in a transfer syntax, for all the header says."""
    if transfer_syntax == target:
        return True
    if layout is None:
        return target == EXPLICIT_LITTLE_ENDIAN and transfer_syntax not in _VIDEO
    if target == EXPLICIT_LITTLE_ENDIAN and not layout.encapsulated:
        return True
    if not codecs.can_decode(layout):
        return False
    plain = encoders.decoded(layout)
    if target == EXPLICIT_LITTLE_ENDIAN:
        return plain.length <= _LARGEST
    return encoders.can_encode(plain, target)


_VIDEO = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in range(100, 109))


# -- frames ------------------------------------------------------------------------------


def frame_in(source: Source, number: int, target: str) -> bytes:
    """One frame of an instance in a transfer syntax."""
    layout = source.layout
    if layout is None:
        raise CannotTranscode("there are no pixels in this instance")
    with opened(source) as (buffer, read):
        del buffer
        index = index_for(source.place.name, layout, read)
        frame = read_frame(layout, read, number, index)
    plain = target == EXPLICIT_LITTLE_ENDIAN
    if target == layout.transfer_syntax or (plain and not layout.encapsulated):
        return frame  # native frames stay as the data set describes them
    samples = codecs.decode(layout, frame)
    if plain and layout.planar_configuration == 1 and layout.samples_per_pixel > 1:
        samples = samples.transpose(2, 0, 1)  # as metadata says
    return encoders.encode(encoders.decoded(layout), samples, target)


def index_for(name: str, layout: PixelLayout, read: ReadAt) -> FrameIndex | None:
    """The index of an instance's frames, found once."""
    if not layout.encapsulated:
        return None
    index = _indexes.get(name)
    if index is None:
        index = index_of(layout, read)
        _indexes.put(name, index)
    return index


@contextmanager
def _mapped(place: Place, opened: Opened) -> Iterator[Buffer]:
    """The bytes as a buffer: mapped, or read where they are a part of a pack."""
    if place.size is not None:
        yield opened.read(0, place.size)
        return
    with mmap.mmap(opened.descriptor, 0, access=mmap.ACCESS_READ) as buffer:
        yield buffer


@contextmanager
def opened(source: Source) -> Iterator[tuple[Buffer, ReadAt]]:
    """The file as a buffer, and a function that reads what offsets count in."""
    with source.place.open() as opened, _mapped(source.place, opened) as buffer:
        if source.transfer_syntax not in DEFLATED:
            yield buffer, opened.read
            return
        with tempfile.TemporaryFile(dir=Path(source.place.path).parent) as inflated:
            inflate(buffer, data_set_start(buffer[:_META]), inflated)
            inflated.flush()
            number = inflated.fileno()
            yield buffer, lambda offset, size: os.pread(number, size, offset)


# -- instances ---------------------------------------------------------------------------


def instance_in(source: Source, target: str, path: str) -> int:
    """Write an instance in a transfer syntax to a new file; its size."""
    with opened(source) as (buffer, read), Path(path).open("xb") as out:
        start = data_set_start(buffer[:_META])
        out.write(meta_with(buffer, start, target))
        if source.transfer_syntax in DEFLATED:
            walk = rewriter(read(0, _size(read)), implicit=False, big=False)
            start = 0
        else:
            implicit, big = encoding_of(buffer, start, source.transfer_syntax)
            walk = rewriter(buffer, implicit=implicit, big=big)
        changes = _changes(source, target)
        ratio_at = 0
        for piece in walk.before_pixels(start, changes):
            out.write(piece)
            if 0x00282112 in changes and piece.startswith(_RATIO):
                ratio_at = out.tell() - _RATIO_WIDTH
        if walk.at_pixels:
            ratio = _pixels(source, read, target, out)
            if ratio_at:
                out.seek(ratio_at)
                out.write(f"{ratio:.6g}".ljust(_RATIO_WIDTH).encode())
                out.seek(0, os.SEEK_END)
            for piece in walk.after_pixels():
                out.write(piece)
        return out.tell()


def _pixels(source: Source, read: ReadAt, target: str, out: BinaryIO) -> float:
    if source.layout is None:
        raise CannotTranscode("nothing tells what the pixels are")
    return write_pixels(source.layout, read, target, out)


def _size(read: ReadAt) -> int:
    size = 0
    while piece := read(size, _META):
        size += len(piece)
    return size


def _changes(source: Source, target: str) -> Changes:
    """The attributes that are others once pixels are encoded otherwise."""
    layout = source.layout
    if layout is None or not is_encoded_anew(layout, target):
        return {}
    plain = encoders.decoded(layout)
    photometric = encoders.photometric_in(plain, target)
    changes: dict[int, tuple[str, bytes] | None] = {
        0x00280004: ("CS", photometric.encode()),
        0x7FE00001: None,
        0x7FE00002: None,
    }
    if layout.samples_per_pixel > 1:
        changes[0x00280006] = ("US", b"\0\0")
    if not encoders.is_lossless(target):
        changes[0x00282110] = ("CS", b"01")
        before = source.lossy_ratio
        if before and len(before) % 2 == 0:
            before += " "  # the number to come stays at the end of an even value
        ratio = _appended(before, "0" * _RATIO_WIDTH)
        changes[0x00282112] = ("DS", ratio)
        method = _appended(source.lossy_method, encoders.method_of(target))
        changes[0x00282114] = ("CS", method)
    return changes


def _appended(before: str, value: str) -> bytes:
    return "\\".join(part for part in (before, value) if part).encode()
