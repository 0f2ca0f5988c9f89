"""Other processes for work that is long or that a hostile file could make go wrong.

They are started when they are first needed and bounded in memory. What one of them does
not survive is refused; the others are replaced with it.
"""

import asyncio
import contextlib
import ctypes
import multiprocessing
import os
import resource
import select
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any, Self, TypeVar

from gateway.errors import CannotTranscode

T = TypeVar("T")

#: Bytes of data that one process may hold: the largest frames, thrice.
MEMORY = 4 * 1024**3
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


class Pool:
    """So many processes; closed by `async with`."""

    def __init__(self, processes: int | None = None, memory: int = MEMORY) -> None:
        self._count = processes or os.cpu_count() or 1
        self._memory = memory
        self._lock = threading.Lock()
        self._executor: ProcessPoolExecutor | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        executor, self._executor = self._executor, None
        if executor is not None:
            # What is under way is for nobody any more, and may take long.
            for process in list((executor._processes or {}).values()):
                process.kill()
            await asyncio.to_thread(executor.shutdown, True, cancel_futures=True)

    @property
    def count(self) -> int:
        """How many things can be done at once."""
        return self._count

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """What a function of a module gives in another process."""
        executor, future = await asyncio.to_thread(self._submit, work, arguments)
        try:
            return await asyncio.wrap_future(future)
        except BrokenProcessPool as error:
            self._forget(executor)
            raise CannotTranscode("these pixels are too much for a codec") from error
        except MemoryError as error:
            raise CannotTranscode("these pixels need too much memory") from error

    def _submit(self, work: Callable[..., T], arguments: tuple[Any, ...]) -> Any:
        with self._lock:
            if self._executor is None:
                context = multiprocessing.get_context("forkserver")
                context.set_forkserver_preload(["gateway.dicom.job"])
                self._executor = ProcessPoolExecutor(
                    self._count, context, _bounded, (self._memory, os.getpid())
                )
            executor = self._executor
            try:
                return executor, executor.submit(work, *arguments)
            except BrokenProcessPool as error:
                self._executor = None
                raise CannotTranscode("the codecs have just failed") from error

    def _forget(self, executor: ProcessPoolExecutor) -> None:
        if self._executor is executor:
            self._executor = None
        executor.shutdown(wait=False)


def _bounded(memory: int, server: int) -> None:
    """Set up a process: bounded, deaf to the keyboard, gone when its parent is.

    Its parent forks for the server, and lives as long as any of its children: they have
    to see for themselves that the server is gone.
    """
    _end_with(server)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)


def _end_with(server: int) -> None:
    """End this process once that one has, however it did."""
    try:
        descriptor = os.pidfd_open(server)
    except ProcessLookupError:
        os._exit(1)
    except (OSError, AttributeError):
        return  # the system has no such thing

    def wait() -> None:
        select.select([descriptor], [], [])
        os._exit(1)

    threading.Thread(target=wait, name="end", daemon=True).start()
