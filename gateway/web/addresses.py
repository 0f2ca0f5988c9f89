"""The addresses that clients see: the one place that builds them.

Behind a reverse proxy, host, scheme and prefix are the proxy's, told by its headers
(RFC 7239, and the X-Forwarded family that came before it). They are believed from
trusted proxies only, and only where they look like what they claim to be: an address
that ends up in a viewer must not be of a stranger's making.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network

_HOST = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")
_PREFIX = re.compile(r"(/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)+/?")
_PORT = re.compile(r"[0-9]{1,5}")
_SCHEMES = ("http", "https")
_FALLBACK = "localhost:8042"

#: By which a proxy tells.
_TOLD = ("X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix", "Forwarded")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Builds public addresses from the settings and the headers of a request."""

    public_root: str  # path of the DICOMweb server, a slash on both ends
    host: str = ""  # forces the host, and then `ssl` the scheme
    ssl: bool = False  # the scheme where nothing tells
    trusted: Sequence[Network] = ()  # whose headers are believed

    def origin(self, headers: Mapping[str, str], peer: str | None, secure: bool) -> str:
        """Scheme, host and prefix of the server, without a last slash.

        `peer` is the address of the other end, `secure` whether it speaks TLS to us.
        """
        scheme = "https" if secure or self.ssl else "http"
        if self.host:
            return f"{'https' if self.ssl else 'http'}://{self.host}"
        host = headers.get("Host", "")
        prefix = ""
        if any(name in headers for name in _TOLD) and self._is_trusted(peer):
            told = _x_forwarded(headers) or _forwarded(headers)
            scheme = told.get("proto", scheme)
            host = told.get("host", host)
            prefix = _prefix(headers)
        if not _is_host(host):
            host = _FALLBACK
        return f"{scheme}://{host}{prefix}"

    def root(self, headers: Mapping[str, str], peer: str | None, secure: bool) -> str:
        """The public address of the DICOMweb server, with a last slash."""
        return self.origin(headers, peer, secure) + self.public_root

    def _is_trusted(self, peer: str | None) -> bool:
        if peer is None:  # a Unix socket: whoever may open it
            return True
        address = _address(peer)
        return address is not None and any(address in one for one in self.trusted)


@lru_cache(256)
def _is_host(text: str) -> bool:
    return _HOST.fullmatch(text) is not None


@lru_cache(256)
def _address(peer: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(peer.partition("%")[0])
    except ValueError:
        return None


def _first(value: str) -> str:
    """The first of a list: what the proxy nearest to the client said."""
    return value.split(",", 1)[0].strip()


def _x_forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    """Host and scheme of the X-Forwarded headers; as in Orthanc, both or none."""
    host = _first(headers.get("X-Forwarded-Host", ""))
    proto = _first(headers.get("X-Forwarded-Proto", "")).lower()
    if not _HOST.fullmatch(host) or proto not in _SCHEMES:
        return {}
    port = _first(headers.get("X-Forwarded-Port", ""))
    usual = {"http": "80", "https": "443"}[proto]
    has_port = re.search(r":[0-9]+$", host)
    if _PORT.fullmatch(port) and port != usual and not has_port:
        host = f"{host}:{port}"
    return {"host": host, "proto": proto}


def _forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    """Host and scheme of the first element of Forwarded (RFC 7239 4)."""
    told = {}
    for pair in _first(headers.get("Forwarded", "")).split(";"):
        name, _, value = pair.partition("=")
        told[name.strip().lower()] = value.strip().strip('"')
    found = {}
    if told.get("proto", "").lower() in _SCHEMES:
        found["proto"] = told["proto"].lower()
    if _HOST.fullmatch(told.get("host", "")):
        found["host"] = told["host"]
    return found


def _prefix(headers: Mapping[str, str]) -> str:
    prefix = _first(headers.get("X-Forwarded-Prefix", ""))
    return prefix.rstrip("/") if _PREFIX.fullmatch(prefix) else ""
