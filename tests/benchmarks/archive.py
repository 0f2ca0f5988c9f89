"""The rows that ask one archive: a CT and several hundred small studies."""

from typing import Any

from . import calls
from .data import SERIES_OF_FIRST_STUDY, Collection
from .floors import Floor
from .streams import FRAME
from .workload import (
    DICOM_PARTS,
    INSTANCE,
    MOST_OF_A_PART_HEAD,
    SERIES,
    STUDIES,
    STUDY,
    Asked,
    Request,
    Workload,
    address,
    get,
    search,
    stow,
)

_FRAME_PART = 'multipart/related; type="application/octet-stream"'

# Reading is quick, and processor time is counted in hundredths of a second.
_TIMES_READ = 5

_EIGHT = Floor(cpu=8, wall=8)


def archive(data: Collection) -> list[Request]:
    """What is stored before anything is asked."""
    return stow(data.tiny, 50) + stow(data.ct, 10)


def wado_study(data: Collection) -> list[Request]:
    """The CT, as stored."""
    least = sum(instance.size for instance in data.ct)
    most = least + MOST_OF_A_PART_HEAD * (len(data.ct) + 1)
    path = f"{STUDIES}/{data.ct[0].study}"
    return [get(path, DICOM_PARTS, "drop", {"least": least, "most": most})]


def qido_studies(_: Collection) -> list[Request]:
    """Fifty studies."""
    return [search(f"{STUDIES}?limit=50", STUDY, 50)]


def qido_instances(data: Collection) -> list[Request]:
    """The instances of the CT's series."""
    first = data.ct[0]
    path = f"{STUDIES}/{first.study}/series/{first.series}/instances"
    return [search(path, INSTANCE, len(data.ct))]


def _metadata(data: Collection) -> list[Request]:
    path = f"{STUDIES}/{data.ct[0].study}/metadata"
    return [search(path, INSTANCE, len(data.ct))]


def _qido_uid(data: Collection) -> list[Request]:
    asked = data.tiny[len(data.tiny) // 2].study
    return [search(f"{STUDIES}?StudyInstanceUID={asked}", STUDY, 1)]


def _qido_once(data: Collection) -> list[Request]:
    """No two of these are the same: no answer is one that was given before."""
    studies = list(
        dict.fromkeys(one.study for one in data.tiny[SERIES_OF_FIRST_STUDY:])
    )
    return [
        request
        for study in studies
        for request in (
            search(f"{STUDIES}?StudyInstanceUID={study}&offset=0", STUDY, 1),
            search(f"{STUDIES}/{study}/series?offset=0", SERIES, 1),
        )
    ]


def _qido_name(data: Collection) -> list[Request]:
    return [search(f"{STUDIES}?PatientName=*x*", STUDY, data.names_with_x)]


def _qido_series(data: Collection) -> list[Request]:
    path = f"{STUDIES}/{data.tiny[0].study}/series"
    return [search(path, SERIES, SERIES_OF_FIRST_STUDY)]


def _instance_files(data: Collection) -> list[Request]:
    return [
        get(
            f"/instances/{instance.orthanc_id}/file",
            "*/*",
            "drop",
            {"least": instance.size, "most": instance.size},
        )
        for instance in data.ct
    ]


def _frame_of_each(data: Collection) -> list[Request]:
    """The one frame of each slice, as Orthanc gives it too: in a part."""
    frame = {"least": FRAME, "most": FRAME + MOST_OF_A_PART_HEAD}
    return [
        get(f"{address(one)}/frames/1", _FRAME_PART, "drop", frame) for one in data.ct
    ]


def _rendered(data: Collection) -> list[Request]:
    size = {"least": 1000, "most": FRAME}
    return [
        get(f"{address(one)}/rendered", "image/jpeg", "drop", size) for one in data.ct
    ]


def _asking(name: str, requests: Asked, repeat: int = 1, **more: Any) -> Workload:
    """A workload on the archive whose cost is that of one request."""
    return Workload(
        name,
        group="archive",
        requests=requests,
        items=lambda data: repeat * len(requests(data)),
        repeat=repeat,
        loads=archive,
        **more,
    )


def _reading(name: str, requests: Asked, **more: Any) -> Workload:
    """A workload on the archive whose cost is that of one instance of the CT."""
    repeat = more.get("repeat", 1)
    return Workload(
        name,
        group="archive",
        requests=requests,
        items=lambda data: len(data.ct) * repeat,
        loads=archive,
        **more,
    )


ROWS = (
    # Cold before anything else has read the study.
    _asking("metadata-study", _metadata, part="cold", floor=Floor(cpu=20, wall=20)),
    _asking("metadata-study", _metadata, 10, part="warm", floor=Floor(cpu=10, wall=10)),
    _reading("wado-study", wado_study, repeat=_TIMES_READ, floor=Floor(cpu=4, wall=3)),
    _asking("qido-studies", qido_studies, 100, floor=_EIGHT),
    _asking("qido-uid", _qido_uid, 300, floor=_EIGHT),
    _asking("qido-name", _qido_name, 100, floor=_EIGHT),
    _asking("qido-series", _qido_series, 200, floor=_EIGHT),
    _asking("qido-instances", qido_instances, 30, floor=Floor(cpu=40, wall=40)),
    _reading("instance-file", _instance_files, connections=4, repeat=_TIMES_READ),
    _asking("qido-once", _qido_once, floor=_EIGHT),
    _asking("clients-64", _qido_uid, 1920, connections=64),
    _reading("frame-one", _frame_of_each, floor=Floor(cpu=5, wall=5)),
    _reading(
        "rendered",
        _rendered,
        connections=4,
        workers=2,
        floor=Floor(cpu=2, wall=3),
    ),
    Workload(
        "job",
        group="archive",
        requests=lambda _: [],
        told=calls.job_looks,
        items=lambda _: calls.WATCHERS * calls.LOOKS,
        connections=calls.WATCHERS,
        workers=2,
        loads=archive,
        floor=Floor(wall=1.2),
    ),
)
