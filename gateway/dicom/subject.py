"""What there is to see of an instance, told by its stored header alone."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.dicom.functional import whole
from gateway.dicom.hierarchy import Attributes, first_text
from gateway.dicom.pixels import PIXEL_DATA, PixelLayout, layout_of
from gateway.dicom.presentation import GRAYSCALE_STATE
from gateway.dicom.report import is_report

DOCUMENT = "00420011"
PDF = "application/pdf"
_PDF_STORAGE = "1.2.840.10008.5.1.4.1.1.104.1"

#: Documents that are given as they are; others could be anything.
_DOCUMENT_KINDS = frozenset({PDF, "text/xml", "model/stl", "model/obj", "model/mtl"})

_WORDS = {PDF: "PDF", "text/xml": "XML"}

_MPEG2 = "video/mpeg"
_MP4 = "video/mp4"
_H265 = "video/h265"

#: Videos by transfer syntax, without the last part of those that may be in fragments.
_VIDEOS = {
    "1.2.840.10008.1.2.4.100": _MPEG2,
    "1.2.840.10008.1.2.4.101": _MPEG2,
    "1.2.840.10008.1.2.4.102": _MP4,
    "1.2.840.10008.1.2.4.103": _MP4,
    "1.2.840.10008.1.2.4.104": _MP4,
    "1.2.840.10008.1.2.4.105": _MP4,
    "1.2.840.10008.1.2.4.106": _MP4,
    "1.2.840.10008.1.2.4.107": _H265,
    "1.2.840.10008.1.2.4.108": _H265,
}


class Kind(enum.Enum):
    """What can be made of an instance."""

    IMAGE = enum.auto()
    VIDEO = enum.auto()
    DOCUMENT = enum.auto()
    REPORT = enum.auto()
    NOTHING = enum.auto()


@dataclass(frozen=True, slots=True)
class Subject:
    """What there is to see."""

    kind: Kind
    media_type: str = ""  # of a video or a document, in lower case
    layout: PixelLayout | None = None  # of an image
    representative: int = 1  # the frame to show, if only one is
    size: int | None = None  # of a document, without padding
    is_state: bool = False  # it tells how others are shown

    @property
    def word(self) -> str:
        """What is written on its icon; nothing for what is shown itself, or not at all."""
        if self.kind is Kind.DOCUMENT:
            return _WORDS.get(self.media_type, "3D")
        return {Kind.VIDEO: "VIDEO", Kind.REPORT: "SR"}.get(self.kind, "")

    @property
    def frames(self) -> int:
        """How many frames an image has."""
        return self.layout.number_of_frames if self.layout else 0


def video_type(transfer_syntax: str) -> str | None:
    """The media type of a video; None if this is none."""
    syntax = transfer_syntax
    return _VIDEOS.get(syntax) or _VIDEOS.get(syntax.removesuffix(".1"))


def subject_of(
    attributes: Attributes,
    transfer_syntax: str,
    bulk: Mapping[str, tuple[int, int]],
) -> Subject:
    """What there is to see of the instance with this header."""
    video = video_type(transfer_syntax)
    if video and PIXEL_DATA in attributes:
        return Subject(Kind.VIDEO, video)
    layout = layout_of(attributes, transfer_syntax, bulk)
    if layout is not None:
        return Subject(
            Kind.IMAGE,
            layout=layout,
            representative=_representative(attributes, layout),
        )
    if DOCUMENT in attributes:
        return _document(attributes)
    if is_report(attributes):
        return Subject(Kind.REPORT)
    is_state = first_text(attributes, "00080016") == GRAYSCALE_STATE
    return Subject(Kind.NOTHING, is_state=is_state)


def _representative(attributes: Attributes, layout: PixelLayout) -> int:
    told = whole(attributes, "00286010")
    count = layout.number_of_frames
    return told if 1 <= told <= count else (count + 1) // 2


def _document(attributes: Attributes) -> Subject:
    told = first_text(attributes, "00420012").strip().lower()
    if first_text(attributes, "00080016") == _PDF_STORAGE:
        told = PDF
    if told not in _DOCUMENT_KINDS:
        return Subject(Kind.NOTHING)
    size = whole(attributes, "00420015", -1)
    return Subject(Kind.DOCUMENT, told, size=size if size >= 0 else None)
