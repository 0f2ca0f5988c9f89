"""What pages of other sites may do: nothing, unless they are named."""

import pytest

from gateway.errors import BadConfiguration
from tests.clients import ROOT, store
from tests.factories import image
from tests.settings import settings

SITE = "https://viewer.example"
USERS = {"RegisteredUsers": {"alice": "secret"}, "AuthenticationEnabled": True}


def asks(method: str = "GET", origin: str = SITE) -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "accept,authorization",
    }


async def test_without_sites_nothing_is_said(client):
    for response in [
        await client.get(f"{ROOT}/studies", headers={"Origin": SITE}),
        await client.options(f"{ROOT}/studies", headers=asks()),
    ]:
        assert not [name for name in response.headers if name.startswith("Access")]
        assert "Cross-Origin-Resource-Policy" not in response.headers


async def test_a_browser_may_ask_without_a_password(start):
    client = await start(CorsOrigins=[SITE], **USERS)
    for path in (f"{ROOT}/studies", f"{ROOT}/", "/", f"{ROOT}/studies/1.2/metadata"):
        response = await client.options(path, headers=asks())
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == SITE
        assert "DELETE" in response.headers["Access-Control-Allow-Methods"]
        assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
        assert int(response.headers["Access-Control-Max-Age"]) > 0
        assert "Origin" in response.headers["Vary"]
        assert "Access-Control-Allow-Credentials" not in response.headers
    plain = await client.options(f"{ROOT}/studies", headers={"Origin": SITE})
    assert plain.status == 401
    assert plain.headers["Access-Control-Allow-Origin"] == SITE


async def test_a_stranger_is_not_let_in(start):
    client = await start(CorsOrigins=[SITE])
    for origin in ("https://evil.example", "null", f"{SITE}.evil.example"):
        response = await client.options(f"{ROOT}/studies", headers=asks(origin=origin))
        assert not [name for name in response.headers if name.startswith("Access")]
        response = await client.get(f"{ROOT}/studies", headers={"Origin": origin})
        assert response.status == 200
        assert not [name for name in response.headers if name.startswith("Access")]
        assert "Origin" in response.headers["Vary"]


async def test_answers_are_handed_over_with_their_headers(start):
    client = await start(CorsOrigins=["*"], HttpCompressionEnabled=True, **USERS)
    login = {"Authorization": "Basic YWxpY2U6c2VjcmV0", "Origin": SITE}
    for path in ("studies", "studies/1.2.3", "nothing"):
        response = await client.get(f"{ROOT}/{path}", headers=login)
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        exposed = response.headers["Access-Control-Expose-Headers"].split(", ")
        assert {"Content-Range", "Content-Location", "Warning", "ETag"} <= set(exposed)
        assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert "Origin" in response.headers["Vary"]


async def test_files_that_the_kernel_sends_are_signed_as_well(start):
    client = await start(CorsOrigins=[SITE])
    await store(client, image(256, 256))
    response = await client.get(f"{ROOT}/studies/1.2.3.1", headers={"Origin": SITE})
    assert response.status == 200
    assert response.headers["Access-Control-Allow-Origin"] == SITE
    assert len(await response.read()) > 256 * 256


async def test_passwords_only_for_sites_with_a_name(start):
    client = await start(CorsOrigins=[SITE], CorsCredentials=True)
    response = await client.get(f"{ROOT}/studies", headers={"Origin": SITE})
    assert response.headers["Access-Control-Allow-Credentials"] == "true"


def test_passwords_for_everybody_are_refused_at_the_start(tmp_path):
    with pytest.raises(BadConfiguration, match="CorsCredentials"):
        settings(tmp_path, {"CorsOrigins": ["*"], "CorsCredentials": True})


async def test_methods_and_headers_are_those_of_the_settings(start):
    client = await start(
        CorsOrigins=[SITE], CorsMethods=["GET"], CorsHeaders=["X-Token"]
    )
    response = await client.options(f"{ROOT}/studies", headers=asks())
    assert response.headers["Access-Control-Allow-Methods"] == "GET"
    assert response.headers["Access-Control-Allow-Headers"] == "X-Token"
