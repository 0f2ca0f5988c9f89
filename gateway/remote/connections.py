"""The connections to one server: opened when they are first needed, shared by all calls.

A definition that is replaced leaves its connections to the calls that still use them;
the last one closes them.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from yarl import URL

from gateway.remote.outgoing import Outgoing
from gateway.remote.server import Server
from gateway.remote.tls import client_context
from gateway.remote.tokens import TokenSource

#: Seconds that an idle connection is kept: less than the second after which Orthanc, and
#: this gateway, close one. A request on a closed connection fails, and a store is not
#: repeated by itself.
IDLE = 0.75

_READ_BUFFER = 256 * 1024  # bytes of an answer, twice this at the most
_UNSENT = 256 * 1024  # bytes that wait in the kernel: what it holds looks sent to us
_LONGEST_LINE = 64 * 1024  # bytes of one header of an answer
_OURS = ("Accept-Encoding", "Content-Type", "User-Agent")  # not made up by the library


class Security:
    """The TLS of one server, prepared when it is first needed: that takes a while."""

    def __init__(self, server: Server, outgoing: Outgoing) -> None:
        self._server = server
        self._outgoing = outgoing
        self._preparing = asyncio.Lock()
        self._context: ssl.SSLContext | None = None

    @property
    def is_special(self) -> bool:
        """Whether something was said of it, which had better be right."""
        server = self._server
        own = server.certificate_file or server.certificate_key_file or server.pkcs11
        return bool(own or self._outgoing.ca_certificates)

    async def context(self) -> ssl.SSLContext:
        """What connections are secured with; raises BadRequest, BadConfiguration."""
        async with self._preparing:
            if self._context is None:
                self._context = await asyncio.to_thread(
                    client_context, self._server, self._outgoing
                )
        return self._context


@dataclass(frozen=True, slots=True)
class Connection:
    """What a request needs to go."""

    session: aiohttp.ClientSession
    security: Security
    tokens: TokenSource | None
    proxy: URL | None = field(repr=False)  # with its password

    async def tls(self, url: URL) -> ssl.SSLContext | bool:
        """What a connection to this address is secured with; True: it is not."""
        way = self.proxy.scheme if self.proxy else ""
        return await self.security.context() if "https" in (url.scheme, way) else True


class Connections:
    """All connections to one server."""

    def __init__(self, server: Server, outgoing: Outgoing) -> None:
        self._server = server
        self._outgoing = outgoing
        self._opening = asyncio.Lock()
        self._open: Connection | None = None
        self._uses = 0
        self._retired = False

    @asynccontextmanager
    async def use(self) -> AsyncIterator[Connection]:
        """The connections, for one call; raises BadRequest, BadConfiguration."""
        self._uses += 1
        try:
            async with self._opening:
                if self._open is None:
                    self._open = await self._make()
            yield self._open
        finally:
            self._uses -= 1
            await self._close_if_done()

    async def retire(self) -> None:
        """Close them once nobody uses them."""
        self._retired = True
        await self._close_if_done()

    async def close(self) -> None:
        """Close them now."""
        opened, self._open = self._open, None
        if opened is not None:
            await opened.session.close()

    async def _close_if_done(self) -> None:
        if self._retired and not self._uses:
            await self.close()

    async def _make(self) -> Connection:
        proxy = self._outgoing.proxy()
        security = Security(self._server, self._outgoing)
        tokens = None
        if security.is_special:
            await security.context()
        if self._server.oauth2 is not None:
            oauth2 = self._server.oauth2
            way = str(proxy) if proxy else None
            context = await security.context()
            tokens = TokenSource(self._server.name, oauth2, context, way)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,
                keepalive_timeout=IDLE,
                socket_factory=_socket,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),  # one caller's are not another's
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            skip_auto_headers=_OURS,
            read_bufsize=_READ_BUFFER,
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
        )
        return Connection(session, security, tokens, proxy)


def _socket(address: aiohttp.connector.AddrInfoType) -> socket.socket:
    """A socket that holds little: how far a transfer got can be seen from outside."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    lowat = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if lowat is not None:
        made.setsockopt(socket.IPPROTO_TCP, lowat, _UNSENT)
    return made
