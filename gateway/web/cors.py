"""What a page of another site may do here (the Fetch standard, "CORS protocol").

Nothing, unless the site is named in the settings. A browser asks beforehand, without any
password, by an ``OPTIONS`` that PS3.18 8.9 uses for something else: only the two headers
that a browser adds tell them apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

ANY = "*"

#: Seconds for which a browser may remember the answer.
_MAX_AGE = "7200"

#: Headers of answers that scripts need and would not see (PS3.18 8.6.1).
EXPOSED = (
    "Content-Type, Content-Length, Content-Range, Content-Location, Location, Warning,"
    " ETag, WWW-Authenticate, X-Request-Id"
)


@dataclass(frozen=True, slots=True)
class Cors:
    """Which sites may come in, and how."""

    origins: Sequence[str] = ()  # empty: none; "*" among them: all
    methods: Sequence[str] = ()
    headers: Sequence[str] = ()
    credentials: bool = False

    def preflight(self, request: web.Request) -> web.Response | None:
        """The answer to a browser that asks first; None to anything else."""
        if (
            not self.origins
            or request.method != "OPTIONS"
            or "Origin" not in request.headers
            or "Access-Control-Request-Method" not in request.headers
        ):
            return None
        response = web.Response(status=HTTPStatus.NO_CONTENT)
        if self._allowed(request) is not None:
            response.headers["Access-Control-Allow-Methods"] = ", ".join(self.methods)
            response.headers["Access-Control-Allow-Headers"] = ", ".join(self.headers)
            response.headers["Access-Control-Max-Age"] = _MAX_AGE
        return response

    def sign(self, request: web.Request, response: web.StreamResponse) -> None:
        """Put on an answer what tells the browser to hand it over."""
        if not self.origins:
            return
        add_vary(response, "Origin")
        # A page that shares no memory with other sites may still show our images.
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        allowed = self._allowed(request)
        if allowed is None:
            return
        response.headers["Access-Control-Allow-Origin"] = allowed
        response.headers["Access-Control-Expose-Headers"] = EXPOSED
        if self.credentials:
            response.headers["Access-Control-Allow-Credentials"] = "true"

    def admits(self, origin: str) -> bool:
        """Whether pages of the site may come in."""
        return ANY in self.origins or origin in self.origins

    def _allowed(self, request: web.Request) -> str | None:
        """The origin to name in the answer."""
        origin = request.headers.get("Origin")
        if origin is None:
            return None
        if ANY in self.origins:
            return ANY
        return origin if origin in self.origins else None


def add_vary(response: web.StreamResponse, name: str) -> None:
    """Say that the answer depends on a header of the request as well."""
    names = [one.strip() for one in response.headers.get("Vary", "").split(",")]
    if name not in names:
        response.headers["Vary"] = ", ".join([*filter(None, names), name])
