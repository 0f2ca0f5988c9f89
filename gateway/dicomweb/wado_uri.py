"""WADO-URI: one instance by a query string, as a picture or as its file (PS3.18 9).

Names of parameters are taken in any case, values are read strictly, other parameters are
passed over. What would be a lie is refused: a file that is asked for without the
patient's identity is not sent with it.
"""

from collections.abc import Mapping, Sequence

from aiohttp import web

from gateway.archive import FileRange, Instance
from gateway.dicom.codecs import LOSSY
from gateway.dicom.hierarchy import Attributes, is_uid
from gateway.dicom.pictures import GIF, KINDS
from gateway.dicom.pixels import EXPLICIT_LITTLE_ENDIAN
from gateway.dicom.render_options import RenderOptions, uri_options
from gateway.dicom.subject import Kind, Subject
from gateway.dicomweb import looking, showing, states
from gateway.dicomweb.looking import Shown
from gateway.errors import BadRequest, NotAcceptable, NotFound
from gateway.web.context import accept, gateway
from gateway.web.files import Section, send_file
from gateway.wire.media import MediaType, Offer, parse_accept

_DICOM = "application/dicom"
_AS_STORED = "*"

#: The parameters of PS3.18 9.1.2, 9.4.1 and 9.5.1, as they are spelled there.
_PARAMETERS = (
    *("requestType", "studyUID", "seriesUID", "objectUID", "contentType", "charset"),
    *("anonymize", "annotation", "rows", "columns", "region", "windowCenter"),
    *("windowWidth", "frameNumber", "imageQuality", "presentationUID"),
    *("presentationSeriesUID", "transferSyntax", "iccprofile"),
)
_NAMES = ("studyUID", "seriesUID", "objectUID")
_SPELLED = {name.lower(): name for name in _PARAMETERS}

#: Syntaxes that a file is never sent in over the web (PS3.18 8.7.3), if so asked.
_REFUSED = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.2"})

#: What a presentation state tells, so that nobody else may (PS3.18 9.5.1).
_BY_THE_STATE = ("region", "windowCenter", "windowWidth")

Query = Mapping[str, str]


async def retrieve(request: web.Request) -> web.StreamResponse:
    """The instance that the query names, as it wants it."""
    query = _query(request)
    if query.get("requestType") != "WADO":
        raise BadRequest("requestType: this is WADO")
    _refuse(query)
    uids = _uids(query)
    options = uri_options(query)
    ranges = _ranges(request, query)
    one = await looking.shown(gateway(request).archive, await _find(request, uids))
    offer = showing.chosen(ranges, _offers(one.subject))
    if offer.kind == _DICOM:
        if "presentationUID" in query:
            raise BadRequest("presentationUID goes with pictures alone")
        return await _send_file(request, one.instance, query)
    if "transferSyntax" in query and query["transferSyntax"] != _AS_STORED:
        raise BadRequest(f"transferSyntax goes with contentType={_DICOM} alone")
    if one.subject.kind is not Kind.IMAGE:
        return await showing.send_other(request, one, offer)
    numbers = _frames(query, one, offer.kind)
    state = None
    if "presentationUID" in query:
        options, state = await _presented(request, one, numbers, options, query)
    return await showing.send_picture(request, one, numbers, options, offer.kind, state)


def _query(request: web.Request) -> Query:
    """The parameters, spelled as in the standard; of equal ones the first counts."""
    found: dict[str, str] = {}
    for name, value in request.query.items():
        spelled = _SPELLED.get(name.lower())
        if spelled is not None and value.strip():
            found.setdefault(spelled, value.strip())
    return found


def _refuse(query: Query) -> None:
    """Raise for what is known and not done: to pass over it would be wrong."""
    anonymize = query.get("anonymize", "no").lower()
    if anonymize not in ("yes", "no"):
        raise BadRequest("anonymize: this is yes")
    if anonymize == "yes":
        raise NotAcceptable("anonymize: files are not made anonymous here")
    states = [name for name in query if name.startswith("presentation")]
    if len(states) == 1:
        raise BadRequest("presentationUID and presentationSeriesUID go together")
    for name in states:
        if not is_uid(query[name]):
            raise BadRequest(f"{name} is not a UID: digits and dots, at most 64")
    told = [name for name in _BY_THE_STATE if name in query]
    if states and told:
        raise BadRequest(f"{told[0]} does not go with presentationUID, which tells it")


def _uids(query: Query) -> dict[str, str]:
    """The UIDs that are given; the object's must be."""
    found = {name: query[name] for name in _NAMES if name in query}
    for name, uid in found.items():
        if not is_uid(uid):
            raise BadRequest(f"{name} is not a UID: digits and dots, at most 64")
    if "objectUID" not in found:
        raise BadRequest("objectUID is missing")
    return found


async def _find(request: web.Request, uids: Mapping[str, str]) -> Instance:
    """The instance, which must be in the study and the series that are named."""
    found = [
        instance
        for instance in await gateway(request).archive.by_uid(uids["objectUID"])
        if uids.get("studyUID", instance.study) == instance.study
        and uids.get("seriesUID", instance.series) == instance.series
    ]
    if not found:
        raise NotFound("no such instance is held here, in this study and series")
    if len(found) > 1:
        raise BadRequest(
            "several studies hold an instance of this objectUID:"
            " studyUID and seriesUID tell which one is wanted"
        )
    return found[0]


async def _presented(
    request: web.Request,
    one: Shown,
    numbers: Sequence[int],
    options: RenderOptions,
    query: Query,
) -> tuple[RenderOptions, Attributes]:
    """The presentation state that the query names: what it says, and its attributes."""
    archive = gateway(request).archive
    held = await archive.instance(
        one.instance.study, query["presentationSeriesUID"], query["presentationUID"]
    )
    attributes = await states.attributes_of(archive, held)
    shown_as = states.presented(one, held, attributes, numbers, options)
    return shown_as, attributes


# -- as what -----------------------------------------------------------------------------


def _ranges(request: web.Request, query: Query) -> list[MediaType]:
    """What the client takes: contentType, else the accept parameter or header."""
    if "contentType" in query:
        return parse_accept(query["contentType"], "contentType")
    return accept(request)


def _offers(subject: Subject) -> Sequence[Offer]:
    """Pictures before files: a browser that takes anything wants to see something."""
    file = Offer(_DICOM)
    if subject.kind is Kind.IMAGE:
        return [*(Offer(kind) for kind in KINDS), file]
    try:
        return [*showing.other_offers(subject), file]
    except NotFound:
        return [file]


def _frames(query: Query, one: Shown, kind: str) -> Sequence[int]:
    count = one.subject.frames
    if "frameNumber" not in query:
        return range(1, count + 1) if kind == GIF else [1]
    text = query["frameNumber"]
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if not 1 <= number <= count:
        raise BadRequest(f"frameNumber: this is a whole number from 1 to {count} here")
    return [number]


# -- files -------------------------------------------------------------------------------


async def _send_file(
    request: web.Request, instance: Instance, query: Query
) -> web.StreamResponse:
    """The file in the syntax that is wanted, else as Explicit VR Little Endian.

    It stays as it is where that would cost its pixels: those that are lossy already, or
    that nothing here decodes (PS3.18 8.7.3).
    """
    target = await _target(request, instance, query.get("transferSyntax", ""))
    name = showing.file_name(instance, _DICOM)
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    if target == instance.transfer_syntax:
        return await send_file(request, instance, _DICOM, headers)
    async with gateway(request).imaging.transcoded(instance, target) as made:
        section = Section(
            made.stop - made.start,
            lambda start, stop: [FileRange(made.blob, start, stop)],
            label=f"-{target}",
        )
        return await send_file(request, instance, _DICOM, headers, section)


async def _target(request: web.Request, instance: Instance, wanted: str) -> str:
    """The transfer syntax to answer in."""
    held = instance.transfer_syntax
    if wanted in (_AS_STORED, held):
        return held
    if wanted and not is_uid(wanted):
        raise BadRequest("transferSyntax is not a UID")
    if wanted in _REFUSED:
        raise NotAcceptable("transferSyntax: this one is not sent over the web")
    pixels = await gateway(request).imaging.pixels(instance)
    if not wanted and held in LOSSY:
        return held
    if pixels.can_become(held, wanted or EXPLICIT_LITTLE_ENDIAN):
        return wanted or EXPLICIT_LITTLE_ENDIAN
    if wanted:
        raise NotAcceptable(
            f"transferSyntax: the instance is held in {held} and cannot be given in this"
        )
    return held
