"""Media types, and which of them to answer with (PS3.18 8.7, RFC 9110 12.5).

The ``Accept`` headers of real viewers bend the grammar: a ``type`` without quotes, a
``transfer-syntax`` given twice, two headers merged into one. All of these can only mean
one thing and are read so. What could mean two things, such as a weight that is no
number, is refused with the name of the header.

Which representations exist for a resource is for the caller to say, as offers in its
own order of preference; this module only compares them with what was asked for.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from gateway.errors import BadRequest

ANY = "*/*"
ANY_TRANSFER_SYNTAX = "*"

_ACCEPT = "Accept"
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_KIND = re.compile(rf"{_TOKEN}/{_TOKEN}")
_CODING = re.compile(_TOKEN)
_PIECE = re.compile(r'"(?:[^"\\]|\\.)*+"|[^",;]++|.', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_WEIGHT = re.compile(r"0?\.[0-9]+|0\.?|1(?:\.0*)?")  # ".2" is what Java sends
# "application/dicom+json" in a query whose plus sign was read as a blank.
_LOST_PLUS = re.compile(r"(/[0-9A-Za-z.-]+) (?=(?:json|xml)\b)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MediaType:
    """A media type or a media range."""

    kind: str  # "application/dicom", in lower case
    parameters: Mapping[str, str] = field(default_factory=dict)  # without q, unquoted
    transfer_syntaxes: tuple[str, ...] = ()  # all of them: viewers repeat the parameter
    q: float = 1.0

    @property
    def inner(self) -> str | None:
        """The type of the parts, for a multipart one that names it (RFC 2387 3.1)."""
        inner = self.parameters.get("type")
        return inner.lower() if inner else None


@dataclass(frozen=True, slots=True)
class Offer:
    """A representation that can be made of a resource."""

    kind: str  # "application/dicom+json" or "multipart/related"
    inner: str | None = None  # for multipart, the type of the parts
    transfer_syntaxes: tuple[str, ...] = ()  # those it can be given in


def parse_media_type(text: str, header: str = "Content-Type") -> MediaType:
    """Read one media type; commas do not end it, a boundary may hold them."""
    return _parsed_media_type(text, header)


@lru_cache(256)
def _parsed_media_type(text: str, header: str) -> MediaType:
    """A media type; many clients send the same one, with its boundary, every time."""
    media_type = _media_type(_split(text, ";", header), header)
    if "*" in media_type.kind:
        raise BadRequest(f"{header}: {media_type.kind} is no media type but a range.")
    return media_type


def parse_accept(text: str, header: str = _ACCEPT) -> list[MediaType]:
    """Read a list of media ranges; an empty one takes anything (RFC 9110 12.5.1)."""
    return list(_parsed_accept(text, header))


@lru_cache(256)
def _parsed_accept(text: str, header: str) -> tuple[MediaType, ...]:
    """The media ranges of a list; a client sends the same one again and again."""
    elements = [element for element in _split(text, ",", header) if element.strip()]
    if not elements:
        return (MediaType(ANY),)
    return tuple(_media_type(_split(part, ";", header), header) for part in elements)


def accept_of(
    query_values: Sequence[str], header_values: Sequence[str]
) -> list[MediaType]:
    """Read what is acceptable; the query outranks the header (PS3.18 8.3.3.1)."""
    asked = ",".join(query_values)
    if asked.strip(" ,"):
        return parse_accept(_LOST_PLUS.sub(r"\1+", asked), "The accept parameter")
    return parse_accept(",".join(header_values))


def choose(accept: Sequence[MediaType], offers: Sequence[Offer]) -> Offer | None:
    """Choose the offer to answer with (PS3.18 8.7.8.1, RFC 9110 12.5.1).

    The highest weight wins, then the offer that is named most exactly, then the first.
    """
    best: Offer | None = None
    best_rank: tuple[float, tuple[int, int]] = (0.0, (0, 0))
    for offer in offers:
        media_range = deciding_range(accept, offer)
        if media_range is None:
            continue
        rank = (media_range.q, _exactness(media_range))
        if best is None or rank > best_rank:
            best, best_rank = offer, rank
    return best


class Choice:
    """Offers that clients choose among; what one asked for once costs no more again."""

    def __init__(self, *offers: Offer) -> None:
        self._offers = offers
        self._chosen = lru_cache(64)(self._choose)

    def of(
        self, query_values: Sequence[str], header_values: Sequence[str]
    ) -> Offer | None:
        """The offer to answer with, as `accept_of` and `choose` find it."""
        return self._chosen(tuple(query_values), tuple(header_values))

    def _choose(
        self, query_values: tuple[str, ...], header_values: tuple[str, ...]
    ) -> Offer | None:
        return choose(accept_of(query_values, header_values), self._offers)


def deciding_range(accept: Sequence[MediaType], offer: Offer) -> MediaType | None:
    """Find the range that lets this offer in, to see its transfer syntaxes.

    The most exact range decides, even if a wider one has a higher weight; a weight of
    zero shuts the offer out.
    """
    matching = [media_range for media_range in accept if _matches(media_range, offer)]
    if not matching:
        return None
    decisive = max(matching, key=lambda found: (_exactness(found), found.q))
    return decisive if decisive.q > 0 else None


def accepts_encoding(header: str | None, coding: str) -> bool:
    """Tell whether an answer may be sent in this coding (RFC 9110 12.5.3).

    Without the header anything goes by the letter; in practice such a client expects
    the bytes as they are, so only ``identity`` goes.
    """
    weights = dict(_codings(header or ""))
    if coding in weights:
        return weights[coding] > 0
    if coding == "identity":
        return weights.get("*", 1.0) > 0
    return weights.get("*", 0.0) > 0


def _codings(header: str) -> Iterator[tuple[str, float]]:
    name = "Accept-Encoding"
    for element in _split(header, ",", name):
        coding, *rest = (piece.strip() for piece in _split(element, ";", name))
        if not coding and not rest:
            continue
        if not _CODING.fullmatch(coding):
            raise BadRequest(f"{name}: {coding[:60]!r} is no content coding.")
        weight = dict(_parameters(rest)).get("q", "1")
        yield coding.lower().removeprefix("x-"), _weight(weight, name)


def _media_type(pieces: list[str], header: str) -> MediaType:
    kind = pieces[0].strip().lower()
    if kind == "*":  # what Java's own client sends for anything
        kind = ANY
    if not _KIND.fullmatch(kind):
        raise BadRequest(f"{header}: {kind[:60]!r} is no media type.")
    parameters: dict[str, str] = {}
    transfer_syntaxes: list[str] = []
    for name, value in _parameters(pieces[1:]):
        parameters.setdefault(name, value)
        if name == "transfer-syntax" and value:
            transfer_syntaxes.append(value)
    q = _weight(parameters.pop("q", "1"), header)
    return MediaType(kind, parameters, tuple(transfer_syntaxes), q)


def _parameters(pieces: Sequence[str]) -> Iterator[tuple[str, str]]:
    for piece in pieces:
        name, equals, value = piece.partition("=")
        if equals:
            yield name.strip().lower(), _unquoted(value.strip())


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return _ESCAPED.sub(r"\1", value[1:-1])
    return value


def _weight(text: str, header: str) -> float:
    if not _WEIGHT.fullmatch(text):
        raise BadRequest(f"{header}: q={text[:20]} is no weight between 0 and 1.")
    return float(text)


def _split(text: str, separator: str, header: str) -> list[str]:
    """Split at a separator that is not inside quotes."""
    split: list[str] = []
    current: list[str] = []
    for found in _PIECE.finditer(text):
        piece = found.group()
        if piece == '"':
            raise BadRequest(f"{header}: a quote is opened and not closed.")
        if piece == separator:
            split.append("".join(current))
            current = []
        else:
            current.append(piece)
    split.append("".join(current))
    return split


def _matches(media_range: MediaType, offer: Offer) -> bool:
    if not _covers(media_range.kind, offer.kind):
        return False
    if offer.inner is not None and not _covers(_inner_range(media_range), offer.inner):
        return False
    asked = media_range.transfer_syntaxes
    if not asked or ANY_TRANSFER_SYNTAX in asked:
        return True
    return any(syntax in offer.transfer_syntaxes for syntax in asked)


def _inner_range(media_range: MediaType) -> str:
    inner = media_range.inner
    return ANY if inner in (None, "*") else str(inner)


def _covers(kind_range: str, kind: str) -> bool:
    if kind_range in (ANY, kind):
        return True
    return kind_range.endswith("/*") and kind.startswith(kind_range[:-1])


def _exactness(media_range: MediaType) -> tuple[int, int]:
    """How exactly a range names what it takes: by kind, then by transfer syntax.

    A single part named in full is as exact as a multipart whose inner type is named in
    full, and ``transfer-syntax=*`` is no more exact than none. Otherwise a viewer that
    lists JSON first and multipart second would get multipart for being longer.
    """
    named = bool(media_range.transfer_syntaxes)
    explicit = named and ANY_TRANSFER_SYNTAX not in media_range.transfer_syntaxes
    return _kind_exactness(media_range), int(explicit)


def _kind_exactness(media_range: MediaType) -> int:
    if media_range.kind == ANY:
        return 0
    if media_range.kind.endswith("/*"):
        return 1
    if not media_range.kind.startswith("multipart/"):
        return 4
    inner = _inner_range(media_range)
    if inner == ANY:
        return 2
    return 3 if inner.endswith("/*") else 4
