"""A picture as a presentation state has it: shuttered, cut, turned, scaled (PS3.4 N.2.5).

In the order of the standard: the shutter and the area count in pixels of the image; the
rotation comes before the flip.
"""

from PIL import Image, ImageChops, ImageDraw

from gateway.dicom.geometry import natural_size
from gateway.dicom.hierarchy import Attributes
from gateway.dicom.presentation import Presentation, Shutter
from gateway.dicom.render_options import LARGEST_SIDE, RenderOptions
from gateway.errors import NotAcceptable

#: Pixels of an area, which may be larger than the image.
_MOST_PIXELS = 1 << 27

_TURNS = {
    90: Image.Transpose.ROTATE_270,  # the library counts the other way round
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_90,
}


def presented(
    image: Image.Image,
    attributes: Attributes,
    presentation: Presentation,
    options: RenderOptions,
) -> Image.Image:
    """The picture of an image in a presentation, in the box that the request has."""
    image = _shuttered(image, presentation)
    if presentation.area is not None:
        image = _cut(image, presentation.area)
    width, height = natural_size(image.size, attributes)
    if presentation.rotation in _TURNS:
        image = image.transpose(_TURNS[presentation.rotation])
        if presentation.rotation != 180:
            width, height = height, width
    if presentation.is_flipped:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    factor = min(
        (options.width or LARGEST_SIDE) / width,
        (options.height or LARGEST_SIDE) / height,
    )
    if options.width is None and options.height is None:
        factor = min(factor, presentation.magnification or 1.0)
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    if size == image.size:
        return image
    return image.resize(size, Image.Resampling.BILINEAR)


def _cut(image: Image.Image, area: tuple[int, int, int, int]) -> Image.Image:
    """The area, black where it reaches beyond the image."""
    if (area[2] - area[0]) * (area[3] - area[1]) > _MOST_PIXELS:
        raise NotAcceptable("presentationUID: the area of the state is too large")
    return image.crop(area)


def _shuttered(image: Image.Image, presentation: Presentation) -> Image.Image:
    if not presentation.shutters:
        return image
    seen = Image.new("L", image.size, 255)
    for shutter in presentation.shutters:
        seen = ImageChops.multiply(seen, _opening(image.size, shutter))
    outside = Image.new("L", image.size, presentation.outside).convert(image.mode)
    return Image.composite(image, outside, seen)


def _opening(size: tuple[int, int], shutter: Shutter) -> Image.Image:
    """What a shutter leaves to be seen; places count from 1 (PS3.3 C.7.6.11)."""
    mask = Image.new("L", size, 0)
    draw = ImageDraw.Draw(mask)
    if shutter.shape == "CIRCULAR":
        across, down, radius = shutter.points
        box = (across - 1 - radius, down - 1 - radius)
        draw.ellipse((*box, across - 1 + radius, down - 1 + radius), fill=255)
        return mask
    places = [place - 1 for place in shutter.points]
    if shutter.shape == "RECTANGULAR":
        left, top, right, bottom = places
        if left <= right and top <= bottom:
            draw.rectangle((left, top, right, bottom), fill=255)
    else:
        draw.polygon(places, fill=255)
    return mask
