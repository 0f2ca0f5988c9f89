"""OHIF shows a study that only another server holds, through the gateway.

The viewer knows the gateway alone: what it asks for goes to servers/{name}/..., and what
it is handed must lead there again. Anything that it asks of the remote itself fails the
test.
"""

import io
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from tests import npm
from tests.browser.site import Site, viewer
from tests.factories import dataset, encode, multipart
from tests.peers import MissingPeerError, Running, find_orthanc, gateway, orthanc
from tests.starting import ask

pytestmark = [pytest.mark.browser, pytest.mark.slow]

STUDY = "1.2.3.7"
NAME = "Far Away"
SIZE = 128
SLICES = 5
SECONDS = 60
FLAGS = (
    *("--no-sandbox", "--disable-dev-shm-usage", "--use-gl=angle"),
    *("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update"),
)


def square(number: int) -> Dataset:
    """A slice: a bright square that grows from one to the next, on grey."""
    pixels = np.full((SIZE, SIZE), 600, "<u2")
    half = 8 + 4 * number
    pixels[64 - half : 64 + half, 64 - half : 64 + half] = 2000
    return dataset(
        StudyInstanceUID=STUDY,
        SeriesInstanceUID=f"{STUDY}.1",
        SOPInstanceUID=f"{STUDY}.1.{number}",
        PatientName="Remote^Square",
        PatientID="R7",
        StudyDescription="A study that is far away",
        InstanceNumber=number,
        FrameOfReferenceUID=f"{STUDY}.9",
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        ImagePositionPatient=[0, 0, 3 * number],
        PixelSpacing=[2, 2],
        SliceThickness=3,
        RescaleIntercept=-1000,
        RescaleSlope=1,
        WindowCenter=0,
        WindowWidth=2000,
        BitsAllocated=16,
        BitsStored=12,
        HighBit=11,
        PixelRepresentation=0,
        Rows=SIZE,
        Columns=SIZE,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        PixelData=pixels.tobytes(),
    )


@contextmanager
def remote(kind: str, folder: Path) -> Iterator[Running]:
    """A server that lets nobody in without its password."""
    if kind == "gateway":
        users = {"AuthenticationEnabled": True, "RegisteredUsers": {"us": "secret"}}
        with gateway(folder, options={"MinimumFreeSpaceMB": 0, **users}) as running:
            yield running
        return
    try:
        found = find_orthanc()
    except MissingPeerError as error:
        npm.missing(str(error))
    if found is None:
        npm.missing("Orthanc is missing")
    with orthanc(folder) as running:
        yield running


def store(url: str) -> None:
    """Have the study stored through the gateway."""
    kind = 'multipart/related; type="application/dicom"; boundary=BOUNDARY'
    files = [encode(square(number)) for number in range(1, SLICES + 1)]
    answer = ask(
        "POST",
        f"{url}/studies",
        multipart(*files),
        {"Content-Type": kind, "Accept": "application/dicom+json"},
    )
    assert answer.status == 200, answer.body


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        npm.missing("chromium is missing: apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        npm.missing("playwright is missing: pip install playwright")
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield made
        made.close()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with viewer() as found:
        yield found


def drawn(page: Any, picture: Path) -> np.ndarray[Any, Any]:
    """The picture, once there is a bright square on grey in it."""
    canvas = page.locator(".cornerstone-canvas").first
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        shot = canvas.screenshot(path=picture)
        grey = np.asarray(Image.open(io.BytesIO(shot)).convert("L"), dtype=float)
        height, width = grey.shape
        if grey[height // 2, width // 2] > 230:
            return grey
        page.wait_for_timeout(200)
    raise AssertionError(f"it is not drawn: {picture}")


def side(grey: np.ndarray[Any, Any]) -> float:
    """How much of the slice's height the square takes, along the line in the middle."""
    column = grey[:, grey.shape[1] // 2]
    inside = np.flatnonzero(column > 40)  # the slice, on black
    bright = np.flatnonzero(column > 230)
    return float((bright[-1] - bright[0] + 1) / (inside[-1] - inside[0] + 1))


@pytest.mark.parametrize(
    ("kind", "cache"), [("gateway", False), ("orthanc", True)], ids=["passing", "kept"]
)
def test_it_shows_a_study_that_only_the_remote_holds(
    browser: Any, site: Site, tmp_path: Path, kind: str, cache: bool
) -> None:
    with remote(kind, tmp_path / "far") as far:
        server = {
            "Url": f"{far.url}/dicom-web",
            "Username": "us",
            "Password": "secret",
            "Cache": cache,
        }
        options = {
            "MinimumFreeSpaceMB": 0,
            "CorsOrigins": [site.url],
            "DicomWeb": {"Servers": {NAME: server}},
        }
        with gateway(tmp_path / "near", options=options) as near:
            root = f"{near.url}/dicom-web/servers/{quote(NAME)}"
            store(root)
            # An old Orthanc has no thumbnails.
            site.show(root, "thumbnail" if kind == "gateway" else "wadors")
            look(browser, site, near, far, tmp_path)
            held = ask("GET", f"{near.url}/instances").body
            assert (json.loads(held) == []) == (not cache)


def look(
    browser: Any,
    site: Site,
    near: Running,
    far: Running,
    folder: Path,
) -> None:
    """Open the study in the viewer and go through it."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(SECONDS * 1000)
    context.add_init_script("localStorage.shownTours = '[\"basicViewerTour\"]'")
    page = context.new_page()
    asked: list[str] = []
    page.on("response", lambda one: asked.append(f"{one.url} {one.status}"))
    page.on("requestfailed", lambda one: asked.append(f"{one.url} {one.failure}"))
    try:
        page.goto(f"{site.url}/viewer?StudyInstanceUIDs={STUDY}")
        page.wait_for_selector(".cornerstone-canvas")
        first = side(drawn(page, folder / "first.png"))
        page.screenshot(path=folder / "page.png")
        canvas = page.locator(".cornerstone-canvas").first
        canvas.hover()
        page.mouse.wheel(0, 100)
        deadline = time.monotonic() + SECONDS
        second = first
        while abs(second - first) < 0.02 and time.monotonic() < deadline:
            page.wait_for_timeout(200)
            second = side(drawn(page, folder / "second.png"))
    finally:
        page.screenshot(path=folder / "at-the-end.png")
        (folder / "requests.txt").write_text("\n".join(asked))
        context.close()
    expected = [2 * (8 + 4 * number) / SIZE for number in range(1, SLICES + 1)]
    for found in (first, second):
        assert min(abs(found - one) for one in expected) < 0.02, (found, expected)
    assert abs(abs(second - first) - 8 / SIZE) < 0.02  # the next one
    assert not [line for line in asked if line.startswith(far.url)]
    ours = [line for line in asked if line.startswith(near.url)]
    assert any("/frames/1 200" in line for line in ours)
    assert all(f"/servers/{quote(NAME)}/" in line for line in ours)
    refused = [
        line for line in ours if " 200" not in line and "ERR_ABORTED" not in line
    ]
    assert not refused
