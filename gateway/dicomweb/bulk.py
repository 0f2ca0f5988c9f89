"""Bulk data: values that metadata refers to (PS3.18 10.4.1.1.5).

Any other value can be had in the same way: the path names attributes by tag or keyword,
and the items of sequences by number. Most
values go out as they lie in the file. Those of big-endian files are turned around on their
way, those of deflated files inflated. Compressed pixel data leaves without its items: a
part for each fragment, or one part where there is only one frame. None of this needs more
memory for a larger value.
"""

import asyncio
import re
from array import array
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import orjson
from aiohttp import web

from gateway.archive import Archive, Instance, Piece
from gateway.dicom.bulk import (
    Inflater,
    ReadAt,
    Swapper,
    element_at,
    fragments,
    is_encapsulated,
    word_size,
)
from gateway.dicom.dictionary import tag_of
from gateway.dicom.header import BIG_ENDIAN, DEFLATED, data_set_start
from gateway.dicom.hierarchy import Attributes, first_text
from gateway.dicom.pixels import PIXEL_DATA
from gateway.dicom.subject import video_type
from gateway.dicom.write import short_value
from gateway.errors import BadRequest, NotAcceptable, NotFound, Truncated
from gateway.web.context import accept, gateway, instance_address, public_root
from gateway.web.context import uids as uids_of
from gateway.web.files import Section, send_file
from gateway.web.replies import MULTIPART, streaming
from gateway.web.transmission import Body, transmit
from gateway.wire import multipart
from gateway.wire.media import Offer, choose

OCTETS = "application/octet-stream"
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"

_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_HEXADECIMAL = re.compile(r"[0-9A-Fa-f]{8}")
#: Media types as they are spelled, where that is not lower case.
SPELLED = {"video/h265": "video/H265"}

#: Parts whose headers are held at a time.
_GROUP = 256


@dataclass(frozen=True, slots=True)
class Value:
    """A value, found: which runs of bytes of which file it is, and what to do to them."""

    instance: Instance
    path: str
    runs: "array[int]"  # offset and size of each, in the file or its inflated data set
    syntax: str = _EXPLICIT_LITTLE_ENDIAN  # what the bytes are in
    joined: bool = True  # all runs are one part
    word: int = 1  # bytes to be turned around at a time
    deflated: bool = False
    short: bytes | None = None  # one that stands in the header: these are its bytes

    @property
    def sizes(self) -> Sequence[int]:
        """The sizes of the parts."""
        if self.short is not None:
            return [len(self.short)]
        sizes = self.runs[1::2]
        return [sum(sizes)] if self.joined else sizes

    @property
    def kinds(self) -> Iterator[str]:
        """The media types of a part, the usual one first (PS3.18 table 8.7.3-5)."""
        yield OCTETS
        if self.joined and self.path == PIXEL_DATA.lower():
            video = video_type(self.syntax)
            if video is not None:
                yield video

    def content_type(self, kind: str) -> str:
        """The media type of a part; the syntax is named where it is not the usual one."""
        if self.syntax == _EXPLICIT_LITTLE_ENDIAN:
            return kind
        return f"{SPELLED.get(kind, kind)}; transfer-syntax={self.syntax}"

    def body(self, archive: Archive, start: int, stop: int) -> Body:
        """The bytes from `start` up to `stop` of a value that is one part."""
        if self.short is not None:
            return [self.short[start:stop]]
        if self.deflated:
            return _inflated(archive, self.instance, self.runs[0] + start, stop - start)
        if self.word > 1:
            return _turned(archive, self, start, stop)
        return list(self._pieces(archive, start, stop))

    def _pieces(self, archive: Archive, start: int, stop: int) -> Iterator[Piece]:
        position = 0
        for offset, size in zip(self.runs[::2], self.runs[1::2], strict=True):
            low, high = max(start - position, 0), min(stop - position, size)
            if low < high:
                yield archive.file_range(self.instance, offset + low, offset + high)
            position += size


async def retrieve(
    request: web.Request, study: str, series: str, instance: str, path: str
) -> web.StreamResponse:
    """A value of an instance, in parts or as it is."""
    path = _normal(path)
    archive = gateway(request).archive
    held = await archive.instance(*uids_of(study, series, instance))
    value = await find(archive, held, path)
    offers = parts_of(value)
    if value.joined:
        offers += [Offer(kind, None, (value.syntax,)) for kind in value.kinds]
    offer = choose(accept(request), offers)
    if offer is None:
        raise NotAcceptable(_what_there_is(value))
    if offer.kind == MULTIPART:
        return await _multipart(request, value, offer.inner or OCTETS)
    section = Section(
        value.sizes[0],
        lambda start, stop: value.body(archive, start, stop),
        label=f"-{path}",
    )
    headers = {"Content-Location": _location(request, value)}
    content_type = value.content_type(offer.kind)
    return await send_file(request, held, content_type, headers, section)


def _normal(path: str) -> str:
    """The path as references spell it; raises BadRequest, or NotFound for no such name.

    Attributes come in every spelling that a search takes (PS3.18 8.3.4.1).
    """
    steps = path.split("/")
    if not len(steps) % 2 or not all(map(_NUMBER.fullmatch, steps[1::2])):
        raise BadRequest(
            "the path of bulk data is an attribute, or attributes of sequences,"
            " each with the number of an item, and an attribute"
        )
    for place in range(0, len(steps), 2):
        if not _HEXADECIMAL.fullmatch(steps[place]):
            tag = tag_of(steps[place])
            if tag is None:
                raise NotFound(f"no attribute is called {steps[place][:64]!r}")
            steps[place] = tag
    return "/".join(steps).lower()


def parts_of(value: Value) -> list[Offer]:
    """The ways to give a value as parts of an answer."""
    return [Offer(MULTIPART, kind, (value.syntax,)) for kind in value.kinds]


def _what_there_is(value: Value) -> str:
    kinds = [f'{MULTIPART}; type="{kind}"' for kind in value.kinds]
    kinds += [f"{kind} alone" for kind in value.kinds if value.joined]
    return f"here there is {', or '.join(kinds)}, with transfer-syntax {value.syntax}"


def _location(request: web.Request, value: Value) -> str:
    address = instance_address(public_root(request), value.instance)
    return f"{address}/bulk/{value.path}"


async def joined(
    archive: Archive, held: Instance, path: str, size: int | None
) -> Section:
    """The value at a path with all its fragments as one; so many bytes of it."""
    value = replace(await find(archive, held, path), joined=True)
    stored = value.sizes[0]
    return Section(
        stored if size is None else min(size, stored),
        lambda start, stop: value.body(archive, start, stop),
        label=f"-{path}",
    )


# -- finding the value -------------------------------------------------------------------


async def find(archive: Archive, held: Instance, path: str) -> Value:
    """The value at a path, as references spell it; raises NotFound if there is none.

    Raises NotAcceptable for one that cannot be taken out of its file.
    """

    def look_up(header: bytes, places: dict[str, Any]) -> tuple[int, int] | bytes:
        if path in places:
            return places[path][0], places[path][1]
        return short_value(element_at(orjson.loads(header), path), path)

    place = await archive.header(held, look_up)
    if isinstance(place, bytes):
        return Value(held, path, array("Q"), short=place)
    start, size = place
    run = array("Q", (start, size))
    if held.transfer_syntax in DEFLATED:
        before = [p async for p in _inflated(archive, held, start - 4, 4)]
        if is_encapsulated(b"".join(before)):
            raise NotAcceptable("fragments within a deflated data set cannot be given")
        return Value(held, path, run, deflated=True)
    if held.transfer_syntax == BIG_ENDIAN:
        element = element_at(await _header(archive, held), path)
        return Value(held, path, run, word=word_size(str(element["vr"])))
    return await _in_file(archive, held, path, run)


async def _in_file(
    archive: Archive, held: Instance, path: str, run: "array[int]"
) -> Value:
    """A value that lies in its file as it goes out, but for the items around it."""
    start, size = run

    def look(read_at: ReadAt) -> "array[int] | None":
        if not is_encapsulated(read_at(start - 4, 4)):
            return None
        return fragments(read_at, start, size)

    found = await archive.look(held, look)
    if found is None:
        return Value(held, path, run)
    if not found:
        raise NotFound(f"the bulk data {path} of this instance has no fragments")
    frames = first_text(await _header(archive, held), "00280008") or "1"
    whole = len(found) == 2 or frames == "1" or video_type(held.transfer_syntax)
    return Value(held, path, found, held.transfer_syntax, bool(whole))


async def _header(archive: Archive, held: Instance) -> Attributes:
    return await archive.header(held, lambda header, _: dict(orjson.loads(header)))


# -- reading it --------------------------------------------------------------------------


async def _turned(
    archive: Archive, value: Value, start: int, stop: int
) -> AsyncGenerator[bytes, None]:
    """Big-endian words as little-endian ones; a range may begin and end within one."""
    offset, size = value.runs
    first = start - start % value.word
    last = min(stop + -stop % value.word, size)
    piece = archive.file_range(value.instance, offset + first, offset + last)
    swapper = Swapper(value.word)
    position = first
    async with aclosing(archive.read([piece])) as chunks:
        async for chunk in chunks:
            words = swapper.feed(chunk)
            low, high = max(start - position, 0), max(stop - position, 0)
            position += len(words)
            yield words[low:high]
    yield swapper.rest[max(start - position, 0) : max(stop - position, 0)]


async def _inflated(
    archive: Archive, held: Instance, start: int, size: int
) -> AsyncGenerator[bytes, None]:
    """Bytes of a deflated data set; all before them has to be inflated as well."""
    inflater = Inflater(start, start + size)
    begin = 0
    async with aclosing(archive.read([archive.file_range(held)])) as chunks:
        async for chunk in chunks:
            if not begin:  # the first chunk holds the file meta information
                begin = data_set_start(bytes(chunk))
                chunk = chunk[begin:]
            pieces = inflater.feed(chunk)
            while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                if piece:
                    yield piece
            if inflater.done:
                return
    raise Truncated("the file of an instance is not what it was")


# -- sending it --------------------------------------------------------------------------


async def _multipart(
    request: web.Request, value: Value, kind: str
) -> web.StreamResponse:
    boundary = multipart.new_boundary()
    heads = [_heads(request, value, kind, boundary) for _ in range(2)]
    length = sum(map(len, heads[0])) + sum(value.sizes)
    response = web.StreamResponse(headers={"Vary": "Accept, Authorization"})
    response.headers["Content-Type"] = multipart.content_type(kind, boundary)
    response.content_length = length + len(multipart.closing(boundary))
    archive = gateway(request).archive
    async with streaming(request, response) as wanted:
        if wanted:
            for body in _bodies(archive, value, heads[1]):
                await transmit(request, response, archive, body)
            await response.write(multipart.closing(boundary))
    return response


def bodies(
    request: web.Request, value: Value, kind: str, boundary: str, *, first: bool
) -> Iterator[Body]:
    """The parts of a value with what stands before each; `first` of an answer or not."""
    heads = _heads(request, value, kind, boundary, first=first)
    return _bodies(gateway(request).archive, value, heads)


def _heads(
    request: web.Request,
    value: Value,
    kind: str,
    boundary: str,
    *,
    first: bool = True,
) -> Iterator[bytes]:
    """What stands before each part."""
    content_type, location = value.content_type(kind), _location(request, value)
    for size in value.sizes:
        headers = (
            ("Content-Type", content_type),
            ("Content-Length", str(size)),
            ("Content-Location", location),
        )
        yield multipart.part_header(boundary, headers, first=first)
        first = False


def _bodies(archive: Archive, value: Value, heads: Iterator[bytes]) -> Iterator[Body]:
    """The parts with what stands before them, some at a time."""
    if value.joined:
        yield [next(heads)]
        yield value.body(archive, 0, value.sizes[0])
        return
    pieces: list[Piece] = []
    runs = zip(value.runs[::2], value.runs[1::2], strict=True)
    for head, (offset, size) in zip(heads, runs, strict=True):
        pieces += (head, archive.file_range(value.instance, offset, offset + size))
        if len(pieces) >= 2 * _GROUP:
            yield pieces
            pieces = []
    yield pieces
