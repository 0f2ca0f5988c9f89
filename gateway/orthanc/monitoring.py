"""What operators and their programs ask: metrics, health, and how much is logged.

At Orthanc's addresses for those who know them, and at those that other programs expect.
"""

import asyncio
import logging
from http import HTTPStatus

from aiohttp import web

from gateway.errors import BadRequest, NotFound
from gateway.orthanc.system import reply
from gateway.telemetry.families import CONTENT_TYPE, Held, exposition
from gateway.telemetry.pulse import INTERVAL
from gateway.web.context import body, gateway
from gateway.web.monitor import JOBS, monitor

log = logging.getLogger(__name__)

#: The word of a level is not longer (bytes).
_LONGEST_WORD = 64


async def metrics(request: web.Request) -> web.StreamResponse:
    """The metrics for Prometheus: GET /metrics, GET /tools/metrics-prometheus."""
    if not gateway(request).settings.metrics_enabled:
        raise NotFound("MetricsEnabled is false")
    parts = monitor(request)
    archive = gateway(request).archive
    totals = await archive.totals()
    held = Held(
        patients=totals.patients,
        studies=totals.studies,
        series=totals.series,
        instances=totals.instances,
        size=totals.size,
        free=await _free_space(request),
    )
    jobs = await request.app[JOBS]()
    # What was counted by now, by any worker, is seen then.
    await asyncio.sleep(2 * INTERVAL)
    text = await asyncio.to_thread(exposition, parts.telemetry, held, jobs)
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})


async def _free_space(request: web.Request) -> int | None:
    """Room on the disks; None if one is gone: the other metrics are wanted then, too."""
    try:
        return await gateway(request).archive.free_space()
    except OSError as error:
        log.warning("the disk cannot be asked for its room: %s", error)
        return None


async def live(request: web.Request) -> web.StreamResponse:
    """Whether the event loop turns: GET /health/live."""
    return live_at_once(request)


def live_at_once(request: web.Request) -> web.Response:
    """The same, which nothing is waited for."""
    return reply({"Status": "ok"})


async def ready(request: web.Request) -> web.StreamResponse:
    """Whether instances can be found and stored: GET /health/ready."""
    complaints = await gateway(request).archive.complaints()
    if monitor(request).telemetry.stopping:
        complaints.append("the server stops")
    if not complaints:
        return reply({"Status": "ok"})
    return reply(
        {"Status": "not ready", "Complaints": complaints},
        HTTPStatus.SERVICE_UNAVAILABLE,
    )


async def log_level(request: web.Request) -> web.StreamResponse:
    """How much is logged: GET /tools/log-level."""
    return _text(monitor(request).volume.word)


async def set_log_level(request: web.Request) -> web.StreamResponse:
    """Log more or less from now on, in all processes: PUT /tools/log-level."""
    word = b""
    async for chunk in body(request):
        word += chunk
        if len(word) > _LONGEST_WORD:
            raise BadRequest("the body is no log level")
    monitor(request).volume.turn(word.decode(errors="replace").strip())
    return _text("")


def _text(text: str) -> web.Response:
    return web.Response(text=text, content_type="text/plain")
