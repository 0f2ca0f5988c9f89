"""What of the headers passes the gateway, and what stays on its side.

Two conversations meet here: a client's with us, and ours with a remote server. Who the
client is, how it reached us, what it may do here and what keeps either connection going
is of one of them alone (RFC 9110 7.6.1).
"""

import re
from collections.abc import Mapping

from aiohttp import web
from multidict import CIMultiDict

from gateway.errors import BadRequest
from gateway.web.remote_headers import passed_on
from gateway.wire.media import accepts_encoding
from gateway.wire.relocation import Relocation

#: What a client says that the remote is told. Nothing else is: what is not known to be
#: harmless may be a password.
_TOLD = (
    *("Accept", "Accept-Language", "Accept-Charset", "Content-Type", "Cache-Control"),
    *("If-Match", "If-Modified-Since", "If-Unmodified-Since"),
)
RANGES = ("Range", "If-Range")

#: Say something of the bytes that does not hold for bytes that were rewritten.
OF_THE_BYTES = (
    *("Content-Encoding", "Content-MD5", "Digest", "Content-Digest", "Repr-Digest"),
    *("Accept-Ranges", "Content-Range"),
)
_TAG = re.compile(r'(W/)?("[^"]*"|[^\s",]+)')
_NAME = "dicomweb-gateway"

#: Gateways that a request may pass before it must be going round in circles.
_LONGEST_WAY = 8


def told(request: web.Request, *, ranges: bool) -> dict[str, str]:
    """The headers that the remote gets; `ranges` lets it answer with a part.

    Raises BadRequest for a request that passed too many gateways.
    """
    names = (*_TOLD, *RANGES) if ranges else _TOLD
    headers = {
        name: ", ".join(request.headers.getall(name))
        for name in names
        if name in request.headers
    }
    held = request.headers.getall("If-None-Match", [])
    if held:
        headers["If-None-Match"] = ", ".join(map(_strong_too, held))
    way = request.headers.getall("Via", [])
    if sum(one.count(_NAME) for one in way) >= _LONGEST_WAY:
        raise BadRequest("the request goes round in circles: see the Url of the server")
    headers["Via"] = ", ".join([*way, f"1.1 {_NAME}"])
    headers["Accept-Encoding"] = "gzip" if _takes_gzip(request) else "identity"
    return headers


def _takes_gzip(request: web.Request) -> bool:
    try:
        return accepts_encoding(request.headers.get("Accept-Encoding"), "gzip")
    except BadRequest:
        return False


def _strong_too(tags: str) -> str:
    """The tags, and those that we made weak as the remote gave them.

    A tag may hold a comma (RFC 9110 8.8.3).
    """
    strong = [tag for weak, tag in _TAG.findall(tags) if weak]
    return ", ".join([tags.strip(), *strong])


def passed(headers: Mapping[str, str], relocation: Relocation) -> CIMultiDict[str]:
    """The headers of a remote's answer that the client gets, addresses moved."""
    found = passed_on(headers)
    for name in ("Content-Location", "Location"):
        values = found.popall(name, [])
        found.extend((name, relocation.moved(value)) for value in values)
    return found


def weakened(tag: str) -> str:
    """The tag of an answer that means the same in other bytes (RFC 9110 8.8.1)."""
    return tag if tag.startswith("W/") else f"W/{tag}"
