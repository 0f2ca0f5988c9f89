"""Orthanc's view of the server: what it is, how much it holds, whether it is well."""

from aiohttp import web

from gateway.dicom.hierarchy import Level
from gateway.errors import NotFound
from gateway.orthanc.answers import reply
from gateway.orthanc.resources import MAIN_TAGS, TYPES
from gateway.orthanc.tags import orthanc_tag
from gateway.web.context import gateway

__all__ = ["reply"]

#: Of Orthanc's REST dialect, the version that these answers follow: 27 came with 1.12.7,
#: whose answers these are compared with.
API_VERSION = 27

#: Of Orthanc's DICOMweb plugin, the version whose routes are all here.
DICOM_WEB_VERSION = "1.20"

_DICOM_WEB = "dicom-web"

_MEBIBYTE = 1024 * 1024


def _tags(level: Level) -> str:
    return ";".join(map(orthanc_tag, MAIN_TAGS[level]))


_MAIN_TAGS = {TYPES[level]: _tags(level) for level in Level}


async def system(request: web.Request) -> web.StreamResponse:
    """What this server is: GET /system."""
    return system_at_once(request)


def system_at_once(request: web.Request) -> web.Response:
    """The same, which nothing is waited for."""
    parts = gateway(request)
    settings = parts.settings
    return reply(
        {
            "ApiVersion": API_VERSION,
            "Capabilities": {"HasExtendedChanges": True, "HasExtendedFind": True},
            "CheckRevisions": False,
            "DatabaseBackendPlugin": None,
            "DatabaseVersion": 1,
            "DicomAet": "",
            "DicomPort": 0,
            "HasLabels": True,
            "HttpPort": settings.http_port,
            "IngestTranscoding": "",
            "IsHttpServerSecure": not settings.remote_access_allowed
            or settings.authentication_enabled,
            "MainDicomTags": _MAIN_TAGS,
            "MaximumPatientCount": settings.maximum_patient_count,
            "MaximumStorageMode": settings.maximum_storage_mode,
            "MaximumStorageSize": settings.maximum_storage_size,
            "Name": settings.name,
            "OverwriteInstances": settings.overwrite_instances != "Never",
            "OverwriteInstancesMode": settings.overwrite_instances,
            "PluginsEnabled": True,
            "ReadOnly": settings.read_only,
            "Software": "dicomweb-gateway",
            "StorageAreaPlugin": None,
            "StorageCompression": False,
            "UserMetadata": {},
            "Version": parts.version,
        }
    )


async def plugins(request: web.Request) -> web.StreamResponse:
    """What is there that is a plugin in Orthanc: GET /plugins."""
    return reply([_DICOM_WEB] if gateway(request).settings.dicom_web.enable else [])


async def plugin(request: web.Request, name: str) -> web.StreamResponse:
    """What is told of one: GET /plugins/dicom-web."""
    web_settings = gateway(request).settings.dicom_web
    if name != _DICOM_WEB or not web_settings.enable:
        raise NotFound(f"there is no plugin {name[:64]}")
    return reply(
        {
            "Description": "QIDO-RS, STOW-RS, WADO-RS and WADO-URI",
            "ExtendsOrthancExplorer": False,
            "ID": _DICOM_WEB,
            "RootUri": f"..{web_settings.public_root}app/client/index.html",
            "Version": DICOM_WEB_VERSION,
        }
    )


async def statistics(request: web.Request) -> web.StreamResponse:
    """How much is held: GET /statistics; sizes are texts there."""
    totals = await gateway(request).archive.totals()
    return reply(
        {
            "CountInstances": totals.instances,
            "CountPatients": totals.patients,
            "CountSeries": totals.series,
            "CountStudies": totals.studies,
            "TotalDiskSize": str(totals.size),
            "TotalDiskSizeMB": totals.size // _MEBIBYTE,
            "TotalUncompressedSize": str(totals.size),
            "TotalUncompressedSizeMB": totals.size // _MEBIBYTE,
        }
    )


async def health(request: web.Request) -> web.StreamResponse:
    """Whether the server answers and its index can be read: GET /health."""
    await gateway(request).archive.totals()
    return reply({"Status": "ok"})
