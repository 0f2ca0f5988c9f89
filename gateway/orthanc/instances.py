"""Orthanc's view of instances: list, one, its file, and taking it away."""

import orjson
from aiohttp import web

from gateway.dicom.dictionary import keyword_of
from gateway.dicom.hierarchy import Level, first_text
from gateway.errors import BadRequest
from gateway.orthanc.system import reply
from gateway.web.context import gateway
from gateway.web.files import send_file
from gateway.web.replies import streaming

#: The main tags of an instance in Orthanc; more are shown by other routes.
_MAIN_TAGS = (
    *("00080012", "00080013", "00080018", "00200012", "00200013", "00200032"),
    *("00200037", "00200100", "00204000", "00280008", "00541330"),
)

#: Identifiers given at a time to a client that names no limit.
_PAGE = 10_000


async def list_all(request: web.Request) -> web.StreamResponse:
    """Identifiers of instances, oldest first: GET /instances?since=&limit=."""
    archive = gateway(request).archive
    since, limit = _number(request, "since"), _number(request, "limit")
    if (since is None) != (limit is None):
        missing = "limit" if limit is None else "since"
        raise BadRequest(f'Missing "{missing}" argument')
    if limit is not None and since is not None:
        return reply(await archive.orthanc_ids(since, limit))
    found = await archive.orthanc_ids(0, _PAGE)
    if len(found) < _PAGE:
        return reply(found)
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    async with streaming(request, response) as wanted:
        start, separator = 0, b"["
        while wanted and found:
            await response.write(separator + orjson.dumps(found)[1:-1])
            start, separator = start + len(found), b","
            found = await archive.orthanc_ids(start, _PAGE)
        if wanted:
            await response.write(b"]\n")
    return response


def _number(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise BadRequest(f"{name} is not a number from 0 on")
    return int(text)


async def one(request: web.Request, orthanc_id: str) -> web.StreamResponse:
    """What is known of one instance: GET /instances/{id}."""
    archive = gateway(request).archive
    instance = await archive.by_orthanc_id(orthanc_id)
    found = [
        header
        async for headers in archive.headers(
            Level.INSTANCE,
            instance.study,
            instance.series,
            instance.uid,
            present=lambda study, series, uid, header: header,
        )
        for header in headers
    ]
    attributes = orjson.loads(found[0])
    return reply(
        {
            "FileSize": instance.size,
            "FileUuid": instance.blob,
            "ID": instance.orthanc_id,
            "IndexInSeries": _index(first_text(attributes, "00200013")),
            "Labels": [],
            "MainDicomTags": {
                keyword_of(tag): _text(attributes[tag].get("Value", ()))
                for tag in _MAIN_TAGS
                if tag in attributes
            },
            "ParentSeries": await archive.parent_series(instance),
            "Type": "Instance",
        }
    )


def _index(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _text(values: list[object]) -> str:
    return "\\".join("" if value is None else str(value) for value in values)


async def file(request: web.Request, orthanc_id: str) -> web.StreamResponse:
    """The file as it is stored: GET /instances/{id}/file."""
    instance = await gateway(request).archive.by_orthanc_id(orthanc_id)
    name = f'attachment; filename="{instance.orthanc_id}.dcm"'
    headers = {"Content-Disposition": name}
    return await send_file(request, instance, "application/dicom", headers)


async def delete(request: web.Request, orthanc_id: str) -> web.StreamResponse:
    """Delete one instance: DELETE /instances/{id}; tells what remains above it."""
    archive = gateway(request).archive
    instance = await archive.by_orthanc_id(orthanc_id)
    parents = await archive.parents(instance)
    await archive.delete(Level.INSTANCE, instance.study, instance.series, instance.uid)
    for kind, identifier in parents:
        if await archive.exists(kind, identifier):
            path = {"Series": "series", "Study": "studies", "Patient": "patients"}[kind]
            return reply(
                {
                    "RemainingAncestor": {
                        "ID": identifier,
                        "Path": f"/{path}/{identifier}",
                        "Type": kind,
                    }
                }
            )
    return reply({"RemainingAncestor": None})
