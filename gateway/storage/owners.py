"""Which processes are alive, as the kernel knows it.

Each process holds the lock of a file while it lives. However it ends, the lock is free
from then on; no heartbeat, no guess, and a process that only stands still is not taken
for dead.
"""

import asyncio
import contextlib
import fcntl
import os
import secrets
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_FOLDER = "owners"
_DOOR = "owners.lock"


class Owners:
    """This process among those that share a folder; opened by `async with`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / _FOLDER
        self._door = folder / _DOOR
        self._lock = -1
        self.token = secrets.token_hex(8)  # the name of this process
        self.alone = False  # nobody else was alive when it came
        self.since = 0.0  # when it came, seconds since 1970

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._enter)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self._leave)

    def _enter(self) -> None:
        """Come in while nobody else does: of several that start, one is the first."""
        self._folder.mkdir(mode=0o750, exist_ok=True)
        door = os.open(self._door, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(door, fcntl.LOCK_EX)
            lives = [self._lives(path) for path in self._folder.iterdir()]
            self.alone = not any(lives)
            self.since = time.time()
            self._lock = os.open(
                self._folder / self.token,
                os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC,
                0o640,
            )
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        finally:
            os.close(door)

    def _leave(self) -> None:
        (self._folder / self.token).unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = -1

    def _lives(self, path: Path) -> bool:
        """Whether a file's process is alive; the file of a dead one is removed."""
        if _is_held(path):
            return True
        path.unlink(missing_ok=True)
        return False

    def others(self) -> bool:
        """Whether other processes live, or died without a word; blocks, a little."""
        return any(path.name != self.token for path in self._folder.iterdir())

    def alive(self, token: str) -> bool:
        """Whether the process of this name lives; blocks, a little."""
        return bool(token) and _is_held(self._folder / token)


def _is_held(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False
