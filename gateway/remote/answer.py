"""What another server answers, as it comes.

The bytes are handed on in chunks, decoded if they were compressed for the way. The end
is only the end when the framing says so: what the connection cut short is an error, and
not a shorter answer.
"""

import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing

import aiohttp
from multidict import CIMultiDictProxy

from gateway.errors import GatewayError, RemoteFailure
from gateway.remote.download import Download
from gateway.remote.failures import Failures
from gateway.remote.silence import Silence
from gateway.remote.upload import Upload
from gateway.wire.inflating import CODINGS, Inflating

_EXCERPT_BYTES = 4096


class Answer:
    """An answer whose head is here; its body is read once."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        silence: Silence,
        failures: Failures,
        *,
        decode: bool,
        upload: Upload | None = None,
    ) -> None:
        self.status = response.status
        self.headers: CIMultiDictProxy[str] = response.headers
        self.failures = failures
        self._response = response
        self._silence = silence
        self._decode = decode
        self._upload = upload
        self._download = Download(response, silence)

    @property
    def received(self) -> int:
        """Bytes of the body that came, as they came."""
        return self._download.received

    @property
    def succeeded(self) -> bool:
        """Whether the status says so."""
        return 200 <= self.status < 300

    @property
    def premature(self) -> bool:
        """Whether it was given before the body of the request had gone."""
        return self._upload is not None and not self._upload.whole

    @property
    def content_type(self) -> str:
        """The media type as it came, fit for a message."""
        given = self.headers.get("Content-Type", "")[:100]
        return self.failures.excerpt(given.encode("utf-8", "replace"))

    @property
    def kind(self) -> str:
        """The media type without its parameters, empty if there is none."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    async def chunks(
        self, *, decode: bool | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The body; raises RemoteFailure when it stops before its end.

        `decode` says whether compression is undone; None: as the call said.
        """
        decode = self._decode if decode is None else decode
        codings = _codings(self.headers) if decode else []
        if not codings:
            async with aclosing(self._raw()) as raw:
                async for chunk in raw:
                    yield chunk
            return
        if len(codings) > 1 or codings[0] not in CODINGS:
            named = ", ".join(codings)[:60]
            what = f"it answered in the coding {named!r}, which was not asked for"
            raise self.failures.nonsense(what, self.status)
        async with aclosing(self._inflated(codings[0])) as inflated:
            async for chunk in inflated:
                yield chunk

    async def _inflated(self, coding: str) -> AsyncGenerator[bytes, None]:
        inflating = Inflating()
        try:
            async with aclosing(self._raw()) as raw:
                async for chunk in raw:
                    for inflated in inflating.feed(chunk):
                        yield inflated
        except zlib.error:
            what = f"its answer is not {coding}, as it says"
            raise self.failures.nonsense(what, self.status) from None
        if not inflating.complete:
            raise self.failures.truncated("the compressed body has no end", self.status)

    async def body(self, limit: int) -> bytes:
        """The whole body, if it is not larger than this many bytes."""
        found = bytearray()
        async with aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                found += chunk
                if len(found) > limit:
                    what = f"its answer is larger than {limit} bytes"
                    raise self.failures.nonsense(what, self.status)
        return bytes(found)

    async def text(self, limit: int) -> str:
        """The body as text."""
        return (await self.body(limit)).decode("utf-8", "replace")

    async def failure(self) -> RemoteFailure:
        """The error that this answer is, with what it says of it."""
        return self._failed(await self._excerpt())

    def refused(self, body: bytes) -> RemoteFailure:
        """The same, of a body that was read already."""
        return self._failed(self.failures.excerpt(body))

    def unusable(self, what: str, body: bytes) -> RemoteFailure:
        """The error that a body is which was read, and means nothing."""
        said = self.failures.excerpt(body)
        what = f"{what}: {said}" if said else what
        return self.failures.nonsense(what, self.status)

    async def unexpected(self, what: str) -> RemoteFailure:
        """The error that this answer is although its status is good."""
        said = await self._excerpt()
        return self.unusable(what, said.encode())

    def _failed(self, excerpt: str) -> RemoteFailure:
        return self.failures.answered(
            self.status,
            self._response.reason,
            self.headers.get("Retry-After"),
            excerpt,
        )

    async def _excerpt(self) -> str:
        found = bytearray()
        try:
            async with aclosing(self.chunks()) as chunks:
                async for chunk in chunks:
                    found += chunk
                    if len(found) >= _EXCERPT_BYTES:
                        break
        except RemoteFailure:
            # The status is what counts; of its explanation we have what came.
            found += b" [cut]"
        return self.failures.excerpt(bytes(found[:_EXCERPT_BYTES]))

    async def _raw(self) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(self._download.chunks()) as chunks:
                async for chunk in chunks:
                    yield chunk
        except TimeoutError:
            raise self._silent() from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._broken(error) from None

    def _silent(self) -> GatewayError:
        doing = "was silent in the middle of its answer"
        return self.failures.silent(self._silence.seconds, doing)

    def _broken(self, error: Exception) -> Exception:
        if self._upload is not None and self._upload.failure is not None:
            return self._upload.failure  # ours, not the other's
        return self.failures.broken(error)


def _codings(headers: CIMultiDictProxy[str]) -> list[str]:
    text = ",".join(headers.getall("Content-Encoding", ()))
    names = (name.strip().lower() for name in text.split(","))
    return [name for name in names if name not in ("", "identity")]
