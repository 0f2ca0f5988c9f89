"""Which patients give way when there is no room left."""

from collections.abc import Collection

from gateway.storage.database import Session

_COUNT = "SELECT COUNT(*) FROM patients"
_EXISTS = "SELECT 1 FROM patients WHERE orthanc_id = ?"
_OLDEST = (
    "SELECT id, orthanc_id FROM patients WHERE protected = 0 ORDER BY updated, id"
    " LIMIT ?"
)
_INSTANCES = (
    "SELECT i.id FROM studies s JOIN series e ON e.study = s.id"
    " JOIN instances i ON i.series = e.id WHERE s.patient = ? LIMIT ?"
)


def count_patients(session: Session, arriving: Collection[str]) -> tuple[int, int]:
    """How many patients are held, and how many of these identifiers are not."""
    row = session.first(_COUNT)
    new = sum(1 for one in arriving if session.first(_EXISTS, (one,)) is None)
    return (int(row[0]) if row else 0), new


def oldest_instances(
    session: Session, spared: Collection[str], count: int
) -> list[int]:
    """Instances of the patient that got nothing new for longest; none if there is none.

    Protected patients stay, and those whose identifiers are spared.
    """
    for patient, orthanc_id in session.fetch(_OLDEST, (len(spared) + 1,)):
        if orthanc_id not in spared:
            return [row[0] for row in session.fetch(_INSTANCES, (patient, count))]
    return []
