"""A server that does on the wire what no library would: it stalls, cuts, lies.

It speaks HTTP by hand, one request on each connection. What it does is a `Deed`, a
coroutine that gets the request, whose body is not read yet, and writes whatever it
likes; the connection is closed behind it.

::

    async with misbehaving(cut(body, 100)) as server:
        ... server.url, server.heard
"""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from multidict import CIMultiDict

BOUNDARY = "BOUNDARY"
RELATED = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


@dataclass(slots=True)
class Heard:
    """A request that came."""

    method: str
    target: str
    headers: "CIMultiDict[str]"
    reader: asyncio.StreamReader = field(repr=False)
    writer: asyncio.StreamWriter = field(repr=False)
    body: bytes = b""  # as far as it was read
    whole: bool = False  # whether the body came to its end

    async def read(self) -> bytes:
        """Read the body, however it is framed."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(await self.reader.readline(), 16):
                self.body += await self.reader.readexactly(size)
                await self.reader.readexactly(2)
            await self.reader.readexactly(2)
        else:
            length = int(self.headers.get("Content-Length", "0"))
            self.body += await self.reader.readexactly(length)
        self.whole = True
        return self.body

    async def write(self, raw: bytes) -> None:
        """Write bytes as they are."""
        self.writer.write(raw)
        await self.writer.drain()

    async def head(self, status: int, headers: dict[str, str]) -> None:
        """Write the head of an answer."""
        lines = [f"HTTP/1.1 {status} Some Reason", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        await self.write("\r\n".join([*lines, "", ""]).encode())


Deed = Callable[[Heard], Awaitable[None]]


class Server:
    """Where it is, and what it was asked."""

    def __init__(self, deeds: tuple[Deed, ...], scheme: str) -> None:
        self._deeds = list(deeds)
        self._scheme = scheme
        self._tasks: set[asyncio.Task[None]] = set()
        self.heard: list[Heard] = []
        self.port = 0

    @property
    def url(self) -> str:
        """The address to give to a client."""
        return f"{self._scheme}://localhost:{self.port}/dicom-web/"

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One request: the deeds take turns, the last one stays."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            heard = await _heard(reader, writer)
            self.heard.append(heard)
            deed = self._deeds.pop(0) if len(self._deeds) > 1 else self._deeds[0]
            await deed(heard)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client went, which is its right
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            self._tasks.discard(task)
            writer.close()

    async def stop(self) -> None:
        """End the deeds that still go on."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def misbehaving(
    *deeds: Deed, context: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    """Run it on a free port."""
    server = Server(deeds, "https" if context else "http")
    listening = await asyncio.start_server(
        server.serve, "127.0.0.1", 0, ssl=context, limit=2**16
    )
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        await server.stop()
        await listening.wait_closed()


async def _heard(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Heard:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
    method, target, _ = first.split(" ")
    pairs = [line.split(": ", 1) for line in lines]
    headers = CIMultiDict((name, value) for name, value in pairs)
    return Heard(method, target, headers, reader, writer)


# Deeds


def answer(
    status: int = 200,
    body: bytes = b"",
    kind: str = RELATED,
    *,
    chunked: bool = False,
    **headers: str,
) -> Deed:
    """Answer as it should be, whatever the status."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    framing = (
        {"Transfer-Encoding": "chunked"}
        if chunked
        else {"Content-Length": str(len(body))}
    )

    async def deed(heard: Heard) -> None:
        await heard.read()
        kinds = {"Content-Type": kind} if kind else {}
        await heard.head(status, {**kinds, **framing, **given})
        await heard.write(_chunk(body) + b"0\r\n\r\n" if chunked else body)

    return deed


def zipped(body: bytes, kind: str, size: int | None = None) -> Deed:
    """Answer compressed, or only so many bytes of it."""
    packed = gzip.compress(body)
    return answer(200, packed[:size], kind, Content_Encoding="gzip")


def cut(body: bytes, at: int, framing: str = "length", kind: str = RELATED) -> Deed:
    """Close the connection after so many bytes of the body."""

    async def deed(heard: Heard) -> None:
        await heard.read()
        framed = {
            "length": {"Content-Length": str(len(body))},
            "chunked": {"Transfer-Encoding": "chunked"},
            "none": {},
        }
        await heard.head(200, {"Content-Type": kind, **framed[framing]})
        await heard.write(_chunk(body[:at]) if framing == "chunked" else body[:at])

    return deed


def stall(body: bytes = b"", at: int = 0, kind: str = RELATED) -> Deed:
    """Say nothing more after so many bytes of the body; without a body, nothing at all."""

    async def deed(heard: Heard) -> None:
        await heard.read()
        if body:
            length = {"Content-Length": str(len(body))}
            await heard.head(200, {"Content-Type": kind, **length})
            await heard.write(body[:at])
        await asyncio.Event().wait()

    return deed


def drip(body: bytes, seconds: float, pieces: int, kind: str = RELATED) -> Deed:
    """Answer slowly, in pieces with a pause before each."""

    async def deed(heard: Heard) -> None:
        await heard.read()
        length = {"Content-Length": str(len(body))}
        await heard.head(200, {"Content-Type": kind, **length})
        step = len(body) // pieces + 1
        for start in range(0, len(body), step):
            await asyncio.sleep(seconds)
            await heard.write(body[start : start + step])

    return deed


def deaf(at: int = 0) -> Deed:
    """Read so many bytes of the body, and then nothing more."""

    async def deed(heard: Heard) -> None:
        heard.body = await heard.reader.readexactly(at)
        heard.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    return deed


def sip(seconds: float, size: int, then: Deed) -> Deed:
    """Read the body slowly, so many bytes at once, and then go on."""

    async def deed(heard: Heard) -> None:
        left = int(heard.headers["Content-Length"])
        while left:
            await asyncio.sleep(seconds)
            left -= len(await heard.reader.readexactly(min(size, left)))
        heard.whole = True
        heard.headers["Content-Length"] = "0"
        await then(heard)

    return deed


def early(status: int, body: bytes = b"", **headers: str) -> Deed:
    """Answer while the body is still to come, and close."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}

    async def deed(heard: Heard) -> None:
        length = {"Content-Type": "text/plain", "Content-Length": str(len(body))}
        await heard.head(status, {**length, **given})
        await heard.write(body)
        # A connection that is closed with unread bytes is reset, and the answer lost.
        heard.writer.write_eof()
        while await heard.reader.read(2**20):
            pass

    return deed


def hang_up(at: int = 0) -> Deed:
    """Close the connection after so many bytes of the body, without an answer."""

    async def deed(heard: Heard) -> None:
        heard.body = await heard.reader.readexactly(at)
        heard.writer.transport.abort()

    return deed


def say(raw: bytes) -> Deed:
    """Answer with these bytes, which need not be HTTP."""

    async def deed(heard: Heard) -> None:
        await heard.read()
        await heard.write(raw)

    return deed


def _chunk(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body) if body else b""
