"""The meaning of a query on one data set (PS3.18 8.3.4, PS3.4 C.2.2.2)."""

import time

import pytest

from gateway.dicom.dictionary import tag_of, vr_of
from gateway.dicom.filters import parse_filter
from gateway.dicom.matching import matcher, matches


def data_set(**attributes):
    """A data set from keywords; a tuple is several values, None is an empty element."""
    found = {}
    for keyword, value in attributes.items():
        tag = tag_of(keyword)
        representation = vr_of(tag)
        found[tag] = {"vr": representation}
        values = value if isinstance(value, tuple) else (value,)
        if representation == "PN":
            values = [as_name(name) for name in values]
        if value is not None:
            found[tag]["Value"] = list(values)
    return found


def as_name(text):
    if not isinstance(text, str):
        return text
    groups = zip(
        ("Alphabetic", "Ideographic", "Phonetic"), text.split("="), strict=False
    )
    return {key: group for key, group in groups if group}


def found_by(attributes, key, value, **how):
    case = {name: how.pop(name) for name in list(how) if name.startswith("case")}
    return matches(attributes, [parse_filter(key, value, **how)], **case)


# --- universal and empty -------------------------------------------------------------


@pytest.mark.parametrize("value", ["", "*"])
def test_a_universal_query_finds_also_what_is_not_there(value):
    for attributes in ({}, data_set(PatientID=None), data_set(PatientID="A")):
        assert found_by(attributes, "PatientID", value)
    assert found_by({}, "RequestAttributesSequence.ScheduledProcedureStepID", value)


@pytest.mark.parametrize("attributes", [{}, data_set(PatientID=None)])
def test_what_is_missing_or_empty_matches_no_value(attributes):
    assert not found_by(attributes, "PatientID", "A")
    assert not found_by(attributes, "PatientID", "A*")


@pytest.mark.parametrize(
    ("element", "empty"),
    [
        ({"vr": "LO"}, True),
        ({"vr": "LO", "Value": [None]}, True),
        ({"vr": "LO", "Value": [""]}, True),
        ({"vr": "LO", "Value": [None, "A"]}, False),
        ({"vr": "LO", "BulkDataURI": "http://x"}, False),
        ({"vr": "UN", "InlineBinary": "AAE="}, False),
    ],
)
def test_empty_finds_what_has_no_value(element, empty):
    found = found_by(
        {"00100020": element}, "PatientID", '""', empty_value_matching=True
    )
    assert found is empty


def test_empty_finds_empty_names_and_sequences_and_what_is_missing():
    assert found_by({}, "PatientName", '""', empty_value_matching=True)
    name = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": ""}]}}
    assert found_by(name, "PatientName", '""', empty_value_matching=True)
    key = "RequestAttributesSequence"
    assert found_by({"00400275": {"vr": "SQ"}}, key, '""', empty_value_matching=True)
    inside = f"{key}.ScheduledProcedureStepID"
    assert found_by({}, inside, '""', empty_value_matching=True)


def test_zero_is_not_empty():
    zero = data_set(Rows=0)
    assert not found_by(zero, "Rows", '""', empty_value_matching=True)
    assert found_by(zero, "Rows", "0")


def test_bulk_data_matches_only_the_universal_query():
    attributes = {"00104000": {"vr": "LT", "BulkDataURI": "http://x"}}
    assert found_by(attributes, "PatientComments", "*")
    assert not found_by(attributes, "PatientComments", "?*")
    assert not found_by(attributes, "PatientComments", "http://x")


# --- text ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "value", "found"),
    [
        ("A1", "A1", True),
        ("A1", "a1", True),
        (" A1 ", "A1", True),
        ("A1", " A1 ", True),
        ("A 1", "A1", False),
        ("A1", "A", False),
        ("ÉTÉ", "été", True),
        ("e\u0301te\u0301", "\u00e9t\u00e9", True),
        ("Straße", "STRASSE", True),
        ("МОСКВА", "москва", True),
        ("a,b", "a,b", True),
        ("a", "a,b", True),
        ("b", "a,b", True),
        ("b", "a\\b", True),
        ("c", "a,b", False),
        ("100%", "100_", False),
        ("a.c", "a.c", True),
        ("abc", "a.c", False),
    ],
)
def test_text_is_compared_without_outer_blanks_and_case(stored, value, found):
    assert found_by(data_set(PatientID=stored), "PatientID", value) is found


@pytest.mark.parametrize(
    ("stored", "value", "found"),
    [
        ("abc", "a*", True),
        ("abc", "*c", True),
        ("abc", "*b*", True),
        ("abc", "a?c", True),
        ("abc", "a?", False),
        ("abc", "abc*", True),
        ("abc", "?*?*?", True),
        ("abc", "?*?*?*?", False),
        ("abc", "ABC*", True),
        ("a\nc", "a*c", True),
        ("a[c]", "a[*]", True),
        ("a*c", "a?c", True),
        ("MR", "CT,M*", True),
        ("aXbXc", "a*X*c", True),
        ("ababc", "*abc", True),
        ("ab", "ab*ab", False),
        ("\U0001f600", "?", True),
    ],
)
def test_wildcards_stand_for_any_text(stored, value, found):
    assert found_by(data_set(PatientID=stored), "PatientID", value) is found


def test_case_counts_when_told():
    attributes = data_set(PatientID="Abc", PatientName="Doe^John")
    assert not found_by(attributes, "PatientID", "abc", case_sensitive=True)
    assert not found_by(attributes, "PatientID", "ab*", case_sensitive=True)
    assert found_by(attributes, "PatientID", "Ab*", case_sensitive=True)
    assert found_by(attributes, "PatientName", "doe^john", case_sensitive=True)
    how = {"case_sensitive_names": True}
    assert not found_by(attributes, "PatientName", "doe^john", **how)
    assert found_by(attributes, "PatientName", "Doe^John", **how)
    assert found_by(attributes, "PatientID", "abc", **how)


def test_any_value_of_several_is_enough():
    attributes = data_set(ImageType=("ORIGINAL", None, "AXIAL"))
    assert found_by(attributes, "ImageType", "AXIAL")
    assert found_by(attributes, "ImageType", "ax*")
    assert not found_by(attributes, "ImageType", "ORIGINAL AXIAL")


def test_multiple_values_must_all_be_there():
    attributes = data_set(ImageType=("ORIGINAL", "PRIMARY", "AXIAL"))
    how = {"multiple_value_matching": True}
    assert found_by(attributes, "ImageType", "AXIAL\\original", **how)
    assert not found_by(attributes, "ImageType", "AXIAL\\DERIVED", **how)
    assert found_by(attributes, "ImageType", "AXIAL\\DERIVED")


def test_many_stars_do_not_take_for_ever():
    attributes = data_set(PatientComments="a" * 20000)
    started = time.perf_counter()
    assert not found_by(attributes, "PatientComments", "*a" * 31 + "*b")
    assert not found_by(attributes, "PatientComments", "*a?" * 15 + "*b")
    assert time.perf_counter() - started < 1


def test_uids_are_a_list_however_separated():
    attributes = data_set(StudyInstanceUID="1.2.3")
    assert found_by(attributes, "StudyInstanceUID", "1.2.3")
    assert found_by(attributes, "StudyInstanceUID", "1.1,1.2.3")
    assert found_by(attributes, "StudyInstanceUID", "1.1\\1.2.3")
    assert not found_by(attributes, "StudyInstanceUID", "1.2,3")


# --- names -----------------------------------------------------------------------

YAMADA = "Yamada^Tarou=山田^太郎=やまだ^たろう"


@pytest.mark.parametrize(
    ("stored", "value", "found"),
    [
        ("Doe^John", "DOE^JOHN", True),
        ("Doe^John^^^", "doe^john", True),
        ("Doe^John", "doe^john^^", True),
        ("Doe ^ John ", "doe^john", True),
        ("Doe^John", "Doe", False),
        ("Doe^John", "Doe*", True),
        ("Doe^John", "Doe^*", True),
        ("Doe", "Doe^*", True),
        ("Doe", "Doe^*^*", True),
        ("Doering", "Doe^*", False),
        ("Doe^John", "*^John", True),
        ("Doe^John", "*john*", True),
        ("Doe^John", "Smith,Doe^J*", True),
        ("Łukasz^Żak", "łukasz^żak", True),
        (YAMADA, "Yamada^Tarou", True),
        (YAMADA, "山田*", True),
        (YAMADA, "やまだ^たろう", True),
        (YAMADA, "=山田^太郎", True),
        (YAMADA, "yamada*=山田*=やまだ*", True),
        (YAMADA, "Yamada^Tarou=", True),
        (YAMADA, "=Yamada*", False),
        (YAMADA, "山田^太郎=", False),
        (YAMADA, "=*=や*", True),
        ("Doe", "Doe=*", True),
        ("Doe", "Doe=?*", False),
        ("Doe", "Doe^*=", True),
    ],
)
def test_names_are_compared_by_their_groups(stored, value, found):
    assert found_by(data_set(PatientName=stored), "PatientName", value) is found


def test_any_name_of_several_is_enough():
    attributes = data_set(PatientName=("Doe^John", None, "Roe^Jane"))
    assert found_by(attributes, "PatientName", "roe^jane")


def test_a_name_that_is_plain_text_is_understood():
    attributes = {"00100010": {"vr": "PN", "Value": ["Doe^John=X"]}}
    assert found_by(attributes, "PatientName", "doe^john")
    assert found_by(attributes, "PatientName", "=x")


# --- sequences -----------------------------------------------------------------------


def request(step, procedure):
    return {
        "00400009": {"vr": "SH", "Value": [step]},
        "00401001": {"vr": "SH", "Value": [procedure]},
    }


REQUESTS = {
    "00400275": {"vr": "SQ", "Value": [request("S1", "P1"), request("S2", "P2")]}
}
STEP = "RequestAttributesSequence.ScheduledProcedureStepID"
PROCEDURE = "RequestAttributesSequence.RequestedProcedureID"


def test_any_item_of_a_sequence_is_enough():
    assert found_by(REQUESTS, STEP, "S2")
    assert found_by(REQUESTS, "00400275.00400009", "s*")
    assert not found_by(REQUESTS, STEP, "S3")
    assert not found_by({}, STEP, "S1")
    assert not found_by({"00400275": {"vr": "SQ"}}, STEP, "S1")


def test_one_item_must_satisfy_all_filters_of_its_sequence():
    same = [parse_filter(STEP, "S1"), parse_filter(PROCEDURE, "P1")]
    mixed = [parse_filter(STEP, "S1"), parse_filter(PROCEDURE, "P2")]
    assert matches(REQUESTS, same)
    assert not matches(REQUESTS, mixed)


def test_the_same_holds_for_sequences_within_sequences():
    inner = "ReferencedSeriesSequence.ReferencedSOPSequence"
    uids = [f"{inner}.ReferencedSOPClassUID", f"{inner}.ReferencedSOPInstanceUID"]

    def reference(sop_class, instance):
        return {
            "00081150": {"vr": "UI", "Value": [sop_class]},
            "00081155": {"vr": "UI", "Value": [instance]},
        }

    references = [reference("1", "11"), reference("2", "22")]
    series = {"00081199": {"vr": "SQ", "Value": references}}
    attributes = {"00081115": {"vr": "SQ", "Value": [{}, series]}}
    for sop_class, instance, found in [("2", "22", True), ("1", "22", False)]:
        filters = [parse_filter(uids[0], sop_class), parse_filter(uids[1], instance)]
        assert matches(attributes, filters) is found


def test_a_path_through_something_else_than_items_finds_nothing():
    attributes = {"00191001": {"vr": "LO", "Value": ["text"]}}
    assert not found_by(attributes, "00191001.PatientID", "A")


def test_all_filters_must_hold():
    attributes = data_set(PatientID="A", StudyDate="20200101")
    date, other = (
        parse_filter("StudyDate", "20200101"),
        parse_filter("PatientID", "B"),
    )
    assert matches(attributes, [date, parse_filter("PatientID", "A")])
    assert not matches(attributes, [date, other])
    assert matches(attributes, [])


def test_a_test_is_made_once_for_the_same_filters():
    filters = (parse_filter("PatientID", "A*"),)
    assert matcher(filters) is matcher((parse_filter("PatientID", "A*"),))


# --- private attributes --------------------------------------------------------------


@pytest.mark.parametrize(
    ("element", "value", "found"),
    [
        ({"vr": "LO", "Value": ["Abc"]}, "abc", True),
        ({"vr": "LO", "Value": ["Abc"]}, "a*", True),
        ({"vr": "DS", "Value": [1.5]}, "1.50", True),
        ({"vr": "DA", "Value": ["20200101"]}, "20200101", True),
        ({"vr": "TM", "Value": ["103012"]}, "1030", True),
        ({"vr": "TM", "Value": ["103012"]}, "noon", False),
        ({"vr": "PN", "Value": [{"Alphabetic": "Doe^John"}]}, "doe^john", True),
        ({"vr": "SQ", "Value": [{"00100020": {"vr": "LO"}}]}, "*?", False),
        ({"vr": "UN", "InlineBinary": "AAE="}, "AAE=", False),
    ],
)
def test_a_private_attribute_is_what_the_data_set_says(element, value, found):
    assert found_by({"00191002": element}, "00191002", value) is found
