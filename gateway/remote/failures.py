"""What another server did wrong, in one sentence that names it.

The sentence goes to whoever asked, and into the job. It has the method and the address
without its query, which may name patients, and never what we sent as a password.
"""

import re
import ssl
import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TypeVar

import aiohttp

from gateway.errors import (
    RemoteBadRequest,
    RemoteFailure,
    RemoteNotFound,
    RemoteRefused,
    RemoteTimeout,
)
from gateway.remote.secrets import hide

_Kind = TypeVar("_Kind", bound=RemoteFailure)

EXCERPT = 500  # characters of a body in a message
LONGEST_WAIT = 24 * 3600.0  # seconds; whatever Retry-After says

#: It may be otherwise in a while (RFC 9110 15.5.9, 15.6; RFC 6585 4; RFC 8470 5.2).
_PASSING = frozenset({408, 425, 429})
_LASTING = frozenset({501, 505, 506, 507, 508, 510, 511})
_KINDS: dict[int, type[RemoteFailure]] = {
    400: RemoteBadRequest,
    401: RemoteRefused,
    403: RemoteRefused,
    404: RemoteNotFound,
    410: RemoteNotFound,
}
_ADVICE = {
    413: ' (smaller requests: "StowMaxSize", "StowMaxInstances")',
    411: ' ("ChunkedTransfers" has to be false for it)',
}

_CERTIFICATE = "its certificate is not accepted: {}"
#: Error, words for it, and whether it may pass; the first that fits counts.
_TRANSPORT: tuple[tuple[type[Exception], str, bool], ...] = (
    (aiohttp.ClientConnectorSSLError, "TLS with it fails: {}", False),
    (aiohttp.ClientProxyConnectionError, "the proxy cannot be reached: {}", True),
    (aiohttp.ClientConnectorDNSError, "its name cannot be resolved: {}", True),
    (aiohttp.ClientConnectorError, "it cannot be reached: {}", True),
    (
        aiohttp.ServerDisconnectedError,
        "it closed the connection without an answer",
        True,
    ),
    (
        aiohttp.ClientPayloadError,
        "its answer is cut: the connection ended before it was complete",
        True,
    ),
    (aiohttp.InvalidURL, "its address cannot be used", False),
    (ValueError, "the request cannot be sent", False),
)


class Failures:
    """Makes the errors of one request."""

    def __init__(self, server: str, request: str, secrets: Sequence[str] = ()) -> None:
        self._server = server  # its name
        self._request = request  # "GET https://pacs.example.org/dicom-web/studies"
        self._secrets = secrets  # that went with it

    def excerpt(self, body: bytes) -> str:
        """The beginning of what it said, fit for a message."""
        return _clean(self.hidden(body.decode("utf-8", "replace")), EXCERPT)

    def hidden(self, text: str) -> str:
        """What it said, without what we sent as a secret."""
        return hide(text, self._secrets)

    def answered(
        self, status: int, reason: str | None, retry_after: str | None, excerpt: str
    ) -> RemoteFailure:
        """It answered, and not what was hoped for."""
        retry = status in _PASSING or (status >= 500 and status not in _LASTING)
        said = self.hidden(reason or _phrase(status))
        text = f"it answered {status} {_clean(said, 60)}".rstrip()
        text += _ADVICE.get(status, "")
        if excerpt:
            text += f": {excerpt}"
        seconds = _seconds(retry_after) if retry else None
        return self._made(
            _KINDS.get(status, RemoteFailure), text, status, retry, seconds
        )

    def silent(self, seconds: float, doing: str) -> RemoteTimeout:
        """Nothing moved for too long."""
        text = f"it {doing} for {seconds:g} seconds"
        return self._made(RemoteTimeout, text, retry=True)

    def truncated(self, what: str, status: int | None = None) -> RemoteFailure:
        """Its answer ended before it was complete."""
        return self._made(RemoteFailure, f"its answer is cut: {what}", status, True)

    def nonsense(self, what: str, status: int | None = None) -> RemoteFailure:
        """Its answer cannot be used, and will not be better next time."""
        return self._made(RemoteFailure, what, status)

    def broken(self, error: Exception) -> RemoteFailure:
        """The connection failed, or the protocol on it."""
        what, retry = _transport(error)
        return self._made(RemoteFailure, what, retry=retry)

    def _made(
        self,
        kind: type[_Kind],
        what: str,
        status: int | None = None,
        retry: bool = False,
        retry_after: float | None = None,
    ) -> _Kind:
        return kind(
            f"the remote server {self._server}, {self._request}: {self.hidden(what)}",
            server=self._server,
            status=status,
            retry=retry,
            retry_after=retry_after,
        )


def _transport(error: Exception) -> tuple[str, bool]:
    """What failed on the way, and whether it may pass."""
    cause = getattr(error, "os_error", None) or error.__cause__ or error
    said = str(getattr(cause, "strerror", None) or cause)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _worded(_CERTIFICATE, str(error.certificate_error)), False
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
        return _worded("TLS with it fails: {}", str(cause)), False
    if isinstance(error, aiohttp.ClientHttpProxyError):
        said = f"{error.status} {error.message}"
        return _worded("the proxy answered {}", said), error.status >= 500
    if isinstance(error, aiohttp.ClientResponseError):
        return _worded("its answer is not HTTP: {}", error.message), False
    for kind, words, passing in _TRANSPORT:
        if isinstance(error, kind):
            return _worded(words, said), passing
    return _worded("the connection broke: {}", said), True


def _worded(words: str, said: str) -> str:
    return words.format(_clean(said, 200))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _seconds(text: str | None) -> float | None:
    """How long to wait, from Retry-After (RFC 9110 10.2.3)."""
    if not text:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), LONGEST_WAIT)
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(max(moment - time.time(), 0.0), LONGEST_WAIT)


def _clean(text: str, limit: int) -> str:
    """A text without control characters and line ends, cut to this many characters."""
    text = re.sub(r"\s+", " ", text[: 8 * limit]).strip()
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= limit else f"{text[:limit]}..."
