"""The multipart reader and writer, byte by byte."""

import io
import tracemalloc
from email import message_from_bytes

import pytest

from gateway.errors import BadRequest, Truncated
from gateway.wire import multipart
from gateway.wire.multipart import (
    MultipartEnd,
    MultipartReader,
    PartBegin,
    PartData,
    PartEnd,
    boundary_of,
    closing,
    content_type,
    length,
    new_boundary,
    part_header,
)

TWO_PARTS = (
    b"--b\r\nContent-Type: application/dicom\r\n\r\none\r\n"
    b"--b\r\nContent-Type: image/jpeg\r\n\r\ntwo\r\n--b--"
)


def events_of(body, *, boundary="b", size=None):
    reader = MultipartReader(boundary)
    size = size or max(len(body), 1)
    events = []
    for start in range(0, len(body), size):
        events += reader.feed(body[start : start + size])
    reader.close()
    return events


def parts_in(events):
    parts, headers, data = [], {}, io.BytesIO()
    for event in events:
        match event:
            case PartBegin(headers):
                data = io.BytesIO()
            case PartData(body):
                assert body
                data.write(body)
            case PartEnd():
                parts.append((dict(headers), data.getvalue()))
    return parts


def parts_of(body, *, boundary="b"):
    """The parts, the same for a body fed whole and byte by byte."""
    whole = parts_in(events_of(body, boundary=boundary))
    assert whole == parts_in(events_of(body, boundary=boundary, size=1))
    return whole


def data_of(body):
    return [data for _, data in parts_of(body)]


def test_two_parts_are_told_in_order():
    assert events_of(TWO_PARTS) == [
        PartBegin({"content-type": "application/dicom"}),
        PartData(memoryview(b"one")),
        PartEnd(),
        PartBegin({"content-type": "image/jpeg"}),
        PartData(memoryview(b"two")),
        PartEnd(),
        MultipartEnd(),
    ]


def test_the_data_of_a_chunk_is_not_copied():
    reader = MultipartReader("b")
    reader.feed(b"--b\r\n\r\n.")
    chunk = bytes(100_000)
    (event,) = reader.feed(chunk)
    assert event.body.obj is chunk


@pytest.mark.parametrize("size", range(1, len(TWO_PARTS) + 1))
def test_the_size_of_chunks_does_not_matter(size):
    assert [d for _, d in parts_in(events_of(TWO_PARTS, size=size))] == [
        b"one",
        b"two",
    ]


def test_dcmjs_begins_with_a_line_end_and_ends_without_one():
    assert data_of(b"\r\n--b\r\nContent-Type: application/dicom\r\n\r\nx\r\n--b--") == [
        b"x"
    ]


def test_preamble_and_epilogue_are_ignored():
    body = b"hello\r\n--bb\r\n--b\r\n\r\nx\r\n--b--\r\nbye\r\n--b\r\n\r\nz\r\n--b--\r\n"
    assert data_of(body) == [b"x"]


def test_text_before_the_boundary_on_its_line_is_no_delimiter():
    assert data_of(b"a--b\r\n--b\r\n\r\nx\r\n--b--") == [b"x"]


def test_an_endless_preamble_is_refused_whole_or_in_pieces():
    for size in (1, 1000, 10_000):
        with pytest.raises(BadRequest, match="No multipart delimiter"):
            events_of(b"x" * 10_000 + TWO_PARTS, size=size)


def test_the_longest_preamble_is_taken():
    filler = b"x" * (multipart.MAX_PREAMBLE_BYTES - 10)
    assert len(parts_of(filler + b"\r\n" + TWO_PARTS)) == 2


def test_blanks_after_the_boundary_are_padding():
    assert data_of(b"--b \t\r\n\r\nx\r\n--b\t\r\n\r\ny\r\n--b-- \t\r\n") == [b"x", b"y"]


def test_endless_blanks_after_the_boundary_are_refused():
    for size in (1, 500):
        with pytest.raises(BadRequest, match="blanks"):
            events_of(b"--b" + b" " * 400 + b"\r\n\r\nx\r\n--b--", size=size)


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n--bX",
        b"\r\n--b-X",
        b"\r\n--b-",
        b"\r\n--b X",
        b"\r\n--b\rX",
        b"\r\n--b",
        b"\r\n-- b",
        b"\n--b\r\n",
        b"\r--b--",
        b"\r\r\n--B\r\n",
        b"\r\n\r\n",
        b"a\r\n\r\nb\r\n",
        b"--bX",
        b"\r\n-",
        b"\r\n--",
        b"\r",
        b"\n",
        b"\r\n",
    ],
)
def test_what_only_looks_like_a_delimiter_is_data(data):
    body = (
        b"--b\r\nA: b\r\n\r\n" + data + b"Y\r\n--b\r\n\r\nZ" + data + b"Z\r\n--b--\r\n"
    )
    assert data_of(body) == [data + b"Y", b"Z" + data + b"Z"]


def test_a_delimiter_begun_twice_is_found():
    assert data_of(b"--b\r\n\r\nx\r\n--\r\n--b\r\n\r\n\r\n\r\n--b--") == [
        b"x\r\n--",
        b"\r\n",
    ]


def test_a_part_may_be_empty():
    assert parts_of(b"--b\r\nA: b\r\n\r\n\r\n--b\r\n\r\n\r\n--b--") == [
        ({"a": "b"}, b""),
        ({}, b""),
    ]


def test_the_blank_line_may_be_the_line_end_before_a_delimiter():
    assert parts_of(b"--b\r\nA: b\r\n\r\n--b\r\n\r\n--b--") == [
        ({"a": "b"}, b""),
        ({}, b""),
    ]


def test_a_body_of_only_the_closing_delimiter_has_no_parts():
    assert events_of(b"--b--\r\n") == [MultipartEnd()]


def test_the_length_a_part_claims_is_not_believed():
    for claimed in (b"0", b"2", b"99999", b"-1", b"many"):
        body = b"--b\r\nContent-Length: " + claimed + b"\r\n\r\nabcdef\r\n--b--"
        assert data_of(body) == [b"abcdef"]


def test_a_multipart_inside_a_part_is_data():
    inner = b"--c\r\n\r\nx\r\n--c--"
    body = b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n" + inner
    assert data_of(body + b"\r\n--b--") == [inner]


@pytest.mark.parametrize(
    ("block", "headers"),
    [
        (b"CONTENT-type:x\r\n", {"content-type": "x"}),
        (b"Content-Type : x ; y=z \r\n", {"content-type": "x ; y=z"}),
        (b"A: one\r\n\ttwo\r\n  three\r\nB:\r\n", {"a": "one two three", "b": ""}),
        (b"A: first\r\nA: second\r\n more\r\n", {"a": "first"}),
        (b"A: one\nB: two\n", {"a": "one", "b": "two"}),
        ("A: Müller\r\n".encode(), {"a": "Müller"}),
        ("A: Müller\r\n".encode("latin-1"), {"a": "Müller"}),
        (b"Content-Location: http://h/a:b\r\n", {"content-location": "http://h/a:b"}),
    ],
)
def test_headers_are_read_in_all_their_spellings(block, headers):
    assert parts_of(b"--b\r\n" + block + b"\r\nx\r\n--b--") == [(headers, b"x")]


@pytest.mark.parametrize(
    "block",
    [
        b"no colon\r\n",
        b": no name\r\n",
        b" folded from nothing\r\n",
        b"A: b\x00c\r\n",
        b"A: b\rc\r\n",
        b"N\xffme: x\r\n",
        b"A: b\r\n--b\r\nA: b\r\n",
        b"A: b\r\n" * 33,
        b"A: b\r\n" + b" c\r\n" * 32,
        b"A: " + b"x" * 9000 + b"\r\n",
    ],
)
@pytest.mark.parametrize("size", [1, 100_000])
def test_headers_that_cannot_be_read_are_refused(block, size):
    with pytest.raises(BadRequest, match=r"Part 1 of the multipart body: "):
        events_of(b"--b\r\n" + block + b"\r\nx\r\n--b--", size=size)


def test_a_boundary_with_a_colon_is_not_taken_for_a_header():
    with pytest.raises(BadRequest, match="no blank line"):
        events_of(b"--a:b\r\nA: b\r\n--a:b\r\n\r\nx\r\n--a:b--", boundary="a:b")


def test_32_header_lines_are_taken():
    assert len(parts_of(b"--b\r\n" + b"A: b\r\n" * 32 + b"\r\nx\r\n--b--")) == 1


def test_bare_line_feeds_are_taken_if_the_first_delimiter_has_one():
    body = b"--b\nA: b\n\none\n\n--b\n\ntwo\r\n.\n--bX\n--b\n\n--b--\n"
    assert parts_of(body) == [
        ({"a": "b"}, b"one\n"),
        ({}, b"two\r\n.\n--bX"),
        ({}, b""),
    ]


def test_a_carriage_return_that_may_be_data_is_refused():
    for size in (1, 100):
        with pytest.raises(BadRequest, match="CR LF before a delimiter"):
            events_of(b"--b\n\none\r\n--b--\n", size=size)


def test_after_a_full_line_end_bare_line_feeds_are_data():
    with pytest.raises(Truncated):
        events_of(b"--b\r\n\r\none\n--b\n\ntwo\n--b--\n")


def test_what_was_whole_before_an_error_is_told_first():
    body = b"--b\r\n\r\none\r\n--b\r\nno colon\r\n\r\ntwo\r\n--b--"
    for size in (1, 7, len(body)):
        reader = MultipartReader("b")
        events = []
        with pytest.raises(BadRequest, match="Part 2"):  # noqa: PT012
            for start in range(0, len(body), size):
                events += reader.feed(body[start : start + size])
            reader.close()
        assert parts_in(events) == [({}, b"one")]
        with pytest.raises(BadRequest, match="Part 2"):
            reader.feed(b"more")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "before the first multipart delimiter"),
        (b"--", "before the first multipart delimiter"),
        (b"--b", "before the first multipart delimiter"),
        (b"--b\r\nA: b", "in the headers of part 1"),
        (b"--b\r\n\r\n", "inside part 1"),
        (b"--b\r\n\r\nx\r\n--b", "inside part 1"),
        (b"--b\r\n\r\nx\r\n--b-", "inside part 1"),
        (b"--b\r\n\r\nx\r\n--b\r", "inside part 1"),
        (b"--b\r\n\r\nx\r\n--b\r\n", "in the headers of part 2"),
    ],
)
def test_a_body_cut_short_says_where(body, message):
    with pytest.raises(Truncated, match=message):
        events_of(body)


def test_nothing_but_a_begun_delimiter_is_kept_between_chunks():
    reader = MultipartReader("b" * 70)
    reader.feed(b"--" + b"b" * 70 + b"\r\n\r\n")
    chunk = b"\r\n--" + b"b" * 69 + b"x" * 100_000 + b"\r\n--bbb"
    tracemalloc.start()
    try:
        for _ in range(50):
            reader.feed(chunk)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 10_000


def test_a_boundary_is_taken_from_the_parameters():
    assert (
        boundary_of({"boundary": "gc0p4Jq0M:2Yt08j34c0p?"}) == "gc0p4Jq0M:2Yt08j34c0p?"
    )
    assert boundary_of({"boundary": "b" * 70}) == "b" * 70


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"boundary": ""},
        {"boundary": "b" * 201},
        {"boundary": "a "},
        {"boundary": "a\r\nb"},
        {"boundary": "ä"},
    ],
)
def test_a_boundary_that_cannot_be_one_is_refused(parameters):
    with pytest.raises(BadRequest, match="boundary"):
        boundary_of(parameters)


def test_new_boundaries_are_random_and_need_no_quotes():
    made = {new_boundary() for _ in range(100)}
    assert len(made) == 100
    assert all(
        len(one) == 64 and one.isalnum() and boundary_of({"boundary": one}) == one
        for one in made
    )


def test_the_writer_spells_what_viewers_look_for():
    headers = [("Content-Type", "application/octet-stream; transfer-syntax=1.2")]
    body = (
        part_header("b", headers, first=True)
        + b"one"
        + part_header("b", [], first=False)
        + b"two"
        + closing("b")
    )
    assert body == (
        b"--b\r\nContent-Type: application/octet-stream; transfer-syntax=1.2\r\n\r\n"
        b"one\r\n--b\r\n\r\ntwo\r\n--b--\r\n"
    )
    assert length("b", [(headers, 3), ([], 3)]) == len(body)
    assert parts_of(body) == [
        ({"content-type": "application/octet-stream; transfer-syntax=1.2"}, b"one"),
        ({}, b"two"),
    ]


def test_the_content_type_quotes_the_type():
    spelled = content_type("application/dicom", "b")
    assert spelled == 'multipart/related; type="application/dicom"; boundary=b'
    message = message_from_bytes(f"Content-Type: {spelled}\n\n".encode() + TWO_PARTS)
    assert [part.get_payload() for part in message.get_payload()] == ["one", "two"]


def test_a_line_end_in_a_header_cannot_be_written():
    for value in ("x\r\nSet-Cookie: y", "x\n\n", "\r"):
        with pytest.raises(ValueError, match="line end"):
            part_header("b", [("Content-Type", value)], first=True)


def test_a_delimiter_line_may_end_with_a_bare_line_feed():
    assert data_of(b"--b\r\n\r\nx\r\n--b\n\ny\r\n--b--\n") == [b"x", b"y"]
