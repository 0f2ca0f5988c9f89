"""Names of attributes: keywords and tags in every spelling a query may use."""

import pytest

from gateway.dicom import dictionary


@pytest.mark.parametrize("name", ["PatientName", "00100010", "0010,0010", "0010-0010"])
def test_every_spelling_names_the_same_attribute(name):
    assert dictionary.tag_of(name) == "00100010"


def test_tags_come_back_in_upper_case():
    assert dictionary.tag_of("0020000d") == "0020000D"
    assert dictionary.tag_of("StudyInstanceUID") == "0020000D"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "patientname",
        "Patient Name",
        "PatientNames",
        "0010001",
        "001000100",
        "0010.0010",
        "0010,,0010",
        "(0010,0010)",
        " 00100010",
        "00100010\n",
        "0010 0010",
        "٠٠١٠٠٠١٠",
        "0x100010",
    ],
)
def test_other_words_name_nothing(name):
    assert dictionary.tag_of(name) is None


def test_a_tag_that_nobody_knows_is_still_a_tag():
    assert dictionary.tag_of("0099abcd") == "0099ABCD"


@pytest.mark.parametrize(
    ("tag", "representation"),
    [
        ("00100010", "PN"),
        ("00400275", "SQ"),
        ("00280106", "US"),  # US or SS
        ("7FE00010", "OB"),  # OB or OW
        ("60020010", "US"),  # a repeating group
        ("00190010", "LO"),  # a private creator
        ("00191002", "UN"),  # a private attribute
        ("00190000", "UL"),  # a group length
        ("FFFEE000", "UN"),  # an item has none
        ("00100012", "UN"),  # not in the dictionary
        ("no tag", "UN"),
    ],
)
def test_each_tag_has_a_value_representation(tag, representation):
    assert dictionary.vr_of(tag) == representation


def test_keywords_are_those_of_the_standard():
    assert dictionary.keyword_of("0020000D") == "StudyInstanceUID"
    assert dictionary.keyword_of("60023000") == "OverlayData"
    assert dictionary.keyword_of("00191002") == ""
    assert dictionary.keyword_of("no tag") == ""


def test_a_group_that_is_odd_is_private():
    assert dictionary.is_private("00191002")
    assert dictionary.is_private("000B1002")
    assert not dictionary.is_private("00101002")
    assert not dictionary.is_private("000A1002")


def test_creators_are_the_elements_from_10_to_ff():
    assert dictionary.is_private_creator("00190010")
    assert dictionary.is_private_creator("001900FF")
    assert not dictionary.is_private_creator("0019000F")
    assert not dictionary.is_private_creator("00191010")
    assert not dictionary.is_private_creator("00100010")
