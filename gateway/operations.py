"""What each handler does: the other half of every line of the routes.

``routes`` says where a handler is, this page what is asked of it and what comes back. The
description that clients get of the gateway is made from both, and a test holds that no
handler is missing here.
"""

from gateway.dicomweb import (
    bulk,
    capabilities,
    delete,
    frame_types,
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
from gateway.orthanc import instances, system, upload
from gateway.web.router import NOT_DESCRIBED, Handler, Operation

_DICOM_JSON = "application/dicom+json"
_JSON = "application/json"
_RELATED = "multipart/related"
_XML = "application/dicom+xml"
_OCTETS = "application/octet-stream"
_PICTURES = ("image/jpeg", "image/png", "image/gif", "image/jp2")
_SHOWN = (
    *(*_PICTURES, "video/mp4", "video/mpeg", "video/H265", "application/pdf"),
    *("text/html", "text/plain", "text/xml", "model/stl", "model/obj", "model/mtl"),
)

_CONDITIONAL = (200, 304, 404)
_RANGES = (200, 206, 304, 404, 412, 416)

_SEARCH_FOR = (
    *("limit", "offset", "includefield", "fuzzymatching", "emptyvaluematching"),
    *("multiplevaluematching", "PatientName", "PatientID", "StudyDate", "StudyTime"),
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


_STORE = Operation(
    "Store instances",
    ("accept",),
    consumes=(_RELATED, "application/dicom"),
    produces=(_DICOM_JSON, _XML),
    statuses=(200, 202, 404, 408, 409, 413, 415, 507),
)
_UPLOAD = Operation(
    "Store a DICOM file, or those in a zip",
    consumes=("application/dicom", "application/zip"),
    produces=(_JSON,),
    statuses=(200, 404, 408, 409, 413, 415, 507),
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
        produces=(_RELATED, "application/dicom"),
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
        produces=(_RELATED, _OCTETS),
        statuses=_RANGES,
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
    system.system: Operation("What this is", produces=(_JSON,), statuses=(200,)),
    system.statistics: Operation(
        "How much is held", produces=(_JSON,), statuses=(200,)
    ),
    system.health: Operation(
        "Whether it works", produces=(_JSON,), statuses=(200, 503)
    ),
    instances.list_all: Operation(
        "Orthanc's identifiers of all instances",
        ("since", "limit"),
        produces=(_JSON,),
        statuses=(200,),
    ),
    instances.one: Operation("An instance and its parents", produces=(_JSON,)),
    instances.file: Operation(
        "An instance's DICOM file", produces=("application/dicom",), statuses=_RANGES
    ),
    instances.delete: Operation("Delete an instance", produces=(_JSON,)),
    upload.upload: _UPLOAD,
}


def operation_of(handler: Handler) -> Operation:
    """What a handler does."""
    return OPERATIONS.get(handler, NOT_DESCRIBED)
