"""The way to the OpenSSL of Python's ssl: it is believed only where it proves right."""

import ssl

import pytest

from gateway.errors import BadConfiguration
from gateway.remote.openssl import OpenSsl

HEAD = object.__basicsize__
POINTER = 8


def test_what_is_changed_by_the_pointer_is_seen_by_python() -> None:
    openssl = OpenSsl()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    pointer = openssl.pointer(context)
    assert not context.options & ssl.OP_NO_TICKET
    openssl.call("SSL_CTX_set_options", pointer, int(ssl.OP_NO_TICKET))
    assert context.options & ssl.OP_NO_TICKET
    assert not other.options & ssl.OP_NO_TICKET


@pytest.mark.parametrize("offset", [0, POINTER, HEAD + POINTER, HEAD + 2 * POINTER])
def test_anything_else_than_a_context_is_refused(offset: int) -> None:
    openssl = OpenSsl(offset)
    with pytest.raises(BadConfiguration, match="elsewhere"):
        openssl.pointer(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


def test_errors_are_told_once() -> None:
    openssl = OpenSsl()
    pointer = openssl.pointer(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    name = "SSL_CTX_use_certificate_chain_file"
    assert openssl.call(name, pointer, b"/nowhere/at/all.pem") != 1
    assert any("No such file" in words for _, words in openssl.errors())
    assert openssl.errors() == []


def test_engines_and_providers_have_folders() -> None:
    openssl = OpenSsl()
    assert openssl.engines.is_absolute()
    assert openssl.modules.is_absolute()
