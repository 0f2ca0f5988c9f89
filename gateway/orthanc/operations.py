"""What each handler of Orthanc's dialect does, for the description that clients get."""

from gateway.orthanc import (
    archives,
    attachments,
    changes,
    descriptions,
    files,
    media,
    notes,
    pictures,
    resources,
    search,
    system,
    tools,
    upload,
)
from gateway.web.router import Handler, Operation

_JSON = "application/json"
_TEXT = "text/plain"
_OCTETS = "application/octet-stream"
_DICOM = "application/dicom"
_ZIP = "application/zip"
_PICTURES = ("image/png", "image/jpeg", "image/x-portable-arbitrarymap")

_CONDITIONAL = (200, 304, 404)
_RANGES = (200, 206, 304, 404, 412, 416)
_VIEW = ("full", "short", "simplify", "requested-tags")
_MANNER = ("full", "short", "simplify", "ignore-length")


def _json(summary: str, *query: str) -> Operation:
    return Operation(summary, query, produces=(_JSON,))


def _text(summary: str, *statuses: int) -> Operation:
    return Operation(summary, produces=(_TEXT,), statuses=(200, 404, *statuses))


def _question(summary: str, takes: str = _JSON) -> Operation:
    return Operation(
        summary,
        consumes=(takes,),
        produces=(_JSON,),
        statuses=(200, 408, 413, 415),
    )


def _setting(summary: str, *statuses: int) -> Operation:
    return Operation(
        summary,
        consumes=(_TEXT,),
        produces=(_TEXT,),
        statuses=(200, 404, 408, 413, 415, *statuses),
    )


OPERATIONS: dict[Handler, Operation] = {
    system.system: Operation("What this is", produces=(_JSON,), statuses=(200,)),
    system.statistics: Operation(
        "How much is held", produces=(_JSON,), statuses=(200,)
    ),
    system.health: Operation(
        "Whether it works", produces=(_JSON,), statuses=(200, 503)
    ),
    system.plugins: _json("What is a plugin in Orthanc"),
    system.plugin: _json("What is told of a plugin"),
    upload.upload: Operation(
        "Store a DICOM file, or those in a zip",
        consumes=(_DICOM, _ZIP),
        produces=(_JSON,),
        statuses=(200, 404, 408, 409, 413, 415, 507),
    ),
    resources.list_all: _json(
        "Orthanc's identifiers of all resources, or what is known of them",
        *("since", "limit", "expand", *_VIEW),
    ),
    resources.one: _json("What is known of a resource", *_VIEW),
    resources.children: _json("What is below a resource", "expand", *_VIEW),
    resources.parent: _json("What a resource belongs to", *_VIEW),
    resources.refresh: _json("See to it that metadata are as the files are"),
    resources.statistics: _json("How much is below a resource"),
    resources.delete: _json("Delete a resource and what is below it"),
    descriptions.tags: _json("All attributes of an instance", *_MANNER),
    descriptions.simplified: _json("All attributes by their names", "ignore-length"),
    descriptions.header: _json("The file meta information", *_MANNER[:3]),
    descriptions.shared: _json("What all instances below agree in", *_MANNER),
    descriptions.module: _json("The same of the module of the level", *_MANNER),
    descriptions.of_instances: _json("The attributes of each instance", *_MANNER),
    files.file: Operation(
        "An instance's DICOM file",
        ("transcode", "accept"),
        produces=(_DICOM, "application/dicom+json", "application/dicom+xml"),
        statuses=_RANGES,
    ),
    files.content: Operation(
        "A value as it lies in the file, or what there is",
        produces=(_OCTETS, _JSON),
        statuses=(*_RANGES, 413),
    ),
    files.pdf: Operation(
        "The document in an instance", produces=("application/pdf",), statuses=_RANGES
    ),
    pictures.frames: _json("The numbers of the frames, from 0"),
    pictures.frame: _json("What there is of a frame"),
    pictures.picture: Operation(
        "A picture of a frame",
        ("accept", "width", "height", "window-center", "window-width", "quality"),
        produces=_PICTURES,
        statuses=(*_CONDITIONAL, 413),
    ),
    pictures.numbers: Operation(
        "The values of frames for NumPy",
        ("rescale", "compress"),
        produces=(_OCTETS,),
        statuses=(200, 404, 413),
    ),
    pictures.matlab: _text("The values of a frame for MATLAB", 413),
    pictures.raw: Operation(
        "A frame as it is stored", produces=(_OCTETS, "application/gzip")
    ),
    notes.list_metadata: _json("What is kept beside a resource", "expand"),
    notes.get_metadata: _text("One thing that is kept beside a resource"),
    notes.put_metadata: _setting("Write beside a resource", 403, 409),
    notes.delete_metadata: _text("Take away what was written", 403, 409),
    notes.list_labels: _json("The labels of a resource"),
    notes.get_label: _text("Whether a resource has a label"),
    notes.put_label: _text("Put a label on a resource"),
    notes.delete_label: _text("Take a label away"),
    notes.all_labels: _json("The labels that any resource has"),
    notes.get_protected: _text("Whether a patient stays when room is made"),
    notes.put_protected: _setting("Let a patient stay when room is made"),
    attachments.list_all: _json("The names of the attachments", "full"),
    attachments.questions: _json("What can be asked of an attachment"),
    attachments.data: Operation(
        "The bytes of an attachment", produces=(_DICOM,), statuses=_RANGES
    ),
    attachments.answer: _text("A property of an attachment"),
    attachments.info: _json("All properties of an attachment"),
    archives.of_resource: Operation(
        "All files of a resource as a zip", produces=(_ZIP,)
    ),
    archives.of_several: Operation(
        "All files of some resources as a zip", ("resources",), produces=(_ZIP,)
    ),
    media.of_resource: Operation(
        "All files of a resource for a medium, as a zip",
        produces=(_ZIP,),
        statuses=(200, 404, 413),
    ),
    search.find: _question("Find resources"),
    search.count: _question("Count what is found"),
    search.lookup: _question("What has a PatientID or UID", _TEXT),
    changes.list_all: _json("What happened", "since", "limit", "to", "type", "last"),
    changes.clear: _text("Forget what happened"),
    changes.exports: _json("What was sent to modalities"),
    changes.clear_exports: _text("Forget what was sent"),
    tools.names: _json("What tools there are"),
    tools.now: _text("The time in UTC"),
    tools.now_local: _text("The time where the server is"),
    tools.generate_uid: Operation("A new identifier", ("level",), produces=(_TEXT,)),
    tools.default_encoding: _text("The character set of files that name none"),
    tools.set_default_encoding: _setting("Not changed here", 403),
    tools.bulk_delete: Operation(
        "Delete resources of any level",
        consumes=(_JSON,),
        produces=(_TEXT,),
        statuses=(200, 408, 413, 415),
    ),
    tools.refuse_script: Operation("No script is run here", statuses=(403,)),
    tools.shut_down: Operation(
        "End the server", produces=(_JSON,), statuses=(200, 403)
    ),
    tools.reset: Operation(
        "Start the server anew", produces=(_JSON,), statuses=(200, 403)
    ),
}
