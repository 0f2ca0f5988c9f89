"""Which files and which index belong together.

An index that starts beside files of another one would take them for strays; files beside
an index that was lost would lie there unseen. Both carry the same name, made once, and
a start refuses where the names differ.
"""

import os
import uuid
from pathlib import Path

from gateway.errors import BadConfiguration
from gateway.storage.database import Session

_NAME = "gateway.id"
_FIND = "SELECT id FROM identity"
_ADD = "INSERT INTO identity (id) VALUES (?)"
_HELD = "SELECT instances FROM totals WHERE id = 1"


def identify(session: Session, folder: Path, *, holds_files: bool) -> None:
    """Make sure that the folder of files and the index belong together.

    Both new, they get a name. Raises BadConfiguration, saying what to do, if they do not.
    """
    path = folder / _NAME
    named = path.read_text("ascii").strip() if path.exists() else None
    row = session.first(_FIND)
    known = str(row[0]) if row else None
    if known is None:
        if holds_files:
            raise BadConfiguration(
                f"{folder} holds files, but the index is new: bring its gateway.db back,"
                " or import the files into another StorageDirectory"
            )
        known = named or uuid.uuid4().hex
        session.execute(_ADD, (known,))
    held = session.first(_HELD)
    if named is None and held and held[0]:
        raise BadConfiguration(
            f"the index knows {held[0]} instances, but {folder} is not the folder of"
            " their files: is it mounted?"
        )
    if named is None:
        _write(path, known)
    elif named != known:
        raise BadConfiguration(f"the files in {folder} belong to another index")


def _write(path: Path, name: str) -> None:
    with path.open("w", encoding="ascii") as file:
        file.write(f"{name}\n")
        file.flush()
        os.fsync(file.fileno())
