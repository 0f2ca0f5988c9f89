"""What holds for every data set in JSON and XML: nothing is lost on the way and back."""

import json
import warnings
from contextlib import suppress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from gateway.dicom.from_json import attributes_of, data_sets
from gateway.dicom.from_xml import attributes_of_xml
from gateway.dicom.header import read_header
from gateway.dicom.write import EXPLICIT_LITTLE_ENDIAN, dicom_file
from gateway.dicom.xml import to_xml
from gateway.errors import BadRequest, TooLarge
from tests.factories import dataset, encode
from tests.property.test_header import data_sets as drawn_sets
from tests.reference import comparable, pydicom_json

SLOW = [HealthCheck.too_slow]


def header_of(drawn):
    """What this gateway reads from a file that pydicom wrote, and the data set."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set = dataset(SpecificCharacterSet="ISO_IR 192")
        data_set.update(drawn)
        return read_header(encode(data_set)), data_set


def written(attributes):
    return read_header(b"".join(dicom_file(attributes, EXPLICIT_LITTLE_ENDIAN, {})))


def over_the_wire(attributes):
    return json.loads(json.dumps(attributes))


@settings(max_examples=150, suppress_health_check=SLOW, deadline=None)
@given(drawn_sets())
def test_pydicom_reads_our_json_as_the_data_set_it_wrote(drawn):
    """`Dataset.from_json` of our JSON is the data set.

    Compared as pydicom's own JSON of both, brought to the one spelling that
    `tests.reference` explains: floats that JSON cannot say are null, padding is no value.
    """
    header, data_set = header_of(drawn)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = over_the_wire(header.attributes)
        read = Dataset.from_json(without_null_numbers(ours))
        assert comparable(pydicom_json(read)) == comparable(
            without_null_numbers(over_the_wire(pydicom_json(data_set)))
        )
        assert binaries(read) == binaries(data_set)


def binaries(data_set):
    """Values that are bytes, at any depth, without the zero that makes them even."""
    found = {}
    for element in data_set:
        if element.VR == "SQ":
            found[element.tag] = list(map(binaries, element.value))
        elif isinstance(element.value, bytes) and element.value:
            value = element.value
            found[element.tag] = value + b"\0" * (len(value) % 2)
    return found


def without_null_numbers(attributes):
    """The data set without floats that are not finite: pydicom cannot take null."""
    kept = {}
    for tag, element in attributes.items():
        values = element.get("Value", [])
        if element["vr"] in ("FL", "FD") and any(
            value is None or value != value or value in (float("inf"), float("-inf"))
            for value in values
        ):
            continue
        if element["vr"] == "SQ" and values:
            element = {**element, "Value": list(map(without_null_numbers, values))}
        kept[tag] = element
    return kept


@settings(max_examples=200, suppress_health_check=SLOW, deadline=None)
@given(drawn_sets())
def test_json_that_is_written_to_a_file_is_read_as_it_was(drawn):
    header, _ = header_of(drawn)
    again = written(attributes_of(over_the_wire(header.attributes)))
    assert again.attributes == header.attributes
    assert again.uids == header.uids


@settings(max_examples=200, suppress_health_check=SLOW, deadline=None)
@given(drawn_sets())
def test_json_made_xml_and_json_again_is_the_same(drawn):
    header, _ = header_of(drawn)
    again = written(attributes_of_xml(to_xml(header.attributes)))
    assert again.attributes == without_trailing_nothing(header.attributes)


def without_trailing_nothing(attributes):
    """As XML has it: values that are empty are left out, the last ones unseen."""
    kept = {}
    for tag, element in attributes.items():
        values = element.get("Value")
        if element["vr"] == "SQ" and values:
            values = list(map(without_trailing_nothing, values))
        elif values:
            values = list(values)
            while values and values[-1] in (None, ""):
                values.pop()
        rest = {key: part for key, part in element.items() if key != "Value"}
        kept[tag] = {**rest, "Value": values} if values else rest
    return kept


words = st.sampled_from(
    [
        *("vr", "Value", "BulkDataURI", "InlineBinary", "Alphabetic", "ISO_IR 100"),
        *("00100010", "0008103e", "7FE00010", "00091010", "00090010", "FFFEE000"),
        *("00280103", "00080005", "SQ", "PN", "US", "FD", "OW", "DS", "AT", "UI"),
        *("AAAA", "1", "\\"),
    ]
)
representations = st.sampled_from(
    ["SQ", "PN", "US", "FD", "OW", "DS", "IS", "AT", "UI", "FL", "SV", "UN", "LT"]
)
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | words
    | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4)
    ),
    max_leaves=20,
)
elements = st.dictionaries(
    words.filter(lambda word: len(word) == 8),
    st.dictionaries(words, anything, max_size=2)
    | st.fixed_dictionaries(
        {
            "vr": representations,
            "Value": st.lists(anything, max_size=3),
        }
    ),
    max_size=4,
)


@settings(max_examples=400, deadline=None)
@given(elements)
def test_whatever_json_comes_is_written_or_refused(found):
    with suppress(BadRequest):
        attributes = attributes_of(found)
        if all("BulkDataURI" not in element for element in flat(attributes)):
            b"".join(dicom_file(attributes, EXPLICIT_LITTLE_ENDIAN, {}))


def flat(attributes):
    for element in attributes.values():
        yield element
        if element["vr"] == "SQ":
            for item in element.get("Value", ()):
                yield from flat(item)


@given(st.binary(max_size=60) | st.text(alphabet='[]{}":,01a', max_size=40))
def test_noise_is_no_metadata(noise):
    raw = noise.encode() if isinstance(noise, str) else noise
    with suppress(BadRequest, TooLarge):
        data_sets(raw)
    with suppress(BadRequest):
        attributes_of_xml(raw)
