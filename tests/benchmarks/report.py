"""What was measured, as a table to read and as JSON to keep.

Each figure is the median over the rounds; a ratio is the peer's figure over ours, so
that above one is good for us.
"""

import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import psutil

from .rounds import Measure

# With fewer requests than this, a percentile is just the slowest one.
ENOUGH_FOR_PERCENTILES = 20
MEGABYTE = 1_000_000

HEADING = (
    *("workload", "wall ours", "peer", "ratio", "CPU/item ours", "peer", "ratio"),
    *("PSS+ ours", "peer", "p50/p99 ours", "peer", "MB/s ours", "peer"),
)


@dataclass(frozen=True, slots=True)
class Figures:
    """One server's medians for one workload."""

    wall: float  # seconds
    cpu_per_item: float  # seconds
    pss_growth: float  # bytes
    pss_peak: float  # bytes
    p50: float | None  # seconds
    p99: float | None
    bandwidth: float  # bytes a second
    client_cpu: float  # seconds; near the wall, the client was what was measured
    statuses: dict[str, int]  # of all rounds


@dataclass(frozen=True, slots=True)
class Row:
    """One workload for both."""

    title: str
    items: int
    ours: Figures | None
    peer: Figures | None

    @property
    def wall_ratio(self) -> float | None:
        """How many times longer the peer takes."""
        if self.ours is None or self.peer is None:
            return None
        return self.peer.wall / self.ours.wall

    @property
    def cpu_ratio(self) -> float | None:
        """How many times more processor time the peer needs."""
        if self.ours is None or self.peer is None or not self.ours.cpu_per_item:
            return None
        return self.peer.cpu_per_item / self.ours.cpu_per_item


def rows(measures: Iterable[Measure]) -> list[Row]:
    """The medians, in the order of the workloads."""
    by_title: dict[str, list[Measure]] = {}
    for measure in measures:
        by_title.setdefault(measure.workload.title, []).append(measure)
    return [
        Row(title, found[0].items, _figures(found, "ours"), _figures(found, "peer"))
        for title, found in by_title.items()
    ]


def _figures(measures: list[Measure], side: str) -> Figures | None:
    of_side = [measure for measure in measures if measure.side == side]
    if not of_side:
        return None
    statuses: dict[str, int] = {}
    for measure in of_side:
        for status, count in measure.statuses.items():
            statuses[status] = statuses.get(status, 0) + count
    return Figures(
        wall=median(measure.wall for measure in of_side),
        cpu_per_item=median(measure.spent.cpu / measure.items for measure in of_side),
        pss_growth=median(measure.spent.growth for measure in of_side),
        pss_peak=median(measure.spent.peak for measure in of_side),
        p50=_percentile(of_side, 0.50),
        p99=_percentile(of_side, 0.99),
        bandwidth=median(measure.moved / measure.wall for measure in of_side),
        client_cpu=median(measure.client_cpu for measure in of_side),
        statuses=statuses,
    )


def _percentile(measures: list[Measure], share: float) -> float | None:
    if len(measures[0].seconds) < ENOUGH_FOR_PERCENTILES:
        return None
    of_rounds = []
    for measure in measures:
        ordered = sorted(measure.seconds)
        of_rounds.append(ordered[min(len(ordered) - 1, int(share * len(ordered)))])
    return median(of_rounds)


def table(found: list[Row]) -> str:
    """The rows as text, in columns."""
    lines = [HEADING, *(_cells(row) for row in found)]
    widths = [
        max(len(line[column]) for line in lines) for column in range(len(HEADING))
    ]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    ours, peer = row.ours, row.peer
    return (
        row.title,
        *(_seconds(side and side.wall) for side in (ours, peer)),
        _ratio(row.wall_ratio),
        *(_seconds(side and side.cpu_per_item) for side in (ours, peer)),
        _ratio(row.cpu_ratio),
        *(
            f"{side.pss_growth / MEGABYTE:.1f} MB" if side else "-"
            for side in (ours, peer)
        ),
        *(_latencies(side) for side in (ours, peer)),
        *(f"{side.bandwidth / MEGABYTE:.0f}" if side else "-" for side in (ours, peer)),
    )


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.3f} s" if seconds >= 1 else f"{seconds * 1000:.2f} ms"


def _latencies(side: Figures | None) -> str:
    if side is None or side.p50 is None or side.p99 is None:
        return "-"
    return f"{side.p50 * 1000:.1f}/{side.p99 * 1000:.1f} ms"


def _ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def as_json(found: list[Row], conditions: dict[str, Any]) -> dict[str, Any]:
    """Everything, with what it was measured on."""
    return {
        "machine": {
            "system": platform.platform(),
            "python": platform.python_version(),
            "processors": psutil.cpu_count(),
            "memory": psutil.virtual_memory().total,
        },
        **conditions,
        "workloads": [
            {**asdict(row), "wall_ratio": row.wall_ratio, "cpu_ratio": row.cpu_ratio}
            for row in found
        ],
    }


def below(found: list[Row], floor: float) -> list[str]:
    """The rows in which the peer is ahead of us, as sentences."""
    sentences = []
    for row in found:
        for what, ratio in (("wall", row.wall_ratio), ("CPU", row.cpu_ratio)):
            if ratio is not None and ratio < floor:
                sentences.append(f"{row.title}: {what} ratio {ratio:.2f} < {floor}")
    return sentences
