"""Calls: what this gateway is asked to ask of a remote server.

Fields, defaults and answers are Orthanc's. Searches and plain requests are passed through
as they come; what moves instances becomes a job, which the caller may wait for.
"""

import asyncio
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from gateway.dicom.dictionary import keyword_of
from gateway.dicom.hierarchy import is_uid
from gateway.errors import (
    BadRequest,
    Conflict,
    GatewayError,
    RemoteFailure,
    RemoteTimeout,
    StorageFull,
)
from gateway.jobs.job import Job
from gateway.orthanc.answers import json_of
from gateway.orthanc.fields import Fields
from gateway.orthanc.system import reply
from gateway.transfers import retrieve as retrieving
from gateway.transfers import stow as sending
from gateway.transfers.listing import resource_of
from gateway.transfers.selection import select
from gateway.transfers.tally import MOST_RESOURCES
from gateway.web.context import gateway
from gateway.web.presence import present
from gateway.web.remote_headers import passed_on
from gateway.web.replies import streaming
from gateway.web.transmission import transmit

#: Say something of the bytes that does not hold once they are decoded.
_OF_THE_CODING = ("Content-Encoding", "Content-MD5", "Digest", "Content-Digest")
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_UNKNOWN = "Unknown Tag & Data"  # Orthanc's name of what no dictionary has
_LEVELS = {
    "study": ("StudyInstanceUID",),
    "series": ("StudyInstanceUID", "SeriesInstanceUID"),
    "instance": ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
}
_PATHS = ("studies", "series", "instances")


# -- passed through --------------------------------------------------------------------


def _uri(fields: Fields) -> str:
    """The path at the remote; raises BadRequest."""
    uri = fields.text("Uri")
    if "?" in uri or "#" in uri:
        raise BadRequest('Uri must not hold "?" nor "#": parameters go into Arguments')
    segments = uri.split("/")
    if ".." in segments or any(ord(letter) < 32 for letter in uri):
        raise BadRequest("Uri is not a path below the server")
    return "/" + "/".join(filter(None, segments))


async def get(request: web.Request, name: str) -> web.StreamResponse:
    """Any GET at the remote, streamed through: POST servers/{name}/get."""
    client = await gateway(request).servers.client(name)
    fields = Fields(await json_of(request))
    async with (
        present(request),
        client.call(
            "GET",
            _uri(fields),
            arguments=fields.pairs("Arguments"),
            headers=fields.pairs("HttpHeaders"),
        ) as answer,
    ):
        empty = answer.status == HTTPStatus.NO_CONTENT
        headers = _passed_on(answer.headers)
        if not empty:
            headers.setdefault("Content-Type", "application/octet-stream")
        response = web.StreamResponse(status=answer.status, headers=headers)
        async with streaming(request, response) as wanted:
            if wanted and not empty:
                archive = gateway(request).archive
                await transmit(request, response, archive, answer.chunks())
    return response


def _passed_on(headers: Mapping[str, str]) -> "CIMultiDict[str]":
    """Headers of an answer whose body is decoded that are for whoever asked us."""
    found = passed_on(headers)
    if "Content-Encoding" in found:
        for name in _OF_THE_CODING:
            found.popall(name, None)
    return found


async def qido(request: web.Request, name: str) -> web.StreamResponse:
    """A search at the remote, answered in a simple form: POST servers/{name}/qido."""
    client = await gateway(request).servers.client(name)
    fields = Fields(await json_of(request))
    path, arguments = _uri(fields), fields.pairs("Arguments")
    headers = fields.pairs("HttpHeaders")
    async with present(request):
        matches = await client.query(path, arguments, headers=headers)
    return await asyncio.to_thread(
        lambda: reply([_simplified(match, name) for match in matches])
    )


def _simplified(match: Mapping[str, Any], server: str) -> dict[str, Any]:
    return {
        tag: _attribute(tag, element, server)
        for tag, element in match.items()
        if _TAG.fullmatch(tag)
    }


def _attribute(tag: str, element: object, server: str) -> dict[str, Any]:
    vr = element.get("vr") if isinstance(element, Mapping) else None
    if not isinstance(element, Mapping) or not isinstance(vr, str):
        raise RemoteFailure(
            f"the server {server} answers with an attribute {tag} that has no vr",
            server=server,
        )
    made: dict[str, Any] = {
        "Element": int(tag[4:], 16),
        "Group": int(tag[:4], 16),
        "Name": keyword_of(tag.upper()) or _UNKNOWN,
        "vr": vr,
    }
    values = element.get("Value")
    if isinstance(values, list) and vr != "SQ":
        simple = [_value(value) for value in values]
        if simple and simple[0] is not None:
            made["Value"] = simple[0]
        if len(simple) > 1:
            made["Values"] = simple
    return made


def _value(value: object) -> object:
    if isinstance(value, Mapping):
        return value.get("Alphabetic") or next(iter(value.values()), None)
    return value if isinstance(value, (str, int, float)) else None


async def delete(request: web.Request, name: str) -> web.StreamResponse:
    """Delete at the remote: POST servers/{name}/delete."""
    servers = gateway(request).servers
    server = await servers.get(name)
    fields = Fields(await json_of(request))
    if not server.has_delete:
        raise BadRequest(f'the server {name} cannot delete: its "HasDelete" is false')
    level = fields.text("Level").lower()
    if level not in _LEVELS:
        raise BadRequest("Level is none of Study, Series, Instance")
    path = ""
    for place, attribute in zip(_PATHS, _LEVELS[level], strict=False):
        uid = fields.text(attribute)
        if not is_uid(uid):
            raise BadRequest(f"{attribute} is not a UID")
        path += f"/{place}/{uid}"
    client = await servers.client(name)
    await client.delete(path, headers=fields.pairs("HttpHeaders"))
    return reply({})


# -- jobs --------------------------------------------------------------------------------


def _waits(fields: Fields, *, usually: bool) -> bool:
    """Whether the caller waits for the job; Synchronous counts before Asynchronous."""
    synchronous, other = fields.flag("Synchronous"), fields.flag("Asynchronous")
    fields.flag(
        "Debug"
    )  # Orthanc's, which logs more; what a job does is in its content
    if synchronous is not None:
        return synchronous
    return usually if other is None else not other


async def wado(request: web.Request, name: str) -> web.StreamResponse:
    """Fetch what is at an address of the remote: POST servers/{name}/wado."""
    await gateway(request).servers.get(name)
    fields = Fields(await json_of(request))
    uri = _uri(fields)
    asked = {"Uri": uri, "Arguments": fields.pairs("Arguments")}
    waits = _waits(fields, usually=False)
    return await _fetch(request, name, fields, asked, {"Uri": uri}, waits=waits)


async def retrieve(request: web.Request, name: str) -> web.StreamResponse:
    """Fetch studies, series, instances: POST servers/{name}/retrieve."""
    await gateway(request).servers.get(name)
    fields = Fields(await json_of(request))
    resources = [resource_of(one) for one in fields.listed("Resources")]
    asked = {
        "Resources": [resource.uids for resource in resources],
        "Arguments": fields.pairs("GetArguments"),
    }
    shown = [resource.fields() for resource in resources[:MOST_RESOURCES]]
    waits = _waits(fields, usually=True)
    return await _fetch(request, name, fields, asked, {"Resources": shown}, waits=waits)


async def _fetch(
    request: web.Request,
    name: str,
    fields: Fields,
    asked: Mapping[str, Any],
    shown: Mapping[str, Any],
    *,
    waits: bool,
) -> web.StreamResponse:
    job = await gateway(request).jobs.submit(
        retrieving.TYPE,
        {
            **asked,
            "Server": name,
            "HttpHeaders": fields.pairs("HttpHeaders"),
            "Force": bool(fields.flag("Force")),
            "Synchronous": waits,
        },
        priority=fields.whole("Priority", 0),
        content={
            "Server": name,
            **shown,
            "Instances": [],
            "NetworkUsageMB": "0",
            "ReceivedInstancesCount": "0",
        },
    )
    return await _job_answer(request, job, waits=waits)


async def stow(request: web.Request, name: str) -> web.StreamResponse:
    """Send patients, studies, series, instances: POST servers/{name}/stow."""
    parts = gateway(request)
    await parts.servers.get(name)
    fields = Fields(await json_of(request))
    waits = _waits(fields, usually=True)
    headers = fields.pairs("HttpHeaders")
    priority = fields.whole("Priority", 0)
    selection = await select(parts.archive, fields.texts("Resources"))
    job = await parts.jobs.submit(
        sending.TYPE,
        {"Server": name, "HttpHeaders": headers, "Synchronous": waits},
        priority=priority,
        content=sending.first_content(
            name, selection.resources(), len(selection.instances), selection.size
        ),
        items=selection.instances,
    )
    return await _job_answer(request, job, waits=waits)


async def _job_answer(
    request: web.Request, job: Job, *, waits: bool
) -> web.StreamResponse:
    """The content of a job that the caller waited for, or where to look for it.

    Raises why it failed.
    """
    if waits:
        job = await gateway(request).jobs.wait(job.id, finished=True)
    if job.failure is not None and job.finished:
        error = _FAILURES.get(job.failure.code, RemoteFailure)
        raise error(f"{job.failure.details} (job {job.id})")
    if waits and job.finished:
        return reply(dict(job.content))
    # Relative to the address of the call's server, as Orthanc has it.
    root = gateway(request).settings.dicom_web.root
    up = "../" * len([part for part in root.split("/") if part])
    accepted = HTTPStatus.ACCEPTED if waits else HTTPStatus.OK
    return reply({"ID": job.id, "Path": f".././{up}jobs/{job.id}"}, accepted)


#: By Orthanc's number of a failure, the error that a waiting caller gets.
_FAILURES: dict[int, type[GatewayError]] = {
    16: RemoteTimeout,
    19: StorageFull,
    37: Conflict,
}
