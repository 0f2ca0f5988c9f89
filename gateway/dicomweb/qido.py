"""QIDO-RS: studies, series and instances are found (PS3.18 10.6)."""

import re
from collections.abc import Callable
from contextlib import aclosing

import orjson
from aiohttp import web

from gateway.archive import Found
from gateway.dicom.dictionary import tag_of
from gateway.dicom.filters import Filter, parse_filter
from gateway.dicom.hierarchy import Level
from gateway.dicom.query import Query
from gateway.dicom.xml import to_xml
from gateway.errors import BadRequest
from gateway.web.context import accept, gateway, public_root, uid
from gateway.web.replies import JSON, XML, json_array, xml_documents
from gateway.wire.media import Offer, choose

_OFFERS = (
    Offer(JSON),
    Offer("application/json"),
    Offer("multipart/related", XML),
    Offer(XML),
    Offer("application/xml"),
    Offer("text/xml"),
)
_FLAGS = {"true": True, "false": False}
_NUMBER = re.compile(r"[0-9]{1,19}")
_LARGEST = 2**63 - 1

#: Parameters that are no attributes; `accept` and `charset` are about the answer.
_WORDS = frozenset(
    {"limit", "offset", "includefield", "fuzzymatching", "emptyvaluematching"}
    | {"multiplevaluematching", "accept", "charset", "_method", ""}
)


async def studies(request: web.Request) -> web.StreamResponse:
    """Search for studies: GET studies."""
    return await _search(request, Level.STUDY)


async def series(request: web.Request, study: str | None = None) -> web.StreamResponse:
    """Search for series: GET series, studies/{study}/series."""
    return await _search(request, Level.SERIES, study)


async def instances(
    request: web.Request, study: str | None = None, series: str | None = None
) -> web.StreamResponse:
    """Search for instances: GET instances, also within a study or a series."""
    return await _search(request, Level.INSTANCE, study, series)


async def _search(
    request: web.Request, level: Level, *within: str | None
) -> web.StreamResponse:
    offer = choose(accept(request), _OFFERS)
    query = _query(request, level, within)
    as_xml = offer is not None and (offer.inner or offer.kind).endswith("xml")
    present = _presenter(public_root(request), to_xml if as_xml else orjson.dumps)
    reply = xml_documents if as_xml else json_array
    headers = {"Vary": "Accept, Authorization", "Cache-Control": "no-cache"}
    warning = _warning(request)
    if warning:
        headers["Warning"] = warning
    async with aclosing(gateway(request).archive.find(query, present)) as found:
        return await reply(request, found, headers)


def _presenter(
    root: str, write: Callable[[dict[str, dict[str, object]]], bytes]
) -> Callable[[Found], bytes]:
    def present(found: Found) -> bytes:
        names = ("studies", "series", "instances")
        pairs = zip(names, found.uids, strict=False)
        url = root + "/".join(f"{name}/{uid}" for name, uid in pairs)
        shown = {**found.attributes, "00081190": {"vr": "UR", "Value": [url]}}
        return write(dict(sorted(shown.items())))

    return present


def _query(request: web.Request, level: Level, within: tuple[str | None, ...]) -> Query:
    settings = gateway(request).settings
    names = ("StudyInstanceUID", "SeriesInstanceUID")
    include, include_all = _include(request)
    sensitive = settings.dicom_web.qido_case_sensitive
    if sensitive is None:
        sensitive = settings.case_sensitive_pn
    return Query(
        level=level,
        within=tuple(
            uid(text, name) for text, name in zip(within, names, strict=False) if text
        ),
        filters=_filters(request),
        include=include,
        include_all=include_all,
        limit=_number(request, "limit") or None,
        offset=_number(request, "offset"),
        case_sensitive=sensitive,
        case_sensitive_names=sensitive,
    )


def _filters(request: web.Request) -> tuple[Filter, ...]:
    """The attributes to match; of one named twice the last counts, as in Orthanc."""
    empty = _flag(request, "emptyvaluematching")
    multiple = _flag(request, "multiplevaluematching")
    filters = {}
    for name, value in request.query.items():
        if name.lower() in _WORDS:
            continue
        found = parse_filter(
            name, value, empty_value_matching=empty, multiple_value_matching=multiple
        )
        filters[found.path] = found
    return tuple(filters.values())


def _number(request: web.Request, name: str) -> int:
    text = request.query.getall(name, ["0"])[-1]
    if not _NUMBER.fullmatch(text) or int(text) > _LARGEST:
        raise BadRequest(f"{name} is not a number from 0 on")
    return int(text)


def _flag(request: web.Request, name: str) -> bool:
    text = request.query.get(name, "false")
    if text.lower() not in _FLAGS:
        raise BadRequest(f"{name} is neither true nor false")
    return _FLAGS[text.lower()]


def _include(request: web.Request) -> tuple[frozenset[str], bool]:
    """The tags of includefield; names nobody knows are passed over (PS3.18 8.3.4.3)."""
    tags = set()
    everything = False
    for value in request.query.getall("includefield", []):
        # A tag may be written with a comma in the middle, and a list uses commas.
        names = [tag_of(value)] if tag_of(value) else value.split(",")
        for name in map(str.strip, filter(None, names)):
            if name == "all":
                everything = True
                continue
            tag = tag_of(name.split(".")[0])
            if tag is not None:
                tags.add(tag)
    return frozenset(tags), everything


def _warning(request: web.Request) -> str | None:
    """What the search does not honour (PS3.18 8.3.4.2, 10.6.3.2)."""
    if _flag(request, "fuzzymatching"):
        return (
            f"299 {public_root(request)}: The fuzzymatching parameter is not supported."
            " Only literal matching has been performed."
        )
    return None
