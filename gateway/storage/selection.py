"""Choosing resources as Orthanc's scripts ask for them, by what a search cannot say.

The attributes are matched as in any search; labels, parents and the order of the answer
are said in SQL beside it.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from gateway.dicom.filters import Filter
from gateway.dicom.hierarchy import Level, tags_of
from gateway.dicom.query import Query
from gateway.errors import BadRequest
from gateway.storage.conditions import ALIASES, Condition, column_of
from gateway.storage.database import Row, Session
from gateway.storage.search import matching
from gateway.storage.shown import PLACE_OF_ID

Constraint = Literal["All", "Any", "None"]

_ID = {
    Level.PATIENT: "s.patient",
    Level.STUDY: "s.id",
    Level.SERIES: "e.id",
    Level.INSTANCE: "i.id",
}
_TABLES = {Level.PATIENT: "patients", Level.STUDY: "studies", Level.SERIES: "series"}
_PATIENT_OF = "SELECT patient FROM studies WHERE id = ?"
_LABELLED = (
    "EXISTS (SELECT 1 FROM labels l WHERE l.level = ? AND l.resource = {}"
    " AND l.label IN ({}))"
)
_TAG = re.compile(r"[0-9A-F]{8}")

#: What else resources can be put in the order of, by Orthanc's names of metadata.
_METADATA = {
    "LastUpdate": {Level.STUDY: "s.updated", Level.SERIES: "e.updated"},
    "ReceptionDate": {Level.INSTANCE: "i.stored"},
    "IndexInSeries": {Level.INSTANCE: "i.number"},
}


@dataclass(frozen=True, slots=True)
class Ordering:
    """One thing that resources are put in the order of."""

    key: str  # a tag, or one of Orthanc's names of metadata
    is_metadata: bool = False
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """Which resources are wanted."""

    level: Level
    filters: tuple[Filter, ...] = ()
    case_sensitive: bool = False
    since: int = 0
    limit: int | None = None
    labels: tuple[str, ...] = ()
    constraint: Constraint = "All"  # how many of the labels a resource has
    parents: tuple[tuple[Level, str], ...] = ()  # Orthanc's identifiers
    order: tuple[Ordering, ...] = ()


def select(session: Session, wanted: Selection) -> Iterator[int]:
    """The ids of the resources in the table of their level; raises BadRequest."""
    patients = wanted.level is Level.PATIENT
    query = Query(
        level=Level.STUDY if patients else wanted.level,
        filters=wanted.filters,
        limit=None if patients else wanted.limit,
        offset=0 if patients else wanted.since,
        case_sensitive=wanted.case_sensitive,
        case_sensitive_names=wanted.case_sensitive,
    )
    more = [*_labels(wanted), *_parents(wanted)]
    rows = matching(session, query, more, _order(wanted, query.level))
    if not patients:
        return (row[PLACE_OF_ID[wanted.level]] for row in rows)
    stop = None if wanted.limit is None else wanted.since + wanted.limit
    return itertools.islice(_patients(session, rows), wanted.since, stop)


def _patients(session: Session, rows: Iterator[Row]) -> Iterator[int]:
    """The patients of studies, each once."""
    seen: set[int] = set()
    for row in rows:
        found = session.first(_PATIENT_OF, (row[0],))
        if found and found[0] not in seen:
            seen.add(found[0])
            yield found[0]


def _labels(wanted: Selection) -> Iterator[Condition]:
    if not wanted.labels:
        return
    groups = [[label] for label in wanted.labels]
    if wanted.constraint != "All":
        groups = [list(wanted.labels)]
    for group in groups:
        sql = _LABELLED.format(_ID[wanted.level], ", ".join("?" * len(group)))
        sql = f"NOT {sql}" if wanted.constraint == "None" else sql
        yield Condition(sql, [int(wanted.level), *group])


def _parents(wanted: Selection) -> Iterator[Condition]:
    for level, orthanc_id in wanted.parents:
        if level > wanted.level:
            raise BadRequest(
                f"a {wanted.level.name.lower()} has no parent {level.name.lower()}"
            )
        sql = f"{_ID[level]} = (SELECT id FROM {_TABLES[level]} WHERE orthanc_id = ?)"
        yield Condition(sql, [orthanc_id])


def _order(wanted: Selection, level: Level) -> str:
    parts = [
        f"{_expression(one, level)} {'DESC' if one.descending else 'ASC'}"
        for one in wanted.order
    ]
    return ", ".join([*parts, _ID[level]]) if parts else ""


def _expression(one: Ordering, level: Level) -> str:
    if one.is_metadata:
        columns = _METADATA.get(one.key, {})
        if level not in columns:
            raise BadRequest(f"OrderBy: {level.name.lower()} has no order by {one.key}")
        return columns[level]
    if not _TAG.fullmatch(one.key):
        raise BadRequest("OrderBy: Key is no tag")
    column = column_of(one.key, level)
    if column:
        return column
    for own, alias in ALIASES.items():
        if own <= level and one.key in tags_of(own):
            return f"json_extract({alias}.attributes, '$.{one.key}.Value[0]')"
    raise BadRequest(f"OrderBy: there is no order by {one.key} at this level")
