"""What was measured, as a table to read and as JSON to keep.

Each figure is the median over the rounds; a ratio is the peer's figure over ours, so
that above one is good for us.
"""

import platform
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import psutil

from .floors import Floor, said
from .rounds import Measure

# With fewer requests than this, a percentile is just the slowest one.
ENOUGH_FOR_PERCENTILES = 20
MEGABYTE = 1_000_000

HEADING = (
    *(
        "workload",
        "workers",
        "wall ours",
        "peer",
        "ratio",
        "CPU/item ours",
        "peer",
        "ratio",
    ),
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
    workers: int  # processes of the gateway
    items: int
    floor: Floor
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
    found: dict[tuple[str, int], list[Measure]] = {}
    for measure in measures:
        row = measure.workload
        found.setdefault((row.title, row.workers), []).append(measure)
    return [
        Row(
            *key,
            of_row[0].items,
            of_row[0].workload.floor,
            _figures(of_row, "ours"),
            _figures(of_row, "peer"),
        )
        for key, of_row in found.items()
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
    ours, peer, floor = row.ours, row.peer, row.floor
    return (
        row.title,
        str(row.workers),
        *(_seconds(side and side.wall) for side in (ours, peer)),
        _ratio(row.wall_ratio, floor.wall),
        *(_seconds(side and side.cpu_per_item) for side in (ours, peer)),
        _ratio(row.cpu_ratio, floor.cpu),
        _growth(ours, floor.growth),
        _growth(peer),
        _latencies(ours, floor.p99),
        _latencies(peer),
        _bandwidth(ours, floor.bandwidth),
        _bandwidth(peer),
    )


def _in(unit: float, floor: float | None) -> float | None:
    return floor and floor / unit


def _growth(side: Figures | None, floor: float | None = None) -> str:
    if side is None:
        return "-"
    growth = side.pss_growth / MEGABYTE
    return said(f"{growth:.1f} MB", growth, _in(MEGABYTE, floor), most=True)


def _bandwidth(side: Figures | None, floor: float | None = None) -> str:
    if side is None:
        return "-"
    bandwidth = side.bandwidth / MEGABYTE
    return said(f"{bandwidth:.0f}", bandwidth, _in(MEGABYTE, floor), most=False)


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.3f} s" if seconds >= 1 else f"{seconds * 1000:.2f} ms"


def _latencies(side: Figures | None, floor: float | None = None) -> str:
    if side is None or side.p50 is None or side.p99 is None:
        return "-"
    p99 = side.p99 * 1000
    shown = f"{side.p50 * 1000:.1f}/{p99:.1f} ms"
    return said(shown, p99, _in(0.001, floor), most=True)


def _ratio(ratio: float | None, floor: float | None) -> str:
    return "-" if ratio is None else said(f"{ratio:.2f}", ratio, floor, most=False)


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
        "missed": missed(found),
    }


def missed(found: list[Row]) -> list[str]:
    """The floors that are not met, as sentences; a row without one must not be behind."""
    sentences = []
    for row in found:
        floor = row.floor
        name = f"{row.title} ({row.workers})"
        has_floor = floor.cpu or floor.wall
        for what, ratio, least in (
            ("wall", row.wall_ratio, floor.wall if has_floor else 1.0),
            ("CPU", row.cpu_ratio, floor.cpu if has_floor else 1.0),
        ):
            if ratio is not None and least is not None and ratio < least:
                sentences.append(f"{name}: {what} ratio {ratio:.2f} < {least:g}")
        sentences += (f"{name}: {what}" for what in _missed_alone(row))
    return sentences


def _missed_alone(row: Row) -> Iterator[str]:
    """What ours has to show without a peer, and does not."""
    ours, floor = row.ours, row.floor
    if ours is None:
        return
    if floor.p99 is not None and (ours.p99 or 0) > floor.p99:
        yield f"p99 {ours.p99} s > {floor.p99}"
    if floor.growth is not None and ours.pss_growth > floor.growth:
        yield f"grew by {ours.pss_growth:.0f} bytes > {floor.growth:.0f}"
    if floor.bandwidth is not None and ours.bandwidth < floor.bandwidth:
        yield f"{ours.bandwidth:.0f} bytes a second < {floor.bandwidth:.0f}"
