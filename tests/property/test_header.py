"""What holds for every data set: however it is written, it is read as pydicom reads it."""

import struct
import warnings
from contextlib import suppress

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import config as pydicom_config
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from gateway.dicom.header import HeaderReader, data_set_start, read_header
from gateway.errors import NotDicom
from tests import raw
from tests.factories import dataset, encode
from tests.reference import comparable, pydicom_json

SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
]

text = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=12
)
plain = text.map(lambda found: found.replace("\\", "/").strip())
name_group = plain.map(lambda found: found.replace("=", "-").rstrip("^ "))
uids = st.from_regex(r"[0-2](\.(0|[1-9][0-9]{0,5})){1,6}", fullmatch=True)


def several(values):
    return st.one_of(values, st.lists(values, min_size=2, max_size=4))


def packed(code, size):
    low, high = (-(2 ** (8 * size - 1)), 2 ** (8 * size - 1) - 1)
    if code.isupper():
        low, high = 0, 2 ** (8 * size) - 1
    return several(st.integers(low, high))


#: Tag, representation, and values pydicom can write for it.
ELEMENTS = [
    (0x00081030, "LO", several(plain)),
    (0x00080050, "SH", plain),
    (0x00204000, "LT", text),
    (0x00400280, "ST", text),
    (0x00080119, "UC", several(plain)),
    (0x00081060, "PN", several(st.lists(name_group, max_size=3).map("=".join))),
    (0x00080060, "CS", st.from_regex(r"[A-Z0-9_ ]{0,16}", fullmatch=True)),
    (0x00080055, "AE", st.from_regex(r"[A-Z0-9_ ]{0,16}", fullmatch=True)),
    (0x00080021, "DA", st.dates().map(lambda day: f"{day:%Y%m%d}".zfill(8))),
    (0x00080031, "TM", st.times().map(lambda moment: f"{moment:%H%M%S.%f}")),
    (0x0008002A, "DT", st.datetimes().map(lambda m: f"{m:%Y%m%d%H%M%S.%f}".zfill(21))),
    (0x00101010, "AS", st.from_regex(r"[0-9]{3}[DWMY]", fullmatch=True)),
    (0x00080018, "UI", uids),
    (0x00081195, "UI", several(uids)),
    (0x00200013, "IS", several(st.integers(-(2**31), 2**31 - 1))),
    (0x00200032, "DS", several(st.decimals(-1000, 1000, places=3).map(str))),
    (0x00280010, "US", packed("H", 2)),
    (0x00189219, "SS", packed("h", 2)),
    (0x00720078, "UL", packed("I", 4)),
    (0x0072007C, "SL", packed("i", 4)),
    (0x00720082, "SV", packed("q", 8)),
    (0x00720083, "UV", packed("Q", 8)),
    (0x00720076, "FL", several(st.floats(width=32))),
    (0x00720074, "FD", several(st.floats())),
    (0x00280009, "AT", several(st.integers(0, 2**32 - 1))),
    (0x00282000, "OB", st.binary(max_size=40)),
    (0x00720069, "OW", st.binary(max_size=20).map(lambda found: found * 2)),
    (0x00720067, "OF", st.binary(max_size=10).map(lambda found: found * 4)),
    (0x00091001, "UN", st.binary(max_size=20).map(lambda found: found * 2)),
]


@st.composite
def data_sets(draw, depth=2):
    made = Dataset()
    for tag, vr, values in draw(st.lists(st.sampled_from(ELEMENTS), max_size=8)):
        made.add_new(tag, vr, draw(values))
    if depth:
        items = draw(st.lists(data_sets(depth - 1), max_size=2))
        if draw(st.booleans()):
            made.add_new(0x00400275, "SQ", items)
            made[0x00400275].is_undefined_length = draw(st.booleans())
            for item in items:
                item.is_undefined_length_sequence_item = draw(st.booleans())
    return made


@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(data_sets(), st.sampled_from(SYNTAXES))
def test_a_data_set_is_read_as_pydicom_reads_it(drawn, syntax):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set = dataset(SpecificCharacterSet="ISO_IR 192")
        data_set.update(drawn)
        content = encode(data_set, syntax)
        expected = comparable(pydicom_json(data_set))
    header = read_header(content)
    assert comparable(header.attributes) == expected
    assert list(header.attributes) == sorted(header.attributes)
    assert header.transfer_syntax == syntax


# Elements of any kind, right or wrong: what must hold is that nothing but NotDicom comes.
representations = st.sampled_from(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI "
    b"UL UN UR US UT UV XX zz \0\0".split(b" ")
).filter(lambda code: len(code) == 2)
tags = st.one_of(
    st.integers(0, 2**32 - 1),
    st.sampled_from(
        [
            *(0x00080005, 0x00100020, 0x00280103, 0x00090010, 0x00091001, 0x7FE00010),
            *(
                0xFFFEE000,
                0xFFFEE00D,
                0xFFFEE0DD,
                0x00081140,
                0x00080018,
                0,
                0x00080000,
            ),
        ]
    ),
)
lengths = st.one_of(st.none(), st.integers(0, 40), st.just(raw.UNDEFINED))
values = st.one_of(
    st.binary(max_size=24),
    st.sampled_from([raw.SEQUENCE_END, raw.item(b""), raw.item(b"", raw.UNDEFINED)]),
    st.sampled_from([b"ISO_IR 192", b"\\ISO 2022 IR 149", b"\x1b$)C\xb1\xe8", b"\\\\"]),
)


@st.composite
def elements(draw, depth=2):
    tag, length = draw(tags), draw(lengths)
    value = draw(values)
    if depth and draw(st.booleans()):
        inside = b"".join(draw(st.lists(elements(depth - 1), max_size=3)))
        value = raw.item(inside, draw(st.sampled_from([None, raw.UNDEFINED])))
    if draw(st.integers(0, 3)) == 0 or tag >> 16 == 0xFFFE:
        return raw.implicit(tag, value, length)
    vr = draw(representations)
    if vr not in (b"OB", b"SQ", b"UN", b"UT", b"OW", b"UC", b"UR") and length:
        length = None if length == raw.UNDEFINED else length
    with suppress(struct.error):
        return raw.explicit(tag, vr, value, length)
    return b""


@settings(max_examples=400)
@given(
    st.lists(elements(), max_size=5),
    st.sampled_from([raw.EXPLICIT, raw.IMPLICIT, raw.BIG, "1.2.3"]),
)
def test_whatever_the_bytes_a_file_is_read_or_refused(found, syntax):
    content = raw.meta(syntax) + b"".join((*found, *raw.UIDS))
    with suppress(NotDicom):
        read_header(content)


@given(
    st.binary(max_size=200), st.sampled_from([raw.EXPLICIT, raw.IMPLICIT, raw.DEFLATED])
)
def test_noise_is_read_or_refused(noise, syntax):
    for content in (noise, bytes(128) + b"DICM" + noise, raw.meta(syntax) + noise):
        with suppress(NotDicom):
            read_header(content)


# -- what was read before, and what is only begun ------------------------------------------

TRAILS = [
    b"",
    raw.explicit(0x7FE00010, b"OW", bytes(64)),
    raw.explicit(0x7FE00010, b"OW", bytes(64)) + raw.explicit(0xFFFCFFFC, b"OB", b"ab"),
]
changes = st.lists(
    st.tuples(st.integers(0, 2**16), st.integers(0, 3), st.binary(max_size=4)),
    min_size=1,
    max_size=3,
)


def told(read, *arguments):
    """What a reader says: the header, or why there is none."""
    try:
        return read(*arguments)
    except NotDicom as error:
        return str(error)


def changed(content, start, found):
    """Bytes with some of them replaced, left out or put in, behind a start."""
    made = bytearray(content)
    for place, count, new in found:
        at = start + place % max(1, len(made) - start)
        made[at : at + count] = new
    return bytes(made)


@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(
    data_sets(),
    st.sampled_from(SYNTAXES),
    st.lists(changes, min_size=1, max_size=4),
    st.sampled_from(TRAILS),
)
def test_what_was_read_before_makes_no_difference(drawn, syntax, others, trail):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set = dataset(SpecificCharacterSet="ISO_IR 192", PixelRepresentation=1)
        data_set.update(drawn)
        content = encode(data_set, syntax) + trail
    reader = HeaderReader()
    for _ in range(3):  # seen, known, and followed
        assert told(reader.read, content) == told(read_header, content)
    start = content.index(b"DICM") + 4
    for other in others:
        another = changed(content, start, other)
        expected = told(read_header, another)
        assert told(reader.read, another) == expected
        found = told(reader.read, another)
        assert found == expected
        if not isinstance(found, str):
            assert list(found.attributes) == list(expected.attributes)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(data_sets(depth=1), min_size=2, max_size=4),
    st.sampled_from([raw.EXPLICIT, raw.IMPLICIT, raw.BIG]),
    st.permutations(range(12)),
)
def test_of_headers_with_other_values_each_is_read_as_if_it_were_alone(
    drawn, syntax, order
):
    """They have the same elements, so what differs is read beside what is known."""
    first = drawn[0]
    contents = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, other in enumerate(drawn):
            made = dataset(SpecificCharacterSet="ISO_IR 192", InstanceNumber=number)
            made.update(first)
            made.update({e.tag: e for e in other if e.tag in first})
            contents.append(encode(made, syntax))
    reader = HeaderReader()
    for turn in order:
        content = contents[turn % len(contents)]
        header, expected = told(reader.read, content), told(read_header, content)
        assert header == expected
        assert orjson.loads(header.text) == orjson.loads(
            orjson.dumps(header.attributes)
        )


@settings(max_examples=120)
@given(st.lists(changes, min_size=1, max_size=4), st.lists(uids, max_size=3))
def test_file_meta_information_is_read_as_if_it_were_the_first(others, instances):
    content = encode(dataset(), ExplicitVRLittleEndian)
    end = data_set_start(content)
    meta, rest = content[132:end], content[end:]
    # Group, element and representation of MediaStorageSOPInstanceUID, and its length.
    head = b"\x02\x00\x03\x00UI"
    at = meta.index(head) + len(head)
    behind = at + 2 + int.from_bytes(meta[at : at + 2], "little")
    reader = HeaderReader()
    reader.read(content)
    metas = [changed(meta, 0, found) for found in others]
    for uid in instances:
        value = (uid + "\0" * (len(uid) % 2)).encode()
        metas.append(
            meta[:at] + len(value).to_bytes(2, "little") + value + meta[behind:]
        )
    for other in metas:
        another = content[:132] + other + rest
        assert told(reader.read, another) == told(read_header, another)


@settings(max_examples=100)
@given(
    st.lists(elements(), max_size=6),
    st.sampled_from(TRAILS),
    st.integers(0, 100),
    st.booleans(),
)
def test_a_beginning_tells_all_or_nothing(found, trail, left_out, familiar):
    content = raw.meta(raw.EXPLICIT) + b"".join((*raw.UIDS, *found)) + trail
    reader = HeaderReader()
    for _ in range(3 if familiar else 0):
        told(reader.read, content)
    front = content[: max(0, len(content) - left_out)]
    header = reader.read_in_front(front, len(content))
    assert header is None or header == told(read_header, content)


def test_a_beginning_is_enough_where_pixel_data_is_the_last():
    content = raw.meta(raw.EXPLICIT) + b"".join(raw.UIDS) + TRAILS[1]
    assert HeaderReader().read_in_front(content[:-60], len(content)) == read_header(
        content
    )


def test_pydicom_checks_nothing_that_would_hide_a_difference():
    assert pydicom_config.settings.reading_validation_mode != pydicom_config.RAISE
