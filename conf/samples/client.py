"""A client of the gateway that needs nothing but Python: store, find, fetch, send.

    python3 client.py http://localhost:8042 FILE.dcm... [--server NAME] [--folder DIR]

Stores the files, finds the studies that they belong to, fetches these into a folder
and, if a server is named, sends them there and watches the job. Name and password are
taken from GATEWAY_USER and GATEWAY_PASSWORD, if they are set.
"""

import argparse
import base64
import hashlib
import json
import os
import shutil
import sys
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

TIMEOUT = 60.0  # seconds of silence
WAIT = 30  # seconds that the gateway may wait for news of a job
CHUNK = 1 << 20  # bytes of a file that are read at a time


class Gateway:
    """Speaks to the gateway at an address such as http://localhost:8042."""

    def __init__(self, url: str, user: str = "", password: str = "") -> None:
        self.url = url.rstrip("/")
        self.root = f"{self.url}/dicom-web"
        self.headers = {}
        if user:
            pair = base64.b64encode(f"{user}:{password}".encode()).decode()
            self.headers["Authorization"] = f"Basic {pair}"

    def store(self, files: Iterable[Path]) -> list[str]:
        """Send files by STOW-RS, in one request: the addresses of what was stored."""
        boundary = uuid.uuid4().hex
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        wanted = {"Content-Type": kind, "Accept": "application/dicom+json"}
        try:
            body = _parts(files, boundary)
            answer = self._json("POST", f"{self.root}/studies", body, wanted)
        except urllib.error.HTTPError as error:
            if error.code != 409:  # nothing was stored: the answer says why
                raise
            answer = json.load(error)
        stored = answer.get("00081199", {}).get("Value", [])
        failed = answer.get("00081198", {}).get("Value", [])
        failed += answer.get("0008119A", {}).get("Value", [])
        for item in failed:
            reason = item["00081197"]["Value"][0]
            print(f"not stored: reason {reason:#06x}", file=sys.stderr)
        return [value(item, "00081190") for item in stored]

    def find(self, path: str, **query: str) -> list[dict[str, Any]]:
        """Search by QIDO-RS: find("studies", PatientName="Doe*")."""
        address = f"{self.root}/{path}?{urllib.parse.urlencode(query)}"
        found: list[dict[str, Any]] = self._json("GET", address)
        return found

    def fetch(self, url: str, file: Path) -> None:
        """Write an instance into a file, just as it is stored (WADO-RS)."""
        wanted = {"Accept": "application/dicom; transfer-syntax=*"}
        with self._open("GET", url, None, wanted) as answer, file.open("wb") as out:
            shutil.copyfileobj(answer, out, CHUNK)

    def send(self, server: str, resources: list[str]) -> str:
        """Send studies, named by Orthanc's identifiers, to a server: the job's address."""
        body = json.dumps({"Resources": resources, "Synchronous": False}).encode()
        server = urllib.parse.quote(server, safe="")
        job = self._json("POST", f"{self.root}/servers/{server}/stow", body)
        return f"{self.url}/jobs/{job['ID']}"

    def watch(self, job: str) -> Iterator[dict[str, Any]]:
        """The job each time that something changed, until it is finished."""
        shown = self._json("GET", job)
        yield shown
        while shown["State"] not in ("Success", "Failure"):
            # The answer comes when there are news: nobody has to ask all the time.
            news = f"{job}?wait={WAIT}&since={shown['Version']}"
            shown = self._json("GET", news)
            yield shown

    def _json(
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        with self._open(method, url, body, headers or {}) as answer:
            return json.load(answer)

    def _open(self, method: str, url: str, body: Any, headers: dict[str, str]) -> Any:
        given = {**self.headers, **headers}
        # A body that is an iterator goes chunked, and is never in memory as a whole.
        request = urllib.request.Request(url, body, given, method=method)
        return urllib.request.urlopen(request, timeout=TIMEOUT)


def _parts(files: Iterable[Path], boundary: str) -> Iterator[bytes]:
    """The body of a STOW-RS request (PS3.18 8.6.1.2)."""
    for file in files:
        yield f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        with file.open("rb") as content:
            while chunk := content.read(CHUNK):
                yield chunk
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()


def orthanc_id(*names: str) -> str:
    """Orthanc's identifier: of a study, from its PatientID and its StudyInstanceUID."""
    digest = hashlib.sha1("|".join(names).encode()).hexdigest()
    return "-".join(digest[start : start + 8] for start in range(0, 40, 8))


def value(data_set: dict[str, Any], tag: str) -> str:
    """The first value of an attribute in DICOM JSON, or an empty string."""
    return str(data_set.get(tag, {}).get("Value", [""])[0])


def fetch_study(gateway: Gateway, study: str, folder: Path) -> str:
    """Fetch all instances of a study into a folder; Orthanc's identifier of it."""
    (found,) = gateway.find("studies", StudyInstanceUID=study)
    print(f"study {study} of {value(found, '00080020')}")
    folder.mkdir(parents=True, exist_ok=True)
    for instance in gateway.find(f"studies/{study}/instances"):
        file = folder / f"{value(instance, '00080018')}.dcm"
        gateway.fetch(value(instance, "00081190"), file)
        print(f"fetched {file}")
    return orthanc_id(value(found, "00100020"), study)


def arguments() -> argparse.Namespace:
    """What is wanted, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--server", help="a server that the gateway knows")
    parser.add_argument("--folder", type=Path, default=Path("fetched"))
    return parser.parse_args()


def main() -> None:
    """Do all of it, and say so."""
    wanted = arguments()
    user = os.environ.get("GATEWAY_USER", "")
    gateway = Gateway(wanted.url, user, os.environ.get("GATEWAY_PASSWORD", ""))
    stored = gateway.store(wanted.files)
    print(f"stored {len(stored)} of {len(wanted.files)}")
    studies = {url.partition("/studies/")[2].partition("/")[0] for url in stored}
    identifiers = [fetch_study(gateway, one, wanted.folder) for one in sorted(studies)]
    if wanted.server:
        for job in gateway.watch(gateway.send(wanted.server, identifiers)):
            print(f"{job['State']} {job['Progress']} %", job["ErrorDetails"])
        sys.exit(job["State"] != "Success")


if __name__ == "__main__":
    main()
