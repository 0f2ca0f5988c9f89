"""Answers that are streamed: what becomes of them when they cannot be sent."""

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway.web.replies import streaming


async def test_a_head_that_cannot_be_sent_ends_the_connection() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"X-Bad": "a\x01b"})
        async with streaming(request, response):
            await response.write(b"never")
        return response

    app = web.Application()
    app.router.add_get("/", answer)
    async with TestClient(TestServer(app)) as client:
        # Not another answer: it would go out in the framing of the first.
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await client.get("/")
