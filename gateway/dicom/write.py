"""A DICOM file out of attributes and the bulk values that belong to them (PS3.10 7).

Explicit little endian throughout, text in UTF-8, sequences of undefined length: nothing
has to be known before it is written, and bulk values, which may be larger than memory,
pass through piece by piece. Files written twice from the same are the same, byte for
byte. The attributes are taken as ``gateway.dicom.from_json`` leaves them.
"""

import base64
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.valuerep import format_number_as_ds

from gateway.dicom.bulk import ReadAt
from gateway.dicom.from_json import SINGLE_TEXT
from gateway.dicom.hierarchy import Attributes, first_text
from gateway.dicom.usual import LONG_FORM
from gateway.dicom.values import BINARY_WORDS, NAME_GROUPS, NUMBERS, Element
from gateway.errors import BadRequest, NotFound

EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"

#: Made once from a random UUID (PS3.5 B.2); it tells files that were written here.
IMPLEMENTATION_CLASS_UID = "2.25.53496313172246297071201583962966872362"
IMPLEMENTATION_VERSION_NAME = "DICOMWEB_GATEWAY"

_STEP = 1024 * 1024
LARGEST = 0xFFFFFFFE  # bytes of a value with a length; one more means undefined
_UNDEFINED = 0xFFFFFFFF
_LONGEST_SHORT = 0xFFFE
_LONGEST_DS = 16
_PIXEL_DATA = "7FE00010"
_OFFSETS, _LENGTHS = "7FE00001", "7FE00002"

_ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, _UNDEFINED)
_ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
_SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


@dataclass(frozen=True, slots=True)
class Bytes:
    """Bytes that lie somewhere, as a value or as one fragment of it."""

    size: int
    read_at: ReadAt

    def pieces(self) -> Iterator[bytes]:
        """All of them, a bounded piece at a time, and a zero if the size is odd."""
        position = 0
        while position < self.size:
            piece = self.read_at(position, min(_STEP, self.size - position))
            if not piece:
                raise EOFError("bulk data is gone before it was copied")
            position += len(piece)
            yield piece
        if self.size % 2:
            yield b"\0"

    @property
    def padded(self) -> int:
        """The size, made even (PS3.5 7.1)."""
        return self.size + self.size % 2

    def part(self, start: int, size: int) -> "Bytes":
        """Some of the bytes."""
        return Bytes(size, lambda offset, count: self.read_at(start + offset, count))


@dataclass(frozen=True, slots=True)
class Fragments:
    """Compressed frames, one fragment each, or one video in as many as it takes."""

    frames: tuple[Bytes, ...]

    def items(self) -> Iterator[Bytes]:
        """The fragments."""
        for frame in self.frames:
            for start in range(0, frame.size, LARGEST):
                yield frame.part(start, min(LARGEST, frame.size - start))


Bulk = Mapping[str, Bytes | Fragments]  # by BulkDataURI


def dicom_file(
    attributes: Attributes, transfer_syntax: str, bulk: Bulk
) -> Iterator[bytes]:
    """The bytes of a file, a bounded piece at a time; raises BadRequest."""
    gathered = bytearray(bytes(128) + b"DICM" + _meta(attributes, transfer_syntax))
    for piece in _data_set(attributes, bulk):
        gathered += piece
        if len(gathered) >= _STEP:
            yield bytes(gathered)
            gathered.clear()
    yield bytes(gathered)


def _meta(attributes: Attributes, transfer_syntax: str) -> bytes:
    values = (
        ("00020001", "OB", b"\0\1"),
        ("00020002", "UI", first_text(attributes, "00080016").encode()),
        ("00020003", "UI", first_text(attributes, "00080018").encode()),
        ("00020010", "UI", transfer_syntax.encode()),
        ("00020012", "UI", IMPLEMENTATION_CLASS_UID.encode()),
        ("00020013", "SH", IMPLEMENTATION_VERSION_NAME.encode()),
    )
    group = b"".join(b"".join(_plain(*element)) for element in values)
    return b"".join(_plain("00020000", "UL", struct.pack("<I", len(group)))) + group


def _data_set(attributes: Attributes, bulk: Bulk) -> Iterator[bytes]:
    for tag, element in attributes.items():
        vr = element["vr"]
        if "BulkDataURI" in element:
            value = bulk[element["BulkDataURI"]]
            if isinstance(value, Fragments):
                yield from _encapsulated(tag, value, attributes)
            else:
                yield _head(tag, vr, value.padded)
                yield from value.pieces()
        elif vr == "SQ":
            yield _head(tag, vr, _UNDEFINED)
            for item in element.get("Value", ()):
                yield _ITEM
                yield from _data_set(item, bulk)
                yield _ITEM_END
            yield _SEQUENCE_END
        else:
            yield from _plain(tag, vr, value_field(element, tag))


def _plain(tag: str, vr: str, value: bytes) -> Iterator[bytes]:
    padding = _padding(vr, value)
    yield _head(tag, vr, len(value) + len(padding))
    yield value
    yield padding


def _padding(vr: str, value: bytes) -> bytes:
    """What makes a value even (PS3.5 6.2)."""
    if len(value) % 2 == 0:
        return b""
    return b"\0" if vr == "UI" or vr in BINARY_WORDS else b" "


def _head(tag: str, vr: str, length: int) -> bytes:
    """Tag, representation and length; what is too long for its form is UN (PS3.5 6.2.2)."""
    group, number = int(tag[:4], 16), int(tag[4:], 16)
    if length > LARGEST and length != _UNDEFINED:
        raise BadRequest(f"({tag[:4]},{tag[4:]}) is too large for a native value")
    code = vr.encode()
    if code not in LONG_FORM and length > _LONGEST_SHORT:
        code = b"UN"
    if code in LONG_FORM:
        return struct.pack("<HH2sHI", group, number, code, 0, length)
    return struct.pack("<HH2sH", group, number, code, length)


def _encapsulated(tag: str, value: Fragments, among: Attributes) -> Iterator[bytes]:
    """Fragments after their offset table (PS3.5 A.4)."""
    offsets, position = [], 0
    for frame in value.frames:
        offsets.append(position)
        position += frame.padded + 8
    basic = offsets if len(offsets) > 1 and position <= LARGEST else []
    if len(offsets) > 1 and not basic and tag == _PIXEL_DATA and _OFFSETS not in among:
        lengths = [frame.padded for frame in value.frames]
        for table, numbers in ((_OFFSETS, offsets), (_LENGTHS, lengths)):
            packed = struct.pack(f"<{len(numbers)}Q", *numbers)
            yield from _plain(table, "OV", packed)
    yield _head(tag, "OB", _UNDEFINED)
    yield struct.pack("<HHI", 0xFFFE, 0xE000, 4 * len(basic))
    yield struct.pack(f"<{len(basic)}I", *basic)
    for item in value.items():
        yield struct.pack("<HHI", 0xFFFE, 0xE000, item.padded)
        yield from item.pieces()
    yield _SEQUENCE_END


# -- values ------------------------------------------------------------------------------


def value_field(element: Element, tag: str) -> bytes:
    """The bytes of an attribute that has its value with it, not padded."""
    vr = element["vr"]
    if "InlineBinary" in element:
        return base64.b64decode(element["InlineBinary"])
    values = element.get("Value", ())
    if not values:
        return b""
    try:
        return _WRITERS.get(vr, _texts)(vr, values)
    except (struct.error, OverflowError, UnicodeEncodeError):
        raise BadRequest(f"({tag[:4]},{tag[4:]}) has a value that is no {vr}") from None


def short_value(element: Element, path: str) -> bytes:
    """The bytes of an attribute that stands in a header, text in UTF-8, made even.

    Raises NotFound for a sequence, which has items instead, and for no value at all.
    """
    value = b"" if element["vr"] == "SQ" else value_field(element, path[-8:])
    if not value:
        raise NotFound(f"no bulk data {path} in this instance")
    return value + _padding(element["vr"], value)


def _texts(vr: str, values: Sequence[Any]) -> bytes:
    if vr in SINGLE_TEXT:
        return str(values[0]).encode()
    return _joined("" if value is None else str(value) for value in values)


def _joined(values: Iterable[str]) -> bytes:
    return "\\".join(values).encode()


def _names(vr: str, values: Sequence[Any]) -> bytes:
    return _joined(
        "=".join((name or {}).get(group) or "" for group in NAME_GROUPS).rstrip("=")
        for name in values
    )


def _decimals(vr: str, values: Sequence[Any]) -> bytes:
    return _joined(map(_decimal, values))


def _decimal(value: Any) -> str:
    """A number in the sixteen characters that DS has for it."""
    text = "" if value is None else str(value)
    if len(text) <= _LONGEST_DS or isinstance(value, str):
        return text
    return format_number_as_ds(float(value))


def _tags(vr: str, values: Sequence[Any]) -> bytes:
    words = [int(half, 16) for tag in values for half in (tag[:4], tag[4:])]
    return struct.pack(f"<{len(words)}H", *words)


def _numbers(vr: str, values: Sequence[Any]) -> bytes:
    code = NUMBERS[vr][0]
    if code in "fd":
        values = [float("nan") if number is None else number for number in values]
    else:
        values = [int(number) for number in values]  # beyond 2 ** 53 they are text
    return struct.pack(f"<{len(values)}{code}", *values)


_WRITERS: dict[str, Callable[[str, Sequence[Any]], bytes]] = {
    "PN": _names,
    "DS": _decimals,
    "AT": _tags,
    **dict.fromkeys(NUMBERS, _numbers),
}
