"""STOW-RS of metadata and bulk data: files are made of what comes apart (PS3.18 10.5.2).

The metadata waits in memory, bounded; the bulk parts wait in a spool, in whatever order
they come. When the body has ended, each data set becomes a file with the parts that it
refers to, and takes the way of any file from there on. A body that is cut off leaves
nothing: which parts are missing cannot be told.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial

from gateway.archive import Archive, Spool
from gateway.dicom.from_json import attributes_of, data_sets
from gateway.dicom.from_xml import attributes_of_xml
from gateway.dicom.hierarchy import Attributes, first_text, is_uid
from gateway.dicom.media import OCTETS, kind_of
from gateway.dicomweb.assembly import Assembly, Part, Parts
from gateway.dicomweb.store_response import StoreResponse
from gateway.errors import BadRequest, TooLarge
from gateway.intake import Receiver
from gateway.outcomes import FailureReason, Outcome, Refused, WarningReason, refusal
from gateway.web.replies import JSON, XML
from gateway.wire.media import parse_media_type
from gateway.wire.multipart import MultipartReader, PartBegin, PartData, PartEnd

log = logging.getLogger(__name__)

#: The media types of metadata that bulk data may come with.
METADATA = (JSON, XML)

#: Bytes of all metadata of one request, and the number of its parts.
METADATA_LIMIT = 32 * 1024 * 1024
PART_LIMIT = 100_000

#: Files of one request that are made at the same time; fewer where pictures have to be
#: decoded, which are held in memory whole.
_AT_ONCE, _AT_ONCE_DECODED = 32, 4

#: Other names of the same kind; a part with a location is bulk data all the same.
_ALSO = {JSON: ("application/json",), XML: ("application/xml", "text/xml")}

_Told = tuple[Outcome, WarningReason | None]


class MetadataStoring:
    """One body of metadata and bulk data on its way in."""

    def __init__(
        self,
        archive: Archive,
        spool: Spool,
        within: str | None,
        answer: StoreResponse,
        inner: str,
        base: str,
    ) -> None:
        self._archive = archive
        self._spool = spool
        self._within = within
        self._answer = answer
        self._inner = inner
        self._base = base
        self._documents: list[bytearray] = []
        self._metadata = 0  # bytes of them
        self._malformed: BadRequest | None = None  # the first data set that is

    async def run(
        self, reader: MultipartReader, chunks: AsyncIterator[bytes]
    ) -> BadRequest | None:
        """Store all instances; what is wrong with their metadata if none is stored.

        Raises what is wrong with the body as a whole.
        """
        parts = Parts(self._base, self._spool.read_at)
        gathering = _Gathering(self._spool, parts, self._document, self._inner)
        async for chunk in chunks:
            await gathering.take(reader, chunk)
        reader.close()
        if not self._documents:
            raise BadRequest(f"the multipart body has no part with {self._inner}")
        sources = await self._spool.work(self._sources)
        for outcome, warning in await self._store(sources, parts):
            self._answer.add(outcome, warning)
        return None if self._answer.stored else self._malformed

    def _document(self, chunk: memoryview | None) -> None:
        """The next bytes of metadata; None begins another document."""
        if chunk is None:
            self._documents.append(bytearray())
            return
        self._metadata += len(chunk)
        if self._metadata > METADATA_LIMIT:
            raise TooLarge(f"the metadata is larger than {METADATA_LIMIT} bytes")
        self._documents[-1] += chunk

    def _sources(self) -> list[Callable[[], Attributes]]:
        """What gives the attributes of each data set, or raises BadRequest."""
        documents, self._documents = self._documents, []
        if self._inner == XML:
            return [partial(attributes_of_xml, bytes(text)) for text in documents]
        return [
            partial(attributes_of, data_set)
            for text in documents
            for data_set in data_sets(bytes(text))
        ]

    async def _store(
        self, sources: list[Callable[[], Attributes]], parts: Parts
    ) -> list[_Told]:
        """What became of each data set, in their order."""
        places = asyncio.Semaphore(_AT_ONCE_DECODED if parts.decoded else _AT_ONCE)
        alone = len(sources) == 1
        tasks = []

        async def one(source: Callable[[], Attributes]) -> _Told:
            try:
                return await self._store_one(source, parts, alone)
            finally:
                places.release()

        async with asyncio.TaskGroup() as group:
            for source in sources:
                await places.acquire()
                tasks.append(group.create_task(one(source)))
        told = [task.result() for task in tasks]
        left = len(parts.unclaimed())
        if left and not any(isinstance(outcome, Refused) for outcome, _ in told):
            message = f"no data set refers to {left} of the parts"
            told.append((Refused(FailureReason.CANNOT_UNDERSTAND, message), None))
        return told

    async def _store_one(
        self, source: Callable[[], Attributes], parts: Parts, alone: bool
    ) -> _Told:
        assembly = Assembly({}, parts)
        try:
            async with self._archive.receive() as receiver:
                await self._write(receiver, source, assembly, alone)
                return await receiver.keep(self._within), assembly.warning
        except Exception as error:
            return self._refused(error, assembly.attributes), None

    async def _write(
        self,
        receiver: Receiver,
        source: Callable[[], Attributes],
        assembly: Assembly,
        alone: bool,
    ) -> None:
        chunks: Iterator[bytes] = iter(())

        def begin() -> bytes | None:
            nonlocal chunks
            assembly.attributes = self._read(source)
            if alone:
                assembly.adopt()
            chunks = assembly.file()
            return next(chunks, None)

        piece = await self._spool.work(begin)
        while piece is not None:
            await receiver.write(piece)
            piece = await self._spool.work(lambda: next(chunks, None))

    def _read(self, source: Callable[[], Attributes]) -> Attributes:
        try:
            return source()
        except BadRequest as error:
            self._malformed = self._malformed or error
            raise

    def _refused(self, error: Exception, attributes: Attributes) -> Refused:
        sop_class = _uid_in(attributes, "00080016")
        instance = _uid_in(attributes, "00080018")
        if isinstance(error, BadRequest):
            reason = FailureReason.CANNOT_UNDERSTAND
            return Refused(reason, str(error), sop_class, instance)
        found = refusal(error, sop_class, instance)
        if found.message == "an internal error":
            log.error("an instance could not be made of its parts", exc_info=error)
        return found


def _uid_in(attributes: Attributes, tag: str) -> str:
    text = first_text(attributes, tag)
    return text if is_uid(text) else ""


class _Gathering:
    """The parts of a body as they come: metadata to its reader, bulk to the spool."""

    def __init__(
        self,
        spool: Spool,
        parts: Parts,
        document: Callable[[memoryview | None], None],
        inner: str,
    ) -> None:
        self._spool = spool
        self._parts = parts
        self._document = document
        self._inner = inner
        self._is_metadata = False  # of the open part
        self._headers: Mapping[str, str] = {}
        self._start = 0
        self._count = 0

    async def take(self, reader: MultipartReader, chunk: bytes) -> None:
        """Take in what a chunk brings."""
        for event in reader.feed(chunk):
            if isinstance(event, PartData):
                if self._is_metadata:
                    self._document(event.body)
                else:
                    await self._spool.write(event.body)
            elif isinstance(event, PartBegin):
                self._begin(event.headers)
            elif isinstance(event, PartEnd) and not self._is_metadata:
                self._note()

    def _begin(self, headers: Mapping[str, str]) -> None:
        self._count += 1
        if self._count > PART_LIMIT:
            raise TooLarge(f"more than {PART_LIMIT} parts")
        self._headers = headers
        self._start = self._spool.size
        self._is_metadata = self._holds_metadata(headers)
        if self._is_metadata:
            self._document(None)

    def _holds_metadata(self, headers: Mapping[str, str]) -> bool:
        text = headers.get("content-type")
        if not text:
            return self._count == 1
        kind = parse_media_type(text, _where(self._count)).kind
        if kind == self._inner:
            return True
        return kind in _ALSO[self._inner] and not _location(headers)

    def _note(self) -> None:
        text = self._headers.get("content-type") or OCTETS
        media = parse_media_type(text, _where(self._count))
        named = [uid for uid in media.transfer_syntaxes if uid != "*"]
        if named and not is_uid(named[0]):
            raise BadRequest(f"{_where(self._count)}: transfer-syntax is not a UID")
        kind = kind_of(media.kind, named[0] if named else "")
        part = Part(kind, self._start, self._spool.size - self._start)
        self._parts.add(_location(self._headers), part)


def _where(number: int) -> str:
    return f"Content-Type of part {number}"


def _location(headers: Mapping[str, str]) -> str:
    """Where a part lies; its Content-ID says the same in another way (RFC 2392)."""
    location = headers.get("content-location", "").strip()
    identifier = headers.get("content-id", "").strip().strip("<>")
    return location or (f"cid:{identifier}" if identifier else "")
