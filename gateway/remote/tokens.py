"""Tokens that open a remote server (OAuth 2.0), kept for as long as they are good.

How a token is asked for is said in ``gateway.remote.grants``; here is one for each
server and process: fetched when it is first needed, again before it expires, and again
when the server does not take it any more.
"""

import asyncio
import json
import re
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import aiohttp

from gateway.errors import BadRequest, RemoteFailure, RemoteTimeout
from gateway.remote.grants import TokenRequest, token_request

_SECONDS = 30.0  # for the whole request: an answer is a few hundred bytes
_CONNECTING = 10.0  # seconds of these until there is a connection
_LARGEST = 65_536  # bytes of an answer that are read
_LONGEST = 30 * 24 * 3600.0  # seconds that a token is used, whatever it is good for
_UNSAID = 300.0  # seconds that a token is good for when the endpoint does not say
_MARGIN = 60.0  # seconds before its end that a token is not used any more,
_SHARE = 0.2  # but this much of its life at the most
_WORTH_A_RETRY = frozenset({408, 425, 429, 500, 502, 503, 504})

_TOKEN = re.compile(r"[\x21-\x7e]+")  # what may follow "Bearer " in a header
_ERROR = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]{1,100}")  # RFC 6749 5.2


@dataclass(frozen=True, slots=True)
class _Token:
    """A token, and until when it is used."""

    text: str = field(repr=False)
    until: float  # of the clock


class TokenSource:
    """Where the client of one server has its tokens from.

    `context` is the TLS of the server, `proxy` the address of the proxy (with its name
    and password) or None: the way to the endpoint is the way to the server.
    """

    def __init__(
        self,
        server: str,
        oauth2: Mapping[str, str],
        context: ssl.SSLContext,
        proxy: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        self._oauth2 = oauth2
        self._context = context
        self._proxy = proxy
        self._clock = clock
        self._lock = asyncio.Lock()
        self._token: _Token | None = None
        self._attempts = 0  # that came to an end
        self._failure: RemoteFailure | BadRequest | None = None  # of the last one

    async def token(self) -> str:
        """A token that is good now: what follows ``Bearer`` in ``Authorization``.

        Who comes while one is fetched waits for that one, and shares its failure.
        Raises RemoteFailure if the endpoint gives none, BadRequest if the definition
        of the server cannot be used.
        """
        seen = self._attempts
        if found := self._good():
            return found
        async with self._lock:
            if found := self._good():
                return found
            if self._attempts != seen and self._failure is not None:
                raise self._failure
            return await self._renew()

    def forget(self, token: str) -> None:
        """The server did not take this token (401): the next one is a new one."""
        if self._token is not None and self._token.text == token:
            self._token = None

    def _good(self) -> str | None:
        token = self._token
        return token.text if token and self._clock() < token.until else None

    async def _renew(self) -> str:
        try:
            self._token = await self._fetch()
            self._failure = None
        except BadRequest as error:
            words = f'server "{self._server}": {error.message}'
            self._failure = BadRequest(words)
            raise self._failure from error
        except RemoteFailure as error:
            self._failure = error
            raise
        finally:
            self._attempts += 1
        return self._token.text

    async def _fetch(self) -> _Token:
        request = await asyncio.to_thread(token_request, self._oauth2)
        started = self._clock()  # its time runs from when it was made, not read
        try:
            status, retry_after, body = await self._post(request)
        except TimeoutError as error:
            raise RemoteTimeout(
                self._says(f"is silent for more than {_SECONDS:.0f} s"),
                server=self._server,
                retry=True,
            ) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # The words of a failed request may show its address and a proxy's password.
            reason = type(error).__name__
            if isinstance(error, OSError) and error.strerror:
                reason = error.strerror
            raise RemoteFailure(
                self._says(f"cannot be reached ({reason})"),
                server=self._server,
                retry=not isinstance(error, aiohttp.ClientSSLError),
            ) from None
        return self._read(status, retry_after, body, started)

    async def _post(self, request: TokenRequest) -> tuple[int, float | None, bytes]:
        timeout = aiohttp.ClientTimeout(total=_SECONDS, connect=_CONNECTING)
        headers = {"Accept": "application/json", **request.headers}
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(
                request.url,
                data=request.form,
                headers=headers,
                allow_redirects=False,  # what is posted is a secret
                ssl=self._context,
                proxy=self._proxy,
            ) as response,
        ):
            wait = response.headers.get("Retry-After", "")
            seconds = float(wait) if re.fullmatch(r"[0-9]{1,6}", wait) else None
            return response.status, seconds, await _body(response.content)

    def _read(
        self, status: int, retry_after: float | None, body: bytes, started: float
    ) -> _Token:
        """The token of an answer (RFC 6749 5.1), or a failure that says what it was."""
        answer = _object(body)
        if status != 200:
            error = answer.get("error")
            named = isinstance(error, str) and _ERROR.fullmatch(error)
            raise RemoteFailure(
                self._says(f"answered {status}" + (f": {error}" if named else "")),
                server=self._server,
                status=status,
                retry=status in _WORTH_A_RETRY,
                retry_after=retry_after,
            )
        token = answer.get("access_token")
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise self._unreadable(status, "without an access_token")
        if str(answer.get("token_type", "bearer")).lower() != "bearer":
            raise self._unreadable(status, "with a token_type that is not Bearer")
        life = _lifetime(answer.get("expires_in"))
        return _Token(token, started + life - min(_MARGIN, life * _SHARE))

    def _unreadable(self, status: int, words: str) -> RemoteFailure:
        return RemoteFailure(
            self._says(f"answered {status} {words}"), server=self._server, status=status
        )

    def _says(self, words: str) -> str:
        return f'server "{self._server}": its token endpoint {words}'


async def _body(content: aiohttp.StreamReader) -> bytes:
    """The whole of an answer; nothing of one that is larger than any should be."""
    body = b""
    async for chunk in content.iter_chunked(_LARGEST):
        body += chunk
        if len(body) > _LARGEST:
            return b""
    return body


def _object(body: bytes) -> Mapping[str, object]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _lifetime(value: object) -> float:
    """Seconds that a token is good for; some endpoints send them as a string."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        return min(float(value), _LONGEST)
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return float(min(value, _LONGEST))
    return _UNSAID
