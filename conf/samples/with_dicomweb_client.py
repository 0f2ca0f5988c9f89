"""The same with the library dicomweb-client (pip install dicomweb-client pydicom).

    python3 with_dicomweb_client.py http://localhost:8042 FILE.dcm... [--server NAME]

Whatever speaks DICOMweb can be used with the gateway; the jobs are the gateway's own.
Name and password are taken from GATEWAY_USER and GATEWAY_PASSWORD, if they are set.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pydicom
import requests
from client import arguments, orthanc_id, value
from dicomweb_client.api import DICOMwebClient

WAIT = 30  # seconds that the gateway may wait for news of a job


def watch(session: requests.Session, job: str) -> Iterator[dict[str, Any]]:
    """The job each time that something changed, until it is finished."""
    shown = session.get(job, timeout=2 * WAIT).json()
    yield shown
    while shown["State"] not in ("Success", "Failure"):
        news = {"wait": str(WAIT), "since": str(shown["Version"])}
        shown = session.get(job, params=news, timeout=2 * WAIT).json()
        yield shown


def fetch_study(client: DICOMwebClient, study: str, folder: Path) -> str:
    """Fetch all instances of a study into a folder; Orthanc's identifier of it."""
    filters = {"StudyInstanceUID": study}
    (found,) = client.search_for_studies(search_filters=filters)
    print(f"study {study} of {value(found, '00080020')}")
    folder.mkdir(parents=True, exist_ok=True)
    for instance in client.iter_study(study):
        file = folder / f"{instance.SOPInstanceUID}.dcm"
        instance.save_as(file)
        print(f"fetched {file}")
    return orthanc_id(value(found, "00100020"), study)


def main() -> None:
    """Store, find, fetch and send, and say so."""
    wanted = arguments()
    url = wanted.url.rstrip("/")
    session = requests.Session()
    if user := os.environ.get("GATEWAY_USER"):
        session.auth = (user, os.environ.get("GATEWAY_PASSWORD", ""))
    client = DICOMwebClient(url=f"{url}/dicom-web", session=session)
    data_sets = [pydicom.dcmread(file) for file in wanted.files]
    answer = client.store_instances(data_sets)
    print(f"stored {len(answer.ReferencedSOPSequence)} of {len(data_sets)}")
    studies = sorted({data_set.StudyInstanceUID for data_set in data_sets})
    identifiers = [fetch_study(client, study, wanted.folder) for study in studies]
    if wanted.server:
        server = f"{url}/dicom-web/servers/{quote(wanted.server, safe='')}"
        body = {"Resources": identifiers, "Synchronous": False}
        sent = session.post(f"{server}/stow", json=body, timeout=60)
        sent.raise_for_status()
        for job in watch(session, f"{url}/jobs/{sent.json()['ID']}"):
            print(f"{job['State']} {job['Progress']} %", job["ErrorDetails"])
        sys.exit(job["State"] != "Success")


if __name__ == "__main__":
    main()
