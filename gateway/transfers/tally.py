"""What a job that fetches has got: counted for each resource, told for all together.

What is counted of a resource becomes final when the resource is done. Until then it may
have to be begun again, and must not be counted twice.
"""

from typing import Any

from gateway.jobs.engine import Run
from gateway.outcomes import Stored
from gateway.transfers.reporting import (
    MOST_LISTED,
    Failures,
    Pace,
    Report,
    mebibytes,
    pace_fields,
)

#: Orthanc's identifiers that are listed in the content; of more there is the number.
MOST_IDENTIFIERS = 10_000

#: Resources that are listed there.
MOST_RESOURCES = 1000


class Share:
    """What is counted of one resource while it is fetched."""

    def __init__(self, tally: "Tally") -> None:
        self.held = 0  # instances that were here already
        self.stored = 0  # that are here now and were not before
        self.failures = Failures()
        self.refused_in_a_row = 0  # single instances
        self._tally = tally
        self._expected = 0  # instances; 0: nobody knows
        self._settled = 0  # of them, whatever became of them
        self._under_way = 0.0  # in instances

    def expect(self, count: int, held: int) -> None:
        """Note how many instances there are, and how many of them are here."""
        self._expected = count
        self._settled = self.held = held

    def came(self, size: int, told: int) -> None:
        """Note bytes of an instance that has `told` of them, 0 if it did not say."""
        self._tally.network += size
        if told:
            self._under_way += size / told

    def settle(self) -> None:
        """Note that an instance is whole, stored or not."""
        self._settled += 1
        self._under_way = max(self._under_way - 1.0, 0.0)

    @property
    def progress(self) -> float:
        """From 0 to 1."""
        if not self._expected:
            return 0.0
        return min((self._settled + self._under_way) / self._expected, 1.0)


class Tally:
    """The counters of one job."""

    def __init__(self, run: Run, count: int) -> None:
        kept = run.checkpoint
        self.received: int = kept.get("received", 0)
        self.held: int = kept.get("held", 0)
        self.network: int = kept.get("network", 0)  # bytes that came, of all attempts
        self.requests: int = kept.get("requests", 0)
        self.failures = Failures(kept.get("failures", 0), list(kept.get("listed", [])))
        self._done: list[int] = list(kept.get("done", []))
        self._partly: dict[str, int] = dict(kept.get("partly", {}))
        self._identifiers: list[str] = list(run.content.get("Instances", []))
        self._run = run
        self._count = count
        self._shares: dict[int, Share] = {}
        self._checkpoint = dict(kept)
        self._got_ahead = False
        self._speed = Pace()
        self._advance = Pace()

    # -- resources -----------------------------------------------------------------------

    def waiting(self) -> list[int]:
        """The numbers of the resources that are not done."""
        return sorted(set(range(self._count)).difference(self._done))

    def begin(self, number: int) -> Share:
        """A resource is begun, perhaps once more."""
        self._shares[number] = Share(self)
        return self._shares[number]

    def suspend(self, number: int) -> None:
        """What is left of a resource is for another time."""
        stored = self._shares.pop(number).stored
        if stored:
            key = str(number)
            self._partly[key] = self._partly.get(key, 0) + stored

    def end(self, number: int) -> None:
        """A resource is done, well or not: it is not begun again."""
        self.held += self._held(number)
        share = self._shares.pop(number)
        self._partly.pop(str(number), None)
        self.failures.count += share.failures.count
        room = MOST_LISTED - len(self.failures.listed)
        self.failures.listed += share.failures.listed[: max(room, 0)]
        self._done.append(number)
        self._got_ahead = True

    def _held(self, number: int) -> int:
        """What was here of a resource, less what an earlier attempt brought."""
        earlier = self._partly.get(str(number), 0)
        return max(self._shares[number].held - earlier, 0)

    # -- instances -----------------------------------------------------------------------

    def store(self, stored: Stored, share: Share) -> None:
        """Count an instance that is stored."""
        self.received += 1
        if len(self._identifiers) < MOST_IDENTIFIERS:
            self._identifiers.append(stored.orthanc_ids[-1])
        if not stored.already_there:
            # What was here before is no step ahead: whoever gets nothing else, again and
            # again, is to give up some time.
            share.stored += 1
            self._got_ahead = True

    # -- what is told ----------------------------------------------------------------------

    def report(self) -> Report:
        """How far it is."""
        ahead = sum(share.progress for share in self._shares.values())
        progress = (len(self._done) + ahead) / self._count if self._count else 1.0
        progress = max(progress, self._run.progress)
        speed = self._speed.measure(self.network)
        rate = self._advance.measure(progress)
        content: dict[str, Any] = {
            **self._run.content,
            "ReceivedInstancesCount": str(self.received),
            "NetworkUsageMB": mebibytes(self.network),
            "NetworkUsage": self.network,
            "Instances": list(self._identifiers),
            "AlreadyHeldInstancesCount": self.held + sum(map(self._held, self._shares)),
            "RequestsCount": self.requests,
            "FailedCount": self.failures.count,
            "Failed": list(self.failures.listed),
            **pace_fields(speed, (1.0 - progress) / rate if rate else None),
        }
        for key in [key for key in content if key.startswith("FunctionError")]:
            del content[key]
        if self._got_ahead:
            self._checkpoint = self._position()
            self._got_ahead = False
        return Report(progress, content, self._checkpoint)

    def _position(self) -> dict[str, Any]:
        """Where the job goes on; noted when something was got that was not there before."""
        return {
            "received": self.received,
            "held": self.held,
            "network": self.network,
            "requests": self.requests,
            "failures": self.failures.count,
            "listed": list(self.failures.listed),
            "done": list(self._done),
            "partly": {
                **self._partly,
                **{
                    str(number): self._partly.get(str(number), 0) + share.stored
                    for number, share in self._shares.items()
                    if share.stored
                },
            },
        }
