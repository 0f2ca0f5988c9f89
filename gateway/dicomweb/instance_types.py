"""In which transfer syntax an instance goes out (PS3.18 8.7.3, 8.7.8.1).

Who names none gets explicit little endian where that loses nothing more and can be made,
else the file as it is: an instance of lossy pixels and a video stay what they are. Who
names some gets one of them or nothing, and ``*`` is the file as it is.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gateway.dicom.codecs import LOSSY
from gateway.dicom.encoders import ENCODABLE
from gateway.dicom.pixels import EXPLICIT_LITTLE_ENDIAN
from gateway.wire.media import (
    ANY_TRANSFER_SYNTAX,
    MediaType,
    Offer,
    deciding_range,
)

DICOM = "application/dicom"
MULTIPART = "multipart/related"
ZIP = "application/zip"

Can = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Choice:
    """The transfer syntax of an answer."""

    transfer_syntax: str
    asked: bool  # by name: another one would not do


def offer_of(kind: str, held: Iterable[str]) -> Offer:
    """Instances in a single part or several, in all that there may be."""
    syntaxes = tuple(sorted(ENCODABLE.union(held)))
    return Offer(kind, DICOM if kind == MULTIPART else None, syntaxes)


def choice(
    ranges: Sequence[MediaType], kind: str, stored: str, can: Can
) -> Choice | None:
    """What an instance goes out in; `can` tells what it can be transcoded to."""
    matching = [r for r in ranges if r.q > 0 and _takes(r, kind, stored)]
    # Among equals, no work where one of them is what the file is in.
    matching.sort(key=lambda found: (-found.q, stored not in found.transfer_syntaxes))
    for media_range in matching:
        for found in _candidates(media_range, stored):
            offer = Offer(kind, DICOM if kind == MULTIPART else None, _only(found))
            possible = found.transfer_syntax == stored or can(found.transfer_syntax)
            if possible and deciding_range(ranges, offer):
                return found
    return None


def _only(found: Choice) -> tuple[str, ...]:
    return (found.transfer_syntax,)


def _takes(media_range: MediaType, kind: str, stored: str) -> bool:
    syntaxes = (stored, *media_range.transfer_syntaxes)
    inner = DICOM if kind == MULTIPART else None
    return deciding_range([media_range], Offer(kind, inner, syntaxes)) is not None


def _candidates(media_range: MediaType, stored: str) -> Iterable[Choice]:
    """The transfer syntaxes that a range means for an instance, the best first."""
    asked = media_range.transfer_syntaxes
    if ANY_TRANSFER_SYNTAX in asked:
        return (Choice(stored, asked=False),)
    if asked:
        ordered = sorted(asked, key=lambda syntax: syntax != stored)
        return tuple(Choice(syntax, asked=True) for syntax in ordered)
    as_it_is = Choice(stored, asked=False)
    if stored in LOSSY:
        return (as_it_is,)
    return (Choice(EXPLICIT_LITTLE_ENDIAN, asked=False), as_it_is)


def all_as_stored(ranges: Sequence[MediaType], kind: str, held: Iterable[str]) -> bool:
    """Whether every instance goes out as its file is, whatever could be done."""
    choices = (
        (syntax, choice(ranges, kind, syntax, lambda _: True)) for syntax in held
    )
    return all(
        found is not None and found.transfer_syntax == syntax
        for syntax, found in choices
    )
