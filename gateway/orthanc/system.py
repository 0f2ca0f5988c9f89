"""Orthanc's view of the server itself: /system, /statistics, and whether it is well."""

import orjson
from aiohttp import web

from gateway.web.context import gateway

#: Of Orthanc's REST dialect, the version that these answers follow.
API_VERSION = 31

_MEBIBYTE = 1024 * 1024


def reply(value: object, status: int = 200) -> web.Response:
    """JSON as Orthanc prints it."""
    return web.Response(
        body=orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n",
        content_type="application/json",
        status=status,
    )


async def system(request: web.Request) -> web.StreamResponse:
    """What this server is: GET /system."""
    parts = gateway(request)
    settings = parts.settings
    return reply(
        {
            "ApiVersion": API_VERSION,
            "CheckRevisions": False,
            "DatabaseBackendPlugin": None,
            "DatabaseVersion": 1,
            "DicomAet": "",
            "DicomPort": 0,
            "HttpPort": settings.http_port,
            "IsHttpServerSecure": not settings.remote_access_allowed
            or settings.authentication_enabled,
            "MaximumStorageMode": settings.maximum_storage_mode,
            "MaximumStorageSize": settings.maximum_storage_size,
            "Name": settings.name,
            "OverwriteInstances": settings.overwrite_instances != "Never",
            "OverwriteInstancesMode": settings.overwrite_instances,
            "PluginsEnabled": False,
            "ReadOnly": settings.read_only,
            "Software": "dicomweb-gateway",
            "StorageAreaPlugin": None,
            "StorageCompression": False,
            "Version": parts.version,
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
