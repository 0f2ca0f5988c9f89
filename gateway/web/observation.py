"""Around every request: its id, how long it took, how much came and went.

The route tells what is counted, never the path: paths name patients' studies. What is
counted is for `gateway.telemetry`.
"""

import itertools
import logging
import re
import secrets
import time

from aiohttp import web

from gateway.telemetry.counters import Counters
from gateway.telemetry.exchange import CURRENT, Exchange
from gateway.telemetry.logs import Volume, access
from gateway.web.grace import Requests

log = logging.getLogger(__name__)

#: Ids that are taken from a client or a proxy; what else comes is replaced.
_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")

HEADER = "X-Request-Id"


class Observation:
    """Sees all requests of a worker."""

    def __init__(
        self,
        requests: Requests,
        counters: Counters,
        volume: Volume,
        *,
        times_retrievals: bool = False,
    ) -> None:
        self._requests = requests
        self._counters = counters
        self._note = counters.pending.append
        self._volume = volume
        self._times_retrievals = times_retrievals
        # No two processes make the same, and nobody can guess how many there were.
        self._prefix = secrets.token_hex(6)
        self._numbers = itertools.count(secrets.randbelow(1 << 24))

    @property
    def stopping(self) -> bool:
        """Whether each request is the last of its connection."""
        return self._requests.stopping

    @property
    def is_particular(self) -> bool:
        """Whether there is more to do for each request than to count it."""
        return self._requests.stopping or self._volume.tells_requests

    def name(self, given: str | None) -> str:
        """The id of a request: as it was given, if it can be taken."""
        if given is not None and _ID.fullmatch(given):
            return given
        return f"{self._prefix}{next(self._numbers):x}"

    def begin(self, given: str | None) -> Exchange:
        """Say that a request is under way, with the id that its client gave it."""
        exchange = Exchange(self.name(given), time.perf_counter())
        CURRENT.set(exchange)
        self._requests.under_way += 1
        return exchange

    def begun(self) -> None:
        """Say that a request is under way that no task is made for."""
        self._requests.under_way += 1

    def end(
        self,
        request: web.Request,
        response: web.StreamResponse | None,
        exchange: Exchange,
    ) -> None:
        """Count the request, and say that it is not under way any more."""
        status = 0 if response is None else response.status
        self.ended(request, exchange, status, _sent(request, response, exchange))

    def ended(
        self, request: web.Request, exchange: Exchange, status: int, sent: int
    ) -> None:
        """The same, of an answer with so many bytes of a body."""
        requests = self._requests
        requests.under_way -= 1
        if requests.stopping and not requests.under_way:
            requests.last_one()
        seconds = time.perf_counter() - exchange.started
        route = exchange.route
        self._note((route, status, seconds, request.content.total_bytes, sent))
        if exchange.retrieved and sent:
            self._retrieved(exchange.retrieved, sent, seconds)
        if self._volume.tells_requests:
            _tell(request.method, route, status, sent, seconds)

    def note(
        self, route: tuple[str, str], status: int, sent: int, started: float
    ) -> None:
        """Count a request that was answered at once; `started` is of the same clock."""
        self._note((route, status, time.perf_counter() - started, 0, sent))

    def _retrieved(self, instances: int, sent: int, seconds: float) -> None:
        self._counters.retrieval(sent, seconds)
        if self._times_retrievals:
            _tell_speed(instances, sent, seconds)


def _sent(
    request: web.Request, response: web.StreamResponse | None, exchange: Exchange
) -> int:
    """Bytes of the body of the answer.

    Of one in chunks, or that was broken off, those of its head and framing as well.
    """
    if request.method == "HEAD":
        return 0
    if isinstance(response, web.Response) and not response.prepared:
        body = response.body
        return len(body) if isinstance(body, bytes) else 0
    if response is not None and response.body_length:  # known once all is written
        length = response.content_length
        if length is not None:
            return length
    written: int = request.writer.output_size
    return written + exchange.past


def retrieved(instances: int) -> None:
    """Say that so many instances more are in the answer to a retrieval."""
    CURRENT.get().retrieved += instances


def _tell(
    method: str, route: tuple[str, str] | None, status: int, sent: int, seconds: float
) -> None:
    """A line for a request."""
    fields = {
        "method": method if method.isalpha() and len(method) < 20 else "?",
        "route": "(none)" if route is None else route[1],
        "status": status,
        "bytes": sent,
        "milliseconds": round(seconds * 1000, 3),
    }
    access.debug(
        "%(method)s %(route)s %(status)d %(bytes)d bytes %(milliseconds).1f ms",
        fields,
        extra={"fields": fields},
    )


def _tell_speed(instances: int, sent: int, seconds: float) -> None:
    """A line for a retrieval (EnablePerformanceLogs)."""
    fields = {
        "instances": instances,
        "seconds": round(seconds, 3),
        "instances_per_second": round(instances / seconds, 1),
        "megabytes_per_second": round(sent / seconds / 1e6, 2),
    }
    log.info(
        "retrieved %(instances)d instances in %(seconds).3f s:"
        " %(instances_per_second).1f instances/s, %(megabytes_per_second).2f MB/s",
        fields,
        extra={"fields": fields},
    )
