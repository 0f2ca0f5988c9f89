"""The page for people in Chromium: each thing that it is for, done as a person does it.

Screenshots of every screen are left in the test's folder, for a desk and a telephone,
light and dark; ``GATEWAY_SCREENSHOTS`` names a folder to copy those for the manual to,
which has its own in ``docs/pictures``.
"""

import io
import json
import os
import re
import shutil
import sqlite3
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests import npm
from tests.browser.test_ohif import CINE_STUDY, CT_STUDY, cine, slices
from tests.clients import JSON
from tests.factories import image, multipart
from tests.peers import Running, free_port, gateway
from tests.starting import ask

pytestmark = pytest.mark.browser

AXE = ("axe-core", "4.11.0")
SECONDS = 20
COMPLETE = """[...document.querySelectorAll('.picture img')].every(
    image => image.complete || image.getBoundingClientRect().top > innerHeight)"""
DESK, PHONE = (1280, 860), (380, 780)
MANY = 100_000
KILOBYTES = 150


def store(server: Running, *files: bytes) -> None:
    kind = 'multipart/related; type="application/dicom"; boundary=BOUNDARY'
    headers = {"Content-Type": kind, "Accept": JSON}
    answer = ask("POST", f"{server.url}/dicom-web/studies", multipart(*files), headers)
    assert answer.status == 200, answer.body


def studies(server: Running) -> set[str]:
    found = json.loads(ask("GET", f"{server.url}/dicom-web/studies").body)
    return {study["0020000D"]["Value"][0] for study in found}


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The server that is sent to and retrieved from."""
    folder = tmp_path_factory.mktemp("far")
    with gateway(folder, options={"MinimumFreeSpaceMB": 0, "Name": "Far"}) as running:
        yield running


@pytest.fixture
def near(far: Running, tmp_path: Path) -> Iterator[Running]:
    """The gateway whose page is looked at."""
    servers = {"far": {"Url": f"{far.url}/dicom-web/", "HasDelete": True}}
    options = {
        "MinimumFreeSpaceMB": 0,
        "Name": "Near",
        "DicomWeb": {"Servers": servers},
        "Viewers": {"OHIF": "/ohif/viewer?StudyInstanceUIDs={StudyInstanceUID}"},
    }
    with gateway(tmp_path / "near", options=options) as running:
        yield running


def seen_on(size: tuple[int, int]) -> dict[str, int]:
    return {"width": size[0], "height": size[1]}


class Person:
    """Somebody at the page, who must not meet a fault."""

    def __init__(self, page: Any, server: Running, shots: Path) -> None:
        self.page = page
        self.server = server
        self.faults: list[str] = []
        self._shots = shots
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("response", self._response)
        page.on("console", self._console)

    def _response(self, response: Any) -> None:
        elsewhere = not response.url.startswith((self.server.url, "blob:", "data:"))
        if elsewhere or response.status >= 500:
            self.faults.append(f"{response.url} {response.status}")

    def _console(self, message: Any) -> None:
        if "Content Security Policy" in message.text:
            self.faults.append(message.text)

    def go(self, place: str) -> None:
        self.page.goto(f"{self.server.url}/{place}")

    def reads(self, text: str) -> None:
        self.page.get_by_text(text).first.wait_for()

    def press(self, name: str, *, exact: bool = True) -> None:
        self.page.get_by_role("button", name=name, exact=exact).first.click()

    def shows(self, name: str) -> None:
        """Leave a picture of what is seen; nothing may stick out to the right."""
        until(lambda: self.page.evaluate(COMPLETE), "pictures are missing")
        self.page.wait_for_timeout(100)
        wide = self.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= self.page.viewport_size["width"], name
        self.page.screenshot(path=self._shots / f"{name}.png")


def keep(folder: Path) -> None:
    """Copy the pictures in the folder for the manual, if somebody wants them."""
    kept = os.environ.get("GATEWAY_SCREENSHOTS")
    for picture in folder.glob("*.png") if kept else ():
        shutil.copy(picture, str(kept))


@pytest.fixture
def person(browser: Any, near: Running, tmp_path: Path) -> Iterator[Person]:
    context = browser.new_context(viewport=seen_on(DESK))
    context.set_default_timeout(SECONDS * 1000)
    found = Person(context.new_page(), near, tmp_path)
    yield found
    keep(tmp_path)
    found.page.screenshot(path=tmp_path / "at-the-end.png")
    context.close()
    assert not found.faults, found.faults


def grey(person: Person) -> np.ndarray[Any, Any]:
    """The picture on the stage."""
    shot = person.page.locator(".stage canvas").screenshot()
    return np.asarray(Image.open(io.BytesIO(shot)).convert("L"), dtype=float)


def until(true: Any, what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@pytest.mark.slow
def test_a_folder_travels_there_and_back(
    person: Person, far: Running, tmp_path: Path
) -> None:
    """Upload, find, view, window, send, watch, delete, retrieve, delete there."""
    near, page = person.server, person.page
    folder = tmp_path / "disc" / "IMAGES"
    folder.mkdir(parents=True)
    for number, file in enumerate(slices(CT_STUDY, "Phantom^Clara")):
        (folder / f"IM{number}").write_bytes(file)
    (folder / "readme.txt").write_text("no image")

    person.go("")
    person.reads("Nothing is here.")
    page.get_by_role("link", name="Upload", exact=True).click()
    with page.expect_file_chooser() as chosen:
        person.press("Choose a folder")
    chosen.value.set_files(tmp_path / "disc")
    person.reads("6 files of 7 files stored")
    page.get_by_text("refused").first.wait_for()
    assert "readme.txt" in page.locator("tr", has_text="refused").inner_text()
    person.shows("upload")
    assert studies(near) == {CT_STUDY}

    page.get_by_role("link", name="Archive", exact=True).click()
    page.get_by_label("Patient name").fill("clara")
    person.reads("1 study")
    page.get_by_label("Patient name").fill("nobody")
    person.reads("No study matches")
    person.press("Clear")
    page.get_by_role("link", name="Phantom, Clara").click()
    page.get_by_role("heading", name="Phantom, Clara").wait_for()
    link = page.get_by_role("link", name="Open in OHIF")
    assert link.get_attribute("href") == f"/ohif/viewer?StudyInstanceUIDs={CT_STUDY}"
    person.press("Attributes")
    page.get_by_label("Search in tags, names and values").fill("patientname")
    rows = page.locator("dialog tbody tr")
    until(lambda: rows.count() == 1, "the attributes are not filtered")
    assert "Phantom^Clara" in rows.inner_text()
    person.press("Close")

    page.get_by_role("link", name="View Series 1").click()
    until(lambda: grey(person).std() > 30, "nothing is drawn")
    person.shows("viewer")
    before = grey(person)
    page.locator(".stage canvas").hover()
    page.mouse.wheel(0, 100)
    person.reads("2 of 6")
    until(lambda: np.abs(grey(person) - before).mean() > 1, "it does not scroll")
    before = grey(person)
    page.get_by_label("Preset").select_option("Lung")
    until(lambda: np.abs(grey(person) - before).mean() > 5, "it does not window")
    person.press("Play")
    at = page.get_by_text("2 of 6").first
    until(lambda: not at.is_visible(), "it does not play")
    person.press("Stop")

    page.get_by_role("link", name="Phantom, Clara").click()
    person.press("Send")
    page.locator("dialog select").wait_for()
    page.locator("dialog").get_by_role("button", name="Send").click()
    page.get_by_role("heading", name="Send (far)").wait_for()
    page.get_by_text("Success").first.wait_for()
    person.shows("jobs")
    assert studies(far) == {CT_STUDY}

    person.go("#/")
    person.press("Delete")
    person.reads("Phantom, Clara (ID ID1)")
    person.reads("1 series with 6 instances")
    person.shows("delete")
    page.locator("dialog").get_by_role("button", name="Delete").click()
    person.reads("Nothing is here.")
    assert studies(near) == set()

    page.get_by_role("link", name="Remote servers").click()
    page.get_by_role("link", name="far").click()
    page.get_by_role("link", name="Phantom, Clara").click()
    picture = page.locator(".tile img")
    until(lambda: picture.evaluate("image => image.naturalWidth") > 16, "no preview")
    person.shows("remote")
    page.get_by_role("link", name="View Series 1").click()
    until(lambda: grey(person).std() > 30, "the remote's picture is not drawn")
    page.get_by_role("link", name="Phantom, Clara").click()
    person.press("Retrieve")
    page.locator("dialog").get_by_role("button", name="Retrieve").click()
    page.get_by_role("heading", name="Retrieve (far)").wait_for()
    until(lambda: studies(near) == {CT_STUDY}, "it does not come back")

    person.go("#/remote/far")
    person.press("Delete")
    person.reads("will be deleted at far")
    page.locator("dialog").get_by_role("button", name="Delete").click()
    person.reads("Nothing is here.")
    assert studies(far) == set()


def test_patients_who_share_a_uid_stay_apart(person: Person) -> None:
    shared = {"StudyInstanceUID": "1.8.1", "StudyDescription": "D" * 64}
    for patient in ("A", "B"):
        store(
            person.server,
            image(
                64,
                64,
                PatientID=f"TWIN{patient}",
                PatientName=f"Twin^{patient}",
                SeriesInstanceUID=f"1.8.1.{ord(patient)}",
                SOPInstanceUID=f"1.8.1.{ord(patient)}.1",
                **shared,
            ),
        )
    page = person.page
    person.go("#/")
    person.shows("twins")
    page.get_by_role("link", name="Twin, B").click()
    page.get_by_role("heading", name="Twin, B").wait_for()
    person.reads("Studies of other patients have the same StudyInstanceUID: Twin, A")
    page.set_viewport_size(seen_on(PHONE))
    person.shows("twin")
    person.press("Delete")
    person.reads("of Twin, B (ID TWINB)")
    page.locator("dialog").get_by_role("button", name="Delete").click()
    page.get_by_role("link", name="Twin, A").wait_for()
    assert not page.get_by_role("link", name="Twin, B").count()
    assert studies(person.server) == {"1.8.1"}


@pytest.mark.slow
def test_slow_answers_and_odd_addresses_are_got_over(person: Person) -> None:
    page = person.page
    slow = 1500  # milliseconds: longer than the page waits between two questions

    def later(route: Any) -> None:
        time.sleep(slow / 1000)
        route.continue_()

    page.route("**/jobs?expand", later)
    person.go("#/jobs")
    person.reads("There is no job.")
    page.unroute("**/jobs?expand")
    for place in ("#/studies/%", "#/nowhere"):
        person.go(place)
        page.reload()
        person.reads("There is nothing here")
        page.get_by_role("link", name="To the archive").click()
        person.reads("Nothing is here.")
    page.get_by_label("Patient name").fill("somebody")
    hash_of = "location.hash"
    until(lambda: "somebody" in page.evaluate(hash_of), "it is not in the address")
    page.get_by_role("link", name="Archive", exact=True).click()
    name = page.get_by_label("Patient name")
    until(lambda: name.input_value() == "", "the search is not cleared")


def test_files_are_dropped(person: Person) -> None:
    person.go("#/upload")
    person.page.locator(".drop").wait_for()
    person.page.evaluate(
        """async bytes => {
            const all = new DataTransfer();
            all.items.add(new File([new Uint8Array(bytes)], "dropped.dcm"));
            document.querySelector(".drop").dispatchEvent(
                new DragEvent("drop", {dataTransfer: all, bubbles: true}));
        }""",
        list(cine()),
    )
    person.reads("1 file of 1 file stored")
    assert studies(person.server) == {CINE_STUDY}


def test_servers_are_added_tried_changed_and_removed(
    person: Person, far: Running
) -> None:
    page = person.page
    person.go("#/servers")
    person.press("Add a server")
    page.get_by_label("Name", exact=True).fill("second one")
    page.get_by_label("Address (URL)").fill(f"{far.url}/dicom-web")
    page.get_by_label("User name").fill("ann")
    page.get_by_label("Password").fill("secret")
    person.press("Save")
    mine = page.get_by_role("region", name="second one")
    mine.get_by_role("button", name="Test").click()
    mine.get_by_text("it answers").wait_for()
    assert "secret" not in page.content()
    person.shows("servers")
    mine.get_by_role("button", name="Change").click()
    page.get_by_label("Address (URL)").fill("http://127.0.0.1:9/")
    person.press("Save")
    mine.get_by_text("127.0.0.1:9").wait_for()
    person.faults.clear()
    mine.get_by_role("button", name="Test").click()
    mine.get_by_text("second one", exact=False).nth(1).wait_for()  # names the server
    person.faults.clear()  # a 502 is what was to be seen
    mine.get_by_role("button", name="Remove").click()
    page.locator("dialog").get_by_role("button", name="Remove").click()
    mine.wait_for(state="detached")


@pytest.mark.slow
def test_a_job_is_paused_resumed_cancelled_tried_again_and_removed(
    person: Person,
) -> None:
    """A server that is not there keeps a job alive for as long as it takes."""
    store(person.server, *slices(CT_STUDY, "Phantom^Clara"))
    nowhere = json.dumps([f"http://127.0.0.1:{free_port()}/"]).encode()
    root = f"{person.server.url}/dicom-web/servers/nowhere"
    assert ask("PUT", root, nowhere).status == 200
    page = person.page
    person.go(f"#/studies/{CT_STUDY}")
    person.press("Send")
    page.locator("dialog select").select_option("nowhere")
    page.locator("dialog").get_by_role("button", name="Send").click()
    job = page.get_by_role("region", name="Send (nowhere)")
    job.get_by_text("It will be tried again.").wait_for()
    assert "nowhere" in job.inner_text()
    for button, state in (
        ("Pause", "Paused"),
        ("Resume", "Retry"),
        ("Cancel", "Failure"),
        ("Try again", "Retry"),
        ("Cancel", "Failure"),
    ):
        job.get_by_role("button", name=button).click()
        job.get_by_text(state, exact=True).wait_for()
    person.shows("failed")
    job.get_by_role("button", name="Remove").click()
    page.locator("dialog").get_by_role("button", name="Remove").click()
    person.reads("There is no job.")


@pytest.mark.slow
def test_what_is_shown_is_magnified_moved_and_downloaded(person: Person) -> None:
    files = slices(CT_STUDY, "Phantom^Clara")
    store(person.server, *files)
    page = person.page
    person.go(f"#/studies/{CT_STUDY}")
    with page.expect_download() as saved:
        page.get_by_role("link", name="Download zip").click()
    with zipfile.ZipFile(saved.value.path()) as container:
        assert sorted(map(container.read, container.namelist())) == sorted(files)
    person.go(f"#/studies/{CT_STUDY}/series/{CT_STUDY}.1")
    page.locator("summary").first.click()
    with page.expect_download() as saved:
        page.get_by_role("link", name="Download DICOM").first.click()
    assert Path(saved.value.path()).read_bytes() in files

    person.go(f"#/view/{CT_STUDY}/{CT_STUDY}.1")
    until(lambda: grey(person).std() > 30, "nothing is drawn")
    person.reads("100 %")
    before = grey(person)
    person.press("Larger")
    person.reads("125 %")
    until(lambda: (grey(person) > 50).sum() > (before > 50).sum() * 1.3, "no larger")
    person.press("Reset")
    person.press("Move")
    box = page.locator(".stage canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 100, y, steps=3)
    page.mouse.up()
    until(lambda: abs(middle(grey(person)) - middle(before) - 100) < 5, "not moved")
    person.press("Reset")
    person.press("Window")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y + 150, steps=3)
    page.mouse.up()
    until(lambda: grey(person).mean() < before.mean() * 0.8, "not darker")


def middle(picture: np.ndarray[Any, Any]) -> float:
    """Where what is bright is, from left to right; not at the edges, nor in the words."""
    inner = picture[20 : len(picture) // 2, 20:-20]
    return float(np.flatnonzero((inner > 50).any(axis=0)).mean())


@pytest.mark.slow
def test_it_works_at_the_address_of_the_peer_and_behind_a_password(
    browser: Any, tmp_path: Path
) -> None:
    options = {
        "MinimumFreeSpaceMB": 0,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {"ann": "secret"},
    }
    with gateway(tmp_path / "server", options=options) as running:
        login = {"username": "ann", "password": "secret"}
        context = browser.new_context(http_credentials=login)
        context.set_default_timeout(SECONDS * 1000)
        person = Person(context.new_page(), running, tmp_path)
        person.go("dicom-web/app/client/index.html#/upload")
        person.page.locator("input[type=file]").first.set_input_files(
            [{"name": "cine", "mimeType": "", "buffer": cine()}]
        )
        person.reads("1 file of 1 file stored")
        person.page.get_by_role("link", name="Archive", exact=True).click()
        person.reads("Moving, Disk")
        person.page.get_by_role("link", name="Status").click()
        person.reads("Everything is well.")
        context.close()
        assert not person.faults, person.faults


@pytest.mark.slow
def test_a_read_only_gateway_offers_nothing_that_it_refuses(
    browser: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "server"
    with gateway(folder, options={"MinimumFreeSpaceMB": 0}) as running:
        store(running, cine())
    options = {"MinimumFreeSpaceMB": 0, "ReadOnly": True}
    with gateway(folder, options=options) as running:
        page = browser.new_page()
        page.goto(f"{running.url}/")
        page.get_by_text("Moving, Disk").wait_for()
        assert not page.get_by_role("button", name="Delete").count()
        assert not page.get_by_role("link", name="Upload").count()
        page.close()


SCREENS = {
    "archive": "#/",
    "study": f"#/studies/{CT_STUDY}",
    "series": f"#/studies/{CT_STUDY}/series/{CT_STUDY}.1",
    "pictures": f"#/view/{CINE_STUDY}/{CINE_STUDY}.1",
    "uploading": "#/upload",
    "remotes": "#/remote",
    "setup": "#/servers",
    "working": "#/jobs",
    "status": "#/status",
    "api": "#/api",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheme", "size"), [("light", DESK), ("dark", PHONE)], ids=["desk", "phone"]
)
def test_everybody_can_use_it(
    browser: Any, near: Running, tmp_path: Path, scheme: str, size: tuple[int, int]
) -> None:
    """No serious violation on any screen, and none is wider than the display."""
    axe = npm.unpacked(*AXE) / "axe.min.js"
    store(near, *slices(CT_STUDY, "Phantom^Clara"), cine())
    context = browser.new_context(
        viewport=seen_on(size),
        color_scheme=scheme,
        bypass_csp=True,
    )
    context.set_default_timeout(SECONDS * 1000)
    for name, place in SCREENS.items():
        person = Person(context.new_page(), near, tmp_path)
        person.go(place)
        person.page.get_by_role("heading").first.wait_for()
        person.page.locator(".working").first.wait_for(state="detached")
        person.shows(name)
        person.page.add_script_tag(path=axe)
        found = person.page.evaluate("axe.run()")
        bad = [
            (rule["id"], [node["html"][:120] for node in rule["nodes"]])
            for rule in found["violations"]
            if rule["impact"] in ("serious", "critical")
        ]
        assert not bad, (name, bad)
        assert not person.faults, person.faults
        person.page.close()
    context.close()
    if size == DESK and scheme == "light":
        keep(tmp_path)


def test_what_may_be_asked_is_filtered(person: Person) -> None:
    page = person.page
    person.go("#/status")
    page.get_by_role("link", name="What may be asked").click()
    page.get_by_label("Filter").fill("retrieve metadata")
    page.get_by_text(re.compile(r"^[1-9] operations")).wait_for()
    page.get_by_text("Retrieve metadata").first.click()
    page.get_by_role("region", name="Parameters of GET").first.wait_for()
    person.reads("application/dicom+json")
    person.reads("Not Acceptable")
    page.get_by_label("Filter").fill("nothing like this")
    page.get_by_text("0 operations").wait_for()
    assert not page.locator(".api").count()


def test_the_keyboard_is_enough(person: Person) -> None:
    store(person.server, *slices(CT_STUDY, "Phantom^Clara"))
    person.go("#/")
    page = person.page
    page.get_by_role("link", name="Phantom, Clara").wait_for()
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    reached = set()
    for _ in range(20):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.textContent.trim().slice(0, 20)")
        )
    assert {"Clear", "Phantom, Clara", "Send", "Delete"} <= reached
    page.get_by_role("link", name="Phantom, Clara").press("Enter")
    page.get_by_role("link", name="View Series 1").press("Enter")
    page.locator(".stage canvas").press("ArrowDown")
    person.reads("2 of 6")
    page.locator(".stage canvas").press("End")
    person.reads("6 of 6")


def test_it_is_small(person: Person) -> None:
    sizes = []
    person.page.on(
        "requestfinished",
        lambda request: sizes.append(request.sizes()["responseBodySize"]),
    )
    person.go("")
    person.page.wait_for_load_state("networkidle")
    assert len(sizes) > 10
    assert sum(sizes) < KILOBYTES * 1000


def fill(index: Path) -> None:
    """Make the one study of an index a hundred thousand."""
    numbers = (
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {MANY})"
    )
    with closing(sqlite3.connect(index)) as database, database:
        for table in ("studies", "series"):
            names = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            values = {
                "id": "id + i",
                "study": "study + i",
                "orthanc_id": "orthanc_id || i",
                "uid": "uid || '.' || i",
                "patient_name_key": "'patient' || i || '^clara'",
                "attributes": "replace(attributes, 'Phantom', 'Patient' || i)",
            }
            if table == "studies":
                values["study_date"] = "strftime('%Y%m%d', 10000 + i % 9000 + 2440587)"
            picked = ", ".join(values.get(name, name) for name in names)
            database.execute(
                f"{numbers} INSERT INTO {table} SELECT {picked} FROM {table}, n"
            )


@pytest.mark.slow
def test_a_hundred_thousand_studies_are_searched_within_a_second(
    browser: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "server"
    with gateway(folder, options={"MinimumFreeSpaceMB": 0}) as running:
        store(running, slices(CT_STUDY, "Phantom^Clara")[0])
    (index,) = folder.rglob("gateway.db")
    fill(index)
    with gateway(folder, options={"MinimumFreeSpaceMB": 0}) as running:
        page = browser.new_page()
        page.goto(f"{running.url}/")
        page.locator("tbody tr").nth(49).wait_for()
        assert page.locator("tbody tr").count() == 50
        page.get_by_label("Patient name").fill("patient77777")
        started = time.monotonic()
        page.get_by_role("link", name="Patient77777, Clara").wait_for()
        print(f"found after {time.monotonic() - started:.2f} s")
        person_pages = page.get_by_role("button", name="Next")
        page.get_by_role("button", name="Clear").click()
        person_pages.click()
        page.get_by_text("Studies 51 to 100, and there are more").wait_for()
        page.close()
