"""Transfers between the gateway and the real Orthanc, asked for at either of them.

``GATEWAY_ORTHANC_CHROOT=DIR`` names a newer Orthanc than that of the machine.
"""

import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pydicom
import pytest
from pydicom.uid import RLELossless

from tests.factories import dataset, encode, image
from tests.peers import Running, find_orthanc, gateway, orthanc
from tests.starting import ask

pytestmark = [
    pytest.mark.slow,
    pytest.mark.peer,
    pytest.mark.skipif(find_orthanc() is None, reason="there is no Orthanc"),
]

STUDY = "1.2.3.1"
COUNT = 12


class Site:
    """A server, asked as a script asks it; both speak the same dialect."""

    def __init__(self, server: Running) -> None:
        self.url = server.url

    def json(self, method: str, path: str, body: Any = None) -> Any:
        text = None if body is None else json.dumps(body).encode()
        answer = ask(method, self.url + path, text)
        assert answer.status == 200, answer
        return json.loads(answer.body)

    def store(self, *files: bytes) -> None:
        for file in files:
            answer = ask("POST", f"{self.url}/instances", file)
            assert answer.status == 200, answer

    def clear(self) -> None:
        for identifier in self.json("GET", "/instances"):
            ask("DELETE", f"{self.url}/instances/{identifier}")

    def files(self) -> dict[str, bytes]:
        return {
            identifier: ask("GET", f"{self.url}/instances/{identifier}/file").body
            for identifier in self.json("GET", "/instances")
        }

    def knows(self, name: str, other: "Site", **fields: Any) -> None:
        definition = {"Url": f"{other.url}/dicom-web/", **fields}
        self.json("PUT", f"/dicom-web/servers/{name}", definition)

    def call(self, server: str, what: str, **body: Any) -> Any:
        return self.json("POST", f"/dicom-web/servers/{server}/{what}", body)


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Site]]:
    """The gateway and Orthanc, who know each other in every way."""
    folder: Path = tmp_path_factory.mktemp("sites")
    with orthanc(folder / "orthanc") as theirs, gateway(folder / "gateway") as ours:
        ours_site, theirs_site = Site(ours), Site(theirs)
        for site, other in ((ours_site, theirs_site), (theirs_site, ours_site)):
            site.knows("chunked", other, ChunkedTransfers=True)
            site.knows("whole", other, ChunkedTransfers=False)
            site.knows("plain", other, HasWadoRsUniversalTransferSyntax=False)
        yield ours_site, theirs_site


@pytest.fixture
def ours(sites: tuple[Site, Site]) -> Site:
    for site in sites:
        site.clear()
    return sites[0]


@pytest.fixture
def theirs(sites: tuple[Site, Site]) -> Site:
    return sites[1]


def study() -> list[bytes]:
    """Small and larger instances in three series, one of them compressed."""
    made = [
        image(
            rows=16 if number % 2 else 512,
            columns=32 if number % 2 else 512,
            SOPInstanceUID=f"1.2.3.4.{number}",
            SeriesInstanceUID=f"{STUDY}.{number % 3}",
            SeriesNumber=number % 3,
        )
        for number in range(COUNT - 1)
    ]
    return [*made, compressed("1.2.3.4.99")]


def compressed(uid: str) -> bytes:
    """An image in RLE."""
    rows = columns = 64
    pixels = random.Random(uid).randbytes(rows * columns)
    attributes = dataset(
        SOPInstanceUID=uid,
        SeriesInstanceUID=f"{STUDY}.9",
        Rows=rows,
        Columns=columns,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        PixelData=pixels,
    )
    made = pydicom.dcmread(io.BytesIO(encode(attributes)))
    made.compress(RLELossless)
    out = io.BytesIO()
    pydicom.dcmwrite(out, made)
    return out.getvalue()


def pixels(file: bytes) -> Any:
    return pydicom.dcmread(io.BytesIO(file)).pixel_array


each_way = pytest.mark.parametrize("server", ["chunked", "whole"])


@each_way
def test_we_send_to_orthanc(ours: Site, theirs: Site, server: str) -> None:
    ours.store(*study())
    content = ours.call(server, "stow", Resources=ours.json("GET", "/instances"))
    assert content["SentInstancesCount"] == COUNT
    assert content["FailedInstancesCount"] == 0
    assert theirs.files() == ours.files()


@each_way
def test_we_retrieve_from_orthanc(ours: Site, theirs: Site, server: str) -> None:
    theirs.store(*study())
    content = ours.call(server, "retrieve", Resources=[{"Study": STUDY}])
    assert content["ReceivedInstancesCount"] == str(COUNT)
    held = ours.files()
    assert sorted(content["Instances"]) == sorted(held)
    assert held == theirs.files()
    again = ours.call(server, "retrieve", Resources=[{"Study": STUDY}])
    assert again["ReceivedInstancesCount"] == "0"
    assert again["AlreadyHeldInstancesCount"] == COUNT


def test_we_retrieve_from_orthanc_what_lacks(ours: Site, theirs: Site) -> None:
    files = study()
    theirs.store(*files)
    ours.store(*files[:5])
    content = ours.call("chunked", "retrieve", Resources=[{"Study": STUDY}])
    assert content["ReceivedInstancesCount"] == str(COUNT - 5)
    assert ours.files() == theirs.files()


def test_we_retrieve_each_level_from_orthanc(ours: Site, theirs: Site) -> None:
    theirs.store(*study())
    series = f"{STUDY}.1"
    one = {"Study": STUDY, "Series": f"{STUDY}.0", "Instance": "1.2.3.4.0"}
    resources = [one, {"Study": STUDY, "Series": series}]
    content = ours.call("chunked", "retrieve", Resources=resources)
    assert content["ReceivedInstancesCount"] == "5"
    held = theirs.files()
    assert all(held[identifier] == file for identifier, file in ours.files().items())


def test_what_orthanc_transcodes_has_the_same_pixels(ours: Site, theirs: Site) -> None:
    theirs.store(*study())
    content = ours.call("plain", "retrieve", Resources=[{"Study": STUDY}])
    assert content["ReceivedInstancesCount"] == str(COUNT)
    held, original = ours.files(), theirs.files()
    assert held.keys() == original.keys()
    for identifier, file in held.items():
        if file != original[identifier]:
            assert numpy.array_equal(pixels(file), pixels(original[identifier]))


@each_way
def test_orthanc_sends_to_us(ours: Site, theirs: Site, server: str) -> None:
    theirs.store(*study())
    studies = theirs.json("GET", "/studies")
    theirs.call(server, "stow", Resources=studies, Synchronous=True)
    assert ours.files() == theirs.files()


@each_way
def test_orthanc_retrieves_from_us(ours: Site, theirs: Site, server: str) -> None:
    ours.store(*study())
    content = theirs.call(
        server, "retrieve", Resources=[{"Study": STUDY}], Synchronous=True
    )
    assert int(content["ReceivedInstancesCount"]) == COUNT
    assert theirs.files() == ours.files()


def test_what_we_transcode_for_orthanc_has_the_same_pixels(
    ours: Site, theirs: Site
) -> None:
    ours.store(*study())
    theirs.call("plain", "retrieve", Resources=[{"Study": STUDY}], Synchronous=True)
    held, original = theirs.files(), ours.files()
    assert held.keys() == original.keys()
    for identifier, file in held.items():
        if file != original[identifier]:
            assert numpy.array_equal(pixels(file), pixels(original[identifier]))


def test_we_search_at_orthanc_and_get_from_it(ours: Site, theirs: Site) -> None:
    theirs.store(*study())
    uri = f"/studies/{STUDY}/series"
    found = ours.call("chunked", "qido", Uri=uri)
    at_home = theirs.call("whole", "qido", Uri="/studies")
    assert at_home == []
    assert len(found) == 4
    assert {one["0020000E"]["Name"] for one in found} == {"SeriesInstanceUID"}
    got = ours.call("chunked", "get", Uri=uri)
    assert len(got) == 4
