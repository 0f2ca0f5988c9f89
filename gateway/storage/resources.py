"""Patients, studies, series and instances by Orthanc's identifiers, as rows to be shown.

Each level has one statement that gives all that Orthanc tells of a resource at once; what
is below it is told by identifiers. All functions are work for a database session.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import orjson

from gateway.dicom.hierarchy import Attributes, Level
from gateway.storage import blocks
from gateway.storage.database import Row, Session
from gateway.storage.entries import inflate
from gateway.storage.index import COLUMNS, JOINED, Instance


@dataclass(frozen=True, slots=True)
class Resource:
    """A patient, study, series or instance that is held."""

    level: Level
    id: int  # in the table of its level
    orthanc_id: str
    parent: str  # Orthanc's identifier of what it belongs to; empty of a patient
    attributes: Attributes  # what the index holds; a study has its patient's as well
    updated: str  # UTC, YYYYMMDDTHHMMSS, when something new came last
    children: tuple[str, ...]  # Orthanc's identifiers of what belongs to it
    labels: tuple[str, ...]
    is_stable: bool  # nothing new came for a while
    is_protected: bool  # a patient that is never removed to make room
    numbers: tuple[int | None, ...]  # InstanceNumbers of a series, or of the instance
    size: int  # of an instance's file, in bytes
    blob: str  # of an instance
    transfer_syntax: str  # of an instance
    sop_class: str  # of an instance; with a header, those of a study
    uid: str  # StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID; or PatientID
    modalities: str  # of a study, joined by backslashes
    count: int  # of the instances of a study
    series: int = 0  # below a patient; with a header alone, as `count` is then
    header: Attributes = field(
        default_factory=dict
    )  # of an instance below, if asked for


@dataclass(frozen=True, slots=True)
class Below:
    """How much is below a resource, itself included."""

    studies: int
    series: int
    instances: int
    size: int  # bytes of all files


def _labels(alias: str, level: Level) -> str:
    return (
        "(SELECT GROUP_CONCAT(l.label) FROM labels l"
        f" WHERE l.level = {level:d} AND l.resource = {alias}.id)"
    )


def _stable(alias: str, level: Level) -> str:
    return (
        "NOT EXISTS (SELECT 1 FROM unstable u"
        f" WHERE u.level = {level:d} AND u.resource = {alias}.id)"
    )


def _children(table: str, link: str) -> str:
    return f"(SELECT GROUP_CONCAT(b.orthanc_id) FROM {table} b WHERE b.{link})"


_NUMBERS = (
    "(SELECT GROUP_CONCAT(COALESCE(b.number, '')) FROM instances b"
    " WHERE b.series = e.id)"
)
_SELECT = {
    Level.PATIENT: "SELECT p.id, p.orthanc_id, '', p.attributes, p.updated,"
    f" {_children('studies', 'patient = p.id')}, {_labels('p', Level.PATIENT)},"
    f" {_stable('p', Level.PATIENT)}, p.protected, NULL, 0, '', '', '', p.patient_id, '', 0"
    " FROM patients p",
    Level.STUDY: "SELECT s.id, s.orthanc_id, p.orthanc_id, s.attributes, s.updated,"
    f" {_children('series', 'study = s.id')}, {_labels('s', Level.STUDY)},"
    f" {_stable('s', Level.STUDY)}, 0, NULL, 0, '', '', '', s.uid,"
    " s.modalities, s.instance_count"
    " FROM studies s JOIN patients p ON p.id = s.patient",
    Level.SERIES: "SELECT e.id, e.orthanc_id, s.orthanc_id, e.attributes, e.updated,"
    f" {_children('instances', 'series = e.id')}, {_labels('e', Level.SERIES)},"
    f" {_stable('e', Level.SERIES)}, 0, {_NUMBERS}, 0, '', '', '', e.uid, '', 0"
    " FROM series e JOIN studies s ON s.id = e.study",
    Level.INSTANCE: "SELECT i.id, i.orthanc_id, e.orthanc_id, i.attributes,"
    f" SUBSTR(i.stored, 1, 15), NULL, {_labels('i', Level.INSTANCE)}, 1, 0,"
    " i.number, i.size, i.blob, i.transfer_syntax, i.sop_class, i.uid, '', 0"
    " FROM instances i JOIN series e ON e.id = i.series",
}
_ALIAS = {
    Level.PATIENT: "p",
    Level.STUDY: "s",
    Level.SERIES: "e",
    Level.INSTANCE: "i",
}

_TABLES = {
    Level.PATIENT: "patients",
    Level.STUDY: "studies",
    Level.SERIES: "series",
    Level.INSTANCE: "instances",
}

#: Tables in which resources of a level are found with all their parents.
_WITH_PARENTS = {
    Level.PATIENT: "patients p",
    Level.STUDY: "studies s JOIN patients p ON p.id = s.patient",
    Level.SERIES: "series e JOIN studies s ON s.id = e.study"
    " JOIN patients p ON p.id = s.patient",
    Level.INSTANCE: "instances i JOIN series e ON e.id = i.series"
    " JOIN studies s ON s.id = e.study JOIN patients p ON p.id = s.patient",
}

#: What a condition on a resource at a level is for the rows of instances below it.
_BELOW = {
    Level.PATIENT: "s.patient = ?",
    Level.STUDY: "e.study = ?",
    Level.SERIES: "i.series = ?",
    Level.INSTANCE: "i.id = ?",
}
_COUNT = (
    "SELECT COUNT(DISTINCT e.study), COUNT(DISTINCT i.series), COUNT(*),"
    f" COALESCE(SUM(i.size), 0) FROM {JOINED} WHERE "
)
_BELOW_PATIENT = (
    "SELECT COALESCE(SUM(series_count), 0), COALESCE(SUM(instance_count), 0)"
    " FROM studies WHERE patient = ?"
)
_CLASSES = (
    "SELECT DISTINCT i.sop_class FROM series e JOIN instances i ON i.series = e.id"
    " WHERE e.study = ? ORDER BY 1"
)
_HEADERS = (
    f"SELECT i.orthanc_id, h.json FROM {JOINED}"
    " JOIN headers h ON h.instance = i.id WHERE "
)
_ARRIVAL = " ORDER BY id LIMIT ? OFFSET ?"
_IN_ORDER = " ORDER BY e.number, e.id, i.number, i.id"
_LOOKUP = {
    Level.PATIENT: "SELECT orthanc_id FROM patients WHERE patient_id = ?1 OR id IN"
    " (SELECT patient FROM studies WHERE patient_id_key = ?2)",
    Level.STUDY: "SELECT orthanc_id FROM studies WHERE uid = ?1 AND ?2 IS NOT NULL",
    Level.SERIES: "SELECT orthanc_id FROM series WHERE uid = ?1 AND ?2 IS NOT NULL",
    Level.INSTANCE: "SELECT orthanc_id FROM instances"
    " WHERE uid = ?1 AND ?2 IS NOT NULL",
}


def _parts(text: str | None) -> tuple[str, ...]:
    return tuple(sorted(text.split(","))) if text else ()


def _numbers(text: object) -> tuple[int | None, ...]:
    if text is None:
        return ()
    return tuple(int(part) if part else None for part in str(text).split(","))


def _resource(level: Level, row: Row) -> Resource:
    return Resource(
        level,
        row[0],
        row[1],
        row[2],
        orjson.loads(row[3]),
        row[4],
        _parts(row[5]),
        _parts(row[6]),
        bool(row[7]),
        bool(row[8]),
        _numbers(row[9]),
        *row[10:],
    )


def by_orthanc_id(
    session: Session, level: Level, orthanc_id: str, header: bool = False
) -> Resource | None:
    """The resource of a level with this identifier; with a header if that is wanted."""
    sql = f"{_SELECT[level]} WHERE {_ALIAS[level]}.orthanc_id = ?"
    row = session.first(sql, (orthanc_id,))
    return _complete(session, _resource(level, row), header) if row else None


def is_held(session: Session, level: Level, orthanc_id: str) -> bool:
    """Whether there is a resource of the level with this identifier."""
    sql = f"SELECT 1 FROM {_TABLES[level]} WHERE orthanc_id = ?"
    return session.first(sql, (orthanc_id,)) is not None


def by_ids(
    session: Session, level: Level, ids: Iterator[int], header: bool = False
) -> Iterator[Resource]:
    """The resources with these ids, in their order; what has gone is left out."""
    sql = f"{_SELECT[level]} WHERE {_ALIAS[level]}.id = ?"
    for one in ids:
        row = session.first(sql, (one,))
        if row:
            yield _complete(session, _resource(level, row), header)


def _complete(session: Session, resource: Resource, header: bool) -> Resource:
    if not header:
        return resource
    resource = replace(
        resource, header=next(headers(session, resource, 1), ("", {}))[1]
    )
    if resource.level is Level.STUDY:
        rows = session.fetch(_CLASSES, (resource.id,))
        return replace(resource, sop_class="\\".join(row[0] for row in rows))
    if resource.level is not Level.PATIENT:
        return resource
    row = session.first(_BELOW_PATIENT, (resource.id,)) or (0, 0)
    return replace(resource, series=row[0], count=row[1])


def pages(
    session: Session, level: Level, since: int, limit: int, header: bool = False
) -> Iterator[Resource]:
    """Resources of a level, oldest first; -1 for no limit."""
    rows = _page(session, level, "id", since, limit)
    return by_ids(session, level, (row[0] for row in rows), header)


def identifiers(
    session: Session, level: Level, since: int, limit: int
) -> Iterator[str]:
    """Identifiers of resources of a level, oldest first; -1 for no limit."""
    return (row[0] for row in _page(session, level, "orthanc_id", since, limit))


def _page(
    session: Session, level: Level, column: str, since: int, limit: int
) -> Iterator[Row]:
    first = 0
    if level is Level.INSTANCE:
        first, since = blocks.place(session, since)
    sql = f"SELECT {column} FROM {_TABLES[level]} WHERE id >= ?{_ARRIVAL}"
    yield from session.iterate(sql, (first, limit, since))


def related(
    session: Session, resource: Resource, level: Level, header: bool = False
) -> Iterator[Resource]:
    """The resources of another level above or below one, by their identifiers."""
    own, other = _ALIAS[resource.level], _ALIAS[level]
    tables = _WITH_PARENTS[max(level, resource.level)]
    sql = (
        f"SELECT DISTINCT {other}.id, {other}.orthanc_id FROM {tables}"
        f" WHERE {own}.id = ? ORDER BY {other}.orthanc_id"
    )
    rows = session.iterate(sql, (resource.id,))
    return by_ids(session, level, (row[0] for row in rows), header)


def ancestors(session: Session, resource: Resource) -> list[tuple[Level, str]]:
    """Level and identifier of what a resource belongs to, the nearest first."""
    above = [level for level in reversed(Level) if level < resource.level]
    if not above:
        return []
    columns = ", ".join(f"{_ALIAS[level]}.orthanc_id" for level in above)
    own = _ALIAS[resource.level]
    sql = f"SELECT {columns} FROM {_WITH_PARENTS[resource.level]} WHERE {own}.id = ?"
    row = session.first(sql, (resource.id,))
    return list(zip(above, row, strict=True)) if row else []


def instances(session: Session, level: Level, resource: int) -> Iterator[Instance]:
    """The instances below a resource, in the order of their numbers."""
    sql = f"SELECT {COLUMNS} FROM {JOINED} WHERE {_BELOW[level]}{_IN_ORDER}"
    return (Instance(*row) for row in session.iterate(sql, (resource,)))


def some_instances(
    session: Session, level: Level, resource: int, count: int
) -> list[int]:
    """The ids of so many instances below a resource, whichever come first."""
    sql = f"SELECT i.id FROM {JOINED} WHERE {_BELOW[level]} LIMIT ?"
    return [row[0] for row in session.fetch(sql, (resource, count))]


def headers(
    session: Session, resource: Resource, count: int = -1
) -> Iterator[tuple[str, Attributes]]:
    """Identifier and header of the instances below; at most so many, -1 for all."""
    sql = f"{_HEADERS}{_BELOW[resource.level]}{_IN_ORDER} LIMIT ?"
    for orthanc_id, json in session.iterate(sql, (resource.id, count)):
        yield orthanc_id, orjson.loads(inflate(json))


def holdings(session: Session, resource: Resource) -> Below:
    """How much is below a resource."""
    row = session.first(_COUNT + _BELOW[resource.level], (resource.id,))
    return Below(*row) if row else Below(0, 0, 0, 0)


def lookup(session: Session, text: str, key: str) -> list[tuple[Level, str]]:
    """Level and identifier of what has this PatientID or UID; `key` is its normal form."""
    return [
        (level, row[0])
        for level, sql in _LOOKUP.items()
        for row in session.fetch(sql, (text, key))
    ]


def protect(session: Session, patient: int, value: bool) -> None:
    """Let a patient stay when room is made, or no longer."""
    sql = "UPDATE patients SET protected = ? WHERE id = ?"
    session.execute(sql, (int(value), patient))
