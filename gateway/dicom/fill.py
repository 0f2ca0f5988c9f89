"""What data sets that come without a file lack, and where it is known all the same.

Pictures tell their size, documents their kind (PS3.18 table 10.5.2-1), and text is UTF-8
whatever (0008,0005) says. Each function says whether it changed what was sent.
"""

import orjson

from gateway.dicom.bitstreams import Picture
from gateway.dicom.hierarchy import Attributes, first_text
from gateway.dicom.media import DOCUMENTS, SECONDARY_CAPTURE, VIDEO_PHOTOGRAPHIC, Kind
from gateway.dicom.png import Pixels
from gateway.dicom.values import Element

_CHARACTER_SET = "00080005"
_UTF8 = "ISO_IR 192"

#: What a bitstream cannot be wrong about: other values would make it unreadable.
_DECISIVE = frozenset({"00280002", "00280010", "00280011"})


def use_utf8(attributes: Attributes) -> bool:
    """Declare the character set that text is written in; whether another was declared.

    Text in ASCII is the same in all of them.
    """
    if orjson.dumps(attributes).isascii():
        return False
    replaced = _drop_charsets(attributes)
    _put(attributes, {_CHARACTER_SET: {"vr": "CS", "Value": [_UTF8]}})
    return replaced


def _drop_charsets(attributes: Attributes) -> bool:
    """Take all declarations out; whether one was not of UTF-8."""
    element = attributes.pop(_CHARACTER_SET, {})
    other = "Value" in element and element["Value"] != [_UTF8]
    for element in attributes.values():
        if element["vr"] == "SQ":
            for item in element.get("Value", ()):
                other = _drop_charsets(item) or other
    return other


def fill_picture(attributes: Attributes, picture: Picture) -> bool:
    """The Image Pixel attributes that a bitstream tells."""
    allocated = 8 if picture.bits <= 8 else 16 if picture.bits <= 16 else 32
    known = _pixel_attributes(picture.rows, picture.columns, picture.samples)
    known |= {
        "00280004": {"vr": "CS", "Value": [picture.photometric]},
        "00280100": _short(allocated),
        "00280101": _short(picture.bits),
        "00280102": _short(picture.bits - 1),
        "00280103": _short(int(picture.signed)),
    }
    if picture.lossy:
        known["00282110"] = {"vr": "CS", "Value": ["01"]}
    return _fill(attributes, known)


def fill_pixels(attributes: Attributes, pixels: Pixels) -> bool:
    """The Image Pixel attributes of pixels that were decoded: they are what is stored."""
    known = _pixel_attributes(pixels.rows, pixels.columns, pixels.samples)
    given = first_text(attributes, "00280004")
    mono = given if given.startswith("MONOCHROME") else "MONOCHROME2"
    known |= {
        "00280004": {"vr": "CS", "Value": ["RGB" if pixels.samples > 1 else mono]},
        "00280100": _short(pixels.bits),
        "00280101": _short(pixels.bits),
        "00280102": _short(pixels.bits - 1),
        "00280103": _short(0),
    }
    return _fill(attributes, known, decisive=frozenset(known))


def _pixel_attributes(rows: int, columns: int, samples: int) -> Attributes:
    known = {
        "00280002": _short(samples),
        "00280010": _short(rows),
        "00280011": _short(columns),
    }
    return known | ({"00280006": _short(0)} if samples > 1 else {})


def fill_frames(attributes: Attributes, count: int) -> bool:
    """The number of frames, where there are several and it is not said."""
    if count < 2:
        return False
    return _fill(attributes, {"00280008": {"vr": "IS", "Value": [count]}})


def fill_class(attributes: Attributes, kind: Kind) -> bool:
    """The SOP class of an instance that is made of such a part."""
    usual = VIDEO_PHOTOGRAPHIC if kind.is_video else SECONDARY_CAPTURE
    usual = DOCUMENTS.get(kind.name, usual)
    return _fill(attributes, {"00080016": {"vr": "UI", "Value": [usual]}})


def fill_document(attributes: Attributes, kind: Kind, size: int) -> bool:
    """What is said of an encapsulated document beside the document (PS3.3 C.24.2)."""
    known: Attributes = {
        "00420012": {"vr": "LO", "Value": [kind.name]},
        "00420015": {"vr": "UL", "Value": [size]},
    }
    return _fill(attributes, known, decisive=frozenset({"00420015"}))


def is_of_its_class(attributes: Attributes, kind: Kind) -> bool:
    """Whether the SOP class is one that holds documents of that kind."""
    wanted = DOCUMENTS.get(kind.name)
    return wanted is None or first_text(attributes, "00080016") == wanted


def _fill(
    attributes: Attributes, known: Attributes, decisive: frozenset[str] = _DECISIVE
) -> bool:
    """Put in what lacks, and what is decisive in any case; whether anything changed."""
    changed = {
        tag: element
        for tag, element in known.items()
        if not attributes.get(tag, {}).get("Value")
        or (tag in decisive and _differ(attributes[tag], element))
    }
    _put(attributes, changed)
    return bool(changed)


def _differ(given: Element, known: Element) -> bool:
    return str(given["Value"][0]).strip() != str(known["Value"][0])


def _put(attributes: Attributes, more: Attributes) -> None:
    """Add attributes and keep the order of tags."""
    ordered = dict(sorted((attributes | more).items()))
    attributes.clear()
    attributes.update(ordered)


def _short(number: int) -> Element:
    return {"vr": "US", "Value": [number]}
