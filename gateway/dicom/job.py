"""Pictures out of files: work that keeps nobody waiting.

A job says which frames of which file are wanted, and how; what else a picture depends on
comes with it out of the stored header, but for tables that are too long to be in there.
What a codec has to read, or what takes much memory, is for another process; the rest is
light, and can be done by a thread of this one, which gives what reads the file.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gateway.dicom.bulk import ReadAt, word_size
from gateway.dicom.codecs import (
    DEFLATED_FRAMES,
    ENCAPSULATED_UNCOMPRESSED,
    RLE_LOSSLESS,
    check_size,
    decode,
    photometric_after,
)
from gateway.dicom.frames import exactly, read_frame
from gateway.dicom.geometry import picture_size
from gateway.dicom.header import BIG_ENDIAN
from gateway.dicom.hierarchy import Attributes
from gateway.dicom.pictures import GIF, JPEG, PAM, PNG
from gateway.dicom.pixels import NATIVE, PixelLayout
from gateway.dicom.render import Frame, Values, animate, render
from gateway.dicom.render_options import RenderOptions
from gateway.dicom.transcode import Source, index_for, opened
from gateway.dicom.values import little_endian
from gateway.errors import NotFound, TooLarge

#: Bytes of tables and planes that are held to make a picture.
_MOST_TABLES = 64 * 1024 * 1024

#: Of light work: samples of the frame and pixels of the picture, bytes of tables.
_LIGHT_PIXELS = 1 << 22
_LIGHT_TABLES = 1024 * 1024

#: Media types whose encoders let others run meanwhile.
_LIGHT_KINDS = frozenset({JPEG, PNG, PAM})

#: Syntaxes whose samples come as whole words; other codecs give those of an image alone.
_WHOLE_WORDS = NATIVE | {RLE_LOSSLESS, DEFLATED_FRAMES, ENCAPSULATED_UNCOMPRESSED}


@dataclass(frozen=True, slots=True)
class Job:
    """All that a picture is made of: it can go to another process."""

    source: Source
    numbers: tuple[int, ...]  # of the frames, from 1
    attributes: list[Attributes]  # of each frame
    places: dict[str, tuple[int, int]]  # of values that the file keeps
    options: RenderOptions
    kind: str  # media type

    @property
    def is_light(self) -> bool:
        """Whether no codec reads what somebody sent, and little memory is needed.

        To work it out may be refused, as the picture would be.
        """
        options, layout = self.options, self.source.layout
        if len(self.numbers) != 1 or self.kind not in _LIGHT_KINDS or layout is None:
            return False
        if options.annotation or options.presentation or options.profile != "no":
            return False
        tables = sum(length for _, length in self.places.values())
        if not _is_plain(layout) or tables > _LIGHT_TABLES:
            return False
        size = layout.columns, layout.rows
        width, height = picture_size(size, self.attributes[0], options)
        return width * height <= _LIGHT_PIXELS

    def each(self) -> Iterator["Job"]:
        """The same with each frame by itself."""
        for number, attributes in zip(self.numbers, self.attributes, strict=True):
            yield replace(self, numbers=(number,), attributes=[attributes])


def _is_plain(layout: PixelLayout) -> bool:
    """Whether frames are few whole words that only have to be looked up, or colours."""
    samples = layout.rows * layout.columns * layout.samples_per_pixel
    if samples > _LIGHT_PIXELS or layout.encapsulated or layout.is_deflated:
        return False
    if layout.is_floating_point:
        return False
    of_kind = (layout.photometric_interpretation, layout.samples_per_pixel)
    if of_kind == ("RGB", 3):
        return layout.bits_allocated == 8
    grey = of_kind in (("MONOCHROME1", 1), ("MONOCHROME2", 1))
    return grey and layout.bits_allocated in (8, 16)


def perform(job: Job, read: ReadAt | None = None) -> bytes:
    """The picture of a frame, or of several as one that moves.

    `read` reads the file; without it, the path in the job tells where it is.
    """
    layout = job.source.layout
    if layout is None or not job.numbers:
        raise NotFound("there is no frame to be shown")
    check_size(layout)
    try:
        return _performed(job, layout, read)
    except FileNotFoundError:
        raise NotFound("the instance has just gone") from None


@contextmanager
def _reader(source: Source, read: ReadAt | None) -> Iterator[ReadAt]:
    if read is not None:
        yield read
        return
    with opened(source) as (_, found):
        yield found


def _performed(job: Job, layout: PixelLayout, given: ReadAt | None) -> bytes:
    with _reader(job.source, given) as read:
        attributes = complete(job.attributes, read, job.places, layout.transfer_syntax)
        frames = _decoded(job, layout, attributes, read)
        if len(job.numbers) > 1 and job.kind == GIF:
            return animate(frames, job.numbers, attributes[0], job.options)
        return render(next(frames), job.options, job.kind)


def frames_of(job: Job, given: ReadAt | None = None) -> Iterator[Frame]:
    """The frames of a job, each read and decoded when its turn comes.

    `given` reads the file; without it, the path in the job tells where it is.
    """
    layout = job.source.layout
    if layout is None or not job.numbers:
        raise NotFound("there is no frame to be shown")
    check_size(layout)
    with _reader(job.source, given) as read:
        attributes = complete(job.attributes, read, job.places, layout.transfer_syntax)
        yield from _decoded(job, layout, attributes, read)


def _decoded(
    job: Job, layout: PixelLayout, of_frames: Sequence[Attributes], read: ReadAt
) -> Iterator[Frame]:
    """The frames, each read and decoded when its turn comes."""
    photometric = photometric_after(layout)
    index = index_for(job.source.place.name, layout, read)
    bits = layout.bits_stored if _has_room(layout) else 0
    for number, attributes in zip(job.numbers, of_frames, strict=True):
        values = decode(layout, read_frame(layout, read, number, index))
        if bits:
            values = _pixel_bits(layout, values)
        yield Frame(number, attributes, values, photometric, bits)


def _has_room(layout: PixelLayout) -> bool:
    """Whether there are bits around samples, which may be overlays (PS3.5 8.1.1)."""
    if layout.transfer_syntax not in _WHOLE_WORDS or layout.is_floating_point:
        return False
    return 0 < layout.bits_stored < layout.bits_allocated != 1


def _pixel_bits(layout: PixelLayout, values: Values) -> Values:
    """Samples without the bits around them."""
    spare = layout.bits_allocated - layout.bits_stored
    above = layout.bits_allocated - 1 - layout.high_bit
    above = above if 0 <= above <= spare else spare
    if above == spare and _is_within(layout, values):
        return values
    # Up against the end, so that the sign is where it belongs, and back down.
    return np.asarray(np.left_shift(values, above) >> spare)


def _is_within(layout: PixelLayout, values: Values) -> bool:
    """Whether there is nothing in the bits around samples but their sign."""
    if not values.size:
        return True
    if not layout.pixel_representation:
        return int(values.max()) < 1 << layout.bits_stored
    end = 1 << (layout.bits_stored - 1)
    return -end <= int(values.min()) and int(values.max()) < end


# -- long values -------------------------------------------------------------------------


def needed(
    frames: Sequence[Attributes], places: Mapping[str, tuple[int, int]]
) -> dict[str, tuple[int, int]]:
    """The places in the file of the values that are not at hand."""
    paths = {path for frame in frames for path in _paths(frame)}
    return {path: (places[path][0], places[path][1]) for path in paths & set(places)}


def complete(
    frames: Sequence[Attributes],
    read: ReadAt,
    places: Mapping[str, tuple[int, int]],
    transfer_syntax: str,
) -> list[Attributes]:
    """The attributes of frames with the values that the file keeps at their places.

    What frames share they share afterwards: it is read once, and goes out once.
    """
    filled: dict[str, dict[str, Any]] = {}
    if sum(length for _, length in places.values()) > _MOST_TABLES:
        raise TooLarge(
            "the tables and planes of the instance are too large to be shown"
        )
    big = transfer_syntax == BIG_ENDIAN

    def fill(element: dict[str, Any]) -> dict[str, Any]:
        path = _path(element)
        if path in places:
            if path not in filled:
                data = exactly(read, *places[path])
                filled[path] = _inline(data, element["vr"], big=big)
            return filled[path]
        if element.get("vr") == "SQ" and "Value" in element:
            return {"vr": "SQ", "Value": [within(item) for item in element["Value"]]}
        return element

    def within(item: Attributes) -> Attributes:
        return {tag: fill(element) for tag, element in item.items()}

    return [within(frame) for frame in frames] if places else list(frames)


def _inline(data: bytes, vr: str, *, big: bool) -> dict[str, Any]:
    if big:
        data = little_endian(data, word_size(vr))
    return {"vr": vr, "InlineBinary": base64.b64encode(data).decode("ascii")}


def _path(element: Mapping[str, Any]) -> str:
    uri = element.get("BulkDataURI")
    return str(uri).removeprefix("bulk/") if uri else ""


def _paths(attributes: Attributes) -> Iterator[str]:
    for element in attributes.values():
        if path := _path(element):
            yield path
        elif element.get("vr") == "SQ":
            for item in element.get("Value") or []:
                yield from _paths(item)
