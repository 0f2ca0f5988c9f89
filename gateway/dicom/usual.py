"""The usual elements: short text and numbers, told once and remembered.

Within a series nine elements out of ten are the same in every instance. What a short
value field became is kept, bounded, and shared by all data sets that hold it: nobody may
change an element of the JSON model in place.
"""

from collections.abc import Callable
from functools import lru_cache

from pydicom.datadict import dictionary_VR

from gateway.dicom.charsets import Encodings
from gateway.dicom.values import (
    BINARY_WORDS,
    CONVERTERS,
    NUMBERS,
    Element,
    number_element,
)

#: Values of at most this many bytes are remembered.
REMEMBERED_LIMIT = 64

#: Value representations whose length takes four bytes (PS3.5 7.1.2).
LONG_FORM = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT"}
    | {b"UV"}
)

#: All value representations, by their two letters.
NAMES = {
    name.encode(): name for name in (*CONVERTERS, *BINARY_WORDS, *NUMBERS, "SQ", "AT")
}

#: The key in JSON of each tag that was met, for `key_of`.
KEYS: dict[int, str] = {}
_MOST_KEYS = 16384

Convert = Callable[[bytes, bytes, Encodings], Element]


@lru_cache(maxsize=8192)
def _text(code: bytes, value: bytes, encodings: Encodings) -> Element:
    vr = NAMES[code]
    return CONVERTERS[vr](vr, value, encodings)


@lru_cache(maxsize=8192)
def _little(code: bytes, value: bytes, encodings: Encodings) -> Element:
    return number_element(NAMES[code], value, "<")


@lru_cache(maxsize=4096)
def _big(code: bytes, value: bytes, encodings: Encodings) -> Element:
    return number_element(NAMES[code], value, ">")


def _usual(numbers: Convert) -> dict[bytes, Convert]:
    text: dict[bytes, Convert] = {name.encode(): _text for name in CONVERTERS}
    both = text | {name.encode(): numbers for name in NUMBERS}
    return {code: both[code] for code in both if code not in LONG_FORM}


#: Converters by byte order and value representation, of those with a short header.
USUAL = {"<": _usual(_little), ">": _usual(_big)}


def key_of(tag: int) -> str:
    """The key of a tag in JSON, remembered."""
    if len(KEYS) >= _MOST_KEYS:
        KEYS.clear()
    return KEYS.setdefault(tag, f"{tag:08X}")


@lru_cache(maxsize=8192)
def dictionary_vr(tag: int) -> str:
    """What the dictionary says of a public tag; UN if nothing (PS3.6)."""
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UL" if tag & 0xFFFF == 0 else "UN"


@lru_cache(maxsize=8192)
def usual_code(tag: int) -> bytes:
    """The two letters of an implicit element, where the dictionary leaves no doubt."""
    if tag >> 16 & 1 or not tag & 0xFFFF:
        return b""
    code = dictionary_vr(tag).encode()
    return code if code in USUAL["<"] else b""
