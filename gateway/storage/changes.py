"""What happened to resources, in the order in which it did, as Orthanc's clients follow it.

A change is a row with the next number. It costs an instance on its way in one small row;
the numbers of a group are taken together. Changes of a resource go with it; numbers are
never given twice.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from gateway.dicom.hierarchy import Level
from gateway.storage.database import Session

_NEXT = (
    "INSERT INTO versions (kind, version) VALUES ('changes', ?)"
    " ON CONFLICT (kind) DO UPDATE SET version = version + excluded.version"
)
_LAST = "SELECT version FROM versions WHERE kind = 'changes'"
_ADD = "INSERT INTO changes (seq, type, level, resource, date) VALUES (?, ?, ?, ?, ?)"
_STIR = "INSERT OR IGNORE INTO unstable (level, resource) VALUES (?, ?)"
_SETTLED = "DELETE FROM unstable WHERE level = ? AND resource = ?"
_CLEAR = "DELETE FROM changes"

_TABLES = {
    Level.PATIENT: "patients",
    Level.STUDY: "studies",
    Level.SERIES: "series",
    Level.INSTANCE: "instances",
}
_QUIET = {
    level: f"SELECT u.resource FROM unstable u JOIN {_TABLES[level]} r"
    f" ON r.id = u.resource WHERE u.level = {level:d} AND r.updated <= ? LIMIT ?"
    for level in (Level.SERIES, Level.STUDY, Level.PATIENT)
}
_IDENTIFIER = "CASE c.level " + " ".join(
    f"WHEN {level:d} THEN (SELECT orthanc_id FROM {table} WHERE id = c.resource)"
    for level, table in _TABLES.items()
)
_SELECT = (
    f"SELECT c.seq, c.type, c.level, {_IDENTIFIER} END, c.date FROM changes c WHERE"
)

#: Resources that are told stable in one transaction, of each level.
_AT_A_TIME = 500

#: What of a resource goes when it goes.
_FORGET = tuple(
    f"DELETE FROM {table} WHERE level = ? AND resource = ?"
    for table in ("changes", "unstable", "labels", "metadata")
)

_STABLE = {
    Level.PATIENT: "StablePatient",
    Level.STUDY: "StableStudy",
    Level.SERIES: "StableSeries",
}

#: A change of a resource: its type, its level, its id.
News = tuple[str, Level, int]


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened to a resource."""

    seq: int
    type: str  # NewInstance, StableStudy, ...
    level: Level
    orthanc_id: str
    date: str  # UTC, YYYYMMDDTHHMMSS


@dataclass(frozen=True, slots=True)
class ChangesPage:
    """Some changes, and whether there are more in that direction."""

    changes: tuple[Change, ...]  # by number
    done: bool
    last: int  # of the last change there ever was, before the page was read


@dataclass(frozen=True, slots=True)
class ChangesWanted:
    """Which changes to show."""

    since: int = 0  # those with greater numbers
    to: int | None = None  # and up to this one; without `since` the latest of them
    limit: int = 100
    types: tuple[str, ...] = ()  # any, if empty


def note(session: Session, news: Sequence[News], date: str) -> None:
    """Write down changes, in this order."""
    if not news:
        return
    session.execute(_NEXT, (len(news),))
    start = last(session) - len(news) + 1
    rows = (
        (start + place, type_, int(level), resource, date)
        for place, (type_, level, resource) in enumerate(news)
    )
    session.execute_many(_ADD, rows)


def last(session: Session) -> int:
    """The number of the last change there ever was, 0 if there was none."""
    row = session.first(_LAST)
    return int(row[0]) if row else 0


def clear(session: Session) -> None:
    """Forget all changes; their numbers are not given again."""
    session.execute(_CLEAR)


def page(session: Session, wanted: ChangesWanted) -> ChangesPage:
    """Changes by number: the first ones after `since`, or the latest ones up to `to`."""
    # Asked before the rows: what is written meanwhile is in the next page, never between.
    newest = last(session)
    said, parameters = ["c.seq > ?"], [wanted.since]
    if wanted.to is not None:
        said.append("c.seq <= ?")
        parameters.append(wanted.to)
    if wanted.types:
        said.append(f"c.type IN ({', '.join('?' * len(wanted.types))})")
    backwards = wanted.to is not None and not wanted.since
    order = "DESC" if backwards else "ASC"
    sql = f"{_SELECT} {' AND '.join(said)} ORDER BY c.seq {order} LIMIT ?"
    rows = session.fetch(sql, [*parameters, *wanted.types, wanted.limit + 1])
    done = len(rows) <= wanted.limit
    rows = sorted(rows[: wanted.limit])
    found = tuple(
        Change(seq, type_, Level(level), orthanc_id, date)
        for seq, type_, level, orthanc_id, date in rows
    )
    return ChangesPage(found, done, max(newest, wanted.since))


def latest(session: Session) -> ChangesPage:
    """The last change alone."""
    found = page(session, ChangesWanted(to=2**63 - 1, limit=1))
    return ChangesPage(found.changes, done=True, last=found.last)


def forget(session: Session, level: Level, resource: int) -> None:
    """Remove what is kept of a resource beside its row."""
    for sql in _FORGET:
        session.execute(sql, (int(level), resource))


# -- stability ---------------------------------------------------------------------------


def stir(session: Session, resources: Iterable[tuple[Level, int]]) -> None:
    """Note that resources got something new."""
    session.execute_many(_STIR, ((int(level), one) for level, one in resources))


def quiet(session: Session, age: float) -> list[tuple[Level, int]]:
    """Resources that got nothing new for so many seconds, and were not told stable."""
    until = (datetime.now(UTC) - timedelta(seconds=age)).strftime("%Y%m%dT%H%M%S")
    return [
        (level, row[0])
        for level, sql in _QUIET.items()
        for row in session.fetch(sql, (until, _AT_A_TIME))
    ]


def settle(session: Session, age: float) -> int:
    """Tell such resources stable; how many."""
    found = quiet(session, age)
    date = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    note(session, [(_STABLE[level], level, one) for level, one in found], date)
    session.execute_many(_SETTLED, ((int(level), one) for level, one in found))
    return len(found)
