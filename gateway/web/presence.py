"""Whether the client is still there.

A handler is not cancelled when its client goes away: what it writes here must come to its
end. What waits for another server need not, and would wait for as long as that one likes.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

#: The status of an answer that nobody is there to get; it is never sent.
GONE = 499

#: Seconds between two looks at the connection.
_LOOK = 0.5


def is_gone(request: web.Request) -> bool:
    """Whether the connection of the client has ended."""
    return request.transport is None or request.transport.is_closing()


@asynccontextmanager
async def present(request: web.Request) -> AsyncIterator[None]:
    """Break off what is done within, soon after the client has gone away.

    Raises ConnectionResetError then.
    """
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None

    def look() -> None:
        nonlocal timer
        if is_gone(request):
            patience.reschedule(loop.time())
        else:
            timer = loop.call_later(_LOOK, look)

    patience = asyncio.timeout(None)
    try:
        async with patience:
            timer = loop.call_later(_LOOK, look)
            yield
    except TimeoutError:
        if patience.expired():
            raise ConnectionResetError("the client went away") from None
        raise
    finally:
        if timer is not None:
            timer.cancel()
