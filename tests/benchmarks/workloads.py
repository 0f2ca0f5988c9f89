"""The workloads: what is asked of a server, and what must come back.

Each is one row of the table. Those of a group run one after the other on one server;
every round starts a fresh server with an empty storage for each group.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tests.peers import Running

from . import calls
from .data import SERIES_OF_FIRST_STUDY, Collection, Instance
from .streams import FRAME, Large, Many

STUDIES = "/dicom-web/studies"
DICOM_PARTS = 'multipart/related; type="application/dicom"; transfer-syntax=*'
JSON = "application/dicom+json"
OCTETS = "application/octet-stream"
FRAME_PART = f'multipart/related; type="{OCTETS}"'
# A STOW answer names each instance once, and gives a reason for each that failed.
NAMED = '"00081155"'
FAILURE = '"00081197"'
STUDY = '"0020000D"'
SERIES = '"0020000E"'
INSTANCE = '"00080018"'

# The head of a part of an answer is longer than nothing and shorter than this.
MOST_OF_A_PART_HEAD = 1024

# Reading is quick, and processor time is counted in hundredths of a second.
TIMES_READ = 5

# Times that somebody asks how the server is, while it takes in.
LOOKS = 8000

# Instances of one large study.
STUDY_SIZE = 5000

# Frames of each object, one a request.
FRAMES_ASKED = 400

Request = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Workload:
    """One row: so many requests on so many connections."""

    name: str
    group: str
    requests: Callable[[Collection], list[Request]]
    items: Callable[[Collection], int]  # what the cost is divided by
    connections: int = 1
    repeat: int = 1
    part: str = ""  # of a workload that has several rows
    loads: Callable[[Collection], list[Request]] | None = None  # before its group
    peer: bool = True  # whether Orthanc is asked too
    beside: Callable[[Collection], list[Request]] | None = None  # asked meanwhile
    # Made when the server runs, instead of `requests`.
    told: Callable[[Running, Collection], list[Request]] | None = None

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
        requests.append(_stow(body, len(files), chunked=chunked))
    return requests


def _stow(body: dict[str, Any], count: int, *, chunked: bool) -> Request:
    return {
        "method": "POST",
        "path": STUDIES,
        "accept": JSON,
        "body": body,
        "chunked": chunked,
        "sink": "keep",
        "expect": {"word": NAMED, "count": count, "never": FAILURE},
    }


def _get(path: str, word: str, count: int) -> Request:
    expect = {"word": word, "count": count}
    return _request(path, JSON, "keep", expect)


def _request(path: str, accept: str, sink: str, expect: dict[str, Any]) -> Request:
    return {
        "method": "GET",
        "path": path,
        "accept": accept,
        "sink": sink,
        "expect": expect,
    }


def archive(data: Collection) -> list[Request]:
    """What is stored before anything is asked: the CT and several hundred studies."""
    return stow(data.tiny, 50) + stow(data.ct, 10)


def _wado_study(data: Collection) -> list[Request]:
    least = sum(instance.size for instance in data.ct)
    most = least + MOST_OF_A_PART_HEAD * (len(data.ct) + 1)
    path = f"{STUDIES}/{data.ct[0].study}"
    return [_request(path, DICOM_PARTS, "drop", {"least": least, "most": most})]


def _metadata(data: Collection) -> list[Request]:
    path = f"{STUDIES}/{data.ct[0].study}/metadata"
    return [_get(path, INSTANCE, len(data.ct))]


def _qido_studies(_: Collection) -> list[Request]:
    return [_get(f"{STUDIES}?limit=50", STUDY, 50)]


def _qido_uid(data: Collection) -> list[Request]:
    asked = data.tiny[len(data.tiny) // 2].study
    return [_get(f"{STUDIES}?StudyInstanceUID={asked}", STUDY, 1)]


def _qido_once(data: Collection) -> list[Request]:
    """No two of these are the same: no answer is one that was given before."""
    studies = list(
        dict.fromkeys(one.study for one in data.tiny[SERIES_OF_FIRST_STUDY:])
    )
    return [
        request
        for study in studies
        for request in (
            _get(f"{STUDIES}?StudyInstanceUID={study}&offset=0", STUDY, 1),
            _get(f"{STUDIES}/{study}/series?offset=0", SERIES, 1),
        )
    ]


def _qido_name(data: Collection) -> list[Request]:
    return [_get(f"{STUDIES}?PatientName=*x*", STUDY, data.names_with_x)]


def _qido_series(data: Collection) -> list[Request]:
    path = f"{STUDIES}/{data.tiny[0].study}/series"
    return [_get(path, SERIES, SERIES_OF_FIRST_STUDY)]


def _qido_instances(data: Collection) -> list[Request]:
    first = data.ct[0]
    path = f"{STUDIES}/{first.study}/series/{first.series}/instances"
    return [_get(path, INSTANCE, len(data.ct))]


def _instance_files(data: Collection) -> list[Request]:
    return [
        _request(
            f"/instances/{instance.orthanc_id}/file",
            "*/*",
            "drop",
            {"least": instance.size, "most": instance.size},
        )
        for instance in data.ct
    ]


def _large(large: Large) -> dict[str, Any]:
    names = {"header": str(large.header), "frame": str(large.frame)}
    return {"kind": "large", **names, "frames": large.frames}


def _many(many: Many) -> dict[str, Any]:
    body = {"kind": "many", "template": str(many.template)}
    return {**body, "count": many.count, "studies": many.studies}


def _stow_large(data: Collection) -> list[Request]:
    return [_stow(_large(data.large), 1, chunked=True)]


def _wado_large(data: Collection) -> list[Request]:
    path = f"{STUDIES}/{data.large_study_uid}"
    return [_request(path, DICOM_PARTS, "large", _large(data.large))]


def _of_frames(data: Collection) -> list[Request]:
    """What is stored before frames are asked for: one object of many, one of few."""
    bodies = (_large(data.large), _large(data.few_frames))
    return [_stow(body, 1, chunked=True) for body in bodies]


def _frame(path: str, frames: int) -> list[Request]:
    """One frame a request, from all over the object."""
    numbers = (
        1 + place * (frames - 1) // (FRAMES_ASKED - 1) for place in range(FRAMES_ASKED)
    )
    size = {"least": FRAME, "most": FRAME}
    return [
        _request(f"{STUDIES}/{path}/frames/{number}", OCTETS, "drop", size)
        for number in numbers
    ]


def _frame_of_each(data: Collection) -> list[Request]:
    """The one frame of each slice, as Orthanc gives it too: in a part."""
    frame = {"least": FRAME, "most": FRAME + MOST_OF_A_PART_HEAD}
    return [
        _request(f"{_address(one)}/frames/1", FRAME_PART, "drop", frame)
        for one in data.ct
    ]


def _rendered(data: Collection) -> list[Request]:
    size = {"least": 1000, "most": FRAME}
    return [
        _request(f"{_address(one)}/rendered", "image/jpeg", "drop", size)
        for one in data.ct
    ]


def _address(one: Instance) -> str:
    return f"{STUDIES}/{one.study}/series/{one.series}/instances/{one.instance}"


def _health(_: Collection) -> list[Request]:
    return [_request("/system", "*/*", "drop", {"least": 1, "most": 100_000})] * LOOKS


def _reading(data: Collection) -> list[Request]:
    return (_wado_study(data) + _qido_instances(data) + _qido_studies(data)) * 10


def _one_study(data: Collection) -> Collection:
    many = replace(data.many, count=min(STUDY_SIZE, data.many.count), studies=1)
    return replace(data, many=many)


def _metadata_of_many(data: Collection) -> list[Request]:
    one = _one_study(data)
    path = f"{STUDIES}/{one.many_study_uids[0]}/metadata"
    return [_get(path, INSTANCE, one.many.count)]


def _stow_many(data: Collection) -> list[Request]:
    return [_stow(_many(data.many), data.many.count, chunked=True)]


def _wado_many(data: Collection) -> list[Request]:
    return [
        _request(f"{STUDIES}/{study}", DICOM_PARTS, "many", _many(data.many))
        for study in data.many_study_uids
    ]


def _asking(
    name: str,
    requests: Callable[[Collection], list[Request]],
    repeat: int,
    part: str = "",
) -> Workload:
    """A workload on the archive whose cost is that of one request."""
    return Workload(
        name,
        group="archive",
        requests=requests,
        items=lambda _: repeat,
        repeat=repeat,
        part=part,
        loads=archive,
    )


def _slices(data: Collection) -> int:
    return len(data.ct)


WORKLOADS = (
    Workload(
        "stow-ct",
        group="stow-ct",
        requests=lambda data: stow(data.ct, len(data.ct), chunked=True),
        items=_slices,
    ),
    Workload(
        "stow-small",
        group="stow-small",
        requests=lambda data: stow(data.small, 1),
        items=lambda data: len(data.small),
        connections=8,
    ),
    Workload(
        "stow-10",
        group="stow-10",
        requests=lambda data: stow(data.ct, 10),
        items=_slices,
        connections=4,
    ),
    # Cold before anything else has read the study.
    _asking("metadata-study", _metadata, repeat=1, part="cold"),
    _asking("metadata-study", _metadata, repeat=10, part="warm"),
    Workload(
        "wado-study",
        group="archive",
        requests=_wado_study,
        items=lambda data: len(data.ct) * TIMES_READ,
        repeat=TIMES_READ,
        loads=archive,
    ),
    _asking("qido-studies", _qido_studies, repeat=100),
    _asking("qido-uid", _qido_uid, repeat=300),
    _asking("qido-name", _qido_name, repeat=100),
    _asking("qido-series", _qido_series, repeat=200),
    _asking("qido-instances", _qido_instances, repeat=30),
    Workload(
        "instance-file",
        group="archive",
        requests=_instance_files,
        items=lambda data: len(data.ct) * TIMES_READ,
        connections=4,
        repeat=TIMES_READ,
        loads=archive,
    ),
    Workload(
        "qido-once",
        group="archive",
        requests=_qido_once,
        items=lambda data: len(_qido_once(data)),
        loads=archive,
    ),
    Workload(
        "clients-64",
        group="archive",
        requests=_qido_uid,
        items=lambda _: 1920,
        connections=64,
        repeat=1920,
        loads=archive,
    ),
    Workload(
        "frame-one",
        group="archive",
        requests=_frame_of_each,
        items=_slices,
        loads=archive,
    ),
    Workload(
        "rendered",
        group="archive",
        requests=_rendered,
        items=_slices,
        connections=4,
        loads=archive,
    ),
    Workload(
        "job",
        group="archive",
        requests=lambda _: [],
        told=calls.job_looks,
        items=lambda _: calls.WATCHERS * calls.LOOKS,
        connections=calls.WATCHERS,
        loads=archive,
    ),
    Workload(
        "itself",
        group="archive",
        requests=lambda _: [],
        told=calls.to_itself,
        items=_slices,
        part="stow",
        loads=archive,
    ),
    Workload(
        "itself",
        group="archive",
        requests=lambda _: [],
        told=calls.from_itself,
        items=_slices,
        part="retrieve",
        loads=archive,
    ),
    Workload(
        "beside",
        group="beside",
        requests=lambda data: stow(data.small, 1),
        items=lambda data: len(data.small),
        connections=8,
        part="reading",
        loads=archive,
        beside=_reading,
    ),
    Workload(
        "beside",
        group="ingesting",
        requests=_health,
        items=lambda _: LOOKS,
        part="ingest",
        beside=lambda data: stow(data.ct, 10) + stow(data.small, 1),
    ),
    Workload(
        "metadata-5000",
        group="metadata-5000",
        requests=_metadata_of_many,
        items=lambda _: 1,
        loads=lambda data: _stow_many(_one_study(data)),
        peer=False,
    ),
    Workload(
        "large",
        group="large",
        requests=_stow_large,
        items=lambda _: 1,
        part="stow",
        peer=False,
    ),
    Workload(
        "large",
        group="large",
        requests=_wado_large,
        items=lambda _: 1,
        part="wado",
        peer=False,
    ),
    Workload(
        "frame",
        group="frame",
        requests=lambda data: _frame(data.few_frames_path, data.few_frames.frames),
        items=lambda _: FRAMES_ASKED,
        part="of few",
        loads=_of_frames,
        peer=False,
    ),
    Workload(
        "frame",
        group="frame",
        requests=lambda data: _frame(data.large_path, data.large.frames),
        items=lambda _: FRAMES_ASKED,
        part="of many",
        loads=_of_frames,
        peer=False,
    ),
    Workload(
        "many",
        group="many",
        requests=_stow_many,
        items=lambda data: data.many.count,
        part="stow",
        peer=False,
    ),
    Workload(
        "many",
        group="many",
        requests=_wado_many,
        items=lambda data: data.many.count,
        part="wado",
        peer=False,
    ),
)
