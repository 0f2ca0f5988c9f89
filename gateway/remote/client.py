"""The client of one remote DICOMweb server (PS3.18).

Everything streams: what goes is taken from the caller as fast as the other reads, what
comes is handed over as it comes. No call has a longest time; each has a longest silence.
What goes wrong is a RemoteFailure that names the server and what happened.

::

    async with client.call("GET", "/studies/1.2/metadata") as answer:
        async for chunk in answer.chunks(): ...

    async with client.retrieve("/studies/1.2") as parts:
        async for part in parts:
            async for chunk in part.chunks: ...
"""

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import orjson
from multidict import CIMultiDict

from gateway.dicom.from_xml import attributes_of_xml
from gateway.errors import BadRequest, RemoteFailure
from gateway.remote.addresses import Arguments, address
from gateway.remote.answer import Answer
from gateway.remote.connections import Connections
from gateway.remote.exchange import Exchanges, Request
from gateway.remote.file_upload import Files, FileUpload
from gateway.remote.outgoing import Outgoing
from gateway.remote.parts import Part, Parts
from gateway.remote.server import Server
from gateway.remote.silence import Silence
from gateway.remote.storing import (
    DICOM,
    NotStored,
    StoreAnswer,
    StoreBody,
    store_answer_of,
)
from gateway.remote.upload import ChunkUpload, Upload, UploadMaker
from gateway.storage.reading import FileRange

__all__ = [
    "Answer",
    "Arguments",
    "DicomWebClient",
    "Files",
    "NotStored",
    "Part",
    "Parts",
    "StoreAnswer",
]

LARGEST_SEARCH = 64 * 1024 * 1024  # bytes of the answer to a query
LARGEST_STORE_ANSWER = 64 * 1024 * 1024  # bytes of the answer to a store

_JSON = "application/dicom+json"
_XML = ("application/dicom+xml", "application/xml", "text/xml")
_LARGE = 256 * 1024  # bytes of a text that is parsed in a thread
_NONE: Mapping[str, str] = {}
_STORE_STATUS = (HTTPStatus.OK, HTTPStatus.ACCEPTED, HTTPStatus.CONFLICT)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: How a message is framed and passed on is not for the caller to say.
_FRAMING = (
    *("Connection", "Content-Length", "Expect", "Keep-Alive", "Proxy-Connection"),
    *("TE", "Trailer", "Transfer-Encoding", "Upgrade"),
)


class DicomWebClient:
    """Speaks to one server, as it is defined; many calls at the same time."""

    def __init__(self, server: Server, outgoing: Outgoing) -> None:
        self.server = server
        self._connections = Connections(server, outgoing)
        self._exchanges = Exchanges(
            server.name,
            self._connections,
            silence=server.timeout or outgoing.http_timeout,
            verbose=outgoing.verbose,
        )
        self._needs_length = not server.chunked_transfers

    async def retire(self) -> None:
        """Close the connections once no call uses them."""
        await self._connections.retire()

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()

    @asynccontextmanager
    async def call(
        self,
        method: str,
        path: str,
        *,
        arguments: Arguments = (),
        headers: Mapping[str, str] = _NONE,
        body: AsyncIterator[bytes] | None = None,
        length: int | None = None,
        raw: bool = False,
    ) -> AsyncIterator[Answer]:
        """Send any request below the address of the server.

        `body` is of `length` bytes, or sent chunked; it is closed in any case. Without
        `raw` a compressed answer is decoded, and one that is no success raises
        RemoteFailure. Raises BadRequest for a path or headers that cannot be.
        """
        request = Request(
            method=method,
            url=address(self.server.url, path, arguments),
            headers=self._headers(headers),
            body=None if body is None else _chunk_upload(body, length),
            length=length,
            again=body is None,
            raw=raw,
        )
        async with self._exchanges.answered(request) as answer:
            if not raw and not answer.succeeded:
                raise await answer.failure()
            yield answer

    @asynccontextmanager
    async def retrieve(
        self,
        path: str,
        *,
        arguments: Arguments = (),
        headers: Mapping[str, str] = _NONE,
    ) -> AsyncIterator[Parts]:
        """Fetch DICOM files (WADO-RS); none if the server answers 204."""
        accept = 'multipart/related; type="application/dicom"'
        if self.server.universal_transfer_syntax:
            accept += "; transfer-syntax=*"
        wanted = _over({"Accept": accept, "Accept-Encoding": "identity"}, headers)
        async with (
            self.call("GET", path, arguments=arguments, headers=wanted) as answer,
            aclosing(Parts(answer, (DICOM,))) as parts,
        ):
            yield parts

    async def store(
        self,
        path: str,
        parts: Sequence[FileRange],
        files: Files,
        *,
        headers: Mapping[str, str] = _NONE,
        sent: Callable[[int], None] | None = None,
    ) -> StoreAnswer:
        """Store DICOM files (STOW-RS), and tell which of them were.

        `parts` say which files, and `files` has them. `sent` is told the bytes that
        went, piece by piece. They go again, in the same call, if the server turns out
        to need a Content-Length (411) or a new token.
        """
        body = StoreBody(parts)
        wanted = _over({"Accept": _JSON}, headers)
        wanted["Content-Type"] = body.content_type
        request = Request(
            method="POST",
            url=address(self.server.url, path),
            headers=self._headers(wanted),
            body=lambda silence, sent: FileUpload(files, body.pieces(), silence, sent),
            length=body.length if self._needs_length else None,
            sent=sent,
        )
        async with self._exchanges.answered(request) as answer:
            if answer.status != HTTPStatus.LENGTH_REQUIRED or self._needs_length:
                return await _stored(answer)
        self._needs_length = True
        async with self._exchanges.answered(
            replace(request, length=body.length)
        ) as answer:
            return await _stored(answer)

    async def query(
        self,
        path: str,
        arguments: Arguments = (),
        *,
        headers: Mapping[str, str] = _NONE,
    ) -> list[dict[str, Any]]:
        """Search (QIDO-RS): the data sets of the answer, in DICOM JSON."""
        wanted = _over({"Accept": _JSON, "Accept-Encoding": "gzip, deflate"}, headers)
        async with self.call(
            "GET", path, arguments=arguments, headers=wanted
        ) as answer:
            if answer.kind.startswith("multipart/"):
                return await _matches_in_xml(answer)
            text = await answer.body(LARGEST_SEARCH)
            if not text.strip():
                return []
            found = await _parsed(orjson.loads, text, answer, "it is not JSON")
            if not isinstance(found, list) or not all(
                isinstance(match, dict) for match in found
            ):
                what = "its answer is no array of data sets (PS3.18 F.2)"
                raise answer.failures.nonsense(what, answer.status)
            return found

    async def delete(self, path: str, *, headers: Mapping[str, str] = _NONE) -> None:
        """Delete a study, a series or an instance."""
        async with self.call("DELETE", path, headers=headers):
            return

    def _headers(self, headers: Mapping[str, str]) -> "CIMultiDict[str]":
        """The server's headers and over them the request's; raises BadRequest."""
        wanted = _over(self.server.http_headers, headers)
        for name, value in wanted.items():
            if not _HEADER_NAME.fullmatch(name) or re.search(r"[\x00\r\n]", value):
                raise BadRequest(f'"HttpHeaders" has {name[:60]!r}, which is no header')
        for name in _FRAMING:
            wanted.popall(name, None)
        wanted.setdefault("User-Agent", "dicomweb-gateway")
        server = self.server
        if server.username and server.oauth2 is None and "Authorization" not in wanted:
            login = f"{server.username}:{server.password}".encode()
            wanted["Authorization"] = f"Basic {base64.b64encode(login).decode()}"
        return wanted


def _chunk_upload(chunks: AsyncIterator[bytes], length: int | None) -> UploadMaker:
    def made(silence: Silence, sent: Callable[[int], None] | None) -> Upload:
        return ChunkUpload(chunks, length, silence, sent)

    return made


def _over(below: Mapping[str, str], above: Mapping[str, str]) -> "CIMultiDict[str]":
    """Headers, with those of the second in place of the first's of the same name."""
    merged = CIMultiDict(below)
    for name in above:
        merged.popall(name, None)
    merged.extend(above)
    return merged


async def _stored(answer: Answer) -> StoreAnswer:
    if not answer.succeeded and answer.status not in _STORE_STATUS:
        raise await answer.failure()
    premature = answer.premature  # as it is now; it may become whole while we read
    text = await answer.body(LARGEST_STORE_ANSWER)
    conflict = answer.status == HTTPStatus.CONFLICT
    what = "it does not say what was stored"
    try:
        found: StoreAnswer = await _parsed(store_answer_of, text, answer, what)
    except RemoteFailure:
        if conflict:
            raise answer.refused(text) from None
        raise
    if premature and not found.described:
        what = "it answered before it had all, and does not say what was stored"
        raise answer.unusable(what, text)
    if conflict and not found.described:
        raise answer.refused(text)
    hidden = answer.failures.hidden
    failed = tuple(one._replace(words=hidden(one.words)) for one in found.failed)
    return replace(found, failed=failed)


async def _matches_in_xml(answer: Answer) -> list[dict[str, Any]]:
    """The data sets of servers that answer one part of XML for each."""
    matches: list[dict[str, Any]] = []
    size = 0
    what = "it is not the native DICOM model"
    async with aclosing(Parts(answer, _XML)) as parts:
        async for part in parts:
            text = bytearray()
            async for chunk in part.chunks:
                text += chunk
                size += len(chunk)
                _bound(answer, size)
            matches.append(await _parsed(attributes_of_xml, bytes(text), answer, what))
    return matches


def _bound(answer: Answer, size: int) -> None:
    """Raise RemoteFailure when an answer to a search is larger than any should be."""
    if size > LARGEST_SEARCH:
        what = f"its answer is larger than {LARGEST_SEARCH} bytes"
        raise answer.failures.nonsense(what, answer.status)


async def _parsed(
    parse: Callable[[bytes], Any], text: bytes, answer: Answer, what: str
) -> Any:
    """What a text says; large ones are read in a thread."""
    try:
        if len(text) > _LARGE:
            return await asyncio.to_thread(parse, text)
        return parse(text)
    except (BadRequest, ValueError) as error:
        raise answer.unusable(f"its answer cannot be used, {what}", text) from error
