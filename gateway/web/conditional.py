"""Answers that a client may already hold (RFC 9110 13): weak tags of what is held.

A tag says of what state of the archive an answer was made, and by what words it was asked
for. It is weak: the same answer may come compressed or not.
"""

from hashlib import blake2b
from http import HTTPStatus

from aiohttp import web

from gateway.web.context import gateway, public_root

_DIGEST = 12  # bytes


def etag(request: web.Request, *state: object) -> str:
    """The tag of an answer to this request, made of this state."""
    asked = (gateway(request).version, public_root(request), request.raw_path)
    text = "\0".join(map(str, (*asked, *state)))
    digest = blake2b(text.encode(errors="surrogateescape"), digest_size=_DIGEST)
    return f'W/"{digest.hexdigest()}"'


def not_modified(
    request: web.Request, tag: str, headers: dict[str, str]
) -> web.Response | None:
    """The answer to a client that holds this already; otherwise None."""
    headers["ETag"] = tag
    if tag not in listed(request):
        return None
    return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)


def listed(request: web.Request) -> set[str]:
    """The tags that a client holds; one compared as strong would not be found here."""
    values = request.headers.getall("If-None-Match", ())
    if not values:
        return set()
    tags = {tag.strip() for value in values for tag in value.split(",")}
    return {tag if tag.startswith("W/") else f"W/{tag}" for tag in tags}
