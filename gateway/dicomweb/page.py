"""The page for people: what a browser is shown, and the files that it is made of.

One small application without a build step, at the root and where Orthanc's plugin has its
own. It is told where the gateway's root is, seen from the page, and asks for everything
else as any client does: there is nothing that only the page can do. Its files are read
once; nothing is loaded from elsewhere, and the browser is told to see to that.
"""

import asyncio
import mimetypes
import zlib
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from importlib.resources import files
from importlib.resources.abc import Traversable

import orjson
from aiohttp import web

from gateway.dicomweb import capabilities
from gateway.errors import BadRequest, NotFound
from gateway.web.conditional import etag, not_modified
from gateway.web.context import accept, gateway
from gateway.web.cors import add_vary
from gateway.wire.media import Offer, accepts_encoding, choose

_HTML = "text/html"
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'self'",
    )
)
_GZIP = 16 + zlib.MAX_WBITS
_START = tuple(Offer(kind) for kind in (*capabilities.KINDS, _HTML))


@dataclass(frozen=True, slots=True)
class _File:
    """One file of the page, ready to be sent."""

    kind: str  # media type
    plain: bytes
    small: bytes  # the same, gzipped
    digest: str


@cache
def _files() -> dict[str, _File]:
    """All files by their path; they are part of the program and do not change."""
    return dict(_below(files("gateway").joinpath("ui"), ""))


def _below(folder: Traversable, start: str) -> list[tuple[str, _File]]:
    found = []
    for entry in folder.iterdir():
        name = f"{start}{entry.name}"
        if entry.is_dir():
            found += _below(entry, f"{name}/")
        else:
            found.append((name, _file(name, entry.read_bytes())))
    return found


def _file(name: str, plain: bytes) -> _File:
    kind = mimetypes.guess_type(name)[0] or "text/plain"
    if name.endswith(".js"):
        kind = "text/javascript"
    packing = zlib.compressobj(9, zlib.DEFLATED, _GZIP)
    small = packing.compress(plain) + packing.flush()
    return _File(kind, plain, small, blake2b(plain, digest_size=12).hexdigest())


async def _ready() -> dict[str, _File]:
    """The files; a thread reads them, the first time."""
    if not _files.cache_info().currsize:
        await asyncio.to_thread(_files)
    return _files()


async def start(request: web.Request) -> web.StreamResponse:
    """The page for a browser, the description of the gateway for other clients: GET /."""
    offer = choose(accept(request), _START)
    if offer is not None and offer.kind != _HTML:
        return await capabilities.describe(request)
    return await _page(request, "./")


async def client(request: web.Request) -> web.StreamResponse:
    """The page where Orthanc's plugin has its own: {Root}app/client/index.html."""
    root = gateway(request).settings.dicom_web.root
    return await _page(request, "../" * (root.count("/") + 1))


async def _page(request: web.Request, rest: str) -> web.Response:
    """The page; `rest` leads from it to the root of the gateway."""
    web_settings = gateway(request).settings.dicom_web
    root = f"{rest}{web_settings.root.lstrip('/')}" if web_settings.enable else ""
    page = (await _ready())["index.html"]
    text = page.plain.decode()
    places = {"rest": rest, "dicomweb": root, "assets": f"{rest}app/"}
    for name, value in places.items():
        text = text.replace(f"{{{{{name}}}}}", value)
    headers = {
        "Cache-Control": "private, no-cache",
        "Content-Security-Policy": _POLICY,
        "Referrer-Policy": "same-origin",
        "Vary": "Accept",
    }
    tag = etag(request, page.digest, rest, root)
    known = not_modified(request, tag, headers)
    if known is not None:
        return known
    return web.Response(text=text, content_type=_HTML, charset="utf-8", headers=headers)


async def file(request: web.Request, path: str) -> web.StreamResponse:
    """A file that the page is made of: app/..."""
    found = (await _ready()).get(path)
    if found is None or path == "index.html":
        raise NotFound(f"the page has no file {path[:60]!r}")
    headers = {"Cache-Control": "no-cache", "Content-Security-Policy": _POLICY}
    known = not_modified(request, etag(request, found.digest), headers)
    if known is not None:
        return known
    response = web.Response(
        body=found.plain,
        content_type=found.kind,
        charset=None if found.kind.startswith("image/") else "utf-8",
        headers=headers,
    )
    add_vary(response, "Accept-Encoding")
    if _takes_gzip(request):
        response.body = found.small
        response.headers["Content-Encoding"] = "gzip"
    return response


def _takes_gzip(request: web.Request) -> bool:
    try:
        return accepts_encoding(request.headers.get("Accept-Encoding"), "gzip")
    except BadRequest:
        return False


async def explorer(request: web.Request) -> web.StreamResponse:
    """Where Orthanc has its own page: app/explorer.html leads to ours."""
    return web.Response(status=307, headers={"Location": "../"})


async def settings(request: web.Request) -> web.StreamResponse:
    """What the page may know of the settings: app/settings.json."""
    parts = gateway(request)
    body = orjson.dumps(
        {
            "name": parts.settings.name,
            "version": parts.version,
            "readOnly": parts.settings.read_only,
            "viewers": [
                {"name": name, "url": url}
                for name, url in parts.settings.viewers.items()
            ],
        }
    )
    return web.Response(
        body=body,
        content_type="application/json",
        headers={"Cache-Control": "private, no-cache"},
    )
