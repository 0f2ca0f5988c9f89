"""Pieces of an answer straight to a socket: the kernel moves files, no copy passes here.

The bytes of a file go from the page cache to the network by `sendfile`; what stands
between files is sent as it is. The network keeps the very pages of a file that it was
given until the reader took them, and a hole that is made meanwhile would turn them to
zeros under way. Who removes something from a pack looks for that, see there; where the
file system cannot tell, bytes in a pack are copied.
"""

import math
import os
import select
import socket
from collections.abc import Sequence

from gateway.errors import Truncated
from gateway.places import Opened
from gateway.storage.blobs import DiskBlobs
from gateway.storage.packs import pack_of
from gateway.storage.reading import FileRange, Piece

#: Bytes asked of the kernel at a time, lest one answer keep a thread for itself.
_STEP = 4 * 1024 * 1024

#: Bytes of a pack that are copied at a time.
_COPIED = 512 * 1024

#: How long a thread waits for a reader that keeps up (milliseconds); a slower one is
#: waited for without a thread.
_PATIENCE = 20


class Sending:
    """Sends pieces one after the other. Its methods block; they belong into a thread."""

    def __init__(self, blobs: DiskBlobs, pieces: Sequence[Piece]) -> None:
        self._blobs = blobs
        self._pieces = pieces
        self._number = 0  # of the piece that is next
        self._position = 0  # within it
        self._open: Opened | None = None
        self._copied = memoryview(b"")  # from a pack, and not sent yet
        self.sent = 0  # bytes that are gone

    def push(self, connection: socket.socket, most: int | None = None) -> bool:
        """Send until all is sent, which is True, or the reader does not keep up.

        Or until about `most` bytes have gone. `connection` does not block. Raises
        NotFound when a file is gone, Truncated when one is too short, OSError when the
        connection is.
        """
        ready = select.poll()
        ready.register(connection, select.POLLOUT)
        enough = math.inf if most is None else self.sent + most
        while self._number < len(self._pieces) and self.sent < enough:
            try:
                self._send(connection, self._pieces[self._number])
            except BlockingIOError:
                if not ready.poll(_PATIENCE):
                    return False
        return self._number >= len(self._pieces)

    def _send(self, connection: socket.socket, piece: Piece) -> None:
        if isinstance(piece, bytes):
            size = len(piece)
            # What stands before a file goes into one packet with the beginning of it.
            more = self._number + 1 < len(self._pieces)
            rest = memoryview(piece)[self._position :]
            sent = connection.send(rest, socket.MSG_MORE if more else 0)
        else:
            size = piece.stop - piece.start
            sent = self._send_file(connection, piece, size - self._position)
        self._position += sent
        self.sent += sent
        if self._position >= size:
            self.close()
            self._number += 1
            self._position = 0

    def _send_file(self, connection: socket.socket, piece: FileRange, left: int) -> int:
        if self._open is None:
            self._open = self._blobs.open(piece.blob)
        if not left:
            return 0
        source = self._open.descriptor
        offset = self._open.start + piece.start + self._position
        if self._blobs.lends or pack_of(piece.blob) is None:
            sent = os.sendfile(connection.fileno(), source, offset, min(left, _STEP))
        else:
            sent = self._send_copy(connection, source, offset, left)
        if not sent:
            raise Truncated("the file of an instance is shorter than it was")
        return sent

    def _send_copy(
        self, connection: socket.socket, source: int, offset: int, left: int
    ) -> int:
        if not self._copied:
            copied = os.pread(source, min(left, _COPIED), offset)
            self._copied = memoryview(copied)
        sent = connection.send(self._copied) if self._copied else 0
        self._copied = self._copied[sent:]
        return sent

    def close(self) -> None:
        """Give the descriptor back; more than once does no harm."""
        if self._open is not None:
            self._open.close()
            self._open = None
