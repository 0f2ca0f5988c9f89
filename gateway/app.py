"""The composition root: builds every part from the settings and puts them together."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from importlib.metadata import PackageNotFoundError, version

from aiohttp import web

from gateway.archive import Archive
from gateway.config.settings import Settings
from gateway.dicom.charsets import default_encodings
from gateway.dicomweb.proxy_cache import FETCHES
from gateway.dicomweb.proxy_keeping import Fetches
from gateway.errors import BadConfiguration
from gateway.imaging import Imaging
from gateway.jobs.engine import Engine, Work
from gateway.jobs.states import PATIENCE
from gateway.outcomes import Limits, Overwrite
from gateway.remote.outgoing import Outgoing
from gateway.remote.servers import Servers
from gateway.routes import routes
from gateway.storage.documents import Documents
from gateway.storage.owners import Owners
from gateway.storage.stamp import Stamp
from gateway.transfers import retrieve, stow
from gateway.web.addresses import Addresses
from gateway.web.auth import Door
from gateway.web.context import GATEWAY, Gateway
from gateway.web.cors import Cors
from gateway.web.middleware import CORS, DOOR, ROUTER, expect, protect, sign, unused
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


def make_archive(settings: Settings) -> Archive:
    """The archive that the settings describe, still closed."""
    reject = settings.maximum_storage_mode == "Reject"
    return Archive(
        settings.storage_directory,
        settings.index_directory,
        overwrite=Overwrite(settings.overwrite_instances),
        encodings=default_encodings(settings.default_encoding),
        inline_binary=settings.dicom_web.inline_binary_maximum_size,
        limits=Limits(
            storage_size=settings.maximum_storage_size * _MEBIBYTE if reject else 0,
            free_space=settings.minimum_free_space_mb * _MEBIBYTE,
            index_folder=settings.index_directory,
        ),
    )


def make_outgoing(settings: Settings) -> Outgoing:
    """What holds for requests to every other server."""
    return Outgoing(
        http_timeout=settings.http_timeout,
        http_proxy=settings.http_proxy,
        verify_peers=settings.https_verify_peers,
        ca_certificates=settings.https_ca_certificates,
        pkcs11=settings.pkcs11,
        verbose=settings.http_verbose,
    )


def works(settings: Settings, archive: Archive, servers: Servers) -> dict[str, Work]:
    """What jobs there are, and who does them."""
    batching = stow.Batching(
        settings.dicom_web.stow_max_instances, settings.dicom_web.stow_max_size
    )
    found = {stow.TYPE: stow.stow(archive, servers, batching)}
    if not settings.read_only:
        found[retrieve.TYPE] = retrieve.retrieve(archive, servers)
    return found


async def open_parts(settings: Settings, stack: AsyncExitStack) -> Gateway:
    """The parts of a gateway, open until the stack closes: jobs end first."""
    web_settings, folder = settings.dicom_web, settings.index_directory
    archive = await stack.enter_async_context(make_archive(settings))
    imaging = await stack.enter_async_context(Imaging(archive))
    owners = await stack.enter_async_context(Owners(folder))
    stamp = await stack.enter_async_context(Stamp(folder))
    servers = await stack.enter_async_context(
        Servers(
            Documents(archive.database, stamp, "servers"),
            web_settings.servers,
            web_settings.servers_in_database,
            owners.alone,
            make_outgoing(settings),
        )
    )
    jobs = await stack.enter_async_context(
        Engine(
            archive.database,
            stamp,
            owners,
            works(settings, archive, servers),
            concurrent=settings.concurrent_jobs,
            history=settings.jobs_history_size,
            save=settings.save_jobs,
            patience=PATIENCE,
        )
    )
    return Gateway(
        settings=settings,
        archive=archive,
        imaging=imaging,
        servers=servers,
        jobs=jobs,
        addresses=Addresses(
            web_settings.public_root,
            web_settings.host,
            web_settings.ssl,
            settings.trusted_proxies,
        ),
        version=VERSION,
    )


def build(settings: Settings) -> web.Application:
    """The application: its parts open when it starts and close when it ends."""
    app = web.Application(
        middlewares=[protect],
        client_max_size=0,
        # Compressed bodies are inflated here, with bounds: `gateway.web.inflating`.
        handler_args={"max_line_size": _LONGEST_ADDRESS, "auto_decompress": False},
    )
    web_settings = settings.dicom_web
    root = web_settings.root if web_settings.enable else None
    wado = web_settings.enable and web_settings.enable_wado
    wado_root = web_settings.wado_root if wado else None
    app[ROUTER] = Router(
        routes(root, wado_root=wado_root, read_only=settings.read_only)
    )
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
        async with AsyncExitStack() as stack:
            app[GATEWAY] = await open_parts(settings, stack)
            app[FETCHES] = await stack.enter_async_context(Fetches())
            yield

    app.cleanup_ctx.append(parts)
    app.on_response_prepare.append(sign)
    app.router.add_route("*", "/{path:.*}", unused, expect_handler=expect)
    return app
