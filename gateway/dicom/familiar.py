"""Headers like the one before: within a series nine elements out of ten are the same.

Where two headers of a kind had the same elements, the bytes of each element are kept with
what they became, also as JSON. The next header is compared with them, in long runs between
the elements that were seen to differ, and only what differs is read. It is read in the same
way, so it comes to the same; and where a header has other elements, or another of those
that decide how others are read, it is walked as if nothing were known.
"""

import itertools
import struct
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import orjson

from gateway.dicom.charsets import Encodings
from gateway.dicom.hierarchy import INSTANCE_TAGS, Attributes
from gateway.dicom.usual import NAMES, REMEMBERED_LIMIT, USUAL, key_of, usual_code
from gateway.dicom.values import CONVERTERS, Element, number_element
from gateway.dicom.walk import PIXEL_TAGS, Scope, Walk
from gateway.errors import NotDicom

T = TypeVar("T")

#: Kinds of headers that are known at a time, and bytes of one that are kept.
_KINDS = 16
_LONGEST = 64 * 1024

#: A header of more elements than this is not remembered.
_MOST = 4096

_PIXEL_REPRESENTATION = 0x00280103
_CHARACTER_SET = 0x00080005

#: Makes a walk over the data set at hand, one that nothing was read with.
Begin = Callable[[], Walk]

#: Where a value lies that stays in the file: path, offset, length.
_Bulk = tuple[tuple[str, int, int], ...]


class _DifferentError(Exception):
    """The header has other elements than the one that is known."""


class DataSet(NamedTuple):
    """What was read of a data set."""

    attributes: Attributes
    text: bytes  # the same as DICOM JSON
    shown: bytes  # of these, the INSTANCE_TAGS
    bulk: dict[str, tuple[int, int]]  # path of a reference -> offset, length
    end: int  # where it ended


@dataclass(frozen=True, slots=True)
class _Piece:
    """An element as it was."""

    tag: int
    raw: bytes  # all of it
    key: str  # in JSON; empty if it is not shown
    element: Element
    bulk: _Bulk  # offsets from the element
    head: bytes  # tag and representation, if its value is short text or numbers
    vr: str

    @property
    def text(self) -> bytes:
        """The element as a member of a JSON object, a comma behind it."""
        return _members({self.key: self.element}) if self.key else b""

    @property
    def is_listed(self) -> bool:
        """Whether it is one of the INSTANCE_TAGS."""
        return self.key in INSTANCE_TAGS

    @property
    def decides(self) -> bool:
        """Whether others are read otherwise if it is another."""
        is_creator = self.tag >> 16 & 1 and 0x10 <= self.tag & 0xFFFF <= 0xFF
        # What stands before the character set is not read by it.
        return bool(is_creator) or (
            self.tag <= _CHARACTER_SET or self.tag == _PIXEL_REPRESENTATION
        )


class _Run:
    """Elements in a row, to be compared at once."""

    __slots__ = ("attributes", "bulk", "listed", "pieces", "raw", "size", "text")

    def __init__(self, pieces: Sequence[_Piece]) -> None:
        self.pieces = pieces
        self.raw = b"".join(piece.raw for piece in pieces)
        self.size = len(self.raw)
        self.attributes = {piece.key: piece.element for piece in pieces if piece.key}
        self.text = b"".join(piece.text for piece in pieces)
        self.listed = b"".join(piece.text for piece in pieces if piece.is_listed)
        self.bulk: list[tuple[str, int, int]] = []
        position = 0
        for piece in pieces:
            for path, offset, length in piece.bulk:
                self.bulk.append((path, position + offset, length))
            position += len(piece.raw)


class _Changing(_Run):
    """One element that is often another: how its value is read."""

    __slots__ = ("head", "is_listed", "key", "limit", "opening", "read", "tag", "vr")

    def __init__(self, piece: _Piece) -> None:
        super().__init__((piece,))
        self.tag, self.vr, self.key = piece.tag, piece.vr, piece.key
        self.head = piece.head
        self.limit = REMEMBERED_LIMIT if piece.head and piece.key else -1
        self.read = CONVERTERS.get(piece.vr)
        self.is_listed = piece.is_listed
        self.opening = b'"%b":' % piece.key.encode()


class _Known:
    """A header whose like may come again; `changing` are tags that differ."""

    def __init__(
        self, pieces: Sequence[_Piece], scope: Scope, changing: frozenset[int]
    ) -> None:
        self._pieces = pieces
        self._scope = scope  # behind all of it
        self._changing = changing
        self._last = pieces[-1].tag if pieces else 0
        self._runs: list[_Run] = []
        for changes, some in itertools.groupby(pieces, lambda p: p.tag in changing):
            found = list(some)
            self._runs += map(_Changing, found) if changes else [_Run(found)]

    def follow(self, walk: Walk, start: int, end: int) -> tuple[DataSet, set[int]]:
        """What is read from `start` on, and tags that were not known to differ.

        Raises _DifferentError.
        """
        # What a walk notes of this header, the next one must not find.
        following = _Following(walk, _copy(self._scope), end)
        buffer, position = walk.buffer, start
        for run in self._runs:
            stop = position + run.size
            if buffer[position:stop] == run.raw:
                following.take(run, position)
                position = stop
            elif isinstance(run, _Changing):
                position = following.step(run, position)
            else:
                position = following.each(run.pieces, position)
        rest, position = walk.data_set(position, end, following.scope)
        if rest and int(next(iter(rest)), 16) <= self._last:
            raise _DifferentError
        return following.found(rest, position), following.differ

    def apart(self, tags: set[int]) -> "_Known":
        """The same, with these elements compared by themselves."""
        return _Known(self._pieces, self._scope, self._changing | tags)


class _Following:
    """What was read of a header that is followed, so far."""

    __slots__ = ("_attributes", "_end", "_listed", "_texts", "_walk", "differ", "scope")

    def __init__(self, walk: Walk, scope: Scope, end: int) -> None:
        self.scope = scope
        self.differ: set[int] = set()
        self._walk = walk
        self._end = end
        self._attributes: Attributes = {}
        self._texts: list[bytes] = []
        self._listed: list[bytes] = []

    def take(self, run: _Run, position: int) -> None:
        """What is at the position is known."""
        self._attributes.update(run.attributes)
        self._texts.append(run.text)
        if run.listed:
            self._listed.append(run.listed)
        for path, offset, length in run.bulk:
            self._walk.bulk[path] = position + offset, length

    def each(self, pieces: Sequence[_Piece], position: int) -> int:
        """Read some of which one at least differs; where they end."""
        buffer = self._walk.buffer
        for piece in pieces:
            stop = position + len(piece.raw)
            if buffer[position:stop] == piece.raw:
                self.take(_Run((piece,)), position)
                position = stop
            elif piece.decides:
                raise _DifferentError
            else:
                self.differ.add(piece.tag)
                position = self.step(_Changing(piece), position)
        return position

    def step(self, one: _Changing, position: int) -> int:
        """Read an element of the same tag as the one that is known; where it ends."""
        buffer, head = self._walk.buffer, one.head
        behind, value = position + len(head), position + 8
        length = int.from_bytes(buffer[behind:value], "little")
        stop = value + length
        if length > one.limit or stop > self._end or buffer[position:behind] != head:
            element, stop = self._any(one.tag, position)
        elif one.read is None:
            element = number_element(one.vr, buffer[value:stop], "<")
        else:
            element = one.read(one.vr, buffer[value:stop], self.scope.encodings)
        if one.key:
            self._attributes[one.key] = element
            text = b"%b%b," % (one.opening, orjson.dumps(element))
            self._texts.append(text)
            if one.is_listed:
                self._listed.append(text)
        return stop

    def _any(self, known: int, position: int) -> tuple[Element, int]:
        """The element at the position, if it has this tag, and where it ends."""
        scope = self.scope
        if known < _PIXEL_REPRESENTATION:  # it is read as if that were not there
            scope = Scope(scope.encodings, False, scope.creators)
        tag, element, stop = self._walk.element(position, self._end, scope)
        if tag != known:
            raise _DifferentError
        return element, stop

    def found(self, rest: Attributes, end: int) -> DataSet:
        """All that was read; `rest` is what stood behind, up to `end`."""
        if rest:
            self._attributes.update(rest)
            self._texts.append(_members(rest))
            self._listed.append(_members(_listed(rest)))
        text, shown = b"".join(self._texts), b"".join(self._listed)
        return DataSet(
            self._attributes,
            b"{%b}" % text[:-1],
            b"{%b}" % shown[:-1],
            self._walk.bulk,
            end,
        )


def _listed(attributes: Attributes) -> Attributes:
    return {key: attributes[key] for key in attributes if key in INSTANCE_TAGS}


def _members(attributes: Attributes) -> bytes:
    """The members of a JSON object, a comma behind each."""
    return orjson.dumps(attributes)[1:-1] + b"," if attributes else b""


def _copy(scope: Scope) -> Scope:
    return Scope(scope.encodings, scope.signed, dict(scope.creators))


class Familiar:
    """What is known of headers that came before; several threads may use it."""

    def __init__(self) -> None:
        self._seen: OrderedDict[Hashable, tuple[str, ...]] = OrderedDict()
        self._known: OrderedDict[Hashable, _Known] = OrderedDict()

    def read(
        self,
        kind: Hashable,
        begin: Begin,
        extent: tuple[int, int],
        encodings: Encodings,
    ) -> DataSet:
        """What a walk over a data set finds; headers of the same `kind` may be alike."""
        start, end = extent
        known = self._known.get(kind)
        if known is not None:
            try:
                found, differing = known.follow(begin(), start, end)
            except (_DifferentError, NotDicom, struct.error):
                self._known.pop(kind, None)  # the walk below tells what is wrong, if so
            else:
                if differing:
                    _put(self._known, kind, known.apart(differing))
                return found
        walk = begin()
        attributes, stop = walk.data_set(start, end, Scope(encodings))
        keys = tuple(attributes)
        if self._seen.get(kind) == keys:
            self._learn(kind, begin(), extent, encodings)
        elif len(keys) <= _MOST:
            _put(self._seen, kind, keys)
        shown = orjson.dumps(_listed(attributes))
        return DataSet(attributes, orjson.dumps(attributes), shown, walk.bulk, stop)

    def _learn(
        self, kind: Hashable, walk: Walk, extent: tuple[int, int], encodings: Encodings
    ) -> None:
        scope = Scope(encodings)
        pieces = list(_pieces(walk, extent, scope))
        tags = [piece.tag for piece in pieces]
        if all(one < other for one, other in itertools.pairwise(tags)):
            _put(self._known, kind, _Known(pieces, scope, frozenset()))


def _pieces(walk: Walk, extent: tuple[int, int], scope: Scope) -> Iterator[_Piece]:
    """The elements before the pixel data, as far as they are kept."""
    position, end = extent
    last = min(end, position + _LONGEST, len(walk.buffer))
    while last - position >= 8:
        before = set(walk.bulk)
        tag, element, stop = walk.element(position, end, scope)
        if stop > last or tag in PIXEL_TAGS or not tag >> 16:
            return
        raw = bytes(walk.buffer[position:stop])
        shown = tag & 0xFFFF and tag != 0x00080001
        key = key_of(tag) if shown else ""
        vr, head = _kind_of(walk, tag, raw)
        yield _Piece(
            tag,
            raw,
            key,
            element,
            tuple(
                (path, walk.bulk[path][0] - position, walk.bulk[path][1])
                for path in walk.bulk.keys() - before
            ),
            head,
            vr,
        )
        position = stop


def _kind_of(walk: Walk, tag: int, raw: bytes) -> tuple[str, bytes]:
    """The representation of an element, and how its like begins; none if it is unusual."""
    if walk.order != "<":
        return "", b""
    head = raw[:4] if walk.is_implicit else raw[:6]
    code = usual_code(tag) if walk.is_implicit else head[4:]
    return (NAMES[code], head) if code in USUAL["<"] else ("", b"")


def _put(where: OrderedDict[Hashable, T], kind: Hashable, what: T) -> None:
    where[kind] = what
    while len(where) > _KINDS:
        where.popitem(last=False)
