"""Answers as Orthanc gives them: JSON that people can read, and plain text.

What may be long goes out as it is found.
"""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus

import orjson
from aiohttp import web

from gateway.errors import BadRequest, TooLarge
from gateway.web.compression import Writer
from gateway.web.context import body
from gateway.web.replies import WHOLE, streaming
from gateway.web.whole import Whole

_JSON = "application/json"

#: Bytes of a body that is read into memory; a hundred thousand identifiers fit in.
LONGEST_BODY = 16 * 1024 * 1024

_LARGE = 256 * 1024  # bytes of a text that is parsed in a thread


def reply(value: object, status: int = 200) -> web.Response:
    """JSON as Orthanc prints it."""
    return web.Response(body=_written(value), content_type=_JSON, status=status)


def whole(value: object) -> Whole:
    """The same, ready to be sent."""
    return Whole.of(HTTPStatus.OK, {"Content-Type": _JSON}, _written(value))


def _written(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n"


def text(value: str, headers: dict[str, str] | None = None) -> web.Response:
    """Plain text, as Orthanc answers what is only one value."""
    return web.Response(text=value, content_type="text/plain", headers=headers)


async def joined(
    request: web.Request, groups: AsyncIterator[list[bytes]], brackets: bytes = b"[]"
) -> web.StreamResponse:
    """Pieces of JSON as one array, or as one object; streamed if it is long."""
    found: list[bytes] = []
    size, complete = 0, True
    async for group in groups:
        found += group
        size += sum(map(len, group))
        if size > WHOLE:
            complete = False
            break
    begin, end = brackets[:1] + b"\n", b"\n" + brackets[1:] + b"\n"
    if complete:
        return web.Response(body=begin + b",\n".join(found) + end, content_type=_JSON)
    response = web.StreamResponse()
    response.content_type = _JSON
    writer = Writer(request, response)
    async with streaming(request, response) as wanted:
        if wanted:
            await writer.write(begin + b",\n".join(found))
            async for group in groups:
                await writer.write(b",\n" + b",\n".join(group))
            await writer.write(end)
            await writer.end()
    return response


async def short_body(request: web.Request) -> bytes:
    """The body of a request that asks or sets something; raises TooLarge."""
    whole = bytearray()
    async for chunk in body(request):
        whole += chunk
        if len(whole) > LONGEST_BODY:
            raise TooLarge(f"the body is larger than {LONGEST_BODY} bytes")
    return bytes(whole)


async def json_of(request: web.Request) -> object:
    """The JSON in a body; raises BadRequest, TooLarge, and what reading a body raises."""
    text = await short_body(request)
    try:
        if len(text) > _LARGE:
            return await asyncio.to_thread(orjson.loads, text)
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error.msg}") from None


async def json_body(request: web.Request) -> dict[str, object]:
    """The JSON object in a body; raises BadRequest."""
    value = await json_of(request)
    if not isinstance(value, dict):
        raise BadRequest("The body must contain a JSON object")
    return value


def flag(request: web.Request, name: str, otherwise: bool = False) -> bool:
    """Whether a parameter without a value, or with a true one, is in the address."""
    value = request.query.get(name)
    if value is None:
        return otherwise
    if value.lower() in ("", "true", "1"):
        return True
    if value.lower() in ("false", "0"):
        return False
    raise BadRequest(f"{name} is neither true nor false")


def number(request: web.Request, name: str) -> int | None:
    """A number of the address, None if it is not there; raises BadRequest."""
    value = request.query.get(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise BadRequest(f"{name} is not a number from 0 on")
    return int(value)


def window(request: web.Request) -> tuple[int, int]:
    """`since` and `limit`, which come together; -1 for no limit. Raises BadRequest."""
    since, limit = number(request, "since"), number(request, "limit")
    if (since is None) != (limit is None):
        missing = "limit" if limit is None else "since"
        raise BadRequest(f'Missing "{missing}" argument')
    if since is None or limit is None:
        return 0, -1
    return since, limit or -1
