"""Around every handler: the door, the way to the handler, and what errors become.

The one table from error to status is here; an error after the first byte of an answer can
only break the connection. `gateway.web.server` brings each request here, past aiohttp's
own table of routes and chain of middlewares: what costs little in itself is asked for
thousands of times a second.
"""

import logging
import time
from dataclasses import dataclass
from functools import lru_cache
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
from gateway.telemetry.exchange import CURRENT, Exchange
from gateway.web.auth import CHALLENGE, Door
from gateway.web.compression import compress
from gateway.web.context import gateway
from gateway.web.cors import Cors
from gateway.web.foreign_pages import refuse_foreign_page
from gateway.web.hosts import Hosts
from gateway.web.observation import HEADER, Observation
from gateway.web.presence import GONE, is_gone
from gateway.web.problems import Problem, answer
from gateway.web.router import Found, Route, Router
from gateway.web.turns import TURN, Turn
from gateway.web.whole import Whole

log = logging.getLogger(__name__)

ROUTER = web.AppKey("router", Router)

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


@dataclass(frozen=True, slots=True)
class Guards:
    """What decides who comes in."""

    door: Door
    hosts: Hosts
    cors: Cors


class Entrance:
    """Where the requests of an application come in, and their answers go out."""

    def __init__(
        self,
        app: web.Application,
        router: Router,
        guards: Guards,
        observation: Observation,
        server: str,
        *,
        compresses: bool = False,
    ) -> None:
        """`server` is its name and version, as every answer tells them."""
        self.app = app
        self.router = router
        self.door, self.hosts, self.cors = guards.door, guards.hosts, guards.cors
        self.observation = observation
        self.server = server
        # What depends on more of a request than its address takes its time.
        self._may_hurry = not (self.cors.origins or compresses)
        self._lets_in = lru_cache(256)(self._admits)
        lines = f"X-Content-Type-Options: nosniff\r\nServer: {server}\r\n{HEADER}: "
        self._lines = lines.encode()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The answer to a request, which is observed meanwhile."""
        observation = self.observation
        if TURN in request:  # it is under way already
            exchange = request[TURN].exchange
            CURRENT.set(exchange)
        else:
            exchange = observation.begin(request.headers.get(HEADER))
        response: web.StreamResponse | None = None
        try:
            response = await self._protected(request, exchange)
            if observation.stopping:
                response.force_close()
            return response
        finally:
            observation.end(request, response, exchange)

    def answer_at_once(
        self, request: web.Request
    ) -> bytes | tuple[bytes, memoryview] | Turn | None:
        """The answer to a GET without a body, if nothing has to be waited for.

        Its head apart from its body where that is to be sent as it lies. A turn is one
        that comes by and by. None leaves the request to `answer`, which does
        what is unusual and tells errors.
        """
        started = time.perf_counter()
        observation, headers, url = self.observation, request.headers, request.rel_url
        if not self._may_hurry or observation.is_particular or _is_unusual(request):
            return None
        found = self.router.find(url.raw_path)
        route = None if found is None else found.routes.get("GET")
        if found is None or route is None or not (route.at_once or route.begin):
            return None
        if not (
            self._lets_in(request.remote, headers.get("Host", ""))
            and self.door.admits(headers.get("Authorization"))
        ):
            return None
        at_once, name = route.at_once, observation.name(headers.get(HEADER))
        whole = None if at_once is None else at_once(request, **found.arguments)
        if whole is None:
            exchange = Exchange(name, started)
            exchange.route = route.key
            return self._begun(route, request, found.arguments, exchange)
        observation.note(route.key, whole.status, len(whole.body), started)
        if isinstance(whole.body, memoryview):
            return self._signed(Whole(whole.status, whole.head), name), whole.body
        return self._signed(whole, name)

    def _begun(
        self,
        route: Route,
        request: web.Request,
        arguments: dict[str, str],
        exchange: Exchange,
    ) -> Turn | None:
        """The turn of a request, if it can be answered by and by."""
        begin = route.begin
        if begin is None:
            return None
        turn = Turn(request, exchange, self.observation, self._signed)
        try:
            if not begin(turn, **arguments):
                return None
        except Exception as error:
            # The handler is to meet it as well, and tell it.
            log.debug("%s %s did not begin", *route.key, exc_info=error)
            return None
        self.observation.begun()
        return turn

    def _signed(self, whole: Whole, name: str, last: bool = False) -> bytes:
        """An answer as it goes out; `last` of its connection or not."""
        date = _date(int(time.time()))
        ending = b"\r\nConnection: close" if last else b""
        return b"".join(
            (whole.head, self._lines, name.encode(), ending, date, whole.body)
        )

    def _admits(self, peer: str | None, host: str) -> bool:
        """Whether who calls us by this name may come in; a route for all says more."""
        return self.door.admits_peer(peer) and self.hosts.takes(host, peer)

    def sign(self, request: web.Request, response: web.StreamResponse) -> None:
        """Put on an answer what every one carries."""
        headers = response.headers
        headers["X-Content-Type-Options"] = "nosniff"
        # What is no HTTP has passed nobody who gave it one.
        headers[HEADER] = CURRENT.get().id or self.observation.name(None)
        headers["Server"] = self.server
        self.cors.sign(request, response)

    async def _protected(
        self, request: web.Request, exchange: Exchange
    ) -> web.StreamResponse:
        """Let in who may come, find the handler, and turn errors into answers."""
        found = self.router.find(request.rel_url.raw_path)
        response = self._refusal(request, found)
        if response is None:
            try:
                response = await self._dispatch(request, found, exchange)
            except Exception as error:
                response = _failed(request, error)
            await compress(request, response)
        if request.body_exists and not request.content.at_eof():
            # The rest of the body is not read: the connection cannot be used again.
            response.force_close()
        return response

    def _refusal(
        self, request: web.Request, found: Found | None
    ) -> web.StreamResponse | None:
        """The answer to somebody who may not come in, or asks whether a page may."""
        if not self.door.admits_peer(request.remote):
            return web.Response(status=HTTPStatus.UNAUTHORIZED)
        headers = request.headers
        if "Expect" in headers and not _is_expected(headers["Expect"]):
            return web.Response(status=HTTPStatus.EXPECTATION_FAILED)
        try:
            self.hosts.check(headers.get("Host", ""), request.remote)
        except Misdirected as error:
            if not _is_open(request, found):
                return _failed(request, error)
        preflight = self.cors.preflight(request)
        if preflight is not None:
            return preflight
        if self.door.admits(headers.get("Authorization")) or _is_open(request, found):
            return None
        return web.Response(
            status=HTTPStatus.UNAUTHORIZED, headers={"WWW-Authenticate": CHALLENGE}
        )

    async def _dispatch(
        self, request: web.Request, found: Found | None, exchange: Exchange
    ) -> web.StreamResponse:
        if found is None:
            raise NotFound(_hint(request))
        method = _method(request)
        route = found.route(method)
        if route is not None:
            exchange.route = route.key
            failure = request[TURN].failure if TURN in request else None
            if failure is not None:
                raise failure
            if route.method not in ("GET", "OPTIONS"):
                refuse_foreign_page(request, self.cors)
            return await route.handler(request, **found.arguments)
        allow = {"Allow": found.allowed()}
        if method == "OPTIONS":
            return web.Response(status=HTTPStatus.NO_CONTENT, headers=allow)
        return web.Response(status=HTTPStatus.METHOD_NOT_ALLOWED, headers=allow)


@lru_cache(1)
def _date(second: int) -> bytes:
    """The last header of an answer, at a second since 1970 (RFC 9110 6.6.1)."""
    form = "\r\nDate: %a, %d %b %Y %H:%M:%S GMT\r\n\r\n"
    return time.strftime(form, time.gmtime(second)).encode()


def _is_unusual(request: web.Request) -> bool:
    """Whether a GET means something else, or is to be treated in another way."""
    headers, query = request.headers, request.rel_url.raw_query_string
    if "X-HTTP-Method-Override" in headers or "Expect" in headers:
        return True
    return bool(query) and (
        ("_method" in query or "%" in query) and "_method" in request.query
    )


def _is_expected(expectation: str) -> bool:
    """Whether it is the one expectation there is; it waits until the body is read."""
    return expectation.lower() == "100-continue"


def _is_open(request: web.Request, found: Found | None) -> bool:
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
