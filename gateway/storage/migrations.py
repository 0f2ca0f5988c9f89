"""The schema and its way from one version to the next.

The database says in `schema_version` what it is. Each version has a script in `schema/`
that leads to it from the one before; a new database goes the whole way, an older one
the rest of it, each step in the transaction that also writes its number. One that is
newer than this program is refused: an older program must not write to it.
"""

from importlib.resources import files

from gateway.errors import BadConfiguration
from gateway.storage.database import Session


def statements(script: str) -> tuple[str, ...]:
    """The statements of a script, without its comments."""
    lines = (line.partition("--")[0] for line in script.splitlines())
    parts = "\n".join(lines).split(";")
    return tuple(part.strip() for part in parts if part.strip())


def _script(name: str) -> tuple[str, ...]:
    script = files("gateway.storage").joinpath("schema", name)
    return statements(script.read_text("utf-8"))


#: Statements that lead from version N to N + 1, by N.
STEPS = {number: _script(f"{number + 1}.sql") for number in range(4)}

#: What this program reads and writes.
VERSION = len(STEPS)

_TABLE = "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)"
_CURRENT = "SELECT version FROM schema_version"
_FIRST = "INSERT INTO schema_version (version) VALUES (0)"
_NEXT = "UPDATE schema_version SET version = ?"


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
    found = int(row[0]) if row else 0
    if row is None:
        session.execute(_FIRST)
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
