"""The metrics as Prometheus reads them, made of the rows of all workers when asked.

Every metric is a line of `METRICS`; the manual lists the same ones, which a test holds it
to. Orthanc's names are there for dashboards that were made for it.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from gateway.telemetry.counters import (
    DELAYS,
    NO_ROUTE,
    SECONDS,
    STATUSES,
    STEP,
    STEPS,
    State,
    Telemetry,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_OURS = "dicomweb_gateway_"
_MEBIBYTE = 1024 * 1024
_ROUTE = ("method", "route")
_WORKER = ("worker",)

#: Name, what it counts, and the names of its labels.
METRICS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "requests": ("Requests answered", (*_ROUTE, "status")),
    "request_duration_seconds": ("Time from a request's head to its answer", _ROUTE),
    "received_bytes": ("Bytes of the bodies of requests", _ROUTE),
    "sent_bytes": ("Bytes of the bodies of answers", _ROUTE),
    "instances": ("Instances that came in, and what became of them", ("outcome",)),
    "instances_held": ("Instances held", ()),
    "studies_held": ("Studies held", ()),
    "stored_bytes": ("Bytes of all instances held", ()),
    "free_bytes": ("Bytes that the disks of files and index still take", ()),
    "jobs": ("Jobs by state", ("state",)),
    "workers": ("Processes that serve", ()),
    "requests_under_way": ("Requests under way", _WORKER),
    "parts_waiting": ("Instances that wait to be made durable", _WORKER),
    "part_bytes": ("Bytes of unfinished instances in memory", _WORKER),
    "reads": ("Reads of the index under way or waiting for a place", _WORKER),
    "event_loop_delay_seconds": ("How late the event loop comes", _WORKER),
    "resident_memory_bytes": ("Memory of the process", _WORKER),
    "cpu_seconds": ("Processor time of the process", _WORKER),
    "open_files": ("Open files and connections of the process", _WORKER),
    "start_time_seconds": ("When the process started, since 1970", _WORKER),
}

#: Orthanc's names.
ORTHANC_METRICS: Mapping[str, str] = {
    "orthanc_count_patients": "Patients held",
    "orthanc_count_studies": "Studies held",
    "orthanc_count_series": "Series held",
    "orthanc_count_instances": "Instances held",
    "orthanc_disk_size_mb": "Size of all instances held, in MiB",
    "orthanc_uncompressed_size_mb": "The same, before any compression",
    "orthanc_up_time_s": "Seconds since the start",
    "orthanc_rest_api_active_requests": "Requests under way",
    "orthanc_jobs_pending": "Jobs that wait",
    "orthanc_jobs_running": "Jobs that run",
    "orthanc_jobs_completed": "Jobs that ended",
    "orthanc_jobs_success": "Jobs that ended well",
    "orthanc_jobs_failed": "Jobs that failed",
    "orthanc_dicomweb_wadors_average_bandwidth_per_call_mbytes_per_second_5m": (
        "Average speed of retrievals by WADO-RS in the last five minutes"
    ),
    "orthanc_dicomweb_wadors_total_bytes_transferred": (
        "Bytes of all retrievals by WADO-RS"
    ),
}


@dataclass(frozen=True, slots=True)
class Held:
    """What is held, and how much room there is."""

    patients: int
    studies: int
    series: int
    instances: int
    size: int  # bytes
    free: int | None  # bytes; None if the disk cannot be asked


def exposition(telemetry: Telemetry, held: Held, jobs: Mapping[str, int]) -> bytes:
    """All metrics as text; blocks for some milliseconds."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Numbers(telemetry, held, jobs))
    return generate_latest(registry)


def names() -> list[str]:
    """The names of all metrics, as they are read."""
    counters = ("requests", "received_bytes", "sent_bytes", "instances", "cpu_seconds")
    ours = [f"{_OURS}{name}{'_total' * (name in counters)}" for name in METRICS]
    return [*ours, *ORTHANC_METRICS]


class _Numbers(Collector):
    """The numbers of one moment."""

    def __init__(
        self, telemetry: Telemetry, held: Held, jobs: Mapping[str, int]
    ) -> None:
        self._layout = telemetry.layout
        self._rows = telemetry.board.rows()
        self._sum = telemetry.board.added(self._rows)
        self._held = held
        self._jobs = jobs
        self._running = [
            (str(number), row)
            for number, row in enumerate(self._rows)
            if row[State.PROCESS]
        ]

    def collect(self) -> Iterator[Metric]:
        yield from self._of_routes()
        yield from self._of_instances()
        yield from self._of_workers()
        yield from self._of_processes()
        yield from self._as_orthanc()

    def _of_routes(self) -> Iterator[Metric]:
        requests = _counter("requests")
        durations = _histogram("request_duration_seconds")
        received, sent = _counter("received_bytes"), _counter("sent_bytes")
        for place, route in enumerate(self._layout.routes):
            cells = self._layout.route(place)
            statuses = self._sum[cells.statuses]
            if not any(statuses):
                continue
            labels = list(route if route != NO_ROUTE else ("other", "other"))
            for status, count in zip(("none", *STATUSES), statuses, strict=True):
                if count:
                    requests.add_metric([*labels, str(status)], count)
            _add(durations, labels, SECONDS, self._sum, cells.durations, cells.seconds)
            received.add_metric(labels, self._sum[cells.received])
            sent.add_metric(labels, self._sum[cells.sent])
        yield from (requests, durations, received, sent)

    def _of_instances(self) -> Iterator[Metric]:
        came = _counter("instances")
        counts = self._sum[self._layout.outcome_cells]
        for name, count in zip(self._layout.outcomes, counts, strict=True):
            came.add_metric([name], count)
        yield came
        yield _gauge("instances_held", self._held.instances)
        yield _gauge("studies_held", self._held.studies)
        yield _gauge("stored_bytes", self._held.size)
        if self._held.free is not None:
            yield _gauge("free_bytes", self._held.free)
        jobs = _gauge("jobs")
        for state, count in self._jobs.items():
            jobs.add_metric([state], count)
        yield jobs

    def _of_workers(self) -> Iterator[Metric]:
        yield _gauge("workers", len(self._running))
        for name, state in (
            ("requests_under_way", State.REQUESTS),
            ("parts_waiting", State.PARTS),
            ("part_bytes", State.PART_BYTES),
            ("reads", State.READS),
            ("start_time_seconds", State.STARTED),
        ):
            family = _gauge(name)
            for worker, row in self._running:
                family.add_metric([worker], row[state])
            yield family
        delays = _histogram("event_loop_delay_seconds")
        layout = self._layout
        for worker, row in self._running:
            _add(delays, [worker], DELAYS, row, layout.delays, layout.delay_seconds)
        yield delays

    def _of_processes(self) -> Iterator[Metric]:
        memory, files = _gauge("resident_memory_bytes"), _gauge("open_files")
        processor = _counter("cpu_seconds")
        for worker, row in self._running:
            with suppress(OSError):  # it has just ended
                seen = _look_at(int(row[State.PROCESS]))
                memory.add_metric([worker], seen.memory)
                processor.add_metric([worker], seen.seconds)
                files.add_metric([worker], seen.files)
        yield from (memory, processor, files)

    def _as_orthanc(self) -> Iterator[Metric]:
        values = {
            "count_patients": self._held.patients,
            "count_studies": self._held.studies,
            "count_series": self._held.series,
            "count_instances": self._held.instances,
            "disk_size_mb": self._held.size / _MEBIBYTE,
            "uncompressed_size_mb": self._held.size / _MEBIBYTE,
            "up_time_s": self._up_time(),
            "rest_api_active_requests": self._sum[State.REQUESTS],
            **_orthanc_jobs(self._jobs),
            "dicomweb_wadors_average_bandwidth_per_call_mbytes_per_second_5m": (
                self._speed()
            ),
            "dicomweb_wadors_total_bytes_transferred": self._sum[
                self._layout.retrieved_bytes
            ],
        }
        for name, text in ORTHANC_METRICS.items():
            yield GaugeMetricFamily(name, text, values[name.removeprefix("orthanc_")])

    def _up_time(self) -> float:
        """Seconds for which the worker that is there for longest has been."""
        started = [row[State.STARTED] for _, row in self._running]
        return max(0.0, time.time() - min(started)) if started else 0.0

    def _speed(self) -> float:
        """Average speed of the retrievals in the last steps (MB/s)."""
        oldest = time.monotonic() // STEP - STEPS
        speed = count = 0.0
        for row in self._rows:
            cells = row[self._layout.speeds]
            for step, speeds, retrievals in zip(*(iter(cells),) * 3, strict=True):
                if step > oldest:
                    speed += speeds
                    count += retrievals
        return speed / count if count else 0.0


def _orthanc_jobs(jobs: Mapping[str, int]) -> dict[str, int]:
    """States of jobs, as Orthanc groups them."""
    well, failed = jobs.get("Success", 0), jobs.get("Failure", 0)
    return {
        "jobs_pending": sum(jobs.get(s, 0) for s in ("Pending", "Paused", "Retry")),
        "jobs_running": jobs.get("Running", 0),
        "jobs_completed": well + failed,
        "jobs_success": well,
        "jobs_failed": failed,
    }


def _counter(name: str) -> CounterMetricFamily:
    text, labels = METRICS[name]
    return CounterMetricFamily(_OURS + name, text, labels=labels)


def _histogram(name: str) -> HistogramMetricFamily:
    text, labels = METRICS[name]
    return HistogramMetricFamily(_OURS + name, text, labels=labels)


def _gauge(name: str, value: float | None = None) -> GaugeMetricFamily:
    text, labels = METRICS[name]
    return GaugeMetricFamily(
        _OURS + name, text, value, labels=labels if value is None else None
    )


def _add(
    family: HistogramMetricFamily,
    labels: Sequence[str],
    bounds: Sequence[float],
    row: Sequence[float],
    cells: slice,
    total: int,
) -> None:
    """Add a histogram to its family: Prometheus wants each bucket with all below it."""
    bounds_as_text = (*map(str, bounds), "+Inf")
    counts = accumulate(row[cells])
    family.add_metric(
        labels, list(zip(bounds_as_text, counts, strict=True)), row[total]
    )


@dataclass(frozen=True, slots=True)
class _Process:
    """What the operating system says of a process."""

    memory: int  # bytes
    seconds: float  # of the processor
    files: int


def _look_at(process: int) -> _Process:
    """Raises OSError when it is gone."""
    folder = Path("/proc") / str(process)
    pages = int((folder / "statm").read_text().split()[1])
    # The name comes second, in parentheses; it may hold anything.
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return _Process(
        pages * os.sysconf("SC_PAGE_SIZE"),
        ticks / os.sysconf("SC_CLK_TCK"),
        sum(1 for _ in (folder / "fd").iterdir()),
    )
