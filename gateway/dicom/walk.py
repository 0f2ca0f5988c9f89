"""The walk over a data set: from the bytes of a file to the DICOM JSON model.

Written for ingest: one pass over the header, values that are large or binary are only
located, pixel data is stepped over and never read. It takes a buffer that may be a
memory map, so a file of any size costs the pages that its header lies on.

Explicit and implicit value representation, little and big endian, nested sequences of
defined and undefined length (PS3.5 7), and the mistakes of real writers: UN where the
dictionary knows better, implicit elements amid explicit ones, sequences as UN of
undefined length (PS3.5 6.2.2), zeros after the last element. What it does not forgive is
an element that ends beyond the file: such a file lost bytes on its way.
"""

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydicom.datadict import private_dictionary_VR

from gateway.dicom import values
from gateway.dicom.charsets import Encodings, encodings_of
from gateway.dicom.hierarchy import Attributes
from gateway.dicom.usual import (
    KEYS,
    LONG_FORM,
    NAMES,
    REMEMBERED_LIMIT,
    USUAL,
    dictionary_vr,
    key_of,
    usual_code,
)
from gateway.dicom.values import CONVERTERS, Element
from gateway.errors import NotDicom

Buffer = bytes | mmap.mmap

#: Binary values up to this many bytes stand in the JSON, unless the caller says
#: otherwise; larger ones stay in the file.
INLINE_BINARY_LIMIT = 1024

#: Text and numbers up to this many bytes stand in the JSON (where F.2 gives a choice).
INLINE_VALUE_LIMIT = 64 * 1024

#: A value that must stand in the JSON may not be larger than this many bytes.
VALUE_LIMIT = 16 * 1024 * 1024

#: Bytes of fragments that are stepped over before their pages are given back.
_FORGET_STEP = 4 * 1024 * 1024

#: Sequences nested deeper than this are an attack, not a report.
DEPTH_LIMIT = 64

_UNDEFINED = 0xFFFFFFFF
_ITEM = 0xFFFEE000
_ITEM_END = 0xFFFEE00D
_SEQUENCE_END = 0xFFFEE0DD
_SEQUENCE_ENDS = (
    struct.pack("<HHI", 0xFFFE, 0xE0DD, 0),
    struct.pack(">HHI", 0xFFFE, 0xE0DD, 0),
)
_CHARACTER_SET = 0x00080005
_PIXEL_REPRESENTATION = 0x00280103

#: How the beginning of an element is read, explicit and implicit, and a long length.
_UNPACK = {
    order: tuple(
        struct.Struct(order + form).unpack_from for form in ("HH2sH", "HHI", "I")
    )
    for order in "<>"
}

PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})

#: Value representations that may become a reference (PS3.18 10.4.1.1.2).
_REFERABLE = frozenset(
    {"DS", "FL", "FD", "IS", "LT", "SL", "SS", "ST", "SV", "UC", "UL", "US", "UT", "UV"}
)


@dataclass(slots=True)
class Scope:
    """What holds inside one data set and the items within it."""

    encodings: Encodings
    signed: bool = False  # Pixel Representation (0028,0103) is 1
    creators: dict[int, str] = field(default_factory=dict)  # block -> private creator

    def inner(self) -> "Scope":
        """The scope of an item: it inherits all but the private creators."""
        return Scope(self.encodings, self.signed)


def known_vr(tag: int, scope: Scope) -> str:
    """The value representation that the dictionaries give an element (PS3.6)."""
    if tag >> 16 & 1:
        if 0x10 <= tag & 0xFFFF <= 0xFF:
            return "LO"
        creator = scope.creators.get(tag >> 8)
        try:
            vr = private_dictionary_VR(tag, creator) if creator else "UN"
        except KeyError:
            return "UN"
    else:
        vr = dictionary_vr(tag)
    if " " not in vr:
        return vr
    if vr == "US or SS":
        return "SS" if scope.signed else "US"
    return "OW"


def _beyond(tag: int, count: int) -> NotDicom:
    return NotDicom(
        f"({tag >> 16:04X},{tag & 0xFFFF:04X}) ends {count} bytes beyond the end"
    )


class Walk:
    """One pass over one data set; `bulk` says where the values left behind lie."""

    def __init__(
        self,
        buffer: Buffer,
        end: int,
        *,
        implicit: bool,
        big: bool,
        inline_binary: int = INLINE_BINARY_LIMIT,
    ) -> None:
        self.bulk: dict[str, tuple[int, int]] = {}  # path -> offset, length in the file
        self.order = ">" if big else "<"
        self.buffer = buffer
        self._end = end
        self._inline_binary = inline_binary
        self._implicit = implicit
        self._depth = 0
        self._unknown = False  # the element just read was written as UN, and is known
        self._forgotten = 0  # up to here the pages of the map were given back
        self._set_order()

    def _set_order(self) -> None:
        unpack = _UNPACK[self.order]
        self._unpack_explicit, self._unpack_implicit, self._unpack_length = unpack

    @property
    def is_implicit(self) -> bool:
        """Whether elements do not name their value representations."""
        return self._implicit

    def data_set(  # noqa: PLR0915 - the hot path makes no calls it can avoid
        self, position: int, end: int, scope: Scope, path: str = ""
    ) -> tuple[Attributes, int]:
        """The attributes from `position` on, and where the data set ends.

        It ends at `end` or, in an item of undefined length, after its delimiter.
        """
        attributes: Attributes = {}
        buffer, implicit = self.buffer, self._implicit
        unpack = self._unpack_implicit if implicit else self._unpack_explicit
        usual = USUAL[self.order]
        previous = 0
        ordered = True
        while end - position >= 8:
            if implicit:
                group, number, length = unpack(buffer, position)
                tag = group << 16 | number
                code = usual_code(tag)
            else:
                group, number, code, length = unpack(buffer, position)
                tag = group << 16 | number
            convert = usual.get(code)
            if (
                convert is not None
                and length <= REMEMBERED_LIMIT
                and (number > 0xFF or not (group & 1 or tag == _CHARACTER_SET))
            ):
                start = position + 8
                position = start + length
                if position > end:
                    raise _beyond(tag, position - end)
                element = convert(code, buffer[start:position], scope.encodings)
                if tag == _PIXEL_REPRESENTATION:
                    scope.signed = element.get("Value") == [1]
            else:
                tag, element, position = self.element(position, end, scope, path)
                if tag in (_ITEM_END, 0):
                    break
            ordered = ordered and tag > previous
            previous = tag
            if tag & 0xFFFF and tag != 0x00080001:  # group lengths say nothing here
                attributes[KEYS.get(tag) or key_of(tag)] = element
        return attributes if ordered else dict(sorted(attributes.items())), position

    def element(
        self, position: int, end: int, scope: Scope, path: str = ""
    ) -> tuple[int, Element, int]:
        """Any element at all: its tag, itself, and where the next one begins.

        The tag is zero where there is none any more.
        """
        self._unknown = False
        read = self._read_implicit if self._implicit else self._read_explicit
        tag, vr, length, position = read(position, scope)
        while tag >> 16 == 0xFFFE and not (tag == _ITEM_END and path):
            # A delimiter that ends nothing, seen in the field.
            if end - position < 8:
                return 0, {}, position
            tag, vr, length, position = read(position, scope)
        if tag == 0:  # zeros after the last element, seen in the field
            return tag, {}, end
        if tag == _ITEM_END:
            return tag, {}, position
        path += f"{tag:08X}"
        if length == _UNDEFINED:
            return tag, *self._undefined(tag, vr, position, scope, path)
        stop = position + length
        if stop > end:
            raise _beyond(tag, stop - end)
        if self._unknown:
            with self._implicit_little_endian():
                return tag, self._defined(tag, vr, position, length, scope, path), stop
        return tag, self._defined(tag, vr, position, length, scope, path), stop

    def _read_explicit(self, position: int, scope: Scope) -> tuple[int, str, int, int]:
        group, number, code, length = self._unpack_explicit(self.buffer, position)
        tag = group << 16 | number
        if group == 0xFFFE:
            return tag, "", 0, position + 8
        vr = NAMES.get(code)
        if vr is None:
            if code.isalpha() and code.isupper():
                return tag, "UN", length, position + 8
            return self._read_implicit(position, scope)
        if code in LONG_FORM:
            if position + 12 > self._end:
                raise NotDicom("the file ends inside the header of an element")
            (length,) = self._unpack_length(self.buffer, position + 8)
            position += 4
            if vr == "UN" and length != _UNDEFINED:
                vr = self._better_than_unknown(tag, length, scope)
                self._unknown = vr != "UN"
        return tag, vr, length, position + 8

    def _better_than_unknown(self, tag: int, length: int, scope: Scope) -> str:
        """What an element written as UN really is, where a dictionary tells."""
        vr = known_vr(tag, scope)
        return "UN" if length >= 0xFFFF and not tag >> 16 & 1 else vr

    def _read_implicit(self, position: int, scope: Scope) -> tuple[int, str, int, int]:
        group, number, length = self._unpack_implicit(self.buffer, position)
        tag = group << 16 | number
        if group == 0xFFFE:
            return tag, "", 0, position + 8
        return tag, known_vr(tag, scope), length, position + 8

    def _defined(  # one argument for each thing an element is made of
        self, tag: int, vr: str, start: int, length: int, scope: Scope, path: str
    ) -> Element:
        convert = CONVERTERS.get(vr)
        if convert is not None and length <= INLINE_VALUE_LIMIT:
            element = convert(vr, self.buffer[start : start + length], scope.encodings)
            if tag == _CHARACTER_SET:
                scope.encodings = encodings_of(
                    element.get("Value", ()), scope.encodings
                )
            elif tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF:
                self._note_creator(tag, element, scope)
            return element
        if vr == "SQ":
            return self._sequence(start, start + length, scope, path, vr)[0]
        if vr in values.BINARY_WORDS:
            if length > self._inline_binary or tag in PIXEL_TAGS:
                return self._reference(vr, start, length, path)
            value = self.buffer[start : start + length]
            return values.binary_element(vr, value, self.order)
        return self._large_or_number(tag, vr, start, length, scope, path)

    def _note_creator(self, tag: int, element: Element, scope: Scope) -> None:
        creator = element.get("Value", [None])[0]
        block = (tag >> 16) << 8 | tag & 0xFF
        if isinstance(creator, str):
            scope.creators[block] = creator

    def _large_or_number(
        self, tag: int, vr: str, start: int, length: int, scope: Scope, path: str
    ) -> Element:
        if length > INLINE_VALUE_LIMIT and vr in _REFERABLE:
            return self._reference(vr, start, length, path)
        if length > VALUE_LIMIT:
            raise NotDicom(f"({path[-8:-4]},{path[-4:]}) is absurdly large")
        value = self.buffer[start : start + length]
        if values.is_number(vr):
            element = values.number_element(vr, value, self.order)
            if tag == _PIXEL_REPRESENTATION:
                scope.signed = element.get("Value") == [1]
            return element
        if vr == "AT":
            return values.tag_element(value, self.order)
        return CONVERTERS[vr](vr, value, scope.encodings)

    def _reference(self, vr: str, start: int, length: int, path: str) -> Element:
        """A value that stays in the file; an empty one has no reference (F.2.5)."""
        if not length:
            return {"vr": vr}
        path = path.lower()
        self.bulk[path] = (start, length)
        return {"vr": vr, "BulkDataURI": f"bulk/{path}"}

    def _undefined(
        self, tag: int, vr: str, start: int, scope: Scope, path: str
    ) -> tuple[Element, int]:
        if tag in PIXEL_TAGS or vr in ("OB", "OW"):
            position = self._fragments(start)
            return self._reference(vr, start, position - 8 - start, path), position
        element, position = self._open_sequence(vr, start, scope, path)
        tail = self.buffer[max(start, position - 8) : position]
        if tail not in _SEQUENCE_ENDS:
            raise NotDicom(f"({path[-8:-4]},{path[-4:]}) is cut off")
        return element, position

    def _open_sequence(
        self, vr: str, start: int, scope: Scope, path: str
    ) -> tuple[Element, int]:
        if vr == "SQ" or self._implicit:
            return self._sequence(start, self._end, scope, path, "SQ")
        with self._implicit_little_endian():
            return self._sequence(start, self._end, scope, path, "SQ")

    @contextmanager
    def _implicit_little_endian(self) -> Iterator[None]:
        """Read so inside: whatever was written as UN is (PS3.5 6.2.2)."""
        before = self._implicit, self.order
        self._implicit, self.order = True, "<"
        self._set_order()
        try:
            yield
        finally:
            self._implicit, self.order = before
            self._set_order()

    def _fragments(self, position: int) -> int:
        """Where encapsulated pixel data ends, its delimiter included (PS3.5 A.4)."""
        while position + 8 <= self._end:
            group, number, length = self._unpack_implicit(self.buffer, position)
            position += 8
            tag = group << 16 | number
            if tag == _SEQUENCE_END:
                return position
            if tag != _ITEM or length == _UNDEFINED:
                raise NotDicom(
                    "encapsulated pixel data holds something else than items"
                )
            position += length
            self._forget(position)
        raise NotDicom("encapsulated pixel data ends beyond the end")

    def _forget(self, position: int) -> None:
        """Give back the pages behind us, lest a long file fill the memory map."""
        if position - self._forgotten > _FORGET_STEP and isinstance(
            self.buffer, mmap.mmap
        ):
            self.buffer.madvise(mmap.MADV_DONTNEED)
            self._forgotten = position

    def _sequence(
        self, position: int, end: int, scope: Scope, path: str, vr: str
    ) -> tuple[Element, int]:
        self._depth += 1
        if self._depth > DEPTH_LIMIT:
            raise NotDicom(f"sequences are nested deeper than {DEPTH_LIMIT}")
        items: list[Attributes] = []
        while end - position >= 8:
            group, number, length = self._unpack_implicit(self.buffer, position)
            position += 8
            tag = group << 16 | number
            if tag == _SEQUENCE_END:
                break
            if tag != _ITEM:
                raise NotDicom(f"({path[-8:-4]},{path[-4:]}) holds no items")
            stop = end if length == _UNDEFINED else position + length
            if stop > end:
                raise NotDicom(f"an item of ({path[-8:-4]},{path[-4:]}) is cut off")
            inside = f"{path}/{len(items) + 1}/"
            item, position = self.data_set(position, stop, scope.inner(), inside)
            if length != _UNDEFINED:
                position = stop
            items.append(item)
        self._depth -= 1
        return ({"vr": vr, "Value": items} if items else {"vr": vr}), position
