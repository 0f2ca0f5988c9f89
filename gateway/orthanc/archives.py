"""Resources as zips, with folders that people can read."""

import re
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime

import orjson
from aiohttp import web

from gateway.archive import Archive, Instance
from gateway.catalogue import Resource
from gateway.dicom.hierarchy import Attributes, Level, first_text
from gateway.errors import BadRequest, NotFound
from gateway.orthanc.answers import short_body
from gateway.orthanc.resources import resource_of
from gateway.web.context import gateway
from gateway.web.zip_stream import Entry, send_zip
from gateway.wire.zip_format import Member

_UNSAFE = re.compile(r"[^\w()+,=@ .-]+")
_BLANKS = re.compile(r"\s+")
_LONGEST_NAME = 80

#: Resources that one zip is made of.
_MOST_RESOURCES = 10_000


async def of_resource(request: web.Request, orthanc_id: str) -> web.StreamResponse:
    """All files of a resource: GET or POST /studies/{id}/archive."""
    resource = await resource_of(request, orthanc_id)
    await asked_at_once(request)
    return await _send(request, [resource], f"{orthanc_id}.zip")


async def of_several(request: web.Request) -> web.StreamResponse:
    """All files of some resources: /tools/create-archive, by body or ?resources=."""
    asked = await asked_at_once(request)
    if request.method == "POST":
        names = asked.get("Resources") if isinstance(asked, dict) else asked
    else:
        names = [name for name in request.query.get("resources", "").split(",") if name]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadRequest("List of strings expected in field: Resources")
    if not 0 < len(names) <= _MOST_RESOURCES:
        raise BadRequest(f"Resources: 1 to {_MOST_RESOURCES} identifiers are taken")
    catalogue = gateway(request).archive.catalogue
    found = []
    for name in dict.fromkeys(names):
        resource = await catalogue.of_any_level(name)
        if resource is None:
            raise NotFound(f"no resource has the identifier {name[:64]}")
        found.append(resource)
    return await _send(request, found, "Archive.zip")


async def asked_at_once(request: web.Request) -> object:
    """What the body asks for; raises BadRequest if that is what is not done here.

    That is a zip at another time, or one of other files than are stored.
    """
    if "transcode" in request.query:
        raise BadRequest("transcode: files are given as they are stored")
    body = await short_body(request) if request.method == "POST" else b""
    try:
        asked = orjson.loads(body) if body.strip() else {}
    except orjson.JSONDecodeError as error:
        raise BadRequest("the body is no JSON") from error
    if not isinstance(asked, dict):
        return asked
    if asked.get("Asynchronous") is True or asked.get("Synchronous") is False:
        raise BadRequest("archives are made while they are sent: ask for it at once")
    if asked.get("Transcode"):
        raise BadRequest("Transcode: files are given as they are stored")
    return asked


async def _send(
    request: web.Request, resources: Sequence[Resource], name: str
) -> web.StreamResponse:
    archive = gateway(request).archive
    async with aclosing(_members(archive, resources)) as members:
        return await send_zip(request, archive, name, members)


async def _members(
    archive: Archive, resources: Sequence[Resource]
) -> AsyncGenerator[Entry, None]:
    """Each file once, in the folder of its series."""
    seen: set[int] = set()
    is_alone = len(resources) == 1
    for resource in resources:
        folders = await _folders(archive, resource)
        counts: Counter[str] = Counter()
        async with aclosing(archive.catalogue.instances(resource)) as groups:
            async for group in groups:
                for instance in group:
                    if not is_alone:
                        if instance.id in seen:
                            continue
                        seen.add(instance.id)
                    folder, modality = folders[instance.study, instance.series]
                    counts[folder] += 1
                    yield _member(archive, instance, folder, modality, counts[folder])


def _member(
    archive: Archive, instance: Instance, folder: str, modality: str, number: int
) -> Entry:
    stored = datetime.strptime(instance.stored, "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC)
    name = f"{folder}/{modality}{number:06d}.dcm"
    return Entry(Member(name, instance.size, stored), [archive.file_range(instance)])


async def _folders(
    archive: Archive, resource: Resource
) -> dict[tuple[str, str], tuple[str, str]]:
    """By study and series, the folder and the modality of each series of a resource."""
    catalogue = archive.catalogue
    of_studies: dict[str, tuple[str, str]] = {}
    async with aclosing(
        catalogue.related(resource, Level.STUDY, lambda study: study)
    ) as studies:
        taken: set[str] = set()
        async for group in studies:
            for study in group:
                folder = _distinct(_study_folder(study.attributes), taken)
                of_studies[study.orthanc_id] = study.uid, folder
    found: dict[tuple[str, str], tuple[str, str]] = {}
    async with aclosing(
        catalogue.related(resource, Level.SERIES, lambda series: series)
    ) as several:
        taken = set()
        async for group in several:
            for series in group:
                uid, above = of_studies[series.parent]
                modality = _name(first_text(series.attributes, "00080060")) or "IM"
                text = first_text(series.attributes, "0008103E")
                folder = f"{above}/{_name(f'{modality} {text}')}"
                found[uid, series.uid] = _distinct(folder, taken), modality
    return found


def _study_folder(attributes: Attributes) -> str:
    def told(*tags: str) -> str:
        return _name(" ".join(first_text(attributes, tag) for tag in tags))

    patient = told("00100020", "00100010") or "Unknown Patient"
    return f"{patient}/{told('00080050', '00081030') or 'Unknown Study'}"


def _distinct(name: str, taken: set[str]) -> str:
    """The name, or one like it that nobody has."""
    candidate, number = name, 1
    while candidate.lower() in taken:
        number += 1
        candidate = f"{name} ({number})"
    taken.add(candidate.lower())
    return candidate


def _name(text: str) -> str:
    """A safe name of a folder that says the same."""
    plain = _BLANKS.sub(" ", _UNSAFE.sub(" ", text)).strip(" .")
    return plain[:_LONGEST_NAME].strip(" .")
