"""What of an image is shown, which way round, and how large (PS3.18 8.3.5.1.3)."""

from PIL import Image

from gateway.dicom.functional import numbers
from gateway.dicom.hierarchy import Attributes
from gateway.dicom.render_options import LARGEST_SIDE, RenderOptions, Source
from gateway.errors import BadRequest

#: Height and width of a pixel, by the first of these that is there.
_SPACINGS = ("00280030", "00181164", "00182010", "00280034")

#: Pixels longer than this many times their width are a mistake.
_MOST_STRETCHED = 64


def fitted(
    image: Image.Image, attributes: Attributes, options: RenderOptions
) -> Image.Image:
    """The part that is wanted, turned and scaled as it is wanted."""
    box = _box(image.size, options.source)
    width, height = _size((box[2] - box[0], box[3] - box[1]), attributes, options)
    whole = (0, 0, *image.size)
    if box != whole:
        image = image.crop(box)
    for wanted, way in (
        (options.source.mirrored, Image.Transpose.FLIP_LEFT_RIGHT),
        (options.source.upside_down, Image.Transpose.FLIP_TOP_BOTTOM),
    ):
        if wanted:
            image = image.transpose(way)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return _padded(image, options)


def picture_size(
    size: tuple[int, int], attributes: Attributes, options: RenderOptions
) -> tuple[int, int]:
    """The size of the picture of an image of this size, with what it is padded by.

    Raises BadRequest if what is wanted is outside of the image.
    """
    box = _box(size, options.source)
    if options.padded and options.width is not None and options.height is not None:
        return options.width, options.height
    return _size((box[2] - box[0], box[3] - box[1]), attributes, options)


def _box(size: tuple[int, int], source: Source) -> tuple[int, int, int, int]:
    """The rectangle that is shown, cut to the image; at least one pixel of it."""
    across, down = size if source.fractions else (1, 1)
    if source.x * across >= size[0] or source.y * down >= size[1]:
        raise BadRequest(
            "viewport: the source rectangle is outside of the image,"
            f" which has {size[0]} columns and {size[1]} rows"
        )
    left = _within(source.x * across, size[0] - 1)
    top = _within(source.y * down, size[1] - 1)
    right, bottom = size
    if source.width is not None:
        right = _within((source.x + source.width) * across, size[0])
    if source.height is not None:
        bottom = _within((source.y + source.height) * down, size[1])
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _within(value: float, largest: int) -> int:
    return int(min(max(value, 0) + 0.5, largest))


def _size(
    size: tuple[int, int], attributes: Attributes, options: RenderOptions
) -> tuple[int, int]:
    """The size of the picture: pixels become square, and the box is filled one way."""
    width, height = natural_size(size, attributes)
    factor = min(
        (options.width or LARGEST_SIDE) / width,
        (options.height or LARGEST_SIDE) / height,
    )
    boxed = options.width is not None or options.height is not None
    if not (boxed and options.enlarged):
        factor = min(factor, 1)
    return max(int(width * factor + 0.5), 1), max(int(height * factor + 0.5), 1)


def natural_size(size: tuple[int, int], attributes: Attributes) -> tuple[float, float]:
    """Width and height at which pixels are square; nothing gets smaller."""
    for tag in _SPACINGS:
        ratio = _ratio(attributes, tag)
        if ratio is not None:
            return size[0] * max(1 / ratio, 1.0), size[1] * max(ratio, 1.0)
    return size


def has_spacing(attributes: Attributes) -> bool:
    """Whether the spacing of pixels is told by the attribute that comes first."""
    return _ratio(attributes, _SPACINGS[0]) is not None


def _ratio(attributes: Attributes, tag: str) -> float | None:
    """The height of a pixel, as many times its width, if it can be believed."""
    spacing = numbers(attributes, tag)[:2]
    if len(spacing) < 2 or min(spacing) <= 0:
        return None
    ratio = spacing[0] / spacing[1]
    return ratio if 1 / _MOST_STRETCHED <= ratio <= _MOST_STRETCHED else None


def _padded(image: Image.Image, options: RenderOptions) -> Image.Image:
    """The picture in the middle of its box, on black."""
    if not options.padded or options.width is None or options.height is None:
        return image
    size = options.width, options.height
    if image.size == size:
        return image
    canvas = Image.new(image.mode, size)
    place = (size[0] - image.width) // 2, (size[1] - image.height) // 2
    canvas.paste(image, place)
    return canvas
