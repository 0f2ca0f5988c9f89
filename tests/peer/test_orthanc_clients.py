"""The libraries that scripts for Orthanc are written with, unchanged, against us."""

import gc
import io
import time
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pyorthanc
import pytest
from orthanc_api_client import OrthancApiClient, ResourceNotFound
from orthanc_api_client.change import ChangeType
from orthanc_api_client.job import JobStatus, JobType

from gateway.dicom.hierarchy import orthanc_id
from tests.factories import dicom_file, image
from tests.peers import Running, gateway

pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

STUDY = orthanc_id("P1", "1.2.3.1")
SERIES = orthanc_id("P1", "1.2.3.1", "1.2.3.1.1")
FILES = (
    image(64, 64, SOPInstanceUID="1.2.3.4.1", InstanceNumber=1),
    image(64, 64, SOPInstanceUID="1.2.3.4.2", InstanceNumber=2),
    dicom_file(
        SOPInstanceUID="1.2.3.4.3",
        StudyInstanceUID="1.2.9",
        SeriesInstanceUID="1.2.9.1",
        PatientID="P2",
        PatientName="Roe^Richard",
    ),
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    options = {"MinimumFreeSpaceMB": 0}
    with gateway(tmp_path_factory.mktemp("far"), options=options) as far:
        options |= {
            "StableAge": 1,
            "DicomWeb": {"Servers": {"far": [f"{far.url}/dicom-web/"]}},
        }
        with gateway(tmp_path_factory.mktemp("gateway"), options=options) as started:
            yield started


@pytest.fixture
def server(running: Running) -> Iterator[Running]:
    """The server, with nothing in it; what a library leaves open is closed after."""
    OrthancApiClient(running.url).delete_all_content()
    yield running
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def client(server: Running) -> OrthancApiClient:
    made = OrthancApiClient(server.url)
    for file in FILES:
        assert len(made.upload(file)) == 1
    return made


def test_the_api_client_uploads_a_zip_and_lists(server: Running) -> None:
    client = OrthancApiClient(server.url)
    assert client.is_alive()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as container:
        for number, file in enumerate(FILES):
            container.writestr(f"{number}.dcm", file)
    assert len(client.upload(packed.getvalue())) == 3
    assert set(client.studies.get_all_ids()) == {STUDY, orthanc_id("P2", "1.2.9")}
    assert len(client.instances.get_all_ids()) == 3
    assert client.get_statistics().studies_count == 2
    assert client.has_loaded_plugin("dicom-web")
    assert client.capabilities.has_extended_find
    assert client.capabilities.has_label_support
    client.delete_all_content()
    assert client.patients.get_all_ids() == []


def test_the_api_client_finds_and_looks_up(client: OrthancApiClient) -> None:
    found = client.studies.find(
        query={"PatientName": "Doe*"}, requested_tags=["ModalitiesInStudy"]
    )
    assert [study.orthanc_id for study in found] == [STUDY]
    assert found[0].patient_main_dicom_tags.get("PatientID") == "P1"
    assert found[0].requested_tags.get("ModalitiesInStudy") == "CT"
    assert client.studies.lookup("1.2.3.1") == STUDY
    assert client.patients.lookup("P2") == orthanc_id("P2")
    assert client.instances.lookup("nothing") is None


def test_the_api_client_reads_tags_and_files(client: OrthancApiClient) -> None:
    study = client.studies.get(STUDY)
    assert study.dicom_id == "1.2.3.1"
    assert study.statistics.instances_count == 2
    assert [series.orthanc_id for series in study.series] == [SERIES]
    one = client.studies.get_first_instance_id(STUDY)
    tags = client.instances.get_tags(one)
    assert tags["PatientID"] == "P1"
    assert tags["0010,0010"] == "Doe^Jane"
    assert client.instances.get_parent_study_id(one) == STUDY
    assert client.instances.get_file(one) in FILES
    assert client.instances.get_metadata(one)["TransferSyntax"]
    assert not client.instances.exists("nothing")
    with pytest.raises(ResourceNotFound):
        client.instances.get_file("nothing")


def test_the_api_client_downloads_archives(
    client: OrthancApiClient, tmp_path: Path
) -> None:
    path = tmp_path / "study.zip"
    client.studies.download_archive(STUDY, str(path))
    with zipfile.ZipFile(path) as container:
        assert sorted(map(container.read, container.namelist())) == sorted(FILES[:2])
    found = client.studies.download_instances(STUDY, str(tmp_path))
    assert len(found) == 2


def test_the_api_client_labels_notes_and_deletes(client: OrthancApiClient) -> None:
    client.studies.add_labels(STUDY, ["seen", "urgent"])
    assert client.studies.get_labels(STUDY) == ["seen", "urgent"]
    assert client.get_all_labels() == ["seen", "urgent"]
    found = client.studies.find(query={}, labels=["seen"])
    assert [study.orthanc_id for study in found] == [STUDY]
    client.studies.delete_label(STUDY, "seen")
    client.studies.set_string_metadata(STUDY, "1024", "Größe")
    assert client.studies.get_string_metadata(STUDY, "1024") == "Größe"
    _, revision = client.studies.get_string_metadata_with_revision(STUDY, "1024")
    client.studies.set_string_metadata(STUDY, "1024", "b", match_revision=revision)
    assert client.studies.get_string_metadata(STUDY, "1024") == "b"
    client.studies.delete(STUDY)
    assert not client.studies.exists(STUDY)


def test_the_api_client_follows_changes(client: OrthancApiClient) -> None:
    changes, last, done = client.get_changes(since=0, limit=1000)
    kinds = [change.change_type for change in changes]
    assert kinds.count(ChangeType.NEW_INSTANCE) == 3
    assert kinds.count(ChangeType.NEW_STUDY) == 2
    assert done
    for _ in range(50):
        later, _, _ = client.get_changes(since=last, limit=100)
        if any(change.change_type == ChangeType.STABLE_STUDY for change in later):
            break
        time.sleep(0.1)
    assert client.studies.get(STUDY).is_stable
    for change in later:
        assert change.sequence_id > last


def test_pyorthanc_does_its_everyday_work(server: Running, tmp_path: Path) -> None:
    client = pyorthanc.Orthanc(server.url)
    for file in FILES:
        client.post_instances(file)
    assert client.get_system()["Name"] == "gateway"
    assert len(client.get_patients()) == 2
    found = pyorthanc.find_studies(client, {"PatientName": "doe*"})
    assert [study.id_ for study in found] == [STUDY]
    study = found[0]
    assert study.uid == "1.2.3.1"
    assert study.patient_information["PatientID"] == "P1"
    assert study.shared_tags["PatientID"] == "P1"
    assert study.parent_patient.patient_id == "P1"
    study.add_label("seen")
    assert study.labels == ["seen"]
    found = pyorthanc.find_studies(client, {}, labels="seen", labels_constraint="Any")
    assert [one.id_ for one in found] == [STUDY]
    series = study.series[0]
    assert series.modality == "CT"
    instances = series.instances
    assert {one.get_dicom_file_content() for one in instances} == set(FILES[:2])
    assert instances[0].get_content_by_tag("PatientID").strip() == "P1"
    assert isinstance(instances[0].get_pydicom(), pydicom.Dataset)
    assert instances[0].simplified_tags["PatientName"] == "Doe^Jane"
    with zipfile.ZipFile(io.BytesIO(study.get_zip())) as container:
        assert len(container.namelist()) == 2
    client.delete_studies_id(STUDY)
    assert len(client.get_studies()) == 1


def test_the_api_client_sends_and_retrieves_by_jobs(client: OrthancApiClient) -> None:
    job = client.dicomweb_servers.send_async("far", [STUDY])
    assert job.wait_completed(timeout=20, polling_interval=0.05)
    assert job.info.status == JobStatus.SUCCESS
    assert job.info.type == JobType.DICOM_WEB_STOW_CLIENT
    assert job.content["InstancesCount"] == "2"
    assert job.orthanc_id in client.jobs.get_all_ids()
    client.studies.delete(STUDY)
    assert client.dicomweb_servers.retrieve_study("far", "1.2.3.1") == 2
    assert client.studies.get(STUDY).statistics.instances_count == 2


def test_pyorthanc_follows_jobs(server: Running) -> None:
    client = pyorthanc.Orthanc(server.url)
    for file in FILES:
        client.post_instances(file)
    asked = {"Resources": [STUDY], "Synchronous": False}
    submitted = client._post(f"{server.url}/dicom-web/servers/far/stow", json=asked)
    job = pyorthanc.Job(submitted["ID"], client)
    job.wait_until_completion(time_interval=0.05)
    assert job.state.value == "Success"
    assert job.progress == 100
    assert job.type == "DicomWebStowClient"
    assert job.error.value == 0
    assert job.completion_time >= job.creation_time
    assert client.get_jobs_id(job.id_)["Content"]["Server"] == "far"
