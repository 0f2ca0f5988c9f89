"""The manual, as the set-up built it: pages that ``docs/`` is made into.

It is not part of the package: ``run.py`` builds it into the environment that runs the
gateway, beside what else belongs to that. Where nobody built it there is none, and the
answer says how to get it. Its pages load nothing from elsewhere and run no script that
stands in a page; the browser is told to see to that.
"""

import asyncio
import mimetypes
import sys
from hashlib import blake2b
from pathlib import Path

from aiohttp import web

from gateway.errors import NotFound
from gateway.web.conditional import etag, not_modified

#: Where the set-up puts the pages.
FOLDER = Path(sys.prefix) / "share" / "doc" / "dicomweb-gateway" / "html"

_FIRST = "index.html"
_MISSING = (
    "the manual is not built here: in a checkout, python3 run.py builds it; or put it"
    " together by pip install sphinx and python -m sphinx docs FOLDER, with"
    " share/doc/dicomweb-gateway/html of this environment as the FOLDER"
)
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",  # the search looks into the pages that it found
        "base-uri 'none'",
        "form-action 'self'",  # the search is a form
        "frame-ancestors 'self'",
    )
)


async def start(request: web.Request) -> web.StreamResponse:
    """The first page: GET docs/. Its links need the slash at the end."""
    if not request.rel_url.raw_path.endswith("/"):
        return web.Response(status=307, headers={"Location": "docs/"})
    return await file(request, _FIRST)


async def file(request: web.Request, path: str) -> web.StreamResponse:
    """A page, or a file that it needs: GET docs/...; raises NotFound."""
    found = await asyncio.to_thread(_read, FOLDER, path)
    if found is None:
        built = await asyncio.to_thread((FOLDER / _FIRST).is_file)
        raise NotFound(f"the manual has no page {path[:60]!r}" if built else _MISSING)
    headers = {"Cache-Control": "private, no-cache", "Content-Security-Policy": _POLICY}
    tag = etag(request, blake2b(found, digest_size=12).hexdigest())
    known = not_modified(request, tag, headers)
    if known is not None:
        return known
    kind = _kind(path)
    charset = "utf-8" if kind.startswith("text/") else None
    return web.Response(body=found, content_type=kind, charset=charset, headers=headers)


def _read(folder: Path, path: str) -> bytes | None:
    """A file below the folder and nowhere else; None if there is none."""
    try:
        place = (folder / path).resolve()
        if not place.is_relative_to(folder.resolve()) or not place.is_file():
            return None
        return place.read_bytes()
    except (OSError, ValueError):  # too long, or with what no path can have
        return None


def _kind(path: str) -> str:
    if path.endswith(".js"):
        return "text/javascript"
    return mimetypes.guess_type(path)[0] or "application/octet-stream"
