"""Pages of other sites that would write through the browser of somebody who may.

A browser sends its user's password, or comes from a network that we trust, whoever made
the page. Whom it acts for it says in headers that a page cannot change: Sec-Fetch-Site
(Fetch Metadata, told to https and localhost only), Origin and Referer (RFC 6454 7, RFC
9110 10.1.3). Programs that are no browsers send none of them, and are not meant here.
"""

from urllib.parse import urlsplit

from aiohttp import web

from gateway.errors import NotAllowed
from gateway.web.context import gateway
from gateway.web.cors import Cors

#: How every browser begins to tell its name.
_BROWSER = "Mozilla/"
_USUAL_PORTS = {"http": 80, "https": 443}


def refuse_foreign_page(request: web.Request, cors: Cors) -> None:
    """Raise NotAllowed if a page of another site writes through somebody's browser.

    A page that may is named in CorsOrigins.
    """
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None:
        foreign = site == "cross-site" and not cors.admits(origin or "")
    elif origin is not None:
        foreign = not cors.admits(origin) and not _is_ours(request, origin)
    else:
        foreign = _comes_by_foreign_link(request, cors)
    if foreign:
        raise NotAllowed("a page of another site may not write here")


def _comes_by_foreign_link(request: web.Request, cors: Cors) -> bool:
    """Whether a link, a picture or a form of another page leads here.

    A GET that means a write needs no more than that, and has no Origin. A browser that
    does not even say where it comes from was told not to by the page.
    """
    referer = request.headers.get("Referer")
    if referer is not None:
        return not cors.admits(_origin(referer)) and not _is_ours(request, referer)
    by_address = request.method == "GET" and "_method" in request.query
    return by_address and request.headers.get("User-Agent", "").startswith(_BROWSER)


def _is_ours(request: web.Request, address: str) -> bool:
    """Whether an address is on this server, as clients call it or as this one did.

    The scheme does not count: a proxy in front that takes TLS off may not tell us.
    """
    public = gateway(request).addresses.origin(
        request.headers, request.remote, request.secure
    )
    scheme = "https" if request.secure else "http"
    called = f"{scheme}://{request.headers.get('Host', '')}"
    place = _place(address)
    return bool(place) and place in (_place(public), _place(called))


def _origin(address: str) -> str:
    """The origin of an address, as a browser writes it; empty if there is none."""
    scheme, place = address.partition("://")[0].lower(), _place(address)
    return f"{scheme}://{place}" if place else ""


def _place(address: str) -> str:
    """Host and port of an address, without the usual port; empty if there is none."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    if ":" in host:
        host = f"[{host}]"
    return host if port in (None, _USUAL_PORTS.get(parts.scheme)) else f"{host}:{port}"
