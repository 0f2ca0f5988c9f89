"""What SQLite says is wrong, in our words."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.errors import BadConfiguration, Busy, StorageFull

#: Somebody else has the database for longer than we wait.
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})

_UNUSABLE = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_READONLY,
    }
)


@contextmanager
def told_as_ours(path: Path) -> Iterator[None]:
    """Turn errors of a database that somebody can do something about into ours."""
    try:
        yield
    except sqlite3.Error as error:
        # The extended code tells more in its upper bytes.
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise StorageFull from error
        if code in _BUSY:
            raise Busy("the index is busy") from error
        if code in _UNUSABLE:
            raise BadConfiguration(f"{path}: {error}") from error
        raise
