"""Names written in several ways at once, each of which a search may ask for.

A name has an alphabetic, an ideographic and a phonetic group (PS3.5 6.2.1.1), and a
search matches any of them by itself. Where a study's column holds more than one, joined by
an equals sign, each has a row of its own beside it; most studies have none.
"""

from collections.abc import Sequence
from typing import Any

from gateway.storage.database import Session
from gateway.storage.entries import STUDY_COLUMNS

#: Columns of studies that hold names, and the numbers by which the rows tell them apart.
KINDS = {"patient_name_key": 0, "referring_name_key": 1}

_PLACES = tuple((STUDY_COLUMNS.index(column), kind) for column, kind in KINDS.items())
_ADD = "INSERT OR IGNORE INTO name_groups (study, kind, key) VALUES (?, ?, ?)"
_REMOVE = "DELETE FROM name_groups WHERE study = ?"


def add(session: Session, study: int, values: Sequence[Any]) -> None:
    """Keep the groups of a new study; `values` are those of STUDY_COLUMNS."""
    rows = [
        (study, kind, group)
        for place, kind in _PLACES
        if "=" in (values[place] or "")
        for group in filter(None, values[place].split("="))
    ]
    if rows:
        session.execute_many(_ADD, rows)


def renew(session: Session, study: int, values: Sequence[Any]) -> None:
    """Let new values take the place of those that a study had."""
    session.execute(_REMOVE, (study,))
    add(session, study, values)
