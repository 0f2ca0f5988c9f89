"""Jobs through real HTTP: seen, waited for, steered, by whichever worker is asked."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import orjson
import pytest

from gateway.errors import RemoteFailure
from gateway.jobs.job import JobState
from gateway.web.context import GATEWAY
from tests.settings import settings
from tests.starting import announced
from tests.unit.jobs.engines import LONG, Works, engine, until

NOBODY = "/jobs/00000000-0000-0000-0000-000000000000"
ACTIONS = ("cancel", "pause", "resume", "resubmit")
FINISHED = ("Success", "Failure")

FIELDS = {
    *("ID", "Type", "State", "Priority", "Progress", "Content", "CreationTime"),
    *("EffectiveRuntime", "ErrorCode", "ErrorDescription", "ErrorDetails"),
    *("Timestamp", "Version", "FailedAttempts"),
}


@pytest.fixture
def works(monkeypatch: pytest.MonkeyPatch) -> Works:
    """Works of this test's own, in place of those of the gateway."""
    made = Works()
    monkeypatch.setattr("gateway.parts.works", lambda *parts: made.table())
    return made


async def submit(client: Any, kind: str, **more: Any) -> str:
    """The path of a new job."""
    engine = client.server.app[GATEWAY].jobs
    return f"/jobs/{(await engine.submit(kind, {}, **more)).id}"


async def seen(client: Any, path: str) -> Any:
    response = await client.get(path)
    assert response.status == 200, await response.text()
    assert response.content_type == "application/json"
    return await response.json()


async def reach(client: Any, path: str, *states: str) -> Any:
    """The job once it is in one of the states, told by long polls."""
    async with asyncio.timeout(LONG):
        job = await seen(client, path)
        while job["State"] not in states:
            job = await seen(client, f"{path}?wait=5&since={job['Version']}")
    return job


# -- one job -----------------------------------------------------------------------------


async def test_a_job_has_the_fields_of_the_peer(start: Any, works: Works) -> None:
    client = await start()
    before = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    path = await submit(client, "hold", priority=7, content={"Server": "pacs"})
    job = await reach(client, path, "Running")
    assert set(job) == FIELDS
    assert (job["ID"], job["Type"], job["Priority"]) == (path[6:], "hold", 7)
    assert job["Content"]["Server"] == "pacs"
    assert (job["Progress"], job["ErrorCode"]) == (0, 0)
    assert (job["ErrorDescription"], job["ErrorDetails"]) == ("Success", "")
    assert before <= job["CreationTime"] <= job["Timestamp"]
    assert len(job["Timestamp"]) == len("20240101T000000.000000")
    works.free.set()
    done = await reach(client, path, *FINISHED)
    assert set(done) == {*FIELDS, "CompletionTime"}
    assert (done["State"], done["Progress"]) == ("Success", 100)
    assert done["CreationTime"] <= done["CompletionTime"] <= done["Timestamp"]
    assert done["EffectiveRuntime"] > 0


async def test_progress_and_the_time_that_is_left_are_told(
    start: Any, works: Works
) -> None:
    client = await start()
    path = await submit(client, "stubborn")
    job = await seen(client, path)
    while not job["Progress"]:
        job = await seen(client, f"{path}?wait=5&since={job['Version']}")
    assert job["Progress"] == 25
    assert job["ExpectedSeconds"] == pytest.approx(
        3 * job["EffectiveRuntime"], abs=0.06
    )
    works.free.set()


async def test_a_failed_job_says_why(start: Any, works: Works) -> None:
    client = await start()
    works.errors = [RemoteFailure("pacs answered 413: too large")]
    path = await submit(client, "fail", content={"Server": "pacs"})
    job = await reach(client, path, *FINISHED)
    assert (job["State"], job["ErrorCode"]) == ("Failure", 9)
    assert job["ErrorDescription"] == "Network protocol"
    assert job["ErrorDetails"] == "pacs answered 413: too large"
    assert job["Content"] == {
        "Server": "pacs",
        "FunctionErrorCode": 9,
        "FunctionErrorDescription": "Network protocol",
        "FunctionErrorDetails": "pacs answered 413: too large",
    }


async def test_a_job_that_is_tried_again_says_when(start: Any, works: Works) -> None:
    client = await start()
    works.errors = [RemoteFailure("busy", retry=True, retry_after=90)]
    job = await reach(client, await submit(client, "fail"), "Retry")
    assert job["ErrorDetails"] == "busy"
    assert job["NextAttempt"] > job["Timestamp"]
    assert job["FailedAttempts"] == 1


# -- the list ----------------------------------------------------------------------------


async def test_the_list_names_jobs_or_shows_them(start: Any, works: Works) -> None:
    client = await start()
    assert await seen(client, "/jobs") == []
    assert await seen(client, "/jobs?expand") == []
    paths = [await submit(client, "do") for _ in range(3)]
    for path in paths:
        await reach(client, path, *FINISHED)
    assert await seen(client, "/jobs") == [path[6:] for path in paths]
    jobs = await seen(client, "/jobs?expand")
    for path, job in zip(paths, jobs, strict=True):
        alone = await seen(client, path)
        del alone["Timestamp"], job["Timestamp"]
        assert job == alone


async def test_history_is_as_long_as_the_option_says(start: Any, works: Works) -> None:
    client = await start(JobsHistorySize=2)
    paths = [await submit(client, "do") for _ in range(2)]
    for path in paths:
        await reach(client, path, *FINISHED)
    third = await submit(client, "do")
    await reach(client, third, *FINISHED)
    assert await seen(client, "/jobs") == [paths[1][6:], third[6:]]
    assert (await client.get(paths[0])).status == 404


# -- conditional requests ----------------------------------------------------------------


async def test_an_unchanged_job_is_304(start: Any, works: Works) -> None:
    client = await start()
    path = await submit(client, "stubborn")
    job = await seen(client, path)
    while not job["Progress"]:
        job = await seen(client, f"{path}?wait=5&since={job['Version']}")
    first = await client.get(path)
    tag = first.headers["ETag"]
    assert first.headers["X-Job-Version"] == str(job["Version"])
    assert first.headers["Cache-Control"] == "no-cache"
    again = await client.get(path, headers={"If-None-Match": tag})
    assert (again.status, await again.read()) == (304, b"")
    assert again.headers["ETag"] == tag
    works.free.set()
    await reach(client, path, *FINISHED)
    changed = await client.get(path, headers={"If-None-Match": tag})
    assert changed.status == 200
    assert changed.headers["ETag"] != tag


@pytest.mark.parametrize("query", ["", "?expand"])
async def test_an_unchanged_list_is_304(start: Any, works: Works, query: str) -> None:
    client = await start()
    await reach(client, await submit(client, "do"), *FINISHED)
    tag = (await client.get(f"/jobs{query}")).headers["ETag"]
    known = {"If-None-Match": tag}
    assert (await client.get(f"/jobs{query}", headers=known)).status == 304
    other = "" if query else "?expand"
    assert (await client.get(f"/jobs{other}", headers=known)).status == 200
    await submit(client, "do")
    assert (await client.get(f"/jobs{query}", headers=known)).status == 200


async def test_polling_reads_no_database_and_starts_no_thread(
    start: Any, works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await start()
    path = await submit(client, "do")
    await reach(client, path, *FINISHED)
    tag = (await client.get(path)).headers["ETag"]

    def none(*arguments: Any, **more: Any) -> Any:
        raise AssertionError("a thread was asked for")

    monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", none)
    for headers, status in (({}, 200), ({"If-None-Match": tag}, 304)):
        for _ in range(5):
            assert (await client.get(path, headers=headers)).status == status


# -- waiting -----------------------------------------------------------------------------


async def test_a_long_poll_is_answered_with_the_change(
    start: Any, works: Works
) -> None:
    client = await start()
    path = await submit(client, "hold")
    job = await reach(client, path, "Running")
    job = await seen(client, f"{path}?wait=5&since={job['Version']}")
    assert job["Content"] == {"Held": True}
    poll = asyncio.create_task(seen(client, f"{path}?wait=20&since=1000000"))
    await asyncio.sleep(0.05)
    assert not poll.done()
    works.free.set()
    assert (await poll)["State"] == "Success"
    started = time.monotonic()
    await seen(client, f"{path}?wait=20&since=1000000")  # nothing more will come
    await seen(client, f"{path}?wait=20")
    assert time.monotonic() - started < 1


async def test_a_long_poll_ends_when_its_time_is_up(start: Any, works: Works) -> None:
    client = await start()
    path = await submit(client, "stubborn")
    job = await reach(client, path, "Running")
    started = time.monotonic()
    same = await seen(client, f"{path}?wait=0.2&since=1000000")
    assert 0.2 <= time.monotonic() - started < 2
    assert same["State"] == "Running"
    tag = (await client.get(path)).headers["ETag"]
    known = {"If-None-Match": tag}
    version = f"{max(job['Version'], same['Version']) + 1}"
    response = await client.get(f"{path}?wait=0.1&since={version}", headers=known)
    assert response.status == 304
    works.free.set()


async def test_a_wait_that_is_no_number_is_refused(start: Any, works: Works) -> None:
    client = await start()
    path = await submit(client, "do")
    for query, name in (
        *(("wait=x", "wait"), ("wait=-1", "wait"), ("wait=", "wait")),
        *(("wait=1e3", "wait"), ("wait=nan", "wait"), ("wait=.", "wait")),
        *(("wait=1&since=x", "since"), ("since=-1", "since"), ("since=", "since")),
    ):
        response = await client.get(f"{path}?{query}")
        assert response.status == 400, query
        assert name in (await response.json())["Message"]


# -- events ------------------------------------------------------------------------------


def events(text: bytes) -> list[tuple[int, Any]]:
    """Identifier and object of each event."""
    found = []
    for block in text.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if line)
        if "data" in lines:
            assert lines["event"] == "job"
            found.append((int(lines["id"]), orjson.loads(lines["data"])))
    return found


async def test_every_change_comes_as_an_event_until_the_end(
    start: Any, works: Works
) -> None:
    client = await start()
    path = await submit(client, "count", items=["a", "b", "c"])
    response = await client.get(f"{path}/events")
    assert response.content_type == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-store"
    found = events(await response.read())
    versions = [version for version, _ in found]
    assert versions == sorted(set(versions))
    version, last = found[-1]
    assert (last["State"], last["Version"]) == ("Success", version)
    assert last["Content"] == {"Done": ["a", "b", "c"]}
    assert [job["Progress"] for _, job in found] == sorted(
        job["Progress"] for _, job in found
    )
    gone_on = await client.get(
        f"{path}/events", headers={"Last-Event-ID": str(version)}
    )
    assert gone_on.status == 204  # there is no need to come again
    late = await client.get(f"{path}/events")
    assert [each for each, _ in events(await late.read())] == [version]


async def test_a_silent_stream_says_that_it_is_there(
    start: Any, works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.orthanc.jobs.HEARTBEAT", 0.05)
    client = await start()
    path = await submit(client, "stubborn")
    response = await client.get(f"{path}/events")
    async with asyncio.timeout(LONG):
        while not (await response.content.readline()).startswith(b":"):
            pass
    works.free.set()
    assert events(await response.read())[-1][1]["State"] == "Success"


async def test_a_reader_that_leaves_is_noticed(
    start: Any, works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.orthanc.jobs.HEARTBEAT", 0.05)
    client = await start()
    path = await submit(client, "stubborn")
    waiting = client.server.app[GATEWAY].jobs._board._waiting
    response = await client.get(f"{path}/events")
    await until(lambda: waiting)
    response.close()
    await asyncio.sleep(0.3)
    await until(lambda: not waiting)
    works.free.set()


async def test_the_head_of_a_stream_has_no_events(start: Any, works: Works) -> None:
    client = await start()
    response = await client.head(f"{await submit(client, 'stubborn')}/events")
    assert (response.status, await response.read()) == (200, b"")
    works.free.set()


async def test_before_a_stop_polls_and_streams_end(start: Any, works: Works) -> None:
    client = await start()
    path = await submit(client, "hold")
    await reach(client, path, "Running")
    poll = asyncio.create_task(seen(client, f"{path}?wait=50&since=1000000"))
    stream = await client.get(f"{path}/events")
    await asyncio.sleep(0.05)
    client.server.app[GATEWAY].jobs.let_go()
    async with asyncio.timeout(5):
        assert (await poll)["State"] == "Running"
        assert events(await stream.read())[-1][1]["State"] == "Running"


# -- actions in each state ---------------------------------------------------------------


async def pending(client: Any, works: Works) -> str:
    for _ in range(2):
        await reach(client, await submit(client, "hold"), "Running")
    return await submit(client, "do")


async def running(client: Any, works: Works) -> str:
    path = await submit(client, "hold")
    await reach(client, path, "Running")
    return path


async def paused(client: Any, works: Works) -> str:
    path = await running(client, works)
    await client.post(f"{path}/pause")
    await reach(client, path, "Paused")
    works.free.set()
    return path


async def retrying(client: Any, works: Works) -> str:
    works.errors = [RemoteFailure("busy", retry=True, retry_after=90)]
    path = await submit(client, "fail")
    await reach(client, path, "Retry")
    return path


async def successful(client: Any, works: Works) -> str:
    path = await submit(client, "do")
    await reach(client, path, "Success")
    return path


async def failed(client: Any, works: Works) -> str:
    works.errors = [RemoteFailure("no")]
    path = await submit(client, "fail")
    await reach(client, path, "Failure")
    return path


#: For each state and action the status, and the state that comes of it; None for 404.
CASES: dict[Callable[..., Any], dict[str, tuple[int, str | None]]] = {
    pending: {
        "cancel": (200, "Failure"),
        "pause": (200, "Paused"),
        "resume": (409, "Pending"),
        "resubmit": (409, "Pending"),
        "delete": (409, "Pending"),
    },
    running: {
        "cancel": (200, "Failure"),
        "pause": (200, "Paused"),
        "resume": (409, "Running"),
        "resubmit": (409, "Running"),
        "delete": (409, "Running"),
    },
    paused: {
        "cancel": (200, "Failure"),
        "pause": (200, "Paused"),
        "resume": (200, "Success"),
        "resubmit": (409, "Paused"),
        "delete": (409, "Paused"),
    },
    retrying: {
        "cancel": (200, "Failure"),
        "pause": (200, "Paused"),
        "resume": (200, "Success"),
        "resubmit": (409, "Retry"),
        "delete": (409, "Retry"),
    },
    successful: {
        "cancel": (200, "Success"),
        "pause": (200, "Success"),
        "resume": (409, "Success"),
        "resubmit": (409, "Success"),
        "delete": (200, None),
    },
    failed: {
        "cancel": (200, "Failure"),
        "pause": (200, "Failure"),
        "resume": (409, "Failure"),
        "resubmit": (200, "Success"),
        "delete": (200, None),
    },
}


@pytest.mark.parametrize("prepare", CASES, ids=lambda prepare: prepare.__name__)
async def test_an_action_does_what_the_state_allows(
    start: Any, works: Works, prepare: Callable[..., Any]
) -> None:
    client = await start()
    for action, (status, state) in CASES[prepare].items():
        works.free.clear()
        path = await prepare(client, works)
        before = await seen(client, path)
        response = await (
            client.delete(path)
            if action == "delete"
            else client.post(f"{path}/{action}")
        )
        answer = await response.json()
        assert response.status == status, (action, answer)
        if status == 200:
            assert answer == {}
        else:
            assert f"its state is {before['State']}" in answer["Message"]
        await becomes(client, path, before["State"], state)
        works.free.set()
        await until(lambda: not works.at_once)


async def becomes(client: Any, path: str, before: str, state: str | None) -> None:
    """Return once the job is in the state; it stays there if it was before."""
    if state is None:
        assert (await client.get(path)).status == 404
        assert path[6:] not in await seen(client, "/jobs")
    elif state == before:
        assert (await seen(client, path))["State"] == state
    else:
        job = await reach(client, path, state)
        if state == "Failure":
            assert (job["ErrorCode"], job["ErrorDescription"]) == (37, "Canceled job")


async def test_a_job_that_nobody_knows_is_404(start: Any, works: Works) -> None:
    client = await start()
    asked = [("POST", f"/{action}") for action in ACTIONS]
    asked += [("GET", ""), ("GET", "?wait=9"), ("GET", "/events"), ("DELETE", "")]
    for method, rest in asked:
        response = await client.request(method, NOBODY + rest)
        assert response.status == 404
        assert NOBODY[6:] in (await response.json())["Message"]


async def test_a_wrong_method_is_told_which_ones_there_are(
    start: Any, works: Works
) -> None:
    client = await start()
    response = await client.put(NOBODY)
    assert response.status == 405
    assert response.headers["Allow"] == "DELETE,GET,HEAD,OPTIONS"


# -- several workers ---------------------------------------------------------------------


async def test_every_worker_answers_for_every_job(start: Any, works: Works) -> None:
    one, two = await start(), await start()
    path = await submit(one, "hold")
    for worker in (two, one):
        await reach(worker, path, "Running")
    assert (await two.post(f"{path}/pause")).status == 200
    await reach(one, path, "Paused")
    first, second = await one.get(path), await two.get(path)
    assert first.headers["ETag"] == second.headers["ETag"]
    stream = asyncio.create_task((await two.get(f"{path}/events")).read())
    assert (await one.post(f"{path}/resume")).status == 200
    await reach(two, path, "Running")
    works.free.set()
    assert events(await stream)[-1][1]["State"] == "Success"
    assert (await two.delete(path)).status == 200
    assert (await one.get(path)).status == 404


async def test_the_number_of_jobs_at_once_is_that_of_all_workers(
    start: Any, works: Works
) -> None:
    workers = [await start(ConcurrentJobs=3), await start(ConcurrentJobs=3)]
    paths = [await submit(worker, "hold") for worker in workers * 4]
    await until(lambda: works.at_once == 3)
    await asyncio.sleep(0.3)
    for worker in workers:
        states = [job["State"] for job in await seen(worker, "/jobs?expand")]
        assert states.count(JobState.RUNNING.value) == 3
    works.free.set()
    for path in paths:
        await reach(workers[0], path, "Success")
    assert works.most_at_once == 3


@pytest.mark.parametrize("save", [True, False])
async def test_jobs_outlive_a_restart_unless_they_are_not_to(
    start: Any, works: Works, save: bool
) -> None:
    client = await start(SaveJobs=save)
    path = await submit(client, "hold")
    await reach(client, path, "Running")
    await client.close()
    works.free.set()
    client = await start(SaveJobs=save)
    if save:
        assert (await reach(client, path, *FINISHED))["State"] == "Success"
        assert len(works.started) == 2
    else:
        assert await seen(client, "/jobs") == []


# -- processes ---------------------------------------------------------------------------

#: The gateway with a work that takes its time, and notes each step in a file.
SLOW = """
import asyncio, os, sys
import gateway.parts

async def slow(run):
    total = await run.item_count()
    for place in range(run.checkpoint.get("next", 0), total):
        with open(run.request["notes"], "a") as notes:
            print(place, os.getpid(), file=notes)
        await asyncio.sleep(0.05)
        await run.save(
            progress=place / total, checkpoint={"next": place + 1}, now=True
        )

gateway.parts.works = lambda *parts: {"slow": slow}
from gateway.cli import main
sys.exit(main())
"""


@pytest.mark.slow
async def test_jobs_outlive_a_killed_worker_and_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def command(*words: str) -> list[str]:
        return [sys.executable, "-c", SLOW, *words]

    monkeypatch.setattr("tests.starting.command", command)
    await asyncio.to_thread(settings, tmp_path, {"ConcurrentJobs": 2})
    notes = tmp_path / "notes"
    items = [str(place) for place in range(30)]

    def steps() -> list[list[str]]:
        text = notes.read_text() if notes.exists() else ""
        return [line.split() for line in text.splitlines()]

    async with AsyncExitStack() as stack:
        async with served(tmp_path) as server:
            jobs = await stack.enter_async_context(asking(tmp_path / "storage"))
            job = await jobs.submit("slow", {"notes": str(notes)}, items=items)
            await until(lambda: len(steps()) >= 5)
            os.kill(int(steps()[-1][1]), signal.SIGKILL)
            await until(lambda: len({process for _, process in steps()}) == 2)
            await until(lambda: len(steps()) >= 12)
            poll = asyncio.create_task(
                asyncio.to_thread(ask_for, f"{server.url}{job.id}?wait=60&since=99999")
            )
            await asyncio.sleep(0.1)
            started = time.monotonic()
            assert await asyncio.to_thread(server.stop) == 0
            assert time.monotonic() - started < 5
            assert (await poll)["State"] == "Running"
        assert (await jobs.get(job.id)).state is JobState.PENDING
        async with served(tmp_path):
            done = await jobs.wait(job.id, finished=True, seconds=LONG)
            assert done.state is JobState.SUCCESS
    places = [int(place) for place, _ in steps()]
    assert set(places) == set(range(30))
    assert len(places) <= 32  # one that the kill interrupted is done again


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Any]:
    """Two workers on a port of their own; `url` is that of jobs."""
    with ExitStack() as stack:
        server = await asyncio.to_thread(
            lambda: stack.enter_context(announced(folder, "--workers", "2"))
        )
        server.url = f"http://127.0.0.1:{server.port}/jobs/"
        try:
            yield server
        finally:
            await asyncio.to_thread(stack.close)


@asynccontextmanager
async def asking(folder: Path) -> AsyncIterator[Any]:
    """An engine of this process that submits and looks, but runs nothing."""
    async with engine(folder, {"slow": Works().do}) as jobs:
        jobs._concurrent = 0
        yield jobs


def ask_for(url: str) -> Any:
    with urlopen(url, timeout=LONG) as answer:
        return orjson.loads(answer.read())


async def test_what_would_store_here_is_not_done_again_by_a_read_only_gateway(
    start: Any,
) -> None:
    servers = {"nobody": ["http://127.0.0.1:9/dicom-web/"]}
    writing = await start(DicomWeb={"Servers": servers})
    asked = {"Resources": [{"Study": "1.2"}], "Synchronous": False, "Priority": -1}
    response = await writing.post("/dicom-web/servers/nobody/retrieve", json=asked)
    path = f"/jobs/{(await response.json())['ID']}"
    await writing.post(f"{path}/cancel")
    await reach(writing, path, "Failure")
    await writing.close()
    reading = await start(DicomWeb={"Servers": servers}, ReadOnly=True)
    response = await reading.post(f"{path}/resubmit")
    assert response.status == 403
    assert (await (await reading.get(path)).json())["State"] == "Failure"
