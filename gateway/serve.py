"""Serving: one process, or several on one port with one that looks after them."""

import asyncio
import contextlib
import errno
import logging
import os
import resource
import signal
import socket
import ssl
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import uvloop
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.app import PRIVATE, VERSION, build, make_archive, use_temporary_directory
from gateway.config.settings import Settings, load
from gateway.errors import BadConfiguration
from gateway.web.context import ENDING, Ending
from gateway.web.grace import Requests
from gateway.web.tls import server_context

log = logging.getLogger(__name__)

#: Bytes of a request that wait in memory before its connection is held back.
READ_BUFFER = 512 * 1024

#: Seconds that requests get to finish when the server stops, and then the last bytes of
#: answers to leave.
GRACE = 30.0
_LAST_BYTES = 1.0

#: Connections that may wait to be accepted.
_BACKLOG = 1024

#: A worker that ends sooner than this many seconds after its start is not to be trusted.
_SHORT_LIFE = 5.0

_STOP = (signal.SIGINT, signal.SIGTERM)

#: Tells the server to end and to start again, with the configuration as it is then.
_RESTART = signal.SIGUSR2
_AGAIN = -1  # in the place of an exit code
_NO_SUCH_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)  # no IPv6, in practice
_LOOPBACK = ("127.0.0.1", "::1")


def serve(
    config_paths: Sequence[Path],
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
) -> int:
    """Serve until told to stop; the exit code. Raises BadConfiguration."""
    loaded = load(config_paths, os.environ)
    settings = loaded.settings
    _start_log(settings)
    os.umask(PRIVATE)
    _allow_descriptors()
    use_temporary_directory(settings)
    for warning in loaded.warnings:
        log.warning("%s", warning)
    count = settings.workers if workers is None else workers
    sockets = _bind(
        _hosts(settings, host),
        settings.http_port if port is None else port,
        shared=count > 1,
    )
    announcement = _Announcement(settings, sockets)
    if count > 1:
        code = _look_after(settings, sockets, announcement, count)
    else:
        code = _work(settings, sockets, announcement)
    if code == _AGAIN:
        log.info("starting again")
        os.execv(sys.executable, sys.orig_argv)
    return code


def _start_log(settings: Settings) -> None:
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.server").addFilter(_is_ours)


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether a record of aiohttp's is about us, not about what a stranger sent.

    A request that is no HTTP may hold anything, the name of a patient too.
    """
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)


def _allow_descriptors() -> None:
    """As many open files as the system lets us: connections, and instances on the way."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _hosts(settings: Settings, host: str | None) -> Sequence[str]:
    """Addresses to listen on; without remote access none but this machine's own."""
    if host is not None:
        return (host,)
    if settings.http_bind_addresses:
        return settings.http_bind_addresses
    return ("",) if settings.remote_access_allowed else _LOOPBACK


def _bind(hosts: Sequence[str], port: int, *, shared: bool) -> list[socket.socket]:
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
    made = _bound(family, kind, protocol, address)
    if not shared:
        made.listen(_BACKLOG)
        return made
    # A port that may be shared is shared with strangers too: see that there are none.
    place = made.getsockname()
    made.close()
    return _bound(family, kind, protocol, place, shared=True)


def _bound(
    family: int,
    kind: int,
    protocol: int,
    address: tuple[object, ...],
    *,
    shared: bool = False,
) -> socket.socket:
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


class _Announcement:
    """Tells people where the server is: once, by whichever process serves first."""

    def __init__(self, settings: Settings, sockets: Sequence[socket.socket]) -> None:
        host, port = sockets[0].getsockname()[:2]
        scheme = "https" if settings.ssl_enabled else "http"
        shown = "localhost" if host in ("0.0.0.0", "::", *_LOOPBACK) else host
        root = settings.dicom_web.root if settings.dicom_web.enable else "/"
        self._text = (
            f"dicomweb-gateway {VERSION}: {scheme}://{shown}:{port}{root}"
            f" (files in {settings.storage_directory})"
        )
        self._turn, sender = os.pipe()  # holds one byte, until somebody has told
        os.write(sender, b".")
        os.close(sender)

    def make(self) -> None:
        """Tell it, if nobody has."""
        if os.read(self._turn, 1):
            print(self._text, file=sys.stderr, flush=True)


# -- one process -------------------------------------------------------------------------


def _work(
    settings: Settings,
    sockets: Sequence[socket.socket],
    announcement: _Announcement,
    parent: int | None = None,
) -> int:
    """Serve in this process until told to stop, or until `parent`, a pipe, ends."""
    tls = server_context(settings)
    again = uvloop.run(_serve(settings, sockets, tls, announcement, parent))
    return _AGAIN if again else 0


async def _serve(
    settings: Settings,
    sockets: Sequence[socket.socket],
    tls: ssl.SSLContext | None,
    announcement: _Announcement,
    parent: int | None,
) -> bool:
    """Serve until told to stop; whether to start again."""
    stop, again = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _STOP:
        loop.add_signal_handler(number, stop.set)
    if parent is None:  # else it is for the parent to say
        loop.add_signal_handler(_RESTART, again.set)
    if parent is not None:
        loop.add_reader(parent, stop.set)
    requests = Requests()
    app = build(settings)
    app.middlewares.insert(0, requests.count)
    server = os.getpid() if parent is None else os.getppid()
    app[ENDING] = Ending(
        stop=lambda: os.kill(server, signal.SIGTERM),
        restart=lambda: os.kill(server, _RESTART),
    )
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        keepalive_timeout=_keep_alive(settings),
        read_bufsize=READ_BUFFER,
        shutdown_timeout=_LAST_BYTES,
        handler_cancellation=False,
    )
    await runner.setup()
    try:
        for bound in sockets:
            await web.SockSite(runner, bound, ssl_context=tls, backlog=_BACKLOG).start()
        announcement.make()
        await _either(stop, again)
        log.info("stopping")
        for site in list(runner.sites):
            await site.stop()
        if not await requests.end(GRACE):
            log.warning("some requests do not end and are broken off")
    finally:
        if parent is not None:
            loop.remove_reader(parent)
        await runner.cleanup()
    return again.is_set()


async def _either(*events: asyncio.Event) -> None:
    """Return once one of the events has come."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def _keep_alive(settings: Settings) -> float:
    """Seconds for which a connection may be silent between requests.

    A request on its way counts as silence until its head is complete, so it gets as long
    as a body does.
    """
    if not settings.keep_alive:
        return 0.0
    return float(max(settings.keep_alive_timeout, settings.http_request_timeout))


# -- several processes -------------------------------------------------------------------


def _look_after(
    settings: Settings,
    sockets: Sequence[socket.socket],
    announcement: _Announcement,
    count: int,
) -> int:
    """Start the workers, start again those that fall, end them all when told to."""
    # What cannot be used, a certificate or an archive, is told once, here.
    server_context(settings)
    asyncio.run(_try_archive(settings))
    workers = _Workers(settings, sockets, announcement)
    for number in (*_STOP, _RESTART):
        signal.signal(number, workers.stop)
    for _ in range(count):
        workers.start()
    while workers.running:
        process, status = os.wait()
        started = workers.running.pop(process, None)
        if started is None or workers.stopping:
            continue
        log.error("worker %d ended (%s), starting another", process, _ending(status))
        if time.monotonic() - started < _SHORT_LIFE:
            time.sleep(1.0)
        workers.start()
    return _AGAIN if workers.again else 0


class _Workers:
    """The processes that serve, by their ids."""

    def __init__(
        self,
        settings: Settings,
        sockets: Sequence[socket.socket],
        announcement: _Announcement,
    ) -> None:
        self.running: dict[int, float] = {}  # process id -> when it was started
        self.stopping = False
        self.again = False  # they are to be started anew
        self._settings = settings
        self._announcement = announcement
        # Never written to: it ends when this process does, even by SIGKILL.
        self._life, self._alive = os.pipe()
        self._addresses = [
            (s.family, s.type, s.proto, s.getsockname()) for s in sockets
        ]

    def start(self) -> None:
        """Start one more, unless all are to end."""
        # A signal that came before the worker is known would not reach it.
        signal.pthread_sigmask(signal.SIG_BLOCK, (*_STOP, _RESTART))
        try:
            if not self.stopping:
                process = os.fork()
                if not process:
                    self._be_worker()
                self.running[process] = time.monotonic()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (*_STOP, _RESTART))

    def _be_worker(self) -> NoReturn:
        """Serve with listening sockets of its own on the same addresses."""
        code = 1
        try:
            os.close(self._alive)
            for number in (*_STOP, _RESTART):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (*_STOP, _RESTART))
            sockets = [_bound(*address, shared=True) for address in self._addresses]
            code = _work(self._settings, sockets, self._announcement, self._life)
        except BadConfiguration as error:
            log.error("the worker cannot go on: %s", error)
        except Exception:
            log.exception("the worker cannot go on")
        finally:
            os._exit(code)

    def stop(self, number: int, frame: object) -> None:
        """Tell all to end: a signal handler."""
        self.stopping = True
        self.again = self.again or number == _RESTART
        for process in self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)


async def _try_archive(settings: Settings) -> None:
    """Raise BadConfiguration if the archive cannot be opened."""
    async with make_archive(settings):
        pass


def _ending(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"signal {-code}" if code < 0 else f"exit code {code}"
