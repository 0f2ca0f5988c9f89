"""The door through real HTTP: who comes in, by which way, and what errors look like."""

import base64
import json
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from gateway.archive import Archive
from gateway.errors import Busy
from gateway.web.auth import Door
from tests.clients import ROOT, find, store
from tests.connection import connected, head
from tests.factories import content_type, dicom_file, multipart
from tests.settings import settings
from tests.starting import CHECKOUT, announced, command, get

ERROR_KEYS = {
    "Details",
    "HttpError",
    "HttpStatus",
    "Message",
    "Method",
    "OrthancError",
    "OrthancStatus",
    "Uri",
}
CHALLENGE = 'Basic realm="Orthanc Secure Area", charset="UTF-8"'
STUDIES = f"{ROOT}/studies"


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.fixture
async def guarded(start: Any) -> Any:
    """A gateway that asks for a password."""
    users = {"alice": "secret", "bøb": "pässwörd", "c": "with:colon"}
    return await start(AuthenticationEnabled=True, RegisteredUsers=users)


# -- passwords ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization",
    [
        basic("alice:secret"),
        basic("bøb:pässwörd"),
        basic("c:with:colon"),
        basic("alice:secret").replace("Basic ", "bAsIc  "),
    ],
)
async def test_who_knows_the_password_comes_in(
    guarded: Any, authorization: str
) -> None:
    response = await guarded.get(STUDIES, headers={"Authorization": authorization})
    assert response.status == 200


REFUSED = {
    "nothing": None,
    "an empty value": "",
    "a wrong password": basic("alice:Secret"),
    "another user's password": basic("alice:pässwörd"),
    "an unknown user": basic("mallory:secret"),
    "an unknown user with the stand-in's password": basic("mallory:\0"),
    "no password": basic("alice:"),
    "no colon": basic("alice"),
    "nobody": basic(":"),
    "another scheme": "Bearer " + basic("alice:secret")[6:],
    "no scheme": basic("alice:secret")[6:],
    "no base64": "Basic alice:secret",
    "base64 of no text": "Basic " + base64.b64encode(b"\xff\xfe:x").decode(),
    "a letter that base64 does not know": "Basic é" + basic("alice:secret")[6:],
    "bytes that are no text": "Basic \udcff\udcfe",
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_everybody_else_is_asked_for_it(guarded: Any, kind: str) -> None:
    authorization = REFUSED[kind]
    headers = {} if authorization is None else {"Authorization": authorization}
    async with connected(guarded) as connection:
        await connection.send(head("GET", STUDIES, **headers))
        answer = await connection.answer()
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == CHALLENGE
    assert answer.body == b""


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nowhere"),
        ("POST", STUDIES),
        ("DELETE", f"{STUDIES}/1.2"),
        ("GET", "/system"),
        ("GET", "/instances"),
        ("OPTIONS", STUDIES),
        ("HEAD", STUDIES),
        ("GET", "/health/x"),
        ("POST", "/health"),
        ("PROPFIND", STUDIES),
    ],
)
async def test_without_a_password_nothing_is_told(
    guarded: Any, method: str, path: str
) -> None:
    response = await guarded.request(method, path)
    assert response.status == 401
    assert await response.read() == b""


async def test_a_body_from_who_may_not_come_in_is_not_read(guarded: Any) -> None:
    body = multipart(dicom_file())
    async with connected(guarded) as connection:
        length = str(len(body) + 10**9)
        await connection.send(
            head("POST", STUDIES, Content_Type=content_type(), Content_Length=length)
            + body
        )
        answer = await connection.answer()
        assert answer.status == 401
        assert answer.headers["connection"] == "close"


async def test_health_is_open_to_all(guarded: Any) -> None:
    assert (await guarded.get("/health")).status == 200
    assert (await guarded.head("/health/")).status == 200


async def test_without_authentication_nobody_is_asked(client: Any) -> None:
    response = await client.get(STUDIES, headers={"Authorization": "nonsense"})
    assert response.status == 200


# -- peers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "comes_in"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        (None, True),
        ("192.0.2.7", False),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("2001:db8::1", False),
        ("fe80::1%eth0", False),
        ("0.0.0.0", False),
        ("", False),
        ("localhost", False),
    ],
)
def test_without_remote_access_only_this_machine_comes_in(
    peer: str | None, comes_in: bool
) -> None:
    assert Door(remote_access=False, users=None).admits_peer(peer) is comes_in
    assert Door(remote_access=True, users=None).admits_peer(peer) is True


def address_of_this_machine() -> str | None:
    """An address that is not of the loopback, if there is one."""
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            if address.family == socket.AF_INET and not address.address.startswith(
                "127."
            ):
                return str(address.address)
    return None


@pytest.mark.parametrize(("allowed", "status"), [(False, 401), (True, 200)])
def test_a_peer_with_another_address_is_refused_unless_remote_access_is_allowed(
    tmp_path: Path, allowed: bool, status: int
) -> None:
    address = address_of_this_machine()
    if address is None:
        pytest.skip("this machine has no address but the loopback")
    settings(tmp_path, {"RemoteAccessAllowed": allowed, "AuthenticationEnabled": False})
    with announced(tmp_path, "--host", "0.0.0.0") as server:
        for path in ("/health", STUDIES):
            found = get(f"http://{address}:{server.port}{path}")
            assert found.status == status
            assert "www-authenticate" not in found.headers
        assert get(f"http://127.0.0.1:{server.port}{STUDIES}").status == 200


# -- methods -----------------------------------------------------------------------------


async def test_an_old_client_may_say_in_a_header_which_method_it_means(
    client: Any,
) -> None:
    await store(client, dicom_file(SOPInstanceUID="1.2.3.1.1.1"))
    override = {"X-HTTP-Method-Override": "DELETE"}
    response = await client.post(f"{STUDIES}/1.2.3.1", headers=override)
    assert response.status == 204
    assert await find(client, "studies") == []


async def test_an_old_client_may_say_in_the_query_which_method_it_means(
    client: Any,
) -> None:
    await store(client, dicom_file())
    response = await client.get(f"{STUDIES}/1.2.3.1", params={"_method": "delete"})
    assert response.status == 204
    assert await find(client, "studies") == []


@pytest.mark.parametrize("meant", ["POST", "PATCH", "get", "x"])
async def test_other_methods_cannot_be_meant(client: Any, meant: str) -> None:
    await store(client, dicom_file())
    override = {"X-HTTP-Method-Override": meant}
    response = await client.get(f"{STUDIES}/1.2.3.1/metadata", headers=override)
    assert response.status == 200
    assert len(await find(client, "studies")) == 1


async def test_meaning_another_method_opens_no_door(guarded: Any) -> None:
    override = {"X-HTTP-Method-Override": "DELETE"}
    assert (await guarded.get("/health", headers=override)).status == 401


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", STUDIES, "GET,HEAD,OPTIONS,POST"),
        ("DELETE", STUDIES, "GET,HEAD,OPTIONS,POST"),
        ("PATCH", f"{STUDIES}/1.2", "DELETE,GET,HEAD,OPTIONS,POST"),
        ("POST", f"{STUDIES}/1.2/series", "GET,HEAD,OPTIONS"),
        ("POST", f"{STUDIES}/1.2/series/1.3", "DELETE,GET,HEAD,OPTIONS"),
        ("POST", "/system", "GET,HEAD,OPTIONS"),
        ("PROPFIND", "/instances", "GET,HEAD,OPTIONS,POST"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(
    client: Any, method: str, path: str, allowed: str
) -> None:
    response = await client.request(method, path)
    assert response.status == 405
    assert response.headers["Allow"] == allowed
    assert await response.read() == b""
    options = await client.options(path)
    assert options.status == 204
    assert options.headers["Allow"] == allowed


async def test_head_is_get_without_the_body(client: Any) -> None:
    await store(client, dicom_file())
    for path in (STUDIES, f"{STUDIES}/1.2.3.1/metadata", "/system", "/statistics"):
        got, only_head = await client.get(path), await client.head(path)
        assert only_head.status == 200
        assert await only_head.read() == b""
        for name in ("Content-Type", "Content-Length"):
            assert only_head.headers.get(name) == got.headers.get(name), path
    missing = await client.head("/nowhere")
    assert (missing.status, await missing.read()) == (404, b"")


# -- paths -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "//dicom-web//studies",
        "/dicom-web/studies/",
        "///dicom-web///studies///",
        "/dicom%2Dweb/%73tudies",
    ],
)
async def test_slashes_and_percent_signs_do_not_matter(client: Any, path: str) -> None:
    await store(client, dicom_file())
    async with connected(client) as connection:
        await connection.send(head("GET", path))
        answer = await connection.answer()
    assert answer.status == 200
    assert len(json.loads(answer.body)) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/Dicom-Web/studies",
        "/dicom-web/STUDIES",
        "/dicom-web%2Fstudies",
        "/dicom-web/studies/1.2/metadata/x",
        "/dicom-web/%00",
        "/dicom-web/%ff",
        "/%C3%A9",
    ],
)
async def test_other_paths_lead_nowhere(client: Any, path: str) -> None:
    async with connected(client) as connection:
        await connection.send(head("GET", path))
        answer = await connection.answer()
    assert answer.status == 404
    assert set(json.loads(answer.body)) == ERROR_KEYS


@pytest.mark.parametrize(
    "line",
    [
        b"OPTIONS * HTTP/1.1",
        b"GET x HTTP/1.1",
        b"GET /\x01 HTTP/1.1",
        b"GET /\xc3\xa9 HTTP/1.1",
        b"BREW / HTTP/1.1",
    ],
)
async def test_strange_requests_get_an_answer_and_do_no_harm(
    client: Any, line: bytes
) -> None:
    async with connected(client) as connection:
        await connection.send(line + b"\r\nHost: localhost\r\n\r\n")
        status, _ = await connection.head()
    assert status in (400, 404)
    assert (await client.get("/health")).status == 200


async def test_a_client_that_forgets_the_root_is_told_where_it_is(start: Any) -> None:
    client = await start(DicomWeb={"Root": "/here/"})
    for path in ("/studies/1.2.3", "/studies/1.2.3/series/1.2.4", "/series/1.2/tags"):
        response = await client.get(path)
        assert response.status == 404
        assert "/here/" in (await response.json())["Details"]
    assert (await client.get("/here/studies")).status == 200


async def test_without_dicomweb_there_are_no_studies(start: Any) -> None:
    client = await start(DicomWeb={"Enable": False})
    assert (await client.get(STUDIES)).status == 404
    assert (await client.get("/system")).status == 200


# -- errors ------------------------------------------------------------------------------


async def test_errors_are_told_as_orthanc_tells_them(client: Any) -> None:
    response = await client.get(f"{STUDIES}/1.2.3/metadata?x=y")
    assert response.status == 404
    error = await response.json()
    assert set(error) == ERROR_KEYS
    assert error["HttpError"] == "Not Found"
    assert error["HttpStatus"] == 404
    assert error["Method"] == "GET"
    assert error["OrthancStatus"] == 17
    assert error["Uri"] == f"{STUDIES}/1.2.3/metadata"
    assert "1.2.3" in error["Details"]


async def test_errors_are_not_described_if_told_so(start: Any) -> None:
    client = await start(HttpDescribeErrors=False)
    for path in ("/nowhere", f"{STUDIES}/1.2.3/metadata", f"{STUDIES}?limit=x"):
        response = await client.get(path)
        assert response.status in (400, 404)
        assert await response.read() == b""


async def test_who_comes_while_the_index_is_busy_is_told_when_to_come_back(
    client, monkeypatch
):
    async def busy(_archive):
        raise Busy

    monkeypatch.setattr(Archive, "totals", busy)
    for path in ("/statistics", "/health"):
        response = await client.get(path)
        assert response.status == 503
        assert int(response.headers["Retry-After"]) > 0


async def test_the_unforeseen_is_not_told_to_strangers(
    client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(self: Any) -> None:
        raise OSError("/secret/place")

    monkeypatch.setattr("gateway.archive.Archive.totals", fail)
    response = await client.get("/statistics")
    assert response.status == 500
    error = await response.json()
    assert set(error) == ERROR_KEYS
    assert error["OrthancStatus"] == -1
    assert "secret" not in json.dumps(error)
    assert "/secret/place" in caplog.text


async def test_every_answer_forbids_guessing_its_type(guarded: Any) -> None:
    for path in ("/health", STUDIES, "/nowhere"):
        response = await guarded.get(path)
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Server"].startswith("dicomweb-gateway/")


async def test_a_connection_stays_open_after_an_error(client: Any) -> None:
    async with connected(client) as connection:
        for path, status in (("/nowhere", 404), ("/health", 200), (STUDIES, 200)):
            await connection.send(head("GET", path))
            answer = await connection.answer()
            assert answer.status == status


# -- TLS ---------------------------------------------------------------------------------


def certificate(folder: Path) -> Path:
    """A certificate of our own making, with its key in the same file."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec"),
            *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    both = folder / "both.pem"
    both.write_bytes(cert.read_bytes() + key.read_bytes())
    return both


def test_a_gateway_with_a_certificate_speaks_tls_alone(tmp_path: Path) -> None:
    made = certificate(tmp_path)
    settings(tmp_path, {"SslEnabled": True, "SslCertificate": str(made)})
    with announced(tmp_path) as server:
        assert server.url.startswith(f"https://localhost:{server.port}/")
        trusting = ssl.create_default_context(cafile=str(made))
        found = get(f"https://localhost:{server.port}{STUDIES}", context=trusting)
        assert (found.status, found.body) == (200, b"[]")
        old = ssl.create_default_context(cafile=str(made))
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert get(f"https://localhost:{server.port}/health", context=old).status == 200
        with pytest.raises(OSError, match=r"(?i)certificate"):
            get(f"https://localhost:{server.port}/health")
        with pytest.raises(OSError, match=r"reset|closed|BadStatus|Remote"):
            get(f"http://localhost:{server.port}/health")


def test_a_client_without_a_trusted_certificate_is_shut_out_if_one_is_needed(
    tmp_path: Path,
) -> None:
    made = certificate(tmp_path)
    options = {
        "SslEnabled": True,
        "SslCertificate": str(made),
        "SslVerifyPeers": True,
        "SslTrustedClientCertificates": str(made),
        "SslCiphersAccepted": ["ECDHE-ECDSA-AES256-GCM-SHA384"],
    }
    settings(tmp_path, options)
    with announced(tmp_path) as server:
        url = f"https://localhost:{server.port}/health"
        stranger = ssl.create_default_context(cafile=str(made))
        with pytest.raises(OSError, match=r"(?i)certificate|reset|closed|eof|alert"):
            get(url, context=stranger)
        known = ssl.create_default_context(cafile=str(made))
        known.load_cert_chain(made)
        assert get(url, context=known).status == 200
        other = ssl.create_default_context(cafile=str(made))
        other.load_cert_chain(made)
        other.maximum_version = ssl.TLSVersion.TLSv1_2
        other.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        with pytest.raises(OSError, match=r"(?i)handshake|reset|closed|alert|eof"):
            get(url, context=other)


@pytest.mark.parametrize(
    ("content", "workers"), [(None, "1"), (b"", "1"), (b"nonsense", "2")]
)
def test_a_certificate_that_cannot_be_used_stops_the_start(
    tmp_path: Path, content: bytes | None, workers: str
) -> None:
    bad = tmp_path / "bad.pem"
    if content is not None:
        bad.write_bytes(content)
    options = {"SslEnabled": True, "SslCertificate": str(bad)}
    (tmp_path / "gateway.json").write_text(json.dumps(options))
    done = subprocess.run(
        command(
            *("serve", "--port", "0", "--workers", workers),
            *("--config", str(tmp_path / "gateway.json")),
        ),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert "SslCertificate" in done.stderr
    assert "Traceback" not in done.stderr
    assert "https://" not in done.stderr  # it never said that it serves


async def test_a_page_of_another_site_may_not_write(start: Any) -> None:
    client = await start()
    page = {"Sec-Fetch-Site": "cross-site", "Origin": "https://elsewhere.example"}
    for method, path in (
        ("GET", "/dicom-web/studies/1.2?_method=DELETE"),
        ("DELETE", "/dicom-web/studies/1.2"),
        ("POST", "/instances"),
        ("POST", "/dicom-web/studies"),
    ):
        response = await client.request(method, path, headers=page)
        assert response.status == 403, (method, path)
    assert (await client.get("/dicom-web/studies", headers=page)).status == 200
    same = {"Sec-Fetch-Site": "same-origin"}
    response = await client.delete("/dicom-web/studies/1.2", headers=same)
    assert response.status == 404


async def test_a_page_that_is_named_may_write(start: Any) -> None:
    client = await start(CorsOrigins=["https://viewer.example"])
    page = {"Sec-Fetch-Site": "cross-site", "Origin": "https://viewer.example"}
    response = await client.delete("/dicom-web/studies/1.2", headers=page)
    assert response.status == 404


FOREIGN = (
    {"Origin": "http://elsewhere.example"},
    {"Origin": "null"},
    {"Origin": "http://[elsewhere"},
    {"Referer": "http://elsewhere.example/page"},
)


@pytest.mark.parametrize("page", FOREIGN, ids=lambda page: str(*page.values()))
async def test_a_browser_that_tells_less_of_a_page_is_enough(
    start: Any, page: dict[str, str]
) -> None:
    client = await start()
    for method, path in (
        ("GET", "/dicom-web/studies/1.2?_method=DELETE"),
        ("DELETE", "/dicom-web/studies/1.2"),
        ("POST", "/instances"),
    ):
        response = await client.request(method, path, headers=page)
        assert response.status == 403, (method, path)
    assert (await client.get("/dicom-web/studies", headers=page)).status == 200


async def test_a_browser_that_does_not_tell_of_the_page_follows_no_link_that_writes(
    start: Any,
) -> None:
    client = await start()
    path = "/dicom-web/studies/1.2?_method=DELETE"
    browser = {"User-Agent": "Mozilla/5.0 (X11) Gecko/20100101 Firefox/140.0"}
    assert (await client.get(path, headers=browser)).status == 403
    script = {"User-Agent": "curl/8"}
    assert (await client.get(path, headers=script)).status == 404


async def test_our_own_pages_and_those_that_are_named_may_write(start: Any) -> None:
    client = await start(
        CorsOrigins=["http://viewer.example"], AllowedHosts=["*", "images.example"]
    )
    here = str(client.make_url("/")).rstrip("/")
    behind = {"X-Forwarded-Host": "images.example", "X-Forwarded-Proto": "https"}
    for headers in (
        {"Origin": here},
        {"Origin": here.replace("http://", "https://")},  # TLS ends before us
        {"Origin": "http://viewer.example"},
        {"Referer": f"{here}/page"},
        {"Referer": "http://viewer.example/page?x"},
        {"Origin": "https://images.example", **behind},
        {"Origin": "http://Images.Example:80", "Host": "images.example"},
        {},
    ):
        for method, path in (
            ("GET", "/dicom-web/studies/1.2?_method=DELETE"),
            ("DELETE", "/dicom-web/studies/1.2"),
        ):
            response = await client.request(method, path, headers=headers)
            assert response.status == 404, headers


async def test_an_address_that_is_no_text_is_told_of_all_the_same(start: Any) -> None:
    client = await start()
    for accept in ("application/json", "application/problem+json", "text/plain"):
        async with connected(client) as connection:
            await connection.send(
                b"GET /nowhere/%ff%ED%B3%BF HTTP/1.1\r\nHost: localhost\r\nAccept: "
                + accept.encode()
                + b"\r\n\r\n"
            )
            answer = await connection.answer()
        assert answer.status == 404
        assert b"there is nothing at this path" in answer.body
