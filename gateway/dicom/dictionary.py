"""The names of attributes, as callers write them and as data sets hold them.

A query may say ``PatientName``, ``00100010``, ``0010,0010`` or ``0010-0010``; inside
there is one spelling, eight upper-case hexadecimal digits (PS3.18 F.2.2). The
dictionary is pydicom's, and every answer is remembered: the same few hundred tags come
back with each instance.
"""

import re
from functools import lru_cache

from pydicom import datadict

# More tags than a busy archive sees, and a bound on what strangers can ask for.
_REMEMBERED = 8192

_HEXADECIMAL_TAG = re.compile(r"([0-9A-Fa-f]{4})[,-]?([0-9A-Fa-f]{4})")


@lru_cache(_REMEMBERED)
def tag_of(name: str) -> str | None:
    """Return the tag of a keyword or of a tag in any spelling (PS3.18 8.3.4.1)."""
    spelled = _HEXADECIMAL_TAG.fullmatch(name)
    if spelled:
        return (spelled[1] + spelled[2]).upper()
    tag = datadict.tag_for_keyword(name) if name else None
    return None if tag is None else f"{tag:08X}"


@lru_cache(_REMEMBERED)
def vr_of(tag: str) -> str:
    """Return the VR of a tag, the first where PS3.6 allows several, or ``UN``."""
    entry = _entry(tag)
    if entry is not None:
        # The delimiters of items have a tag and no VR: the dictionary says NONE.
        representation = entry[0].split(" or ")[0]
        return "UN" if representation == "NONE" else representation
    if tag[4:] == "0000":
        return "UL"
    return "LO" if is_private_creator(tag) else "UN"


@lru_cache(_REMEMBERED)
def keyword_of(tag: str) -> str:
    """Return the keyword of a tag, empty for private and unknown ones."""
    entry = _entry(tag)
    return "" if entry is None else entry[4]


def is_private(tag: str) -> bool:
    """Tell whether a tag is private: its group is odd (PS3.5 7.8)."""
    return tag[3:4] in "13579BDF"


def is_private_creator(tag: str) -> bool:
    """Tell whether a tag reserves a block of private elements (PS3.5 7.8.1)."""
    return is_private(tag) and tag[4:6] == "00" and tag[6:] >= "10"


def _entry(tag: str) -> tuple[str, str, str, str, str] | None:
    """Return VR, VM, name, retirement and keyword, also for repeating groups."""
    try:
        return datadict.get_entry(int(tag, 16))
    except (KeyError, ValueError, OverflowError):
        return None
