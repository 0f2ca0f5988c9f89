"""The registry of remote servers: list, look, add, replace, remove.

Names are free text. Passwords, tokens and values of headers go in and never come out.
"""

from aiohttp import web

from gateway.orthanc.answers import json_of
from gateway.orthanc.system import reply
from gateway.remote.server import public
from gateway.web.context import gateway

#: What may be asked of a server; the order is Orthanc's.
_CALLS = ("get", "retrieve", "stow", "wado", "qido")


async def list_all(request: web.Request) -> web.StreamResponse:
    """Names of the servers, or what is shown of each: GET servers?expand."""
    servers = gateway(request).servers
    if "expand" in request.query:
        found = await servers.all()
        return reply({name: public(found[name]) for name in sorted(found)})
    return reply(sorted(await servers.names()))


async def one(request: web.Request, name: str) -> web.StreamResponse:
    """What may be asked of a server: GET servers/{name}."""
    server = await gateway(request).servers.get(name)
    read_only = gateway(request).settings.read_only
    calls = [call for call in _CALLS if not (read_only and call in _WRITING)]
    return reply([*calls, "delete"] if server.has_delete else calls)


async def put(request: web.Request, name: str) -> web.StreamResponse:
    """Add or replace a server, in either form: PUT servers/{name}."""
    await gateway(request).servers.put(name, await json_of(request))
    return reply({})


async def delete(request: web.Request, name: str) -> web.StreamResponse:
    """Remove a server: DELETE servers/{name}."""
    await gateway(request).servers.delete(name)
    return reply({})


#: Calls that store something here.
_WRITING = frozenset({"retrieve", "wado"})
