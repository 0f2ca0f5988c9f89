"""A value of a file as it lies there, found by its path; the work of other processes.

A path names tags and items in turn, items from 0, as Orthanc has it. Values keep their
encoding: nothing is decoded.
"""

import os
from typing import Any

import orjson
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from gateway.dicom.bulk import ReadAt
from gateway.dicom.dictionary import tag_of
from gateway.dicom.header import DEFLATED, data_set_start, encoding_of
from gateway.dicom.transcode import Source, opened
from gateway.errors import NotFound, TooLarge

#: Bytes of a value that are handed over; longer ones are read where they lie.
LONGEST_VALUE = 64 * 1024

_META = 1024 * 1024
_PIXELS = 0x7FE00000

#: What an answer begins with: a list of names, or a value.
LIST, VALUE = b"L", b"V"


class _File:
    """What offsets count in, as a file for pydicom."""

    def __init__(self, read: ReadAt, start: int) -> None:
        self._read = read
        self._position = start

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        found = self._read(self._position, size if size >= 0 else _META)
        self._position += len(found)
        return found

    def tell(self) -> int:
        """Where the next bytes are."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go somewhere else."""
        self._position = offset + (self._position if whence == os.SEEK_CUR else 0)
        return self._position


def content_of(source: Source, path: tuple[str, ...]) -> bytes:
    """What is at a path: LIST and names as JSON, or VALUE and bytes.

    Raises NotFound, or TooLarge for a value that has to be read where it lies.
    """
    with opened(source) as (buffer, read):
        start = data_set_start(buffer[:_META])
        implicit, big = encoding_of(buffer, start, source.transfer_syntax)
        if source.transfer_syntax in DEFLATED:
            start, implicit, big = 0, False, False
        data_set = read_dataset(
            _File(read, start),  # type: ignore[arg-type]
            implicit,
            not big,
            stop_when=lambda tag, vr, length: tag >= _PIXELS,
            defer_size=LONGEST_VALUE,
        )
        return _at(data_set, path, has_pixels=source.layout is not None)


def _at(data_set: Dataset, path: tuple[str, ...], *, has_pixels: bool) -> bytes:
    while True:
        if not path:
            names = [
                f"{tag.group:04x}-{tag.element:04x}" for tag in sorted(data_set.keys())
            ]
            return LIST + orjson.dumps(names + ["7fe0-0010"] * has_pixels)
        name, *rest = path
        element = _element(data_set, name)
        if element.VR != "SQ":
            return _value(element, rest)
        items = data_set[element.tag].value
        if not rest:
            return LIST + orjson.dumps([str(place) for place in range(len(items))])
        if not rest[0].isdecimal() or int(rest[0]) >= len(items):
            raise NotFound(f"there is no item {rest[0][:20]} here")
        data_set, path = items[int(rest[0])], tuple(rest[1:])
        has_pixels = False


def _element(data_set: Dataset, name: str) -> Any:
    """An element as it was read, but for sequences that were not said to be any."""
    tag = tag_of(name)
    if tag is None or int(tag, 16) not in data_set:
        raise NotFound(f"there is no {name[:64]} here")
    element: Any = data_set.get_item(int(tag, 16))
    if element.VR in (None, "UN") and data_set[int(tag, 16)].VR == "SQ":
        return data_set[int(tag, 16)]
    return element


def _value(element: Any, rest: list[str]) -> bytes:
    if rest:
        raise NotFound("there is nothing inside this value")
    if element.value is None and getattr(element, "length", None):
        raise TooLarge("this value is too long to be handed over at once")
    return VALUE + bytes(element.value or b"")
