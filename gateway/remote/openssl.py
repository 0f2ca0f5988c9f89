"""The OpenSSL that Python's ``ssl`` itself uses, for what ``ssl`` has no words for.

A key inside a security token can be given to OpenSSL only by functions that Python does
not offer. They are called here, in the very library that ``ssl`` is linked with, on the
SSL_CTX that an SSLContext holds. That place is not part of Python's interface: it is
tried on a context made for it, in both directions, before it is believed, and whatever
is not as expected is refused rather than tried.
"""

import ctypes
import ssl
import sys
from collections.abc import Mapping
from ctypes import c_char_p, c_int, c_size_t, c_uint64, c_ulong, c_void_p
from pathlib import Path
from typing import Any

from gateway.errors import BadConfiguration

#: What functions return and take, as ctypes has it.
Signatures = Mapping[str, tuple[Any, list[Any]]]

_OPTION = ssl.OP_NO_TICKET  # any that contexts do not have at first
_MODES = {ssl.CERT_NONE: 0, ssl.CERT_OPTIONAL: 1, ssl.CERT_REQUIRED: 3}  # in OpenSSL
_SMALLEST = 512  # bytes that an SSL_CTX has in any version: in truth more
_ENGINES, _MODULES = 5, 8  # OPENSSL_ENGINES_DIR and OPENSSL_MODULES_DIR of crypto.h
_WORDS = 256  # bytes of an error's description

_SIGNATURES: Signatures = {
    "ERR_clear_error": (None, []),
    "ERR_error_string_n": (None, [c_ulong, c_char_p, c_size_t]),
    "ERR_get_error": (c_ulong, []),
    "OpenSSL_version": (c_char_p, [c_int]),
    "OpenSSL_version_num": (c_ulong, []),
    "SSL_CTX_check_private_key": (c_int, [c_void_p]),
    "SSL_CTX_get_options": (c_uint64, [c_void_p]),
    "SSL_CTX_get_verify_mode": (c_int, [c_void_p]),
    "SSL_CTX_set_options": (c_uint64, [c_void_p, c_uint64]),
    "SSL_CTX_use_PrivateKey": (c_int, [c_void_p, c_void_p]),
    "SSL_CTX_use_certificate_chain_file": (c_int, [c_void_p, c_char_p]),
}


class OpenSsl:
    """The library, and the way from an SSLContext to its SSL_CTX.

    Raises BadConfiguration where this Python does not let it be reached.
    """

    def __init__(self, offset: int = object.__basicsize__) -> None:
        # Of the SSL_CTX in an SSLContext: the first field after the object's head.
        self._offset = offset
        self._library = _loaded()
        self.declare(_SIGNATURES)
        if self.call("OpenSSL_version_num") != ssl.OPENSSL_VERSION_NUMBER:
            raise BadConfiguration("Pkcs11: Python uses another OpenSSL than is found")

    def declare(self, signatures: Signatures) -> None:
        """Say what functions return and take; AttributeError for one that is not there."""
        for name, (result, arguments) in signatures.items():
            function = getattr(self._library, name)
            function.restype = result
            function.argtypes = arguments

    def call(self, name: str, *arguments: object) -> Any:
        """Call a function that was declared."""
        return getattr(self._library, name)(*arguments)

    def has(self, name: str) -> bool:
        """Whether the library has this function."""
        return hasattr(self._library, name)

    @property
    def engines(self) -> Path:
        """The folder of its engines."""
        return self._folder(_ENGINES)

    @property
    def modules(self) -> Path:
        """The folder of its providers."""
        return self._folder(_MODULES)

    def _folder(self, which: int) -> Path:
        _, _, quoted = self.call("OpenSSL_version", which).partition(b'"')
        return Path(quoted.rstrip(b'"').decode())

    def errors(self) -> list[tuple[int, str]]:
        """What went wrong in this thread, oldest first, as codes and words; forgets it."""
        found = []
        while code := self.call("ERR_get_error"):
            words = ctypes.create_string_buffer(_WORDS)
            self.call("ERR_error_string_n", code, words, _WORDS)
            told = [
                one for one in words.value.decode(errors="replace").split(":") if one
            ]
            found.append((code, ": ".join(told[2:])))
        return found

    def forget_errors(self) -> None:
        """Leave nothing that ``ssl`` would take for an error of its own."""
        self.call("ERR_clear_error")

    def pointer(self, context: ssl.SSLContext) -> int:
        """The SSL_CTX of a context, after it proved to be one."""
        self._try(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        return self._same(context)

    def _try(self, scratch: ssl.SSLContext) -> None:
        """Raise BadConfiguration unless both sides see what the other one changes."""
        found = self._same(scratch)
        scratch.check_hostname = False
        for mode in (ssl.CERT_NONE, ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED):
            scratch.verify_mode = mode
            self._same(scratch)
        scratch.options &= ~_OPTION
        self._same(scratch)
        self.call("SSL_CTX_set_options", found, int(_OPTION))
        if not scratch.options & _OPTION:
            raise BadConfiguration("Pkcs11: this Python keeps its contexts elsewhere")
        self._same(scratch)

    def _same(self, context: ssl.SSLContext) -> int:
        """The pointer, if what it points to looks like the context."""
        found = c_void_p.from_address(id(context) + self._offset).value or 0
        if (
            not _is_memory(found, _SMALLEST)
            or self.call("SSL_CTX_get_options", found) != int(context.options)
            or self.call("SSL_CTX_get_verify_mode", found)
            != _MODES[context.verify_mode]
        ):
            raise BadConfiguration("Pkcs11: this Python keeps its contexts elsewhere")
        return found


def _loaded() -> ctypes.CDLL:
    """The libraries of Python's ``_ssl``, as its own names find them."""
    if sys.implementation.name != "cpython":
        raise BadConfiguration("Pkcs11 needs CPython")
    import _ssl

    place = getattr(_ssl, "__file__", None)
    if place is None:
        raise BadConfiguration(
            "Pkcs11: this Python has OpenSSL built in; it needs one"
            " that uses the system's, as Debian's python3"
        )
    library = ctypes.CDLL(place)
    if not hasattr(library, "SSL_CTX_use_PrivateKey"):
        raise BadConfiguration(
            "Pkcs11: this Python hides its OpenSSL; it needs one"
            " that uses the system's, as Debian's python3"
        )
    return library


def _is_memory(address: int, size: int) -> bool:
    """Whether all these bytes may be read and written, as the system says."""
    if address == 0 or address % ctypes.sizeof(c_void_p):
        return False
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, rights, *_ = line.split()
        first, last = (int(edge, 16) for edge in span.split("-"))
        if first <= address and address + size <= last:
            return rights.startswith("rw")
    return False
