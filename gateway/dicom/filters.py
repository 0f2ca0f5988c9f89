"""The filters of a search, read from the words of its query (PS3.18 8.3.4).

Each attribute of a query becomes a ``Filter``: where to look, and one of the kinds of
matching of PS3.4 C.2.2.2. What a filter says of a data set is in ``matching``; how the
index answers it is for ``storage`` to know.

Clients of Orthanc write lists with commas for any attribute, those of the standard with
backslashes, and a comma may as well be a part of the text: so text is looked for both
whole and in its pieces.
"""

import itertools
import re
from dataclasses import dataclass

from gateway.dicom.dictionary import tag_of, vr_of
from gateway.dicom.fuzzy import words
from gateway.dicom.normal_forms import (
    NUMERIC,
    TEMPORAL,
    earliest,
    latest,
    normalise_number,
)
from gateway.errors import BadRequest

#: The representations of text in which ``*`` and ``?`` are wildcards (C.2.2.2.4).
WITH_WILDCARDS = frozenset(
    {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT", "UN"}
)

_BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW"})

_MOST_WILDCARDS = 32
_DEEPEST_PATH = 16

# Two DT values with their offsets and a hyphen are well below this.
_LONGEST_RANGE = 80

_TIME = r"(?:[01][0-9]|2[0-3])(?:[0-5][0-9](?:(?:[0-5][0-9]|60)(?:\.[0-9]{1,6})?)?)?"
# No calendar is asked: clients close a month with its 31st day, whatever the month.
_MONTH, _DAY = r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12][0-9]|3[01])"
# PS3.5 6.2: offsets run from -1200 to +1400, so -2012 after a year is a second year.
_OFFSET = r"(?:-(?:0[0-9]|1[0-2])[0-5][0-9]|\+(?:0[0-9]|1[0-4])[0-5][0-9])"

# What a value must look like, and the words for it when it does not.
_SHAPES = {
    "AS": (re.compile(r"[0-9]{3}[DWMY]"), "an age such as 045Y"),
    "AT": (re.compile(r"[0-9A-F]{8}"), "a tag of eight hexadecimal digits"),
    "DA": (re.compile(rf"[0-9]{{4}}{_MONTH}{_DAY}"), "a date as YYYYMMDD, or a range"),
    "DT": (
        re.compile(rf"[0-9]{{4}}(?:{_MONTH}(?:{_DAY}(?:{_TIME})?)?)?{_OFFSET}?"),
        "a date and time as YYYYMMDDHHMMSS.FFFFFF+ZZXX, or a range",
    ),
    "TM": (re.compile(_TIME), "a time as HHMMSS.FFFFFF, or a range"),
    "UI": (re.compile(r"[0-9.]{1,64}"), "a UID of digits and dots, without wildcards"),
}

_SEPARATORS = re.compile(r"[,\\]")
_RUN_OF_WILDCARDS = re.compile(r"[*?]*\*[*?]*")
_PLUS_READ_AS_BLANK = re.compile(r"(?<=[0-9]) (?=[0-9]{4}(?:-|$))")


@dataclass(frozen=True, slots=True)
class Universal:
    """Anything, also nothing: the attribute is only asked for (C.2.2.2.3)."""


@dataclass(frozen=True, slots=True)
class Exact:
    """One of these values, or one of these UIDs (C.2.2.2.1, C.2.2.2.2)."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wildcard:
    """One of these patterns of ``*`` and ``?`` (C.2.2.2.4)."""

    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Between:
    """A date or time within bounds, both included, as normal forms (C.2.2.2.5)."""

    low: str | None
    high: str | None


@dataclass(frozen=True, slots=True)
class Empty:
    """No value at all (C.2.2.2.7)."""


@dataclass(frozen=True, slots=True)
class AllOf:
    """Each of these values among those of the attribute (C.2.2.2.8)."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fuzzy:
    """A name that has these words in it, or much like them, or that is literally so."""

    words: tuple[str, ...]
    literal: Exact | Wildcard


Match = Universal | Exact | Wildcard | Between | Empty | AllOf | Fuzzy


@dataclass(frozen=True, slots=True)
class Filter:
    """What a query demands of one attribute."""

    path: tuple[str, ...]  # tags, the outermost sequence first; mostly only one
    vr: str  # of the last tag; UN when the dictionary does not know it
    match: Match


def parse_filter(
    key: str,
    value: str,
    *,
    empty_value_matching: bool = False,
    multiple_value_matching: bool = False,
    fuzzy_matching: bool = False,
) -> Filter:
    """Read one ``attribute=value`` of a query (PS3.18 8.3.4.1)."""
    # A value may name a patient, and errors are logged: only the attribute is told.
    try:
        path = _parse_path(key)
        vr = vr_of(path[-1])
        if value.strip() in ("", "*"):
            return Filter(path, vr, Universal())
        if empty_value_matching and value == '""':
            return Filter(path, vr, Empty())
        match = _parse_match(vr, value, multiple_value_matching)
        if fuzzy_matching and vr == "PN" and isinstance(match, Exact | Wildcard):
            match = Fuzzy(words(value), match)
        return Filter(path, vr, match)
    except ValueError as error:
        raise BadRequest(f"{key}: {error}") from error


def _parse_path(key: str) -> tuple[str, ...]:
    """Read a keyword or tag, or a path of them through sequences (PS3.18 8.3.4.1)."""
    names = key.split(".")
    if len(names) > _DEEPEST_PATH:
        raise ValueError("too many sequences within each other")
    path = tuple(tag for name in names if (tag := tag_of(name)))
    if len(path) < len(names):
        raise ValueError("no such attribute")
    if any(vr_of(tag) not in ("SQ", "UN") for tag in path[:-1]):
        raise ValueError("only a sequence has attributes inside")
    return path


def _parse_match(vr: str, value: str, multiple: bool) -> Match:
    if vr == "SQ":
        raise ValueError("is a sequence; name an attribute in it: Sequence.Attribute")
    if vr in _BINARY:
        raise ValueError("has binary values, which cannot be matched")
    # OHIF joins UIDs with backslashes, in the meaning of a list of UIDs.
    if multiple and "\\" in value and vr != "UI":
        return _parse_all_of(vr, value)
    if vr in TEMPORAL:
        return _parse_temporal(vr, value)
    if vr in WITH_WILDCARDS:
        return _parse_text(vr, value)
    return Exact(tuple(_checked(vr, part) for part in _parts(value)))


def _parse_all_of(vr: str, value: str) -> Match:
    values = [part.strip() for part in value.split("\\") if part.strip()]
    if not values:
        raise ValueError("has no value between its backslashes")
    if any(_has_wildcards(vr, part) for part in values):
        raise ValueError("takes no wildcards where several values must match")
    return AllOf(tuple(dict.fromkeys(_checked(vr, part) for part in values)))


def _parse_text(vr: str, value: str) -> Match:
    whole = value.strip()
    values = [whole, *_parts(value, needed=False)]
    if vr == "PN":
        values = [name for name in map(_checked_name, values) if name.strip("=")]
    if not _has_wildcards(vr, value):
        # A name of nothing but separators asks for nothing.
        return Exact(tuple(dict.fromkeys(values))) if values else Universal()
    patterns = [_RUN_OF_WILDCARDS.sub(_shortest_run, pattern) for pattern in values]
    if sum(map(patterns[0].count, "*?")) > _MOST_WILDCARDS:
        raise ValueError(f"has more than {_MOST_WILDCARDS} wildcards")
    if vr == "PN":
        patterns = [ending for name in patterns for ending in _name_patterns(name)]
    if "*" in patterns:
        return Universal()
    return Wildcard(tuple(dict.fromkeys(patterns)))


def _shortest_run(run: re.Match[str]) -> str:
    """Write a run of wildcards as its characters and one star, which means the same."""
    return "?" * run[0].count("?") + "*"


def _name_patterns(pattern: str) -> list[str]:
    """Return a name's pattern and those it implies: Doe^* is also Doe alone."""
    choices = []
    for group in pattern.split("="):
        endings = [group]
        while len(endings[-1]) > 2 and endings[-1].endswith("^*"):
            endings.append(endings[-1][:-2].rstrip("^ "))
        choices.append(endings)
    return ["=".join(groups) for groups in itertools.product(*choices)]


def _checked_name(value: str) -> str:
    groups = value.split("=")
    if len(groups) > 3:
        raise ValueError("has more than the three component groups of a name")
    return "=".join(group.rstrip("^ ") for group in groups)


def _parse_temporal(vr: str, value: str) -> Match:
    if vr == "DT":
        # Written bare into a URL, the plus of an offset arrives as a blank.
        value = _PLUS_READ_AS_BLANK.sub("+", value)
    parts = _parts(value)
    if len(parts) > 1:
        # No data set in sight has several times; lists of dates are seen.
        if vr != "DA":
            raise ValueError(f"takes one value only: {_SHAPES[vr][1]}")
        return Exact(tuple(_checked(vr, part) for part in parts))
    if not _fits(vr, parts[0]):
        return _parse_range(vr, parts[0])
    if vr == "DA":
        return Exact((parts[0],))
    return Between(earliest(vr, parts[0]), latest(vr, parts[0]))


def _parse_range(vr: str, value: str) -> Between:
    """Read ``a-b``, ``a-`` or ``-b``, in which a DT may have hyphens of its own."""
    for hyphen in re.finditer("-", value[:_LONGEST_RANGE]):
        low, high = value[: hyphen.start()].strip(), value[hyphen.end() :].strip()
        if (low or high) and all(not end or _fits(vr, end) for end in (low, high)):
            return Between(
                earliest(vr, low) if low else None, latest(vr, high) if high else None
            )
    raise ValueError(f"is not {_SHAPES[vr][1]}")


def _parts(value: str, *, needed: bool = True) -> list[str]:
    stripped = (part.strip() for part in _SEPARATORS.split(value))
    parts = list(dict.fromkeys(part for part in stripped if part))
    if needed and not parts:
        raise ValueError("has no value between its separators")
    return parts


def _has_wildcards(vr: str, value: str) -> bool:
    return vr in WITH_WILDCARDS and ("*" in value or "?" in value)


def _checked(vr: str, value: str) -> str:
    """Return the value if it is one that an attribute of this VR can have."""
    if vr in ("AS", "AT"):
        value = value.upper()
    if vr == "PN":
        return _checked_name(value)
    if not _fits(vr, value):
        raise ValueError(f"is not {_SHAPES[vr][1] if vr in _SHAPES else 'a number'}")
    return value


def _fits(vr: str, value: str) -> bool:
    if vr in _SHAPES:
        return _SHAPES[vr][0].fullmatch(value) is not None
    if vr not in NUMERIC:
        return True
    number = normalise_number(value)
    return number is not None and (
        vr in ("DS", "FL", "FD") or number == number.to_integral_value()
    )
