"""Undoing the compression that bodies have on the way (RFC 9110 8.4.1).

A few bytes may stand for very many, so what comes out comes in pieces of a bounded size.
How much is too much, and whose fault it is, is left to the caller.
"""

import zlib
from collections.abc import Iterator

#: The codings that are understood; `x-gzip` is the old name of gzip.
CODINGS = frozenset({"gzip", "x-gzip", "deflate"})

#: Bytes that a piece has at most: it is inflated on the event loop.
PIECE = 256 * 1024

_GZIP, _ZLIB, _BARE = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_GZIP_HEAD = b"\x1f\x8b"
_HEAD = 2  # bytes that tell what a stream is


class Inflating:
    """A compressed body in whatever chunks it comes.

    With a coding it has to be of that one; without, it is what it begins as. Some send
    `deflate` without the envelope that belongs to it: that is taken too.
    """

    def __init__(self, coding: str = "") -> None:
        self._coding = coding
        self._head = b""  # of a stream, until it is known what it is
        self._machine: zlib._Decompress | None = None
        self._ended = ""  # what the last stream was that came to its end

    @property
    def complete(self) -> bool:
        """Whether the body may end here; so may one without any byte."""
        return self._machine is None and not self._head

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """What a chunk stands for; raises zlib.error for what is not compressed so."""
        left = chunk
        is_full = False  # with its input gone, a stream may still have more to give
        while left or is_full:
            if self._machine is None:
                left = self._begun(left)
                if self._machine is None:
                    return
            piece = self._machine.decompress(left, PIECE)
            is_full = len(piece) == PIECE and not self._machine.eof
            if piece:
                yield piece
            left = self._machine.unconsumed_tail
            if self._machine.eof:
                left = self._machine.unused_data
                self._machine = None

    def _begun(self, chunk: bytes) -> bytes:
        """The chunk, with what came before it, once that tells what it is."""
        if self._ended == "deflate":
            return b""  # nothing follows it
        head = self._head + chunk
        if self._ended:
            # gzip may be followed by more of it, and by the zeros that fill up a tape.
            head = head.lstrip(b"\0")
        self._head = head
        if len(head) < _HEAD:
            return b""
        self._head = b""
        window = self._window(head)
        self._ended = "gzip" if window == _GZIP else "deflate"
        self._machine = zlib.decompressobj(window)
        return head

    def _window(self, head: bytes) -> int:
        is_gzip = head.startswith(_GZIP_HEAD) and self._coding != "deflate"
        if is_gzip or self._ended or self._coding.endswith("gzip"):
            return _GZIP
        is_zlib = head[0] & 0x0F == zlib.DEFLATED and (head[0] << 8 | head[1]) % 31 == 0
        return _ZLIB if is_zlib else _BARE
