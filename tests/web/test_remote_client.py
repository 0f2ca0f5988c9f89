"""The client of a remote server, against servers that misbehave for real."""

import asyncio
import json
import logging
import re
import ssl
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway.dicom.xml import to_xml
from gateway.errors import (
    BadConfiguration,
    BadRequest,
    GatewayError,
    RemoteBadRequest,
    RemoteFailure,
    RemoteNotFound,
    RemoteRefused,
    RemoteTimeout,
    Truncated,
)
from gateway.remote.client import DicomWebClient
from gateway.remote.outgoing import Outgoing
from gateway.remote.server import server_of
from tests.certificates import Authority
from tests.factories import multipart
from tests.misbehaving import (
    RELATED,
    Deed,
    Heard,
    Server,
    answer,
    cut,
    deaf,
    drip,
    early,
    hang_up,
    misbehaving,
    say,
    sip,
    stall,
    zipped,
)
from tests.remote import running_remote
from tests.zeros import Zeros, zeros

FIRST, SECOND = b"first\r\n--BOUNDAR", bytes(range(256)) * 400
PARTS = multipart(FIRST, SECOND)
JSON = "application/dicom+json"
MATCHES = [{"0020000D": {"vr": "UI", "Value": ["1.2"]}}]
SEARCH = json.dumps(MATCHES).encode()
PATIENCE = 0.4  # seconds that the client waits

#: Without certificates to check, which take a while to load; most tests have no TLS.
HASTY = Outgoing(PATIENCE, verify_peers=False)

Call = Callable[[DicomWebClient], Awaitable[Any]]


@asynccontextmanager
async def meeting(
    *deeds: Deed, outgoing: Outgoing | None = None, **fields: Any
) -> AsyncIterator[tuple[DicomWebClient, Server]]:
    """A client, and the server that it speaks to."""
    async with misbehaving(*deeds) as server:
        definition = server_of("pacs", {"Url": server.url, **fields})
        client = DicomWebClient(definition, outgoing or HASTY)
        try:
            yield client, server
        finally:
            await client.close()


async def fetch(client: DicomWebClient) -> list[bytes]:
    """The whole parts of a study."""
    found = []
    async with client.retrieve("/studies/1.2") as parts:
        async for part in parts:
            found.append(b"".join([chunk async for chunk in part.chunks]))
    return found


async def search(client: DicomWebClient) -> Any:
    return await client.query("studies", {"PatientName": "Doe"})


async def send(client: DicomWebClient, size: int = 3_000_000) -> Any:
    """Store one file."""
    return await client.store("studies", [zeros(size)], Zeros())


async def send_much(client: DicomWebClient) -> Any:
    """The same, with more than all buffers on the way can hold."""
    return await send(client, 30_000_000)


async def fails(
    call: Call, *deeds: Deed, outgoing: Outgoing | None = None, **fields: Any
) -> RemoteFailure:
    """The error of a call; it must name the server and never what was searched for."""
    async with meeting(*deeds, outgoing=outgoing, **fields) as (client, _):
        with pytest.raises(RemoteFailure) as failed:
            await call(client)
    assert failed.value.server == "pacs"
    assert "the remote server pacs, " in str(failed.value)
    assert "Doe" not in str(failed.value)
    return failed.value


# Answers that are good


@pytest.mark.parametrize(
    "deed",
    [
        answer(200, PARTS),
        answer(206, PARTS, chunked=True),
        answer(200, PARTS, 'Multipart/Related;boundary="BOUNDARY"'),
        answer(200, b"preamble\r\n" + PARTS + b"epilogue"),
        zipped(PARTS, RELATED),
        cut(PARTS, len(PARTS), "none"),
        answer(200, PARTS.replace(b"Content-Type: application/dicom\r\n", b"")),
    ],
    ids=["length", "chunked", "quoted", "around", "gzip", "close", "no type"],
)
async def test_parts_come_whole_however_they_are_framed(deed: Deed) -> None:
    async with meeting(deed) as (client, server):
        assert await fetch(client) == [FIRST, SECOND]
    (heard,) = server.heard
    assert heard.target == "/dicom-web/studies/1.2"
    assert heard.headers["Accept"] == (
        'multipart/related; type="application/dicom"; transfer-syntax=*'
    )
    assert heard.headers["Accept-Encoding"] == "identity"


async def test_line_ends_may_be_bare() -> None:
    body = multipart(b"a\nb", b"c").replace(b"\r\n", b"\n")
    async with meeting(answer(200, body)) as (client, _):
        assert await fetch(client) == [b"a\nb", b"c"]


async def test_a_single_file_is_one_part() -> None:
    async with meeting(answer(200, SECOND, "application/dicom")) as (client, _):
        assert await fetch(client) == [SECOND]


async def test_no_content_is_no_part() -> None:
    async with meeting(answer(204, kind="")) as (client, _):
        assert await fetch(client) == []
    async with meeting(answer(204, kind="")) as (client, _):
        assert await search(client) == []


async def test_what_is_not_read_of_a_part_is_skipped() -> None:
    async with (
        meeting(answer(200, PARTS)) as (client, _),
        client.retrieve("/studies/1.2") as parts,
    ):
        kinds = [part.headers["content-type"] async for part in parts]
        assert kinds == ["application/dicom"] * 2
        assert parts.received == len(PARTS)


async def test_a_reader_may_leave_in_the_middle() -> None:
    async with meeting(stall(PARTS, 5000)) as (client, _):
        async with client.retrieve("/studies/1.2") as parts:
            part = await anext(aiter(parts))
            assert await anext(aiter(part.chunks))
        # It was ended with the call, not left to be cleaned up some time later.
        assert isinstance(part.chunks, AsyncGenerator)
        assert part.chunks.ag_frame is None


async def test_a_server_that_is_slow_is_waited_for() -> None:
    async with meeting(drip(PARTS, PATIENCE / 3, 4)) as (client, _):
        assert await fetch(client) == [FIRST, SECOND]


async def test_a_server_without_the_universal_syntax_is_not_asked_for_it() -> None:
    fields = {"HasWadoRsUniversalTransferSyntax": False}
    async with meeting(answer(200, PARTS), **fields) as (client, server):
        await fetch(client)
    accept = 'multipart/related; type="application/dicom"'
    assert server.heard[0].headers["Accept"] == accept


@pytest.mark.parametrize(
    "deed",
    [
        answer(200, SEARCH, JSON),
        answer(200, b"\n" + SEARCH + b"\n", "text/plain"),
        zipped(SEARCH, JSON),
        answer(
            200,
            b"--BOUNDARY\r\nContent-Type: application/dicom+xml\r\n\r\n"
            + to_xml(MATCHES[0])
            + b"\r\n--BOUNDARY--",
            'multipart/related; type="application/dicom+xml"; boundary=BOUNDARY',
        ),
    ],
    ids=["json", "unnamed", "gzip", "xml"],
)
async def test_a_search_is_answered_by_data_sets(deed: Deed) -> None:
    async with meeting(deed) as (client, server):
        assert await search(client) == MATCHES
    assert server.heard[0].target == "/dicom-web/studies?PatientName=Doe"


async def test_an_answer_that_swells_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.remote.client.LARGEST_SEARCH", 1_000_000)
    error = await fails(search, zipped(bytes(5_000_000), JSON))
    assert "its answer is larger than 1000000 bytes" in str(error)


# Answers that are cut, or nothing


@pytest.mark.parametrize(
    "deed",
    [
        cut(PARTS, 50_000, "length"),
        cut(PARTS, 50_000, "chunked"),
        cut(PARTS, 50_000, "none"),
        cut(PARTS, len(PARTS) - 3, "chunked"),
        cut(PARTS, len(PARTS), "chunked"),
        cut(PARTS + b"\n", len(PARTS), "length"),
        answer(200, PARTS[: -len(b"--\r\n")]),
        zipped(PARTS, RELATED, 300),
        cut(SECOND, 50_000, "length", "application/dicom"),
        cut(SECOND, 50_000, "chunked", "application/dicom"),
    ],
)
async def test_a_cut_answer_does_not_pass_for_a_whole_one(deed: Deed) -> None:
    error = await fails(fetch, deed)
    assert "its answer is cut: " in str(error)
    assert error.retry


async def test_what_was_whole_before_the_cut_is_handed_over() -> None:
    found: list[bytes] = []

    async def read(client: DicomWebClient) -> None:
        async with client.retrieve("/studies/1.2") as parts:
            async for part in parts:
                body = [chunk async for chunk in part.chunks]
                found.append(b"".join(body))

    error = await fails(read, cut(PARTS, 50_000))
    assert "its answer is cut" in str(error)
    assert found == [FIRST]


@pytest.mark.parametrize(
    ("deed", "words"),
    [
        (answer(200, b"--BOUNDARY--\r\n"), "has no part at all"),
        (answer(200, b""), "has no part at all"),
        (answer(200, PARTS, f"{RELATED}X"), "is it the boundary"),
        (answer(200, b"--OTHER--", RELATED), "is it the boundary"),
        (answer(200, PARTS, "multipart/related"), "no boundary parameter"),
        (answer(200, b"<b>log in</b>", "text/html"), "text/html and not.*<b>log in"),
        (answer(200, b"x", ""), "without any Content-Type"),
        (answer(200, b"", ""), "without any Content-Type"),
        (answer(200, PARTS, RELATED, Content_Encoding="br"), "the coding 'br'"),
        (answer(200, PARTS, RELATED, Content_Encoding="gzip"), "not gzip, as it says"),
        (
            answer(200, PARTS.replace(b"application/dicom", b"text/plain")),
            "part 1 of its answer is 'text/plain' and not application/dicom",
        ),
    ],
)
async def test_an_answer_without_files_is_told(deed: Deed, words: str) -> None:
    error = await fails(fetch, deed)
    assert re.search(words, str(error))
    assert not error.retry
    assert error.status == 200


@pytest.mark.parametrize(
    ("deed", "words"),
    [
        (answer(200, b'[{"0008', JSON), 'it is not JSON: [{"0008'),
        (answer(200, b'{"a":1}', JSON), "no array of data sets"),
        (answer(200, b"[1]", JSON), "no array of data sets"),
        (say(b"220 mail.example.org ready\r\n\r\n"), "its answer is not HTTP"),
    ],
)
async def test_a_search_that_is_answered_by_nonsense_is_told(
    deed: Deed, words: str
) -> None:
    error = await fails(search, deed)
    assert words in str(error)
    assert not error.retry


async def test_a_server_that_hangs_up_may_be_better_next_time() -> None:
    error = await fails(search, say(b""))
    assert "closed the connection without an answer" in str(error)
    assert error.retry


async def test_a_server_that_is_not_there_may_come_back() -> None:
    async with meeting(say(b"")) as (_, server):
        pass
    definition = server_of("pacs", [server.url])
    client = DicomWebClient(definition, Outgoing(PATIENCE))
    with pytest.raises(RemoteFailure, match="it cannot be reached") as failed:
        await client.query("studies")
    await client.close()
    assert failed.value.retry
    assert failed.value.status is None


# Silence


@pytest.mark.parametrize(
    ("call", "deed", "words"),
    [
        (fetch, stall(), "it did not answer for 0.4 seconds"),
        (fetch, stall(PARTS, 2000), "was silent in the middle of its answer"),
        (search, stall(SEARCH, 5, JSON), "was silent in the middle of its answer"),
        (send_much, deaf(1000), "it took nothing more of the body for 0.4 seconds"),
        (send, stall(), "it did not answer for 0.4 seconds"),
    ],
    ids=["at first", "in a part", "in a text", "while we send", "after we sent"],
)
async def test_silence_ends_a_call(call: Call, deed: Deed, words: str) -> None:
    error = await fails(call, deed)
    assert isinstance(error, RemoteTimeout)
    assert error.retry
    assert words in str(error)


async def test_the_timeout_of_the_server_comes_before_that_of_all() -> None:
    slow = answer(200, SEARCH, JSON)

    async def late(heard: Heard) -> None:
        await asyncio.sleep(1.5 * PATIENCE)
        await slow(heard)

    async with meeting(late, Timeout=5) as (client, _):
        assert await search(client) == MATCHES


async def test_no_timeout_is_no_limit() -> None:
    async with meeting(
        drip(PARTS, 0.01, 3), outgoing=Outgoing(0, verify_peers=False)
    ) as (client, _):
        assert await fetch(client) == [FIRST, SECOND]


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_may_be_slow_to_come_and_slow_to_go(chunked: bool) -> None:
    async def slowly() -> AsyncIterator[bytes]:
        for _ in range(3):
            await asyncio.sleep(PATIENCE / 2)
            yield b"x" * 10

    then = answer(200, SEARCH, JSON)
    deed = then if chunked else sip(PATIENCE / 2, 10, then)
    length = None if chunked else 30
    async with (
        meeting(deed) as (client, server),
        client.call("POST", "studies", body=slowly(), length=length) as found,
    ):
        assert found.status == 200
    assert server.heard[0].whole


async def test_a_server_that_reads_slowly_gets_a_large_body() -> None:
    deed = sip(PATIENCE / 16, 500_000, answer(200, b"", ""))
    async with meeting(deed, ChunkedTransfers=False) as (client, server):
        assert not (await send(client, 12_000_000)).described
    assert server.heard[0].whole


# Statuses


@pytest.mark.parametrize("call", [fetch, search, send], ids=["GET", "search", "POST"])
@pytest.mark.parametrize(
    ("status", "kind", "retry"),
    [
        (400, RemoteBadRequest, False),
        (401, RemoteRefused, False),
        (403, RemoteRefused, False),
        (404, RemoteNotFound, False),
        (409, RemoteFailure, False),
        (413, RemoteFailure, False),
        (429, RemoteFailure, True),
        (500, RemoteFailure, True),
        (503, RemoteFailure, True),
    ],
)
async def test_a_status_that_is_no_success_is_told_with_its_words(
    call: Call, status: int, kind: type[RemoteFailure], retry: bool
) -> None:
    body = b'{"Message":\r\n "no\x00pe"}'
    deed = early if call is send and status == 413 else answer
    error = await fails(call, deed(status, body, Retry_After="7"))
    assert type(error) is kind
    assert (error.status, error.retry) == (status, retry)
    assert error.retry_after == (7.0 if retry else None)
    assert f"it answered {status} Some Reason" in str(error)
    assert '{"Message": "no?pe"}' in str(error)


async def test_a_conflict_without_a_list_is_told_with_its_words() -> None:
    error = await fails(send, answer(409, b"it is locked", "text/plain"))
    assert "it answered 409 Some Reason: it is locked" in str(error)


async def test_an_explanation_that_is_cut_is_told_as_far_as_it_came() -> None:
    async def deed(heard: Heard) -> None:
        await heard.read()
        await heard.head(500, {"Content-Length": "100"})
        await heard.write(b"the disk is")

    error = await fails(search, deed)
    assert str(error).endswith("it answered 500 Some Reason: the disk is [cut]")


async def test_a_raw_call_hands_over_any_status_and_coding() -> None:
    async def body(client: DicomWebClient) -> tuple[int, str, bytes]:
        async with client.call("GET", "x", raw=True) as found:
            coding = found.headers.get("Content-Encoding", "")
            chunks = [chunk async for chunk in found.chunks()]
            return found.status, coding, b"".join(chunks)

    async with meeting(answer(503, b"later", "text/plain")) as (client, _):
        assert await body(client) == (503, "", b"later")
    async with meeting(zipped(SEARCH, JSON)) as (client, _):
        status, coding, packed = await body(client)
    assert (status, coding, packed[:2]) == (200, "gzip", b"\x1f\x8b")


# Redirects


async def test_a_redirect_within_the_server_is_followed_by_a_get() -> None:
    moved = answer(307, kind="", Location="/elsewhere/1?x=y")
    async with meeting(moved, answer(200, PARTS), Username="a") as (client, server):
        assert await fetch(client) == [FIRST, SECOND]
    assert [heard.target for heard in server.heard] == [
        "/dicom-web/studies/1.2",
        "/elsewhere/1?x=y",
    ]
    assert "Authorization" in server.heard[1].headers


async def test_a_redirect_to_another_host_is_told_and_gets_no_password() -> None:
    async with misbehaving(answer(200, PARTS)) as other:
        moved = answer(302, kind="", Location=f"{other.url}?PatientName=Doe")
        error = await fails(fetch, moved, Username="a", Password="b")
        assert f"it redirects (302) to {other.url}, which is another" in str(error)
        assert not error.retry
        assert other.heard == []


async def test_a_loop_of_redirects_ends() -> None:
    error = await fails(fetch, answer(302, kind="", Location="/dicom-web/x"))
    assert "after 5 redirects already" in str(error)


async def test_a_redirect_of_a_store_is_told() -> None:
    error = await fails(send, answer(308, kind="", Location="/dicom-web/x"))
    assert "it redirects (308) to /dicom-web/x, which is not followed" in str(error)


# What goes


def outcome(stored: list[str], failed: list[str] | None = None) -> dict[str, Any]:
    def items(uids: list[str]) -> list[dict[str, Any]]:
        reason = {"vr": "US", "Value": [0xA700]}
        return [
            {"00081155": {"vr": "UI", "Value": [uid]}, "00081197": reason}
            for uid in uids
        ]

    found = {"00081199": {"vr": "SQ", "Value": items(stored)}}
    if failed:
        found["00081198"] = {"vr": "SQ", "Value": items(failed)}
    return found


@pytest.mark.parametrize("status", [200, 202, 409])
@pytest.mark.parametrize("form", ["json", "xml"])
async def test_a_partial_failure_is_read(status: int, form: str) -> None:
    said = outcome(["1.1"], ["1.2"])
    body = json.dumps(said).encode() if form == "json" else to_xml(said)
    deed = answer(status, body, f"application/dicom+{form}")
    async with meeting(deed) as (client, _):
        found = await send(client, 10)
    assert found.stored == ("1.1",)
    ((instance, reason, words),) = found.failed
    assert (instance, reason) == ("1.2", 0xA700)
    assert words == "out of resources (A700H)"


async def test_an_answer_to_a_store_that_says_nothing_useful_is_no_success() -> None:
    error = await fails(send, answer(200, b"<html>log in</html>", "text/html"))
    assert "does not say what was stored: <html>log in" in str(error)
    assert not error.retry


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_store_is_framed_as_the_server_wants(chunked: bool) -> None:
    deed = answer(200, json.dumps(outcome(["1.1"])).encode(), JSON)
    counted: list[int] = []
    async with meeting(deed, ChunkedTransfers=chunked) as (client, server):
        parts = [zeros(70_000), zeros(0), zeros(3)]
        found = await client.store("/studies", parts, Zeros(), sent=counted.append)
    assert found.stored == ("1.1",)
    (heard,) = server.heard
    assert ("Content-Length" in heard.headers) is not chunked
    assert heard.headers["Accept"] == JSON
    assert heard.headers["Content-Type"].startswith('multipart/related; type="appl')
    assert "Expect" not in heard.headers
    boundary = heard.headers["Content-Type"].rpartition("=")[2].encode()
    assert heard.body.count(b"--" + boundary) == 4
    assert sum(counted) == len(heard.body)


async def test_a_server_that_needs_a_length_gets_one_from_then_on() -> None:
    good = answer(200, json.dumps(outcome(["1.1"])).encode(), JSON)
    async with meeting(early(411), good) as (client, server):
        assert (await send(client)).stored == ("1.1",)
        assert (await send(client, 10)).stored == ("1.1",)
    assert ["Content-Length" in one.headers for one in server.heard] == [0, 1, 1]


async def test_a_server_that_refuses_lengths_as_well_is_told() -> None:
    error = await fails(send, early(411, b"no"))
    assert error.status == 411
    assert '"ChunkedTransfers"' in str(error)


@pytest.mark.parametrize("status", [401, 413])
async def test_an_answer_before_the_body_went_ends_it(status: int) -> None:
    sent: list[int] = []

    async def store(client: DicomWebClient) -> None:
        await client.store("studies", [zeros(200_000_000)], Zeros(), sent=sent.append)

    error = await fails(store, early(status, b"stop"))
    assert re.search(f"{status} Some Reason.*: stop", str(error))
    assert sum(sent) < 150_000_000


async def test_a_connection_that_breaks_while_we_send_may_be_better() -> None:
    error = await fails(send, hang_up(1_000_000))
    # Who notices first, the one that sends or the one that reads, makes the words.
    assert re.search("the connection broke|closed the connection", str(error))
    assert error.retry


async def test_success_before_the_body_went_is_none_unless_it_says_of_what() -> None:
    error = await fails(send_much, early(200))
    assert "it answered before it had all" in str(error)
    said = json.dumps(outcome(["1.1"])).encode()
    async with meeting(early(200, said)) as (client, _):
        assert (await send_much(client)).stored == ("1.1",)


async def broken() -> AsyncIterator[bytes]:
    yield b"x" * 100_000
    raise OSError("the disk is gone")


@pytest.mark.parametrize("length", [None, 1_000_000])
async def test_a_body_that_fails_is_not_the_fault_of_the_server(
    length: int | None,
) -> None:
    async with meeting(answer()) as (client, server):
        with pytest.raises(OSError, match="the disk is gone"):
            async with client.call("POST", "x", body=broken(), length=length):
                pass
    # And it must not take for complete what came.
    assert not any(heard.whole for heard in server.heard)


@pytest.mark.parametrize(("length", "words"), [(5, "longer"), (500, "after 10 of 500")])
async def test_a_body_of_another_length_is_not_sent_as_whole(
    length: int, words: str
) -> None:
    async def ten() -> AsyncIterator[bytes]:
        yield bytes(10)

    async with meeting(answer()) as (client, server):
        with pytest.raises(Truncated, match=words):
            async with client.call("POST", "x", body=ten(), length=length):
                pass
    assert not any(heard.whole for heard in server.heard)


async def test_a_file_that_is_shorter_than_the_index_says_breaks_the_store() -> None:
    async with meeting(answer()) as (client, server):
        with pytest.raises(GatewayError, match="shorter than it was"):
            await client.store("studies", [zeros(5, there=3)], Zeros())
    assert not any(heard.whole for heard in server.heard)


async def test_a_body_is_closed_when_the_call_is_cancelled() -> None:
    closed, begun = asyncio.Event(), asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 100_000
                begun.set()
        finally:
            closed.set()

    async def post(client: DicomWebClient) -> None:
        async with client.call("POST", "x", body=endless()):
            pass

    async with meeting(deaf(1000), Timeout=60) as (client, _):
        task = asyncio.create_task(post(client))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert closed.is_set()


# Headers


async def test_headers_of_the_request_replace_those_of_the_server() -> None:
    fields = {
        "HttpHeaders": {"X-Site": "server", "X-Other": "server"},
        "Username": "älice",
        "Password": "s:cret",
    }
    given = {
        "x-site": "request",
        "Transfer-Encoding": "x",
        "Content-Length": "7",
        "Expect": "100-continue",
        "Connection": "Upgrade",
    }
    async with (
        meeting(answer(), **fields) as (client, server),
        client.call("GET", "studies", headers=given),
    ):
        pass
    headers = server.heard[0].headers
    assert headers.getall("X-Site") == ["request"]
    assert headers["X-Other"] == "server"
    assert headers["Authorization"] == "Basic w6RsaWNlOnM6Y3JldA=="
    assert headers["User-Agent"] == "dicomweb-gateway"
    for name in ("Transfer-Encoding", "Content-Length", "Expect", "Upgrade"):
        assert name not in headers
    assert "Accept-Encoding" not in headers


async def test_an_authorization_that_is_given_replaces_the_password() -> None:
    fields = {"HttpHeaders": {"authorization": "Bearer t"}, "Username": "alice"}
    async with (
        meeting(answer(), **fields) as (client, server),
        client.call("GET", "studies"),
    ):
        pass
    assert server.heard[0].headers.getall("Authorization") == ["Bearer t"]


@pytest.mark.parametrize("headers", [{"A b": "x"}, {"A": "x\r\nB: y"}, {"": "x"}])
async def test_headers_that_are_none_are_refused(headers: dict[str, str]) -> None:
    async with meeting(answer()) as (client, server):
        with pytest.raises(BadRequest, match='"HttpHeaders"'):
            async with client.call("GET", "studies", headers=headers):
                pass
    assert server.heard == []


async def test_arguments_are_sorted_and_encoded() -> None:
    async with meeting(answer(204, kind="")) as (client, server):
        await client.query("//studies", {"b": "ä b", "a": ""})
        await client.delete("studies/1.2")
    search, deletion = server.heard
    assert search.target == "/dicom-web/studies?a&b=%C3%A4%20b"
    assert (deletion.method, deletion.target) == ("DELETE", "/dicom-web/studies/1.2")


# The way


async def test_requests_go_through_the_proxy() -> None:
    async with misbehaving(answer(200, SEARCH, JSON)) as proxy:
        outgoing = Outgoing(5, f"alice:s%40cret@localhost:{proxy.port}")
        definition = server_of("pacs", ["http://pacs.invalid/dicom-web/"])
        client = DicomWebClient(definition, outgoing)
        assert await client.query("studies") == MATCHES
        await client.close()
    (heard,) = proxy.heard
    assert heard.target == "http://pacs.invalid/dicom-web/studies"
    assert heard.headers["Proxy-Authorization"] == "Basic YWxpY2U6c0BjcmV0"
    assert "secret" not in repr(outgoing)


async def test_only_the_proxy_gets_its_password() -> None:
    async with misbehaving(early(502, b"no way")) as proxy:
        outgoing = Outgoing(5, f"alice:s%40cret@localhost:{proxy.port}")
        definition = server_of("pacs", ["https://pacs.invalid/dicom-web/"])
        client = DicomWebClient(definition, outgoing)
        with pytest.raises(RemoteFailure, match="the proxy answered 502") as failed:
            await client.query("studies")
        await client.close()
    (heard,) = proxy.heard
    assert (heard.method, heard.target) == ("CONNECT", "pacs.invalid:443")
    assert heard.headers["Proxy-Authorization"] == "Basic YWxpY2U6c0BjcmV0"
    assert "cret" not in "".join(traceback.format_exception(failed.value))
    assert failed.value.retry


async def test_a_proxy_that_is_not_there_is_told() -> None:
    async with misbehaving(answer()) as proxy:
        pass
    outgoing = Outgoing(5, f"alice:secret@localhost:{proxy.port}")
    error = await fails(search, answer(), outgoing=outgoing)
    assert "the proxy cannot be reached" in str(error)
    assert "secret" not in str(error)
    assert error.retry


@pytest.mark.parametrize("text", ["proxy", "ftp//x:1", "http://[x:1", "a:b:c:d", ":"])
def test_a_proxy_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadConfiguration, match='"HttpProxy"'):
        Outgoing(http_proxy=text).proxy()


async def test_a_certificate_for_another_name_is_told(tmp_path: Path) -> None:
    def made() -> tuple[Path, ssl.SSLContext]:
        authority = Authority(tmp_path)
        pair = authority.issue("other", ("other.example.org",))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        return authority.certificate, context

    authority, context = await asyncio.to_thread(made)
    async with misbehaving(answer(200, SEARCH, JSON), context=context) as server:
        outgoing = Outgoing(5, ca_certificates=authority)
        client = DicomWebClient(server_of("pacs", [server.url]), outgoing)
        words = "pacs.*its certificate is not accepted: .*localhost"
        with pytest.raises(RemoteFailure, match=words) as failed:
            await client.query("studies")
        await client.close()
        assert not failed.value.retry
        careless = Outgoing(5, verify_peers=False)
        client = DicomWebClient(server_of("pacs", [server.url]), careless)
        assert await client.query("studies") == MATCHES
        await client.close()


async def test_tls_with_a_server_that_has_none_is_told() -> None:
    async with misbehaving(say(b"HTTP/1.1 400 Bad\r\n\r\n")) as server:
        url = server.url.replace("http:", "https:")
        client = DicomWebClient(server_of("pacs", [url]), Outgoing(PATIENCE))
        with pytest.raises(RemoteFailure, match="pacs"):
            await client.query("studies")
        await client.close()


def token(text: str) -> Deed:
    body = json.dumps({"access_token": text, "expires_in": 3600}).encode()
    return answer(200, body, "application/json")


async def test_a_token_that_is_refused_is_replaced_once() -> None:
    async with misbehaving(token("one"), token("two")) as endpoint:
        oauth2 = {"TokenUrl": endpoint.url, "ClientId": "a", "ClientSecret": "b"}
        deeds = (answer(401), answer(200, SEARCH, JSON))
        async with meeting(*deeds, OAuth2=oauth2) as (client, server):
            assert await search(client) == MATCHES
            assert await search(client) == MATCHES
    bearers = [heard.headers["Authorization"] for heard in server.heard]
    assert bearers == ["Bearer one", "Bearer two", "Bearer two"]
    assert len(endpoint.heard) == 2


async def test_a_server_that_refuses_every_token_is_told() -> None:
    async with misbehaving(token("one"), token("two")) as endpoint:
        oauth2 = {"TokenUrl": endpoint.url, "ClientId": "a", "ClientSecret": "b"}
        error = await fails(search, answer(401), OAuth2=oauth2)
    assert isinstance(error, RemoteRefused)


async def test_a_store_goes_again_with_a_new_token() -> None:
    async with misbehaving(token("one"), token("two")) as endpoint:
        oauth2 = {"TokenUrl": endpoint.url, "ClientId": "a", "ClientSecret": "b"}
        deeds = (early(401), answer(200, b"", ""))
        async with meeting(*deeds, OAuth2=oauth2) as (client, server):
            assert not (await send(client)).described
    assert [heard.whole for heard in server.heard] == [False, True]


async def test_the_log_has_a_line_for_each_request_and_no_patient(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "gateway.remote")
    async with meeting(answer(200, SEARCH, JSON)) as (client, _):
        await search(client)
    assert caplog.messages == []
    outgoing = Outgoing(PATIENCE, verify_peers=False, verbose=True)
    async with meeting(answer(200, SEARCH, JSON), outgoing=outgoing) as (
        client,
        server,
    ):
        await search(client)
    assert caplog.messages == [f"GET {server.url}studies: 200"]


# Connections


async def test_a_connection_serves_several_calls() -> None:
    async with running_remote() as remote:
        peers = []

        async def note(request: web.Request) -> web.Response:
            assert request.transport is not None
            peers.append(request.transport.get_extra_info("peername"))
            return web.json_response([])

        remote.on("GET", "/dicom-web/studies", note)
        client = DicomWebClient(server_of("pacs", [remote.url]), Outgoing(5))
        for _ in range(3):
            assert await client.query("studies") == []
        await client.close()
    assert len(set(peers)) == 1


async def test_a_client_that_retires_lets_its_calls_end() -> None:
    async with meeting(drip(PARTS, 0.02, 5)) as (client, _):
        task = asyncio.create_task(fetch(client))
        await asyncio.sleep(0.05)
        await client.retire()
        assert await task == [FIRST, SECOND]
        # Who still holds it can go on, on a connection for this call alone.
        assert await fetch(client) == [FIRST, SECOND]


# What those who asked us are told


@pytest.mark.parametrize(
    ("deed", "status", "number", "words"),
    [
        (answer(503, b"full"), 502, 9, "it answered 503 Some Reason: full"),
        (answer(401, b"who"), 502, 9, "it answered 401 Some Reason: who"),
        (answer(400, b"what"), 400, 8, "it answered 400 Some Reason: what"),
        (answer(404, b"gone"), 404, 17, "it answered 404 Some Reason: gone"),
        (stall(), 504, 16, "it did not answer for 1 seconds"),
        (hang_up(), 502, 9, "the remote server pacs"),
    ],
)
async def test_what_a_remote_does_wrong_has_a_status_of_ours(
    start: Any, deed: Deed, status: int, number: int, words: str
) -> None:
    async with misbehaving(deed) as server:
        definition = {"Url": server.url, "Timeout": 1}
        gateway = await start(DicomWeb={"Servers": {"pacs": definition}})
        response = await gateway.post(
            "/dicom-web/servers/pacs/qido", data=b'{"Uri": "/studies"}'
        )
        said = await response.json(content_type=None)
    assert (response.status, said["OrthancStatus"]) == (status, number)
    assert "the remote server pacs" in said["Message"]
    assert words in said["Message"]
    assert "WWW-Authenticate" not in response.headers


async def test_an_unknown_server_is_not_found(client: Any) -> None:
    response = await client.post("/dicom-web/servers/x/get", data=b'{"Uri": "/"}')
    said = await response.json(content_type=None)
    assert (response.status, said["OrthancStatus"]) == (404, 7)
    assert said["Message"] == "Inexistent server: x"
