"""What all tests share: a running gateway, small DICOM files, and a guard on the loop."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from blockbuster import blockbuster_ctx

from gateway.app import build
from gateway.web.middleware import Entrance
from tests import manual
from tests.settings import settings
from tests.starting import GatewayServer

Start = Callable[..., Any]


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leave out what takes long, but where everything has to be shown, or by name."""
    if os.environ.get("GATEWAY_ALL_TESTS") or any("::" in word for word in config.args):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]


@pytest.fixture(autouse=True, scope="session")
def no_blocking() -> Iterator[None]:
    """A call that blocks the event loop fails the test that made it."""
    with blockbuster_ctx("gateway"):
        yield


@pytest.fixture
def handled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses of requests that went to a handler, or to an error."""
    seen: list[str] = []
    answer = Entrance.answer

    async def noted(entrance: Entrance, request: web.Request) -> web.StreamResponse:
        seen.append(request.path_qs)
        return await answer(entrance, request)

    monkeypatch.setattr(Entrance, "answer", noted)
    return seen


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built manual."""
    own = tmp_path_factory.getbasetemp()
    return manual.built(own.parent if own.name.startswith("popen-") else own)


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start a gateway with the given options; the client that speaks to it.

    ``await start(ReadOnly=True, DicomWeb={"Root": "/x/"})``
    """
    async with AsyncExitStack() as stack:

        async def begin(**options: Any) -> TestClient[Any, Any]:
            made = await asyncio.to_thread(settings, tmp_path, options)
            app = await asyncio.to_thread(build, made)
            client = TestClient(GatewayServer(app), auto_decompress=False)
            return await stack.enter_async_context(client)

        yield begin


@pytest.fixture
async def client(start: Start) -> TestClient[Any, Any]:
    """A gateway with the default options, and the client that speaks to it."""
    started: TestClient[Any, Any] = await start()
    return started
