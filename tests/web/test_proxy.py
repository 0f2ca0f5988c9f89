"""Remote servers through the gateway: as if they were here, and nobody sees that not."""

import asyncio
import gzip
import io
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.clients import JSON, ROOT, store
from tests.connection import connected, head
from tests.factories import content_type, dicom_file, image, multipart
from tests.misbehaving import Heard, answer, cut, early, misbehaving, say, stall
from tests.remote import Remote, running_remote

NAME = "Far Away"
PROXY = f"{ROOT}/servers/Far%20Away"
STUDY = "studies/1.2.3.1"
SERIES = f"{STUDY}/series/1.2.3.1.1"
ONE = f"{SERIES}/instances/9.1"
DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'
XML = 'multipart/related; type="application/dicom+xml"'


def files() -> list[bytes]:
    return [
        image(SOPInstanceUID=f"9.{number}", InstanceNumber=number)
        for number in (1, 2, 3)
    ]


@pytest.fixture
async def far(start):
    """The remote: another gateway, which holds a study."""
    client = await start(StorageDirectory="far")
    await store(client, *files())
    return client


@pytest.fixture
async def near(start, far):
    return await start(DicomWeb={"Servers": {NAME: [url_of(far)]}})


@pytest.fixture
async def remote() -> AsyncIterator[Remote]:
    async with running_remote() as found:
        yield found


def url_of(client: Any) -> str:
    return str(client.make_url(f"{ROOT}/"))


async def to(start, url: str, **fields: Any):
    """A gateway that knows the server at this address."""
    server = {"Url": url, "Timeout": 2, **fields}
    return await start(DicomWeb={"Servers": {NAME: server}})


async def get(client, path: str, accept: str = "*/*", **headers: str):
    response = await client.get(path, headers={"Accept": accept, **headers})
    return response, await response.read()


def without_boundary(response, body: bytes) -> bytes:
    boundary = response.headers["Content-Type"].rpartition("boundary=")[2]
    return body.replace(boundary.encode(), b"BOUNDARY")


# --- what it shows --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("studies?PatientName=DOE*&includefield=all&limit=5", JSON),
        ("studies", XML),
        ("series?Modality=CT", JSON),
        (f"{SERIES}/instances?offset=1", JSON),
        ("instances?SOPInstanceUID=9.1,9.2", JSON),
        (f"{STUDY}/metadata", JSON),
        (f"{SERIES}/metadata", XML),
        (f"{ONE}/metadata", JSON),
        (STUDY, DICOM),
        (ONE, "application/dicom; transfer-syntax=*"),
        (f"{ONE}/frames/1", 'multipart/related; type="application/octet-stream"'),
        (f"{ONE}/frames/1", "application/octet-stream"),
        (f"{ONE}/bulk/7fe00010", "*/*"),
        (f"{ONE}/rendered", "image/png"),
        (f"{SERIES}/thumbnail?viewport=32,32", "image/jpeg"),
    ],
)
async def test_all_is_as_at_the_remote_but_for_the_addresses(near, far, path, accept):
    there, expected = await get(far, f"{ROOT}/{path}", accept)
    here, body = await get(near, f"{PROXY}/{path}", accept)
    assert (here.status, there.status) == (200, 200)
    root, ours = url_of(far), str(near.make_url(f"{PROXY}/"))
    if "boundary=" in there.headers["Content-Type"]:
        expected, body = without_boundary(there, expected), without_boundary(here, body)
        lines = body.splitlines()
        if b"dicom+xml" in b"".join(lines[:3]):  # their lengths differ
            lengths = [one for one in expected.splitlines() if b"Content-Length" in one]
            for line in lengths:
                expected = expected.replace(line + b"\r\n", b"")
    assert body == expected.replace(root.encode(), ours.encode())
    assert root not in str(here.headers)
    location = there.headers.get("Content-Location")
    moved = location.replace(root, ours) if location else None
    assert here.headers.get("Content-Location") == moved


async def test_addresses_that_are_handed_out_can_be_followed(near):
    _, body = await get(near, f"{PROXY}/{SERIES}/metadata", JSON)
    address = json.loads(body)[0]["7FE00010"]["BulkDataURI"]
    assert address.startswith(str(near.make_url(f"{PROXY}/studies/")))
    response, _ = await get(near, URL(address, encoded=True).raw_path)
    assert response.status == 200
    _, body = await get(near, f"{PROXY}/studies", JSON)
    found = json.loads(body)[0]["00081190"]["Value"][0]
    response, _ = await get(near, f"{URL(found, encoded=True).raw_path}/metadata", JSON)
    assert response.status == 200


async def test_the_addresses_are_those_that_the_client_sees(near):
    headers = {"X-Forwarded-Host": "images.example", "X-Forwarded-Proto": "https"}
    _, body = await get(near, f"{PROXY}/studies", JSON, **headers)
    found = json.loads(body)[0]["00081190"]["Value"][0]
    assert found == f"https://images.example{PROXY}/{STUDY}"


async def test_nothing_of_it_is_in_the_archive(near):
    await get(near, f"{PROXY}/{STUDY}", DICOM)
    statistics = await (await near.get("/statistics")).json()
    assert statistics["CountInstances"] == 0


async def test_an_unknown_server_is_not_found(near):
    response, body = await get(near, f"{ROOT}/servers/nobody/studies")
    assert response.status == 404
    assert b"nobody" in body


async def test_options_tell_what_may_be_asked(near):
    response = await near.options(f"{PROXY}/{STUDY}")
    assert response.headers["Allow"] == "DELETE,GET,HEAD,OPTIONS,POST"
    response = await near.put(f"{PROXY}/studies", data=b"")
    assert response.status == 405


# --- what passes ----------------------------------------------------------------------


async def test_the_remote_is_told_what_is_wanted_and_not_by_whom(start, remote):
    near = await to(
        start,
        remote.url,
        Username="gateway",
        Password="hush",
        HttpHeaders={"X-Api-Key": "ours"},
    )
    remote.reply("GET", "/dicom-web/studies", {"text": "[]", "content_type": JSON})
    said = {
        "Accept": f"{JSON};q=0.9",
        "Accept-Language": "de",
        "If-None-Match": 'W/"a", "b"',
        "If-Modified-Since": "Mon, 01 Jan 2024 00:00:00 GMT",
        "Range": "bytes=0-5",
        "Authorization": "Bearer mine",
        "Cookie": "session=mine",
        "X-Forwarded-For": "10.0.0.1",
        "X-Forwarded-Host": "images.example",
        "Forwarded": "for=10.0.0.1",
        "X-Api-Key": "mine",
        "Origin": "http://images.example",
        "Referer": "http://images.example/PatientName",
        "TE": "trailers",
    }
    response = await near.get(f"{PROXY}/studies", headers=said)
    assert response.status == 200
    heard = remote.seen[0].headers
    assert heard["Accept"] == f"{JSON};q=0.9"
    assert heard["Accept-Language"] == "de"
    assert heard["If-None-Match"] == 'W/"a", "b", "a"'
    assert heard["If-Modified-Since"] == said["If-Modified-Since"]
    assert heard["Range"] == "bytes=0-5"
    assert heard["X-Api-Key"] == "ours"
    assert heard["Authorization"].startswith("Basic ")
    for name in ("Cookie", "Forwarded", "Origin", "Referer", "TE"):
        assert name not in heard
    assert not [name for name in heard if name.lower().startswith("x-forwarded")]


async def test_path_and_query_go_as_they_came(start):
    async with misbehaving(answer(200, b"[]", JSON)) as server:
        near = await to(start, server.url)
        tail = f"{ONE}/frames/1%2C2?PatientName=A%E9+B&&limit=1&x=%2f&accept=a/b&c=,"
        response = await near.get(URL(f"{PROXY}/{tail}", encoded=True))
        assert response.status == 200
        assert server.heard[0].target == f"/dicom-web/{tail}"


@pytest.mark.parametrize(
    "path",
    [
        f"{STUDY}/%2e%2e/%2e%2e/%2e%2e/instances",
        "studies/..%2f..%2fsystem/x",
        "studies/%252e%252e/x",
        "studies/..;a=b/x",
        "studies/..%5c..%5cx/y",
        "studies/1/%25252525252e",
        "studies/a%0d%0ab/x",
    ],
)
async def test_no_path_leads_out_of_the_root_of_the_remote(start, remote, path):
    near = await to(start, remote.url)
    response = await near.get(URL(f"{PROXY}/{path}", encoded=True))
    assert response.status == 400
    assert not remote.seen


async def test_a_get_stays_a_get(start, remote):
    near = await to(start, remote.url)
    remote.reply("GET", f"/dicom-web/{STUDY}", {"body": b"x"})
    response = await near.get(
        URL(f"{PROXY}/{STUDY}?a=b&%5fmethod=delete", encoded=True),
        headers={"X-HTTP-Method-Override": "nothing"},
    )
    assert response.status == 200
    assert remote.seen[0].query == [("a", "b")]
    response = await near.get(f"{PROXY}/{STUDY}?_method=delete")
    assert response.status == 403  # what it means counts


async def test_what_is_between_us_and_the_remote_does_not_get_out(start, remote):
    near = await to(start, remote.url)
    headers = {
        "Set-Cookie": "session=theirs",
        "Connection": "X-Hop",
        "X-Hop": "1",
        "WWW-Authenticate": "Basic",
        "Access-Control-Allow-Origin": "*",
        "Strict-Transport-Security": "max-age=1",
        "Server": "theirs",
        "X-Total-Count": "7",
        "Warning": '299 theirs "some"',
        "Cache-Control": "public, max-age=60, s-maxage=5",
        "ETag": '"abc"',
        "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT",
        "Content-Language": "de",
    }
    remote.reply(
        "GET", f"/dicom-web/{ONE}/rendered", {"body": b"x", "headers": headers}
    )
    response, body = await get(near, f"{PROXY}/{ONE}/rendered")
    assert (response.status, body) == (200, b"x")
    for name in list(headers)[:7]:
        assert headers[name] not in response.headers.getall(name, [])
    for name in (
        "X-Total-Count",
        "Warning",
        "ETag",
        "Last-Modified",
        "Content-Language",
    ):
        assert response.headers[name] == headers[name]
    assert response.headers["Cache-Control"] == "private, max-age=60"
    assert response.headers["Content-Length"] == "1"
    assert "Authorization" in response.headers["Vary"]


@pytest.mark.parametrize(
    "kind", ["text/html", "image/svg+xml", "application/xhtml+xml"]
)
async def test_a_page_of_the_remote_cannot_act_as_one_of_ours(start, remote, kind):
    near = await to(start, remote.url)
    page = {"body": b"<script>", "content_type": kind}
    remote.reply("GET", f"/dicom-web/{ONE}/rendered", page)
    response, _ = await get(near, f"{PROXY}/{ONE}/rendered")
    assert "sandbox" in response.headers["Content-Security-Policy"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("status", [400, 404, 406, 409, 410, 429, 500, 503])
async def test_other_statuses_pass_with_what_is_said(start, remote, status):
    near = await to(start, remote.url)
    said = {"status": status, "text": "why not", "headers": {"Retry-After": "7"}}
    remote.reply("GET", "/dicom-web/studies", said)
    response, body = await get(near, f"{PROXY}/studies")
    assert (response.status, body) == (status, b"why not")
    assert response.headers["Retry-After"] == "7"


@pytest.mark.parametrize("status", [401, 403, 407])
async def test_that_the_remote_refuses_us_is_no_question_to_the_client(
    start, remote, status
):
    near = await to(start, remote.url)
    refusal = {"status": status, "headers": {"WWW-Authenticate": "Basic realm=x"}}
    remote.reply("GET", "/dicom-web/studies", refusal)
    response, body = await get(near, f"{PROXY}/studies")
    assert response.status == 502
    assert "WWW-Authenticate" not in response.headers
    assert NAME.encode() in body
    assert str(status).encode() in body


async def test_a_redirect_to_elsewhere_is_not_passed(start, remote):
    near = await to(start, remote.url)
    headers = {"Location": "http://elsewhere.example/studies"}
    remote.reply("GET", "/dicom-web/studies", {"status": 302, "headers": headers})
    response, _ = await get(near, f"{PROXY}/studies")
    assert response.status == 502
    assert "Location" not in response.headers


async def test_no_content_stays_so(start, remote):
    near = await to(start, remote.url)
    nothing = {"status": 204, "headers": {"Content-Type": JSON}}
    remote.reply("GET", "/dicom-web/studies", nothing)
    response, body = await get(
        near, f"{PROXY}/studies", JSON, **{"Accept-Encoding": "gzip"}
    )
    assert (response.status, body) == (204, b"")


async def test_a_server_that_is_not_there_is_named(start, unused_tcp_port):
    near = await to(start, f"http://127.0.0.1:{unused_tcp_port}/")
    response, body = await get(near, f"{PROXY}/studies")
    assert response.status == 502
    assert NAME.encode() in body


async def test_a_request_that_goes_round_in_circles_ends(start):
    near = await start()
    await near.put(f"{ROOT}/servers/loop", json={"Url": url_of(near) + "servers/loop/"})
    response, body = await get(near, f"{ROOT}/servers/loop/studies")
    assert response.status == 400
    assert b"circles" in body


# --- head, ranges, conditions ---------------------------------------------------------


async def test_head_is_asked_as_head(near, far):
    there = await far.head(f"{ROOT}/{ONE}", headers={"Accept": "application/dicom"})
    here = await near.head(f"{PROXY}/{ONE}", headers={"Accept": "application/dicom"})
    assert here.status == 200
    assert here.headers["Content-Length"] == there.headers["Content-Length"]


async def test_head_of_a_server_that_does_not_know_it(start, remote):
    near = await to(start, remote.url)
    remote.reply("GET", "/dicom-web/studies", {"text": "[]", "content_type": JSON})
    response = await near.head(f"{PROXY}/studies")
    assert response.status == 200
    assert response.content_type == JSON
    assert [seen.method for seen in remote.seen] == ["HEAD", "GET"]


async def test_a_range_of_a_file_passes(near):
    path, kind = f"{PROXY}/{ONE}", "application/dicom; transfer-syntax=*"
    _, whole = await get(near, path, kind)
    response, body = await get(near, path, kind, Range="bytes=128-131")
    assert response.status == 206
    assert response.headers["Content-Range"] == f"bytes 128-131/{len(whole)}"
    assert body == b"DICM"


async def test_what_is_rewritten_comes_whole(start, remote):
    near = await to(start, remote.url)
    text = json.dumps([{"00081190": {"vr": "UR", "Value": [f"{remote.url}{STUDY}"]}}])
    piece = {"status": 206, "text": text[:9], "content_type": JSON}
    remote.reply(
        "GET", "/dicom-web/studies", piece, {"text": text, "content_type": JSON}
    )
    response, body = await get(near, f"{PROXY}/studies", JSON, Range="bytes=0-8")
    assert response.status == 200
    assert json.loads(body)[0]["00081190"]["Value"][0].endswith(f"{PROXY}/{STUDY}")
    assert "Range" not in remote.seen[1].headers


async def test_a_piece_of_what_nobody_wants_in_pieces_is_no_answer(start, remote):
    near = await to(start, remote.url)
    piece = {"status": 206, "text": "[]", "content_type": JSON}
    remote.reply("GET", "/dicom-web/studies", piece)
    response, _ = await get(near, f"{PROXY}/studies", JSON)
    assert response.status == 502


async def test_what_a_client_holds_already_is_not_sent(near):
    first, _ = await get(near, f"{PROXY}/{SERIES}/metadata", JSON)
    tag = first.headers["ETag"]
    assert tag.startswith("W/")
    again, body = await get(
        near, f"{PROXY}/{SERIES}/metadata", JSON, **{"If-None-Match": tag}
    )
    assert (again.status, body) == (304, b"")


# --- rewriting ------------------------------------------------------------------------


@pytest.mark.parametrize("taken", ["gzip", "identity"])
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_what_comes_compressed_is_rewritten_too(start, remote, coding, taken):
    servers = {"Servers": {NAME: [remote.url]}}
    near = await start(HttpCompressionEnabled=True, DicomWeb=servers)
    data_set = {"00081190": {"vr": "UR", "Value": [f"{remote.url}{STUDY}"]}}
    text = json.dumps([data_set] * 500).encode()
    packed = gzip.compress(text) if coding == "gzip" else zlib.compress(text)
    headers = {"Content-Encoding": coding, "Content-Type": JSON, "Content-MD5": "x"}
    remote.reply("GET", "/dicom-web/studies", {"body": packed, "headers": headers})
    response, body = await get(
        near, f"{PROXY}/studies", JSON, **{"Accept-Encoding": taken}
    )
    assert response.headers.get("Content-Encoding") == (
        taken if taken == "gzip" else None
    )
    assert "Content-MD5" not in response.headers
    plain = gzip.decompress(body) if taken == "gzip" else body
    ours = str(near.make_url(f"{PROXY}/"))
    assert plain == text.replace(remote.url.encode(), ours.encode())
    assert remote.seen[0].headers["Accept-Encoding"] == taken


async def test_what_is_not_rewritten_stays_compressed(start, remote):
    near = await to(start, remote.url)
    packed = gzip.compress(b"pixels")
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/octet-stream"}
    path = f"/dicom-web/{ONE}/frames/1"
    remote.reply("GET", path, {"body": packed, "headers": headers})
    response, body = await get(
        near, f"{PROXY}/{ONE}/frames/1", **{"Accept-Encoding": "gzip"}
    )
    assert response.headers["Content-Encoding"] == "gzip"
    assert body == packed


async def test_relative_addresses_and_those_of_another_host_become_ours(start, remote):
    near = await to(start, remote.url)
    path = f"{SERIES}/metadata"
    texts = [
        "../../bulkdata/a",
        "instances/9.1/bulk/7fe00010",
        f"https://inner.host:8443/x/rs/{ONE}/bulk/1",
        "https://elsewhere.example/b",
    ]
    data_sets = [{"7FE00010": {"vr": "OW", "BulkDataURI": text}} for text in texts]
    remote.reply(
        "GET",
        f"/dicom-web/{path}",
        {"text": json.dumps(data_sets), "content_type": JSON},
    )
    _, body = await get(near, f"{PROXY}/{path}", JSON)
    found = [one["7FE00010"]["BulkDataURI"] for one in json.loads(body)]
    ours = str(near.make_url(f"{PROXY}/"))
    assert found == [
        f"{ours}{STUDY}/bulkdata/a",
        f"{ours}{SERIES}/instances/9.1/bulk/7fe00010",
        f"{ours}{ONE}/bulk/1",
        "https://elsewhere.example/b",
    ]


async def test_a_multipart_answer_that_cannot_be_read_is_no_answer(start, remote):
    near = await to(start, remote.url)
    kind = 'multipart/related; type="application/dicom"'
    remote.reply(
        "GET", f"/dicom-web/{STUDY}", {"body": b"x", "headers": {"Content-Type": kind}}
    )
    response, body = await get(near, f"{PROXY}/{STUDY}")
    assert response.status == 502
    assert b"boundary" in body


# --- storing and deleting -------------------------------------------------------------


async def chunked(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 1000):
        yield body[start : start + 1000]


@pytest.mark.parametrize("takes_chunks", [True, False])
@pytest.mark.parametrize("sends_chunks", [True, False])
async def test_storing_goes_through(start, far, takes_chunks, sends_chunks):
    near = await to(start, url_of(far), ChunkedTransfers=takes_chunks)
    file = image(SOPInstanceUID="9.4")
    body = multipart(file, image(SOPInstanceUID="9.5"))
    response = await near.post(
        f"{PROXY}/{STUDY}",
        data=chunked(body) if sends_chunks else io.BytesIO(body),
        headers={"Content-Type": content_type(), "Accept": JSON},
    )
    assert response.status == 200, await response.text()
    answered = await response.json(content_type=JSON)
    found = answered["00081199"]["Value"][0]["00081190"]["Value"][0]
    assert found.startswith(str(near.make_url(f"{PROXY}/studies/")))
    held, again = await get(
        far, f"{ROOT}/{SERIES}/instances/9.4", "application/dicom; transfer-syntax=*"
    )
    assert (held.status, again) == (200, file)


@pytest.mark.parametrize("takes_chunks", [True, False])
async def test_a_server_that_needs_a_length_gets_one(start, takes_chunks):
    async with misbehaving(answer(200, b"{}", JSON)) as server:
        near = await to(start, server.url, ChunkedTransfers=takes_chunks)
        body = multipart(dicom_file())
        for data in (chunked(body), io.BytesIO(body)):
            headers = {"Content-Type": content_type()}
            response = await near.post(f"{PROXY}/studies", data=data, headers=headers)
            assert response.status == 200
        lengths = [heard.headers.get("Content-Length") for heard in server.heard]
        assert lengths == [None if takes_chunks else str(len(body)), str(len(body))]
        assert [heard.body for heard in server.heard] == [body, body]


async def test_what_comes_compressed_goes_as_it_was_before(start):
    async with misbehaving(answer(200, b"{}", JSON)) as server:
        near = await to(start, server.url)
        body = multipart(dicom_file())
        headers = {"Content-Type": content_type(), "Content-Encoding": "gzip"}
        response = await near.post(
            f"{PROXY}/studies", data=gzip.compress(body), headers=headers
        )
        assert response.status == 200
        assert server.heard[0].body == body
        assert "Content-Encoding" not in server.heard[0].headers


async def test_a_body_that_breaks_off_is_never_whole_for_the_remote(start, far):
    near = await to(start, url_of(far))
    body = multipart(image(SOPInstanceUID="9.7"), image(SOPInstanceUID="9.8"))

    async def half() -> AsyncIterator[bytes]:
        yield body[: len(body) // 3]
        raise RuntimeError("gone")

    with pytest.raises((RuntimeError, aiohttp.ClientError)):
        await near.post(
            f"{PROXY}/studies", data=half(), headers={"Content-Type": content_type()}
        )
    await asyncio.sleep(0.2)
    response, _ = await get(far, f"{ROOT}/{SERIES}/instances/9.7")
    assert response.status == 404


async def test_a_gateway_that_is_read_only_passes_on_what_is_for_others(start, far):
    near = await start(ReadOnly=True, DicomWeb={"Servers": {NAME: [url_of(far)]}})
    response = await near.post(
        f"{PROXY}/studies",
        data=multipart(image(SOPInstanceUID="9.6")),
        headers={"Content-Type": content_type()},
    )
    assert response.status == 200
    response, _ = await get(far, f"{ROOT}/{SERIES}/instances/9.6")
    assert response.status == 200


async def test_deleting_needs_leave(start, far):
    near = await to(start, url_of(far), HasDelete=False)
    response = await near.delete(f"{PROXY}/{STUDY}")
    assert response.status == 403
    assert "HasDelete" in await response.text()
    await near.put(f"{ROOT}/servers/x", json={"Url": url_of(far), "HasDelete": True})
    response = await near.delete(f"{ROOT}/servers/x/{ONE}")
    assert response.status == 204
    response = await near.delete(f"{ROOT}/servers/x/{STUDY}")
    assert response.status == 204
    response, body = await get(far, f"{ROOT}/studies", JSON)
    assert json.loads(body) == []


# --- when it goes wrong ---------------------------------------------------------------


BULK = "application/octet-stream"
PARTS = multipart(b"x" * 300_000, b"y" * 300_000)
ARRAY = json.dumps([{"00100010": {"vr": "LO", "Value": ["x" * 300]}}] * 2000).encode()


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize(
    ("kind", "body"),
    [(BULK, b"x" * 600_000), (content_type(), PARTS), (JSON, ARRAY)],
    ids=["bytes", "parts", "json"],
)
async def test_a_remote_that_breaks_off_breaks_the_answer(start, kind, body, framing):
    async with misbehaving(cut(body, 400_000, framing, kind)) as server:
        near = await to(start, server.url)
        response = await near.get(f"{PROXY}/{STUDY}")
        assert response.status == 200
        with pytest.raises(aiohttp.ClientError):
            await response.read()


@pytest.mark.parametrize("coding", ["", "gzip"])
async def test_parts_without_their_end_break_the_answer(start, coding):
    body = PARTS[:-10]
    packed = gzip.compress(body) if coding else body
    headers = {"Content_Encoding": coding} if coding else {}
    async with misbehaving(answer(200, packed, content_type(), **headers)) as server:
        near = await to(start, server.url)
        response = await near.get(f"{PROXY}/{STUDY}")
        with pytest.raises(aiohttp.ClientError):
            await response.read()


async def test_compressed_text_without_its_end_breaks_the_answer(start):
    packed = gzip.compress(ARRAY)[:-20]
    async with misbehaving(
        answer(200, packed, JSON, Content_Encoding="gzip")
    ) as server:
        near = await to(start, server.url)
        response = await near.get(f"{PROXY}/studies")
        with pytest.raises(aiohttp.ClientError):
            await response.read()


async def test_a_silent_remote_is_not_waited_for(start):
    async with misbehaving(stall(), stall(b"x" * 1000, 500, BULK)) as server:
        near = await to(start, server.url, Timeout=1)
        response, body = await get(near, f"{PROXY}/{STUDY}")
        assert response.status == 504
        assert NAME.encode() in body
        response = await near.get(f"{PROXY}/{STUDY}")
        assert response.status == 200
        with pytest.raises(aiohttp.ClientError):
            await response.read()


async def test_a_reader_that_goes_lets_the_remote_go(start):
    gone = asyncio.Event()

    async def endless(heard: Heard) -> None:
        await heard.head(200, {"Content-Type": BULK})
        try:
            while True:
                await heard.write(b"x" * 65536)
        finally:
            gone.set()

    async with misbehaving(endless) as server:
        near = await to(start, server.url)
        response = await near.get(f"{PROXY}/{STUDY}")
        await response.content.readexactly(100)
        response.close()
        async with asyncio.timeout(5):
            await gone.wait()


async def test_a_remote_that_has_enough_is_heard_at_once(start):
    async with misbehaving(early(413, b"too much")) as server:
        near = await to(start, server.url)
        sent = 0

        async def much() -> AsyncIterator[bytes]:
            nonlocal sent
            while sent < 2**26:
                yield b"x" * 65536
                sent += 65536

        response = await near.post(
            f"{PROXY}/studies", data=much(), headers={"Content-Type": content_type()}
        )
        assert (response.status, await response.text()) == (413, "too much")
        assert sent < 2**26
        response.close()


async def test_a_body_that_stops_is_the_fault_of_the_client(start, remote):
    servers = {"Servers": {NAME: {"Url": remote.url, "Timeout": 9}}}
    near = await start(HttpRequestTimeout=1, DicomWeb=servers)
    stop = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"x"
        await stop.wait()

    response = await near.post(
        f"{PROXY}/studies", data=slow(), headers={"Content-Type": content_type()}
    )
    assert response.status == 408
    stop.set()
    response.close()


@pytest.mark.parametrize("kind", [BULK, content_type(), JSON])
async def test_a_reader_that_waits_makes_the_remote_wait(start, kind):
    sent = 0
    lead = b"--BOUNDARY\r\n\r\n" if "multipart" in kind else b'["'

    async def endless(heard: Heard) -> None:
        nonlocal sent
        await heard.head(200, {"Content-Type": kind})
        await heard.write(lead)
        while sent < 2**28:
            await heard.write(b"x" * 65536)
            sent += 65536

    async with misbehaving(endless) as server:
        near = await to(start, server.url)
        response = await near.get(f"{PROXY}/{STUDY}")
        await response.content.readexactly(100)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.3)
        assert sent < 2**25  # what the sockets of three connections hold
        response.close()


# --- what is kept ---------------------------------------------------------------------


async def count(client) -> int:
    statistics = await (await client.get("/statistics")).json()
    return int(statistics["CountInstances"])


@pytest.fixture
async def counted(remote):
    """A remote that has one study, and tells what it was asked."""
    made = remote.files = files()
    path = f"/dicom-web/{ONE}"
    headers = {"Content-Type": content_type()}
    whole = {"body": multipart(*made), "headers": headers}
    remote.reply("GET", f"/dicom-web/{STUDY}", whole)
    remote.reply("GET", path, {"body": multipart(made[0]), "headers": headers})
    remote.reply("GET", f"{path}/frames/1", {"body": b"theirs"})
    remote.reply("GET", "/dicom-web/studies", {"text": "[]", "content_type": JSON})
    return remote


async def test_what_passes_is_kept_and_then_comes_from_the_archive(start, counted):
    near = await to(start, counted.url, Cache=True)
    response, body = await get(near, f"{PROXY}/{STUDY}", DICOM)
    assert response.status == 200
    assert await count(near) == 3
    asked_before = len(counted.seen)
    for tail in (
        "",
        "/metadata",
        "/frames/1",
        "/rendered",
        "/bulk/7fe00010",
        "/frames",
    ):
        response, body = await get(near, f"{PROXY}/{ONE}{tail}")
        assert response.status == 200, tail
        assert str(near.make_url(f"{ROOT}/studies")).encode() not in body
        assert f"{ROOT}/studies" not in response.headers.get("Content-Location", "")
    assert len(counted.seen) == asked_before
    _, body = await get(near, f"{PROXY}/{ONE}/metadata", JSON)
    address = json.loads(body)[0]["7FE00010"]["BulkDataURI"]
    assert address == str(near.make_url(f"{PROXY}/{ONE}/bulk/7fe00010"))
    await get(near, f"{PROXY}/{STUDY}", DICOM)
    assert len(counted.seen) == asked_before + 1  # a study is always asked for


async def test_frames_of_what_is_not_here_fetch_it_once(start, counted):
    near = await to(start, counted.url, Cache=True)
    paths = [f"{PROXY}/{ONE}/frames/1", f"{PROXY}/{ONE}/rendered"] * 4
    answers = await asyncio.gather(*(get(near, path) for path in paths))
    assert {response.status for response, _ in answers} == {200}
    assert len(answers[0][1]) > 512
    assert counted.paths() == [f"/dicom-web/{ONE}"]
    assert await count(near) == 1


async def test_whoever_wants_it_fresh_gets_it_so(start, counted):
    near = await to(start, counted.url, Cache=True)
    await get(near, f"{PROXY}/{ONE}/frames/1")
    _, body = await get(
        near, f"{PROXY}/{ONE}/frames/1", **{"Cache-Control": "no-cache"}
    )
    assert body == b"theirs"


async def test_what_was_made_for_a_request_is_not_kept(start, counted):
    near = await to(start, counted.url, Cache=True)
    for accept in (
        'multipart/related; type="application/dicom"',
        'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.1',
        "*/*",
    ):
        response, _ = await get(near, f"{PROXY}/{STUDY}", accept)
        assert response.status == 200
    assert await count(near) == 0
    await near.put(
        f"{ROOT}/servers/old",
        json={
            "Url": counted.url,
            "Cache": True,
            "HasWadoRsUniversalTransferSyntax": False,
        },
    )
    await get(near, f"{ROOT}/servers/old/{STUDY}", "*/*")
    assert await count(near) == 3  # it sends them as they are when none is named


async def test_nothing_is_kept_of_an_instance_that_breaks_off(start):
    made = multipart(*files())
    async with misbehaving(cut(made, len(made) - 300)) as server:
        near = await to(start, server.url, Cache=True)
        response = await near.get(f"{PROXY}/{STUDY}", headers={"Accept": DICOM})
        with pytest.raises(aiohttp.ClientError):
            await response.read()
        for _ in range(50):
            if await count(near) == 2:
                break
            await asyncio.sleep(0.05)
        assert await count(near) == 2


async def test_an_instance_of_another_study_is_not_kept(start, remote):
    near = await to(start, remote.url, Cache=True)
    body = multipart(image(StudyInstanceUID="6.6"), image(SOPInstanceUID="9.9"))
    answered = {"body": body, "headers": {"Content-Type": content_type()}}
    remote.reply("GET", f"/dicom-web/{STUDY}", answered)
    response, _ = await get(near, f"{PROXY}/{STUDY}", DICOM)
    assert response.status == 200
    assert await count(near) == 1


@pytest.mark.parametrize(
    "options", [{"ReadOnly": True}, {"MinimumFreeSpaceMB": 2**40}], ids=str
)
async def test_an_archive_that_cannot_keep_breaks_nothing(start, counted, options):
    servers = {"Servers": {NAME: {"Url": counted.url, "Cache": True}}}
    near = await start(DicomWeb=servers, **options)
    response, body = await get(near, f"{PROXY}/{STUDY}", DICOM)
    assert response.status == 200
    assert all(file in body for file in counted.files)
    _, body = await get(near, f"{PROXY}/{ONE}/frames/1")
    assert body == b"theirs"
    assert await count(near) == 0


# --- remotes that lie -----------------------------------------------------------------


async def test_bytes_that_are_no_text_in_a_header_are_told_as_question_marks(start):
    raw = (
        b"HTTP/1.1 302 Else\xff\r\nLocation: http://x/\xe9\xff\r\nContent-Length: 0\r\n"
    )
    async with misbehaving(say(raw + b"\r\n")) as server:
        near = await to(start, server.url)
        response, body = await get(near, f"{PROXY}/studies", JSON)
    assert response.status == 502
    assert "it redirects (302) to http://x/??" in json.loads(body)["Message"]


async def test_headers_that_nobody_may_send_on_are_left_out(start):
    raw = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
        b"X-Bad: a\x01b\r\nCache-Control: max-age=5\x02\r\nX-Good: c\r\n"
        b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    )
    async with misbehaving(say(raw)) as server:
        near = await to(start, server.url)
        response, body = await get(near, f"{PROXY}/{ONE}/bulk/7fe00010")
        assert (response.status, body) == (200, b"ok")
        assert "X-Bad" not in response.headers
        assert response.headers["Cache-Control"] == "private, no-cache"
        assert response.headers["X-Good"] == "c"
        call = await near.post(
            f"{ROOT}/servers/Far%20Away/get", json={"Uri": "/studies"}
        )
        assert (call.status, await call.read()) == (200, b"ok")
        assert "X-Bad" not in call.headers


async def test_a_status_that_means_nothing_is_not_passed_on(start):
    async with misbehaving(answer(999, b"[]", JSON)) as server:
        near = await to(start, server.url)
        response, body = await get(near, f"{PROXY}/studies", JSON)
    assert response.status == 502
    assert "status 999" in json.loads(body)["Message"]


async def test_a_tag_may_hold_a_comma(start, remote):
    near = await to(start, remote.url)
    held = 'W/"a, W/b", "c,d", W/"e"'
    await get(near, f"{PROXY}/studies", JSON, **{"If-None-Match": held})
    assert remote.seen[0].headers["If-None-Match"] == f'{held}, "a, W/b", "e"'


@pytest.mark.parametrize("call", ["proxy", "get", "qido"])
async def test_a_client_that_goes_away_does_not_keep_the_remote_busy(
    start, caplog, call
):
    async with misbehaving(stall()) as server:
        near = await to(start, server.url, Timeout=60)
        asked = json.dumps({"Uri": "/studies"}).encode()
        request = (
            head("GET", f"{PROXY}/studies")
            if call == "proxy"
            else head(
                "POST",
                f"{ROOT}/servers/Far%20Away/{call}",
                Content_Length=str(len(asked)),
            )
            + asked
        )
        async with connected(near) as connection:
            await connection.send(request)
            async with asyncio.timeout(5):
                while not server.heard:  # noqa: ASYNC110 - of another thread's making
                    await asyncio.sleep(0.01)
            connection.vanish()
        async with asyncio.timeout(5):
            assert await server.heard[0].reader.read() == b""
        await asyncio.sleep(0.05)
    assert not [one for one in caplog.records if one.levelname == "ERROR"]
