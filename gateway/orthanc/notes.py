"""What is kept beside a resource: metadata, labels, and whether a patient is protected."""

import hashlib
import re

from aiohttp import web

from gateway.catalogue import Resource, Written
from gateway.dicom.hierarchy import Level
from gateway.errors import BadRequest, Conflict, NotAllowed, NotFound
from gateway.orthanc.answers import flag, reply, short_body, text
from gateway.orthanc.resources import MAIN_TAGS, resource_of
from gateway.orthanc.tags import orthanc_tag
from gateway.web.context import gateway

#: Numbers from here on are for users.
FIRST_OF_USERS = 1024
_LAST_OF_USERS = 65535

_LABEL = re.compile(r"[A-Za-z0-9_-]{1,64}")
_REVISION = re.compile(r'"?([0-9]{1,18})-[0-9a-f]{32}"?')


# -- metadata ----------------------------------------------------------------------------


async def list_metadata(request: web.Request, orthanc_id: str) -> web.StreamResponse:
    """What is kept, by name, or with the values: GET .../metadata?expand."""
    resource = await resource_of(request, orthanc_id, header=True)
    found = await all_metadata(request, resource)
    if flag(request, "expand"):
        return reply(
            {
                name: value.value.decode("utf-8", "replace")
                for name, value in sorted(found.items())
            }
        )
    return reply(list(found))


async def all_metadata(request: web.Request, resource: Resource) -> dict[str, Written]:
    """What the index says of a resource, and what users wrote beside it."""
    told = {name: Written(value.encode(), 0) for name, value in _told(resource).items()}
    return told | await gateway(request).archive.catalogue.metadata(resource)


def _told(resource: Resource) -> dict[str, str]:
    signature = ";".join(map(orthanc_tag, MAIN_TAGS[resource.level]))
    if resource.level is not Level.INSTANCE:
        return {"LastUpdate": resource.updated, "MainDicomTagsSignature": signature}
    found = {
        "ReceptionDate": resource.updated,
        "TransferSyntax": resource.transfer_syntax,
        "SopClassUid": resource.sop_class,
        "MainDicomTagsSignature": signature,
    }
    if resource.numbers and resource.numbers[0] is not None:
        found["IndexInSeries"] = str(resource.numbers[0])
    return found


async def get_metadata(
    request: web.Request, orthanc_id: str, name: str
) -> web.StreamResponse:
    """One of them, as text: GET .../metadata/{name}."""
    resource = await resource_of(request, orthanc_id)
    found = (await all_metadata(request, resource)).get(name)
    if found is None:
        raise NotFound(f"no metadata {name[:64]} is here")
    etag = _etag(found.revision, found.value)
    return web.Response(
        body=found.value, content_type="text/plain", headers={"ETag": etag}
    )


async def put_metadata(
    request: web.Request, orthanc_id: str, name: str
) -> web.StreamResponse:
    """Write beside a resource: PUT .../metadata/{name}, a number from 1024 on."""
    resource = await resource_of(request, orthanc_id)
    _check_is_of_users(name)
    value = await short_body(request)
    revision = await gateway(request).archive.catalogue.write_metadata(
        resource, name, value, await _expected(request, resource, name)
    )
    return text("", {"ETag": _etag(revision, value)})


async def delete_metadata(
    request: web.Request, orthanc_id: str, name: str
) -> web.StreamResponse:
    """Take away what was written: DELETE .../metadata/{name}."""
    resource = await resource_of(request, orthanc_id)
    _check_is_of_users(name)
    await gateway(request).archive.catalogue.erase_metadata(
        resource, name, await _expected(request, resource, name)
    )
    return text("")


def _etag(revision: int, value: bytes) -> str:
    return f'"{revision}-{hashlib.md5(value, usedforsecurity=False).hexdigest()}"'


def _check_is_of_users(name: str) -> None:
    if not (name.isascii() and name.isdigit()):
        raise NotAllowed("only metadata with numbers from 1024 on can be written")
    if not FIRST_OF_USERS <= int(name) <= _LAST_OF_USERS:
        raise NotAllowed(
            f"metadata {FIRST_OF_USERS} to {_LAST_OF_USERS} can be written, no other"
        )


async def _expected(request: web.Request, resource: Resource, name: str) -> int | None:
    """The revision that is to be replaced; raises BadRequest, or Conflict."""
    asked = request.headers.get("If-Match")
    if asked is None:
        return None
    found = _REVISION.fullmatch(asked.strip())
    if found is None:
        raise BadRequest("If-Match: this is no ETag of metadata")
    held = (await gateway(request).archive.catalogue.metadata(resource)).get(name)
    if held is None or _etag(held.revision, held.value).strip('"') != asked.strip(' "'):
        raise Conflict("the metadata was changed meanwhile: its revision is another")
    return int(found[1])


# -- labels ------------------------------------------------------------------------------


async def list_labels(request: web.Request, orthanc_id: str) -> web.StreamResponse:
    """The labels of a resource: GET .../labels."""
    return reply(list((await resource_of(request, orthanc_id)).labels))


async def get_label(
    request: web.Request, orthanc_id: str, label: str
) -> web.StreamResponse:
    """Whether a resource has a label: GET .../labels/{label}, 200 or 404."""
    if label not in (await resource_of(request, orthanc_id)).labels:
        raise NotFound("the resource does not have this label")
    return text("")


async def put_label(
    request: web.Request, orthanc_id: str, label: str
) -> web.StreamResponse:
    """Put a label on a resource: PUT .../labels/{label}."""
    resource = await resource_of(request, orthanc_id)
    if not _LABEL.fullmatch(label):
        raise BadRequest("a label is made of 1 to 64 letters, digits, _ and -")
    await gateway(request).archive.catalogue.add_label(resource, label)
    return text("")


async def delete_label(
    request: web.Request, orthanc_id: str, label: str
) -> web.StreamResponse:
    """Take a label away: DELETE .../labels/{label}."""
    resource = await resource_of(request, orthanc_id)
    await gateway(request).archive.catalogue.remove_label(resource, label)
    return text("")


async def all_labels(request: web.Request) -> web.StreamResponse:
    """The labels that any resource has: GET /tools/labels."""
    return reply(await gateway(request).archive.catalogue.labels())


# -- protection --------------------------------------------------------------------------


async def get_protected(request: web.Request, orthanc_id: str) -> web.StreamResponse:
    """Whether a patient stays when room is made: GET /patients/{id}/protected."""
    patient = await resource_of(request, orthanc_id)
    return text("1" if patient.is_protected else "0")


async def put_protected(request: web.Request, orthanc_id: str) -> web.StreamResponse:
    """Let a patient stay, or not: PUT /patients/{id}/protected, 1 or 0."""
    patient = await resource_of(request, orthanc_id)
    value = (await short_body(request)).strip().lower()
    if value not in (b"0", b"1", b"true", b"false"):
        raise BadRequest("Boolean value expected")
    await gateway(request).archive.catalogue.protect(patient, value in (b"1", b"true"))
    return text("")
