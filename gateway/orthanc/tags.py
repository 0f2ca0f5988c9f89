"""Attributes in Orthanc's three manners: full, short and simplified.

All are made of DICOM JSON. Values are text, several joined by backslashes; binary ones are
null, and text that is too long is said to be so. Numbers that the file holds as text are
written as they are understood: 70.50 is 70.5, and -1.0 is -1.
"""

import enum
from collections.abc import Collection
from typing import Any

from gateway.dicom.dictionary import (
    is_private,
    is_private_creator,
    keyword_of,
    tag_of,
)
from gateway.dicom.hierarchy import Attributes
from gateway.dicom.values import BINARY_WORDS, NAME_GROUPS
from gateway.errors import BadRequest

#: Characters of text that are shown; more are too long, unless asked for.
LONGEST_TEXT = 256

_UNKNOWN = "Unknown Tag & Data"


class Manner(enum.Enum):
    """How attributes are shown."""

    FULL = "full"
    SHORT = "short"
    SIMPLE = "simplify"


def orthanc_tag(tag: str, separator: str = ",") -> str:
    """A tag as Orthanc spells it: 0010,0020."""
    return f"{tag[:4]}{separator}{tag[4:]}".lower()


def named_tag(name: str) -> str:
    """The tag that a caller names by keyword or number; raises BadRequest."""
    tag = tag_of(name.strip())
    if tag is None:
        raise BadRequest(f"Unknown DICOM tag: {name.strip()[:64]!r}")
    return tag


def name_of(tag: str) -> str:
    """The name of an attribute, as Orthanc has it."""
    if is_private_creator(tag):
        return "PrivateCreator"
    return keyword_of(tag) or _UNKNOWN


def shown(
    attributes: Attributes, manner: Manner, whole: Collection[str] = ()
) -> dict[str, Any]:
    """The attributes in a manner; `whole` are tags whose text is shown however long."""
    if manner is Manner.FULL:
        return {orthanc_tag(tag): _full(tag, attributes, whole) for tag in attributes}
    name = name_of if manner is Manner.SIMPLE else orthanc_tag
    return {
        name(tag): _value(tag, element, manner, whole)[1]
        for tag, element in attributes.items()
    }


def text_of(element: dict[str, Any]) -> str | None:
    """The values of an element as text; None if they are binary, or not at hand."""
    vr = element.get("vr", "UN")
    if vr in BINARY_WORDS or "BulkDataURI" in element or "InlineBinary" in element:
        return None
    return "\\".join(_text(value, vr) for value in element.get("Value", ()))


def _full(tag: str, attributes: Attributes, whole: Collection[str]) -> dict[str, Any]:
    kind, value = _value(tag, attributes[tag], Manner.FULL, whole)
    found = {"Name": name_of(tag), "Type": kind, "Value": value}
    if is_private(tag) and not is_private_creator(tag):
        creator = attributes.get(f"{tag[:4]}00{tag[4:6]}", {}).get("Value")
        if creator:
            found["PrivateCreator"] = creator[0]
    return found


def _value(
    tag: str, element: dict[str, Any], manner: Manner, whole: Collection[str]
) -> tuple[str, Any]:
    """Orthanc's word for the kind of the value, and the value."""
    if element.get("vr") == "SQ":
        items = element.get("Value", ())
        return "Sequence", [shown(item or {}, manner, whole) for item in items]
    text = text_of(element)
    if text is None:
        binary = element.get("vr", "UN") in BINARY_WORDS
        return ("Null" if binary else "TooLong"), None
    if len(text) > LONGEST_TEXT and tag not in whole:
        return "TooLong", None
    return "String", text


def _text(value: Any, vr: str) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        groups = [str(value.get(group, "")) for group in NAME_GROUPS]
        return "=".join(groups).rstrip("=")
    if vr == "AT":
        return orthanc_tag(str(value))
    if isinstance(value, float) and vr in ("FL", "FD"):
        return f"{value:.9g}" if vr == "FL" else f"{value:.17g}"
    if isinstance(value, float) and value < 0:
        return f"{value:.15g}"  # a sign alone made it a float: most wrote no point
    return str(value)
