"""Parts from all instances under an address, in one answer (PS3.18 10.4.3.3).

What can be given is found out before the answer begins, so that its status tells whether
something had to be left out; then instance follows instance. Neither many of them nor
large ones need memory: only those that must be left out are remembered.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from http import HTTPStatus

from aiohttp import web

from gateway.archive import Instance
from gateway.dicom.hierarchy import Level
from gateway.errors import NotAcceptable, NotFound
from gateway.web.conditional import etag, not_modified
from gateway.web.context import accept, gateway
from gateway.web.replies import streaming, warning
from gateway.web.transmission import Body, transmit
from gateway.wire import multipart

LEFT_OUT = "some of what is held here cannot be given as asked, and was left out"
GONE = "the files of some instances are gone, and were left out"


@dataclass(frozen=True, slots=True)
class Tally:
    """What there is in an instance."""

    kind: str = ""  # media type of the first part that can be given
    refused: int = 0  # how much there is that cannot be given as asked
    offered: str = ""  # what to tell somebody who cannot be given anything


@dataclass(frozen=True, slots=True)
class Gathering:
    """What an answer is made of."""

    what: str  # for who finds nothing
    look: Callable[[Instance], Awaitable[Tally]]
    #: The parts of an instance, with a boundary and whether they are the first.
    parts: Callable[[Instance, str, bool], AsyncGenerator[Body, None]]


@dataclass(slots=True)
class _Survey:
    """What there is in all instances."""

    kind: str = ""
    refused: int = 0
    offered: str = ""
    gone: set[int] = field(default_factory=set)

    def add(self, tally: Tally) -> None:
        self.kind = self.kind or tally.kind
        self.refused += tally.refused
        self.offered = self.offered or tally.offered

    def warnings(self) -> list[str]:
        told = ((LEFT_OUT, self.refused), (GONE, self.gone))
        return [text for text, is_so in told if is_so]


async def answer(
    request: web.Request, uids: Sequence[str], gathering: Gathering
) -> web.StreamResponse:
    """The parts of all instances; 206 if some had to be left out (table 10.4.3-1).

    Raises NotFound if there are none at all, NotAcceptable if none can be given.
    """
    level = Level(len(uids))
    headers = {"Vary": "Accept, Authorization", "Cache-Control": "private, no-cache"}
    state = await gateway(request).archive.state(level, *uids)
    tag = etag(request, *accept(request), *state)
    unchanged = not_modified(request, tag, headers) if state[0] else None
    if unchanged is not None:
        return unchanged
    survey = await _survey(request, uids, gathering)
    if not survey.kind and survey.refused:
        raise NotAcceptable(survey.offered)
    if not survey.kind:
        raise NotFound(f"there is no {gathering.what} here")
    warnings = survey.warnings()
    response = web.StreamResponse(headers=headers | warning(request, *warnings))
    if warnings:
        response.set_status(HTTPStatus.PARTIAL_CONTENT)
        del response.headers["ETag"]  # what is left out now may be there tomorrow
    await _send(request, response, _parts(request, uids, gathering, survey))
    return response


async def _survey(
    request: web.Request, uids: Sequence[str], gathering: Gathering
) -> _Survey:
    survey = _Survey()
    archive = gateway(request).archive
    async with aclosing(archive.instances(Level(len(uids)), *uids)) as groups:
        async for group in groups:
            for instance in group:
                try:
                    await archive.place(instance)
                    survey.add(await gathering.look(instance))
                except NotFound:
                    survey.gone.add(instance.id)
    return survey


@dataclass(frozen=True, slots=True)
class _Parts:
    """The parts to come, and what the header of the answer says of them."""

    kind: str
    boundary: str
    bodies: AsyncGenerator[Body, None]


def _parts(
    request: web.Request, uids: Sequence[str], gathering: Gathering, survey: _Survey
) -> _Parts:
    boundary = multipart.new_boundary()
    archive = gateway(request).archive

    async def bodies() -> AsyncGenerator[Body, None]:
        first = True
        async with aclosing(archive.instances(Level(len(uids)), *uids)) as groups:
            async for group in groups:
                for instance in group:
                    if instance.id in survey.gone:
                        continue
                    parts = gathering.parts(instance, boundary, first)
                    async with aclosing(parts) as found:
                        async for body in found:
                            yield body
                            first = False

    return _Parts(survey.kind, boundary, bodies())


async def _send(
    request: web.Request, response: web.StreamResponse, parts: _Parts
) -> None:
    """Send the parts; the first is made before anything is said."""
    archive = gateway(request).archive
    response.headers["Content-Type"] = multipart.content_type(
        parts.kind, parts.boundary
    )
    async with aclosing(parts.bodies) as bodies:
        following: AsyncIterator[Body] = aiter(bodies)
        body = await anext(following, None)
        async with streaming(request, response) as wanted:
            while wanted and body is not None:
                await transmit(request, response, archive, body)
                body = await anext(following, None)
            if wanted:
                await response.write(multipart.closing(parts.boundary))
