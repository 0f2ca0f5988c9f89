"""What is counted, and where in a worker's row it stands.

The layout follows from the table of routes and from constants alone, so that all workers
have the same one. Counting is a few additions to shared memory, some hundred nanoseconds a
request; what is made of the numbers is for `families`.
"""

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from http import HTTPStatus
from itertools import chain

from gateway.telemetry.board import Board

#: Upper bounds of the duration of requests (seconds).
SECONDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)

#: Upper bounds of how late the event loop comes (seconds).
DELAYS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)

#: Statuses that are told apart, after the place for requests without an answer.
STATUSES = tuple(status.value for status in HTTPStatus if status >= HTTPStatus.OK)
_STATUS_PLACE = {status: place for place, status in enumerate(STATUSES, 1)}

#: Speeds of retrievals are averaged over so many steps of so many seconds each.
STEPS, STEP = 30, 10.0

#: A request that was answered, as `Counters.add` takes it.
Counted = tuple[tuple[str, str] | None, int, float, int, int]

#: What stands for a request to an address or with a method that is not in the table.
NO_ROUTE = ("", "")


class State(IntEnum):
    """What a worker is like now; the first cells of its row."""

    PROCESS = 0  # its id; 0 while there is none
    STARTED = 1  # seconds since 1970
    BEAT = 2  # when its event loop turned last, by the clock all processes share
    REQUESTS = 3  # under way
    PARTS = 4  # instances that are read and wait to be made durable
    PART_BYTES = 5  # bytes of unfinished instances in memory
    READS = 6  # reads of the index under way, or waiting for a place
    SERVING = 8  # 1 while connections are taken
    DELAY = 7  # seconds that the event loop came late the last time


class Shared(IntEnum):
    """Cells of the row that everybody may write."""

    LOG_LEVEL = 0  # see `logs`
    STOPPING = 1  # 1 once the workers were told to end


@dataclass(frozen=True, slots=True)
class RouteCells:
    """Where the numbers of a route stand, from its first cell on."""

    statuses: slice
    durations: slice  # not added up: each request is in one of them
    seconds: int
    received: int
    sent: int


_ROUTE = RouteCells(
    statuses=slice(0, len(STATUSES) + 1),
    durations=slice(len(STATUSES) + 1, len(STATUSES) + len(SECONDS) + 2),
    seconds=len(STATUSES) + len(SECONDS) + 2,
    received=len(STATUSES) + len(SECONDS) + 3,
    sent=len(STATUSES) + len(SECONDS) + 4,
)
_ROUTE_WIDTH = _ROUTE.sent + 1
_DURATIONS = len(STATUSES) + 1
_SECONDS, _RECEIVED, _SENT = _ROUTE.seconds, _ROUTE.received, _ROUTE.sent


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything stands in a row."""

    routes: tuple[tuple[str, str], ...]  # method and pattern
    outcomes: tuple[str, ...]  # what may become of an instance that comes in

    @classmethod
    def of(cls, routes: Iterable[tuple[str, str]], outcomes: Sequence[str]) -> "Layout":
        """The layout for a table of routes; those with one pattern may repeat."""
        return cls(tuple(dict.fromkeys(chain([NO_ROUTE], routes))), tuple(outcomes))

    @property
    def delays(self) -> slice:
        """How often the event loop came how late."""
        return slice(len(State), len(State) + len(DELAYS) + 1)

    @property
    def delay_seconds(self) -> int:
        """All that together."""
        return len(State) + len(DELAYS) + 1

    @property
    def outcome_cells(self) -> slice:
        """How many instances became what."""
        start = self.delay_seconds + 1
        return slice(start, start + len(self.outcomes))

    @property
    def retrieved_bytes(self) -> int:
        """Bytes of all retrievals of instances."""
        return self.delay_seconds + 1 + len(self.outcomes)

    @property
    def speeds(self) -> slice:
        """Time, sum of MB/s and number of retrievals, for each of the last steps."""
        start = self.retrieved_bytes + 1
        return slice(start, start + 3 * STEPS)

    def route_start(self, place: int) -> int:
        """The first cell of a route."""
        return self.retrieved_bytes + 1 + 3 * STEPS + place * _ROUTE_WIDTH

    def route(self, place: int) -> RouteCells:
        """Where the numbers of a route stand in the row."""
        start = self.route_start(place)
        return RouteCells(
            statuses=slice(start, start + _ROUTE.statuses.stop),
            durations=slice(start + _DURATIONS, start + _ROUTE.durations.stop),
            seconds=start + _ROUTE.seconds,
            received=start + _ROUTE.received,
            sent=start + _ROUTE.sent,
        )

    @property
    def width(self) -> int:
        """Cells of a row."""
        return self.route_start(len(self.routes))


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The numbers of all workers; made before they are."""

    layout: Layout
    board: Board

    @classmethod
    def of(cls, layout: Layout, workers: int = 1) -> "Telemetry":
        """Everything at zero."""
        return cls(layout, Board(layout.width, workers))

    @property
    def stopping(self) -> bool:
        """Whether the workers were told to end."""
        return bool(self.board.shared[Shared.STOPPING])

    def stop(self) -> None:
        """Let everybody know that the workers were told to end."""
        self.board.shared[Shared.STOPPING] = 1

    def gone(self, worker: int) -> None:
        """What a worker was like is no more; what it counted stays."""
        row = self.board.row(worker)
        for cell in State:
            row[cell] = 0

    @property
    def serving(self) -> bool:
        """Whether any worker takes connections."""
        return any(self.board.row(n)[State.SERVING] for n in range(self.board.workers))

    def oldest_beat(self) -> float:
        """When the loop turned last of the worker whose loop has not for longest.

        By the monotonic clock; 0 while one of them has not begun.
        """
        beats = [self.board.row(n)[State.BEAT] for n in range(self.board.workers)]
        return min(beats)


class Counters:
    """The counting of one worker. Its methods belong into the event loop's thread."""

    def __init__(self, telemetry: Telemetry, worker: int = 0) -> None:
        layout = telemetry.layout
        self.row = telemetry.board.row(worker)
        #: Requests that `settle` will `add`: memory that is shared is slow when it was
        #: not used just now, so that many are counted at a time.
        self.pending: deque[Counted] = deque()
        self._starts: dict[tuple[str, str] | None, int] = {
            route: layout.route_start(place)
            for place, route in enumerate(layout.routes)
        }
        self._starts[None] = layout.route_start(0)
        self._outcomes = {
            name: layout.outcome_cells.start + place
            for place, name in enumerate(layout.outcomes)
        }
        self._delays = layout.delays.start
        self._delay_seconds = layout.delay_seconds
        self._retrieved = layout.retrieved_bytes
        self._speeds = layout.speeds.start

    def settle(self) -> None:
        """Let everybody see the requests that are noted."""
        pending = self.pending
        while pending:
            self.add(*pending.popleft())

    def add(
        self,
        route: tuple[str, str] | None,
        status: int,
        seconds: float,
        received: int,
        sent: int,
    ) -> None:
        """Count a request; None is no route, status 0 is no answer."""
        start = self._starts[route]
        row = self.row
        row[start + _STATUS_PLACE.get(status, 0)] += 1
        row[start + _DURATIONS + bisect_left(SECONDS, seconds)] += 1
        row[start + _SECONDS] += seconds
        if received:
            row[start + _RECEIVED] += received
        row[start + _SENT] += sent

    def outcome(self, name: str) -> None:
        """Count an instance that came in."""
        self.row[self._outcomes[name]] += 1

    def retrieval(self, size: int, seconds: float) -> None:
        """Count a retrieval of instances: its bytes, and its speed."""
        row = self.row
        row[self._retrieved] += size
        step = time.monotonic() // STEP
        cell = self._speeds + 3 * int(step % STEPS)
        if row[cell] != step:
            row[cell], row[cell + 1], row[cell + 2] = step, 0, 0
        row[cell + 1] += size / 1e6 / max(seconds, 1e-6)
        row[cell + 2] += 1

    def delay(self, seconds: float) -> None:
        """Count a turn of the event loop that came so late."""
        row = self.row
        row[State.DELAY] = seconds
        row[self._delays + bisect_left(DELAYS, seconds)] += 1
        row[self._delay_seconds] += seconds
