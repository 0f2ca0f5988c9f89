"""The dicomweb-client of npm, as it is and as OHIF uses it, against a server of ours."""

import base64
import io
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
import requests
from PIL import Image
from pydicom.dataset import Dataset

from tests import npm
from tests.factories import dataset, encode, image
from tests.peers import Running, gateway

pytestmark = [pytest.mark.peer, pytest.mark.slow]

DRIVER = Path(__file__).parent / "npm"
STUDY = "1.2.3.1"
SERIES = "1.2.3.1.1"
MOVING = "1.2.3.1.1.9"  # the instance of more frames than one
FRAME = 16 * 16
JPEG_FILE = "JPEG-lossy.dcm"

Call = Callable[..., Any]


class RefusedError(Exception):
    """The promise of the client was rejected."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__(told["error"])
        self.status = told["status"]


def moving() -> bytes:
    """Four frames: each is of its own number."""
    made = dataset(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.7.2",
        StudyInstanceUID=STUDY,
        SeriesInstanceUID=f"{SERIES}.2",
        SOPInstanceUID=MOVING,
        Modality="OT",
        SeriesNumber=2,
        NumberOfFrames=4,
        Rows=16,
        Columns=16,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        PixelData=b"".join(bytes([number]) * FRAME for number in range(1, 5)),
    )
    return encode(made)


def stored(number: int, study: str = STUDY, **attributes: Any) -> bytes:
    return image(
        SpecificCharacterSet="ISO_IR 192",
        StudyInstanceUID=study,
        SeriesInstanceUID=f"{study}.1",
        SOPInstanceUID=f"{study}.1.{number}",
        InstanceNumber=number,
        PatientName="Müller^Änne",
        **attributes,
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("server")
    with gateway(folder, options={"MinimumFreeSpaceMB": 0}) as running:
        yield running


@pytest.fixture(scope="module")
def call(server: Running) -> Call:
    """Call a method of the client with options; what its promise gave."""
    node = npm.program("node")
    surroundings = {**os.environ, "NODE_PATH": str(npm.installed(DRIVER))}

    def ask(method: str, client: dict[str, Any] | None = None, **options: Any) -> Any:
        asked = {
            "url": f"{server.url}/dicom-web",
            "method": method,
            "options": options,
            "client": client or {},
        }
        done = subprocess.run(
            [node, str(DRIVER / "call.js")],
            input=json.dumps(asked).encode(),
            env=surroundings,
            capture_output=True,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr.decode()
        assert not done.stderr, done.stderr.decode()
        told = json.loads(done.stdout)
        if "error" in told:
            raise RefusedError(told)
        return told["result"]

    return ask


@pytest.fixture(scope="module")
def held(call: Call) -> list[bytes]:
    """Two instances of one series, one of many frames, and one of another study."""
    files = [stored(1), stored(2), moving(), stored(1, "1.2.3.2")]
    answer = call("storeInstances", datasets=[given(file) for file in files])
    sequence = as_told(answer).ReferencedSOPSequence
    assert len(sequence) == len(files)
    return files


def given(content: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(content).decode()}


def content(told: dict[str, Any]) -> bytes:
    return base64.b64decode(told["base64"])


def as_told(answer: str | dict[str, Any]) -> Dataset:
    """The answer to a store: the client hands over the text that came."""
    return Dataset.from_json(json.loads(answer) if isinstance(answer, str) else answer)


def values(found: list[dict[str, Any]], tag: str) -> list[Any]:
    return [item[tag]["Value"][0] for item in found]


def of_instance(number: int) -> dict[str, str]:
    return {
        "studyInstanceUID": STUDY,
        "seriesInstanceUID": SERIES,
        "sopInstanceUID": f"{SERIES}.{number}",
    }


OF_MOVING = {
    "studyInstanceUID": STUDY,
    "seriesInstanceUID": f"{SERIES}.2",
    "sopInstanceUID": MOVING,
}


# -- storing ---------------------------------------------------------------------------


def test_it_stores_into_a_study(call: Call) -> None:
    one = given(stored(1, "1.2.3.7"))
    answer = call("storeInstances", datasets=[one], studyInstanceUID="1.2.3.7")
    (item,) = as_told(answer).ReferencedSOPSequence
    assert item.ReferencedSOPInstanceUID == "1.2.3.7.1.1"
    found = call("searchForStudies", queryParams={"StudyInstanceUID": "1.2.3.7"})
    assert values(found, "0020000D") == ["1.2.3.7"]


def test_what_does_not_belong_there_is_refused(call: Call) -> None:
    one = given(stored(1, "1.2.3.8"))
    with pytest.raises(RefusedError) as refused:
        call("storeInstances", datasets=[one], studyInstanceUID="1.2.3.9")
    assert refused.value.status == 409


# -- searching -------------------------------------------------------------------------


def test_it_searches_studies(call: Call, held: list[bytes]) -> None:
    found = call("searchForStudies")
    assert {STUDY, "1.2.3.2"} <= set(values(found, "0020000D"))
    (one,) = call("searchForStudies", queryParams={"StudyInstanceUID": STUDY})
    assert one["00201206"]["Value"] == [2]
    assert one["00201208"]["Value"] == [3]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"PatientName": "Müller*", "StudyInstanceUID": STUDY}, 1),
        ({"00100010": "*änne*", "StudyInstanceUID": STUDY}, 1),
        ({"PatientName": "Meyer*"}, 0),
        ({"StudyInstanceUID": f"{STUDY},1.2.3.2", "limit": 1, "offset": 1}, 1),
        ({"StudyInstanceUID": STUDY, "includefield": "00081030,00080060"}, 1),
    ],
)
def test_it_searches_studies_by_query(
    call: Call, held: list[bytes], query: dict[str, Any], count: int
) -> None:
    assert len(call("searchForStudies", queryParams=query)) == count


def test_it_searches_series_and_instances(call: Call, held: list[bytes]) -> None:
    found = call("searchForSeries", studyInstanceUID=STUDY)
    assert sorted(values(found, "0020000E")) == [SERIES, f"{SERIES}.2"]
    found = call("searchForInstances", studyInstanceUID=STUDY, seriesInstanceUID=SERIES)
    assert sorted(values(found, "00080018")) == [f"{SERIES}.1", f"{SERIES}.2"]
    found = call("searchForInstances", queryParams={"SOPInstanceUID": MOVING})
    assert values(found, "00280008") == [4]


# -- metadata --------------------------------------------------------------------------


def test_it_retrieves_metadata_of_each_level(call: Call, held: list[bytes]) -> None:
    study = call("retrieveStudyMetadata", studyInstanceUID=STUDY)
    assert len(study) == 3
    series = call(
        "retrieveSeriesMetadata", studyInstanceUID=STUDY, seriesInstanceUID=SERIES
    )
    assert sorted(values(series, "00200013")) == [1, 2]
    (one,) = call("retrieveInstanceMetadata", **of_instance(1))
    assert one["00100010"]["Value"] == [{"Alphabetic": "Müller^Änne"}]
    assert one["7FE00010"]["BulkDataURI"]


def test_it_retrieves_the_bulk_data_that_metadata_names(
    call: Call, held: list[bytes]
) -> None:
    (one,) = call("retrieveInstanceMetadata", **of_instance(1))
    (part,) = call("retrieveBulkData", BulkDataURI=one["7FE00010"]["BulkDataURI"])
    assert content(part) == pixels(held[0])


# -- frames ----------------------------------------------------------------------------


def pixels(file: bytes) -> bytes:
    found: bytes = pydicom.dcmread(io.BytesIO(file)).PixelData
    return found


def test_it_retrieves_the_frame_of_an_image(call: Call, held: list[bytes]) -> None:
    (part,) = call("retrieveInstanceFrames", **of_instance(2), frameNumbers=[1])
    assert content(part) == pixels(held[1])


def test_it_retrieves_frames_in_the_order_asked_for(
    call: Call, held: list[bytes]
) -> None:
    parts = call("retrieveInstanceFrames", **OF_MOVING, frameNumbers=[3, 1])
    assert [content(part) for part in parts] == [b"\3" * FRAME, b"\1" * FRAME]


def test_a_frame_that_is_not_there_is_not_found(call: Call, held: list[bytes]) -> None:
    with pytest.raises(RefusedError) as refused:
        call("retrieveInstanceFrames", **OF_MOVING, frameNumbers=[5])
    assert refused.value.status == 404


def test_it_retrieves_a_frame_as_it_was_compressed(call: Call) -> None:
    path = pydicom.data.get_testdata_file(JPEG_FILE, download=False)
    assert isinstance(path, str)
    file = Path(path).read_bytes()
    call("storeInstances", datasets=[given(file)])
    data_set = pydicom.dcmread(io.BytesIO(file))
    syntax = data_set.file_meta.TransferSyntaxUID
    (part,) = call(
        "retrieveInstanceFrames",
        studyInstanceUID=data_set.StudyInstanceUID,
        seriesInstanceUID=data_set.SeriesInstanceUID,
        sopInstanceUID=data_set.SOPInstanceUID,
        frameNumbers=[1],
        mediaTypes=[{"mediaType": "image/jpeg", "transferSyntaxUID": syntax}],
    )
    (frame,) = pydicom.encaps.generate_frames(data_set.PixelData, number_of_frames=1)
    assert content(part).rstrip(b"\0") == frame.rstrip(b"\0")
    assert "image/jpeg" in part["contentType"]


# -- whole instances -------------------------------------------------------------------


def test_it_retrieves_instances_as_they_were_stored(
    call: Call, held: list[bytes]
) -> None:
    assert content(call("retrieveInstance", **of_instance(1))) == held[0]
    series = call("retrieveSeries", studyInstanceUID=STUDY, seriesInstanceUID=SERIES)
    assert sorted(map(content, series)) == sorted(held[:2])
    study = call("retrieveStudy", studyInstanceUID=STUDY)
    assert sorted(map(content, study)) == sorted(held[:3])


def test_it_retrieves_by_the_address_of_wado_uri(
    call: Call, held: list[bytes], server: Running
) -> None:
    place = {"url": f"{server.url}/wado"}
    address = call("buildInstanceWadoURIUrl", place, **of_instance(1))
    answer = requests.get(address, timeout=10)
    assert answer.status_code == 200, answer.text
    assert answer.content == held[0]


# -- rendered --------------------------------------------------------------------------


@pytest.mark.parametrize("media_type", [None, "image/jpeg", "image/png"])
def test_it_retrieves_rendered_images(
    call: Call, held: list[bytes], media_type: str | None
) -> None:
    options: dict[str, Any] = {}
    if media_type:
        options["mediaTypes"] = [{"mediaType": media_type}]
    told = call("retrieveInstanceRendered", **of_instance(1), **options)
    drawn = Image.open(io.BytesIO(content(one_of(told))))
    assert drawn.size == (16, 16)
    assert drawn.get_format_mimetype() == (media_type or "image/jpeg")


def test_it_retrieves_a_rendered_frame_and_a_thumbnail(
    call: Call, held: list[bytes]
) -> None:
    png = [{"mediaType": "image/png"}]
    told = call(
        "retrieveInstanceFramesRendered", **OF_MOVING, frameNumbers=[2], mediaTypes=png
    )
    assert Image.open(io.BytesIO(content(one_of(told)))).size == (16, 16)
    told = call("retrieveInstanceThumbnail", **of_instance(1))
    assert Image.open(io.BytesIO(content(one_of(told)))).width > 0


def one_of(told: Any) -> Any:
    (one,) = told if isinstance(told, list) else [told]
    return one
