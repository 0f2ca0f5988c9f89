"""Frames decoded: from what a transfer syntax makes of them to stored values.

Pillow decodes JPEG of 8 bits; the other codecs are the extra ``codecs`` and are imported
when they are first needed. What no installed codec decodes rightly raises
CannotTranscode; nothing is decoded to values that are almost right. The codecs take no
frame that is larger than its header says: the sizes are compared before.
"""

import io
import math
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy
from PIL import Image

from gateway.dicom import rle
from gateway.dicom.codestream import Codestream, codestream_of
from gateway.dicom.pixels import DOUBLE_PIXEL_DATA, FLOAT_PIXEL_DATA, PixelLayout
from gateway.errors import CannotTranscode

#: A frame of more samples than these is not decoded.
SAMPLES_LIMIT = 1 << 29

RLE_LOSSLESS = "1.2.840.10008.1.2.5"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.57"
JPEG_LOSSLESS_SV1 = "1.2.840.10008.1.2.4.70"
JPEG_LS_LOSSLESS = "1.2.840.10008.1.2.4.80"
JPEG_LS_NEAR_LOSSLESS = "1.2.840.10008.1.2.4.81"
JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
JPEG_2000 = "1.2.840.10008.1.2.4.91"
HTJ2K_LOSSLESS = "1.2.840.10008.1.2.4.201"
HTJ2K_LOSSLESS_RPCL = "1.2.840.10008.1.2.4.202"
HTJ2K = "1.2.840.10008.1.2.4.203"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"

_JPEG = frozenset({JPEG_BASELINE, JPEG_EXTENDED})
_JPEG_2000 = frozenset(
    {JPEG_2000_LOSSLESS, JPEG_2000, HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL, HTJ2K}
)
#: What changes samples for good: never decoded only to obey a default (PS3.18 8.7.3).
LOSSY = frozenset(
    {JPEG_BASELINE, JPEG_EXTENDED, JPEG_LS_NEAR_LOSSLESS, JPEG_2000, HTJ2K}
)
_HALVED = {"YBR_FULL_422": "YBR_FULL", "YBR_PARTIAL_422": "YBR_PARTIAL"}

Decoder = Callable[[PixelLayout, bytes], numpy.ndarray]


def decode(layout: PixelLayout, frame: bytes) -> numpy.ndarray:
    """One frame as stored values, shaped (rows, columns) or (rows, columns, samples).

    `frame` is what `gateway.dicom.frames` gives. Raises CannotTranscode.
    """
    check_size(layout)
    try:
        array = _decoder(layout)(layout, frame)
    except CannotTranscode:
        raise
    except ImportError as error:
        raise CannotTranscode("the codec for these pixels is not installed") from error
    except Exception as error:
        # Codecs raise all kinds of things for bytes that are broken.
        raise CannotTranscode(f"a frame cannot be decoded: {error}") from error
    shape: tuple[int, ...] = (layout.rows, layout.columns)
    if layout.samples_per_pixel > 1:
        shape += (layout.samples_per_pixel,)
    if array.size != math.prod(shape):
        raise CannotTranscode("a decoded frame is not as large as it should be")
    return array.reshape(shape)


def can_decode(layout: PixelLayout) -> bool:
    """Whether a codec for these pixels is here, which says nothing of broken frames."""
    try:
        check_size(layout)
        _decoder(layout)
    except CannotTranscode:
        return False
    if layout.transfer_syntax == JPEG_EXTENDED and layout.bits_allocated == 8:
        return True
    return not layout.encapsulated or layout.transfer_syntax not in _MISSING


def photometric_after(layout: PixelLayout) -> str:
    """The photometric interpretation of samples that `decode` gave."""
    photometric = layout.photometric_interpretation
    if layout.samples_per_pixel != 3:
        return photometric
    changed = layout.transfer_syntax in _JPEG or photometric in ("YBR_RCT", "YBR_ICT")
    if layout.encapsulated and photometric.startswith("YBR") and changed:
        return "RGB"
    return _HALVED.get(photometric, photometric)


def dtype_of(layout: PixelLayout) -> numpy.dtype[Any]:
    """The type of stored values."""
    if layout.tag == FLOAT_PIXEL_DATA:
        return numpy.dtype("<f4")
    if layout.tag == DOUBLE_PIXEL_DATA:
        return numpy.dtype("<f8")
    width = max(layout.bits_allocated, 8) // 8
    if layout.bits_allocated not in (1, 8, 16, 32, 64):
        raise CannotTranscode(f"samples of {layout.bits_allocated} bits are not usual")
    return numpy.dtype(f"<{'i' if layout.pixel_representation else 'u'}{width}")


def check_size(layout: PixelLayout) -> None:
    """Raise CannotTranscode for a frame that would be absurdly large."""
    if layout.rows * layout.columns * layout.samples_per_pixel > SAMPLES_LIMIT:
        raise CannotTranscode("a frame of so many pixels is not decoded here")
    dtype_of(layout)


def _decoder(layout: PixelLayout) -> Decoder:
    if not layout.encapsulated:
        return native
    found = _DECODERS.get(layout.transfer_syntax)
    if found is None or layout.is_floating_point:
        raise CannotTranscode(f"{layout.transfer_syntax} cannot be decoded here")
    return found


# -- without compression -----------------------------------------------------------------


def native(layout: PixelLayout, frame: bytes) -> numpy.ndarray:
    """Samples that are not compressed, little endian, from a first whole byte on."""
    count = layout.frame_bits // max(layout.bits_allocated, 1)
    if layout.bits_allocated == 1:
        bits = numpy.frombuffer(frame, numpy.uint8)
        return numpy.unpackbits(bits, count=count, bitorder="little")
    array = numpy.frombuffer(frame, dtype_of(layout), count)
    if layout.is_halved:
        return _whole(array)
    if layout.samples_per_pixel > 1 and layout.planar_configuration == 1:
        return _by_pixel(layout, array)
    return array


def _whole(halved: numpy.ndarray) -> numpy.ndarray:
    """Y Y Cb Cr to a Y Cb Cr for each pixel."""
    pairs = halved.reshape(-1, 4)
    return numpy.stack(
        (pairs[:, :2], pairs[:, 2:3].repeat(2, 1), pairs[:, 3:].repeat(2, 1)), axis=2
    )


def _by_pixel(layout: PixelLayout, planes: numpy.ndarray) -> numpy.ndarray:
    by_colour = planes.reshape(layout.samples_per_pixel, -1)
    return numpy.ascontiguousarray(by_colour.T)


def _inflated(layout: PixelLayout, frame: bytes) -> numpy.ndarray:
    size = -(-layout.frame_bits // 8)
    return native(layout, zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, size))


# -- with a codec ------------------------------------------------------------------------


def _rle(layout: PixelLayout, frame: bytes) -> numpy.ndarray:
    pixels = layout.rows * layout.columns
    dtype = dtype_of(layout)
    planes = rle.decode(frame, pixels, layout.samples_per_pixel, dtype.itemsize)
    return _by_pixel(layout, numpy.frombuffer(planes, dtype))


def _jpeg(layout: PixelLayout, frame: bytes) -> numpy.ndarray:
    """Baseline and extended: colour becomes RGB, as libjpeg makes it."""
    stream = _checked(layout, frame)
    if stream.process not in (0xC0, 0xC1, 0xC2):
        return _jpeg_lossless(layout, frame)
    if stream.precision != 8:
        return _deep_jpeg(layout, frame)
    with Image.open(io.BytesIO(frame), formats=("JPEG",)) as image:
        _set_colour(layout, stream, image)
        if stream.samples == 3 and image.mode not in ("RGB", "YCbCr"):
            raise CannotTranscode(f"a JPEG frame of kind {image.mode}")
        array = numpy.asarray(image)
    if stream.adobe_transform == 0 and _is_ybr(layout) and not stream.named_rgb:
        array = numpy.asarray(Image.fromarray(array, "YCbCr").convert("RGB"))
    return array.astype(dtype_of(layout), copy=False)


def _is_ybr(layout: PixelLayout) -> bool:
    return layout.photometric_interpretation.startswith("YBR")


def _set_colour(layout: PixelLayout, stream: Codestream, image: Image.Image) -> None:
    """Have samples that are RGB already left alone, where only DICOM says that they are."""
    says_nothing = stream.adobe_transform is None and not stream.jfif
    if stream.samples == 3 and says_nothing and not _is_ybr(layout):
        image.draft("YCbCr", image.size)


def _deep_jpeg(layout: PixelLayout, frame: bytes) -> numpy.ndarray:
    import imagecodecs

    if layout.samples_per_pixel != 1:
        raise CannotTranscode("colour of more than 8 bits in JPEG")
    return _fitted(layout, imagecodecs.jpeg8_decode(frame), layout.bits_stored)


def _jpeg_lossless(layout: PixelLayout, frame: bytes) -> numpy.ndarray:
    import imagecodecs

    stream = _checked(layout, frame)
    return _fitted(layout, imagecodecs.jpegsof3_decode(frame), stream.precision)


def _jpeg_ls(layout: PixelLayout, frame: bytes) -> numpy.ndarray:
    import jpeg_ls

    stream = _checked(layout, frame)
    samples, told = jpeg_ls.decode_buffer(frame)
    array = numpy.frombuffer(samples, "<u2" if stream.precision > 8 else "u1")
    if stream.samples > 1 and told["interleave_mode"] == 0:
        array = _by_pixel(layout, array)
    return _fitted(layout, array, stream.precision)


def _jpeg_2000(layout: PixelLayout, frame: bytes) -> numpy.ndarray:
    from openjpeg.utils import decode as decode_jpeg_2000

    stream = _checked(layout, frame)
    start = frame.find(b"\xff\x4f\xff\x51")
    array = decode_jpeg_2000(frame[start:], 0)
    if stream.signed == bool(layout.pixel_representation):
        return _ranged(layout, array)
    return _fitted(layout, array, stream.precision)


def _checked(layout: PixelLayout, frame: bytes) -> Codestream:
    """The header of a frame that is as large as the instance says."""
    stream = codestream_of(frame)
    told = stream.rows, stream.columns, stream.samples
    if told != (layout.rows, layout.columns, layout.samples_per_pixel):
        raise CannotTranscode(
            f"a frame has {stream.rows} rows, {stream.columns} columns and"
            f" {stream.samples} samples a pixel; the instance says otherwise"
        )
    if stream.precision > max(layout.bits_allocated, 8):
        raise CannotTranscode("a frame has more bits than the instance allocates")
    return stream


def _fitted(layout: PixelLayout, array: numpy.ndarray, bits: int) -> numpy.ndarray:
    """Samples of so many bits, whose sign the codec does not know, as stored values."""
    dtype = dtype_of(layout)
    unused = dtype.itemsize * 8 - bits
    shifted = array.astype(f"<u{dtype.itemsize}") << unused
    return shifted.view(dtype) >> unused


def _ranged(layout: PixelLayout, array: numpy.ndarray) -> numpy.ndarray:
    return array.astype(dtype_of(layout), copy=False)


_DECODERS: dict[str, Decoder] = {
    RLE_LOSSLESS: _rle,
    JPEG_BASELINE: _jpeg,
    JPEG_EXTENDED: _jpeg,
    JPEG_LOSSLESS: _jpeg_lossless,
    JPEG_LOSSLESS_SV1: _jpeg_lossless,
    JPEG_LS_LOSSLESS: _jpeg_ls,
    JPEG_LS_NEAR_LOSSLESS: _jpeg_ls,
    DEFLATED_FRAMES: _inflated,
    ENCAPSULATED_UNCOMPRESSED: native,
    **dict.fromkeys(_JPEG_2000, _jpeg_2000),
}

#: What is needed beyond what is always installed.
_MODULES = {
    JPEG_EXTENDED: "imagecodecs",
    JPEG_LOSSLESS: "imagecodecs",
    JPEG_LOSSLESS_SV1: "imagecodecs",
    JPEG_LS_LOSSLESS: "jpeg_ls",
    JPEG_LS_NEAR_LOSSLESS: "jpeg_ls",
    **dict.fromkeys(_JPEG_2000, "openjpeg"),
}

#: Syntaxes whose codec is not installed, found out once.
_MISSING = frozenset(
    syntax for syntax, module in _MODULES.items() if find_spec(module) is None
)
