"""Finding studies, series and instances (PS3.18 10.6).

One walk over rows in a fixed order. Conditions that the index has columns for narrow it;
filters on any other attribute are checked on stored headers, and are satisfied by any
instance below. Of a page, what is found first is which ones are on it, without reading
more of each than is compared; whole rows are read of these alone.
"""

import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.dicom.filters import Filter, Universal
from gateway.dicom.hierarchy import Attributes, Level, tags_of
from gateway.dicom.matching import matcher
from gateway.dicom.query import Query
from gateway.storage import blocks
from gateway.storage.conditions import (
    ALIASES,
    COMPUTED,
    Condition,
    order_by,
    say,
)
from gateway.storage.database import Row, Session
from gateway.storage.shown import COLUMNS, Found, Shown, headers_below

__all__ = ["Found", "Remaining", "Search", "matching"]

# Where conditions at some level lead to few rows, these are the beginning; where none do,
# one walks in the order of arrival, over an index that holds all that is compared, and may
# stop early. The engine guesses badly which it is: it is told (CROSS JOIN).
_LED = {
    (Level.STUDY, Level.STUDY): "studies s",
    (Level.SERIES, Level.STUDY): "studies s CROSS JOIN series e ON e.study = s.id",
    (Level.SERIES, Level.SERIES): "series e CROSS JOIN studies s ON s.id = e.study",
    (Level.INSTANCE, Level.STUDY): "studies s CROSS JOIN series e ON e.study = s.id"
    " CROSS JOIN instances i ON i.series = e.id",
    (Level.INSTANCE, Level.SERIES): "series e CROSS JOIN studies s ON s.id = e.study"
    " CROSS JOIN instances i ON i.series = e.id",
    (Level.INSTANCE, Level.INSTANCE): "instances i CROSS JOIN series e"
    " ON e.id = i.series CROSS JOIN studies s ON s.id = e.study",
}
_TABLES = {
    Level.STUDY: "studies s",
    Level.SERIES: "series e JOIN studies s ON s.id = e.study",
    Level.INSTANCE: "instances i JOIN series e ON e.id = i.series"
    " JOIN studies s ON s.id = e.study",
}
_OWN = {
    Level.STUDY: "studies s INDEXED BY studies_keys",
    Level.SERIES: "series e INDEXED BY series_keys",
    Level.INSTANCE: "instances i NOT INDEXED",
}
_WALK = {
    Level.STUDY: _OWN[Level.STUDY],
    Level.SERIES: f"{_OWN[Level.SERIES]} CROSS JOIN studies s ON s.id = e.study",
    Level.INSTANCE: f"{_OWN[Level.INSTANCE]} CROSS JOIN series e ON e.id = i.series"
    " CROSS JOIN studies s ON s.id = e.study",
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

#: So many series, or instances, are better sought out than met on the way to a study, a
#: series, an instance: below them hang the more that have to be put in order.
RARE = {Level.STUDY: 5000, Level.SERIES: 2000, Level.INSTANCE: 1500}

# A page is one list of ids up to this length.
_LONGEST_PAGE = 2000

_ABOVE = {
    Level.STUDY: (),
    Level.SERIES: (Level.STUDY,),
    Level.INSTANCE: (Level.STUDY, Level.SERIES),
}

#: Matches beyond a page are counted up to this many,
MOST_COUNTED = 1_000

#: and for so many seconds, where headers have to be looked at.
COUNTING_TIME = 0.1


@dataclass(frozen=True, slots=True)
class Remaining:
    """How many matches there are after those of a page."""

    count: int
    complete: bool  # whether these are all, as far as anybody looked


def matching(
    session: Session, query: Query, more: Sequence[Condition], order: str
) -> Iterator[Row]:
    """The rows of the matches that meet more conditions, in another order if named.

    They begin with the id of the study, at 6 and 10 are those of series and instance.
    """
    yield from Search(session, query, more, order).rows()


class Search:
    """One search, in a session. All of it is for a thread, making one included."""

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
        if query.order:
            order = order or order_by(query.order, query.level)
        # In the order of an index, of which conditions may only choose a part.
        named = {one.tag for one in query.order}
        self._along = bool(order) and all(f.path[0] in named for f in query.filters)
        # Pages follow the order of arrival, so that what comes in meanwhile comes last.
        self._paged = query.limit is not None or query.offset > 0
        within = 0 if self._paged else len(query.within)
        self._order = f" ORDER BY {order or _ORDER[query.level, within]}"
        self._conditions: dict[Level, list[Condition]] = {}
        self._unsaid: list[Filter] = []
        self._after_page: int | None = None  # matches, once the page is found
        self._tested: Iterator[tuple[Row, bool]] = iter(())  # rows behind the page
        for filter_ in query.filters:
            self._sort(filter_)

    def _sort(self, filter_: Filter) -> None:
        if isinstance(filter_.match, Universal):
            return
        query = self._query
        said = say(filter_, query.case_sensitive, query.case_sensitive_names)
        if said is not None:
            self._conditions.setdefault(said[0], []).append(said[1])
            self._seek(said[1])
        if said is None or not said[1].exact:
            self._unsaid.append(filter_)

    def _seek(self, condition: Condition) -> None:
        """Let a condition be where to begin, if an index tells that few rows meet it."""
        if condition.narrow or not condition.counted:
            return
        sql = f"SELECT 1 FROM {condition.counted} LIMIT 1 OFFSET ?"
        parameters = [*condition.parameters, RARE[self._query.level]]
        if self._session.first(sql, parameters) is None:
            condition.narrow, condition.sql = True, condition.sought

    def matches(self) -> Iterator[Found]:
        """What is shown of the matches, in their order, within limit and offset."""
        # With a page come the ids of those behind it: they have not to be found again.
        rows = self.rows(spare=MOST_COUNTED + 1)
        return map(Shown(self._session, self._query).found, rows)

    def rows(self, spare: int = 0) -> Iterator[Row]:
        """The rows of the matches; so many more are looked for, to be counted."""
        if self._unsaid or not self._paged:
            return self._whole_rows()
        limit = self._query.limit
        if limit is None or limit > _LONGEST_PAGE:
            return self._rows_among(*self._ids(-1 if limit is None else limit))
        sql, parameters = self._ids(limit + spare)
        ids = [row[0] for row in self._session.fetch(sql, parameters)]
        self._after_page = max(len(ids) - limit, 0) if spare else None
        listed = orjson.dumps(ids[:limit]).decode()
        return self._rows_among("SELECT value FROM json_each(?)", [listed])

    def _whole_rows(self) -> Iterator[Row]:
        query = self._query
        source, parameters = self._source(whole=True)
        sql = f"SELECT {COLUMNS[query.level]} FROM {source}{self._order}"
        rows = self._session.iterate(sql, parameters)
        if self._unsaid:
            passes = self._checks()
            self._tested = ((row, passes(row)) for row in rows)
            rows = (row for row, passed in self._tested if passed)
        stop = None if query.limit is None else query.offset + query.limit
        if stop is not None and stop > sys.maxsize:
            stop = None
        return itertools.islice(rows, query.offset, stop)

    def _ids(self, limit: int) -> tuple[str, list[Any]]:
        source, parameters, offset = self._after(self._query.offset)
        own = ALIASES[self._query.level]
        sql = f"SELECT {own}.id FROM {source}{self._order} LIMIT ? OFFSET ?"
        return sql, [*parameters, limit, offset]

    def _rows_among(self, ids: str, parameters: list[Any]) -> Iterator[Row]:
        level = self._query.level
        among = f"WHERE {ALIASES[level]}.id IN ({ids})"
        sql = f"SELECT {COLUMNS[level]} FROM {_LED[level, level]} {among}{self._order}"
        return self._session.iterate(sql, parameters)

    def remaining(self) -> Remaining:
        """How many matches the limit cut off, counted for a moment only.

        To be asked when the matches were taken, or so many that nobody takes more at once.
        """
        start = self._query.offset + (self._query.limit or 0)
        if start > sys.maxsize:
            return Remaining(0, complete=True)
        if self._unsaid:
            return self._passing_after(start)
        count = self._after_page
        if count is None:
            source, parameters, start = self._after(start)
            sql = f"SELECT COUNT(*) FROM (SELECT 1 FROM {source} LIMIT ? OFFSET ?)"
            row = self._session.first(sql, [*parameters, MOST_COUNTED + 1, start])
            count = row[0] if row else 0
        return Remaining(min(count, MOST_COUNTED), complete=count <= MOST_COUNTED)

    def _passing_after(self, start: int) -> Remaining:
        """Count what passes the checks, as far as one gets in a short time."""
        limit = self._query.limit or 0
        if limit > _LONGEST_PAGE:
            self._whole_rows()  # from the start: the page is still being read
        else:
            start = 0  # the page has been read to its end
        until = time.monotonic() + COUNTING_TIME
        found = 0
        for _, passed in self._tested:
            if found > start + MOST_COUNTED or time.monotonic() > until:
                break
            found += passed
        else:
            return Remaining(max(found - start, 0), complete=True)
        return Remaining(min(max(found - start, 0), MOST_COUNTED), complete=False)

    # -- which rows ------------------------------------------------------------------

    def _after(self, offset: int) -> tuple[str, list[Any], int]:
        """The tables and conditions of which to pass over so many rows."""
        source, parameters = self._source(whole=False)
        if source != _OWN[Level.INSTANCE]:
            return source, parameters, offset
        first, offset = blocks.place(self._session, offset)
        return f"{source} WHERE i.id >= ?", [first], offset

    def _source(self, *, whole: bool) -> tuple[str, list[Any]]:
        """The tables, and the conditions that rows of them meet, with parameters.

        The tables above are among them where something is asked of these, where the
        order is theirs, or if the `whole` rows are wanted.
        """
        level = self._query.level
        above: list[Condition] = []
        leading = None
        for own in _ABOVE[level]:
            there = [*self._conditions.get(own, ()), *self._within(own)]
            above += there
            if _is_narrow(there):
                leading = own
        here = [
            *self._conditions.get(level, ()),
            *(self._below() if self._conditions else ()),
            *self._within(level),
        ]
        if _is_narrow(here):
            leading = level
        said = [*above, *here, *self._more]
        if leading is not None:
            tables = _LED[level, leading]
        elif self._more or self._along:
            tables = _TABLES[level]
        else:
            whole = whole or any(
                f" {ALIASES[own]}." in self._order for own in _ABOVE[level]
            )
            if level is Level.SERIES and above and not whole:
                tables, said = _OWN[level], [_of_studies(above), *here]
            else:
                tables = _WALK[level] if above or whole else _OWN[level]
        if not said:
            return tables, []
        where = _all_of(said)
        return f"{tables} WHERE {where.sql}", where.parameters

    def _within(self, level: Level) -> list[Condition]:
        """What a part of the address names at a level."""
        place = level - Level.STUDY
        if place >= len(self._query.within):
            return []
        column, uid = f"{ALIASES[level]}.uid", self._query.within[place]
        return [Condition(f"{column} = ?", [uid], narrow=True)]

    def _below(self) -> Iterator[Condition]:
        """Conditions on series and instances below: some child satisfies them all."""
        level = self._query.level
        series = self._conditions.get(Level.SERIES, ()) if level < Level.SERIES else ()
        instance = (
            self._conditions.get(Level.INSTANCE, ()) if level < Level.INSTANCE else ()
        )
        said = [*series, *instance]
        if not said:
            return
        own, parent, tables = "s.id", "e.study", "series e"
        if level is Level.SERIES:
            own, parent, tables = "e.id", "i.series", "instances i"
        elif instance:
            tables = "series e JOIN instances i ON i.series = e.id"
        where = _all_of(said)
        if _is_narrow(said):
            sql = f"{own} IN (SELECT {parent} FROM {tables} WHERE {where.sql})"
            yield Condition(sql, where.parameters, narrow=True)
        else:
            tables = tables.replace("JOIN", "CROSS JOIN")  # from the parent down
            sql = f"SELECT 1 FROM {tables} WHERE {parent} = {own} AND {where.sql}"
            yield Condition(f"EXISTS ({sql})", where.parameters)

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
        session = self._session

        def passes(row: Row) -> bool:
            return own_test(_held(row)) and (
                not deep or any(map(deep_test, headers_below(session, level, row)))
            )

        return passes

    def _is_below(self, filter_: Filter, own_tags: frozenset[str]) -> bool:
        tag = filter_.path[0]
        return tag not in own_tags and tag not in COMPUTED


def _held(row: Row) -> Attributes:
    """All attributes that the rows of the match and its parents hold."""
    held: Attributes = orjson.loads(row[2])
    for place in (8, 12):
        if place < len(row):
            held |= orjson.loads(row[place])
    return held


def _is_narrow(said: Sequence[Condition]) -> bool:
    return any(condition.narrow for condition in said)


def _all_of(said: Sequence[Condition]) -> Condition:
    if len(said) == 1:
        return said[0]
    where = " AND ".join([condition.sql for condition in said])
    return Condition(where, [p for condition in said for p in condition.parameters])


def _of_studies(said: Sequence[Condition]) -> Condition:
    """Conditions on studies, for series alone: first which studies they are."""
    where = _all_of(said)
    studies = f"SELECT s.id FROM {_OWN[Level.STUDY]} WHERE {where.sql}"
    return Condition(f"e.study IN ({studies})", where.parameters)
