"""What comes from a remote server: each part is kept as one that is stored here is.

While one part is on its way to the disk the next one comes. A part is kept only when its
end was seen.
"""

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from gateway.archive import Archive
from gateway.intake import Receiver
from gateway.outcomes import Outcome
from gateway.remote.client import Part

#: Parts of one answer on their way to the disk at the same time.
PARTS_IN_FLIGHT = 32


class Arrival:
    """The parts of one answer; leaving the context waits until all of them are kept."""

    def __init__(
        self,
        archive: Archive,
        within: str | None,
        note: Callable[[Outcome], None],
        came: Callable[[int, int], None],
    ) -> None:
        """`within` is the study that all of them must belong to, if it is known.

        `note` gets what became of a part; `came` is told of bytes when they come, and
        of how many the part has, 0 if it did not say.
        """
        self._archive = archive
        self._within = within
        self._note = note
        self._came = came
        self._places = asyncio.Semaphore(PARTS_IN_FLIGHT)
        self._keeping = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._keeping.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What has come whole is kept even if the rest broke off.
        try:
            if error is not None and not isinstance(error, asyncio.CancelledError):
                kind = error = trace = None
            await self._keeping.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def take(self, part: Part) -> None:
        """Take a part in; raises what reading it raises, and then nothing stays of it."""
        receiver = self._archive.receive()
        try:
            await self._read(part, receiver)
            await self._places.acquire()
            self._begin(self._keep(receiver))
        except BaseException:
            await receiver.__aexit__(None, None, None)
            raise

    def _begin(self, keeping: Coroutine[Any, Any, None]) -> None:
        try:
            self._keeping.create_task(keeping)
        except RuntimeError:  # another could not be kept, and ends them all
            keeping.close()
            raise

    async def _read(self, part: Part, receiver: Receiver) -> None:
        told = _length(part)
        async for chunk in part.chunks:
            self._came(len(chunk), told)
            await receiver.write(chunk)

    async def _keep(self, receiver: Receiver) -> None:
        try:
            async with receiver:
                self._note(await receiver.keep(self._within))
        finally:
            self._places.release()


def _length(part: Part) -> int:
    """Bytes of the part as it says; 0 if it does not."""
    text = part.headers.get("content-length", "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
