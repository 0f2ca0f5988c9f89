"""The schema and its way from one version to the next.

The database says in `schema_version` what it is. A new one is made whole; an older one is
moved forward step by step, each step in the transaction that also writes its number. One
that is newer than this program is refused: an older program must not write to it.
"""

from importlib.resources import files

from gateway.errors import BadConfiguration
from gateway.storage.database import Session

#: What this program reads and writes.
VERSION = 1

#: Statements that lead from version N to N + 1, by N.
STEPS: dict[int, tuple[str, ...]] = {}

_TABLE = "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)"
_CURRENT = "SELECT version FROM schema_version"
_FIRST = "INSERT INTO schema_version (version) VALUES (?)"
_NEXT = "UPDATE schema_version SET version = ?"


def statements(script: str) -> list[str]:
    """The statements of a script, without its comments."""
    lines = (line.partition("--")[0] for line in script.splitlines())
    return [part.strip() for part in "\n".join(lines).split(";") if part.strip()]


def migrate(
    session: Session,
    version: int = VERSION,
    steps: dict[int, tuple[str, ...]] = STEPS,
) -> int:
    """Bring the database to the version; the version that it had, 0 for a new one.

    Raises BadConfiguration when the database was written by a newer program.
    """
    session.execute(_TABLE)
    row = session.first(_CURRENT)
    if row is None:
        schema = files("gateway.storage").joinpath("schema.sql").read_text("utf-8")
        for statement in statements(schema):
            session.execute(statement)
        session.execute(_FIRST, (version,))
        return 0
    found = int(row[0])
    if found > version:
        raise BadConfiguration(
            f"the database has schema version {found}, this program knows {version}:"
            " it was written by a newer dicomweb-gateway"
        )
    for number in range(found, version):
        for statement in steps[number]:
            session.execute(statement)
        session.execute(_NEXT, (number + 1,))
    return found
