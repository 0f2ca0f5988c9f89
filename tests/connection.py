"""A connection that sends the very bytes it is told, for what a client library hides."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

PATIENCE = 10.0  # seconds that an answer may take


class Answer(NamedTuple):
    """An answer, taken apart no further than needed."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes


class Connection:
    """One end of a TCP connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Send these bytes."""
        self.writer.write(data)
        await self.writer.drain()

    def half_close(self) -> None:
        """Say that nothing more comes, and go on listening."""
        self.writer.write_eof()

    def vanish(self) -> None:
        """Be gone, as a client that crashed."""
        self.writer.transport.abort()

    async def head(self) -> tuple[int, dict[str, str]]:
        """The status and headers of the next answer; status 0 if there is none."""
        async with asyncio.timeout(PATIENCE):
            lines = b""
            while not lines.endswith(b"\r\n\r\n"):
                line = await self.reader.readline()
                if not line:
                    return 0, {}
                lines += line
        first, *rest = lines.decode("latin-1").strip().split("\r\n")
        pairs = (line.split(":", 1) for line in rest)
        return int(first.split()[1]), {k.lower(): v.strip() for k, v in pairs}

    async def answer(self) -> Answer:
        """The next answer, whole."""
        status, headers = await self.head()
        async with asyncio.timeout(PATIENCE):
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(status, headers, body)

    async def ended(self) -> bool:
        """Whether the other end closes the connection, sending nothing more."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True


@asynccontextmanager
async def connected(client: Any) -> AsyncIterator[Connection]:
    """A connection to the gateway that a test client speaks to."""
    server = client.server
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


def head(method: str, path: str, **headers: str) -> bytes:
    """The head of a request; underscores in names of headers become dashes."""
    lines = [f"{method} {path} HTTP/1.1"]
    given = {"Host": "archive.localhost", **headers}
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in given.items()]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


def chunk(data: bytes) -> bytes:
    """Bytes as a chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
