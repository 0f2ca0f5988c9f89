"""Pictures out of files: the work of other processes.

A job says which frames of which file are wanted, and how; what else a picture depends on
comes with it out of the stored header, but for tables that are too long to be in there.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
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
from gateway.dicom.header import BIG_ENDIAN
from gateway.dicom.hierarchy import Attributes
from gateway.dicom.pictures import GIF
from gateway.dicom.pixels import NATIVE, PixelLayout
from gateway.dicom.render import Frame, Values, animate, render
from gateway.dicom.render_options import RenderOptions
from gateway.dicom.transcode import Source, index_for, opened
from gateway.dicom.values import little_endian
from gateway.errors import NotFound, TooLarge

#: Bytes of tables and planes that are held to make a picture.
_MOST_TABLES = 64 * 1024 * 1024

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

    def each(self) -> Iterator["Job"]:
        """The same with each frame by itself."""
        for number, attributes in zip(self.numbers, self.attributes, strict=True):
            yield replace(self, numbers=(number,), attributes=[attributes])


def perform(job: Job) -> bytes:
    """The picture of a frame, or of several as one that moves."""
    layout = job.source.layout
    if layout is None or not job.numbers:
        raise NotFound("there is no frame to be shown")
    check_size(layout)
    try:
        return _performed(job, layout)
    except FileNotFoundError:
        raise NotFound("the instance has just gone") from None


def _performed(job: Job, layout: PixelLayout) -> bytes:
    with opened(job.source) as (_, read):
        attributes = complete(job.attributes, read, job.places, layout.transfer_syntax)
        frames = _decoded(job, layout, attributes, read)
        if len(job.numbers) > 1 and job.kind == GIF:
            return animate(frames, job.numbers, attributes[0], job.options)
        return render(next(frames), job.options, job.kind)


def frames_of(job: Job) -> Iterator[Frame]:
    """The frames of a job, each read and decoded when its turn comes."""
    layout = job.source.layout
    if layout is None or not job.numbers:
        raise NotFound("there is no frame to be shown")
    check_size(layout)
    with opened(job.source) as (_, read):
        attributes = complete(job.attributes, read, job.places, layout.transfer_syntax)
        yield from _decoded(job, layout, attributes, read)


def _decoded(
    job: Job, layout: PixelLayout, of_frames: Sequence[Attributes], read: ReadAt
) -> Iterator[Frame]:
    """The frames, each read and decoded when its turn comes."""
    photometric = photometric_after(layout)
    index = index_for(job.source.place.name, layout, read)
    for number, attributes in zip(job.numbers, of_frames, strict=True):
        values = decode(layout, read_frame(layout, read, number, index))
        yield Frame(number, attributes, _pixel_bits(layout, values), photometric)


def _pixel_bits(layout: PixelLayout, values: Values) -> Values:
    """Samples without the bits around them, which may be overlays (PS3.5 8.1.1)."""
    spare = layout.bits_allocated - layout.bits_stored
    if layout.transfer_syntax not in _WHOLE_WORDS or layout.is_floating_point:
        return values
    if not 0 < spare < layout.bits_allocated or layout.bits_allocated == 1:
        return values
    above = layout.bits_allocated - 1 - layout.high_bit
    above = above if 0 <= above <= spare else spare
    # Up against the end, so that the sign is where it belongs, and back down.
    return np.asarray(np.left_shift(values, above) >> spare)


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
