"""All values of a study, series or instance that metadata refer to (PS3.18 10.4.1.1.5).

Each is given as at its own address, which its part names, pixel data among them.
"""

from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

from aiohttp import web

from gateway.archive import Archive, Instance
from gateway.dicom.pixels import NATIVE
from gateway.dicomweb import bulk, gathered
from gateway.dicomweb.bulk import Value
from gateway.dicomweb.gathered import Gathering, Tally
from gateway.errors import NotAcceptable, NotFound
from gateway.web.context import accept, gateway
from gateway.web.context import uids as uids_of
from gateway.web.replies import MULTIPART
from gateway.web.transmission import Body
from gateway.wire.media import MediaType, Offer, choose

_EVERY = f'here there is {MULTIPART}; type="{bulk.OCTETS}"'
_PLAIN = "1.2.840.10008.1.2.1"


async def retrieve(
    request: web.Request,
    study: str,
    series: str | None = None,
    instance: str | None = None,
) -> web.StreamResponse:
    """The bulk data under an address, one value after the other."""
    gathering = Gathering(
        "bulk data",
        look=partial(_look, gateway(request).archive, accept(request)),
        parts=partial(_parts, request),
    )
    return await gathered.answer(request, uids_of(study, series, instance), gathering)


async def _places(archive: Archive, held: Instance) -> list[str]:
    """The paths of an instance's bulk data, in the order of the file."""

    def paths(header: bytes, places: dict[str, Any]) -> list[str]:
        return list(places)

    return await archive.header(held, paths)


def _chosen(ranges: list[MediaType], value: Value) -> Offer | None:
    return choose(ranges, bulk.parts_of(value))


async def _look(archive: Archive, ranges: list[MediaType], held: Instance) -> Tally:
    kind, refused = "", 0
    for path in await _places(archive, held):
        if held.transfer_syntax in NATIVE:  # nothing has to be looked at in the file
            offer = choose(ranges, [Offer(MULTIPART, bulk.OCTETS, (_PLAIN,))])
        else:
            value = await _found(archive, held, path)
            offer = _chosen(ranges, value) if value is not None else None
        if offer is None:
            refused += 1
        else:
            kind = kind or str(offer.inner)
    return Tally(kind, refused, _EVERY)


async def _found(archive: Archive, held: Instance, path: str) -> Value | None:
    """A value; None if it cannot be taken out of its file."""
    try:
        return await bulk.find(archive, held, path)
    except (NotAcceptable, NotFound):
        return None


async def _parts(
    request: web.Request, held: Instance, boundary: str, first: bool
) -> AsyncGenerator[Body, None]:
    archive, ranges = gateway(request).archive, accept(request)
    for path in await _places(archive, held):
        value = await _found(archive, held, path)
        offer = _chosen(ranges, value) if value is not None else None
        if value is None or offer is None:
            continue
        kind = str(offer.inner)
        for body in bulk.bodies(request, value, kind, boundary, first=first):
            yield body
            first = False
