"""Files that are to be sent and hold nothing but zeros, of any size and on no disk."""

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence

from gateway.places import Opened
from gateway.storage.blobs import DiskBlobs
from gateway.storage.reading import FileRange, Piece, Reading
from gateway.storage.sending import Sending


class Zeros(DiskBlobs):
    """Blobs whose name is their size."""

    lends = True

    def __init__(self) -> None:
        pass  # no folder

    def open(self, name: str) -> Opened:
        descriptor = os.memfd_create(name)
        os.ftruncate(descriptor, int(name))
        return Opened(descriptor)

    async def read(self, pieces: Sequence[Piece]) -> AsyncGenerator[memoryview, None]:
        """The bytes of the pieces."""
        reading = Reading(self, pieces)
        try:
            while chunk := await asyncio.to_thread(reading.fill):
                yield chunk
        finally:
            reading.close()

    def sending(self, pieces: Sequence[Piece]) -> Sending:
        """The pieces, to be pushed to a socket."""
        return Sending(self, pieces)


def zeros(size: int, there: int | None = None) -> FileRange:
    """A file that is said to be so large, and is if nothing else is said."""
    return FileRange(str(size if there is None else there), 0, size)
