"""The routes as WADL, which PS3.18 8.9.3 and annex H have for descriptions."""

from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement, tostring

from gateway.web.openapi import path_of
from gateway.web.router import Route

_NAMESPACE = "http://wadl.dev.java.net/2009/02"


def wadl(routes: Iterable[Route], server: str) -> bytes:
    """The description of the routes; `server` is where they are."""
    application = Element("application", xmlns=_NAMESPACE)
    resources = SubElement(application, "resources", base=f"{server}/")
    places: dict[str, Element] = {}
    for route in routes:
        path, names = path_of(route.pattern)
        if path not in places:
            places[path] = SubElement(resources, "resource", path=path.lstrip("/"))
            for name in names:
                SubElement(places[path], "param", name=name, style="template")
        _method(places[path], route)
    document: bytes = tostring(application, encoding="utf-8", xml_declaration=True)
    return document


def _method(resource: Element, route: Route) -> None:
    operation = route.operation
    method = SubElement(resource, "method", name=route.method)
    request = SubElement(method, "request")
    for name in operation.query:
        SubElement(request, "param", name=name, style="query")
    for kind in operation.consumes:
        SubElement(request, "representation", mediaType=kind)
    for status in operation.statuses:
        response = SubElement(method, "response", status=str(status))
        if status < 300 or status == 409:
            for kind in operation.produces:
                SubElement(response, "representation", mediaType=kind)
