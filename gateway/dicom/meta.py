"""The file meta information, with which a file begins (PS3.10 7.1).

It is nearly the same in all files of a system: often only the identifier of the instance
is another. Such a one is recognised by comparing the bytes before and behind that.
"""

import struct

from gateway.dicom.charsets import LATIN1
from gateway.dicom.hierarchy import Attributes
from gateway.dicom.walk import Buffer, Scope, Walk
from gateway.errors import NotDicom

#: Where it begins: behind a preamble and four letters.
START = 132

_GROUP = b"\x02\x00"
_INSTANCE = b"\x02\x00\x03\x00UI"  # how MediaStorageSOPInstanceUID begins
_USUAL = frozenset({b"UL", b"OB", b"UI", b"SH", b"AE"})  # what it consists of
_LONGEST = 1024  # bytes of a file whose meta information is remembered
_KINDS = 8  # that are remembered at a time

#: What it says, and where it ends.
Meta = tuple[Attributes, int]


def read_meta(buffer: Buffer, size: int) -> Meta:
    """The file meta information of a file of that size, and where it ends.

    Its group length is often wrong, so the end is where another group begins. Raises
    NotDicom if that is behind the end of the file.
    """
    *_, end = _bounds(buffer, size)
    if end > size:
        raise NotDicom("the file ends inside the file meta information")
    walk = Walk(buffer, end, implicit=False, big=False)
    return walk.data_set(START, end, Scope(LATIN1))[0], end


def _bounds(buffer: Buffer, size: int) -> list[int]:
    """Where its elements begin, and where the last one ends."""
    found = [START]
    end = START
    while end + 8 <= size and buffer[end : end + 2] == _GROUP:
        if buffer[end + 4 : end + 6] in (b"OB", b"UN", b"UT", b"UC", b"UR"):
            (length,) = struct.unpack("<I", buffer[end + 8 : end + 12].ljust(4))
            end += 12 + length
        else:
            (length,) = struct.unpack("<H", buffer[end + 6 : end + 8])
            end += 8 + length
        found.append(end)
    return found


class _Known:
    """One that was read, without the identifier of its instance, which is not told."""

    def __init__(self, attributes: Attributes, before: bytes, behind: bytes) -> None:
        self.attributes = {**attributes}
        self.attributes.pop("00020003", None)
        self.before = before  # up to the length of the identifier
        self._behind = behind  # the rest of it
        self._length = START + len(before)

    def end(self, buffer: Buffer, size: int) -> int:
        """Where the like of it ends in a file; 0 if this is another."""
        at = self._length
        if buffer[START:at] != self.before:
            return 0
        rest = at + 2 + int.from_bytes(buffer[at : at + 2], "little")
        end = rest + len(self._behind)
        # What follows is whole, and of another group.
        is_last = end + 8 <= size and buffer[end : end + 2] not in (_GROUP, b"")
        return end if is_last and buffer[rest:end] == self._behind else 0


class Metas:
    """Reads file meta information, and remembers it; several threads may use it.

    What it finds has no MediaStorageSOPInstanceUID (0002,0003).
    """

    def __init__(self) -> None:
        self._known: tuple[_Known, ...] = ()

    def read(self, buffer: Buffer, size: int) -> Meta:
        """As `read_meta` does, but for that."""
        for known in self._known:
            end = known.end(buffer, size)
            if end:
                return known.attributes, end
        attributes, end = read_meta(buffer, size)
        self._remember(attributes, bytes(buffer[: min(end, _LONGEST)]))
        return attributes, end

    def _remember(self, attributes: Attributes, raw: bytes) -> None:
        *starts, end = _bounds(raw, len(raw))
        codes = {raw[start + 4 : start + 6] for start in starts}
        at = next((s for s in starts if raw.startswith(_INSTANCE, s)), 0)
        if at and codes <= _USUAL and end == len(raw):
            at += len(_INSTANCE)
            rest = at + 2 + int.from_bytes(raw[at : at + 2], "little")
            known = _Known(attributes, raw[START:at], raw[rest:])
            self._known = (known, *self._known[: _KINDS - 1])
