"""By what names this server may be spoken to (RFC 9110 7.4).

Where nobody needs a password because only this machine may come in, a page of a stranger
could come in through a browser here: its name is made to lead to this machine once the
page is there ("DNS rebinding"). The browser then takes us for that site, but it still says
its name. What is said by numbers, or by a name that only this machine has, is no such page.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from gateway.errors import Misdirected

ANY = "*"

_PORT = re.compile(r":[0-9]*$")
_LOCAL = "localhost"


@dataclass(frozen=True, slots=True)
class Hosts:
    """The names that are taken."""

    names: frozenset[str]  # in lower case, without ports; "*": any
    strict: bool  # whether others are refused
    proxies: Sequence[IPv4Network | IPv6Network] = ()  # who may say what they like

    @classmethod
    def of(
        cls,
        allowed: Collection[str],
        own: Collection[str],
        *,
        open_here: bool,
        proxies: Sequence[IPv4Network | IPv6Network],
    ) -> "Hosts":
        """The names of the settings, with our `own` ones.

        `open_here` is whether only this machine may come in, and needs no password.
        A proxy is somebody in particular: networks of everybody are none.
        """
        named = tuple(network for network in proxies if network.prefixlen)
        names = frozenset(_name(host) for host in (*allowed, *own) if host)
        return cls(names, bool(allowed) or open_here, named)

    def check(self, host: str, peer: str | None) -> None:
        """Raise Misdirected if a request is for somebody else.

        `peer` is the address of the other end, None for a Unix socket. Browsers always
        say a host.
        """
        if not self.takes(host, peer):
            raise Misdirected(
                "this server does not go by that name:"
                " name it in AllowedHosts, or the proxy in TrustedProxies"
            )

    def takes(self, host: str, peer: str | None) -> bool:
        """Whether a request is for this server; said as in `check`."""
        if not self.strict or not host or peer is None or ANY in self.names:
            return True
        name = _name(host)
        if name in self.names or name == _LOCAL or name.endswith(f".{_LOCAL}"):
            return True
        return _address(name) is not None or self._is_proxy(peer)

    def _is_proxy(self, peer: str) -> bool:
        address = _address(peer.partition("%")[0])
        return address is not None and any(address in one for one in self.proxies)


@lru_cache(256)
def _name(host: str) -> str:
    """The host without its port, the brackets of an address, and a last dot."""
    name = _PORT.sub("", host) if host.count(":") < 2 or "]" in host else host
    return name.strip("[]").rstrip(".").lower()


@lru_cache(256)
def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
