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
from typing import TypeVar

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


@dataclass(frozen=True, slots=True)
class DataSet:
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
    text: bytes  # both as a member of a JSON object, a comma behind it
    bulk: _Bulk  # offsets from the element
    head: bytes  # tag and representation, if its value is short text or numbers
    vr: str

    @property
    def decides(self) -> bool:
        """Whether others are read otherwise if it is another."""
        is_creator = self.tag >> 16 & 1 and 0x10 <= self.tag & 0xFFFF <= 0xFF
        # What stands before the character set is not read by it.
        return bool(is_creator) or (
            self.tag <= _CHARACTER_SET or self.tag == _PIXEL_REPRESENTATION
        )

    @property
    def listed(self) -> bytes:
        """Its text if it is one of the INSTANCE_TAGS."""
        return self.text if self.key in INSTANCE_TAGS else b""


@dataclass(frozen=True, slots=True)
class _Run:
    """Elements in a row, to be compared at once."""

    raw: bytes
    size: int
    attributes: Attributes
    text: bytes
    listed: bytes
    bulk: _Bulk
    pieces: tuple[_Piece, ...]


class _Known:
    """A header whose like may come again; `changing` are tags that differ."""

    def __init__(
        self, pieces: Sequence[_Piece], scope: Scope, changing: frozenset[int]
    ) -> None:
        self._pieces = pieces
        self._scope = scope  # behind all of it
        self._changing = changing
        self._last = pieces[-1].tag if pieces else 0
        self._runs = []
        for changes, some in itertools.groupby(pieces, lambda p: p.tag in changing):
            found = tuple(some)
            self._runs += map(_run, zip(found)) if changes else [_run(found)]  # noqa: B905

    def apart(self, tags: set[int]) -> "_Known":
        """The same, with these elements compared by themselves."""
        return _Known(self._pieces, self._scope, self._changing | tags)

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
            else:
                for piece in run.pieces:
                    position = following.step(piece, position)
        rest, position = walk.data_set(position, end, following.scope)
        if rest and int(next(iter(rest)), 16) <= self._last:
            raise _DifferentError
        return following.found(rest, position), following.differ - self._changing


class _Following:
    """What was read of a header that is followed, so far."""

    def __init__(self, walk: Walk, scope: Scope, end: int) -> None:
        self.scope = scope
        self.differ: set[int] = set()
        self._walk = walk
        self._end = end
        self._attributes: Attributes = {}
        self._texts: list[bytes] = []
        self._listed: list[bytes] = []

    def take(self, same: _Run | _Piece, position: int) -> None:
        """What is at the position is known."""
        self._texts.append(same.text)
        self._listed.append(same.listed)
        for path, offset, length in same.bulk:
            self._walk.bulk[path] = position + offset, length
        if isinstance(same, _Run):
            self._attributes.update(same.attributes)
        elif same.key:
            self._attributes[same.key] = same.element

    def step(self, piece: _Piece, position: int) -> int:
        """Read an element by the one that it should be; where it ends."""
        stop = position + len(piece.raw)
        if self._walk.buffer[position:stop] == piece.raw:
            self.take(piece, position)
            return stop
        if piece.decides:
            raise _DifferentError
        self.differ.add(piece.tag)
        element, stop = self._short(piece, position) or self._any(piece, position)
        if piece.key:
            self._attributes[piece.key] = element
            text = b'"%b":%b,' % (piece.key.encode(), orjson.dumps(element))
            self._texts.append(text)
            if piece.key in INSTANCE_TAGS:
                self._listed.append(text)
        return stop

    def _short(self, piece: _Piece, position: int) -> tuple[Element, int] | None:
        """The element there, if it is like the known one and its value is short."""
        head, buffer = piece.head, self._walk.buffer
        value = position + 8
        behind = position + len(head)
        if not head or buffer[position:behind] != head:
            return None
        length = int.from_bytes(buffer[behind:value], "little")
        stop = value + length
        if length > REMEMBERED_LIMIT or stop > self._end:
            return None
        convert = CONVERTERS.get(piece.vr)
        if convert is None:
            return number_element(piece.vr, buffer[value:stop], "<"), stop
        return convert(piece.vr, buffer[value:stop], self.scope.encodings), stop

    def _any(self, piece: _Piece, position: int) -> tuple[Element, int]:
        scope = self.scope
        if piece.tag < _PIXEL_REPRESENTATION:  # it is read as if that were not there
            scope = Scope(scope.encodings, False, scope.creators)
        tag, element, stop = self._walk.element(position, self._end, scope)
        if tag != piece.tag:
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


def _run(pieces: tuple[_Piece, ...]) -> _Run:
    bulk = []
    size = 0
    for piece in pieces:
        bulk += [(path, size + offset, length) for path, offset, length in piece.bulk]
        size += len(piece.raw)
    return _Run(
        b"".join(piece.raw for piece in pieces),
        size,
        {piece.key: piece.element for piece in pieces if piece.key},
        b"".join(piece.text for piece in pieces),
        b"".join(piece.listed for piece in pieces),
        tuple(bulk),
        pieces,
    )


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
            _members({key: element}) if key else b"",
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
