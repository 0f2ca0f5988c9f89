"""Filters of a search as conditions of SQL.

Only what the index has a column for is said in SQL; the rest is told back, to be checked
on stored headers. A condition never loses a match: where SQL cannot be exact it finds too
much, and the filter is checked as well.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.dicom.filters import (
    AllOf,
    Between,
    Empty,
    Exact,
    Filter,
    Fuzzy,
    Universal,
    Wildcard,
)
from gateway.dicom.fuzzy import pieces
from gateway.dicom.hierarchy import Attributes, Level
from gateway.dicom.matching import matches
from gateway.dicom.normal_forms import (
    earliest,
    latest,
    normalise_name,
    normalise_number,
    normalise_text,
)
from gateway.dicom.query import Sorting
from gateway.errors import BadRequest
from gateway.storage import name_groups

#: More patterns or ranges than this are a list for the headers, not for SQL: an engine
#: bounds the terms of an expression.
_MOST_TERMS = 100

#: Words of a fuzzy name that SQL looks for; the check of each name looks for all.
_MOST_WORDS = 8


@dataclass(slots=True)
class Condition:
    """A piece of SQL with its parameters."""

    sql: str
    parameters: list[Any] = field(default_factory=list)
    exact: bool = True  # the filter needs no further check
    narrow: bool = False  # few rows meet it, and an index leads to them
    # Rows of which an index tells how many there are: a table with its conditions. Where
    # they are few, what is `sought` leads to them.
    counted: str = ""
    sought: str = ""


#: Columns in which equal values are few, and indexed.
_NARROW = frozenset(
    {"s.uid", "s.patient_id_key", "s.accession_key", "s.study_id_key", "s.birth_date"}
    | {"s.study_date", "e.uid", "e.step_date", "i.uid"}
)

#: Columns in which they may be few or many, with an index, and the tables of these.
_UNEVEN = {
    "e.modality_key": "series e",
    "e.description_key": "series e",
    "i.sop_class": "instances i",
}

_Say = Callable[[str, Filter], Condition | None]

#: InstanceAvailability (0008,0056) of all that is held.
ONLINE: Attributes = {"00080056": {"vr": "CS", "Value": ["ONLINE"]}}


def _any_of(column: str, values: list[Any]) -> Condition:
    marks = ", ".join("?" * len(values))
    return Condition(f"{column} IN ({marks})" if values else "0", values)


def _equal(column: str, values: list[Any]) -> Condition:
    condition = _any_of(column, values)
    condition.narrow = column in _NARROW
    if column in _UNEVEN:
        condition.counted = f"{_UNEVEN[column]} WHERE {condition.sql}"
        condition.sought = condition.sql
    return condition


def _is_empty(column: str, *, exact: bool = True) -> Condition:
    return Condition(f"({column} IS NULL OR {column} = '')", exact=exact)


def _glob(pattern: str) -> str:
    """A wildcard pattern of DICOM's in SQLite's words; only [ means more there."""
    return pattern.replace("[", "[[]")


def _any_glob(column: str, patterns: Sequence[str]) -> Condition:
    sql = " OR ".join([f"{column} GLOB ?"] * len(patterns))
    return Condition(f"({sql})", [_glob(pattern) for pattern in patterns])


def _have_prefixes(patterns: Sequence[str]) -> bool:
    """Whether an index leads to what these match: they begin with plain characters."""
    return not any(pattern.startswith(("*", "?")) for pattern in patterns)


def _uid(column: str, filter_: Filter) -> Condition | None:
    match filter_.match:
        case Exact(values):
            return _equal(column, list(values))
        case Empty():
            return _is_empty(column)
        case _:
            return None


def _text(column: str, filter_: Filter) -> Condition | None:
    match filter_.match:
        case Exact(values):
            return _equal(column, [normalise_text(value) for value in values])
        case Wildcard(patterns):
            patterns = tuple(normalise_text(pattern) for pattern in patterns)
            condition = _any_glob(column, patterns)
            condition.narrow = column in _NARROW and _have_prefixes(patterns)
            return condition
        case Empty():
            return _is_empty(column)
        case _:
            return None


def _name(column: str, filter_: Filter) -> Condition | None:
    match filter_.match:
        case Exact(values) | Wildcard(values):
            if any("=" in value for value in values):
                return None
            names = [normalise_name(value) for value in values]
        case Empty():
            return _is_empty(column)
        case Fuzzy():
            return _fuzzy(column, filter_)
        case _:
            return None
    compared = _any_of if isinstance(filter_.match, Exact) else _any_glob
    own, other = compared(column, names), compared("g.key", names)
    groups = (
        "SELECT g.study FROM name_groups g WHERE"
        f" g.kind = {name_groups.KINDS[column.partition('.')[2]]} AND {other.sql}"
    )
    if compared is _any_of or _have_prefixes(names):
        alone = (
            f"SELECT s.id FROM studies s WHERE {own.sql} AND NOT instr({column}, '=')"
        )
        sql = f"s.id IN ({alone} UNION ALL {groups})"
        return Condition(sql, own.parameters + other.parameters, narrow=True)
    sql = (
        f"CASE WHEN instr({column}, '=') THEN EXISTS ({groups} AND g.study = s.id)"
        f" ELSE {own.sql} END"
    )
    return Condition(sql, other.parameters + own.parameters)


def _fuzzy(column: str, filter_: Filter) -> Condition | None:
    """Names that may be like the one that is wanted: those that have parts of it.

    Of names with other than plain letters, each may be.
    """
    if not isinstance(filter_.match, Fuzzy):
        return None
    literal = _name(column, replace(filter_, match=filter_.match.literal))
    if literal is None:
        return None
    said, parameters = ["1"], list(literal.parameters)
    for word in filter_.match.words[:_MOST_WORDS]:
        if "*" in word or "?" in word:
            continue
        found = [f"*{_glob(piece)}*" for piece in pieces(word)]
        forms = " OR ".join([f"{column} GLOB ?"] * len(found))
        said.append(f"({forms} OR {column} GLOB '*[^ -~]*')")
        parameters += found
    sql = f"({literal.sql} OR ({column} IS NOT NULL AND {' AND '.join(said)}))"
    return Condition(sql, parameters, exact=False)


def _moment(column: str, filter_: Filter) -> Condition | None:
    match filter_.match:
        case Between(low, high):
            bounds = [(low, high)]
        case Exact(values):
            vr = filter_.vr
            bounds = [(earliest(vr, value), latest(vr, value)) for value in values]
        case Empty():
            return _is_empty(column, exact=False)  # what is no date has no place here
        case _:
            return None
    if all(low == high for low, high in bounds):
        return _equal(column, [low for low, _ in bounds])
    parts, parameters = [], []
    for low, high in bounds:
        said = [f"{column} IS NOT NULL"]
        if low is not None:
            said.append(f"{column} >= ?")
            parameters.append(low)
        if high is not None:
            said.append(f"{column} <= ?")
            parameters.append(high)
        parts.append(f"({' AND '.join(said)})")
    return Condition(f"({' OR '.join(parts)})", parameters)


def _number(column: str, filter_: Filter) -> Condition | None:
    match filter_.match:
        case Exact(values):
            numbers = [normalise_number(value) for value in values]
            whole = [int(n) for n in numbers if n is not None and n == int(n)]
            return _any_of(column, [n for n in whole if abs(n) < 2**63])
        case Empty():
            return Condition(f"{column} IS NULL", exact=False)
        case _:
            return None


def _modalities(column: str, filter_: Filter) -> Condition | None:
    """ModalitiesInStudy: of all series of the study, at whatever level one searches."""
    of_series = "EXISTS (SELECT 1 FROM series m WHERE m.study = s.id AND {})"
    if isinstance(filter_.match, AllOf):
        texts = [normalise_text(value) for value in filter_.match.values]
        sql = " AND ".join([of_series.format("m.modality_key = ?")] * len(texts))
        return Condition(f"({sql})", list(texts))
    if isinstance(filter_.match, Empty):
        return _is_empty("s.modalities")
    said = _text("m.modality_key", filter_)
    if said is None:
        return None
    counted = f"series m WHERE {said.sql}"
    return Condition(
        of_series.format(said.sql),
        said.parameters,
        counted=counted if isinstance(filter_.match, Exact) else "",
        sought=f"s.id IN (SELECT m.study FROM {counted})",
    )


def _sop_classes(column: str, filter_: Filter) -> Condition | None:
    """SOPClassesInStudy, of all instances of the study."""
    said = _uid("c.sop_class", filter_)
    return said and Condition(
        "EXISTS (SELECT 1 FROM series d CROSS JOIN instances c ON c.series = d.id"
        f" WHERE d.study = s.id AND {said.sql})",
        said.parameters,
    )


def _online(column: str, filter_: Filter) -> Condition | None:
    """InstanceAvailability: all that is held is online."""
    return Condition(str(int(matches(ONLINE, [filter_]))))


#: Attributes that the index has columns for: where, and how it is said.
COLUMNS: dict[str, tuple[Level, str, _Say]] = {
    "0020000D": (Level.STUDY, "s.uid", _uid),
    "00100010": (Level.STUDY, "s.patient_name_key", _name),
    "00100020": (Level.STUDY, "s.patient_id_key", _text),
    "00100030": (Level.STUDY, "s.birth_date", _moment),
    "00100040": (Level.STUDY, "s.sex_key", _text),
    "00080020": (Level.STUDY, "s.study_date", _moment),
    "00080030": (Level.STUDY, "s.study_time", _moment),
    "00080050": (Level.STUDY, "s.accession_key", _text),
    "00080056": (Level.STUDY, "", _online),
    "00080061": (Level.STUDY, "", _modalities),
    "00080062": (Level.STUDY, "", _sop_classes),
    "00080090": (Level.STUDY, "s.referring_name_key", _name),
    "00081030": (Level.STUDY, "s.description_key", _text),
    "00200010": (Level.STUDY, "s.study_id_key", _text),
    "00201206": (Level.STUDY, "s.series_count", _number),
    "00201208": (Level.STUDY, "s.instance_count", _number),
    "0020000E": (Level.SERIES, "e.uid", _uid),
    "00080060": (Level.SERIES, "e.modality_key", _text),
    "0008103E": (Level.SERIES, "e.description_key", _text),
    "00180015": (Level.SERIES, "e.body_part_key", _text),
    "00200011": (Level.SERIES, "e.number", _number),
    "00201209": (Level.SERIES, "e.instance_count", _number),
    "00400244": (Level.SERIES, "e.step_date", _moment),
    "00400245": (Level.SERIES, "e.step_time", _moment),
    "00080016": (Level.INSTANCE, "i.sop_class", _uid),
    "00080018": (Level.INSTANCE, "i.uid", _uid),
    "00200013": (Level.INSTANCE, "i.number", _number),
}

#: Attributes that no header holds: what SQL cannot say of them is not the case.
COMPUTED = frozenset(
    {"00080056", "00080061", "00080062", "00201206", "00201208", "00201209"}
)


def _is_long(filter_: Filter, how: _Say) -> bool:
    """Whether SQL had better not be asked; of plain values it takes any number."""
    match filter_.match:
        case Exact(values):
            return len(values) > _MOST_TERMS and how in (_name, _moment)
        case Wildcard(patterns):
            return len(patterns) > _MOST_TERMS
        case _:
            return False


def say(
    filter_: Filter, case_sensitive: bool, case_sensitive_names: bool
) -> tuple[Level, Condition] | None:
    """The filter as a condition on the rows of a level; None if SQL cannot say it."""
    if len(filter_.path) > 1 or filter_.path[0] not in COLUMNS:
        return None
    if isinstance(filter_.match, Universal):
        return None
    level, column, how = COLUMNS[filter_.path[0]]
    condition = None if _is_long(filter_, how) else how(column, filter_)
    if condition is None:
        return (level, Condition("0")) if filter_.path[0] in COMPUTED else None
    if (how is _text and case_sensitive) or (how is _name and case_sensitive_names):
        condition.exact = False
    return level, condition


ALIASES = {Level.STUDY: "s", Level.SERIES: "e", Level.INSTANCE: "i"}


def column_of(tag: str, level: Level) -> str:
    """The column that an attribute is compared in at a level; empty if there is none."""
    own, column, _ = COLUMNS.get(tag, (level, "", None))
    return column if own <= level else ""


def order_by(order: Sequence[Sorting], level: Level) -> str:
    """The order in SQL; raises BadRequest for one that there is not at this level."""
    said = []
    way = ""
    for sorting in order:
        column = column_of(sorting.tag, level)
        if not column:
            raise BadRequest(f"orderby: there is no order by {sorting.tag} here")
        way = " DESC" if sorting.descending else ""
        said.append(f"{column}{way}")
    # The id makes it unique, in the direction in which an index can be read.
    return ", ".join([*said, f"{ALIASES[level]}.id{way}"]) if said else ""
