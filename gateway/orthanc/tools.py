"""Small tools: the time, identifiers, deletion of many, and what nobody is given."""

import asyncio
import uuid
from datetime import UTC, datetime

from aiohttp import web

from gateway.errors import BadConfiguration, BadRequest, NotAllowed, NotFound
from gateway.orthanc.answers import json_body, reply, short_body, text
from gateway.web.context import ENDING, Ending, gateway

_LEVELS = ("patient", "study", "series", "instance")
_MOST_RESOURCES = 100_000

#: What lies under /tools.
_NAMES = [
    *("bulk-delete", "count-resources", "create-archive", "default-encoding"),
    *("execute-script", "find", "generate-uid", "labels", "lookup", "now"),
    *("now-local", "reset", "shutdown"),
]

#: Seconds until the process is told to end, so that the answer gets out before.
_SOON = 0.2


async def names(request: web.Request) -> web.StreamResponse:
    """What tools there are: GET /tools."""
    return reply(_NAMES)


async def now(request: web.Request) -> web.StreamResponse:
    """The time in UTC: GET /tools/now."""
    return text(datetime.now(UTC).strftime("%Y%m%dT%H%M%S"))


async def now_local(request: web.Request) -> web.StreamResponse:
    """The time where the server is: GET /tools/now-local."""
    return text(datetime.now().astimezone().strftime("%Y%m%dT%H%M%S"))


async def generate_uid(request: web.Request) -> web.StreamResponse:
    """A new identifier: GET /tools/generate-uid?level=study (PS3.5 B.2)."""
    level = request.query.get("level", "")
    if level not in _LEVELS:
        raise NotFound(f"level is none of {', '.join(_LEVELS)}")
    if level == "patient":
        return text(str(uuid.uuid4()))
    return text(f"2.25.{uuid.uuid4().int}")


async def default_encoding(request: web.Request) -> web.StreamResponse:
    """The character set of files that name none: GET /tools/default-encoding."""
    return text(gateway(request).settings.default_encoding)


async def set_default_encoding(request: web.Request) -> web.StreamResponse:
    """Not here: files are read when they come, by the configuration."""
    wanted = (await short_body(request)).decode("ascii", "replace").strip()
    if wanted == gateway(request).settings.default_encoding:
        return text(wanted)
    raise NotAllowed(
        "DefaultEncoding is set in the configuration: what is held was read by it"
    )


async def bulk_delete(request: web.Request) -> web.StreamResponse:
    """Delete resources of any level: POST /tools/bulk-delete; unknown ones are skipped."""
    names = (await json_body(request)).get("Resources")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadRequest("List of strings expected in field: Resources")
    if len(names) > _MOST_RESOURCES:
        raise BadRequest(f"Resources: more than {_MOST_RESOURCES} identifiers")
    archive = gateway(request).archive
    for name in dict.fromkeys(names):
        resource = await archive.catalogue.of_any_level(name)
        if resource is None:
            continue
        try:
            await archive.remove(resource)
        except NotFound:
            continue  # somebody else was faster
    return text("")


async def refuse_script(request: web.Request) -> web.StreamResponse:
    """No script of a caller is run here."""
    raise NotAllowed(
        "scripts are not run here: this gateway has no Lua, and takes no code"
    )


async def shut_down(request: web.Request) -> web.StreamResponse:
    """End the server, once what is under way is through: POST /tools/shutdown."""
    asyncio.get_running_loop().call_later(_SOON, _ending(request).stop)
    return reply({})


async def reset(request: web.Request) -> web.StreamResponse:
    """Start the server anew, with the configuration as it is now: POST /tools/reset.

    Raises BadRequest if it cannot be used: then this server goes on as it is.
    """
    ending = _ending(request)
    try:
        await asyncio.to_thread(ending.check)
    except BadConfiguration as error:
        raise BadRequest(f"the server goes on as it is: {error}") from error
    asyncio.get_running_loop().call_later(_SOON, ending.restart)
    return reply({})


def _ending(request: web.Request) -> Ending:
    """How the server ends; raises NotAllowed where nobody may end it from afar."""
    settings = gateway(request).settings
    if settings.remote_access_allowed and not settings.authentication_enabled:
        raise NotAllowed("where nobody has to say who he is, nobody ends the server")
    ending = request.app.get(ENDING)
    if ending is None:
        raise NotAllowed("this server is part of another program")
    return ending
