"""What an operator may ask of a running gateway, and the parts that know it."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from aiohttp import web

from gateway.jobs.engine import Engine
from gateway.outcomes import Outcome
from gateway.telemetry.counters import Counters, State, Telemetry
from gateway.telemetry.logs import Volume
from gateway.watch import WatchedArchive, outcome_name
from gateway.web.grace import Requests

#: Gives the number of jobs by their state: Pending, Running, Success, ...
JobCounts = Callable[[], Awaitable[Mapping[str, int]]]


async def job_counts(jobs: Engine) -> Mapping[str, int]:
    """How many jobs are in each state."""
    return Counter(job.state.value for job in await jobs.list())


@dataclass(frozen=True, slots=True)
class Monitor:
    """The parts that know how a gateway is."""

    telemetry: Telemetry
    counters: Counters
    volume: Volume

    def came(self, outcome: Outcome) -> None:
        """Count an instance that came in."""
        self.counters.outcome(outcome_name(outcome))


MONITOR = web.AppKey("monitor", Monitor)
REQUESTS = web.AppKey("requests", Requests)
JOBS: web.AppKey[JobCounts] = web.AppKey("jobs")


def monitor(request: web.Request) -> Monitor:
    """The monitor of the gateway that a request came to."""
    return request.app[MONITOR]


def busy(requests: Requests, archive: WatchedArchive) -> Mapping[State, float]:
    """How full the queues of this process are."""
    queues = archive.queues()
    return {
        State.REQUESTS: requests.under_way,
        State.PARTS: queues.parts,
        State.PART_BYTES: queues.part_bytes,
        State.READS: queues.reads,
    }
