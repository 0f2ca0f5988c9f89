"""Frames as pictures of their plain values, for who wants to see or to compute with them.

Other than rendering, nothing here looks at windows: values are stretched, or cut off, or
given as numbers. The work of other processes, but where a job is light.
"""

import enum
import io
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

from gateway.dicom import render
from gateway.dicom.bulk import ReadAt
from gateway.dicom.colour import PALETTE, colours
from gateway.dicom.functional import number
from gateway.dicom.job import Job, frames_of
from gateway.dicom.pictures import JPEG, PAM, PNG, saved
from gateway.dicom.render import Frame
from gateway.errors import NotAcceptable, NotFound, TooLarge

Values = npt.NDArray[np.generic]

#: Bytes of numbers that are handed over at once.
_MOST_NUMBERS = 256 * 1024 * 1024

_LIMITS = {"uint8": (0, 255), "uint16": (0, 65535), "int16": (-32768, 32767)}


class Mode(enum.Enum):
    """What becomes of the values."""

    PREVIEW = "preview"  # the darkest is black, the brightest white
    RENDERED = "rendered"  # as a person wants to see them
    UINT8 = "image-uint8"  # cut off below and above
    UINT16 = "image-uint16"
    INT16 = "image-int16"


def picture_of(job: Job, mode: Mode, read: ReadAt | None = None) -> bytes:
    """The picture of a frame, in the media type of the job.

    `read` reads the file; without it, the path in the job tells where it is.
    """
    for frame in _frames(job, read):
        if mode is Mode.RENDERED:
            image, _ = render.picture(frame, job.options)
            return _encoded(np.asarray(image), job)
        if _is_colour(frame):
            values = colours(frame.attributes, frame.values, frame.photometric)
            return _encoded(np.asarray(values), job)
        return _encoded(_shades(frame, mode), job)
    raise NotFound("there is no frame to be shown")


def _frames(job: Job, read: ReadAt | None = None) -> Iterator[Frame]:
    try:
        yield from frames_of(job, read)
    except FileNotFoundError:
        raise NotFound("the instance has just gone") from None


def _is_colour(frame: Frame) -> bool:
    return frame.values.ndim > 2 or frame.photometric == PALETTE


def _shades(frame: Frame, mode: Mode) -> Values:
    values = frame.values
    if mode is Mode.PREVIEW:
        return _stretched(frame)
    kind = mode.value.removeprefix("image-")
    wide = values.astype(np.int64)
    cut: Values = np.clip(wide, *_LIMITS[kind], out=wide).astype(kind)
    return cut


def _stretched(frame: Frame) -> Values:
    values = frame.values.astype(np.float64)
    low, high = float(values.min()), float(values.max())
    values -= low
    values *= 255.0 / (high - low) if high > low else 0.0
    if frame.photometric == "MONOCHROME1":
        np.subtract(255.0, values, out=values)
    stretched: Values = values.astype(np.uint8)
    return stretched


def _encoded(values: Values, job: Job) -> bytes:
    if job.kind == PAM:
        return _portable(values)
    if job.kind == JPEG:
        if values.dtype != np.uint8:
            raise NotAcceptable("JPEG has no values of 16 bits: take image/png")
        return saved(Image.fromarray(values), "JPEG", quality=job.options.quality)
    if job.kind != PNG:
        raise NotAcceptable(f"here there is {PNG}, {JPEG} or {PAM}")
    if values.dtype != np.uint8:
        values = values.astype(np.int32).astype(np.uint16)
    return saved(Image.fromarray(values), "PNG")


def _portable(values: Values) -> bytes:
    """The Portable Arbitrary Map of Netpbm; words are big endian there."""
    rows, columns = values.shape[:2]
    depth = values.shape[2] if values.ndim > 2 else 1
    words = values.dtype.itemsize > 1
    lines = (
        "P7",
        f"WIDTH {columns}",
        f"HEIGHT {rows}",
        f"DEPTH {depth}",
        f"MAXVAL {65535 if words else 255}",
        f"TUPLTYPE {'RGB' if depth == 3 else 'GRAYSCALE'}",
        "ENDHDR\n",
    )
    body = values.astype(">u2") if words else values
    return "\n".join(lines).encode() + body.tobytes()


# -- numbers -----------------------------------------------------------------------------


def numbers_of(job: Job, rescaled: bool, alone: bool, compressed: bool) -> bytes:
    """The values of frames as a NumPy file: rows, columns and samples of each.

    `alone` leaves the dimension of the frames out. Rescaled values are floating point.
    """
    found: list[Values] = []
    size = 0
    for frame in _frames(job):
        values = _rescaled(frame) if rescaled else frame.values
        size += values.nbytes
        if size > _MOST_NUMBERS:
            raise TooLarge("these are too many numbers for one answer: ask for a frame")
        found.append(values if values.ndim > 2 else values[..., np.newaxis])
    array = found[0] if alone else np.stack(found)
    out = io.BytesIO()
    if compressed:
        np.savez_compressed(out, arr_0=array)
    else:
        np.save(out, array)
    return out.getvalue()


def _rescaled(frame: Frame) -> Values:
    if frame.values.ndim > 2:
        return frame.values.astype(np.float32)
    slope = number(frame.attributes, "00281053", 1.0)
    intercept = number(frame.attributes, "00281052", 0.0)
    values: Values = frame.values.astype(np.float64) * slope + intercept
    return values.astype(np.float32)


def matlab_of(job: Job) -> bytes:
    """The values of a frame as a matrix of MATLAB or Octave, samples one by one."""
    frame = next(_frames(job), None)
    if frame is None:
        raise NotFound("there is no frame to be shown")
    values = frame.values
    if values.size > _MOST_NUMBERS // 16:
        raise TooLarge("these are too many numbers for one answer")
    planes = values[np.newaxis] if values.ndim == 2 else np.moveaxis(values, -1, 0)
    texts = [_matrix(plane) for plane in planes]
    return (texts[0] if len(texts) == 1 else f"cat(3, {', '.join(texts)})").encode()


def _matrix(plane: Values) -> str:
    rows = (" ".join(map(str, row)) for row in plane.tolist())
    return f"double([ {' ; '.join(rows)} ])"
