"""Bodies that are long: read from the socket itself, and sent by the kernel.

With asyncio's loop and with the one that the server runs on, and with TLS, where neither
can be.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway.errors import NotFound, RemoteFailure, RemoteTimeout
from gateway.remote.client import DicomWebClient
from gateway.remote.download import WORTH_IT
from gateway.remote.file_upload import CHUNK, chunked
from gateway.remote.outgoing import Outgoing
from gateway.remote.server import server_of
from gateway.storage.reading import FileRange, Piece
from gateway.storage.sending import Sending
from tests.certificates import Authority
from tests.factories import multipart
from tests.misbehaving import (
    Deed,
    Heard,
    Server,
    answer,
    cut,
    deaf,
    drip,
    misbehaving,
    stall,
)
from tests.zeros import Zeros, zeros

PATIENCE = 0.5  # seconds that the client waits
FILES = [bytes(range(256)) * 12_000, b"small", bytes(reversed(range(256))) * 15_000]
PARTS = multipart(*FILES)
MIDDLE = 5_000_000
JSON = "application/dicom+json"
STORED = {"00081199": {"vr": "SQ", "Value": [{"00081155": {"Value": ["1.1"]}}]}}
GOOD = answer(200, json.dumps(STORED).encode(), JSON)

Scenario = Callable[[DicomWebClient, Server], Coroutine[Any, Any, None]]


@asynccontextmanager
async def meeting(
    *deeds: Deed, context: ssl.SSLContext | None = None, **fields: Any
) -> AsyncIterator[tuple[DicomWebClient, Server]]:
    """A client, and the server that it speaks to."""
    async with misbehaving(*deeds, context=context) as server:
        definition = server_of("pacs", {"Url": server.url, **fields})
        client = DicomWebClient(definition, Outgoing(PATIENCE, verify_peers=False))
        try:
            yield client, server
        finally:
            await client.close()


def play(scenario: Scenario, *deeds: Deed, loop: str, **fields: Any) -> None:
    """Let a client and a server meet."""

    async def met() -> None:
        async with meeting(*deeds, **fields) as (client, server):
            await scenario(client, server)

    (uvloop.run if loop == "uvloop" else asyncio.run)(met())


on_both_loops = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


async def fetch(client: DicomWebClient) -> list[bytes]:
    """The whole parts of a study."""
    found = []
    async with client.retrieve("/studies/1.2") as parts:
        async for part in parts:
            found.append(b"".join([chunk async for chunk in part.chunks]))
        assert parts.received == len(PARTS)
    return found


@on_both_loops
@pytest.mark.parametrize(
    "deed", [answer(200, PARTS), drip(PARTS, 0.02, 8), answer(200, PARTS, chunked=True)]
)
def test_a_long_answer_comes_whole_again_and_again(loop: str, deed: Deed) -> None:
    async def scenario(client: DicomWebClient, server: Server) -> None:
        for _ in range(3):
            assert await fetch(client) == FILES
        # Several at a time are not mixed up.
        assert await asyncio.gather(fetch(client), fetch(client)) == [FILES, FILES]

    play(scenario, deed, loop=loop)


@on_both_loops
@pytest.mark.parametrize("size", [1_000, 2_500_000, 8_000_000])
def test_a_connection_is_used_again_or_closed(loop: str, size: int) -> None:
    connections = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                head = "HTTP/1.1 200 OK\r\nContent-Type: application/dicom\r\n"
                head += f"Content-Length: {size}\r\n\r\n"
                writer.write(head.encode() + bytes(size))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client went
        finally:
            writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = "http://127.0.0.1:{}/".format(*server.sockets[0].getsockname()[1:])
        client = DicomWebClient(server_of("pacs", [url]), Outgoing(PATIENCE))
        async with server:
            for _ in range(20):
                async with client.call("GET", "x") as found:
                    assert len(await found.body(size)) == size
            await client.close()
        assert len(connections) == 1 if size < WORTH_IT else len(connections) > 1

    (uvloop.run if loop == "uvloop" else asyncio.run)(scenario())


@on_both_loops
@pytest.mark.parametrize(
    ("deed", "kind", "words"),
    [
        (cut(PARTS, MIDDLE), RemoteFailure, "its answer is cut: "),
        (stall(PARTS, MIDDLE), RemoteTimeout, "was silent in the middle"),
    ],
)
def test_a_long_answer_that_breaks_off_is_told(
    loop: str, deed: Deed, kind: type[RemoteFailure], words: str
) -> None:
    async def scenario(client: DicomWebClient, server: Server) -> None:
        with pytest.raises(kind, match=words) as failed:
            await fetch(client)
        assert failed.value.retry

    play(scenario, deed, loop=loop)


@on_both_loops
def test_who_leaves_a_long_answer_closes_the_connection(loop: str) -> None:
    closed = asyncio.Event()

    async def deed(heard: Heard) -> None:
        stalling = asyncio.create_task(stall(PARTS, MIDDLE)(heard))
        with suppress(ConnectionError):
            await heard.reader.read()
        closed.set()
        stalling.cancel()

    async def scenario(client: DicomWebClient, server: Server) -> None:
        async with client.retrieve("/studies/1.2") as parts:
            came = 0
            async for chunk in (await anext(aiter(parts))).chunks:
                came += len(chunk)
                if came > 2_500_000:
                    break
        await asyncio.wait_for(closed.wait(), 10)

    play(scenario, deed, loop=loop)


@on_both_loops
@pytest.mark.parametrize("takes_chunks", [True, False])
def test_many_files_go_in_one_body(loop: str, takes_chunks: bool) -> None:
    sizes = [20_000_000, 1, 0, 3_000_000]
    sent: list[int] = []

    async def scenario(client: DicomWebClient, server: Server) -> None:
        for _ in range(2):
            files = [zeros(size) for size in sizes]
            found = await client.store("studies", files, Zeros(), sent=sent.append)
            assert found.stored == ("1.1",)
        for heard in server.heard:
            boundary = heard.headers["Content-Type"].rpartition("=")[2]
            kind, framed = ("Content-Type", "application/dicom"), []
            for size in sizes:
                head = [f"--{boundary}", ": ".join(kind), f"Content-Length: {size}"]
                framed += ["\r\n".join([*head, "", ""]).encode() + bytes(size)]
            whole = b"\r\n".join([*framed, f"--{boundary}--\r\n".encode()])
            assert heard.body == whole
            assert ("Content-Length" in heard.headers) is not takes_chunks
        assert sum(sent) == sum(len(heard.body) for heard in server.heard)
        # How far it is can be seen meanwhile.
        assert max(sent) < 20_000_000

    play(scenario, GOOD, loop=loop, ChunkedTransfers=takes_chunks)


@on_both_loops
def test_a_store_that_is_cancelled_leaves_no_connection(loop: str) -> None:
    begun = asyncio.Event()

    async def deed(heard: Heard) -> None:
        asyncio.get_running_loop().call_later(0.1, begun.set)
        await deaf(1000)(heard)

    async def scenario(client: DicomWebClient, server: Server) -> None:
        files = [zeros(100_000_000)]
        task = asyncio.create_task(client.store("studies", files, Zeros()))
        await asyncio.wait_for(begun.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        reader = server.heard[0].reader
        server.heard[0].writer.transport.resume_reading()  # type: ignore[attr-defined]
        size = 0
        while chunk := await asyncio.wait_for(reader.read(2**20), 10):
            size += len(chunk)
        assert size < 50_000_000

    play(scenario, deed, loop=loop)


@on_both_loops
def test_a_file_that_is_gone_is_not_the_fault_of_the_server(loop: str) -> None:
    class Lost(Zeros):
        def open(self, name: str) -> int:
            raise NotFound("the file of this instance is gone")

    async def scenario(client: DicomWebClient, server: Server) -> None:
        with pytest.raises(NotFound):
            await client.store("studies", [zeros(10)], Lost())

    play(scenario, GOOD, loop=loop)


@on_both_loops
def test_with_tls_they_are_read_and_written(loop: str, tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("server", ("localhost",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    sent: list[int] = []

    class Unsent(Zeros):
        def sending(self, pieces: object) -> Sending:
            raise AssertionError("the kernel would send it without encryption")

    async def scenario(client: DicomWebClient, server: Server) -> None:
        assert await fetch(client) == FILES
        files = [zeros(3_000_000), zeros(2)]
        found = await client.store("studies", files, Unsent(), sent=sent.append)
        assert found.stored == ("1.1",)
        assert len(server.heard[1].body) == sum(sent) > 3_000_000

    play(scenario, answer(200, PARTS), GOOD, loop=loop, context=context)


def test_what_stands_before_a_file_is_in_one_chunk_with_it() -> None:
    pieces: list[Piece] = [b"head", FileRange("a", 5, 25), b"next", b"!", b"end"]
    assert chunked(pieces) == [
        b"18\r\nhead",
        FileRange("a", 5, 25),
        b"\r\n8\r\nnext!end\r\n",
    ]
    assert chunked([FileRange("a", 0, 0)]) == [b""]


def test_no_chunk_is_longer_than_a_server_can_count() -> None:
    size = 2 * CHUNK + 3
    assert chunked([b"head", FileRange("a", 10, 10 + size), b"end"]) == [
        b"%x\r\nhead" % (CHUNK + 4),
        FileRange("a", 10, 10 + CHUNK),
        b"\r\n%x\r\n" % CHUNK,
        FileRange("a", 10 + CHUNK, 10 + 2 * CHUNK),
        b"\r\n3\r\n",
        FileRange("a", 10 + 2 * CHUNK, 10 + size),
        b"\r\n3\r\nend\r\n",
    ]
