"""Fetching from a remote server into the archive (PS3.18 10.4), as a job.

Each resource is compared with what is held, and only what lacks is asked for, unless the
job was told to fetch all. So a job that is picked up again does not begin anew, and what
the remote promised and did not send is noticed. One resource that fails does not keep the
others from it; what may go well later is tried again after the others.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from gateway.archive import Archive
from gateway.errors import RemoteFailure, RemoteRefused, StorageFull
from gateway.jobs.engine import Run, Work
from gateway.outcomes import FailureReason, Outcome, Stored
from gateway.remote.client import DicomWebClient
from gateway.remote.servers import Servers
from gateway.transfers.arrival import Arrival
from gateway.transfers.listing import (
    Fetch,
    Name,
    Resource,
    listed,
    plan,
    resource_at,
    singly,
)
from gateway.transfers.reporting import Incomplete, explained, reported, save
from gateway.transfers.tally import Share, Tally

T = TypeVar("T")

#: Orthanc's name of these jobs.
TYPE = "DicomWebWadoRetrieveClient"

#: Requests of one job that are under way at the same time.
PARALLEL = 4

#: Instances of one resource that are refused, one after the other, before the rest is
#: not asked for any more.
_HOPELESS = 20

#: So many resources in a row that might go well later: the server has a trouble.
_TROUBLE = 3


def retrieve(archive: Archive, servers: Servers) -> Work:
    """The work of the jobs that fetch."""

    async def work(run: Run) -> None:
        client = await servers.client(run.request["Server"])
        fetching = _Fetching(archive, client, run)
        await explained(run, fetching.run(), fetching.tally.report)

    return work


class _Fetching:
    """One job while it runs.

    Its request holds `Server` and either `Resources`, or the `Uri` of the one; and
    `Arguments`, `HttpHeaders`, `Force`.
    """

    def __init__(self, archive: Archive, client: DicomWebClient, run: Run) -> None:
        request = run.request
        self._archive = archive
        self._client = client
        self._run = run
        self._uri: str = request.get("Uri", "")
        self._resources = _resources(request)
        self._arguments: Mapping[str, str] = request.get("Arguments", {})
        self._headers: Mapping[str, str] = request.get("HttpHeaders", {})
        self._force = bool(request.get("Force"))
        self._requests = asyncio.Semaphore(PARALLEL)
        self._later: list[RemoteFailure] = []  # what may go well another time
        self._in_a_row = 0
        self.tally = Tally(run, len(self._resources))

    async def run(self) -> None:
        """Fetch what is left.

        Raises Incomplete if something cannot be had, RemoteFailure if it may be later.
        """
        waiting = self.tally.waiting()
        await reported(
            self._run, self._all(deque(waiting), self._resource), self.tally.report
        )
        if self._later:
            raise self._later[-1]
        await save(self._run, self.tally.report(), now=True)
        failures = self.tally.failures
        if failures.count:
            server = str(self._run.request["Server"])
            total = failures.count + self.tally.received + self.tally.held
            raise Incomplete(failures.message(total, "could not be retrieved", server))

    async def _all(self, queue: deque[T], work: Callable[[T], Awaitable[None]]) -> None:
        """Work on all that is in the queue, several at a time."""

        async def worker() -> None:
            while queue and self._in_a_row < _TROUBLE:
                await work(queue.popleft())

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(PARALLEL, len(queue))):
                    group.create_task(worker())
        except BaseExceptionGroup as group_of:
            raise group_of.exceptions[0] from None

    # -- a resource --------------------------------------------------------------------

    async def _resource(self, number: int) -> None:
        resource = self._resources[number]
        share = self.tally.begin(number)
        try:
            if resource is None:
                await self._request(self._uri, None, share)
            else:
                await self._fetch(resource, share)
        except RemoteFailure as failure:
            if self._note(failure):
                self.tally.suspend(number)
                return
            name = resource.fields() if resource else {"Uri": self._uri}
            _fail(share, dict(name), failure)
        else:
            self._in_a_row = 0
        self.tally.end(number)

    def _note(self, failure: RemoteFailure) -> bool:
        """Whether it may go well later; raises what will stop the others as well."""
        if isinstance(failure, RemoteRefused):
            raise failure
        if failure.retry:
            self._later.append(failure)
            self._in_a_row = _TROUBLE if failure.retry_after else self._in_a_row + 1
        return failure.retry

    async def _fetch(self, resource: Resource, share: Share) -> None:
        there = await listed(self._client, resource, _without_accept(self._headers))
        if not there:
            await self._request(resource.path, resource.uids[0], share)
            return
        study = resource.uids[0]
        missing = there
        if not self._force:
            missing = there - await self._archive.holdings.held(study, there)
        share.expect(len(there), len(there) - len(missing))
        left = await self._bring(plan(resource, there, missing), share)
        # A server that left some out of a study may give them one by one.
        left = await self._bring(singly(study, left), share)
        for series, uid in sorted(left):
            fields = Resource((study, series, uid)).fields()
            words = "the server lists it and does not send it"
            share.failures.add(dict(fields), None, words)

    async def _bring(self, fetches: Iterable[Fetch], share: Share) -> set[Name]:
        """Do the requests; the instances that they should have brought and did not."""
        left: set[Name] = set()
        later: list[RemoteFailure] = []
        queue = deque(fetches)

        async def one(fetch: Fetch) -> None:
            try:
                left.update(await self._attempt(fetch, share))
            except RemoteFailure as failure:
                later.append(failure)
                if len(later) == _TROUBLE:
                    queue.clear()

        await self._all(queue, one)
        if later:
            raise later[-1]
        if queue:  # somebody else noticed that the server has a trouble
            raise self._later[-1]
        return left

    async def _attempt(self, fetch: Fetch, share: Share) -> set[Name]:
        """Do a request; the instances that it did not bring.

        Raises RemoteFailure if another time, or nothing at all, may bring them.
        """
        resource = fetch.resource
        try:
            got = await self._request(resource.path, resource.uids[0], share)
        except RemoteFailure as failure:
            if failure.retry or isinstance(failure, RemoteRefused):
                raise
            if len(fetch.expected) > 1:
                return set(fetch.expected)
            share.refused_in_a_row += 1
            if share.refused_in_a_row > _HOPELESS:
                raise
            _fail(share, dict(resource.fields()), failure)
            return set()
        share.refused_in_a_row = 0
        return {name for name in fetch.expected if name[1] not in got}

    # -- a request ---------------------------------------------------------------------

    async def _request(self, path: str, study: str | None, share: Share) -> set[str]:
        """Ask for instances and keep them; UIDs of those that came, stored or refused."""
        got: set[str] = set()

        def note(outcome: Outcome) -> None:
            got.add(self._account(outcome, share))
            share.settle()

        async with (
            self._requests,
            self._client.retrieve(
                path, arguments=self._arguments, headers=self._headers
            ) as parts,
            Arrival(self._archive, study, note, share.came) as arrival,
        ):
            came = 0
            async for part in parts:
                came += 1
                await arrival.take(part)
        self.tally.requests += 1
        if not came:
            server = str(self._run.request["Server"])
            raise RemoteFailure(
                f"the server {server} sent no instance for {path}", server=server
            )
        return got

    def _account(self, outcome: Outcome, share: Share) -> str:
        """Count what became of a part; its SOP Instance UID. Raises StorageFull."""
        if isinstance(outcome, Stored):
            self.tally.store(outcome, share)
            return outcome.uids.instance
        if outcome.reason is FailureReason.OUT_OF_RESOURCES:
            raise StorageFull(outcome.message)
        if outcome.reason is FailureReason.DUPLICATE_INSTANCE and not self._force:
            share.held += 1  # the remote gives it in another form than ours
        else:
            name: dict[str, object] = {"SOPInstanceUID": outcome.instance}
            share.failures.add(name, outcome.reason, outcome.message)
        return outcome.instance


def _fail(share: Share, name: dict[str, object], failure: RemoteFailure) -> None:
    share.failures.add(name, failure.status, failure.message)


def _resources(request: Mapping[str, Any]) -> list[Resource | None]:
    """What a job is to fetch; None for an address that names none of these."""
    if "Uri" not in request:
        return [Resource(tuple(uids)) for uids in request["Resources"]]
    named = None if request.get("Arguments") else resource_at(request["Uri"])
    return [named]


def _without_accept(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers for a search: what a client accepts was said of files."""
    return {name: headers[name] for name in headers if name.lower() != "accept"}
