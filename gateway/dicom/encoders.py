"""Frames encoded: from stored values to what a transfer syntax makes of them.

What a syntax cannot hold exactly raises CannotTranscode rather than lose a bit, except
where the loss is what was asked for. Every lossless frame is decoded again and compared
before it is given away.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec

import numpy
from PIL import Image

from gateway.dicom import codecs, rle
from gateway.dicom.codecs import (
    HTJ2K,
    HTJ2K_LOSSLESS,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    JPEG_LS_NEAR_LOSSLESS,
    RLE_LOSSLESS,
)
from gateway.dicom.pixels import EXPLICIT_LITTLE_ENDIAN, PixelLayout
from gateway.errors import CannotTranscode

#: The quality of lossy JPEG, as libjpeg counts.
JPEG_QUALITY = 90
#: By how much a sample of near-lossless JPEG-LS may differ.
NEAR = 2
#: How much smaller lossy JPEG 2000 is than the samples.
COMPRESSION_RATIO = 10.0

_WHOLE_COLOURS = ("RGB", "YBR_FULL")


@dataclass(frozen=True, slots=True)
class Encoding:
    """One way to encode frames."""

    encode: Callable[[PixelLayout, numpy.ndarray], bytes]
    most_bits: int = 16
    signed: bool = True
    lossless: bool = True
    module: str | None = None  # imported when it is needed
    method: str = ""  # for (0028,2114)
    least_side: int = 1  # pixels; the codecs take no smaller frames


def decoded(layout: PixelLayout) -> PixelLayout:
    """The layout of the samples that `codecs.decode` gives, by pixel in little endian."""
    one = replace(
        layout,
        transfer_syntax=EXPLICIT_LITTLE_ENDIAN,
        photometric_interpretation=codecs.photometric_after(layout),
        planar_configuration=0,
        encapsulated=False,
        extended_offsets=None,
        extended_lengths=None,
        offset=0,
        length=0,
    )
    return replace(one, length=-(-one.frame_bits * one.number_of_frames // 8))


def can_encode(layout: PixelLayout, transfer_syntax: str) -> bool:
    """Whether frames of this layout can be had in a transfer syntax, if decoded."""
    if transfer_syntax == EXPLICIT_LITTLE_ENDIAN:
        return True
    encoding = _ENCODINGS.get(transfer_syntax)
    return (
        encoding is not None
        and transfer_syntax not in _MISSING
        and not layout.is_floating_point
        and layout.bits_allocated >= 8
        and min(layout.rows, layout.columns) >= encoding.least_side
        and max(layout.bits_stored, layout.high_bit + 1) <= encoding.most_bits
        and (encoding.signed or not layout.pixel_representation)
        and (encoding.lossless or _may_lose(layout))
        and _holds_colour(layout, transfer_syntax)
    )


def _may_lose(layout: PixelLayout) -> bool:
    """Whether samples that differ a little look a little different."""
    return layout.photometric_interpretation != "PALETTE COLOR"


def _holds_colour(layout: PixelLayout, transfer_syntax: str) -> bool:
    if layout.samples_per_pixel == 1:
        return transfer_syntax != JPEG_BASELINE or layout.bits_allocated == 8
    if layout.samples_per_pixel != 3:
        return False
    if transfer_syntax == JPEG_BASELINE:
        after = codecs.photometric_after(layout)
        return layout.bits_allocated == 8 and after in _WHOLE_COLOURS
    return True


def is_lossless(transfer_syntax: str) -> bool:
    """Whether encoding in it gives back the same samples."""
    encoding = _ENCODINGS.get(transfer_syntax)
    return encoding is None or encoding.lossless


def method_of(transfer_syntax: str) -> str:
    """What a lossy one is called in (0028,2114)."""
    return _ENCODINGS[transfer_syntax].method


def photometric_in(layout: PixelLayout, transfer_syntax: str) -> str:
    """The photometric interpretation once samples of this layout are encoded."""
    photometric = layout.photometric_interpretation
    if photometric == "RGB" and transfer_syntax == JPEG_BASELINE:
        return "YBR_FULL_422"
    if photometric == "RGB" and transfer_syntax in (JPEG_2000_LOSSLESS, HTJ2K_LOSSLESS):
        return "YBR_RCT"
    if photometric == "RGB" and transfer_syntax == JPEG_2000:
        return "YBR_ICT"
    return (
        "YBR_RCT" if (photometric, transfer_syntax) == ("RGB", HTJ2K) else photometric
    )


def encode(layout: PixelLayout, samples: numpy.ndarray, transfer_syntax: str) -> bytes:
    """A frame of a decoded layout in a transfer syntax; raises CannotTranscode."""
    if transfer_syntax == EXPLICIT_LITTLE_ENDIAN:
        return _plain(layout, samples)
    if not can_encode(layout, transfer_syntax):
        raise CannotTranscode(f"these pixels cannot be given in {transfer_syntax}")
    encoding = _ENCODINGS[transfer_syntax]
    try:
        made = encoding.encode(layout, numpy.ascontiguousarray(samples))
    except CannotTranscode:
        raise
    except Exception as error:
        raise CannotTranscode(f"a frame cannot be encoded: {error}") from error
    if encoding.lossless:
        _check(layout, samples, transfer_syntax, made)
    return made


def _check(
    layout: PixelLayout, samples: numpy.ndarray, transfer_syntax: str, made: bytes
) -> None:
    again = codecs.decode(
        replace(layout, transfer_syntax=transfer_syntax, encapsulated=True), made
    )
    if not numpy.array_equal(again, samples):
        raise CannotTranscode(f"{transfer_syntax} would change these pixels")


def _plain(layout: PixelLayout, samples: numpy.ndarray) -> bytes:
    if layout.bits_allocated == 1:
        return numpy.packbits(samples.reshape(-1), bitorder="little").tobytes()
    return samples.astype(codecs.dtype_of(layout), copy=False).tobytes()


def _precision(layout: PixelLayout, samples: numpy.ndarray) -> int:
    """The bits that samples need: some have more of them than they say."""
    low, high = int(samples.min()), int(samples.max())
    if layout.pixel_representation:
        needed = max((~low if low < 0 else low).bit_length(), high.bit_length()) + 1
    else:
        needed = high.bit_length()
    return max(layout.bits_stored, layout.high_bit + 1, needed, 2)


def _unsigned(samples: numpy.ndarray, bits: int) -> numpy.ndarray:
    """The bits of samples, for codecs that know no sign."""
    width = samples.dtype.itemsize
    mask = (1 << bits) - 1
    made: numpy.ndarray = samples.view(f"<u{width}") & numpy.array(mask, f"<u{width}")
    return made


def _rle(layout: PixelLayout, samples: numpy.ndarray) -> bytes:
    planes = samples.reshape(layout.rows, layout.columns, -1)
    return rle.encode(numpy.ascontiguousarray(numpy.moveaxis(planes, 2, 0)))


def _jpeg(layout: PixelLayout, samples: numpy.ndarray) -> bytes:
    mode = "L"
    if layout.samples_per_pixel == 3:
        mode = "RGB" if layout.photometric_interpretation == "RGB" else "YCbCr"
    size = (layout.columns, layout.rows)
    image = Image.frombytes(mode, size, samples.tobytes())
    out = io.BytesIO()
    # Subsampling 1 is 4:2:2.
    image.save(out, "JPEG", quality=JPEG_QUALITY, subsampling=1)
    return out.getvalue()


def _jpeg_lossless(layout: PixelLayout, samples: numpy.ndarray) -> bytes:
    import imagecodecs

    bits = _precision(layout, samples)
    # Colour is left as it is: the samples are what is kept.
    space = "RGB" if layout.samples_per_pixel == 3 else None
    return bytes(
        imagecodecs.jpeg8_encode(
            _unsigned(_narrow(samples, bits), bits),
            lossless=True,
            predictor=1,
            bitspersample=bits,
            colorspace=space,
            outcolorspace=space,
        )
    )


def _narrow(samples: numpy.ndarray, bits: int) -> numpy.ndarray:
    """Samples in as few bytes as they need; codecs tell their precision by that."""
    width = 1 if bits <= 8 else 2
    if samples.dtype.itemsize < width:
        raise CannotTranscode("samples of more bits than are allocated")
    return samples.astype(f"<{samples.dtype.kind}{width}", copy=False)


def _jpeg_ls(near: int) -> Callable[[PixelLayout, numpy.ndarray], bytes]:
    def make(layout: PixelLayout, samples: numpy.ndarray) -> bytes:
        import jpeg_ls

        bits = _precision(layout, samples)
        source = _unsigned(_narrow(samples, bits), bits)
        return bytes(
            jpeg_ls.encode_buffer(
                source.tobytes(),
                layout.rows,
                layout.columns,
                layout.samples_per_pixel,
                bits,
                near,
                2 if layout.samples_per_pixel > 1 else 0,
            )
        )

    return make


def _jpeg_2000(
    ratios: list[float] | None,
) -> Callable[[PixelLayout, numpy.ndarray], bytes]:
    def make(layout: PixelLayout, samples: numpy.ndarray) -> bytes:
        from openjpeg.utils import encode_array

        bits = _precision(layout, samples)
        colour = {"RGB": 1}.get(layout.photometric_interpretation, 0)
        return bytes(
            encode_array(
                _narrow(samples, bits),
                bits_stored=bits,
                photometric_interpretation=colour,
                compression_ratios=ratios,
            )
        )

    return make


def _htj2k(layout: PixelLayout, samples: numpy.ndarray) -> bytes:
    import imagecodecs

    bits = _precision(layout, samples)
    rgb = layout.photometric_interpretation == "RGB"
    return bytes(
        imagecodecs.htj2k_encode(_narrow(samples, bits), rgb=rgb, reversible=True)
    )


_ENCODINGS = {
    RLE_LOSSLESS: Encoding(_rle, most_bits=64),
    JPEG_BASELINE: Encoding(
        _jpeg, 8, signed=False, lossless=False, method="ISO_10918_1"
    ),
    JPEG_LOSSLESS_SV1: Encoding(_jpeg_lossless, module="imagecodecs"),
    JPEG_LS_LOSSLESS: Encoding(_jpeg_ls(0), module="jpeg_ls", least_side=8),
    JPEG_LS_NEAR_LOSSLESS: Encoding(
        _jpeg_ls(NEAR),
        signed=False,
        lossless=False,
        module="jpeg_ls",
        method="ISO_14495_1",
        least_side=8,
    ),
    JPEG_2000_LOSSLESS: Encoding(_jpeg_2000(None), module="openjpeg", least_side=32),
    JPEG_2000: Encoding(
        _jpeg_2000([COMPRESSION_RATIO]),
        lossless=False,
        module="openjpeg",
        method="ISO_15444_1",
        least_side=32,
    ),
    HTJ2K_LOSSLESS: Encoding(_htj2k, module="imagecodecs"),
    HTJ2K: Encoding(_htj2k, module="imagecodecs"),
}

#: Syntaxes whose codec is not installed, found out once.
_MISSING = frozenset(
    syntax
    for syntax, encoding in _ENCODINGS.items()
    if encoding.module is not None and find_spec(encoding.module) is None
)
#: All transfer syntaxes that pixels may be encoded in here.
ENCODABLE = frozenset({EXPLICIT_LITTLE_ENDIAN, *_ENCODINGS}) - _MISSING
