"""Lookup tables as DICOM writes them down: descriptor, data, segments (PS3.3 C.11, C.7.9).

Data come as numbers or as bytes of little-endian words, by the value representation that
somebody chose; tables of 65536 entries say 0; the first value mapped may be negative.
"""

import base64
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateway.dicom.functional import numbers, whole
from gateway.dicom.hierarchy import Attributes
from gateway.errors import NotAcceptable

_MOST_ENTRIES = 65536
Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Table:
    """A table: which output belongs to `first`, `first` + 1 and so on."""

    first: int
    bits: int  # of an entry
    entries: npt.NDArray[np.int64]

    def apply(self, values: Array) -> npt.NDArray[np.int64]:
        """The outputs of values; those beyond either end get the entry there."""
        place = np.clip(np.rint(values) - float(self.first), 0, len(self.entries) - 1)
        return np.asarray(self.entries[np.nan_to_num(place).astype(np.int64)])


def table(
    item: Attributes, descriptor: str, data: str, *, signed: bool, segmented: str = ""
) -> Table | None:
    """The table under these tags; None if there is none."""
    shape = numbers(item, descriptor)
    if len(shape) < 3:
        return None
    count = int(shape[0]) & 0xFFFF or _MOST_ENTRIES
    first, bits = int(shape[1]) & 0xFFFF, min(max(int(shape[2]), 1), 16)
    if (signed and first > 0x7FFF) or shape[1] < 0:
        first -= 0x10000
    if data in item:
        entries = _entries(item, data, count)
    elif segmented and segmented in item:
        entries = _expanded(_words(item, segmented, bits), bits, count)
    else:
        return None
    if not len(entries):
        raise NotAcceptable("the instance has a lookup table without entries")
    return Table(first, bits, entries)


def signed_input(attributes: Attributes) -> bool:
    """Whether stored values are signed."""
    return whole(attributes, "00280103") == 1


def raw(item: Attributes, tag: str) -> bytes | None:
    """The bytes of a binary value that is at hand."""
    inline = item.get(tag, {}).get("InlineBinary")
    return None if inline is None else base64.b64decode(inline)


def _entries(item: Attributes, tag: str, count: int) -> npt.NDArray[np.int64]:
    data = raw(item, tag)
    if data is None:
        values = np.array([int(v) & 0xFFFF for v in numbers(item, tag)], np.int64)
        if count > 1 and len(values) == (count + 1) // 2:  # two entries in a word
            values = np.stack((values & 0xFF, values >> 8), 1).reshape(-1)
        return values[:count]
    kind = "<u2" if len(data) >= 2 * count else "u1"
    usable = len(data) - len(data) % np.dtype(kind).itemsize
    return np.frombuffer(data[:usable], kind)[:count].astype(np.int64)


def _words(item: Attributes, tag: str, bits: int) -> list[int]:
    data = raw(item, tag)
    if data is None:
        return [int(value) & 0xFFFF for value in numbers(item, tag)]
    kind = "u1" if bits <= 8 else "<u2"
    usable = len(data) - len(data) % np.dtype(kind).itemsize
    return [int(value) for value in np.frombuffer(data[:usable], kind)]


def _expanded(words: list[int], bits: int, count: int) -> npt.NDArray[np.int64]:
    """The entries of a segmented table (PS3.3 C.7.9.2)."""
    out: list[int] = []
    _Segments(words, 1 if bits <= 8 else 2, count).expand(0, len(words), None, out)
    return np.array(out[:count], np.int64)


class _Segments:
    """Segments of a table: runs of entries, straight lines, and copies of either."""

    def __init__(self, words: list[int], size: int, count: int) -> None:
        self._words = words
        self._size = size  # bytes of a word: offsets are in bytes
        self._count = count

    def expand(
        self, position: int, stop: int, segments: int | None, out: list[int]
    ) -> None:
        words = self._words
        while position + 1 < stop and segments != 0 and len(out) <= self._count:
            code, length = words[position : position + 2]
            if code == 0:
                out += words[position + 2 : position + 2 + length]
                position += 2 + length
            elif code == 1:
                self._line(out, length, words[position + 2 : position + 3])
                position += 3
            elif code == 2 and segments is None:  # a copy never holds a copy
                wide = 2 if self._size == 2 else 4
                offset = self._offset(words[position + 2 : position + 2 + wide])
                self.expand(offset, stop, length, out)
                position += 2 + wide
            else:
                break
            segments = segments - 1 if segments else segments

    def _offset(self, parts: list[int]) -> int:
        bits = 8 * self._size
        return (
            sum(part << bits * place for place, part in enumerate(parts)) // self._size
        )

    @staticmethod
    def _line(out: list[int], length: int, target: list[int]) -> None:
        if not out or not target:
            return
        start = out[-1]
        for step in range(1, length + 1):
            out.append(round(start + (target[0] - start) * step / length))
