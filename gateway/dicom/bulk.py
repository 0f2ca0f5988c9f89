"""Bulk values as they are handed out (PS3.18 tables 8.7.3-4 and 8.7.3-5, F.2.7).

A value lies in its file as the transfer syntax has it. Outside, words are little endian,
and compressed frames come without the items they were wrapped in. What is done here is
done piece by piece: a value may be larger than memory.
"""

import struct
import zlib
from array import array
from collections.abc import Callable, Iterator

from gateway.dicom.hierarchy import Attributes
from gateway.dicom.values import BINARY_WORDS, NUMBERS, Element, little_endian
from gateway.errors import NotFound, Truncated

#: Gives so many bytes from an offset of the file on, fewer at its end.
ReadAt = Callable[[int, int], bytes]

_UNDEFINED = b"\xff\xff\xff\xff"
_ITEM = 0xFFFEE000
_STEP = 1024 * 1024


def element_at(attributes: Attributes, path: str) -> Element:
    """The element of a header at a path of bulk data; raises NotFound."""
    *way, tag = path.upper().split("/")
    try:
        for sequence, number in zip(way[::2], way[1::2], strict=True):
            attributes = attributes[sequence]["Value"][int(number) - 1]
        return attributes[tag]
    except (KeyError, IndexError):
        raise NotFound(f"no bulk data {path} in this instance") from None


def word_size(vr: str) -> int:
    """How many bytes of a value belong together, in either order."""
    if vr in BINARY_WORDS:
        return BINARY_WORDS[vr]
    return NUMBERS[vr][1] if vr in NUMBERS else 1


def is_encapsulated(before: bytes) -> bool:
    """Whether a value is made of items, by the length that stands before it."""
    return before == _UNDEFINED


def fragments(read_at: ReadAt, start: int, size: int) -> "array[int]":
    """Offset and size of each fragment in turn, without the offset table (PS3.5 A.4)."""
    found = array("Q")
    position, end = start, start + size
    first = True
    while position + 8 <= end:
        group, number, length = struct.unpack("<HHI", read_at(position, 8))
        if group << 16 | number != _ITEM or position + 8 + length > end:
            raise Truncated("the file of an instance is not what it was")
        if not first:
            found.extend((position + 8, length))
        first = False
        position += 8 + length
    return found


class Swapper:
    """Turns big-endian words into little-endian ones, in whatever chunks they come."""

    def __init__(self, word: int) -> None:
        self._word = word
        self._kept = b""

    @property
    def rest(self) -> bytes:
        """What came after the last whole word."""
        return self._kept

    def feed(self, chunk: bytes | memoryview) -> bytes:
        """The next words; what is left of the last one waits for the next chunk."""
        together = self._kept + bytes(chunk)
        whole = len(together) - len(together) % self._word
        self._kept = together[whole:]
        return little_endian(together[:whole], self._word)


class Inflater:
    """Gives the bytes from `start` up to `stop` of a data set that comes deflated."""

    def __init__(self, start: int, stop: int) -> None:
        self._start, self._stop = start, stop
        self._position = 0
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)

    @property
    def done(self) -> bool:
        """Whether all was given."""
        return self._position >= self._stop

    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes]:
        """What of the wanted bytes this chunk brings, a bounded piece at a time.

        A piece is empty where nothing of it is wanted.
        """
        left: bytes | memoryview = chunk
        while len(left) and not self.done and not self._inflate.eof:
            piece = self._inflate.decompress(left, _STEP)
            left = self._inflate.unconsumed_tail
            yield self._wanted(piece)
        while not self.done and (piece := self._inflate.decompress(b"", _STEP)):
            yield self._wanted(piece)

    def _wanted(self, piece: bytes) -> bytes:
        low = max(self._start - self._position, 0)
        high = max(self._stop - self._position, 0)
        self._position += len(piece)
        return piece[low:high]
