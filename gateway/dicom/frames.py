"""Where the frames of pixel data lie (PS3.5 8.1, 8.2 and A.4).

All reading goes through a function that gives bytes from an offset on, so that one frame
out of a file of any size costs a few small reads: the offset tables, or the headers of
the fragments once, and the frame itself.

Which fragments make a frame is told, in this order, by the Extended Offset Table, the
Basic Offset Table, the number of fragments, and where codestreams begin and end. A table
that does not fit the fragments is not believed.
"""

import struct
from array import array
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from gateway.dicom.bulk import ReadAt
from gateway.dicom.header import BIG_ENDIAN
from gateway.dicom.pixels import PixelLayout, Table
from gateway.dicom.values import little_endian
from gateway.errors import CannotTranscode, NotFound, Truncated

_ITEM = 0xFFFEE000
_GE_PRIVATE = "1.2.840.113619.5.2"
#: Frames that one instance may have: their offsets are held in memory.
FRAMES_LIMIT = 1 << 24
_STARTS = (b"\xff\xd8", b"\xff\x4f")
_ENDS = (b"\xff\xd9", b"\xd9\x00")

Runs = tuple[tuple[int, int], ...]  # offset and size of each


@dataclass(frozen=True, slots=True)
class FrameIndex:
    """Where each frame begins: the header of its first item, and the end of the last."""

    starts: "array[int]"  # one more than there are frames
    sizes: "array[int] | None" = None  # of the bitstreams, without padding
    from_table: bool = False  # told by a table, which may be wrong


class _Inconsistent(Exception):
    """A table and the fragments do not fit."""


class FrameIndexes:
    """The indexes that were needed last, by any name of what they belong to."""

    def __init__(self, limit: int = 64) -> None:
        self._limit = limit
        self._held: OrderedDict[str, FrameIndex] = OrderedDict()

    def get(self, name: str) -> FrameIndex | None:
        """The index of that name, if it is still here."""
        found = self._held.get(name)
        if found is not None:
            self._held.move_to_end(name)
        return found

    def put(self, name: str, index: FrameIndex) -> None:
        """Keep an index; the one that was not needed for longest goes."""
        self._held[name] = index
        while len(self._held) > self._limit:
            self._held.popitem(last=False)


# -- a frame -----------------------------------------------------------------------------


def check_number(layout: PixelLayout, number: int) -> None:
    """Raise NotFound where there is no such frame, counting from one."""
    if not 1 <= number <= layout.number_of_frames:
        raise NotFound(f"no frame {number}: the instance has {layout.number_of_frames}")


def check_whole(layout: PixelLayout) -> None:
    """Raise CannotTranscode if the pixel data has no room for all its frames.

    To be asked before anything is made for each of them: the header may tell of as many
    as it likes.
    """
    if layout.number_of_frames > layout.frames_at_most:
        raise CannotTranscode("the pixel data ends before the last of its frames")


def native_run(layout: PixelLayout, number: int) -> tuple[int, int] | None:
    """Offset and size of an uncompressed frame that the file holds as it goes out.

    None if its bytes are to be turned around, or its first bit begins within a byte.
    """
    check_number(layout, number)
    if layout.encapsulated or layout.is_deflated or word_of(layout) > 1:
        return None
    start = layout.frame_bits * (number - 1)
    if start % 8 or layout.frame_bits % 8:
        return None
    size = layout.frame_bits // 8
    _check_end(layout, start // 8 + size)
    return layout.offset + start // 8, size


def read_frame(
    layout: PixelLayout, read: ReadAt, number: int, index: FrameIndex | None = None
) -> bytes:
    """One frame, counting from one: its bitstream, or its samples in little endian."""
    if not layout.encapsulated:
        return _native(layout, read, number)
    runs = frame_runs(layout, read, number, index)
    return b"".join(exactly(read, offset, size) for offset, size in runs)


def exactly(read: ReadAt, offset: int, size: int) -> bytes:
    """So many bytes from there; raises Truncated if there are fewer."""
    found = read(offset, size)
    while len(found) < size:  # the system gives at most 2 GiB at a time
        more = read(offset + len(found), size - len(found))
        if not more:
            raise Truncated("the file of an instance is shorter than it was")
        found += more
    return found


def word_of(layout: PixelLayout) -> int:
    """How many bytes of native pixel data are to be turned around at a time."""
    if layout.transfer_syntax not in (BIG_ENDIAN, _GE_PRIVATE):
        return 1
    if layout.is_floating_point or layout.bits_allocated > 8:
        return layout.bits_allocated // 8
    return 2 if layout.vr == "OW" else 1


def _check_end(layout: PixelLayout, stop: int) -> None:
    if stop > layout.length:
        raise CannotTranscode("the pixel data ends before this frame does")


def _native(layout: PixelLayout, read: ReadAt, number: int) -> bytes:
    check_number(layout, number)
    first_bit = layout.frame_bits * (number - 1)
    start, stop = first_bit // 8, -(-(first_bit + layout.frame_bits) // 8)
    _check_end(layout, stop)
    word = word_of(layout)
    low = start - start % word
    high = min(stop + -stop % word, layout.length)
    found = exactly(read, layout.offset + low, high - low)
    if word > 1:
        found = little_endian(found, word)
    found = found[start - low : stop - low]
    if layout.frame_bits % 8 or first_bit % 8:
        return _shifted(found, first_bit % 8, layout.frame_bits)
    return found


def _shifted(found: bytes, skipped: int, bits: int) -> bytes:
    """The bits from a first whole byte on, zeros behind the last (PS3.5 8.1.1)."""
    number = int.from_bytes(found, "little") >> skipped
    return (number & ((1 << bits) - 1)).to_bytes(-(-bits // 8), "little")


# -- fragments ---------------------------------------------------------------------------


def frame_runs(
    layout: PixelLayout, read: ReadAt, number: int, index: FrameIndex | None = None
) -> Runs:
    """Offset and size of each fragment of an encapsulated frame, counting from one."""
    check_number(layout, number)
    index = index or index_of(layout, read)
    try:
        return _runs(read, index, number)
    except _Inconsistent:
        if not index.from_table:
            raise Truncated("the file of an instance is not what it was") from None
    return _runs(read, _scanned(layout, read), number)


def index_of(layout: PixelLayout, read: ReadAt) -> FrameIndex:
    """Where the frames begin; raises CannotTranscode if nothing tells."""
    if layout.number_of_frames > FRAMES_LIMIT:
        raise CannotTranscode("the instance has absurdly many frames")
    first, size = _item(read, layout.offset)
    begin = first + size
    return (
        _extended(layout, read, begin)
        or _basic(layout, read, first, size)
        or _scanned(layout, read)
    )


def _runs(read: ReadAt, index: FrameIndex, number: int) -> Runs:
    position, end = index.starts[number - 1], index.starts[number]
    if index.sizes is not None:
        start, size = _item(read, position)
        if not 0 < index.sizes[number - 1] <= size:
            raise _Inconsistent
        return ((start, index.sizes[number - 1]),)
    runs = []
    while position < end:
        start, size = _item(read, position)
        runs.append((start, size))
        position = start + size
    if position != end or not runs:
        raise _Inconsistent
    return tuple(runs)


def _item(read: ReadAt, position: int) -> tuple[int, int]:
    """Where the value of the item there begins, and its size."""
    header = read(position, 8)
    if len(header) < 8:
        raise _Inconsistent
    group, element, length = struct.unpack("<HHI", header)
    if group << 16 | element != _ITEM:
        raise _Inconsistent
    return position + 8, length


def _table(read: ReadAt, table: Table | None, count: int) -> "array[int] | None":
    """Numbers of 64 bits, as many as there are frames."""
    size = count * 8
    if table is None or (len(table) if isinstance(table, bytes) else table[1]) != size:
        return None
    found = table if isinstance(table, bytes) else exactly(read, table[0], size)
    return array("Q", struct.unpack(f"<{count}Q", found))


def _extended(layout: PixelLayout, read: ReadAt, begin: int) -> FrameIndex | None:
    """By (7FE0,0001): each frame is one fragment (PS3.3 C.7.6.3.1.8)."""
    offsets = _table(read, layout.extended_offsets, layout.number_of_frames)
    sizes = _table(read, layout.extended_lengths, layout.number_of_frames)
    if offsets is None or sizes is None or not _rising(layout, offsets, begin):
        return None
    return FrameIndex(_absolute(layout, offsets, begin), sizes, from_table=True)


def _basic(
    layout: PixelLayout, read: ReadAt, first: int, size: int
) -> FrameIndex | None:
    """By the first item (PS3.5 A.4)."""
    count = layout.number_of_frames
    if not size or size != 4 * count:
        return None
    offsets = array("Q", struct.unpack(f"<{count}I", exactly(read, first, size)))
    if not _rising(layout, offsets, first + size):
        return None
    return FrameIndex(_absolute(layout, offsets, first + size), from_table=True)


def _rising(layout: PixelLayout, offsets: "array[int]", begin: int) -> bool:
    room = layout.offset + layout.length - begin
    return (
        offsets[0] == 0
        and offsets[-1] < room
        and all(before < after for before, after in pairwise(offsets))
    )


def _absolute(layout: PixelLayout, offsets: "array[int]", begin: int) -> "array[int]":
    starts = array("Q", (begin + offset for offset in offsets))
    starts.append(layout.offset + layout.length)
    return starts


def _items(layout: PixelLayout, read: ReadAt) -> Iterator[tuple[int, int]]:
    """Where each fragment begins and its size, without the offset table."""
    end = layout.offset + layout.length
    try:
        start, size = _item(read, layout.offset)
        position = start + size
        while position + 8 <= end:
            start, size = _item(read, position)
            yield start, size
            position = start + size
    except _Inconsistent:
        raise Truncated("the file of an instance is not what it was") from None


def _scanned(layout: PixelLayout, read: ReadAt) -> FrameIndex:
    """By the fragments themselves."""
    fragments = array("Q")
    for start, size in _items(layout, read):
        fragments.extend((start, size))
    frames = layout.number_of_frames
    count = len(fragments) // 2
    if not count:
        raise NotFound("the pixel data of this instance has no fragments")
    starts = array("Q", (start - 8 for start in fragments[::2]))
    if frames == 1:
        starts = starts[:1]
    elif count != frames:
        starts = _by_markers(read, fragments)
    if len(starts) != frames:
        raise CannotTranscode(
            f"nothing tells which of {count} fragments make which of {frames} frames"
        )
    starts.append(layout.offset + layout.length)
    return FrameIndex(starts)


def _by_markers(read: ReadAt, fragments: "array[int]") -> "array[int]":
    """Frames that begin where a codestream does and the one before it has ended.

    Neither marker is found within the data of JPEG; JPEG 2000 keeps the end marker free.
    """
    starts = array("Q")
    ended = True
    for start, size in zip(fragments[::2], fragments[1::2], strict=True):
        if ended and read(start, 2) in _STARTS:
            starts.append(start - 8)
        tail = read(start + max(size - 3, 0), min(size, 3))
        ended = tail[-2:] in _ENDS and (tail[-1] != 0 or tail[:1] == b"\xff")
    return starts
