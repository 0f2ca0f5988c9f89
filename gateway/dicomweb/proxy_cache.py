"""What of a remote server is answered from the archive, and what is kept for that.

With the property ``Cache`` of a server:

- instances that pass as the server has them, not transcoded for this request, are kept;
- a single instance, and whatever is made of it, comes from the archive if it is there;
- for frames and pictures of one that is not, the instance is fetched first: a viewer that
  goes through its frames asks the remote once;
- what a study or a series holds is always asked of the remote.

What is held is not compared with the remote any more. ``Cache-Control: no-cache`` in a
request goes past the archive.
"""

import logging
from collections.abc import Mapping

from aiohttp import web

from gateway.dicom.hierarchy import is_uid
from gateway.dicomweb import bulk, frames, metadata, rendered, wado_rs
from gateway.dicomweb.instance_types import DICOM
from gateway.dicomweb.proxy_keeping import Keeping, fetch
from gateway.errors import (
    BadRequest,
    CannotTranscode,
    GatewayError,
    NotAcceptable,
    NotFound,
)
from gateway.flight import SingleFlight
from gateway.remote.answer import Answer
from gateway.remote.server import Server
from gateway.web.context import ROOT, accept, gateway
from gateway.web.router import Route, Router
from gateway.wire.media import ANY, ANY_TRANSFER_SYNTAX, MediaType

log = logging.getLogger(__name__)

FETCHES = web.AppKey("fetches", SingleFlight)

_INSTANCE = "studies/{study}/series/{series}/instances/{instance}"
_SHOWN = Router(
    Route("GET", f"{_INSTANCE}/{what}", handler)
    for what, handler in (
        ("frames", frames.retrieve),
        ("frames/{frames}", frames.retrieve),
        ("frames/{frames}/rendered", rendered.frames),
        ("frames/{frames}/thumbnail", rendered.frame_thumbnail),
        ("rendered", rendered.rendered),
        ("thumbnail", rendered.thumbnail),
    )
)
_OTHER = Router(
    Route("GET", f"{_INSTANCE}{what}", handler)
    for what, handler in (
        ("", wado_rs.retrieve),
        ("/metadata", metadata.metadata),
        ("/bulk/{path...}", bulk.retrieve),
    )
)
#: What is asked of the remote instead when the archive cannot do it.
_UNABLE = (NotFound, NotAcceptable, CannotTranscode, BadRequest)


async def answer(
    request: web.Request, server: Server, path: str, root: str
) -> web.StreamResponse | None:
    """The answer from the archive, its addresses below `root`; None to ask the server."""
    if not server.cache or "no-cache" in request.headers.get("Cache-Control", ""):
        return None
    shown = _SHOWN.find(path)
    found = shown or _OTHER.find(path)
    route = found.route("GET") if found else None
    if found is None or route is None:
        return None
    held = await _is_held(request, found.arguments)
    if not held and (
        shown is None or not await _fetched(request, server, found.arguments)
    ):
        return None
    request[ROOT] = root
    try:
        return await route.handler(request, **found.arguments)
    except _UNABLE:
        return None
    finally:
        del request[ROOT]


async def _is_held(request: web.Request, uids: Mapping[str, str]) -> bool:
    try:
        await gateway(request).archive.instance(
            uids["study"], uids["series"], uids["instance"]
        )
    except NotFound:
        return False
    return True


async def _fetched(
    request: web.Request, server: Server, uids: Mapping[str, str]
) -> bool:
    """Whether the instance is in the archive now, fetched by whoever came first."""
    parts = gateway(request)
    study, series, instance = uids["study"], uids["series"], uids["instance"]
    if parts.settings.read_only or not all(map(is_uid, (study, series, instance))):
        return False
    path = f"/studies/{study}/series/{series}/instances/{instance}"

    async def work() -> bool:
        client = await parts.servers.client(server.name)
        try:
            await fetch(parts.archive, client, study, path)
        except Exception as error:
            unforeseen = None if isinstance(error, GatewayError) else error
            log.warning(
                "an instance is not fetched first: %s", error, exc_info=unforeseen
            )
            return False
        return True

    if not await request.app[FETCHES].do((server.name, path), work):
        return False
    return await _is_held(request, uids)


def keeping(
    request: web.Request, server: Server, path: str, answered: Answer
) -> Keeping | None:
    """What keeps the instances of an answer; None if they are not to be kept."""
    parts = gateway(request)
    segments = path.split("/")
    names = segments[0::2]
    if (
        not server.cache
        or parts.settings.read_only
        or request.method != "GET"
        or answered.status != 200
        or "Content-Encoding" in answered.headers
        or len(segments) % 2
        or names != ["studies", "series", "instances"][: len(names)]
        or not _as_stored(request, server)
    ):
        return None
    return Keeping(parts.archive, server.name, segments[1])


def _as_stored(request: web.Request, server: Server) -> bool:
    """Whether the request has the server send its files as they are.

    A server that does not know ``transfer-syntax=*`` sends them so when none is named.
    """
    try:
        ranges = [one for one in accept(request) if _is_dicom(one)]
    except BadRequest:
        return False
    if not server.universal_transfer_syntax:
        return all(not one.transfer_syntaxes for one in ranges)
    return bool(ranges) and all(
        ANY_TRANSFER_SYNTAX in one.transfer_syntaxes for one in ranges
    )


def _is_dicom(one: MediaType) -> bool:
    return one.kind in (DICOM, ANY) or one.kind.startswith(
        ("multipart/", "application/*")
    )
