"""Which media types bulk data comes in, and what each means in a file.

The compressed types with their transfer syntaxes are those of PS3.18 table 8.7.3-5; what
else may be sent with metadata is in table 10.5.2-1.
"""

from dataclasses import dataclass

from gateway.errors import BadRequest

_JPEG = "1.2.840.10008.1.2.4."

OCTETS = "application/octet-stream"

#: Compressed media types: the transfer syntaxes each may have, the usual one first.
COMPRESSED: dict[str, tuple[str, ...]] = {
    "image/jpeg": tuple(_JPEG + last for last in ("70", "50", "51", "57")),
    "image/dicom-rle": ("1.2.840.10008.1.2.5",),
    "image/jls": (_JPEG + "80", _JPEG + "81"),
    "image/jp2": (_JPEG + "90", _JPEG + "91"),
    "image/jpx": (_JPEG + "92", _JPEG + "93"),
    "image/jphc": (_JPEG + "201", _JPEG + "202", _JPEG + "203"),
    "image/jxl": (_JPEG + "112", _JPEG + "110", _JPEG + "111"),
    "video/mpeg": tuple(_JPEG + last for last in ("100", "100.1", "101", "101.1")),
    "video/mp4": tuple(
        _JPEG + last + more
        for last in ("102", "103", "104", "105", "106")
        for more in ("", ".1")
    ),
    "video/h265": (_JPEG + "107", _JPEG + "108"),
}

_ALIASES = {
    "image/x-dicom-rle": "image/dicom-rle",
    "image/x-jls": "image/jls",
    "image/jpg": "image/jpeg",
    "image/j2c": "image/jp2",
    "image/jph": "image/jphc",
}

#: Files that lie in a DICOM file as they are: SOP class of such an instance.
DOCUMENTS = {
    "application/pdf": "1.2.840.10008.5.1.4.1.1.104.1",
    "text/xml": "1.2.840.10008.5.1.4.1.1.104.2",
    "model/stl": "1.2.840.10008.5.1.4.1.1.104.3",
    "model/x.stl-binary": "1.2.840.10008.5.1.4.1.1.104.3",
    "application/sla": "1.2.840.10008.5.1.4.1.1.104.3",
    "model/obj": "1.2.840.10008.5.1.4.1.1.104.4",
    "model/mtl": "1.2.840.10008.5.1.4.1.1.104.5",
}

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
VIDEO_PHOTOGRAPHIC = "1.2.840.10008.5.1.4.1.1.77.1.4.1"

PNG = "image/png"


@dataclass(frozen=True, slots=True)
class Kind:
    """The media type of a part."""

    name: str  # "image/jpeg", one spelling for each
    transfer_syntax: str = ""  # as its parameter says, empty if it says nothing

    @property
    def is_compressed(self) -> bool:
        """Whether it is the bitstream of pictures."""
        return self.name in COMPRESSED

    @property
    def is_video(self) -> bool:
        """Whether it is one stream of many pictures."""
        return self.name.startswith("video/")


def kind_of(name: str, transfer_syntax: str = "") -> Kind:
    """The kind of a part with that media type."""
    return Kind(_ALIASES.get(name, name), transfer_syntax)


#: Syntaxes that hold what one for lossless pictures alone holds too: no contradiction.
_WIDER = frozenset(_JPEG + last for last in ("80", "90", "92", "201"))


def syntax_of(kind: Kind, told: set[str], *, large: bool = False) -> str:
    """The transfer syntax of pixel data that came as parts of that kind.

    What the bitstreams tell outranks what the part says, where both cannot be true; where
    nobody says anything it is the usual one. `large` if no single fragment can hold it.
    """
    usual = COMPRESSED.get(kind.name, ())
    given = kind.transfer_syntax
    known = usual or {uid for syntaxes in COMPRESSED.values() for uid in syntaxes}
    if given and given not in known:
        raise BadRequest(f"(7FE0,0010) is {kind.name} and cannot be {given[:64]}")
    if "" in told:
        raise BadRequest(f"(7FE0,0010) is {kind.name} of a process that DICOM lacks")
    if kind.name == "image/jpx":  # part 2 of JPEG 2000 has its own pair
        told = {_JPEG + ("92" if uid.endswith("90") else "93") for uid in told}
    if kind.name == "image/jpeg" and len(told) > 1:
        raise BadRequest("(7FE0,0010) has frames of different JPEG processes")
    found = max(told, default="")  # of a pair, the one that holds both is the larger
    if given and (not found or found in _WIDER):
        found = given
    return _in_fragments(kind, found or usual[0]) if large else found or usual[0]


def _in_fragments(kind: Kind, syntax: str) -> str:
    """The syntax of a video that takes more than one fragment (PS3.5 8.2.7)."""
    fragmentable = syntax if syntax.endswith(".1") else f"{syntax}.1"
    if fragmentable not in COMPRESSED.get(kind.name, ()):
        raise BadRequest("(7FE0,0010) is too large for one fragment")
    return fragmentable
