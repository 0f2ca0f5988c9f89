"""Labels that users put on resources, and what they write beside them."""

from dataclasses import dataclass

from gateway.dicom.hierarchy import Level
from gateway.errors import Conflict, NotFound
from gateway.storage.changes import note
from gateway.storage.database import Session

_ADD = "INSERT OR IGNORE INTO labels (label, level, resource) VALUES (?, ?, ?)"
_REMOVE = "DELETE FROM labels WHERE label = ? AND level = ? AND resource = ?"
_ALL = "SELECT DISTINCT label FROM labels ORDER BY label"
_READ = "SELECT name, value, revision FROM metadata WHERE level = ? AND resource = ?"
_WRITE = (
    "INSERT OR REPLACE INTO metadata (level, resource, name, value, revision)"
    " VALUES (?, ?, ?, ?, ?)"
)
_ERASE = "DELETE FROM metadata WHERE level = ? AND resource = ? AND name = ?"


@dataclass(frozen=True, slots=True)
class Written:
    """What somebody wrote beside a resource."""

    value: bytes
    revision: int  # grows with each change of it


def add_label(session: Session, level: Level, resource: int, label: str) -> None:
    """Put a label on a resource, if it is not there."""
    session.execute(_ADD, (label, int(level), resource))


def remove_label(session: Session, level: Level, resource: int, label: str) -> None:
    """Take a label away, if it is there."""
    session.execute(_REMOVE, (label, int(level), resource))


def all_labels(session: Session) -> list[str]:
    """The labels that any resource has."""
    return [row[0] for row in session.fetch(_ALL)]


def metadata(session: Session, level: Level, resource: int) -> dict[str, Written]:
    """What users wrote beside a resource, by name."""
    rows = session.fetch(f"{_READ} ORDER BY name", (int(level), resource))
    return {name: Written(bytes(value), revision) for name, value, revision in rows}


def write_metadata(
    session: Session,
    level: Level,
    resource: int,
    name: str,
    value: bytes,
    expected: int | None,
    date: str,
) -> int:
    """Write beside a resource; the revision. `expected` is the one that is replaced.

    Raises Conflict if that is not the one that is there.
    """
    held = metadata(session, level, resource).get(name)
    _check(held, expected)
    revision = held.revision + 1 if held else 0
    session.execute(_WRITE, (int(level), resource, name, value, revision))
    note(session, [("UpdatedMetadata", level, resource)], date)
    return revision


def erase_metadata(
    session: Session,
    level: Level,
    resource: int,
    name: str,
    expected: int | None,
    date: str,
) -> None:
    """Take away what was written; raises NotFound or Conflict."""
    held = metadata(session, level, resource).get(name)
    if held is None:
        raise NotFound(f"no metadata {name} is here")
    _check(held, expected)
    session.execute(_ERASE, (int(level), resource, name))
    note(session, [("UpdatedMetadata", level, resource)], date)


def _check(held: Written | None, expected: int | None) -> None:
    if expected is not None and (held is None or held.revision != expected):
        raise Conflict("the metadata was changed meanwhile: its revision is another")
