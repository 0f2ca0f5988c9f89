"""From a method and a path to a handler: one table, matched segment by segment.

Repeated slashes count as one and a last slash for nothing, as the peer's clients rely
on; every GET answers HEAD as well; a wrong method is told which ones there are.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import unquote

from aiohttp import web

from gateway.web.whole import Whole

Handler = Callable[..., Awaitable[web.StreamResponse]]

#: The same answer, or None where it takes a handler to make it: nothing is waited for.
AtOnce = Callable[..., Whole | None]

#: Begins the same answer, and tells whether it did: `gateway.web.turns`.
Begin = Callable[..., bool]


@dataclass(frozen=True, slots=True)
class Operation:
    """What a handler does, in words and for machines."""

    summary: str  # one line
    query: tuple[str, ...] = ()  # names of parameters
    consumes: tuple[str, ...] = ()  # media types of the body
    produces: tuple[str, ...] = ()  # media types of the answer
    statuses: tuple[int, ...] = (200, 404)  # beside those that any answer may have


NOT_DESCRIBED = Operation("")


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the table."""

    method: str
    pattern: str  # "/studies/{study}"; "{path...}" takes all that follows
    handler: Handler  # gets the request, and a text for each {name}
    open_to_all: bool = False  # needs no password
    operation: Operation = NOT_DESCRIBED
    at_once: AtOnce | None = None  # gets the same as the handler
    begin: Begin | None = None  # gets a turn in the place of the request

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from all others."""
        return self.method, self.pattern


@dataclass(slots=True)  # there is one for each request, and frozen ones take long
class Found:
    """The handlers of a path and the texts at its places."""

    routes: dict[str, Route]
    arguments: dict[str, str]

    def route(self, method: str) -> Route | None:
        """The route for a method; HEAD is a GET whose body is not sent."""
        route = self.routes.get(method)
        return self.routes.get("GET") if route is None and method == "HEAD" else route

    def allowed(self) -> str:
        """The value of an Allow header (RFC 9110 10.2.1)."""
        methods = set(self.routes) | {"OPTIONS"}
        if "GET" in methods:
            methods.add("HEAD")
        return ",".join(sorted(methods))


@dataclass(slots=True)
class _Node:
    fixed: dict[str, "_Node"] = field(default_factory=dict)
    named: "_Node | None" = None
    rest: "_Node | None" = None
    names: tuple[str, ...] = ()
    routes: dict[str, Route] = field(default_factory=dict)


class Router:
    """The table of routes, ready to be asked."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._root = _Node()
        for route in self.routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        node = self._root
        names = []
        for segment in filter(None, route.pattern.split("/")):
            if segment.endswith("...}"):
                names.append(segment[1:-4])
                node.rest = node = node.rest or _Node()
            elif segment.startswith("{"):
                names.append(segment[1:-1])
                node.named = node = node.named or _Node()
            else:
                node = node.fixed.setdefault(segment, _Node())
        node.names = tuple(names)
        node.routes[route.method] = route

    def find(self, raw_path: str) -> Found | None:
        """The handlers of a path, percent-encoded as it came."""
        if "%" in raw_path:
            segments = [unquote(part) for part in raw_path.split("/") if part]
        else:
            segments = [part for part in raw_path.split("/") if part]
        node = self._root
        texts: list[str] = []
        for position, segment in enumerate(segments):
            following = node.fixed.get(segment)
            if following is None and node.named is not None:
                following = node.named
                texts.append(segment)
            if following is None:
                if node.rest is None:
                    return None
                texts.append("/".join(segments[position:]))
                node = node.rest
                break
            node = following
        if not node.routes:
            return None
        return Found(node.routes, dict(zip(node.names, texts, strict=True)))
