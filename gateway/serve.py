"""Serving: in this process, or in several; until told to stop, and then to the end."""

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import uvloop
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.app import build, make_monitor, make_runner, make_telemetry
from gateway.config.settings import Settings, load
from gateway.jobs.engine import Engine
from gateway.listening import BACKLOG, LOOPBACK, bind, hosts
from gateway.oversight import Oversight
from gateway.parts import (
    PRIVATE,
    VERSION,
    make_archive,
    temporary_directory,
    use_temporary_directory,
)
from gateway.telemetry.counters import State
from gateway.telemetry.logs import JsonLines, Volume, start_log
from gateway.telemetry.notify import ServiceManager
from gateway.web.context import ENDING, GATEWAY, Ending
from gateway.web.grace import Requests
from gateway.web.monitor import REQUESTS
from gateway.web.tls import server_context
from gateway.workers import AGAIN, RESTART, STOP, Place, has_terminal, look_after

log = logging.getLogger(__name__)

#: Bytes of a request that wait in memory before its connection is held back.
READ_BUFFER = 512 * 1024

#: Objects that are made before the garbage collector looks for cycles among them.
_COLLECT_AFTER = 50_000

#: Seconds that requests get to finish when the server stops, and then the last bytes of
#: answers to leave.
GRACE = 30.0
_LAST_BYTES = 1.0

#: Seconds of these for jobs that somebody waits for; then they are told where to look.
_JOBS = 2.0


def serve(
    config_paths: Sequence[Path],
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
) -> int:
    """Serve until told to stop; the exit code. Raises BadConfiguration."""
    loaded = load(config_paths, os.environ)
    settings = loaded.settings
    start_log(settings.log_level, settings.log_format)
    logging.getLogger("aiohttp.server").addFilter(_is_ours)
    os.umask(PRIVATE)
    _allow_descriptors()
    use_temporary_directory(settings)
    for warning in loaded.warnings:
        log.warning("%s", warning)
    count = settings.workers if workers is None else workers
    settings = replace(settings, workers=count)
    sockets = bind(
        hosts(settings, host),
        settings.http_port if port is None else port,
        shared=count > 1,
    )
    announcement = _Announcement(settings, sockets)
    oversight = _oversight(config_paths, settings, count)

    def work(sockets: Sequence[socket.socket], place: Place | None = None) -> int:
        tls = server_context(settings)
        serving = _serve(settings, sockets, tls, announcement, oversight, place)
        return AGAIN if uvloop.run(serving) else 0

    if count == 1:
        code = work(sockets)
    else:
        # What cannot be used, a certificate or an archive, is told once, here.
        server_context(settings)
        asyncio.run(_try_archive(settings))
        code = look_after(sockets, oversight, work)
    if code == AGAIN:
        log.info("starting again")
        os.execv(sys.executable, sys.orig_argv)
    return code


def _oversight(
    config_paths: Sequence[Path], settings: Settings, workers: int
) -> Oversight:
    telemetry = make_telemetry(settings, workers)
    manager = ServiceManager.of(os.environ, os.getpid())
    volume = Volume(telemetry.board, settings.log_level)
    return Oversight(config_paths, telemetry, volume, manager, _try_out)


def _try_out(settings: Settings) -> None:
    """Raise BadConfiguration for what is read when the server starts, but the archive."""
    temporary_directory(settings)
    server_context(settings)


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


class _Announcement:
    """Tells people where the server is: once, by whichever process serves first."""

    def __init__(self, settings: Settings, sockets: Sequence[socket.socket]) -> None:
        host, port = sockets[0].getsockname()[:2]
        scheme = "https" if settings.ssl_enabled else "http"
        shown = "localhost" if host in ("0.0.0.0", "::", *LOOPBACK) else host
        root = settings.dicom_web.root if settings.dicom_web.enable else "/"
        self._text = (
            f"dicomweb-gateway {VERSION}: {scheme}://{shown}:{port}{root}"
            f" (files in {settings.storage_directory})"
        )
        if settings.log_format == "json":
            told = logging.makeLogRecord(
                {"name": __name__, "levelno": logging.INFO, "levelname": "INFO"}
                | {"msg": self._text, "args": None}
            )
            self._text = JsonLines().format(told)
        self._turn, sender = os.pipe()  # holds one byte, until somebody has told
        os.write(sender, b".")
        os.close(sender)

    def make(self) -> None:
        """Tell it, if nobody has."""
        if os.read(self._turn, 1):
            print(self._text, file=sys.stderr, flush=True)


async def _try_archive(settings: Settings) -> None:
    """Raise BadConfiguration if the archive cannot be opened."""
    async with make_archive(settings):
        pass


async def _serve(
    settings: Settings,
    sockets: Sequence[socket.socket],
    tls: ssl.SSLContext | None,
    announcement: _Announcement,
    oversight: Oversight,
    place: Place | None,
) -> bool:
    """Serve until told to stop; whether to start again."""
    told = _Told()
    _listen_to_signals(place, oversight, told)
    monitor = make_monitor(settings, oversight.telemetry, place.number if place else 0)
    app = build(settings, monitor)
    requests = app[REQUESTS]
    server = os.getpid() if place is None else os.getppid()
    app[ENDING] = Ending(
        stop=lambda: os.kill(server, signal.SIGTERM),
        restart=lambda: os.kill(server, RESTART),
        check=oversight.check,
    )
    runner = make_runner(
        app,
        access_log=None,
        handle_signals=False,
        keepalive_timeout=_keep_alive(settings),
        read_bufsize=READ_BUFFER,
        shutdown_timeout=_LAST_BYTES,
        handler_cancellation=False,
    )
    await runner.setup()
    _settle_memory()
    try:
        for bound in sockets:
            await web.SockSite(runner, bound, ssl_context=tls, backlog=BACKLOG).start()
        announcement.make()
        monitor.counters.row[State.SERVING] = 1
        async with _overseen(None if place else oversight):
            await told.stop.wait()
        log.info("stopping")
        app[GATEWAY].jobs.let_go()
        await _say_farewell(settings, told)
        for site in list(runner.sites):
            await site.stop()
        if not await _all_end(requests, app[GATEWAY].jobs):
            log.warning("some requests do not end and are broken off")
    finally:
        if place is not None:
            asyncio.get_running_loop().remove_reader(place.parent)
        await runner.cleanup()
    return told.again.is_set()


def _settle_memory() -> None:
    """Let the garbage collector pass over what is here to stay, and look less often.

    A header is some thousand small objects without a cycle: to look for cycles after
    each few hundred of them finds nothing, and costs a tenth of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 50)


@dataclass(frozen=True, slots=True)
class _Told:
    """What the operating system has said."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)  # to stop, once more
    again: asyncio.Event = field(default_factory=asyncio.Event)  # to start afterwards

    def end(self) -> None:
        """Stop; told a second time, at once."""
        if self.stop.is_set():
            self.hurry.set()
        self.stop.set()


def _listen_to_signals(place: Place | None, oversight: Oversight, told: _Told) -> None:
    """Let the operating system say when to stop, and whether to start again then."""
    loop = asyncio.get_running_loop()
    asked: set[asyncio.Task[None]] = set()

    async def ask() -> None:
        if await asyncio.to_thread(oversight.may_restart):
            told.again.set()
            told.stop.set()

    def restart() -> None:
        task = loop.create_task(ask())
        asked.add(task)  # else it might be collected before it is done
        task.add_done_callback(asked.discard)

    for number in STOP:
        loop.add_signal_handler(number, told.end)
    if place is None:  # else it is for the parent to say
        loop.add_signal_handler(RESTART, restart)
    else:
        loop.add_reader(place.parent, told.stop.set)


@asynccontextmanager
async def _overseen(oversight: Oversight | None) -> AsyncIterator[None]:
    """Look after this process itself, if nobody else does."""
    if oversight is None:
        yield
        return
    again = asyncio.Event()
    loop = asyncio.get_running_loop()
    if not has_terminal():
        loop.add_signal_handler(signal.SIGHUP, again.set)
    task = asyncio.create_task(_oversee(oversight, again))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await asyncio.to_thread(oversight.stop)


async def _oversee(oversight: Oversight, again: asyncio.Event) -> None:
    while True:
        await asyncio.to_thread(oversight.look)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(oversight.patience):
                await again.wait()
            again.clear()
            await asyncio.to_thread(oversight.read_again)


async def _say_farewell(settings: Settings, told: _Told) -> None:
    """Serve on until those who send requests here have seen that we are not ready.

    Told a second time to stop, we do.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(settings.stop_delay):
            await told.hurry.wait()


async def _all_end(requests: Requests, jobs: Engine) -> bool:
    """Let the requests under way end; false if some take too long."""
    if await requests.end(_JOBS):
        return True
    jobs.let_all_go()
    return await requests.end(GRACE - _JOBS)


def _keep_alive(settings: Settings) -> float:
    """Seconds for which a connection may be silent between requests.

    A request on its way counts as silence until its head is complete, so it gets as long
    as a body does.
    """
    if not settings.keep_alive:
        return 0.0
    return float(max(settings.keep_alive_timeout, settings.http_request_timeout))
