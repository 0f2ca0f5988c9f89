"""What passes the gateway and is kept (the property ``Cache`` of a server).

Keeping is a favour: whatever goes wrong with it is logged, and the answer that the
instances are in goes on without.
"""

import asyncio
import logging
from types import TracebackType
from typing import Self

from gateway.archive import Archive
from gateway.intake import Receiver
from gateway.outcomes import Refused
from gateway.remote.client import DicomWebClient

log = logging.getLogger(__name__)

#: Instances of one answer on their way to the disk at the same time.
IN_FLIGHT = 32


class Keeping:
    """Stores the instances of an answer while it passes.

    They come one after the other by `begin`, `write` and `end`; one whose end does not
    come leaves nothing behind.
    """

    def __init__(self, archive: Archive, server: str, study: str) -> None:
        self._archive = archive
        self._server = server
        self._study = study  # whose instances are asked for: others are not kept
        self._receiver: Receiver | None = None
        self._places = asyncio.Semaphore(IN_FLIGHT)
        self._under_way: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._drop()
        try:
            await self.settle()
        except asyncio.CancelledError:
            for task in self._under_way:
                task.cancel()
            raise

    def begin(self) -> None:
        """An instance begins."""
        self._receiver = self._archive.receive()

    async def write(self, chunk: bytes | memoryview) -> None:
        """The next bytes of the instance, or of what is none."""
        if self._receiver is None:
            return
        try:
            await self._receiver.write(chunk)
        except Exception as error:
            self._complain(error)
            await self._drop()

    async def end(self) -> None:
        """The instance is whole."""
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            return
        await self._places.acquire()
        task = asyncio.create_task(self._keep(receiver))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def settle(self) -> None:
        """Return once every instance that is whole is stored, or refused.

        Before an answer ends: whoever has it all finds it here.
        """
        if self._under_way:
            await asyncio.wait(self._under_way)

    async def _keep(self, receiver: Receiver) -> None:
        try:
            async with receiver:
                outcome = await receiver.keep(self._study)
            if isinstance(outcome, Refused):
                self._complain(outcome.message)
        except Exception as error:
            self._complain(error)
        finally:
            self._places.release()

    async def _drop(self) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            return
        try:
            await receiver.__aexit__(None, None, None)
        except OSError as error:
            self._complain(error)

    def _complain(self, error: object) -> None:
        log.warning("an instance of the server %s is not kept: %s", self._server, error)


async def fetch(
    archive: Archive, client: DicomWebClient, study: str, path: str
) -> None:
    """Fetch what is at a path of a server into the archive; raises RemoteFailure."""
    name = client.server.name
    async with Keeping(archive, name, study) as kept, client.retrieve(path) as parts:
        async for part in parts:
            kept.begin()
            async for chunk in part.chunks:
                await kept.write(chunk)
            await kept.end()
