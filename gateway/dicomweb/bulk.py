"""Bulk data: values that metadata refers to (PS3.18 10.4.1.1.5).

Most values go out as they lie in the file. Those of big-endian files are turned around on
their way, those of deflated files inflated. Compressed pixel data leaves without its
items: a part for each fragment, or one part where there is only one frame. None of this
needs more memory for a larger value.
"""

import asyncio
import re
from array import array
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

import orjson
from aiohttp import web

from gateway.archive import Archive, Instance, Piece
from gateway.dicom.bulk import (
    Inflater,
    ReadAt,
    Swapper,
    fragments,
    is_encapsulated,
    vr_at,
    word_size,
)
from gateway.dicom.header import BIG_ENDIAN, DEFLATED, data_set_start
from gateway.dicom.hierarchy import Attributes, Level, first_text
from gateway.errors import BadRequest, NotAcceptable, NotFound, Truncated
from gateway.web.context import accept, gateway, public_root, uid
from gateway.web.files import Section, send_file
from gateway.web.replies import streaming
from gateway.web.transmission import Body, transmit
from gateway.wire import multipart
from gateway.wire.media import Offer, choose

_OCTETS = "application/octet-stream"
_MULTIPART = "multipart/related"
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"

_PATH = re.compile(r"[0-9a-f]{8}(/[1-9][0-9]{0,8}/[0-9a-f]{8})*")
_NAMES = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")

#: Parts whose headers are held at a time.
_GROUP = 256


@dataclass(frozen=True, slots=True)
class _Value:
    """A value, found: which runs of bytes of which file it is, and what to do to them."""

    instance: Instance
    runs: "array[int]"  # offset and size of each, in the file or its inflated data set
    syntax: str = _EXPLICIT_LITTLE_ENDIAN  # what the bytes are in
    joined: bool = True  # all runs are one part
    word: int = 1  # bytes to be turned around at a time
    deflated: bool = False

    @property
    def sizes(self) -> Sequence[int]:
        """The sizes of the parts."""
        sizes = self.runs[1::2]
        return [sum(sizes)] if self.joined else sizes

    @property
    def content_type(self) -> str:
        """The media type of a part; the syntax is named where it is not the usual one."""
        if self.syntax == _EXPLICIT_LITTLE_ENDIAN:
            return _OCTETS
        return f"{_OCTETS}; transfer-syntax={self.syntax}"

    def body(self, archive: Archive, start: int, stop: int) -> Body:
        """The bytes from `start` up to `stop` of a value that is one part."""
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
    path = path.lower()
    if not _PATH.fullmatch(path):
        raise BadRequest("the path of bulk data is a tag, or tags and numbers of items")
    archive = gateway(request).archive
    pairs = zip((study, series, instance), _NAMES, strict=True)
    held = await archive.instance(*(uid(text, name) for text, name in pairs))
    value = await _find(archive, held, path)
    offers = [Offer(_MULTIPART, _OCTETS, (value.syntax,))]
    if value.joined:
        offers.append(Offer(_OCTETS, None, (value.syntax,)))
    offer = choose(accept(request), offers)
    if offer is None:
        raise NotAcceptable(_what_there_is(value))
    location = (
        f"{public_root(request)}studies/{study}/series/{series}"
        f"/instances/{instance}/bulk/{path}"
    )
    if offer.kind == _MULTIPART:
        return await _multipart(request, value, location)
    section = Section(
        value.sizes[0],
        lambda start, stop: value.body(archive, start, stop),
        label=f"-{path}",
    )
    headers = {"Content-Location": location}
    return await send_file(request, held, value.content_type, headers, section)


def _what_there_is(value: _Value) -> str:
    single = f", or {_OCTETS} alone" if value.joined else ""
    return (
        f'here there is {_MULTIPART}; type="{_OCTETS}"{single},'
        f" with transfer-syntax {value.syntax}"
    )


async def joined(
    archive: Archive, held: Instance, path: str, size: int | None
) -> Section:
    """The value at a path with all its fragments as one; so many bytes of it."""
    value = replace(await _find(archive, held, path), joined=True)
    stored = value.sizes[0]
    return Section(
        stored if size is None else min(size, stored),
        lambda start, stop: value.body(archive, start, stop),
        label=f"-{path}",
    )


# -- finding the value -------------------------------------------------------------------


async def _find(archive: Archive, held: Instance, path: str) -> _Value:
    start, size = await archive.bulk(held, path)
    run = array("Q", (start, size))
    if held.transfer_syntax in DEFLATED:
        before = [p async for p in _inflated(archive, held, start - 4, 4)]
        if is_encapsulated(b"".join(before)):
            raise NotAcceptable("fragments within a deflated data set cannot be given")
        return _Value(held, run, deflated=True)
    if held.transfer_syntax == BIG_ENDIAN:
        vr = vr_at(await _header(archive, held), path)
        return _Value(held, run, word=word_size(vr))

    def look(read_at: ReadAt) -> "array[int] | None":
        if not is_encapsulated(read_at(start - 4, 4)):
            return None
        return fragments(read_at, start, size)

    found = await archive.look(held, look)
    if found is None:
        return _Value(held, run)
    if not found:
        raise NotFound(f"the bulk data {path} of this instance has no fragments")
    frames = first_text(await _header(archive, held), "00280008") or "1"
    joined = len(found) == 2 or frames == "1"
    return _Value(held, found, held.transfer_syntax, joined)


async def _header(archive: Archive, held: Instance) -> Attributes:
    uids = held.study, held.series, held.uid
    async with aclosing(
        archive.headers(Level.INSTANCE, *uids, present=lambda *found: found[3])
    ) as groups:
        attributes: Attributes = orjson.loads((await anext(groups))[0])
        return attributes


# -- reading it --------------------------------------------------------------------------


async def _turned(
    archive: Archive, value: _Value, start: int, stop: int
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
    request: web.Request, value: _Value, location: str
) -> web.StreamResponse:
    boundary = multipart.new_boundary()
    heads = _heads(value, boundary, location)
    length = sum(map(len, heads)) + sum(value.sizes) + len(multipart.closing(boundary))
    response = web.StreamResponse(headers={"Vary": "Accept, Authorization"})
    response.headers["Content-Type"] = multipart.content_type(_OCTETS, boundary)
    response.content_length = length
    archive = gateway(request).archive
    async with streaming(request, response) as wanted:
        if wanted:
            for body in _bodies(archive, value, _heads(value, boundary, location)):
                await transmit(request, response, archive, body)
            await response.write(multipart.closing(boundary))
    return response


def _heads(value: _Value, boundary: str, location: str) -> Iterator[bytes]:
    """What stands before each part."""
    first = True
    for size in value.sizes:
        headers = (
            ("Content-Type", value.content_type),
            ("Content-Length", str(size)),
            ("Content-Location", location),
        )
        yield multipart.part_header(boundary, headers, first=first)
        first = False


def _bodies(archive: Archive, value: _Value, heads: Iterator[bytes]) -> Iterator[Body]:
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
