"""Metrics: what Prometheus reads is what was done, however many processes did it."""

import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry.counters import Counters, Layout, State, Telemetry
from gateway.telemetry.families import Held, exposition, names
from tests.clients import ROOT, store
from tests.factories import content_type, dicom_file, multipart
from tests.settings import settings
from tests.starting import CHECKOUT, Server, announced, ask, get

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
OURS = "dicomweb_gateway_"

#: What depends on the moment or on the process, not on what was asked.
OF_THE_MOMENT = re.compile(
    "seconds|cpu|memory|open_files|free_bytes|up_time|workers|bandwidth|active|_bucket$"
)


def samples(text: str) -> Samples:
    """What the client's own parser finds; it raises on what Prometheus would refuse."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, key
            found[key] = sample.value
    return found


def scrape(server: Server) -> Samples:
    answer = get(f"http://127.0.0.1:{server.port}/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return samples(answer.body.decode())


def value(found: Samples, name: str, **labels: str) -> float:
    return found.get((name, frozenset(labels.items())), 0.0)


def total(found: Samples, name: str) -> float:
    return sum(number for (one, _), number in found.items() if one == name)


async def asked(client: Any, path: str = "/metrics") -> Samples:
    response = await client.get(path)
    assert response.status == 200
    return samples(await response.text())


# -- totals ------------------------------------------------------------------------------


def ask_for_everything(server: Server) -> None:
    """Requests of many kinds, each on a connection of its own."""

    def at(path: str) -> str:
        return f"http://127.0.0.1:{server.port}{path}"

    headers = {"Content-Type": content_type()}
    for number in range(1, 9):
        uids = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.1"}
        file = dicom_file(**uids, SOPInstanceUID=f"1.2.3.1.{number}")
        for _ in range(2):
            ask("POST", at(f"{ROOT}/studies"), multipart(file), headers)
    broken = multipart(b"this is no DICOM file", b"nor is this")
    for _ in range(3):
        ask("POST", at(f"{ROOT}/studies"), broken, headers)
    for _ in range(10):
        get(at("/system"))
        get(at(f"{ROOT}/studies/1.2.3"))
        get(at(f"{ROOT}/studies/9.9.9/metadata"))
        get(at("/nowhere/JOHN^DOE"))
        ask("HEAD", at(f"{ROOT}/instances"))


@pytest.fixture(scope="module")
def of_workers(tmp_path_factory: pytest.TempPathFactory) -> Mapping[int, Samples]:
    """What one worker counted, and what three did, of the same requests."""
    found = {}
    for workers in (1, 3):
        folder = tmp_path_factory.mktemp("served")
        settings(folder)
        with announced(folder, "--workers", str(workers)) as server:
            ask_for_everything(server)
            found[workers] = scrape(server)
            assert server.stop() == 0
    return found


def test_three_workers_count_together_what_one_counts_alone(
    of_workers: Mapping[int, Samples],
) -> None:
    lasting = [
        {
            key: number
            for key, number in found.items()
            if not OF_THE_MOMENT.search(key[0]) and "worker" not in dict(key[1])
        }
        for found in of_workers.values()
    ]
    assert lasting[0] == lasting[1]
    assert len(lasting[0]) > 30


def test_the_counts_are_those_of_the_requests(
    of_workers: Mapping[int, Samples],
) -> None:
    for found in of_workers.values():
        requests = OURS + "requests_total"
        route = f"{ROOT}/studies"
        assert value(found, requests, method="POST", route=route, status="200") == 16
        assert value(found, requests, method="POST", route=route, status="409") == 3
        route = f"{ROOT}/studies/{{study}}"
        assert value(found, requests, method="GET", route=route, status="200") == 10
        route = f"{ROOT}/studies/{{study}}/metadata"
        assert value(found, requests, method="GET", route=route, status="404") == 10
        other = {"method": "other", "route": "other"}
        assert value(found, requests, **other, status="404") == 10
        assert total(found, requests) == 69
        assert total(found, OURS + "request_duration_seconds_count") == 69
        instances = OURS + "instances_total"
        assert value(found, instances, outcome="stored") == 8
        assert value(found, instances, outcome="already_held") == 8
        assert value(found, instances, outcome="cannot_understand") == 6
        assert value(found, OURS + "instances_held") == 8
        assert value(found, OURS + "studies_held") == 1


def test_bytes_are_those_of_the_bodies(of_workers: Mapping[int, Samples]) -> None:
    found = of_workers[3]
    sent = OURS + "sent_bytes_total"
    whole = value(found, sent, method="GET", route="/system")
    assert whole % 10 == 0
    assert whole / 10 > 300
    assert value(found, sent, method="GET", route=f"{ROOT}/instances") == 0  # HEAD
    came = value(
        found, OURS + "received_bytes_total", method="POST", route=f"{ROOT}/studies"
    )
    assert came > 19 * 100


def test_each_worker_tells_of_its_process(of_workers: Mapping[int, Samples]) -> None:
    for workers, found in of_workers.items():
        assert value(found, OURS + "workers") == workers
        for number in range(workers):
            of_it = {"worker": str(number)}
            assert value(found, OURS + "resident_memory_bytes", **of_it) > 10_000_000
            assert value(found, OURS + "open_files", **of_it) > 3
            started = value(found, OURS + "start_time_seconds", **of_it)
            assert 0 < time.time() - started < 600
        assert total(found, OURS + "cpu_seconds_total") > 0
        assert total(found, OURS + "event_loop_delay_seconds_count") >= 1


def test_no_metric_names_what_was_asked_for(of_workers: Mapping[int, Samples]) -> None:
    for found in of_workers.values():
        labels = str([labels for _, labels in found])
        assert "1.2.3" not in labels
        assert "DOE" not in labels


@pytest.mark.slow
def test_what_a_killed_worker_counted_is_not_lost(tmp_path: Path) -> None:
    settings(tmp_path)
    with announced(tmp_path, "--workers", "2") as server:
        for _ in range(20):
            get(f"http://127.0.0.1:{server.port}/system")
        requests = OURS + "requests_total"
        asked_for = {"method": "GET", "route": "/system", "status": "200"}
        assert value(scrape(server), requests, **asked_for) == 20
        victim = server.workers()[0]
        victim.kill()
        eventually(lambda: victim.pid not in {one.pid for one in server.workers()})
        eventually(lambda: value(scrape(server), OURS + "workers") == 2)
        for _ in range(5):
            get(f"http://127.0.0.1:{server.port}/system")
        assert value(scrape(server), requests, **asked_for) == 25
        # Nothing is left that anybody would have to clean up.
        assert not [path for path in tmp_path.rglob("*") if "metric" in path.name]


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until it holds; a connection to a worker that was killed may break."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if holds():
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError("it never came true")


# -- in one process ----------------------------------------------------------------------


async def test_both_addresses_give_the_same_metrics(client: Any) -> None:
    await client.get("/metrics")
    ours = await asked(client)
    assert set(ours) <= set(await asked(client, "/tools/metrics-prometheus"))


async def test_metrics_can_be_turned_off(start: Any) -> None:
    client = await start(MetricsEnabled=False)
    for path in ("/metrics", "/tools/metrics-prometheus"):
        assert (await client.get(path)).status == 404


async def test_metrics_need_a_password_like_everything_else(start: Any) -> None:
    client = await start(AuthenticationEnabled=True, RegisteredUsers={"a": "b"})
    assert (await client.get("/metrics")).status == 401
    assert (await client.get("/tools/metrics-prometheus")).status == 401


async def test_orthanc_s_metrics_are_there_under_its_names(client: Any) -> None:
    await store(client, dicom_file(), dicom_file())
    uid = (await (await client.get(f"{ROOT}/studies")).json(content_type=None))[0]
    study = uid["0020000D"]["Value"][0]
    before = await asked(client)
    assert value(before, "orthanc_count_instances") == 2
    assert value(before, "orthanc_disk_size_mb") > 0
    assert value(before, "orthanc_jobs_running") == 0
    name = "orthanc_dicomweb_wadors_total_bytes_transferred"
    assert value(before, name) == 0
    body = await (await client.get(f"{ROOT}/studies/{study}")).read()
    after = await asked(client)
    assert value(after, name) == len(body)
    speed = "orthanc_dicomweb_wadors_average_bandwidth_per_call_mbytes_per_second_5m"
    assert value(after, speed) > 0


async def test_what_the_kernel_sends_is_counted_too(client: Any) -> None:
    file = dicom_file(SOPInstanceUID="1.2.9", EncapsulatedDocument=b"x" * 400_000)
    await store(client, file)
    [found] = await (await client.get(f"{ROOT}/instances")).json(content_type=None)
    uids = [found[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018")]
    path = f"{ROOT}/studies/{uids[0]}/series/{uids[1]}/instances/{uids[2]}"
    response = await client.get(path, headers={"Accept": "application/dicom"})
    size = len(await response.read())
    assert size > 400_000
    route = f"{ROOT}/studies/{{study}}/series/{{series}}/instances/{{instance}}"
    sent = value(
        await asked(client), OURS + "sent_bytes_total", method="GET", route=route
    )
    assert sent == size


async def test_retrievals_are_timed_in_the_log_if_that_is_wanted(
    start: Any, caplog: pytest.LogCaptureFixture
) -> None:
    client = await start(DicomWeb={"EnablePerformanceLogs": True})
    await store(client, dicom_file(StudyInstanceUID="1.2.3"))
    with caplog.at_level("INFO", "gateway.web.observation"):
        await (await client.get(f"{ROOT}/studies/1.2.3")).read()
        await asked(client)  # by then it was told
    [line] = [record.getMessage() for record in caplog.records]
    assert re.fullmatch(
        r"retrieved 1 instances in [\d.]+ s: [\d.]+ instances/s, [\d.]+ MB/s", line
    )


async def test_without_that_option_they_are_not(
    client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await store(client, dicom_file(StudyInstanceUID="1.2.3"))
    with caplog.at_level("INFO"):
        await (await client.get(f"{ROOT}/studies/1.2.3")).read()
        await asked(client)
    assert "retrieved" not in caplog.text


async def test_job_counts_come_from_whom_the_composition_root_names(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def counts(jobs: object) -> Mapping[str, int]:
        return {"Running": 2, "Success": 5}

    monkeypatch.setattr("gateway.app.job_counts", counts)
    found = await asked(await start())
    assert value(found, OURS + "jobs", state="Running") == 2
    assert value(found, "orthanc_jobs_success") == 5


# -- the numbers themselves --------------------------------------------------------------

HELD = Held(patients=1, studies=2, series=3, instances=4, size=5, free=6)


def test_jobs_are_shown_by_state_and_as_orthanc_groups_them() -> None:
    telemetry = Telemetry.of(Layout.of([], []))
    jobs = {"Pending": 3, "Paused": 1, "Running": 2, "Success": 7, "Failure": 4}
    found = samples(exposition(telemetry, HELD, jobs).decode())
    assert value(found, OURS + "jobs", state="Paused") == 1
    assert value(found, "orthanc_jobs_pending") == 4
    assert value(found, "orthanc_jobs_running") == 2
    assert value(found, "orthanc_jobs_completed") == 11
    assert value(found, "orthanc_jobs_failed") == 4


def test_a_duration_is_in_its_bucket_and_in_all_above() -> None:
    layout = Layout.of([("GET", "/x")], [])
    telemetry = Telemetry.of(layout)
    counters = Counters(telemetry)
    for seconds in (0.0005, 0.01, 0.3, 1000.0):
        counters.add(("GET", "/x"), 200, seconds, 1, 2)
    found = samples(exposition(telemetry, HELD, {}).decode())
    labels = {"method": "GET", "route": "/x"}
    name = OURS + "request_duration_seconds"
    buckets = {
        bound: value(found, f"{name}_bucket", **labels, le=bound)
        for bound in ("0.001", "0.01", "0.25", "0.5", "300.0", "+Inf")
    }
    assert list(buckets.values()) == [1, 2, 2, 3, 3, 4]
    assert value(found, f"{name}_sum", **labels) == pytest.approx(1000.3105)
    assert value(found, f"{name}_count", **labels) == 4


def test_statuses_that_nobody_knows_and_answers_that_never_came_are_counted() -> None:
    telemetry = Telemetry.of(Layout.of([("GET", "/x")], []))
    counters = Counters(telemetry)
    counters.add(("GET", "/x"), 0, 0.1, 0, 0)
    counters.add(("GET", "/x"), 299, 0.1, 0, 0)
    found = samples(exposition(telemetry, HELD, {}).decode())
    labels = {"method": "GET", "route": "/x", "status": "none"}
    assert value(found, OURS + "requests_total", **labels) == 2


def test_a_worker_that_is_gone_leaves_its_counts_alone() -> None:
    telemetry = Telemetry.of(Layout.of([("GET", "/x")], ["stored"]), 2)
    for worker in range(2):
        counters = Counters(telemetry, worker)
        counters.outcome("stored")
        counters.row[State.PROCESS] = 2**22 + 1  # no process has that id
        counters.row[State.REQUESTS] = 5
    telemetry.gone(0)
    found = samples(exposition(telemetry, HELD, {}).decode())
    assert value(found, OURS + "instances_total", outcome="stored") == 2
    assert value(found, OURS + "workers") == 1
    assert value(found, OURS + "requests_under_way", worker="1") == 5
    assert (OURS + "requests_under_way", frozenset({("worker", "0")})) not in found


def test_the_speed_of_retrievals_is_that_of_the_last_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    telemetry = Telemetry.of(Layout.of([], []), 2)
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    Counters(telemetry, 0).retrieval(10_000_000, 1.0)
    Counters(telemetry, 1).retrieval(30_000_000, 1.0)
    name = "orthanc_dicomweb_wadors_average_bandwidth_per_call_mbytes_per_second_5m"

    def speed() -> float:
        return value(samples(exposition(telemetry, HELD, {}).decode()), name)

    assert speed() == pytest.approx(20)
    now = 1200.0
    Counters(telemetry, 1).retrieval(50_000_000, 1.0)
    assert speed() == pytest.approx(30)
    now = 1400.0
    assert speed() == pytest.approx(50)
    now = 9000.0
    assert speed() == 0


def test_the_manual_lists_every_metric_and_no_other() -> None:
    manual = (CHECKOUT / "docs/operating.rst").read_text()
    listed = re.findall(
        r"^``((?:dicomweb_gateway|orthanc)_\w+)``", manual, re.MULTILINE
    )
    assert sorted(listed) == sorted(names())


async def test_the_names_are_those_that_are_read(client: Any) -> None:
    await client.get("/system")
    found = {name for name, _ in await asked(client)}
    plain = {re.sub("_(bucket|count|sum)$", "", name) for name in found}
    # Jobs have no sample while there are none; a count is no histogram by its name.
    assert plain | found >= set(names()) - {OURS + "jobs"}


def test_the_dashboards_of_statistics_agree(of_workers: Mapping[int, Samples]) -> None:
    found = of_workers[1]
    held = value(found, OURS + "stored_bytes")
    megabytes = value(found, "orthanc_disk_size_mb")
    assert json.loads(json.dumps(megabytes)) == pytest.approx(held / 1024**2)
