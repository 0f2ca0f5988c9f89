"""Headers like the one before: within a series nine elements out of ten are the same.

Where two headers of a kind had the same elements, the bytes of each element are kept with
what they became. The next header is compared with them, many elements at a time, and only
what differs is walked. It is the same walk, so it comes to the same; and where a header
has other elements, or another of those that decide how others are read, it is walked as
if nothing were known.
"""

import itertools
import struct
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from gateway.dicom.charsets import Encodings
from gateway.dicom.hierarchy import Attributes
from gateway.dicom.usual import key_of
from gateway.dicom.values import Element
from gateway.dicom.walk import PIXEL_TAGS, Scope, Walk
from gateway.errors import NotDicom

T = TypeVar("T")

#: Kinds of headers that are known at a time, and bytes of one that are kept.
_KINDS = 16
_LONGEST = 64 * 1024

#: A header of more elements than this is not remembered.
_MOST = 4096

#: Elements that are compared at once.
_RUN = 8

_PIXEL_REPRESENTATION = 0x00280103
_CHARACTER_SET = 0x00080005

#: Makes a walk over the data set at hand, one that nothing was read with.
Begin = Callable[[], Walk]


class _DifferentError(Exception):
    """The header has other elements than the one that is known."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """An element as it was."""

    tag: int
    raw: bytes  # all of it
    size: int
    key: str  # in JSON; empty if it is not shown
    element: Element
    bulk: tuple[tuple[str, int, int], ...]  # path, offset from the element, length

    @property
    def decides(self) -> bool:
        """Whether others are read otherwise if it is another."""
        is_creator = self.tag >> 16 & 1 and 0x10 <= self.tag & 0xFFFF <= 0xFF
        return bool(is_creator) or self.tag in (_CHARACTER_SET, _PIXEL_REPRESENTATION)


@dataclass(frozen=True, slots=True)
class _Run:
    """Elements in a row, to be compared at once."""

    raw: bytes
    size: int
    shown: dict[str, Element]
    pieces: tuple[_Piece, ...]
    has_bulk: bool


class _Known:
    """A header whose like may come again."""

    def __init__(self, pieces: list[_Piece], scope: Scope) -> None:
        self._runs = [
            _run(tuple(pieces[start : start + _RUN]))
            for start in range(0, len(pieces), _RUN)
        ]
        self._last = pieces[-1].tag if pieces else 0
        self._scope = scope  # behind all of it

    def follow(self, walk: Walk, start: int, end: int) -> tuple[Attributes, int]:
        """The attributes from `start` on, and where they end; raises _DifferentError."""
        attributes: Attributes = {}
        buffer, position = walk.buffer, start
        # What a walk notes of this header, the next one must not find.
        scope = _copy(self._scope)
        for run in self._runs:
            stop = position + run.size
            if buffer[position:stop] == run.raw and not run.has_bulk:
                attributes.update(run.shown)
                position = stop
            else:
                position = _follow(walk, run, (position, end), scope, attributes)
        rest, position = walk.data_set(position, end, scope)
        if rest and int(next(iter(rest)), 16) <= self._last:
            raise _DifferentError
        attributes.update(rest)
        return attributes, position


def _follow(
    walk: Walk,
    run: _Run,
    extent: tuple[int, int],
    scope: Scope,
    attributes: Attributes,
) -> int:
    """The attributes of a run, one by one; where it ends."""
    buffer, (position, end) = walk.buffer, extent
    # What stands before Pixel Representation is read as if it were not there.
    before = Scope(scope.encodings, False, scope.creators)
    for piece in run.pieces:
        stop = position + piece.size
        element = piece.element
        if buffer[position:stop] == piece.raw:
            for path, offset, length in piece.bulk:
                walk.bulk[path] = position + offset, length
        elif piece.decides:
            raise _DifferentError
        else:
            early = piece.tag < _PIXEL_REPRESENTATION
            read = walk.element(position, end, before if early else scope)
            tag, element, stop = read
            if tag != piece.tag:
                raise _DifferentError
        if piece.key:
            attributes[piece.key] = element
        position = stop
    return position


def _copy(scope: Scope) -> Scope:
    return Scope(scope.encodings, scope.signed, dict(scope.creators))


def _run(pieces: tuple[_Piece, ...]) -> _Run:
    return _Run(
        b"".join(piece.raw for piece in pieces),
        sum(piece.size for piece in pieces),
        {piece.key: piece.element for piece in pieces if piece.key},
        pieces,
        any(piece.bulk for piece in pieces),
    )


class Familiar:
    """What is known of headers that came before; several threads may use it."""

    def __init__(self) -> None:
        self._seen: OrderedDict[Hashable, tuple[str, ...]] = OrderedDict()
        self._known: OrderedDict[Hashable, _Known] = OrderedDict()

    def walk(
        self,
        kind: Hashable,
        begin: Begin,
        extent: tuple[int, int],
        encodings: Encodings,
    ) -> tuple[Walk, Attributes, int]:
        """The walk over a data set, its attributes, and where it ended.

        Headers of the same `kind` may be alike.
        """
        start, end = extent
        known = self._known.get(kind)
        if known is not None:
            walk = begin()
            try:
                return walk, *known.follow(walk, start, end)
            except (_DifferentError, NotDicom, struct.error):
                self._known.pop(kind, None)  # the walk below tells what is wrong, if so
        walk = begin()
        attributes, stop = walk.data_set(start, end, Scope(encodings))
        keys = tuple(attributes)
        if self._seen.get(kind) == keys:
            self._learn(kind, begin(), extent, encodings)
        elif len(keys) <= _MOST:
            _put(self._seen, kind, keys)
        return walk, attributes, stop

    def _learn(
        self, kind: Hashable, walk: Walk, extent: tuple[int, int], encodings: Encodings
    ) -> None:
        scope = Scope(encodings)
        pieces = list(_pieces(walk, extent, scope))
        tags = [piece.tag for piece in pieces]
        if all(one < other for one, other in itertools.pairwise(tags)):
            _put(self._known, kind, _Known(pieces, scope))


def _pieces(walk: Walk, extent: tuple[int, int], scope: Scope) -> Iterator[_Piece]:
    """The elements before the pixel data, as far as they are kept."""
    position, end = extent
    last = min(end, position + _LONGEST, len(walk.buffer))
    while last - position >= 8:
        before = set(walk.bulk)
        tag, element, stop = walk.element(position, end, scope)
        if stop > last or tag in PIXEL_TAGS or not tag >> 16:
            return
        shown = tag & 0xFFFF and tag != 0x00080001
        yield _Piece(
            tag,
            bytes(walk.buffer[position:stop]),
            stop - position,
            key_of(tag) if shown else "",
            element,
            tuple(
                (path, walk.bulk[path][0] - position, walk.bulk[path][1])
                for path in walk.bulk.keys() - before
            ),
        )
        position = stop


def _put(where: OrderedDict[Hashable, T], kind: Hashable, what: T) -> None:
    where[kind] = what
    while len(where) > _KINDS:
        where.popitem(last=False)
