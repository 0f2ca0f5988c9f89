"""Pictures as files that any program shows: JPEG, PNG, GIF, JPEG 2000.

The colours of an image mean what its profile says. It is left out, put into the file,
or the colours are turned into sRGB, as the request wants.
"""

import io
import os
import threading
from collections.abc import Iterator
from typing import Any

from PIL import Image, ImageCms

from gateway.dicom.functional import items, number, numbers
from gateway.dicom.hierarchy import Attributes
from gateway.dicom.tables import raw
from gateway.errors import BadRequest, TooLarge

JPEG = "image/jpeg"
PNG = "image/png"
GIF = "image/gif"
JP2 = "image/jp2"
PAM = "image/x-portable-arbitrarymap"

Image.preinit()  # the encoders of the usual forms, before somebody waits for them

#: The media types that pictures are made in; the first is the usual one.
KINDS = (JPEG, PNG, GIF, JP2)

PROFILE = "00282000"
OPTICAL_PATHS = "00480105"

#: Times from frame to frame that nobody means (ms).
_SHORTEST, _LONGEST, _USUAL = 20, 10_000, 100

#: Bytes of memory that each thread keeps for the next picture.
_SCRATCH_KEPT = 1024 * 1024

#: Pixels of all frames of an animation together.
_MOST_PIXELS = 1 << 27


def profile_of(attributes: Attributes) -> bytes | None:
    """The colour profile that comes with an image."""
    found = raw(attributes, PROFILE)
    for path in items(attributes, OPTICAL_PATHS)[:1]:
        found = found or raw(path, PROFILE)
    return found or None


def in_profile(
    image: Image.Image, attributes: Attributes, wanted: str
) -> tuple[Image.Image, bytes | None]:
    """The picture in the colours that are wanted, and the profile to put with it."""
    if wanted == "no" or image.mode != "RGB":
        return image, None
    own = profile_of(attributes)
    standard = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    if own is None:
        return image, standard.tobytes()
    if wanted == "yes":
        return image, own
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(own))
        converted = ImageCms.profileToProfile(image, source, standard)
    except (ImageCms.PyCMSError, OSError):
        raise BadRequest(
            "iccprofile: the profile in the instance cannot be read"
        ) from None
    return converted or image, standard.tobytes()


def encoded(
    image: Image.Image, kind: str, quality: int, profile: bytes | None = None
) -> bytes:
    """The picture as a file of this media type."""
    if kind == JPEG:
        return saved(image, "JPEG", quality=quality, icc_profile=profile)
    if kind == PNG:
        return saved(image, "PNG", compress_level=4, icc_profile=profile)
    out = io.BytesIO()
    if kind == GIF:
        image.save(out, "GIF")
    else:
        image.save(out, "JPEG2000", irreversible=False)
    return out.getvalue()


class _Scratch:
    """A file in memory, of one thread of one process."""

    __slots__ = ("descriptor", "process")

    def __init__(self) -> None:
        self.process = os.getpid()
        self.descriptor = os.memfd_create("picture")

    def __del__(self) -> None:
        os.close(self.descriptor)


_of_thread = threading.local()


def _scratch() -> int:
    """The descriptor of this thread's file; a process that was forked has its own."""
    found: _Scratch | None = getattr(_of_thread, "scratch", None)
    if found is None or found.process != os.getpid():
        found = _of_thread.scratch = _Scratch()
    return found.descriptor


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    """The picture as a file of this form.

    It is written to a file in memory: encoders let others run only while they write to a
    descriptor. The file is used again, for new memory costs a tenth of the encoding.
    """
    descriptor = _scratch()
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, "r+b", buffering=0, closefd=False) as file:
        image.save(file, form, **options)
        size = file.tell()
    try:
        return os.pread(descriptor, size, 0)
    finally:
        if size > _SCRATCH_KEPT:
            os.ftruncate(descriptor, 0)


def animated(images: Iterator[Image.Image], count: int, duration: list[int]) -> bytes:
    """The pictures as one that moves; each is made when its turn comes."""
    first = next(images)
    if first.width * first.height * count > _MOST_PIXELS:
        raise TooLarge(
            f"an animation of {count} frames of this size is too large:"
            " ask for a smaller viewport or for fewer frames"
        )
    out = io.BytesIO()
    first.save(
        out, "GIF", save_all=True, append_images=images, duration=duration, loop=0
    )
    return out.getvalue()


def durations(attributes: Attributes, frames: list[int]) -> list[int]:
    """How long each frame is shown, in milliseconds (PS3.3 C.7.6.5)."""
    vector = numbers(attributes, "00181065")
    time = number(attributes, "00181063")
    rate = number(attributes, "00082144") or number(attributes, "00180040")
    usual = time or (1000 / rate if rate else _USUAL)
    times = [vector[frame % len(vector)] if vector else usual for frame in frames]
    return [int(min(max(each, _SHORTEST), _LONGEST)) for each in times]
