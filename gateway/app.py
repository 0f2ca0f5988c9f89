"""The composition root: builds every part from the settings and puts them together."""

import tempfile
from collections.abc import AsyncIterator, Callable
from importlib.metadata import PackageNotFoundError, version

from aiohttp import web

from gateway.config.settings import Settings
from gateway.dicom.charsets import default_encodings
from gateway.errors import BadConfiguration
from gateway.imaging import Imaging
from gateway.outcomes import Limits, Outcome, Overwrite
from gateway.routes import routes
from gateway.telemetry.counters import Counters, Layout, Telemetry
from gateway.telemetry.logs import Volume
from gateway.telemetry.pulse import beating
from gateway.watch import OUTCOMES, WatchedArchive
from gateway.web.addresses import Addresses
from gateway.web.auth import Door
from gateway.web.context import GATEWAY, Gateway
from gateway.web.cors import Cors
from gateway.web.grace import Requests
from gateway.web.middleware import (
    CORS,
    DOOR,
    ROUTER,
    Signature,
    expect,
    protect,
    unused,
)
from gateway.web.monitor import JOBS, MONITOR, REQUESTS, WATCHED, Monitor, busy, no_jobs
from gateway.web.observation import Observation
from gateway.web.router import Router

_MEBIBYTE = 1024 * 1024

#: What others may not do with the files that this program makes: they name patients.
PRIVATE = 0o027

#: Searches name their UIDs in the address, some hundreds of them (bytes).
_LONGEST_ADDRESS = 128 * 1024


def _installed_version() -> str:
    try:
        return version("dicomweb-gateway")
    except PackageNotFoundError:
        return "0.0.0"  # run from a folder that was never installed


VERSION = _installed_version()


def use_temporary_directory(settings: Settings) -> None:
    """Let short-lived files lie where the settings say; raises BadConfiguration."""
    folder = settings.temporary_directory
    if folder is None:
        return
    if not folder.is_dir():
        raise BadConfiguration(f"TemporaryDirectory {folder} is not a folder")
    tempfile.tempdir = str(folder)


def make_archive(
    settings: Settings, watch: Callable[[Outcome], object] = lambda outcome: None
) -> WatchedArchive:
    """The archive that the settings describe, still closed.

    `watch` is told what becomes of each instance that comes in.
    """
    reject = settings.maximum_storage_mode == "Reject"
    return WatchedArchive(
        settings.storage_directory,
        settings.index_directory,
        watch=watch,
        overwrite=Overwrite(settings.overwrite_instances),
        encodings=default_encodings(settings.default_encoding),
        limits=Limits(
            storage_size=settings.maximum_storage_size * _MEBIBYTE if reject else 0,
            free_space=settings.minimum_free_space_mb * _MEBIBYTE,
            index_folder=settings.index_directory,
        ),
    )


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


def build(settings: Settings, monitor: Monitor | None = None) -> web.Application:
    """The application: its parts open when it starts and close when it ends.

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
    app = web.Application(
        middlewares=[observation.around, protect],
        client_max_size=0,
        handler_args={"max_line_size": _LONGEST_ADDRESS},
    )
    app[ROUTER] = make_router(settings)
    app[MONITOR] = monitor
    app[REQUESTS] = requests
    app[DOOR] = Door(
        settings.remote_access_allowed,
        settings.registered_users if settings.authentication_enabled else None,
    )

    app[CORS] = Cors(
        settings.cors_origins,
        settings.cors_methods,
        settings.cors_headers,
        settings.cors_credentials,
    )

    async def parts(app: web.Application) -> AsyncIterator[None]:
        async with (
            make_archive(settings, monitor.came) as archive,
            Imaging(archive) as imaging,
            beating(
                monitor.counters, lambda: busy(requests, archive), monitor.volume.obey
            ),
        ):
            app[WATCHED] = archive
            app[JOBS] = no_jobs
            app[GATEWAY] = Gateway(
                settings=settings,
                archive=archive,
                imaging=imaging,
                addresses=Addresses(
                    web_settings.public_root,
                    web_settings.host,
                    web_settings.ssl,
                    settings.trusted_proxies,
                ),
                version=VERSION,
            )
            yield

    app.cleanup_ctx.append(parts)
    signature = Signature(f"dicomweb-gateway/{VERSION}", app[CORS])
    app.on_response_prepare.append(signature.put)
    app.router.add_route("*", "/{path:.*}", unused, expect_handler=expect)
    return app
