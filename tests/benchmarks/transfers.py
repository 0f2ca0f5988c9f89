"""Two servers of a kind that send each other a study: how fast, how lean, at what cost.

One of them is told to send to the other, then to fetch the same back. Both are started
afresh before each, so that what a process grew by is all that the transfer cost it. What
is large, or many, is for two of ours, and a row is one of the two servers; the CT is for
two of the peer's as well, and its rows have the processor time of both together.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.peers import Running

from .archive import qido_instances
from .asking import FailedWorkloadError, ask, told
from .data import Collection
from .floors import NO_FLOOR, Floor
from .large import one_study, stow_large, stow_many, wado_large, wado_many
from .meter import Meter, Spent
from .rounds import Measure, Side
from .workload import Asked, Request, Workload, stow

# Instances of the one study that goes as many.
_MANY = 2000


@dataclass(frozen=True, slots=True)
class _Cargo:
    """A study that goes to and fro."""

    store: Asked  # what puts it there
    read: Asked  # what shows that it arrived
    study: Callable[[Collection], str]  # its StudyInstanceUID
    count: Callable[[Collection], int]  # instances
    size: Callable[[Collection], int]  # bytes
    together: bool = False  # one row for both servers
    floor: Floor = NO_FLOOR


_CARGOES = {
    "transfer-ct": _Cargo(
        lambda data: stow(data.ct, 10),
        qido_instances,
        lambda data: data.ct[0].study,
        lambda data: len(data.ct),
        lambda data: sum(one.size for one in data.ct),
        together=True,
        floor=Floor(cpu=3),
    ),
    "transfer-large": _Cargo(
        stow_large,
        wado_large,
        lambda data: data.large_study_uid,
        lambda data: 1,
        lambda data: data.large.size,
    ),
    "transfer-many": _Cargo(
        stow_many,
        wado_many,
        lambda data: data.many_study_uids[0],
        lambda data: data.many.count,
        lambda data: data.many.count * data.many.template.stat().st_size,
    ),
}

NAMES = tuple(_CARGOES)


def run(
    names: list[str],
    rounds: int,
    sides: list[Side],
    data: Collection,
    storage: Path,
    workers: int,
) -> Iterator[Measure]:
    """Measure each both ways."""
    data = one_study(data, _MANY)
    for number in range(rounds):
        for name in names:
            cargo = _CARGOES[name]
            both = [side for side in sides if side.name == "ours" or cargo.together]
            for side in both if number % 2 == 0 else both[::-1]:
                with tempfile.TemporaryDirectory(prefix=name, dir=storage) as folder:
                    pair = _Pair(side, Path(folder), name, data, workers)
                    yield from pair.sent()
                    yield from pair.fetched()


class _Pair:
    """Two servers on folders that outlive them."""

    def __init__(
        self, side: Side, folder: Path, name: str, data: Collection, workers: int
    ) -> None:
        self._side = side
        self._folder = folder
        self._name = name
        self._data = data
        self._workers = workers
        self._cargo = _CARGOES[name]

    def sent(self) -> Iterator[Measure]:
        """From the near one to the far one."""
        with self._side.start(self._folder / "near", self._workers, {}) as near:
            self._check("loading", near, self._cargo.store(self._data))
            resources = told(near, "GET", "/instances")
        yield from self._moved("stow", {"Resources": resources}, "far")

    def fetched(self) -> Iterator[Measure]:
        """From the far one to the near one, which holds nothing of it any more."""
        with self._side.start(self._folder / "near", self._workers, {}) as near:
            for study in told(near, "GET", "/studies"):
                told(near, "DELETE", f"/studies/{study}")
        study = {"Study": self._cargo.study(self._data)}
        yield from self._moved("retrieve", {"Resources": [study]}, "near")

    def _moved(self, call: str, body: dict[str, Any], to: str) -> Iterator[Measure]:
        with ExitStack() as stack:
            far = stack.enter_context(
                self._side.start(self._folder / "far", self._workers, {})
            )
            known = {"DicomWeb": {"Servers": {"far": [f"{far.url}/dicom-web/"]}}}
            near = stack.enter_context(
                self._side.start(self._folder / "near", self._workers, known)
            )
            meters = {"near": Meter(near.pid), "far": Meter(far.pid)}
            with meters["near"], meters["far"]:
                begun = time.monotonic()
                path = f"/dicom-web/servers/far/{call}"
                told(near, "POST", path, body | {"Synchronous": True})
                wall = time.monotonic() - begun
            arrived = {"near": near, "far": far}[to]
            self._check(call, arrived, self._cargo.read(self._data))
        spent = {side: meter.spent for side, meter in meters.items()}
        if self._cargo.together:
            yield self._measure(call, wall, _sum(spent["near"], spent["far"]))
            return
        for side, its in spent.items():
            yield self._measure(f"{call} {side}", wall, its)

    def _check(self, call: str, server: Running, requests: list[Request]) -> None:
        problems = ask(server, requests, connections=1)["problems"]
        if problems:
            raise FailedWorkloadError(f"{self._name}, {call}: {problems}")

    def _measure(self, part: str, wall: float, spent: Spent) -> Measure:
        count = self._cargo.count(self._data)
        workload = Workload(
            self._name,
            self._name,
            lambda _: [],
            lambda _: count,
            part=part,
            workers=self._workers,
            floor=self._cargo.floor,
        )
        return Measure(
            side=self._side.name,
            workload=workload,
            items=count,
            wall=wall,
            seconds=[wall],
            statuses={"200": 1},
            moved=self._cargo.size(self._data),
            client_cpu=0.0,
            spent=spent,
        )


def _sum(one: Spent, other: Spent) -> Spent:
    return Spent(one.cpu + other.cpu, one.peak + other.peak, one.before + other.before)
