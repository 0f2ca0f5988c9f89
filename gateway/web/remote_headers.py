"""What a client is told of the headers that a remote server answered with.

Who asks us has a conversation of its own: what keeps the remote's connection going, what
the remote lets browsers do and whom it takes us for are not of it (RFC 9110 7.6.1).
"""

import re
from collections.abc import Mapping

from multidict import CIMultiDict

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

#: What no header can hold (RFC 9110 5.5); it ends up there by mistake or by malice.
_UNSENDABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_SHARED = re.compile(
    r"\s*(?:public|private|proxy-revalidate|s-maxage)\b", re.IGNORECASE
)


def passed_on(headers: Mapping[str, str]) -> "CIMultiDict[str]":
    """The headers of a remote's answer that the client gets, each as often as it came.

    The names that its Connection header holds are of its connection with us too. What
    says how long the answer may be kept says it for whoever asked alone.
    """
    connection = headers.get("Connection", "").lower().split(",")
    kept = _KEPT | {name.strip() for name in connection}
    found: CIMultiDict[str] = CIMultiDict()
    for name, value in headers.items():
        lower = name.lower()
        if lower in kept or lower.startswith(_KEPT_FAMILIES):
            continue
        if not _UNSENDABLE.search(f"{name}{value}"):
            found.add(name, value)
    found["Cache-Control"] = _private(headers.get("Cache-Control"))
    return found


def _private(control: str | None) -> str:
    """For whoever asked alone: the remote does not know whom we let in."""
    if control is None or _UNSENDABLE.search(control):
        return "private, no-cache"
    rest = [one.strip() for one in control.split(",") if not _SHARED.match(one)]
    return ", ".join(["private", *filter(None, rest)])
