"""Patients, studies, series and instances: lists, one, what is above and below, deletion.

The four levels have the same routes; the first part of the path tells which it is.
"""

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from gateway.catalogue import Resource
from gateway.dicom.functional import whole
from gateway.dicom.hierarchy import Attributes, Level, is_uid
from gateway.errors import NotFound
from gateway.orthanc.answers import flag, joined, reply, window
from gateway.orthanc.tags import LONGEST_TEXT, Manner, named_tag, shown, text_of
from gateway.web.context import gateway

TYPES = {
    Level.PATIENT: "Patient",
    Level.STUDY: "Study",
    Level.SERIES: "Series",
    Level.INSTANCE: "Instance",
}
PATHS = {
    Level.PATIENT: "patients",
    Level.STUDY: "studies",
    Level.SERIES: "series",
    Level.INSTANCE: "instances",
}
_LEVELS = {path: level for level, path in PATHS.items()}
_PARENTS = {
    "patient": Level.PATIENT,
    "study": Level.STUDY,
    "series": Level.SERIES,
}
_CHILDREN = {
    Level.PATIENT: "Studies",
    Level.STUDY: "Series",
    Level.SERIES: "Instances",
}

#: The attributes that Orthanc shows of each level ("main DICOM tags").
MAIN_TAGS = {
    Level.PATIENT: ("00100010", "00100020", "00100030", "00100040", "00101000"),
    Level.STUDY: (
        *("00080020", "00080030", "00080050", "00080080", "00080090", "00080201"),
        *("00081030", "0020000D", "00200010", "00321032", "00321060"),
    ),
    Level.SERIES: (
        *("00080021", "00080031", "00080060", "00080070", "00080201", "00081010"),
        *("0008103E", "00081070", "00180010", "00180015", "00180024", "00181030"),
        *("00181090", "00181400", "0020000E", "00200011", "00200037", "00200105"),
        *("00201002", "00400244", "00400245", "00400254", "00400275", "00540081"),
        *("00540101", "00541000"),
    ),
    Level.INSTANCE: (
        *("00080012", "00080013", "00080018", "00200012", "00200013", "00200032"),
        *("00200037", "00200100", "00204000", "00280008", "00541330"),
    ),
}


@dataclass(frozen=True, slots=True)
class View:
    """How resources are shown."""

    manner: Manner = Manner.SIMPLE
    requested: tuple[str, ...] = ()  # tags to show beside the usual ones

    def bytes_of(self, resource: Resource) -> bytes:
        """The resource as JSON."""
        return orjson.dumps(self.of(resource))

    def of(self, resource: Resource) -> dict[str, Any]:
        """All that is told of a resource."""
        level = resource.level
        told: dict[str, Any] = {
            "ID": resource.orthanc_id,
            "Labels": list(resource.labels),
            "MainDicomTags": self.main_tags(resource, level),
            "Type": TYPES[level],
        }
        if level is Level.INSTANCE:
            told["FileSize"] = resource.size
            told["FileUuid"] = resource.blob
            told["IndexInSeries"] = resource.numbers[0] if resource.numbers else None
        else:
            told["IsStable"] = resource.is_stable
            told["LastUpdate"] = resource.updated
            told[_CHILDREN[level]] = list(resource.children)
        if level is Level.PATIENT:
            told["IsProtected"] = resource.is_protected
        else:
            told[f"Parent{TYPES[Level(level - 1)]}"] = resource.parent
        if level is Level.STUDY:
            told["PatientMainDicomTags"] = self.main_tags(resource, Level.PATIENT)
        if level is Level.SERIES:
            told |= _completeness(resource)
        if self.requested:
            told["RequestedTags"] = self._requested(resource)
        return dict(sorted(told.items()))

    def main_tags(self, resource: Resource, level: Level) -> dict[str, Any]:
        """Orthanc's main tags of a level."""
        held = resource.header | resource.attributes
        found = {tag: held[tag] for tag in MAIN_TAGS[level] if tag in held}
        return shown(
            {tag: element for tag, element in found.items() if _is_short(element)},
            self.manner,
        )

    def _requested(self, resource: Resource) -> dict[str, Any]:
        held = resource.header | resource.attributes | _counted(resource)
        found: Attributes = {tag: held.get(tag, {}) for tag in sorted(self.requested)}
        known = {tag: element for tag, element in found.items() if element}
        own = {
            tag
            for level in Level
            if level <= resource.level
            for tag in MAIN_TAGS[level]
        }
        missing = {tag: {"vr": "OB"} for tag in found if tag not in own.union(known)}
        return shown(known | missing, self.manner)


def _is_short(element: dict[str, Any]) -> bool:
    """Whether an element is shown among the main ones: short text, or none at all."""
    text = None if element.get("vr") == "SQ" else text_of(element)
    return text is not None and len(text) <= LONGEST_TEXT


def _counted(resource: Resource) -> Attributes:
    """What is no attribute of any file: what there is below."""

    def count(value: int) -> dict[str, Any]:
        return {"vr": "IS", "Value": [value]}

    children = count(len(resource.children))
    if resource.level is Level.PATIENT:
        return {
            "00201200": children,
            "00201202": count(resource.series),
            "00201204": count(resource.count),
        }
    if resource.level is Level.SERIES:
        return {"00201209": children}
    if resource.level is Level.STUDY:
        modalities = resource.modalities.split("\\")
        return {
            "00080061": {"vr": "CS", "Value": modalities},
            "00080062": {"vr": "UI", "Value": resource.sop_class.split("\\")},
            "00201206": children,
            "00201208": count(resource.count),
        }
    return {"00080056": {"vr": "CS", "Value": ["ONLINE"]}}


def _completeness(series: Resource) -> dict[str, Any]:
    """How many instances a series says it has, and whether they are here."""
    expected = _product(series.attributes, "00201002", "00200105") or _product(
        series.attributes, "00540081", "00540101"
    )
    return {
        "ExpectedNumberOfInstances": expected,
        "Status": _status(series.numbers, expected) if expected else "Unknown",
    }


def _product(attributes: Attributes, first: str, second: str) -> int | None:
    if first not in attributes or second not in attributes:
        return None
    return whole(attributes, first) * whole(attributes, second) or None


def _status(numbers: tuple[int | None, ...], expected: int) -> str:
    if len(set(numbers)) < len(numbers):
        return "Inconsistent"
    if any(number is None or not 0 < number <= expected for number in numbers):
        return "Inconsistent"
    return "Complete" if len(numbers) == expected else "Missing"


# -- what a request says -----------------------------------------------------------------


def level_of(request: web.Request) -> Level:
    """The level that the address is about."""
    return _LEVELS[next(filter(None, request.rel_url.raw_path.split("/")))]


def last_part(request: web.Request) -> str:
    """The last part of the address, which names what is wanted."""
    return list(filter(None, request.rel_url.raw_path.split("/")))[-1]


def manner_of(request: web.Request, otherwise: Manner) -> Manner:
    """How the request wants attributes to be shown."""
    for manner in Manner:
        if flag(request, manner.value):
            return manner
    return otherwise


def view_of(request: web.Request) -> View:
    """How the request wants resources to be shown; raises BadRequest."""
    names = request.query.get("requested-tags", request.query.get("requestedTags", ""))
    tags = tuple(named_tag(name) for name in names.split(";") if name.strip())
    return View(manner_of(request, Manner.SIMPLE), tags)


async def resource_of(
    request: web.Request, orthanc_id: str, *, header: bool = False
) -> Resource:
    """The resource of an address; raises NotFound."""
    parts, level = gateway(request), level_of(request)
    try:
        return await parts.archive.catalogue.resource(level, orthanc_id, header=header)
    except NotFound as error:
        if not is_uid(orthanc_id):
            raise
        root = parts.settings.dicom_web.root
        raise NotFound(f"{error}; the DICOMweb server is at {root}") from None


# -- lists and objects -------------------------------------------------------------------


async def list_all(request: web.Request) -> web.StreamResponse:
    """Identifiers, oldest first, or objects: GET /studies?expand&since=&limit=."""
    catalogue = gateway(request).archive.catalogue
    level, view = level_of(request), view_of(request)
    since, limit = window(request)
    if flag(request, "expand"):
        found = catalogue.resources(
            level, view.bytes_of, since, limit, header=bool(view.requested)
        )
        async with aclosing(found):
            return await joined(request, found)
    async with aclosing(catalogue.identifiers(level, since, limit)) as names:
        return await joined(request, _quoted(names))


async def _quoted(groups: Any) -> Any:
    async for group in groups:
        yield [orjson.dumps(name) for name in group]


async def one(request: web.Request, orthanc_id: str) -> web.StreamResponse:
    """What is known of a resource: GET /studies/{id}."""
    view = view_of(request)
    found = await resource_of(request, orthanc_id, header=bool(view.requested))
    return reply(view.of(found))


async def children(request: web.Request, orthanc_id: str) -> web.StreamResponse:
    """What is below a resource: GET /patients/{id}/series, expanded unless not wanted."""
    resource = await resource_of(request, orthanc_id)
    view = view_of(request)
    present: Callable[[Resource], bytes] = view.bytes_of
    if not flag(request, "expand", True):
        present = _identifier
    found = gateway(request).archive.catalogue.related(
        resource, _LEVELS[last_part(request)], present, header=bool(view.requested)
    )
    async with aclosing(found):
        return await joined(request, found)


def _identifier(resource: Resource) -> bytes:
    return orjson.dumps(resource.orthanc_id)


async def parent(request: web.Request, orthanc_id: str) -> web.StreamResponse:
    """What a resource belongs to: GET /instances/{id}/study."""
    resource = await resource_of(request, orthanc_id)
    catalogue = gateway(request).archive.catalogue
    view, level = view_of(request), _PARENTS[last_part(request)]
    names = dict(await catalogue.ancestors(resource))
    found = await catalogue.resource(
        level, names.get(level, ""), header=bool(view.requested)
    )
    return reply(view.of(found))


async def statistics(request: web.Request, orthanc_id: str) -> web.StreamResponse:
    """How much is below a resource: GET /studies/{id}/statistics; sizes are texts."""
    resource = await resource_of(request, orthanc_id)
    held = await gateway(request).archive.catalogue.holdings(resource)
    told: dict[str, Any] = {}
    for level, name, count in (
        (Level.STUDY, "CountStudies", held.studies),
        (Level.SERIES, "CountSeries", held.series),
        (Level.INSTANCE, "CountInstances", held.instances),
    ):
        if level > resource.level:
            told[name] = count
    for name in ("DicomDisk", "DicomUncompressed", "Disk", "Uncompressed"):
        told[f"{name}Size"] = str(held.size)
        told[f"{name}SizeMB"] = held.size // (1024 * 1024)
    return reply(told)


async def refresh(request: web.Request, orthanc_id: str) -> web.StreamResponse:
    """See to it that metadata are as the files are: POST .../update-dicomweb-cache.

    They are made when a file is stored and change with it: there is nothing to do.
    """
    await resource_of(request, orthanc_id)
    return reply({})


# -- deleting ----------------------------------------------------------------------------


async def delete(request: web.Request, orthanc_id: str) -> web.StreamResponse:
    """Delete a resource and what is below it; tells what remains above it."""
    archive = gateway(request).archive
    resource = await resource_of(request, orthanc_id)
    ancestors = await archive.catalogue.ancestors(resource)
    await archive.remove(resource)
    for level, identifier in ancestors:
        if await archive.catalogue.is_held(level, identifier):
            return reply({"RemainingAncestor": reference(level, identifier)})
    return reply({"RemainingAncestor": None})


def reference(level: Level, identifier: str) -> dict[str, str]:
    """How a resource is named in answers about others."""
    return {
        "ID": identifier,
        "Path": f"/{PATHS[level]}/{identifier}",
        "Type": TYPES[level],
    }
