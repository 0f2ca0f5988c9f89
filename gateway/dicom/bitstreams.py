"""What compressed pictures say of themselves, in the markers before their data.

A client that sends a JPEG need not say how large it is (PS3.18 table 10.5.2-1), and often
names no transfer syntax: the bitstream knows both. Only headers are read, never pixels.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.dicom.bulk import ReadAt

_MARKERS = 4096  # more than any header holds
_BOXES = 256
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_ADOBE = 0xEE
_SCAN = 0xDA
_SOF3, _JPEG_LS = 0xC3, 0xF7
_SIZ, _COD, _CAP, _SOT = 0x51, 0x52, 0x50, 0x90

_JP2_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"

#: JPEG processes by their start of frame (PS3.5 8.2.1); lossless and JPEG-LS depend on
#: what the scan says.
_JPEG_SYNTAXES = {
    0xC0: "1.2.840.10008.1.2.4.50",
    0xC1: "1.2.840.10008.1.2.4.51",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """What a bitstream says of its picture."""

    transfer_syntax: str  # empty if none of the JPEG processes in use
    rows: int
    columns: int
    samples: int
    bits: int
    signed: bool
    photometric: str
    lossy: bool
    start: int = 0  # of the bitstream among the bytes, behind the boxes around it
    size: int = 0


def jpeg_picture(read_at: ReadAt, size: int) -> Picture | None:
    """A JPEG or JPEG-LS picture; None if it is none (ISO 10918-1 B, 14495-1 C)."""
    if read_at(0, 2) != b"\xff\xd8":
        return None
    frame, process, adobe = b"", 0, None
    for marker, body in _jpeg_segments(read_at):
        if marker in _JPEG_FRAMES:
            frame, process = body, marker
        elif marker == _ADOBE and body.startswith(b"Adobe") and len(body) >= 12:
            adobe = body[11]
        elif marker == _SCAN:
            return _jpeg(frame, process, body, adobe, size)
    return None


def _jpeg_segments(read_at: ReadAt) -> Iterator[tuple[int, bytes]]:
    position = 2
    for _ in range(_MARKERS):
        head = read_at(position, 4)
        if len(head) < 4 or head[0] != 0xFF:
            return
        if head[1] == 0xFF:  # a marker may have any number of them before it
            position += 1
            continue
        (length,) = struct.unpack(">H", head[2:])
        yield head[1], read_at(position + 4, min(length - 2, 64)) if length > 2 else b""
        position += 2 + length


def _jpeg(
    frame: bytes, process: int, scan: bytes, adobe: int | None, size: int
) -> Picture | None:
    if len(frame) < 6 or not scan or len(frame) < 6 + 3 * frame[5]:
        return None
    bits, rows, columns, samples = struct.unpack(">BHHB", frame[:6])
    parameter = scan[1 + 2 * scan[0]] if len(scan) > 1 + 2 * scan[0] else 0
    syntax = _JPEG_SYNTAXES.get(process, "")
    lossy = process not in (_SOF3, _JPEG_LS)
    if process == _SOF3:
        last = "70" if parameter == 1 else "57"
        syntax = f"1.2.840.10008.1.2.4.{last}"
    elif process == _JPEG_LS:
        lossy = parameter > 0
        syntax = f"1.2.840.10008.1.2.4.{'81' if lossy else '80'}"
    photometric = "MONOCHROME2" if samples == 1 else "RGB"
    if samples == 3 and process not in (_SOF3, _JPEG_LS) and _is_ybr(frame, adobe):
        photometric = "YBR_FULL_422" if frame[7] >> 4 == 2 else "YBR_FULL"
    return Picture(
        syntax, rows, columns, samples, bits, False, photometric, lossy, 0, size
    )


def _is_ybr(frame: bytes, adobe: int | None) -> bool:
    """Whether three components are luminance and chrominance, as decoders guess it."""
    if adobe is not None:
        return adobe == 1
    return bytes(frame[6:15:3]) != b"RGB"


def jpeg2000_picture(read_at: ReadAt, size: int) -> Picture | None:
    """A JPEG 2000 picture, with or without the boxes of a file around its codestream."""
    start, end = _codestream(read_at, size)
    head = read_at(start, 4)
    if head != b"\xff\x4f\xff\x51":
        return None
    fixed = read_at(start + 6, 38)
    if len(fixed) < 37:
        return None
    width, height, left, top = struct.unpack(">4I", fixed[2:18])
    samples, depth = struct.unpack(">HB", fixed[34:37])
    high_throughput, transform, reversible = _coding(read_at, start + 2)
    photometric = "MONOCHROME2" if samples == 1 else "RGB"
    if samples == 3 and transform:
        photometric = "YBR_RCT" if reversible else "YBR_ICT"
    return Picture(
        transfer_syntax=_jpeg2000_syntax(high_throughput, reversible),
        rows=height - top,
        columns=width - left,
        samples=samples,
        bits=(depth & 0x7F) + 1,
        signed=bool(depth & 0x80),
        photometric=photometric,
        lossy=not reversible,
        start=start,
        size=end - start,
    )


def _jpeg2000_syntax(high_throughput: bool, reversible: bool) -> str:
    if high_throughput:
        return f"1.2.840.10008.1.2.4.{'201' if reversible else '203'}"
    return f"1.2.840.10008.1.2.4.{'90' if reversible else '91'}"


def _codestream(read_at: ReadAt, size: int) -> tuple[int, int]:
    """Where the codestream lies (ISO 15444-1 I.4)."""
    if read_at(0, 12) != _JP2_SIGNATURE:
        return 0, size
    position = 0
    for _ in range(_BOXES):
        head = read_at(position, 16)
        if len(head) < 8:
            break
        length, kind = struct.unpack(">I4s", head[:8])
        inside = 8
        if length == 1 and len(head) == 16:
            (length,) = struct.unpack(">Q", head[8:])
            inside = 16
        end = size if length == 0 else position + length
        if kind == b"jp2c":
            return position + inside, min(end, size)
        if end < position + inside:
            break
        position = end
    return 0, size


def _coding(read_at: ReadAt, position: int) -> tuple[bool, bool, bool]:
    """Whether it is high throughput, has a colour transform, is reversible."""
    high_throughput = transform = reversible = False
    for _ in range(_MARKERS):
        head = read_at(position, 4)
        if len(head) < 4 or head[0] != 0xFF or head[1] == _SOT:
            break
        if head[1] == _CAP:
            high_throughput = True
        elif head[1] == _COD:
            style = read_at(position + 4, 10)
            transform, reversible = style[4:5] == b"\1", style[9:10] == b"\1"
        (length,) = struct.unpack(">H", head[2:])
        position += 2 + length
    return high_throughput, transform, reversible
