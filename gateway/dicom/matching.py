"""What the filters of a search mean, on one data set (PS3.4 C.2.2.2).

This is the meaning of a query; the index only finds the same answer faster, and what an
index cannot answer is asked here, of stored headers one by one. Filters are therefore
turned into tests once, and the tests are remembered.
"""

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from typing import Any

from gateway.dicom.filters import (
    AllOf,
    Between,
    Empty,
    Exact,
    Filter,
    Fuzzy,
    Match,
    Universal,
    Wildcard,
)
from gateway.dicom.fuzzy import is_like
from gateway.dicom.hierarchy import Attributes
from gateway.dicom.normal_forms import (
    NUMERIC,
    TEMPORAL,
    earliest,
    latest,
    name_groups,
    normalise_date,
    normalise_date_time,
    normalise_name,
    normalise_number,
    normalise_text,
    normalise_time,
)

_DataSetTest = Callable[[Attributes], bool]
_ValueTest = Callable[[Any], bool]
_TextTest = Callable[[str], bool]

_NORMALISE = {"DA": normalise_date, "TM": normalise_time, "DT": normalise_date_time}

# The length of a normal DT before its offset from UTC.
_LOCAL = len("YYYYMMDDHHMMSS.FFFFFF")


@dataclass(frozen=True, slots=True)
class _Case:
    """Where upper and lower case differ; for names C.2.2.2.1 leaves it open."""

    in_text: bool
    in_names: bool


def matches(
    attributes: Attributes,
    filters: Sequence[Filter],
    *,
    case_sensitive: bool = False,
    case_sensitive_names: bool = False,
) -> bool:
    """Tell whether a data set is what all filters ask for.

    Filters that go through the same sequence must find it in the same item.
    """
    return matcher(tuple(filters), case_sensitive, case_sensitive_names)(attributes)


@lru_cache(256)
def matcher(
    filters: tuple[Filter, ...],
    case_sensitive: bool = False,
    case_sensitive_names: bool = False,
) -> Callable[[Attributes], bool]:
    """Return the test that ``matches`` makes, to be used on many data sets."""
    case = _Case(case_sensitive, case_sensitive_names)
    return _data_set_test([(filter_.path, filter_) for filter_ in filters], case)


def _data_set_test(
    filters: list[tuple[tuple[str, ...], Filter]], case: _Case
) -> _DataSetTest:
    """Return the test of a data set, or of an item with what is left of the paths."""
    tests: list[_DataSetTest] = []
    inside: dict[str, list[tuple[tuple[str, ...], Filter]]] = {}
    for path, filter_ in filters:
        if isinstance(filter_.match, Universal):
            continue
        if len(path) > 1:
            inside.setdefault(path[0], []).append((path[1:], filter_))
        else:
            tests.append(_attribute_test(path[0], filter_, case))
    for tag, nested in inside.items():
        tests.append(_sequence_test(tag, _data_set_test(nested, case)))
    return lambda attributes: all(test(attributes) for test in tests)


def _sequence_test(tag: str, item_test: _DataSetTest) -> _DataSetTest:
    """Return whether any item of a sequence passes (C.2.2.2.6)."""

    def test(attributes: Attributes) -> bool:
        # Of a sequence without items, every attribute is as empty as can be.
        items = attributes.get(tag, {}).get("Value") or [{}]
        return any(item_test(item) for item in items if isinstance(item, dict))

    return test


def _attribute_test(tag: str, filter_: Filter, case: _Case) -> _DataSetTest:
    if isinstance(filter_.match, Empty):
        return lambda attributes: _is_empty(attributes.get(tag, {}))

    @lru_cache(32)
    def value_tests(vr: str) -> list[_ValueTest]:
        return _value_tests(vr, filter_.match, case)

    def test(attributes: Attributes) -> bool:
        element = attributes.get(tag, {})
        values = [value for value in element.get("Value", ()) if _is_value(value)]
        # Of a private attribute, the data set alone knows what it is.
        vr = element.get("vr", "UN") if filter_.vr == "UN" else filter_.vr
        return bool(values) and all(any(map(one, values)) for one in value_tests(vr))

    return test


def _is_empty(element: dict[str, Any]) -> bool:
    """Tell whether an element has no value (C.2.2.2.7), neither here nor elsewhere."""
    if "BulkDataURI" in element or "InlineBinary" in element:
        return False
    return not any(map(_is_value, element.get("Value", ())))


def _is_value(value: Any) -> bool:
    if isinstance(value, dict):
        return any(value.values())
    return value is not None and value != ""


def _value_tests(vr: str, match: Match, case: _Case) -> list[_ValueTest]:
    """Return the tests that each must be passed by some value of the attribute."""
    if isinstance(match, AllOf):
        return [_value_test(vr, Exact((value,)), case) for value in match.values]
    if isinstance(match, Fuzzy):
        return [_fuzzy_test(match, case)]
    if isinstance(match, Exact | Wildcard | Between):
        return [_value_test(vr, match, case)]
    return []


def _value_test(vr: str, match: Exact | Wildcard | Between, case: _Case) -> _ValueTest:
    if isinstance(match, Between):
        return _temporal_test(vr, [(match.low, match.high)])
    if vr == "PN":
        return _name_test(match, case.in_names)
    if isinstance(match, Exact) and vr in NUMERIC:
        return _number_test(vr, match.values)
    if isinstance(match, Exact) and vr in TEMPORAL:
        moments = [value for value in match.values if _NORMALISE[vr](value)]
        return _temporal_test(vr, [(earliest(vr, m), latest(vr, m)) for m in moments])
    normalise = partial(normalise_text, case_sensitive=case.in_text)
    passes = _text_test(match, normalise)
    # A private attribute may turn out to be a sequence: that is no text.
    return lambda value: not isinstance(value, dict) and passes(normalise(str(value)))


def _text_test(
    match: Exact | Wildcard, normalise: Callable[[str], str]
) -> Callable[[str], bool]:
    """Return the test of a text that is in its normal form already."""
    if isinstance(match, Exact):
        return frozenset(map(normalise, match.values)).__contains__
    patterns = [_compiled(normalise(pattern)) for pattern in match.patterns]
    return lambda text: any(pattern.fullmatch(text) for pattern in patterns)


@lru_cache(1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    """Return a pattern whose time grows with the text, not with a power of it.

    Between two stars the first place that fits is as good as any later one: an atomic
    group takes it and never comes back.
    """
    first, *rest = (
        "".join("." if sign == "?" else re.escape(sign) for sign in piece)
        for piece in pattern.split("*")
    )
    if rest:
        middle = "".join(f"(?>.*?{piece})" for piece in rest[:-1])
        first += f"{middle}.*{rest[-1]}"
    return re.compile(first, re.DOTALL)


def _name_test(match: Exact | Wildcard, case_sensitive: bool) -> _ValueTest:
    """Return the test of one person's name, by any group or group by group."""
    normalise = partial(normalise_name, case_sensitive=case_sensitive)
    wanted = match.values if isinstance(match, Exact) else match.patterns
    plain = type(match)(tuple(name for name in wanted if "=" not in name))
    any_group = _text_test(plain, normalise)
    by_group = [
        [_group_test(type(match)((group,)), normalise) for group in name.split("=")]
        for name in wanted
        if "=" in name
    ]

    def test(name: Any) -> bool:
        groups = [normalise(group) for group in name_groups(name)]
        return any(any_group(group) for group in groups if group) or any(
            all(one(group) for one, group in zip(tests, groups, strict=False))
            for tests in by_group
        )

    return test


def _fuzzy_test(match: Fuzzy, case: _Case) -> _ValueTest:
    literally = _name_test(match.literal, case.in_names)

    def test(name: Any) -> bool:
        return literally(name) or any(
            is_like(match.words, group) for group in name_groups(name) if group
        )

    return test


def _group_test(
    match: Exact | Wildcard, normalise: Callable[[str], str]
) -> Callable[[str], bool]:
    if match in (Exact(("",)), Wildcard(("",))):
        return lambda _group: True
    return _text_test(match, normalise)


def _number_test(vr: str, wanted: Sequence[str]) -> _ValueTest:
    as_kept = {"FL": _single_precision, "FD": _double_precision}.get(
        vr, normalise_number
    )
    numbers = {as_kept(value) for value in wanted} - {None}
    return lambda value: as_kept(value) in numbers


def _double_precision(value: object) -> float | None:
    number = normalise_number(value)
    return None if number is None else float(number)


def _single_precision(value: object) -> float | None:
    """The number as an FL can hold it: 0.1 is stored as 0.10000000149011612."""
    number = _double_precision(value)
    try:
        return (
            None if number is None else struct.unpack("f", struct.pack("f", number))[0]
        )
    except OverflowError:
        return None


def _temporal_test(
    vr: str, ranges: Sequence[tuple[str | None, str | None]]
) -> _ValueTest:
    normalise = _NORMALISE[vr]

    def test(value: Any) -> bool:
        moment = normalise(str(value))
        return moment is not None and any(
            (low is None or _is_ordered(low, moment))
            and (high is None or _is_ordered(moment, high))
            for low, high in ranges
        )

    return test


def _is_ordered(first: str, second: str) -> bool:
    """Tell whether a moment is not after another, by their offsets if both have one."""
    if len(first) > _LOCAL and len(second) > _LOCAL:
        try:
            return _instant(first) <= _instant(second)
        except ValueError:
            pass  # the 31st of February: a place in the order, but none in time
    return first[:_LOCAL] <= second[:_LOCAL]


@lru_cache(1024)
def _instant(moment: str) -> datetime:
    return datetime.strptime(moment, "%Y%m%d%H%M%S.%f%z")
