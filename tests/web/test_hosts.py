"""Names of strangers that lead to this machine."""

import socket
from typing import Any

import pytest


async def status(client: Any, host: str, path: str = "/system") -> int:
    response = await client.get(path, headers={"Host": host})
    return int(response.status)


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST:8042", "localhost.", "pacs.localhost:1"),
        *("127.0.0.1:8042", "127.9.9.9", "[::1]:8042", "[::1]", "10.1.2.3:80"),
        *(socket.gethostname(), f"{socket.gethostname()}.local:8042"),
    ],
)
async def test_names_of_this_machine_are_taken(client: Any, host: str) -> None:
    assert await status(client, host) == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8042", "127.0.0.1.x.y"])
async def test_a_name_of_a_stranger_is_refused(client: Any, host: str) -> None:
    response = await client.get("/studies", headers={"Host": host})
    assert response.status == 421
    assert "AllowedHosts" in (await response.json())["Details"]
    forwarded = {"Host": host, "X-Forwarded-Host": "localhost"}
    response = await client.get("/studies", headers=forwarded)
    assert response.status == 421


async def test_probes_may_use_any_name(client: Any) -> None:
    assert await status(client, "probe.example", "/health/live") == 200


@pytest.mark.parametrize(
    "options",
    [
        {"AllowedHosts": ["pacs.example"]},
        {"AllowedHosts": ["*"]},
        {"DicomWeb": {"Host": "pacs.example:8080"}},
        {"TrustedProxies": ["127.0.0.1", "::1"]},
        {"RemoteAccessAllowed": True, "AuthenticationEnabled": False},
    ],
)
async def test_the_settings_say_what_other_names_are_taken(
    start: Any, options: dict[str, Any]
) -> None:
    assert await status(await start(**options), "pacs.example") == 200


async def test_named_hosts_count_wherever_requests_come_from(start: Any) -> None:
    open_to_all = {"RemoteAccessAllowed": True, "AuthenticationEnabled": False}
    client = await start(**open_to_all, AllowedHosts=["pacs.example"])
    assert await status(client, "pacs.example:80") == 200
    assert await status(client, "evil.example") == 421
