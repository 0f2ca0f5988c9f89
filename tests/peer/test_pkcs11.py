"""Mutual TLS with a key that never leaves its token: SoftHSM, in a process of its own."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gateway.remote.openssl import OpenSsl
from tests.certificates import Authority, Pair, pem
from tests.mutual import mutual_server
from tests.npm import missing
from tests.peers import gateway
from tests.starting import CHECKOUT, ask

pytestmark = [pytest.mark.peer, pytest.mark.slow]

HOW_TO_INSTALL = "apt-get install softhsm2 libengine-pkcs11-openssl"
MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so")
CLIENT = Path(__file__).parent / "pkcs11_client.py"
PIN = "271828"
SENT = 64 * 65_536  # bytes that the client posts
SECONDS = 60


class Token(NamedTuple):
    """A token of SoftHSM with two keys, and the certificate of the second one."""

    module: str
    configuration: Path
    authority: Authority
    client: Pair


def module() -> str:
    """Where the module of SoftHSM is."""
    reached = (OpenSsl().engines / "pkcs11.so").exists()
    found = [place for place in MODULES if Path(place).exists()]
    if not found or not reached or shutil.which("softhsm2-util") is None:
        missing(f"no security token can be made: {HOW_TO_INSTALL}")
    return found[0]


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Token:
    library, folder = module(), tmp_path_factory.mktemp("token")
    (folder / "tokens").mkdir()
    configuration = folder / "softhsm2.conf"
    configuration.write_text(
        f"directories.tokendir = {folder / 'tokens'}\n"
        "objectstore.backend = file\nlog.level = ERROR\n"
    )

    def softhsm(*words: str) -> None:
        environment = {**os.environ, "SOFTHSM2_CONF": str(configuration)}
        command = ["softhsm2-util", *words, "--pin", PIN]
        subprocess.run(command, check=True, capture_output=True, env=environment)

    authority = Authority(folder)
    key = rsa.generate_private_key(65537, 2048)
    client = authority.issue("in the token", key=key)
    other = folder / "other.key"
    other.write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))
    softhsm("--init-token", "--free", "--label", "hospital", "--so-pin", "314159")
    for key, label, number in ((other, "other", "01"), (client.key, "gateway", "02")):
        named = ("--token", "hospital", "--label", label, "--id", number)
        softhsm("--import", str(key), *named)
    client.key.unlink()  # from here on it is in the token alone
    return Token(library, configuration, authority, client)


async def asked(token: Token, *keys: str, **options: Any) -> tuple[list[Any], str]:
    """What a process with the token was answered for each key, and all that it said."""
    async with mutual_server(token.authority) as url:
        wanted = {
            "url": url,
            "authority": str(token.authority.certificate),
            "certificate": str(token.client.certificate),
            "keys": keys,
            "Pkcs11": {"Module": token.module, "Pin": PIN, **options},
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(CLIENT)),
            cwd=CHECKOUT,
            env={
                **os.environ,
                "PYTHONPATH": str(CHECKOUT),
                "SOFTHSM2_CONF": str(token.configuration),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            told, said = await asyncio.wait_for(
                process.communicate(json.dumps(wanted).encode()), SECONDS
            )
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    # Not even the end of the process may fail: it takes the module down.
    assert process.returncode == 0, said.decode(errors="replace")
    return [json.loads(line) for line in told.splitlines()], (told + said).decode()


@pytest.mark.parametrize(
    "uri", ["pkcs11:object=gateway", "pkcs11:token=hospital;id=%02;type=private"]
)
async def test_a_key_in_a_token_opens_a_server_that_asks_for_a_certificate(
    token: Token, uri: str
) -> None:
    answers, _ = await asked(token, uri)
    assert answers == [
        [
            {"name": "in the token", "received": 0, "chunked": False},
            {"name": "in the token", "received": SENT, "chunked": True},
        ]
    ]


async def test_a_gateway_calls_a_server_with_the_key_in_its_token(
    token: Token, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOFTHSM2_CONF", str(token.configuration))
    async with mutual_server(token.authority) as url:
        remote = {
            "Url": url,
            "Pkcs11": True,
            "CertificateFile": str(token.client.certificate),
            "CertificateKeyFile": "pkcs11:object=gateway",
        }
        options = {
            "MinimumFreeSpaceMB": 0,
            "HttpsCACertificates": str(token.authority.certificate),
            "Pkcs11": {"Module": token.module, "Pin": PIN},
            "DicomWeb": {"Servers": {"away": remote}},
        }

        def call(options: dict[str, Any]) -> tuple[int, Any]:
            with gateway(tmp_path, options=options) as running:
                address = f"{running.url}/dicom-web/servers/away/get"
                answer = ask("POST", address, b'{"Uri": "/studies"}')
                log = (tmp_path / "server.log").read_text()
            shown = answer.body.decode() + log
            assert PIN not in shown
            assert "161803" not in shown
            return answer.status, json.loads(answer.body)

        status, answer = await asyncio.to_thread(call, options)
        assert status == 200, answer
        assert answer["name"] == "in the token"
        wrong = {"Pkcs11": {"Module": token.module, "Pin": "161803"}}
        status, answer = await asyncio.to_thread(call, {**options, **wrong})
        assert status == 500
        assert "Pkcs11" in answer["Details"]
        assert "refused" in answer["Details"]


async def test_a_wrong_pin_is_said_and_neither_shown_nor_tried_again(
    token: Token,
) -> None:
    uri = "pkcs11:object=gateway"
    answers, said = await asked(token, uri, uri, Pin="161803")
    assert "161803" not in said
    (kind, first), second = answers
    assert kind == "BadConfiguration"
    assert "Pkcs11" in first
    assert "refused" in first
    assert "not tried again" in first
    assert second == [kind, first]
    answers, _ = await asked(token, uri)  # the token itself is still well
    assert answers[0][0]["name"] == "in the token"


async def test_a_module_that_cannot_be_used_is_named(
    token: Token, tmp_path: Path
) -> None:
    gone, text = str(tmp_path / "gone.so"), tmp_path / "text.so"
    text.write_text("no library")
    answers, said = await asked(token, "pkcs11:", Module=gone)
    expected = ["BadConfiguration", f"Pkcs11.Module: no such file: {gone}"]
    assert answers == [expected]
    answers, said = await asked(token, "pkcs11:", Module=str(text))
    assert answers[0][0] == "BadConfiguration"
    assert answers[0][1].startswith(f"Pkcs11.Module: {text}: ")
    assert PIN not in said


async def test_a_key_that_is_not_there_or_not_of_the_certificate_is_named(
    token: Token,
) -> None:
    answers, _ = await asked(token, "pkcs11:object=gone", "pkcs11:object=other")
    words = 'server "Away": CertificateKeyFile: pkcs11:object='
    assert answers == [
        ["BadRequest", f"{words}gone the token has no such private key"],
        [
            "BadRequest",
            f"{words}other the token's key does not belong to the certificate",
        ],
    ]


async def test_a_uri_may_bring_neither_a_pin_nor_a_module(token: Token) -> None:
    uris = (
        "pkcs11:object=gateway?pin-value=161803",
        "pkcs11:?module-path=/tmp/mine.so",
        "pkcs11:object=gate way",
        "pkcs11:object=gate\ud800",
    )
    answers, said = await asked(token, *uris)
    assert {kind for kind, _ in answers} == {"BadRequest"}
    assert all("without a query" in words for _, words in answers)
    assert "161803" not in said


async def test_without_a_pin_there_is_no_key_and_nobody_is_asked(token: Token) -> None:
    answers, _ = await asked(token, "pkcs11:object=gateway", Pin="")
    assert answers == [
        [
            "BadConfiguration",
            "Pkcs11.Pin: without one, the token shows no private key"
            " pkcs11:object=gateway",
        ]
    ]
