"""What is held, as transfers ask for it: what belongs to a name, and what is missing.

Orthanc's identifiers do not say of which level they are, and a remote server's list of a
study has to be compared with ours. Both are questions about many rows that are answered
piece by piece, so that neither side holds more than a piece.
"""

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from dataclasses import dataclass

from gateway.storage.database import Database, Session
from gateway.storage.index import COLUMNS, JOINED, Instance

#: Names put into one statement.
_TOGETHER = 500

#: Orthanc's words for the levels, from the top, and where their identifiers stand.
_LEVELS = (
    ("Patients", "patients", "s.patient"),
    ("Studies", "studies", "s.id"),
    ("Series", "series", "e.id"),
    ("Instances", "instances", "i.id"),
)
_BELOW = {
    kind: f"SELECT i.orthanc_id, i.size FROM {JOINED} WHERE {column} ="
    f" (SELECT id FROM {table} WHERE orthanc_id = ?)"
    " ORDER BY s.id, e.number, e.id, i.number, i.id"
    for kind, table, column in _LEVELS
}
_FIND = {
    kind: f"SELECT orthanc_id, {'size' if kind == 'Instances' else '0'} FROM {table}"
    " WHERE orthanc_id IN ({marks})"
    for kind, table, _ in _LEVELS
}


@dataclass(frozen=True, slots=True)
class Member:
    """An instance below a name."""

    orthanc_id: str
    size: int  # bytes


class Holdings:
    """The instances held, asked for by many names at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def kinds(self, orthanc_ids: Sequence[str]) -> dict[str, tuple[str, int]]:
        """Of those that are held: Patients, Studies, Series or Instances, and the size.

        The size (bytes) is told of instances alone.
        """

        def work(session: Session) -> dict[str, tuple[str, int]]:
            found = {}
            for kind, sql in _FIND.items():
                for some, marks in _portions(orthanc_ids):
                    for name, size in session.iterate(sql.format(marks=marks), some):
                        found[name] = (kind, size)
            return found

        return await self._database.read(work)

    def below(self, kind: str, orthanc_id: str) -> AsyncGenerator[list[Member], None]:
        """The instances of a patient, study, series, or the one, in their order."""
        return self._database.stream(
            lambda session: (
                Member(*row) for row in session.iterate(_BELOW[kind], (orthanc_id,))
            )
        )

    async def instances(self, orthanc_ids: Sequence[str]) -> dict[str, Instance]:
        """Those of the instances that are still held, by their identifiers."""

        def work(session: Session) -> dict[str, Instance]:
            found = {}
            for some, marks in _portions(orthanc_ids):
                sql = f"SELECT {COLUMNS} FROM {JOINED} WHERE i.orthanc_id IN ({marks})"
                for row in session.iterate(sql, some):
                    instance = Instance(*row)
                    found[instance.orthanc_id] = instance
            return found

        return await self._database.read(work)

    async def held(
        self, study: str, instances: Iterable[tuple[str, str]]
    ) -> set[tuple[str, str]]:
        """Those of the instances of a study, named by series and own UID, that are held."""
        wanted = set(instances)

        def work(session: Session) -> set[tuple[str, str]]:
            found = set()
            for some, marks in _portions(sorted({uid for _, uid in wanted})):
                sql = (
                    f"SELECT e.uid, i.uid FROM {JOINED}"
                    f" WHERE s.uid = ? AND i.uid IN ({marks})"
                )
                for series, uid in session.iterate(sql, [study, *some]):
                    found.add((series, uid))
            return found & wanted

        return await self._database.read(work)


def _portions(names: Sequence[str]) -> Iterator[tuple[Sequence[str], str]]:
    """The names in portions, each with the marks that stand for it in a statement."""
    for start in range(0, len(names), _TOGETHER):
        some = names[start : start + _TOGETHER]
        yield some, ",".join("?" * len(some))
