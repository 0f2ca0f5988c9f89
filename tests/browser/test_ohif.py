"""OHIF, from npm as it is, shows in a browser what the gateway holds.

The viewer lives at another origin than the gateway, as it does where one viewer
shows several archives: what it asks for goes through CORS.
"""

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless

from tests.browser.site import Site, viewer
from tests.factories import dataset, encode, multipart
from tests.peers import Running, gateway
from tests.starting import ask

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CT_STUDY = "1.2.3.1"
CINE_STUDY = "1.2.3.2"
JPEG_LS_STUDY = "1.2.3.3"
SIZE = 128
HOLES = tuple(0.3 + number / 15 for number in range(1, 7))  # shares of the width
SECONDS = 60
THUMBNAIL = """[...document.images].some(
    image => /^(blob|data):/.test(image.src) && image.naturalWidth > 16)"""


# -- what the gateway holds ------------------------------------------------------------


def phantom(hole: float) -> np.ndarray[Any, Any]:
    """A disk with a hole, as shares of its brightness."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    away = np.hypot(rows - SIZE / 2, columns - SIZE / 2)
    drawn = np.where(away < SIZE * 0.4, 0.6, 0.0)
    near = np.hypot(rows - SIZE / 2, columns - SIZE * hole)
    return np.where(near < SIZE * 0.1, 1.0, drawn)


def described(study: str, name: str, **attributes: Any) -> Dataset:
    return dataset(
        StudyInstanceUID=study,
        SeriesInstanceUID=f"{study}.1",
        PatientName=name,
        PatientID=f"ID{study[-1]}",
        StudyDescription=f"Study of {name}",
        Rows=SIZE,
        Columns=SIZE,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        PixelRepresentation=0,
        **attributes,
    )


def slices(study: str, name: str, syntax: str = ExplicitVRLittleEndian) -> list[bytes]:
    """A CT series; the hole of the phantom wanders."""
    made = []
    for number, hole in enumerate(HOLES, 1):
        drawn = (phantom(hole) * 2000).astype("<u2")
        one = described(
            study,
            name,
            SOPInstanceUID=f"{study}.1.{number}",
            InstanceNumber=number,
            FrameOfReferenceUID=f"{study}.9",
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
            PixelData=drawn.tobytes(),
        )
        file = encode(one)
        if syntax != ExplicitVRLittleEndian:
            one = pydicom.dcmread(io.BytesIO(file))
            one.compress(syntax, generate_instance_uid=False)
            file = encode(one, syntax)
        made.append(file)
    return made


def cine() -> bytes:
    """An ultrasound of several frames."""
    frames = [(phantom(hole) * 255).astype("u1") for hole in HOLES]
    one = described(
        CINE_STUDY,
        "Moving^Disk",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1",
        SOPInstanceUID=f"{CINE_STUDY}.1.1",
        Modality="US",
        NumberOfFrames=len(frames),
        FrameTime=40,
        FrameIncrementPointer=0x00181063,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelData=b"".join(frame.tobytes() for frame in frames),
    )
    return encode(one)


# -- the machines ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with viewer() as found:
        yield found


@pytest.fixture(scope="module")
def server(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("server")
    options = {"MinimumFreeSpaceMB": 0, "CorsOrigins": [site.url]}
    with gateway(folder, options=options) as running:
        kind = 'multipart/related; type="application/dicom"; boundary=BOUNDARY'
        answer = ask(
            "POST",
            f"{running.url}/dicom-web/studies",
            multipart(
                *slices(CT_STUDY, "Phantom^Disk"),
                *slices(JPEG_LS_STUDY, "Packed^Disk", JPEGLSLossless),
                cine(),
            ),
            {"Content-Type": kind, "Accept": "application/dicom+json"},
        )
        assert answer.status == 200, answer.body
        site.show(f"{running.url}/dicom-web")
        yield running


class Seen:
    """A page, and all that it asked the gateway for and complained about."""

    def __init__(self, page: Any, server: Running) -> None:
        self.page = page
        self.asked: list[str] = []
        self.refused: list[str] = []
        self.complaints: list[str] = []
        self._root = server.url
        page.on("response", self._response)
        page.on("requestfailed", self._failed)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._console)

    def wait_for(self, part: str) -> None:
        """Wait until an address with this part has been asked for."""
        deadline = time.monotonic() + SECONDS
        while not any(part in line for line in self.asked):
            assert time.monotonic() < deadline, (part, self.asked)
            self.page.wait_for_timeout(100)

    def _response(self, response: Any) -> None:
        if response.url.startswith(self._root):
            told = f"{response.request.method} {response.url} {response.status}"
            self.asked.append(told)
            if response.status >= 400:
                self.refused.append(told)

    def _failed(self, request: Any) -> None:
        # What the viewer itself gives up, when it goes on to another page, is no fault.
        if request.url.startswith(self._root) and request.failure != "net::ERR_ABORTED":
            self.refused.append(f"{request.method} {request.url} {request.failure}")

    def _console(self, message: Any) -> None:
        if message.type == "error":
            self.complaints.append(message.text)


@pytest.fixture
def seen(browser: Any, server: Running, tmp_path: Path) -> Iterator[Seen]:
    """A page; no request of it may have been refused."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(SECONDS * 1000)
    # Without its tour, which lies over the picture.
    context.add_init_script("localStorage.shownTours = '[\"basicViewerTour\"]'")
    found = Seen(context.new_page(), server)
    yield found
    found.page.screenshot(path=tmp_path / "at-the-end.png")
    context.close()
    lines = [*found.asked, "", *found.complaints]
    (tmp_path / "requests.txt").write_text("\n".join(lines))
    assert found.asked
    assert not found.refused, found.refused


# -- what is seen ----------------------------------------------------------------------


def has_phantom(grey: np.ndarray[Any, Any]) -> bool:
    """Dark around, and in the middle the disk with its hole."""
    height, width = grey.shape
    side = min(height, width) // 2
    top, left = (height - side) // 2, (width - side) // 2
    middle = grey[top : top + side, left : left + side]
    hole, disk = np.mean(middle > 230), np.mean((middle > 120) & (middle < 190))
    return bool(grey.std() > 30 and hole > 0.02 and disk > 0.4)


def where(grey: np.ndarray[Any, Any]) -> float:
    """Where the hole is, as the share of the picture's width."""
    height, width = grey.shape
    left = max(0, (width - height) // 2)  # what is beside it are the viewer's words
    line = grey[height // 2, left : left + height]
    inside = np.flatnonzero(line > 120)
    hole = np.flatnonzero(line > 230)
    disk = (inside[0] + inside[-1]) / 2
    across = inside[-1] - inside[0]
    return float(0.5 + 0.8 * (hole.mean() - disk) / across)


class Viewport:
    """Where the viewer draws."""

    def __init__(self, page: Any, picture: Path) -> None:
        self._page = page
        self._picture = picture
        self._canvas = page.locator(".cornerstone-canvas").first

    def hole(self, other_than: float | None = None) -> float:
        """Where the hole is, once the phantom is drawn; one of those that were sent."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            shot = self._canvas.screenshot(path=self._picture)
            grey = np.asarray(Image.open(io.BytesIO(shot)).convert("L"), dtype=float)
            if has_phantom(grey):
                found = where(grey)
                nearest = min(HOLES, key=lambda hole: abs(hole - found))
                assert abs(nearest - found) < 0.015, (nearest, found)
                if nearest != other_than:
                    return nearest
            self._page.wait_for_timeout(200)
        raise AssertionError(f"it is not drawn: {self._picture}")

    def scroll(self) -> None:
        """Turn the mouse's wheel over it."""
        self._canvas.hover()
        self._page.mouse.wheel(0, 100)


def test_it_lists_the_studies(seen: Seen, site: Site, tmp_path: Path) -> None:
    seen.page.goto(site.url)
    for name in ("Phantom", "Moving", "Packed"):
        seen.page.get_by_text(f"{name}, Disk").wait_for()
    seen.page.screenshot(path=tmp_path / "list.png")
    seen.wait_for("/dicom-web/studies?")


@pytest.mark.parametrize(
    ("study", "place"),
    [
        (CT_STUDY, f"{CT_STUDY}.1.6/frames/1 "),
        (JPEG_LS_STUDY, f"{JPEG_LS_STUDY}.1.6/frames/1 "),
        (CINE_STUDY, f"{CINE_STUDY}.1.1/frames/6 "),
    ],
    ids=["slices", "slices in JPEG-LS", "frames of one object"],
)
def test_it_shows_a_series_and_goes_through_it(
    seen: Seen, site: Site, tmp_path: Path, study: str, place: str
) -> None:
    seen.page.goto(f"{site.url}/viewer?StudyInstanceUIDs={study}")
    seen.page.wait_for_selector(".cornerstone-canvas")
    viewport = Viewport(seen.page, tmp_path / "viewport.png")
    first = viewport.hole()
    seen.page.screenshot(path=tmp_path / "page.png")
    seen.wait_for(f"/series/{study}.1/metadata ")
    viewport.scroll()
    second = viewport.hole(other_than=first)
    assert abs(second - first) == pytest.approx(1 / 15)  # the next one
    seen.wait_for(place)
    seen.wait_for("/thumbnail?")
    seen.page.wait_for_function(THUMBNAIL)
