"""What a search shows of a study, series or instance that it found (PS3.18 10.6.3).

Study and series attributes come with their children as PS3.18 table 10.6.3 and Orthanc
have it. All that is shown is in the columns of the match and its parents, except for what
somebody names that only headers hold.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from gateway.dicom.dictionary import vr_of
from gateway.dicom.hierarchy import Attributes, Level
from gateway.dicom.query import Query
from gateway.storage.conditions import COMPUTED, ONLINE
from gateway.storage.database import Row, Session
from gateway.storage.entries import inflate

_STUDY = "s.id, s.uid, s.attributes, s.modalities, s.series_count, s.instance_count"
_SERIES = "e.id, e.uid, e.attributes, e.instance_count"
_SERIES_COUNT = 9  # the place of that count in a row of a series or an instance
_INSTANCE = "i.id, i.uid, i.attributes, i.sop_class"

#: What is read of a match; the ids stand at these places.
COLUMNS = {
    Level.STUDY: _STUDY,
    Level.SERIES: f"{_STUDY}, {_SERIES}",
    Level.INSTANCE: f"{_STUDY}, {_SERIES}, {_INSTANCE}",
}
_PLACES_OF = {Level.STUDY: (2,), Level.SERIES: (2, 8), Level.INSTANCE: (2, 8, 12)}
_PLACES = {level: places[-1] for level, places in _PLACES_OF.items()}  # of attributes
_UID_PLACES = {Level.STUDY: (1,), Level.SERIES: (1, 7), Level.INSTANCE: (1, 7, 11)}
PLACE_OF_ID = {Level.STUDY: 0, Level.SERIES: 6, Level.INSTANCE: 10}

# Headers below a row.
_BELOW = {
    Level.STUDY: "SELECT h.json FROM series e JOIN instances i ON i.series = e.id"
    " JOIN headers h ON h.instance = i.id WHERE e.study = ?",
    Level.SERIES: "SELECT h.json FROM instances i JOIN headers h ON h.instance = i.id"
    " WHERE i.series = ?",
    Level.INSTANCE: "SELECT h.json FROM headers h WHERE h.instance = ?",
}
_SOP_CLASSES = (
    "SELECT DISTINCT i.sop_class FROM series e JOIN instances i ON i.series = e.id"
    " WHERE e.study = ? AND i.sop_class <> '' ORDER BY 1"
)

#: Shown of each row, empty when unknown (PS3.18 tables 10.6.3-3 to -5).
REQUIRED = {
    Level.STUDY: (
        *("00080020", "00080030", "00080050", "00080061", "00080090", "00100010"),
        *("00100020", "00100030", "00100040", "0020000D", "00200010", "00201206"),
        "00201208",
    ),
    Level.SERIES: ("00080060", "0020000E", "00200011", "00201209"),
    Level.INSTANCE: ("00080016", "00080018", "00200013"),
}
#: Shown of each row when there is a value.
KNOWN = {
    Level.STUDY: frozenset({"00080201"}),
    Level.SERIES: frozenset(
        {"00080201", "0008103E", "00400244", "00400245", "00400275"}
    ),
    Level.INSTANCE: frozenset(
        {"00080201", "00280008", "00280010", "00280011", "00280100"}
    ),
}

_UID_TAGS = {
    Level.STUDY: "0020000D",
    Level.SERIES: "0020000E",
    Level.INSTANCE: "00080018",
}
_CHARSET = {"vr": "CS", "Value": ["ISO_IR 192"]}
_REFERENCE = "BulkDataURI"


@dataclass(frozen=True, slots=True)
class Found:
    """One match: its address, and the attributes to show of it."""

    uids: tuple[str, ...]  # of the study, the series, the instance, as far as it goes
    attributes: Attributes  # in the order of tags, with a place for its address


def headers_below(session: Session, level: Level, row: Row) -> Iterator[Attributes]:
    """The headers of the instances of a match."""
    for (header,) in session.iterate(_BELOW[level], (row[PLACE_OF_ID[level]],)):
        yield orjson.loads(inflate(header))


class Shown:
    """Shows the matches of a query, one after the other."""

    def __init__(self, session: Session, query: Query) -> None:
        self._session = session
        self._query = query
        self._asked = query.shown()
        # Of what is named, nothing more needs to be shown of what has it.
        levels = [
            level
            for level in _PLACES
            if level < query.level and not query.names(_UID_TAGS[level])
        ]
        self._above = tuple(levels)
        self._form = _form((*levels, query.level), self._asked)
        self._parents: dict[int, Attributes] = {}

    def found(self, row: Row) -> Found:
        """A match, of which these are the columns."""
        level, query = self._query.level, self._query
        shown = dict(self._form)
        for above in self._above:
            shown |= self._parent(above, row)
        self._fill(shown, level, row)
        if level is not Level.SERIES:
            shown |= ONLINE
        shown["00080005"] = _CHARSET
        uids = tuple([row[place] for place in _UID_PLACES[level]])
        for tag, uid in zip(_UID_TAGS.values(), uids, strict=False):
            shown[tag] = {"vr": "UI", "Value": [uid]}
        missing = [tag for tag in self._asked if shown.get(tag) is None]
        looks_below = bool(missing) or (query.include_all and level is Level.INSTANCE)
        refers = any(_REFERENCE in row[place] for place in _PLACES_OF[level])
        if None in shown.values():
            shown = {tag: one for tag, one in shown.items() if one is not None}
        if looks_below:
            self._include(row, frozenset(missing), shown)
        if refers or looks_below:
            shown = _without_references(shown)
        if query.include_all or looks_below:
            shown = dict(sorted(shown.items()))
        return Found(uids, shown)

    def _parent(self, level: Level, row: Row) -> Attributes:
        """What is shown of a study or a series along with what is in it."""
        key = row[0] if level is Level.STUDY else -row[6]
        if key not in self._parents:
            shown: Attributes = {}
            self._fill(shown, level, row)
            if level is Level.STUDY:
                self._parents.clear()  # their series come one after the other
            self._parents[key] = shown
        return self._parents[key]

    def _fill(self, shown: Attributes, level: Level, row: Row) -> None:
        """Show what the columns of a level hold."""
        held = orjson.loads(row[_PLACES[level]])
        if self._query.include_all:
            shown |= held
        else:
            form = self._form
            for tag, element in held.items():
                if tag in form:
                    shown[tag] = element
        if level is Level.STUDY:
            shown |= _counted(row)
        elif level is Level.SERIES:
            shown["00201209"] = _element("IS", [row[_SERIES_COUNT]])
        elif row[13]:
            shown["00080016"] = _element("UI", [row[13]])

    def _include(self, row: Row, missing: frozenset[str], shown: Attributes) -> None:
        """Show what the rows do not hold: from the header of the first instance."""
        if missing & COMPUTED:
            shown |= self._computed(row, missing)
            missing = missing.difference(shown)
        header = next(headers_below(self._session, self._query.level, row), {})
        if self._query.include_all and self._query.level is Level.INSTANCE:
            whole = {k: e for k, e in header.items() if _REFERENCE not in e}
            shown |= {**whole, **shown}
        for tag in missing.difference(shown):
            shown[tag] = header.get(tag, {"vr": vr_of(tag)})

    def _computed(self, row: Row, tags: frozenset[str]) -> Attributes:
        """Those of the tags that no header holds."""
        known = _counted(row) | ONLINE
        if len(row) > _SERIES_COUNT:
            known["00201209"] = _element("IS", [row[_SERIES_COUNT]])
        if "00080062" in tags:
            classes = [r[0] for r in self._session.fetch(_SOP_CLASSES, (row[0],))]
            known["00080062"] = _element("UI", classes)
        return {tag: known[tag] for tag in tags if tag in known}


@lru_cache(256)
def _form(levels: tuple[Level, ...], asked: frozenset[str]) -> dict[str, Any]:
    """What is shown of each match of these levels, in the order of the tags.

    It is empty until it is known, and None where it is left out as long as it is not.
    """
    own = levels[-1]
    tags = {*asked, "00080005", "00080056", "00081190"}.union(
        *(KNOWN[level] for level in levels)
    )
    form: dict[str, Any] = dict.fromkeys(tags)
    for level in levels:
        form |= {tag: {"vr": vr_of(tag)} for tag in REQUIRED[level]}
    form |= {tag: {"vr": "UI"} for level, tag in _UID_TAGS.items() if level <= own}
    form["00081190"] = {"vr": "UR"}
    return dict(sorted(form.items()))


def _element(vr: str, values: list[Any]) -> dict[str, Any]:
    return {"vr": vr, "Value": values} if values else {"vr": vr}


def _counted(row: Row) -> Attributes:
    """What a study's row counts of its children."""
    return {
        "00080061": _element("CS", row[3].split("\\") if row[3] else []),
        "00201206": _element("IS", [row[4]]),
        "00201208": _element("IS", [row[5]]),
    }


def _without_references(attributes: Attributes) -> Attributes:
    """The attributes with nothing where a value stayed in its file.

    A search shows values; the way to those that are not in its answer is metadata.
    """
    return {tag: _without_reference(element) for tag, element in attributes.items()}


def _without_reference(element: dict[str, Any]) -> dict[str, Any]:
    if _REFERENCE in element:
        return {"vr": element["vr"]}
    if element["vr"] == "SQ" and "Value" in element:
        return {"vr": "SQ", "Value": list(map(_without_references, element["Value"]))}
    return element
