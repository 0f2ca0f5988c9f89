"""The Python dicomweb-client of PyPI, as it is, against a server of ours."""

import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset

from tests.factories import image
from tests.peers import Running, gateway

pytestmark = pytest.mark.peer

STUDIES = ("1.2.3.1", "1.2.3.2", "1.2.3.3")
NAMES = ("Doe^Jane", "Doe^John", "Müller^Änne")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("server")
    with gateway(folder, options={"MinimumFreeSpaceMB": 0}) as running:
        yield running


@pytest.fixture
def client(server: Running, caplog: pytest.LogCaptureFixture) -> Iterator[Any]:
    """The client; what it warns of, or finds to complain about, fails the test."""
    caplog.set_level(logging.WARNING)
    made = DICOMwebClient(f"{server.url}/dicom-web")
    yield made
    for study in made.search_for_studies():
        made.delete_study(study["0020000D"]["Value"][0])
    made._session.close()
    complaints = [
        record.getMessage()
        for phase in ("setup", "call", "teardown")
        for record in caplog.get_records(phase)
        if "additional results that can be requested" not in record.getMessage()
    ]
    assert not complaints, complaints


@pytest.fixture
def held(client: DICOMwebClient) -> list[Dataset]:
    """Three studies of two series of two instances, stored."""
    made = [
        instance(study, f"{study}.{series}", number, name, series)
        for study, name in zip(STUDIES, NAMES, strict=True)
        for series in (1, 2)
        for number in (1, 2)
    ]
    for study in STUDIES:
        of_study = [one for one in made if one.StudyInstanceUID == study]
        answer = client.store_instances(of_study)
        assert len(answer.ReferencedSOPSequence) == len(of_study)
        assert "FailedSOPSequence" not in answer
    return made


def instance(study: str, series: str, number: int, name: str, place: int) -> Dataset:
    file = image(
        SpecificCharacterSet="ISO_IR 192",
        StudyInstanceUID=study,
        SeriesInstanceUID=series,
        SOPInstanceUID=f"{series}.{number}",
        InstanceNumber=number,
        SeriesNumber=place,
        PatientName=name,
        PatientID=f"ID{study[-1]}",
        Modality="CT" if place == 1 else "MR",
        StudyDate=f"2024010{study[-1]}",
    )
    return pydicom.dcmread(io.BytesIO(file))


def uids(found: list[dict[str, Any]], tag: str) -> list[str]:
    return [item[tag]["Value"][0] for item in found]


def sent(data_set: Dataset) -> bytes:
    """The bytes as the client sends them, and as it should get them back."""
    out = io.BytesIO()
    pydicom.dcmwrite(out, data_set)
    return out.getvalue()


def reachable(url: str, server: Running) -> str:
    """The client tells the host without the port, so our addresses have none either."""
    return urlsplit(url)._replace(netloc=urlsplit(server.url).netloc).geturl()


def instances(found: list[dict[str, Any]]) -> list[str]:
    return uids(found, "00080018")


# -- storing ---------------------------------------------------------------------------


def test_it_stores_and_is_told_where_each_instance_is(
    client: DICOMwebClient, server: Running
) -> None:
    one = instance("1.2.3.1", "1.2.3.1.1", 1, "Doe^Jane", 1)
    answer = client.store_instances([one], study_instance_uid="1.2.3.1")
    (item,) = answer.ReferencedSOPSequence
    assert item.ReferencedSOPClassUID == one.SOPClassUID
    assert item.ReferencedSOPInstanceUID == one.SOPInstanceUID
    assert urlsplit(answer.RetrieveURL).path == "/dicom-web/studies/1.2.3.1"
    back = requests.get(
        reachable(item.RetrieveURL, server),
        headers={"Accept": "application/dicom"},
        timeout=10,
    )
    assert back.content == sent(one)


def test_what_is_larger_than_its_chunk_size_goes_chunked_and_comes_back(
    client: DICOMwebClient,
) -> None:
    client.set_chunk_size(10_000)
    large = instance("1.2.3.1", "1.2.3.1.1", 9, "Doe", 1)
    large.PixelData = bytes(range(256)) * 16_000
    answer = client.store_instances([large])
    assert len(answer.ReferencedSOPSequence) == 1
    back = client.retrieve_instance("1.2.3.1", "1.2.3.1.1", "1.2.3.1.1.9")
    assert sent(back) == sent(large)


def test_a_repeated_store_is_a_success(
    client: DICOMwebClient, held: list[Dataset]
) -> None:
    answer = client.store_instances(held)
    assert len(answer.ReferencedSOPSequence) == len(held)
    assert len(client.search_for_instances()) == len(held)


def test_an_instance_of_another_study_is_reported(client: DICOMwebClient) -> None:
    one, other = (instance(study, f"{study}.1", 1, "A", 1) for study in STUDIES[:2])
    answer = client.store_instances([one, other], study_instance_uid=STUDIES[0])
    (failed,) = answer.FailedSOPSequence
    assert failed.ReferencedSOPInstanceUID == other.SOPInstanceUID
    assert failed.FailureReason
    assert instances(client.search_for_instances()) == [one.SOPInstanceUID]


# -- searching -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "studies"),
    [
        ({}, (0, 1, 2)),
        ({"PatientID": "ID2"}, (1,)),
        ({"00100020": "ID2"}, (1,)),
        ({"PatientName": "Doe*"}, (0, 1)),
        ({"PatientName": "müller^änne"}, (2,)),
        ({"StudyDate": "20240102-20240103"}, (1, 2)),
        ({"StudyInstanceUID": "1.2.3.3"}, (2,)),
        ({"ModalitiesInStudy": "MR"}, (0, 1, 2)),
        ({"PatientID": "nobody"}, ()),
    ],
    ids=str,
)
def test_it_finds_studies_by_filters(
    client: DICOMwebClient,
    held: list[Dataset],
    filters: dict[str, str],
    studies: tuple[int, ...],
) -> None:
    found = client.search_for_studies(search_filters=filters)
    assert uids(found, "0020000D") == [STUDIES[number] for number in studies]
    for item in found:
        assert item["00201206"]["Value"] == [2]
        assert item["00201208"]["Value"] == [4]
        assert item["00080061"]["Value"] == ["CT", "MR"]


def test_it_finds_series_and_instances_at_every_level(
    client: DICOMwebClient, held: list[Dataset]
) -> None:
    within = client.search_for_series("1.2.3.2")
    assert uids(within, "0020000E") == ["1.2.3.2.1", "1.2.3.2.2"]
    everywhere = client.search_for_series(search_filters={"Modality": "MR"})
    assert sorted(uids(everywhere, "0020000E")) == [f"{study}.2" for study in STUDIES]
    assert instances(client.search_for_instances("1.2.3.2", "1.2.3.2.1")) == [
        "1.2.3.2.1.1",
        "1.2.3.2.1.2",
    ]
    assert len(client.search_for_instances("1.2.3.2")) == 4
    second = client.search_for_instances(search_filters={"InstanceNumber": 2})
    assert len(second) == 6


def test_it_gets_the_fields_that_it_asks_for(
    client: DICOMwebClient, held: list[Dataset]
) -> None:
    (found,) = client.search_for_instances(
        search_filters={"SOPInstanceUID": "1.2.3.1.1.1"},
        fields=["PhotometricInterpretation", "00280101"],
    )
    assert found["00280004"]["Value"] == ["MONOCHROME2"]
    assert found["00280101"]["Value"] == [12]


def test_its_limit_and_offset_page_through_all(
    client: DICOMwebClient, held: list[Dataset]
) -> None:
    pages = [
        instances(client.search_for_instances(limit=5, offset=offset))
        for offset in (0, 5, 10, 15)
    ]
    assert list(map(len, pages)) == [5, 5, 2, 0]
    everything = instances(client.search_for_instances())
    assert [uid for page in pages for uid in page] == everything
    assert sorted(everything) == sorted(one.SOPInstanceUID for one in held)


def test_its_get_remaining_ends_and_brings_each_once(
    client: DICOMwebClient, held: list[Dataset]
) -> None:
    found = client.search_for_instances(limit=5, get_remaining=True)
    assert sorted(instances(found)) == sorted(one.SOPInstanceUID for one in held)
    assert len(client.search_for_studies(limit=2, get_remaining=True)) == 3
    assert len(client.search_for_series(get_remaining=True)) == 6


def test_fuzzy_matching_is_honoured_without_a_warning(
    client: DICOMwebClient, held: list[Dataset]
) -> None:
    filters = {"PatientName": "Doe*"}
    found = client.search_for_studies(fuzzymatching=True, search_filters=filters)
    assert uids(found, "0020000D") == list(STUDIES[:2])


def test_what_a_limit_cuts_off_is_told(
    client: DICOMwebClient, held: list[Dataset], caplog: pytest.LogCaptureFixture
) -> None:
    client.search_for_instances(limit=5)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith("299 http://127.0.0.1/dicom-web")
    assert warning.endswith("additional results that can be requested")


# -- retrieving ------------------------------------------------------------------------

ANY = (("application/dicom", "*"),)


@pytest.mark.parametrize("media_types", [None, ANY], ids=["default", "any syntax"])
@pytest.mark.parametrize("method", ["retrieve", "iter"])
def test_it_retrieves_a_study_and_a_series_as_they_were(
    client: DICOMwebClient, held: list[Dataset], method: str, media_types: Any
) -> None:
    of_study = [one for one in held if one.StudyInstanceUID == "1.2.3.2"]
    get_study = getattr(client, f"{method}_study")
    got = list(get_study("1.2.3.2", media_types=media_types))
    assert list(map(sent, got)) == list(map(sent, of_study))
    get_series = getattr(client, f"{method}_series")
    got = list(get_series("1.2.3.2", "1.2.3.2.2", media_types=media_types))
    assert list(map(sent, got)) == list(map(sent, of_study[2:]))


def test_it_retrieves_an_instance_as_it_was(
    client: DICOMwebClient, held: list[Dataset]
) -> None:
    for one in held:
        got = client.retrieve_instance(
            one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID
        )
        assert sent(got) == sent(one)


def test_it_reads_metadata_at_every_level(
    client: DICOMwebClient, held: list[Dataset]
) -> None:
    of_study = client.retrieve_study_metadata("1.2.3.3")
    of_series = client.retrieve_series_metadata("1.2.3.3", "1.2.3.3.1")
    of_instance = client.retrieve_instance_metadata(
        "1.2.3.3", "1.2.3.3.1", "1.2.3.3.1.1"
    )
    assert instances(of_study) == [f"1.2.3.3.{n}.{m}" for n in (1, 2) for m in (1, 2)]
    assert of_series == of_study[:2]
    assert of_instance == of_study[0]
    # What pydicom makes of it is the data set without its pixels.
    read = Dataset.from_json(of_instance, bulk_data_uri_handler=lambda *_: b"")
    original = held[8]
    for element in original:
        if element.keyword not in ("PixelData", "SpecificCharacterSet"):
            assert read[element.tag].value == element.value
    assert read.PatientName == "Müller^Änne"


def test_it_follows_a_bulk_data_reference(
    client: DICOMwebClient, held: list[Dataset], server: Running
) -> None:
    metadata = client.retrieve_instance_metadata("1.2.3.1", "1.2.3.1.1", "1.2.3.1.1.1")
    url = reachable(metadata["7FE00010"]["BulkDataURI"], server)
    (pixels,) = client.retrieve_bulkdata(url)
    assert pixels == held[0].PixelData
    (pixels,) = client.iter_bulkdata(url)
    assert pixels == held[0].PixelData


def test_what_is_not_there_is_404(client: DICOMwebClient, held: list[Dataset]) -> None:
    for ask in (
        lambda: client.retrieve_study("1.9"),
        lambda: client.retrieve_series("1.2.3.1", "1.9"),
        lambda: client.retrieve_instance("1.2.3.1", "1.2.3.1.1", "1.9"),
        lambda: client.retrieve_study_metadata("1.9"),
        lambda: client.delete_study("1.9"),
    ):
        with pytest.raises(requests.HTTPError) as caught:
            ask()
        assert caught.value.response.status_code == 404


# -- deleting --------------------------------------------------------------------------


def test_it_deletes_an_instance_a_series_and_a_study(
    client: DICOMwebClient, held: list[Dataset]
) -> None:
    client.delete_instance("1.2.3.1", "1.2.3.1.1", "1.2.3.1.1.1")
    assert instances(client.search_for_instances("1.2.3.1")) == [
        "1.2.3.1.1.2",
        "1.2.3.1.2.1",
        "1.2.3.1.2.2",
    ]
    client.delete_series("1.2.3.1", "1.2.3.1.2")
    assert uids(client.search_for_series("1.2.3.1"), "0020000E") == ["1.2.3.1.1"]
    client.delete_instance("1.2.3.1", "1.2.3.1.1", "1.2.3.1.1.2")
    assert uids(client.search_for_studies(), "0020000D") == list(STUDIES[1:])
    client.delete_study("1.2.3.2")
    assert uids(client.search_for_studies(), "0020000D") == ["1.2.3.3"]


def test_a_server_with_a_password_lets_it_in(tmp_path: Path) -> None:
    options = {"AuthenticationEnabled": True, "RegisteredUsers": {"jane": "secret"}}
    with gateway(tmp_path, options=options | {"MinimumFreeSpaceMB": 0}) as running:
        session = requests.Session()
        session.auth = ("jane", "secret")
        client = DICOMwebClient(f"{running.url}/dicom-web", session=session)
        assert client.search_for_studies() == []
        session.auth = ("jane", "wrong")
        with pytest.raises(requests.HTTPError):
            client.search_for_studies()
        session.close()
