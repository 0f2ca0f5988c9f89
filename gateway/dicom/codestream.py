"""What a compressed frame says of itself, before it is decoded.

A frame that is larger than its header says is never decoded: the sizes are compared
first, and the sign and precision of samples are those of the codestream.
"""

import struct
from dataclasses import dataclass

from gateway.errors import CannotTranscode

_JPEG_START = b"\xff\xd8"
_JPEG_2000_START = b"\xff\x4f\xff\x51"
#: How far into a frame the codestream of a boxed JPEG 2000 file may begin (bytes).
_BOXES_LIMIT = 64 * 1024
#: Markers of frame headers: all SOF, and JPEG-LS' SOF55; not DHT, JPG and DAC.
_FRAME_MARKERS = (set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}) | {0xF7}
_ALONE = {0x01, *range(0xD0, 0xD8)}
_RGB_NAMES = (b"RGB", b"rgb")


@dataclass(frozen=True, slots=True)
class Codestream:
    """The header of a compressed frame."""

    rows: int
    columns: int
    samples: int  # components
    precision: int  # bits of a sample
    signed: bool  # JPEG and JPEG-LS know no sign
    process: int = 0  # second byte of the SOF marker; of JPEG 2000, zero
    named_rgb: bool = False  # components are called R, G, B
    jfif: bool = False  # so colour is YCbCr
    adobe_transform: int | None = None  # 0: none, 1: YCbCr


def codestream_of(frame: bytes) -> Codestream:
    """The header of a JPEG, JPEG-LS or JPEG 2000 frame; raises CannotTranscode."""
    try:
        if frame[:2] == _JPEG_START:
            return _jpeg(frame)
        start = frame.find(_JPEG_2000_START, 0, _BOXES_LIMIT)
        if start >= 0:
            return _jpeg_2000(frame, start)
    except (struct.error, IndexError, ZeroDivisionError):
        raise CannotTranscode("a compressed frame ends inside its header") from None
    raise CannotTranscode("a compressed frame is no codestream of its transfer syntax")


def _jpeg_2000(frame: bytes, start: int) -> Codestream:
    """The SIZ segment (ISO/IEC 15444-1 A.5.1)."""
    values = struct.unpack_from(">HHHIIIIIIIIH", frame, start + 2)
    _, _, _, width, height, left, top, *_, components = values
    depths = [frame[start + 42 + 3 * n] for n in range(components)]
    steps = {frame[start + 43 + 3 * n : start + 45 + 3 * n] for n in range(components)}
    if len(set(depths)) != 1 or steps != {b"\x01\x01"}:
        raise CannotTranscode("components of different size or depth in JPEG 2000")
    return Codestream(
        rows=height - top,
        columns=width - left,
        samples=components,
        precision=(depths[0] & 0x7F) + 1,
        signed=bool(depths[0] & 0x80),
    )


def _jpeg(frame: bytes) -> Codestream:
    """The segments up to the frame header (ISO/IEC 10918-1 B.2)."""
    position = 2
    jfif, transform = False, None
    while True:
        while frame[position] == 0xFF and frame[position + 1] == 0xFF:
            position += 1  # fill bytes
        lead, marker = frame[position], frame[position + 1]
        if lead != 0xFF:
            raise CannotTranscode("a compressed frame is not made of JPEG segments")
        if marker in _ALONE:
            position += 2
            continue
        (length,) = struct.unpack_from(">H", frame, position + 2)
        body = frame[position + 4 : position + 2 + length]
        if marker in _FRAME_MARKERS:
            return _frame_header(marker, body, jfif, transform)
        jfif = jfif or (marker == 0xE0 and body.startswith(b"JFIF"))
        if marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            transform = body[11]
        position += 2 + length


def _frame_header(
    marker: int, body: bytes, jfif: bool, transform: int | None
) -> Codestream:
    precision, rows, columns, components = struct.unpack_from(">BHHB", body)
    return Codestream(
        rows=rows,
        columns=columns,
        samples=components,
        precision=precision,
        signed=False,
        process=marker,
        named_rgb=bytes(body[6 : 6 + 3 * components : 3]) in _RGB_NAMES,
        jfif=jfif,
        adobe_transform=transform,
    )
