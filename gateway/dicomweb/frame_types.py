"""Which frames there are to be had, and which of them a client wants (PS3.18 8.7.3)."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.dicom import codecs
from gateway.dicom.encoders import ENCODABLE
from gateway.dicom.pixels import EXPLICIT_LITTLE_ENDIAN, NATIVE, PixelLayout
from gateway.dicom.transcode import can_transcode
from gateway.wire.media import (
    ANY_TRANSFER_SYNTAX,
    MediaType,
    Offer,
    accept_of,
    choose,
    deciding_range,
)

OCTETS = "application/octet-stream"
MULTIPART = "multipart/related"
_JPEG_2000_PART_2 = ("1.2.840.10008.1.2.4.92", "1.2.840.10008.1.2.4.93")
_JPEG_XL = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (110, 111, 112))

#: The transfer syntaxes of each media type, its default first (table 8.7.3-5).
SYNTAXES: dict[str, tuple[str, ...]] = {
    "image/jpeg": (
        codecs.JPEG_LOSSLESS_SV1,
        codecs.JPEG_BASELINE,
        codecs.JPEG_EXTENDED,
        codecs.JPEG_LOSSLESS,
    ),
    "image/dicom-rle": (codecs.RLE_LOSSLESS,),
    "image/jls": (codecs.JPEG_LS_LOSSLESS, codecs.JPEG_LS_NEAR_LOSSLESS),
    "image/jp2": (codecs.JPEG_2000_LOSSLESS, codecs.JPEG_2000),
    "image/jpx": _JPEG_2000_PART_2,
    "image/jphc": (codecs.HTJ2K_LOSSLESS, codecs.HTJ2K_LOSSLESS_RPCL, codecs.HTJ2K),
    "image/jxl": _JPEG_XL,
}
#: Names of the years 2014 to 2018.
OLD_NAMES = {
    "image/jpeg": ("image/dicom+jpeg",),
    "image/dicom-rle": ("image/x-dicom-rle", "image/dicom+rle"),
    "image/jls": ("image/x-jls", "image/dicom+jpeg-ls"),
    "image/jp2": ("image/dicom+jp2",),
    "image/jpx": ("image/dicom+jpx",),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """How frames are to be answered."""

    single: bool  # one part, which is the body
    media_type: str
    transfer_syntax: str

    @property
    def content_type(self) -> str:
        """The media type of a part."""
        return f"{self.media_type}; transfer-syntax={self.transfer_syntax}"


def as_stored(transfer_syntax: str) -> str:
    """What frames are in that are not transcoded: native ones go out little endian."""
    return EXPLICIT_LITTLE_ENDIAN if transfer_syntax in NATIVE else transfer_syntax


@functools.lru_cache(512)
def possible(layout: PixelLayout) -> frozenset[str]:
    """The transfer syntaxes in which the frames of a layout can be had."""
    stored = layout.transfer_syntax
    made = (target for target in ENCODABLE if can_transcode(stored, layout, target))
    return frozenset((as_stored(stored), *made))


def wanted(
    ranges: Sequence[MediaType], layout: PixelLayout, *, one: bool
) -> Wanted | None:
    """What to answer with; None if there is nothing the client takes."""
    found: dict[Offer, Wanted] = {}
    for offer, media_type in _offers(layout, one=one):
        media_range = deciding_range(ranges, offer)
        if media_range is None:
            continue
        target = _target(media_range, media_type, layout)
        if target is not None:
            found[offer] = Wanted(offer.kind != MULTIPART, media_type, target)
    best = choose(ranges, list(found))
    return found[best] if best is not None else None


@functools.lru_cache(512)
def wanted_by(
    headers: tuple[str, ...], layout: PixelLayout, *, one: bool
) -> Wanted | None:
    """The same by Accept headers: a client sends the same ones for each frame."""
    return wanted(accept_of((), headers), layout, one=one)


def _offers(layout: PixelLayout, *, one: bool) -> Iterator[tuple[Offer, str]]:
    """Each way to give frames, the usual ones first, with its media type."""
    available = possible(layout)
    stored = as_stored(layout.transfer_syntax)
    kinds = sorted(SYNTAXES, key=lambda kind: stored not in SYNTAXES[kind])
    for kind in (OCTETS, *kinds):
        syntaxes = tuple(sorted(_of(kind, available)))
        if not syntaxes:
            continue
        for name in (kind, *OLD_NAMES.get(kind, ())):
            yield Offer(MULTIPART, name, syntaxes), kind
            if one:
                yield Offer(name, None, syntaxes), kind


def _of(kind: str, available: frozenset[str]) -> frozenset[str]:
    return available if kind == OCTETS else available & frozenset(SYNTAXES[kind])


def _target(media_range: MediaType, media_type: str, layout: PixelLayout) -> str | None:
    """The transfer syntax for a range that takes the media type."""
    available = _of(media_type, possible(layout))
    asked = media_range.transfer_syntaxes
    stored = as_stored(layout.transfer_syntax)
    if ANY_TRANSFER_SYNTAX in asked and stored in available:
        return stored
    for syntax in asked:
        if syntax in available:
            return syntax
    if asked and ANY_TRANSFER_SYNTAX not in asked:
        return None
    if media_type == OCTETS:
        plain = EXPLICIT_LITTLE_ENDIAN in available
        return EXPLICIT_LITTLE_ENDIAN if plain else None
    if stored in available:
        return stored
    return next(name for name in SYNTAXES[media_type] if name in available)


def what_there_is(layout: PixelLayout) -> str:
    """What to tell somebody who wants something else."""
    kinds = sorted(kind for kind in SYNTAXES if _of(kind, possible(layout)))
    syntaxes = ", ".join(sorted(possible(layout)))
    return (
        f"here there is {MULTIPART}, and for one frame a single part, of"
        f" {', '.join((OCTETS, *kinds))}, with transfer-syntax {syntaxes}"
    )
