"""Value fields of data elements as DICOM JSON values (PS3.18 F.2.3).

One converter for each value representation, from the bytes of a value field to the
element of the JSON model. Bad values are kept as the text they are, never refused: the
archive answers for identifiers, not for how well a modality writes its numbers.
"""

import base64
import struct
from collections.abc import Callable
from typing import Any

from gateway.dicom.charsets import NAME_DELIMITERS, Encodings, decode

Element = dict[str, Any]

#: Largest integer that every JSON reader keeps exactly (PS3.18 F.2.3.1).
_EXACT = 2**53

#: Digits that a binary double keeps in any case.
_DOUBLE_DIGITS = 15

_PADDING = " \0"

NAME_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")

#: Value representations of binary values, with the size of their words in bytes.
BINARY_WORDS = {"OB": 1, "OW": 2, "OF": 4, "OD": 8, "OL": 4, "OV": 8, "UN": 1}

NUMBERS = {
    "US": ("H", 2),
    "SS": ("h", 2),
    "UL": ("I", 4),
    "SL": ("i", 4),
    "FL": ("f", 4),
    "FD": ("d", 8),
    "SV": ("q", 8),
    "UV": ("Q", 8),
}


def text_element(vr: str, value: bytes, encodings: Encodings) -> Element:
    """Text of one or more values, split at backslashes once decoded.

    Blanks before a value stay, as in Orthanc, whose identifiers count them.
    """
    text = decode(value, encodings)
    if "\\" in text:
        values = [part.rstrip(_PADDING) or None for part in text.split("\\")]
        return {"vr": vr, "Value": values}
    text = text.rstrip(_PADDING)
    return {"vr": vr, "Value": [text]} if text else {"vr": vr}


def long_text_element(vr: str, value: bytes, encodings: Encodings) -> Element:
    """Text of a single value in which a backslash is a character (LT, ST, UT, UR)."""
    text = decode(value, encodings).rstrip(_PADDING)
    return {"vr": vr, "Value": [text]} if text else {"vr": vr}


def _name(text: str) -> dict[str, str] | None:
    groups = (group.rstrip(_PADDING) for group in text.split("=", 2))
    name = {
        key: group for key, group in zip(NAME_GROUPS, groups, strict=False) if group
    }
    return name or None


def name_element(vr: str, value: bytes, encodings: Encodings) -> Element:
    """Person names with their component groups (PS3.5 6.2.1, PS3.18 F.2.2)."""
    text = decode(value, encodings, NAME_DELIMITERS).rstrip(_PADDING)
    if not text:
        return {"vr": vr}
    names = [_name(part) for part in text.split("\\")]
    return {"vr": vr, "Value": names} if names != [None] else {"vr": vr}


def _integer(text: str) -> int | str | None:
    text = text.strip(_PADDING)
    try:
        number = int(text)
    except ValueError:
        return text or None
    if "_" in text:  # Python's own way to write numbers
        return text
    return number if -_EXACT <= number <= _EXACT else text


def _decimal(text: str) -> int | float | str | None:
    """A number where it says exactly what the text says, the text otherwise."""
    text = text.strip(_PADDING)
    if len(text) <= _DOUBLE_DIGITS and text.isdecimal():
        return int(text)
    try:
        number = float(text)
    except ValueError:
        return text or None
    if number - number != 0.0 or "_" in text:  # infinite, not a number, or no DS at all
        return text
    if len(text) <= _DOUBLE_DIGITS:
        return number
    mantissa = text.upper().partition("E")[0]
    digits = mantissa.strip("+-0.").replace(".", "")
    return number if len(digits) <= _DOUBLE_DIGITS else text


def _numeric_text(
    convert: Callable[[str], Any],
) -> Callable[[str, bytes, Encodings], Element]:
    def element(vr: str, value: bytes, encodings: Encodings) -> Element:
        text = value.decode("latin-1").rstrip(_PADDING)
        if not text:
            return {"vr": vr}
        if "\\" in text:
            return {"vr": vr, "Value": [convert(part) for part in text.split("\\")]}
        return {"vr": vr, "Value": [convert(text)]}

    return element


CONVERTERS: dict[str, Callable[[str, bytes, Encodings], Element]] = {
    **dict.fromkeys(
        ("AE", "AS", "CS", "DA", "DT", "TM", "LO", "SH", "UC", "UI"), text_element
    ),
    **dict.fromkeys(("LT", "ST", "UT", "UR"), long_text_element),
    "PN": name_element,
    "IS": _numeric_text(_integer),
    "DS": _numeric_text(_decimal),
}


def number_element(vr: str, value: bytes, order: str) -> Element:
    """Binary numbers; what JSON cannot say (not a number, infinite) becomes null.

    `order` is ``<`` or ``>``, the byte order of the value. Bytes after the last whole
    number are left out.
    """
    code, size = NUMBERS[vr]
    count = len(value) // size
    if not count:
        return {"vr": vr}
    numbers: list[Any] = list(struct.unpack_from(f"{order}{count}{code}", value))
    if code in "fd":
        numbers = [number if number - number == 0.0 else None for number in numbers]
    elif size == 8:
        numbers = [n if -_EXACT <= n <= _EXACT else str(n) for n in numbers]
    return {"vr": vr, "Value": numbers}


def is_number(vr: str) -> bool:
    """Whether values of this representation are binary numbers."""
    return vr in NUMBERS


def tag_element(value: bytes, order: str) -> Element:
    """Attribute tags as eight hexadecimal digits each (PS3.18 F.2.3, AT)."""
    count = len(value) // 4
    if not count:
        return {"vr": "AT"}
    words = struct.unpack_from(f"{order}{2 * count}H", value)
    pairs = zip(words[::2], words[1::2], strict=True)
    return {
        "vr": "AT",
        "Value": [f"{group:04X}{element:04X}" for group, element in pairs],
    }


def little_endian(value: bytes, word: int) -> bytes:
    """The bytes of big-endian words in little-endian order (PS3.18 F.2.7)."""
    if word == 1:
        return value
    swapped = bytearray(value)
    whole = len(value) - len(value) % word
    for offset in range(word):
        swapped[offset:whole:word] = value[word - 1 - offset : whole : word]
    return bytes(swapped)


def binary_element(vr: str, value: bytes, order: str) -> Element:
    """Binary values small enough to stand in the JSON as base64."""
    if not value:
        return {"vr": vr}
    if order == ">":
        value = little_endian(value, BINARY_WORDS[vr])
    return {"vr": vr, "InlineBinary": base64.b64encode(value).decode("ascii")}
