"""What is asked of a server that was told something first: looks at a job."""

from typing import Any

from tests.peers import Running

from .asking import told
from .data import Collection

#: How often each of the clients that wait for a job looks at it.
LOOKS = 40
#: How many wait.
WATCHERS = 200


def job_looks(server: Running, data: Collection) -> list[dict[str, Any]]:
    """Looks at one job: it sends to a server that does not exist, and fails."""
    known = {"Url": "http://127.0.0.1:9/dicom-web/"}
    told(server, "PUT", "/dicom-web/servers/nowhere", known)
    asked = {"Resources": [data.tiny[0].orthanc_id], "Synchronous": False}
    job = told(server, "POST", "/dicom-web/servers/nowhere/stow", asked)["ID"]
    look = {"method": "GET", "path": f"/jobs/{job}", "sink": "keep"}
    return [look | {"expect": {"word": f'"{job}"', "count": 1}}] * (WATCHERS * LOOKS)
