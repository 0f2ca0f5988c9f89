"""One file out of a data set and the parts that its references name (PS3.18 10.5.2).

References are looked for among the parts of the same request and nowhere else: nothing
that a client names is ever fetched.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urljoin

from gateway.dicom import fill
from gateway.dicom.bitstreams import Picture, jpeg2000_picture, jpeg_picture
from gateway.dicom.bulk import ReadAt
from gateway.dicom.hierarchy import Attributes
from gateway.dicom.media import OCTETS, PNG, Kind, syntax_of
from gateway.dicom.png import LIMIT, decode_png
from gateway.dicom.write import (
    EXPLICIT_LITTLE_ENDIAN,
    LARGEST,
    Bytes,
    Fragments,
    dicom_file,
)
from gateway.errors import BadRequest
from gateway.outcomes import WarningReason

PIXEL_DATA = "7FE00010"
DOCUMENT = "00420011"

_NATIVE = frozenset({"", "1.2.840.10008.1.2", EXPLICIT_LITTLE_ENDIAN})

#: Parts may be shared by instances, but not so that little becomes much: all files
#: together take at most so many times what was sent, and a little more.
_SHARING, _SHARING_FREE = 8, 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Part:
    """One part with bulk data, at its place in the spool."""

    kind: Kind
    offset: int
    size: int


@dataclass(slots=True)
class Parts:
    """The bulk parts of a request by location; frames of one value share theirs."""

    base: str  # what relative locations are relative to
    read_at: ReadAt
    located: dict[str, list[Part]] = field(default_factory=dict)
    loose: list[Part] = field(default_factory=list)  # without a location
    claimed: set[str] = field(default_factory=set)
    decoded: bool = False  # some have to be, to be stored
    received: int = 0
    given: int = 0

    def add(self, location: str, part: Part) -> None:
        """Note a part."""
        self.received += part.size
        self.decoded = self.decoded or part.kind.name == PNG
        if location:
            self.located.setdefault(self._key(location), []).append(part)
        else:
            self.loose.append(part)

    def __len__(self) -> int:
        return sum(map(len, self.located.values())) + len(self.loose)

    def _key(self, location: str) -> str:
        try:
            return urljoin(self.base, location.strip())
        except ValueError:
            return location

    def named(self, uri: str, tag: str) -> list[Part]:
        """The parts that a reference names; raises BadRequest if there are none."""
        key = self._key(uri)
        found = self.located.get(key)
        if not found:
            raise BadRequest(f"({tag[:4]},{tag[4:]}) refers to no part: {uri[:200]}")
        self.claimed.add(key)
        self.given += sum(part.size for part in found)
        if self.given > _SHARING * self.received + _SHARING_FREE:
            raise BadRequest("the same bulk data is referred to far too often")
        return found

    def unclaimed(self, uris: Iterable[str] = ()) -> list[Part]:
        """The parts that nobody has named, nor these references do."""
        named = self.claimed.union(map(self._key, uris))
        left = [self.located[key] for key in self.located if key not in named]
        return [part for parts in left for part in parts] + self.loose

    def give_location(self, parts: list[Part]) -> str:
        """A location for parts that nobody has named."""
        location = f"part:{parts[0].offset}"
        self.located[location] = parts
        self.loose = [part for part in self.loose if part not in parts]
        for key, others in list(self.located.items()):
            if key != location and any(part in parts for part in others):
                self.claimed.add(key)
        return location

    def bytes_of(self, part: Part) -> Bytes:
        """The content of a part."""
        return Bytes(part.size, self.read_at).part(part.offset, part.size)


@dataclass(slots=True)
class Assembly:
    """A data set on its way to become a file; `file` does it, in a thread."""

    attributes: Attributes
    parts: Parts
    warning: WarningReason | None = None
    _syntax: str = EXPLICIT_LITTLE_ENDIAN
    _bulk: dict[str, Bytes | Fragments] = field(default_factory=dict)

    def file(self) -> Iterator[bytes]:
        """The bytes of the file; raises BadRequest naming what lacks or is wrong."""
        self._resolve(self.attributes, top=True)
        if not self.attributes.get("00080016", {}).get("Value"):
            raise BadRequest("no SOPClassUID (0008,0016)")
        if fill.use_utf8(self.attributes):
            self._coerced(True)
        return dicom_file(self.attributes, self._syntax, self._bulk)

    def adopt(self) -> None:
        """Refer to the parts that nobody names: pictures, or one document.

        Only for a request with one data set, where there is no doubt whose they are.
        """
        loose = self.parts.unclaimed(_references(self.attributes))
        if not loose or any(part.kind != loose[0].kind for part in loose):
            return
        kind = loose[0].kind
        picture = kind.is_compressed or kind.name in (PNG, OCTETS)
        tag = PIXEL_DATA if picture else DOCUMENT
        if len(self.attributes.get(tag, {})) > 1 or (len(loose) > 1 and not picture):
            return
        uri = self.parts.give_location(loose)
        self.attributes[tag] = {"vr": "OB", "BulkDataURI": uri}
        self.attributes = dict(sorted(self.attributes.items()))

    def _coerced(self, changed: bool) -> None:
        if changed and self.warning is None:
            self.warning = WarningReason.COERCED

    def _resolve(self, attributes: Attributes, top: bool) -> None:
        for tag, element in list(attributes.items()):
            if element["vr"] == "SQ":
                for item in element.get("Value", ()):
                    self._resolve(item, top=False)
            elif "BulkDataURI" in element:
                uri = element["BulkDataURI"]
                found = self.parts.named(uri, tag)
                if tag == PIXEL_DATA:
                    self._bulk[uri] = self._pixels(attributes, found, top)
                else:
                    self._bulk[uri] = self._value(tag, found)
                    if tag == DOCUMENT and top:
                        self._document(found[0])

    def _value(self, tag: str, found: list[Part]) -> Bytes:
        if len(found) > 1:
            raise BadRequest(f"({tag[:4]},{tag[4:]}) refers to more than one part")
        if found[0].kind.transfer_syntax not in _NATIVE:
            raise BadRequest(f"({tag[:4]},{tag[4:]}) has an odd transfer syntax")
        return self.parts.bytes_of(found[0])

    def _document(self, part: Part) -> None:
        if part.kind.name == OCTETS:
            return
        self._coerced(fill.fill_class(self.attributes, part.kind))
        self._coerced(fill.fill_document(self.attributes, part.kind, part.size))
        if not fill.is_of_its_class(self.attributes, part.kind):
            self.warning = WarningReason.NOT_OF_ITS_CLASS

    # -- pixel data ------------------------------------------------------------------

    def _pixels(
        self, attributes: Attributes, found: list[Part], top: bool
    ) -> Bytes | Fragments:
        kind = found[0].kind
        if any(part.kind != kind for part in found):
            raise BadRequest("(7FE0,0010) refers to parts of different media types")
        native = kind.name == OCTETS and kind.transfer_syntax in _NATIVE
        if not native:
            if not top:
                raise BadRequest("(7FE0,0010) is compressed within a sequence")
            return self._picture(found)
        if attributes[PIXEL_DATA]["vr"] not in ("OB", "OW"):
            attributes[PIXEL_DATA]["vr"] = "OW"
        return _one_after_the_other([self.parts.bytes_of(part) for part in found])

    def _picture(self, found: list[Part]) -> Bytes | Fragments:
        kind = found[0].kind
        if kind.name == PNG:
            return self._png(self.attributes, found)
        if kind.is_compressed or kind.name == OCTETS:
            return self._compressed(found)
        raise BadRequest(f"(7FE0,0010) cannot be made of {kind.name[:60]}")

    def _png(self, attributes: Attributes, found: list[Part]) -> Bytes:
        if len(found) > 1 or found[0].size > LIMIT:
            raise BadRequest("(7FE0,0010) takes one PNG of a bounded size")
        part = found[0]
        pixels = decode_png(self.parts.read_at(part.offset, part.size))
        self._coerced(fill.fill_class(attributes, part.kind))
        self._coerced(fill.fill_pixels(attributes, pixels))
        attributes[PIXEL_DATA]["vr"] = "OW" if pixels.bits > 8 else "OB"
        content = pixels.content
        return Bytes(len(content), lambda start, size: content[start : start + size])

    def _compressed(self, found: list[Part]) -> Fragments:
        kind = found[0].kind
        self._coerced(fill.fill_class(self.attributes, kind))
        frames = [self.parts.bytes_of(part) for part in found]
        if any(not frame.size for frame in frames):
            raise BadRequest("(7FE0,0010) has an empty frame")
        if kind.is_video and len(frames) > 1:
            raise BadRequest("(7FE0,0010) takes one part with a video")
        pictures = [_picture(frame, kind) for frame in frames]
        if (picture := pictures[0]) is not None:
            self._coerced(fill.fill_picture(self.attributes, picture))
        told = {picture.transfer_syntax for picture in pictures if picture is not None}
        self._syntax = syntax_of(kind, told, large=frames[0].size > LARGEST)
        if kind.transfer_syntax and self._syntax != kind.transfer_syntax:
            self._coerced(True)
        self._coerced(fill.fill_frames(self.attributes, len(frames)))
        self.attributes[PIXEL_DATA]["vr"] = "OB"
        return Fragments(tuple(map(_bare, frames, pictures)))


def _references(attributes: Attributes) -> Iterator[str]:
    """All references to bulk data in a data set."""
    for element in attributes.values():
        if "BulkDataURI" in element:
            yield element["BulkDataURI"]
        elif element["vr"] == "SQ":
            for item in element.get("Value", ()):
                yield from _references(item)


def _picture(frame: Bytes, kind: Kind) -> Picture | None:
    if kind.name in ("image/jpeg", "image/jls"):
        picture = jpeg_picture(frame.read_at, frame.size)
    elif kind.name in ("image/jp2", "image/jpx", "image/jphc"):
        picture = jpeg2000_picture(frame.read_at, frame.size)
    else:
        return None  # what is in there is for its reader to find out
    if picture is None:
        raise BadRequest(f"(7FE0,0010) is no {kind.name}")
    if not (0 < picture.rows <= 0xFFFF and 0 < picture.columns <= 0xFFFF):
        raise BadRequest("(7FE0,0010) has a size that no image has")
    return picture


def _bare(frame: Bytes, picture: Picture | None) -> Bytes:
    """A frame without the boxes of a file around its codestream (PS3.5 A.4.4)."""
    if picture is None or not picture.start:
        return frame
    return frame.part(picture.start, picture.size)


def _one_after_the_other(values: list[Bytes]) -> Bytes:
    """Native frames that came as several parts, as one value."""
    if len(values) == 1:
        return values[0]
    ends: list[int] = []
    for value in values:
        ends.append(value.size + (ends[-1] if ends else 0))

    def read_at(offset: int, size: int) -> bytes:
        for value, end in zip(values, ends, strict=True):
            if offset < end:
                start = offset - (end - value.size)
                return value.read_at(start, min(size, end - offset))
        return b""

    return Bytes(ends[-1], read_at)
