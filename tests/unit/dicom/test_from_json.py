"""What real files hold, as JSON and XML and back, and the spellings of other writers."""

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pydicom.data
import pytest

from gateway.dicom import fill
from gateway.dicom.from_json import attributes_of
from gateway.dicom.from_xml import attributes_of_xml
from gateway.dicom.header import read_header
from gateway.dicom.write import EXPLICIT_LITTLE_ENDIAN, Bytes, dicom_file
from gateway.dicom.xml import to_xml
from gateway.errors import BadRequest, NotDicom

FOLDER = Path(pydicom.data.__file__).parent


def _headers():
    """The headers of all files that can be kept, by name."""
    found = {}
    for folder in ("test_files", "charset_files"):
        for path in sorted(FOLDER.glob(f"{folder}/*.dcm")):
            with suppress(NotDicom):
                found[path.name] = read_header(path.read_bytes())
    return found


HEADERS = _headers()
CHARACTER_SET = "00080005"


def references(attributes):
    for element in attributes.values():
        if "BulkDataURI" in element:
            yield element["BulkDataURI"]
        elif element["vr"] == "SQ":
            for item in element.get("Value", ()):
                yield from references(item)


def written(attributes):
    """The attributes after they went through a file, with zeros for bulk data."""
    zeros = Bytes(2000, lambda start, size: bytes(min(size, 2000 - start)))
    bulk = dict.fromkeys(references(attributes), zeros)
    fill.use_utf8(attributes)
    return read_header(b"".join(dicom_file(attributes, EXPLICIT_LITTLE_ENDIAN, bulk)))


def without_charsets(attributes):
    kept = {}
    for tag, element in attributes.items():
        if element["vr"] == "SQ" and "Value" in element:
            items = [without_charsets(item) for item in element["Value"]]
            kept[tag] = {**element, "Value": items}
        elif tag != CHARACTER_SET:
            kept[tag] = element
    return kept


def as_in_xml(attributes):
    """What XML cannot say is left out: empty values and components at the end."""
    kept = {}
    for tag, element in attributes.items():
        values = list(element.get("Value", ()))
        if element["vr"] == "SQ":
            values = [as_in_xml(item) for item in values]
        if element["vr"] == "PN":
            values = [trimmed(name) for name in values]
        while values and values[-1] is None:
            values.pop()
        kept[tag] = {key: part for key, part in element.items() if key != "Value"}
        if values:
            kept[tag]["Value"] = values
    return kept


def trimmed(name):
    groups = {key: group.rstrip("^") for key, group in (name or {}).items()}
    return {key: group for key, group in groups.items() if group} or None


@pytest.mark.parametrize("name", HEADERS)
def test_the_json_of_a_real_file_makes_the_same_header(name):
    header = HEADERS[name]
    again = written(attributes_of(header.attributes))
    assert without_charsets(again.attributes) == without_charsets(header.attributes)


@pytest.mark.parametrize("name", HEADERS)
def test_the_xml_of_a_real_file_makes_the_same_header(name):
    header = HEADERS[name]
    again = written(attributes_of_xml(to_xml(header.attributes)))
    assert as_in_xml(without_charsets(again.attributes)) == as_in_xml(
        without_charsets(header.attributes)
    )


@pytest.mark.skipif(not shutil.which("dcm2xml"), reason="DCMTK is not installed")
def test_the_xml_that_dcmtk_writes_is_understood():
    read = 0
    # Its documents of the other files hold escapes, which no XML reader takes.
    for path in sorted(FOLDER.glob("test_files/*.dcm")):
        run = subprocess.run(
            ["dcm2xml", "-nat", "+Eb", str(path)], capture_output=True, check=False
        )
        if run.returncode == 0:
            attributes_of_xml(run.stdout)
            read += 1
    assert read > 50


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"0008103e": {"Value": ["x"]}}, {"0008103E": {"vr": "LO", "Value": ["x"]}}),
        ({"00280010": {"vr": "US", "Value": [None]}}, {"00280010": {"vr": "US"}}),
        ({"00280010": {"vr": "US", "Value": []}}, {"00280010": {"vr": "US"}}),
        ({"00280010": None}, {"00280010": {"vr": "US"}}),
        (
            {"00280010": {"vr": "US", "Value": ["16"]}},
            {"00280010": {"vr": "US", "Value": [16]}},
        ),
        (
            {"00200013": {"vr": "IS", "Value": [4.0]}},
            {"00200013": {"vr": "IS", "Value": [4]}},
        ),
        (
            {"00100010": {"vr": "PN", "Value": ["A^B=C=D", None]}},
            {
                "00100010": {
                    "vr": "PN",
                    "Value": [
                        {"Alphabetic": "A^B", "Ideographic": "C", "Phonetic": "D"},
                        None,
                    ],
                }
            },
        ),
        (
            {"00280103": {"vr": "US", "Value": [1]}, "00280106": {"Value": [-5]}},
            {
                "00280103": {"vr": "US", "Value": [1]},
                "00280106": {"vr": "SS", "Value": [-5]},
            },
        ),
        ({"00080000": {"vr": "UL", "Value": [8]}}, {}),
        ({"00400275": {"vr": "SQ", "Value": [None]}},) * 2,
    ],
)
def test_lenient_spellings_can_only_mean_one_thing(given, expected):
    if given is expected:
        expected = {"00400275": {"vr": "SQ", "Value": [{}]}}
    assert attributes_of(given) == expected


@pytest.mark.parametrize("depth", [33, 100, 200])
def test_depth_is_bounded(depth):
    found = {}
    for _ in range(depth):
        found = {"00400275": {"vr": "SQ", "Value": [found]}}
    with pytest.raises(BadRequest, match="deeper than 32"):
        attributes_of(found)


def test_thirty_two_levels_are_taken():
    found = {}
    for _ in range(32):
        found = {"00400275": {"vr": "SQ", "Value": [found]}}
    assert attributes_of(found)
    assert attributes_of_xml(to_xml(found))


def test_blocks_of_several_creators_are_told_apart_in_xml():
    given = {
        "00110010": {"vr": "LO", "Value": ["ONE"]},
        "00110011": {"vr": "LO", "Value": ["TWO"]},
        "00111010": {"vr": "LO", "Value": ["1"]},
        "00111110": {"vr": "LO", "Value": ["2"]},
    }
    assert attributes_of_xml(to_xml(given)) == given
