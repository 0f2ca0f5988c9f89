"""QIDO-RS: studies, series and instances are found (PS3.18 10.6)."""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from urllib.parse import unquote_to_bytes

import orjson
from aiohttp import web

from gateway.archive import Found, Page, Remaining, Wanted
from gateway.dicom.dictionary import tag_of
from gateway.dicom.filters import Filter, parse_filter
from gateway.dicom.hierarchy import Level
from gateway.dicom.normal_forms import TEMPORAL
from gateway.dicom.query import Query, Sorting
from gateway.dicom.xml import to_xml
from gateway.errors import BadRequest
from gateway.web.context import check_charset, chosen, gateway, public_root, uid
from gateway.web.prepared import Preparation, given_again
from gateway.web.replies import JSON, XML, json_array, warning, xml_documents
from gateway.web.turns import LONGEST, Turn
from gateway.web.whole import Whole
from gateway.wire.media import Choice, Offer

_CHOICE = Choice(
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

#: Matches of a page that are found before the answer begins, to tell whether that is all.
_LONGEST_PAGE = 2000

#: Matches of a page that is likely to be answered by and by.
_SHORT_PAGE = 200

#: Parameters that are no attributes; `accept` and `charset` are about the answer.
_WORDS = frozenset(
    {"limit", "offset", "includefield", "fuzzymatching", "emptyvaluematching"}
    | {"multiplevaluematching", "orderby", "accept", "charset", "_method", ""}
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


def begin_studies(turn: Turn) -> bool:
    """Begin the same as `studies`."""
    return _begin(turn, Level.STUDY)


def begin_series(turn: Turn, study: str | None = None) -> bool:
    """Begin the same as `series`."""
    return _begin(turn, Level.SERIES, study)


def begin_instances(
    turn: Turn, study: str | None = None, series: str | None = None
) -> bool:
    """Begin the same as `instances`."""
    return _begin(turn, Level.INSTANCE, study, series)


async def _search(
    request: web.Request, level: Level, *within: str | None
) -> web.StreamResponse:
    again = await given_again(request)
    if again is not None:
        return again
    as_xml = _is_xml(request)
    query = _query(request, level, within)
    preparation = Preparation(request, as_xml)
    present = _presenter(public_root(request), to_xml if as_xml else orjson.dumps)
    reply = xml_documents if as_xml else json_array
    page = _size_of_page(query)
    archive = gateway(request).archive
    async with archive.find(query, present, preparation.is_wanted, page) as look:
        known = await preparation.known(look.state)
        if known is not None:
            return known
        texts = await _page(page, look.groups)
        warned = warning(request, *_warnings(query, look.remaining))
        headers = preparation.headers | warned
        with preparation.gathering(look.state) as gathering:
            return await reply(request, texts, headers, gathering)


def _begin(turn: Turn, level: Level, *within: str | None) -> bool:
    """Begin a search that is likely to find little, of which JSON is wanted."""
    request = turn.request
    query = _query(request, level, within)
    if _is_xml(request) or _is_wide(query):
        return False
    preparation = Preparation(request, False)

    def made(page: Page | None) -> Whole | None:
        if page is None:
            return None
        if page.found is None:
            return preparation.known_at_once(page.state)
        warned = warning(request, *_warnings(query, page.remaining))
        body = b"[" + b",".join(page.found) + b"]"
        return preparation.whole(page.state, {**warned, "Content-Type": JSON}, body)

    present = _presenter(public_root(request), orjson.dumps)
    page, most = _size_of_page(query), LONGEST - len("[]")
    wanted = Wanted(query, present, preparation.is_wanted, page, most)
    return gateway(request).archive.find_soon(wanted, turn.then(made))


def _is_xml(request: web.Request) -> bool:
    """Whether matches are to be written in XML; raises BadRequest, NotAcceptable."""
    offer = chosen(request, _CHOICE)
    check_charset(request)
    return offer is not None and (offer.inner or offer.kind).endswith("xml")


def _is_wide(query: Query) -> bool:
    """Whether a search is likely to find more than is answered by and by."""
    if query.limit is not None:
        return query.limit > _SHORT_PAGE
    return query.level is Level.INSTANCE and not query.names("00080018")


def _size_of_page(query: Query) -> int | None:
    return None if query.limit is None else min(query.limit, _LONGEST_PAGE)


async def _page(
    size: int | None, found: AsyncIterator[list[bytes]]
) -> AsyncIterator[list[bytes]]:
    """What to send; of what has a limit, a whole page is there."""
    if size is None:
        return found
    page: list[bytes] = []
    async for group in found:
        page += group
        if len(page) >= size:
            break
    return _and_then(page, found)


async def _and_then(
    page: list[bytes], found: AsyncIterator[list[bytes]]
) -> AsyncIterator[list[bytes]]:
    if page:
        yield page
    async for group in found:
        yield group


def _presenter(
    root: str, write: Callable[[dict[str, dict[str, object]]], bytes]
) -> Callable[[Found], bytes]:
    def present(found: Found) -> bytes:
        names = ("studies", "series", "instances")
        pairs = zip(names, found.uids, strict=False)
        url = root + "/".join([f"{name}/{uid}" for name, uid in pairs])
        shown = found.attributes
        shown["00081190"] = {"vr": "UR", "Value": [url]}
        return write(shown)

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
        limit=_limit(request),
        offset=_number(request, "offset"),
        order=_order(request),
        case_sensitive=sensitive,
        case_sensitive_names=sensitive,
    )


def _filters(request: web.Request) -> tuple[Filter, ...]:
    """The attributes to match; of one named twice the last counts, as in Orthanc."""
    empty = _flag(request, "emptyvaluematching")
    multiple = _flag(request, "multiplevaluematching")
    fuzzy = _flag(request, "fuzzymatching")
    _check_text(request.rel_url.raw_query_string)
    filters = {}
    for name, value in request.query.items():
        if name.lower() in _WORDS:
            continue
        found = parse_filter(
            name,
            value,
            empty_value_matching=empty,
            multiple_value_matching=multiple,
            fuzzy_matching=fuzzy,
        )
        filters[found.path] = found
    return tuple(filters.values())


def _check_text(query: str) -> None:
    """Raise BadRequest if what is encoded in a query is no text."""
    if "%" not in query and query.isascii():
        return
    try:
        unquote_to_bytes(query).decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest("the query is not in UTF-8 (PS3.18 8.2)") from None


def _limit(request: web.Request) -> int | None:
    """Matches at most: as asked for, and as the settings have it."""
    most = gateway(request).settings.dicom_web.qido_maximum_results
    limits = [limit for limit in (_number(request, "limit"), most) if limit]
    return min(limits, default=None)


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


def _order(request: web.Request) -> tuple[Sorting, ...]:
    """What ``orderby`` lists, as in dcm4chee: attributes, those with a minus downwards."""
    found = []
    for name in filter(None, ",".join(request.query.getall("orderby", [])).split(",")):
        tag = tag_of(name.strip().removeprefix("-"))
        if tag is None:
            raise BadRequest(f"orderby: {name[:64]!r} is no attribute")
        found.append(Sorting(tag, name.strip().startswith("-")))
    return tuple(found)


def _warnings(query: Query, remaining: Remaining | None) -> Iterator[str]:
    """What the search does not honour (PS3.18 8.3.4, PS3.4 C.2.2.2.5), and what it left."""
    if query.names("00080201") and TEMPORAL & {one.vr for one in query.filters}:
        yield (
            "Dates and times are not adjusted to TimezoneOffsetFromUTC."
            " They have been compared as they are stored."
        )
    if remaining is not None:
        yield from _of_more(remaining)


def _of_more(remaining: Remaining) -> list[str]:
    """What to say of matches that a limit cut off, in the words of PS3.18 8.3.4.4."""
    count = remaining.count
    if remaining.complete:
        if not count:
            return []
        return [f"There are {count} additional results that can be requested"]
    if not count:
        return ["There may be additional results that can be requested"]
    return [f"There are more than {count} additional results that can be requested"]
