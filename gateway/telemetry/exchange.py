"""The request that the code at hand works for, without saying anything of it.

Whoever logs gets its id from here; who answers it notes what cannot be seen from outside.
"""

from contextvars import ContextVar


class Exchange:
    """A request and its answer, as far as they are counted."""

    __slots__ = ("id", "past", "retrieved", "route", "started")

    def __init__(self, request_id: str, started: float = 0.0) -> None:
        self.id = request_id
        self.started = started  # by the clock of `time.perf_counter`
        self.route: tuple[str, str] | None = None  # method and pattern, once known
        self.past = 0  # bytes that the kernel sent past the writer
        self.retrieved = 0  # instances in the answer to a retrieval by WADO-RS


#: Outside of any request, one that nobody counts.
CURRENT: ContextVar[Exchange] = ContextVar("exchange", default=Exchange(""))  # noqa: B039
