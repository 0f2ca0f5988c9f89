"""The manual in Chromium: nothing is refused, the search finds, and it can be read."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway.app import build, make_runner
from gateway.dicomweb import manual
from tests import npm
from tests.settings import settings

pytestmark = [pytest.mark.browser, pytest.mark.slow]

AXE = ("axe-core", "4.11.0")
READ = {
    "light": ("index", "page", "configuration", "sending"),
    "dark": ("configuration",),
}


@pytest.fixture
def root(tmp_path: Path, pages: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a gateway, in a thread, that has the manual of this run."""
    monkeypatch.setattr(manual, "FOLDER", pages)
    ready = threading.Event()
    place: dict[str, Any] = {}

    async def serve() -> None:
        stop = asyncio.Event()
        made = await asyncio.to_thread(settings, tmp_path)
        runner = make_runner(await asyncio.to_thread(build, made))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        place.update(
            port=runner.addresses[0][1], stop=stop, loop=asyncio.get_running_loop()
        )
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield f"http://127.0.0.1:{place['port']}"
    finally:
        if "loop" in place:
            place["loop"].call_soon_threadsafe(place["stop"].set)
        thread.join(10)


@pytest.mark.parametrize("scheme", list(READ))
def test_it_can_be_read_and_searched(
    browser: Any, root: str, tmp_path: Path, scheme: str
) -> None:
    axe = (npm.unpacked(*AXE) / "axe.min.js").read_text("utf-8")
    phone = {"width": 380, "height": 780}
    page = browser.new_page(color_scheme=scheme)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text))
    page.on(
        "response",
        lambda answer: (
            faults.append(f"{answer.status} {answer.url}")
            if answer.status >= 400 or not answer.url.startswith(root)
            else None
        ),
    )
    page.goto(f"{root}/docs")
    assert page.url == f"{root}/docs/"
    page.get_by_role("textbox").fill("ConcurrentJobs")
    page.get_by_role("textbox").press("Enter")
    page.locator("#search-results a", has_text="ConcurrentJobs").first.click()
    page.locator("[id='confval-ConcurrentJobs']").wait_for()
    bad = []
    for name in READ[scheme]:
        page.goto(f"{root}/docs/{name}.html")
        page.screenshot(path=tmp_path / f"{name}.png")
        page.set_viewport_size(phone)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= phone["width"], name
        page.evaluate(axe)
        found = page.evaluate("axe.run()")
        bad += [
            (name, rule["id"], [node["html"][:120] for node in rule["nodes"]][:4])
            for rule in found["violations"]
            if rule["impact"] in ("serious", "critical")
        ]
    assert not bad
    page.goto(f"{root}/docs/")
    page.get_by_role("link", name="a page of its own").click()
    page.get_by_role("heading", name="What may be asked").wait_for()
    page.close()
    assert not faults, faults
