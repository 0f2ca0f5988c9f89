"""Dates, times and numbers are compared as what they are, not as text."""

import pytest

from gateway.dicom.dictionary import tag_of, vr_of
from gateway.dicom.filters import parse_filter
from gateway.dicom.matching import matches


def data_set(**attributes):
    """A data set from keywords; a tuple is several values."""
    found = {}
    for keyword, value in attributes.items():
        tag = tag_of(keyword)
        values = value if isinstance(value, tuple) else (value,)
        found[tag] = {"vr": vr_of(tag), "Value": list(values)}
    return found


def found_by(attributes, key, value, **how):
    return matches(attributes, [parse_filter(key, value, **how)])


@pytest.mark.parametrize(
    ("stored", "value", "found"),
    [
        ("20200131", "20200131", True),
        ("1997.01.31", "19970131", True),
        ("20200131", "20200101-20200131", True),
        ("20200131", "20200131-20200201", True),
        ("20200201", "20200101-20200131", False),
        ("20200131", "-20200131", True),
        ("20200131", "-20200130", False),
        ("20200131", "20200131-", True),
        ("20200131", "20200201-", False),
        ("20200131", "20200131 - 20200201", True),
        ("20200131", "20200101-20200231", True),
        ("20200131", "20200201-20200101", False),
        ("20200131", "20200130,20200131", True),
        ("no date", "-99991231", False),
    ],
)
def test_dates_are_compared_in_order(stored, value, found):
    assert found_by(data_set(StudyDate=stored), "StudyDate", value) is found


@pytest.mark.parametrize(
    ("stored", "value", "found"),
    [
        ("103012.5", "1030", True),
        ("103012.5", "10", True),
        ("103012.5", "103012", True),
        ("103012.5", "103012.5", True),
        ("103012.512345", "103012.51", True),
        ("103012.5", "103012.6", False),
        ("103012", "1031", False),
        ("10:30:12", "103012", True),
        ("1030", "103000", True),
        ("10", "1000-1030", True),
        ("155959.999", "14-15", True),
        ("160000", "14-15", False),
        ("140000", "14-15", True),
        ("135959.9", "14-15", False),
        ("235960", "2359-", True),
        ("235960", "235960", True),
        ("080000", "-08", True),
        ("no time", "00-", False),
    ],
)
def test_times_are_compared_to_the_precision_given(stored, value, found):
    assert found_by(data_set(StudyTime=stored), "StudyTime", value) is found


@pytest.mark.parametrize(
    ("stored", "value", "found"),
    [
        ("20200101103000", "2020", True),
        ("20200101103000", "2020010110", True),
        ("20200101103000", "2021", False),
        ("20200101103000", "2019-2020", True),
        ("20200101103000", "2010-2012", False),
        ("20200101103000", "2020-", True),
        ("20200101103000", "-2019", False),
        # Both have an offset: the moments count.
        ("20200101103000+0100", "20200101093000+0000", True),
        ("20200101103000+0100", "20200101103000+0000", False),
        ("20200101103000-0500", "20200101153000+0000", True),
        ("20200101233000-0500", "20200102+0000", True),
        ("20200229233000-0500", "202003+0000", True),
        ("20200229233000-0500", "202002+0000", False),
        ("20200131233000-0500", "20200131000000-0500-20200131235959-0500", True),
        ("20200101103000+0100", "20200101000000-0500-", True),
        ("20191231103000+0100", "20200101000000-0500-", False),
        ("20200101103000+0100", "-20200101103000+0100", True),
        ("20200101103000+0100", "20200101103000 0100", True),
        ("20200101103000+0200", "20200101103000 0100", False),
        # Only one has: as written.
        ("20200101103000", "20200101103000+0100", True),
        ("20200101103000+0100", "20200101103000", True),
        ("20200101103000+0100", "20200101-0500", True),
        # The 31st of February has no moment, but its place.
        ("20200231103000+0100", "20200201+0100-", True),
        ("no date", "2020", False),
    ],
)
def test_date_times_honour_offsets(stored, value, found):
    attributes = data_set(AcquisitionDateTime=stored)
    assert found_by(attributes, "AcquisitionDateTime", value) is found


def test_all_of_several_dates_may_be_asked_for():
    attributes = data_set(DateOfLastCalibration=("20200101", "20210101"))
    how = {"multiple_value_matching": True}
    key = "DateOfLastCalibration"
    assert found_by(attributes, key, "20210101\\20200101", **how)
    assert not found_by(attributes, key, "20210101\\20220101", **how)


@pytest.mark.parametrize("stored", [5, 5.0, "5", "05", "5.0", "+5", " 5 ", "5e0"])
@pytest.mark.parametrize("value", ["5", "05", "+5", "5.0"])
def test_numbers_are_compared_by_value(stored, value):
    attributes = data_set(SeriesNumber=stored, PatientWeight=stored)
    assert found_by(attributes, "SeriesNumber", value)
    assert found_by(attributes, "PatientWeight", value)
    assert not found_by(attributes, "PatientWeight", "5.5")


def test_numbers_are_a_list_too():
    assert found_by(data_set(SeriesNumber=3), "SeriesNumber", "1,2,3")
    assert not found_by(data_set(SeriesNumber=4), "SeriesNumber", "1,2,3")


@pytest.mark.parametrize("stored", ["1,5", "N/A", "NaN", "sNaN", "Infinity", "", True])
def test_what_is_no_number_matches_none(stored):
    assert not found_by(data_set(PatientWeight=stored), "PatientWeight", "1")


def test_floats_are_compared_as_they_are_kept():
    single = data_set(TableOfParameterValues=0.10000000149011612)
    assert found_by(single, "TableOfParameterValues", "0.1")
    assert not found_by(single, "TableOfParameterValues", "1e300")
    double = data_set(AcquisitionDuration=1 / 3)
    assert found_by(double, "AcquisitionDuration", "0.3333333333333333")
    assert not found_by(double, "AcquisitionDuration", "0.333333")


def test_large_integers_are_exact():
    attributes = data_set(SelectorUVValue=str(2**64 - 1))
    assert found_by(attributes, "SelectorUVValue", str(2**64 - 1))
    assert not found_by(attributes, "SelectorUVValue", str(2**64 - 2))


def test_ages_and_tags_are_words():
    assert found_by(data_set(PatientAge="045Y"), "PatientAge", "045y")
    pointer = data_set(FrameIncrementPointer="0018106A")
    assert found_by(pointer, "FrameIncrementPointer", "0018106a")
    assert not found_by(pointer, "FrameIncrementPointer", "00181065")
