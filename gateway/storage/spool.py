"""Bytes that wait for the end of their request, in memory while they are few.

Beyond a mebibyte they lie in a file without a name beside what arrives: it is gone when
it is closed, and no crash leaves it behind. One file takes whatever a request sends.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from gateway.storage.disk import as_our_own
from gateway.storage.threads import in_thread

T = TypeVar("T")

_MEMORY = 1024 * 1024


class Spool:
    """Takes bytes in one after the other; gives them back from anywhere."""

    def __init__(self, folder: Path) -> None:
        self.size = 0
        self._folder = folder
        self._tail = bytearray()  # what is not in the file
        self._file = -1
        self._in_file = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file >= 0:
            await in_thread(lambda: os.close(self._file))
            self._file = -1

    async def write(self, chunk: bytes | memoryview) -> None:
        """Add bytes; raises StorageFull."""
        self._tail += chunk
        self.size += len(chunk)
        if len(self._tail) >= _MEMORY:
            await in_thread(self._spill)

    def _spill(self) -> None:
        try:
            if self._file < 0:
                # Unbuffered, and the descriptor alone is kept: reads are positioned.
                with tempfile.TemporaryFile(dir=self._folder, buffering=0) as file:
                    self._file = os.dup(file.fileno())
            left = memoryview(bytes(self._tail))
            while left:
                left = left[os.write(self._file, left) :]
        except OSError as error:
            raise as_our_own(error) from error
        self._in_file = self.size
        self._tail.clear()

    async def work(self, work: Callable[[], T]) -> T:
        """Run work that reads, in a thread, to its end even if nobody waits for it."""
        return await in_thread(work)

    def read_at(self, offset: int, size: int) -> bytes:
        """Some of the bytes, fewer at the end; it may block, from any thread.

        Not while something is written.
        """
        if offset >= self._in_file:
            start = offset - self._in_file
            return bytes(self._tail[start : start + size])
        found = os.pread(self._file, min(size, self._in_file - offset), offset)
        if found and len(found) < size and offset + len(found) == self._in_file:
            found += self._tail[: size - len(found)]
        return found
