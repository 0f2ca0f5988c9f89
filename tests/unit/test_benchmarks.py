"""What the benchmarks say must be true before anybody believes a figure."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from gateway.storage.migrations import VERSION
from tests.benchmarks import flushing, million, multitude, phantom, report
from tests.benchmarks.__main__ import arguments, workloads
from tests.benchmarks.data import Sizes
from tests.benchmarks.floors import Floor
from tests.benchmarks.meter import Spent
from tests.benchmarks.rounds import Measure
from tests.benchmarks.workload import Workload

FLUSHES = """
import os, sys, threading, time
file = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
begun = time.monotonic()
os.fdatasync(file)
alone = time.monotonic() - begun
threads = [threading.Thread(target=os.fsync, args=(file,)) for _ in range(8)]
begun = time.monotonic()
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(alone, time.monotonic() - begun)
"""


def measure(side: str, workers: int, wall: float, floor: Floor) -> Measure:
    row = Workload(
        "row", "row", lambda _: [], lambda _: 1, workers=workers, floor=floor
    )
    spent = Spent(cpu=wall / 2, peak=3_000_000, before=1_000_000)
    return Measure(side, row, 1, wall, [wall] * 100, {"200": 100}, 10, 0.0, spent)


def test_every_row_has_a_name_of_its_own() -> None:
    rows = workloads(arguments([]).workload, None)
    assert len({row.title for row in rows}) == len(rows)


def test_rows_have_their_own_workers_unless_told() -> None:
    names = arguments([]).workload
    two = {row.name for row in workloads(names, None) if row.workers == 2}
    assert two == {"stow-10", "rendered", "job"}
    both = arguments(["--workers", "1", "2", "--workload", "job"])
    assert [row.workers for row in workloads(both.workload, both.workers)] == [1, 2]


def test_the_table_says_whether_a_floor_is_met() -> None:
    measures = [
        measure(side, workers, wall, Floor(wall=2, cpu=5, p99=0.5))
        for workers in (1, 2)
        for side, wall in (("ours", 1.0), ("peer", 4.0))
    ]
    rows = report.rows(measures)
    assert [(row.workers, row.wall_ratio) for row in rows] == [(1, 4.0), (2, 4.0)]
    line = report.table(rows).splitlines()[1]
    assert "4.00 (>=2 met)" in line
    assert "4.00 (>=5 MISSED)" in line
    assert "1000.0/1000.0 ms (<=500 MISSED)" in line
    told = report.missed(rows[:1])
    assert told == ["row (1): CPU ratio 4.00 < 5", "row (1): p99 1.0 s > 0.5"]


def test_a_row_without_a_floor_must_not_be_behind() -> None:
    measures = [measure("ours", 1, 2.0, Floor()), measure("peer", 1, 1.0, Floor())]
    assert len(report.missed(report.rows(measures))) == 2


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_flushes_take_their_time_beside_each_other(tmp_path: Path) -> None:
    made = flushing.library(tmp_path)
    slow = flushing.environment(made, 40, tmp_path / "server") | {
        "LD_PRELOAD": str(made)
    }
    assert (tmp_path / "server" / made.name).exists()
    command = [sys.executable, "-c", FLUSHES, str(tmp_path / "file")]
    told = subprocess.run(
        command, env=os.environ | slow, check=True, capture_output=True, text=True
    )
    alone, together = map(float, told.stdout.split())
    assert alone >= 0.04
    assert 0.04 <= together < 8 * 0.04


def test_the_multitude_is_what_its_searches_expect(tmp_path: Path) -> None:
    place = multitude.index(tmp_path, 2_000)
    assert f"schema-{VERSION}" in place.name
    assert multitude.index(tmp_path, 2_000) == place  # it is there already
    (tmp_path / "storage").mkdir()
    multitude.copy(place, tmp_path / "storage")
    studies = list(multitude.studies(2_000))
    with closing(sqlite3.connect(tmp_path / "storage" / "gateway.db")) as held:
        (instances,) = held.execute("SELECT instances FROM totals").fetchone()
        names = held.execute("SELECT uid, instance_count, modalities FROM studies")
        assert instances == sum(study.size for study in studies) >= 2_000
        assert sorted(names) == sorted(
            (study.uid, study.size, "\\".join(sorted(set(study.modalities))))
            for study in studies
        )


def test_no_search_among_the_million_is_asked_twice() -> None:
    studies = tuple(multitude.studies(Sizes().million))
    assert len(studies) > 10_000
    for searches in (
        million._names(million._prefix, str.startswith),
        million._names(million._infix, str.__contains__),
        million._by("StudyDate", lambda study: study.date),
        million._ranges,
        million._modalities,
        million._pages,
        million._pages_of_instances,
        million._series,
        million._instances,
    ):
        paths = [request["path"] for request in searches(studies)]
        assert len(set(paths)) == len(paths) >= 100


def test_slices_of_the_ct_are_those_of_a_body() -> None:
    slices = [
        np.frombuffer(phantom.stored(number, 400), "<u2").reshape(512, 512)
        for number in (300, 301, 300)
    ]
    one, following, again = (each.astype(int) + phantom.INTERCEPT for each in slices)
    liver = one[240:260, 160:180]
    assert abs(liver.mean() - 110) < 5
    assert 10 < liver.std() < 20
    assert abs(one[:40].mean() - phantom.AIR) < 3
    assert (one == again).all()
    assert 10 < np.median(np.abs(one - following)) < 20  # the noise, and little else
