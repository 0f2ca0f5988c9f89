"""What is read of a file: against pydicom on its own files, and on files gone wrong."""

import functools
import gc
import gzip
import io
import struct
import tracemalloc
import warnings
import zlib
from contextlib import suppress
from pathlib import Path

import pydicom
import pytest
from pydicom.charset import python_encoding
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from gateway.dicom import header as header_module
from gateway.dicom.charsets import LATIN1, decode, encodings_of
from gateway.dicom.header import HeaderReader, read_header
from gateway.dicom.hierarchy import Uids
from gateway.dicom.walk import DEPTH_LIMIT, INLINE_BINARY_LIMIT, INLINE_VALUE_LIMIT
from gateway.errors import NotDicom, StorageFull
from tests import raw
from tests.factories import dataset, encode
from tests.reference import comparable, pydicom_json

DATA = Path(pydicom.__file__).parent / "data"
FILES = sorted(
    path
    for path in DATA.rglob("*")
    if path.is_file() and path.suffix not in (".py", ".pyc")
)

NO_PREFIX = "not a DICOM file: no DICM at byte 128 (PS3.10 7.1)"
NO_STUDY = "no StudyInstanceUID (0020,000D)"

#: What is refused of all that pydicom brings, by its path there, and why.
REFUSED = {
    **dict.fromkeys(
        (
            "charset_files/FileInfo.txt",
            "hashes.json",
            "palettes/README.md",
            "test_files/ExplVR_BigEndNoMeta.dcm",
            "test_files/ExplVR_LitEndNoMeta.dcm",
            "test_files/README.txt",
            "test_files/crayons.icc",
            "test_files/dicomdirtests/README.txt",
            "test_files/dicomdirtests/TINY_ALPHA/README",
            "test_files/no_meta.dcm",
            "test_files/rtplan.dump",
            "test_files/rtstruct.dcm",
            "test_files/rtstruct.dump",
            "test_files/test1.json",
            "test_files/test_PN.json",
            "test_files/zipMR.gz",
            "urls.json",
        ),
        NO_PREFIX,
    ),
    **dict.fromkeys(
        (
            "charset_files/chrSQEncoding.dcm",
            "charset_files/chrSQEncoding1.dcm",
            "palettes/fall.dcm",
            "palettes/hotiron.dcm",
            "palettes/hotmetalblue.dcm",
            "palettes/pet.dcm",
            "palettes/pet20step.dcm",
            "palettes/spring.dcm",
            "palettes/summer.dcm",
            "palettes/winter.dcm",
            "test_files/JPEGLSNearLossless_08.dcm",
            "test_files/JPEGLSNearLossless_16.dcm",
            "test_files/SC_rgb_jls_lossy_line.dcm",
            "test_files/SC_rgb_jls_lossy_sample.dcm",
            "test_files/UN_sequence.dcm",
            "test_files/dicomdirtests/DICOMDIR",
            "test_files/dicomdirtests/DICOMDIR-bigEnd",
            "test_files/dicomdirtests/DICOMDIR-empty.dcm",
            "test_files/dicomdirtests/DICOMDIR-implicit",
            "test_files/dicomdirtests/DICOMDIR-nopatient",
            "test_files/dicomdirtests/DICOMDIR-reordered",
            "test_files/dicomdirtests/TINY_ALPHA/DICOMDIR",
            "test_files/empty_charset_LEI.dcm",
            "test_files/nested_priv_SQ.dcm",
            "test_files/no_meta_group_length.dcm",
            "test_files/priv_SQ.dcm",
        ),
        NO_STUDY,
    ),
    "test_files/MR_truncated.dcm": "(7FE0,0010) ends 62 bytes beyond the end",
    "test_files/dicomdirtests/DICOMDIR-nooffset": ("an item of (0004,1220) is cut off"),
    "test_files/meta_missing_tsyntax.dcm": "no valid TransferSyntaxUID (0002,0010)",
    "test_files/rtplan_truncated.dcm": "(300A,00B0) ends 265 bytes beyond the end",
}


def name_of(path: Path) -> str:
    return path.relative_to(DATA).as_posix()


def pydicoms(path: Path) -> Dataset:
    """The file as pydicom reads it, which may grumble."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path)


def attributes_of(*elements: bytes, transfer_syntax: str = raw.EXPLICIT):
    """The attributes of a file of these elements beside its three identifiers."""
    attributes = read_header(raw.file(*elements, transfer_syntax=transfer_syntax))
    kept = dict(attributes.attributes)
    for tag in ("00080018", "0020000D", "0020000E"):
        del kept[tag]
    return kept


# --- against pydicom ------------------------------------------------------------------


def test_every_file_of_pydicom_is_taken_or_refused_with_its_reason():
    refused = {}
    for path in FILES:
        try:
            HeaderReader().read_file(path)
        except NotDicom as error:
            refused[name_of(path)] = str(error)
    assert refused == REFUSED
    assert len(FILES) - len(refused) > 150


def test_every_file_of_pydicom_is_read_as_pydicom_reads_it(monkeypatch):
    # Also those without identifiers: they are refused, but not for how they are read.
    monkeypatch.setattr(header_module, "_uids", lambda _found: Uids("", "1", "1", "1"))
    compared = 0
    for path in FILES:
        if REFUSED.get(name_of(path), NO_STUDY) != NO_STUDY:
            continue
        expected = pydicom_json(pydicoms(path))
        found = HeaderReader().read_file(path).attributes
        assert comparable(found) == comparable(expected), name_of(path)
        assert list(found) == sorted(found)
        compared += 1
    assert compared == len(FILES) - len(REFUSED) + list(REFUSED.values()).count(
        NO_STUDY
    )


def test_representations_are_those_that_pydicom_gives(monkeypatch):
    monkeypatch.setattr(header_module, "_uids", lambda _found: Uids("", "1", "1", "1"))
    different = set()

    def compare(ours, theirs):
        for tag in ours.keys() & theirs.keys():
            if ours[tag]["vr"] != theirs[tag]["vr"]:
                different.add((tag, ours[tag]["vr"], theirs[tag]["vr"]))
            elif ours[tag]["vr"] == "SQ":
                items = ours[tag].get("Value", ()), theirs[tag].get("Value", ())
                for one, other in zip(*items, strict=True):
                    compare(one, other)

    for path in FILES:
        if REFUSED.get(name_of(path), NO_STUDY) == NO_STUDY:
            found = HeaderReader().read_file(path).attributes
            compare(found, pydicom_json(pydicoms(path)))
    # Of implicit pixel data the standard says OW (PS3.5 A.1), pydicom looks at the bits.
    assert different == {("7FE00010", "OW", "OB")}


def test_the_bulk_of_every_native_file_lies_where_the_header_says():
    seen = 0
    for path in FILES:
        if name_of(path) in REFUSED:
            continue
        header = HeaderReader().read_file(path)
        data_set = pydicoms(path)
        if header.transfer_syntax in header_module.DEFLATED:
            continue
        start, size = header.bulk.get("7fe00010", (0, 0))
        if size and not data_set.file_meta.TransferSyntaxUID.is_compressed:
            content = path.read_bytes()[start : start + size]
            assert content == data_set.PixelData, name_of(path)
            seen += 1
    assert seen > 30


def test_names_in_every_character_set_are_those_that_pydicom_reads():
    seen = set()
    for path in sorted((DATA / "charset_files").glob("*.dcm")):
        name = pydicoms(path).get("PatientName")
        if name is None or name_of(path) in REFUSED:
            continue
        found = HeaderReader().read_file(path).attributes["00100010"]["Value"][0]
        groups = [found.get(group, "") for group in ("Alphabetic", "Ideographic")]
        assert groups == [name.alphabetic, name.ideographic], path.name
        assert found.get("Phonetic", "") == name.phonetic
        seen.add(path.name)
    assert len(seen) >= 15


# --- one data set in four encodings ---------------------------------------------------


def of_everything() -> Dataset:
    """A data set with an element of each representation, nested too."""
    made = dataset(
        SpecificCharacterSet="ISO_IR 192",
        PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう",
        OtherPatientNames=["Alpha", "", "Beta=Б"],
        PatientAge="042Y",
        PatientWeight="72.5",
        AcquisitionDateTime="20240131101500.123456+0100",
        ImageComments=" two lines\r\nand a \\ backslash ",
        Rows=16,
        PixelRepresentation=1,
        SmallestImagePixelValue=-5,
        ImageOrientationPatient=["1", "0", "0", "0", "1", "-0.5"],
        FrameIncrementPointer=[0x00181063, 0x00181065],
        ExposureTimeInms=1.5,
        RetrieveURL="http://example.org/a?b=c",
    )
    made.add_new(0x0018605A, "FL", [0.5, -1.25])
    made.add_new(0x00720082, "SV", [-(2**63), 2**63 - 1, 3])
    made.add_new(0x00720083, "UV", [2**64 - 1, 2**53])
    made.add_new(0x00189219, "SS", -7)
    made.add_new(0x0072007C, "SL", [-70000, 5])
    made.add_new(0x00720078, "UL", 2**32 - 1)
    made.add_new(0x00282000, "OB", b"\x01\x02\x03\x04")
    made.add_new(0x00720069, "OW", bytes(range(8)))
    made.add_new(0x00720067, "OF", struct.pack("<2f", 1.0, 2.0))
    made.add_new(0x00720073, "OD", struct.pack("<d", 0.1))
    made.add_new(0x00720075, "OL", struct.pack("<2I", 1, 2))
    made.add_new(0x00720081, "OV", struct.pack("<Q", 1))
    made.add_new(0x00080119, "UC", "unlimited")
    inner, innermost = Dataset(), Dataset()
    innermost.CodeValue = "C1"
    innermost.PersonName = "Ω^ω"
    inner.ConceptNameCodeSequence = [innermost, Dataset()]
    inner.SmallestImagePixelValue = -6
    made.RequestAttributesSequence = [inner, Dataset()]
    made.ReferencedImageSequence = []
    return made


def big_endian_values(data_set: Dataset) -> Dataset:
    """The same with words of binary values as a big-endian writer has to hold them."""
    for tag, size in [
        (0x00720069, 2),
        (0x00720067, 4),
        (0x00720073, 8),
        (0x00720075, 4),
        (0x00720081, 8),
    ]:
        value = data_set[tag].value
        words = [value[at : at + size][::-1] for at in range(0, len(value), size)]
        data_set[tag].value = b"".join(words)
    return data_set


def test_the_same_data_set_is_the_same_json_in_every_encoding():
    data_set = of_everything()
    expected = read_header(encode(data_set, ExplicitVRLittleEndian)).attributes
    assert comparable(expected) == comparable(pydicom_json(data_set))
    for syntax in (ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian):
        assert read_header(encode(data_set, syntax)).attributes == expected, syntax.name
    swapped = big_endian_values(data_set)
    assert read_header(encode(swapped, ExplicitVRBigEndian)).attributes == expected


def test_a_deflated_data_set_of_many_megabytes_is_read_to_its_last_byte():
    # More than is inflated in memory, and not a multiple of any buffer.
    data_set = dataset(BitsAllocated=8, Rows=1)
    data_set.PixelData = bytes(5 * 1024 * 1024 + 1001) + b"\1"
    header = read_header(encode(data_set, DeflatedExplicitVRLittleEndian))
    assert header.attributes["7FE00010"]["BulkDataURI"] == "bulk/7fe00010"
    assert header.bulk["7fe00010"][1] == 5 * 1024 * 1024 + 1002


@pytest.mark.parametrize("declared", [raw.EXPLICIT, raw.IMPLICIT])
@pytest.mark.parametrize("uids", [raw.UIDS, raw.IMPLICIT_UIDS])
def test_the_encoding_is_the_one_that_is_there_whatever_is_declared(declared, uids):
    content = raw.meta(declared) + b"".join(uids)
    assert read_header(content).uids == Uids("", "1.1", "1.2", "1.3")


# --- cut off --------------------------------------------------------------------------

TO_CUT = ["test_files/CT_small.dcm", "test_files/MR_small_bigendian.dcm"]
TO_CUT += [
    "test_files/image_dfl.dcm",
    "test_files/JPEG2000.dcm",
    "test_files/rtplan.dcm",
]
TO_CUT += ["test_files/nested_priv_SQ.dcm", "charset_files/chrH32.dcm"]
TO_CUT += ["test_files/reportsi.dcm", "test_files/SC_rgb_rle_2frame.dcm"]


@pytest.mark.parametrize("name", TO_CUT)
def test_a_file_cut_anywhere_is_read_or_refused_and_nothing_else(name):
    content = (DATA / name).read_bytes()
    refused = 0
    for end in range(0, min(len(content), 40_000), 97):
        try:
            read_header(content[:end])
        except NotDicom:
            refused += 1
    assert refused


@pytest.mark.parametrize("name", [name for name in TO_CUT if "dfl" not in name])
def test_a_file_without_its_last_bytes_is_refused(name):
    content = (DATA / name).read_bytes()
    for missing in (1, 3, 9):
        with pytest.raises(NotDicom):
            read_header(content[:-missing])


def test_a_file_that_ends_in_the_header_of_an_element_is_refused():
    whole = raw.file(raw.explicit(0x00400280, b"ST", b"text"))
    for missing in range(5, 12):
        with pytest.raises(NotDicom, match="ends"):
            read_header(whole[:-missing])


@pytest.mark.parametrize("padding", [b"\0" * 7, b"\0" * 1000, b"\r\n", b"\n"])
def test_padding_after_the_last_element_is_no_harm(padding):
    assert read_header(raw.file() + padding).uids.study == "1.1"


@pytest.mark.parametrize("letters", range(0, 40_000, 997))
def test_a_flipped_byte_is_read_or_refused_and_nothing_else(letters):
    content = bytearray((DATA / "test_files/CT_small.dcm").read_bytes())
    content[letters % len(content)] ^= 0xFF
    content[(letters * 7 + 300) % len(content)] ^= 0x55
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with suppress(NotDicom):
            assert read_header(bytes(content)).uids.study


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a DICOM file"),
        (bytes(132), "not a DICOM file"),
        (bytes(128) + b"DICM", "no valid TransferSyntaxUID"),
        (raw.meta("1.2.840.10008.1.2.1 or so"), "no valid TransferSyntaxUID"),
        (raw.meta(raw.EXPLICIT), "no StudyInstanceUID"),
        (raw.meta(raw.DEFLATED), "the deflated data set is cut off"),
        (raw.meta(raw.DEFLATED) + b"\xff\xff", "cannot be inflated"),
        (raw.meta(raw.EXPLICIT)[:-1], "ends inside the file meta information"),
    ],
)
def test_what_is_no_file_to_keep_is_refused_with_its_reason(content, reason):
    with pytest.raises(NotDicom, match=reason):
        read_header(content)


def test_an_empty_file_is_refused(tmp_path):
    path = tmp_path / "empty"
    path.write_bytes(b"")
    with pytest.raises(NotDicom, match="an empty file"):
        HeaderReader().read_file(path)


@pytest.mark.parametrize("missing", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_an_instance_without_its_identifiers_is_refused_by_their_names(missing):
    with pytest.raises(NotDicom, match=f"no {missing}"):
        read_header(encode(dataset(**{missing: None})))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bad = encode(dataset(**{missing: "1.2.x"}))
    with pytest.raises(NotDicom, match=f"{missing}.*is not a UID"):
        read_header(bad)


@pytest.mark.parametrize(
    "element",
    [
        raw.explicit(0x00100020, b"IS", b"12"),
        raw.explicit(0x00100020, b"US", b"\1\0\2\0"),
        raw.explicit(0x00100020, b"SQ", b""),
        raw.explicit(0x00100020, b"SQ", raw.item(b"")),
        raw.explicit(0x00100020, b"PN", b"A^B "),
        raw.explicit(0x00100020, b"OB", b"\1\2"),
        raw.explicit(0x00100020, b"UT", b"x" * (INLINE_VALUE_LIMIT + 2)),
        raw.explicit(0x00080005, b"IS", b"12"),
        raw.explicit(0x00080005, b"PN", b"A=B "),
        raw.explicit(0x00080005, b"SQ", raw.item(b"")),
        raw.explicit(0x00080016, b"SQ", raw.item(b"")),
        raw.explicit(0x00090010, b"SQ", raw.item(b"")),
        raw.explicit(0x00280103, b"SQ", raw.item(b"")),
    ],
)
def test_an_important_element_of_a_silly_representation_is_no_failure(element):
    assert read_header(raw.file(element)).uids.study == "1.1"


# --- bombs ----------------------------------------------------------------------------


def nested(depth: int, length: int | None) -> bytes:
    content = b""
    for _ in range(depth):
        inside = raw.item(content, length)
        content = raw.explicit(0x00081140, b"SQ", inside, length)
        if length == raw.UNDEFINED:
            content += raw.SEQUENCE_END
    return content


@pytest.mark.parametrize("length", [None, raw.UNDEFINED])
def test_sequences_nested_too_deep_are_refused(length):
    assert read_header(raw.file(nested(DEPTH_LIMIT, length)))
    with pytest.raises(NotDicom, match="nested deeper"):
        read_header(raw.file(nested(DEPTH_LIMIT + 1, length)))
    with pytest.raises(NotDicom, match="nested deeper"):
        read_header(raw.file(nested(700, length)))


def test_many_sequences_side_by_side_are_not_deep():
    inside = raw.item(nested(2, None)) * (2 * DEPTH_LIMIT)
    assert read_header(raw.file(raw.explicit(0x00081140, b"SQ", inside)))


@pytest.mark.parametrize("size", [0xFFFFFFFE, 0x7FFFFFFF, 1000])
@pytest.mark.parametrize("vr", [b"OB", b"UT", b"SQ", b"UN"])
def test_an_element_that_promises_more_than_there_is_is_refused(vr, size):
    with pytest.raises(NotDicom, match=r"\(0040,0280\) ends [0-9]+ bytes beyond"):
        read_header(raw.file(raw.explicit(0x00400280, vr, b"ab", size)))


def test_a_deflate_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(header_module, "_INFLATE_LIMIT", 3_000_000)
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = squeeze.compress(b"".join(raw.UIDS) + bytes(10_000_000)) + squeeze.flush()
    assert len(bomb) < 20_000
    with pytest.raises(NotDicom, match="absurdly large"):
        read_header(raw.meta(raw.DEFLATED) + bomb)


def test_inflating_leaves_room_on_the_disk(monkeypatch):
    monkeypatch.setattr(header_module, "_INFLATE_LEAVES", 2**62)
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    large = squeeze.compress(b"".join(raw.UIDS) + bytes(6_000_000)) + squeeze.flush()
    with pytest.raises(StorageFull, match="too little room"):
        read_header(raw.meta(raw.DEFLATED) + large)


def test_what_follows_a_deflated_data_set_is_left_alone():
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    data = squeeze.compress(b"".join(raw.UIDS)) + squeeze.flush()
    assert read_header(raw.meta(raw.DEFLATED) + data + bytes(3_000_000))


def test_a_name_of_many_megabytes_is_refused():
    value = b"x" * (17 * 1024 * 1024)
    with pytest.raises(NotDicom, match=r"\(0040,0280\) is absurdly large"):
        read_header(raw.file(raw.explicit(0x00400280, b"UR", value)))


# --- sequences ------------------------------------------------------------------------

CODE = raw.explicit(0x00080100, b"SH", b"C1")
IMPLICIT_CODE = raw.implicit(0x00080100, b"C1")
ONE_CODE = {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["C1"]}}]}


@pytest.mark.parametrize(
    "value",
    [
        raw.explicit(0x00081140, b"SQ", raw.item(CODE)),
        raw.explicit(0x00081140, b"SQ", raw.item(CODE, raw.UNDEFINED)),
        raw.explicit(0x00081140, b"SQ", raw.item(CODE), raw.UNDEFINED)
        + raw.SEQUENCE_END,
        raw.explicit(0x00081140, b"UN", raw.item(IMPLICIT_CODE)),
        raw.explicit(0x00081140, b"UN", raw.item(IMPLICIT_CODE), raw.UNDEFINED)
        + raw.SEQUENCE_END,
        raw.explicit(
            0x00081140, b"UN", raw.item(IMPLICIT_CODE, raw.UNDEFINED), raw.UNDEFINED
        )
        + raw.SEQUENCE_END,
        raw.implicit(0x00081140, raw.item(IMPLICIT_CODE)),
    ],
)
def test_a_sequence_is_read_however_it_is_written(value):
    assert attributes_of(value) == {"00081140": ONE_CODE}


def test_an_unknown_sequence_of_undefined_length_is_read_and_then_the_rest():
    creator = raw.explicit(0x00090010, b"LO", b"NOBODY")
    sequence = raw.explicit(0x00091001, b"UN", raw.item(IMPLICIT_CODE), raw.UNDEFINED)
    after = raw.explicit(0x00091002, b"LO", b"xy")
    found = attributes_of(creator, sequence + raw.SEQUENCE_END, after)
    assert found["00091001"] == ONE_CODE
    assert found["00091002"] == {"vr": "LO", "Value": ["xy"]}


def test_an_empty_sequence_has_no_value_and_an_empty_item_is_empty():
    empty = raw.explicit(0x00081140, b"SQ", b"")
    assert attributes_of(empty)["00081140"] == {"vr": "SQ"}
    items = raw.explicit(0x00081140, b"SQ", raw.item(b"") * 2)
    assert attributes_of(items)["00081140"] == {"vr": "SQ", "Value": [{}, {}]}


def test_a_sequence_without_its_delimiter_is_refused():
    for value in (raw.item(CODE), raw.item(CODE, raw.UNDEFINED), b""):
        content = raw.file() + raw.explicit(0x00540016, b"SQ", value, raw.UNDEFINED)
        with pytest.raises(NotDicom, match=r"\(0054,0016\) is cut off"):
            read_header(content)


def test_a_sequence_of_something_else_than_items_is_refused():
    with pytest.raises(NotDicom, match="holds no items"):
        read_header(raw.file(raw.explicit(0x00081140, b"SQ", CODE)))


def test_delimiters_that_end_nothing_are_passed_over():
    stray = raw.SEQUENCE_END + raw.implicit(0xFFFEE00D, b"")
    content = raw.meta(raw.EXPLICIT) + stray.join(raw.UIDS) + stray
    assert read_header(content).uids == Uids("", "1.1", "1.2", "1.3")


def test_an_item_ends_where_it_says_even_if_its_last_bytes_are_no_element():
    padded = raw.explicit(0x00081140, b"SQ", raw.item(CODE + bytes(4)) * 2)
    after = raw.explicit(0x00400280, b"ST", b"text")
    found = attributes_of(padded, after)
    assert found["00081140"]["Value"] == ONE_CODE["Value"] * 2
    assert found["00400280"]["Value"] == ["text"]


def test_elements_in_disorder_come_out_in_order():
    content = raw.meta(raw.EXPLICIT) + b"".join(reversed(raw.UIDS))
    assert list(read_header(content).attributes) == ["00080018", "0020000D", "0020000E"]


def test_group_lengths_say_nothing_and_are_left_out():
    lengths = (
        raw.explicit(0x00080000, b"UL", bytes(4)),
        raw.explicit(0x00080001, b"UL", bytes(4)),
    )
    assert attributes_of(*lengths) == {}


# --- which representation -------------------------------------------------------------


def test_private_elements_without_representations_go_by_their_creator():
    elements = [
        raw.implicit(0x00190010, b"GEMS_ACQU_01"),
        raw.implicit(0x00191023, b"12.5"),  # DS of that creator
        raw.implicit(0x00191123, b"12.5"),  # a block that nobody reserved
    ]
    found = attributes_of(*elements, transfer_syntax=raw.IMPLICIT)
    assert found["00190010"] == {"vr": "LO", "Value": ["GEMS_ACQU_01"]}
    assert found["00191023"] == {"vr": "DS", "Value": [12.5]}
    assert found["00191123"] == {"vr": "UN", "InlineBinary": "MTIuNQ=="}


def test_a_private_creator_holds_in_its_own_data_set_only():
    inside = raw.implicit(0x00191023, b"12.5")
    elements = [
        raw.implicit(0x00190010, b"GEMS_ACQU_01"),
        raw.implicit(0x00400275, raw.item(inside)),
    ]
    found = attributes_of(*elements, transfer_syntax=raw.IMPLICIT)
    assert found["00400275"]["Value"][0]["00191023"]["vr"] == "UN"


def test_a_private_creator_of_one_file_says_nothing_of_the_next():
    reader = HeaderReader()
    creator = raw.explicit(0x00430010, b"LO", b"GEMS_PARM_01")
    private = raw.explicit(0x00431006, b"UN", b"12")
    for elements in ((), (), (), (creator, private)):
        reader.read(raw.file(*elements))
    without = raw.file(private)
    assert reader.read(without) == read_header(without)
    assert reader.read(without).attributes["00431006"]["vr"] == "UN"


def test_headers_of_very_many_elements_are_not_remembered():
    reader = HeaderReader()
    many = [raw.explicit(0x00230100 + number, b"SH", b"") for number in range(20_000)]
    content = raw.file(*many)
    reader.read(content)  # what is made once for all is there
    tracemalloc.start()
    for number in range(4):
        kind = raw.explicit(0x00020002, b"UI", b"1.%d\0" % (number + 10))
        reader.read(content[:132] + kind + content[132:])
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1_000_000


@pytest.mark.parametrize(("signed", "expected"), [(0, ("US", 65535)), (1, ("SS", -1))])
def test_us_or_ss_follows_the_pixel_representation_down_into_items(signed, expected):
    smallest = raw.implicit(0x00280106, b"\xff\xff")
    elements = [
        raw.implicit(0x00280103, struct.pack("<H", signed)),
        smallest,
        raw.implicit(0x00400275, raw.item(smallest)),
    ]
    found = attributes_of(*elements, transfer_syntax=raw.IMPLICIT)
    vr, value = expected
    assert found["00280106"] == {"vr": vr, "Value": [value]}
    assert found["00400275"]["Value"][0]["00280106"] == {"vr": vr, "Value": [value]}


def test_known_elements_written_as_unknown_are_read_by_the_dictionary():
    found = attributes_of(
        raw.explicit(0x00100010, b"UN", b"Doe^J "),
        raw.explicit(0x00280010, b"UN", b"\x10\0"),
        raw.explicit(0x00091001, b"UN", b"\x01\x02"),
    )
    assert found["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Doe^J"}]}
    assert found["00280010"] == {"vr": "US", "Value": [16]}
    assert found["00091001"] == {"vr": "UN", "InlineBinary": "AQI="}


def test_an_implicit_element_amid_explicit_ones_is_read():
    found = attributes_of(raw.implicit(0x00100010, b"Doe^J "))
    assert found["00100010"]["Value"] == [{"Alphabetic": "Doe^J"}]


# --- values ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vr", "text", "expected"),
    [
        ("IS", b"12", [12]),
        ("IS", b" +12 ", [12]),
        ("IS", b"-0007", [-7]),
        ("IS", b"1.0", ["1.0"]),
        ("IS", b"9007199254740993", ["9007199254740993"]),
        ("IS", b"1_000 ", ["1_000"]),
        ("IS", b"N/A ", ["N/A"]),
        ("IS", b"1\\\\3", [1, None, 3]),
        ("IS", b"1\\2\\", [1, 2, None]),
        ("IS", b"", None),
        ("IS", b"  ", None),
        ("IS", b"1\0", [1]),
        ("DS", b"1.50", [1.5]),
        ("DS", b"-.5 ", [-0.5]),
        ("DS", b"1e-3", [0.001]),
        ("DS", b"1,5 ", ["1,5"]),
        ("DS", b"NaN ", ["NaN"]),
        ("DS", b"inf ", ["inf"]),
        ("DS", b"1E400 ", ["1E400"]),
        ("DS", b"1_0 ", ["1_0"]),
        ("DS", b"3.14159265358979", [3.14159265358979]),
        ("DS", b"3.141592653589793238", ["3.141592653589793238"]),
        ("DS", b"0.0000000000000001", [1e-16]),
        ("DS", b"\\", [None, None]),
        ("DS", b" ", None),
        ("IS", b"9" * 5000, ["9" * 5000]),
    ],
)
def test_numbers_in_text_are_numbers_where_they_can_be(vr, text, expected):
    tag = {"IS": 0x00200013, "DS": 0x00101030}[vr]
    element = attributes_of(raw.explicit(tag, vr.encode(), text))[f"{tag:08X}"]
    wanted = {"vr": vr} if expected is None else {"vr": vr, "Value": expected}
    assert element == wanted
    if expected:
        types = [type(value) for value in element["Value"]]
        assert [t for t in types if t is float] == [
            type(value) for value in expected if type(value) is float
        ]


def test_integers_beyond_what_json_keeps_are_text():
    signed = struct.pack("<4q", -(2**63), 2**63 - 1, 2**53, -(2**53) - 1)
    unsigned = struct.pack("<3Q", 2**64 - 1, 2**53, 2**53 + 1)
    found = attributes_of(
        raw.explicit(0x00720082, b"SV", signed),
        raw.explicit(0x00720083, b"UV", unsigned),
    )
    assert found["00720082"]["Value"] == [
        "-9223372036854775808",
        "9223372036854775807",
        2**53,
        "-9007199254740993",
    ]
    assert found["00720083"]["Value"] == [
        "18446744073709551615",
        2**53,
        "9007199254740993",
    ]


def test_what_json_cannot_say_of_a_float_is_null():
    doubles = struct.pack("<4d", float("nan"), float("inf"), -float("inf"), 1.5)
    singles = struct.pack("<2f", float("nan"), 0.25)
    found = attributes_of(
        raw.explicit(0x00720074, b"FD", doubles),
        raw.explicit(0x00720076, b"FL", singles),
    )
    assert found["00720074"]["Value"] == [None, None, None, 1.5]
    assert found["00720076"]["Value"] == [None, 0.25]


def test_bytes_after_the_last_whole_number_are_left_out():
    found = attributes_of(raw.explicit(0x00280010, b"US", b"\x10\0\x11"))
    assert found["00280010"]["Value"] == [16]
    found = attributes_of(raw.explicit(0x00280009, b"AT", b"\x18\0\x63\x10\x18\0"))
    assert found["00280009"] == {"vr": "AT", "Value": ["00181063"]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"A^B=C=D ", [{"Alphabetic": "A^B", "Ideographic": "C", "Phonetic": "D"}]),
        (b"==D ", [{"Phonetic": "D"}]),
        (b"A\\\\=I", [{"Alphabetic": "A"}, None, {"Ideographic": "I"}]),
        (b"A=B=C=D ", [{"Alphabetic": "A", "Ideographic": "B", "Phonetic": "C=D"}]),
        (b"== ", None),
        (b"  ", None),
    ],
)
def test_names_are_told_by_their_groups(text, expected):
    element = attributes_of(raw.explicit(0x00100010, b"PN", text))["00100010"]
    wanted = {"vr": "PN"} if expected is None else {"vr": "PN", "Value": expected}
    assert element == wanted


def test_a_backslash_is_a_character_in_long_text_and_parts_short_text():
    found = attributes_of(
        raw.explicit(0x00204000, b"LT", b" a\\b "),
        raw.explicit(0x00081190, b"UR", b"http://a\\b"),
        raw.explicit(0x00081030, b"LO", b" a\\ b "),
    )
    assert found["00204000"]["Value"] == [" a\\b"]
    assert found["00081190"]["Value"] == ["http://a\\b"]
    assert found["00081030"]["Value"] == [" a", " b"]


@pytest.mark.parametrize("vr", [b"OB", b"UN", b"OW"])
def test_binary_values_are_inline_up_to_a_bound_and_references_beyond(vr):
    tag = 0x00091001
    small = attributes_of(raw.explicit(tag, vr, b"ab" * (INLINE_BINARY_LIMIT // 2)))
    assert small["00091001"]["InlineBinary"].startswith("YWJh")
    large = attributes_of(raw.explicit(tag, vr, b"ab" * (INLINE_BINARY_LIMIT // 2 + 1)))
    assert large["00091001"] == {"vr": vr.decode(), "BulkDataURI": "bulk/00091001"}


def test_only_what_may_be_a_reference_becomes_one():
    long = b"x" * (INLINE_VALUE_LIMIT + 2)
    found = attributes_of(
        raw.explicit(0x00181020, b"UT", long),
        raw.explicit(0x00081190, b"UR", long),
        raw.explicit(0x00720083, b"UV", bytes(len(long) + 6)),
    )
    assert found["00181020"] == {"vr": "UT", "BulkDataURI": "bulk/00181020"}
    assert found["00081190"]["Value"] == [long.decode()]
    assert found["00720083"]["BulkDataURI"] == "bulk/00720083"


def test_references_in_items_tell_the_way_to_them_and_where_they_lie():
    content = raw.file(
        raw.explicit(
            0x00480105,
            b"SQ",
            raw.item(b"") + raw.item(raw.explicit(0x00282000, b"OB", b"ICC!" * 512)),
        )
    )
    header = read_header(content)
    item = header.attributes["00480105"]["Value"][1]
    assert item["00282000"]["BulkDataURI"] == "bulk/00480105/2/00282000"
    start, size = header.bulk["00480105/2/00282000"]
    assert content[start : start + size] == b"ICC!" * 512


def test_pixel_data_is_a_reference_however_small_and_none_if_empty():
    for tag in (0x7FE00008, 0x7FE00009, 0x7FE00010):
        found = attributes_of(raw.explicit(tag, b"OW", b"\1\2"))
        assert found[f"{tag:08X}"]["BulkDataURI"] == f"bulk/{tag:08x}"
        assert attributes_of(raw.explicit(tag, b"OW", b""))[f"{tag:08X}"] == {
            "vr": "OW"
        }


def test_encapsulated_pixel_data_of_many_fragments_is_one_reference():
    data_set = dataset(NumberOfFrames=300)
    frames = [bytes([number % 256]) * 500 for number in range(300)]
    data_set.PixelData = encapsulate(frames)
    data_set["PixelData"].VR = "OB"
    data_set["PixelData"].is_undefined_length = True
    content = encode(data_set, JPEGBaseline8Bit)
    header = read_header(content)
    start, size = header.bulk["7fe00010"]
    assert content[start : start + size] == data_set.PixelData
    with pytest.raises(NotDicom, match="encapsulated"):
        read_header(content[:-8])
    second = start + 8 + 4 * len(frames)  # behind the offset table
    broken = content[:second] + b"XXXXXXXX" + content[second + 8 :]
    with pytest.raises(NotDicom, match="encapsulated"):
        read_header(broken)


# --- text -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("charset", "codec", "text"),
    [
        ("GB18030", "gb18030", "郭^亊=俓\\仱"),
        ("GBK", "gbk", "乗^俓"),
        ("ISO_IR 13", "shift_jis", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        ("ISO_IR 192", "utf-8", "Ωmega^Ж"),
    ],
)
def test_text_is_decoded_before_it_is_parted(charset, codec, text):
    value = text.encode(codec)
    found = attributes_of(
        raw.explicit(0x00080005, b"CS", charset.encode()),
        raw.explicit(0x00081030, b"LO", value),
    )
    assert found["00081030"]["Value"] == text.split("\\")


def test_second_bytes_that_look_like_a_backslash_part_nothing():
    # 0x5C is the second byte of these characters, in either set.
    for charset, codec, text in [
        ("GB18030", "gb18030", "乗俓"),
        ("ISO_IR 13", "shift_jis", "表ソ十"),
    ]:
        value = text.encode(codec)
        assert b"\\" in value
        found = attributes_of(
            raw.explicit(0x00080005, b"CS", charset.encode()),
            raw.explicit(0x00081030, b"LO", value),
            raw.explicit(0x00100010, b"PN", value + b"^"),
        )
        assert found["00081030"]["Value"] == [text]
        assert found["00100010"]["Value"] == [{"Alphabetic": f"{text}^"}]


def test_the_character_set_of_an_item_holds_in_that_item_only():
    greek = raw.explicit(0x00080005, b"CS", b"ISO_IR 126")
    text = raw.explicit(0x00081030, b"LO", "Ω".encode("iso8859-7"))
    found = attributes_of(
        raw.explicit(0x00080005, b"CS", b"ISO_IR 144"),
        raw.explicit(0x00081140, b"SQ", raw.item(greek + text)),
        raw.explicit(0x00400280, b"ST", "Ж".encode("iso8859-5")),
    )
    assert found["00081140"]["Value"][0]["00081030"]["Value"] == ["Ω"]
    assert found["00400280"]["Value"] == ["Ж"]


def test_after_a_delimiter_the_first_character_set_holds_again():
    encodings = encodings_of(["ISO 2022 IR 100", "ISO 2022 IR 126"], LATIN1)
    value = b"\xe9\x1b-F\xd9^\xe9"
    name = raw.explicit(0x00100010, b"PN", value)
    sets = raw.explicit(0x00080005, b"CS", b"ISO 2022 IR 100\\ISO 2022 IR 126")
    found = attributes_of(sets, name)["00100010"]["Value"]
    assert found == [{"Alphabetic": "éΩ^é"}] or found == [{"Alphabetic": "éЩ^é"}]
    assert decode(b"\xe9\x1b-F\xd9\\\xe9", encodings)[-1] == "é"


def test_korean_goes_on_after_a_delimiter_that_forgot_its_escape_sequence():
    sets = raw.explicit(0x00080005, b"CS", b"\\ISO 2022 IR 149")
    korean = "홍^길동".encode("euc_kr")
    found = attributes_of(sets, raw.explicit(0x00100010, b"PN", b"\x1b$)C" + korean))
    assert found["00100010"]["Value"] == [{"Alphabetic": "홍^길동"}]


@pytest.mark.parametrize("names", [["XYZ"], [None, "XYZ"], [""], [], ["ISO IR 100"]])
def test_character_sets_nobody_knows_are_passed_over(names):
    assert encodings_of(names, LATIN1)
    assert decode(b"caf\xe9", encodings_of(names, LATIN1)) == "café"


def test_text_that_is_not_in_its_character_set_never_fails():
    everything = bytes(range(256)) + b"\x1b$B\x1b\x1b(J\xff\x1b$)C\x80\x1b"
    for names in [[name] for name in python_encoding] + [
        ["ISO 2022 IR 100", name] for name in python_encoding
    ]:
        encodings = encodings_of(names, LATIN1)
        for value in (everything, everything[::-1], everything[128:]):
            assert isinstance(decode(value, encodings), str)


def test_text_in_no_declared_set_is_read_in_the_configured_one():
    content = raw.file(raw.explicit(0x00081030, b"LO", "Ж".encode("cp1251")))
    found = read_header(content, ("cp1251",)).attributes["00081030"]
    assert found["Value"] == ["Ж"]


def test_a_mapped_file_is_read_as_its_bytes_are(tmp_path):
    content = encode(of_everything())
    path = tmp_path / "file"
    path.write_bytes(content)
    assert HeaderReader().read_file(path) == read_header(content)


@functools.cache
def _zipped() -> bytes:
    return gzip.compress(encode(of_everything()))


def test_a_compressed_file_is_no_dicom_file():
    with pytest.raises(NotDicom, match="no DICM"):
        read_header(_zipped())
    assert pydicom.dcmread(io.BytesIO(gzip.decompress(_zipped()))).PatientID == "P1"


# --- written as UN, known all the same (PS3.5 6.2.2) ---------------------------------


def test_an_unknown_number_in_a_big_endian_file_is_little_endian():
    uids = zip(
        (0x00080018, 0x0020000D, 0x0020000E), (b"1.3", b"1.1", b"1.2"), strict=True
    )
    elements = [raw.explicit(tag, b"UI", uid + b"\0", order=">") for tag, uid in uids]
    elements.append(raw.explicit(0x00280010, b"UN", b"\x10\0", order=">"))
    header = read_header(raw.meta(raw.BIG) + b"".join(elements))
    assert header.attributes["00280010"] == {"vr": "US", "Value": [16]}


def test_an_unknown_sequence_whose_lengths_look_like_letters_is_implicit():
    text = b"x" * 0x5453  # written little endian, this length is the letters ST
    inside = raw.item(raw.implicit(0x00400280, text))
    found = attributes_of(raw.explicit(0x00081140, b"UN", inside))
    assert found["00081140"]["Value"][0]["00400280"] == {
        "vr": "ST",
        "Value": [text.decode()],
    }
