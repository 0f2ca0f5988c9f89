"""Answers by and by: a request under way for which no task waits.

What has to be asked of the disk, and is soon told, would cost several times as much in a
task of its own as it does in a thread. A route that has a way to `begin` gets a turn in the
place of the request, gives plain work to a thread, and says to the turn what came of it.
Until then the connection takes nothing else: `gateway.web.server`.

A way to begin looks at the request and returns whether it has begun. Where it does not, the
request goes to the handler, and so it does from within the work if that says so. What is
begun comes to one end, told in the loop's thread, by one of

- `answer`, with all that is to be sent,
- `ended`, by who has written to the `transport` what `signed` gave, and a body after it,
- `fail`, with an error, which becomes the answer that it would become of a handler,
- `pass_on`, to let the handler do it.

`then` makes of these what is called at the end of work in a thread.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, cast

from aiohttp import web

from gateway.telemetry.exchange import Exchange
from gateway.web.observation import Observation
from gateway.web.presence import GONE
from gateway.web.whole import Whole

#: A longer body is for a handler, which waits for a client that reads slowly (bytes).
LONGEST = 256 * 1024

#: Writes down an answer with what every one carries; gets it, the id of its request, and
#: whether it is the last of its connection.
Sign = Callable[[Whole, str, bool], bytes]

#: What is told of work in a thread: its result, or how it failed.
Told = Callable[[Any, BaseException | None], None]


class Place(Protocol):
    """A connection, as far as a turn on it goes."""

    def free(self, *, stays: bool) -> None:
        """Take the next request, or end."""

    def pass_on(self, request: web.Request) -> bool:
        """Give a request to its handler; false if nobody is there any more."""


class Turn:
    """A request that is answered by and by."""

    __slots__ = ("_observation", "_sign", "exchange", "failure", "request")

    def __init__(
        self,
        request: web.Request,
        exchange: Exchange,
        observation: Observation,
        sign: Sign,
    ) -> None:
        self.request = request
        self.exchange = exchange
        self.failure: BaseException | None = None  # what its handler is to fail with
        self._observation = observation
        self._sign = sign

    @property
    def transport(self) -> asyncio.Transport | None:
        """Where to write; None once the client is gone."""
        return self.request.transport

    @property
    def _place(self) -> Place:
        return cast("Place", self.request.protocol)

    def signed(self, whole: Whole) -> bytes:
        """An answer as it goes out."""
        return self._sign(whole, self.exchange.id, self._observation.stopping)

    def answer(self, whole: Whole) -> None:
        """Send an answer."""
        transport = self.transport
        if transport is not None and not transport.is_closing():
            transport.write(self.signed(whole))
        self.ended(whole.status, len(whole.body))

    def ended(self, status: int, sent: int, *, stays: bool = True) -> None:
        """Say that an answer is out, with so many bytes of its body.

        `stays` is whether the connection can be used again; that of a server that stops
        is not, which `signed` says as well.
        """
        observation = self._observation
        observation.ended(self.request, self.exchange, status, sent)
        self._place.free(stays=stays and not observation.stopping)

    def fail(self, error: BaseException) -> None:
        """Answer as if the handler had failed."""
        self.failure = error
        self.pass_on()

    def pass_on(self) -> None:
        """Give the request to its handler, which does it from the start."""
        request = self.request
        request[TURN] = self
        if not self._place.pass_on(request):
            self.ended(GONE, 0, stays=False)

    def then(self, make: Callable[[Any], Whole | None]) -> Told:
        """What to call with a result, of which an answer is made.

        `make` gives None where the request is for the handler.
        """

        def told(result: Any, error: BaseException | None) -> None:
            whole = None
            if error is None:
                try:
                    whole = make(result)
                except Exception as raised:
                    error = raised
            if error is not None:
                self.fail(error)
            elif whole is None or len(whole.body) > LONGEST:
                self.pass_on()
            else:
                self.answer(whole)

        return told


#: In a request that was passed on: its turn.
TURN = web.RequestKey("turn", Turn)
