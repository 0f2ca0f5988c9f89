"""A remote DICOMweb server that answers as a test tells it to, and notes what it got."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiohttp import web
from aiohttp.test_utils import TestServer

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Seen(NamedTuple):
    """A request that came."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: Any
    body: bytes


class Remote:
    """Answers 404 to whatever no test has said something of."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[Seen] = []
        self._answers: dict[tuple[str, str], list[Answer]] = {}

    def on(self, method: str, path: str, *answers: Answer) -> None:
        """Answer so: one after the other, the last one from then on."""
        self._answers[method, path] = list(answers)

    def reply(self, method: str, path: str, *replies: dict[str, Any]) -> None:
        """Answer with these keywords of a response, likewise."""

        def made(keywords: dict[str, Any]) -> Answer:
            async def answer(request: web.Request) -> web.StreamResponse:
                return web.Response(**keywords)

            return answer

        self.on(method, path, *map(made, replies))

    def paths(self, method: str = "GET") -> list[str]:
        """The paths that were asked for."""
        return [seen.path for seen in self.seen if seen.method == method]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        body = await request.read()
        query = list(request.query.items())
        self.seen.append(
            Seen(request.method, request.path, query, request.headers, body)
        )
        answers = self._answers.get((request.method, request.path))
        if not answers:
            return web.Response(status=404, text="nothing here")
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return await answer(request)


@asynccontextmanager
async def running_remote() -> AsyncIterator[Remote]:
    """A remote that runs until the context is left."""
    remote = Remote()
    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/{path:.*}", remote.serve)
    async with TestServer(app) as server:
        remote.url = str(server.make_url("/dicom-web/"))
        yield remote
