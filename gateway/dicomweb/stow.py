"""STOW-RS: instances come in (PS3.18 10.5).

The body is read part by part as it arrives, and each part is on its way to the disk while
the next one comes. What is wrong with one part is said in the answer and does not touch
the others; a part whose end was never seen is not stored.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from http import HTTPStatus

from aiohttp import web

from gateway.archive import Archive
from gateway.dicomweb.store_response import StoreResponse
from gateway.dicomweb.stow_metadata import METADATA, MetadataStoring
from gateway.errors import BadRequest, GatewayError, UnsupportedMedia
from gateway.intake import Receiver
from gateway.outcomes import FailureReason, Outcome, Refused, refused
from gateway.web.context import body, chosen, gateway, public_root, uid
from gateway.web.replies import JSON, XML
from gateway.wire.media import Choice, MediaType, Offer, parse_media_type
from gateway.wire.multipart import (
    MultipartReader,
    PartBegin,
    PartData,
    PartEnd,
    boundary_of,
)

log = logging.getLogger(__name__)

#: Parts of one request on their way to the disk at the same time.
PARTS_IN_FLIGHT = 64

_DICOM = "application/dicom"
_BARE = (
    "image/",
    "video/",
    "model/",
    "application/pdf",
)  # nothing says whose these are
_ANSWERS = Choice(
    Offer(JSON),
    Offer("application/json"),
    Offer(XML),
    Offer("application/xml"),
    Offer("text/xml"),
    Offer("multipart/related", XML),
)


async def store(request: web.Request, study: str | None = None) -> web.StreamResponse:
    """Store instances: POST studies, POST studies/{study}."""
    within = uid(study, "StudyInstanceUID") if study is not None else None
    answer_type = chosen(request, _ANSWERS)
    media = _media_type(request)
    archive = gateway(request).archive
    await archive.check_room(request.content_length or 0)
    answer = StoreResponse(public_root(request))
    complaint: GatewayError | None = None
    if media.kind == _DICOM:
        answer.add(await _store_single(archive, body(request), within))
    else:
        reader = MultipartReader(boundary_of(media.parameters))
        if media.inner in METADATA:
            base = f"{public_root(request)}studies"
            async with archive.spool() as spool:
                storing = MetadataStoring(
                    archive, spool, within, answer, media.inner, base
                )
                complaint = await storing.run(reader, body(request))
        else:
            files = _Storing(archive, within, answer)
            complaint = await files.run(reader, body(request))
    return _reply(answer, answer_type, complaint)


def _media_type(request: web.Request) -> MediaType:
    """What the body is; raises UnsupportedMedia unless it can be stored."""
    text = request.headers.get("Content-Type")
    if not text:
        raise UnsupportedMedia("there is no Content-Type")
    media = parse_media_type(text)
    if media.kind == _DICOM:
        return media
    if media.kind.startswith(_BARE):
        raise UnsupportedMedia(
            f"{media.kind[:60]} alone does not say whose it is: send it as a part behind"
            ' its metadata, with multipart/related; type="application/dicom+json"'
            " (PS3.18 10.5)"
        )
    if media.kind != "multipart/related" or media.inner not in (_DICOM, *METADATA):
        raise UnsupportedMedia(
            'Content-Type is not multipart/related; type="application/dicom"'
            " nor application/dicom; metadata with bulk data comes as"
            ' multipart/related; type="application/dicom+json" or "application/dicom+xml"'
        )
    return media


async def _store_single(
    archive: Archive, chunks: AsyncIterator[bytes], within: str | None
) -> Outcome:
    async with archive.receive() as receiver:
        empty = True
        async for chunk in chunks:
            empty = False
            await receiver.write(chunk)
        if empty:
            raise BadRequest("the body is empty")
        return await receiver.keep(within)


def _reply(
    answer: StoreResponse,
    chosen: Offer | None,
    complaint: GatewayError | None,
) -> web.Response:
    status = answer.status
    if complaint is not None and status is not HTTPStatus.ACCEPTED:
        status = HTTPStatus.BAD_REQUEST
    if chosen is not None and (chosen.inner or chosen.kind).endswith("xml"):
        response = web.Response(body=answer.xml(), content_type=XML, status=status)
    else:
        response = web.Response(body=answer.json(), content_type=JSON, status=status)
    if complaint is not None:
        response.force_close()
    return response


class _Storing:
    """One multipart body on its way in."""

    def __init__(
        self, archive: Archive, within: str | None, answer: StoreResponse
    ) -> None:
        self._archive = archive
        self._within = within
        self._answer = answer
        self._stack = AsyncExitStack()
        self._keeping: asyncio.TaskGroup | None = None  # where there are several parts
        self._places = asyncio.Semaphore(PARTS_IN_FLIGHT)
        self._receiver: Receiver | None = None
        self._last: Receiver | None = None  # a whole part, nobody keeps it yet
        self._ended = False  # there are no more parts
        self._count = 0
        self._done: dict[int, Outcome] = {}
        self._next = 0

    async def run(
        self, reader: MultipartReader, chunks: AsyncIterator[bytes]
    ) -> GatewayError | None:
        """Take all parts in; what is wrong with the body as a whole, if anything.

        Whole parts before the fault are stored. Raises what is wrong if nothing was and
        it is no matter of syntax, and BadRequest if there was no part.
        """
        complaint = None
        async with self._stack:
            self._stack.push_async_callback(self._leave)
            try:
                async for chunk in chunks:
                    await self._take(reader, chunk)
                reader.close()
            except GatewayError as error:
                complaint = error
            await self._finish()
        if complaint is not None:
            if not self._answer.stored and not isinstance(complaint, BadRequest):
                raise complaint
            self._answer.add(_broken_off(complaint))
        elif not len(self._answer):
            raise BadRequest("the multipart body has no parts")
        return complaint

    async def _leave(self) -> None:
        """Nothing stays of a part whose end was not seen, or that nobody waits for."""
        for receiver in (self._receiver, self._last):
            if receiver is not None:
                await receiver.__aexit__(None, None, None)

    async def _take(self, reader: MultipartReader, chunk: bytes) -> None:
        for event in reader.feed(chunk):
            if isinstance(event, PartData):
                if self._receiver is not None:  # None: refused while it came
                    await self._write(self._receiver, event.body)
            elif isinstance(event, PartBegin):
                await self._go_on()
                self._receiver = self._archive.receive()
                self._count += 1
            elif isinstance(event, PartEnd):
                self._last, self._receiver = self._receiver, None
            else:
                self._ended = True
        if not self._ended:
            await self._go_on()

    async def _finish(self) -> None:
        """Keep the last part: here if it is the only one, else behind the others."""
        if self._keeping is not None or self._last is None:
            await self._go_on()
            return
        self._note(self._count - 1, await self._last.keep(self._within))

    async def _go_on(self) -> None:
        """Let the part that is whole be kept while the next one comes."""
        receiver, self._last = self._last, None
        if receiver is None:
            return
        if self._keeping is None:
            self._keeping = asyncio.TaskGroup()
            await self._stack.enter_async_context(self._keeping)
        await self._places.acquire()
        self._keeping.create_task(self._keep(receiver, self._count - 1))

    async def _write(self, receiver: Receiver, chunk: memoryview) -> None:
        try:
            await receiver.write(chunk)
        except Exception as error:
            if not isinstance(error, GatewayError):
                log.exception("a part could not be written")
            await receiver.__aexit__(None, None, None)
            self._receiver = None
            self._note(self._count - 1, refused(error, None))

    async def _keep(self, receiver: Receiver, number: int) -> None:
        try:
            async with receiver:
                self._note(number, await receiver.keep(self._within))
        finally:
            self._places.release()

    def _note(self, number: int, outcome: Outcome) -> None:
        """Add outcomes to the answer in the order of the parts."""
        self._done[number] = outcome
        while self._next in self._done:
            self._answer.add(self._done.pop(self._next))
            self._next += 1


def _broken_off(complaint: GatewayError) -> Refused:
    reason = (
        FailureReason.CANNOT_UNDERSTAND
        if type(complaint) is BadRequest
        else FailureReason.PROCESSING_FAILURE
    )
    return Refused(reason, str(complaint))
