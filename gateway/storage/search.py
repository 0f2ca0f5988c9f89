"""Finding studies, series and instances, and what a search shows of each (PS3.18 10.6).

One walk over rows in a fixed order. Conditions that the index has columns for narrow it;
filters on any other attribute are checked on stored headers, and are satisfied by any
instance below. Study and series attributes come with their children as PS3.18 table
10.6.3 and Orthanc have it.
"""

import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.dicom.dictionary import vr_of
from gateway.dicom.filters import Filter, Universal
from gateway.dicom.hierarchy import Attributes, Level, tags_of
from gateway.dicom.matching import matcher
from gateway.dicom.query import Query
from gateway.storage.conditions import (
    COMPUTED,
    ONLINE,
    Condition,
    order_by,
    say,
)
from gateway.storage.database import Row, Session
from gateway.storage.entries import inflate

_STUDY = "s.id, s.uid, s.attributes, s.modalities, s.series_count, s.instance_count"
_SERIES = "e.id, e.uid, e.attributes, e.instance_count"
_SERIES_COUNT = 9  # the place of that count in a row of a series or an instance
_INSTANCE = "i.id, i.uid, i.attributes, i.sop_class"

_SELECT = {
    Level.STUDY: f"SELECT {_STUDY} FROM studies s",
    Level.SERIES: f"SELECT {_STUDY}, {_SERIES} FROM series e"
    " JOIN studies s ON s.id = e.study",
    Level.INSTANCE: f"SELECT {_STUDY}, {_SERIES}, {_INSTANCE} FROM instances i"
    " JOIN series e ON e.id = i.series JOIN studies s ON s.id = e.study",
}

# Within a study the numbers that people gave; across studies the order of arrival, so
# that what comes in while somebody pages comes last. The id makes either unique.
_ORDER = {
    (Level.STUDY, 0): "s.id",
    (Level.SERIES, 0): "e.id",
    (Level.SERIES, 1): "s.id, e.number, e.id",
    (Level.INSTANCE, 0): "i.id",
    (Level.INSTANCE, 1): "s.id, e.number, e.id, i.number, i.id",
    (Level.INSTANCE, 2): "s.id, e.id, i.number, i.id",
}

#: Headers below a row, to check filters on attributes that have no column.
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


#: Matches beyond a page are counted up to this many,
MOST_COUNTED = 10_000

#: and for so many seconds, where headers have to be looked at.
COUNTING_TIME = 0.5


@dataclass(frozen=True, slots=True)
class Found:
    """One match: its address, and the attributes to show of it."""

    uids: tuple[str, ...]  # of the study, the series, the instance, as far as it goes
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Remaining:
    """How many matches there are after those of a page."""

    count: int
    complete: bool  # whether these are all, as far as anybody looked


def find(session: Session, query: Query) -> Iterator[Found]:
    """The matches of the query, in their order, within its limit and offset."""
    search = _Search(session, query, order=order_by(query.order, query.level))
    return search.matches()


def matching(
    session: Session, query: Query, more: Sequence[Condition], order: str
) -> Iterator[Row]:
    """The rows of the matches that meet more conditions, in another order if named.

    They begin with the id of the study, at 6 and 10 are those of series and instance.
    """
    return _Search(session, query, more, order).rows()


def remaining(session: Session, query: Query) -> Remaining:
    """How many matches the limit of the query cut off, counted for a moment only."""
    return _Search(session, query).remaining()


class _Search:
    def __init__(
        self,
        session: Session,
        query: Query,
        more: Sequence[Condition] = (),
        order: str = "",
    ) -> None:
        self._session = session
        self._query = query
        self._more = more
        self._order = order
        self._conditions: dict[Level, list[Condition]] = {level: [] for level in Level}
        self._unsaid: list[Filter] = []
        for filter_ in query.filters:
            self._sort(filter_)
        self._shown = query.shown()
        self._parents: dict[int, Attributes] = {}

    def _sort(self, filter_: Filter) -> None:
        if isinstance(filter_.match, Universal):
            return
        query = self._query
        said = say(filter_, query.case_sensitive, query.case_sensitive_names)
        if said is not None:
            self._conditions[said[0]].append(said[1])
        if said is None or not said[1].exact:
            self._unsaid.append(filter_)

    def matches(self) -> Iterator[Found]:
        return map(self._found, self.rows())

    def rows(self) -> Iterator[Row]:
        query = self._query
        sql, parameters = self._statement()
        stop = None if query.limit is None else query.offset + query.limit
        if stop is not None and stop > sys.maxsize:
            stop = None
        if not self._unsaid:
            limit = -1 if query.limit is None else query.limit
            sql += " LIMIT ? OFFSET ?"
            return self._session.iterate(sql, [*parameters, limit, query.offset])
        rows = self._session.iterate(sql, parameters)
        passing = filter(self._checks(), rows)
        return itertools.islice(passing, query.offset, stop)

    def remaining(self) -> Remaining:
        start = self._query.offset + (self._query.limit or 0)
        if start > sys.maxsize:
            return Remaining(0, complete=True)
        sql, parameters = self._statement()
        if not self._unsaid:
            _, _, conditions = sql.partition(" FROM ")
            sql = f"SELECT COUNT(*) FROM (SELECT 1 FROM {conditions} LIMIT ? OFFSET ?)"
            row = self._session.first(sql, [*parameters, MOST_COUNTED + 1, start])
            count = row[0] if row else 0
            return Remaining(min(count, MOST_COUNTED), complete=count <= MOST_COUNTED)
        return self._passing_after(start, self._session.iterate(sql, parameters))

    def _passing_after(self, start: int, rows: Iterator[Row]) -> Remaining:
        """Count what passes the checks, as far as one gets in a short time."""
        passes = self._checks()
        until = time.monotonic() + COUNTING_TIME
        found = 0
        for row in rows:
            found += passes(row)
            if found > start + MOST_COUNTED or time.monotonic() > until:
                break
        else:
            return Remaining(max(found - start, 0), complete=True)
        return Remaining(min(max(found - start, 0), MOST_COUNTED), complete=False)

    # -- which rows ------------------------------------------------------------------

    def _statement(self) -> tuple[str, list[Any]]:
        level = self._query.level
        said = [Condition("1"), *self._more]
        for column, uid in zip(("s.uid", "e.uid"), self._query.within, strict=False):
            said.append(Condition(f"{column} = ?", [uid]))
        for own in Level:
            if own <= level:
                said += self._conditions[own]
        below = self._below()
        if below:
            said.append(below)
        where = " AND ".join(condition.sql for condition in said)
        # Pages follow the order of arrival, so that what comes in meanwhile comes last.
        paged = self._query.limit is not None or self._query.offset
        order = self._order or _ORDER[level, 0 if paged else len(self._query.within)]
        parameters = [p for condition in said for p in condition.parameters]
        return f"{_SELECT[level]} WHERE {where} ORDER BY {order}", parameters

    def _below(self) -> Condition | None:
        """Conditions on series and instances below: some child satisfies them all."""
        level = self._query.level
        series = self._conditions[Level.SERIES] if level < Level.SERIES else []
        instance = self._conditions[Level.INSTANCE] if level < Level.INSTANCE else []
        said = series + instance
        if not said:
            return None
        where = " AND ".join(condition.sql for condition in said)
        parameters = [p for condition in said for p in condition.parameters]
        if level is Level.SERIES:
            tables, link = "instances i", "i.series = e.id"
        elif instance:
            tables = "series e JOIN instances i ON i.series = e.id"
            link = "e.study = s.id"
        else:
            tables, link = "series e", "e.study = s.id"
        return Condition(
            f"EXISTS (SELECT 1 FROM {tables} WHERE {link} AND {where})", parameters
        )

    # -- what SQL could not say --------------------------------------------------------

    def _checks(self) -> Callable[[Row], bool]:
        level, query = self._query.level, self._query
        own_tags = frozenset().union(*(tags_of(own) for own in Level if own <= level))
        own = tuple(f for f in self._unsaid if f.path[0] in own_tags)
        deep = tuple(f for f in self._unsaid if f.path[0] not in own_tags)
        if deep:
            # One and the same child must be all that is asked of children.
            deep = tuple(f for f in query.filters if self._is_below(f, own_tags))
        sensitive = query.case_sensitive, query.case_sensitive_names
        own_test = matcher(own, *sensitive)
        deep_test = matcher(deep, *sensitive)

        def passes(row: Row) -> bool:
            return own_test(self._held(row)) and (
                not deep or any(map(deep_test, self._headers_below(row)))
            )

        return passes

    def _is_below(self, filter_: Filter, own_tags: frozenset[str]) -> bool:
        tag = filter_.path[0]
        return tag not in own_tags and tag not in COMPUTED

    def _headers_below(self, row: Row) -> Iterator[Attributes]:
        level = self._query.level
        number = row[{Level.STUDY: 0, Level.SERIES: 6, Level.INSTANCE: 10}[level]]
        for (header,) in self._session.iterate(_BELOW[level], (number,)):
            yield orjson.loads(inflate(header))

    def _held(self, row: Row) -> Attributes:
        """All attributes that the rows of the match and its parents hold."""
        held = orjson.loads(row[2])
        for place in (8, 12):
            if place < len(row):
                held |= orjson.loads(row[place])
        attributes: Attributes = held
        return attributes

    # -- what is shown ---------------------------------------------------------------

    def _found(self, row: Row) -> Found:
        level, query = self._query.level, self._query
        uids = tuple(row[place] for place in (1, 7, 11) if place < len(row))
        shown: Attributes = {}
        if level is Level.STUDY or not query.names("0020000D"):
            shown |= self._study(row, own=level is Level.STUDY)
        if level is Level.SERIES or (
            level is Level.INSTANCE and not query.names("0020000E")
        ):
            shown |= self._series(row, own=level is Level.SERIES)
        if level is Level.INSTANCE:
            shown |= self._instance(row)
        shown["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}
        for tag, uid in zip(("0020000D", "0020000E", "00080018"), uids, strict=False):
            shown[tag] = {"vr": "UI", "Value": [uid]}
        missing = self._shown.difference(shown)
        if missing or (query.include_all and level is Level.INSTANCE):
            self._include(row, missing, shown)
        return Found(uids, _without_references(dict(sorted(shown.items()))))

    def _study(self, row: Row, *, own: bool) -> Attributes:
        if not own and row[0] in self._parents:
            return self._parents[row[0]]
        shown = self._select(orjson.loads(row[2]), Level.STUDY)
        shown |= _counted(row)
        if own:
            shown |= ONLINE
        else:
            self._parents = {row[0]: shown}
        return shown

    def _series(self, row: Row, *, own: bool) -> Attributes:
        key = -row[6]  # beside the studies, whose keys are positive
        if not own and key in self._parents:
            return self._parents[key]
        shown = self._select(orjson.loads(row[8]), Level.SERIES)
        shown["00201209"] = _element("IS", [row[_SERIES_COUNT]])
        if not own:
            self._parents[key] = shown
        return shown

    def _instance(self, row: Row) -> Attributes:
        shown = self._select(orjson.loads(row[12]), Level.INSTANCE)
        shown |= ONLINE
        if row[13]:
            shown["00080016"] = _element("UI", [row[13]])
        return shown

    def _select(self, held: Attributes, level: Level) -> Attributes:
        if self._query.include_all:
            shown = dict(held)
        else:
            wanted = self._shown | KNOWN[level]
            shown = {tag: held[tag] for tag in held if tag in wanted}
        for tag in REQUIRED[level]:
            shown[tag] = held.get(tag) or {"vr": vr_of(tag)}
        return shown

    def _include(self, row: Row, missing: frozenset[str], shown: Attributes) -> None:
        """Show what the rows do not hold: from the header of the first instance."""
        if missing & COMPUTED:
            shown |= self._computed(row, missing)
            missing = missing.difference(shown)
        header = next(self._headers_below(row), {})
        if self._query.include_all and self._query.level is Level.INSTANCE:
            whole = {k: e for k, e in header.items() if "BulkDataURI" not in e}
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
    if "BulkDataURI" in element:
        return {"vr": element["vr"]}
    if element["vr"] == "SQ" and "Value" in element:
        return {"vr": "SQ", "Value": list(map(_without_references, element["Value"]))}
    return element
