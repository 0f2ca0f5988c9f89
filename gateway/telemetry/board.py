"""Numbers that all worker processes see: a row for each of them, in shared memory.

The memory is made before the workers are. Each writes to its own row alone, so that
counting needs no lock and no system call; whoever is asked adds the rows up. A worker that
takes the place of a fallen one goes on in its row: nothing that was counted is lost, and
there are no files to clean up. What the rows mean is for `counters`.
"""

import mmap
from collections.abc import Sequence

_CELL = 8  # bytes of a number
_LINE = 16  # cells that no two workers share: processors fetch memory in such pieces


class Board:
    """Rows of numbers, all zero at first, and one more row that everybody may write."""

    def __init__(self, width: int, workers: int = 1) -> None:
        self.workers = workers
        self._width = -(-width // _LINE) * _LINE
        memory = mmap.mmap(-1, (workers + 1) * self._width * _CELL)
        self._cells = memoryview(memory).cast("d")

    def row(self, worker: int) -> "memoryview[float]":
        """The numbers of a worker, counted from 0."""
        start = worker * self._width
        return self._cells[start : start + self._width]

    @property
    def shared(self) -> "memoryview[float]":
        """The numbers that are of no worker alone; who writes last wins."""
        return self.row(self.workers)

    def rows(self) -> list[list[float]]:
        """A copy of the row of each worker."""
        return [list(self.row(worker)) for worker in range(self.workers)]

    @staticmethod
    def added(rows: Sequence[Sequence[float]]) -> list[float]:
        """The sum of rows, cell by cell."""
        return [sum(cells) for cells in zip(*rows, strict=True)]
