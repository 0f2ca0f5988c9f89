"""The way to a page far behind, past a million instances that need not be walked over.

Instances stand in the order of their ids, with gaps where some were removed. How many there
are of each run of ids is kept beside them, so that only one run is ever walked.
"""

from collections import Counter
from collections.abc import Iterable

from gateway.storage.database import Session

#: Ids of a block, as a power of two; the schema has it, too.
_BITS = 10

_ADD = (
    "INSERT INTO blocks (block, instances) VALUES (?, ?)"
    " ON CONFLICT (block) DO UPDATE SET instances = instances + excluded.instances"
)
_REMOVE = "UPDATE blocks SET instances = instances - 1 WHERE block = ?"
_COUNTS = "SELECT block, instances FROM blocks ORDER BY block"


def add(session: Session, instances: Iterable[int]) -> None:
    """Count the ids of new instances."""
    blocks = Counter(instance >> _BITS for instance in instances)
    session.execute_many(_ADD, blocks.items())


def remove(session: Session, instance: int) -> None:
    """Count one less."""
    session.execute(_REMOVE, (instance >> _BITS,))


def place(session: Session, offset: int) -> tuple[int, int]:
    """An id to begin at, and how many instances to pass over from there on."""
    following = 0
    for block, instances in session.iterate(_COUNTS) if offset else ():
        if offset < instances:
            return block << _BITS, offset
        offset -= instances
        following = block + 1
    return following << _BITS, offset
