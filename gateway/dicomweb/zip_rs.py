"""Instances in a zip, for a person who saves them (PS3.18 10.4.4 and 8.7.3.7).

A folder for the study with one for each series, files named after their instances. The
transfer syntax is negotiated as for parts of an answer.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from http import HTTPStatus

from aiohttp import web

from gateway.archive import Archive, Instance
from gateway.dicom.hierarchy import Level
from gateway.dicomweb import converted
from gateway.dicomweb.gathered import GONE, LEFT_OUT
from gateway.dicomweb.instance_types import ZIP
from gateway.errors import NotFound
from gateway.web.conditional import etag, not_modified
from gateway.web.context import accept, gateway
from gateway.web.replies import streaming, warning
from gateway.web.transmission import transmit
from gateway.web.zip_stream import Entry, entry_of, zipped
from gateway.wire import zip_format

#: Instances of a zip whose length is told beforehand.
LENGTH_KNOWN = 8192


async def retrieve(
    request: web.Request, uids: Sequence[str], *, as_stored: bool
) -> web.StreamResponse:
    """The instances under an address as files in a zip."""
    level = Level(len(uids))
    archive = gateway(request).archive
    name = f'attachment; filename="{uids[-1]}.zip"'
    headers = {"Vary": "Accept, Authorization", "Cache-Control": "private, no-cache"}
    headers["Content-Disposition"] = name
    tag = etag(request, *accept(request), *await archive.state(level, *uids))
    held = not_modified(request, tag, headers)
    if held is not None:
        return held
    response = web.StreamResponse(headers=headers)
    response.content_type = ZIP
    if not as_stored:
        return await _converted(request, response, uids)
    async with aclosing(archive.instances(level, *uids)) as groups:
        entries, complete, lost = await _first(archive, groups)
        if lost:
            response.set_status(HTTPStatus.PARTIAL_CONTENT)
            response.headers.update(warning(request, GONE))
        if complete:
            members = (entry.member for entry in entries)
            response.content_length = zip_format.length(members)
        return await _send(request, response, _following(entries, groups))


def _name(instance: Instance) -> str:
    return f"{instance.study}/{instance.series}/{instance.uid}.dcm"


async def _first(
    archive: Archive, groups: AsyncIterator[list[Instance]]
) -> tuple[list[Entry], bool, bool]:
    """The first instances as files, whether these are all, and whether some are lost.

    Raises NotFound if all are.
    """
    entries: list[Entry] = []
    count = 0
    async for group in groups:
        there = await archive.present(group)
        entries += [entry_of(instance, _name(instance)) for instance in there]
        count += len(group)
        if count > LENGTH_KNOWN and entries:
            return entries, False, len(entries) < count
    if not entries:
        raise NotFound("the files of these instances are gone")
    return entries, True, len(entries) < count


async def _following(
    entries: list[Entry], groups: AsyncIterator[list[Instance]]
) -> AsyncGenerator[Entry, None]:
    for entry in entries:
        yield entry
    async for group in groups:
        for instance in group:
            yield entry_of(instance, _name(instance))


async def _converted(
    request: web.Request, response: web.StreamResponse, uids: Sequence[str]
) -> web.StreamResponse:
    """The files in other transfer syntaxes, those that can be made so."""
    found, partial = await converted.choices(request, ZIP, uids)
    if partial:
        response.set_status(HTTPStatus.PARTIAL_CONTENT)
        response.headers.update(warning(request, LEFT_OUT))
    async with aclosing(converted.ahead(gateway(request).imaging, found)) as files:
        first = await anext(files)  # what cannot be made is refused before the answer

        async def entries() -> AsyncGenerator[Entry, None]:
            given = first
            for place, (instance, _) in enumerate(found):
                if place:
                    given = await anext(files)
                yield entry_of(instance, _name(instance), given.piece)

        return await _send(request, response, entries())


async def _send(
    request: web.Request,
    response: web.StreamResponse,
    entries: AsyncGenerator[Entry, None],
) -> web.StreamResponse:
    archive = gateway(request).archive
    async with aclosing(entries), streaming(request, response) as wanted:
        if wanted:
            await transmit(request, response, archive, zipped(archive, entries))
    return response
