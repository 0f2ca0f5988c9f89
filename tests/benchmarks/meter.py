"""What a server spends: processor time and memory of its whole process tree.

Proportional set size, not resident, so that workers which share their pages with the
process they were forked from are not charged for them twice.
"""

import contextlib
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

EVERY = 0.05  # seconds between two looks at the memory
LOOKS_PER_FAMILY = 20  # listing the children costs more than reading them
QUIET = 0.25  # seconds without work after which a server has finished
PATIENCE = 15.0  # seconds to wait for that


@dataclass(frozen=True, slots=True)
class Spent:
    """What one workload cost the server."""

    cpu: float  # seconds of user and system time
    peak: int  # bytes of proportional set size at the highest
    before: int  # and just before the workload

    @property
    def growth(self) -> int:
        """How many bytes the workload added at its highest."""
        return max(0, self.peak - self.before)


class Meter:
    """Measures while the ``with`` block runs, and until the server is quiet again."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._family = [pid]
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.spent = Spent(0.0, 0, 0)

    def __enter__(self) -> "Meter":
        wait_until_quiet(self._root.pid)
        self._family = family(self._root)
        self._before = self._peak = proportional_set_size(self._family)
        self._cpu_before = cpu_time(self._root)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Work that was put off until after the answer is part of the cost.
        wait_until_quiet(self._root.pid)
        self._done.set()
        self._thread.join()
        cpu = cpu_time(self._root) - self._cpu_before
        self.spent = Spent(cpu, self._peak, self._before)

    def _watch(self) -> None:
        look = 0
        while not self._done.wait(EVERY):
            look += 1
            if look % LOOKS_PER_FAMILY == 0:
                self._family = family(self._root)
            self._peak = max(self._peak, proportional_set_size(self._family))


def family(root: psutil.Process) -> list[int]:
    """The process ids of a process and all that descend from it."""
    try:
        return [root.pid, *(child.pid for child in root.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def cpu_time(root: psutil.Process) -> float:
    """Seconds that the tree has used, those of children that have ended included."""
    total = 0.0
    for pid in family(root):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = psutil.Process(pid).cpu_times()
            total += times.user + times.system
            total += times.children_user + times.children_system
    return total


def proportional_set_size(pids: list[int]) -> int:
    """The sum over these processes in bytes; one that has ended counts nothing."""
    return sum(_pss(pid) for pid in pids)


def _pss(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def wait_until_quiet(pid: int) -> None:
    """Return when the tree has used next to nothing for a moment."""
    root = psutil.Process(pid)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        before = cpu_time(root)
        time.sleep(QUIET)
        if cpu_time(root) - before <= 0.02:
            return
