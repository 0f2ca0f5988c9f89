"""Looking after what serves: for the service manager, and when it says to read again.

One of these is in the process that was started: the one that serves, or the one that looks
after the workers. It knows all of them through the numbers that they share.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.config.settings import Settings, load
from gateway.errors import BadConfiguration
from gateway.telemetry.counters import Telemetry
from gateway.telemetry.logs import Volume
from gateway.telemetry.notify import ServiceManager

log = logging.getLogger(__name__)

#: Until somebody serves, that is looked for so often (seconds).
_SOON = 0.05


@dataclass(slots=True)
class Oversight:
    """What a service manager is told, and what it asks for."""

    config_paths: Sequence[Path]
    telemetry: Telemetry
    volume: Volume
    manager: ServiceManager
    try_out: Callable[[Settings], object]  # raises BadConfiguration
    told: bool = False  # whether the manager knows that somebody serves

    @property
    def patience(self) -> float | None:
        """Seconds until the next `look`; None if there is nothing to look for."""
        if self.manager.address is None:
            return None
        if not self.told:
            return _SOON
        return self.manager.watchdog / 4 or None

    def look(self) -> None:
        """Tell the manager that somebody serves, then as long as all are well.

        A worker whose event loop has not turned for half of the time that the manager
        waits is not well: in the end the manager starts everything again.
        """
        if not self.told and self.telemetry.serving:
            self.told = True
            self.manager.tell("READY=1")
        age = time.monotonic() - self.telemetry.oldest_beat()
        if self.told and age < self.manager.watchdog / 2:
            self.manager.tell("WATCHDOG=1")

    def stop(self) -> None:
        """Tell everybody that this is the end."""
        self.telemetry.stop()
        self.manager.tell("STOPPING=1")

    def check(self) -> None:
        """Raise BadConfiguration if a server could not start as configured now. Blocks."""
        self.try_out(load(self.config_paths, os.environ).settings)

    def may_restart(self) -> bool:
        """Whether to start again; what could not start does not end what serves. Blocks."""
        try:
            self.check()
        except BadConfiguration as error:
            log.error("it is not started again, everything stays as it is: %s", error)
            return False
        return True

    def read_again(self) -> None:
        """Read LogLevel again; what cannot be read changes nothing. Blocks."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self.manager.tell("RELOADING=1", f"MONOTONIC_USEC={now}")
        try:
            level = load(self.config_paths, os.environ).settings.log_level
        except BadConfiguration as error:
            log.error("everything stays as it is: %s", error)
        else:
            self.volume.configure(level)
        self.manager.tell("READY=1")
