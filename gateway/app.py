"""The application: the parts of a gateway behind its addresses."""

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

from aiohttp import web

from gateway.config.settings import Settings
from gateway.dicomweb.proxy_cache import FETCHES
from gateway.flight import SingleFlight
from gateway.parts import VERSION, open_parts
from gateway.routes import routes
from gateway.telemetry.counters import Counters, Layout, Telemetry
from gateway.telemetry.logs import Volume
from gateway.telemetry.pulse import beating
from gateway.watch import OUTCOMES
from gateway.web.auth import Door
from gateway.web.context import GATEWAY
from gateway.web.cors import Cors
from gateway.web.grace import Requests
from gateway.web.hosts import Hosts
from gateway.web.middleware import ROUTER, Entrance
from gateway.web.monitor import JOBS, MONITOR, REQUESTS, Monitor, busy, job_counts
from gateway.web.observation import Observation
from gateway.web.router import Router
from gateway.web.server import Runner

_ENTRANCE = web.AppKey("entrance", Entrance)


def make_router(settings: Settings) -> Router:
    """Every address that the settings let there be."""
    web_settings = settings.dicom_web
    wado = web_settings.enable and web_settings.enable_wado
    return Router(
        routes(
            web_settings.root if web_settings.enable else None,
            wado_root=web_settings.wado_root if wado else None,
            read_only=settings.read_only,
        )
    )


def make_telemetry(settings: Settings, workers: int = 1) -> Telemetry:
    """The numbers of so many workers; made before they are."""
    table = make_router(settings).routes
    pairs = (route.key for route in table)
    return Telemetry.of(Layout.of(pairs, OUTCOMES), workers)


def make_monitor(settings: Settings, telemetry: Telemetry, worker: int = 0) -> Monitor:
    """What knows how a worker is."""
    return Monitor(
        telemetry,
        Counters(telemetry, worker),
        Volume(telemetry.board, settings.log_level),
    )


def _hosts(settings: Settings) -> Hosts:
    """By what names this server is spoken to: those of the machine, and of the settings."""
    machine = socket.gethostname()
    bound = settings.http_bind_addresses
    return Hosts.of(
        settings.allowed_hosts,
        (machine, f"{machine}.local", settings.dicom_web.host, *bound),
        open_here=not (
            settings.remote_access_allowed or settings.authentication_enabled
        ),
        proxies=settings.trusted_proxies,
    )


def build(settings: Settings, monitor: Monitor | None = None) -> web.Application:
    """The application: its parts open when it starts and close when it ends.

    `make_runner` runs it: aiohttp's own runner would find no address in it.
    Without a monitor that others share it has one of its own.
    """
    monitor = monitor or make_monitor(settings, make_telemetry(settings))
    web_settings = settings.dicom_web
    requests = Requests()
    observation = Observation(
        requests,
        monitor.counters,
        monitor.volume,
        times_retrievals=web_settings.enable_performance_logs,
    )
    app = web.Application()
    app[ROUTER] = make_router(settings)
    app[MONITOR] = monitor
    app[REQUESTS] = requests
    app[_ENTRANCE] = _entrance(settings, app, observation)

    async def opened(app: web.Application) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            parts = await open_parts(settings, stack, monitor.came)
            app[GATEWAY] = parts
            app[FETCHES] = await stack.enter_async_context(SingleFlight())
            app[JOBS] = lambda: job_counts(parts.jobs)
            await stack.enter_async_context(
                beating(
                    monitor.counters,
                    lambda: busy(requests, parts.archive),
                    monitor.volume.obey,
                )
            )
            yield

    app.cleanup_ctx.append(opened)
    return app


def _entrance(
    settings: Settings, app: web.Application, observation: Observation
) -> Entrance:
    """What every request goes through."""
    return Entrance(
        app,
        app[ROUTER],
        Door(
            settings.remote_access_allowed,
            settings.registered_users if settings.authentication_enabled else None,
        ),
        _hosts(settings),
        Cors(
            settings.cors_origins,
            settings.cors_methods,
            settings.cors_headers,
            settings.cors_credentials,
        ),
        observation,
        f"dicomweb-gateway/{VERSION}",
    )


def make_runner(app: web.Application, **options: Any) -> Runner:
    """What runs an application that was built; the options are aiohttp's."""
    return Runner(app, app[_ENTRANCE], **options)
