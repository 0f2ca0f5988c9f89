"""A server that lets in nobody without a certificate, and says whom it let in."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from tests.certificates import Authority, Pair


async def _whoever(request: web.Request) -> web.Response:
    """The common name of the client, and how many bytes it sent."""
    assert request.transport is not None
    ((((_, name),),)) = request.transport.get_extra_info("peercert")["subject"]
    received = 0
    async for chunk in request.content.iter_any():
        received += len(chunk)
    chunked = request.headers.get("Transfer-Encoding") == "chunked"
    return web.json_response({"name": name, "received": received, "chunked": chunked})


def mutual_context(authority: Authority, own: Pair) -> ssl.SSLContext:
    """TLS of a server that asks for a certificate of the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)
    context.load_verify_locations(authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@asynccontextmanager
async def mutual_server(authority: Authority) -> AsyncIterator[str]:
    """Run it on a free port; its address."""
    own = authority.issue("localhost", ("localhost",))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", _whoever)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        context = mutual_context(authority, own)
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        port = runner.addresses[0][1]
        yield f"https://localhost:{port}/"
    finally:
        await runner.cleanup()
