"""The routes as OpenAPI 3.1 tells them to machines."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from gateway.web.router import Route

#: What any request may be answered with.
_ALWAYS = (400, 401, 403, 406, 503)

_UID = {"type": "string", "pattern": "^[0-9.]{1,64}$"}
_WHOLE = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
_FLAG = {"type": "string", "enum": ["true", "false"]}
_DATE = {"type": "string", "pattern": "^[0-9]{4}(0[1-9]|1[0-2])(0[1-9]|[12][0-9])$"}
_TEXT = {"type": "string"}

#: Parameters that are more than a text, in paths and queries.
_SCHEMAS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("study", "series", "instance"), _UID),
    **dict.fromkeys(("studyUID", "seriesUID", "objectUID"), _UID),
    **dict.fromkeys(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"), _UID),
    **dict.fromkeys(("limit", "offset", "since"), _WHOLE),
    **dict.fromkeys(
        ("fuzzymatching", "emptyvaluematching", "multiplevaluematching"), _FLAG
    ),
    "StudyDate": _DATE,
    "requestType": {"type": "string", "const": "WADO"},
    "quality": {"type": "integer", "minimum": 1, "maximum": 100},
    "imageQuality": {"type": "integer", "minimum": 1, "maximum": 100},
    "frames": {"type": "string", "pattern": "^[1-9][0-9]{0,5}(,[1-9][0-9]{0,5})*$"},
}
_NEEDED = frozenset({"requestType", "studyUID", "seriesUID", "objectUID"})


def openapi(routes: Iterable[Route], server: str, version: str) -> dict[str, Any]:
    """The description of the routes; `server` is where they are."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path, names = path_of(route.pattern)
        item = paths.setdefault(path, {})
        if names:
            item["parameters"] = [_parameter(name, "path") for name in names]
        item[route.method.lower()] = _operation(route)
        if route.method == "GET":
            item["head"] = {**_operation(route), "responses": _responses(route, ())}
    return {
        "openapi": "3.1.0",
        "info": {"title": "dicomweb-gateway", "version": version},
        "servers": [{"url": server or "/"}],
        "paths": paths,
        "components": {
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}}
        },
        "security": [{}, {"basic": []}],
    }


def path_of(pattern: str) -> tuple[str, tuple[str, ...]]:
    """A pattern of ours as a template of paths, and the names in it."""
    segments = []
    names = []
    for segment in filter(None, pattern.split("/")):
        if segment.startswith("{"):
            name = segment.strip("{}").removesuffix("...")
            names.append(name)
            segment = f"{{{name}}}"
        segments.append(segment)
    return "/" + "/".join(segments), tuple(names)


def _operation(route: Route) -> dict[str, Any]:
    operation = route.operation
    told: dict[str, Any] = {"summary": operation.summary}
    if operation.query:
        told["parameters"] = [_parameter(name, "query") for name in operation.query]
    if operation.consumes:
        told["requestBody"] = {
            "content": {kind: {} for kind in operation.consumes},
            "required": True,
        }
    told["responses"] = _responses(route, operation.produces)
    if route.open_to_all:
        told["security"] = []
    return told


def _parameter(name: str, place: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": place,
        "required": place == "path" or name in _NEEDED,
        "schema": _SCHEMAS.get(name, _TEXT),
    }


def _responses(route: Route, kinds: tuple[str, ...]) -> dict[str, Any]:
    statuses = sorted({*route.operation.statuses, *_ALWAYS})
    return {str(status): _response(status, kinds) for status in statuses}


def _response(status: int, kinds: tuple[str, ...]) -> dict[str, Any]:
    told: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if status in (HTTPStatus.OK, HTTPStatus.ACCEPTED, HTTPStatus.PARTIAL_CONTENT):
        told["content"] = {kind: {} for kind in kinds}
    return told
