"""Every address of Orthanc's REST dialect."""

from collections.abc import Iterator

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
from gateway.web.router import Handler, Route

_LEVELS = ("patients", "studies", "series", "instances")
_ABOVE = {
    "studies": ("patient",),
    "series": ("patient", "study"),
    "instances": ("patient", "study", "series"),
}

#: Below the identifier of a resource of any level.
_OF_ANY: tuple[tuple[str, Handler], ...] = (
    ("", resources.one),
    ("statistics", resources.statistics),
    ("module", descriptions.module),
    ("metadata", notes.list_metadata),
    ("metadata/{name}", notes.get_metadata),
    ("labels", notes.list_labels),
    ("labels/{label}", notes.get_label),
    ("attachments", attachments.list_all),
    ("attachments/{name}", attachments.questions),
    ("attachments/{name}/data", attachments.data),
    ("attachments/{name}/compressed-data", attachments.data),
    ("attachments/{name}/size", attachments.answer),
    ("attachments/{name}/compressed-size", attachments.answer),
    ("attachments/{name}/md5", attachments.answer),
    ("attachments/{name}/compressed-md5", attachments.answer),
    ("attachments/{name}/is-compressed", attachments.answer),
    ("attachments/{name}/info", attachments.info),
)

#: Of patients, studies and series alone.
_OF_SEVERAL: tuple[tuple[str, Handler], ...] = (
    ("shared-tags", descriptions.shared),
    ("instances-tags", descriptions.of_instances),
    ("archive", archives.of_resource),
    ("media", media.of_resource),
)

_OF_INSTANCES: tuple[tuple[str, Handler], ...] = (
    ("file", files.file),
    ("content", files.content),
    ("content/{path...}", files.content),
    ("pdf", files.pdf),
    ("tags", descriptions.tags),
    ("simplified-tags", descriptions.simplified),
    ("header", descriptions.header),
    ("frames", pictures.frames),
    ("frames/{frame}", pictures.frame),
    ("frames/{frame}/raw", pictures.raw),
    ("frames/{frame}/raw.gz", pictures.raw),
)

#: Of an instance, which is its first frame, and of each frame.
_OF_FRAMES: tuple[tuple[str, Handler], ...] = (
    ("preview", pictures.picture),
    ("rendered", pictures.picture),
    ("image-uint8", pictures.picture),
    ("image-uint16", pictures.picture),
    ("image-int16", pictures.picture),
    ("numpy", pictures.numbers),
    ("matlab", pictures.matlab),
)

_TOOLS: tuple[tuple[str, Handler], ...] = (
    ("/system", system.system),
    ("/statistics", system.statistics),
    ("/plugins", system.plugins),
    ("/plugins/{name}", system.plugin),
    ("/changes", changes.list_all),
    ("/exports", changes.exports),
    ("/tools", tools.names),
    ("/tools/now", tools.now),
    ("/tools/now-local", tools.now_local),
    ("/tools/generate-uid", tools.generate_uid),
    ("/tools/default-encoding", tools.default_encoding),
    ("/tools/labels", notes.all_labels),
    ("/tools/create-archive", archives.of_several),
)

#: Questions with a body: they change nothing, so they are there without writing, too.
_ASKING: tuple[tuple[str, Handler], ...] = (
    ("/tools/find", search.find),
    ("/tools/count-resources", search.count),
    ("/tools/lookup", search.lookup),
    ("/tools/create-archive", archives.of_several),
    ("/tools/execute-script", tools.refuse_script),
)


def _read() -> Iterator[Route]:
    for path, handler in _TOOLS:
        yield Route("GET", path, handler)
    for path, handler in _ASKING:
        yield Route("POST", path, handler)
    yield Route("GET", "/health", system.health, open_to_all=True)
    for place, level in enumerate(_LEVELS):
        one = f"/{level}/{{orthanc_id}}"
        yield Route("GET", f"/{level}", resources.list_all)
        for path, handler in _OF_ANY:
            yield Route("GET", f"{one}/{path}", handler)
        for below in _LEVELS[place + 1 :]:
            yield Route("GET", f"{one}/{below}", resources.children)
        for above in _ABOVE.get(level, ()):
            yield Route("GET", f"{one}/{above}", resources.parent)
    yield from _read_of_levels()


def _read_of_levels() -> Iterator[Route]:
    for level in _LEVELS[:3]:
        one = f"/{level}/{{orthanc_id}}"
        for path, handler in _OF_SEVERAL:
            yield Route("GET", f"{one}/{path}", handler)
        yield Route("POST", f"{one}/archive", archives.of_resource)
        yield Route("POST", f"{one}/media", media.of_resource)
    instance = "/instances/{orthanc_id}"
    for path, handler in _OF_INSTANCES:
        yield Route("GET", f"{instance}/{path}", handler)
    for path, handler in _OF_FRAMES:
        yield Route("GET", f"{instance}/{path}", handler)
        yield Route("GET", f"{instance}/frames/{{frame}}/{path}", handler)
    yield Route("GET", "/patients/{orthanc_id}/protected", notes.get_protected)
    yield Route("GET", "/studies/{orthanc_id}/module-patient", descriptions.module)


def _write() -> Iterator[Route]:
    yield Route("POST", "/instances", upload.upload)
    path = "/studies/{orthanc_id}/update-dicomweb-cache"
    yield Route("POST", path, resources.refresh)
    for level in _LEVELS:
        one = f"/{level}/{{orthanc_id}}"
        yield Route("DELETE", one, resources.delete)
        yield Route("PUT", f"{one}/metadata/{{name}}", notes.put_metadata)
        yield Route("DELETE", f"{one}/metadata/{{name}}", notes.delete_metadata)
        yield Route("PUT", f"{one}/labels/{{label}}", notes.put_label)
        yield Route("DELETE", f"{one}/labels/{{label}}", notes.delete_label)
    yield Route("PUT", "/patients/{orthanc_id}/protected", notes.put_protected)
    yield Route("POST", "/tools/bulk-delete", tools.bulk_delete)
    yield Route("PUT", "/tools/default-encoding", tools.set_default_encoding)
    yield Route("POST", "/tools/shutdown", tools.shut_down)
    yield Route("POST", "/tools/reset", tools.reset)
    yield Route("DELETE", "/changes", changes.clear)
    yield Route("DELETE", "/exports", changes.clear_exports)


READ = tuple(_read())
WRITE = tuple(_write())
