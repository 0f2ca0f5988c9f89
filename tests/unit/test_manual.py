"""The manual: it builds without a warning, and what it says is there."""

import ast
import re
from collections import Counter
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from docutils.core import publish_string

from gateway.config.options import OPTIONS
from gateway.routes import routes
from gateway.web.router import Router
from tests.manual import CHECKOUT, DOCS

KILOBYTES = 100
_GAP = "…"
_LITERAL = re.compile(r"``(.+?)``")


class Page(HTMLParser):
    """What a page refers to, and what can be referred to in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.names: list[str] = []
        self.own_code: list[str] = []  # scripts and styles that stand in the page
        self.pictures: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("id"):
            self.names.append(str(given["id"]))
        for name in ("href", "src", "action"):
            if given.get(name):
                self.links.append(str(given[name]))
        if (
            "style" in given
            or tag == "style"
            or (tag == "script" and "src" not in given)
        ):
            self.own_code.append(str(self.get_starttag_text()))
        if any(name.startswith("on") for name in given):
            self.own_code.append(str(self.get_starttag_text()))
        if tag == "img":
            self.pictures.append(given)


@pytest.fixture(scope="module")
def read(pages: Path) -> dict[str, Page]:
    """All pages by their names."""
    found = {file.name: Page(file.read_text("utf-8")) for file in pages.glob("*.html")}
    assert len(found) > 12
    return found


def _inside(links: list[str]) -> list[tuple[str, str]]:
    """Pages and places of the manual that are linked to."""
    parts = [urlsplit(link) for link in links]
    return [
        (unquote(part.path), unquote(part.fragment))
        for part in parts
        if not part.scheme and not part.netloc and not part.path.startswith("../")
    ]


def test_every_option_is_explained_once(read: dict[str, Page]) -> None:
    wanted = {f"confval-{option.key}" for option in OPTIONS.values()}
    page = read["configuration.html"]
    assert Counter(n for n in page.names if n.startswith("confval-")) == Counter(wanted)
    for name, other in read.items():
        if name != "configuration.html":
            assert not [n for n in other.names if n.startswith("confval-")], name


def test_every_option_is_in_the_index(read: dict[str, Page]) -> None:
    links = set(read["genindex.html"].links)
    missing = [
        option.key
        for option in OPTIONS.values()
        if f"configuration.html#confval-{option.key}" not in links
    ]
    assert not missing


def test_options_have_their_defaults_and_link_to_each_other(pages: Path) -> None:
    text = re.sub(r"<[^>]+>", "", (pages / "configuration.html").read_text("utf-8"))
    assert "8042" in text
    assert "/dicom-web/" in text
    page = Page((pages / "configuration.html").read_text("utf-8"))
    assert "#confval-RemoteAccessAllowed" in page.links


def test_every_page_is_reached_from_the_first(read: dict[str, Page]) -> None:
    reached: set[str] = set()
    waiting = ["index.html"]
    while waiting:
        name = waiting.pop()
        if name in reached or name not in read:
            continue
        reached.add(name)
        waiting += [path for path, _ in _inside(read[name].links)]
    assert reached == set(read)


def test_no_link_within_the_manual_is_broken(
    read: dict[str, Page], pages: Path
) -> None:
    broken = []
    for name, page in read.items():
        for path, place in _inside(page.links):
            target = path or name
            there = (pages / target).is_file()
            if target in read and place:
                there = place in read[target].names
            if not there:
                broken.append((name, path, place))
    assert not broken


def test_links_to_the_gateway_lead_somewhere(read: dict[str, Page]) -> None:
    table = Router(routes("/dicom-web/", wado_root="/wado", read_only=False))
    screens = (CHECKOUT / "gateway" / "ui" / "main.js").read_text("utf-8")
    found = 0
    for page in read.values():
        for link in page.links:
            if link.startswith("../"):
                path, _, screen = link.removeprefix("..").partition("#")
                assert table.find(path), link
                assert not screen or f"[/^\\{screen}$/" in screens, link
                found += 1
    assert found >= 2


def test_nothing_is_loaded_from_elsewhere(read: dict[str, Page], pages: Path) -> None:
    for name, page in read.items():
        assert not page.own_code, name
    text = "".join(p.read_text("utf-8") for p in pages.glob("*.html"))
    assert not re.findall(r'(?:src|<link[^>]*href|action)="(?:https?:)?//[^"]*', text)


def test_pictures_are_described_and_small(read: dict[str, Page], pages: Path) -> None:
    shown = [picture for page in read.values() for picture in page.pictures]
    assert len(shown) >= 5
    for picture in shown:
        assert picture.get("alt"), picture
        file = pages / str(picture["src"])
        assert file.stat().st_size < KILOBYTES * 1024, file.name


@cache
def _sentences() -> str:
    """All texts of the program, with a gap where something is filled in."""
    texts = []
    for file in [*(CHECKOUT / "gateway").rglob("*.py"), CHECKOUT / "run.py"]:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                texts.append("".join(_piece(value) for value in node.values))
    return "\n".join(texts)


def _piece(node: ast.expr) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else _GAP


def _symptoms() -> list[str]:
    lines = (DOCS / "troubleshooting.rst").read_text("utf-8").splitlines()
    return [
        found[1]
        for line, following in pairwise(lines)
        if following.startswith("   ") and (found := _LITERAL.match(line))
    ]


def test_symptoms_are_in_the_words_of_the_program() -> None:
    symptoms = _symptoms()
    assert len(symptoms) > 25
    unsaid = [
        symptom
        for symptom in symptoms
        for piece in symptom.split(_GAP)
        if piece.strip() not in _sentences()
    ]
    assert not unsaid


def test_readme_can_be_shown_by_itself() -> None:
    for name in ("README.rst", "CHANGES.rst"):
        text = (CHECKOUT / name).read_text("utf-8")
        strict = {"report_level": 2, "halt_level": 2}
        publish_string(text, writer="html5", settings_overrides=strict)


def test_readme_has_what_a_newcomer_needs() -> None:
    text = (CHECKOUT / "README.rst").read_text("utf-8")
    for heading in ("The first five minutes", "Moving from Orthanc", "When it fails"):
        assert f"\n{heading}\n---" in text
