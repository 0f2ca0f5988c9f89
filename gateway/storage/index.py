"""The index: which instances there are, in which series, studies and patients.

Parents appear with their first child and vanish with their last. An instance is known by
its study, series and SOP Instance UID together, which is its address on the web; the same
SOP Instance UID in two studies is two instances. All methods are work for a database
session: they run in its thread, several of them may share one transaction.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.dicom.hierarchy import Level, Uids
from gateway.storage import blocks
from gateway.storage.additions import (
    COUNT_SERIES,
    COUNT_STUDY,
    RECOUNT_STUDY,
    TOTAL,
    Additions,
    now,
)
from gateway.storage.changes import forget
from gateway.storage.database import Session
from gateway.storage.entries import Entry
from gateway.storage.stamp import ARCHIVE


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance that is held."""

    id: int
    orthanc_id: str
    study: str  # StudyInstanceUID
    series: str  # SeriesInstanceUID
    uid: str  # SOPInstanceUID
    sop_class: str
    transfer_syntax: str
    blob: str
    size: int  # bytes
    stored: str  # UTC, YYYYMMDDTHHMMSS.ffffff


@dataclass(frozen=True, slots=True)
class Described:
    """An instance, its header, and the version of the archive that they are of."""

    version: int
    instance: Instance
    header: bytes | None  # deflated DICOM JSON
    bulk: str | None  # where its bulk lies, as JSON


@dataclass(frozen=True, slots=True)
class Added:
    """The entry has its row now; `replaced` is the blob of the one it took over from."""

    replaced: str | None = None


@dataclass(frozen=True, slots=True)
class Occupied:
    """The address is taken."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class Totals:
    """How much is held."""

    patients: int
    studies: int
    series: int
    instances: int
    size: int  # bytes


#: The columns of an Instance, and the tables that they are in.
COLUMNS = (
    "i.id, i.orthanc_id, s.uid, e.uid, i.uid, i.sop_class, i.transfer_syntax,"
    " i.blob, i.size, i.stored"
)
JOINED = "instances i JOIN series e ON e.id = i.series JOIN studies s ON s.id = e.study"

_LOCATE = f"SELECT {COLUMNS} FROM {JOINED} WHERE i.uid = ? AND e.uid = ? AND s.uid = ?"
_BY_UID = f"SELECT {COLUMNS} FROM {JOINED} WHERE i.uid = ? ORDER BY i.id"
_BY_ORTHANC_ID = f"SELECT {COLUMNS} FROM {JOINED} WHERE i.orthanc_id = ?"
_INSTANCES_OF = {
    Level.STUDY: f"SELECT {COLUMNS} FROM {JOINED} WHERE s.uid = ?",
    Level.SERIES: f"SELECT {COLUMNS} FROM {JOINED} WHERE s.uid = ? AND e.uid = ?",
    Level.INSTANCE: f"SELECT {COLUMNS} FROM {JOINED}"
    " WHERE s.uid = ? AND e.uid = ? AND i.uid = ?",
}
_SYNTAXES_OF = {
    level: sql.replace(COLUMNS, "DISTINCT i.transfer_syntax")
    for level, sql in _INSTANCES_OF.items()
}
_STATE_OF = {
    level: sql.replace(COLUMNS, "COUNT(*), MAX(i.stored), SUM(i.id)")
    for level, sql in _INSTANCES_OF.items()
}
_STATE = (
    "SELECT t.instances, t.size, i.id, i.stored FROM totals t"
    " LEFT JOIN instances i ON i.id = (SELECT MAX(id) FROM instances)"
)
_IN_ORDER = " ORDER BY e.number, e.id, i.number, i.id"
_HEADER = "SELECT json, bulk FROM headers WHERE instance = ?"
_PACKED = (
    "SELECT blob FROM instances WHERE blob > ?1 AND blob < ?2"
    " UNION ALL SELECT blob FROM garbage WHERE blob > ?1 AND blob < ?2"
)
_DESCRIBED = (
    f"SELECT (SELECT version FROM versions WHERE kind = ?), h.json, h.bulk, {COLUMNS}"
    f" FROM {JOINED} LEFT JOIN headers h ON h.instance = i.id WHERE "
)
_FOLLOWING = (
    _DESCRIBED.replace(
        "FROM instances i",
        "FROM instances t JOIN instances i"
        " ON i.series = t.series AND i.number >= t.number AND i.id <> t.id",
    )
    + "t.id = ? ORDER BY i.number LIMIT ?"
)
_BY_ADDRESS = "s.uid = ? AND e.uid = ? AND i.uid = ?"
_BLOB_EXISTS = "SELECT 1 FROM instances WHERE blob = ?"

_TOTALS = (
    "SELECT (SELECT COUNT(*) FROM patients), (SELECT COUNT(*) FROM studies),"
    " (SELECT COUNT(*) FROM series), instances, size FROM totals WHERE id = 1"
)
_SIZE = "SELECT size FROM totals WHERE id = 1"

_PARENTS = (
    "SELECT i.series, e.study, s.patient, i.blob, i.size FROM "
    + JOINED
    + " WHERE i.id = ?"
)
_REMOVE_HEADER = "DELETE FROM headers WHERE instance = ?"
_REMOVE_INSTANCE = "DELETE FROM instances WHERE id = ?"
_REMOVE_SERIES = "DELETE FROM series WHERE id = ? AND instance_count = 0"
_REMOVE_STUDY = "DELETE FROM studies WHERE id = ? AND instance_count = 0"
_REMOVE_PATIENT = (
    "DELETE FROM patients WHERE id = ?"
    " AND NOT EXISTS (SELECT 1 FROM studies WHERE patient = patients.id)"
)
_DISCARD = "INSERT OR IGNORE INTO garbage (blob) VALUES (?)"
_GARBAGE = "SELECT blob FROM garbage"
_DISCARDED = "DELETE FROM garbage WHERE blob = ?"


class Index:
    """What is held, as work for a database session.

    `changed` is called within every transaction that changes what is held.
    """

    def __init__(
        self, changed: Callable[[Session], object] = lambda session: None
    ) -> None:
        self._changed = changed

    def locate(self, session: Session, uids: Uids) -> Instance | None:
        """The instance at this address; the patient does not count."""
        row = session.first(_LOCATE, (uids.instance, uids.series, uids.study))
        return Instance(*row) if row else None

    def add(
        self, session: Session, entries: Sequence[tuple[Entry, str, bool]]
    ) -> list[Added | Occupied]:
        """Add entries with their blobs; `True` beside one lets it take a taken address.

        The blob that is replaced becomes garbage in the same transaction.
        """
        group = Additions(session)
        outcomes: list[Added | Occupied] = []
        for entry, blob, overwrite in entries:
            held = self.locate(session, entry.uids)
            if held and not overwrite:
                outcomes.append(Occupied(held))
                continue
            if held:
                group.forget_parents()
                self._remove(session, held.id)
            group.add(entry, blob)
            if held:
                group.renew(entry)
            outcomes.append(Added(held.blob if held else None))
        group.count()
        if any(isinstance(outcome, Added) for outcome in outcomes):
            self._changed(session)
        return outcomes

    def remove(self, session: Session, instances: Iterable[int]) -> list[str]:
        """Remove instances and parents left empty; the blobs that are garbage now."""
        blobs = [self._remove(session, instance) for instance in instances]
        if blobs:
            self._changed(session)
        return blobs

    def _remove(self, session: Session, instance: int) -> str:
        row = session.first(_PARENTS, (instance,))
        if row is None:
            raise LookupError(f"no instance {instance}")
        series, study, patient, blob, size = row
        moment = now().strftime("%Y%m%dT%H%M%S")
        session.execute(_REMOVE_HEADER, (instance,))
        session.execute(_REMOVE_INSTANCE, (instance,))
        session.execute(COUNT_SERIES, (-1, moment, series))
        session.execute(COUNT_STUDY, (-1, moment, study))
        session.execute(TOTAL, (-1, -size))
        blocks.remove(session, instance)
        forget(session, Level.INSTANCE, instance)
        if session.execute(_REMOVE_SERIES, (series,)):
            forget(session, Level.SERIES, series)
            self._remove_parents(session, study, patient)
        session.execute(_DISCARD, (blob,))
        return str(blob)

    def _remove_parents(self, session: Session, study: int, patient: int) -> None:
        """Remove what a series that is gone left empty above it."""
        if not session.execute(_REMOVE_STUDY, (study,)):
            session.execute(RECOUNT_STUDY, (study,))
            return
        forget(session, Level.STUDY, study)
        if session.execute(_REMOVE_PATIENT, (patient,)):
            forget(session, Level.PATIENT, patient)

    def garbage(self, session: Session) -> list[str]:
        """Blobs whose files are to be removed."""
        return [row[0] for row in session.fetch(_GARBAGE)]

    def discarded(self, session: Session, blobs: Iterable[str]) -> None:
        """Note that these files are gone."""
        session.execute_many(_DISCARDED, [(blob,) for blob in blobs])

    def has_blob(self, session: Session, blob: str) -> bool:
        """Whether an instance has this blob."""
        return session.first(_BLOB_EXISTS, (blob,)) is not None

    def packed(self, session: Session, pack: str) -> list[str]:
        """The blobs in a pack that instances have, or had until they are removed."""
        # Their names are the pack's and more digits; `g` comes behind all of these.
        return [row[0] for row in session.fetch(_PACKED, (pack, f"{pack}g"))]

    def instances(
        self, session: Session, level: Level, uids: Sequence[str]
    ) -> Iterator[Instance]:
        """The instances under an address, in the order of their numbers."""
        rows = session.iterate(_INSTANCES_OF[level] + _IN_ORDER, uids)
        return (Instance(*row) for row in rows)

    def transfer_syntaxes(
        self, session: Session, level: Level, uids: Sequence[str]
    ) -> frozenset[str]:
        """The transfer syntaxes of the instances under an address."""
        rows = session.iterate(_SYNTAXES_OF[level], uids)
        return frozenset(row[0] for row in rows)

    def state(
        self, session: Session, level: Level | None, uids: Sequence[str]
    ) -> tuple[object, ...]:
        """What differs whenever the instances under an address do; of all, without."""
        row = session.first(_STATE_OF[level] if level else _STATE, uids)
        return tuple(row or ())

    def header(
        self, session: Session, instance: int
    ) -> tuple[bytes, str | None] | None:
        """An instance's deflated header, and where its bulk lies, as JSON."""
        row = session.first(_HEADER, (instance,))
        return (row[0], row[1]) if row else None

    def described(self, session: Session, names: Sequence[str]) -> Described | None:
        """The instance at an address, or with Orthanc's identifier, and its header."""
        where = "i.orthanc_id = ?" if len(names) == 1 else _BY_ADDRESS
        row = session.first(_DESCRIBED + where, (ARCHIVE, *names))
        return None if row is None else _described(row)

    def following(
        self, session: Session, instance: int, count: int
    ) -> Iterator[Described]:
        """At most so many that follow an instance in its series, and their headers."""
        rows = session.iterate(_FOLLOWING, (ARCHIVE, instance, count))
        return map(_described, rows)

    def by_uid(self, session: Session, uid: str) -> list[Instance]:
        """The instances with this SOP Instance UID, in whatever studies."""
        return [Instance(*row) for row in session.iterate(_BY_UID, (uid,))]

    def by_orthanc_id(self, session: Session, orthanc_id: str) -> Instance | None:
        """The instance with Orthanc's identifier."""
        row = session.first(_BY_ORTHANC_ID, (orthanc_id,))
        return Instance(*row) if row else None

    def totals(self, session: Session) -> Totals:
        """How much is held."""
        row = session.first(_TOTALS)
        return Totals(*row) if row else Totals(0, 0, 0, 0, 0)

    def size(self, session: Session) -> int:
        """Bytes of all blobs."""
        row = session.first(_SIZE)
        return int(row[0]) if row else 0


def _described(row: Sequence[Any]) -> Described:
    version, header, bulk, *columns = row
    return Described(version or 0, Instance(*columns), header, bulk)
