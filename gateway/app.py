"""The composition root: builds every part from the settings and puts them together."""

import tempfile
from collections.abc import AsyncIterator
from importlib.metadata import PackageNotFoundError, version

from aiohttp import web

from gateway.archive import Archive
from gateway.config.settings import Settings
from gateway.dicom.charsets import default_encodings
from gateway.errors import BadConfiguration
from gateway.imaging import Imaging
from gateway.outcomes import Limits, Overwrite
from gateway.routes import routes
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
    return Archive(
        settings.storage_directory,
        settings.index_directory,
        overwrite=Overwrite(settings.overwrite_instances),
        encodings=default_encodings(settings.default_encoding),
        limits=Limits(
            storage_size=settings.maximum_storage_size * _MEBIBYTE,
            patients=settings.maximum_patient_count,
            recycle=settings.maximum_storage_mode == "Recycle",
            free_space=settings.minimum_free_space_mb * _MEBIBYTE,
            index_folder=settings.index_directory,
        ),
        stable_age=settings.stable_age,
    )


def build(settings: Settings) -> web.Application:
    """The application: its parts open when it starts and close when it ends."""
    app = web.Application(
        middlewares=[protect],
        client_max_size=0,
        handler_args={"max_line_size": _LONGEST_ADDRESS},
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
        async with make_archive(settings) as archive, Imaging(archive) as imaging:
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
    app.on_response_prepare.append(sign)
    app.router.add_route("*", "/{path:.*}", unused, expect_handler=expect)
    return app
