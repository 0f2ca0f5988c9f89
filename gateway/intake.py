"""Taking instances in: gathered in memory or on disk, read, made durable, indexed.

What is small is read where it arrives and waits in memory; what is large flows into its
file and is read from there. Whoever is ready at the same time shares one flush and one
transaction. Only then is anybody told that an instance is stored. A bad instance is an
answer, not an exception: it must not spoil the others of its request.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from gateway.commit import Buffers, Commit, Ready, held_already
from gateway.dicom.charsets import LATIN1, Encodings
from gateway.dicom.header import Header, HeaderReader, may_be_deflated
from gateway.dicom.walk import INLINE_BINARY_LIMIT
from gateway.errors import GatewayError
from gateway.outcomes import (
    NO_LIMITS,
    Limits,
    OtherStudy,
    Outcome,
    Overwrite,
    refusal,
    refused,
)
from gateway.room import Room
from gateway.storage.blobs import DiskBlobs, Incoming
from gateway.storage.database import Database, Session
from gateway.storage.entries import entry_of
from gateway.storage.grouping import Grouping
from gateway.storage.index import Added, Index, Occupied
from gateway.storage.replaced import Replaced
from gateway.storage.threads import in_thread

log = logging.getLogger(__name__)

#: Bytes of one instance gathered in memory before they go to its file.
SPOOL_CHUNK = 1024 * 1024

#: Bytes of all unfinished instances held in memory by one process.
SPOOL_MEMORY = 16 * 1024 * 1024

#: How often replaced files are looked after (seconds).
_LOOKS = 15.0


#: Instances that share one flush and one transaction.
COMMIT_LIMIT = 64

#: Seconds that such a group waits for those who were just answered to come again: no
#: longer than to flush takes, so that nobody who waits in vain loses much.
_PATIENCE = 0.002

#: A header that ends within so many bytes is read at once, without a thread: reading it
#: takes less time than getting there.
QUICK = 64 * 1024

_PIXEL_DATA = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")


@dataclass(slots=True)
class _Arrived:
    """An instance whose bytes are all here: in `buffers`, after those in `incoming`."""

    buffers: Buffers
    incoming: Incoming | None
    within: str | None  # the only StudyInstanceUID that is welcome
    _front: bytes | None = None  # once it was asked for

    def size(self) -> int:
        """Bytes of the instance."""
        return sum(map(len, self.buffers)) + (
            self.incoming.size if self.incoming else 0
        )

    def front(self) -> bytes:
        """The first bytes in memory: as many as are read at once, or all of a few."""
        if self._front is None:
            self._front = self.whole() if self.size() <= QUICK else self._begun()
        return self._front

    def _begun(self) -> bytes:
        front = bytearray()
        for buffer in self.buffers:
            front += buffer[: QUICK - len(front)]
            if len(front) == QUICK:
                break
        return bytes(front)

    def whole(self) -> bytes:
        """The bytes in memory, in one piece from now on."""
        if len(self.buffers) == 1 and isinstance(self.buffers[0], bytes):
            return self.buffers[0]
        whole = b"".join(self.buffers)
        self.buffers = [whole]
        return whole


class Intake:
    """Takes instances in; `async with` starts and ends its groups."""

    def __init__(
        self,
        database: Database,
        blobs: DiskBlobs,
        index: Index,
        *,
        overwrite: Overwrite = Overwrite.NEVER,
        encodings: Encodings = LATIN1,
        inline_binary: int = INLINE_BINARY_LIMIT,
        limits: Limits = NO_LIMITS,
    ) -> None:
        self.blobs = blobs
        self.memory = 0  # bytes held by all receivers
        self._keeping = 0  # instances that are all here and not stored yet
        self._eased = asyncio.Event()  # one of them is stored
        self.watch: Callable[[Outcome], object] = lambda outcome: None
        self._database = database
        self._index = index
        self._overwrite = overwrite is not Overwrite.NEVER
        self._headers = HeaderReader(encodings, inline_binary)
        self.replaced = Replaced(blobs)
        self.room = Room(database, blobs, index, limits, self.replaced)
        self._gone: list[str] = []  # replaced blobs that are removed, still in garbage
        self._committing = Grouping(self._commit, COMMIT_LIMIT, patience=_PATIENCE)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._stack.push_async_callback(
            in_thread, lambda: self.replaced.remove(all_of_them=True)
        )
        await self._stack.enter_async_context(self._committing)
        leaving = asyncio.create_task(self._let_leave())
        self._stack.callback(leaving.cancel)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def _let_leave(self) -> None:
        """Remove replaced blobs when their time has come."""
        while True:
            await asyncio.sleep(_LOOKS)
            try:
                await in_thread(self.replaced.remove)
            except OSError:
                log.exception(
                    "a replaced file could not be removed; the next start tries"
                )

    def receive(self) -> "Receiver":
        """A place for the bytes of one instance."""
        return Receiver(self)

    @property
    def waiting(self) -> int:
        """How many instances are read and wait to be made durable."""
        return len(self._committing)

    async def keep(self, arrived: _Arrived) -> Outcome:
        """Store an instance whose bytes are all here."""
        self._keeping += 1
        try:
            outcome = await self._keep(arrived)
        finally:
            self._keeping -= 1
            self._eased.set()
        self.watch(outcome)
        return outcome

    async def ease(self) -> None:
        """Wait while memory is short and what is being stored is about to free some.

        That needs nobody's bytes to come, so it ends; whoever waits meanwhile holds back
        his connection.
        """
        while self.memory > SPOOL_MEMORY and self._keeping:
            self._eased.clear()
            await self._eased.wait()

    async def _keep(self, arrived: _Arrived) -> Outcome:
        try:
            if arrived.incoming is None and _is_quick(arrived.front(), arrived.size()):
                ready = self._read(arrived)
            elif arrived.incoming is None:
                ready = await in_thread(lambda: self._read(arrived))
            else:
                ready = await self._database.read(
                    lambda session: self._read_large(session, arrived)
                )
        except Exception as error:
            log.exception("an instance could not be read")
            ready = refused(error, None)
        except BaseException:
            if arrived.incoming:
                await in_thread(arrived.incoming.discard)
            raise
        if isinstance(ready, Ready):
            return await self._committing.submit(ready)
        if arrived.incoming:
            await in_thread(arrived.incoming.discard)
        return ready

    # -- what it is ------------------------------------------------------------------

    def _read(self, arrived: _Arrived) -> Ready | Outcome:
        header: Header | None = None
        try:
            header = self._header(arrived)
            if arrived.within is not None and header.uids.study != arrived.within:
                raise OtherStudy
            entry = entry_of(header, arrived.size())
        except GatewayError as error:
            return refused(error, header)
        buffers = [] if arrived.incoming else arrived.buffers
        return Ready(entry, buffers, arrived.incoming)

    def _header(self, arrived: _Arrived) -> Header:
        if arrived.incoming is None:
            front, size = arrived.front(), arrived.size()
            header = None
            if size > len(front):
                header = self._headers.read_in_front(front, size)
            return header or self._headers.read(arrived.whole())
        arrived.incoming.append(arrived.buffers)
        arrived.buffers = []
        return self._headers.read_file(arrived.incoming.path)

    def _read_large(self, session: Session, arrived: _Arrived) -> Ready | Outcome:
        """Read, and compare with what is held: nobody's commit waits for that."""
        ready = self._read(arrived)
        if isinstance(ready, Ready):
            held = held_already(
                session, self._index, self.blobs, ready, self._overwrite
            )
            return ready if held is None else held
        return ready

    # -- durable, indexed, in place --------------------------------------------------

    async def _commit(self, group: list[Ready]) -> list[Outcome]:
        self._gone += self.replaced.gone()
        commit = Commit(
            self.blobs,
            self._index,
            group,
            overwrite=self._overwrite,
            gone=self._gone,
            replaced=self.replaced,
        )

        def write(session: Session) -> None:
            if size := commit.compare(session):
                self.room.check_new(session, size, commit.patients())
            commit.write()

        try:
            await self.room.make([ready.entry for ready in group])
            outcomes = await self._database.write_between(
                write, lambda session: self._add(session, commit), commit.finish
            )
        except Exception as error:
            await in_thread(commit.take_back)
            return await self._commit_alone(group, commit.outcomes, error)
        self._gone = commit.gone
        return outcomes

    def _add(self, session: Session, commit: Commit) -> list[Added | Occupied]:
        """Add the rows, unless another process took the room for them meanwhile."""
        if commit.size:
            self.room.check_held(session, commit.size, commit.patients())
        return commit.add(session)

    async def _commit_alone(
        self, group: list[Ready], known: list[Outcome | None], error: Exception
    ) -> list[Outcome]:
        """A group failed: find out who is to blame, the others are stored."""
        if len(group) > 1:
            outcomes = []
            for ready, outcome in zip(group, known, strict=True):
                outcomes += [outcome] if outcome else await self._commit([ready])
            return outcomes
        if not isinstance(error, GatewayError):
            log.error("an instance could not be committed", exc_info=error)
        ready = group[0]
        await asyncio.to_thread(ready.discard)
        uids = ready.entry.uids
        return [refusal(error, ready.entry.sop_class, uids.instance)]


class Receiver:
    """The bytes of one instance on their way in.

    Small ones wait in memory until they are complete, larger ones flow into their file.
    Leaving the context without `keep` leaves nothing behind.
    """

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._buffers: list[bytes | memoryview] = []
        self._buffered = 0
        self._incoming: Incoming | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        incoming, _ = self._take()
        if incoming:
            await in_thread(incoming.discard)

    async def write(self, chunk: bytes | memoryview) -> None:
        """Add bytes; raises StorageFull."""
        self._buffers.append(chunk)
        self._buffered += len(chunk)
        self._intake.memory += len(chunk)
        if self._buffered < SPOOL_CHUNK and self._intake.memory <= SPOOL_MEMORY:
            return
        if self._buffered < SPOOL_CHUNK:
            await self._intake.ease()
        if self._buffered >= SPOOL_CHUNK or self._intake.memory > SPOOL_MEMORY:
            await self._spill()

    async def _spill(self) -> None:
        buffers, self._buffers = self._buffers, []
        freed, self._buffered = self._buffered, 0
        try:
            await in_thread(lambda: self._append(buffers))
        finally:
            self._intake.memory -= freed

    def _append(self, buffers: list[bytes | memoryview]) -> None:
        self._intake.room.check_disk(sum(map(len, buffers)))
        if self._incoming is None:
            self._incoming = self._intake.blobs.incoming()
        self._incoming.append(buffers)

    async def keep(self, within: str | None = None) -> Outcome:
        """Store what was written, if it belongs to the study `within`."""
        held = self._buffered
        self._intake.memory += held  # ours until it is stored, see below
        incoming, buffers = self._take()
        try:
            return await self._intake.keep(_Arrived(buffers, incoming, within))
        finally:
            self._intake.memory -= held

    def _take(self) -> tuple[Incoming | None, list[bytes | memoryview]]:
        taken = self._incoming, self._buffers
        self._intake.memory -= self._buffered
        self._incoming, self._buffers, self._buffered = None, [], 0
        return taken


def _is_quick(front: bytes, size: int) -> bool:
    """Whether the header is short: pixel data begins soon, or there is not much at all."""
    if may_be_deflated(front):
        return False
    start = front[:QUICK]
    return size <= QUICK or any(tag in start for tag in _PIXEL_DATA)
