"""Retrieve Capabilities: the description is there, complete, and true (PS3.18 8.9)."""

import asyncio
import json
import re
import warnings
from typing import Any
from xml.etree import ElementTree

import pytest

from gateway.operations import OPERATIONS
from gateway.routes import routes
from gateway.web.router import NOT_DESCRIBED
from tests.clients import ROOT, store
from tests.factories import dicom_file, image

OPENAPI = "application/vnd.oai.openapi+json"
WADL = "application/vnd.sun.wadl+xml"
NAMESPACE = "{http://wadl.dev.java.net/2009/02}"


def test_every_route_is_described():
    table = list(routes("/dicom-web/", wado_root="/wado", read_only=False))
    missing = [r.pattern for r in table if r.operation is NOT_DESCRIBED]
    assert not missing
    assert {route.handler for route in table} == set(OPERATIONS)


async def test_the_description_names_every_route(client):
    for method, path in [
        ("OPTIONS", "/"),
        ("OPTIONS", f"{ROOT}/"),
        ("OPTIONS", ROOT),
        ("GET", f"{ROOT}/"),
        ("GET", "/openapi.json"),
    ]:
        response = await client.request(method, path)
        assert response.status == 200, path
        assert response.headers["Content-Type"] == OPENAPI
        told = await response.json(content_type=OPENAPI)
        assert told["openapi"] == "3.1.0"
        assert told["servers"] == [{"url": str(client.make_url("")).rstrip("/")}]
        for route in routes("/dicom-web/", wado_root="/wado", read_only=False):
            template = re.sub(r"\.\.\.}", "}", route.pattern).rstrip("/") or "/"
            assert route.method.lower() in told["paths"][template]
    search = told["paths"]["/dicom-web/studies"]["get"]
    assert search["summary"] == "Search for studies"
    assert {"limit", "PatientName"} <= {p["name"] for p in search["parameters"]}
    assert set(search["responses"]) >= {"200", "304", "400", "406"}
    assert "application/dicom+json" in search["responses"]["200"]["content"]
    assert "head" in told["paths"]["/dicom-web/studies"]


async def test_what_is_read_only_says_so(start):
    client = await start(ReadOnly=True)
    told = await (await client.get("/openapi.json")).json(content_type=None)
    assert set(told["paths"]["/dicom-web/studies"]) == {"get", "head"}


async def test_the_description_comes_in_the_form_that_is_wanted(client):
    for accept, kind in [
        ("application/json", "application/json"),
        (f"{OPENAPI};version=3.1", OPENAPI),
        ("*/*", OPENAPI),
        (WADL, WADL),
        ("application/xml", "application/xml"),
        (f"{OPENAPI};q=0.1, {WADL}", WADL),
    ]:
        response = await client.options(f"{ROOT}/", headers={"Accept": accept})
        assert response.status == 200
        assert response.headers["Content-Type"] == kind
        assert "Accept" in response.headers["Vary"]
        await response.read()
    response = await client.options(f"{ROOT}/", headers={"Accept": "image/png"})
    assert response.status == 406
    assert WADL in await response.text()


async def test_the_wadl_names_resources_methods_and_media_types(client):
    response = await client.options("/", headers={"Accept": WADL})
    document = ElementTree.fromstring(await response.read())
    assert document.tag == f"{NAMESPACE}application"
    [base] = document
    assert base.get("base") == str(client.make_url("/"))
    found = {one.get("path"): one for one in base}
    studies = found["dicom-web/studies"]
    assert [m.get("name") for m in studies.iter(f"{NAMESPACE}method")] == [
        "GET",
        "POST",
    ]
    kinds = {r.get("mediaType") for r in studies.iter(f"{NAMESPACE}representation")}
    assert "application/dicom+json" in kinds
    params = [p.get("name") for p in found["dicom-web/studies/{study}"]]
    assert params[0] == "study"


async def test_other_addresses_say_which_methods_they_have(client):
    response = await client.options(f"{ROOT}/studies")
    assert response.status == 204
    assert response.headers["Allow"] == "GET,HEAD,OPTIONS,POST"
    assert (await client.options(f"{ROOT}/nothing")).status == 404


@pytest.mark.parametrize(
    ("root", "up"), [("/dicom-web/", "./../"), ("/a/b/", "./../../"), ("/", "./")]
)
async def test_where_the_server_is_is_told_as_orthanc_tells_it(start, root, up):
    client = await start(DicomWeb={"Root": root})
    response = await client.get(f"{root}info")
    assert response.content_type == "application/json"
    assert await response.json() == {"DicomWebRoot": root, "OrthancApiRoot": up}


async def test_head_is_get_without_its_body(client):
    await store(client, image(SOPInstanceUID="1.2.3.9"))
    instance = "studies/1.2.3.1/series/1.2.3.1.1/instances/1.2.3.9"
    listed = await (await client.get("/instances")).json()
    for path in [
        f"{ROOT}/studies",
        f"{ROOT}/studies?limit=1",
        f"{ROOT}/series",
        f"{ROOT}/instances",
        f"{ROOT}/studies/1.2.3.1",
        f"{ROOT}/{instance}",
        f"{ROOT}/studies/1.2.3.1/metadata",
        f"{ROOT}/{instance}/metadata",
        f"{ROOT}/{instance}/bulk/7fe00010",
        f"{ROOT}/{instance}/bulkdata",
        f"{ROOT}/studies/1.2.3.1/pixeldata",
        f"{ROOT}/",
        "/openapi.json",
        "/system",
        "/statistics",
        "/health",
        "/instances",
        f"/instances/{listed[0]}",
        f"/instances/{listed[0]}/file",
    ]:
        get = await client.get(path)
        head = await client.head(path)
        assert (get.status, head.status) == (200, 200), path
        assert await head.read() == b""
        # HEAD has no body to be in chunks.
        varying = {"Date", "X-Request-ID", "Transfer-Encoding"}
        if "multipart" in str(get.headers):
            varying.add("Content-Type")
        told = {k: v for k, v in get.headers.items() if k not in varying}
        assert told == {k: v for k, v in head.headers.items() if k not in varying}, path
        await get.read()


# --- errors ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/dicom+json", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
        (
            "application/dicom+json, application/problem+json",
            "application/problem+json",
        ),
        ("application/problem+json", "application/problem+json"),
        ("text/plain", "text/plain"),
        ("application/json;q=0.5, text/plain", "text/plain"),
        ("bad;q=7", "application/json"),
    ],
)
async def test_errors_come_in_the_form_that_is_wanted(client, accept, kind):
    headers = {"Accept": accept} if accept else {}
    response = await client.get("/nothing/at/all", headers=headers)
    assert response.status == 404
    assert response.content_type == kind
    assert "Accept" in response.headers["Vary"]
    if kind == "text/plain":
        assert (await response.text()).startswith("Not Found: there is nothing")
        return
    told = await response.json(content_type=kind)
    if kind == "application/problem+json":
        assert told["status"] == 404
        assert told["title"] == "Not Found"
        assert told["instance"] == "/nothing/at/all"
        assert told["type"] == "about:blank"
    else:
        assert told["HttpStatus"] == 404
        assert told["OrthancStatus"] == 17


async def test_errors_are_not_described_where_that_is_not_wanted(start):
    client = await start(HttpDescribeErrors=False)
    response = await client.get("/nothing", headers={"Accept": "text/plain"})
    assert (response.status, await response.read()) == (404, b"")


# --- whether the description is true --------------------------------------------------


@pytest.mark.slow
@pytest.mark.peer
async def test_answers_are_as_described(client, no_proxy):
    await store(client, image(), dicom_file())
    await asyncio.wait_for(asyncio.to_thread(_ask, str(client.make_url(""))), 120)


@pytest.fixture
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


def _ask(server: str) -> None:
    """Ask everything that the description allows, and what it does not."""
    schemathesis = pytest.importorskip("schemathesis")
    import requests
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import status_code_conformance

    @schemathesis.serializer(
        "application/dicom", "application/zip", "multipart/related"
    )
    def any_bytes(_context: Any, value: Any) -> Any:
        return repr(value).encode()

    told: dict[str, Any] = requests.get(f"{server}/openapi.json", timeout=10).json()
    schema = schemathesis.openapi.from_dict(told)
    asked = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        @given(case=operation.as_strategy())
        @settings(
            max_examples=8,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def run(case: Any) -> None:
            nonlocal asked
            asked += 1
            case.call_and_validate(
                base_url=server,
                timeout=20,
                checks=[not_a_server_error, status_code_conformance],
            )

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run()
    assert asked > 100


async def test_the_top_and_the_root_describe_the_server(client):
    for path in ("/", "/dicom-web", "/dicom-web/"):
        for method in ("GET", "OPTIONS"):
            response = await client.request(method, path)
            assert response.status == 200, (method, path)
            described = json.loads(await response.read())
            assert described["openapi"].startswith("3.1")
            assert any("/studies" in path for path in described["paths"])
