"""What the words of a query say, and which are refused (PS3.18 8.3.4)."""

import pytest

from gateway.dicom.filters import (
    AllOf,
    Between,
    Empty,
    Exact,
    Filter,
    Universal,
    Wildcard,
    parse_filter,
)
from gateway.errors import BadRequest


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("PatientID", "", Filter(("00100020",), "LO", Universal())),
        ("PatientID", " ", Filter(("00100020",), "LO", Universal())),
        ("0020000d", "*", Filter(("0020000D",), "UI", Universal())),
        ("PixelData", "*", Filter(("7FE00010",), "OB", Universal())),
        ("PatientID", "**", Filter(("00100020",), "LO", Universal())),
        ("Modality", "MR,*", Filter(("00080060",), "CS", Universal())),
        ("PatientName", "^", Filter(("00100010",), "PN", Universal())),
        ("PatientName", "==", Filter(("00100010",), "PN", Universal())),
        ("PatientID", " A1 ", Filter(("00100020",), "LO", Exact(("A1",)))),
        (
            "Modality",
            "MR,CT",
            Filter(("00080060",), "CS", Exact(("MR,CT", "MR", "CT"))),
        ),
        (
            "StudyInstanceUID",
            "1.2,1.3\\1.4,,1.2",
            Filter(("0020000D",), "UI", Exact(("1.2", "1.3", "1.4"))),
        ),
        ("PatientID", "A***B", Filter(("00100020",), "LO", Wildcard(("A*B",)))),
        ("PatientID", "A*?*?B", Filter(("00100020",), "LO", Wildcard(("A??*B",)))),
        ("PatientName", "Doe ^ ^", Filter(("00100010",), "PN", Exact(("Doe",)))),
        (
            "PatientName",
            "Doe^*",
            Filter(("00100010",), "PN", Wildcard(("Doe^*", "Doe"))),
        ),
        ("StudyDate", "20200131", Filter(("00080020",), "DA", Exact(("20200131",)))),
        (
            "StudyDate",
            "20200101,20200102",
            Filter(("00080020",), "DA", Exact(("20200101", "20200102"))),
        ),
        (
            "StudyDate",
            "20200101-20200131",
            Filter(("00080020",), "DA", Between("20200101", "20200131")),
        ),
        (
            "StudyTime",
            "14-15",
            Filter(("00080030",), "TM", Between("140000.000000", "155959.999999")),
        ),
        (
            "StudyTime",
            "103012.5",
            Filter(("00080030",), "TM", Between("103012.500000", "103012.599999")),
        ),
        (
            "AcquisitionDateTime",
            "202402",
            Filter(
                ("0008002A",),
                "DT",
                Between("20240201000000.000000", "20240229235959.999999"),
            ),
        ),
        (
            "FrameIncrementPointer",
            "0018106a",
            Filter(("00280009",), "AT", Exact(("0018106A",))),
        ),
        (
            "RequestAttributesSequence.00400009",
            "S1",
            Filter(("00400275", "00400009"), "SH", Exact(("S1",))),
        ),
    ],
)
def test_a_query_is_read(key, value, expected):
    assert parse_filter(key, value) == expected


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("PatientNaem", "A"),
        ("", "A"),
        (".PatientName", "A"),
        ("PatientID.PatientName", "A"),
        (".".join(["RequestAttributesSequence"] * 20), "A"),
        ("RequestAttributesSequence", "A"),
        ("PixelData", "A"),
        ("StudyDate", "2020"),
        ("StudyDate", "2020.01.31"),
        ("StudyDate", "2020-01-31"),
        ("StudyDate", "20201301"),
        ("StudyDate", "20200132"),
        ("StudyDate", "2020*"),
        ("StudyDate", "-"),
        ("StudyDate", "20200101-20200131-"),
        ("StudyDate", "20200101-20200131,20210101"),
        ("StudyDate", "٢٠٢٠٠١٠١"),
        ("StudyTime", "25"),
        ("StudyTime", "103"),
        ("StudyTime", "1060"),
        ("StudyTime", "10:30"),
        ("StudyTime", "10*"),
        ("StudyTime", "1030,1130"),
        ("AcquisitionDateTime", "20200230T10"),
        ("AcquisitionDateTime", "2020+9999"),
        ("AcquisitionDateTime", "-" * 10000),
        ("StudyInstanceUID", "1.2.*"),
        ("StudyInstanceUID", "1.2,x"),
        ("StudyInstanceUID", ","),
        ("StudyInstanceUID", "1" * 65),
        ("SeriesNumber", "1*"),
        ("SeriesNumber", "one"),
        ("SeriesNumber", "1.5"),
        ("SeriesNumber", "NaN"),
        ("PatientWeight", "1e99999"),
        ("PatientWeight", "1-2"),
        ("PatientAge", "45"),
        ("FrameIncrementPointer", "PatientName"),
        ("PatientID", "*a" * 33),
        ("PatientID", "?" * 33),
        ("PatientName", "a=b=c=d"),
    ],
)
def test_a_query_that_cannot_be_read_is_refused_by_its_name(key, value):
    with pytest.raises(BadRequest) as refused:
        parse_filter(key, value)
    assert refused.value.message.startswith(f"{key}: ")


def test_a_refusal_does_not_tell_the_value():
    with pytest.raises(BadRequest) as refused:
        parse_filter("PatientBirthDate", "Secret-Value")
    assert "Secret" not in refused.value.message


def test_multiple_values_are_not_a_list_of_uids():
    filter_ = parse_filter("StudyInstanceUID", "1\\2", multiple_value_matching=True)
    assert filter_.match == Exact(("1", "2"))


def test_multiple_values_take_no_wildcards():
    with pytest.raises(BadRequest):
        parse_filter("ImageType", "A\\B*", multiple_value_matching=True)
    with pytest.raises(BadRequest):
        parse_filter("ImageType", "\\", multiple_value_matching=True)
    filter_ = parse_filter("ImageType", "A\\B", multiple_value_matching=True)
    assert filter_.match == AllOf(("A", "B"))
    assert parse_filter("ImageType", "A*", multiple_value_matching=True).match == (
        Wildcard(("A*",))
    )


def test_two_quotes_are_a_value_unless_empty_values_may_be_asked_for():
    assert parse_filter("PatientID", '""').match == Exact(('""',))
    asked = parse_filter("PatientID", '""', empty_value_matching=True)
    assert asked.match == Empty()
