"""An instance whose bytes are all here and that nobody has read yet.

It tells by a look at its beginning whether reading its header takes less time than getting
to a thread would.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.commit import Buffers, Ready
from gateway.dicom.header import may_be_deflated
from gateway.outcomes import Outcome
from gateway.storage.blobs import Incoming

#: A header that ends within so many bytes is read at once, without a thread: reading it
#: takes less time than getting there.
QUICK = 64 * 1024

#: So many bytes hold most headers.
_USUAL = 16 * 1024

_PIXEL_DATA = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")


@dataclass(slots=True)
class Arrived:
    """An instance whose bytes are all here: in `buffers`, after those in `incoming`."""

    buffers: Buffers
    incoming: Incoming | None
    within: str | None  # the only StudyInstanceUID that is welcome
    read: Ready | Outcome | None = None  # what it is, once that is known
    _front: bytes | None = None  # once it was asked for

    def size(self) -> int:
        """Bytes of the instance."""
        return sum(map(len, self.buffers)) + (
            self.incoming.size if self.incoming else 0
        )

    def is_quick(self) -> bool:
        """Whether the header is short: pixel data begins soon, or there is not much."""
        start = self._front_of(_USUAL)
        if may_be_deflated(start):
            return False
        if self.size() <= QUICK or _holds_pixels(start):
            return True
        return _holds_pixels(self._front_of(QUICK))

    def fronts(self) -> Iterator[bytes]:
        """Beginnings of a larger one that may hold its header, the shortest first."""
        if self.size() > QUICK:
            front = self._front_of(_USUAL)
            yield front
            if len(front) < QUICK:
                yield self._front_of(QUICK)

    def _front_of(self, size: int) -> bytes:
        """The first bytes in memory, so many; or all of a few."""
        if self._front is None or len(self._front) < size:
            self._front = self.whole() if self.size() <= QUICK else self._begun(size)
        return self._front

    def _begun(self, size: int) -> bytes:
        if len(self.buffers[0]) >= size:
            return bytes(self.buffers[0][:size])
        front = bytearray()
        for buffer in self.buffers:
            front += buffer[: size - len(front)]
            if len(front) == size:
                break
        return bytes(front)

    def whole(self) -> bytes:
        """The bytes in memory, in one piece from now on."""
        if len(self.buffers) == 1 and isinstance(self.buffers[0], bytes):
            return self.buffers[0]
        whole = b"".join(self.buffers)
        self.buffers = [whole]
        return whole


def _holds_pixels(front: bytes) -> bool:
    """Whether pixel data seems to begin there."""
    return any(tag in front for tag in _PIXEL_DATA)
