"""Pixel data as it lies in a file: what its bytes are, and where (PS3.3 C.7.6.3).

All of it comes from the stored header and the places that ingest noted, so that a frame
is found without reading the file's header again.
"""

import base64
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import orjson

from gateway.dicom.header import BIG_ENDIAN, DEFLATED
from gateway.dicom.hierarchy import Attributes, first_text

EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
#: GE's own: implicit, pixel data in big-endian words.
_GE_PRIVATE = "1.2.840.113619.5.2"

#: Transfer syntaxes in which pixel data is no sequence of fragments (PS3.5 A.1 to A.3).
NATIVE = frozenset(
    {EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, BIG_ENDIAN, _GE_PRIVATE} | DEFLATED
)

PIXEL_DATA = "7FE00010"
FLOAT_PIXEL_DATA = "7FE00008"
DOUBLE_PIXEL_DATA = "7FE00009"
_TAGS = (PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA)
_FLOAT_BITS = {FLOAT_PIXEL_DATA: 32, DOUBLE_PIXEL_DATA: 64}

#: The greatest value of an IS (PS3.5 6.2).
_MOST_FRAMES = 2**31 - 1

#: Bytes of the header of a fragment: a frame takes one at least.
_FRAGMENT = 8

#: What the names of images' attributes begin with, behind others, and those of pixels.
_IMAGE, _PIXELS = b',"0028', b'"7FE0'

#: A value that stands in the header, or where in the file it lies.
Table = bytes | tuple[int, int]


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """What the pixel data of an instance is, and where in its file."""

    transfer_syntax: str
    tag: str  # of the element: PixelData, or one of the two of floating point
    rows: int
    columns: int
    samples_per_pixel: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    pixel_representation: int  # 1: signed
    photometric_interpretation: str
    planar_configuration: int  # 1: one colour after the other
    number_of_frames: int
    offset: int  # of the value, in the file or its inflated data set
    length: int  # of the value; without the delimiter at the end of fragments
    encapsulated: bool
    vr: str = "OW"
    extended_offsets: Table | None = None  # (7FE0,0001)
    extended_lengths: Table | None = None  # (7FE0,0002)

    @property
    def is_floating_point(self) -> bool:
        """Whether the samples are no integers."""
        return self.tag != PIXEL_DATA

    @property
    def is_deflated(self) -> bool:
        """Whether offsets count in the inflated data set and not in the file."""
        return self.transfer_syntax in DEFLATED

    @property
    def is_halved(self) -> bool:
        """Whether two pixels share their colour: Y Y Cb Cr, uncompressed (C.7.6.3.1.2)."""
        if self.encapsulated or self.samples_per_pixel != 3:
            return False
        if self.photometric_interpretation not in ("YBR_FULL_422", "YBR_PARTIAL_422"):
            return False
        # Some say so and do not do it: the length tells.
        full = self.rows * self.columns * 3 * (self.bits_allocated // 8)
        return self.length < full * self.number_of_frames

    @property
    def frame_bits(self) -> int:
        """The size of an uncompressed frame, as it is stored without compression."""
        samples = 2 if self.is_halved else self.samples_per_pixel
        return self.rows * self.columns * samples * self.bits_allocated

    @property
    def frames_at_most(self) -> int:
        """How many frames the value has room for, whatever the header says of it."""
        if self.encapsulated:
            return self.length // _FRAGMENT
        return self.length * 8 // max(self.frame_bits, 1)


def pixel_attributes(header: bytes) -> Attributes:
    """The attributes from the group of images (0028) on, out of a header's JSON.

    More than half of a header stands before them as a rule. Where they do not all stand
    together, the whole header is returned.
    """
    first = header.find(_IMAGE)
    strays = any(header.find(name, 0, first) >= 0 for name in (_IMAGE[1:], _PIXELS))
    if first > 0 and not strays:
        # No text has a quote that is not escaped: this is a name. If it is one within a
        # sequence, more is closed in what follows than was opened.
        with suppress(orjson.JSONDecodeError):
            following: Attributes = orjson.loads(b"{" + header[first + 1 :])
            return following
    attributes: Attributes = orjson.loads(header)
    return attributes


def has_pixels(attributes: Attributes) -> bool:
    """Whether there is pixel data, whatever the header says of it."""
    return any("BulkDataURI" in attributes.get(tag, ()) for tag in _TAGS)


def layout_of(
    attributes: Attributes, transfer_syntax: str, bulk: Mapping[str, tuple[int, int]]
) -> PixelLayout | None:
    """The layout of an instance's pixel data; None if there is none to speak of."""
    tag = next((tag for tag in _TAGS if tag.lower() in bulk), None)
    if tag is None:
        return None
    rows = _number(attributes, "00280010", 0)
    columns = _number(attributes, "00280011", 0)
    if rows <= 0 or columns <= 0:
        return None
    offset, length = bulk[tag.lower()]
    allocated = _FLOAT_BITS.get(tag) or _number(attributes, "00280100", 16)
    stored = _number(attributes, "00280101", allocated)
    return PixelLayout(
        transfer_syntax=transfer_syntax,
        tag=tag,
        rows=rows,
        columns=columns,
        samples_per_pixel=max(_number(attributes, "00280002", 1), 1),
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=_number(attributes, "00280102", stored - 1),
        pixel_representation=_number(attributes, "00280103", 0),
        photometric_interpretation=_text(attributes, "00280004", "MONOCHROME2"),
        planar_configuration=_number(attributes, "00280006", 0),
        number_of_frames=min(max(_number(attributes, "00280008", 1), 1), _MOST_FRAMES),
        offset=offset,
        length=length,
        encapsulated=transfer_syntax not in NATIVE,
        vr=str(attributes[tag].get("vr", "OW")),
        extended_offsets=_table(attributes, bulk, "7FE00001"),
        extended_lengths=_table(attributes, bulk, "7FE00002"),
    )


def _number(attributes: Attributes, tag: str, otherwise: int) -> int:
    text = first_text(attributes, tag).strip()
    try:
        return int(float(text)) if text else otherwise
    except (ValueError, OverflowError):
        return otherwise


def _text(attributes: Attributes, tag: str, otherwise: str) -> str:
    return first_text(attributes, tag).strip().upper() or otherwise


def _table(
    attributes: Attributes, bulk: Mapping[str, tuple[int, int]], tag: str
) -> Table | None:
    if tag.lower() in bulk:
        offset, length = bulk[tag.lower()]
        return offset, length
    inline = attributes.get(tag, {}).get("InlineBinary")
    return base64.b64decode(inline) if isinstance(inline, str) else None
