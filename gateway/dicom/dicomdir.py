"""The directory of a medium: DICOMDIR, records of patients down to images (PS3.3 F).

Each record says where in the file the next one of its kind begins, and the first one
below it. Lengths do not depend on places, so that all places are known before anything
is written.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from gateway.dicom.pixels import EXPLICIT_LITTLE_ENDIAN

_MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
_IMPLEMENTATION = "2.25.229451600072090404564197515398141592653"
_LONG = frozenset({"OB", "SQ", "UT"})
_IN_USE = 0xFFFF
_ITEM_HEADER = 8
_ROOT_SIZE = 12 * 2 + 10  # the two offsets and the consistency flag before the records


@dataclass(slots=True)
class Record:
    """A patient, study, series or image of the medium."""

    kind: str  # PATIENT, STUDY, SERIES, IMAGE
    keys: tuple[tuple[int, str, str], ...]  # tag, value representation, text; by tag
    file: tuple[str, ...] = ()  # folders and name of an image's file
    sop_class: str = ""
    sop_instance: str = ""
    transfer_syntax: str = ""
    below: list["Record"] = field(default_factory=list)
    place: int = 0  # in the file


def dicomdir(patients: list[Record], sop_instance: str) -> bytes:
    """The file with these records; `sop_instance` is the UID of the directory."""
    start = _beginning(sop_instance)
    begin = len(start) + _ROOT_SIZE + 12  # after the header of the sequence
    records = list(_walk(patients))
    position = begin
    for record in records:
        record.place = position
        position += _ITEM_HEADER + len(_encoded(record, 0))
    following = dict(_following(patients))
    body = b"".join(
        _item(_encoded(record, following.get(id(record), 0))) for record in records
    )
    root = (
        _element(0x00041200, "UL", _number(patients[0].place if patients else 0))
        + _element(0x00041202, "UL", _number(patients[-1].place if patients else 0))
        + _element(0x00041212, "US", b"\0\0")
    )
    return start + root + _element(0x00041220, "SQ", body)


def _walk(records: list[Record]) -> Iterator[Record]:
    for record in records:
        yield record
        yield from _walk(record.below)


def _following(records: list[Record]) -> Iterator[tuple[int, int]]:
    """For each record the place of the next one beside it."""
    for record, other in pairwise(records):
        yield id(record), other.place
    for record in records:
        yield from _following(record.below)


def _encoded(record: Record, following: int) -> bytes:
    below = record.below[0].place if record.below else 0
    parts = [
        _element(0x00041400, "UL", _number(following)),
        _element(0x00041410, "US", struct.pack("<H", _IN_USE)),
        _element(0x00041420, "UL", _number(below)),
        _text(0x00041430, "CS", record.kind),
    ]
    if record.file:
        parts += [
            _text(0x00041500, "CS", "\\".join(record.file)),
            _text(0x00041510, "UI", record.sop_class),
            _text(0x00041511, "UI", record.sop_instance),
            _text(0x00041512, "UI", record.transfer_syntax),
        ]
    parts.append(_text(0x00080005, "CS", "ISO_IR 192"))
    parts += [_text(*key) for key in record.keys]
    return b"".join(parts)


def _beginning(sop_instance: str) -> bytes:
    """All up to the places of the records."""
    meta = (
        _element(0x00020001, "OB", b"\0\1")
        + _text(0x00020002, "UI", _MEDIA_STORAGE_DIRECTORY)
        + _text(0x00020003, "UI", sop_instance)
        + _text(0x00020010, "UI", EXPLICIT_LITTLE_ENDIAN)
        + _text(0x00020012, "UI", _IMPLEMENTATION)
    )
    length = _element(0x00020000, "UL", _number(len(meta)))
    return bytes(128) + b"DICM" + length + meta + _text(0x00041130, "CS", "")


def _item(content: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


def _number(value: int) -> bytes:
    return struct.pack("<I", value)


def _text(tag: int, vr: str, text: str) -> bytes:
    value = text.encode()
    padding = b"\0" if vr == "UI" else b" "
    return _element(tag, vr, value + padding * (len(value) % 2))


def _element(tag: int, vr: str, value: bytes) -> bytes:
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    if vr in _LONG:
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value
