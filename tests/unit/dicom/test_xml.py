"""The Native DICOM Model, by itself and against the XML that DCMTK writes."""

import os
import shutil
import subprocess
import warnings
from xml.etree import ElementTree

import pydicom
import pytest
from pydicom.data import get_charset_files, get_testdata_file

from gateway.dicom.xml import to_xml

NAMESPACE = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"


def parse(attributes):
    return ElementTree.fromstring(to_xml(attributes))


def attribute_of(attributes):
    (only,) = parse(attributes)
    return only


def shape(element):
    """An element as (name, attributes, text or children), without the namespace."""
    name = element.tag.removeprefix(NAMESPACE)
    return (
        name,
        dict(element.attrib),
        [shape(child) for child in element] or element.text,
    )


def values_of(attribute):
    return [(value.get("number"), value.text) for value in attribute]


def test_a_document_has_a_declaration_and_the_namespace():
    document = to_xml({})
    assert document.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<NativeDicom')
    root = ElementTree.fromstring(document)
    assert root.tag == NAMESPACE + "NativeDicomModel"
    assert root.attrib == {"{http://www.w3.org/XML/1998/namespace}space": "preserve"}
    assert len(root) == 0


def test_a_public_attribute_carries_its_keyword():
    attribute = attribute_of({"00080060": {"vr": "CS", "Value": ["MR"]}})
    assert shape(attribute) == (
        "DicomAttribute",
        {"tag": "00080060", "vr": "CS", "keyword": "Modality"},
        [("Value", {"number": "1"}, "MR")],
    )


def test_an_attribute_without_value_is_empty():
    attribute = attribute_of({"00080050": {"vr": "SH"}})
    assert shape(attribute)[2] is None


def test_empty_values_keep_their_numbers():
    attribute = attribute_of(
        {"00080008": {"vr": "CS", "Value": ["ORIGINAL", None, "AXIAL", ""]}}
    )
    assert values_of(attribute) == [("1", "ORIGINAL"), ("3", "AXIAL")]


def test_zero_is_a_value():
    attribute = attribute_of({"00200013": {"vr": "IS", "Value": [0]}})
    assert values_of(attribute) == [("1", "0")]


def test_numbers_are_written_exactly():
    values = [0.1, 1e300, 1 / 3, -0.0, 5e-324, 2**64 - 1, "1.50"]
    attribute = attribute_of({"00189073": {"vr": "FD", "Value": values}})
    texts = [text for _, text in values_of(attribute)]
    assert texts == [
        "0.1",
        "1e+300",
        "0.3333333333333333",
        "-0.0",
        "5e-324",
        "18446744073709551615",
        "1.50",
    ]


def test_a_name_is_split_into_its_components():
    name = {"Alphabetic": "Adams^John^Robert^Dr.^B.A.^M.Div.", "Phonetic": "^アダムス"}
    attribute = attribute_of({"00100010": {"vr": "PN", "Value": [name]}})
    assert shape(attribute[0]) == (
        "PersonName",
        {"number": "1"},
        [
            (
                "Alphabetic",
                {},
                [
                    ("FamilyName", {}, "Adams"),
                    ("GivenName", {}, "John"),
                    ("MiddleName", {}, "Robert"),
                    ("NamePrefix", {}, "Dr."),
                    ("NameSuffix", {}, "B.A.^M.Div."),
                ],
            ),
            ("Phonetic", {}, [("GivenName", {}, "アダムス")]),
        ],
    )


def test_component_groups_come_in_the_order_of_the_standard():
    name = {"Phonetic": "c", "Ideographic": "b", "Alphabetic": "a"}
    attribute = attribute_of({"00100010": {"vr": "PN", "Value": [name]}})
    groups = [group.tag.removeprefix(NAMESPACE) for group in attribute[0]]
    assert groups == ["Alphabetic", "Ideographic", "Phonetic"]


def test_empty_names_keep_their_numbers():
    names = [None, {"Alphabetic": ""}, {}, {"Alphabetic": "^^"}, {"Alphabetic": "Doe"}]
    attribute = attribute_of({"00101001": {"vr": "PN", "Value": names}})
    assert [name.get("number") for name in attribute] == ["5"]


def test_items_are_numbered_and_may_be_empty():
    attribute = attribute_of(
        {
            "00081140": {
                "vr": "SQ",
                "Value": [{}, {"00081155": {"vr": "UI", "Value": ["1.2"]}}],
            }
        }
    )
    assert [(item.get("number"), len(item)) for item in attribute] == [
        ("1", 0),
        ("2", 1),
    ]
    assert attribute[1][0].get("keyword") == "ReferencedSOPInstanceUID"


def test_a_sequence_without_items_has_no_content():
    attribute = attribute_of({"00081140": {"vr": "SQ"}})
    assert len(attribute) == 0


def test_bulk_data_is_a_reference():
    uri = 'http://host/a?b=1&c="2"'
    attribute = attribute_of({"7FE00010": {"vr": "OW", "BulkDataURI": uri}})
    assert shape(attribute)[2] == [("BulkData", {"uri": uri}, None)]


def test_inline_binary_stays_base64():
    attribute = attribute_of({"00420011": {"vr": "OB", "InlineBinary": "AAE="}})
    assert shape(attribute)[2] == [("InlineBinary", {}, "AAE=")]


def test_a_private_tag_shows_its_creator_for_its_block():
    root = parse(
        {
            "00190010": {"vr": "LO", "Value": ["ACME <1>"]},
            "001910AB": {"vr": "DS", "Value": [1.5]},
        }
    )
    assert [attribute.attrib for attribute in root] == [
        {"tag": "00190010", "vr": "LO"},
        {"tag": "001900AB", "vr": "DS", "privateCreator": "ACME <1>"},
    ]


def test_the_creator_is_the_one_of_the_same_block():
    root = parse(
        {
            "00190010": {"vr": "LO", "Value": ["ONE"]},
            "00190011": {"vr": "LO", "Value": ["TWO"]},
            "00191001": {"vr": "LO", "Value": ["a"]},
            "00191101": {"vr": "LO", "Value": ["b"]},
        }
    )
    assert [(a.get("tag"), a.get("privateCreator")) for a in root][2:] == [
        ("00190001", "ONE"),
        ("00190001", "TWO"),
    ]


def test_the_creator_is_not_looked_for_outside_the_item():
    root = parse(
        {
            "00190010": {"vr": "LO", "Value": ["OUTER"]},
            "00191001": {
                "vr": "SQ",
                "Value": [{"00191002": {"vr": "LO", "Value": ["x"]}}],
            },
        }
    )
    inner = root[1][0][0]
    assert inner.attrib == {"tag": "00191002", "vr": "LO"}


@pytest.mark.parametrize("creator", [{"vr": "LO"}, {"vr": "LO", "Value": [None]}])
def test_a_private_tag_without_creator_keeps_its_block(creator):
    root = parse({"00190010": creator, "00191002": {"vr": "UN"}})
    assert root[1].attrib == {"tag": "00191002", "vr": "UN"}


def test_characters_that_xml_cannot_hold_are_dropped():
    text = "a\x00b\x0bc\x0cd\x1be\ufffef\ud800g"
    attribute = attribute_of({"00204000": {"vr": "LT", "Value": [text]}})
    assert values_of(attribute) == [("1", "abcdefg")]


def test_text_comes_out_as_it_went_in():
    text = "<&>\"'\r\n\t\x85]]> 山田 \U0001f600 "
    attribute = attribute_of({"00204000": {"vr": "LT", "Value": [text]}})
    assert values_of(attribute) == [("1", text)]


def test_quoted_text_keeps_its_white_space():
    creator = "a\t\"b'\r\n<c>"
    root = parse(
        {"00190010": {"vr": "LO", "Value": [creator]}, "00191001": {"vr": "UN"}}
    )
    assert root[1].get("privateCreator") == creator


def test_no_key_or_vr_breaks_out_of_its_quotes():
    (attribute,) = parse({'"><x>': {"vr": '"><y>'}})
    assert attribute.attrib == {"tag": '"><x>', "vr": '"><y>'}


# --- against DCMTK ---------------------------------------------------------------

PEER_FILES = [
    "CT_small.dcm",
    "MR_small.dcm",
    "rtplan.dcm",
    "rtstruct.dcm",
    "rtdose.dcm",
    "reportsi.dcm",
    "test-SR.dcm",
    "waveform_ecg.dcm",
    "liver_1frame.dcm",
    "SC_rgb_small_odd.dcm",
    "examples_overlay.dcm",
    "priv_SQ.dcm",
]
# DCMTK tells in which one it writes, the data set in which one it was read.
CHARACTER_SET = "00080005"
PEER_CHARSETS = ["chrGerm", "chrRuss", "chrGreek", "chrHbrw", "chrArab"]


@pytest.fixture(scope="module")
def dcm2xml():
    program = shutil.which("dcm2xml")
    if program is None:
        if os.environ.get("GATEWAY_REQUIRE_PEERS"):
            pytest.fail("dcm2xml is missing: apt-get install dcmtk")
        pytest.skip("apt-get install dcmtk")
    return program


def peer_document(program, path):
    command = [program, "-q", "-nat", "+Xn", "+U8", "+M", path]
    return subprocess.run(command, check=True, capture_output=True).stdout


def our_document(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set = pydicom.dcmread(path, force=True)
        return to_xml(data_set.to_json_dict())


def meaning(parent):
    """The attributes of a data set by tag and creator, with comparable values."""
    attributes = {}
    for found in parent:
        tag, creator = found.get("tag"), found.get("privateCreator")
        if is_without_creator(tag, creator):  # of these, DCMTK loses the block
            tag = f"{tag[:4]}00{tag[6:]}"
        contents = [content(child, found.get("vr")) for child in found]
        # DCMTK gives an empty value an element, where A.1.5 leaves it out.
        contents = [known for known in contents if known[1] != ""]
        if tag != CHARACTER_SET:
            attributes[tag, creator] = found.get("vr"), contents
    return attributes


def content(element, vr):
    name = element.tag.removeprefix(NAMESPACE)
    if name in ("BulkData", "InlineBinary"):
        return "binary", None  # DCMTK names all of them by UUID
    if name == "Item":
        return element.get("number"), meaning(element)
    if name == "PersonName":
        return shape(element)
    text = element.text or ""
    if vr in ("DS", "IS", "FD", "US", "SS", "UL", "SL"):
        return element.get("number"), float(text)
    if vr == "FL":  # nine digits are what DCMTK writes of it
        return element.get("number"), float(f"{float(text):.8e}")
    return element.get("number"), text.strip()


def keywords(root):
    found = root.iter(NAMESPACE + "DicomAttribute")
    pairs = {(a.get("tag"), a.get("keyword")) for a in found if a.get("keyword")}
    return {(tag, keyword) for tag, keyword in pairs if tag != CHARACTER_SET}


def is_without_creator(tag, creator):
    return creator is None and tag[3] in "13579BDF" and tag[4:6] != "00"


@pytest.mark.peer
@pytest.mark.parametrize("name", PEER_FILES + PEER_CHARSETS)
def test_the_document_means_what_that_of_dcmtk_means(dcm2xml, name):
    path = get_testdata_file(name) or get_charset_files(f"{name}.dcm")[0]
    peer = ElementTree.fromstring(peer_document(dcm2xml, path))
    ours = ElementTree.fromstring(our_document(path))
    assert meaning(ours) == meaning(peer)
    assert keywords(peer) <= keywords(ours)  # it has none for retired attributes
