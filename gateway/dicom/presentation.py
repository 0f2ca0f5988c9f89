"""Grayscale presentation states: how somebody saw an image (PS3.3 A.33.1, PS3.4 N.2).

Values, polarity, what is shown of an image, which way round, how large, and what is
shuttered off come from the state instead of the image. What cannot be honoured is
refused: a picture that lacks a mark would not be what somebody saw.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.dicom.functional import items, number, numbers, whole
from gateway.dicom.hierarchy import Attributes, first_text
from gateway.dicom.tables import signed_input
from gateway.errors import BadRequest, NotAcceptable

GRAYSCALE_STATE = "1.2.840.10008.5.1.4.1.1.11.1"

_SERIES, _IMAGES = "00081115", "00081140"
_UID, _FRAMES = "00081155", "00081160"
_VOI, _AREAS = "00283110", "0070005A"
_MODALITY = ("00283000", "00281052", "00281053", "00281054")
_WINDOW = ("00283010", "00281050", "00281051", "00281056")
_POLARITY = ("20500010", "20500020")
_SPACINGS = ("00280030", "00181164", "00182010", "00280034")
_TABLES = (_VOI, "00283000", "20500010")
_REPLACED = (*_MODALITY, *_WINDOW, *_POLARITY)

#: What a state may have that is not drawn here.
_NOT_DRAWN = {
    "00700001": "graphic annotations",
    "00286100": "masks to be subtracted",
    "00700402": "a blending of images",
}
_SHAPES = ("RECTANGULAR", "CIRCULAR", "POLYGONAL")
_EDGES = ("00181602", "00181606", "00181604", "00181608")


@dataclass(frozen=True, slots=True)
class Shutter:
    """A part of an image that stays visible; columns before rows, from 0."""

    shape: str  # one of _SHAPES
    points: tuple[float, ...]  # corners; of a circle, its middle and radius


@dataclass(frozen=True, slots=True)
class Presentation:
    """What a state says of all that is shown but for values and polarity."""

    state: str  # tells states apart
    area: tuple[int, int, int, int] | None = None  # may reach beyond the image
    rotation: int = 0  # degrees clockwise, before the flip
    is_flipped: bool = False  # left and right
    magnification: float = 0.0  # 0: to fit
    shutters: tuple[Shutter, ...] = ()
    outside: int = 0  # shade of what is shuttered off


def presentation_of(
    state: Attributes, name: str, uid: str, frames: Sequence[int]
) -> Presentation:
    """What a state with this name says of frames of an instance.

    Raises BadRequest if it says nothing of them, NotAcceptable for what is not done here.
    """
    _refuse(state)
    for frame in frames:
        if not _concerns(_referenced(state), uid, frame):
            raise BadRequest("presentationUID: this state does not concern the object")
    area = _applying(state, _AREAS, uid, frames)
    rotation = whole(state, "00700042")
    if rotation % 90:
        raise NotAcceptable("presentationUID: the state has no rotation by 90 degrees")
    return Presentation(
        state=name,
        area=_corners(area),
        rotation=rotation % 360,
        is_flipped=first_text(state, "00700041").upper() == "Y",
        magnification=_magnification(area),
        shutters=tuple(_shutters(state)),
        outside=whole(state, "00181622") * 255 // 65535,
    )


def with_state(
    image: Attributes, state: Attributes, uid: str, frame: int
) -> Attributes:
    """The attributes of a frame with those of a state instead of its own."""
    shown = {tag: image[tag] for tag in image if tag not in _REPLACED}
    shown |= {tag: state[tag] for tag in (*_MODALITY, *_POLARITY) if tag in state}
    shown["00280004"] = {"vr": "CS", "Value": ["MONOCHROME2"]}  # the state tells
    window = _applying(state, _VOI, uid, [frame])
    shown |= {tag: window[tag] for tag in _WINDOW if tag in window}
    if not window:
        shown |= _everything(shown)
    area = _applying(state, _AREAS, uid, [frame])
    for told, tag in (("00700101", "00280030"), ("00700102", "00280034")):
        if told in area:
            shown = {key: shown[key] for key in shown if key not in _SPACINGS}
            shown[tag] = area[told]
            break
    return shown


def _refuse(state: Attributes) -> None:
    """Raise NotAcceptable for what is in a state and not done here."""
    if first_text(state, "00080016") != GRAYSCALE_STATE:
        raise NotAcceptable(
            "presentationUID: only grayscale softcopy presentation states are applied"
        )
    there = [words for tag, words in _NOT_DRAWN.items() if items(state, tag)]
    if any(tag.startswith("60") and tag.endswith("3000") for tag in state):
        there.append("overlays")
    if "BITMAP" in _values(state, "00181600"):
        there.append("a shutter of bits")
    tables = [item for tag in _TABLES for item in items(state, tag)]
    if any(map(_has_references, tables)):
        there.append("very large tables")
    if there:
        raise NotAcceptable(
            f"presentationUID: the state has {', '.join(there)}, not shown here"
        )


def _values(attributes: Attributes, tag: str) -> list[str]:
    return [str(one).upper() for one in attributes.get(tag, {}).get("Value") or []]


def _has_references(attributes: Attributes) -> bool:
    return any(
        "BulkDataURI" in element or any(map(_has_references, items(attributes, tag)))
        for tag, element in attributes.items()
    )


# -- what a state concerns ---------------------------------------------------------------


def _referenced(state: Attributes) -> list[Attributes]:
    series = items(state, _SERIES)
    return [image for one in series for image in items(one, _IMAGES)]


def referenced_images(state: Attributes) -> Iterator[tuple[str, str, list[int]]]:
    """Series and SOP Instance UID of each image, and the frames that are named."""
    for series in items(state, _SERIES):
        for image in items(series, _IMAGES):
            frames = [int(frame) for frame in numbers(image, _FRAMES)]
            yield first_text(series, "0020000E"), first_text(image, _UID), frames


def _concerns(images: Sequence[Attributes], uid: str, frame: int) -> bool:
    for image in images:
        if first_text(image, _UID) == uid:
            frames = numbers(image, _FRAMES)
            if not frames or frame in frames:
                return True
    return False


def _applying(
    state: Attributes, tag: str, uid: str, frames: Sequence[int]
) -> Attributes:
    """The item that applies to frames, empty if none; raises NotAcceptable if several."""
    found: list[Attributes] = []
    for frame in frames:
        applying: Attributes = {}
        for item in items(state, tag):
            images = items(item, _IMAGES)
            if not images or _concerns(images, uid, frame):
                applying = item
                break
        if applying not in found:
            found.append(applying)
    if len(found) > 1:
        raise NotAcceptable("presentationUID: the state differs between these frames")
    return found[0] if found else {}


# -- values ------------------------------------------------------------------------------


def _everything(shown: Attributes) -> dict[str, Any]:
    """A window of all values that there may be: the state names none (PS3.4 N.2.2)."""
    count = 1 << min(max(whole(shown, "00280101", 8), 1), 32)
    low: float = -count // 2 if signed_input(shown) else 0
    high: float = low + count - 1
    for item in items(shown, "00283000")[:1]:
        shape = numbers(item, "00283002")
        low, high = 0, (1 << int(shape[2])) - 1 if len(shape) == 3 else 255
        break
    else:
        slope = number(shown, "00281053", 1.0) or 1.0
        intercept = number(shown, "00281052", 0.0)
        ends = (low * slope + intercept, high * slope + intercept)
        low, high = min(ends), max(ends)
    return {
        "00281050": {"vr": "DS", "Value": [(low + high) / 2]},
        "00281051": {"vr": "DS", "Value": [max(high - low, 1e-9)]},
        "00281056": {"vr": "CS", "Value": ["LINEAR_EXACT"]},
    }


# -- what is shown -----------------------------------------------------------------------


def _corners(area: Attributes) -> tuple[int, int, int, int] | None:
    """The rectangle from two corners, in whichever order the rotation has them."""
    first, second = (numbers(area, tag)[:2] for tag in ("00700052", "00700053"))
    if len(first) < 2 or len(second) < 2:
        return None
    columns = sorted((int(first[0]), int(second[0])))
    rows = sorted((int(first[1]), int(second[1])))
    return columns[0] - 1, rows[0] - 1, columns[1], rows[1]


def _magnification(area: Attributes) -> float:
    mode = first_text(area, "00700100").upper()
    if mode == "TRUE SIZE":
        raise NotAcceptable(
            "presentationUID: the state wants its true size, which no file has"
        )
    return float(number(area, "00700103", 1.0)) if mode == "MAGNIFY" else 0.0


def _shutters(state: Attributes) -> list[Shutter]:
    found = []
    for shape in _values(state, "00181600"):
        if shape not in _SHAPES:
            raise NotAcceptable(
                f"presentationUID: a shutter of the shape {shape[:16]!r}"
            )
        if shape == "RECTANGULAR":
            points = [number(state, tag) for tag in _EDGES]
        elif shape == "CIRCULAR":
            points = [*numbers(state, "00181610")[1::-1], number(state, "00181612")]
        else:
            rows_first = numbers(state, "00181620")
            points = [
                value
                for pair in zip(rows_first[1::2], rows_first[::2], strict=False)
                for value in pair
            ]
        least = {"RECTANGULAR": 4, "CIRCULAR": 3, "POLYGONAL": 6}[shape]
        if len(points) < least or None in points:
            raise NotAcceptable("presentationUID: a shutter without its place")
        found.append(Shutter(shape, tuple(float(point) for point in points)))
    return found
