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
from gateway.wire.media import accepts_encoding
from gateway.wire.relocation import Relocation

#: What a client says that the remote is told. Nothing else is: what is not known to be
#: harmless may be a password.
_TOLD = (
    *("Accept", "Accept-Language", "Accept-Charset", "Content-Type", "Cache-Control"),
    *("If-Match", "If-Modified-Since", "If-Unmodified-Since"),
)
RANGES = ("Range", "If-Range")

#: What a remote says that a client is not told, beside what is of the connection.
_KEPT = frozenset(
    {
        *("connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade"),
        *("transfer-encoding", "proxy-authenticate", "proxy-authentication-info"),
        *("www-authenticate", "authentication-info", "set-cookie", "set-cookie2"),
        *("server", "via", "x-powered-by", "x-content-type-options", "x-frame-options"),
        *("strict-transport-security", "public-key-pins", "expect-ct", "alt-svc"),
        *("clear-site-data", "service-worker-allowed", "sourcemap", "refresh"),
        *("content-security-policy", "content-security-policy-report-only"),
        *("report-to", "reporting-endpoints", "nel", "permissions-policy"),
        *("origin-agent-cluster", "referrer-policy", "timing-allow-origin"),
        *("content-length", "cache-control"),  # are set where the answer is made
    }
)
_KEPT_FAMILIES = ("access-control-", "cross-origin-", "sec-", "proxy-")

#: Say something of the bytes that does not hold for bytes that were rewritten.
OF_THE_BYTES = (
    *("Content-Encoding", "Content-MD5", "Digest", "Content-Digest", "Repr-Digest"),
    *("Accept-Ranges", "Content-Range"),
)
_SHARED = re.compile(
    r"\s*(?:public|private|proxy-revalidate|s-maxage)\b", re.IGNORECASE
)
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
    """The tags, and those that we made weak as the remote gave them."""
    listed = [tag.strip() for tag in tags.split(",")]
    strong = [tag[2:] for tag in listed if tag.startswith("W/")]
    return ", ".join([*listed, *strong])


def passed(headers: Mapping[str, str], relocation: Relocation) -> CIMultiDict[str]:
    """The headers of a remote's answer that the client gets, addresses moved.

    The names that its Connection header holds are of its connection with us too.
    """
    connection = headers.get("Connection", "").lower().split(",")
    kept = _KEPT | {name.strip() for name in connection}
    found: CIMultiDict[str] = CIMultiDict()
    for name, value in headers.items():
        lower = name.lower()
        if lower in kept or lower.startswith(_KEPT_FAMILIES):
            continue
        if lower in ("content-location", "location"):
            value = relocation.moved(value)
        found.add(name, value)
    found["Cache-Control"] = _private(headers.get("Cache-Control"))
    return found


def _private(control: str | None) -> str:
    """For whoever asked alone: the remote does not know whom we let in."""
    if control is None:
        return "private, no-cache"
    rest = [one.strip() for one in control.split(",") if not _SHARED.match(one)]
    return ", ".join(["private", *filter(None, rest)])


def weakened(tag: str) -> str:
    """The tag of an answer that means the same in other bytes (RFC 9110 8.8.1)."""
    return tag if tag.startswith("W/") else f"W/{tag}"
