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
from types import TracebackType
from typing import Self

from gateway.arrived import Arrived
from gateway.commit import Commit, Ready, held_already
from gateway.dicom.charsets import LATIN1, Encodings
from gateway.dicom.header import Header, HeaderReader
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

#: Instances that are read one right after the other; it takes half a millisecond.
_READ_TOGETHER = 8


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
        self._unread: list[Arrived] = []  # of those that wait to be committed
        self._committing = Grouping(self._store, COMMIT_LIMIT, patience=_PATIENCE)
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
                await self._note_gone(self.replaced.gone())
            except (OSError, GatewayError):
                log.exception(
                    "a replaced file could not be removed; the next start tries"
                )

    async def _note_gone(self, names: list[str]) -> None:
        """Let the index know what is removed; raises GatewayError."""
        if not names:
            return
        try:
            await self._database.write(
                lambda session: self._index.discarded(session, names)
            )
        except GatewayError:
            self._gone += names  # the next group does it, or the next start
            raise

    def receive(self) -> "Receiver":
        """A place for the bytes of one instance."""
        return Receiver(self)

    @property
    def waiting(self) -> int:
        """How many instances are read and wait to be made durable."""
        return len(self._committing)

    async def keep(self, arrived: Arrived) -> Outcome:
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

    async def _keep(self, arrived: Arrived) -> Outcome:
        if arrived.incoming is None and arrived.is_quick():
            self._unread.append(arrived)
            if len(self._unread) >= _READ_TOGETHER:
                self._read_all()
            return await self._committing.submit(arrived)
        arrived.read = await self._read_slowly(arrived)
        if isinstance(arrived.read, Ready):
            return await self._committing.submit(arrived)
        if arrived.incoming:
            await in_thread(arrived.incoming.discard)
        return arrived.read

    # -- what it is ------------------------------------------------------------------

    async def _read_slowly(self, arrived: Arrived) -> Ready | Outcome:
        """Read it in a thread."""
        try:
            if arrived.incoming is None:
                return await in_thread(lambda: self._read(arrived))
            return await self._database.read(
                lambda session: self._read_large(session, arrived)
            )
        except Exception as error:
            return _unreadable(error)
        except BaseException:
            if arrived.incoming:
                await in_thread(arrived.incoming.discard)
            raise

    def _read_all(self) -> None:
        """Read those that can be read at once, one right after the other.

        What reads one is then still in the processor's caches for the next: so it costs
        half of what it does between the other steps of their requests.
        """
        for arrived in self._unread:
            try:
                arrived.read = self._read(arrived)
            except Exception as error:
                arrived.read = _unreadable(error)
        self._unread.clear()

    def _read(self, arrived: Arrived) -> Ready | Outcome:
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

    def _header(self, arrived: Arrived) -> Header:
        if arrived.incoming is None:
            size = arrived.size()
            for front in arrived.fronts():
                header = self._headers.read_in_front(front, size)
                if header is not None:
                    return header
            return self._headers.read(arrived.whole())
        arrived.incoming.append(arrived.buffers)
        arrived.buffers = []
        return self._headers.read_file(arrived.incoming.path)

    def _read_large(self, session: Session, arrived: Arrived) -> Ready | Outcome:
        """Read, and compare with what is held: nobody's commit waits for that."""
        ready = self._read(arrived)
        if isinstance(ready, Ready):
            held = held_already(
                session, self._index, self.blobs, ready, self._overwrite
            )
            return ready if held is None else held
        return ready

    # -- durable, indexed, in place --------------------------------------------------

    async def _store(self, group: list[Arrived]) -> list[Outcome]:
        """Commit those of a group that can be read."""
        self._read_all()
        found = [arrived.read for arrived in group]
        ready = [one for one in found if isinstance(one, Ready)]
        stored = iter(await self._commit(ready) if ready else ())
        outcomes = (next(stored) if isinstance(one, Ready) else one for one in found)
        return [outcome for outcome in outcomes if outcome is not None]

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
            return await self._intake.keep(Arrived(buffers, incoming, within))
        finally:
            self._intake.memory -= held

    def _take(self) -> tuple[Incoming | None, list[bytes | memoryview]]:
        taken = self._incoming, self._buffers
        self._intake.memory -= self._buffered
        self._incoming, self._buffers, self._buffered = None, [], 0
        return taken


def _unreadable(error: Exception) -> Outcome:
    log.error("an instance could not be read", exc_info=error)
    return refused(error, None)
