"""nginx in front, as conf/nginx.conf has it: TLS, a path of its own, nothing buffered."""

import asyncio
import io
import json
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urljoin

import aiohttp
import pydicom
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.certificates import Authority
from tests.factories import content_type, dicom_file, image, multipart
from tests.npm import missing
from tests.peers import CHECKOUT, Running, free_port, gateway
from tests.starting import ask

pytestmark = [pytest.mark.peer, pytest.mark.slow]

NGINX = "/usr/sbin/nginx"
HOW_TO_INSTALL = "apt-get install nginx-light"
RECIPE = CHECKOUT / "conf" / "nginx.conf"
README = CHECKOUT / "README.rst"
MIB = 1 << 20
LARGE = 24 * MIB
SECONDS = 20.0
OPTIONS = {"MinimumFreeSpaceMB": 0}


class Front(NamedTuple):
    """A gateway behind nginx."""

    url: str  # by which clients reach it, without a last slash
    plain: str  # by HTTP alone
    context: ssl.SSLContext
    authority: Authority
    behind: Running
    storage: Path


def recipe(
    folder: Path, port: int, plain: int, behind: int, authority: Authority
) -> str:
    """The file of conf/, with other ports and paths."""
    pair = authority.issue("localhost", ("localhost",))
    text = RECIPE.read_text()
    for old, new in (
        ("listen 443 ", f"listen 127.0.0.1:{port} "),
        ("listen 80;", f"listen 127.0.0.1:{plain};"),
        ("server 127.0.0.1:8042;", f"server 127.0.0.1:{behind};"),
        ("/etc/nginx/pacs.example.org.pem", str(pair.certificate)),
        ("/etc/nginx/pacs.example.org.key", str(pair.key)),
        ("/run/nginx.pid", str(folder / "nginx.pid")),
        ("/var/log/nginx/", f"{folder}/"),
    ):
        assert old in text
        text = text.replace(old, new)
    return text


@contextmanager
def nginx(folder: Path, text: str, port: int) -> Iterator[None]:
    program = shutil.which("nginx") or (NGINX if Path(NGINX).exists() else None)
    if program is None:
        missing(f"nginx is missing: {HOW_TO_INSTALL}")
    file = folder / "nginx.conf"
    file.write_text(text)
    with (folder / "nginx.out").open("wb") as out:
        process = subprocess.Popen(
            [program, "-c", str(file), "-g", "daemon off;"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(port, process, folder / "nginx.out")
        yield
    finally:
        process.terminate()
        process.wait(SECONDS)


def wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    pytest.fail(f"nginx did not start: {log.read_text()}")


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("front")
    authority = Authority(folder)
    port, plain = free_port(), free_port()
    context = ssl.create_default_context(cafile=authority.certificate)
    with gateway(folder / "behind", options=OPTIONS) as behind:
        text = recipe(
            folder, port, plain, int(behind.url.rpartition(":")[2]), authority
        )
        with nginx(folder, text, port):
            yield Front(
                f"https://localhost:{port}/pacs",
                f"http://localhost:{plain}/pacs",
                context,
                authority,
                behind,
                folder / "behind" / "storage",
            )


@pytest.fixture
async def session(front: Front) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(ssl=front.context)
    async with aiohttp.ClientSession(connector=connector) as made:
        yield made


def named(study: str, number: int, **attributes: Any) -> bytes:
    return image(
        StudyInstanceUID=study,
        SeriesInstanceUID=f"{study}.1",
        SOPInstanceUID=f"{study}.1.{number}",
        InstanceNumber=number,
        **attributes,
    )


def large(study: str) -> bytes:
    """An instance that is larger than any buffer between here and the disk."""
    return dicom_file(
        StudyInstanceUID=study,
        SeriesInstanceUID=f"{study}.1",
        SOPInstanceUID=f"{study}.1.1",
        Rows=LARGE // 2 // 1024,
        Columns=1024,
        BitsAllocated=16,
        BitsStored=16,
        HighBit=15,
        PixelRepresentation=0,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        PixelData=bytes(range(256)) * (LARGE // 256),
    )


async def stored(session: Any, front: Front, body: Any) -> dict[str, Any]:
    """The answer to a STOW-RS request, in which nothing may fail."""
    headers = {"Content-Type": content_type()}
    async with session.post(
        f"{front.url}/dicom-web/studies", data=body, headers=headers
    ) as response:
        assert response.status == 200, await response.text()
        answer: dict[str, Any] = json.loads(await response.read())
    assert "00081198" not in answer
    return answer


async def fetched(session: Any, address: str, accept: str = "") -> Any:
    headers = {"Accept": accept} if accept else {}
    async with session.get(address, headers=headers) as response:
        assert response.status == 200, await response.text()
        return await response.read()


# -- what is sent and taken --------------------------------------------------------------


async def test_a_large_chunked_study_goes_in_while_it_is_sent(
    front: Front, session: aiohttp.ClientSession
) -> None:
    body = multipart(await asyncio.to_thread(large, "1.9.1"))
    half = len(body) // 2
    arrived = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, half, MIB):
            yield body[start : min(start + MIB, half)]
        # The gateway must have most of this half before the rest is sent at all.
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and not arrived.is_set():
            files = (front.storage / "incoming").rglob("*")
            if sum(file.stat().st_size for file in files if file.is_file()) > half // 2:
                arrived.set()
            await asyncio.sleep(0.02)
        for start in range(half, len(body), MIB):
            yield body[start : start + MIB]

    answer = await stored(session, front, chunks())
    assert arrived.is_set()
    assert len(answer["00081199"]["Value"]) == 1
    instance = f"{front.url}/dicom-web/studies/1.9.1/series/1.9.1.1/instances/1.9.1.1.1"
    received = await fetched(session, instance, "application/dicom; transfer-syntax=*")
    assert multipart(received) == body


async def test_a_study_comes_back_in_parts(
    front: Front, session: aiohttp.ClientSession
) -> None:
    files = [named("1.9.2", number) for number in range(1, 6)]
    await stored(session, front, io.BytesIO(multipart(*files)))
    accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    body = await fetched(session, f"{front.url}/dicom-web/studies/1.9.2", accept)
    assert body.count(b"Content-Type: application/dicom") == 5
    assert all(file in body for file in files)
    wado = "requestType=WADO&contentType=application/dicom&transferSyntax=*"
    uids = "studyUID=1.9.2&seriesUID=1.9.2.1&objectUID=1.9.2.1.3"
    assert pydicom.dcmread(
        io.BytesIO(await fetched(session, f"{front.url}/wado?{wado}&{uids}"))
    ).SOPInstanceUID.endswith(".3")


def test_the_page_and_its_files_are_below_the_path(front: Front) -> None:
    html = {"Accept": "text/html"}
    for place in ("/", "/dicom-web/app/client/index.html"):
        page = ask("GET", f"{front.url}{place}", headers=html, context=front.context)
        assert page.status == 200
        named = re.findall(r'(?:src|href)="([^"]+)"', page.body.decode())
        assert len(named) >= 4
        for name in [
            *named,
            *re.findall(r'root" content="([^"]+)"', page.body.decode()),
        ]:
            address = urljoin(f"{front.url}{place}", name)
            assert address.startswith(f"{front.url}/"), name
            answer = ask("GET", address, context=front.context)
            assert answer.status == 200, address


async def test_http_2_is_spoken(front: Front) -> None:
    if shutil.which("curl") is None:
        missing("apt-get install curl")
    words = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_version} %{http_code}"]
    trust = ["--cacert", str(front.authority.certificate)]
    command = [*words, *trust, "--noproxy", "*", f"{front.url}/dicom-web/studies"]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False
    )
    assert done.stdout == "2 200"


# -- where things are --------------------------------------------------------------------


async def test_addresses_in_answers_are_those_of_the_public(
    front: Front, session: aiohttp.ClientSession
) -> None:
    root = f"{front.url}/dicom-web"
    answer = await stored(session, front, io.BytesIO(multipart(named("1.9.3", 1))))
    study = f"{root}/studies/1.9.3"
    instance = f"{study}/series/1.9.3.1/instances/1.9.3.1.1"
    assert answer["00081190"]["Value"] == [study]
    (item,) = answer["00081199"]["Value"]
    assert item["00081190"]["Value"] == [instance]
    (found,) = json.loads(
        await fetched(session, f"{root}/studies?StudyInstanceUID=1.9.3")
    )
    assert found["00081190"]["Value"] == [study]
    (metadata,) = json.loads(await fetched(session, f"{study}/metadata"))
    pixels = metadata["7FE00010"]["BulkDataURI"]
    assert pixels.startswith(f"{instance}/")
    for address in (study, instance, pixels):
        assert await fetched(session, address)


async def test_what_a_client_says_of_its_way_is_not_believed(
    front: Front, session: aiohttp.ClientSession
) -> None:
    await stored(session, front, io.BytesIO(multipart(named("1.9.4", 1))))
    lies = {
        "X-Forwarded-Host": "evil.example.org",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Prefix": "/evil",
        "X-Forwarded-Port": "99",
        "Forwarded": "host=evil.example.org;proto=http",
    }
    address = f"{front.url}/dicom-web/studies?StudyInstanceUID=1.9.4"
    async with session.get(address, headers=lies) as response:
        (found,) = json.loads(await response.read())
    assert found["00081190"]["Value"] == [f"{front.url}/dicom-web/studies/1.9.4"]


def test_plain_http_leads_to_tls(front: Front) -> None:
    answer = ask("GET", f"{front.plain}/dicom-web/studies")
    assert answer.status == 308
    assert answer.headers["location"].startswith("https://localhost")
    assert answer.headers["location"].endswith("/pacs/dicom-web/studies")


# -- transfers to and from it, and their events ------------------------------------------


@pytest.fixture
def second(front: Front, tmp_path: Path) -> Iterator[Running]:
    """Another gateway, which knows the first one as a remote server behind nginx."""
    options = {
        **OPTIONS,
        "HttpsCACertificates": str(front.authority.certificate),
        "DicomWeb": {"Servers": {"front": [f"{front.url}/dicom-web/"]}},
    }
    with gateway(tmp_path / "second", options=options) as running:
        yield running


async def test_studies_travel_through_it_both_ways(
    front: Front, second: Running, session: aiohttp.ClientSession
) -> None:
    files = [named("1.9.5", number) for number in range(1, 21)]
    async with session.post(
        f"{second.url}/dicom-web/studies",
        data=io.BytesIO(multipart(*files)),
        headers={"Content-Type": content_type()},
    ) as response:
        assert response.status == 200
    again = await session.post(f"{second.url}/instances", data=files[0])
    study = (await again.json())["ParentStudy"]
    servers = f"{second.url}/dicom-web/servers/front"
    async with session.post(f"{servers}/stow", json={"Resources": [study]}) as response:
        assert response.status == 200, await response.text()
    sent = json.loads(
        await fetched(session, f"{front.url}/dicom-web/studies/1.9.5/instances")
    )
    assert len(sent) == 20

    back = [named("1.9.6", number) for number in range(1, 21)]
    await stored(session, front, io.BytesIO(multipart(*back)))
    wanted = {"Resources": [{"Study": "1.9.6"}]}
    async with session.post(f"{servers}/retrieve", json=wanted) as response:
        assert response.status == 200, await response.text()
    for number, file in enumerate(back, 1):
        address = (
            f"{second.url}/dicom-web/studies/1.9.6/series/1.9.6.1"
            f"/instances/1.9.6.1.{number}"
        )
        accept = "application/dicom; transfer-syntax=*"
        assert await fetched(session, address, accept) == file


async def test_what_only_a_remote_holds_is_shown_under_the_public_address(
    front: Front, second: Running, session: aiohttp.ClientSession
) -> None:
    async with session.post(
        f"{second.url}/dicom-web/studies",
        data=io.BytesIO(multipart(named("1.9.8", 1))),
        headers={"Content-Type": content_type()},
    ) as response:
        assert response.status == 200
    remote = f"{front.url}/dicom-web/servers/second"
    definition = {"Url": f"{second.url}/dicom-web/"}
    async with session.put(remote, json=definition) as response:
        assert response.status == 200
    study = f"{remote}/studies/1.9.8"
    (metadata,) = json.loads(await fetched(session, f"{study}/metadata"))
    pixels = metadata["7FE00010"]["BulkDataURI"]
    assert pixels.startswith(f"{study}/series/1.9.8.1/instances/1.9.8.1.1/")
    assert pydicom.dcmread(io.BytesIO(named("1.9.8", 1))).PixelData in await fetched(
        session, pixels
    )
    (found,) = json.loads(await fetched(session, f"{remote}/studies?PatientID=P1"))
    assert found["00081190"]["Value"] == [study]


async def _silent(request: web.Request) -> web.Response:
    """Take a study and never say so."""
    async for _ in request.content.iter_any():
        pass
    await asyncio.sleep(60)
    return web.Response()


async def test_events_of_a_job_arrive_when_they_happen(
    front: Front, session: aiohttp.ClientSession
) -> None:
    await stored(session, front, io.BytesIO(multipart(named("1.9.7", 1))))
    again = await session.post(f"{front.url}/instances", data=named("1.9.7", 1))
    study = (await again.json())["ParentStudy"]
    app = web.Application()
    app.router.add_post("/studies", _silent)
    async with TestServer(app) as server:
        remote = f"{front.url}/dicom-web/servers/silent"
        definition = {"Url": str(server.make_url("/"))}
        async with session.put(remote, json=definition) as response:
            assert response.status == 200, await response.text()
        wanted = {"Resources": [study], "Asynchronous": True}
        async with session.post(f"{remote}/stow", json=wanted) as response:
            job = f"{front.url}/jobs/{(await response.json())['ID']}"
        states = []
        async with asyncio.timeout(SECONDS), session.get(f"{job}/events") as events:
            assert events.content_type == "text/event-stream"
            async for line in events.content:
                if not line.startswith(b"data: "):
                    continue
                states.append(json.loads(line.removeprefix(b"data: "))["State"])
                if states[-1] == "Running":  # and it would, for a minute
                    async with session.post(f"{job}/cancel") as response:
                        assert response.status == 200
        assert "Running" in states
        assert states[-1] == "Failure"
        async with session.delete(remote) as response:
            assert response.status == 200


# -- the recipe of README ----------------------------------------------------------------


def directives(text: str) -> set[str]:
    """The directives that are said of a location, without comments."""
    (inside,) = re.findall(r"location \S+ \{[^\n]*\n(.*?)\n\s*\}", text, re.DOTALL)
    lines = (line.partition("#")[0].strip() for line in inside.splitlines())
    return {re.sub(r"\s+", " ", line) for line in lines if line}


def test_readme_says_the_same_as_the_file() -> None:
    short = directives(README.read_text())
    assert len(short) > 8
    complete = directives(RECIPE.read_text())
    server = {"client_max_body_size 0;"}  # said of the whole server in the file
    same = {line.replace("http://127.0.0.1:8042/", "http://gateway/") for line in short}
    assert same - server <= complete
    assert server <= {line.strip() for line in RECIPE.read_text().splitlines()}
