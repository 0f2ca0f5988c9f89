"""Where the server listens: addresses, and sockets bound to them."""

import errno
import socket
from collections.abc import Sequence

from gateway.config.settings import Settings
from gateway.errors import BadConfiguration

#: Connections that may wait to be accepted.
BACKLOG = 1024

LOOPBACK = ("127.0.0.1", "::1")

_NO_SUCH_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)  # no IPv6, in practice


def hosts(settings: Settings, host: str | None) -> Sequence[str]:
    """Addresses to listen on; without remote access none but this machine's own."""
    if host is not None:
        return (host,)
    if settings.http_bind_addresses:
        return settings.http_bind_addresses
    return ("",) if settings.remote_access_allowed else LOOPBACK


def bind(hosts: Sequence[str], port: int, *, shared: bool) -> list[socket.socket]:
    """Sockets bound to the addresses; raises BadConfiguration.

    Unless workers will share the port, they listen already.
    """
    bound: list[socket.socket] = []
    for host in hosts:
        try:
            found = socket.getaddrinfo(
                host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            for family, kind, protocol, _, address in found:
                # A port that was left to chance is the same for all addresses.
                chosen = bound[0].getsockname()[1] if bound and not port else port
                place = (address[0], chosen, *address[2:])
                try:
                    bound.append(_alone(family, kind, protocol, place, shared))
                except OSError as error:
                    if not bound or error.errno not in _NO_SUCH_FAMILY:
                        raise
        except OSError as error:
            where = f"{host or '*'}:{port}"
            raise BadConfiguration(
                f"cannot listen on {where}: {error.strerror}"
            ) from error
    return bound


def _alone(
    family: int, kind: int, protocol: int, address: tuple[object, ...], shared: bool
) -> socket.socket:
    """A socket on a port that nobody listens on; our workers may, if it is shared."""
    made = bound_socket(family, kind, protocol, address)
    if not shared:
        made.listen(BACKLOG)
        return made
    # A port that may be shared is shared with strangers too: see that there are none.
    place = made.getsockname()
    made.close()
    return bound_socket(family, kind, protocol, place, shared=True)


def bound_socket(
    family: int,
    kind: int,
    protocol: int,
    address: tuple[object, ...],
    *,
    shared: bool = False,
) -> socket.socket:
    """A socket bound to an address, which others may be bound to if it is shared."""
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made
