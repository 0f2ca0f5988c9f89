"""The REST dialect beside the program it comes from: the same files, the same questions.

What differs on purpose is named here, and nothing else may.
"""

import io
import json
import re
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from gateway.dicom.hierarchy import orthanc_id
from tests import peers
from tests.factories import dataset, dicom_file, encode, image

pytestmark = [pytest.mark.peer, pytest.mark.slow]

#: Names of files, and times: each program has its own.
VOLATILE = {"FileUuid", "LastUpdate", "ReceptionDate", "Uuid", "Date", "Seq"}

#: What this gateway does not keep of an arrival, and what is only told by newer versions.
OURS_NOT = {"Origin", "RemoteAET", "RemoteIP", "HttpUsername", "PixelDataOffset"}
NEWER = {"IsProtected"}

PATIENT = orthanc_id("P1")
STUDY = orthanc_id("P1", "1.2.3.1")
SERIES = orthanc_id("P1", "1.2.3.1", "1.2.3.1.1")
INSTANCE = orthanc_id("P1", "1.2.3.1", "1.2.3.1.1", "1.2.3.4.1")
OTHER = orthanc_id("P1", "1.2.3.1", "1.2.3.1.1", "1.2.3.4.2")
PLAIN = orthanc_id("P1", "1.2.3.1", "1.2.3.1.2", "1.2.3.4.3")
ODD = orthanc_id("P7", "1.2.7", "1.2.7.2", "1.2.7.1")
ODD_SERIES = orthanc_id("P7", "1.2.7", "1.2.7.2")
COLOUR = orthanc_id("P8", "1.2.8", "1.2.8.1", "1.2.8.2")


class Answer(NamedTuple):
    """What came back."""

    status: int
    kind: str
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Pair(NamedTuple):
    """The address of the peer, and of ours, with the same files in both."""

    peer: str
    ours: str

    def both(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        return (
            ask(self.peer, method, path, body, headers),
            ask(self.ours, method, path, body, headers),
        )


def ask(
    url: str, method: str, path: str, body: Any = None, headers: Any = None
) -> Answer:
    data = json.dumps(body).encode() if isinstance(body, dict | list) else body
    request = urllib.request.Request(url + path, data, headers or {}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=20) as answer:
            kind = answer.headers.get_content_type()
            return Answer(answer.status, kind, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers.get_content_type(), error.read())


def odd() -> bytes:
    """A file with what is seldom: private elements, all kinds of numbers, long text."""
    made = dataset(
        SOPInstanceUID="1.2.7.1",
        StudyInstanceUID="1.2.7",
        SeriesInstanceUID="1.2.7.2",
        PatientID="P7",
        InstanceNumber=1,
        PatientAge="045Y",
        NumberOfSlices=3,
        NumberOfTimeSlices=1,
    )
    for tag, vr, value in (
        (0x00090010, "LO", "ACME"),
        (0x00091001, "LO", "private text"),
        (0x00091003, "OB", b"\1\2"),
        (0x00100040, "CS", ""),
        (0x0018605A, "FL", 3.25),
        (0x00189073, "FD", [0.1, 2.0]),
        (0x00081140, "SQ", []),
        (0x00189087, "FD", 1.5),
        (0x00204000, "LT", "x" * 300),
        (0x00209057, "UL", 7),
        (0x00280009, "AT", 0x00181063),
        (0x00281101, "US", [256, 0, 16]),
        (0x00281201, "OW", b"\1\0" * 20),
        (0x60000010, "US", 4),
        (0x60003000, "OW", b"\1\2" * 8),
    ):
        made.add_new(tag, vr, value)
    return encode(made)


def nested() -> Dataset:
    inner, outer = Dataset(), Dataset()
    inner.CodeValue = "Y"
    outer.CodeValue, outer.CodeMeaning = "X", "Meaning"
    outer.PurposeOfReferenceCodeSequence = [inner]
    return outer


def colour() -> bytes:
    return dicom_file(
        SOPInstanceUID="1.2.8.2",
        StudyInstanceUID="1.2.8",
        SeriesInstanceUID="1.2.8.1",
        PatientID="P8",
        Rows=16,
        Columns=16,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="RGB",
        PixelData=bytes(range(256)) * 3,
    )


#: All bits of a sample are used: what lies beyond is passed over here, and there not.
WIDE = {"BitsStored": 16, "HighBit": 15}

FILES = (
    image(
        64,
        64,
        SOPInstanceUID="1.2.3.4.1",
        InstanceNumber=1,
        PatientBirthDate="19700101",
        ProcedureCodeSequence=[nested()],
        StudyDescription="Étude",
        SpecificCharacterSet="ISO_IR 192",
        WindowCenter="100",
        WindowWidth="200",
        ImagePositionPatient=["0", "0", "1.5"],
        ImageOrientationPatient=["1", "0", "0", "0", "1", "0"],
        OtherPatientNames="",
        ImageType=["ORIGINAL", "PRIMARY"],
        NumberOfFrames="1",
        **WIDE,
    ),
    image(
        64,
        64,
        SOPInstanceUID="1.2.3.4.2",
        InstanceNumber=2,
        PatientBirthDate="19700101",
        RescaleSlope="2",
        RescaleIntercept="-10",
        **WIDE,
    ),
    dicom_file(
        SOPInstanceUID="1.2.3.4.3",
        SeriesInstanceUID="1.2.3.1.2",
        InstanceNumber=1,
        SeriesNumber=2,
        SeriesDescription="second",
    ),
    dicom_file(
        SOPInstanceUID="1.2.3.4.4",
        StudyInstanceUID="1.2.9",
        SeriesInstanceUID="1.2.9.1",
        PatientID="P2",
        PatientName="Roe^Richard",
        InstanceNumber=1,
    ),
    odd(),
    colour(),
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("peer")
        try:
            peer = stack.enter_context(peers.orthanc(folder, {"StableAge": 3600}))
        except peers.MissingPeerError as error:
            pytest.skip(str(error))
        version = ask(peer.url, "GET", "/system").json()["Version"]
        if tuple(map(int, re.findall(r"[0-9]+", version)[:2])) < (1, 12):
            pytest.skip(
                f"this Orthanc {version} speaks an older dialect: a newer one is made"
                " by tests/benchmarks/make_peer.sh"
            )
        folder = tmp_path_factory.mktemp("ours")
        options = {"StableAge": 3600, "MinimumFreeSpaceMB": 0}
        ours = stack.enter_context(peers.gateway(folder, options=options))
        for url in (peer.url, ours.url):
            for file in FILES:
                assert ask(url, "POST", "/instances", file).status == 200
        yield Pair(peer.url, ours.url)


def comparable(value: Any) -> Any:
    """The value without what differs for good reason."""
    if isinstance(value, dict):
        return {
            key: comparable(item)
            for key, item in value.items()
            if key not in VOLATILE | OURS_NOT | NEWER
        }
    if isinstance(value, list):
        return [
            comparable(item)
            for item in value
            if not isinstance(item, str) or item not in OURS_NOT
        ]
    return value


def ordered(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


QUESTIONS = (
    "/patients",
    "/studies",
    "/series",
    "/instances",
    "/patients?expand",
    "/studies?expand",
    "/series?expand",
    "/instances?expand",
    f"/patients/{PATIENT}",
    f"/studies/{STUDY}",
    f"/series/{SERIES}",
    f"/series/{ODD_SERIES}",
    f"/instances/{INSTANCE}",
    f"/instances/{ODD}",
    f"/studies/{STUDY}?full",
    f"/studies/{STUDY}?short",
    f"/patients/{PATIENT}/studies",
    f"/patients/{PATIENT}/series",
    f"/patients/{PATIENT}/instances",
    f"/studies/{STUDY}/series",
    f"/studies/{STUDY}/instances",
    f"/series/{SERIES}/instances",
    f"/studies/{STUDY}/patient",
    f"/series/{SERIES}/study",
    f"/series/{SERIES}/patient",
    f"/instances/{INSTANCE}/series",
    f"/instances/{INSTANCE}/study",
    f"/instances/{INSTANCE}/patient",
    f"/patients/{PATIENT}/statistics",
    f"/studies/{STUDY}/statistics",
    f"/series/{SERIES}/statistics",
    f"/instances/{INSTANCE}/statistics",
    f"/patients/{PATIENT}/shared-tags",
    f"/studies/{STUDY}/shared-tags",
    f"/studies/{STUDY}/shared-tags?simplify",
    f"/series/{SERIES}/shared-tags?short",
    f"/patients/{PATIENT}/module",
    f"/studies/{STUDY}/module",
    f"/studies/{STUDY}/module-patient",
    f"/series/{SERIES}/module?simplify",
    f"/instances/{INSTANCE}/module",
    f"/studies/{STUDY}/instances-tags",
    f"/series/{SERIES}/instances-tags?short",
    f"/instances/{INSTANCE}/tags",
    f"/instances/{INSTANCE}/tags?simplify",
    f"/instances/{INSTANCE}/tags?short",
    f"/instances/{INSTANCE}/simplified-tags",
    f"/instances/{ODD}/tags",
    f"/instances/{ODD}/tags?short",
    f"/instances/{ODD}/tags?ignore-length=0020-4000",
    f"/instances/{ODD}/simplified-tags",
    f"/instances/{INSTANCE}/header",
    f"/instances/{INSTANCE}/header?simplify",
    f"/instances/{INSTANCE}/content",
    f"/instances/{ODD}/content",
    f"/instances/{INSTANCE}/content/0008-1032",
    f"/instances/{INSTANCE}/content/0008-1032/0",
    f"/instances/{INSTANCE}/content/0008-1032/0/0040-a170",
    f"/instances/{INSTANCE}/content/7fe0-0010",
    f"/instances/{INSTANCE}/frames",
    f"/instances/{INSTANCE}/frames/0",
    f"/instances/{PLAIN}/frames",
    f"/instances/{INSTANCE}/attachments",
    f"/studies/{STUDY}/attachments",
    f"/instances/{INSTANCE}/attachments/dicom/info",
    f"/studies/{STUDY}/metadata",
    f"/instances/{INSTANCE}/metadata?expand",
    "/exports",
    "/statistics",
    f"/studies/{STUDY}?requested-tags=PatientName;ModalitiesInStudy;StudyDate"
    ";NumberOfStudyRelatedInstances;NumberOfStudyRelatedSeries;ProcedureCodeSequence",
    f"/instances/{INSTANCE}?requestedTags=WindowCenter;Rows",
    f"/patients/{PATIENT}/series?expand=false",
    f"/series/{SERIES}/instances?expand=false",
    f"/studies/{STUDY}/labels",
    f"/instances/{INSTANCE}/attachments?full",
    f"/studies/{STUDY}/metadata?expand",
    "/tools/labels",
)


@pytest.mark.parametrize("path", QUESTIONS)
def test_answers_in_json_are_the_same(pair: Pair, path: str) -> None:
    theirs, ours = pair.both("GET", path)
    assert (theirs.status, ours.status) == (200, 200), ours.body
    first, second = comparable(theirs.json()), comparable(ours.json())
    if isinstance(first, list) and all(isinstance(item, str) for item in first):
        first, second = sorted(first), sorted(second)
    elif isinstance(first, list) and all(isinstance(item, dict) for item in first):
        first.sort(key=lambda item: item["ID"])
        second.sort(key=lambda item: item["ID"])
    assert second == first


@pytest.mark.parametrize(
    "path",
    [
        f"/instances/{INSTANCE}/file",
        f"/instances/{INSTANCE}/content/0010-0010",
        f"/instances/{INSTANCE}/content/PatientName",
        f"/instances/{INSTANCE}/content/0020-0032",
        f"/instances/{INSTANCE}/content/0008-1032/0/0008-0100",
        f"/instances/{INSTANCE}/content/0008-1032/0/0040-a170/0/0008-0100",
        f"/instances/{INSTANCE}/content/7fe0-0010/0",
        f"/instances/{ODD}/content/0009-1001",
        f"/instances/{ODD}/content/0020-4000",
        f"/instances/{INSTANCE}/frames/0/raw",
        f"/instances/{INSTANCE}/attachments/dicom/data",
        f"/instances/{INSTANCE}/attachments/dicom/size",
        f"/instances/{INSTANCE}/attachments/dicom/md5",
        f"/instances/{INSTANCE}/attachments/dicom/compressed-md5",
        f"/instances/{INSTANCE}/attachments/dicom/is-compressed",
        f"/instances/{INSTANCE}/metadata/TransferSyntax",
        f"/patients/{PATIENT}/protected",
        "/tools/default-encoding",
    ],
)
def test_other_answers_are_the_same(pair: Pair, path: str) -> None:
    theirs, ours = pair.both("GET", path)
    assert (ours.status, ours.body) == (theirs.status, theirs.body)


@pytest.mark.parametrize(
    "path",
    [
        "/studies/x",
        "/studies/x/series",
        "/studies/x/statistics",
        "/studies/x/archive",
        "/instances/x/tags",
        f"/studies/{PATIENT}",
        f"/instances/{INSTANCE}/content/0099-0010",
        f"/instances/{INSTANCE}/content/0008-1032/1",
        f"/instances/{INSTANCE}/pdf",
        f"/instances/{INSTANCE}/metadata/nope",
        f"/instances/{INSTANCE}/archive",
        "/plugins/nope",
        "/tools/generate-uid",
        "/studies?since=0",
        "/studies?limit=1",
        "/studies?limit=x&since=1",
        f"/instances/{INSTANCE}/file?transcode=nope",
    ],
)
def test_what_goes_wrong_has_the_same_status(pair: Pair, path: str) -> None:
    theirs, ours = pair.both("GET", path)
    assert ours.status == theirs.status
    assert "Message" in ours.json()


PICTURES = ("preview", "image-uint8", "image-uint16", "image-int16")


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("frame", ["", "frames/0/"])
def test_pictures_have_the_same_values(pair: Pair, name: str, frame: str) -> None:
    theirs, ours = pair.both("GET", f"/instances/{INSTANCE}/{frame}{name}")
    assert (
        (ours.status, ours.kind) == (theirs.status, theirs.kind) == (200, "image/png")
    )
    first, second = (
        np.asarray(Image.open(io.BytesIO(answer.body))).astype(int)
        for answer in (theirs, ours)
    )
    assert first.shape == second.shape
    assert abs(first - second).max() <= (1 if name == "preview" else 0)


def test_colours_are_the_same(pair: Pair) -> None:
    theirs, ours = pair.both("GET", f"/instances/{COLOUR}/preview")
    first, second = (
        np.asarray(Image.open(io.BytesIO(answer.body))) for answer in (theirs, ours)
    )
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    "kind", ["image/jpeg", "image/png", "image/x-portable-arbitrarymap", "*/*"]
)
def test_the_kind_of_a_picture_is_that_asked_for(pair: Pair, kind: str) -> None:
    theirs, ours = pair.both("GET", f"/instances/{INSTANCE}/preview", Accept=kind)
    assert (ours.status, ours.kind) == (theirs.status, theirs.kind)
    if kind.endswith("map"):
        assert ours.body.partition(b"ENDHDR")[0] == theirs.body.partition(b"ENDHDR")[0]
        assert len(ours.body) == len(theirs.body)


@pytest.mark.parametrize(
    "path",
    [
        f"/instances/{INSTANCE}/numpy",
        f"/instances/{OTHER}/frames/0/numpy",
        f"/instances/{OTHER}/frames/0/numpy?rescale=false",
        f"/instances/{COLOUR}/frames/0/numpy",
    ],
)
def test_numbers_for_numpy_are_the_same(pair: Pair, path: str) -> None:
    theirs, ours = pair.both("GET", path)
    first, second = (np.load(io.BytesIO(answer.body)) for answer in (theirs, ours))
    assert first.shape == second.shape
    assert np.array_equal(first, second)


def test_numbers_for_matlab_are_the_same(pair: Pair) -> None:
    theirs, ours = pair.both("GET", f"/instances/{INSTANCE}/matlab")
    assert ours.body.split() == theirs.body.split()


FINDS: tuple[dict[str, Any], ...] = (
    {"Level": "Study", "Query": {"PatientID": "p1"}},
    {"Level": "Study", "Query": {"PatientID": "p1"}, "CaseSensitive": True},
    {"Level": "Study", "Query": {"PatientName": "*doe*"}, "Expand": True},
    {"Level": "Patient", "Query": {}, "Expand": True},
    {"Level": "Patient", "Query": {"PatientName": "Roe*"}},
    {"Level": "Series", "Query": {"PatientID": "P1", "Modality": "CT\\MR"}},
    {"Level": "Instance", "Query": {"SOPInstanceUID": "1.2.3.4.1"}, "Expand": True},
    {"Level": "Study", "Query": {"StudyDate": "20240101-20240202"}},
    {"Level": "Study", "Query": {"0008,0020": "20240131"}},
    {"Level": "Study", "Query": {"ModalitiesInStudy": "MR\\CT"}},
    {"Level": "Study", "Query": {"StudyDescription": "*"}},
    {"Level": "Study", "Query": {"AccessionNumber": ""}},
    {"Level": "Series", "Query": {}, "Limit": 2, "Since": 1},
    {"Level": "Series", "Query": {}, "ParentStudy": STUDY},
    {"Level": "Series", "Query": {}, "ParentPatient": PATIENT},
    {"Level": "Instance", "Query": {}, "ParentSeries": SERIES},
    {"Level": "Series", "Query": {}, "ParentStudy": "x"},
    {"Level": "Study", "Query": {}, "Labels": ["x"], "LabelsConstraint": "None"},
    {"Level": "Study", "Query": {}, "Labels": ["x"]},
    {
        "Level": "Study",
        "Query": {"PatientID": "P1"},
        "ResponseContent": ["MainDicomTags", "Children"],
    },
    {
        "Level": "Series",
        "Query": {},
        "ResponseContent": ["Parent", "Labels", "IsStable"],
    },
    {
        "Level": "Study",
        "Query": {"PatientID": "P1"},
        "Expand": True,
        "RequestedTags": ["PatientSex", "ModalitiesInStudy"],
    },
    {
        "Level": "Study",
        "Query": {},
        "OrderBy": [{"Type": "DicomTag", "Key": "PatientID", "Direction": "DESC"}],
    },
)


@pytest.mark.parametrize("asked", FINDS, ids=str)
def test_a_search_finds_the_same(pair: Pair, asked: dict[str, Any]) -> None:
    theirs, ours = pair.both("POST", "/tools/find", asked)
    assert (theirs.status, ours.status) == (200, 200), ours.body
    first, second = comparable(theirs.json()), comparable(ours.json())
    if "Limit" in asked:
        assert len(first) == len(second)
    elif "OrderBy" in asked:
        assert first == second
    else:
        assert sorted(map(ordered, first)) == sorted(map(ordered, second))


@pytest.mark.parametrize(
    "asked",
    [b"[", [], {"Query": {}}, {"Level": "Study"}, {"Level": "Nope", "Query": {}}],
    ids=str,
)
def test_a_search_that_is_wrong_is_refused_alike(pair: Pair, asked: Any) -> None:
    theirs, ours = pair.both("POST", "/tools/find", asked)
    assert theirs.status == ours.status == 400


@pytest.mark.parametrize(
    "text", ["1.2.3.1", "P1", "p1", "1.2.3.4.1", "1.2.3.1.1", "nope", "A1"]
)
def test_looking_up_finds_the_same(pair: Pair, text: str) -> None:
    theirs, ours = pair.both("POST", "/tools/lookup", text.encode())
    assert ours.json() == theirs.json()


@pytest.mark.parametrize(
    "path", [f"/studies/{STUDY}/archive", f"/patients/{PATIENT}/archive"]
)
def test_archives_hold_the_same_files(pair: Pair, path: str) -> None:
    theirs, ours = pair.both("GET", path)
    assert (ours.status, ours.kind) == (theirs.status, theirs.kind)
    first, second = (
        zipfile.ZipFile(io.BytesIO(answer.body)) for answer in (theirs, ours)
    )
    assert second.testzip() is None
    contents = [
        sorted(container.read(name) for name in container.namelist())
        for container in (first, second)
    ]
    assert contents[0] == contents[1]
    # Theirs loses what is not ASCII.
    assert {name.encode("ascii", "ignore") for name in second.namelist()} == {
        name.encode() for name in first.namelist()
    }


def test_media_hold_the_same_files(pair: Pair) -> None:
    theirs, ours = pair.both("GET", f"/studies/{STUDY}/media")
    first, second = (
        zipfile.ZipFile(io.BytesIO(answer.body)) for answer in (theirs, ours)
    )
    assert sorted(first.namelist()) == sorted(second.namelist())
    directories = [
        pydicom.dcmread(io.BytesIO(container.read("DICOMDIR")))
        for container in (first, second)
    ]
    kinds = [
        sorted(record.DirectoryRecordType for record in one.DirectoryRecordSequence)
        for one in directories
    ]
    assert kinds[0] == kinds[1]


def test_changes_are_told_alike(pair: Pair) -> None:
    theirs, ours = pair.both("GET", "/changes?limit=1000")
    kinds = [
        sorted(
            (change["ChangeType"], change["Path"], change["ResourceType"])
            for change in answer.json()["Changes"]
            if change["ChangeType"].startswith("New")
        )
        for answer in (theirs, ours)
    ]
    assert kinds[0] == kinds[1]
    assert set(ours.json()) == set(theirs.json())
    assert [change["Seq"] for change in ours.json()["Changes"]][:3] == [1, 2, 3]


def test_the_system_tells_what_the_peer_tells(pair: Pair) -> None:
    theirs, ours = pair.both("GET", "/system")
    missing = set(theirs.json()) - set(ours.json())
    assert missing <= {"DatabaseServerIdentifier", "DefaultRetrieveMethod"}
    assert ours.json()["MainDicomTags"] == theirs.json()["MainDicomTags"]
    plugin = pair.both("GET", "/plugins/dicom-web")
    assert set(plugin[0].json()) == set(plugin[1].json())
    assert "dicom-web" in pair.both("GET", "/plugins")[1].json()
