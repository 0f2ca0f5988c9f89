"""What happened, for clients that follow it: /changes; and /exports, which are none."""

from aiohttp import web

from gateway.catalogue import Change, ChangesPage, ChangesWanted
from gateway.errors import BadRequest
from gateway.orthanc.answers import flag, number, reply, text
from gateway.orthanc.resources import reference
from gateway.web.context import gateway

_USUAL, _MOST = 100, 10_000

#: Orthanc's words for what happens. Those that never happen here find nothing.
_TYPES = frozenset(
    (
        *("NewInstance", "NewSeries", "NewStudy", "NewPatient", "NewChildInstance"),
        *("StableSeries", "StableStudy", "StablePatient", "CompletedSeries", "Deleted"),
        *("AnonymizedSeries", "AnonymizedStudy", "AnonymizedPatient"),
        *("ModifiedSeries", "ModifiedStudy", "ModifiedPatient"),
        *("UpdatedAttachment", "UpdatedMetadata", "UpdatedPeers", "UpdatedModalities"),
        *("OrthancStarted", "OrthancStopped"),
        *("JobSubmitted", "JobSuccess", "JobFailure"),
    )
)


async def list_all(request: web.Request) -> web.StreamResponse:
    """Changes by number: GET /changes?since=&limit=&to=&type=&last."""
    catalogue = gateway(request).archive.catalogue
    if flag(request, "last"):
        return reply(_told(await catalogue.last_change()))
    limit = number(request, "limit")
    asked = request.query.get("type", "").split(";")
    types = tuple(name for name in asked if name)
    for name in types:
        if name not in _TYPES:
            raise BadRequest(f"type: there are no changes named {name[:40]!r}")
    wanted = ChangesWanted(
        since=number(request, "since") or 0,
        to=number(request, "to"),
        limit=min(_USUAL if limit is None else limit or _MOST, _MOST),
        types=types,
    )
    return reply(_told(await catalogue.changes(wanted)))


def _told(page: ChangesPage) -> dict[str, object]:
    told: dict[str, object] = {
        "Changes": [_change(change) for change in page.changes],
        "Done": page.done,
        "Last": page.changes[-1].seq if page.changes else page.last,
    }
    if page.changes:
        told["First"] = page.changes[0].seq
    return told


def _change(change: Change) -> dict[str, object]:
    named = reference(change.level, change.orthanc_id)
    return {
        "ChangeType": change.type,
        "Date": change.date,
        "ID": change.orthanc_id,
        "Path": named["Path"],
        "ResourceType": named["Type"],
        "Seq": change.seq,
    }


async def clear(request: web.Request) -> web.StreamResponse:
    """Forget what happened: DELETE /changes; numbers go on."""
    await gateway(request).archive.catalogue.clear_changes()
    return text("")


async def exports(request: web.Request) -> web.StreamResponse:
    """What was sent to modalities: nothing, there are none: GET /exports."""
    return reply({"Done": True, "Exports": [], "Last": 0})


async def clear_exports(request: web.Request) -> web.StreamResponse:
    """Forget what was sent: DELETE /exports."""
    return text("")
