"""Remote servers that misbehave: what becomes of the jobs that meet them.

Each fault is met by a job that sends and by one that fetches. Either tries again or ends,
says what happened, and leaves nothing half behind.
"""

import asyncio
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.dicom.hierarchy import orthanc_id
from gateway.jobs.states import Patience
from tests import kept
from tests.certificates import Authority
from tests.clients import ROOT, store
from tests.factories import image, multipart
from tests.misbehaving import (
    Deed,
    answer,
    cut,
    deaf,
    early,
    hang_up,
    misbehaving,
    stall,
)

pytestmark = pytest.mark.slow

STUDY, OTHER = "1.2.3.1", "1.2.3.77"
FILE = image(SOPInstanceUID="1.2.9.1", StudyInstanceUID=OTHER)
PARTS = multipart(FILE)
JSON = "application/dicom+json"
TEXT = "text/plain"
ANSWER = json.dumps({"00081199": {"vr": "SQ", "Value": []}}).encode()


@dataclass(frozen=True, slots=True)
class Fault:
    """What a server does, and what is to be said of it."""

    deed: Deed
    words: str  # in what the job tells
    again: bool  # whether it is tried again


def refusal(status: int, again: bool = False) -> Fault:
    words = f"answered {status}"
    return Fault(answer(status, b"bad luck", TEXT), words, again)


BOTH = {
    "401": refusal(401),
    "403": refusal(403),
    "413": refusal(413),
    "429": refusal(429, again=True),
    "500": refusal(500, again=True),
    "503": refusal(503, again=True),
    "hangs up": Fault(hang_up(), "connection", True),
    "stalls": Fault(stall(), "for 1 seconds", True),
    "redirect": Fault(
        answer(302, b"", TEXT, Location="http://elsewhere.example.org/"),
        "elsewhere.example.org",
        False,
    ),
    "not HTTP": Fault(answer(999, b"", TEXT), "999", True),
}
FETCHING = BOTH | {
    "cut in a part": Fault(cut(PARTS, len(PARTS) // 2), "cut", True),
    "cut in chunks": Fault(cut(PARTS, len(PARTS) // 2, "chunked"), "cut", True),
    "cut without a length": Fault(cut(PARTS, len(PARTS) // 2, "none"), "cut", True),
    "stalls in a part": Fault(stall(PARTS, len(PARTS) // 2), "for 1 seconds", True),
    "another boundary": Fault(
        answer(200, PARTS.replace(b"BOUNDARY", b"BONDARY")), "boundary", False
    ),
    "no multipart": Fault(answer(200, b"<html>", "text/html"), "text/html", False),
    "nothing": Fault(answer(204, b"", ""), "no instance", False),
    "no DICOM": Fault(answer(200, multipart(b"no file")), "DICM", False),
}
SENDING = BOTH | {
    "refuses before the end": Fault(early(413, b"bad luck"), "413", False),
    "reads nothing": Fault(deaf(), "for 1 seconds", True),
    "invalid JSON": Fault(answer(200, b'{"0008', JSON), "JSON", False),
    "stores nothing": Fault(answer(200, ANSWER, JSON), "1.2.9.2", False),
    "cut in the answer": Fault(cut(ANSWER, 5, kind=JSON), "cut", True),
}


@pytest.fixture
async def near(start: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A gateway that tries a second time, at once, and holds a study."""
    patience = Patience(retries=1, first_pause=0.01)
    monkeypatch.setattr("gateway.parts.PATIENCE", patience)
    client = await start(ConcurrentJobs=16, JobsHistorySize=100)
    large = image(512, 512, SOPInstanceUID="1.2.9.2")
    await store(client, large)
    return client


async def knows(client: Any, name: str, url: str) -> None:
    definition = {"Url": url, "Timeout": 1}
    response = await client.put(f"{ROOT}/servers/{name}", json=definition)
    assert response.status == 200


async def failed(client: Any, name: str, call: str, resources: Any) -> Any:
    """The failed job of that call."""
    body = {"Resources": resources, "Synchronous": False}
    response = await client.post(f"{ROOT}/servers/{name}/{call}", json=body)
    job_id = (await response.json())["ID"]
    async with asyncio.timeout(30):
        while True:
            job = await (await client.get(f"/jobs/{job_id}?wait=5")).json()
            if job["State"] in ("Success", "Failure"):
                return job


async def meet(client: Any, call: str, resources: Any, name: str, fault: Fault) -> None:
    server_name = name.replace(" ", "-")
    async with misbehaving(fault.deed) as server:
        await knows(client, server_name, server.url)
        job = await failed(client, server_name, call, resources)
        paths = [
            (heard.method, heard.target.partition("?")[0]) for heard in server.heard
        ]
    told = f"{name}: {job['ErrorDetails']} {paths}"
    assert job["State"] == "Failure", told
    assert fault.words in job["ErrorDetails"], told
    assert server_name in job["ErrorDetails"], told
    assert job["Content"]["FunctionErrorDetails"] == job["ErrorDetails"], told
    # A request that changes nothing may be sent again by itself.
    assert (max(map(paths.count, paths)) > 1) is fault.again, told


def nothing_is_left(folder: Path) -> bool:
    return not kept.under_way(folder / "storage")


async def test_a_job_that_sends_says_what_the_server_did(near):
    resources = [orthanc_id("P1", STUDY)]
    async with asyncio.TaskGroup() as group:
        for name, fault in SENDING.items():
            group.create_task(meet(near, "stow", resources, name, fault))


async def test_a_job_that_fetches_says_what_the_server_did(near, tmp_path):
    resources = [{"Study": OTHER}]
    async with asyncio.TaskGroup() as group:
        for name, fault in FETCHING.items():
            group.create_task(meet(near, "retrieve", resources, name, fault))
    assert len(await (await near.get("/instances")).json()) == 1
    assert await asyncio.to_thread(nothing_is_left, tmp_path)


async def test_a_server_with_the_certificate_of_another_gets_nothing(near, tmp_path):
    def made() -> ssl.SSLContext:
        pair = Authority(tmp_path).issue("other", ("other.example.org",))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        return context

    context = await asyncio.to_thread(made)
    async with misbehaving(answer(200, PARTS), context=context) as server:
        await knows(near, "tls", server.url)
        sent = await failed(near, "tls", "stow", [orthanc_id("P1", STUDY)])
        fetched = await failed(near, "tls", "retrieve", [{"Study": OTHER}])
        assert not server.heard
    for job in (sent, fetched):
        assert "certificate" in job["ErrorDetails"]
