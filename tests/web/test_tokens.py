"""Tokens of OAuth 2.0, from a token server that runs here."""

import asyncio
import base64
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from gateway.errors import (
    BadRequest,
    GatewayError,
    RemoteFailure,
    RemoteRefused,
    RemoteTimeout,
)
from gateway.remote import tokens
from gateway.remote.client import DicomWebClient
from gateway.remote.outgoing import Outgoing
from gateway.remote.server import Server
from gateway.remote.tls import client_context
from gateway.remote.tokens import TokenSource
from tests.certificates import Authority, pem
from tests.mutual import mutual_context

SECRET = "s3cret+/ä"
Answer = Callable[[], web.StreamResponse]


class Endpoint:
    """A token server: it counts the tokens it gives, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.expires_in: object = 3600
        self.answer: Answer | None = None
        self.pause = 0.0
        self.url = ""

    async def give(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        self.asked.append({key: str(value) for key, value in form.items()})
        self.headers.append(dict(request.headers))
        await asyncio.sleep(self.pause)
        if self.answer is not None:
            return self.answer()
        token = {"access_token": f"token-{len(self.asked)}", "token_type": "Bearer"}
        if self.expires_in is not None:
            token["expires_in"] = self.expires_in  # type: ignore[assignment]
        return web.json_response(token)


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    made = Endpoint()
    app = web.Application()
    app.router.add_post("/token", made.give)
    async with TestServer(app) as server:
        made.url = str(server.make_url("/token"))
        yield made


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def source(
    endpoint: Endpoint, clock: Clock | None = None, **fields: str
) -> TokenSource:
    oauth2 = {"TokenUrl": endpoint.url, "ClientId": "gateway", "ClientSecret": SECRET}
    oauth2 = {**oauth2, **fields}
    context = ssl.create_default_context()
    return TokenSource("Cloud", oauth2, context, clock=clock or Clock())


async def refusal(source: TokenSource, kind: Any = RemoteFailure) -> Any:
    with pytest.raises(GatewayError) as caught:
        await source.token()
    assert type(caught.value) is kind
    assert SECRET not in caught.value.message
    assert 'server "Cloud": ' in caught.value.message
    return caught.value


# -- what is asked -----------------------------------------------------------------------


async def test_a_client_asks_with_its_name_and_secret(endpoint: Endpoint) -> None:
    wanted = source(endpoint, Scope="dicom.read dicom.write", Audience="archive")
    assert await wanted.token() == "token-1"
    assert endpoint.asked == [
        {
            "grant_type": "client_credentials",
            "scope": "dicom.read dicom.write",
            "audience": "archive",
        }
    ]
    kind, _, pair = endpoint.headers[0]["Authorization"].partition(" ")
    assert kind == "Basic"
    name, _, secret = base64.b64decode(pair).decode().partition(":")
    assert (unquote_plus(name), unquote_plus(secret)) == ("gateway", SECRET)


async def test_a_client_may_send_its_secret_in_the_form(endpoint: Endpoint) -> None:
    await source(endpoint, ClientAuthentication="post").token()
    assert endpoint.asked == [
        {
            "grant_type": "client_credentials",
            "client_id": "gateway",
            "client_secret": SECRET,
        }
    ]
    assert "Authorization" not in endpoint.headers[0]


def part(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def test_a_service_account_signs_what_it_asks(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    key = await asyncio.to_thread(rsa.generate_private_key, 65537, 2048)
    file = tmp_path / "account.json"
    account = {
        "type": "service_account",
        "client_email": "gateway@example.org",
        "private_key": pem(key).decode(),
        "private_key_id": "key-7",
        "token_uri": endpoint.url,
    }
    file.write_text(json.dumps(account))
    oauth2 = {"ServiceAccountFile": str(file)}
    context = ssl.create_default_context()
    assert await TokenSource("Cloud", oauth2, context).token() == "token-1"
    (form,) = endpoint.asked
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    signed, _, signature = form["assertion"].rpartition(".")
    header, claims = (json.loads(part(text)) for text in signed.split("."))
    key.public_key().verify(part(signature), signed.encode(), PKCS1v15(), SHA256())
    assert header == {"alg": "RS256", "typ": "JWT", "kid": "key-7"}
    assert claims.pop("exp") - claims["iat"] == 3600
    assert abs(claims.pop("iat") - time.time()) < 60
    assert claims == {
        "iss": "gateway@example.org",
        "scope": "https://www.googleapis.com/auth/cloud-healthcare",
        "aud": endpoint.url,
    }


async def test_the_way_to_the_endpoint_is_secured_as_the_way_to_the_server(
    tmp_path: Path,
) -> None:
    made = Endpoint()
    app = web.Application()
    app.router.add_post("/token", made.give)
    authority = await asyncio.to_thread(Authority, tmp_path)
    own, client = (
        authority.issue("localhost", ("localhost",)),
        authority.issue("client"),
    )
    outgoing = Outgoing(ca_certificates=authority.certificate)
    server = Server(
        name="Cloud",
        url="https://localhost/",
        certificate_file=str(client.certificate),
        certificate_key_file=str(client.key),
    )
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        context = mutual_context(authority, own)
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        made.url = f"https://localhost:{runner.addresses[0][1]}/token"
        shown = await asyncio.to_thread(client_context, server, outgoing)
        oauth2 = {"TokenUrl": made.url, "ClientId": "gateway", "ClientSecret": SECRET}
        assert await TokenSource("Cloud", oauth2, shown).token() == "token-1"
        found = await refusal(source(made))  # trusts others
        assert found.status is None
        assert "cannot be reached" in found.message
    finally:
        await runner.cleanup()


async def test_the_endpoint_is_reached_by_the_proxy_of_the_server(
    endpoint: Endpoint,
) -> None:
    proxy = endpoint.url.replace("//", "//alice:p%40ss@").removesuffix("/token")
    oauth2 = {
        "TokenUrl": "http://id.hospital.invalid/token",
        "ClientId": "gateway",
        "ClientSecret": SECRET,
    }
    context = ssl.create_default_context()
    assert await TokenSource("Cloud", oauth2, context, proxy).token() == "token-1"
    (headers,) = endpoint.headers
    assert headers["Host"] == "id.hospital.invalid"
    login = headers["Proxy-Authorization"].removeprefix("Basic ")
    assert base64.b64decode(login) == b"alice:p@ss"


# -- how long it is good -----------------------------------------------------------------


async def test_a_token_is_used_until_shortly_before_its_end(endpoint: Endpoint) -> None:
    clock = Clock()
    wanted = source(endpoint, clock)
    assert await wanted.token() == "token-1"
    clock.now += 3600 - 61
    assert await wanted.token() == "token-1"
    clock.now += 2
    assert await wanted.token() == "token-2"
    assert len(endpoint.asked) == 2


@pytest.mark.parametrize(
    ("expires_in", "used"),
    [
        *((10, 8), ("600", 540), (None, 240), (0, 240), ("x", 240)),
        *((10**400, 30 * 86_400 - 60), (float("inf"), 30 * 86_400 - 60)),
        (float("nan"), 240),
    ],
)
async def test_any_lifetime_is_used_in_part(
    endpoint: Endpoint, expires_in: object, used: int
) -> None:
    clock = Clock()
    endpoint.expires_in = expires_in
    wanted = source(endpoint, clock)
    await wanted.token()
    clock.now += used - 1
    assert await wanted.token() == "token-1"
    clock.now += 2
    assert await wanted.token() == "token-2"


async def test_a_token_that_the_server_refused_is_not_used_again(
    endpoint: Endpoint,
) -> None:
    wanted = source(endpoint)
    first = await wanted.token()
    wanted.forget(first)
    second = await wanted.token()
    assert (first, second) == ("token-1", "token-2")
    wanted.forget(first)  # who was late with the older one does no harm
    assert await wanted.token() == "token-2"


async def test_many_at_once_are_one_request(endpoint: Endpoint) -> None:
    endpoint.pause = 0.05
    wanted = source(endpoint)
    found = await asyncio.gather(*(wanted.token() for _ in range(20)))
    assert set(found) == {"token-1"}
    assert len(endpoint.asked) == 1


async def test_who_gives_up_waiting_does_not_take_the_token_from_others(
    endpoint: Endpoint,
) -> None:
    endpoint.pause = 0.05
    wanted = source(endpoint)
    first, second = (asyncio.create_task(wanted.token()) for _ in range(2))
    await asyncio.sleep(0.02)
    first.cancel()
    assert (await second).startswith("token-")
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_many_at_once_share_a_failure(endpoint: Endpoint) -> None:
    endpoint.pause = 0.05
    endpoint.answer = lambda: web.Response(status=503)
    wanted = source(endpoint)
    found = await asyncio.gather(
        *(wanted.token() for _ in range(20)), return_exceptions=True
    )
    assert {type(one) for one in found} == {RemoteFailure}
    assert len(endpoint.asked) == 1
    endpoint.answer = None
    assert await wanted.token() == "token-2"


@pytest.fixture
async def archive() -> AsyncIterator[tuple[str, list[str], set[str]]]:
    """A remote that takes each token until it is withdrawn: the tokens that it saw."""
    seen: list[str] = []
    withdrawn: set[str] = set()

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization", ""))
        if seen[-1] in withdrawn:
            return web.Response(status=401)
        return web.json_response([])

    app = web.Application()
    app.router.add_get("/studies", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("/")), seen, withdrawn


async def test_a_refused_token_is_replaced_within_the_same_call(
    endpoint: Endpoint, archive: tuple[str, list[str], set[str]]
) -> None:
    url, seen, withdrawn = archive
    oauth2 = {"TokenUrl": endpoint.url, "ClientId": "gateway", "ClientSecret": SECRET}
    client = DicomWebClient(Server("Cloud", url, oauth2=oauth2), Outgoing())
    try:
        assert await client.query("/studies") == []
        assert await client.query("/studies") == []
        withdrawn.add("Bearer token-1")
        assert await client.query("/studies") == []
        assert seen == ["Bearer token-1"] * 3 + ["Bearer token-2"]
        withdrawn.update(f"Bearer token-{number}" for number in range(10))
        with pytest.raises(RemoteRefused, match="401"):
            await client.query("/studies")
        assert seen[4:] == ["Bearer token-2", "Bearer token-3"]
    finally:
        await client.close()


# -- what goes wrong ---------------------------------------------------------------------


async def test_an_error_of_the_endpoint_is_named(endpoint: Endpoint) -> None:
    endpoint.answer = lambda: web.json_response(
        {"error": "invalid_client", "error_description": f"{SECRET} is wrong"},
        status=401,
    )
    found = await refusal(source(endpoint))
    assert found.message.endswith("its token endpoint answered 401: invalid_client")
    assert (found.server, found.status, found.retry) == ("Cloud", 401, False)


async def test_an_endpoint_in_trouble_may_be_asked_later(endpoint: Endpoint) -> None:
    endpoint.answer = lambda: web.Response(status=429, headers={"Retry-After": "7"})
    found = await refusal(source(endpoint))
    assert (found.status, found.retry, found.retry_after) == (429, True, 7.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<html>", "answered 200 without an access_token"),
        ("[]", "answered 200 without an access_token"),
        ('{"access_token": 7}', "answered 200 without an access_token"),
        ('{"access_token": "a\\r\\nX: y"}', "answered 200 without an access_token"),
        ('{"access_token": "' + "a" * 70_000 + '"}', "without an access_token"),
        (
            '{"access_token": "a", "token_type": "mac"}',
            "a token_type that is not Bearer",
        ),
    ],
)
async def test_an_answer_without_a_token_is_said(
    endpoint: Endpoint, text: str, words: str
) -> None:
    endpoint.answer = lambda: web.Response(text=text, content_type="application/json")
    found = await refusal(source(endpoint))
    assert words in found.message
    assert found.retry is False


async def test_a_secret_is_not_taken_elsewhere(endpoint: Endpoint) -> None:
    endpoint.answer = lambda: web.Response(
        status=307, headers={"Location": f"{endpoint.url}?again"}
    )
    found = await refusal(source(endpoint))
    assert found.status == 307
    assert len(endpoint.asked) == 1


async def test_an_endpoint_that_is_not_there_is_said(endpoint: Endpoint) -> None:
    found = await refusal(source(endpoint, TokenUrl="http://127.0.0.1:9/token"))
    assert "cannot be reached" in found.message
    assert (found.status, found.retry) == (None, True)


async def test_a_silent_endpoint_is_given_up(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_SECONDS", 0.1)
    endpoint.pause = 1.0
    found = await refusal(source(endpoint), RemoteTimeout)
    assert found.retry is True


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"ClientId": ""}, "OAuth2.ClientId is needed"),
        ({"TokenUrl": ""}, "OAuth2.TokenUrl is needed"),
        ({"TokenUrl": "ftp://x"}, "OAuth2.TokenUrl: an address"),
        ({"GrantType": "password"}, "OAuth2.GrantType: "),
        ({"ClientAuthentication": "none"}, "OAuth2.ClientAuthentication: "),
        ({"ServiceAccountFile": "/gone.json"}, "/gone.json: No such file"),
        ({"ServiceAccountFile": "/dev/zero"}, "/dev/zero: not a file"),
    ],
)
async def test_a_definition_that_cannot_be_used_names_the_field(
    endpoint: Endpoint, fields: dict[str, str], words: str
) -> None:
    if "ServiceAccountFile" in fields:
        fields = {"GrantType": "service_account", **fields}
    found = await refusal(source(endpoint, **fields), BadRequest)
    assert words in found.message
    assert endpoint.asked == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("no JSON", "is not JSON"),
        ("[]", "is not a JSON object"),
        ("{}", 'has no "token_uri"'),
        (
            '{"token_uri": "http://x", "client_email": "a", "private_key": "hidden"}',
            '"private_key" of',
        ),
    ],
)
async def test_an_account_that_cannot_be_used_is_said_and_not_shown(
    tmp_path: Path, content: str, words: str
) -> None:
    file = tmp_path / "account.json"
    file.write_text(content)
    oauth2 = {"ServiceAccountFile": str(file)}
    wanted = TokenSource("Cloud", oauth2, ssl.create_default_context())
    found = await refusal(wanted, BadRequest)
    assert words in found.message
    assert str(file) in found.message
    assert "hidden" not in found.message
