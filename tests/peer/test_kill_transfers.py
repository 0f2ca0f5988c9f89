"""SIGKILL in the middle of a transfer: it goes on, sends little twice, loses nothing.

``GATEWAY_KILLS=20`` sets how often each job is killed on its way; the default is once.
"""

import json
import os
import random
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.dicom.hierarchy import orthanc_id
from tests.factories import content_type, dicom_file, multipart
from tests.peer.counting import Way, way_to
from tests.peer.killing import ROOT, Server, answer_of, check_strays

pytestmark = [pytest.mark.peer, pytest.mark.slow]

KILLS = int(os.environ.get("GATEWAY_KILLS", "1"))
SEED = int(os.environ.get("GATEWAY_SEED", "0")) or random.randrange(1, 1 << 32)
STUDY = "1.2.3.1"
COUNT = 40
PIXELS = 200_000  # bytes of each instance
SPEED = 16e6  # bytes a second of a connection
PATIENCE = 60.0  # seconds for a job


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "far").mkdir()
    server = Server(tmp_path / "far", 1)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def way(far: Server) -> Iterator[Way]:
    with way_to(far.port, SPEED) as made:
        yield made


def gateway_beside(folder: Path, way: Way, workers: int, megabytes: int) -> Server:
    (folder / "near").mkdir()
    servers = {"far": [f"http://127.0.0.1:{way.port}{ROOT}/"]}
    options = {"Servers": servers, "StowMaxSize": megabytes}
    return Server(folder / "near", workers, DicomWeb=options)


def ask(
    server: Server, method: str, path: str, body: Any = None, **headers: str
) -> Any:
    with closing(server.connect()) as connection:
        connection.request(method, path, body, headers)
        answer = answer_of(connection)
        assert answer.status == 200, answer
        return json.loads(answer.body)


def fill(server: Server) -> int:
    """Store the study; its bytes."""
    files = [
        dicom_file(
            SOPInstanceUID=f"1.2.9.{number}",
            SeriesInstanceUID=f"{STUDY}.{number % 2}",
            BitsAllocated=8,
            PixelData=random.Random(number).randbytes(PIXELS),
        )
        for number in range(COUNT)
    ]
    kind = {"Content-Type": content_type()}
    ask(server, "POST", f"{ROOT}/studies", multipart(*files), **kind)
    return sum(map(len, files))


def files_of(server: Server) -> dict[str, bytes]:
    return {
        identifier: server.get(f"/instances/{identifier}/file").body
        for identifier in ask(server, "GET", "/instances")
    }


def submit(server: Server, call: str, **body: Any) -> str:
    told = ask(
        server,
        "POST",
        f"{ROOT}/servers/far/{call}",
        json.dumps({"Synchronous": False, **body}),
    )
    return str(told["ID"])


def kill_on_the_way(near: Server, moved: Any, size: int, kills: int = KILLS) -> None:
    """Kill it as often as wanted, each time after some more bytes have moved."""
    chance = random.Random(SEED)
    print(f"GATEWAY_SEED={SEED}")
    for turn in range(kills):
        share = (turn + chance.uniform(0.3, 0.8)) / kills
        deadline = time.monotonic() + PATIENCE
        while moved() < share * size and time.monotonic() < deadline:
            time.sleep(0.002)
        near.kill()
        assert moved() < 2 * size
        near.start()


def finished(server: Server, job_id: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        job = ask(server, "GET", f"/jobs/{job_id}?wait=5")
        if job["State"] in ("Success", "Failure"):
            return job
        time.sleep(0.05)
    raise AssertionError(f"the job does not end: {job}")


@pytest.mark.parametrize(
    ("workers", "megabytes", "kills"),
    [
        pytest.param(2, 1, KILLS, id="in batches"),
        # What is not confirmed is sent again: one request stands one kill.
        pytest.param(1, 128, 1, id="in one"),
    ],
)
def test_a_killed_stow_goes_on(
    tmp_path: Path, far: Server, way: Way, workers: int, megabytes: int, kills: int
) -> None:
    near = gateway_beside(tmp_path, way, workers, megabytes)
    near.start()
    try:
        size = fill(near)
        job_id = submit(near, "stow", Resources=[orthanc_id("P1", STUDY)])
        kill_on_the_way(near, lambda: way.sent, size, kills)
        job = finished(near, job_id)
        print(f"{way.sent / size:.2f} of the study was sent")
        assert job["State"] == "Success", job
        assert job["Content"]["SentInstancesCount"] == COUNT
        assert size <= way.sent < 2 * size
        assert files_of(far) == files_of(near)
    finally:
        near.kill()
    check_strays(near.storage)


@pytest.mark.parametrize(("call", "workers"), [("retrieve", 1), ("wado", 2)])
def test_a_killed_retrieval_goes_on(
    tmp_path: Path, far: Server, way: Way, call: str, workers: int
) -> None:
    size = fill(far)
    near = gateway_beside(tmp_path, way, workers, 128)
    near.start()
    try:
        asked: dict[str, Any] = {"Resources": [{"Study": STUDY}]}
        if call == "wado":
            asked = {"Uri": f"/studies/{STUDY}"}
        job_id = submit(near, call, **asked)
        kill_on_the_way(near, lambda: way.received, size)
        job = finished(near, job_id)
        print(f"{way.received / size:.2f} of the study was received")
        assert job["State"] == "Success", job
        content = job["Content"]
        counted = content["AlreadyHeldInstancesCount"]
        assert int(content["ReceivedInstancesCount"]) + counted == COUNT
        assert size <= way.received < 2 * size
        assert files_of(near) == files_of(far)
        near.terminate()  # who is killed leaves the mark of the pack it writes
        assert near.wait(30) == 0
    finally:
        near.kill()
    check_strays(near.storage)


def test_a_server_that_is_told_to_stop_leaves_a_job_to_the_next(
    tmp_path: Path, far: Server, way: Way
) -> None:
    near = gateway_beside(tmp_path, way, 2, 1)
    near.start()
    try:
        size = fill(near)
        job_id = submit(near, "stow", Resources=[orthanc_id("P1", STUDY)])
        deadline = time.monotonic() + PATIENCE
        while way.sent < size / 2 and time.monotonic() < deadline:
            time.sleep(0.002)
        near.terminate()
        assert near.wait(30) == 0
        near.start()
        job = finished(near, job_id)
        assert job["State"] == "Success", job
        assert job["Content"]["SentInstancesCount"] == COUNT
        assert way.sent < 1.5 * size
        assert files_of(far) == files_of(near)
        assert "Traceback" not in near.log(), near.log()
    finally:
        near.kill()
    check_strays(near.storage)
