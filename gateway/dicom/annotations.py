"""What is written on a picture if a request asks for it, and the planes of the file.

The text is in the corners, where viewers put it: the patient on the left, how the image
was made on the right.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from gateway.dicom.functional import number, numbers, whole
from gateway.dicom.hierarchy import Attributes, first_text
from gateway.dicom.render_options import PATIENT, TECHNIQUE
from gateway.dicom.tables import raw

_PATIENT_LINES = (
    ("", "00100010"),
    ("", "00100020"),
    ("", "00100030"),
    ("", "00100040"),
)
_TECHNIQUE_LINES = (
    ("", "00080080"),
    ("", "00080060"),
    ("", "00080020"),
    ("Series ", "00200011"),
    ("Image ", "00200013"),
    ("kVp ", "00180060"),
    ("TR ", "00180080"),
    ("TE ", "00180081"),
    ("Slice ", "00180050"),
    ("Location ", "00201041"),
)

#: Attributes that may be written on a picture.
TEXT_TAGS = frozenset(tag for _, tag in (*_PATIENT_LINES, *_TECHNIQUE_LINES))

_LONGEST_LINE = 64
_MOST_OVERLAYS = 16
_Mask = npt.NDArray[np.bool_]


def write(
    image: Image.Image, attributes: Attributes, annotation: frozenset[str]
) -> Image.Image:
    """The picture with the text that was asked for."""
    if not annotation & {PATIENT, TECHNIQUE}:
        return image
    size = min(max(min(image.size) // 32, 8), 48)
    font = ImageFont.load_default(size)
    draw = ImageDraw.Draw(image)
    margin = size // 2
    if PATIENT in annotation:
        _corner(
            draw, (margin, margin), _lines(attributes, _PATIENT_LINES), font, "left"
        )
    if TECHNIQUE in annotation:
        place = image.width - margin, margin
        _corner(draw, place, _lines(attributes, _TECHNIQUE_LINES), font, "right")
    return image


def _lines(attributes: Attributes, of: tuple[tuple[str, str], ...]) -> str:
    texts = ((label, first_text(attributes, tag)) for label, tag in of)
    shown = (f"{label}{text[:_LONGEST_LINE]}" for label, text in texts if text)
    return "\n".join("".join(filter(str.isprintable, line)) for line in shown)


def _corner(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    side: str,
) -> None:
    if not text:
        return
    white, black = (255, 0) if draw.mode == "L" else ((255,) * 3, (0,) * 3)
    draw.multiline_text(
        place,
        text,
        fill=white,
        font=font,
        anchor="la" if side == "left" else "ra",
        align=side,
        stroke_width=1,
        stroke_fill=black,
    )


# -- overlays ----------------------------------------------------------------------------


def overlay_tags(attributes: Attributes) -> list[str]:
    """The groups of overlay planes in a data set, as "6002"."""
    groups = [f"60{2 * place:02X}" for place in range(_MOST_OVERLAYS)]
    return [group for group in groups if f"{group}3000" in attributes]


def draw_overlays(
    image: Image.Image, attributes: Attributes, frame: int
) -> Image.Image:
    """The picture, not yet scaled, with the overlay planes of its file in white."""
    for group in overlay_tags(attributes):
        mask = _plane(attributes, group, frame)
        if mask is None:
            continue
        origin = numbers(attributes, f"{group}0050")[:2]
        top, left = (
            int(value) - 1 for value in (origin if len(origin) == 2 else (1, 1))
        )
        stencil = Image.fromarray(mask.astype(np.uint8) * 255)
        white = Image.new(image.mode, stencil.size, "white")
        image.paste(white, (left, top), stencil)
    return image


def _plane(attributes: Attributes, group: str, frame: int) -> _Mask | None:
    """The bits of a plane for a frame; None if it has none there."""
    data = raw(attributes, f"{group}3000")
    rows, columns = (whole(attributes, f"{group}{at}") for at in ("0010", "0011"))
    if data is None or min(rows, columns) < 1:
        return None
    place = 0
    if f"{group}0015" in attributes:
        place = frame - int(number(attributes, f"{group}0051", 1))
        if not 0 <= place < whole(attributes, f"{group}0015", 1):
            return None
    start, count = place * rows * columns, rows * columns
    packed = np.frombuffer(data[start // 8 : (start + count + 7) // 8], np.uint8)
    bits = np.unpackbits(packed, bitorder="little")[start % 8 :][:count]
    if len(bits) < count:
        return None
    return bits.reshape(rows, columns).astype(bool)
