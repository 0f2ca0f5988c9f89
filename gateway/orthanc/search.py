"""Finding resources as scripts do: /tools/find, /tools/count-resources, /tools/lookup."""

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from gateway.catalogue import Ordering, Resource, Selection
from gateway.dicom.filters import (
    WITH_WILDCARDS,
    Filter,
    Universal,
    Wildcard,
    parse_filter,
)
from gateway.dicom.hierarchy import Level
from gateway.errors import BadRequest
from gateway.orthanc.answers import joined, json_body, reply, short_body
from gateway.orthanc.resources import TYPES, View, reference
from gateway.orthanc.tags import Manner, named_tag
from gateway.web.context import gateway

_LEVELS = {
    "patient": Level.PATIENT,
    "patients": Level.PATIENT,
    "study": Level.STUDY,
    "studies": Level.STUDY,
    "series": Level.SERIES,
    "instance": Level.INSTANCE,
    "instances": Level.INSTANCE,
    "image": Level.INSTANCE,
}
_PARENTS = {
    "ParentPatient": Level.PATIENT,
    "ParentStudy": Level.STUDY,
    "ParentSeries": Level.SERIES,
}
_CHILDREN = ("Studies", "Series", "Instances")

#: Which keys of an object each word of ResponseContent asks for.
_CONTENT = {
    "MainDicomTags": ("MainDicomTags", "PatientMainDicomTags"),
    "Labels": ("Labels",),
    "Parent": tuple(f"Parent{TYPES[level]}" for level in Level),
    "Children": _CHILDREN,
    "Status": ("Status",),
    "IsStable": ("IsStable", "LastUpdate"),
    "IsProtected": ("IsProtected",),
    "RequestedTags": ("RequestedTags",),
    "AttachmentsLegacy": ("FileSize", "FileUuid"),
    "Attachments": ("FileSize", "FileUuid"),
    "MetadataLegacy": ("IndexInSeries", "LastUpdate"),
    "Metadata": ("IndexInSeries", "LastUpdate"),
}

#: Where a range without ends, a hyphen alone, finds all, as in Orthanc.
_TEMPORAL = ("DA", "TM", "DT")

_ALWAYS = frozenset({"ID", "Type"})

#: What one may say; anything else is a mistake that would go unnoticed.
_REFUSED = ("MetadataQuery",)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What is answered of each resource."""

    view: View | None  # None: identifiers alone
    keys: frozenset[str] | None = None  # of an object; None for all of them

    def bytes_of(self, resource: Resource) -> bytes:
        """The resource as JSON."""
        if self.view is None:
            return orjson.dumps(resource.orthanc_id)
        told = self.view.of(resource)
        if self.keys is not None:
            told = {key: value for key, value in told.items() if key in self.keys}
        return orjson.dumps(told)


async def find(request: web.Request) -> web.StreamResponse:
    """The resources that a query finds: POST /tools/find."""
    asked = await json_body(request)
    wanted, shown = _selection(request, asked), _shown(asked)
    found = gateway(request).archive.catalogue.select(
        wanted, shown.bytes_of, header=bool(shown.view and shown.view.requested)
    )
    async with aclosing(found):
        return await joined(request, found)


async def count(request: web.Request) -> web.StreamResponse:
    """How many a query finds: POST /tools/count-resources."""
    wanted = _selection(request, await json_body(request))
    return reply({"Count": await gateway(request).archive.catalogue.count(wanted)})


async def lookup(request: web.Request) -> web.StreamResponse:
    """What has a PatientID or UID: POST /tools/lookup, the body being that text."""
    try:
        text = (await short_body(request)).decode().strip()
    except UnicodeDecodeError as error:
        raise BadRequest("the body is no text in UTF-8") from error
    found = await gateway(request).archive.catalogue.lookup(text)
    return reply([reference(level, orthanc_id) for level, orthanc_id in found])


# -- what is asked for -------------------------------------------------------------------


def _selection(request: web.Request, asked: Mapping[str, Any]) -> Selection:
    for name in _REFUSED:
        if asked.get(name):
            raise BadRequest(f"{name} is not understood here")
    settings = gateway(request).settings
    sensitive = asked.get("CaseSensitive", settings.case_sensitive_pn)
    constraint = asked.get("LabelsConstraint", "All")
    if constraint not in ("All", "Any", "None"):
        raise BadRequest("LabelsConstraint is none of All, Any, None")
    return Selection(
        level=_level(asked),
        filters=_filters(asked.get("Query")),
        case_sensitive=_bool(sensitive, "CaseSensitive"),
        since=_number(asked, "Since") or 0,
        limit=_number(asked, "Limit") or None,
        labels=_texts(asked, "Labels"),
        constraint=constraint,
        parents=tuple(
            (level, _text(asked[name], name))
            for name, level in _PARENTS.items()
            if asked.get(name)
        ),
        order=_ordering(asked.get("OrderBy", [])),
    )


def _level(asked: Mapping[str, Any]) -> Level:
    text = asked.get("Level")
    if not isinstance(text, str):
        raise BadRequest('Field "Level" is missing, or should be a string')
    level = _LEVELS.get(text.lower())
    if level is None:
        raise BadRequest(f"Invalid resource type {text[:40]!r}")
    return level


def _filters(query: object) -> tuple[Filter, ...]:
    if not isinstance(query, dict):
        raise BadRequest('Field "Query" is missing, or should be a JSON object')
    found = {}
    for name, value in query.items():
        text = _text(value, f"Query: {name[:64]}")
        filter_ = parse_filter(_spelled(name), "" if text.strip() == "-" else text)
        if text.strip() == "-" and filter_.vr not in _TEMPORAL:
            filter_ = parse_filter(_spelled(name), text)
        if value.strip() == "*" and filter_.vr in WITH_WILDCARDS:
            filter_ = Filter(filter_.path, filter_.vr, Wildcard(("?*",)))
        found[filter_.path] = filter_
    return tuple(f for f in found.values() if not isinstance(f.match, Universal))


def _spelled(name: str) -> str:
    """A tag with a bar in it, as old scripts write it, in the usual spelling."""
    return name.replace("|", ",") if len(name) == 9 else name


def _ordering(asked: object) -> tuple[Ordering, ...]:
    if not isinstance(asked, list):
        raise BadRequest('Field "OrderBy" should be an array')
    found = []
    for one in asked:
        if not isinstance(one, dict) or one.get("Type") not in ("DicomTag", "Metadata"):
            raise BadRequest('OrderBy: "Type" is neither DicomTag nor Metadata')
        if one.get("Direction", "ASC") not in ("ASC", "DESC"):
            raise BadRequest('OrderBy: "Direction" is neither ASC nor DESC')
        key = _text(one.get("Key"), "OrderBy: Key")
        is_metadata = one["Type"] == "Metadata"
        found.append(
            Ordering(
                key if is_metadata else named_tag(key),
                is_metadata,
                one.get("Direction") == "DESC",
            )
        )
    return tuple(found)


def _shown(asked: Mapping[str, Any]) -> _Shown:
    requested = tuple(named_tag(name) for name in _texts(asked, "RequestedTags"))
    manner = Manner.SIMPLE
    for name, known in (("Full", Manner.FULL), ("Short", Manner.SHORT)):
        if _bool(asked.get(name, False), name):
            manner = known
    content = asked.get("ResponseContent")
    if content is None:
        expand = _bool(asked.get("Expand", False), "Expand")
        return _Shown(View(manner, requested) if expand else None)
    words = _texts(asked, "ResponseContent")
    for word in words:
        if word not in _CONTENT:
            raise BadRequest(f'Unrecognized value for "ResponseContent": {word[:40]}')
    keys = _ALWAYS.union(*(_CONTENT[word] for word in words))
    if requested:
        keys |= {"RequestedTags"}
    return _Shown(View(manner, requested), keys)


def _texts(asked: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values = asked.get(name, [])
    if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
        raise BadRequest(f'Field "{name}" should be an array of strings')
    return tuple(values)


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise BadRequest(f"{name} should be a string")
    return value


def _bool(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise BadRequest(f'Field "{name}" should be a Boolean')
    return value


def _number(asked: Mapping[str, Any], name: str) -> int | None:
    value = asked.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise BadRequest(f'Field "{name}" should be a number from 0 on')
    return value
