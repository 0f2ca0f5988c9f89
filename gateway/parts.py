"""The parts of a gateway, built from the settings and opened in their order."""

import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gateway.archive import Archive
from gateway.config.settings import Settings
from gateway.dicom.charsets import default_encodings
from gateway.errors import BadConfiguration
from gateway.imaging import Imaging
from gateway.jobs.engine import Engine, Work
from gateway.jobs.states import PATIENCE
from gateway.outcomes import Limits, Outcome, Overwrite
from gateway.remote.outgoing import Outgoing
from gateway.remote.servers import Servers
from gateway.storage.documents import Documents
from gateway.storage.owners import Owners
from gateway.transfers import retrieve, stow
from gateway.watch import WatchedArchive
from gateway.web.addresses import Addresses
from gateway.web.answers import Answers
from gateway.web.context import Gateway

_MEBIBYTE = 1024 * 1024

#: What others may not do with the files that this program makes: they name patients.
PRIVATE = 0o027

Watch = Callable[[Outcome], object]


def ignored(outcome: Outcome) -> None:
    """Watch over nothing."""


def _installed_version() -> str:
    try:
        return version("dicomweb-gateway")
    except PackageNotFoundError:
        return "0.0.0"  # run from a folder that was never installed


VERSION = _installed_version()


def temporary_directory(settings: Settings) -> Path | None:
    """Where short-lived files are to lie, if that is said; raises BadConfiguration."""
    folder = settings.temporary_directory
    if folder is not None and not folder.is_dir():
        raise BadConfiguration(f"TemporaryDirectory {folder} is not a folder")
    return folder


def use_temporary_directory(settings: Settings) -> None:
    """Let short-lived files lie where the settings say; raises BadConfiguration."""
    folder = temporary_directory(settings)
    if folder is not None:
        tempfile.tempdir = str(folder)


def make_archive(settings: Settings, watch: Watch = ignored) -> WatchedArchive:
    """The archive that the settings describe, still closed.

    `watch` is told what becomes of each instance that comes in.
    """
    return WatchedArchive(
        settings.storage_directory,
        settings.index_directory,
        watch=watch,
        overwrite=Overwrite(settings.overwrite_instances),
        encodings=default_encodings(settings.default_encoding),
        inline_binary=settings.dicom_web.inline_binary_maximum_size,
        limits=Limits(
            storage_size=settings.maximum_storage_size * _MEBIBYTE,
            patients=settings.maximum_patient_count,
            recycle=settings.maximum_storage_mode == "Recycle",
            free_space=settings.minimum_free_space_mb * _MEBIBYTE,
            index_folder=settings.index_directory,
        ),
        stable_age=settings.stable_age,
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


async def open_parts(
    settings: Settings, stack: AsyncExitStack, watch: Watch = ignored
) -> Gateway:
    """The parts of a gateway, open until the stack closes: jobs end first.

    `watch` is told what becomes of each instance that comes in.
    """
    web_settings, folder = settings.dicom_web, settings.index_directory
    archive = await stack.enter_async_context(make_archive(settings, watch))
    imaging = await stack.enter_async_context(
        Imaging(archive, workers=settings.workers)
    )
    owners = await stack.enter_async_context(Owners(folder))
    servers = await stack.enter_async_context(
        Servers(
            Documents(archive.database, archive.stamp, "servers"),
            web_settings.servers,
            web_settings.servers_in_database,
            owners.alone,
            make_outgoing(settings),
        )
    )
    jobs = await stack.enter_async_context(
        Engine(
            archive.database,
            archive.stamp,
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
        answers=Answers(lambda: archive.version),
    )
