"""Orthanc's view of jobs: what there is, how far each is, and what it shall do next.

Whoever polls often gets the same bytes, or 304, for as long as nothing changes; whoever
would rather wait is told of a change when it comes: `?wait=`, or a stream of events.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import web

from gateway.errors import BadRequest, NotFound, ReadOnly
from gateway.jobs.job import Job, JobState
from gateway.orthanc.system import reply
from gateway.transfers import retrieve
from gateway.web.conditional import listed, not_modified
from gateway.web.context import gateway
from gateway.web.replies import streaming

#: Seconds that a request may wait for news, whatever it asks for.
LONGEST_WAIT = 60.0

#: Seconds of silence after which a stream of events says that it is still there.
HEARTBEAT = 15.0

_JSON = "application/json"
_EVENTS = "text/event-stream"
_INDENTED = orjson.OPT_INDENT_2


# -- how a job is shown ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Shown:
    """A version of a job, ready to be sent but for the time of day."""

    headers: Mapping[str, str]  # with its ETag
    start: bytes  # of the object, up to the time
    line: bytes  # the same, on one line


@lru_cache(1024)
def _shown(job: Job) -> _Shown:
    fields = _fields(job)
    return _Shown(
        headers={
            "Cache-Control": "no-cache",
            "X-Job-Version": str(job.version),
            "ETag": f'W/"{job.id}.{job.version}"',
        },
        start=orjson.dumps(fields, option=_INDENTED)[:-2] + b',\n  "Timestamp": "',
        line=orjson.dumps(fields)[:-1] + b',"Timestamp":"',
    )


def _object(job: Job, now: bytes) -> bytes:
    return _shown(job).start + now + b'"\n}'


def _fields(job: Job) -> dict[str, Any]:
    """Orthanc's fields, then ours, but for the time of day."""
    failure = job.failure
    fields: dict[str, Any] = {
        "CompletionTime": None if job.completed is None else _moment(job.completed),
        "Content": content(job),
        "CreationTime": _moment(job.created),
        "EffectiveRuntime": round(job.runtime, 3),
        "ErrorCode": failure.code if failure else 0,
        "ErrorDescription": failure.description if failure else "Success",
        "ErrorDetails": failure.details if failure else "",
        "ID": job.id,
        "Priority": job.priority,
        "Progress": int(job.progress * 100),
        "State": job.state.value,
        "Type": job.type,
        "FailedAttempts": job.attempts,
        "Version": job.version,
    }
    if job.completed is None:
        del fields["CompletionTime"]
    if job.state is JobState.RETRY:
        fields["NextAttempt"] = _moment(job.due)
    if job.state is JobState.RUNNING and job.progress > 0:
        left = job.runtime * (1 - job.progress) / job.progress
        fields["ExpectedSeconds"] = round(left, 1)
    return fields


def content(job: Job) -> dict[str, Any]:
    """What the work of a job tells of it, and of what went wrong."""
    shown = dict(job.content)
    if job.failure is not None:
        shown["FunctionErrorCode"] = job.failure.code
        shown["FunctionErrorDescription"] = job.failure.description
        shown["FunctionErrorDetails"] = job.failure.details
    return shown


def _moment(seconds: float) -> str:
    """A time as Orthanc writes it, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%S.%f")


def _now() -> bytes:
    now = time.time_ns()
    second, rest = divmod(now, 1_000_000_000)
    return b"%s.%06d" % (_second(second), rest // 1000)


@lru_cache(1)
def _second(second: int) -> bytes:
    """The second that all who ask now are told; writing it costs more than the rest."""
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime(second)).encode()


# -- reading -----------------------------------------------------------------------------


async def list_all(request: web.Request) -> web.StreamResponse:
    """Identifiers of jobs, or the jobs: GET /jobs, GET /jobs?expand."""
    engine = gateway(request).jobs
    jobs = await engine.list()
    expand = "expand" in request.query
    headers = {"Cache-Control": "no-cache", "X-Job-Version": str(engine.version)}
    tag = f'W/"jobs.{engine.version}.{"expand" if expand else "ids"}"'
    same = not_modified(request, tag, headers)
    if same is not None:
        return same
    if not expand:
        body = orjson.dumps([job.id for job in jobs], option=_INDENTED) + b"\n"
    else:
        now = _now()
        body = b"[" + b",".join(_object(job, now) for job in jobs) + b"]\n"
    return web.Response(body=body, content_type=_JSON, headers=headers)


async def one(request: web.Request, job_id: str) -> web.StreamResponse:
    """How far a job is: GET /jobs/{id}?wait=&since=.

    With `wait`, a number of seconds, the answer comes when the version of the job is
    past `since`, or when it is finished, or when the time is up. Without `since`, the
    next change is waited for.
    """
    engine = gateway(request).jobs
    if request.query_string:
        job = await _awaited(request, job_id)
    else:
        job = await engine.get(job_id)
    return _answer(request, job)


def one_at_once(request: web.Request, job_id: str) -> web.Response | None:
    """The same, where nobody wants to wait and nothing has to be read."""
    if request.rel_url.raw_query_string:
        return None
    job = gateway(request).jobs.known(job_id)
    return None if job is None else _answer(request, job)


def _answer(request: web.Request, job: Job) -> web.Response:
    shown = _shown(job)
    if shown.headers["ETag"] in listed(request):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=shown.headers)
    body = shown.start + _now() + b'"\n}\n'
    return web.Response(body=body, content_type=_JSON, headers=shown.headers)


async def _awaited(request: web.Request, job_id: str) -> Job:
    engine = gateway(request).jobs
    wait, since = _seconds(request), _since(request.query.get("since"))
    if not wait:
        return await engine.get(job_id)
    await engine.get(job_id)  # what is not shown is not waited for either
    return await engine.wait(job_id, since=since, seconds=wait)


def _seconds(request: web.Request) -> float:
    text = request.query.get("wait", "0")
    if not (text.isascii() and text.replace(".", "", 1).isdigit()) or len(text) > 9:
        raise BadRequest("wait is not a number of seconds")
    return min(float(text), LONGEST_WAIT)


def _since(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise BadRequest("since is not the version of a job")
    return int(text)


# -- events ------------------------------------------------------------------------------


async def events(request: web.Request, job_id: str) -> web.StreamResponse:
    """Every change of a job, as it comes, until it is finished: GET /jobs/{id}/events.

    A stream for EventSource (HTML, 9.2): events are named `job`, their identifiers are
    versions. Who comes back after the last one gets 204, which means not to come again.
    """
    engine = gateway(request).jobs
    last = _since(request.headers.get("Last-Event-ID") or request.query.get("since"))
    job = await engine.get(job_id)
    if job.finished and last is not None and job.version <= last:
        return web.Response(status=204)
    response = web.StreamResponse(
        headers={
            "Content-Type": _EVENTS,
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # a proxy is to pass on each at once
        }
    )
    async with streaming(request, response) as wanted:
        if wanted:
            await _send_events(request, response, job, -1 if last is None else last)
    return response


async def _send_events(
    request: web.Request, response: web.StreamResponse, job: Job, last: int
) -> None:
    engine = gateway(request).jobs
    while True:
        if job.version > last:
            last = job.version
            start = f"id: {last}\nevent: job\ndata: ".encode()
            await response.write(start + _shown(job).line + _now() + b'"}\n\n')
        else:
            await response.write(b": still here\n\n")
        if job.finished or engine.leaving:
            return
        try:
            job = await engine.wait(job.id, since=last, seconds=HEARTBEAT)
        except NotFound:  # was deleted: there is nothing more to tell
            return


# -- actions -----------------------------------------------------------------------------


async def cancel(request: web.Request, job_id: str) -> web.StreamResponse:
    """End a job: POST /jobs/{id}/cancel."""
    return await _done(gateway(request).jobs.cancel, job_id)


async def pause(request: web.Request, job_id: str) -> web.StreamResponse:
    """Stop a job until it is resumed: POST /jobs/{id}/pause."""
    return await _done(gateway(request).jobs.pause, job_id)


async def resume(request: web.Request, job_id: str) -> web.StreamResponse:
    """Let a paused job go on: POST /jobs/{id}/resume."""
    return await _done(gateway(request).jobs.resume, job_id)


async def resubmit(request: web.Request, job_id: str) -> web.StreamResponse:
    """Do a failed job again: POST /jobs/{id}/resubmit.

    Raises ReadOnly for one that stores here: nobody would do it.
    """
    parts = gateway(request)
    job = await parts.jobs.get(job_id)
    if parts.settings.read_only and job.type == retrieve.TYPE:
        raise ReadOnly("this gateway is read-only: what is retrieved would be stored")
    return await _done(parts.jobs.resubmit, job_id)


async def delete(request: web.Request, job_id: str) -> web.StreamResponse:
    """Forget a finished job: DELETE /jobs/{id}."""
    return await _done(gateway(request).jobs.delete, job_id)


async def _done(action: Callable[[str], Awaitable[Job]], job_id: str) -> web.Response:
    await action(job_id)
    return reply({})
