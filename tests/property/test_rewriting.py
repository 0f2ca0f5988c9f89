"""Addresses are moved in the same way however the text comes, and nothing else is."""

import json
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.wire.relocation import Relocation
from gateway.wire.rewriting import LONGEST_ADDRESS, JsonRewriter, Rewriter
from gateway.wire.xml_rewriting import LONGEST, XmlRewriter

MOVE = Relocation(
    "http://pacs.example:8080/dicom-web/",
    "https://ours.example/dicom-web/servers/a%20b/",
    "http://pacs.example:8080/dicom-web/studies/1.2/series/1.3/metadata",
)
NATIVE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"

addresses = st.sampled_from(
    [
        "http://pacs.example:8080/dicom-web/studies/1.2/bulk/7fe00010",
        "HTTP://PACS.example:8080/dicom-web/studies/1.2?a=b&c=%20d#e",
        "http://inside:1234/other/root/studies/1.2.3/series/4.5/instances/6",
        "http://elsewhere.example/somebody/else",
        "/dicom-web/studies/1.2/bulk/a",
        "../../bulkdata/x",
        "bulk/7fe00010",
        "urn:oid:1.2.3",
        "",
        " http://pacs.example:8080/dicom-web/studies/1.2 ",
        "http://pacs.example:8080/dicom-web/studies/1.2/\u00e4\U0001f600",
        "http://[bad",
    ]
)
texts = st.one_of(
    addresses,
    st.text(max_size=8),
    st.text('"\\BulkDataURI:{}[],', max_size=16),
    st.sampled_from(
        ['"BulkDataURI":"http://pacs.example:8080/dicom-web/studies/1"', "\\", '\\"']
    ),
)
scalars = st.one_of(texts, st.none(), st.booleans(), st.integers())
attribute = st.one_of(
    st.fixed_dictionaries({"vr": st.just("OW"), "BulkDataURI": scalars}),
    st.fixed_dictionaries({"Value": st.lists(scalars, max_size=3), "vr": texts}),
    st.fixed_dictionaries({"vr": texts}),
    scalars,
)
tags = st.one_of(
    st.sampled_from(["00081190", "0040E010", "0040e010", "00081199", "7FE00010"]),
    st.sampled_from(["BulkDataURI", "Value", 'x"BulkDataURI', "\\", "00081190x"]),
    texts,
)
data_sets = st.recursive(
    st.dictionaries(tags, attribute, max_size=5),
    lambda inner: st.dictionaries(
        st.sampled_from(["00081199", "00081115"]),
        st.fixed_dictionaries(
            {"vr": st.just("SQ"), "Value": st.lists(inner, max_size=3)}
        ),
        max_size=3,
    ),
    max_leaves=8,
)
cuts = st.lists(st.integers(1, 40), min_size=1, max_size=30)


def moved(value: Any) -> Any:
    """What a library of JSON makes of it."""
    if isinstance(value, list):
        return [moved(one) for one in value]
    if not isinstance(value, dict):
        return value
    made = {}
    for key, one in value.items():
        if key == "BulkDataURI" and isinstance(one, str):
            made[key] = MOVE.moved(one)
        elif key.upper() in ("00081190", "0040E010") and isinstance(one, dict):
            made[key] = moved(one) | {
                name: [MOVE.moved(x) if isinstance(x, str) else x for x in listed]
                for name, listed in one.items()
                if name == "Value"
            }
        else:
            made[key] = moved(one)
    return made


def escaped(text: str, every: int) -> str:
    """The same JSON, some letters of its strings spelled as escapes."""
    out, inside, passed = [], False, 0
    for place, letter in enumerate(text):
        if passed:
            passed -= 1
        elif letter == "\\":
            passed = 5 if text[place + 1] == "u" else 1
        elif letter == '"':
            inside = not inside
        elif inside and place % every == 0 and letter < "\uffff":
            letter = f"\\u{ord(letter):04X}"
        out.append(letter)
    return "".join(out)


def rewritten(rewriter: Rewriter, body: bytes, sizes: list[int]) -> bytes:
    """What comes out if it goes in cut into these sizes, again and again."""
    out, at, turn = [], 0, 0
    while at < len(body):
        size = sizes[turn % len(sizes)]
        out.append(rewriter.feed(body[at : at + size]))
        at, turn = at + size, turn + 1
    return b"".join([*out, rewriter.close()])


def whole(make: Callable[[Relocation], Rewriter], body: bytes) -> bytes:
    return rewritten(make(MOVE), body, [len(body) + 1])


@settings(max_examples=80, deadline=None)
@given(st.lists(data_sets, max_size=3), cuts, st.sampled_from([None, 1, "\t"]))
def test_json_is_as_a_library_makes_it(
    value: list[Any], sizes: list[int], indent: Any
) -> None:
    for ascii_only in (True, False):
        text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
        body = text.encode(errors="surrogatepass")
        out = rewritten(JsonRewriter(MOVE), body, sizes)
        assert out == whole(JsonRewriter, body)
        assert json.loads(out.decode(errors="surrogatepass")) == moved(value)


@settings(max_examples=80, deadline=None)
@given(st.lists(data_sets, max_size=2), cuts, st.integers(1, 5))
def test_json_with_escapes_is_as_a_library_makes_it(
    value: list[Any], sizes: list[int], every: int
) -> None:
    text = escaped(json.dumps(value), every)
    assert json.loads(text) == value
    out = rewritten(JsonRewriter(MOVE), text.encode(), sizes)
    assert json.loads(out) == moved(value)


@settings(max_examples=80, deadline=None)
@given(st.text('"\\BulkDataURI:{}[], 00081190Value', max_size=80), cuts)
def test_what_is_no_json_goes_through_in_one_way(text: str, sizes: list[int]) -> None:
    body = text.encode()
    assert rewritten(JsonRewriter(MOVE), body, sizes) == whole(JsonRewriter, body)


@given(st.integers(-3, 3), st.integers(300, 20_000))
@settings(max_examples=50, deadline=None)
def test_a_string_too_long_for_an_address_goes_through(more: int, size: int) -> None:
    start = f"{MOVE.remote}studies/1/"
    address = start + "a" * (LONGEST_ADDRESS - 2 - len(start) + more)
    body = json.dumps([{"00090010": {"vr": "OB", "BulkDataURI": address}}]).encode()
    out = rewritten(JsonRewriter(MOVE), body, [size])
    expected = address if more > 0 else MOVE.moved(address)
    assert json.loads(out)[0]["00090010"]["BulkDataURI"] == expected


@settings(deadline=None)
@given(st.integers(1, 200_000))
def test_little_is_held_back(size: int) -> None:
    rewriter = JsonRewriter(MOVE)
    text = f'"BulkDataURI": "{"x" * size}'.encode()
    sent = len(rewriter.feed(text))
    assert len(text) - sent <= LONGEST_ADDRESS + 1


xml_texts = st.one_of(addresses, st.text("<>&\"'; aB", max_size=8))


@st.composite
def models(draw: Any) -> tuple[str, str]:
    """A Native DICOM Model, and the same with its addresses moved."""
    made: list[list[str]] = [[], []]
    for _ in range(draw(st.integers(0, 5))):
        tag = draw(st.sampled_from(["00081190", "0040E010", "00080018", "7FE00010"]))
        text = draw(xml_texts)
        name = draw(st.sampled_from(["uri", "URI"]))
        as_bulk = draw(st.booleans())
        mark = draw(st.sampled_from(["", "n:"]))
        for place, form in enumerate(made):
            here = MOVE.moved(text) if place else text
            if as_bulk:
                inner = f'<{mark}BulkData {name}={quoteattr(here)} a="{escape("<u")}"/>'
            else:
                value = here if tag in ("00081190", "0040E010") else text
                inner = f'<{mark}Value number="1">{escape(value)}</{mark}Value>'
            form.append(
                f'<{mark}DicomAttribute tag="{tag}" vr="UR">{inner}</{mark}DicomAttribute>'
            )
    head = f'<NativeDicomModel xmlns="{NATIVE}" xmlns:n="{NATIVE}">'
    ends = [f"{head}{''.join(form)}</NativeDicomModel>" for form in made]
    return ends[0], ends[1]


@settings(max_examples=80, deadline=None)
@given(models(), cuts)
def test_xml_is_as_a_library_reads_it(made: tuple[str, str], sizes: list[int]) -> None:
    text, expected = made
    body = f'<?xml version="1.0" encoding="utf-8"?>\n{text}'.encode()
    out = rewritten(XmlRewriter(MOVE), body, sizes)
    assert out == whole(XmlRewriter, body)
    canonical = ElementTree.canonicalize
    assert canonical(out.decode()) == canonical(expected)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 3 * LONGEST), st.integers(100, 5000))
def test_xml_that_is_too_long_goes_through_in_one_way(more: int, size: int) -> None:
    long = "a" * more
    body = (
        f'<DicomAttribute x="{long}" tag="00081190"><Value>{MOVE.remote}studies/{long}'
        f'</Value></DicomAttribute><BulkData uri="{MOVE.remote}studies/{long}"/>'
    ).encode()
    out = rewritten(XmlRewriter(MOVE), body, [size])
    assert out == whole(XmlRewriter, body)
    assert (MOVE.remote.encode() not in out) == (more < LONGEST - 100) or (
        LONGEST - 100 <= more <= LONGEST
    )


def test_addresses_of_others_stay() -> None:
    for address in (
        "http://elsewhere.example/files/studies",
        "http://elsewhere.example/studies/x/1",
        "urn:oid:1.2",
        "cid:part1",
        "ftp://pacs.example/dicom-web/studies/1.2",
        "http://pacs.example:8080/app/explorer.html",
        "http://pacs.example:8080/dicom-web/studies/1.2\r\nX: y",
    ):
        assert MOVE.moved(address) == address


def test_addresses_of_the_remote_are_moved() -> None:
    ours = MOVE.ours
    for address, expected in (
        (f"{MOVE.remote}studies/1.2/series/3", "studies/1.2/series/3"),
        ("http://PACS.example:8080/dicom-web/instances?x=%2F", "instances?x=%2F"),
        ("https://pacs.hospital/x/y/studies/1.2", "studies/1.2"),
        ("//pacs.example:8080/dicom-web/studies/1.2", "studies/1.2"),
        ("/dicom-web/studies/1.2/", "studies/1.2/"),
        ("../../bulkdata/a", "studies/1.2/bulkdata/a"),
        ("instances/5/bulk/6", "studies/1.2/series/1.3/instances/5/bulk/6"),
        ("http://user:secret@pacs/studies/1.2", "studies/1.2"),
    ):
        assert MOVE.moved(address) == ours + expected
