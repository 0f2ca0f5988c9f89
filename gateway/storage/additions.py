"""Adding instances to the index, a group of them in one transaction.

Parents are looked up once for all their instances of the group, made where they are
missing, and counted once at the end: what an instance costs does not grow with how many
its study has.
"""

from datetime import UTC, datetime

from gateway.dicom.hierarchy import Level
from gateway.storage import blocks, name_groups
from gateway.storage.changes import News, note, stir
from gateway.storage.database import Session
from gateway.storage.entries import (
    SERIES_COLUMNS,
    STUDY_COLUMNS,
    Entry,
    patient_attributes,
    series_values,
    study_values,
)

FIND = {
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
COUNT_SERIES = (
    "UPDATE series SET instance_count = instance_count + ?, updated = ? WHERE id = ?"
)
COUNT_STUDY = (
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
RECOUNT_STUDY = (
    "UPDATE studies SET"
    " series_count = (SELECT COUNT(*) FROM series e WHERE e.study = studies.id),"
    " modalities = COALESCE((SELECT GROUP_CONCAT(m, '\\') FROM (SELECT DISTINCT"
    " json_extract(e.attributes, '$.00080060.Value[0]') AS m FROM series e"
    " WHERE e.study = studies.id AND e.modality_key IS NOT NULL ORDER BY m)), '')"
    " WHERE id = ?"
)
TOTAL = "UPDATE totals SET instances = instances + ?, size = size + ? WHERE id = 1"


def now() -> datetime:
    """The time that rows are stamped with."""
    return datetime.now(UTC)


class Additions:
    """The additions of one transaction: parents are looked up and counted once."""

    def __init__(self, session: Session) -> None:
        moment = now()
        self._session = session
        self._stored = moment.strftime("%Y%m%dT%H%M%S.%f")
        self._second = self._stored[:15]
        self._series: dict[str, tuple[int, int, int]] = {}  # series, study, patient
        self._added: dict[tuple[int, int, int], int] = {}
        self._recount: set[int] = set()
        self._size = 0
        self._news: list[News] = []
        self._headers: list[tuple[int, bytes, str | None]] = []

    def add(self, entry: Entry, blob: str) -> None:
        """Add an instance with its blob, and the parents that it lacks."""
        new: list[News] = []
        parents = self._series.get(entry.orthanc_ids[2])
        if parents is None:
            parents = self._parents(entry, new)
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
        self._headers.append((number, entry.header, entry.bulk))
        self._added[parents] = self._added.get(parents, 0) + 1
        self._size += entry.size
        self._news.append(("NewInstance", Level.INSTANCE, number))
        self._news += reversed(new)

    def _parents(self, entry: Entry, new: list[News]) -> tuple[int, int, int]:
        """The ids of series, study and patient; those that are made are added to `new`."""
        session = self._session
        row = session.first(FIND["patients"], (entry.orthanc_ids[0],))
        patient = row[0] if row else self._add_patient(entry, new)
        row = session.first(FIND["studies"], (entry.orthanc_ids[1],))
        study = row[0] if row else self._add_study(entry, patient, new)
        row = session.first(FIND["series"], (entry.orthanc_ids[2],))
        series = row[0] if row else self._add_series(entry, study, new)
        return series, study, patient

    def _add_patient(self, entry: Entry, new: list[News]) -> int:
        patient = self._session.insert(
            _ADD_PATIENT,
            (
                entry.orthanc_ids[0],
                entry.uids.patient_id,
                patient_attributes(entry.attributes),
                self._second,
            ),
        )
        new.append(("NewPatient", Level.PATIENT, patient))
        return patient

    def _add_study(self, entry: Entry, patient: int, new: list[News]) -> int:
        values = study_values(entry.attributes)
        names = entry.orthanc_ids[1], entry.uids.study
        study = self._session.insert(
            _ADD_STUDY, (patient, *names, self._second, *values)
        )
        name_groups.add(self._session, study, values)
        new.append(("NewStudy", Level.STUDY, study))
        return study

    def _add_series(self, entry: Entry, study: int, new: list[News]) -> int:
        self._recount.add(study)
        series = self._session.insert(
            _ADD_SERIES,
            (
                study,
                entry.orthanc_ids[2],
                entry.uids.series,
                self._second,
                *series_values(entry.attributes),
            ),
        )
        new.append(("NewSeries", Level.SERIES, series))
        return series

    def renew(self, entry: Entry) -> None:
        """Let a replaced instance's corrections show at its parents, too."""
        series, study, patient = self._series[entry.orthanc_ids[2]]
        self._session.execute(_RENEW_SERIES, (*series_values(entry.attributes), series))
        values = study_values(entry.attributes)
        self._session.execute(_RENEW_STUDY, (*values, study))
        name_groups.renew(self._session, study, values)
        self._session.execute(
            _RENEW_PATIENT, (patient_attributes(entry.attributes), patient)
        )
        self._recount.add(study)

    def forget_parents(self) -> None:
        """Look parents up afresh: a removal may have taken some away."""
        self.count()
        self._series.clear()

    def count(self) -> None:
        """Bring counters up to what was added."""
        session = self._session
        session.execute_many(_ADD_HEADER, self._headers)
        for (series, study, patient), count in self._added.items():
            session.execute(COUNT_SERIES, (count, self._second, series))
            session.execute(COUNT_STUDY, (count, self._second, study))
            session.execute(_TOUCH_PATIENT, (self._second, patient))
        session.execute(TOTAL, (sum(self._added.values()), self._size))
        for study in self._recount:
            session.execute(RECOUNT_STUDY, (study,))
        blocks.add(
            session, (n for _, level, n in self._news if level == Level.INSTANCE)
        )
        note(session, self._news, self._second)
        stir(session, self._touched())
        self._added.clear()
        self._recount.clear()
        self._news.clear()
        self._headers.clear()
        self._size = 0

    def _touched(self) -> set[tuple[Level, int]]:
        levels = (Level.SERIES, Level.STUDY, Level.PATIENT)
        return {
            pair
            for parents in self._added
            for pair in zip(levels, parents, strict=True)
        }
