"""Addresses of a remote server, as clients of this one can follow them.

A server hands out addresses of itself: of bulk data, of what it stored. Whoever reaches
it only through us needs them to be ours. A server behind a proxy of its own may tell
another host than the one that we know it by; it is known then by ``/studies/`` and a UID
in the path. What is neither is somebody else's, and stays as it is.
"""

import re
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import SplitResult, urljoin, urlsplit

#: What a DICOMweb server has directly under its root, and we pass on.
RESOURCES = ("studies", "series", "instances", "bulkdata")

_STUDY = re.compile(r"/(?=studies/[0-9]+(?:\.[0-9]+)*(?:/|$))")
_RESOURCE = re.compile(rf"(?:{'|'.join(RESOURCES)})(?:/|$)")
_PORTS = {"http": 80, "https": 443}
_NO_ADDRESS = re.compile(r"[\x00-\x20\x7f]")


@dataclass(frozen=True, slots=True)
class Relocation:
    """Moves addresses from the root of a remote server to a root of ours."""

    remote: str  # the remote's root, with a last slash
    ours: str  # the root that clients see instead, with a last slash
    base: str  # the remote's address of what is read: relative ones begin there

    def at(self, location: str) -> Self:
        """The same for what says that it is at a location (RFC 3986 5.1.1)."""
        try:
            return replace(self, base=urljoin(self.base, location.strip()))
        except ValueError:
            return self

    def moved(self, address: str) -> str:
        """The address at our root; unchanged if it is not one of the remote's."""
        stripped = address.strip(" ")
        if not stripped or _NO_ADDRESS.search(stripped):
            return address
        if stripped.startswith(f"{self.remote}studies/"):
            return self.ours + stripped[len(self.remote) :]
        try:
            found = urlsplit(urljoin(self.base, stripped))
            place = _below(urlsplit(self.remote), found)
        except ValueError:  # no address, or a port that is none
            return address
        if place is None:
            return address
        query = f"?{found.query}" if found.query else ""
        fragment = f"#{found.fragment}" if found.fragment else ""
        return f"{self.ours}{place}{query}{fragment}"


def _below(root: SplitResult, found: SplitResult) -> str | None:
    """The path of an address below the root of the server; None if it is not there."""
    if found.scheme not in _PORTS or not found.hostname:
        return None
    if _origin(root) == _origin(found) and found.path.startswith(root.path):
        place = found.path[len(root.path) :]
        if _RESOURCE.match(place):
            return place
    study = _STUDY.search(found.path)
    return found.path[study.end() :] if study else None


def _origin(address: SplitResult) -> tuple[str, str | None, int | None]:
    return address.scheme, address.hostname, address.port or _PORTS.get(address.scheme)
