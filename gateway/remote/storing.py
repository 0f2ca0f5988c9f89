"""Storing at another server: the body that goes, and the answer that comes (STOW-RS).

The body is made of pieces of files, so that it can go again when the other server wants
it in another way. The answer is read as JSON or XML, whatever its
Content-Type says (PS3.18 I).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from gateway.dicom.from_xml import attributes_of_xml
from gateway.errors import BadRequest
from gateway.storage.reading import FileRange, Piece
from gateway.wire.multipart import (
    closing,
    content_type,
    length,
    new_boundary,
    part_header,
)

DICOM = "application/dicom"

_STORED = "00081199"
_FAILED = "00081198"
_OTHERS = "0008119A"
_INSTANCE = "00081155"
_REASON = "00081197"
_ERROR_COMMENT = "00000902"
_LARGEST_REASON = 0xFFFF

#: First and last reason, and what they mean (PS3.18 I.2.2, PS3.7 annex C).
_WORDS = (
    (0x0110, 0x0110, "processing failure"),
    (0x0111, 0x0111, "duplicate SOP instance"),
    (0x0122, 0x0122, "SOP class not supported"),
    (0x0124, 0x0124, "not authorised"),
    (0xA700, 0xA7FF, "out of resources"),
    (0xA900, 0xA9FF, "data set does not match its SOP class"),
    (0xC122, 0xC122, "transfer syntax not supported"),
    (0xC000, 0xCFFF, "cannot be understood"),
)


class NotStored(NamedTuple):
    """An instance that the other server did not store."""

    instance: str  # SOP Instance UID; empty if it does not say which
    reason: int  # FailureReason (0008,1197); 0 if it does not say why
    words: str  # the same for people


@dataclass(frozen=True, slots=True)
class StoreAnswer:
    """What became of the instances that went."""

    stored: tuple[str, ...]  # SOP Instance UIDs
    failed: tuple[NotStored, ...]
    described: bool  # whether it said anything but that all went well


class StoreBody:
    """A multipart body of files."""

    def __init__(self, files: Sequence[FileRange]) -> None:
        self._files = files
        self._boundary = new_boundary()

    @property
    def content_type(self) -> str:
        """The Content-Type of the body."""
        return content_type(DICOM, self._boundary)

    @property
    def length(self) -> int:
        """The bytes of the body."""
        sized = [(_headers(size), size) for size in map(_size, self._files)]
        return length(self._boundary, sized)

    def pieces(self) -> list[Piece]:
        """The body, as bytes and files."""
        pieces: list[Piece] = []
        for number, file in enumerate(self._files):
            headers = _headers(_size(file))
            pieces.append(part_header(self._boundary, headers, first=number == 0))
            pieces.append(file)
        return [*pieces, closing(self._boundary)]


def _size(file: FileRange) -> int:
    return file.stop - file.start


def _headers(size: int) -> list[tuple[str, str]]:
    return [("Content-Type", DICOM), ("Content-Length", str(size))]


def store_answer_of(body: bytes) -> StoreAnswer:
    """What an answer says; raises BadRequest when it is no answer to a store."""
    stored: list[str] = []
    failed: list[NotStored] = []
    described = False
    for data_set in _data_sets(body):
        described |= bool(data_set.keys() & {_STORED, _FAILED, _OTHERS})
        stored += [_instance(item) for item in _items(data_set, _STORED)]
        failed += [_not_stored(item) for item in _items(data_set, _FAILED)]
        failed += [_not_stored(item) for item in _items(data_set, _OTHERS)]
    return StoreAnswer(tuple(stored), tuple(failed), described)


def words_of(reason: int) -> str:
    """What a failure reason means, with its number as the standard spells it."""
    for first, last, words in _WORDS:
        if first <= reason <= last:
            return f"{words} ({reason:04X}H)"
    return f"reason {reason:04X}H" if reason else "no reason given"


def _data_sets(body: bytes) -> list[dict[str, Any]]:
    text = body.removeprefix(b"\xef\xbb\xbf").strip()
    if not text:
        return []
    if text.startswith(b"<"):
        return [dict(attributes_of_xml(text))]
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise BadRequest("it is neither JSON nor XML") from None
    # Old servers answer an array of one (PS3.18 F.2 says an object).
    found = found if isinstance(found, list) else [found]
    if not all(isinstance(data_set, dict) for data_set in found):
        raise BadRequest("it is JSON, but no data set")
    return [_upper(data_set) for data_set in found]


def _upper(data_set: Mapping[str, Any]) -> dict[str, Any]:
    return {key.upper(): value for key, value in data_set.items()}


def _values(data_set: Mapping[str, Any], tag: str) -> list[Any]:
    element = data_set.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _items(data_set: Mapping[str, Any], tag: str) -> list[dict[str, Any]]:
    values = _values(data_set, tag)
    return [_upper(item) for item in values if isinstance(item, dict)]


def _instance(item: Mapping[str, Any]) -> str:
    values = _values(item, _INSTANCE)
    return values[0].strip("\0 ") if values and isinstance(values[0], str) else ""


def _not_stored(item: Mapping[str, Any]) -> NotStored:
    reason = _reason(_values(item, _REASON))
    comment = _values(item, _ERROR_COMMENT)
    words = words_of(reason)
    if comment and isinstance(comment[0], str):
        words = f"{words}: {comment[0][:100]}"
    return NotStored(_instance(item), reason, words)


def _reason(values: Sequence[Any]) -> int:
    """The reason that is given, 0 for none or one that no US can hold (PS3.5 6.2)."""
    try:
        reason = int(values[0]) if values else 0
    except (TypeError, ValueError, OverflowError):
        return 0
    return reason if 0 <= reason <= _LARGEST_REASON else 0
