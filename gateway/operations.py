"""What each handler does: the other half of every line of the routes.

``routes`` says where a handler is, this page what is asked of it and what comes back. The
description that clients get of the gateway is made from both, and a test holds that no
handler is missing here.
"""

from gateway.dicomweb import (
    bulk,
    bulk_resources,
    capabilities,
    delete,
    frame_types,
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
from gateway.orthanc import calls, jobs, monitoring, servers
from gateway.orthanc import operations as orthanc
from gateway.web.router import NOT_DESCRIBED, Handler, Operation

_DICOM_JSON = "application/dicom+json"
_JSON = "application/json"
_RELATED = "multipart/related"
_XML = "application/dicom+xml"
_OCTETS = "application/octet-stream"
_TEXT = "text/plain"
_PICTURES = ("image/jpeg", "image/png", "image/gif", "image/jp2")
_VIDEOS = ("video/mp4", "video/mpeg", "video/H265")
_SHOWN = (
    *(*_PICTURES, *_VIDEOS, "application/pdf"),
    *("text/html", "text/plain", "text/xml", "model/stl", "model/obj", "model/mtl"),
)

_CONDITIONAL = (200, 304, 404)
_ACTION = (200, 404, 409)
_RANGES = (200, 206, 304, 404, 412, 416)
_SOME = (200, 206, 304, 404)

_SEARCH_FOR = (
    *("limit", "offset", "includefield", "fuzzymatching", "emptyvaluematching"),
    *("multiplevaluematching", "orderby", "PatientName", "PatientID"),
    *("StudyDate", "StudyTime"),
    *("AccessionNumber", "ModalitiesInStudy", "ReferringPhysicianName", "StudyID"),
    *("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "Modality"),
    *("SeriesNumber", "InstanceNumber", "SOPClassUID", "accept"),
)
_RENDERING = (*("accept", "annotation", "quality", "viewport", "window", "iccprofile"),)
_WADO_URI = (
    *("requestType", "studyUID", "seriesUID", "objectUID", "contentType", "charset"),
    *("anonymize", "annotation", "rows", "columns", "region", "windowCenter"),
    *("windowWidth", "frameNumber", "imageQuality", "presentationUID"),
    *("presentationSeriesUID", "transferSyntax", "iccprofile"),
)


def _search(what: str) -> Operation:
    return Operation(
        f"Search for {what}",
        _SEARCH_FOR,
        produces=(_DICOM_JSON, _RELATED),
        statuses=(200, 304),
    )


def _picture(what: str) -> Operation:
    return Operation(
        what, _RENDERING, produces=(*_SHOWN, _RELATED), statuses=(*_RANGES, 413)
    )


def _call(what: str, answer: str) -> Operation:
    return Operation(
        what,
        consumes=(_JSON,),
        produces=(answer,),
        statuses=(200, 404, 409, 413, 502, 504, 507),
    )


_STORE = Operation(
    "Store instances",
    ("accept",),
    consumes=(_RELATED, "application/dicom"),
    produces=(_DICOM_JSON, _XML),
    statuses=(200, 202, 404, 408, 409, 413, 415, 507),
)
_DESCRIBE = Operation(
    "What there is here",
    ("accept",),
    produces=capabilities.KINDS,
    statuses=(200,),
)

OPERATIONS: dict[Handler, Operation] = {
    qido.studies: _search("studies"),
    qido.series: _search("series"),
    qido.instances: _search("instances"),
    wado_rs.retrieve: Operation(
        "Retrieve instances as DICOM files",
        ("accept",),
        produces=(_RELATED, "application/dicom", "application/zip"),
        statuses=_RANGES,
    ),
    metadata.metadata: Operation(
        "Retrieve metadata",
        ("accept",),
        produces=(_DICOM_JSON, _RELATED),
        statuses=_CONDITIONAL,
    ),
    bulk.retrieve: Operation(
        "Retrieve a value that metadata refers to",
        ("accept",),
        produces=(_RELATED, _OCTETS, *_VIDEOS),
        statuses=_RANGES,
    ),
    bulk_resources.retrieve: Operation(
        "Retrieve all values that metadata refers to",
        ("accept",),
        produces=(_RELATED,),
        statuses=_SOME,
    ),
    pixel_resources.retrieve: Operation(
        "Retrieve all pixel data, frame by frame",
        ("accept",),
        produces=(_RELATED,),
        statuses=_SOME,
    ),
    rendered.rendered: _picture("Retrieve pictures, or a document, to be shown"),
    frames.retrieve: Operation(
        "Retrieve frames",
        ("accept",),
        produces=(_OCTETS, _RELATED, *frame_types.SYNTAXES),
        statuses=_RANGES,
    ),
    rendered.frames: _picture("Retrieve pictures of frames"),
    rendered.thumbnail: _picture("Retrieve a small picture"),
    rendered.frame_thumbnail: _picture("Retrieve a small picture of a frame"),
    wado_uri.retrieve: Operation(
        "Retrieve an instance, as its file or to be shown (WADO-URI)",
        _WADO_URI,
        produces=("application/dicom", *_SHOWN),
        statuses=(*_RANGES, 413),
    ),
    stow.store: _STORE,
    delete.delete: Operation("Delete instances", statuses=(204, 404)),
    capabilities.describe: _DESCRIBE,
    page.start: Operation(
        "The page for people, or what there is here",
        ("accept",),
        produces=("text/html", *capabilities.KINDS),
        statuses=(200, 304),
    ),
    page.client: Operation(
        "The page for people", produces=("text/html",), statuses=(200, 304)
    ),
    page.file: Operation(
        "A file of the page",
        produces=("text/javascript", "text/css", "image/svg+xml", "text/plain"),
        statuses=_CONDITIONAL,
    ),
    manual.start: Operation(
        "The manual", produces=("text/html",), statuses=(200, 304, 307, 404)
    ),
    manual.file: Operation(
        "A page of the manual, or a file that it needs",
        produces=("text/html", "text/css", "text/javascript", "image/png"),
        statuses=_CONDITIONAL,
    ),
    page.explorer: Operation("Leads to the page", statuses=(307,)),
    page.settings: Operation(
        "What the page may know", produces=(_JSON,), statuses=(200,)
    ),
    capabilities.info: Operation(
        "Where the DICOMweb server is", produces=(_JSON,), statuses=(200,)
    ),
    **orthanc.OPERATIONS,
    monitoring.metrics: Operation("Metrics for Prometheus", produces=(_TEXT,)),
    monitoring.live: Operation(
        "Whether the process is alive", produces=(_JSON,), statuses=(200,)
    ),
    monitoring.ready: Operation(
        "Whether instances can be found and stored",
        produces=(_JSON,),
        statuses=(200, 503),
    ),
    monitoring.log_level: Operation(
        "How much is logged", produces=(_TEXT,), statuses=(200,)
    ),
    monitoring.set_log_level: Operation(
        "Log more or less: default, verbose or trace",
        consumes=(_TEXT,),
        produces=(_TEXT,),
        statuses=(200, 400),
    ),
    servers.list_all: Operation(
        "Names of the remote servers, or what is known of them",
        ("expand",),
        produces=(_JSON,),
        statuses=(200,),
    ),
    servers.one: Operation("What may be asked of a remote server", produces=(_JSON,)),
    servers.put: Operation(
        "Add or replace a remote server",
        consumes=(_JSON,),
        produces=(_JSON,),
        statuses=(200, 413),
    ),
    servers.delete: Operation("Remove a remote server", produces=(_JSON,)),
    calls.get: _call("Get what is at an address of a remote server", "*/*"),
    calls.qido: _call("Search at a remote server", _JSON),
    calls.delete: _call("Delete at a remote server", _JSON),
    calls.stow: _call("Send instances to a remote server, as a job", _JSON),
    calls.wado: _call("Fetch from an address of a remote server, as a job", _JSON),
    calls.retrieve: _call("Fetch from a remote server, as a job", _JSON),
    proxy.read: Operation(
        "Search or retrieve at a remote server, as if it were here",
        ("accept",),
        produces=("*/*",),
        statuses=(*_RANGES, 406, 502, 504),
    ),
    proxy.store: Operation(
        "Store instances at a remote server",
        ("accept",),
        consumes=(_RELATED, "application/dicom"),
        produces=(_DICOM_JSON, _XML),
        statuses=(200, 202, 404, 408, 409, 413, 415, 502, 504, 507),
    ),
    proxy.delete: Operation(
        "Delete at a remote server that allows it",
        produces=("*/*",),
        statuses=(204, 403, 404, 502, 504),
    ),
    jobs.list_all: Operation(
        "Identifiers of all jobs, or the jobs",
        ("expand",),
        produces=(_JSON,),
        statuses=(200, 304),
    ),
    jobs.one: Operation(
        "How far a job is",
        ("wait", "since"),
        produces=(_JSON,),
        statuses=(200, 304, 400, 404),
    ),
    jobs.events: Operation(
        "Every change of a job, as it comes",
        ("since",),
        produces=("text/event-stream",),
        statuses=(200, 204, 400, 404),
    ),
    jobs.delete: Operation(
        "Forget a finished job", produces=(_JSON,), statuses=_ACTION
    ),
    jobs.cancel: Operation("End a job", produces=(_JSON,), statuses=(200, 404)),
    jobs.pause: Operation("Stop a job", produces=(_JSON,), statuses=(200, 404)),
    jobs.resume: Operation(
        "Let a paused job go on", produces=(_JSON,), statuses=_ACTION
    ),
    jobs.resubmit: Operation(
        "Do a failed job again", produces=(_JSON,), statuses=_ACTION
    ),
}


def operation_of(handler: Handler) -> Operation:
    """What a handler does."""
    return OPERATIONS.get(handler, NOT_DESCRIBED)
