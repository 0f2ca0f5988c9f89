"""Bodies of requests that come compressed (RFC 9110 8.4.1), inflated a piece at a time.

Not left to the HTTP library: it answers 400 to a coding that it does not know, where 415
is due, and lets a few megabytes become a full disk.
"""

import zlib
from collections.abc import Iterator

from gateway.errors import BadRequest, TooLarge, Truncated

#: What bodies may be compressed with; `x-gzip` is the old name of gzip.
CODINGS = frozenset({"gzip", "x-gzip", "deflate"})

#: Bytes that a piece has at most: it is inflated on the event loop.
_PIECE = 256 * 1024

#: A body may inflate to so many bytes in any case, and beyond that to so many times its
#: own. Images that are mostly empty come near a hundred times.
INFLATED_FREELY = 256 * 1024 * 1024
INFLATED_AT_MOST = 200

_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


class Inflating:
    """A compressed body on its way in."""

    def __init__(self, coding: str) -> None:
        self._is_gzip = coding != "deflate"
        self._is_padded = False  # zeros may follow: one stream has ended
        self._received = 0
        self._inflated = 0
        self._stream: zlib._Decompress | None = None

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """What a chunk inflates to; raises BadRequest, and TooLarge for a bomb."""
        self._received += len(chunk)
        left = self._without_padding(chunk)
        piece = b""
        # With its input gone, a stream may still have something to give.
        while left or (len(piece) == _PIECE and self._stream is not None):
            if self._stream is None:
                self._stream = zlib.decompressobj(self._form(left))
            piece = self._piece(self._stream, left)
            if piece:
                yield piece
            left = self._without_padding(self._rest(self._stream))

    def _piece(self, stream: "zlib._Decompress", left: bytes) -> bytes:
        try:
            piece = stream.decompress(left, _PIECE)
        except zlib.error:
            raise BadRequest("the body is not encoded as it says") from None
        self._inflated += len(piece)
        if self._inflated > max(INFLATED_FREELY, INFLATED_AT_MOST * self._received):
            raise TooLarge("the body inflates absurdly far")
        return piece

    def _rest(self, stream: "zlib._Decompress") -> bytes:
        """What is still to be inflated of a chunk; gzip may be followed by more of it."""
        if not stream.eof:
            return stream.unconsumed_tail
        if not self._is_gzip:
            return b""
        self._stream, self._is_padded = None, True
        return stream.unused_data

    def _without_padding(self, left: bytes) -> bytes:
        """What follows the zeros that fill up a tape behind a whole gzip stream."""
        between = self._is_padded and self._stream is None
        return left.lstrip(b"\0") if between else left

    def _form(self, start: bytes) -> int:
        """What the stream begins as; some send `deflate` without its envelope."""
        if self._is_gzip:
            return _GZIP
        return _ZLIB if start[0] & 0x0F == zlib.DEFLATED else _RAW

    def end(self) -> None:
        """Raise Truncated if the body ended too soon."""
        if self._stream is not None and not self._stream.eof:
            raise Truncated("the body ends before what is compressed in it does")
