"""One group of instances on its way to the disk and into the index.

All of it runs on the database's writer thread, in three steps: what is already held is
told apart and the rest written and flushed; rows are added in one transaction; files are
put in place. A fault of one instance is its own outcome; a fault of the group is raised.
"""

import logging
from dataclasses import dataclass

from gateway.errors import GatewayError, NotFound
from gateway.outcomes import Duplicate, Outcome, Stored, refusal
from gateway.storage.blobs import DiskBlobs, Incoming
from gateway.storage.database import Session
from gateway.storage.entries import Entry
from gateway.storage.index import Added, Index, Instance, Occupied
from gateway.storage.packs import PACKED_LIMIT
from gateway.storage.reading import same_bytes
from gateway.storage.replaced import Replaced

log = logging.getLogger(__name__)

Buffers = list[bytes | memoryview]


@dataclass(slots=True)
class Ready:
    """An instance whose header is read."""

    entry: Entry
    buffers: Buffers  # all its bytes; empty if they are in the file
    incoming: Incoming | None  # its file, if it has one of its own
    mends: bool = False  # takes the place of one whose file is gone
    packed: str = ""  # its name in a pack, once it is there

    @property
    def blob(self) -> str:
        """The name it is kept under."""
        return self.incoming.name if self.incoming else self.packed

    def discard(self) -> None:
        """Leave no file of its own behind."""
        if self.incoming is not None:
            self.incoming.discard()


class Commit:
    """The three steps for a group; `gone` are blobs removed since the last one.

    Blobs that are replaced are left to `replaced`.
    """

    def __init__(
        self,
        blobs: DiskBlobs,
        index: Index,
        group: list[Ready],
        *,
        overwrite: bool,
        gone: list[str],
        replaced: Replaced,
    ) -> None:
        self.gone = gone
        self.size = 0  # bytes of those that are not held yet, once it is known
        self._replaced = replaced
        self.outcomes: list[Outcome | None] = [None] * len(group)  # as far as known
        self._blobs = blobs
        self._index = index
        self._overwrite = overwrite
        self._group = group
        self._new: list[tuple[int, Ready]] = []

    def compare(self, session: Session) -> int:
        """Tell apart what is held already; the size of all the rest."""
        self.size = 0
        for place, ready in enumerate(self._group):
            try:
                self.outcomes[place] = held_already(
                    session, self._index, self._blobs, ready, self._overwrite
                )
            except Exception as error:
                self.outcomes[place] = _failed(ready, error)
            if self.outcomes[place] is None:
                self.size += ready.entry.size
            else:
                ready.discard()
        return self.size

    def patients(self) -> set[str]:
        """Orthanc's identifiers of the patients of those that are not held yet."""
        return {
            ready.entry.orthanc_ids[0]
            for ready, outcome in zip(self._group, self.outcomes, strict=True)
            if outcome is None
        }

    def write(self) -> None:
        """Write and flush those that are not held yet."""
        packed: list[Ready] = []
        for place, ready in enumerate(self._group):
            if self.outcomes[place] is not None:
                continue
            try:
                if self._is_for_a_pack(ready):
                    packed.append(ready)
                elif ready.incoming is None:
                    self._fill(ready)
                self._new.append((place, ready))
            except Exception as error:
                self.outcomes[place] = _failed(ready, error)
                ready.discard()
        if packed:
            names = self._blobs.pack([ready.buffers for ready in packed])
            for ready, name in zip(packed, names, strict=True):
                ready.packed = name
        self._flush()

    def _is_for_a_pack(self, ready: Ready) -> bool:
        small = ready.entry.size <= PACKED_LIMIT
        return ready.incoming is None and small and self._blobs.packs

    def _fill(self, ready: Ready) -> None:
        """Write the bytes into a file of their own."""
        ready.incoming = self._blobs.incoming()
        ready.incoming.append(ready.buffers)
        ready.buffers = []

    def _flush(self) -> None:
        if any(ready.packed for _, ready in self._new):
            self._blobs.flush_pack()
        files = [ready.incoming for _, ready in self._new if ready.incoming]
        for incoming in files:
            incoming.flush()
        if files:
            self._blobs.settle()

    def take_back(self) -> None:
        """Remove from the pack what got no row after all."""
        names = [ready.packed for _, ready in self._new if ready.packed]
        for _, ready in self._new:
            ready.packed = ""
        self._take_out(names)

    def add(self, session: Session) -> list[Added | Occupied]:
        """Add their rows."""
        if self.gone:
            self._index.discarded(session, self.gone)
        entries = [(r.entry, r.blob, self._overwrite or r.mends) for _, r in self._new]
        return self._index.add(session, entries)

    def finish(self, added: list[Added | Occupied]) -> list[Outcome]:
        """Put files in place. Their rows are there: nothing here raises or undoes that."""
        self.gone = []
        replaced = [a.replaced for a in added if isinstance(a, Added) and a.replaced]
        for (place, ready), outcome in zip(self._new, added, strict=True):
            if isinstance(outcome, Added):
                self.outcomes[place] = self._placed(ready)
            else:
                self.outcomes[place] = self._too_late(ready, outcome.instance)
        try:
            self._replaced.add(replaced)
        except OSError:
            log.exception("a replaced file could not be removed; the next start tries")
        return [outcome for outcome in self.outcomes if outcome is not None]

    def _placed(self, ready: Ready) -> Outcome:
        if ready.incoming is not None:
            try:
                self._blobs.publish(ready.incoming.name)
            except OSError:
                # It is read from where it lies, and moved when the server starts next.
                log.exception("a stored file could not be moved")
        return stored(ready.entry, already_there=False)

    def _too_late(self, ready: Ready, held: Instance) -> Outcome:
        """Another process, or another part of this group, took the address meanwhile."""
        try:
            if _same(self._blobs, ready, held):
                return stored(ready.entry, already_there=True)
            return _failed(ready, Duplicate())
        except Exception as error:
            return _failed(ready, error)
        finally:
            self._withdraw(ready)

    def _withdraw(self, ready: Ready) -> None:
        """Leave nothing of what was written."""
        ready.discard()
        if ready.packed:
            self._take_out([ready.packed])

    def _take_out(self, names: list[str]) -> None:
        try:
            self._blobs.remove(names, seen=False)
        except OSError:
            log.exception("a part of a pack stays in vain until the next start")


def held_already(
    session: Session, index: Index, blobs: DiskBlobs, ready: Ready, overwrite: bool
) -> Outcome | None:
    """What to answer without storing: these bytes are held, or others may not go.

    None to store them.
    """
    held = index.locate(session, ready.entry.uids)
    if held is None:
        return None
    try:
        same = _same(blobs, ready, held)
    except NotFound:
        # What was held went away just now; or its file is lost, and here it is again.
        ready.mends = True
        return None
    if same:
        return stored(ready.entry, already_there=True)
    return None if overwrite else _failed(ready, Duplicate())


def _same(blobs: DiskBlobs, ready: Ready, held: Instance) -> bool:
    if ready.entry.size != held.size:
        return False
    other = str(ready.incoming.path) if ready.incoming else ready.buffers
    return same_bytes(blobs, held.blob, held.size, other)


def stored(entry: Entry, *, already_there: bool) -> Stored:
    """The outcome of an instance that is held."""
    return Stored(entry.uids, entry.orthanc_ids, entry.sop_class, already_there)


def _failed(ready: Ready, error: Exception) -> Outcome:
    if not isinstance(error, GatewayError):
        log.error("an instance could not be stored", exc_info=error)
    return refusal(error, ready.entry.sop_class, ready.entry.uids.instance)
