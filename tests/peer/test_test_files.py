"""Every DICOM file that pydicom ships, in one STOW: kept as it is, or refused and why.

``python -m tests.peer.test_test_files`` prints what became of each.
"""

import asyncio
import io
import json
import tempfile
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import pydicom
import pytest
from aiohttp.test_utils import TestClient

from gateway.app import build
from tests.factories import content_type, multipart
from tests.settings import settings
from tests.starting import GatewayServer

DATA = Path(pydicom.__file__).parent / "data"
NOT_DICOM = {".py", ".pyc", ".json", ".txt", ".md", ".dump", ".icc", ".gz"}
BOUNDARY = "no-file-of-pydicom-holds-this-7f3a90c1"
ROOT = "/dicom-web"
DUPLICATE = 0x0111
CANNOT_UNDERSTAND = 0xC000

NO_STUDY = "no StudyInstanceUID (0020,000D)"
NO_PREAMBLE = "not a DICOM file: no DICM at byte 128 (PS3.10 7.1)"

#: What cannot be kept, and why; all else is, but for a second file of the same name.
REFUSED = {
    # Without a study there is no address to keep them at: palettes, directories, scraps.
    "charset_files/chrSQEncoding.dcm": NO_STUDY,
    "charset_files/chrSQEncoding1.dcm": NO_STUDY,
    "palettes/fall.dcm": NO_STUDY,
    "palettes/hotiron.dcm": NO_STUDY,
    "palettes/hotmetalblue.dcm": NO_STUDY,
    "palettes/pet.dcm": NO_STUDY,
    "palettes/pet20step.dcm": NO_STUDY,
    "palettes/spring.dcm": NO_STUDY,
    "palettes/summer.dcm": NO_STUDY,
    "palettes/winter.dcm": NO_STUDY,
    "test_files/JPEGLSNearLossless_08.dcm": NO_STUDY,
    "test_files/JPEGLSNearLossless_16.dcm": NO_STUDY,
    "test_files/SC_rgb_jls_lossy_line.dcm": NO_STUDY,
    "test_files/SC_rgb_jls_lossy_sample.dcm": NO_STUDY,
    "test_files/UN_sequence.dcm": NO_STUDY,
    "test_files/dicomdirtests/DICOMDIR": NO_STUDY,
    "test_files/dicomdirtests/DICOMDIR-bigEnd": NO_STUDY,
    "test_files/dicomdirtests/DICOMDIR-empty.dcm": NO_STUDY,
    "test_files/dicomdirtests/DICOMDIR-implicit": NO_STUDY,
    "test_files/dicomdirtests/DICOMDIR-nopatient": NO_STUDY,
    "test_files/dicomdirtests/DICOMDIR-reordered": NO_STUDY,
    "test_files/dicomdirtests/TINY_ALPHA/DICOMDIR": NO_STUDY,
    "test_files/empty_charset_LEI.dcm": NO_STUDY,
    "test_files/nested_priv_SQ.dcm": NO_STUDY,
    "test_files/no_meta_group_length.dcm": NO_STUDY,
    "test_files/priv_SQ.dcm": NO_STUDY,
    # Not files of PS3.10, or not whole.
    "test_files/ExplVR_BigEndNoMeta.dcm": NO_PREAMBLE,
    "test_files/ExplVR_LitEndNoMeta.dcm": NO_PREAMBLE,
    "test_files/no_meta.dcm": NO_PREAMBLE,
    "test_files/rtstruct.dcm": NO_PREAMBLE,
    "test_files/meta_missing_tsyntax.dcm": "no valid TransferSyntaxUID (0002,0010)",
    "test_files/MR_truncated.dcm": "(7FE0,0010) ends 62 bytes beyond the end",
    "test_files/rtplan_truncated.dcm": "(300A,00B0) ends 265 bytes beyond the end",
    "test_files/dicomdirtests/DICOMDIR-nooffset": "an item of (0004,1220) is cut off",
}


class Told(NamedTuple):
    """What the one answer says."""

    status: int
    stored: list[str]  # paths
    failed: list[tuple[str, int]]  # SOPInstanceUID, reason
    unnamed: list[tuple[str, int]]  # comment, reason; in the order of the parts


def candidates() -> dict[str, bytes]:
    """The files that are meant to be DICOM, by their names."""
    return {
        path.relative_to(DATA).as_posix(): path.read_bytes()
        for path in sorted(DATA.rglob("*"))
        if path.is_file() and path.suffix not in NOT_DICOM and path.name != "README"
    }


def address_of(name: str) -> str:
    """The path of a file on the web, as pydicom reads it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = pydicom.dcmread(DATA / name, stop_before_pixels=True)
        return (
            f"{ROOT}/studies/{read.StudyInstanceUID}/series/{read.SeriesInstanceUID}"
            f"/instances/{read.SOPInstanceUID}"
        )


def by_address(files: dict[str, bytes]) -> dict[str, list[str]]:
    """The names of the files that can be kept, by where they should be found."""
    found = defaultdict(list)
    for name in files:
        if name not in REFUSED:
            found[address_of(name)].append(name)
    return found


async def store_all(client: TestClient[Any, Any], files: dict[str, bytes]) -> Told:
    answer = await client.post(
        f"{ROOT}/studies",
        data=io.BytesIO(multipart(*files.values(), boundary=BOUNDARY)),
        headers={"Content-Type": content_type(BOUNDARY)},
    )
    told = json.loads(await answer.read())

    def items(tag: str) -> list[dict[str, Any]]:
        return list(told.get(tag, {}).get("Value", []))

    def value(item: dict[str, Any], tag: str) -> Any:
        return item[tag]["Value"][0]

    urls = [value(item, "00081190") for item in items("00081199")]
    return Told(
        answer.status,
        [url[url.index(ROOT) :] for url in urls],
        [(value(i, "00081155"), value(i, "00081197")) for i in items("00081198")],
        [(value(i, "00000902"), value(i, "00081197")) for i in items("0008119A")],
    )


async def fetch(client: TestClient[Any, Any], path: str) -> bytes:
    accept = {"Accept": "application/dicom; transfer-syntax=*"}
    async with client.get(path, headers=accept) as answer:
        assert answer.status == 200
        return await answer.read()


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return candidates()


async def test_all_files_of_pydicom_in_one_request_are_kept_or_refused_with_the_reason(
    client: TestClient[Any, Any], files: dict[str, bytes]
) -> None:
    told = await store_all(client, files)
    held = await asyncio.to_thread(by_address, files)
    assert told.status == 202
    reasons = [(REFUSED[name], CANNOT_UNDERSTAND) for name in files if name in REFUSED]
    assert told.unnamed == reasons
    # Files that share an address: one of them is kept, the same bytes are welcome again.
    assert set(told.stored) == set(held)
    refused = []
    for path, names in held.items():
        kept = await fetch(client, path)
        assert kept in [files[name] for name in names]
        others = [name for name in names if files[name] != kept]
        refused += [(path.rpartition("/")[2], DUPLICATE)] * len(others)
    assert sorted(told.failed) == sorted(refused)
    assert len(told.stored) + len(told.failed) + len(told.unnamed) == len(files)


async def test_every_file_of_pydicom_that_is_kept_comes_back_byte_for_byte(
    client: TestClient[Any, Any], files: dict[str, bytes]
) -> None:
    """Each on its own, so that none stands in the way of another."""
    for name, file in files.items():
        if name in REFUSED:
            continue
        told = await store_all(client, {name: file})
        assert (told.status, told.failed) == (200, []), name
        path = told.stored[0]
        assert path == await asyncio.to_thread(address_of, name)
        assert await fetch(client, path) == file, name
        async with client.get(f"{path}/metadata") as answer:
            (metadata,) = json.loads(await answer.read())
        assert metadata["00080018"]["Value"] == [path.rpartition("/")[2]], name
        async with client.delete(path) as answer:
            assert answer.status == 204


async def table() -> str:
    """What becomes of each file, as lines."""
    files = candidates()
    with tempfile.TemporaryDirectory() as folder:
        app = build(settings(Path(folder)))
        async with TestClient(GatewayServer(app), auto_decompress=False) as client:
            told = await store_all(client, files)
            reasons = iter(told.unnamed)
            lines = []
            for name, file in files.items():
                if name in REFUSED:
                    comment, reason = next(reasons)
                    lines.append(f"{name:<60} refused {reason:04X} {comment}")
                    continue
                kept = await fetch(client, address_of(name))
                became = (
                    "stored, the same bytes come back"
                    if kept == file
                    else f"refused {DUPLICATE:04X} its UIDs are those of another file"
                )
                lines.append(f"{name:<60} {became}")
    counted = f"{len(told.stored)} of {len(files)} stored (HTTP {told.status})"
    return "\n".join([*lines, counted])


if __name__ == "__main__":
    print(asyncio.run(table()))
