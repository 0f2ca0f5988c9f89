"""Several processes that serve one port, and the one that looks after them."""

import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from gateway.errors import BadConfiguration
from gateway.listening import bound_socket
from gateway.oversight import Oversight

log = logging.getLogger(__name__)

#: Signals that end the server.
STOP = (signal.SIGINT, signal.SIGTERM)

#: Tells the server to end and to start again, with the configuration as it is then.
RESTART = signal.SIGUSR2

#: In the place of an exit code: start again.
AGAIN = -1

_HEARD = (*STOP, RESTART, signal.SIGHUP, signal.SIGCHLD)

#: A worker that ends sooner than this many seconds after its start is not to be trusted.
_SHORT_LIFE = 5.0


@dataclass(frozen=True, slots=True)
class Place:
    """What makes a process a worker."""

    number: int  # its row in the numbers that all share
    parent: int  # a pipe that ends when the process does that looks after it


#: Serves on sockets until told to stop, in a place; the exit code.
Work = Callable[[Sequence[socket.socket], Place], int]


def has_terminal() -> bool:
    """Whether SIGHUP says that the person has left: then it ends us, as everything."""
    return sys.stdin is not None and sys.stdin.isatty()


def look_after(
    sockets: Sequence[socket.socket], oversight: Oversight, work: Work
) -> int:
    """Start the workers, start again those that fall, end them all when told to.

    The exit code, or AGAIN.
    """
    workers = _Workers(sockets, oversight, work)
    code = 0
    heard = {*STOP, RESTART, signal.SIGCHLD}
    if not has_terminal():
        heard.add(signal.SIGHUP)
    # Signals wait until they are asked for: none comes at the wrong moment.
    signal.pthread_sigmask(signal.SIG_BLOCK, heard)
    try:
        for number in range(oversight.telemetry.board.workers):
            workers.start(number)
        while workers.running:
            told = _next_signal(heard, oversight.patience)
            if told in STOP or (told == RESTART and oversight.may_restart()):
                code = AGAIN if told == RESTART else 0
                workers.stop()
            elif told == signal.SIGHUP:
                oversight.read_again()
            workers.replace()
            oversight.look()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, heard)
    return code


def _next_signal(heard: set[signal.Signals], patience: float | None) -> int:
    """The next signal; 0 if none comes for so many seconds."""
    if patience is None:
        return signal.sigwaitinfo(heard).si_signo
    told = signal.sigtimedwait(heard, patience)
    return told.si_signo if told else 0


@dataclass(frozen=True, slots=True)
class _Worker:
    """A process that serves."""

    number: int  # of its place
    started: float  # by the monotonic clock


class _Workers:
    """The processes that serve, by their ids."""

    def __init__(
        self, sockets: Sequence[socket.socket], oversight: Oversight, work: Work
    ) -> None:
        self.running: dict[int, _Worker] = {}
        self._stopping = False
        self._oversight = oversight
        self._work = work
        # Never written to: it ends when this process does, even by SIGKILL.
        self._life, self._alive = os.pipe()
        self._addresses = [
            (s.family, s.type, s.proto, s.getsockname()) for s in sockets
        ]

    def start(self, number: int) -> None:
        """Start the one of that number."""
        process = os.fork()
        if not process:
            self._be_worker(number)
        self.running[process] = _Worker(number, time.monotonic())

    def replace(self) -> None:
        """Start others for those that fell, unless all are to end."""
        while self.running:
            process, status = os.waitpid(-1, os.WNOHANG)
            if not process:
                break
            worker = self.running.pop(process, None)
            if worker is None:
                continue
            self._oversight.telemetry.gone(worker.number)
            if self._stopping:
                continue
            log.error(
                "worker %d ended (%s), starting another", process, _ending(status)
            )
            if time.monotonic() - worker.started < _SHORT_LIFE:
                time.sleep(1.0)
            self.start(worker.number)

    def _be_worker(self, place: int) -> NoReturn:
        """Serve with listening sockets of its own on the same addresses."""
        code = 1
        try:
            os.close(self._alive)
            # Who looks after us reads it again for all, and starts all again.
            for number in (signal.SIGHUP, RESTART):
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
            sockets = [bound_socket(*one, shared=True) for one in self._addresses]
            code = self._work(sockets, Place(place, self._life))
        except BadConfiguration as error:
            log.error("the worker cannot go on: %s", error)
        except Exception:
            log.exception("the worker cannot go on")
        finally:
            os._exit(code)

    def stop(self) -> None:
        """Tell all to end."""
        self._stopping = True
        self._oversight.stop()
        for process in self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)


def _ending(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"signal {-code}" if code < 0 else f"exit code {code}"
