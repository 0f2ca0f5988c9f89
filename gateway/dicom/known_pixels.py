"""What is known of an instance's pixels by its header, and what they can become."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.dicom.pixels import PixelLayout, has_pixels, layout_of, pixel_attributes
from gateway.dicom.transcode import can_transcode
from gateway.errors import NotFound


@dataclass(frozen=True, slots=True)
class Pixels:
    """What is known of an instance's pixels."""

    layout: PixelLayout | None  # None: there are none
    lossy_ratio: str
    lossy_method: str
    is_unclear: bool = False  # there are some, and nothing tells what they are

    @property
    def known_layout(self) -> PixelLayout:
        """The layout; raises NotFound if there is none."""
        if self.layout is None:
            raise NotFound("this instance has no pixels")
        return self.layout

    def can_become(self, stored: str, target: str) -> bool:
        """Whether an instance with them can be had in a transfer syntax."""
        if self.is_unclear:
            return target == stored
        return can_transcode(stored, self.layout, target)


def pixels_in(
    header: bytes, transfer_syntax: str, places: Mapping[str, tuple[int, int]]
) -> Pixels:
    """What a header tells of pixels, as JSON and where values lie that the file keeps."""
    attributes = pixel_attributes(header)
    layout = layout_of(attributes, transfer_syntax, places)
    return Pixels(
        layout,
        _all(attributes, "00282112"),
        _all(attributes, "00282114"),
        is_unclear=layout is None and has_pixels(attributes),
    )


def _all(attributes: Any, tag: str) -> str:
    values = attributes.get(tag, {}).get("Value", ())
    return "\\".join("" if value is None else str(value) for value in values)
