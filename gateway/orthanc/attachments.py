"""The file of an instance as Orthanc's attachment named dicom, the only one there is."""

from aiohttp import web

from gateway.archive import Instance
from gateway.catalogue import Resource
from gateway.dicom.hierarchy import Level
from gateway.errors import NotFound
from gateway.orthanc.answers import flag, reply, text
from gateway.orthanc.resources import last_part, resource_of
from gateway.web.context import gateway
from gateway.web.files import send_file

_DICOM, _NUMBER = "dicom", 1

#: What can be asked of an attachment.
_QUESTIONS = [
    *("compressed-data", "compressed-md5", "compressed-size", "data", "info"),
    *("is-compressed", "md5", "size"),
]


async def list_all(request: web.Request, orthanc_id: str) -> web.StreamResponse:
    """The names of the attachments: GET .../attachments?full."""
    resource = await resource_of(request, orthanc_id)
    names = {_DICOM: _NUMBER} if resource.level is Level.INSTANCE else {}
    return reply(names if flag(request, "full") else list(names))


async def questions(
    request: web.Request, orthanc_id: str, name: str
) -> web.StreamResponse:
    """What can be asked of an attachment: GET .../attachments/{name}."""
    await _found(request, orthanc_id, name)
    return reply(_QUESTIONS)


async def data(request: web.Request, orthanc_id: str, name: str) -> web.StreamResponse:
    """The bytes, or some of them: GET .../attachments/{name}/data."""
    await _found(request, orthanc_id, name)
    instance: Instance = await gateway(request).archive.by_orthanc_id(orthanc_id)
    headers = {"Content-Disposition": f'attachment; filename="{instance.blob}"'}
    return await send_file(request, instance, "application/dicom", headers)


async def answer(
    request: web.Request, orthanc_id: str, name: str
) -> web.StreamResponse:
    """A property of the file: .../size, md5, compressed-size, -md5, is-compressed."""
    found = await _found(request, orthanc_id, name)
    question = last_part(request)
    if question == "is-compressed":
        return text("0")
    if question.endswith("size"):
        return text(str(found.size))
    return text(await gateway(request).archive.catalogue.md5(found))


async def info(request: web.Request, orthanc_id: str, name: str) -> web.StreamResponse:
    """All properties of the file: GET .../attachments/{name}/info."""
    found = await _found(request, orthanc_id, name)
    digest = await gateway(request).archive.catalogue.md5(found)
    return reply(
        {
            "CompressedMD5": digest,
            "CompressedSize": found.size,
            "ContentType": _NUMBER,
            "UncompressedMD5": digest,
            "UncompressedSize": found.size,
            "Uuid": found.blob,
        }
    )


async def _found(request: web.Request, orthanc_id: str, name: str) -> Resource:
    resource = await resource_of(request, orthanc_id)
    if resource.level is not Level.INSTANCE or name not in (_DICOM, str(_NUMBER)):
        raise NotFound(f"there is no attachment {name[:64]} here")
    return resource
