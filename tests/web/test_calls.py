"""What a gateway is asked to ask of a remote: fields, defaults, answers, errors."""

import asyncio
import gzip
import json
from typing import Any

import pytest
from aiohttp import web
from multidict import CIMultiDict

from gateway.dicom.hierarchy import orthanc_id
from gateway.jobs.states import Patience
from gateway.transfers import reporting
from tests.clients import ROOT, store
from tests.factories import content_type, image, multipart
from tests.remote import running_remote

STUDY, SERIES = "1.2.3.1", "1.2.3.1.1"
WEB = "/dicom-web"
SECRET = "hush-hush"


@pytest.fixture
async def remote():
    async with running_remote() as running:
        yield running


@pytest.fixture
async def near(start: Any, remote: Any) -> Any:
    dead = "http://127.0.0.1:1/"
    return await start(
        DicomWeb={
            "Servers": {
                "far": {"Url": remote.url, "Username": "alice", "Password": SECRET},
                "deleting": {"Url": remote.url, "HasDelete": True},
                "old": {
                    "Url": remote.url,
                    "HasWadoRsUniversalTransferSyntax": False,
                    "Timeout": 1,
                },
                "dead": [dead],
            }
        }
    )


async def ask(client: Any, path: str, body: Any, status: int = 200) -> Any:
    response = await client.post(f"{ROOT}/servers/{path}", json=body)
    text = await response.text()
    assert response.status == status, text
    return json.loads(text)


async def finished(client: Any, job_id: str) -> Any:
    async with asyncio.timeout(20):
        while True:
            job = await (await client.get(f"/jobs/{job_id}")).json()
            if job["State"] in ("Success", "Failure"):
                return job
            await asyncio.sleep(0.02)


def files_answer(*files: bytes) -> dict[str, Any]:
    return {
        "body": multipart(*files),
        "headers": {"Content-Type": content_type()},
    }


def stored_answer(*uids: str, failed: Any = ()) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "00081199": {
            "vr": "SQ",
            "Value": [{"00081155": {"vr": "UI", "Value": [uid]}} for uid in uids],
        }
    }
    if failed:
        answer["00081198"] = {
            "vr": "SQ",
            "Value": [
                {
                    "00081155": {"vr": "UI", "Value": [uid]},
                    "00081197": {"vr": "US", "Value": [reason]},
                }
                for uid, reason in failed
            ],
        }
    return {"text": json.dumps(answer), "content_type": "application/dicom+json"}


# -- get -----------------------------------------------------------------------------------


async def test_get_passes_the_answer_through(near, remote):
    headers = {
        "Content-Type": "application/dicom+json",
        "X-Of-The-Remote": "yes",
        "Connection": "X-Private",
        "X-Private": "no",
    }
    remote.reply("GET", f"{WEB}/studies", {"body": b"[{}]", "headers": headers})
    response = await near.post(
        f"{ROOT}/servers/far/get",
        json={
            "Uri": "studies",
            "Arguments": {"PatientName": "Ä & b", "limit": "1", "fuzzy": ""},
            "HttpHeaders": {"Accept": "application/json", "X-Mine": "1"},
        },
    )
    assert response.status == 200
    assert await response.read() == b"[{}]"
    assert response.headers["Content-Type"] == "application/dicom+json"
    assert response.headers["X-Of-The-Remote"] == "yes"
    assert "X-Private" not in response.headers
    (seen,) = remote.seen
    assert dict(seen.query) == {"PatientName": "Ä & b", "limit": "1", "fuzzy": ""}
    assert seen.headers["Accept"] == "application/json"
    assert seen.headers["X-Mine"] == "1"
    assert seen.headers["Authorization"].startswith("Basic ")


async def test_get_keeps_what_is_between_us_and_the_remote(near, remote):
    headers = [
        ("Content-Type", "text/plain"),
        ("Set-Cookie", "session=theirs"),
        ("Access-Control-Allow-Origin", "*"),
        ("Link", "<a>"),
        ("Link", "<b>"),
        ("Content-Range", "bytes 0-1/9"),
    ]

    async def piece(request: web.Request) -> web.StreamResponse:
        return web.Response(status=206, body=b"ab", headers=CIMultiDict(headers))

    remote.on("GET", f"{WEB}/studies", piece)
    response = await near.post(f"{ROOT}/servers/far/get", json={"Uri": "/studies"})
    assert (response.status, await response.read()) == (206, b"ab")
    assert response.headers.getall("Link") == ["<a>", "<b>"]
    assert response.headers["Content-Range"] == "bytes 0-1/9"
    assert "Set-Cookie" not in response.headers
    assert "Access-Control-Allow-Origin" not in response.headers
    remote.reply("GET", f"{WEB}/studies", {"status": 204})
    response = await near.post(f"{ROOT}/servers/far/get", json={"Uri": "/studies"})
    assert (response.status, await response.read()) == (204, b"")
    assert "Content-Type" not in response.headers


async def test_a_remote_that_tells_what_we_sent_is_not_believed_to_be_discreet(
    near, remote
):
    async def echo(request: web.Request) -> web.StreamResponse:
        sent = request.headers["Authorization"]
        told = f"{sent} alice:{SECRET} {request.headers['X-Key']}"
        return web.Response(status=500, text=told)

    remote.on("GET", f"{WEB}/studies", echo)
    asked = {"Uri": "/studies", "HttpHeaders": {"X-Key": "k3y-of-mine"}}
    told = await ask(near, "far/get", asked, status=502)
    assert "it answered 500" in told["Message"]
    assert told["Message"].endswith("(hidden) (hidden) (hidden)")


async def test_get_decodes_what_the_remote_compressed(near, remote):
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    packed = {"body": gzip.compress(b'{"a": 1}'), "headers": headers}
    remote.reply("GET", f"{WEB}/studies", packed)
    response = await near.post(f"{ROOT}/servers/far/get", json={"Uri": "/studies"})
    assert "Content-Encoding" not in response.headers
    assert await response.read() == b'{"a": 1}'


async def test_get_streams_what_is_large(near, remote):
    piece = bytes(range(256)) * 4096

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(20):
            await response.write(piece)
        return response

    remote.on("GET", f"{WEB}/big", answer)
    response = await near.post(f"{ROOT}/servers/far/get", json={"Uri": "/big"})
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert await response.read() == piece * 20


async def test_what_cannot_be_asked_is_refused(near, remote):
    for body in (
        {},
        {"Uri": 3},
        {"Uri": "/studies?limit=1"},
        {"Uri": "/../admin"},
        {"Uri": "/studies", "Arguments": 3},
        {"Uri": "/studies", "Arguments": {"limit": 1}},
        {"Uri": "/studies", "HttpHeaders": ["A"]},
        {"Uri": "/studies", "HttpHeaders": {"A": "b\r\nC: d"}},
        [],
        "text",
    ):
        for call in ("get", "qido"):
            told = await ask(near, f"far/{call}", body, status=400)
            assert told["Message"]
    assert not remote.seen


async def test_an_error_of_the_remote_is_told_with_its_cause(near, remote):
    known = {400: 400, 401: 502, 403: 502, 404: 404, 500: 502, 503: 502}
    for status, ours in known.items():
        remote.reply("GET", f"{WEB}/studies", {"status": status, "text": "no\nluck"})
        for call in ("get", "qido"):
            told = await ask(near, f"far/{call}", {"Uri": "/studies"}, status=ours)
            assert "far" in told["Message"]
            assert str(status) in told["Message"]
            assert "no luck" in told["Message"]
            assert SECRET not in json.dumps(told)


async def test_a_remote_that_is_not_there_is_a_bad_gateway(near):
    told = await ask(near, "dead/get", {"Uri": "/studies"}, status=502)
    assert "dead" in told["Message"]


async def test_a_remote_that_says_nothing_is_a_timeout(near, remote):
    async def silence(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(5)
        return web.Response()

    remote.on("GET", f"{WEB}/studies", silence)
    told = await ask(near, "old/get", {"Uri": "/studies"}, status=504)
    assert "old" in told["Message"]


async def test_an_unknown_server_is_not_found(near):
    for call in ("get", "qido", "wado", "retrieve", "stow", "delete"):
        told = await ask(near, f"nobody/{call}", {}, status=404)
        assert "nobody" in told["Message"]
        assert told["OrthancStatus"] == 7


# -- qido ----------------------------------------------------------------------------------


async def test_qido_answers_in_a_simple_form(near, remote):
    match = {
        "00080020": {"vr": "DA", "Value": ["20240131"]},
        "00080061": {"vr": "CS", "Value": ["CT", "MR"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]},
        "0020000d": {"vr": "UI", "Value": ["1.2.3"]},
        "00200013": {"vr": "IS", "Value": [5]},
        "00101020": {"vr": "DS", "Value": [1.5]},
        "00100030": {"vr": "DA"},
        "00321064": {"vr": "SQ", "Value": [{}]},
        "00091001": {"vr": "LO", "Value": ["x"]},
        "other": "thing",
    }
    remote.reply("GET", f"{WEB}/studies", {"text": json.dumps([match])})
    (found,) = await ask(near, "far/qido", {"Uri": "/studies"})
    assert found["00080020"] == {
        "Element": 0x20,
        "Group": 8,
        "Name": "StudyDate",
        "Value": "20240131",
        "vr": "DA",
    }
    assert found["00080061"]["Value"] == "CT"
    assert found["00080061"]["Values"] == ["CT", "MR"]
    assert found["00100010"]["Value"] == "Doe^Jane"
    assert found["0020000d"]["Name"] == "StudyInstanceUID"
    assert found["00200013"]["Value"] == 5
    assert found["00101020"]["Value"] == 1.5
    assert "Value" not in found["00100030"]
    assert "Value" not in found["00321064"]
    assert found["00091001"]["Name"] == "Unknown Tag & Data"
    assert "other" not in found


async def test_qido_answers_an_empty_array_when_there_is_nothing(near, remote):
    remote.reply("GET", f"{WEB}/studies", {"status": 204}, {"text": "[]"})
    assert await ask(near, "far/qido", {"Uri": "/studies"}) == []
    assert await ask(near, "far/qido", {"Uri": "/studies"}) == []


async def test_qido_refuses_what_is_no_answer_to_a_search(near, remote):
    for text in ("{}", "nonsense", "[3]", '[{"00100010": {"Value": []}}]', "[{"):
        remote.reply("GET", f"{WEB}/studies", {"text": text})
        told = await ask(near, "far/qido", {"Uri": "/studies"}, status=502)
        assert "far" in told["Message"]


# -- delete --------------------------------------------------------------------------------


async def test_delete_deletes_at_its_level(near, remote):
    for level, path in {
        "Study": "/studies/1.2",
        "series": "/studies/1.2/series/1.3",
        "INSTANCE": "/studies/1.2/series/1.3/instances/1.4",
    }.items():
        remote.seen.clear()
        remote.reply("DELETE", WEB + path, {"status": 204})
        body = {
            "Level": level,
            "StudyInstanceUID": "1.2",
            "SeriesInstanceUID": "1.3",
            "SOPInstanceUID": "1.4",
        }
        assert await ask(near, "deleting/delete", body) == {}
        assert remote.paths("DELETE") == [WEB + path]


async def test_delete_refuses_what_is_not_clear(near, remote):
    for server, body in (
        ("far", {"Level": "Study", "StudyInstanceUID": "1.2"}),
        ("deleting", {"StudyInstanceUID": "1.2"}),
        ("deleting", {"Level": "Patient", "StudyInstanceUID": "1.2"}),
        ("deleting", {"Level": "Series", "StudyInstanceUID": "1.2"}),
        ("deleting", {"Level": "Study", "StudyInstanceUID": "../1"}),
    ):
        await ask(near, f"{server}/delete", body, status=400)
    assert not remote.seen


# -- jobs: how they are asked for ----------------------------------------------------------


async def test_wado_is_asynchronous_unless_told_otherwise(near, remote):
    remote.reply("GET", f"{WEB}/studies/{STUDY}", files_answer(image(), image()))
    told = await ask(near, "far/wado", {"Uri": f"/studies/{STUDY}"})
    assert set(told) == {"ID", "Path"}
    assert told["Path"] == f".././../jobs/{told['ID']}"
    job = await finished(near, told["ID"])
    assert job["Type"] == "DicomWebWadoRetrieveClient"
    assert job["Content"]["ReceivedInstancesCount"] == "2"
    for body in ({"Synchronous": True}, {"Asynchronous": False}):
        content = await ask(near, "far/wado", {"Uri": f"studies/{STUDY}", **body})
        assert content["NetworkUsageMB"] == "0"


async def test_the_path_of_a_job_leads_to_it_from_the_call(near, remote):
    told = await ask(near, "far/wado", {"Uri": "/studies/1"})
    url = near.make_url(f"{ROOT}/servers/far/wado")
    response = await near.get(url.join(type(url)(told["Path"])).path)
    assert (await response.json())["ID"] == told["ID"]


@pytest.mark.parametrize("call", ["retrieve", "stow"])
async def test_retrieve_and_stow_are_synchronous_unless_told_otherwise(
    near, remote, call
):
    file = image(SOPInstanceUID="1.2.9")
    await store(near, file)
    study = orthanc_id("P1", STUDY)
    remote.reply("POST", f"{WEB}/studies", stored_answer("1.2.9"))
    remote.reply("GET", f"{WEB}/studies/{STUDY}", files_answer(file))
    resources = [study] if call == "stow" else [{"Study": STUDY}]
    content = await ask(near, f"far/{call}", {"Resources": resources})
    assert content["Server"] == "far"
    for body in ({"Synchronous": False}, {"Asynchronous": True}):
        told = await ask(near, f"far/{call}", {"Resources": resources, **body})
        job = await finished(near, told["ID"])
        assert job["State"] == "Success"
    both = {"Synchronous": True, "Asynchronous": True}
    content = await ask(near, f"far/{call}", {"Resources": resources, **both})
    assert "ID" not in content


async def test_a_job_has_the_priority_that_was_asked_for(near):
    for priority in (7, -3):
        body = {"Uri": "/studies/1", "Priority": priority}
        told = await ask(near, "far/wado", body)
        job = await (await near.get(f"/jobs/{told['ID']}")).json()
        assert job["Priority"] == priority


async def test_a_job_that_is_not_clear_is_refused(near):
    for call, body in (
        ("wado", {"Uri": "/studies/1", "Priority": "high"}),
        ("wado", {"Uri": "/studies/1", "Priority": 1.5}),
        ("wado", {"Uri": "/studies/1", "Priority": True}),
        ("wado", {"Uri": "/studies/1", "Synchronous": "yes"}),
        ("wado", {"Uri": "/studies/1", "Asynchronous": 1}),
        ("wado", {"Uri": "/studies/1", "Force": 1}),
        ("wado", {"Uri": "/studies/1?a=b"}),
        ("wado", {}),
        ("retrieve", {}),
        ("retrieve", {"Resources": {}}),
        ("retrieve", {"Resources": [{}]}),
        ("retrieve", {"Resources": ["1.2"]}),
        ("retrieve", {"Resources": [{"Study": "x"}]}),
        ("retrieve", {"Resources": [{"Study": 3}]}),
        ("retrieve", {"Resources": [{"Study": "1", "Instance": "2"}]}),
        ("retrieve", {"Resources": [{"Study": "1"}], "GetArguments": 3}),
        ("stow", {}),
        ("stow", {"Resources": "x"}),
        ("stow", {"Resources": [3]}),
        ("stow", {"Resources": [], "Synchronous": 0}),
    ):
        await ask(near, f"far/{call}", body, status=400)
    assert await (await near.get("/jobs")).json() == []


async def test_stow_of_what_is_not_held_is_not_found(near):
    for name in ("nobody", ""):
        await ask(near, "far/stow", {"Resources": [name]}, status=404)
    assert await (await near.get("/jobs")).json() == []


async def test_nothing_to_move_is_moved(near, remote):
    content = await ask(near, "far/stow", {"Resources": []})
    assert content["InstancesCount"] == "0"
    content = await ask(near, "far/retrieve", {"Resources": []})
    assert content["ReceivedInstancesCount"] == "0"
    assert not remote.seen


async def test_who_waits_gets_the_answer_of_a_job_that_nobody_remembers(start, remote):
    servers = {"far": [remote.url]}
    client = await start(JobsHistorySize=0, DicomWeb={"Servers": servers})
    await store(client, image(SOPInstanceUID="1.2.9"))
    remote.reply("POST", f"{WEB}/studies", stored_answer("1.2.9"))
    body = {"Resources": [orthanc_id("P1", STUDY)]}
    assert (await ask(client, "far/stow", body))["SentInstancesCount"] == 1
    remote.reply("POST", f"{WEB}/studies", {"status": 403})
    told = await ask(client, "far/stow", body, status=502)
    assert "403" in told["Message"]


# -- jobs: what is asked of the remote -----------------------------------------------------


async def test_retrieve_asks_for_any_transfer_syntax_unless_told_otherwise(
    near, remote
):
    path = f"{WEB}/studies/{STUDY}"
    remote.reply("GET", path, files_answer(image()))
    any_syntax = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    own = 'multipart/related; type="application/dicom"; transfer-syntax=1.2'
    for server, headers, accept in [
        ("far", {}, any_syntax),
        ("old", {}, 'multipart/related; type="application/dicom"'),
        ("far", {"accept": own}, own),
    ]:
        remote.seen.clear()
        body = {
            "Resources": [{"Study": STUDY}],
            "HttpHeaders": {"X-Mine": "1", **headers},
            "GetArguments": {"a": "b c"},
        }
        await ask(near, f"{server}/retrieve", body)
        (seen,) = [seen for seen in remote.seen if seen.path == path]
        assert seen.headers["Accept"] == accept
        assert seen.headers["X-Mine"] == "1"
        assert seen.query == [("a", "b c")]


async def test_retrieve_takes_each_level_and_no_more(near, remote):
    uids = {"Study": STUDY, "Series": SERIES, "Instance": "1.2.9"}
    path = f"{WEB}/studies/{STUDY}/series/{SERIES}/instances/1.2.9"
    remote.reply("GET", path, files_answer(image(SOPInstanceUID="1.2.9")))
    content = await ask(near, "far/retrieve", {"Resources": [uids]})
    assert content["ReceivedInstancesCount"] == "1"
    assert remote.paths() == [path]
    assert content["Resources"] == [uids]


async def test_a_single_part_answer_is_an_instance(near, remote):
    file = image(SOPInstanceUID="1.2.9")
    answer = {"body": file, "headers": {"Content-Type": "application/dicom"}}
    remote.reply("GET", f"{WEB}/instances/some", answer)
    body = {"Uri": "/instances/some", "Synchronous": True}
    content = await ask(near, "far/wado", body)
    (identifier,) = content["Instances"]
    response = await near.get(f"/instances/{identifier}/file")
    assert await response.read() == file


async def test_a_retrieval_that_brings_nothing_fails(near, remote):
    text = b"--BOUNDARY\r\nContent-Type: text/plain\r\n\r\nx\r\n--BOUNDARY--"
    right, wrong = ({"Content-Type": content_type(b)} for b in ("BOUNDARY", "OTHER"))
    for answer in (
        {"status": 204},
        {"body": b"--BOUNDARY--\r\n", "headers": right},
        {"text": "<html>", "content_type": "text/html"},
        {"body": multipart(image()), "headers": wrong},
        {"body": text, "headers": right},
    ):
        remote.reply("GET", f"{WEB}/studies/{STUDY}", answer)
        body = {"Resources": [{"Study": STUDY}]}
        told = await ask(near, "far/retrieve", body, status=502)
        assert "far" in told["Message"]
        assert await (await near.get("/instances")).json() == []


async def test_what_is_no_dicom_file_is_reported_and_the_others_are_kept(near, remote):
    good = image(SOPInstanceUID="1.2.9")
    answer = files_answer(good, b"no file at all", image(StudyInstanceUID="1.2.99"))
    remote.reply("GET", f"{WEB}/studies/{STUDY}", answer)
    body = {"Resources": [{"Study": STUDY}], "Asynchronous": True}
    told = await ask(near, "far/retrieve", body)
    job = await finished(near, told["ID"])
    assert job["State"] == "Failure"
    content = job["Content"]
    assert content["ReceivedInstancesCount"] == "1"
    assert content["FailedCount"] == 2
    reasons = sorted(one["Reason"] for one in content["Failed"])
    assert reasons == [0x0110, 0xC000]
    assert len(await (await near.get("/instances")).json()) == 1


# -- jobs: why they fail -------------------------------------------------------------------


async def test_a_failed_call_says_why(near, remote):
    await store(near, image())
    refusal = {"status": 403, "text": "not for you"}
    remote.reply("POST", f"{WEB}/studies", refusal)
    remote.reply("GET", f"{WEB}/studies/{STUDY}", refusal)
    study = orthanc_id("P1", STUDY)
    for call, resources in [("stow", [study]), ("retrieve", [{"Study": STUDY}])]:
        body = {"Resources": resources, "HttpHeaders": {"X-Token": SECRET}}
        told = await ask(near, f"far/{call}", body, status=502)
        assert "far" in told["Message"]
        assert "403" in told["Message"]
        assert "not for you" in told["Message"]
    jobs = await (await near.get("/jobs?expand")).json()
    assert len(jobs) == 2
    for job in jobs:
        assert job["State"] == "Failure"
        assert "403" in job["ErrorDetails"]
        assert "not for you" in job["Content"]["FunctionErrorDetails"]
        assert job["Content"]["FunctionErrorCode"] == job["ErrorCode"]
        assert SECRET not in json.dumps(job)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed attempts follow each other closely."""
    monkeypatch.setattr("gateway.parts.PATIENCE", Patience(first_pause=0.01))


@pytest.mark.usefixtures("hurried")
async def test_who_waits_does_not_wait_for_all_attempts(near, remote):
    await store(near, image())
    remote.reply("POST", f"{WEB}/studies", {"status": 503, "text": "busy"})
    body = {"Resources": [orthanc_id("P1", STUDY)]}
    told = await ask(near, "far/stow", body, status=502)
    assert "503" in told["Message"]
    assert len(remote.paths("POST")) == 3


async def test_a_retrieval_that_stalls_is_a_timeout(near, remote, monkeypatch):
    monkeypatch.setattr(reporting, "ATTEMPTS_WAITED_FOR", 0)

    async def stall(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": content_type()})
        await response.prepare(request)
        await response.write(multipart(image())[:300])
        await asyncio.sleep(10)
        return response

    remote.on("GET", f"{WEB}/studies/{STUDY}", stall)
    body = {"Resources": [{"Study": STUDY}]}
    told = await ask(near, "old/retrieve", body, status=504)
    assert "old" in told["Message"]
    assert await (await near.get("/instances")).json() == []


# -- jobs: what the remote says of what was sent -------------------------------------------


async def test_stow_reports_which_instances_failed_and_why(near, remote):
    await store(near, *[image(SOPInstanceUID=f"1.2.9.{n}") for n in range(4)])
    answer = stored_answer("1.2.9.0", failed=[("1.2.9.1", 0xA700), ("1.2.9.2", 272)])
    remote.reply("POST", f"{WEB}/studies", answer | {"status": 202})
    body = {"Resources": [orthanc_id("P1", STUDY)]}
    told = await ask(near, "far/stow", body, status=502)
    assert "3 of 4" in told["Message"]
    assert "1.2.9.1" in told["Message"]
    (job,) = await (await near.get("/jobs?expand")).json()
    content = job["Content"]
    assert content["SentInstancesCount"] == 1
    assert content["FailedInstancesCount"] == 3
    failed = {one["SOPInstanceUID"]: one for one in content["FailedInstances"]}
    assert failed["1.2.9.1"]["Reason"] == 0xA700
    assert "resources" in failed["1.2.9.1"]["Description"]
    assert failed["1.2.9.2"]["Reason"] == 272
    assert "does not say" in failed["1.2.9.3"]["Description"]
    assert len(failed["1.2.9.3"]["ID"]) == 44


async def test_stow_reads_an_answer_in_xml(near, remote):
    await store(near, image(SOPInstanceUID="1.2.9"))
    text = (
        '<NativeDicomModel><DicomAttribute tag="00081199" vr="SQ"><Item number="1">'
        '<DicomAttribute tag="00081155" vr="UI"><Value number="1">1.2.9</Value>'
        "</DicomAttribute></Item></DicomAttribute></NativeDicomModel>"
    )
    answer = {"text": text, "content_type": "application/dicom+xml"}
    remote.reply("POST", f"{WEB}/studies", answer)
    content = await ask(near, "far/stow", {"Resources": [orthanc_id("P1", STUDY)]})
    assert content["SentInstancesCount"] == 1


async def test_an_answer_that_does_not_say_what_was_stored_is_a_failure(near, remote):
    await store(near, image())
    for text in ("", "{}", "nonsense"):
        remote.reply("POST", f"{WEB}/studies", {"text": text})
        body = {"Resources": [orthanc_id("P1", STUDY)]}
        await ask(near, "far/stow", body, status=502)


async def test_a_body_that_is_too_large_is_sent_in_smaller_ones(near, remote):
    files = [image(SOPInstanceUID=f"1.2.9.{n}") for n in range(5)]
    await store(near, *files)

    async def answer(request: web.Request) -> web.StreamResponse:
        body = remote.seen[-1].body
        inside = [n for n in range(5) if f"1.2.9.{n}\0".encode() in body]
        if len(inside) > 2:
            return web.Response(status=413)
        return web.Response(**stored_answer(*(f"1.2.9.{n}" for n in inside)))

    remote.on("POST", f"{WEB}/studies", answer)
    content = await ask(near, "far/stow", {"Resources": [orthanc_id("P1", STUDY)]})
    assert content["SentInstancesCount"] == 5
    assert content["FailedInstancesCount"] == 0
