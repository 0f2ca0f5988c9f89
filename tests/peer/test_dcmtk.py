"""What we give away is read by DCMTK: as stored, transcoded, and written by us."""

import io
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file

from tests.clients import ROOT, store
from tests.npm import missing

pytestmark = pytest.mark.peer

#: Files of pydicom's, and the transfer syntaxes in which they are asked for.
FILES = {
    "CT_small.dcm": ("*", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90"),
    "MR_small_RLE.dcm": ("*", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.80"),
    "image_dfl.dcm": ("*", "1.2.840.10008.1.2.1"),
    "ExplVR_BigEnd.dcm": ("*", "1.2.840.10008.1.2.1"),
}


def dumped(path: Path, *words: str) -> str:
    """What dcmdump says of a file, which it must be able to read to its end."""
    program = shutil.which("dcmdump")
    if program is None:
        missing("dcmdump is missing: apt-get install dcmtk")
    done = subprocess.run(
        [program, "--read-file-only", *words, str(path)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", FILES)
async def test_an_instance_is_read_however_it_is_encoded(
    client: Any, tmp_path: Path, name: str
) -> None:
    path = Path(str(get_testdata_file(name)))
    file = path.read_bytes()
    await store(client, file)
    held = pydicom.dcmread(path)
    address = (
        f"{ROOT}/studies/{held.StudyInstanceUID}/series/{held.SeriesInstanceUID}"
        f"/instances/{held.SOPInstanceUID}"
    )
    for syntax in FILES[name]:
        accept = {"Accept": f"application/dicom; transfer-syntax={syntax}"}
        response = await client.get(address, headers=accept)
        assert response.status == 200, (syntax, await response.text())
        got = tmp_path / "got.dcm"
        got.write_bytes(await response.read())
        told = dumped(got, "+P", "PatientID", "+P", "SOPInstanceUID")
        assert held.SOPInstanceUID in told
        assert str(held.get("PatientID", "")) in told
        if syntax == "*":
            assert got.read_bytes() == file
        dumped(got)
    response = await client.get(address, headers={"Accept": "application/zip"})
    with zipfile.ZipFile(io.BytesIO(await response.read())) as container:
        (member,) = container.namelist()
        got.write_bytes(container.read(member))
    dumped(got)
