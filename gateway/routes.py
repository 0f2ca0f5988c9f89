"""Every address of the gateway, on one page."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from gateway.dicomweb import (
    bulk,
    capabilities,
    delete,
    frames,
    manual,
    metadata,
    page,
    qido,
    rendered,
    stow,
    wado_rs,
    wado_uri,
)
from gateway.operations import operation_of
from gateway.orthanc import instances, system, upload
from gateway.web.router import Handler, Route

_STUDY = "studies/{study}"
_SERIES = f"{_STUDY}/series/{{series}}"
_INSTANCE = f"{_SERIES}/instances/{{instance}}"

_READ: tuple[tuple[str, Handler], ...] = (
    ("", capabilities.describe),
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

_ORTHANC_READ = (
    Route("GET", "/system", system.system),
    Route("GET", "/statistics", system.statistics),
    Route("GET", "/instances", instances.list_all),
    Route("GET", "/instances/{orthanc_id}", instances.one),
    Route("GET", "/instances/{orthanc_id}/file", instances.file),
    Route("GET", "/health", system.health, open_to_all=True),
    Route("GET", "/openapi.json", capabilities.describe),
    Route("GET", "/", page.start),
    Route("GET", "/app/explorer.html", page.explorer),
    Route("GET", "/app/settings.json", page.settings),
    Route("GET", "/app/{path...}", page.file),
    Route("GET", "/docs", manual.start),
    Route("GET", "/docs/{path...}", manual.file),
    Route("OPTIONS", "/", capabilities.describe),
)

_ORTHANC_WRITE = (
    Route("POST", "/instances", upload.upload),
    Route("DELETE", "/instances/{orthanc_id}", instances.delete),
)


def routes(
    root: str | None, *, wado_root: str | None = None, read_only: bool
) -> Iterator[Route]:
    """All routes; `root` is the path of the DICOMweb server, None to leave it out.

    `wado_root` is that of WADO-URI, likewise.
    """
    for route in _all(root, wado_root, read_only=read_only):
        yield replace(route, operation=operation_of(route.handler))


def _all(
    root: str | None, wado_root: str | None, *, read_only: bool
) -> Iterator[Route]:
    yield from _ORTHANC_READ
    if not read_only:
        yield from _ORTHANC_WRITE
    if wado_root is not None:
        yield Route("GET", wado_root, wado_uri.retrieve)
    if root is not None:
        yield from _dicom_web(root, read_only=read_only)


def _dicom_web(root: str, *, read_only: bool) -> Iterable[Route]:
    yield Route("OPTIONS", root, capabilities.describe)
    for pattern, handler in _READ:
        yield Route("GET", root + pattern, handler)
    if not read_only:
        for method, pattern, handler in _WRITE:
            yield Route(method, root + pattern, handler)
