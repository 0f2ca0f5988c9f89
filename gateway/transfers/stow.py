"""Sending instances to a remote server, in batches (PS3.18 10.5), as a job.

What is to be sent was fixed when the job was submitted. Each batch is one request; what
the remote confirmed is noted before the next one begins, so that a job which is picked up
again goes on behind the last confirmed batch. One instance that the remote refuses does
not keep the others from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.archive import Archive, Instance
from gateway.errors import NotFound, RemoteFailure
from gateway.jobs.engine import Run, Work
from gateway.remote.client import DicomWebClient, StoreAnswer
from gateway.remote.servers import Servers
from gateway.transfers.reporting import (
    Failures,
    Incomplete,
    Pace,
    Report,
    explained,
    mebibytes,
    pace_fields,
    reported,
    save,
)

#: Orthanc's name of these jobs.
TYPE = "DicomWebStowClient"

#: Instances of one request at most: each has an item in the answer, which is held whole.
MOST_TOGETHER = 1000

#: Statuses that concern what was sent, not who sent it or where to: others may be taken.
_ABOUT_THE_BODY = frozenset({400, 409, 413, 415, 422})

_TOO_LARGE = 413

#: As far as a job is said to be while an answer is still awaited.
_ALMOST = 0.999

_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Batching:
    """How much goes in one request."""

    instances: int = 0  # 0: as many as fit
    size: int = 128  # MB; 0: no limit; a larger instance goes alone

    def for_server(self, properties: Mapping[str, str]) -> "Batching":
        """The same, unless the server's own properties say otherwise."""
        return Batching(
            _number(properties, "StowMaxInstances", self.instances),
            _number(properties, "StowMaxSize", self.size),
        )


def _number(properties: Mapping[str, str], name: str, otherwise: int) -> int:
    text = properties.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else otherwise


def stow(archive: Archive, servers: Servers, batching: Batching) -> Work:
    """The work of the jobs that send."""

    async def work(run: Run) -> None:
        name = run.request["Server"]
        server = await servers.get(name)
        client = await servers.client(name)
        sending = _Sending(archive, client, run, batching.for_server(server.properties))
        await explained(run, sending.run(await run.item_count()), sending.tell)

    return work


def first_content(
    server: str, resources: dict[str, list[str]], count: int, size: int
) -> dict[str, Any]:
    """What is shown of a job that has not begun."""
    return {
        "Server": server,
        "Resources": resources,
        "InstancesCount": str(count),
        "NetworkSizeMB": "0",
        "TotalSize": size,
        "SentInstancesCount": 0,
        "SentSize": 0,
    }


@dataclass(slots=True)
class _Batch:
    """What goes together."""

    count: int  # items of the job that it settles
    instances: list[Instance]
    gone: list[str]  # Orthanc's identifiers of those that were deleted meanwhile


class _Sending:
    """One job while it runs."""

    def __init__(
        self, archive: Archive, client: DicomWebClient, run: Run, batching: Batching
    ) -> None:
        self._archive = archive
        self._client = client
        self._run = run
        self._size = batching.size * _MEBIBYTE
        self._most = min(batching.instances or MOST_TOGETHER, MOST_TOGETHER)
        kept = run.checkpoint
        self._position = kept.get("position", 0)  # items that are settled
        self._stored = kept.get("stored", 0)
        self._settled = kept.get("settled", 0)  # bytes of the settled items
        self._requests = kept.get("requests", 0)
        self._failures = Failures(kept.get("failures", 0), list(kept.get("listed", [])))
        self._under_way = 0  # bytes of the present batch that are sent
        self._count = 0
        self._pace = Pace()
        self._speed = 0.0

    async def run(self, count: int) -> None:
        """Send what is left; raises Incomplete if some of it was not stored."""
        self._count = count
        while self._position < count:
            await self._send(await self._next_batch())
            await save(self._run, self.tell(), now=True)
        if self._failures.count:
            raise Incomplete(
                self._failures.message(count, "instances were not stored", self._server)
            )

    @property
    def _server(self) -> str:
        return str(self._run.request["Server"])

    # -- batches -----------------------------------------------------------------------

    async def _next_batch(self) -> _Batch:
        names = await self._run.items(self._position, self._most)
        held = await self._archive.holdings.instances(names)
        batch = _Batch(0, [], [])
        size = 0
        for name in names:
            instance = held.get(name)
            size += instance.size if instance else 0
            if self._size and size > self._size and batch.instances:
                break
            batch.count += 1
            if instance:
                batch.instances.append(instance)
            else:
                batch.gone.append(name)
        return batch

    async def _send(self, batch: _Batch) -> None:
        if batch.instances:
            self._under_way = 0
            try:
                answer = await reported(self._run, self._request(batch), self.tell)
            except NotFound:
                await self._lose(batch)
                return
            except RemoteFailure as failure:
                if self._smaller(failure, batch):
                    return
                self._refuse(batch, failure)
            else:
                self._account(batch, answer)
            self._requests += 1
        for name in batch.gone:
            self._failures.add({"ID": name}, None, "it is not held here any more")
        self._under_way = 0
        self._settled += sum(instance.size for instance in batch.instances)
        self._position += batch.count

    async def _request(self, batch: _Batch) -> StoreAnswer:
        return await self._client.store(
            "/studies",
            [self._archive.file_range(instance) for instance in batch.instances],
            self._archive,
            headers=self._run.request.get("HttpHeaders", {}),
            sent=self._sent,
        )

    def _sent(self, size: int) -> None:
        self._under_way += size

    async def _lose(self, batch: _Batch) -> None:
        """A file is gone: raises NotFound unless its instance was deleted meanwhile."""
        names = [instance.orthanc_id for instance in batch.instances]
        held = await self._archive.holdings.instances(names)
        if all(held.get(one.orthanc_id) == one for one in batch.instances):
            raise NotFound("the file of an instance is gone")

    def _smaller(self, failure: RemoteFailure, batch: _Batch) -> bool:
        """Whether the same is tried again in smaller requests."""
        if failure.status != _TOO_LARGE or len(batch.instances) == 1:
            return False
        self._most = max(1, batch.count // 2)
        return True

    # -- what became of them ---------------------------------------------------------

    def _refuse(self, batch: _Batch, failure: RemoteFailure) -> None:
        """Note that a batch was refused; raises the failure if the next would be too."""
        answered = failure.status is not None and failure.status < 300
        if failure.retry or not (answered or failure.status in _ABOUT_THE_BODY):
            raise failure
        for instance in batch.instances:
            self._fail(instance, None, failure.message)

    def _account(self, batch: _Batch, answer: StoreAnswer) -> None:
        stored = set(answer.stored)
        failed = {one.instance: one for one in answer.failed}
        unnamed = failed.get("")
        for instance in batch.instances:
            refused = failed.get(instance.uid)
            if refused:
                self._fail(instance, refused.reason, refused.words)
            elif instance.uid in stored:
                self._stored += 1
            elif unnamed:
                self._fail(instance, unnamed.reason, unnamed.words)
            else:
                self._fail(instance, None, "the answer does not say that it is stored")

    def _fail(self, instance: Instance, reason: int | None, words: str) -> None:
        name: dict[str, object] = {
            "SOPInstanceUID": instance.uid,
            "ID": instance.orthanc_id,
        }
        self._failures.add(name, reason, words)

    # -- what is told ------------------------------------------------------------------

    def tell(self) -> Report:
        """How far it is."""
        first = self._run.content
        total = int(first.get("TotalSize", 0))
        sent = min(self._settled + self._under_way, total)
        self._speed = self._pace.measure(sent)
        left = max(total - sent, 0)
        content = {
            **first,
            "NetworkSizeMB": mebibytes(sent),
            "SentInstancesCount": self._stored,
            "SentSize": sent,
            "RequestsCount": self._requests,
            "FailedInstancesCount": self._failures.count,
            "FailedInstances": list(self._failures.listed),
            **pace_fields(self._speed, left / self._speed if self._speed else None),
        }
        for key in [key for key in content if key.startswith("FunctionError")]:
            del content[key]
        done = self._position >= self._count
        share = 1.0 if done else min(sent / (total or 1), _ALMOST)
        return Report(max(share, self._run.progress), content, self._checkpoint())

    def _checkpoint(self) -> dict[str, Any]:
        return {
            "position": self._position,
            "stored": self._stored,
            "settled": self._settled,
            "requests": self._requests,
            "failures": self._failures.count,
            "listed": list(self._failures.listed),
        }
