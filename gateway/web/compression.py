"""Answers of text made smaller on their way, for clients that can read it (RFC 9110 8.4).

gzip, which every client knows, or deflate for who takes nothing else, at the fastest
level: on a network of a hospital a better one costs more than it saves. Compressing is
done in threads.
"""

import zlib
from collections.abc import Awaitable, Callable
from functools import partial

from aiohttp import web

from gateway.errors import BadRequest
from gateway.storage.threads import in_thread
from gateway.web.context import gateway
from gateway.web.cors import add_vary
from gateway.wire.media import accepts_encoding

#: Shorter answers are sent as they are (bytes).
WORTH_IT = 2048

_LEVEL = 1
#: The codings, the better known first, and how the library calls their envelopes.
_FORMS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_TEXTS = ("json", "xml", "text/")

Write = Callable[[bytes], Awaitable[None]]


def _is_text(content_type: str) -> bool:
    kind = content_type.lower()
    return any(text in kind for text in _TEXTS)


def _coding(request: web.Request, response: web.StreamResponse) -> str | None:
    """How the answer is to be compressed, if it is; notes in it that this was a choice."""
    if not gateway(request).settings.http_compression_enabled or not _is_text(
        response.headers.get("Content-Type", "")
    ):
        return None
    if "Content-Encoding" in response.headers:
        return None
    add_vary(response, "Accept-Encoding")
    return _wanted(request)


def coding_of(request: web.Request, content_type: str) -> str | None:
    """How an answer of a type is to be compressed for a client, if it is."""
    if not gateway(request).settings.http_compression_enabled:
        return None
    return _wanted(request) if _is_text(content_type) else None


def _wanted(request: web.Request) -> str | None:
    header = request.headers.get("Accept-Encoding")
    try:
        return next((name for name in _FORMS if accepts_encoding(header, name)), None)
    except BadRequest:
        return None


def goes_as_it_is(request: web.Request, response: web.Response) -> bool:
    """Whether a complete answer is not to be compressed; notes in it if it could be."""
    if not gateway(request).settings.http_compression_enabled:
        return True
    body = response.body
    if not isinstance(body, bytes) or _coding(request, response) is None:
        return True
    return len(body) < WORTH_IT


async def compress(request: web.Request, response: web.StreamResponse) -> None:
    """Compress an answer that is complete and not sent yet."""
    if not isinstance(response, web.Response) or response.prepared:
        return
    body = response.body
    coding = _coding(request, response) if isinstance(body, bytes) else None
    if isinstance(body, bytes) and coding is not None and len(body) >= WORTH_IT:
        response.body = await in_thread(partial(compressed, body, coding))
        response.headers["Content-Encoding"] = coding


def compressed(body: bytes, coding: str) -> bytes:
    """A body in a coding; in a thread, please."""
    return zlib.compress(body, _LEVEL, _FORMS[coding])


class Writer:
    """Writes a long answer piece by piece, compressed if that is wanted.

    Made before the answer is prepared: it sets a header.
    """

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self._response = response
        self._compressor = None
        coding = _coding(request, response)
        if coding is not None:
            form = _FORMS[coding]
            self._compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, form)
            response.headers["Content-Encoding"] = coding

    async def write(self, text: bytes) -> None:
        """Send the text."""
        compressor = self._compressor
        if compressor is not None:
            text = await in_thread(lambda: compressor.compress(text))
        if text:
            await self._response.write(text)

    async def end(self) -> None:
        """Send what is still held back."""
        if self._compressor is not None:
            await self._response.write(self._compressor.flush())
