"""The index: which instances there are, in which series, studies and patients.

Parents appear with their first child and vanish with their last. An instance is known by
its study, series and SOP Instance UID together, which is its address on the web; the same
SOP Instance UID in two studies is two instances. All methods are work for a database
session: they run in its thread, several of them may share one transaction.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.dicom.hierarchy import Level, Uids
from gateway.storage.database import Row, Session
from gateway.storage.entries import SERIES_COLUMNS, STUDY_COLUMNS, Entry


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


_COLUMNS = (
    "i.id, i.orthanc_id, s.uid, e.uid, i.uid, i.sop_class, i.transfer_syntax,"
    " i.blob, i.size, i.stored"
)
_JOINED = (
    "instances i JOIN series e ON e.id = i.series JOIN studies s ON s.id = e.study"
)

_LOCATE = (
    f"SELECT {_COLUMNS} FROM {_JOINED} WHERE i.uid = ? AND e.uid = ? AND s.uid = ?"
)
_BY_ORTHANC_ID = f"SELECT {_COLUMNS} FROM {_JOINED} WHERE i.orthanc_id = ?"
_INSTANCES_OF = {
    Level.STUDY: f"SELECT {_COLUMNS} FROM {_JOINED} WHERE s.uid = ?",
    Level.SERIES: f"SELECT {_COLUMNS} FROM {_JOINED} WHERE s.uid = ? AND e.uid = ?",
    Level.INSTANCE: f"SELECT {_COLUMNS} FROM {_JOINED}"
    " WHERE s.uid = ? AND e.uid = ? AND i.uid = ?",
}
_HEADERS_OF = {
    level: sql.replace(_COLUMNS, "s.uid, e.uid, i.uid, h.json").replace(
        " WHERE", " JOIN headers h ON h.instance = i.id WHERE"
    )
    for level, sql in _INSTANCES_OF.items()
}
_SYNTAXES_OF = {
    level: sql.replace(_COLUMNS, "DISTINCT i.transfer_syntax")
    for level, sql in _INSTANCES_OF.items()
}
_IN_ORDER = " ORDER BY e.number, e.id, i.number, i.id"
_HEADER = "SELECT json, bulk FROM headers WHERE instance = ?"
_BLOB_EXISTS = "SELECT 1 FROM instances WHERE blob = ?"
_IDS = "SELECT orthanc_id FROM instances ORDER BY id LIMIT ? OFFSET ?"

_FIND = {
    "patients": "SELECT id FROM patients WHERE orthanc_id = ?",
    "studies": "SELECT id, modalities FROM studies WHERE orthanc_id = ?",
    "series": "SELECT id FROM series WHERE orthanc_id = ?",
}
_ADD_PATIENT = (
    "INSERT INTO patients (orthanc_id, patient_id, attributes, updated)"
    " VALUES (?, ?, ?, ?)"
)
_ADD_STUDY = (
    f"INSERT INTO studies (patient, orthanc_id, uid, updated, {', '.join(STUDY_COLUMNS)})"
    f" VALUES (?, ?, ?, ?{', ?' * len(STUDY_COLUMNS)})"
)
_ADD_SERIES = (
    f"INSERT INTO series (study, orthanc_id, uid, updated, {', '.join(SERIES_COLUMNS)})"
    f" VALUES (?, ?, ?, ?{', ?' * len(SERIES_COLUMNS)})"
)
_ADD_INSTANCE = (
    "INSERT INTO instances (series, orthanc_id, uid, sop_class, transfer_syntax,"
    " number, blob, size, stored, attributes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_ADD_HEADER = "INSERT INTO headers (instance, json, bulk) VALUES (?, ?, ?)"
_COUNT_SERIES = (
    "UPDATE series SET instance_count = instance_count + ?, updated = ? WHERE id = ?"
)
_COUNT_STUDY = (
    "UPDATE studies SET instance_count = instance_count + ?, updated = ? WHERE id = ?"
)
_TOUCH_PATIENT = "UPDATE patients SET updated = ? WHERE id = ?"
_RENEW_PATIENT = "UPDATE patients SET attributes = ? WHERE id = ?"
_RENEW_STUDY = (
    f"UPDATE studies SET {', '.join(f'{c} = ?' for c in STUDY_COLUMNS)} WHERE id = ?"
)
_RENEW_SERIES = (
    f"UPDATE series SET {', '.join(f'{c} = ?' for c in SERIES_COLUMNS)} WHERE id = ?"
)
_RECOUNT_STUDY = (
    "UPDATE studies SET"
    " series_count = (SELECT COUNT(*) FROM series e WHERE e.study = studies.id),"
    " modalities = COALESCE((SELECT GROUP_CONCAT(m, '\\') FROM (SELECT DISTINCT"
    " json_extract(e.attributes, '$.00080060.Value[0]') AS m FROM series e"
    " WHERE e.study = studies.id AND e.modality_key IS NOT NULL ORDER BY m)), '')"
    " WHERE id = ?"
)
_TOTAL = "UPDATE totals SET instances = instances + ?, size = size + ? WHERE id = 1"
_TOTALS = (
    "SELECT (SELECT COUNT(*) FROM patients), (SELECT COUNT(*) FROM studies),"
    " (SELECT COUNT(*) FROM series), instances, size FROM totals WHERE id = 1"
)
_SIZE = "SELECT size FROM totals WHERE id = 1"

_PARENTS = (
    "SELECT i.series, e.study, s.patient, i.blob, i.size FROM "
    + _JOINED
    + " WHERE i.id = ?"
)
_PARENT_IDS = (
    "SELECT e.orthanc_id, s.orthanc_id, p.orthanc_id FROM "
    + _JOINED
    + " JOIN patients p"
    " ON p.id = s.patient WHERE i.id = ?"
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


def _now() -> datetime:
    return datetime.now(UTC)


class _Group:
    """The additions of one transaction: parents are looked up and counted once."""

    def __init__(self, session: Session) -> None:
        now = _now()
        self._session = session
        self._stored = now.strftime("%Y%m%dT%H%M%S.%f")
        self._second = self._stored[:15]
        self._series: dict[str, tuple[int, int, int]] = {}  # series, study, patient
        self._added: dict[tuple[int, int, int], int] = {}
        self._recount: set[int] = set()
        self._size = 0

    def add(self, entry: Entry, blob: str) -> None:
        parents = self._series.get(entry.orthanc_ids[2])
        if parents is None:
            parents = self._parents(entry)
            self._series[entry.orthanc_ids[2]] = parents
        number = self._session.insert(
            _ADD_INSTANCE,
            (
                parents[0],
                entry.orthanc_ids[3],
                entry.uids.instance,
                entry.sop_class,
                entry.transfer_syntax,
                entry.number,
                blob,
                entry.size,
                self._stored,
                entry.instance,
            ),
        )
        self._session.insert(_ADD_HEADER, (number, entry.header, entry.bulk))
        self._added[parents] = self._added.get(parents, 0) + 1
        self._size += entry.size

    def _parents(self, entry: Entry) -> tuple[int, int, int]:
        session = self._session
        row = session.first(_FIND["patients"], (entry.orthanc_ids[0],))
        patient = (
            row[0]
            if row
            else session.insert(
                _ADD_PATIENT,
                (
                    entry.orthanc_ids[0],
                    entry.uids.patient_id,
                    entry.patient.decode(),
                    self._second,
                ),
            )
        )
        row = session.first(_FIND["studies"], (entry.orthanc_ids[1],))
        study = (
            row[0]
            if row
            else session.insert(
                _ADD_STUDY,
                (
                    patient,
                    entry.orthanc_ids[1],
                    entry.uids.study,
                    self._second,
                    *entry.study,
                ),
            )
        )
        row = session.first(_FIND["series"], (entry.orthanc_ids[2],))
        if row:
            return row[0], study, patient
        self._recount.add(study)
        series = session.insert(
            _ADD_SERIES,
            (
                study,
                entry.orthanc_ids[2],
                entry.uids.series,
                self._second,
                *entry.series,
            ),
        )
        return series, study, patient

    def renew(self, entry: Entry) -> None:
        """Let a replaced instance's corrections show at its parents, too."""
        series, study, patient = self._series[entry.orthanc_ids[2]]
        self._session.execute(_RENEW_SERIES, (*entry.series, series))
        self._session.execute(_RENEW_STUDY, (*entry.study, study))
        self._session.execute(_RENEW_PATIENT, (entry.patient.decode(), patient))
        self._recount.add(study)

    def forget_parents(self) -> None:
        """Look parents up afresh: a removal may have taken some away."""
        self.count()
        self._series.clear()

    def count(self) -> None:
        """Bring counters up to what was added."""
        session = self._session
        for (series, study, patient), count in self._added.items():
            session.execute(_COUNT_SERIES, (count, self._second, series))
            session.execute(_COUNT_STUDY, (count, self._second, study))
            session.execute(_TOUCH_PATIENT, (self._second, patient))
        session.execute(_TOTAL, (sum(self._added.values()), self._size))
        for study in self._recount:
            session.execute(_RECOUNT_STUDY, (study,))
        self._added.clear()
        self._recount.clear()
        self._size = 0


class Index:
    """What is held, as work for a database session."""

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
        group = _Group(session)
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
        return outcomes

    def remove(self, session: Session, instances: Iterable[int]) -> list[str]:
        """Remove instances and parents left empty; the blobs that are garbage now."""
        return [self._remove(session, instance) for instance in instances]

    def _remove(self, session: Session, instance: int) -> str:
        row = session.first(_PARENTS, (instance,))
        if row is None:
            raise LookupError(f"no instance {instance}")
        series, study, patient, blob, size = row
        now = _now().strftime("%Y%m%dT%H%M%S")
        session.execute(_REMOVE_HEADER, (instance,))
        session.execute(_REMOVE_INSTANCE, (instance,))
        session.execute(_COUNT_SERIES, (-1, now, series))
        session.execute(_COUNT_STUDY, (-1, now, study))
        session.execute(_TOTAL, (-1, -size))
        if session.execute(_REMOVE_SERIES, (series,)):
            if session.execute(_REMOVE_STUDY, (study,)):
                session.execute(_REMOVE_PATIENT, (patient,))
            else:
                session.execute(_RECOUNT_STUDY, (study,))
        session.execute(_DISCARD, (blob,))
        return str(blob)

    def garbage(self, session: Session) -> list[str]:
        """Blobs whose files are to be removed."""
        return [row[0] for row in session.fetch(_GARBAGE)]

    def discarded(self, session: Session, blobs: Iterable[str]) -> None:
        """Note that these files are gone."""
        session.execute_many(_DISCARDED, [(blob,) for blob in blobs])

    def has_blob(self, session: Session, blob: str) -> bool:
        """Whether an instance has this blob."""
        return session.first(_BLOB_EXISTS, (blob,)) is not None

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

    def headers(
        self, session: Session, level: Level, uids: Sequence[str]
    ) -> Iterator[Row]:
        """Study, series and instance UID and deflated header, in the same order."""
        return session.iterate(_HEADERS_OF[level] + _IN_ORDER, uids)

    def header(
        self, session: Session, instance: int
    ) -> tuple[bytes, str | None] | None:
        """An instance's deflated header, and where its bulk lies, as JSON."""
        row = session.first(_HEADER, (instance,))
        return (row[0], row[1]) if row else None

    def by_orthanc_id(self, session: Session, orthanc_id: str) -> Instance | None:
        """The instance with Orthanc's identifier."""
        row = session.first(_BY_ORTHANC_ID, (orthanc_id,))
        return Instance(*row) if row else None

    def parents(self, session: Session, instance: int) -> Row | None:
        """Orthanc's identifiers of series, study and patient of an instance."""
        return session.first(_PARENT_IDS, (instance,))

    def exists(self, session: Session, kind: str, orthanc_id: str) -> bool:
        """Whether Orthanc's identifier names a Series, Study or Patient."""
        table = {"Series": "series", "Study": "studies", "Patient": "patients"}[kind]
        return session.first(_FIND[table], (orthanc_id,)) is not None

    def orthanc_ids(self, session: Session, limit: int, since: int) -> Iterator[str]:
        """Orthanc's identifiers of the instances, oldest first; -1 for no limit."""
        return (row[0] for row in session.iterate(_IDS, (limit, since)))

    def totals(self, session: Session) -> Totals:
        """How much is held."""
        row = session.first(_TOTALS)
        return Totals(*row) if row else Totals(0, 0, 0, 0, 0)

    def size(self, session: Session) -> int:
        """Bytes of all blobs."""
        row = session.first(_SIZE)
        return int(row[0]) if row else 0
