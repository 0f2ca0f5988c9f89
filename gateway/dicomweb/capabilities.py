"""Retrieve Capabilities: what there is at which address (PS3.18 8.9).

OpenAPI for the tools of today, and the WADL that the standard asks for; both are made of
the routes themselves.
"""

import orjson
from aiohttp import web

from gateway.errors import NotAcceptable
from gateway.web.context import accept, gateway
from gateway.web.middleware import ROUTER
from gateway.web.openapi import openapi
from gateway.web.wadl import wadl
from gateway.wire.media import Offer, choose

OPENAPI = "application/vnd.oai.openapi+json"
WADL = "application/vnd.sun.wadl+xml"

#: What a description can be had as, the usual one first.
KINDS = (OPENAPI, "application/json", WADL, "application/xml", "text/xml")


async def info(request: web.Request) -> web.StreamResponse:
    """Where the DICOMweb server is and, seen from there, Orthanc's own REST."""
    root = gateway(request).settings.dicom_web.root
    steps = [step for step in root.split("/") if step]
    told = {"DicomWebRoot": root, "OrthancApiRoot": "./" + "../" * len(steps)}
    return web.Response(body=orjson.dumps(told), content_type="application/json")


async def describe(request: web.Request) -> web.StreamResponse:
    """All operations, with their parameters and answers."""
    offer = choose(accept(request), [Offer(kind) for kind in KINDS])
    if offer is None:
        raise NotAcceptable(f"here there is {', '.join(KINDS)}")
    parts = gateway(request)
    server = parts.addresses.origin(request.headers, request.remote, request.secure)
    routes = request.app[ROUTER].routes
    if offer.kind.endswith("xml"):
        body = wadl(routes, server)
    else:
        body = orjson.dumps(openapi(routes, server, parts.version))
    headers = {"Vary": "Accept, Authorization", "Cache-Control": "private, no-cache"}
    return web.Response(body=body, content_type=offer.kind, headers=headers)
