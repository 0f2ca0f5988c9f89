"""WADO-RS: the metadata of studies, series and instances (PS3.18 10.4.1.1.2).

Whole headers by default. For a study or a series the settings may have the index answer
alone, or with some tags that a few instances stand for; for one instance nothing is ever
left out.
"""

from collections.abc import Callable

import orjson
from aiohttp import web

from gateway.archive import Manner
from gateway.dicom.dictionary import tag_of
from gateway.dicom.hierarchy import Level
from gateway.dicom.xml import to_xml
from gateway.errors import NotAcceptable
from gateway.web.context import check_charset, chosen, gateway, public_root, uid
from gateway.web.prepared import Preparation, given_again
from gateway.web.replies import JSON, XML, json_array, xml_documents
from gateway.wire.media import Choice, Offer

_CHOICE = Choice(
    Offer(JSON),
    Offer("application/json"),
    Offer("multipart/related", XML),
)
_REFERENCE = b"BulkDataURI"
_KEY_BEGINS, _VALUE_BEGINS = b'"', b'":"'
_NAMES = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")

_Present = Callable[[str, str, str, bytes], bytes]


async def metadata(
    request: web.Request,
    study: str,
    series: str | None = None,
    instance: str | None = None,
) -> web.StreamResponse:
    """Headers of a study, series or instance."""
    again = await given_again(request)
    if again is not None:
        return again
    pairs = zip((study, series, instance), _NAMES, strict=True)
    uids = tuple(uid(text, name) for text, name in pairs if text is not None)
    level = Level(len(uids))
    offer = chosen(request, _CHOICE)
    check_charset(request)
    if offer is None:
        raise NotAcceptable(
            "here there is application/dicom+json,"
            ' and multipart/related; type="application/dicom+xml"'
        )
    as_xml = offer.inner == XML
    manner = _manner(request, level)
    preparation = Preparation(request, as_xml, manner)
    present = _presenter(public_root(request).encode(), as_xml=as_xml)
    reply = xml_documents if as_xml else json_array
    async with gateway(request).archive.look_at_headers(
        level, *uids, present=present, wanted=preparation.is_wanted, manner=manner
    ) as look:
        known = await preparation.known(look.state)
        if known is not None:
            return known
        with preparation.gathering(look.state) as gathering:
            return await reply(request, look.groups, preparation.headers, gathering)


def _presenter(root: bytes, *, as_xml: bool) -> _Present:
    def present(study: str, series: str, instance: str, header: bytes) -> bytes:
        base = b"%sstudies/%s/series/%s/instances/%s/" % (
            root,
            study.encode(),
            series.encode(),
            instance.encode(),
        )
        absolute = _with_base(header, base)
        return to_xml(orjson.loads(absolute)) if as_xml else absolute

    return present


def _with_base(header: bytes, base: bytes) -> bytes:
    """A header as JSON whose references begin at an address.

    The word is looked for alone: together with its quotes, which are everywhere, that
    takes twice as long.
    """
    pieces: list[bytes] = []
    done, found = 0, header.find(_REFERENCE)
    while found >= 0:
        stop = found + len(_REFERENCE)
        # Only a key can look like this: within a text, quotes are escaped.
        if header[found - 1 : found] == _KEY_BEGINS and header.startswith(
            _VALUE_BEGINS, stop
        ):
            stop += len(_VALUE_BEGINS)
            pieces += (header[done:stop], base)
            done = stop
        found = header.find(_REFERENCE, stop)
    if not pieces:
        return header
    pieces.append(header[done:])
    return b"".join(pieces)


def _manner(request: web.Request, level: Level) -> Manner:
    """What metadata of a level are made of; of one instance of all there is."""
    settings = gateway(request).settings.dicom_web
    mode, names = "Full", settings.series_metadata_extrapolated_tags
    if level is Level.STUDY:
        mode, names = (
            settings.studies_metadata,
            settings.studies_metadata_extrapolated_tags,
        )
    elif level is Level.SERIES:
        mode = settings.series_metadata
    if mode != "Full":
        guessed = [tag for tag in map(tag_of, names) if tag]
        extrapolated = tuple(guessed) if mode == "Extrapolate" else ()
        return Manner(index_only=True, guessed=extrapolated)
    return Manner(
        values=settings.other_binary_mode != "BulkDataURI",
        as_numbers=settings.other_binary_mode == "ArrayOfValues",
    )
