"""Taking instances in: gathered in memory or on disk, checked, made durable, indexed.

Two groups share the costs of whoever arrives at the same time. The first reads headers,
compares with what is held and writes files; the second flushes them to the disk and adds
their rows in one transaction. Only then is anybody told that an instance is stored. A bad
instance is an answer, not an exception: it must not spoil the others of its request.
"""

import asyncio
import enum
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

from gateway.dicom.charsets import LATIN1, Encodings
from gateway.dicom.header import Header, read_header, read_header_of
from gateway.dicom.hierarchy import Uids
from gateway.errors import GatewayError, NotDicom, StorageFull
from gateway.storage.blobs import DiskBlobs, Incoming
from gateway.storage.database import Database, Session
from gateway.storage.entries import Entry, entry_of
from gateway.storage.grouping import Grouping
from gateway.storage.index import Added, Index, Instance, Occupied
from gateway.storage.reading import same_bytes

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Bytes of one instance gathered in memory before they go to its file.
SPOOL_CHUNK = 1024 * 1024

#: Bytes of all unfinished instances held in memory by one process.
SPOOL_MEMORY = 16 * 1024 * 1024

#: Instances that share one reading of headers, and one flush and transaction.
PREPARE_LIMIT, COMMIT_LIMIT = 32, 128


class FailureReason(enum.IntEnum):
    """Why an instance was not stored (PS3.18 I.2.2, PS3.7 annex C)."""

    PROCESSING_FAILURE = 0x0110
    DUPLICATE_INSTANCE = 0x0111
    OUT_OF_RESOURCES = 0xA700
    CANNOT_UNDERSTAND = 0xC000


class Overwrite(enum.Enum):
    """What becomes of an address that is held with other content."""

    NEVER = "Never"
    ALWAYS = "Always"
    IF_CHANGED = "IfChanged"


@dataclass(frozen=True, slots=True)
class Stored:
    """The instance is safe: on the disk and in the index."""

    uids: Uids
    orthanc_ids: tuple[str, str, str, str]  # of patient, study, series, instance
    sop_class: str
    already_there: bool  # the same bytes were held before


@dataclass(frozen=True, slots=True)
class Refused:
    """The instance is not stored, and nothing of it is left."""

    reason: FailureReason
    message: str  # for people; names the attribute, never the patient
    sop_class: str = ""  # empty when the file did not tell
    instance: str = ""  # SOPInstanceUID, likewise


Outcome = Stored | Refused


@dataclass(frozen=True, slots=True)
class Limits:
    """When to refuse for lack of room; 0 for no limit."""

    storage_size: int = 0  # bytes of all instances
    free_space: int = 0  # bytes to leave free on the disk


NO_LIMITS = Limits()


@dataclass(slots=True)
class _Arrived:
    """An instance whose bytes are all here: in `buffers`, after those in `incoming`."""

    buffers: list[bytes | memoryview]
    incoming: Incoming | None
    within: str | None  # the only StudyInstanceUID that is welcome

    def size(self) -> int:
        return sum(map(len, self.buffers)) + (
            self.incoming.size if self.incoming else 0
        )


@dataclass(frozen=True, slots=True)
class _Prepared:
    """An instance in its file, ready to be made durable."""

    entry: Entry
    incoming: Incoming


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
        limits: Limits = NO_LIMITS,
    ) -> None:
        self.blobs = blobs
        self.memory = 0  # bytes held by all receivers
        self._database = database
        self._index = index
        self._overwrite = overwrite is not Overwrite.NEVER
        self._encodings = encodings
        self._limits = limits
        self._preparing = Grouping(self._prepare_group, PREPARE_LIMIT)
        self._committing = Grouping(self._commit_group, COMMIT_LIMIT)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        # Left in the other order: what is being prepared still gets committed.
        await self._stack.enter_async_context(self._committing)
        await self._stack.enter_async_context(self._preparing)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    def receive(self) -> "Receiver":
        """A place for the bytes of one instance."""
        return Receiver(self)

    async def keep(self, arrived: _Arrived) -> Outcome:
        """Store an instance whose bytes are all here."""
        prepared = await self._preparing.submit(arrived)
        if isinstance(prepared, _Prepared):
            return await self._committing.submit(prepared)
        return prepared

    # -- first group: headers, comparison, files ------------------------------------

    async def _prepare_group(self, group: list[_Arrived]) -> list[_Prepared | Outcome]:
        return await self._database.read(
            lambda session: [self._prepare(session, arrived) for arrived in group]
        )

    def _prepare(self, session: Session, arrived: _Arrived) -> _Prepared | Outcome:
        header: Header | None = None
        try:
            header = self._header(arrived)
            return self._admit(session, arrived, header)
        except GatewayError as error:
            outcome = _refused(error, header)
        except Exception as error:
            log.exception("an instance could not be prepared")
            outcome = _refused(error, header)
        if arrived.incoming:
            arrived.incoming.discard()
        return outcome

    def _header(self, arrived: _Arrived) -> Header:
        if arrived.incoming:
            arrived.incoming.append(arrived.buffers)
            return read_header_of(arrived.incoming.path, self._encodings)
        if len(arrived.buffers) == 1 and isinstance(arrived.buffers[0], bytes):
            return read_header(arrived.buffers[0], self._encodings)
        whole = b"".join(arrived.buffers)
        arrived.buffers = [whole]
        return read_header(whole, self._encodings)

    def _admit(
        self, session: Session, arrived: _Arrived, header: Header
    ) -> _Prepared | Outcome:
        if arrived.within is not None and header.uids.study != arrived.within:
            arrived_for = "StudyInstanceUID (0020,000D) is not that of the address"
            raise _OtherStudy(arrived_for)
        size = arrived.incoming.size if arrived.incoming else arrived.size()
        entry = entry_of(header, size)
        held = self._index.locate(session, header.uids)
        if held and self._same(arrived, held, size):
            if arrived.incoming:
                arrived.incoming.discard()
            return _stored(entry, already_there=True)
        if held and not self._overwrite:
            raise _Duplicate
        self.check_room(session, size)
        if arrived.incoming is None:
            incoming = self.blobs.incoming()
            try:
                incoming.append(arrived.buffers)
            except BaseException:
                incoming.discard()
                raise
            return _Prepared(entry, incoming)
        return _Prepared(entry, arrived.incoming)

    def _same(self, arrived: _Arrived, held: Instance, size: int) -> bool:
        if size != held.size:
            return False
        other = str(arrived.incoming.path) if arrived.incoming else arrived.buffers
        return same_bytes(self.blobs, held.blob, size, other)

    def check_room(self, session: Session, size: int) -> None:
        """Raise StorageFull if that many more bytes would be too much."""
        limits = self._limits
        if (
            limits.storage_size
            and self._index.size(session) + size > limits.storage_size
        ):
            raise StorageFull("MaximumStorageSize is reached")
        if limits.free_space and self.blobs.free_space() - size < limits.free_space:
            raise StorageFull("too little free space is left on the disk")

    # -- second group: durable, indexed, in place -----------------------------------

    async def _commit_group(self, group: list[_Prepared]) -> list[Outcome]:
        try:
            await asyncio.to_thread(self._flush, group)
            added = await self._database.write(
                lambda session: self._index.add(
                    session,
                    [(p.entry, p.incoming.name, self._overwrite) for p in group],
                )
            )
        except Exception as error:
            return await self._commit_alone(group, error)
        return await asyncio.to_thread(self._publish, group, added)

    async def _commit_alone(
        self, group: list[_Prepared], error: Exception
    ) -> list[Outcome]:
        """A group failed: find out who is to blame, the others are stored."""
        if len(group) > 1:
            outcomes = []
            for prepared in group:
                outcomes += await self._commit_group([prepared])
            return outcomes
        if not isinstance(error, GatewayError):
            log.error("an instance could not be committed", exc_info=error)
        prepared = group[0]
        await asyncio.to_thread(prepared.incoming.discard)
        uids = prepared.entry.uids
        return [_refusal(error, prepared.entry.sop_class, uids.instance)]

    def _flush(self, group: list[_Prepared]) -> None:
        for prepared in group:
            prepared.incoming.flush()
        self.blobs.settle()

    def _publish(
        self, group: list[_Prepared], added: list[Added | Occupied]
    ) -> list[Outcome]:
        return [
            self._place(prepared, outcome)
            for prepared, outcome in zip(group, added, strict=True)
        ]

    def _place(self, prepared: _Prepared, outcome: Added | Occupied) -> Outcome:
        entry, incoming = prepared.entry, prepared.incoming
        if isinstance(outcome, Added):
            self.blobs.publish(incoming.name)
            if outcome.replaced:
                self.blobs.remove(outcome.replaced)
            return _stored(entry, already_there=False)
        # Somebody else stored the same address while this one was on its way.
        held = outcome.instance
        same = held.size == entry.size and same_bytes(
            self.blobs, held.blob, held.size, str(incoming.path)
        )
        incoming.discard()
        if same:
            return _stored(entry, already_there=True)
        return _refusal(_Duplicate(), entry.sop_class, entry.uids.instance)


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
            await asyncio.to_thread(incoming.discard)

    async def write(self, chunk: bytes | memoryview) -> None:
        """Add bytes; raises StorageFull."""
        self._buffers.append(chunk)
        self._buffered += len(chunk)
        self._intake.memory += len(chunk)
        if self._buffered >= SPOOL_CHUNK or self._intake.memory > SPOOL_MEMORY:
            await self._spill()

    async def _spill(self) -> None:
        buffers, self._buffers = self._buffers, []
        freed, self._buffered = self._buffered, 0
        try:
            await _in_thread(lambda: self._append(buffers))
        finally:
            self._intake.memory -= freed

    def _append(self, buffers: list[bytes | memoryview]) -> None:
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


class _OtherStudy(GatewayError):
    """The instance belongs to another study."""


class _Duplicate(GatewayError):
    """SOPInstanceUID (0008,0018) is already held with other content."""


async def _in_thread(work: Callable[[], T]) -> T:
    """Run work in a thread to its end, also when the caller is cancelled."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _stored(entry: Entry, *, already_there: bool) -> Stored:
    return Stored(entry.uids, entry.orthanc_ids, entry.sop_class, already_there)


def _refused(error: Exception, header: Header | None) -> Refused:
    if header is None:
        return _refusal(error, "", "")
    return _refusal(error, header.sop_class, header.uids.instance)


_REASONS: tuple[tuple[type[Exception], FailureReason], ...] = (
    (StorageFull, FailureReason.OUT_OF_RESOURCES),
    (NotDicom, FailureReason.CANNOT_UNDERSTAND),
    (_Duplicate, FailureReason.DUPLICATE_INSTANCE),
)


def _refusal(error: Exception, sop_class: str, instance: str) -> Refused:
    message = str(error) if isinstance(error, GatewayError) else "an internal error"
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return Refused(reason, message, sop_class, instance)
    return Refused(FailureReason.PROCESSING_FAILURE, message, sop_class, instance)
