"""The DICOM JSON model as clients send it: checked, and made what the rest expects.

Writers differ: keys in lower case, no ``vr``, names as strings, numbers as strings, null
for nothing. All of that can only mean one thing and is read so (PS3.18 F.2). What cannot
be a value of its attribute is refused by the attribute's tag. The result can be written
without looking twice: ``gateway.dicom.write`` trusts it.
"""

import binascii
import re
import struct
from collections.abc import Callable
from typing import Any

import orjson

from gateway.dicom.charsets import LATIN1
from gateway.dicom.hierarchy import Attributes
from gateway.dicom.usual import NAMES
from gateway.dicom.values import BINARY_WORDS, NAME_GROUPS, NUMBERS, Element
from gateway.dicom.walk import Scope, known_vr
from gateway.errors import BadRequest, TooLarge

#: Sequences nested deeper than this are an attack, not a report.
DEPTH_LIMIT = 32

#: Objects and arrays in one text: what is small as text may be large as objects.
NODE_LIMIT = 1_500_000

_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_NUMBER = re.compile(r"[+-]?[0-9.]{1,40}(?:[eE][+-]?[0-9]{1,5})?")
_NOT_FINITE = {
    "nan": float("nan"),
    "infinity": float("inf"),
    "-infinity": float("-inf"),
    "inf": float("inf"),
    "-inf": float("-inf"),
}
_VRS = frozenset(NAMES.values())
_EXACT = 2**53  # up to here a double holds every integer
_PIXEL_REPRESENTATION = 0x00280103

#: Text of one value in which a backslash is a character.
SINGLE_TEXT = frozenset({"LT", "ST", "UT", "UR"})

_FORMS = ("Value", "BulkDataURI", "InlineBinary")


def data_sets(text: bytes) -> list[dict[str, Any]]:
    """The data sets of a JSON text, unchecked: an array of objects, or one object."""
    if text.count(b"{") + text.count(b"[") > NODE_LIMIT:
        raise TooLarge("the metadata holds too many objects")
    try:
        found = orjson.loads(text.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the metadata is not JSON: {error}") from None
    if isinstance(found, dict):
        found = [found]
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise BadRequest("the metadata is no array of data sets (PS3.18 F.2)")
    if not found:
        raise BadRequest("the metadata holds no data set")
    return found


def attributes_of(data_set: dict[str, Any]) -> Attributes:
    """The attributes of a data set, checked; raises BadRequest naming the attribute.

    File meta information and group lengths are left out: whoever writes makes his own.
    """
    return _attributes(data_set, Scope(LATIN1), 0)


def _attributes(data_set: dict[str, Any], scope: Scope, depth: int) -> Attributes:
    if depth > DEPTH_LIMIT:
        raise BadRequest(f"sequences are nested deeper than {DEPTH_LIMIT}")
    given: dict[str, Any] = {}
    for key, element in data_set.items():
        if not _TAG.fullmatch(key):
            raise BadRequest(f"{key[:40]!r} is no tag: eight hexadecimal digits")
        tag = key.upper()
        if tag in given:
            raise _bad(tag, "stands there twice")
        if tag.startswith("FFFE"):
            raise _bad(tag, "is no attribute")
        given[tag] = element
    return {
        tag: _element(tag, given[tag], scope, depth)
        for tag in sorted(given)
        if tag[4:] != "0000" and tag[:4] not in ("0000", "0002") and tag != "00080001"
    }


def _element(tag: str, given: Any, scope: Scope, depth: int) -> Element:
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise _bad(tag, "is no object")
    number = int(tag, 16)
    vr = _representation(tag, given.get("vr"), scope)
    forms = [form for form in _FORMS if given.get(form) is not None]
    if len(forms) > 1:
        raise _bad(tag, f"has {' and '.join(forms)}")
    if not forms:
        return {"vr": vr}
    if forms[0] == "BulkDataURI":
        return _reference(tag, vr, given["BulkDataURI"])
    if forms[0] == "InlineBinary":
        return _inline(tag, vr, given["InlineBinary"])
    element = _values(tag, vr, given["Value"], scope, depth)
    _note(number, element, scope)
    return element


def _representation(tag: str, vr: Any, scope: Scope) -> str:
    if vr is None or vr == "" or (isinstance(vr, str) and " or " in vr):
        return known_vr(int(tag, 16), scope)
    if not isinstance(vr, str) or vr not in _VRS:
        raise _bad(tag, "has a vr that does not exist")
    return vr


def _note(tag: int, element: Element, scope: Scope) -> None:
    """Remember what tells the representation of attributes behind this one."""
    value = element.get("Value", [None])[0]
    if tag == _PIXEL_REPRESENTATION:
        scope.signed = value == 1
    elif tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF and isinstance(value, str):
        scope.creators[(tag >> 16) << 8 | tag & 0xFF] = value


def _reference(tag: str, vr: str, uri: Any) -> Element:
    if not isinstance(uri, str) or not uri:
        raise _bad(tag, "has a BulkDataURI that is no text")
    if vr == "SQ":
        raise _bad(tag, "is a sequence and no bulk data")
    return {"vr": vr, "BulkDataURI": uri}


def _inline(tag: str, vr: str, text: Any) -> Element:
    if vr not in BINARY_WORDS:
        raise _bad(tag, f"has InlineBinary and is {vr}")
    if not isinstance(text, str):
        raise _bad(tag, "has InlineBinary that is no text")
    try:
        value = binascii.a2b_base64("".join(text.split()), strict_mode=True)
    except (ValueError, binascii.Error):
        raise _bad(tag, "has InlineBinary that is no base64") from None
    if not value:
        return {"vr": vr}
    base64 = binascii.b2a_base64(value, newline=False).decode()
    return {"vr": vr, "InlineBinary": base64}


def _values(tag: str, vr: str, given: Any, scope: Scope, depth: int) -> Element:
    if not isinstance(given, list):
        raise _bad(tag, "has a Value that is no array")
    if vr in BINARY_WORDS:
        if given:
            raise _bad(tag, f"is {vr} and has a Value, not InlineBinary")
        return {"vr": vr}
    if vr == "SQ":
        items = [_item(tag, item, scope, depth) for item in given]
        return {"vr": vr, "Value": items} if items else {"vr": vr}
    values = [None if value == "" else value for value in given]
    nothing = values == [None] and vr not in ("FL", "FD")  # there it is not a number
    if nothing or not values:
        return {"vr": vr}
    if vr in SINGLE_TEXT and len(values) > 1:
        raise _bad(tag, f"is {vr} and has more than one value")
    read: Callable[[str, str, Any], Any] = _READERS.get(vr, _text)
    values = [read(tag, vr, value) for value in values]
    if vr == "PN" and values == [None]:
        return {"vr": vr}
    return {"vr": vr, "Value": values}


def _item(tag: str, item: Any, scope: Scope, depth: int) -> Attributes:
    if item is None:
        return {}
    if not isinstance(item, dict):
        raise _bad(tag, "has an item that is no object")
    return _attributes(item, scope.inner(), depth + 1)


def _text(tag: str, vr: str, value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is None:
        return None
    if not isinstance(value, str):
        raise _bad(tag, "has a value that is no text")
    if "\\" in value and vr not in SINGLE_TEXT:
        raise _bad(tag, "has a backslash within a value")
    return value


def _numeric_text(tag: str, vr: str, value: Any) -> int | float | str | None:
    if isinstance(value, float) and value - value == 0.0:
        whole = vr == "IS" and value.is_integer() and abs(value) <= _EXACT
        return int(value) if whole else value
    if isinstance(value, float | bool):
        raise _bad(tag, "has a value that is no number")
    if isinstance(value, int):
        return value
    return _text(tag, vr, value)


def _name(tag: str, vr: str, value: Any) -> dict[str, str] | None:
    if value is None:
        return None
    if isinstance(value, str):
        value = dict(zip(NAME_GROUPS, value.split("=", 2), strict=False))
    if not isinstance(value, dict) or not set(value) <= set(NAME_GROUPS):
        raise _bad(tag, "has a value that is no name of a person")
    for group in value.values():
        if group is not None and not isinstance(group, str):
            raise _bad(tag, "has a value that is no name of a person")
        if group and ("\\" in group or "=" in group):
            raise _bad(tag, "has a backslash or an equals sign within a name")
    return {key: value[key] for key in NAME_GROUPS if value.get(key)} or None


def _tag_value(tag: str, vr: str, value: Any) -> str:
    if not isinstance(value, str) or not _TAG.fullmatch(value):
        raise _bad(tag, "has a value that is no tag")
    return value.upper()


def _integer(tag: str, vr: str, value: Any) -> int | str:
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        if isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
            raise ValueError
        number = int(value)
        if isinstance(value, float) and number != value:
            raise ValueError
        struct.pack(NUMBERS[vr][0], number)
    except (ValueError, OverflowError, struct.error):
        raise _bad(tag, f"has a value that is no {vr}") from None
    return number


def _real(tag: str, vr: str, value: Any) -> float | None:
    if value is None:
        return None
    try:
        number = _float(value)
        struct.pack(NUMBERS[vr][0], number)
    except (ValueError, OverflowError, struct.error):
        raise _bad(tag, f"has a value that is no {vr}") from None
    return number


def _float(value: Any) -> float:
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in _NOT_FINITE:
            return _NOT_FINITE[text.lower()]
        if not _NUMBER.fullmatch(text):
            raise ValueError
        return float(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError
    return float(value)


def _bad(tag: str, what: str) -> BadRequest:
    return BadRequest(f"({tag[:4]},{tag[4:]}) {what}")


_READERS: dict[str, Callable[[str, str, Any], Any]] = {
    "PN": _name,
    "AT": _tag_value,
    "IS": _numeric_text,
    "DS": _numeric_text,
    **dict.fromkeys(("US", "SS", "UL", "SL", "SV", "UV"), _integer),
    **dict.fromkeys(("FL", "FD"), _real),
}
