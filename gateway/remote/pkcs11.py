"""Private keys that never leave their security token (PKCS#11).

OpenSSL reaches a token by an engine or, from 3.2 on, by a provider; what is installed
decides. The key is found by a ``pkcs11:`` URI (RFC 7512), and checked against the
certificate. The token signs while the handshake waits: milliseconds.

What was loaded stays for as long as the process lives. A PIN that was refused is not
tried again by this process: tokens lock themselves after a few wrong ones.
"""

import os
import re
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from ctypes import Structure, c_char_p, c_int, c_size_t, c_uint, c_void_p
from functools import cache
from pathlib import Path
from typing import ClassVar, Protocol, Self

from gateway.errors import BadConfiguration, BadRequest
from gateway.remote.openssl import OpenSsl, Signatures

#: What a URI of a key starts with; also the key that is taken when none is named.
SCHEME = "pkcs11:"

_URI = re.compile(r"pkcs11:[\x21-\x3e\x40-\x7e]*")
_ONCE = "it is not tried again before the next start, so that the token does not lock"
_LIBRARY = "pkcs11.so"  # of the engine, and of the provider
_PACKAGES = "libengine-pkcs11-openssl or pkcs11-provider"
_REASON = 0x7FFFFF  # bits of an error's code that say why
_PIN_REFUSED = range(0xA0, 0xA5)  # PIN incorrect, invalid, too long, expired, locked
_LOAD_PROVIDER = "OSSL_PROVIDER_try_load_ex"  # since OpenSSL 3.2
_ENGINE: Signatures = {
    "ENGINE_by_id": (c_void_p, [c_char_p]),
    "ENGINE_ctrl_cmd_string": (c_int, [c_void_p, c_char_p, c_char_p, c_int]),
    "ENGINE_init": (c_int, [c_void_p]),
    "ENGINE_load_private_key": (c_void_p, [c_void_p, c_char_p, c_void_p, c_void_p]),
    "UI_null": (c_void_p, []),
}
_PROVIDER: Signatures = {
    "OSSL_PROVIDER_available": (c_int, [c_void_p, c_char_p]),
    "OSSL_STORE_INFO_free": (None, [c_void_p]),
    "OSSL_STORE_INFO_get1_PKEY": (c_void_p, [c_void_p]),
    "OSSL_STORE_close": (c_int, [c_void_p]),
    "OSSL_STORE_load": (c_void_p, [c_void_p]),
    "OSSL_STORE_open": (c_void_p, [c_char_p, *[c_void_p] * 4]),
    "UI_null": (c_void_p, []),
    _LOAD_PROVIDER: (c_void_p, [c_void_p, c_char_p, c_void_p, c_int]),
}


class _Route(Protocol):
    """A way from OpenSSL to the token."""

    def keys(self, uri: str) -> Iterator[int]:
        """The private keys, as EVP_PKEY, that a URI names; they are never freed.

        Ends early where OpenSSL has an error to tell.
        """


class SecurityToken:
    """A module of PKCS#11 and the PIN that opens it; shared by threads."""

    def __init__(self, module: str, pin: str = "", verbose: bool = False) -> None:
        self._module = module
        self._pin = pin
        self._verbose = verbose
        self._lock = threading.Lock()
        self._route: tuple[OpenSsl, _Route] | None = None
        self._refusal = ""  # what the token said of the PIN

    def use(self, context: ssl.SSLContext, certificate: str, uri: str = "") -> None:
        """Give a context a certificate (a file, PEM, with its chain) and its key.

        Without `uri` it is the token's only key, or the one that fits. Blocks, for as
        long as the token does. Raises BadRequest if certificate or key cannot be used,
        BadConfiguration if the token cannot.
        """
        if not _URI.fullmatch(uri or SCHEME):
            # The query of a URI may name another module, or have a PIN in it.
            raise BadRequest(
                "CertificateKeyFile: a URI of a key, such as pkcs11:object=name, is"
                " expected, without a query: module and PIN are in the option Pkcs11"
            )
        with self._lock:
            if self._refusal:
                raise BadConfiguration(self._refusal)
            openssl, route = self._opened()
            pointer = openssl.pointer(context)
            try:
                _certify(openssl, pointer, certificate)
                keys = list(route.keys(_private(uri or SCHEME)))
                if not keys:
                    self._explain(openssl.errors(), uri or SCHEME)
                _choose(openssl, pointer, keys, uri)
            finally:
                openssl.forget_errors()

    def _opened(self) -> tuple[OpenSsl, _Route]:
        if self._route is None:
            if not Path(self._module).is_file():
                raise BadConfiguration(f"Pkcs11.Module: no such file: {self._module}")
            openssl = OpenSsl()
            self._route = openssl, self._route_of(openssl)
        return self._route

    def _route_of(self, openssl: OpenSsl) -> _Route:
        # The engine first: of the two, it says why there is no key.
        if (openssl.engines / _LIBRARY).exists() and openssl.has("ENGINE_by_id"):
            return _ByEngine(openssl, self._module, self._pin, self._verbose)
        if (openssl.modules / _LIBRARY).exists() and openssl.has(_LOAD_PROVIDER):
            return _ByProvider(openssl, self._module, self._pin)
        raise BadConfiguration(
            f"Pkcs11: OpenSSL needs the package {_PACKAGES} to reach a token"
        )

    def _explain(self, errors: list[tuple[int, str]], uri: str) -> None:
        """Raise BadConfiguration for errors that are not, or maybe not, about the key."""
        if not errors:  # as of the provider
            self._refusal = (
                f"Pkcs11: the token refused the PIN, or has no private key"
                f" {uri}; {_ONCE}"
            )
            raise BadConfiguration(self._refusal)
        for code, words in errors:
            if code & _REASON in _PIN_REFUSED and words.startswith("PKCS#11"):
                self._refusal = f"Pkcs11.Pin: the token refused it ({words}); {_ONCE}"
                raise BadConfiguration(self._refusal)
        if not any("not found" in words for _, words in errors):
            raise BadConfiguration(f"Pkcs11.Module: {self._module}: {_told(errors)}")
        if not self._pin:
            raise BadConfiguration(
                f"Pkcs11.Pin: without one, the token shows no private key {uri}"
            )


def security_token(options: Mapping[str, object]) -> SecurityToken:
    """The token that the option ``Pkcs11`` describes, one for the same in a process.

    Raises BadConfiguration if it names no module.
    """
    module = str(options.get("Module", ""))
    if not module:
        raise BadConfiguration(
            'Pkcs11.Module: a server has "Pkcs11", but it is not set'
        )
    pin, verbose = str(options.get("Pin", "")), options.get("Verbose") is True
    return _kept(module, pin, verbose)


# OpenSSL itself has engines and providers once in a process, and never gives them back
# here: to end a module while a connection still has its key would end the process.
_kept = cache(SecurityToken)


class _ByEngine:
    """OpenSSL's engine ``pkcs11`` (libp11)."""

    def __init__(self, openssl: OpenSsl, module: str, pin: str, verbose: bool) -> None:
        self._openssl = openssl
        self._found: dict[str, int] = {}  # by URI
        openssl.declare(_ENGINE)
        self._engine = self._call("ENGINE_by_id", b"dynamic")
        self._command("SO_PATH", os.fsencode(openssl.engines / _LIBRARY))
        self._command("ID", b"pkcs11")
        self._command("LOAD", None)
        self._command("MODULE_PATH", os.fsencode(module))
        if pin:
            self._command("PIN", pin.encode())
        self._command("VERBOSE" if verbose else "QUIET", None)
        self._call("ENGINE_init", self._engine)

    def keys(self, uri: str) -> Iterator[int]:
        """The first one that fits the URI: libp11 has no more to give."""
        if uri not in self._found:
            name, silent = "ENGINE_load_private_key", self._openssl.call("UI_null")
            key = self._openssl.call(name, self._engine, uri.encode(), silent, None)
            if not key:
                return
            self._found[uri] = key
        yield self._found[uri]

    def _command(self, name: str, value: bytes | None) -> None:
        self._call("ENGINE_ctrl_cmd_string", self._engine, name.encode(), value, 0)

    def _call(self, name: str, *arguments: object) -> int:
        result: int | None = self._openssl.call(name, *arguments)
        if not result:
            raise BadConfiguration(f"Pkcs11: {name}: {_told(self._openssl.errors())}")
        return result


class _Parameter(Structure):
    """OSSL_PARAM of OpenSSL's core.h."""

    _fields_: ClassVar = [
        ("key", c_char_p),
        ("data_type", c_uint),
        ("data", c_char_p),
        ("data_size", c_size_t),
        ("return_size", c_size_t),
    ]

    @classmethod
    def text(cls, key: bytes, value: bytes) -> Self:
        """A parameter of the type OSSL_PARAM_UTF8_STRING."""
        return cls(key, 4, value, len(value), 0)


class _ByProvider:
    """OpenSSL's provider ``pkcs11``."""

    def __init__(self, openssl: OpenSsl, module: str, pin: str) -> None:
        self._openssl = openssl
        self._found: dict[str, list[int]] = {}  # by URI
        openssl.declare(_PROVIDER)
        if openssl.call("OSSL_PROVIDER_available", None, b"pkcs11"):
            return  # by OpenSSL's own configuration, with its module and PIN
        told = {b"pkcs11-module-path": os.fsencode(module)}
        if pin:
            told[b"pkcs11-module-token-pin"] = pin.encode()
        ended = [_Parameter.text(*one) for one in told.items()] + [_Parameter()]
        parameters = (_Parameter * len(ended))(*ended)
        if not openssl.call(_LOAD_PROVIDER, None, b"pkcs11", parameters, 1):
            raise BadConfiguration(f"Pkcs11: {_told(openssl.errors())}")

    def keys(self, uri: str) -> Iterator[int]:
        """All that fit the URI."""
        if not self._found.get(uri):
            self._found[uri] = list(self._load(uri))
        yield from self._found[uri]

    def _load(self, uri: str) -> Iterator[int]:
        call = self._openssl.call
        silent = call("UI_null")  # nobody is asked for a PIN on the terminal
        store = call("OSSL_STORE_open", uri.encode(), silent, None, None, None)
        if not store:
            return
        try:
            while information := call("OSSL_STORE_load", store):
                if key := call("OSSL_STORE_INFO_get1_PKEY", information):
                    yield key
                call("OSSL_STORE_INFO_free", information)
        finally:
            call("OSSL_STORE_close", store)


def _certify(openssl: OpenSsl, pointer: int, certificate: str) -> None:
    name = os.fsencode(certificate)
    if openssl.call("SSL_CTX_use_certificate_chain_file", pointer, name) != 1:
        raise BadRequest(f"CertificateFile: no certificate as PEM is in {certificate}")


def _choose(openssl: OpenSsl, pointer: int, keys: Sequence[int], uri: str) -> None:
    """Take the first key that belongs to the certificate."""
    for key in keys:
        if (
            openssl.call("SSL_CTX_use_PrivateKey", pointer, key) == 1
            and openssl.call("SSL_CTX_check_private_key", pointer) == 1
        ):
            return
        openssl.forget_errors()
    if not keys:
        words = "the token has no such private key"
    elif uri:
        words = "the token's key does not belong to the certificate"
    else:
        words = "of the token's keys, name the certificate's: pkcs11:object=..."
    raise BadRequest(f"CertificateKeyFile: {uri or SCHEME} {words}")


def _private(uri: str) -> str:
    """The URI, of private keys alone."""
    if "type=" in uri:
        return uri
    return uri + ("" if uri == SCHEME else ";") + "type=private"


def _told(errors: list[tuple[int, str]]) -> str:
    return "; ".join(words for _, words in errors) or "OpenSSL does not say why"
