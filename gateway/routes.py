"""Every address of the gateway, on one page."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from gateway.dicomweb import (
    bulk,
    bulk_resources,
    capabilities,
    delete,
    frames,
    manual,
    metadata,
    page,
    pixel_resources,
    proxy,
    qido,
    rendered,
    stow,
    wado_rs,
    wado_uri,
)
from gateway.operations import operation_of
from gateway.orthanc import calls, files, jobs, monitoring, servers, system
from gateway.orthanc.routes import READ, WRITE
from gateway.web.prepared import given_at_once
from gateway.web.router import AtOnce, Begin, Handler, Route

_STUDY = "studies/{study}"
_SERIES = f"{_STUDY}/series/{{series}}"
_INSTANCE = f"{_SERIES}/instances/{{instance}}"

_READ: tuple[tuple[str, Handler], ...] = (
    ("", capabilities.describe),
    ("info", capabilities.info),
    ("studies", qido.studies),
    ("series", qido.series),
    ("instances", qido.instances),
    (f"{_STUDY}/series", qido.series),
    (f"{_STUDY}/instances", qido.instances),
    (f"{_SERIES}/instances", qido.instances),
    (_STUDY, wado_rs.retrieve),
    (_SERIES, wado_rs.retrieve),
    (_INSTANCE, wado_rs.retrieve),
    (f"{_STUDY}/metadata", metadata.metadata),
    (f"{_SERIES}/metadata", metadata.metadata),
    (f"{_INSTANCE}/metadata", metadata.metadata),
    (f"{_STUDY}/rendered", rendered.rendered),
    (f"{_SERIES}/rendered", rendered.rendered),
    (f"{_INSTANCE}/rendered", rendered.rendered),
    (f"{_INSTANCE}/frames", frames.retrieve),
    (f"{_INSTANCE}/frames/{{frames}}", frames.retrieve),
    (f"{_INSTANCE}/frames/{{frames}}/rendered", rendered.frames),
    (f"{_STUDY}/thumbnail", rendered.thumbnail),
    (f"{_SERIES}/thumbnail", rendered.thumbnail),
    (f"{_INSTANCE}/thumbnail", rendered.thumbnail),
    (f"{_INSTANCE}/frames/{{frames}}/thumbnail", rendered.frame_thumbnail),
    (f"{_STUDY}/bulkdata", bulk_resources.retrieve),
    (f"{_SERIES}/bulkdata", bulk_resources.retrieve),
    (f"{_INSTANCE}/bulkdata", bulk_resources.retrieve),
    (f"{_STUDY}/pixeldata", pixel_resources.retrieve),
    (f"{_SERIES}/pixeldata", pixel_resources.retrieve),
    (f"{_INSTANCE}/pixeldata", pixel_resources.retrieve),
    (f"{_INSTANCE}/bulk/{{path...}}", bulk.retrieve),
    ("app/client/index.html", page.client),
)

_WRITE: tuple[tuple[str, str, Handler], ...] = (
    ("POST", "studies", stow.store),
    ("POST", _STUDY, stow.store),
    ("DELETE", _STUDY, delete.delete),
    ("DELETE", _SERIES, delete.delete),
    ("DELETE", _INSTANCE, delete.delete),
)

_START = (
    Route("GET", "/openapi.json", capabilities.describe),
    Route("GET", "/", page.start),
    Route("GET", "/app/explorer.html", page.explorer),
    Route("GET", "/app/settings.json", page.settings),
    Route("GET", "/app/{path...}", page.file),
    Route("GET", "/docs", manual.start),
    Route("GET", "/docs/{path...}", manual.file),
    Route("OPTIONS", "/", capabilities.describe),
)

_MONITORING = (
    Route("GET", "/metrics", monitoring.metrics),
    Route("GET", "/tools/metrics-prometheus", monitoring.metrics),
    Route("GET", "/tools/log-level", monitoring.log_level),
    Route("PUT", "/tools/log-level", monitoring.set_log_level),
    Route("GET", "/health/live", monitoring.live, open_to_all=True),
    Route("GET", "/health/ready", monitoring.ready, open_to_all=True),
)

_SERVER = "servers/{name}"

_SERVERS: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "servers", servers.list_all),
    ("GET", _SERVER, servers.one),
    ("PUT", _SERVER, servers.put),
    ("DELETE", _SERVER, servers.delete),
    ("POST", f"{_SERVER}/get", calls.get),
    ("POST", f"{_SERVER}/qido", calls.qido),
    ("POST", f"{_SERVER}/stow", calls.stow),
    ("POST", f"{_SERVER}/delete", calls.delete),
)

_SERVERS_WRITE: tuple[tuple[str, str, Handler], ...] = (
    ("POST", f"{_SERVER}/wado", calls.wado),
    ("POST", f"{_SERVER}/retrieve", calls.retrieve),
)

# A segment that is fixed somewhere hides one that is named, so all are listed.
_PROXY: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "studies", proxy.read),
    ("GET", "series", proxy.read),
    ("GET", "instances", proxy.read),
    ("GET", "bulkdata/{path...}", proxy.read),
    ("GET", _STUDY, proxy.read),
    ("GET", f"{_STUDY}/{{path...}}", proxy.read),
    ("GET", f"{_STUDY}/series", proxy.read),
    ("GET", _SERIES, proxy.read),
    ("GET", f"{_SERIES}/{{path...}}", proxy.read),
    ("GET", f"{_SERIES}/instances", proxy.read),
    ("GET", _INSTANCE, proxy.read),
    ("GET", f"{_INSTANCE}/{{path...}}", proxy.read),
    ("POST", "studies", proxy.store),
    ("POST", _STUDY, proxy.store),
    ("DELETE", _STUDY, proxy.delete),
    ("DELETE", _SERIES, proxy.delete),
    ("DELETE", _INSTANCE, proxy.delete),
)

_JOBS = (
    Route("GET", "/jobs", jobs.list_all),
    Route("GET", "/jobs/{job_id}", jobs.one),
    Route("DELETE", "/jobs/{job_id}", jobs.delete),
    Route("GET", "/jobs/{job_id}/events", jobs.events),
    Route("POST", "/jobs/{job_id}/cancel", jobs.cancel),
    Route("POST", "/jobs/{job_id}/pause", jobs.pause),
    Route("POST", "/jobs/{job_id}/resume", jobs.resume),
    Route("POST", "/jobs/{job_id}/resubmit", jobs.resubmit),
)


#: What may be answered where the request arrives: handler, and the same without waiting.
_AT_ONCE: dict[Handler, AtOnce] = {
    jobs.one: jobs.one_at_once,
    monitoring.live: monitoring.live_at_once,
    system.system: system.system_at_once,
    qido.studies: given_at_once,
    qido.series: given_at_once,
    qido.instances: given_at_once,
    metadata.metadata: given_at_once,
    frames.retrieve: frames.frame_at_once,
    files.file: files.file_at_once,
}

#: What may be answered by and by: handler, and how the same begins.
_BEGIN: dict[Handler, Begin] = {
    qido.studies: qido.begin_studies,
    qido.series: qido.begin_series,
    qido.instances: qido.begin_instances,
}


def routes(
    root: str | None, *, wado_root: str | None = None, read_only: bool
) -> Iterator[Route]:
    """All routes; `root` is the path of the DICOMweb server, None to leave it out.

    `wado_root` is that of WADO-URI, likewise.
    """
    for route in _all(root, wado_root, read_only=read_only):
        yield replace(
            route,
            operation=operation_of(route.handler),
            at_once=_AT_ONCE.get(route.handler),
            begin=_BEGIN.get(route.handler),
        )


def _all(
    root: str | None, wado_root: str | None, *, read_only: bool
) -> Iterator[Route]:
    yield from _START
    yield from READ
    yield from _JOBS
    yield from _MONITORING
    if not read_only:
        yield from WRITE
    if wado_root is not None:
        yield Route("GET", wado_root, wado_uri.retrieve)
    if root is not None:
        yield from _dicom_web(root, read_only=read_only)


def _dicom_web(root: str, *, read_only: bool) -> Iterable[Route]:
    yield Route("OPTIONS", root, capabilities.describe)
    for pattern, handler in _READ:
        yield Route("GET", root + pattern, handler)
    # Where a call's answer leads to, taken as an address beside the call's own.
    yield Route("GET", f"{root}jobs/{{job_id}}", jobs.one)
    for method, pattern, handler in _SERVERS:
        yield Route(method, root + pattern, handler)
    for method, pattern, handler in _PROXY:
        yield Route(method, f"{root}{_SERVER}/{pattern}", handler)
    if not read_only:
        for method, pattern, handler in (*_WRITE, *_SERVERS_WRITE):
            yield Route(method, root + pattern, handler)
