"""TLS as a client: whom we trust, and what we show of ourselves, in real handshakes."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.errors import BadConfiguration, BadRequest, GatewayError
from gateway.remote.outgoing import Outgoing
from gateway.remote.server import Server
from gateway.remote.tls import client_context
from tests.certificates import Authority, Pair
from tests.mutual import mutual_server

PASSWORD = "open sésame"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def client(authority: Authority) -> Pair:
    return authority.issue("gateway")


@pytest.fixture(scope="module")
def closed(authority: Authority) -> Pair:
    return authority.issue("closed gateway", password=PASSWORD)


def server(**fields: Any) -> Server:
    given = {key: str(value) for key, value in fields.items() if key != "pkcs11"}
    pkcs11 = fields.get("pkcs11", False)
    return Server(name="Away", url="https://localhost/", pkcs11=pkcs11, **given)


async def asked(authority: Authority, remote: Server) -> Any:
    """What a server that asks for a certificate says of us."""
    outgoing = Outgoing(ca_certificates=authority.certificate)
    context = await asyncio.to_thread(client_context, remote, outgoing)
    async with (
        mutual_server(authority) as url,
        aiohttp.ClientSession() as session,
        session.get(url, ssl=context) as response,
    ):
        return await response.json()


async def test_a_client_shows_its_certificate(
    authority: Authority, client: Pair
) -> None:
    remote = server(
        certificate_file=client.certificate, certificate_key_file=client.key
    )
    assert (await asked(authority, remote))["name"] == "gateway"


async def test_the_key_may_be_in_the_file_of_the_certificate(
    authority: Authority, client: Pair, tmp_path: Path
) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(client.certificate.read_bytes() + client.key.read_bytes())
    answer = await asked(authority, server(certificate_file=both))
    assert answer["name"] == "gateway"


async def test_a_key_may_be_closed_by_a_password(
    authority: Authority, closed: Pair
) -> None:
    remote = server(
        certificate_file=closed.certificate,
        certificate_key_file=closed.key,
        certificate_key_password=PASSWORD,
    )
    assert (await asked(authority, remote))["name"] == "closed gateway"


async def test_without_a_certificate_such_a_server_does_not_answer(
    authority: Authority,
) -> None:
    with pytest.raises(aiohttp.ClientError):
        await asked(authority, server())


async def test_who_is_not_trusted_is_not_spoken_to(
    authority: Authority, client: Pair, tmp_path: Path
) -> None:
    remote = server(
        certificate_file=client.certificate, certificate_key_file=client.key
    )
    stranger = Authority(tmp_path)
    elsewhere = Outgoing(ca_certificates=stranger.certificate)
    async with mutual_server(authority) as url, aiohttp.ClientSession() as session:

        async def get(outgoing: Outgoing, host: str = "localhost") -> Any:
            context = await asyncio.to_thread(client_context, remote, outgoing)
            address = url.replace("localhost", host)
            async with session.get(address, ssl=context) as response:
                return await response.json()

        for outgoing in (Outgoing(), elsewhere):
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await get(outgoing)
        trusting = Outgoing(ca_certificates=authority.certificate)
        with pytest.raises(aiohttp.ClientConnectorCertificateError, match="mismatch"):
            await get(trusting, host="127.0.0.1")
        unchecked = Outgoing(verify_peers=False)
        assert (await get(unchecked, host="127.0.0.1"))["name"] == "gateway"


def refusal(
    remote: Server, outgoing: Outgoing | None = None, kind: Any = BadRequest
) -> str:
    with pytest.raises(GatewayError) as caught:
        client_context(remote, outgoing or Outgoing())
    assert type(caught.value) is kind
    assert PASSWORD not in caught.value.message
    assert "wrong" not in caught.value.message
    return caught.value.message


def test_a_password_that_does_not_fit_is_said_and_not_shown(closed: Pair) -> None:
    files = {"certificate_file": closed.certificate, "certificate_key_file": closed.key}
    wrong = refusal(server(**files, certificate_key_password="wrong"))
    assert wrong == (
        'server "Away": CertificateKeyPassword: it does not open the key in'
        f" {closed.key}"
    )
    missing = refusal(server(**files))
    assert missing == (
        f'server "Away": CertificateKeyPassword: the key in {closed.key} needs one'
    )


def test_a_file_that_cannot_be_used_is_named_with_its_field(
    client: Pair, closed: Pair, tmp_path: Path
) -> None:
    gone, text = tmp_path / "gone.pem", tmp_path / "text.pem"
    text.write_text("no certificate")
    certificate, key = client
    said = {
        refusal(
            server(certificate_file=gone)
        ): f"CertificateFile: {gone}: no such file",
        refusal(server(certificate_file=certificate, certificate_key_file=gone)): (
            f"CertificateKeyFile: {gone}: no such file"
        ),
        refusal(server(certificate_file="/dev/zero")): (
            "CertificateFile: /dev/zero: not a file"
        ),
        refusal(server(certificate_file=text, certificate_key_file=key)): (
            f"CertificateFile: no certificate as PEM is in {text}"
        ),
        refusal(server(certificate_file=certificate)): (
            f"CertificateFile: no private key as PEM is in {certificate}"
        ),
        refusal(server(certificate_file=certificate, certificate_key_file=text)): (
            f"CertificateKeyFile: no private key as PEM is in {text}"
        ),
        refusal(
            server(certificate_file=closed.certificate, certificate_key_file=key)
        ): (f"CertificateKeyFile: the key in {key} does not belong to the certificate"),
        refusal(server(certificate_key_file=key)): (
            "CertificateFile is needed beside CertificateKeyFile or Pkcs11"
        ),
        refusal(server(certificate_file=certificate, certificate_key_file="pkcs11:")): (
            'CertificateKeyFile: a key in a token needs "Pkcs11": true'
        ),
    }
    assert list(said) == [f'server "Away": {words}' for words in said.values()]


def test_authorities_that_cannot_be_used_are_a_fault_of_the_configuration(
    tmp_path: Path,
) -> None:
    gone, text = tmp_path / "gone.pem", tmp_path / "text.pem"
    text.write_text("no certificate")
    for file, words in ((gone, "no such file"), (text, "no certificate or crl found")):
        outgoing = Outgoing(ca_certificates=file)
        said = refusal(server(), outgoing, BadConfiguration)
        assert said == f"HttpsCACertificates: {file}: {words}"


def test_protocols_before_tls_1_2_are_not_spoken() -> None:
    context = client_context(server(), Outgoing())
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


def test_a_key_in_a_token_needs_a_token(client: Pair) -> None:
    remote = server(certificate_file=client.certificate, pkcs11=True)
    said = refusal(remote, Outgoing(), BadConfiguration)
    assert said.startswith("Pkcs11.Module: ")
    gone = Outgoing(pkcs11={"Module": "/gone/module.so", "Pin": PASSWORD})
    said = refusal(remote, gone, BadConfiguration)
    assert said == "Pkcs11.Module: no such file: /gone/module.so"
    with_file = server(
        certificate_file=client.certificate,
        certificate_key_file=client.key,
        pkcs11=True,
    )
    assert refusal(with_file).startswith('server "Away": CertificateKeyFile: beside')
