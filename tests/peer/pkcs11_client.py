"""A client whose key is in a token, as a process: the token's module reads the environment.

Reads from standard input what to do, as JSON, and prints what the server answered, or
what was refused, as JSON lines.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from gateway.errors import GatewayError
from gateway.remote.outgoing import Outgoing
from gateway.remote.server import Server
from gateway.remote.tls import client_context

CHUNK, CHUNKS = 65_536, 64


async def _body() -> AsyncIterator[bytes]:
    for _ in range(CHUNKS):
        yield bytes(CHUNK)


async def _asked(url: str, server: Server, outgoing: Outgoing) -> list[Any]:
    context = await asyncio.to_thread(client_context, server, outgoing)
    async with aiohttp.ClientSession() as session:
        answers = []
        for method, body in (("GET", None), ("POST", _body())):
            async with session.request(method, url, data=body, ssl=context) as response:
                answers.append(await response.json())
        return answers


async def _main(wanted: dict[str, Any]) -> None:
    outgoing = Outgoing(
        ca_certificates=Path(wanted["authority"]), pkcs11=wanted["Pkcs11"]
    )
    for key in wanted["keys"]:
        server = Server(
            name="Away",
            url=wanted["url"],
            certificate_file=wanted["certificate"],
            certificate_key_file=key,
            pkcs11=True,
        )
        try:
            told: Any = await _asked(wanted["url"], server, outgoing)
        except GatewayError as error:
            told = [type(error).__name__, error.message]
        print(json.dumps(told), flush=True)


asyncio.run(_main(json.load(sys.stdin)))
