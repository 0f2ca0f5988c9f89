"""Binary values shown in metadata instead of the way to them (PS3.18 F.2.6, F.2.7).

Only where the settings ask for it, and only up to a size: metadata is read in one piece
by every client, and pixels are no part of it.
"""

import base64
from typing import Any

from gateway.dicom.bulk import ReadAt, is_encapsulated
from gateway.dicom.hierarchy import Attributes
from gateway.dicom.values import BINARY_WORDS, little_endian, number_element
from gateway.dicom.walk import PIXEL_TAGS

#: Larger values, and more than so many bytes of one instance, stay where they are.
LARGEST_VALUE = 1024 * 1024
LARGEST_SUM = 16 * 1024 * 1024

_PREFIX = "bulk/"
_AS_NUMBERS = {"OF": "FL", "OD": "FD", "OL": "UL", "OV": "UV"}

Places = dict[str, tuple[int, int]]


class Inliner:
    """Puts values into the attributes of one instance."""

    def __init__(
        self, places: Places, read_at: ReadAt, *, big_endian: bool, as_numbers: bool
    ) -> None:
        self._places = places
        self._read_at = read_at
        self._big_endian = big_endian
        self._as_numbers = as_numbers
        self._left = LARGEST_SUM

    def data_set(self, attributes: Attributes) -> Attributes:
        """The attributes, with values where there were references."""
        return {tag: self._element(tag, attributes[tag]) for tag in attributes}

    def _element(self, tag: str, element: dict[str, Any]) -> dict[str, Any]:
        vr = element["vr"]
        if vr == "SQ" and "Value" in element:
            return {"vr": vr, "Value": [self.data_set(i) for i in element["Value"]]}
        if vr not in BINARY_WORDS:
            return element
        value = self._value(tag, vr, element)
        if value is None:
            return element
        if self._as_numbers and vr in _AS_NUMBERS:
            return {**number_element(_AS_NUMBERS[vr], value, "<"), "vr": vr}
        return {"vr": vr, "InlineBinary": base64.b64encode(value).decode("ascii")}

    def _value(self, tag: str, vr: str, element: dict[str, Any]) -> bytes | None:
        """The bytes of a value in little-endian order; None to leave it as it is."""
        if "InlineBinary" in element:
            return base64.b64decode(element["InlineBinary"])
        if "BulkDataURI" not in element or int(tag, 16) in PIXEL_TAGS:
            return None
        path = element["BulkDataURI"].removeprefix(_PREFIX)
        offset, length = self._places[path]
        if length > min(LARGEST_VALUE, self._left):
            return None
        if is_encapsulated(self._read_at(offset - 4, 4)):
            return None
        self._left -= length
        value = self._read_at(offset, length)
        return little_endian(value, BINARY_WORDS[vr]) if self._big_endian else value
