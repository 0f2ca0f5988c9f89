"""Around every handler: the door, the way to the handler, and what errors become.

The one table from error to status is here; an error after the first byte of an answer can
only break the connection.
"""

import logging
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

from gateway.errors import (
    BadConfiguration,
    BadRequest,
    Busy,
    CannotTranscode,
    Conflict,
    GatewayError,
    Misdirected,
    NotAcceptable,
    NotAllowed,
    NotDicom,
    NotFound,
    ReadOnly,
    RemoteBadRequest,
    RemoteFailure,
    RemoteNotFound,
    RemoteTimeout,
    StorageFull,
    TooLarge,
    TooSlow,
    UnknownServer,
    UnsupportedMedia,
)
from gateway.telemetry.exchange import CURRENT
from gateway.web.auth import CHALLENGE, Door
from gateway.web.compression import compress
from gateway.web.context import gateway
from gateway.web.cors import Cors
from gateway.web.foreign_pages import refuse_foreign_page
from gateway.web.hosts import Hosts
from gateway.web.observation import HEADER
from gateway.web.presence import GONE, is_gone
from gateway.web.problems import Problem, answer
from gateway.web.router import Found, Router

log = logging.getLogger(__name__)

ROUTER = web.AppKey("router", Router)
DOOR = web.AppKey("door", Door)
CORS = web.AppKey("cors", Cors)
HOSTS = web.AppKey("hosts", Hosts)

#: Error, HTTP status, and Orthanc's name and number of it; the first that fits counts.
STATUS: tuple[tuple[type[Exception], HTTPStatus, str, int], ...] = (
    (NotDicom, HTTPStatus.BAD_REQUEST, "Bad file format", 15),
    (BadRequest, HTTPStatus.BAD_REQUEST, "Bad request", 8),
    (UnknownServer, HTTPStatus.NOT_FOUND, "Accessing an inexistent item", 7),
    (NotFound, HTTPStatus.NOT_FOUND, "Unknown resource", 17),
    (NotAcceptable, HTTPStatus.NOT_ACCEPTABLE, "Not acceptable", 34),
    (CannotTranscode, HTTPStatus.NOT_ACCEPTABLE, "Not acceptable", 34),
    (
        UnsupportedMedia,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "Unsupported media type",
        3000,
    ),
    (Conflict, HTTPStatus.CONFLICT, "Duplicate resource", 46),
    (TooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Bad request", 8),
    (TooSlow, HTTPStatus.REQUEST_TIMEOUT, "Timeout", 16),
    (ReadOnly, HTTPStatus.FORBIDDEN, "Read-only", 22),
    (NotAllowed, HTTPStatus.FORBIDDEN, "Forbidden access", 45),
    (Misdirected, HTTPStatus.MISDIRECTED_REQUEST, "Forbidden access", 45),
    (Busy, HTTPStatus.SERVICE_UNAVAILABLE, "Database is not available", 36),
    (StorageFull, HTTPStatus.INSUFFICIENT_STORAGE, "Full storage", 19),
    (RemoteTimeout, HTTPStatus.GATEWAY_TIMEOUT, "Timeout", 16),
    (RemoteBadRequest, HTTPStatus.BAD_REQUEST, "Bad request", 8),
    (RemoteNotFound, HTTPStatus.NOT_FOUND, "Unknown resource", 17),
    # A remote that refuses us too: a 401 would make browsers ask for a password of ours.
    (RemoteFailure, HTTPStatus.BAD_GATEWAY, "Error in the network protocol", 9),
    (BadConfiguration, HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error", -1),
    (Exception, HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error", -1),
)


@web.middleware
async def protect(request: web.Request, handler: object) -> web.StreamResponse:
    """Let in who may come, find the handler, and turn errors into answers."""
    response = _refusal(request)
    if response is None:
        try:
            response = await _dispatch(request)
        except Exception as error:
            response = _failed(request, error)
        await compress(request, response)
    if request.body_exists and not request.content.at_eof():
        # The rest of the body is not read: the connection cannot be used again.
        response.force_close()
    return response


@dataclass(frozen=True, slots=True)
class Signature:
    """What every answer carries."""

    server: str  # name and version
    cors: Cors

    async def put(self, request: web.Request, response: web.StreamResponse) -> None:
        """Put it on an answer."""
        headers = response.headers
        headers["X-Content-Type-Options"] = "nosniff"
        headers[HEADER] = CURRENT.get().id
        headers["Server"] = self.server
        self.cors.sign(request, response)


def _refusal(request: web.Request) -> web.StreamResponse | None:
    """The answer to somebody who may not come in, or who asks whether a page may."""
    door = request.app[DOOR]
    if not door.admits_peer(request.remote):
        return web.Response(status=HTTPStatus.UNAUTHORIZED)
    try:
        request.app[HOSTS].check(request.headers.get("Host", ""), request.remote)
    except Misdirected as error:
        if not _is_open(request):
            return _failed(request, error)
    preflight = request.app[CORS].preflight(request)
    if preflight is not None:
        return preflight
    if door.admits(request.headers.get("Authorization")) or _is_open(request):
        return None
    return web.Response(
        status=HTTPStatus.UNAUTHORIZED, headers={"WWW-Authenticate": CHALLENGE}
    )


def _find(request: web.Request) -> Found | None:
    return request.app[ROUTER].find(request.rel_url.raw_path)


def _is_open(request: web.Request) -> bool:
    found = _find(request)
    route = found.route(_method(request)) if found else None
    return route is not None and route.open_to_all


def _method(request: web.Request) -> str:
    """The method, or what an old client says it means (as in Orthanc)."""
    override = request.headers.get("X-HTTP-Method-Override", "")
    if request.method == "GET" and not override:
        override = request.query.get("_method", "")
    meant = override.upper()
    if meant in ("PUT", "DELETE") and request.method in ("GET", "POST"):
        return meant
    return request.method


async def _dispatch(request: web.Request) -> web.StreamResponse:
    found = _find(request)
    if found is None:
        raise NotFound(_hint(request))
    method = _method(request)
    route = found.route(method)
    if route is not None:
        CURRENT.get().route = route.key
        if route.method not in ("GET", "OPTIONS"):
            refuse_foreign_page(request, request.app[CORS])
        return await route.handler(request, **found.arguments)
    allow = {"Allow": found.allowed()}
    if method == "OPTIONS":
        return web.Response(status=HTTPStatus.NO_CONTENT, headers=allow)
    return web.Response(status=HTTPStatus.METHOD_NOT_ALLOWED, headers=allow)


def _hint(request: web.Request) -> str:
    """What to say of a path that leads nowhere."""
    root = gateway(request).settings.dicom_web.root
    path = request.rel_url.raw_path
    if path.startswith(("/studies", "/series")) and root != "/":
        return f"there is nothing at this path; the DICOMweb server is at {root}"
    return "there is nothing at this path"


def _failed(request: web.Request, error: Exception) -> web.StreamResponse:
    """The answer that says what went wrong."""
    if isinstance(error, ConnectionError) and is_gone(request):
        log.debug("the client went away")
        return web.Response(status=GONE)
    if not isinstance(error, GatewayError):
        log.error("%s %s failed", request.method, request.path, exc_info=error)
    status, name, number = next(
        (status, name, number)
        for kind, status, name, number in STATUS
        if isinstance(error, kind)
    )
    return answer(request, Problem(error, status, name, number))


async def expect(request: web.Request) -> web.StreamResponse | None:
    """Turn down expectations but ``100-continue``, which waits until the body is read."""
    if request.headers.get("Expect", "").lower() != "100-continue":
        return web.Response(status=HTTPStatus.EXPECTATION_FAILED)
    return None


async def unused(request: web.Request) -> web.StreamResponse:
    """Stand in the place of a handler: `protect` finds the real one."""
    raise web.HTTPNotFound
