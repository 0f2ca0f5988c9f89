"""A data set from one transfer syntax to explicit little endian, value by value.

Values stay what they are, byte for byte but for the order of bytes in a word: nothing is
decoded and written again, no text changes its character set. Pixel data is left to the
caller, who also says which attributes become others. Sequences become ones of undefined
length, so that nothing has to be known before it is written.
"""

import struct
from collections.abc import Iterator, Mapping

from gateway.dicom.bulk import word_size
from gateway.dicom.charsets import LATIN1
from gateway.dicom.usual import LONG_FORM
from gateway.dicom.values import little_endian
from gateway.dicom.walk import DEPTH_LIMIT, PIXEL_TAGS, Buffer, Scope, Walk
from gateway.errors import CannotTranscode

_UNDEFINED = 0xFFFFFFFF
_LONGEST_SHORT = 0xFFFE
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_ICONS = 0x00880200
_PIXEL_REPRESENTATION = 0x00280103
_STEP = 1024 * 1024

#: Tag -> representation and value, or None for an attribute that is left out.
Changes = Mapping[int, tuple[str, bytes] | None]


def head(tag: int, vr: str, length: int) -> bytes:
    """What stands before a value; what is too long for its form is UN (PS3.5 6.2.2)."""
    code = vr.encode()
    if code not in LONG_FORM and length > _LONGEST_SHORT:
        code = b"UN"
    if code in LONG_FORM:
        return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, code, 0, length)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, code, length)


def element(tag: int, vr: str, value: bytes) -> bytes:
    """A whole element; the value is made even."""
    if len(value) % 2:
        value += b"\0" if vr in ("UI", "OB", "UN") else b" "
    return head(tag, vr, len(value)) + value


class _Fragments(Exception):
    """Compressed pixels within a sequence."""


class Rewriter(Walk):
    """Goes over a data set as ingest does, and gives its bytes."""

    _nested = 0
    _scope = Scope(LATIN1)
    at_pixels = False  # whether pixel data follows what `before_pixels` gave

    def before_pixels(self, position: int, changes: Changes) -> Iterator[bytes]:
        """The elements before pixel data, or all; `position` tells where that was."""
        pending = sorted(changes)
        scope = self._scope = Scope(LATIN1)
        self.position = position
        while self._end - self.position >= 8:
            tag, vr, length, start = self._next(self.position, scope)
            self.at_pixels = tag in PIXEL_TAGS
            if tag == 0 or self.at_pixels:
                break
            while pending and pending[0] < tag:
                yield from _changed(changes, pending.pop(0))
            if tag in changes:
                if tag in pending:
                    pending.remove(tag)
                    yield from _changed(changes, tag)
                for _ in self._one(tag, vr, length, start, scope):
                    pass
            else:
                yield from self._at_root(tag, vr, length, start, scope)
        for tag in pending:
            yield from _changed(changes, tag)

    def after_pixels(self) -> Iterator[bytes]:
        """What follows pixel data, which is stepped over: private elements, signatures."""
        scope = self._scope
        self.position = self.element(self.position, self._end, scope, "")[2]
        while self._end - self.position >= 8:
            tag, vr, length, start = self._next(self.position, scope)
            if tag == 0:
                break
            if tag in PIXEL_TAGS:
                raise CannotTranscode("there is pixel data twice")
            if tag >> 16 == 0xFFFE:  # a delimiter that ends nothing
                self.position = start
                continue
            yield from self._at_root(tag, vr, length, start, scope)

    def _at_root(
        self, tag: int, vr: str, length: int, start: int, scope: Scope
    ) -> Iterator[bytes]:
        if tag != _ICONS:
            try:
                yield from self._one(tag, vr, length, start, scope)
            except _Fragments:
                raise CannotTranscode(
                    "there are compressed pixels in a sequence"
                ) from None
            return
        # An icon is left out where it is compressed: it could not stay so.
        try:
            yield b"".join(self._one(tag, vr, length, start, scope))
        except _Fragments:
            self.position = self.element(self.position, self._end, scope, "")[2]

    def _next(self, position: int, scope: Scope) -> tuple[int, str, int, int]:
        self._unknown = False
        read = self._read_implicit if self._implicit else self._read_explicit
        return read(position, scope)

    def _one(
        self, tag: int, vr: str, length: int, start: int, scope: Scope
    ) -> Iterator[bytes]:
        """An element converted; `position` is behind it afterwards."""
        if length == _UNDEFINED:
            if vr in ("OB", "OW") or tag in PIXEL_TAGS:
                raise _Fragments
            yield from self._items(tag, start, self._end, scope, vr != "SQ")
            return
        stop = start + length
        if stop > self._end:
            raise CannotTranscode("an element ends beyond the end of the file")
        if vr == "SQ":
            yield from self._items(tag, start, stop, scope, self._unknown)
            self.position = stop
            return
        self._note(tag, start, min(length, 64), scope)
        if tag & 0xFFFF:  # lengths of groups would be wrong
            yield head(tag, vr, length)
            yield from self._value(vr, start, stop)
        self.position = stop

    def _note(self, tag: int, start: int, length: int, scope: Scope) -> None:
        """Remember what tells how later elements are to be read."""
        value = bytes(self.buffer[start : start + length])
        if tag == _PIXEL_REPRESENTATION:
            scope.signed = any(value)
        elif tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF:
            creator = value.decode("latin-1").strip(" \0")
            scope.creators[(tag >> 16) << 8 | tag & 0xFF] = creator

    def _value(self, vr: str, start: int, stop: int) -> Iterator[bytes]:
        word = 2 if vr == "AT" else word_size(vr)
        turned = self.order == ">" and word > 1 and not self._unknown
        for position in range(start, stop, _STEP):
            piece = bytes(self.buffer[position : min(position + _STEP, stop)])
            yield little_endian(piece, word) if turned else piece

    def _items(
        self, tag: int, start: int, end: int, scope: Scope, implicit: bool
    ) -> Iterator[bytes]:
        self._nested += 1
        if self._nested > DEPTH_LIMIT:
            raise CannotTranscode(f"sequences are nested deeper than {DEPTH_LIMIT}")
        yield head(tag, "SQ", _UNDEFINED)
        if implicit and not self._implicit:
            with self._implicit_little_endian():
                yield from self._each(start, end, scope)
        else:
            yield from self._each(start, end, scope)
        yield _delimiter(_SEQUENCE_END)
        self._nested -= 1

    def _each(self, position: int, end: int, scope: Scope) -> Iterator[bytes]:
        while end - position >= 8:
            group, number, length = self._unpack_implicit(self.buffer, position)
            position += 8
            found = group << 16 | number
            if found == _SEQUENCE_END:
                break
            if found != _ITEM:
                raise CannotTranscode("a sequence holds something else than items")
            stop = end if length == _UNDEFINED else position + length
            yield struct.pack("<HHI", 0xFFFE, 0xE000, _UNDEFINED)
            yield from self._inside(position, stop, scope.inner())
            yield _delimiter(_ITEM_END)
            position = self.position if length == _UNDEFINED else stop
        self.position = position

    def _inside(self, position: int, end: int, scope: Scope) -> Iterator[bytes]:
        while end - position >= 8:
            tag, vr, length, start = self._next(position, scope)
            if tag == _ITEM_END or tag == 0:
                position = start if tag else end
                break
            if tag >> 16 == 0xFFFE:  # a delimiter that ends nothing
                position = start
                continue
            yield from self._one(tag, vr, length, start, scope)
            position = self.position
        self.position = position


def rewriter(buffer: Buffer, *, implicit: bool, big: bool) -> Rewriter:
    """A rewriter of a data set that reaches to the end of the buffer."""
    return Rewriter(buffer, len(buffer), implicit=implicit, big=big)


def _changed(changes: Changes, tag: int) -> Iterator[bytes]:
    change = changes[tag]
    if change is not None:
        yield element(tag, *change)


def _delimiter(tag: int) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, 0)


def meta_with(buffer: Buffer, end: int, transfer_syntax: str) -> bytes:
    """The preamble and file meta information with another transfer syntax (PS3.10 7.1)."""
    changes: Changes = {
        0x00020000: None,
        0x00020010: ("UI", transfer_syntax.encode()),
    }
    walk = Rewriter(buffer, end, implicit=False, big=False)
    group = b"".join(walk.before_pixels(132, changes))
    length = element(0x00020000, "UL", struct.pack("<I", len(group)))
    return bytes(buffer[:132]) + length + group
