"""The rows in which something is taken in, alone or while something else goes on."""

from .archive import archive, qido_instances, qido_studies, wado_study
from .data import Collection
from .floors import Floor
from .workload import Request, Workload, get, stow

# Times that somebody asks how the server is, while it takes in.
LOOKS = 8000


def _looks(_: Collection) -> list[Request]:
    return [get("/system", "*/*", "drop", {"least": 1, "most": 100_000})] * LOOKS


def _reading(data: Collection) -> list[Request]:
    return (wado_study(data) + qido_instances(data) + qido_studies(data)) * 10


ALONE = (
    Workload(
        "stow-ct",
        group="stow-ct",
        requests=lambda data: stow(data.ct, len(data.ct), chunked=True),
        items=lambda data: len(data.ct),
        floor=Floor(cpu=4, wall=4),
    ),
    Workload(
        "stow-small",
        group="stow-small",
        requests=lambda data: stow(data.small, 1),
        items=lambda data: len(data.small),
        connections=8,
        floor=Floor(cpu=5, wall=8),
    ),
    Workload(
        "stow-10",
        group="stow-10",
        requests=lambda data: stow(data.ct, 10),
        items=lambda data: len(data.ct),
        connections=4,
        workers=2,
        floor=Floor(cpu=4, wall=5),
    ),
)

BESIDE = (
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
        requests=_looks,
        items=lambda _: LOOKS,
        part="ingest",
        beside=lambda data: stow(data.ct, 10) + stow(data.small, 1),
    ),
)
