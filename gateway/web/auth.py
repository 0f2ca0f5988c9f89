"""Who may come in: nobody from afar unless allowed, then those with a password."""

import base64
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address

#: Orthanc's realm, so that browsers offer the password they know.
CHALLENGE = 'Basic realm="Orthanc Secure Area", charset="UTF-8"'


@dataclass(frozen=True, slots=True)
class Door:
    """The settings that decide who comes in."""

    remote_access: bool  # whether other machines may
    users: Mapping[str, str] | None  # password by name; None: nobody is asked

    def admits_peer(self, peer: str | None) -> bool:
        """Whether the other end may talk to us at all; None is a Unix socket."""
        if self.remote_access or peer is None:
            return True
        return _is_loopback(peer)

    def admits(self, authorization: str | None) -> bool:
        """Whether the Authorization header names a user and the password (RFC 7617).

        Takes the same time for a wrong password as for an unknown user.
        """
        if self.users is None:
            return True
        name, password = _credentials(authorization or "")
        known = self.users.get(name)
        expected = (known if known is not None else "\0").encode()
        same = hmac.compare_digest(expected, password.encode())
        return same and known is not None


@lru_cache(256)
def _is_loopback(peer: str) -> bool:
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _credentials(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except ValueError:  # no base64, or no UTF-8 in it
        return "", ""
    name, _, password = text.partition(":")
    return name, password
