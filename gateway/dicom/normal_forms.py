"""One spelling for values that mean the same.

The standard lets one name, date or number be written in several ways, and old files
know a few more. A query and a stored value are brought to the same form here, by pure
functions, before anybody compares them: the index of the archive does so when it keeps
a value, the matching of data sets when it looks at one, and so the two agree.
"""

import calendar
import re
import unicodedata
from decimal import Decimal
from typing import Any

from gateway.dicom.values import NAME_GROUPS

#: The representations that hold a date, a time or both, and are searched by range.
TEMPORAL = frozenset({"DA", "TM", "DT"})

#: The representations whose values are numbers, as text or in binary.
NUMERIC = frozenset({"IS", "DS", "US", "SS", "UL", "SL", "UV", "SV", "FL", "FD"})

# PS3.4 C.2.2.2.5: what an imprecise value leaves out, at its first and its last moment.
_FIRST_MOMENT = {"TM": "000000.000000", "DT": "00000101000000.000000"}
_LAST_MOMENT = {"TM": "235959.999999", "DT": "99991231235959.999999"}

_STORED_DATE = re.compile(r"([0-9]{4})(\.?)([0-9]{2})\2([0-9]{2})")
_STORED_TIME = re.compile(r"[0-9]{2}(?:[0-9]{2}(?:[0-9]{2}(?:\.[0-9]*)?)?)?")
_STORED_DATE_TIME = re.compile(
    r"([0-9]{4}(?:[0-9]{2}){0,4}|[0-9]{14}(?:\.[0-9]*)?)([+-][0-9]{4})?"
)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")


def normalise_text(value: str, *, case_sensitive: bool = False) -> str:
    """Text without its outer blanks (PS3.5 6.2) and, unless told, without its case.

    Accented letters are composed: one keyboard writes them in one character and the
    next in two.
    """
    value = value.strip()
    if value.isascii():
        return value if case_sensitive else value.lower()
    if not case_sensitive:
        value = unicodedata.normalize("NFD", value).casefold()
    return unicodedata.normalize("NFC", value)


def normalise_name(group: str, *, case_sensitive: bool = False) -> str:
    """One component group of a person's name, without its idle carets and blanks."""
    components = (component.strip() for component in group.split("^"))
    trimmed = "^".join(components).rstrip("^")
    return normalise_text(trimmed, case_sensitive=case_sensitive)


def normalise_name_groups(
    element: dict[str, Any], *, case_sensitive: bool = False
) -> list[str]:
    """Every component group that the names of an element have (PS3.5 6.2.1.1)."""
    return [
        normalise_name(group, case_sensitive=case_sensitive)
        for name in element.get("Value", ())
        for group in name_groups(name)
        if group
    ]


def name_groups(name: Any) -> tuple[str, ...]:
    """The alphabetic, ideographic and phonetic group of one name, empty if missing."""
    if isinstance(name, dict):
        return tuple(name.get(group) or "" for group in NAME_GROUPS)
    # Some writers of JSON give a name as the text it is in a file.
    groups = str(name or "").split("=")
    return tuple((groups + [""] * len(NAME_GROUPS))[: len(NAME_GROUPS)])


def normalise_date(value: str) -> str | None:
    """A date as YYYYMMDD, also from the YYYY.MM.DD of ACR-NEMA (PS3.5 6.2)."""
    date = _STORED_DATE.fullmatch(value.strip())
    return date[1] + date[3] + date[4] if date else None


def normalise_time(value: str) -> str | None:
    """A time as HHMMSS.FFFFFF, also from the HH:MM:SS of ACR-NEMA (PS3.5 6.2).

    What is left out counts as zero: such a time stands at its first moment.
    """
    time = value.strip().replace(":", "")
    return earliest("TM", time) if _STORED_TIME.fullmatch(time) else None


def normalise_date_time(value: str) -> str | None:
    """A DT as YYYYMMDDHHMMSS.FFFFFF and its offset from UTC if it has one."""
    date_time = value.strip()
    return earliest("DT", date_time) if _STORED_DATE_TIME.fullmatch(date_time) else None


def normalise_number(value: object) -> Decimal | None:
    """The number that an IS, DS or binary value stands for, if it is one."""
    text = str(value).strip()
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def earliest(vr: str, value: str) -> str:
    """The first moment of a DA, TM or DT, however much of it is given."""
    digits, offset = _without_offset(vr, value)
    pattern = _FIRST_MOMENT.get(vr, "")
    return (digits + pattern[len(digits) :])[: len(pattern) or None] + offset


def latest(vr: str, value: str) -> str:
    """The last moment of a DA, TM or DT, however much of it is given."""
    digits, offset = _without_offset(vr, value)
    pattern = _LAST_MOMENT.get(vr, "")
    if vr == "DT" and len(digits) == 6:
        year, month = int(digits[:4]), int(digits[4:])
        digits += f"{calendar.monthrange(year, month)[1]}"
    return (digits + pattern[len(digits) :])[: len(pattern) or None] + offset


def _without_offset(vr: str, value: str) -> tuple[str, str]:
    if vr == "DT" and value[-5:-4] in ("+", "-"):
        return value[:-5], value[-5:]
    return value, ""
