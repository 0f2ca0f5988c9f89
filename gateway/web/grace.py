"""Letting requests end: those under way when the server is told to stop.

aiohttp drops what still comes in on a connection as soon as its own shutdown begins, so
that a body under way would never be whole. Who stops waits here first.
"""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Requests:
    """The requests that are being handled."""

    def __init__(self) -> None:
        self._count = 0
        self._stopping = False
        self._none = asyncio.Event()
        self._none.set()

    @web.middleware
    async def count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count a request while it is handled: goes around everything else."""
        self._count += 1
        self._none.clear()
        try:
            response = await handler(request)
        finally:
            self._count -= 1
            if not self._count:
                self._none.set()
        if self._stopping:
            response.force_close()
        return response

    async def end(self, seconds: float) -> bool:
        """Wait for those under way; false if some take longer.

        From now on each is the last of its connection.
        """
        self._stopping = True
        try:
            async with asyncio.timeout(seconds):
                await self._none.wait()
        except TimeoutError:
            return False
        return True
