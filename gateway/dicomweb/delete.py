"""Deleting studies, series and instances: not in PS3.18, but what users expect."""

import logging

from aiohttp import web

from gateway.dicom.hierarchy import Level
from gateway.web.context import gateway, uid
from gateway.web.replies import no_content

log = logging.getLogger(__name__)


async def delete(
    request: web.Request,
    study: str,
    series: str | None = None,
    instance: str | None = None,
) -> web.StreamResponse:
    """Delete what is at the address, and parents that are left empty: 204."""
    names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    pairs = zip((study, series, instance), names, strict=True)
    uids = tuple(uid(text, name) for text, name in pairs if text is not None)
    count = await gateway(request).archive.delete(Level(len(uids)), *uids)
    log.info("deleted %d instances of %s", count, "/".join(uids))
    return no_content()
