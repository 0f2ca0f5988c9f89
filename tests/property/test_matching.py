"""What holds for every query: wildcards, ranges, and values that find themselves."""

import string
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from datetime import time as time_of_day

from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.dicom.filters import Exact, Wildcard, parse_filter
from gateway.dicom.matching import matches
from gateway.dicom.normal_forms import (
    normalise_date,
    normalise_date_time,
    normalise_name,
    normalise_text,
    normalise_time,
)
from gateway.errors import BadRequest

PATIENT_ID, PATIENT_NAME = "00100020", "00100010"

any_text = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1)
few_letters = st.text("ab", max_size=12)
patterns = st.text("ab*?", min_size=1, max_size=12)

# Text as it is in files of one character set each.
charsets = st.sampled_from(
    ["latin-1", "iso8859-5", "iso8859-7", "iso8859-8", "shift_jis", "euc_kr", "gb18030"]
)


def found_by(tag, representation, stored, value):
    attributes = {tag: {"vr": representation, "Value": [stored]}}
    return matches(attributes, [parse_filter(tag, value)])


def oracle(pattern, text):
    """Wildcard matching as one would define it, a row of a table for each sign."""
    reached = {0}
    for sign in pattern:
        if sign == "*":
            reached = {end for start in reached for end in range(start, len(text) + 1)}
        else:
            reached = {
                start + 1
                for start in reached
                if start < len(text) and sign in ("?", text[start])
            }
    return len(text) in reached


@given(patterns, few_letters)
def test_wildcards_match_what_their_definition_says(pattern, text):
    parsed = parse_filter(PATIENT_ID, pattern)
    if isinstance(parsed.match, Wildcard | Exact) and text:
        assert found_by(PATIENT_ID, "LO", text, pattern) == oracle(pattern, text)


@given(any_text, st.data())
def test_a_text_is_found_by_any_pattern_made_of_it(text, data):
    text = normalise_text(text)
    assume(text and not set(text) & set("*?,\\"))
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, len(text)))
    pattern = text[:start] + "*" + text[stop:]
    # A pattern is itself text, whose accents are composed and whose ends are trimmed.
    assume(normalise_text(pattern) == pattern)
    assert found_by(PATIENT_ID, "LO", text, pattern)


@given(any_text)
def test_every_stored_text_finds_itself(text):
    assume(text.strip() and not set(text) & set("*?"))
    assert found_by(PATIENT_ID, "LO", text, text)
    assert found_by(PATIENT_ID, "LO", f" {text} ", text)


@given(st.binary(min_size=1, max_size=20), charsets)
def test_text_of_every_character_set_finds_itself(raw, charset):
    text = raw.decode(charset, "ignore")
    assume(text.strip() and not set(text) & set("*?"))
    assert found_by(PATIENT_ID, "LO", text, text)


@given(any_text)
def test_case_does_not_keep_a_text_from_being_found(text):
    assume(text.strip() and not set(text) & set("*?"))
    assert found_by(PATIENT_ID, "LO", text, text.casefold())


@given(any_text)
def test_a_normal_form_is_its_own(text):
    once = normalise_name(text, case_sensitive=True)
    assert normalise_name(once, case_sensitive=True) == once
    once = normalise_text(text, case_sensitive=True)
    assert normalise_text(once, case_sensitive=True) == once


@given(any_text, any_text)
def test_every_stored_name_finds_itself(alphabetic, ideographic):
    groups = [alphabetic, ideographic]
    assume(all(normalise_name(group) for group in groups))
    assume(not any(set(group) & set("*?=") for group in groups))
    name = {"Alphabetic": alphabetic, "Ideographic": ideographic}
    for value in (*groups, "=".join(groups), f"={ideographic}"):
        assert found_by(PATIENT_NAME, "PN", name, value)


@given(any_text)
def test_the_carets_at_the_end_of_a_name_do_not_matter(name):
    assume(normalise_name(name) and not set(name) & set("*?="))
    assert found_by(PATIENT_NAME, "PN", {"Alphabetic": name}, f"{name}^^")
    assert found_by(PATIENT_NAME, "PN", {"Alphabetic": f"{name}^^"}, name)


@given(st.dates(), st.dates(), st.dates())
def test_a_range_of_dates_holds_what_lies_between(low, high, day):
    stored, bounds = (
        f"{day:%Y%m%d}".zfill(8),
        [f"{d:%Y%m%d}".zfill(8) for d in (low, high)],
    )
    found = found_by("00080020", "DA", stored, "-".join(bounds))
    assert found == (low <= day <= high)
    assert found_by("00080020", "DA", stored, f"{bounds[0]}-") == (low <= day)
    assert found_by("00080020", "DA", stored, f"-{bounds[1]}") == (day <= high)


def written(moment: time_of_day, precision: int) -> str:
    return f"{moment:%H%M%S.%f}"[:precision]


precisions = st.sampled_from([2, 4, 6, 8, 9, 13])


@given(st.times(), st.times(), st.times(), precisions)
def test_a_range_of_times_holds_what_lies_between(low, high, moment, precision):
    stored = written(moment, 13)
    value = f"{written(low, precision)}-{written(high, precision)}"
    # The first digits decide: what they leave out is between its first and last moment.
    expected = written(low, precision) <= stored[:precision] <= written(high, precision)
    assert found_by("00080030", "TM", stored, value) == expected


@given(st.times(), precisions)
def test_a_time_is_found_by_its_first_digits(moment, precision):
    stored = written(moment, 13)
    assert found_by("00080030", "TM", stored, stored[:precision])
    assert found_by("00080030", "TM", stored[:precision], stored[:precision])


offsets = st.integers(-12 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
moments = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=offsets)


def date_time(moment: datetime) -> str:
    return f"{moment:%Y%m%d%H%M%S.%f%z}"


@given(moments, moments, moments)
def test_a_range_of_date_times_holds_what_lies_between(low, high, moment):
    value = f"{date_time(low)}-{date_time(high)}"
    found = found_by("0008002A", "DT", date_time(moment), value)
    assert found == (low <= moment <= high)


@given(st.text(string.digits + ".:+- ", max_size=30))
def test_normal_forms_are_in_the_order_of_time_or_none(text):
    for normalise, length in [
        (normalise_date, 8),
        (normalise_time, 13),
        (normalise_date_time, 21),
    ]:
        normal = normalise(text)
        if normal is not None:
            assert len(normal) in (length, length + 5)
            assert normalise(normal) == normal


@given(
    st.integers(-(2**31), 2**31 - 1), st.sampled_from(["{}", "{:+}", "{:012}", "{}.0"])
)
def test_every_integer_finds_itself_however_written(number, spelling):
    assert found_by("00200011", "IS", number, spelling.format(number))
    assert found_by("00200011", "IS", str(number), spelling.format(number))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_double_finds_itself(number):
    assert found_by("00189073", "FD", number, repr(number))
    assert found_by("00101030", "DS", number, repr(number))


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_every_single_finds_itself_by_nine_digits(number):
    assert found_by("0018605A", "FL", number, f"{number:.8e}")


@given(st.text(), st.sampled_from(["StudyDate", "StudyTime", "AcquisitionDateTime"]))
def test_a_query_is_read_or_refused_and_nothing_else(value, key):
    with suppress(BadRequest):
        assert parse_filter(key, value).path


def test_the_oracle_knows_a_wildcard():
    assert oracle("a*b?", "axxbc")
    assert not oracle("a*b?", "axxb")
