"""Whatever a body holds and however it is cut, the reader finds the same parts."""

import asyncio
import re

import pytest
from aiohttp import MultipartReader as Oracle
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import BadRequest, GatewayError, Truncated
from gateway.wire.media import parse_media_type
from gateway.wire.multipart import (
    MultipartEnd,
    MultipartReader,
    PartBegin,
    PartData,
    PartEnd,
    boundary_of,
    closing,
    part_header,
)

BOUNDARY_CHARACTERS = (
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'()+_,-./:=?"
)

boundaries = st.one_of(
    st.text("ab-", min_size=1, max_size=4),
    st.text(BOUNDARY_CHARACTERS, min_size=1, max_size=70),
    st.text(BOUNDARY_CHARACTERS + " ", min_size=2, max_size=70).filter(
        lambda text: text == text.strip()
    ),
)
header_names = st.sampled_from(
    ["Content-Type", "content-location", "MIME-Version", "X-a", "Content-ID"]
)
header_values = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x2FF, exclude_characters="\x7f"),
    max_size=30,
).map(lambda text: f"v {text}".strip())


def delimiter_line(boundary):
    return re.compile(
        rb"\r\n--" + re.escape(boundary.encode()) + rb"(?:--|[ \t]*\r?\n)"
    )


@st.composite
def binaries(draw, boundary):
    """Bytes made of the pieces of a delimiter that hold no delimiter."""
    raw = boundary.encode()
    pieces = [
        b"\r\n--" + raw + b"X",
        b"\r\n--" + raw[:-1],
        b"\n--" + raw + b"\r\n",
        b"\r\n--" + raw,
        b"\r\n\r\n",
        b"\r\n",
        b"\r",
        b"\n",
        b"--",
        b"-",
        b" ",
        raw,
        b"\x00\xff",
    ]
    piece = st.sampled_from(pieces) | st.binary(max_size=20)
    joined = b"".join(draw(st.lists(piece, max_size=8)))
    if delimiter_line(boundary).search(b"\r\n" + joined + b"\r\n"):
        joined = joined.replace(b"--", b"-+")
    return joined


@st.composite
def bodies(draw, boundaries=boundaries):
    """A boundary, a valid body, its parts, and where each was seen to be whole."""
    boundary = draw(boundaries)
    parts, ends = [], []
    preamble = draw(
        st.sampled_from([b"", b"\r\n", b"This is\r\n\r\nMIME.\r\n", b"-\n"])
    )
    body = preamble
    count = draw(st.integers(1, 4))
    for number in range(count):
        # aiohttp goes by part lengths and nests multiparts, so there are none here.
        names = draw(st.lists(header_names, max_size=3, unique_by=str.lower))
        headers = [(name, draw(header_values)) for name in names]
        padding = draw(st.sampled_from([b"", b"", b" ", b"\t  "]))
        head = part_header(boundary, headers, first=number == 0)
        first_line = head.index(b"--" + boundary.encode()) + 2 + len(boundary)
        body += head[:first_line] + padding
        line_end = len(body) + 2
        if number:
            ends.append(line_end)
        body += head[first_line:]
        data = draw(binaries(boundary))
        parts.append(({name.lower(): value for name, value in headers}, data))
        body += data
    body += closing(boundary).removesuffix(b"\r\n")
    ends.append(len(body))
    body += draw(
        st.sampled_from([b"", b"\r\n", b" \r\nbye", b"\r\n--" + boundary.encode()])
    )
    return boundary, body, parts, ends


def cut(body, sizes):
    position = 0
    while position < len(body):
        for size in sizes:
            yield body[position : position + size]
            position += size


def read(boundary, chunks):
    """The parts that were whole, and how the body ended."""
    reader = MultipartReader(boundary)
    parts, headers, data, ended = [], None, b"", False
    try:
        for chunk in chunks:
            for event in reader.feed(chunk):
                match event:
                    case PartBegin(headers):
                        data = b""
                    case PartData(body):
                        data += body
                    case PartEnd():
                        parts.append((dict(headers), data))
                    case MultipartEnd():
                        ended = True
        reader.close()
    except GatewayError as failure:
        return parts, type(failure)
    assert ended
    return parts, None


@pytest.fixture(scope="module")
def loop():
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


async def ask_oracle(content_type, body):
    loop = asyncio.get_running_loop()
    stream = StreamReader(BaseProtocol(loop), 2**16, loop=loop)
    stream.feed_data(body)
    stream.feed_eof()
    reader = Oracle({"Content-Type": content_type}, stream)
    parts = []
    while (part := await reader.next()) is not None:
        headers = {name.lower(): value for name, value in part.headers.items()}
        parts.append((headers, bytes(await part.read())))
    return parts


cuts = st.lists(st.integers(1, 60), min_size=1, max_size=6)


@settings(max_examples=300, deadline=None)
@given(made=bodies(), sizes=cuts)
def test_every_cut_of_a_valid_body_gives_its_parts(made, sizes):
    boundary, body, parts, _ = made
    assert read(boundary, [body]) == (parts, None)
    assert read(boundary, cut(body, [1])) == (parts, None)
    assert read(boundary, cut(body, sizes)) == (parts, None)


@settings(max_examples=300, deadline=None)
@given(made=bodies(), sizes=cuts, quoted=st.booleans())
def test_the_parts_are_those_aiohttp_finds_in_the_whole_body(loop, made, sizes, quoted):
    boundary, body, parts, _ = made
    if any(
        b"\r\n--" + boundary.encode() in b"\r\n" + data for _, data in parts
    ):  # aiohttp gives up on what only begins like a delimiter
        return
    if quoted or not boundary.isalnum():
        boundary = f'"{boundary}"'
    content_type = f'multipart/related; type="application/dicom"; boundary={boundary}'
    ours, failure = read(
        boundary_of(parse_media_type(content_type).parameters), cut(body, sizes)
    )
    assert failure is None
    assert ours == loop.run_until_complete(ask_oracle(content_type, body))


@settings(max_examples=60, deadline=None)
@given(made=bodies(st.text("ab-", min_size=1, max_size=4)))
def test_a_body_cut_short_gives_only_the_parts_that_were_whole(made):
    boundary, body, parts, ends = made
    for stop in range(len(body)):
        whole = sum(end <= stop for end in ends)
        failure = None if stop >= ends[-1] else Truncated
        # All chunkings are alike (see above), so one that differs by prefix will do.
        assert read(boundary, cut(body[:stop], [stop % 7 + 1])) == (
            parts[:whole],
            failure,
        )


@settings(max_examples=300, deadline=None)
@given(
    pieces=st.lists(
        st.sampled_from(
            [
                b"--b",
                b"--",
                b"\r\n",
                b"\n",
                b"\r",
                b" ",
                b"\t",
                b"A: b",
                b":",
                b"x",
                b"\0",
            ]
        ),
        max_size=30,
    ),
    begun=st.booleans(),
    sizes=cuts,
)
def test_any_rubbish_is_read_alike_however_it_is_cut(pieces, begun, sizes):
    body = (b"--b\r\n\r\n" if begun else b"") + b"".join(pieces)
    whole = read("b", [body])
    assert whole == read("b", cut(body, [1])) == read("b", cut(body, sizes))
    assert whole[1] in (None, BadRequest, Truncated)


pieces_without_delimiter = st.sampled_from(
    [b"x", b"\n\n", b"--bX", b"\r\n.", b"\n--bX", b"\n--b\rX", b"\r"]
)


@settings(max_examples=200, deadline=None)
@given(
    parts=st.lists(
        st.lists(pieces_without_delimiter).map(lambda pieces: b"".join(pieces) + b"."),
        min_size=1,
        max_size=4,
    ),
    sizes=cuts,
)
def test_bare_line_feeds_lose_no_byte(parts, sizes):
    body = b"".join(b"--b\nA: c\n\n" + data + b"\n" for data in parts) + b"--b--\n"
    assert read("b", cut(body, sizes)) == ([({"a": "c"}, data) for data in parts], None)
