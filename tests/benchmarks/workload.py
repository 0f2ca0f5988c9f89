"""What a workload is, and the requests that it is made of.

Each is one row of the table. Those of a group run one after the other on one server;
every round starts a fresh server with an empty storage for each group.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.peers import Running

from .data import Collection, Instance
from .floors import NO_FLOOR, Floor

STUDIES = "/dicom-web/studies"
DICOM_PARTS = 'multipart/related; type="application/dicom"; transfer-syntax=*'
JSON = "application/dicom+json"

# What occurs once in the JSON of a study, a series, an instance.
STUDY = '"0020000D"'
SERIES = '"0020000E"'
INSTANCE = '"00080018"'
# A STOW answer names each instance once, and gives a reason for each that failed.
NAMED = '"00081155"'
FAILURE = '"00081197"'

# The head of a part of an answer is longer than nothing and shorter than this.
MOST_OF_A_PART_HEAD = 1024

Request = dict[str, Any]
Asked = Callable[[Collection], list[Request]]


@dataclass(frozen=True, slots=True)
class Workload:
    """One row: so many requests on so many connections."""

    name: str
    group: str
    requests: Asked
    items: Callable[[Collection], int]  # what the cost is divided by
    connections: int = 1
    repeat: int = 1
    part: str = ""  # of a workload that has several rows
    workers: int = 1  # processes of the gateway, unless the command says otherwise
    loads: Asked | None = None  # before its group
    fills: Callable[[Collection, Path], None] | None = None  # the storage, instead
    rival: Literal["orthanc", "empty", ""] = "orthanc"  # empty: ours, not filled
    beside: Asked | None = None  # asked meanwhile
    # Made when the server runs, instead of `requests`.
    told: Callable[[Running, Collection], list[Request]] | None = None
    floor: Floor = NO_FLOOR

    @property
    def title(self) -> str:
        """The name of the row."""
        return f"{self.name} {self.part}".strip()


def stow(
    instances: list[Instance], each: int, *, chunked: bool = False
) -> list[Request]:
    """STOW-RS requests of so many instances each."""
    requests = []
    for start in range(0, len(instances), each):
        files = [instance.file for instance in instances[start : start + each]]
        body = {"kind": "multipart", "files": files}
        requests.append(stow_of(body, len(files), chunked=chunked))
    return requests


def stow_of(body: dict[str, Any], count: int, *, chunked: bool) -> Request:
    """A STOW-RS request of a body in which there are so many instances."""
    return {
        "method": "POST",
        "path": STUDIES,
        "accept": JSON,
        "body": body,
        "chunked": chunked,
        "sink": "keep",
        "expect": {"word": NAMED, "count": count, "never": FAILURE},
    }


def search(path: str, word: str, count: int) -> Request:
    """A request for JSON in which a word occurs so many times."""
    return get(path, JSON, "keep", {"word": word, "count": count})


def get(path: str, accept: str, sink: str, expect: dict[str, Any]) -> Request:
    """A request whose answer is judged by the sink."""
    return {
        "method": "GET",
        "path": path,
        "accept": accept,
        "sink": sink,
        "expect": expect,
    }


def address(one: Instance) -> str:
    """Where an instance is on the web."""
    return f"{STUDIES}/{one.study}/series/{one.series}/instances/{one.instance}"
