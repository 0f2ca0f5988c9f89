"""What real clients put into Accept, and what they get for it."""

import contextlib
import time

import pytest

from gateway.errors import BadRequest
from gateway.wire.media import (
    Choice,
    MediaType,
    Offer,
    accept_of,
    accepts_encoding,
    choose,
    deciding_range,
    parse_accept,
    parse_media_type,
)

ELE = "1.2.840.10008.1.2.1"
JPEG = "1.2.840.10008.1.2.4.50"
JPEG_LS = "1.2.840.10008.1.2.4.80"

JSON = Offer("application/dicom+json")
PLAIN_JSON = Offer("application/json")
XML = Offer("multipart/related", "application/dicom+xml")
PIXELS = Offer("multipart/related", "application/octet-stream", (ELE,))
STORED = Offer("multipart/related", "image/jls", (JPEG_LS,))
JPEG_FRAMES = Offer("multipart/related", "image/jpeg", (JPEG,))
FILES = Offer("multipart/related", "application/dicom", (ELE, JPEG_LS))
ONE_FILE = Offer("application/dicom", transfer_syntaxes=(ELE, JPEG_LS))
JPEG_IMAGE = Offer("image/jpeg")
PNG_IMAGE = Offer("image/png")
STORE_XML = Offer("application/dicom+xml")

METADATA = (JSON, PLAIN_JSON, XML)
FRAMES = (PIXELS, STORED, JPEG_FRAMES)
INSTANCES = (FILES, ONE_FILE)
RENDERED = (JPEG_IMAGE, PNG_IMAGE)
STORE = (JSON, STORE_XML)

ACCEPT = {
    "A1": "application/dicom+json",
    "A2": "application/dicom+json, application/json",
    "A3": "application/dicom+json, multipart/related; type=application/octet-stream;"
    " transfer-syntax=*",
    "A4": "multipart/related; type=application/octet-stream; transfer-syntax=*",
    "A5": 'multipart/related; type="application/octet-stream"; transfer-syntax="*"',
    "A6": 'multipart/related; type="application/octet-stream";'
    " transfer-syntax=1.2.840.10008.1.2.4.80; transfer-syntax=*",
    "A7": 'multipart/related;type="application/dicom";transfer-syntax=*',
    "A8": 'multipart/related; type="application/dicom"',
    "A9": "application/dicom; transfer-syntax=*",
    "A10": 'multipart/related; type="image/jpeg";'
    " transfer-syntax=1.2.840.10008.1.2.4.50,"
    ' multipart/related; type="application/octet-stream"; q=0.5',
    "A11": 'multipart/related; type="*/*"',
    "A12": "image/jpeg, image/png;q=0.8",
    "A13": "application/dicom+xml",
    "A14": 'multipart/related; type="application/dicom+xml"',
    "A15": "*/*",
    "A16": None,
    "A17": "multipart/*",
    "A18": "image/*",
    "A19": "text/html,application/xhtml+xml,*/*;q=0.8",
}

# What each gets of metadata, frames, instances, a rendered image, and a store answer.
EXPECTED = {
    "A1": (JSON, None, None, None, JSON),
    "A2": (JSON, None, None, None, JSON),
    "A3": (JSON, PIXELS, None, None, JSON),
    "A4": (None, PIXELS, None, None, None),
    "A5": (None, PIXELS, None, None, None),
    "A6": (None, PIXELS, None, None, None),
    "A7": (None, None, FILES, None, None),
    "A8": (None, None, FILES, None, None),
    "A9": (None, None, ONE_FILE, None, None),
    "A10": (None, JPEG_FRAMES, None, None, None),
    "A11": (XML, PIXELS, FILES, None, None),
    "A12": (None, None, None, JPEG_IMAGE, None),
    "A13": (None, None, None, None, STORE_XML),
    "A14": (XML, None, None, None, None),
    "A15": (JSON, PIXELS, FILES, JPEG_IMAGE, JSON),
    "A16": (JSON, PIXELS, FILES, JPEG_IMAGE, JSON),
    "A17": (XML, PIXELS, FILES, None, None),
    "A18": (None, None, None, JPEG_IMAGE, None),
    "A19": (JSON, PIXELS, FILES, JPEG_IMAGE, JSON),
}


def asked(header):
    return accept_of([], [] if header is None else [header])


@pytest.mark.parametrize("name", ACCEPT)
def test_every_known_accept_header_gets_what_its_client_can_read(name):
    accept = asked(ACCEPT[name])
    resources = (METADATA, FRAMES, INSTANCES, RENDERED, STORE)
    assert tuple(choose(accept, offers) for offers in resources) == EXPECTED[name]


@pytest.mark.parametrize(
    ("name", "kind", "inner", "syntaxes"),
    [
        ("A4", "multipart/related", "application/octet-stream", ("*",)),
        ("A5", "multipart/related", "application/octet-stream", ("*",)),
        ("A6", "multipart/related", "application/octet-stream", (JPEG_LS, "*")),
        ("A7", "multipart/related", "application/dicom", ("*",)),
        ("A9", "application/dicom", None, ("*",)),
        ("A11", "multipart/related", "*/*", ()),
        ("A16", "*/*", None, ()),
    ],
)
def test_spellings_of_viewers_are_read_alike(name, kind, inner, syntaxes):
    (media_range,) = asked(ACCEPT[name])
    assert media_range.kind == kind
    assert media_range.inner == inner
    assert media_range.transfer_syntaxes == syntaxes


def test_two_headers_are_the_same_as_one_merged():
    first, second = ACCEPT["A10"].split(", ")
    assert accept_of([], [first, second]) == asked(ACCEPT["A10"])


def test_quoted_values_hold_separators_and_escapes():
    (media_range,) = parse_accept(r'a/b;x="1,2;3\"4\\";q=0.5')
    assert media_range == MediaType("a/b", {"x": '1,2;3"4\\'}, (), 0.5)


def test_names_are_caseless_and_a_boundary_is_not():
    media_type = parse_media_type(
        'Multipart/Related; TYPE="Application/DICOM"; Boundary=aB; Transfer-Syntax=1.2'
    )
    assert media_type.kind == "multipart/related"
    assert media_type.inner == "application/dicom"
    assert media_type.parameters["boundary"] == "aB"
    assert media_type.transfer_syntaxes == ("1.2",)


@pytest.mark.parametrize(
    ("text", "boundary"),
    [
        ('multipart/related;type="application/dicom";boundary=x-1', "x-1"),
        ('multipart/related; type=application/dicom; boundary="a b;c,d"', "a b;c,d"),
        ("multipart/related; boundary=a,b=c?d; start=x", "a,b=c?d"),
        ('multipart/related ; boundary = "q" ;; ', "q"),
    ],
)
def test_a_content_type_gives_its_boundary(text, boundary):
    assert parse_media_type(text).parameters["boundary"] == boundary


@pytest.mark.parametrize(
    "text",
    ["", "dicom", "a/b, c/d", "*/*", "image/*", "/", "a/", 'a/b; x="open', "a b/c"],
)
def test_a_content_type_that_is_none_is_refused(text):
    with pytest.raises(BadRequest, match=r"^Content-Type: "):
        parse_media_type(text)


@pytest.mark.parametrize("text", ["", " ", ",", ", ,"])
def test_an_empty_accept_takes_anything(text):
    assert parse_accept(text) == [MediaType("*/*")]


def test_empty_elements_and_parameters_are_passed_over():
    assert parse_accept(", a/b;; ,c/d;x,") == [MediaType("a/b"), MediaType("c/d")]


def test_boundary_stars_and_charsets_in_accept_do_not_matter():
    accept = parse_accept(
        "multipart/related; type=application/dicom; boundary=**,"
        " application/dicom+json; charset=utf-8;q=0.1"
    )
    assert choose(accept, INSTANCES) == FILES
    assert choose(accept, METADATA) == JSON


def test_java_sends_a_lone_star_and_weights_without_zero():
    accept = parse_accept("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2")
    assert accept[3] == MediaType("*/*", q=0.2)
    assert choose(accept, RENDERED) == JPEG_IMAGE


@pytest.mark.parametrize("q", ["", "2", "-1", "nan", "1e0", "1.1", "0,5", "x", "."])
def test_a_weight_that_is_none_is_refused(q):
    with pytest.raises(BadRequest, match=r"^Accept: "):
        parse_accept(f"a/b;q={q}")


@pytest.mark.parametrize("text", ["json", "a/b/c", "a/b c", 'a/b;x="', "a b"])
def test_a_range_that_is_none_is_refused(text):
    with pytest.raises(BadRequest, match=r"^Accept: "):
        parse_accept(text)


def test_the_highest_weight_wins():
    assert choose(parse_accept("image/jpeg;q=0.3, image/png"), RENDERED) == PNG_IMAGE


def test_of_equal_weights_the_exact_range_wins():
    assert choose(parse_accept("*/*, image/png"), RENDERED) == PNG_IMAGE
    assert choose(parse_accept("image/*, image/png"), RENDERED) == PNG_IMAGE


def test_of_equal_ranges_the_first_offer_wins():
    assert choose(parse_accept("image/png, image/jpeg"), RENDERED) == JPEG_IMAGE


def test_the_exact_range_decides_even_if_a_wider_one_weighs_more():
    accept = parse_accept("image/jpeg;q=0.1, image/*;q=0.9")
    assert choose(accept, RENDERED) == PNG_IMAGE
    accept = parse_accept("image/*;q=0.1, */*;q=0.9")
    assert choose(accept, (JPEG_IMAGE, JSON)) == JSON
    accept = parse_accept(
        'multipart/related; type="image/*"; q=0.1, multipart/related; q=0.9'
    )
    assert choose(accept, (STORED, PIXELS)) == PIXELS


def test_a_weight_of_zero_excludes():
    assert choose(parse_accept("image/jpeg;q=0, */*;q=0.1"), RENDERED) == PNG_IMAGE
    assert choose(parse_accept("*/*;q=0"), RENDERED) is None
    assert choose(parse_accept("image/png;q=0.000"), RENDERED) is None


def test_nothing_in_common_is_none():
    assert choose(parse_accept("text/plain"), RENDERED) is None
    assert choose(parse_accept("*/*"), ()) is None


def test_json_named_first_is_not_beaten_by_a_longer_multipart():
    accept = parse_accept(ACCEPT["A3"])
    assert choose(accept, (JSON, PIXELS)) == JSON


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("multipart/related", PIXELS),
        ('multipart/related; type="*"', PIXELS),
        ('multipart/related; type="image/*"', STORED),
        (f"multipart/related; type=image/jls; transfer-syntax={JPEG_LS}", STORED),
        (f"multipart/related; type=image/jls; transfer-syntax={JPEG}", None),
        (f"*/*; transfer-syntax={JPEG}", JPEG_FRAMES),
        ("application/octet-stream", None),
    ],
)
def test_multipart_ranges_match_by_inner_type_and_transfer_syntax(text, chosen):
    assert choose(parse_accept(text), FRAMES) == chosen


def test_the_deciding_range_tells_the_transfer_syntaxes():
    accept = parse_accept(
        f"application/dicom;q=0.5, application/dicom;transfer-syntax={JPEG_LS}, */*;q=0"
    )
    decided = deciding_range(accept, ONE_FILE)
    assert decided is not None
    assert decided.transfer_syntaxes == (JPEG_LS,)
    assert deciding_range(accept, JPEG_IMAGE) is None


def test_any_transfer_syntax_beside_none_goes_by_weight():
    accept = parse_accept(
        "application/dicom;q=0.5, application/dicom;transfer-syntax=*"
    )
    decided = deciding_range(accept, ONE_FILE)
    assert decided is not None
    assert decided.transfer_syntaxes == ("*",)


def test_the_query_outranks_the_header():
    assert accept_of(["image/png"], ["image/jpeg"]) == [MediaType("image/png")]
    assert accept_of(["", " "], ["image/jpeg"]) == [MediaType("image/jpeg")]
    assert accept_of([], []) == [MediaType("*/*")]


def test_a_plus_lost_in_the_query_is_mended():
    accept = accept_of(
        [
            "application/dicom json;q=0.5",
            'multipart/related;type="application/dicom xml"',
        ],
        [],
    )
    assert accept[0] == MediaType("application/dicom+json", q=0.5)
    assert accept[1].inner == "application/dicom+xml"


def test_an_error_in_the_query_names_the_query():
    with pytest.raises(BadRequest, match="accept parameter"):
        accept_of(["jpeg"], [])


@pytest.mark.parametrize(
    ("header", "gzip", "identity"),
    [
        (None, False, True),
        ("", False, True),
        ("gzip", True, True),
        ("GZIP;q=1.0, *;q=0", True, False),
        ("x-gzip", True, True),
        ("gzip;q=0", False, True),
        ("gzip; q=0.001,", True, True),
        ("*", True, True),
        ("*;q=0", False, False),
        ("*;q=0, identity;q=0.5", False, True),
        ("deflate, br", False, True),
    ],
)
def test_codings_are_accepted_by_weight(header, gzip, identity):
    assert accepts_encoding(header, "gzip") is gzip
    assert accepts_encoding(header, "identity") is identity


def test_a_coding_that_is_none_is_refused():
    for text in ("gzip;q=much", "g zip", ";q=1"):
        with pytest.raises(BadRequest, match="Accept-Encoding"):
            accepts_encoding(text, "gzip")


def test_a_choice_is_the_same_the_second_time():
    offers = (Offer("application/json"), Offer("multipart/related", "text/xml"))
    choice = Choice(*offers)
    for query, header in (
        ([], []),
        ([], ["multipart/related"]),
        (["application/json"], ["multipart/related"]),
        ([], ["text/html"]),
        ([], ["text/html", "application/*"]),
    ):
        expected = choose(accept_of(query, header), offers)
        assert [choice.of(query, header) for _ in range(3)] == [expected] * 3
    for _ in range(2):
        with pytest.raises(BadRequest):
            choice.of([], ["no type"])


@pytest.mark.parametrize("piece", ['"\\', '\\"', '"', "a/b;", ",", ';x="', "a" * 99])
def test_a_long_absurd_header_is_read_or_refused_at_once(piece):
    text = "a/b;x=" + (piece * 8000)[:8000]
    begun = time.perf_counter()
    with contextlib.suppress(BadRequest):
        parse_accept(text)
    assert time.perf_counter() - begun < 0.5
