"""The manual as it is served: safely, and with a sentence where there is none."""

import os
from pathlib import Path
from typing import Any

import pytest

from gateway.dicomweb import manual

Client = Any


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small manual, with a secret beside it."""
    made = tmp_path / "html"
    (made / "_static").mkdir(parents=True)
    (made / "index.html").write_text("<p>Hello ☃</p>", "utf-8")
    (made / "_static" / "it.js").write_text("go()")
    (made / "_static" / "it.css").write_text("p {}")
    (made / "it.png").write_bytes(b"\x89PNG")
    (made / "objects.inv").write_bytes(b"\0")
    (tmp_path / "secret").write_text("secret")
    (made / "way-out").symlink_to(tmp_path / "secret")
    monkeypatch.setattr(manual, "FOLDER", made)
    return made


async def test_the_first_page(client: Client, folder: Path) -> None:
    answer = await client.get("/docs/")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert await answer.text() == "<p>Hello ☃</p>"
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy


async def test_without_the_slash_it_leads_to_the_one_with(
    client: Client, folder: Path
) -> None:
    answer = await client.get("/docs", allow_redirects=False)
    assert answer.status == 307
    assert answer.headers["Location"] == "docs/"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("_static/it.js", "text/javascript; charset=utf-8"),
        ("_static/it.css", "text/css; charset=utf-8"),
        ("it.png", "image/png"),
        ("objects.inv", "application/octet-stream"),
    ],
)
async def test_files_have_their_kinds(
    client: Client, folder: Path, path: str, kind: str
) -> None:
    answer = await client.get(f"/docs/{path}")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == kind
    assert await answer.read() == (folder / path).read_bytes()


async def test_what_is_known_is_not_sent_again(client: Client, folder: Path) -> None:
    tag = (await client.get("/docs/")).headers["ETag"]
    answer = await client.get("/docs/", headers={"If-None-Match": tag})
    assert answer.status == 304
    (folder / "index.html").write_text("<p>Other</p>")
    answer = await client.get("/docs/", headers={"If-None-Match": tag})
    assert answer.status == 200


@pytest.mark.parametrize(
    "path",
    [
        "nothing.html",
        "_static",
        "..%2fsecret",
        "%2e%2e/secret",
        "_static/..%2f..%2fsecret",
        "%2Fetc%2Fpasswd",
        "way-out",
        "a%00b",
        "x" * 5000,
        "%ff",
    ],
)
async def test_what_is_not_of_the_manual_is_not_there(
    client: Client, folder: Path, path: str
) -> None:
    from yarl import URL

    url = URL(f"{client.make_url('/')}docs/{path}", encoded=True)
    answer = await client.session.get(url)
    assert answer.status == 404
    assert "the manual has no page" in (await answer.json())["Details"]


async def test_where_nobody_built_it_the_answer_says_how(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manual, "FOLDER", tmp_path / "nowhere")
    for path in ("/docs/", "/docs/index.html", "/docs/security.html"):
        answer = await client.get(path)
        assert answer.status == 404
        told = (await answer.json())["Details"]
        assert "not built" in told
        assert "python3 run.py" in told
        assert "python -m sphinx docs" in told


async def test_a_file_that_cannot_be_read_is_not_there(
    client: Client, folder: Path
) -> None:
    os.mkfifo(folder / "pipe")
    assert (await client.get("/docs/pipe")).status == 404


async def test_it_needs_the_password_too(start: Any, folder: Path) -> None:
    client = await start(AuthenticationEnabled=True, RegisteredUsers={"ann": "secret"})
    assert (await client.get("/docs/")).status == 401


async def test_the_real_one_is_served(
    client: Client, pages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manual, "FOLDER", pages)
    answer = await client.get("/docs/configuration.html")
    assert answer.status == 200
    assert "confval-DicomWeb.Root" in await answer.text()
