"""Undoing the compression that bodies have on the way (RFC 9110 8.4.1).

A few bytes may stand for very many, so what comes out comes in pieces of a bounded size.
"""

import zlib
from collections.abc import Iterator

#: The codings that are understood.
CODINGS = ("gzip", "x-gzip", "deflate")

INFLATED = 256 * 1024  # bytes of a piece at the most

_GZIP = 16 + zlib.MAX_WBITS
_ZLIB = zlib.MAX_WBITS
_BARE = -zlib.MAX_WBITS
_HEAD = 2  # bytes that tell which it is


class Inflating:
    """Takes chunks of gzip or deflate; raises zlib.error for what is neither."""

    def __init__(self) -> None:
        self._head = b""  # until it is known what this is
        self._window: int | None = None
        self._machine = zlib.decompressobj()
        self.complete = True  # also when there is no byte at all

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """What the chunk stands for."""
        if chunk and self._window is None:
            self.complete = False
            chunk = self._begun(chunk)
        full = False  # more may be waiting inside the machine
        while chunk or full:
            self.complete = False
            inflated = self._machine.decompress(chunk, INFLATED)
            full = len(inflated) == INFLATED
            if inflated:
                yield inflated
            chunk = self._machine.unconsumed_tail
            if self._machine.eof and self._window is not None:
                self.complete, full = True, False
                chunk = self._machine.unused_data
                # gzip may have several members (RFC 1952 2.2).
                self._machine = zlib.decompressobj(self._window)

    def _begun(self, chunk: bytes) -> bytes:
        """The chunk, once there is enough of it to tell what it is."""
        self._head += chunk
        if len(self._head) < _HEAD:
            return b""
        self._window = _window(self._head)
        self._machine = zlib.decompressobj(self._window)
        return self._head


def _window(head: bytes) -> int:
    """What begins so: gzip, zlib, or what some send as deflate, without any head."""
    if head.startswith(b"\x1f\x8b"):
        return _GZIP
    is_zlib = head[0] & 0x0F == zlib.DEFLATED and (head[0] << 8 | head[1]) % 31 == 0
    return _ZLIB if is_zlib else _BARE
