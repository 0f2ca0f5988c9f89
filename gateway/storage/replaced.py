"""Blobs on their way out: those whose place others took, and those still being read.

An answer names its files before it sends them, and a slow reader comes to the last one
minutes later; and what somebody reads within a pack cannot go until he has it. Their names
are in the index as garbage all the while: whatever happens, the next start removes them.
"""

import threading
import time
from collections import deque
from collections.abc import Sequence

from gateway.storage.blobs import DiskBlobs

#: Seconds that a replaced file stays.
STAYS = 300.0

#: Seconds after which is tried again what somebody was just reading.
BUSY = 15.0


class Replaced:
    """Replaced blobs on their way out. Its methods may be called from any thread."""

    def __init__(self, blobs: DiskBlobs) -> None:
        self._blobs = blobs
        self._lock = threading.Lock()
        self._leaving: deque[tuple[float, list[str]]] = deque()
        self._busy: deque[tuple[float, list[str]]] = deque()
        self._gone: list[str] = []

    def add(self, names: Sequence[str]) -> None:
        """Let these stay for a while, and remove those whose time has come; it blocks."""
        if names:
            with self._lock:
                self._leaving.append((time.monotonic() + STAYS, list(names)))
        self.remove()

    def remove(self, *, all_of_them: bool = False) -> bool:
        """Remove those whose time has come, or all; whether there were any. It blocks."""
        names: list[str] = []
        with self._lock:
            now = time.monotonic()
            for some in (self._leaving, self._busy):
                while some and (all_of_them or some[0][0] <= now):
                    names += some.popleft()[1]
        if names:
            gone = self.remove_now(names)
            with self._lock:
                self._gone += gone
        return bool(names)

    def remove_now(self, names: Sequence[str]) -> list[str]:
        """Remove blobs; those that are gone. The others stay for a while. It blocks."""
        busy = set(self._blobs.remove(names))
        if busy:
            with self._lock:
                self._busy.append((time.monotonic() + BUSY, sorted(busy)))
        return [name for name in names if name not in busy]

    def gone(self) -> list[str]:
        """The names of those removed since this was asked last: garbage no more."""
        with self._lock:
            names, self._gone = self._gone, []
        return names
