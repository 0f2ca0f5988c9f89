"""DICOM bytes written by hand, for what a decent library refuses to write."""

import struct

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"

UNDEFINED = 0xFFFFFFFF
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())


def explicit(
    tag: int, vr: bytes, value: bytes, length: int | None = None, order: str = "<"
) -> bytes:
    """One element with an explicit value representation."""
    size = len(value) if length is None else length
    head = struct.pack(f"{order}HH2s", tag >> 16, tag & 0xFFFF, vr)
    if vr in _LONG:
        return head + struct.pack(f"{order}HI", 0, size) + value
    return head + struct.pack(f"{order}H", size) + value


def implicit(tag: int, value: bytes, length: int | None = None) -> bytes:
    """One element with an implicit value representation, or an item."""
    size = len(value) if length is None else length
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, size) + value


def item(value: bytes, length: int | None = None) -> bytes:
    """An item of a sequence; of undefined length it has its delimiter."""
    end = implicit(0xFFFEE00D, b"") if length == UNDEFINED else b""
    return implicit(0xFFFEE000, value, length) + end


SEQUENCE_END = implicit(0xFFFEE0DD, b"")


def meta(transfer_syntax: str) -> bytes:
    """Preamble, prefix and file meta information."""
    uid = transfer_syntax.encode()
    return (
        bytes(128) + b"DICM" + explicit(0x00020010, b"UI", uid + b"\0" * (len(uid) % 2))
    )


UIDS = (
    explicit(0x00080018, b"UI", b"1.3\0"),
    explicit(0x0020000D, b"UI", b"1.1\0"),
    explicit(0x0020000E, b"UI", b"1.2\0"),
)
IMPLICIT_UIDS = (
    implicit(0x00080018, b"1.3\0"),
    implicit(0x0020000D, b"1.1\0"),
    implicit(0x0020000E, b"1.2\0"),
)


def file(*elements: bytes, transfer_syntax: str = EXPLICIT) -> bytes:
    """A file with the identifiers and these elements, sorted as they have to be."""
    uids = IMPLICIT_UIDS if transfer_syntax == IMPLICIT else UIDS
    return meta(transfer_syntax) + b"".join(sorted((*uids, *elements), key=_tag))


def _tag(element: bytes) -> tuple[int, int]:
    group, number = struct.unpack_from("<HH", element)
    return group, number
