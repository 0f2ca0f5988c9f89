"""The settings as the rest of the gateway sees them: typed, complete, unchangeable.

``load`` reads the files once, at the start. Either it says in one sentence what is
wrong with them (``BadConfiguration``), or it returns settings that need no further
check, with the warnings that a person should see. Nothing here is global: whoever needs
a setting is handed it.

No message holds a password: options that may contain one are never shown.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from gateway.config.kinds import Network, Servers, Unfit
from gateway.config.options import DICOM_WEB, OPTIONS, PASSED_OVER, TABLE, Option
from gateway.config.reader import Document, read
from gateway.definition import placed
from gateway.errors import BadConfiguration

Metadata = Literal["Full", "MainDicomTags", "Extrapolate"]

_SHOWN = 80  # characters of a wrong value in a message
_LOCAL = re.compile(r"(localhost|127\.[0-9.]+|\[::1\])(:|$)", re.IGNORECASE)
_ALIKE = 0.7  # how much a wrong name has to resemble a right one, from 0 to 1


@dataclass(frozen=True, slots=True)
class DicomWebSettings:
    """The section ``DicomWeb``; each field is described in ``conf/gateway.json``."""

    enable: bool
    root: str  # with a slash on both ends
    public_root: str  # with a slash on both ends
    host: str  # empty: as the request says
    ssl: bool
    enable_wado: bool
    wado_root: str  # with a slash before, none after
    qido_case_sensitive: bool | None  # None: as case_sensitive_pn
    qido_maximum_results: int  # 0: no limit
    studies_metadata: Metadata
    series_metadata: Metadata
    studies_metadata_extrapolated_tags: tuple[str, ...]
    series_metadata_extrapolated_tags: tuple[str, ...]
    enable_metadata_cache: bool
    metadata_worker_threads_count: int
    wado_rs_loader_threads_count: int
    enable_performance_logs: bool
    other_binary_mode: Literal["BulkDataURI", "InlineBinary", "ArrayOfValues"]
    inline_binary_maximum_size: int  # bytes; 0: never
    servers: Mapping[str, Mapping[str, object]] = field(repr=False)  # the long form
    servers_in_database: bool
    stow_max_instances: int  # in one request; 0: no limit
    stow_max_size: int  # MB in one request; 0: no limit


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole configuration; each field is described in ``conf/gateway.json``."""

    name: str
    log_level: Literal["debug", "verbose", "info", "warning", "error"]
    log_format: Literal["text", "json"]
    viewers: Mapping[str, str]  # by name: an address with {StudyInstanceUID} in it
    metrics_enabled: bool

    storage_directory: Path
    index_directory: Path
    temporary_directory: Path | None  # None: as the operating system says
    maximum_storage_size: int  # MB; 0: no limit
    maximum_storage_mode: Literal["Recycle", "Reject"]
    maximum_patient_count: int  # 0: no limit
    minimum_free_space_mb: int
    storage_compression: bool
    sync_storage_area: bool
    store_md5_for_attachments: bool
    overwrite_instances: Literal["Never", "Always", "IfChanged"]
    read_only: bool
    stable_age: int  # seconds

    default_encoding: str
    case_sensitive_pn: bool
    extra_main_dicom_tags: Mapping[str, tuple[str, ...]]  # by level
    storage_access_on_find: Literal["Always", "Answers", "Never"]

    http_port: int  # 0: any that is free
    http_bind_addresses: tuple[str, ...]  # empty: follows remote_access_allowed
    workers: int
    stop_delay: int  # seconds
    keep_alive: bool
    keep_alive_timeout: int  # seconds
    http_request_timeout: int  # seconds; 0: no limit
    maximum_request_body_size_mb: int  # 0: no limit
    http_describe_errors: bool
    http_compression_enabled: bool
    trusted_proxies: tuple[Network, ...]
    allowed_hosts: tuple[str, ...]  # empty: the names of this machine, if it is open

    cors_origins: tuple[str, ...]  # empty: none
    cors_methods: tuple[str, ...]
    cors_headers: tuple[str, ...]
    cors_credentials: bool

    remote_access_allowed: bool
    authentication_enabled: bool
    registered_users: Mapping[str, str] = field(repr=False)  # password by name
    ssl_enabled: bool
    ssl_certificate: Path
    ssl_minimum_protocol_version: int  # the numbers of Orthanc: 4 is TLS 1.2
    ssl_ciphers_accepted: tuple[str, ...] | None  # None: as the library says
    ssl_verify_peers: bool
    ssl_trusted_client_certificates: Path

    http_timeout: int  # seconds of silence; 0: no limit
    http_proxy: str = field(repr=False)  # empty: none
    http_verbose: bool
    https_verify_peers: bool
    https_ca_certificates: Path | None  # None: as the operating system says
    pkcs11: Mapping[str, object] = field(repr=False)

    concurrent_jobs: int  # 0: one for each processor
    jobs_history_size: int
    save_jobs: bool

    dicom_web: DicomWebSettings


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came out of the files."""

    settings: Settings
    warnings: tuple[str, ...]  # sentences for a person
    files: tuple[Path, ...]  # in the order in which they were read


@dataclass(frozen=True, slots=True)
class _Entry:
    """One value as it is written in a file."""

    section: str
    name: str
    value: object
    path: Path

    @property
    def key(self) -> str:
        return _key(self.section, self.name)

    @property
    def option(self) -> Option | None:
        return OPTIONS.get((self.section, self.name))


def load(paths: Sequence[Path], environment: Mapping[str, str]) -> Loaded:
    """Read files and folders; no path at all gives the defaults."""
    document = read(paths, environment)
    entries = tuple(_entries(document))
    given = {entry.key: entry for entry in entries if entry.value is not None}
    settings = _settings({option.key: _value(option, given) for option in TABLE})
    _refuse_contradictions(settings, given)
    warnings = (*_names(entries), *_without_effect(given), *_doubts(settings))
    return Loaded(settings, warnings, document.files)


def _entries(document: Document) -> Iterator[_Entry]:
    for name, section in document.sections.items():
        if name != DICOM_WEB:
            yield _Entry("", name, section.value, section.path)
        elif isinstance(section.value, dict):
            for inner, value in section.value.items():
                yield _Entry(DICOM_WEB, inner, value, section.path)
        elif section.value is not None:
            entry = _Entry("", name, section.value, section.path)
            raise _refusal(entry, Unfit("an object", section.value))


def _value(option: Option, given: Mapping[str, _Entry]) -> object:
    """What was given for the option, or its default; paths become absolute."""
    entry = given.get(option.key)
    if entry is None:
        return _placed(_default(option), Path.cwd())
    folder = entry.path.absolute().parent
    value = _accepted(option, entry)
    if isinstance(option.kind, Servers) and isinstance(value, dict):
        return {name: placed(value[name], folder) for name in value}
    return _placed(value, folder)


def _default(option: Option) -> object:
    return None if option.default is None else option.kind.accept(option.default)


def _accepted(option: Option, entry: _Entry) -> object:
    try:
        return option.kind.accept(entry.value)
    except Unfit as error:
        raise _refusal(entry, error) from None


def _placed(value: object, folder: Path) -> object:
    return folder / value if isinstance(value, Path) else value


def _refusal(entry: _Entry, error: Unfit) -> BadConfiguration:
    key = ".".join(part for part in (entry.key, error.inside) if part)
    start = f'{entry.path}: "{key}"'
    if error.secret:
        return BadConfiguration(f"{start} is not usable: {error.expected} is expected")
    shown = _shown(error.value)
    return BadConfiguration(f"{start} is {shown}, but {error.expected} is expected")


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _settings(values: dict[str, object]) -> Settings:
    _derive(values, "AuthenticationEnabled", "RemoteAccessAllowed")
    _derive(values, "IndexDirectory", "StorageDirectory")
    _derive(values, "DicomWeb.PublicRoot", "DicomWeb.Root")
    fields: dict[str, dict[str, Any]] = {"": {}, DICOM_WEB: {}}
    for option in TABLE:
        fields[option.section][option.field] = values[option.key]
    dicom_web = DicomWebSettings(**fields[DICOM_WEB])
    return Settings(dicom_web=dicom_web, **fields[""])


def _derive(values: dict[str, object], key: str, source: str) -> None:
    """An option that nobody set follows another one."""
    if values[key] is None:
        values[key] = values[source]


def _refuse_contradictions(settings: Settings, given: Mapping[str, _Entry]) -> None:
    """Stop on what each option allows, but not together."""
    open_to_all = settings.remote_access_allowed and settings.authentication_enabled
    if open_to_all and not settings.registered_users:
        raise BadConfiguration(
            f'{given["RemoteAccessAllowed"].path}: "RemoteAccessAllowed" is true and '
            'passwords are needed, but "RegisteredUsers" is empty; add a user, or set '
            '"AuthenticationEnabled" to false to let everybody in'
        )
    if settings.ssl_enabled and not settings.ssl_certificate.is_file():
        raise BadConfiguration(
            f'{given["SslEnabled"].path}: "SslEnabled" is true, but "SslCertificate" '
            f"names {settings.ssl_certificate}, and there is no such file"
        )
    if settings.cors_credentials and "*" in settings.cors_origins:
        raise BadConfiguration(
            f'{given["CorsOrigins"].path}: "CorsCredentials" is true, but "CorsOrigins" '
            'has "*"; name the sites that may use the passwords of their visitors'
        )


def _names(entries: Sequence[_Entry]) -> Iterator[str]:
    """Warnings about names: those that nobody knows, and those of Orthanc alone."""
    passed_over = []
    for entry in entries:
        if (entry.section, entry.name) in PASSED_OVER:
            passed_over.append(entry.key)
        elif entry.option is None:
            yield f'{entry.path}: nobody knows the option "{entry.key}"{_hint(entry)}'
    if passed_over:
        names = _list(passed_over)
        yield f"options of Orthanc that do not concern this gateway: {names}"


def _hint(entry: _Entry) -> str:
    """The name that was probably meant, if there is one."""
    known = [*OPTIONS, *sorted(PASSED_OVER), ("", DICOM_WEB)]
    here = {name.lower(): name for section, name in known if section == entry.section}
    elsewhere = [section for section, name in known if name == entry.name]
    close = get_close_matches(entry.name.lower(), here, 1, _ALIKE)
    if elsewhere:
        meant = _key(elsewhere[0], entry.name)
    elif close:
        meant = _key(entry.section, here[close[0]])
    else:
        return ""
    return f'; "{meant}" may be meant'


def _without_effect(given: Mapping[str, _Entry]) -> Iterator[str]:
    """A warning about options that somebody set and this version does not obey."""
    keys = [
        option.key
        for option in TABLE
        if not option.effect
        and option.key in given
        and _accepted(option, given[option.key]) != _default(option)
    ]
    if keys:
        yield f"options that are set, but have no effect yet: {_list(keys)}"


def _doubts(settings: Settings) -> Iterator[str]:
    """Warnings about what is allowed, but probably not wanted."""
    if settings.remote_access_allowed and not settings.authentication_enabled:
        yield "other machines can read and write everything without a password"
    if settings.remote_access_allowed and _LOCAL.match(settings.dicom_web.host):
        yield (
            f'"DicomWeb.Host" is "{settings.dicom_web.host}": other machines cannot '
            "follow the addresses that are handed out"
        )
    if settings.authentication_enabled and not settings.registered_users:
        yield 'passwords are needed, but "RegisteredUsers" is empty: nobody can come in'


def _key(section: str, name: str) -> str:
    return f"{section}.{name}" if section else name


def _list(keys: Sequence[str]) -> str:
    return ", ".join(f'"{key}"' for key in keys)
