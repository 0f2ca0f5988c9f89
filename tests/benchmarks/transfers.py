"""Two gateways that send each other what is large, or many: how fast, and how lean.

One of them is told to send to the other, then to fetch the same back. Both are started
afresh before each, so that what a process grew by is all that the transfer cost it.
What arrived is compared by SHA-256.
"""

import json
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests import peers

from .data import Collection
from .meter import Meter
from .rounds import FailedWorkloadError, Measure, Request, ask
from .workloads import WORKLOADS, Workload

#: Instances of the one study that goes as many.
MANY = 2000

#: The name here, and that of the workload which stores and reads the same.
NAMES = {"transfer-large": "large", "transfer-many": "many"}

_PATIENCE = 3600.0  # seconds


def run(
    names: list[str], rounds: int, data: Collection, storage: Path, workers: int
) -> Iterator[Measure]:
    """Measure each both ways, on both sides."""
    many = replace(data.many, count=min(MANY, data.many.count), studies=1)
    one_study = replace(data, many=many)
    for _ in range(rounds):
        for name in names:
            with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=storage) as folder:
                pair = _Pair(Path(folder), name, one_study, workers)
                yield from pair.sent()
                yield from pair.fetched()


class _Pair:
    """Two gateways on folders that outlive them."""

    def __init__(self, folder: Path, name: str, data: Collection, workers: int) -> None:
        self._folder = folder
        self._name = name
        self._data = data
        self._workers = workers
        store, read = (row for row in WORKLOADS if row.name == NAMES[name])
        self._store, self._read = store.requests(data), read.requests(data)
        self._count = store.items(data)
        self._large = NAMES[name] == "large"
        self._study = data.large_study_uid if self._large else data.many_study_uids[0]

    def sent(self) -> Iterator[Measure]:
        """From the near one to the far one."""
        with peers.gateway(self._folder / "near", self._workers) as near:
            _checked("loading", near, self._store)
            found = _asked(near, "GET", f"/dicom-web/studies/{self._study}/series")
            resources = _asked(near, "GET", "/instances")
        assert len(found) == 1
        body = {"Resources": resources}
        yield from self._moved("stow", body, "far")

    def fetched(self) -> Iterator[Measure]:
        """From the far one to the near one, which holds nothing of it any more."""
        with peers.gateway(self._folder / "near", self._workers) as near:
            _asked(near, "DELETE", f"/dicom-web/studies/{self._study}")
        yield from self._moved(
            "retrieve", {"Resources": [{"Study": self._study}]}, "near"
        )

    def _moved(self, call: str, body: Any, to: str) -> Iterator[Measure]:
        with peers.gateway(self._folder / "far", self._workers) as far:
            known = {"DicomWeb": {"Servers": {"far": [f"{far.url}/dicom-web/"]}}}
            place = self._folder / "near"
            with peers.gateway(place, self._workers, known) as near:
                meters = {"near": Meter(near.pid), "far": Meter(far.pid)}
                with meters["near"], meters["far"]:
                    begun = time.monotonic()
                    path = f"/dicom-web/servers/far/{call}"
                    content = _asked(near, "POST", path, body)
                    wall = time.monotonic() - begun
                count = (
                    "SentInstancesCount" if call == "stow" else "ReceivedInstancesCount"
                )
                if int(content[count]) != self._count:
                    raise FailedWorkloadError(f"{self._name}, {call}: {content}")
                arrived = {"near": near, "far": far}[to]
                _checked(f"{self._name}, {call}", arrived, self._read)
        for side, meter in meters.items():
            yield self._measure(f"{call} {side}", wall, meter)

    def _measure(self, part: str, wall: float, meter: Meter) -> Measure:
        many = self._data.many
        each = many.template.stat().st_size
        workload = Workload(
            self._name, self._name, lambda _: [], lambda _: self._count, part=part
        )
        return Measure(
            side="ours",
            workload=workload,
            items=self._count,
            wall=wall,
            seconds=[wall],
            statuses={"200": 1},
            moved=self._data.large.size if self._large else many.count * each,
            client_cpu=0.0,
            spent=meter.spent,
        )


def _checked(title: str, server: peers.Running, requests: list[Request]) -> None:
    told = ask(server, requests, connections=1)
    if told["problems"]:
        raise FailedWorkloadError(f"{title}: {told['problems']}")


def _asked(server: peers.Running, method: str, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(
        server.url + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_PATIENCE) as answer:
        return json.loads(answer.read() or b"null")
