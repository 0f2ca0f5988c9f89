"""QIDO-RS: what is found, by which words, and what is shown of it (PS3.18 10.6)."""

import email
import itertools
import warnings
from pathlib import Path
from urllib.parse import quote

import orjson
import pydicom
import pytest
from pydicom.dataset import Dataset
from yarl import URL

from gateway.dicom.dictionary import tag_of
from tests import raw
from tests.clients import JSON, ROOT, find, store, values
from tests.factories import dataset, dicom_file, encode

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
CHARSETS = Path(pydicom.__file__).parent / "data/charset_files"

STUDY = {"StudyDate", "StudyTime", "AccessionNumber", "InstanceAvailability"}
STUDY |= {"ModalitiesInStudy", "ReferringPhysicianName", "PatientName", "PatientID"}
STUDY |= {"PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyID"}
STUDY |= {"NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"}
ALWAYS = {"SpecificCharacterSet", "RetrieveURL"}
SERIES = {"Modality", "SeriesInstanceUID", "SeriesNumber"}
SERIES |= {"NumberOfSeriesRelatedInstances"}
INSTANCE = {"SOPClassUID", "SOPInstanceUID", "InstanceNumber", "InstanceAvailability"}

STUDIES, IDS, SERIES_UIDS = "0020000D", "00100020", "0020000E"
INSTANCES = "00080018"


def tags(keywords):
    return {tag_of(keyword) for keyword in keywords}


def code(**attributes) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def archive() -> list[bytes]:
    """Three studies, five series, eight instances, each attribute told apart.

    A: one patient, CT and MR; B: another, only MR; C: a third, PT, with bad values.
    """
    a = {
        "StudyInstanceUID": "1.1",
        "PatientID": "PAT-A",
        "PatientName": "Müller^Hans",
        "PatientBirthDate": "19700101",
        "PatientSex": "M",
        "StudyDate": "20240110",
        "StudyTime": "101500.5",
        "AccessionNumber": "ACC 1",
        "ReferringPhysicianName": "House^Greg",
        "StudyID": "S1",
        "StudyDescription": "Head [native]",
        "InstitutionName": "North Clinic",
    }
    b = {
        "StudyInstanceUID": "1.2",
        "PatientID": "PAT-B",
        "PatientName": "Smith^Ann",
        "StudyDate": "20240220",
        "StudyTime": "14",
        "AccessionNumber": "ACC2,X",
        "StudyDescription": "Knee",
    }
    c = {
        "StudyInstanceUID": "1.3",
        "PatientID": "pat-c",
        "PatientName": "Smith^Zoe",
        "StudyDate": "20230101",
        "StudyTime": "235959",
        "AccessionNumber": "",
    }
    ct = {"Modality": "CT", "SeriesInstanceUID": "1.1.1", "SeriesNumber": 7}
    ct |= {"SeriesDescription": "Axial", "BodyPartExamined": "HEAD"}
    ct |= {"Manufacturer": "Acme", "StationName": "CT1"}
    scout = {"Modality": "CT", "SeriesInstanceUID": "1.1.3", "SeriesNumber": 1}
    scout |= {"SeriesDescription": "Scout", "Manufacturer": "Acme"}
    mr = {"Modality": "MR", "SeriesInstanceUID": "1.1.2", "SeriesNumber": 3}
    mr |= {"SeriesDescription": "T1", "Manufacturer": "Bolt", "SOPClassUID": MR_IMAGE}
    made = [
        dataset(**a, **ct, SOPInstanceUID="9.1", InstanceNumber=2, Rows=256),
        dataset(**a, **ct, SOPInstanceUID="9.2", InstanceNumber=1, Rows=512),
        dataset(**a, **mr, SOPInstanceUID="9.3", InstanceNumber=1, Rows=128),
        dataset(**a, **scout, SOPInstanceUID="9.4", InstanceNumber=5, Rows=64),
        dataset(
            **b,
            Modality="MR",
            SeriesInstanceUID="1.2.1",
            SeriesNumber=1,
            SOPInstanceUID="9.5",
            InstanceNumber=1,
            RequestAttributesSequence=[
                code(ScheduledProcedureStepID="STEP1", RequestedProcedureID="R1"),
                code(ScheduledProcedureStepID="STEP2", RequestedProcedureID="R2"),
            ],
            AcquisitionDateTime="20240220140000.000000+0100",
            SliceThickness="2.50",
            FlipAngle="15",
            ImageType=["ORIGINAL", "PRIMARY", "M_FFE"],
        ),
        dataset(
            **c,
            Modality="PT",
            SeriesInstanceUID="1.3.1",
            SeriesNumber=None,
            SOPInstanceUID="9.6",
            InstanceNumber=None,
        ),
    ]
    for number, data_set in enumerate(made):
        block = data_set.private_block(0x0011, "ACME TEST", create=True)
        block.add_new(0x01, "LO", f"Private {number}")
        block.add_new(0x02, "DS", f"{number}.50")
        block.add_new(0x03, "DA", f"2024010{number + 1}")
    return [encode(data_set) for data_set in made]


@pytest.fixture
async def filled(client):
    await store(client, *archive())
    return client


async def studies(client, **query):
    return sorted(values(await find(client, "studies", query), STUDIES))


# --- what is shown --------------------------------------------------------------------


async def test_six_addresses_find_what_lies_below_them(filled):
    expected = {
        "studies": 3,
        "series": 5,
        "instances": 6,
        "studies/1.1/series": 3,
        "studies/1.1/instances": 4,
        "studies/1.1/series/1.1.1/instances": 2,
        "studies/1.9/series": 0,
        "studies/1.2/series/1.1.1/instances": 0,
    }
    for path, count in expected.items():
        assert len(await find(filled, path)) == count, path


async def test_a_study_shows_what_it_has_to_and_counts_its_children(filled):
    [found] = await find(filled, "studies", {"PatientID": "PAT-A"})
    assert set(found) == tags(STUDY | ALWAYS)
    assert list(found) == sorted(found)
    assert found["00080061"] == {"vr": "CS", "Value": ["CT", "MR"]}
    assert found["00201206"] == {"vr": "IS", "Value": [3]}
    assert found["00201208"] == {"vr": "IS", "Value": [4]}
    assert found["00080056"] == {"vr": "CS", "Value": ["ONLINE"]}
    assert found["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert found["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Müller^Hans"}]}
    assert found["00080030"] == {"vr": "TM", "Value": ["101500.5"]}


async def test_what_is_empty_or_missing_is_shown_as_empty(filled):
    [found] = await find(filled, "studies", {"PatientID": "pat-c"})
    assert found["00080050"] == {"vr": "SH"}
    assert found["00100030"] == {"vr": "DA"}
    [series] = await find(filled, "studies/1.3/series")
    assert series["00200011"] == {"vr": "IS"}


async def test_series_and_instances_show_their_own_and_their_parents(filled):
    known = tags({"SeriesDescription", "RequestAttributesSequence", "Rows"})
    for path in ("series", "studies/1.1/series"):
        for found in await find(filled, path):
            shown = tags(STUDY - {"InstanceAvailability"} | SERIES | ALWAYS)
            assert set(found) - known == shown
    for path in ("instances", "studies/1.1/instances"):
        for found in await find(filled, path):
            shown = tags(STUDY | SERIES | INSTANCE | ALWAYS)
            assert set(found) - known == shown


async def test_a_parent_named_by_its_uid_in_the_query_is_not_shown_again(filled):
    found = await find(filled, "series", {"StudyInstanceUID": "1.1"})
    for series in found:
        assert set(series) & tags({"PatientName", "StudyDate"}) == set()
        assert series[STUDIES]["Value"] == ["1.1"]
    query = {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1"}
    for instance in await find(filled, "instances", query):
        assert set(instance) & tags({"PatientName", "Modality"}) == set()
        assert instance[SERIES_UIDS]["Value"] == ["1.1.1"]
    # What the query asks for is shown all the same, also what no header holds.
    query = {"StudyInstanceUID": "1.1", "PatientName": "m*", "ModalitiesInStudy": "MR"}
    for series in await find(filled, "series", query):
        assert series["00100010"]["Value"] == [{"Alphabetic": "Müller^Hans"}]
        assert series["00080061"]["Value"] == ["CT", "MR"]


async def test_series_come_by_their_number_and_instances_by_theirs(filled):
    found = await find(filled, "studies/1.1/series")
    assert values(found, SERIES_UIDS) == ["1.1.3", "1.1.2", "1.1.1"]
    found = await find(filled, "studies/1.1/instances")
    assert values(found, INSTANCES) == ["9.4", "9.3", "9.2", "9.1"]


async def test_includefield_shows_more_however_it_is_written(filled):
    wanted = tags({"InstitutionName", "StudyDescription"})
    for query in (
        [("includefield", "InstitutionName,StudyDescription")],
        [("includefield", "InstitutionName"), ("includefield", "00081030")],
        [("includefield", "0008,0080"), ("includefield", "0008-1030")],
        [("includefield", "00080080, StudyDescription ,NoSuchName,,00990099")],
        [("InstitutionName", ""), ("StudyDescription", "")],
    ):
        [found] = await find(filled, "studies", [*query, ("PatientID", "PAT-A")])
        assert wanted <= set(found), query
        assert found["00080080"]["Value"] == ["North Clinic"]


async def test_what_was_asked_for_and_is_not_there_is_shown_as_empty(filled):
    query = {"includefield": "EthnicGroup,RequestAttributesSequence"}
    for found in await find(filled, "studies", query):
        assert found["00102160"] == {"vr": "SH"}
    assert (await find(filled, "studies/1.3/series", query))[0]["00400275"] == {
        "vr": "SQ"
    }


async def test_a_study_shows_attributes_of_a_child_that_were_asked_for(filled):
    [found] = await find(
        filled,
        "studies",
        {"PatientID": "PAT-B", "includefield": "SeriesDescription,Rows"},
    )
    assert found["0008103E"] == {"vr": "LO"}
    query = {"PatientID": "PAT-A", "includefield": "Manufacturer,SOPClassesInStudy"}
    [found] = await find(filled, "studies", query)
    assert found["00080070"]["Value"][0] in ("Acme", "Bolt")
    assert set(found["00080062"]["Value"]) == {"1.2.840.10008.5.1.4.1.1.2", MR_IMAGE}


async def test_includefield_all_shows_all_of_the_level(filled):
    [found] = await find(
        filled, "studies", {"includefield": "all", "PatientID": "PAT-A"}
    )
    assert tags(STUDY | ALWAYS | {"InstitutionName", "StudyDescription"}) <= set(found)
    assert "00080070" not in found
    series = await find(filled, "studies/1.1/series", {"includefield": "all"})
    assert tags({"Manufacturer", "InstitutionName"}) <= set(series[-1])
    [instance] = await find(filled, "studies/1.2/instances", {"includefield": "all"})
    assert tags({"SliceThickness", "ImageType", "PatientID"}) <= set(instance)
    assert instance["00111002"] == {"vr": "DS", "Value": [4.5]}


async def test_a_search_never_shows_the_way_to_bulk_data(client):
    inner = code(ICCProfile=b"icc " * 500, CodeValue="C1")
    await store(client, dicom_file(OpticalPathSequence=[inner], ICCProfile=b"i" * 2000))
    for path in ("studies", "series", "instances"):
        for query in ("all", "OpticalPathSequence,ICCProfile"):
            [found] = await find(client, path, {"includefield": query})
            assert b"BulkDataURI" not in orjson.dumps(found)
    [found] = await find(client, "instances", {"includefield": "OpticalPathSequence"})
    assert found["00480105"]["Value"] == [
        {"00080100": {"vr": "SH", "Value": ["C1"]}, "00282000": {"vr": "OB"}}
    ]


# --- keys -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", ["PatientID", "00100020", "0010,0020", "0010-0020", "0020000d"]
)
async def test_an_attribute_has_several_spellings(filled, key):
    value = "1.1" if key == "0020000d" else "PAT-A"
    assert await studies(filled, **{key: value}) == ["1.1"]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"PatientNmae": "x"}, "PatientNmae"),
        ({"patientname": "x"}, "patientname"),
        ({"0010002": "x"}, "0010002"),
        ({"Rows.Columns": "1"}, "Rows.Columns"),
        ({"StudyDate": "2024-01-01"}, "StudyDate"),
        ({"StudyDate": "20241301"}, "StudyDate"),
        ({"StudyDate": "20240101-x"}, "StudyDate"),
        ({"StudyTime": "25"}, "StudyTime"),
        ({"StudyInstanceUID": "1.2.*"}, "StudyInstanceUID"),
        ({"Rows": "many"}, "Rows"),
        ({"PixelData": "x"}, "PixelData"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"limit": "9" * 5000}, "limit"),
        ({"limit": "99999999999999999999"}, "limit"),
        ({"offset": "-1"}, "offset"),
        ({"offset": "1.5"}, "offset"),
        ({"fuzzymatching": "maybe"}, "fuzzymatching"),
        ({"emptyvaluematching": "1"}, "emptyvaluematching"),
    ],
)
async def test_a_bad_parameter_is_refused_by_its_name(client, query, named):
    response = await client.get(f"{ROOT}/studies", params=query)
    assert response.status == 400
    assert (await response.json())["Details"].startswith(named)


async def test_uids_of_the_address_have_to_be_uids(client):
    for path in (
        "studies/1.2.x/series",
        "studies/*/series",
        "studies/1/series/a/instances",
    ):
        assert (await client.get(f"{ROOT}/{path}")).status == 400, path


async def test_an_empty_key_is_passed_over_as_weasis_sends_it(filled):
    response = await filled.get(f"{ROOT}/studies?&limit=1")
    assert len(await response.json(content_type=JSON)) == 1
    response = await filled.get(f"{ROOT}/studies?=x&limit=1")
    assert response.status == 200


# --- matching -------------------------------------------------------------------------

A, B, C = "1.1", "1.2", "1.3"
EVERY = [A, B, C]

STUDY_QUERIES = [
    # exact, in whatever case
    ({"PatientID": "PAT-A"}, [A]),
    ({"PatientID": "pat-a"}, [A]),
    ({"PatientID": "PAT"}, []),
    ({"PatientName": "smith^ann"}, [B]),
    ({"PatientName": "MÜLLER^HANS"}, [A]),
    ({"PatientName": "Mu\u0308ller^Hans^"}, [A]),
    ({"AccessionNumber": "ACC 1"}, [A]),
    ({"InstitutionName": "north clinic"}, [A]),
    # wildcards
    ({"PatientName": "*"}, EVERY),
    ({"PatientName": "smith*"}, [B, C]),
    ({"PatientName": "*Z?e"}, [C]),
    ({"PatientID": "PAT-?"}, EVERY),
    ({"StudyDescription": "head [*"}, [A]),
    ({"StudyDescription": "*[native]"}, [A]),
    ({"StudyDescription": "*_*"}, []),
    ({"StudyDescription": "%"}, []),
    ({"InstitutionName": "*clinic"}, [A]),
    # universal
    ({"PatientName": ""}, EVERY),
    ({"StudyDate": ""}, EVERY),
    ({"InstitutionName": ""}, EVERY),
    # lists
    ({"PatientID": "PAT-A,PAT-B"}, [A, B]),
    ({"PatientID": "PAT-A\\pat-c"}, [A, C]),
    ({"AccessionNumber": "ACC2,X"}, [B]),
    ({"StudyInstanceUID": "1.1,1.3,1.9"}, [A, C]),
    ({"StudyInstanceUID": "1.1\\1.2"}, [A, B]),
    ({"StudyDate": "20240110,20230101"}, [A, C]),
    # dates and times
    ({"StudyDate": "20240110"}, [A]),
    ({"StudyDate": "20240101-20240131"}, [A]),
    ({"StudyDate": "20240110-"}, [A, B]),
    ({"StudyDate": "-20240110"}, [A, C]),
    ({"StudyDate": "20240220-20240110"}, []),
    ({"StudyTime": "10"}, [A]),
    ({"StudyTime": "101500"}, [A]),
    ({"StudyTime": "1015-14"}, [A, B]),
    ({"StudyTime": "1416-"}, [C]),
    ({"StudyTime": "-1015"}, [A]),
    ({"StudyDate": "20240101-", "StudyTime": "12-"}, [B]),
    ({"AcquisitionDateTime": "20240220130000+0000"}, [B]),
    ({"AcquisitionDateTime": "20240220-20240221"}, [B]),
    ({"AcquisitionDateTime": "202403-"}, []),
    # numbers
    ({"NumberOfStudyRelatedInstances": "4"}, [A]),
    ({"NumberOfStudyRelatedSeries": "1"}, [B, C]),
    ({"SliceThickness": "2.5"}, [B]),
    ({"FlipAngle": "15.0"}, [B]),
    # one of several values
    ({"ImageType": "PRIMARY"}, [B]),
    ({"ImageType": "m_*"}, [B]),
    # private
    ({"00111001": "private 4"}, [B]),
    ({"00111001": "Private *"}, EVERY),
    ({"00111002": "4.5"}, [B]),
    ({"00111002": "2.50"}, [A]),
    ({"00111003": "20240105"}, [B]),
    ({"00110010": "ACME TEST"}, EVERY),
    ({"00111099": "x"}, []),
    # sequences
    ({"RequestAttributesSequence.ScheduledProcedureStepID": "STEP2"}, [B]),
    ({"00400275.00400009": "step?"}, [B]),
    ({"RequestAttributesSequence.RequestedProcedureID": "R9"}, []),
    # of children: any of them, and one that is all that is asked
    ({"Modality": "MR"}, [A, B]),
    ({"SeriesDescription": "t1"}, [A]),
    ({"Modality": "CT", "SeriesDescription": "T1"}, []),
    ({"Modality": "MR", "SeriesDescription": "T1"}, [A]),
    ({"Modality": "CT", "Manufacturer": "Bolt"}, []),
    ({"Modality": "MR", "Manufacturer": "Bolt"}, [A]),
    ({"Modality": "CT", "Rows": "128"}, []),
    ({"Modality": "CT", "Rows": "512"}, [A]),
    ({"Rows": "256", "InstanceNumber": "1"}, []),
    ({"Rows": "512", "InstanceNumber": "1"}, [A]),
    ({"SeriesNumber": "7", "InstanceNumber": "5"}, []),
    ({"SOPClassUID": MR_IMAGE}, [A]),
    ({"SOPInstanceUID": "9.5"}, [B]),
    ({"SeriesInstanceUID": "1.1.2", "Modality": "CT"}, []),
    # ModalitiesInStudy
    ({"ModalitiesInStudy": "MR"}, [A, B]),
    ({"ModalitiesInStudy": "mr"}, [A, B]),
    ({"ModalitiesInStudy": "CT,PT"}, [A, C]),
    ({"ModalitiesInStudy": "CT\\PT"}, [A, C]),
    ({"ModalitiesInStudy": "?T"}, [A, C]),
    ({"ModalitiesInStudy": "M*"}, [A, B]),
    ({"ModalitiesInStudy": "US"}, []),
    ({"ModalitiesInStudy": "MR", "PatientID": "PAT-B"}, [B]),
    ({"SOPClassesInStudy": MR_IMAGE}, [A]),
    ({"InstanceAvailability": "ONLINE"}, EVERY),
    ({"InstanceAvailability": "on*"}, EVERY),
    ({"InstanceAvailability": "NEARLINE"}, []),
    # several at once, with and without a column
    ({"PatientName": "s*", "StudyDate": "2024-", "PatientSex": ""}, None),
    ({"PatientName": "s*", "InstitutionName": "*"}, [B, C]),
]


async def test_studies_are_found_by_every_kind_of_matching(filled):
    for query, expected in STUDY_QUERIES:
        if expected is not None:
            assert await studies(filled, **query) == expected, query


async def test_empty_and_multiple_value_matching_are_done_when_asked_for(filled):
    empty = {"emptyvaluematching": "true"}
    for query, expected in [
        ({"AccessionNumber": '""'}, [C]),
        ({"InstitutionName": '""'}, [B, C]),
        ({"PatientBirthDate": '""'}, [B, C]),
        ({"StudyID": '""'}, [B, C]),
        ({"NumberOfStudyRelatedSeries": '""'}, []),
    ]:
        assert await studies(filled, **query, **empty) == expected, query
    assert await studies(filled, AccessionNumber='""') == []
    multiple = {"multiplevaluematching": "true"}
    for query, expected in [
        ({"ModalitiesInStudy": "CT\\MR"}, [A]),
        ({"ModalitiesInStudy": "CT\\PT"}, []),
        ({"ImageType": "PRIMARY\\M_FFE"}, [B]),
        ({"StudyInstanceUID": "1.1\\1.2"}, [A, B]),
    ]:
        assert await studies(filled, **query, **multiple) == expected, query


async def test_what_is_no_date_is_not_empty_but_in_no_range(client):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = dicom_file(StudyDate="unknown", StudyTime="noon", SeriesNumber="1.0")
    await store(client, file)
    assert await studies(client, StudyDate='""', emptyvaluematching="true") == []
    assert await studies(client, StudyTime='""', emptyvaluematching="true") == []
    assert await studies(client, StudyDate="-20990101") == []
    assert len(await studies(client, SeriesNumber="1")) == 1
    [found] = await find(client, "studies")
    assert found["00080020"] == {"vr": "DA", "Value": ["unknown"]}


async def test_series_and_instances_are_found_by_their_own_and_their_parents(filled):
    for query, expected in [
        ({"Modality": "CT"}, ["1.1.1", "1.1.3"]),
        ({"PatientID": "PAT-B"}, ["1.2.1"]),
        ({"ModalitiesInStudy": "CT"}, ["1.1.1", "1.1.2", "1.1.3"]),
        ({"SeriesNumber": "1"}, ["1.1.3", "1.2.1"]),
        ({"NumberOfSeriesRelatedInstances": "2"}, ["1.1.1"]),
        ({"Rows": "512"}, ["1.1.1"]),
        ({"Rows": "512", "InstanceNumber": "2"}, []),
        ({"Manufacturer": "acme", "StudyDate": "20240110"}, ["1.1.1", "1.1.3"]),
        ({"RequestAttributesSequence.RequestedProcedureID": "R1"}, ["1.2.1"]),
        ({"StudyInstanceUID": "1.1,1.2", "Modality": "MR"}, ["1.1.2", "1.2.1"]),
    ]:
        found = await find(filled, "series", query)
        assert sorted(values(found, SERIES_UIDS)) == expected, query
    for query, expected in [
        ({"InstanceNumber": "1"}, ["9.2", "9.3", "9.5"]),
        ({"Rows": "256"}, ["9.1"]),
        ({"Modality": "CT", "PatientName": "m*"}, ["9.1", "9.2", "9.4"]),
        ({"SOPClassUID": MR_IMAGE}, ["9.3"]),
        ({"00111001": "Private 1"}, ["9.2"]),
        ({"NumberOfStudyRelatedInstances": "1"}, ["9.5", "9.6"]),
    ]:
        found = await find(filled, "instances", query)
        assert sorted(values(found, INSTANCES)) == expected, query
    found = await find(filled, "studies/1.1/instances", {"Modality": "MR"})
    assert values(found, INSTANCES) == ["9.3"]
    assert await find(filled, "studies/1.1/series", {"StudyInstanceUID": "1.2"}) == []


@pytest.mark.parametrize("sensitive", [True, False])
async def test_case_matters_when_it_is_configured(start, sensitive):
    client = await start(DicomWeb={"QidoCaseSensitive": sensitive})
    await store(client, *archive())
    lower, exact = ([], [A]) if sensitive else ([A], [A])
    for key, value in [
        ("PatientID", "PAT-A"),
        ("PatientName", "Müller^Hans"),
        ("InstitutionName", "North Clinic"),
        ("StudyDescription", "Head*"),
    ]:
        assert await studies(client, **{key: value}) == exact, key
        assert await studies(client, **{key: value.lower()}) == lower, key


async def test_long_lists_are_no_failure(filled):
    names = ",".join(f"{number:x}" for number in range(1200))
    for query in (
        {"PatientName": f"{names},Smith^Ann"},
        {"PatientName": f"{names},Smith^A*"},
        {"PatientID": f"{names},PAT-B"},
        {"PatientID": f"{names},*-B"},
        {"StudyInstanceUID": ",".join(map(str, range(1500))) + ",1.2"},
    ):
        assert await studies(filled, **query) == [B]
    days = ",".join(f"{day}" for day in range(20240211, 20240232))
    dates = ",".join(f"2023{m:02}{d:02}" for m in range(2, 13) for d in range(1, 29))
    assert await studies(filled, StudyDate=f"{dates},{days}") == [B]


# --- character sets -------------------------------------------------------------------


async def test_names_in_every_character_set_are_found_by_a_query_in_utf8(client):
    files, wanted = [], []
    for number, path in enumerate(sorted(CHARSETS.glob("*.dcm")), 1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            name = pydicom.dcmread(path).get("PatientName")
        charset = pydicom.dcmread(path).get("SpecificCharacterSet", "")
        if name is None or not str(name):
            continue
        sets = "\\".join([charset] if isinstance(charset, str) else charset)
        study = f"7.{number}"
        value = b"=".join(name.original_string.split(b"=")) or b""
        files.append(
            raw.meta(raw.EXPLICIT)
            + raw.explicit(0x00080005, b"CS", padded(sets.encode()))
            + raw.explicit(0x00080018, b"UI", padded(study.encode(), b"\0"))
            + raw.explicit(0x00100010, b"PN", padded(value))
            + raw.explicit(0x0020000D, b"UI", padded(study.encode(), b"\0"))
            + raw.explicit(0x0020000E, b"UI", padded(study.encode(), b"\0"))
        )
        wanted.append((path.name, study, name))
    await store(client, *files)
    assert len(wanted) >= 15
    for file, study, name in wanted:
        groups = [name.alphabetic, name.ideographic, name.phonetic]
        for group in filter(None, groups):
            pattern = group[:1] + "*"
            assert study in await studies(client, PatientName=group), (file, group)
            assert study in await studies(client, PatientName=group.upper()), file
            assert study in await studies(client, PatientName=pattern), (file, pattern)
        whole = "=".join(groups).rstrip("=")
        assert study in await studies(client, PatientName=whole), (file, whole)
        assert study in await studies(client, **{"00100010": f"*{groups[0][-2:]}"}), (
            file
        )


def padded(value: bytes, pad: bytes = b" ") -> bytes:
    return value + pad * (len(value) % 2)


# --- paging ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query", [{}, {"PatientName": "Do*"}, {"StationName": "*"}, {"Rows": "64"}]
)
@pytest.mark.parametrize(
    ("path", "tag"),
    [("studies", STUDIES), ("series", SERIES_UIDS), ("instances", INSTANCES)],
)
async def test_pages_hold_every_match_once(client, path, tag, query):
    await store(
        client,
        *(
            dicom_file(
                StudyInstanceUID=f"2.{number % 7}",
                SeriesInstanceUID=f"2.{number % 7}.{number % 2}",
                SOPInstanceUID=f"2.9.{number}",
                Rows=64,
                StationName="S",
            )
            for number in range(23)
        ),
    )
    whole = values(await find(client, path, query), tag)
    assert len(set(whole)) == len(whole) > 5
    for size in (1, 4, 100):
        pages = []
        for offset in itertools.count(0, size):
            page = await find(client, path, {**query, "limit": size, "offset": offset})
            assert len(page) <= size
            if not page:
                break
            pages += values(page, tag)
        assert pages == whole
    assert values(await find(client, path, {**query, "offset": 3}), tag) == whole[3:]
    far = {**query, "offset": 2**63 - 1, "limit": 2**63 - 1}
    assert await find(client, path, far) == []


async def test_a_limit_of_zero_is_none(filled):
    assert len(await find(filled, "studies", {"limit": 0})) == 3


# --- the answer -----------------------------------------------------------------------


async def test_no_match_is_an_empty_array(filled):
    response = await filled.get(f"{ROOT}/studies", params={"PatientID": "nobody"})
    assert response.status == 200
    assert await response.read() == b"[]"
    assert response.headers["Content-Length"] == "2"


#: The strings of real clients (A1 to A19), and whether each gets XML.
ACCEPT = {
    "application/dicom+json": False,
    "application/dicom+json, application/json": False,
    "application/dicom+json, multipart/related; type=application/octet-stream;"
    " transfer-syntax=*": False,
    "multipart/related; type=application/octet-stream; transfer-syntax=*": False,
    'multipart/related; type="application/octet-stream"; transfer-syntax="*"': False,
    'multipart/related; type="application/octet-stream";'
    " transfer-syntax=1.2.840.10008.1.2.4.80; transfer-syntax=*": False,
    'multipart/related;type="application/dicom";transfer-syntax=*': False,
    'multipart/related; type="application/dicom"': False,
    "application/dicom; transfer-syntax=*": False,
    'multipart/related; type="image/jpeg"; transfer-syntax=1.2.840.10008.1.2.4.50,'
    ' multipart/related; type="application/octet-stream"; q=0.5': False,
    'multipart/related; type="*/*"': True,
    "image/jpeg, image/png;q=0.8": False,
    "application/dicom+xml": True,
    'multipart/related; type="application/dicom+xml"': True,
    "*/*": False,
    "": False,
    "multipart/*": True,
    "image/*": False,
    "text/html,application/xhtml+xml,*/*;q=0.8": False,
    "text/html": False,
    "application/json": False,
    "application/json;q=0.1, text/xml": True,
}


async def test_every_accept_header_of_a_real_client_gets_an_answer(filled):
    for accept, as_xml in ACCEPT.items():
        response = await filled.get(f"{ROOT}/studies", headers={"Accept": accept})
        assert response.status == 200, accept
        kind = response.headers["Content-Type"]
        assert kind.startswith("multipart/related") == as_xml, accept
        assert as_xml or kind == JSON
    absent = await filled.get(f"{ROOT}/studies", skip_auto_headers=["Accept"])
    assert absent.headers["Content-Type"] == JSON
    asked = await filled.get(f"{ROOT}/studies?accept=application/dicom%2Bxml")
    assert asked.headers["Content-Type"].startswith("multipart/related")


@pytest.mark.parametrize(("patient", "count"), [("*", 3), ("nobody", 0)])
async def test_xml_comes_as_one_document_a_part(filled, patient, count):
    response = await filled.get(
        f"{ROOT}/studies",
        params={"PatientID": patient},
        headers={"Accept": 'multipart/related; type="application/dicom+xml"'},
    )
    kind = response.headers["Content-Type"]
    assert kind.startswith('multipart/related; type="application/dicom+xml"; boundary=')
    body = await response.read()
    assert body.endswith(b"--\r\n")
    message = email.message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    documents = message.get_payload() if count else []
    assert len(documents) == count
    for document in documents:
        assert document.get_content_type() == "application/dicom+xml"
        text = document.get_payload(decode=True)
        assert text.startswith(b"<?xml")
        assert b'keyword="RetrieveURL"' in text


async def test_a_long_answer_is_whole(client):
    comments = "x" * 6000
    files = [
        dicom_file(StudyInstanceUID=f"3.{n}", PatientComments=comments)
        for n in range(90)
    ]
    await store(client, *files)
    query = {"includefield": "PatientComments"}
    found = await find(client, "studies", query)
    assert [len(one) for one in values(found, "00104000")] == [6000] * 90
    response = await client.get(
        f"{ROOT}/studies", params=query, headers={"Accept": "application/dicom+xml"}
    )
    assert (await response.read()).count(b"<NativeDicomModel") == 90


async def test_head_is_a_search_without_its_answer(filled):
    response = await filled.head(f"{ROOT}/studies")
    assert response.status == 200
    assert response.headers["Content-Type"] == JSON
    assert await response.read() == b""
    assert (await filled.head(f"{ROOT}/studies?NoSuch=1")).status == 400


async def test_retrieve_urls_are_those_of_the_outside(filled):
    for headers, expected in [
        ({"Host": "10.1.2.3:8080"}, "http://10.1.2.3:8080/dicom-web/"),
        (
            {
                "X-Forwarded-Host": "pacs.example",
                "X-Forwarded-Proto": "https",
                "X-Forwarded-Prefix": "/imaging",
            },
            "https://pacs.example/imaging/dicom-web/",
        ),
        (
            {"Forwarded": 'for=10.0.0.1;host="a.example";proto=https, for=10.0.0.2'},
            "https://a.example/dicom-web/",
        ),
    ]:
        [study] = await find(filled, "studies", {"PatientID": "PAT-B"}, **headers)
        assert study["00081190"] == {"vr": "UR", "Value": [f"{expected}studies/1.2"]}
        [series] = await find(filled, "studies/1.2/series", **headers)
        assert series["00081190"]["Value"] == [f"{expected}studies/1.2/series/1.2.1"]
        [found] = await find(filled, "instances", {"SOPInstanceUID": "9.5"}, **headers)
        assert found["00081190"]["Value"] == [
            f"{expected}studies/1.2/series/1.2.1/instances/9.5"
        ]


async def test_a_study_shared_by_two_patients_is_found_twice_and_told_apart(client):
    for patient in ("P1", "P2"):
        file = dicom_file(
            PatientID=patient,
            StudyInstanceUID="4.1",
            SeriesInstanceUID=f"4.{patient[1]}",
        )
        await store(client, file)
    found = await find(client, "studies", {"StudyInstanceUID": "4.1"})
    assert sorted(values(found, IDS)) == ["P1", "P2"]
    assert values(found, "00201206") == [1, 1]
    assert len(await find(client, "studies/4.1/series")) == 2


# --- as OHIF, Weasis and Slim ask -----------------------------------------------------


async def test_the_searches_of_viewers_find_what_they_should(filled):
    ohif = (
        "studies?limit=101&offset=0&fuzzymatching=false"
        "&includefield=00081030,00080060,00080090,00100030"
        f"&PatientName={quote('*müller*')}&StudyDate=20240101-20241231"
        "&ModalitiesInStudy=MR,CT&AccessionNumber=*ACC*"
    )
    for path, count in [
        (ohif, 1),
        ("studies?StudyInstanceUID=1.1%5C1.2&limit=101", 2),
        ("studies/1.1/series?includefield=0008103E,00080021", 3),
        ("studies/1.1/series?0020000E=1.1.2&includefield=00201209", 1),
        ("series?Modality=MR&StudyInstanceUID=1.1", 1),
        ("//studies//1.1//series/", 3),
    ]:
        response = await filled.get(f"{ROOT}/{path}")
        assert response.status == 200, path
        assert len(await response.json(content_type=JSON)) == count, path


async def test_a_query_that_is_not_in_utf_8_is_refused(client):
    response = await client.get(
        URL("/dicom-web/studies?PatientName=%FF%FE", encoded=True)
    )
    assert response.status == 400
