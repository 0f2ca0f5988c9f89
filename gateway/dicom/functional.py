"""What holds for one frame: functional groups laid over the rest (PS3.3 C.7.6.16).

In an enhanced object, the window or the rescaling of a frame is in an item of the frame,
or in one that all frames share. Whoever renders a frame wants to see them where a simple
object has them.
"""

import math
from contextlib import suppress
from typing import Any

from gateway.dicom.hierarchy import Attributes

_SHARED = "52009229"
_PER_FRAME = "52009230"

#: Functional groups whose content a simple object has at its top.
_GROUPS = (
    "00289145",  # PixelValueTransformationSequence
    "00289132",  # FrameVOILUTSequence
    "00289110",  # PixelMeasuresSequence
    "00289422",  # PixelIntensityRelationshipLUTSequence
)


def items(attributes: Attributes, tag: str) -> list[Attributes]:
    """The items of a sequence; none if it is not there or empty."""
    values = attributes.get(tag, {}).get("Value") or []
    return [item for item in values if isinstance(item, dict)]


def numbers(attributes: Attributes, tag: str) -> list[float]:
    """The numbers of an attribute; those that are none are left out."""
    found: list[float] = []
    for value in attributes.get(tag, {}).get("Value") or []:
        with suppress(TypeError, ValueError):
            found.append(float(value))
    return list(filter(math.isfinite, found))


def number(attributes: Attributes, tag: str, default: Any = None) -> Any:
    """The first number of an attribute, or the default."""
    found = numbers(attributes, tag)
    return found[0] if found else default


def whole(attributes: Attributes, tag: str, default: int = 0) -> int:
    """The first number of an attribute as a whole one, or the default."""
    found = numbers(attributes, tag)
    try:
        return int(found[0]) if found else default
    except (OverflowError, ValueError):
        return default


def of_frame(attributes: Attributes, frame: int) -> Attributes:
    """The attributes with those of the functional groups of a frame (from 1) on top."""
    merged = {tag: attributes[tag] for tag in attributes if tag != _PER_FRAME}
    groups = items(attributes, _SHARED)[:1]
    groups += items(attributes, _PER_FRAME)[frame - 1 : frame]
    for group in groups:
        for tag in _GROUPS:
            for item in items(group, tag)[:1]:
                merged.update(item)
    return merged
