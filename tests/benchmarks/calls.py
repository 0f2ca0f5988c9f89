"""What is asked of a server that was told something first: jobs, and sending to itself."""

import json
import urllib.request
from typing import Any

from tests.peers import Running

from .data import Collection

#: How often each of the clients that wait for a job looks at it.
LOOKS = 20
#: How many wait.
WATCHERS = 200

Request = dict[str, Any]


def told(server: Running, method: str, path: str, body: Any) -> Any:
    """Tell a server something by its REST API; its answer."""
    request = urllib.request.Request(
        server.url + path,
        method=method,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=600) as answer:
        return json.loads(answer.read() or b"null")


def job_looks(server: Running, data: Collection) -> list[Request]:
    """Looks at one job: it sends to a server that does not exist, and fails."""
    known = {"Url": "http://127.0.0.1:9/dicom-web/"}
    told(server, "PUT", "/dicom-web/servers/nowhere", known)
    asked = {"Resources": [data.tiny[0].orthanc_id], "Synchronous": False}
    job = told(server, "POST", "/dicom-web/servers/nowhere/stow", asked)["ID"]
    look = {"method": "GET", "path": f"/jobs/{job}", "sink": "keep"}
    return [look | {"expect": {"word": f'"{job}"', "count": 1}}] * (WATCHERS * LOOKS)


def to_itself(server: Running, data: Collection) -> list[Request]:
    """The CT, sent to the server that holds it."""
    resources = [one.orthanc_id for one in data.ct]
    return [_call(server, "stow", {"Resources": resources})]


def from_itself(server: Running, data: Collection) -> list[Request]:
    """The CT, fetched from the server that holds it."""
    resources = [{"Study": data.ct[0].study}]
    return [_call(server, "retrieve", {"Resources": resources})]


def _call(server: Running, name: str, body: dict[str, Any]) -> Request:
    known = {"Url": f"{server.url}/dicom-web/"}
    told(server, "PUT", "/dicom-web/servers/itself", known)
    return {
        "method": "POST",
        "path": f"/dicom-web/servers/itself/{name}",
        "body": {"kind": "json", "value": {**body, "Synchronous": True}},
        "sink": "keep",
        "expect": {},
    }
