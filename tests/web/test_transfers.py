"""Transfers between two gateways, both ways, whole and broken, as jobs."""

import asyncio
import json
import re
from typing import Any

import pytest
from aiohttp import web

from gateway.dicom.hierarchy import orthanc_id
from gateway.jobs.states import Patience
from gateway.transfers import reporting
from tests import kept
from tests.clients import ROOT, store
from tests.factories import content_type, image, multipart
from tests.remote import running_remote

STUDY, SERIES = "1.2.3.1", "1.2.3.1.1"
WEB = "/dicom-web"


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed attempts follow each other closely, and nobody waits for long."""
    patience = Patience(retries=3, first_pause=0.01)
    monkeypatch.setattr("gateway.parts.PATIENCE", patience)
    monkeypatch.setattr(reporting, "WIND_UP", 0.1)


@pytest.fixture
async def other(start: Any) -> Any:
    """The remote: another gateway."""
    return await start(StorageDirectory="other")


@pytest.fixture
async def near(start: Any, other: Any) -> Any:
    """The gateway that is asked; it knows the remote in two ways."""
    url = str(other.make_url(f"{ROOT}/"))
    return await start(
        DicomWeb={
            "Servers": {
                "other": [url],
                "whole": {"Url": url, "ChunkedTransfers": False},
            }
        }
    )


async def call(client: Any, what: str, body: Any, status: int = 200) -> Any:
    server, _, name = what.partition("/")
    response = await client.post(f"{ROOT}/servers/{server}/{name}", json=body)
    assert response.status == status, await response.text()
    return await response.json(content_type=None)


async def identifiers(client: Any) -> list[str]:
    return sorted(await (await client.get("/instances")).json())


async def files(client: Any) -> dict[str, bytes]:
    found = {}
    for identifier in await identifiers(client):
        response = await client.get(f"/instances/{identifier}/file")
        found[identifier] = await response.read()
    return found


async def job(client: Any, job_id: str, *states: str) -> Any:
    """The job once it is in one of the states, or at its end."""
    wanted = states or ("Success", "Failure")
    async with asyncio.timeout(20):
        while True:
            found = await (await client.get(f"/jobs/{job_id}")).json()
            if found["State"] in wanted:
                return found
            await asyncio.sleep(0.02)


each_way = pytest.mark.parametrize("server", ["other", "whole"])


@each_way
async def test_a_study_is_sent_byte_for_byte(near, other, server):
    sent = [image(SeriesInstanceUID=f"1.2.3.1.{n % 3}") for n in range(7)]
    await store(near, *sent)
    ids = await identifiers(near)
    content = await call(near, f"{server}/stow", {"Resources": ids})
    assert await files(other) == await files(near)
    assert sorted(content["Resources"]["Instances"]) == ids
    assert content["Server"] == server
    assert content["InstancesCount"] == "7"
    assert content["NetworkSizeMB"] == "0"
    assert content["SentInstancesCount"] == 7
    assert content["SentSize"] == content["TotalSize"] == sum(map(len, sent))


@each_way
async def test_a_study_is_retrieved_byte_for_byte(near, other, server):
    await store(other, *[image(SeriesInstanceUID=f"1.2.3.1.{n % 3}") for n in range(7)])
    content = await call(near, f"{server}/retrieve", {"Resources": [{"Study": STUDY}]})
    assert await files(near) == await files(other)
    assert content["ReceivedInstancesCount"] == "7"
    assert sorted(content["Instances"]) == await identifiers(near)
    assert content["Server"] == server
    assert content["Resources"] == [{"Study": STUDY}]
    assert content["FailedCount"] == 0


# -- between two gateways ------------------------------------------------------------------


async def test_each_level_is_sent(near, other):
    await store(near, *[image(SeriesInstanceUID=f"1.2.3.1.{n % 2}") for n in range(4)])
    await store(near, image(StudyInstanceUID="1.2.3.2"))
    for names, kind, count in [
        (("P1", STUDY, "1.2.3.1.0"), "Series", 2),
        (("P1", STUDY), "Studies", 4),
        (("P1",), "Patients", 5),
    ]:
        identifier = orthanc_id(*names)
        content = await call(near, "other/stow", {"Resources": [identifier]})
        assert content["Resources"][kind] == [identifier]
        assert len(content["Resources"]["Instances"]) == count
        assert len(await identifiers(other)) == count
    assert await files(other) == await files(near)


async def test_an_instance_that_is_named_twice_is_sent_once(near):
    await store(near, image())
    (instance,) = await identifiers(near)
    resources = [instance, orthanc_id("P1", STUDY), instance]
    content = await call(near, "other/stow", {"Resources": resources})
    assert content["InstancesCount"] == "1"


async def test_what_is_held_already_is_not_fetched_again_unless_asked(near, other):
    sent = [image(SeriesInstanceUID=f"1.2.3.1.{n % 3}") for n in range(6)]
    await store(other, *sent)
    await store(near, *sent[:2])
    body: dict[str, Any] = {"Resources": [{"Study": STUDY}]}
    content = await call(near, "other/retrieve", body)
    assert content["ReceivedInstancesCount"] == "4"
    assert content["AlreadyHeldInstancesCount"] == 2
    assert len(content["Instances"]) == 4
    assert await files(near) == await files(other)
    content = await call(near, "other/retrieve", body)
    assert content["ReceivedInstancesCount"] == "0"
    assert content["AlreadyHeldInstancesCount"] == 6
    assert content["NetworkUsage"] == 0
    content = await call(near, "other/retrieve", body | {"Force": True})
    assert content["ReceivedInstancesCount"] == "6"
    assert content["NetworkUsage"] == sum(map(len, sent))


async def test_a_wado_of_what_is_held_is_not_fetched_again_either(near, other):
    await store(other, image(), image())
    body = {"Uri": f"/studies/{STUDY}/series/{SERIES}", "Synchronous": True}
    content = await call(near, "other/wado", body)
    assert content["ReceivedInstancesCount"] == "2"
    content = await call(near, "other/wado", body)
    assert content["AlreadyHeldInstancesCount"] == 2


async def test_a_resource_that_fails_does_not_keep_the_others(near, other):
    await store(other, image(), image(StudyInstanceUID="1.2.3.2"))
    resources = [{"Study": uid} for uid in (STUDY, "9.9.9", "1.2.3.2")]
    body = {"Resources": resources, "Synchronous": False}
    found = await job(near, (await call(near, "other/retrieve", body))["ID"])
    assert found["State"] == "Failure"
    content = found["Content"]
    assert content["ReceivedInstancesCount"] == "2"
    (failed,) = content["Failed"]
    assert failed["Study"] == "9.9.9"
    assert failed["Reason"] == 404
    assert "9.9.9" in found["ErrorDetails"]
    assert len(await identifiers(near)) == 2


async def test_what_is_held_in_another_form_stays_and_is_told_if_forced(near, other):
    await store(other, image(SOPInstanceUID="1.2.9", PatientName="Doe^John"))
    await store(near, image(SOPInstanceUID="1.2.9"))
    before = await files(near)
    body = {"Resources": [{"Study": STUDY}], "Force": True}
    told = await call(near, "other/retrieve", body, status=502)
    assert "1.2.9" in told["Message"]
    assert await files(near) == before


async def test_a_disk_that_is_full_ends_a_retrieval(start, other):
    await store(other, *[image(512, 512) for _ in range(5)])
    near = await start(
        MaximumStorageSize=1,
        MaximumStorageMode="Reject",
        DicomWeb={"Servers": {"other": [str(other.make_url(f"{ROOT}/"))]}},
    )
    body = {"Resources": [{"Study": STUDY}]}
    told = await call(near, "other/retrieve", body, status=507)
    assert "MaximumStorageSize" in told["Message"]
    (found,) = await (await near.get("/jobs?expand")).json()
    assert found["ErrorCode"] == 19
    kept = await identifiers(near)
    assert sorted(found["Content"]["Instances"]) == kept
    assert len(kept) == 1


async def test_jobs_of_one_process_are_known_to_the_other(start, near, other):
    await store(other, image())
    beside = await start()
    body = {"Resources": [{"Study": STUDY}], "Synchronous": False}
    told = await call(near, "other/retrieve", body)
    found = await job(beside, told["ID"])
    assert found["Content"]["ReceivedInstancesCount"] == "1"


# -- with a remote that misbehaves ---------------------------------------------------------


@pytest.fixture
async def remote():
    async with running_remote() as running:
        yield running


@pytest.fixture
async def far(start: Any, remote: Any) -> Any:
    """A gateway that knows a remote of the test's making."""
    return await begin(start, remote)


async def begin(start: Any, remote: Any, **options: Any) -> Any:
    small = {"Url": remote.url, "StowMaxInstances": 2}
    servers = {"far": [remote.url], "small": small}
    return await start(DicomWeb={"Servers": servers, **options})


INSTANCE = re.compile(rb"1\.2\.9\.[0-9]+")


def named(body: bytes) -> list[str]:
    """The instances in a body, in their order."""
    return list(dict.fromkeys(uid.decode() for uid in INSTANCE.findall(body)))


def numbered(count: int, **attributes: Any) -> list[bytes]:
    return [image(SOPInstanceUID=f"1.2.9.{n}", **attributes) for n in range(count)]


class Storing:
    """Stores by STOW: answers with what a batch holds, or as it is told first."""

    def __init__(self, remote: Any) -> None:
        self.batches: list[list[str]] = []
        self.troubles: list[Any] = []  # for the requests to come, None for none
        self._remote = remote
        remote.on("POST", f"{WEB}/studies", self.answer)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        batch = named(self._remote.seen[-1].body)
        self.batches.append(batch)
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble is not None:
            return await trouble(request)
        items = [{"00081155": {"vr": "UI", "Value": [uid]}} for uid in batch]
        return web.json_response({"00081199": {"vr": "SQ", "Value": items}})


async def cut(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def status(code: int, **headers: str) -> Any:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=code, headers=headers, text=f"trouble {code}")

    return answer


async def send(client: Any, server: str, **fields: Any) -> Any:
    body = {"Resources": [orthanc_id("P1", STUDY)], "Synchronous": False, **fields}
    return (await call(client, f"{server}/stow", body))["ID"]


async def test_batches_are_as_small_as_they_have_to_be(start, remote):
    files = numbered(5)
    storing = Storing(remote)
    client = await begin(start, remote, StowMaxInstances=3, StowMaxSize=1)
    await store(client, *files)
    found = await job(client, await send(client, "far"))
    assert list(map(len, storing.batches)) == [3, 2]
    assert found["Content"]["RequestsCount"] == 2
    storing.batches.clear()
    await job(client, await send(client, "small"))
    assert list(map(len, storing.batches)) == [2, 2, 1]
    storing.batches.clear()
    large = image(1024, 1024, SOPInstanceUID="1.2.9.10", SeriesNumber=0)
    await store(client, large)
    await job(client, await send(client, "far"))
    assert list(map(len, storing.batches)) in ([1, 3, 2], [3, 2, 1])


async def test_what_was_confirmed_is_not_sent_again(far, remote):
    await store(far, *numbered(6))
    storing = Storing(remote)
    storing.troubles = [None, cut, status(503), None]
    found = await job(far, await send(far, "small"))
    assert found["State"] == "Success"
    first, second, *others = storing.batches
    assert others[:2] == [second, second]
    assert first not in others
    assert len(others) == 3
    assert found["Content"]["SentInstancesCount"] == 6
    assert found["ErrorCode"] == 0
    assert "FunctionErrorDetails" not in found["Content"]


async def test_a_job_that_waits_for_another_attempt_says_why(far, remote):
    await store(far, *numbered(1))
    storing = Storing(remote)
    storing.troubles = [status(429, **{"Retry-After": "60"})]
    found = await job(far, await send(far, "far"), "Retry")
    assert "429" in found["ErrorDetails"]
    assert "trouble 429" in found["Content"]["FunctionErrorDetails"]
    response = await far.post(f"/jobs/{found['ID']}/resume")
    assert response.status == 200
    assert (await job(far, found["ID"]))["State"] == "Success"


async def test_a_batch_that_is_refused_does_not_keep_the_others(far, remote):
    await store(far, *numbered(6))
    storing = Storing(remote)
    storing.troubles = [status(400)]
    found = await job(far, await send(far, "small"))
    assert found["State"] == "Failure"
    assert len(storing.batches) == 3
    assert found["Content"]["SentInstancesCount"] == 4
    assert found["Content"]["FailedInstancesCount"] == 2
    assert "trouble 400" in found["ErrorDetails"]


async def test_an_instance_that_is_deleted_meanwhile_is_reported(far, remote):
    await store(far, *numbered(4))
    storing = Storing(remote)

    async def deleting(request: web.Request) -> web.StreamResponse:
        storing.batches.pop()
        path = f"{ROOT}/studies/{STUDY}/series/{SERIES}/instances/1.2.9.3"
        assert (await far.delete(path)).status == 204
        return await storing.answer(request)

    storing.troubles = [deleting]
    found = await job(far, await send(far, "small"))
    assert found["Content"]["SentInstancesCount"] == 3
    assert found["Content"]["FailedInstancesCount"] == 1
    assert "not held" in found["ErrorDetails"]


def holding(begun: asyncio.Event, goes_on: asyncio.Event) -> Any:
    """An answer that waits."""

    async def answer(request: web.Request) -> web.StreamResponse:
        begun.set()
        await goes_on.wait()
        return web.Response(status=503)

    return answer


async def test_a_paused_job_goes_on_behind_what_was_confirmed(far, remote):
    await store(far, *numbered(6))
    storing = Storing(remote)
    begun, goes_on = asyncio.Event(), asyncio.Event()
    storing.troubles = [None, holding(begun, goes_on)]
    job_id = await send(far, "small")
    await begun.wait()
    assert (await far.post(f"/jobs/{job_id}/pause")).status == 200
    found = await job(far, job_id, "Paused")
    assert found["Content"]["SentInstancesCount"] == 2
    goes_on.set()
    assert (await far.post(f"/jobs/{job_id}/resume")).status == 200
    found = await job(far, job_id)
    assert found["State"] == "Success"
    assert found["Content"]["SentInstancesCount"] == 6
    assert storing.batches[0] not in storing.batches[1:]


async def test_a_running_job_tells_how_far_it_is(far, remote):
    await store(far, *numbered(4))
    storing = Storing(remote)
    begun, goes_on = asyncio.Event(), asyncio.Event()
    storing.troubles = [None, holding(begun, goes_on)]
    job_id = await send(far, "small")
    await begun.wait()
    running = await job(far, job_id, "Running")
    content = running["Content"]
    assert 50 <= running["Progress"] < 100
    assert content["SentInstancesCount"] == 2
    assert content["SentSize"] * 2 >= content["TotalSize"] > 0
    assert content["Speed"] >= 0
    assert content["InstancesCount"] == "4"
    goes_on.set()
    finished = await job(far, job_id)
    assert finished["Progress"] == 100
    assert finished["Content"]["SentSize"] == content["TotalSize"]


async def test_a_paused_retrieval_goes_on_with_what_lacks(far, remote):
    held = {f"1.2.9.{n}": file for n, file in enumerate(numbered(4))}
    begun = asyncio.Event()

    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": content_type()})
        await response.prepare(request)
        await response.write(multipart(*held.values())[: len(held["1.2.9.0"]) * 3])
        begun.set()
        await asyncio.sleep(30)
        return response

    Holding(remote, held).troubles = [half]
    body = {"Resources": [{"Study": STUDY}], "Synchronous": False}
    job_id = (await call(far, "far/retrieve", body))["ID"]
    await begun.wait()
    assert (await far.post(f"/jobs/{job_id}/pause")).status == 200
    paused = await job(far, job_id, "Paused")
    assert paused["Content"]["ReceivedInstancesCount"] == "2"
    assert (await far.post(f"/jobs/{job_id}/resume")).status == 200
    found = await job(far, job_id)
    assert found["State"] == "Success"
    assert found["Content"]["ReceivedInstancesCount"] == "4"
    assert remote.paths().count(f"{WEB}/studies/{STUDY}") == 1


async def test_a_file_that_is_gone_from_the_disk_is_no_fault_of_the_server(
    far, remote, tmp_path
):
    await store(far, *numbered(1))

    def lose() -> None:
        for place in kept.places(tmp_path / "storage"):
            kept.lose(place)

    await asyncio.to_thread(lose)
    Storing(remote)
    found = await job(far, await send(far, "far"))
    assert found["State"] == "Failure"
    assert "gone" in found["ErrorDetails"]


async def test_a_cancelled_job_ends_and_begins_anew_when_resubmitted(far, remote):
    await store(far, *numbered(4))
    storing = Storing(remote)
    begun, goes_on = asyncio.Event(), asyncio.Event()
    storing.troubles = [None, holding(begun, goes_on)]
    job_id = await send(far, "small")
    await begun.wait()
    assert (await far.post(f"/jobs/{job_id}/cancel")).status == 200
    found = await job(far, job_id)
    assert found["State"] == "Failure"
    assert found["ErrorCode"] == 37
    goes_on.set()
    storing.batches.clear()
    assert (await far.post(f"/jobs/{job_id}/resubmit")).status == 200
    found = await job(far, job_id)
    assert found["State"] == "Success"
    assert len(storing.batches) == 2
    assert found["Content"]["SentInstancesCount"] == 4


async def test_a_job_goes_on_after_a_restart(start, far, remote):
    await store(far, *numbered(6))
    storing = Storing(remote)
    begun, goes_on = asyncio.Event(), asyncio.Event()
    storing.troubles = [None, holding(begun, goes_on)]
    job_id = await send(far, "small")
    await begun.wait()
    closing = asyncio.create_task(far.close())
    await asyncio.sleep(0.05)
    goes_on.set()
    await closing
    again = await begin(start, remote)
    found = await job(again, job_id)
    assert found["State"] == "Success"
    assert found["Content"]["SentInstancesCount"] == 6
    assert storing.batches[0] not in storing.batches[1:]


class Holding:
    """Holds instances of one series: lists them, and gives them whole or one by one."""

    def __init__(self, remote: Any, files: dict[str, bytes]) -> None:
        self.files = files
        self.listed = list(files)
        self.troubles: list[Any] = []  # for the requests of the study, None for none
        study = f"{WEB}/studies/{STUDY}"
        remote.on("GET", f"{study}/instances", self.search)
        remote.on("GET", study, self.whole)
        for uid in files:
            path = f"{study}/series/{SERIES}/instances/{uid}"
            remote.reply("GET", path, self.parts(files[uid]))

    @staticmethod
    def parts(*files: bytes) -> dict[str, Any]:
        return {"body": multipart(*files), "headers": {"Content-Type": content_type()}}

    async def search(self, request: web.Request) -> web.StreamResponse:
        start = int(request.query.get("offset", 0))
        stop = start + int(request.query.get("limit", 100))
        return web.json_response(
            [
                {
                    "0020000E": {"vr": "UI", "Value": [SERIES]},
                    "00080018": {"vr": "UI", "Value": [uid]},
                }
                for uid in self.listed[start:stop]
            ]
        )

    async def whole(self, request: web.Request) -> web.StreamResponse:
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble is not None:
            return await trouble(request)
        return web.Response(**self.parts(*self.files.values()))


def cut_after(*files: bytes) -> Any:
    """An answer that breaks off in the part behind these."""

    async def answer(request: web.Request) -> web.StreamResponse:
        body = multipart(*files, image())
        headers = {"Content-Type": content_type(), "Content-Length": str(len(body))}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        await response.write(body[:-300])
        await asyncio.sleep(0.05)
        assert request.transport is not None
        request.transport.abort()
        return response

    return answer


async def fetch(client: Any, **fields: Any) -> Any:
    body = {"Resources": [{"Study": STUDY}], "Synchronous": False, **fields}
    return await job(client, (await call(client, "far/retrieve", body))["ID"])


async def test_after_a_broken_answer_only_what_lacks_is_fetched(far, remote):
    held = {f"1.2.9.{n}": file for n, file in enumerate(numbered(5))}
    holding_all = Holding(remote, held)
    holding_all.troubles = [cut_after(*list(held.values())[:3])]
    found = await fetch(far)
    assert found["State"] == "Success"
    assert found["Content"]["ReceivedInstancesCount"] == "5"
    assert found["Content"]["AlreadyHeldInstancesCount"] == 0
    assert len(found["Content"]["Instances"]) == 5
    single = [path for path in remote.paths() if "/instances/" in path]
    assert sorted(path.rpartition("/")[2] for path in single) == ["1.2.9.3", "1.2.9.4"]
    assert sorted((await files(far)).values()) == sorted(held.values())


async def test_nothing_half_is_kept(far, remote):
    remote.on("GET", f"{WEB}/studies/{STUDY}", cut_after(*numbered(1)))
    found = await fetch(far)
    assert found["State"] == "Failure"
    assert len(await identifiers(far)) == 1


async def test_what_is_listed_and_not_sent_is_fetched_singly(far, remote):
    held = {f"1.2.9.{n}": file for n, file in enumerate(numbered(4))}
    holding_all = Holding(remote, held)

    async def fewer(request: web.Request) -> web.StreamResponse:
        return web.Response(**holding_all.parts(*list(held.values())[:2]))

    holding_all.troubles = [fewer]
    found = await fetch(far)
    assert found["State"] == "Success"
    assert found["Content"]["ReceivedInstancesCount"] == "4"


async def test_what_is_listed_and_never_sent_is_reported(far, remote):
    held = {f"1.2.9.{n}": file for n, file in enumerate(numbered(2))}
    Holding(remote, held).listed.append("1.2.9.99")
    found = await fetch(far)
    assert found["State"] == "Failure"
    assert found["Content"]["ReceivedInstancesCount"] == "2"
    (failed,) = found["Content"]["Failed"]
    assert failed["Instance"] == "1.2.9.99"


async def test_a_remote_that_refuses_all_that_it_lists_is_left_in_peace(far, remote):
    all_of_it = Holding(remote, {})
    all_of_it.listed = [f"1.2.9.{n}" for n in range(200)]
    all_of_it.troubles = [status(404)]
    found = await fetch(far)
    assert found["State"] == "Failure"
    assert "404" in found["ErrorDetails"]
    assert len(remote.paths()) < 40


async def test_a_remote_that_cannot_be_searched_gives_the_whole(far, remote):
    sent = Holding.parts(*numbered(3))
    remote.reply("GET", f"{WEB}/studies/{STUDY}", sent)
    found = await fetch(far)
    assert found["State"] == "Success"
    assert found["Content"]["ReceivedInstancesCount"] == "3"
    found = await fetch(far)
    assert found["State"] == "Success"


async def test_a_remote_that_always_breaks_off_is_given_up(far, remote):
    held = {f"1.2.9.{n}": file for n, file in enumerate(numbered(2))}
    remote.on("GET", f"{WEB}/studies/{STUDY}", cut_after(*held.values()))
    found = await fetch(far)
    assert found["State"] == "Failure"
    assert "cut" in found["ErrorDetails"]
    assert found["Content"]["ReceivedInstancesCount"] != "0"
    assert len(await identifiers(far)) == 2


async def test_a_resource_in_trouble_is_tried_again_after_the_others(far, remote):
    held = {f"1.2.9.{n}": file for n, file in enumerate(numbered(2))}
    Holding(remote, held).troubles = [status(503), None]
    remote.reply(
        "GET", f"{WEB}/studies/1.2.77", Holding.parts(image(StudyInstanceUID="1.2.77"))
    )
    resources = [{"Study": STUDY}, {"Study": "1.2.77"}]
    found = await fetch(far, Resources=resources)
    assert found["State"] == "Success"
    assert found["Content"]["ReceivedInstancesCount"] == "3"
    assert remote.paths().count(f"{WEB}/studies/1.2.77") == 1


async def test_no_password_and_no_header_shows_in_a_job(start, remote):
    server = {"Url": remote.url, "Username": "alice", "Password": "hush-1"}
    client = await start(DicomWeb={"Servers": {"far": server}})
    await store(client, image())
    headers = {"Authorization": "hush-2", "X-Token": "hush-3"}
    for trouble in (status(500), status(401)):
        remote.on("POST", f"{WEB}/studies", trouble)
        job_id = await send(client, "far", HttpHeaders=headers)
        await job(client, job_id)
    remote.on("GET", f"{WEB}/studies/{STUDY}", status(401))
    await fetch(client, HttpHeaders=headers)
    text = json.dumps(await (await client.get("/jobs?expand")).json())
    assert "hush" not in text
    assert "401" in text
