"""What a search finds in one reading, and of what state of the archive that is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.dicom.query import Query
from gateway.storage.database import Session
from gateway.storage.index import Index
from gateway.storage.search import Found, Remaining, Search
from gateway.storage.stamp import ARCHIVE, Stamp, version_of


@dataclass(frozen=True, slots=True)
class State:
    """What is held at a moment, as far as one needs to tell it from another."""

    version: int  # of the archive, as the database has it
    told: tuple[object, ...]  # what differs whenever what is asked for does


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of a search."""

    query: Query
    present: Callable[[Found], bytes]  # makes of a match what is sent of it
    of: Callable[[State], bool]  # whether anything is, in this state
    size: int | None  # matches of a page, after which those cut off are counted
    most: int  # bytes of all that is sent


@dataclass(frozen=True, slots=True)
class Page:
    """What was found in one go, and of what state it is."""

    state: State
    found: Sequence[bytes] | None  # None: that of this state was not wanted
    remaining: Remaining | None = None  # after a full page


class Pages:
    """Finds pages, mostly by one statement each."""

    def __init__(self, index: Index, stamp: Stamp) -> None:
        self._index = index
        self._stamp = stamp
        self._state = State(-1, ())  # as it was last read from the database

    def find(self, session: Session, wanted: Wanted) -> Page | None:
        """A page, all of it as it was at one moment; None if it is too long.

        The state that was read last is the state for as long as nobody has told of another
        one: that is mostly so, and takes no statement to find out.
        """
        state = self._state
        if state.version == self._stamp.read(ARCHIVE):
            page = _page(session, wanted, state)
            if state.version == self._stamp.read(ARCHIVE):
                return page
        session.stay()
        version = version_of(session, ARCHIVE)
        self._state = state = State(version, self._index.state(session, None, ()))
        return _page(session, wanted, state)


def _page(session: Session, wanted: Wanted, state: State) -> Page | None:
    if not wanted.of(state):
        return Page(state, None)
    search = Search(session, wanted.query)
    texts: list[bytes] = []
    remaining, size = None, 0
    for place, found in enumerate(search.matches(), 1):
        if place == wanted.size:
            remaining = search.remaining()
        text = wanted.present(found)
        size += len(text) + 1  # and what stands between them
        if size > wanted.most:
            return None
        texts.append(text)
    return Page(state, texts, remaining)
