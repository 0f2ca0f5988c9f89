"""The remote servers that are known, by name.

They are kept where all worker processes see them, so that one that is added through one
process can be used through every other. Without ``ServersInDatabase`` the first process
of a start puts those of the configuration in their place.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from gateway.errors import BadConfiguration, BadRequest, UnknownServer
from gateway.remote.client import DicomWebClient
from gateway.remote.outgoing import Outgoing
from gateway.remote.server import Server, document, server_of


class Kept(Protocol):
    """Where the definitions are kept: ``gateway.storage.documents``."""

    async def all(self) -> dict[str, dict[str, Any]]:
        """All of them; cheap when nothing changed."""
        ...

    async def put(self, name: str, body: Mapping[str, Any]) -> None:
        """Add or replace one."""
        ...

    async def delete(self, name: str) -> bool:
        """Remove one; whether there was one."""
        ...

    async def replace_all(self, documents: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep these and no others."""
        ...


class Servers:
    """The registry, and the clients of those servers that are used."""

    def __init__(
        self,
        documents: Kept,
        configured: Mapping[str, Mapping[str, object]],
        in_database: bool,
        alone: bool,
        outgoing: Outgoing,
    ) -> None:
        """Raises BadConfiguration for what cannot be used.

        `alone`: no other process of this gateway lives.
        """
        outgoing.proxy()  # so that a wrong option is told at the start
        self._documents = documents
        try:
            self._configured = {
                name: document(server_of(name, configured[name])) for name in configured
            }
        except BadRequest as error:
            raise BadConfiguration(f'"DicomWeb.Servers": {error}') from error
        self._reset = alone and not in_database
        self._outgoing = outgoing
        self._clients: dict[str, DicomWebClient] = {}

    async def __aenter__(self) -> Self:
        if self._reset:
            await self._documents.replace_all(self._configured)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.close()

    async def names(self) -> list[str]:
        """Their names, sorted."""
        return sorted(await self._documents.all())

    async def all(self) -> dict[str, Server]:
        """All of them, in the order of their names."""
        documents = await self._documents.all()
        return {name: server_of(name, documents[name]) for name in sorted(documents)}

    async def get(self, name: str) -> Server:
        """One of them; raises UnknownServer."""
        documents = await self._documents.all()
        if name not in documents:
            raise UnknownServer(f"Inexistent server: {name}")
        return server_of(name, documents[name])

    async def put(self, name: str, fields: object) -> Server:
        """Add or replace one; raises BadRequest naming the field that is wrong."""
        server = server_of(name, fields)
        await self._documents.put(name, document(server))
        await self._retire_old()
        return server

    async def delete(self, name: str) -> None:
        """Forget one; raises UnknownServer."""
        if not await self._documents.delete(name):
            raise UnknownServer(f"Inexistent server: {name}")
        await self._retire_old()

    async def client(self, name: str) -> DicomWebClient:
        """The client of a server as it is defined now; raises UnknownServer.

        It is good for calls that begin soon: who keeps it does not see changes.
        """
        await self._retire_old()
        server = await self.get(name)
        known = self._clients.get(name)
        if known is not None and known.server == server:
            return known
        client = self._clients[name] = DicomWebClient(server, self._outgoing)
        return client

    async def _retire_old(self) -> None:
        """Let go of the clients whose server changed or went, here or elsewhere."""
        if not self._clients:
            return
        servers = await self.all()
        old = [
            name
            for name, client in self._clients.items()
            if servers.get(name) != client.server
        ]
        for client in [self._clients.pop(name) for name in old]:
            await client.retire()
