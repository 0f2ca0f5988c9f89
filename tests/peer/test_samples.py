"""The sample clients of conf/samples, as somebody runs them who just got them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pydicom
import pytest

from tests.factories import dicom_file, image
from tests.npm import program
from tests.peers import CHECKOUT, Running, gateway
from tests.starting import ask

pytestmark = pytest.mark.peer

SAMPLES = CHECKOUT / "conf" / "samples"
SECONDS = 60
PYTHON = sys.executable
CLIENTS = ["client.py", "with_dicomweb_client.py", "client.mjs"]
WHOLE = ["client.py", "client.mjs"]  # these do not parse what they send


class Pair(NamedTuple):
    """Two gateways: the first one knows the second as "archive two"."""

    first: Running
    second: Running


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    options = {"MinimumFreeSpaceMB": 0}
    with gateway(folder / "second", options=options) as second:
        servers = {
            "archive two": [f"{second.url}/dicom-web/"],
            "nobody": ["http://127.0.0.1:9/dicom-web/"],
        }
        options = {
            **options,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {"alice": "wonderland"},
            "DicomWeb": {"Servers": servers},
        }
        with gateway(folder / "first", options=options) as first:
            yield Pair(first, second)


def run(pair: Pair, client: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run a sample, and return what it said."""
    runner = PYTHON if client.endswith(".py") else program("node")
    return subprocess.run(
        [runner, str(SAMPLES / client), pair.first.url, *words],
        env={
            **os.environ,
            "GATEWAY_USER": "alice",
            "GATEWAY_PASSWORD": "wonderland",
            "NO_PROXY": "127.0.0.1",
        },
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.parametrize("client", CLIENTS)
def test_a_sample_stores_finds_fetches_sends_and_watches(
    pair: Pair, tmp_path: Path, client: str
) -> None:
    study = f"1.8.{CLIENTS.index(client)}"
    files = []
    for number in range(3):
        files.append(tmp_path / f"{number}.dcm")
        uid = f"{study}.1.{number}"
        files[-1].write_bytes(
            image(
                StudyInstanceUID=study,
                SeriesInstanceUID=f"{study}.1",
                SOPInstanceUID=uid,
                PatientID="sämple",
                SpecificCharacterSet="ISO_IR 192",
            )
        )
    folder = tmp_path / "fetched"
    words = [*map(str, files), "--server", "archive two", "--folder", str(folder)]
    done = run(pair, client, *words)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "stored 3 of 3"
    assert lines[1] == f"study {study} of 20240131"
    assert lines[-1].strip() == "Success 100 %"
    for number, file in enumerate(files):
        fetched = folder / f"{study}.1.{number}.dcm"
        if client in WHOLE:
            assert fetched.read_bytes() == file.read_bytes()
        assert pydicom.dcmread(fetched) == pydicom.dcmread(file)
    found = ask("GET", f"{pair.second.url}/dicom-web/studies/{study}/instances")
    assert found.body.count(b'"00080018"') == 3


@pytest.mark.parametrize("client", WHOLE)
def test_a_sample_says_what_was_not_stored(
    pair: Pair, tmp_path: Path, client: str
) -> None:
    file, text = tmp_path / "good.dcm", tmp_path / "text.dcm"
    file.write_bytes(dicom_file(StudyInstanceUID=f"1.8.9.{WHOLE.index(client)}"))
    text.write_text("no DICOM")
    folder = str(tmp_path / "fetched")
    done = run(pair, client, str(file), str(text), "--folder", folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("stored 1 of 2\n")
    assert "not stored: reason" in done.stderr
    done = run(pair, client, str(text), "--folder", folder)
    assert done.stdout == "stored 0 of 1\n"


@pytest.mark.parametrize("client", WHOLE)
def test_a_sample_fails_with_the_door_closed(
    pair: Pair, tmp_path: Path, client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "good.dcm"
    file.write_bytes(dicom_file())
    closed = pair._replace(first=pair.first._replace(url=f"{pair.first.url}/nowhere"))
    done = run(closed, client, str(file))
    assert done.returncode == 1
    assert "404" in done.stderr
