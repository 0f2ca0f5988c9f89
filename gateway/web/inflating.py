"""Bodies of requests that come compressed: how far they may inflate, and what is wrong.

Not left to the HTTP library: it answers 400 to a coding that it does not know, where 415
is due, and lets a few megabytes become a full disk.
"""

import zlib
from collections.abc import Iterator

from gateway.errors import BadRequest, TooLarge, Truncated
from gateway.wire import inflating

#: A body may inflate to so many bytes in any case, and beyond that to so many times its
#: own. Images that are mostly empty come near a hundred times.
INFLATED_FREELY = 256 * 1024 * 1024
INFLATED_AT_MOST = 200


class Inflating:
    """A compressed body on its way in."""

    def __init__(self, coding: str) -> None:
        self._stream = inflating.Inflating(coding)
        self._received = 0
        self._inflated = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """What a chunk inflates to; raises BadRequest, and TooLarge for a bomb."""
        self._received += len(chunk)
        try:
            for piece in self._stream.feed(chunk):
                self._inflated += len(piece)
                if self._inflated > max(
                    INFLATED_FREELY, INFLATED_AT_MOST * self._received
                ):
                    raise TooLarge("the body inflates absurdly far")
                yield piece
        except zlib.error:
            raise BadRequest("the body is not encoded as it says") from None

    def end(self) -> None:
        """Raise Truncated if the body ended too soon."""
        if not self._stream.complete:
            raise Truncated("the body ends before what is compressed in it does")
