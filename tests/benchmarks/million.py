"""The rows of an archive with a million instances: searches, and what comes in there.

Each request differs from all others: no answer is one that was given before. What comes
in is measured beside the same gateway with an empty index, which stands where the peer
stands in other rows.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from . import multitude
from .data import Collection
from .floors import Floor
from .multitude import Study
from .workload import INSTANCE, SERIES, STUDIES, STUDY, Asked, Request, Workload, stow
from .workload import search as asked_for

_ASKED = 200  # requests of a row
_LIMIT = 50  # matches of a page
_QUICK = Floor(p99=0.025)

# A step between studies that visits all of them before it comes back to the first.
_STEP = 3571

Studies = Sequence[Study]


@lru_cache(1)
def _studies(instances: int) -> Studies:
    return tuple(multitude.studies(instances))


def _picked(studies: Studies) -> Iterator[Study]:
    """Studies from all over the index, in an order that is none of its."""
    for number in range(len(studies)):
        yield studies[number * _STEP % len(studies)]


def _search(query: str, matches: int) -> Request:
    path = f"{STUDIES}?limit={_LIMIT}&{quote(query, safe='=&*')}"
    return asked_for(path, STUDY, max(0, min(_LIMIT, matches)))


def _by(key: str, value: Callable[[Study], str]) -> Callable[[Studies], list[Request]]:
    """Searches for the values of a key that studies have."""

    def requests(studies: Studies) -> list[Request]:
        counts = Counter(value(study) for study in studies)
        values = dict.fromkeys(value(study) for study in _picked(studies))
        some = itertools.islice(values, _ASKED)
        return [_search(f"{key}={one}", counts[one]) for one in some]

    return requests


def _names(
    pattern: Callable[[str], str], is_match: Callable[[str, str], bool]
) -> Callable[[Studies], list[Request]]:
    """Searches with a piece of a name; no piece is taken twice."""

    def requests(studies: Studies) -> list[Request]:
        names = Counter(study.name.lower() for study in studies)
        pieces = dict.fromkeys(
            pattern(study.name.lower()) for study in _picked(studies)
        )
        return [
            _search(
                f"PatientName={piece}",
                sum(c for name, c in names.items() if is_match(name, piece.strip("*"))),
            )
            for piece in itertools.islice(pieces, _ASKED)
        ]

    return requests


def _prefix(name: str) -> str:
    return f"{name[: 3 + len(name) % 4]}*"


def _infix(name: str) -> str:
    start = 1 + len(name) % 4
    return f"*{name[start : start + 1 + len(name) % 3]}*"


def _ranges(studies: Studies) -> list[Request]:
    """From a day until up to a year later, the last of them until today."""
    counts = Counter(study.date for study in studies)
    ranges = dict.fromkeys(
        (first.date, studies[min(len(studies) - 1, first.number + 19 * number)].date)
        for number, first in enumerate(itertools.islice(_picked(studies), _ASKED))
    )
    return [
        _search(
            f"StudyDate={first}-{last}",
            sum(count for date, count in counts.items() if first <= date <= last),
        )
        for first, last in ranges
    ]


def _modalities(studies: Studies) -> list[Request]:
    """Each modality, a page after the other."""
    counts = Counter(m for study in studies for m in set(study.modalities))
    each = -(-_ASKED // len(counts))
    return [
        _search(f"ModalitiesInStudy={modality}&offset={offset}", count - offset)
        for modality, count in sorted(counts.items())
        for offset in range(0, each * 5, 5)
    ]


def _pages(studies: Studies) -> list[Request]:
    """All studies, at pages from the first to the last."""
    return [
        _search(f"offset={offset}", len(studies) - offset)
        for offset in _offsets(len(studies))
    ]


def _pages_of_instances(studies: Studies) -> list[Request]:
    """All instances, likewise."""
    total = sum(study.size for study in studies)
    return [
        asked_for(
            f"/dicom-web/instances?limit={_LIMIT}&offset={offset}",
            INSTANCE,
            min(_LIMIT, total - offset),
        )
        for offset in _offsets(total)
    ]


def _offsets(total: int) -> list[int]:
    last = max(total - _LIMIT // 2, 0)
    return [number * last // (_ASKED - 1) for number in range(_ASKED)]


def _series(studies: Studies) -> list[Request]:
    return [
        asked_for(
            f"{STUDIES}/{study.uid}/series?limit={_LIMIT}",
            SERIES,
            len(study.modalities),
        )
        for study in itertools.islice(_picked(studies), _ASKED)
    ]


def _instances(studies: Studies) -> list[Request]:
    return [
        asked_for(
            f"{STUDIES}/{study.uid}/series/{study.series(1)}/instances?limit={_LIMIT}",
            INSTANCE,
            min(_LIMIT, study.kind[2]),
        )
        for study in itertools.islice(_picked(studies), _ASKED)
    ]


def _fill(data: Collection, folder: Path) -> None:
    source = multitude.index(data.folder, data.million)
    multitude.copy(source, folder / "storage")


def _row(part: str, requests: Callable[[Studies], list[Request]]) -> Workload:
    def asked(data: Collection) -> list[Request]:
        return requests(_studies(data.million))

    return Workload(
        "million",
        group="million",
        requests=asked,
        items=lambda data: len(asked(data)),
        part=part,
        fills=_fill,
        rival="",
        floor=_QUICK,
    )


def _stow(part: str, requests: Asked, items: Callable[[Collection], int]) -> Workload:
    return Workload(
        "million",
        group="million",
        requests=requests,
        items=items,
        connections=8,
        part=part,
        fills=_fill,
        rival="empty",
        floor=Floor(wall=0.8),
    )


def _half(data: Collection) -> int:
    return len(data.small) // 2


ROWS = (
    _row("StudyInstanceUID", _by("StudyInstanceUID", lambda study: study.uid)),
    _row("PatientID", _by("PatientID", lambda study: study.patient_id)),
    _row("AccessionNumber", _by("AccessionNumber", lambda study: study.accession)),
    _row("name exact", _by("PatientName", lambda study: study.name)),
    _row("name x*", _names(_prefix, str.startswith)),
    _row("name *x*", _names(_infix, str.__contains__)),
    _row("StudyDate day", _by("StudyDate", lambda study: study.date)),
    _row("StudyDate range", _ranges),
    _row("ModalitiesInStudy", _modalities),
    _row("no key, all pages", _pages),
    _row("series of a study", _series),
    _row("instances of a series", _instances),
    _row("all instances, all pages", _pages_of_instances),
    _stow("stow", lambda data: stow(data.small[: _half(data)], 1), _half),
    _stow(
        "stow of 10",
        lambda data: stow(data.small[_half(data) :], 10),
        lambda data: len(data.small) - _half(data),
    ),
)
