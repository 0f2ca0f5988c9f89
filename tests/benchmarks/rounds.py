"""Runs the workloads, ours and the peer's in turn, and takes the measures.

The two never run at the same time, and which one begins changes with the round, so
that a machine that gets slower or warmer is slower for both.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from tests.peers import Running

from .asking import FailedWorkloadError, ask
from .data import Collection
from .meter import Meter, Spent
from .workload import Request, Workload

# What is asked beside a workload has begun by then.
SECONDS_TO_BEGIN = 60.0

_LARGE = 64 * 1024 * 1024  # bytes

#: Starts a server in a folder, with so many workers and more options.
Starter = Callable[[Path, int, dict[str, Any]], AbstractContextManager[Running]]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two that are compared."""

    name: str  # "ours" or "peer"
    start: Starter


@dataclass(frozen=True, slots=True)
class Measure:
    """One workload, one server, one round."""

    side: str
    workload: Workload
    items: int
    wall: float  # seconds from the first request to the end of the last answer
    seconds: list[float]  # of each request
    statuses: dict[str, int]
    moved: int  # bytes of bodies, whichever way they went
    client_cpu: float
    spent: Spent


def run(
    rounds: int,
    sides: list[Side],
    workloads: list[Workload],
    data: Collection,
    storage: Path,
) -> Iterator[Measure]:
    """Measure everything, a row at a time."""
    groups = dict.fromkeys((workload.group, workload.workers) for workload in workloads)
    for number in range(rounds):
        for group in groups:
            rows = [row for row in workloads if (row.group, row.workers) == group]
            asked = list(_asked(sides, rows))
            # The other one begins in every second round.
            for side, its in asked if number % 2 == 0 else asked[::-1]:
                yield from _group(side, its, data, storage)


def _asked(
    sides: list[Side], rows: list[Workload]
) -> Iterator[tuple[Side, list[Workload]]]:
    """Who is asked which rows of a group."""
    for side in sides:
        its = [row for row in rows if side.name == "ours" or row.rival == "orthanc"]
        if its:
            yield side, its
    empty = [row for row in rows if row.rival == "empty"]
    if empty and sides[0].name == "ours":
        yield Side("peer", sides[0].start), empty


def _group(
    side: Side, rows: list[Workload], data: Collection, storage: Path
) -> Iterator[Measure]:
    folder = Path(tempfile.mkdtemp(prefix=f"{side.name}-", dir=storage))
    first = rows[0]
    if first.fills is not None and side.name == "ours":
        (folder / "storage").mkdir()
        first.fills(data, folder)
    with side.start(folder, first.workers, {}) as server:
        if first.loads is not None:
            load = ask(server, first.loads(data), connections=4)
            _check(side, "loading", load)
        for row in rows:
            yield _measure(side, row, server, data)
    _remove_large(folder)


def _remove_large(folder: Path) -> None:
    """Make room; what is small stays until all is measured.

    Minutes after many files were removed, ext4 still takes ten times longer to make one.
    """
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size > _LARGE:
            path.unlink()


def _measure(side: Side, row: Workload, server: Running, data: Collection) -> Measure:
    requests = row.told(server, data) if row.told else row.requests(data)
    # What an earlier round has left to write is not this one's to wait for.
    os.sync()
    meter = Meter(server.pid)
    with ThreadPoolExecutor(1) as pool:
        beside: list[Future[dict[str, Any]]] = []

        def begin() -> None:
            """Let what is asked beside begin; the meter has seen a quiet server."""
            if row.beside is not None:
                begun, asked = Event(), row.beside(data)
                beside.append(pool.submit(ask, server, asked, 4, begin=begun.set))
                begun.wait(SECONDS_TO_BEGIN)

        told = ask(server, requests, row.connections, row.repeat, meter, begin)
        for other in beside:
            _check(side, f"beside {row.title}", other.result())
    _check(side, row.title, told)
    return Measure(
        side=side.name,
        workload=row,
        items=row.items(data),
        wall=told["wall"],
        seconds=told["seconds"],
        statuses=told["statuses"],
        moved=max(told["received"], _sent(requests, data)),
        client_cpu=told["client_cpu"],
        spent=meter.spent,
    )


def _sent(requests: list[Request], data: Collection) -> int:
    total = 0
    for request in requests:
        body = request.get("body", {})
        if body.get("kind") == "large":
            total += data.large.size
        elif body.get("kind") == "many":
            total += data.many.count * data.many.template.stat().st_size
        else:
            total += sum(Path(file).stat().st_size for file in body.get("files", []))
    return total


def _check(side: Side, title: str, told: dict[str, Any]) -> None:
    if told["problems"]:
        problems = "\n  ".join(told["problems"])
        raise FailedWorkloadError(f"{side.name}, {title}:\n  {problems}")
