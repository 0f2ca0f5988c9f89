"""Letting requests end: those under way when the server is told to stop.

aiohttp drops what still comes in on a connection as soon as its own shutdown begins, so
that a body under way would never be whole. Who stops waits here first.
"""

import asyncio


class Requests:
    """How many requests are being handled; `gateway.web.observation` counts them."""

    def __init__(self) -> None:
        self.under_way = 0
        self.stopping = False  # from now on each is the last of its connection
        self._none = asyncio.Event()

    def last_one(self) -> None:
        """Say that while stopping, none is left."""
        self._none.set()

    async def end(self, seconds: float) -> bool:
        """Wait for those under way; false if some take longer."""
        self.stopping = True
        try:
            async with asyncio.timeout(seconds):
                while self.under_way:
                    self._none.clear()
                    await self._none.wait()
        except TimeoutError:
            return False
        return True
