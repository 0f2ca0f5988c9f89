"""One request and its answer: signed, redirected, watched.

What is common to all requests to a server, whatever they are for: the token, redirects
within the same server, the end of the patience, and a line in the log.
"""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from gateway.remote.addresses import redirected, shown
from gateway.remote.answer import Answer
from gateway.remote.connections import Connection, Connections
from gateway.remote.failures import Failures
from gateway.remote.secrets import secrets_of
from gateway.remote.silence import Silence
from gateway.remote.upload import Upload, UploadMaker

log = logging.getLogger(__name__)

REDIRECTS = 5  # that one request follows

_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as often as it has to be sent."""

    method: str
    url: URL = field(repr=False)  # its query may name patients
    headers: "CIMultiDict[str]" = field(repr=False)  # with passwords and tokens
    body: UploadMaker | None = None
    length: int | None = None  # bytes of the body; None: chunked
    again: bool = True  # the body can be made more than once
    raw: bool = False
    sent: Callable[[int], None] | None = None


class Exchanges:
    """Sends the requests to one server."""

    def __init__(
        self, server: str, connections: Connections, *, silence: float, verbose: bool
    ) -> None:
        self._server = server  # its name
        self._connections = connections
        self._silence = silence  # seconds; 0: no limit
        self._verbose = verbose

    @asynccontextmanager
    async def answered(self, request: Request) -> AsyncIterator[Answer]:
        """Send a request until there is an answer to give: redirects are followed."""
        renewed = False
        async with self._connections.use() as connection:
            for hop in range(REDIRECTS + 2):
                token = None
                if connection.tokens is not None:
                    token = await connection.tokens.token()
                async with self._sent(connection, request, token) as answer:
                    follow = _redirect(request, answer, hop - renewed)
                    if follow is not None:
                        request = follow
                        continue
                    if not _wants_new_token(request, answer, token) or renewed:
                        yield answer
                        return
                renewed = True
                if connection.tokens is not None and token is not None:
                    connection.tokens.forget(token)
        raise AssertionError("a redirect too many is refused before")

    @asynccontextmanager
    async def _sent(
        self, connection: Connection, request: Request, token: str | None
    ) -> AsyncIterator[Answer]:
        """Send a request once."""
        request = _signed(request, token)
        failures = Failures(
            self._server,
            f"{request.method} {shown(request.url)}",
            secrets_of(request.headers),
        )
        silence = Silence(self._silence)
        upload: Upload | None = None
        if request.body is not None:
            upload = request.body(silence, request.sent)
        response = None
        try:
            response = await self._begin(connection, request, silence, failures, upload)
            yield Answer(
                response,
                silence,
                failures,
                decode=not request.raw,
                upload=upload,
            )
        finally:
            if response is not None:
                response.close()
            if upload is not None:
                await upload.close()

    async def _begin(
        self,
        connection: Connection,
        request: Request,
        silence: Silence,
        failures: Failures,
        upload: Upload | None,
    ) -> aiohttp.ClientResponse:
        """Send a request, and wait for the head of its answer."""
        tls = await connection.tls(request.url)
        try:
            async with silence.watched():
                response = await connection.session.request(
                    request.method,
                    request.url,
                    headers=request.headers,
                    data=upload,
                    allow_redirects=False,
                    proxy=connection.proxy,
                    ssl=tls,
                )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            self._note(request, type(error).__name__)
            # Not with what caused it: its words hold the query, or a proxy's password.
            raise _why(error, silence, failures, upload) from None
        self._note(request, str(response.status))
        return response

    def _note(self, request: Request, outcome: str) -> None:
        if self._verbose:
            log.info("%s %s: %s", request.method, shown(request.url), outcome)


def _wants_new_token(request: Request, answer: Answer, token: str | None) -> bool:
    refused = answer.status == HTTPStatus.UNAUTHORIZED
    return refused and token is not None and request.again


def _redirect(request: Request, answer: Answer, hops: int) -> Request | None:
    """The request that a redirect asks for; RemoteFailure if it is not followed."""
    location = answer.headers.get("Location", "")
    if answer.status not in _REDIRECTS:
        return None
    where = f"it redirects ({answer.status}) to {shown(location) or 'nowhere'}"
    status = answer.status
    if request.method not in ("GET", "HEAD") or request.body is not None:
        what = f"{where}, which is not followed for {request.method}"
        raise answer.failures.nonsense(what, status)
    if hops >= REDIRECTS:
        what = f"{where}, after {REDIRECTS} redirects already"
        raise answer.failures.nonsense(what, status)
    target = redirected(request.url, location) if location else None
    if target is None:
        raise answer.failures.nonsense(f"{where}, which is another server", status)
    return replace(request, url=target)


def _signed(request: Request, token: str | None) -> Request:
    headers = request.headers.copy()
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    if request.length is not None:
        headers["Content-Length"] = str(request.length)
    return replace(request, headers=headers)


def _why(
    error: Exception, silence: Silence, failures: Failures, upload: Upload | None
) -> Exception:
    """Why there is no answer: the body, the silence or the connection."""
    if upload is not None and upload.failure is not None:
        return upload.failure
    if not isinstance(error, TimeoutError):
        return failures.broken(error)
    if upload is not None and upload.total and not upload.finished:
        return failures.silent(silence.seconds, "took nothing more of the body")
    return failures.silent(silence.seconds, "did not answer")
