"""Small pictures that stand for what has no image: a sheet with a word on it.

Nothing of the instance is on it, so that it tells nobody whose it is (PS3.18 10.4.3.3.4).
"""

from PIL import Image, ImageDraw, ImageFont

from gateway.dicom import pictures

#: The sheet in the box: margins left and right, above and below, as parts of the side.
_LEFT, _TOP, _CORNER = 0.2, 0.1, 0.2
_DARK, _SHEET, _FOLD, _WORD = 0, 224, 160, 64


def icon(word: str, size: tuple[int, int], kind: str, quality: int) -> bytes:
    """A picture of this size with a short word, as a file of a media type."""
    side = min(size)
    image = Image.new("L", (side, side), _DARK)
    draw = ImageDraw.Draw(image)
    left, right = side * _LEFT, side * (1 - _LEFT)
    top, bottom = side * _TOP, side * (1 - _TOP)
    fold = side * _CORNER
    draw.polygon(
        [
            (left, top),
            (right - fold, top),
            (right, top + fold),
            (right, bottom),
            (left, bottom),
        ],
        fill=_SHEET,
    )
    draw.polygon(
        [(right - fold, top), (right - fold, top + fold), (right, top + fold)],
        fill=_FOLD,
    )
    font = ImageFont.load_default(max(side / 7, 1))
    draw.text((side / 2, side * 0.6), word, fill=_WORD, font=font, anchor="mm")
    if size != image.size:
        whole = Image.new("L", size, _DARK)
        whole.paste(image, ((size[0] - side) // 2, (size[1] - side) // 2))
        image = whole
    return pictures.encoded(image, kind, quality)
