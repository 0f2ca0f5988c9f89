"""aiohttp's server, without what this one does not use of it.

Requests go to `gateway.web.middleware` without aiohttp's table of routes, and what needs no
waiting is answered where its bytes arrive: without a task, which would cost several times
what the answer does. So is what is only waited for in a thread, by and by
(`gateway.web.turns`). Everything else, and everything unusual, goes aiohttp's way.

It stands on inner parts of aiohttp, which is why setup.cfg bounds its version.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpVersion11, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from gateway.storage.handover import write_at_once
from gateway.web.middleware import Entrance
from gateway.web.presence import GONE
from gateway.web.turns import TURN, Turn

#: Searches name their UIDs in the address, some hundreds of them (bytes).
_LONGEST_ADDRESS = 128 * 1024

#: Of every connection. Compressed bodies are inflated with bounds: `gateway.web.inflating`.
_OPTIONS: dict[str, Any] = {"max_line_size": _LONGEST_ADDRESS, "auto_decompress": False}


class Request(web.Request):
    """A request that knows its application by itself."""

    ATTRS = web.Request.ATTRS | {"app", "entrance"}

    # In the place of a property that looks for it by way of a route.
    app: web.Application = cast("web.Application", None)
    entrance: Entrance

    def __contains__(self, key: object) -> bool:
        return key in self._state  # the inherited way is by an exception

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        self.entrance.sign(self, response)


class Connection(web.RequestHandler):
    """A connection that answers at once what can be."""

    __slots__ = ("_answer_at_once", "_held", "_requests", "asked")

    def __init__(self, server: "Server", **options: Any) -> None:
        super().__init__(server, **options)
        self._requests = server.request_factory
        self.asked: Request | None = None  # what could not be answered at once
        # While an answer is under way without a task: what aiohttp's task waits for, which
        # would take what comes in before its turn.
        self._held: asyncio.Future[None] | None = None
        self._answer_at_once = server.entrance.answer_at_once
        if self._keepalive_timeout > 0:  # else each answer has to end its connection
            self._parser = cast("Any", _Parser(self._parser, self.answered))

    def answered(self, message: RawRequestMessage, payload: StreamReader) -> bool:
        """Whether a request was answered at once, which nobody else is to do then.

        Those before it were answered, and the client has taken what it was sent.
        """
        waiter, transport = self._waiter, self.transport
        if (
            waiter is None
            or waiter.done()
            or self._messages
            or self._paused
            or payload is not EMPTY_PAYLOAD
            or transport is None
            or transport.is_closing()
            or not _is_plain(message)
        ):
            return False
        # It is read and not handed on: there is nobody who would write by and by.
        writer = cast("AbstractStreamWriter", None)
        task = cast("asyncio.Task[None]", self._task_handler)
        request = cast("Request", self._requests(message, payload, self, writer, task))
        answer = self._answer_at_once(request)
        if answer is None:
            self.asked = request
            return False
        self._request_count += 1
        if isinstance(answer, Turn):
            self._held, self._waiter = waiter, None
            self._request_in_progress = True
            return True
        if isinstance(answer, tuple):
            write_at_once(transport, *answer)
        else:
            transport.write(answer)
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        return True

    def free(self, *, stays: bool) -> None:
        """Take the next request, or end."""
        waiter, self._held = self._held, None
        self._request_in_progress = False
        told = self._handler_waiter  # of a shutdown that waits for us
        if told is not None and not told.done():
            told.set_result(None)
        if waiter is None or waiter.done():
            return
        if self._close or self._force_close or not stays:
            waiter.cancel()  # as aiohttp ends a connection that rests
            if self.transport is not None:
                self.transport.close()
            return
        self._waiter = waiter
        if self._messages:  # that came meanwhile
            waiter.set_result(None)
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(
                self._next_keepalive_close_time, self._process_keepalive
            )

    def pass_on(self, request: web.Request) -> bool:
        """Give a request to its handler; false if nobody is there any more."""
        waiter, transport = self._held, self.transport
        if (
            waiter is None
            or waiter.done()
            or transport is None
            or transport.is_closing()
        ):
            return False
        self._held, self._waiter = None, waiter
        self._messages.appendleft((request._message, request._payload))
        self.asked = cast("Request", request)
        waiter.set_result(None)
        return True

    def connection_lost(self, error: BaseException | None) -> None:
        """End a turn that was passed on to nobody."""
        super().connection_lost(error)
        asked, self.asked = self.asked, None
        if asked is not None and TURN in asked:
            asked[TURN].ended(GONE, 0, stays=False)


class _Parser:
    """aiohttp's parser, which does not hand on what was answered meanwhile."""

    def __init__(
        self, parser: Any, answered: Callable[[RawRequestMessage, StreamReader], bool]
    ) -> None:
        self._parser = parser
        self._feed = parser.feed_data
        self._answered = answered
        self.message_consumed = parser.message_consumed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def feed_data(self, received: bytes) -> tuple[Any, bool, bytes]:
        """Requests in what was received, whether they want another protocol, and more."""
        messages, upgraded, rest = self._feed(received)
        if len(messages) == 1 and not upgraded and self._answered(*messages[0]):
            self.message_consumed()
            return (), upgraded, rest
        return messages, upgraded, rest


class Server(web.Server):
    """Makes the connections of an application."""

    def __init__(self, entrance: Entrance, **options: Any) -> None:
        self.entrance = entrance
        self._app = entrance.app
        answer = cast("Callable[..., Awaitable[web.StreamResponse]]", entrance.answer)
        super().__init__(answer, request_factory=self._request, **options)

    def __call__(self) -> Connection:
        """A connection that is about to be made."""
        return Connection(self, loop=self._loop, **self._kwargs)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> Request:
        connection = cast("Connection", protocol)
        request, connection.asked = connection.asked, None
        if request is None or request._message is not message:
            request = Request(
                message, payload, protocol, writer, task, self._loop, client_max_size=0
            )
            request.app, request.entrance = self._app, self.entrance
        request._payload_writer = writer
        return request


class Runner(web.AppRunner):
    """Runs an application: its parts, and the server in front of them."""

    def __init__(
        self, app: web.Application, entrance: Entrance, **options: Any
    ) -> None:
        super().__init__(app, **{**_OPTIONS, **options})
        self._entrance = entrance

    async def _make_server(self) -> Server:
        self.app.on_startup.freeze()
        await self.app.startup()
        self.app.freeze()
        return Server(self._entrance, **self._kwargs)


def _is_plain(message: RawRequestMessage) -> bool:
    """Whether a request is a GET on a connection that stays."""
    return (
        message.method == "GET"
        and message.version == HttpVersion11
        and not message.should_close
    )
