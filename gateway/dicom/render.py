"""From an image to a picture: the pipeline of PS3.4 N.2, then of PS3.18 8.3.5.

Modality, values of interest, polarity or colour; then the profile, overlays, what is
shown and how large, and text on top. Works on what it is given: nothing is read here.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from gateway.dicom import annotations, geometry, pictures
from gateway.dicom.colour import PALETTE, colours
from gateway.dicom.functional import of_frame
from gateway.dicom.grayscale import shades
from gateway.dicom.hierarchy import Attributes
from gateway.dicom.presenting import presented
from gateway.dicom.render_options import OVERLAYS, RenderOptions

Values = npt.NDArray[np.generic]

_MONOCHROME = frozenset({"MONOCHROME1", "MONOCHROME2"})

#: Attributes outside the groups of images that rendering looks at.
_OTHERS = frozenset(
    {
        "00082144",  # RecommendedDisplayFrameRate
        "00180040",  # CineRate
        "00181063",  # FrameTime
        "00181065",  # FrameTimeVector
        "00181164",  # ImagerPixelSpacing
        "00182010",  # NominalScannedPixelSpacing
        "20500010",  # PresentationLUTSequence
        "20500020",  # PresentationLUTShape
        pictures.OPTICAL_PATHS,
    }
)
_IMAGE_GROUPS = frozenset({"0028", "5200"})
_EVER = _OTHERS | annotations.TEXT_TAGS


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, decoded."""

    number: int  # from 1
    attributes: Attributes  # those that hold for it
    values: Values  # as stored: rows, columns and, of colour, samples
    photometric: str  # what the samples mean now
    bits: int = 0  # that samples have, if that is fewer than there is room for


def attributes_ever(attributes: Attributes) -> Attributes:
    """Those that any picture may depend on: few of what a header has."""
    return {
        tag: element
        for tag, element in attributes.items()
        if tag[:4] in _IMAGE_GROUPS or tag in _EVER or tag[:2] == "60"
    }


def attributes_of(
    attributes: Attributes, frames: Iterable[int], options: RenderOptions
) -> list[Attributes]:
    """For each frame the attributes that its picture depends on, and no others."""
    groups = (
        ("0028", "5200", "60") if OVERLAYS in options.annotation else ("0028", "5200")
    )
    wanted = _OTHERS | (annotations.TEXT_TAGS if options.annotation else frozenset())
    kept = {
        tag: element
        for tag, element in attributes.items()
        if tag.startswith(groups) or tag in wanted
    }
    return [_without_frames(of_frame(kept, frame)) for frame in frames]


def _without_frames(attributes: Attributes) -> Attributes:
    return {tag: attributes[tag] for tag in attributes if not tag.startswith("5200")}


def picture(frame: Frame, options: RenderOptions) -> tuple[Image.Image, bytes | None]:
    """The picture of a frame, and the profile that its colours are in if it is wanted."""
    if frame.photometric in _MONOCHROME or (
        frame.values.ndim == 2 and frame.photometric != PALETTE
    ):
        grey = shades(frame.attributes, frame.values, options, frame.bits)
        image = Image.fromarray(grey)
    else:
        image = Image.fromarray(
            colours(frame.attributes, frame.values, frame.photometric)
        )
    image, profile = pictures.in_profile(image, frame.attributes, options.profile)
    if OVERLAYS in options.annotation:
        image = annotations.draw_overlays(image, frame.attributes, frame.number)
    if options.presentation is None:
        image = geometry.fitted(image, frame.attributes, options)
    else:
        image = presented(image, frame.attributes, options.presentation, options)
    return annotations.write(image, frame.attributes, options.annotation), profile


def render(frame: Frame, options: RenderOptions, kind: str) -> bytes:
    """The picture of a frame as a file of a media type out of `pictures.KINDS`."""
    image, profile = picture(frame, options)
    return pictures.encoded(image, kind, options.quality, profile)


def animate(
    frames: Iterator[Frame],
    numbers: Sequence[int],
    attributes: Attributes,
    options: RenderOptions,
) -> bytes:
    """The pictures of several frames as one that moves."""
    images = (picture(frame, options)[0] for frame in frames)
    times = pictures.durations(attributes, list(numbers))
    return pictures.animated(images, len(numbers), times)
