"""Telling the service manager how we are: systemd's protocol, which is one datagram.

``READY=1`` when it serves, ``STOPPING=1`` when it ends, ``WATCHDOG=1`` as long as it is
well (sd_notify(3)). Without a manager that listens, nothing is sent.
"""

import contextlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServiceManager:
    """Where to tell it, and how often it wants to hear."""

    address: str | None  # of its socket; None: nobody listens
    watchdog: float  # seconds without WATCHDOG=1 until it ends us; 0: it does not

    @classmethod
    def of(cls, environment: Mapping[str, str], process: int) -> "ServiceManager":
        """The one that started this process, by what it left in the environment."""
        address = environment.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return cls(None, 0.0)
        wanted = environment.get("WATCHDOG_USEC", "")
        of_whom = environment.get("WATCHDOG_PID", "")
        ours = of_whom in ("", str(process)) and wanted.isdecimal()
        return cls(address, int(wanted) / 1e6 if ours else 0.0)

    def tell(self, *states: str) -> None:
        """Send states such as ``READY=1``; a manager that is gone is no trouble."""
        if self.address is None:
            return
        # A name that begins with a zero is in no folder; it is written with an "@".
        place = (
            self.address.replace("@", "\0", 1)
            if self.address[0] == "@"
            else (self.address)
        )
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, kind) as made:
            made.settimeout(1.0)
            made.sendto("\n".join(states).encode(), place)
