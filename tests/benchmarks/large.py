"""The rows of what is too large, or too much, for the peer to be asked: ours alone."""

from dataclasses import replace
from typing import Any

from .data import Collection
from .floors import Floor
from .streams import FRAME, Large, Many
from .workload import (
    DICOM_PARTS,
    INSTANCE,
    STUDIES,
    Asked,
    Request,
    Workload,
    get,
    search,
    stow_of,
)

_OCTETS = "application/octet-stream"

# Instances of one large study.
_STUDY_SIZE = 5000

# Frames of each object, one a request.
_FRAMES_ASKED = 400


def _large(large: Large) -> dict[str, Any]:
    names = {"header": str(large.header), "frame": str(large.frame)}
    return {"kind": "large", **names, "frames": large.frames}


def _many(many: Many) -> dict[str, Any]:
    body = {"kind": "many", "template": str(many.template)}
    return {**body, "count": many.count, "studies": many.studies}


def stow_large(data: Collection) -> list[Request]:
    """The object of 2 GiB."""
    return [stow_of(_large(data.large), 1, chunked=True)]


def wado_large(data: Collection) -> list[Request]:
    """The same read back."""
    path = f"{STUDIES}/{data.large_study_uid}"
    return [get(path, DICOM_PARTS, "large", _large(data.large))]


def stow_many(data: Collection) -> list[Request]:
    """Many small instances in one request."""
    return [stow_of(_many(data.many), data.many.count, chunked=True)]


def wado_many(data: Collection) -> list[Request]:
    """The same read back."""
    return [
        get(f"{STUDIES}/{study}", DICOM_PARTS, "many", _many(data.many))
        for study in data.many_study_uids
    ]


def one_study(data: Collection, count: int) -> Collection:
    """The data with so many of the small instances, as one study."""
    many = replace(data.many, count=min(count, data.many.count), studies=1)
    return replace(data, many=many)


def _metadata_of_many(data: Collection) -> list[Request]:
    one = one_study(data, _STUDY_SIZE)
    path = f"{STUDIES}/{one.many_study_uids[0]}/metadata"
    return [search(path, INSTANCE, one.many.count)]


def _of_frames(data: Collection) -> list[Request]:
    """What is stored before frames are asked for: one object of many, one of few."""
    bodies = (_large(data.large), _large(data.few_frames))
    return [stow_of(body, 1, chunked=True) for body in bodies]


def _frames(path: str, frames: int) -> list[Request]:
    """One frame a request, from all over the object."""
    numbers = (
        1 + place * (frames - 1) // (_FRAMES_ASKED - 1)
        for place in range(_FRAMES_ASKED)
    )
    size = {"least": FRAME, "most": FRAME}
    return [
        get(f"{STUDIES}/{path}/frames/{number}", _OCTETS, "drop", size)
        for number in numbers
    ]


def _row(name: str, part: str, requests: Asked, **more: Any) -> Workload:
    """A row whose cost is that of one request, unless it is said of what."""
    usual: dict[str, Any] = {"items": lambda _: 1, "group": name, "rival": ""}
    return Workload(name, requests=requests, part=part, **usual | more)


ROWS = (
    _row(
        "metadata-5000",
        "",
        _metadata_of_many,
        loads=lambda data: stow_many(one_study(data, _STUDY_SIZE)),
    ),
    _row(
        "large",
        "stow",
        stow_large,
        floor=Floor(growth=64 * 1024 * 1024, bandwidth=150e6),
    ),
    _row("large", "wado", wado_large),
    _row(
        "frame",
        "of few",
        lambda data: _frames(data.few_frames_path, data.few_frames.frames),
        items=lambda _: _FRAMES_ASKED,
        loads=_of_frames,
    ),
    _row(
        "frame",
        "of many",
        lambda data: _frames(data.large_path, data.large.frames),
        items=lambda _: _FRAMES_ASKED,
        loads=_of_frames,
    ),
    _row("many", "stow", stow_many, items=lambda data: data.many.count),
    _row("many", "wado", wado_many, items=lambda data: data.many.count),
)
