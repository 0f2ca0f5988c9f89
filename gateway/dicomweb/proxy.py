"""Remote servers as if they were here: servers/{name}/studies and what is below.

Whatever a client may ask of a DICOMweb server goes to the remote, with the credentials
that it has for us, and what comes back goes to the client, with every address that would
lead to the remote leading here instead. The client needs neither to reach the remote nor
to know a password of it, and the remote learns nothing of who the client is.

WADO-URI is not among it: where a server has it does not follow from where it has the
rest. What is kept of what passes is for `proxy_cache` to say.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote, unquote, unquote_plus

from aiohttp import web

from gateway.archive import Spool
from gateway.dicomweb import proxy_cache
from gateway.dicomweb.proxy_answer import Passing, check, send
from gateway.dicomweb.proxy_headers import told
from gateway.errors import BadRequest, NotAllowed
from gateway.remote.server import Server
from gateway.web.context import body, gateway, public_root
from gateway.web.presence import present
from gateway.wire.relocation import Relocation

#: What servers that do not know HEAD answer to it.
_NO_HEAD = (400, 404, 405, 501)

_PIECE = 256 * 1024  # bytes that are read at a time of a body that waited
_ENCODED = 4  # times that a path may be percent-encoded, one over the other
_UP = (".", "..")


@dataclass(frozen=True, slots=True)
class _Place:
    """What of the remote is asked for, and how clients call the same of us."""

    path: str  # below the root of the remote, percent-encoded as it came
    query: str  # likewise
    root: str  # the public address that stands for the remote's, with a last slash

    def relocation(self, server: Server) -> Relocation:
        """What moves the addresses in the answer."""
        return Relocation(server.url, self.root, f"{server.url}{self.path}")


async def read(request: web.Request, name: str, **_: str) -> web.StreamResponse:
    """Search or retrieve at a server: GET servers/{name}/studies and below."""
    server = await gateway(request).servers.get(name)
    place = _place(request, name)
    held = await proxy_cache.answer(request, server, place.path, place.root)
    if held is not None:
        return held
    async with (
        present(request),
        _asked(request, name, place, request.method) as passing,
    ):
        if not _again(request, passing):
            return await send(request, passing)
    return await _passed(request, name, place, "GET")


async def _passed(
    request: web.Request, name: str, place: _Place, method: str
) -> web.StreamResponse:
    """Ask the remote, for the whole of it, and pass on what it answers."""
    async with (
        present(request),
        _asked(request, name, place, method, whole=True) as passing,
    ):
        return await send(request, passing)


def _again(request: web.Request, passing: Passing) -> bool:
    """Whether it has to be asked for otherwise: by GET, or as a whole.

    What is rewritten cannot be rewritten in pieces.
    """
    no_head = request.method == "HEAD" and passing.answer.status in _NO_HEAD
    return no_head or passing.is_piece


async def store(request: web.Request, name: str, **_: str) -> web.StreamResponse:
    """Store instances at a server: POST servers/{name}/studies."""
    return await _passed(request, name, _place(request, name), "POST")


async def delete(request: web.Request, name: str, **_: str) -> web.StreamResponse:
    """Delete at a server that allows it: DELETE servers/{name}/studies/{study}."""
    server = await gateway(request).servers.get(name)
    if not server.has_delete:
        raise NotAllowed(
            f'nothing may be deleted at the server {name}: it does not have "HasDelete"'
        )
    return await _passed(request, name, _place(request, name), "DELETE")


# -- asking ------------------------------------------------------------------------------


@asynccontextmanager
async def _asked(
    request: web.Request,
    name: str,
    place: _Place,
    method: str,
    *,
    whole: bool = False,
) -> AsyncIterator[Passing]:
    """Ask the remote what the client asks us; `whole`: not for a range of it.

    Raises RemoteFailure where there is no answer that the client may have.
    """
    client = await gateway(request).servers.client(name)
    async with AsyncExitStack() as stack:
        chunks, length = None, None
        if method == "POST":
            chunks, length = await _upload(request, client.server, stack)
        answer = await stack.enter_async_context(
            client.call(
                method,
                f"/{place.path}",
                arguments=place.query,
                headers=told(request, ranges=not whole),
                body=chunks,
                length=length,
                raw=True,
            )
        )
        await check(answer)
        keeping = proxy_cache.keeping(request, client.server, place.path, answer)
        if keeping is not None:
            await stack.enter_async_context(keeping)
        yield Passing(answer, place.relocation(client.server), keeping)


async def _upload(
    request: web.Request, server: Server, stack: AsyncExitStack
) -> tuple[AsyncGenerator[bytes, None], int | None]:
    """The body for the remote, and its length if that is known.

    A body of unknown length for a server that needs one waits on the disk until it is
    all here.
    """
    length = request.content_length
    if "Content-Encoding" in request.headers:  # it is inflated on its way in
        length = None
    if length is not None or server.chunked_transfers:
        return _incoming(request), length
    spool = await stack.enter_async_context(gateway(request).archive.spool())
    async for chunk in body(request):
        await spool.write(chunk)
    return _spooled(spool), spool.size


async def _incoming(request: web.Request) -> AsyncGenerator[bytes, None]:
    async for chunk in body(request):
        yield chunk


async def _spooled(spool: Spool) -> AsyncGenerator[bytes, None]:
    for offset in range(0, spool.size, _PIECE):
        yield await spool.work(partial(spool.read_at, offset, _PIECE))


# -- what is asked for -------------------------------------------------------------------


def _place(request: web.Request, name: str) -> _Place:
    """What of the remote is asked for; raises BadRequest if it is not below its root."""
    root = gateway(request).settings.dicom_web.root
    segments = [part for part in request.rel_url.raw_path.split("/") if part]
    mount = len([part for part in root.split("/") if part])
    below = segments[mount + 2 :]  # behind "servers" and the name
    for segment in below:
        _refuse_way_out(segment)
    return _Place(
        path="/".join(below),
        query=_query(request.rel_url.raw_query_string),
        root=f"{public_root(request)}servers/{quote(name, safe='')}/",
    )


def _refuse_way_out(segment: str) -> None:
    """Raise BadRequest for what some server would read as a way up.

    With our credentials a client may have what is below the root, and nothing beside it.
    """
    for _ in range(_ENCODED):
        decoded = unquote(segment)
        names = (part.partition(";")[0] for part in re.split(r"[/\\]", decoded))
        if any(name in _UP for name in names) or re.search(r"[\x00-\x1f\x7f]", decoded):
            raise BadRequest("the path goes up and down by '.' or '..'")
        if decoded == segment:
            return
        segment = decoded
    raise BadRequest("the path is percent-encoded many times over")


def _query(raw: str) -> str:
    """The query as it came, but for what would turn a GET into something else."""
    pairs = raw.split("&")
    kept = [one for one in pairs if not _is_method(one.partition("=")[0])]
    return "&".join(kept) if len(kept) < len(pairs) else raw


def _is_method(key: str) -> bool:
    return unquote_plus(key).strip().lower() == "_method"
