"""The registry of remote servers over REST: both forms, masking, errors, persistence."""

import json
from typing import Any

import pytest

from tests.clients import ROOT

SERVERS = f"{ROOT}/servers"
SECRETS = {
    "Url": "http://pacs.example.org/dicom-web",
    "Username": "alice",
    "Password": "hush-1",
    "HttpHeaders": {"Authorization": "hush-2", "X-Site": "hush-3"},
    "CertificateFile": "client.pem",
    "CertificateKeyFile": "hush-4.pem",
    "CertificateKeyPassword": "hush-5",
    "OAuth2": {
        "TokenUrl": "https://id.example.org/token",
        "ClientId": "gateway",
        "ClientSecret": "hush-6",
    },
    "Timeout": 7,
    "HasDelete": True,
    "ChunkedTransfers": False,
    "Room": 12,
    "Owner": "radiology",
}


async def put(client: Any, name: str, definition: object, status: int = 200) -> Any:
    response = await client.put(f"{SERVERS}/{name}", data=json.dumps(definition))
    assert response.status == status, await response.text()
    return await response.json(content_type=None)


async def look(client: Any, path: str = "", status: int = 200) -> Any:
    response = await client.get(f"{SERVERS}{path}")
    assert response.status == status, await response.text()
    return await response.json(content_type=None)


async def test_a_server_comes_is_replaced_and_goes(client):
    assert await look(client) == []
    assert await put(client, "pacs", ["http://pacs.example.org/dicom-web"]) == {}
    assert await put(client, "Main Archive", ["http://other.example.org/"]) == {}
    assert await look(client) == ["Main Archive", "pacs"]
    assert await look(client, "/pacs") == ["get", "retrieve", "stow", "wado", "qido"]
    definition = {"URL": "https://new.example.org/x/", "HasDelete": "1"}
    await put(client, "pacs", definition)
    assert "delete" in await look(client, "/pacs")
    shown = (await look(client, "?expand"))["pacs"]
    assert shown["Url"] == "https://new.example.org/x/"
    response = await client.delete(f"{SERVERS}/pacs")
    assert response.status == 200
    assert await response.json() == {}
    assert await look(client) == ["Main Archive"]


async def test_the_short_form_may_name_a_user(client):
    await put(client, "pacs", ["http://pacs.example.org", "alice", "hush"])
    shown = (await look(client, "?expand"))["pacs"]
    assert shown["Url"] == "http://pacs.example.org/"
    assert shown["Username"] == "alice"
    assert shown["Password"] is None


async def test_what_is_shown_of_a_server_holds_no_secret(client):
    await put(client, "pacs", SECRETS)
    for path in ("?expand", "?expand=false"):
        shown = (await look(client, path))["pacs"]
        assert "hush" not in json.dumps(shown)
        assert shown["Url"] == "http://pacs.example.org/dicom-web/"
        assert shown["HttpHeaders"] == ["Authorization", "X-Site"]
        assert shown["Password"] is None
        assert shown["CertificateKeyFile"] is None
        assert shown["CertificateKeyPassword"] is None
        assert shown["Timeout"] == 7
        assert shown["Pkcs11"] is False


async def test_properties_are_shown_as_strings(client):
    await put(client, "pacs", SECRETS | {"Mine": True})
    shown = (await look(client, "?expand"))["pacs"]
    assert shown["HasDelete"] == "1"
    assert shown["ChunkedTransfers"] == "0"
    assert shown["Room"] == "12"
    assert shown["Owner"] == "radiology"
    assert shown["Mine"] == "1"


@pytest.mark.parametrize(
    ("definition", "named"),
    [
        ([], ""),
        (["http://a.example.org", "alice"], ""),
        ("http://a.example.org", ""),
        ({}, "Url"),
        ({"Url": "ftp://a.example.org"}, "Url"),
        ({"Url": "http://a.example.org", "Password": "hush"}, "Username"),
        ({"Url": "http://a.example.org", "Timeout": -1}, "Timeout"),
        ({"Url": "http://a.example.org", "HasDelete": "maybe"}, "HasDelete"),
        ({"Url": "http://a.example.org", "HttpHeaders": ["A"]}, "HttpHeaders"),
        ({"Url": "http://a.example.org", "Mine": {"a": 1}}, "Mine"),
    ],
)
async def test_a_definition_that_cannot_be_used_is_refused(client, definition, named):
    told = await put(client, "pacs", definition, status=400)
    assert named in told["Message"]
    assert "hush" not in json.dumps(told)
    assert await look(client) == []


async def test_a_body_that_is_no_json_is_refused(client):
    response = await client.put(f"{SERVERS}/pacs", data=b'{"Url": ')
    assert response.status == 400
    assert "JSON" in (await response.json())["Message"]


async def test_a_server_that_is_not_there_is_not_found(client):
    told = await look(client, "/nobody", status=404)
    assert "nobody" in told["Message"]
    assert told["OrthancStatus"] == 7
    assert (await client.delete(f"{SERVERS}/nobody")).status == 404


async def test_servers_of_the_configuration_are_there(start):
    client = await start(
        DicomWeb={"Servers": {"a": ["http://a.example.org"], "b": {"Url": "http://b/"}}}
    )
    assert await look(client) == ["a", "b"]


async def test_without_a_database_a_restart_brings_the_configuration_back(start):
    options = {"DicomWeb": {"Servers": {"a": ["http://a.example.org"]}}}
    client = await start(**options)
    await put(client, "b", ["http://b.example.org"])
    assert await look(client) == ["a", "b"]
    await client.close()
    client = await start(**options)
    assert await look(client) == ["a"]


async def test_with_a_database_servers_survive_a_restart(start):
    options = {
        "DicomWeb": {
            "Servers": {"a": ["http://a.example.org"]},
            "ServersInDatabase": True,
        }
    }
    client = await start(**options)
    assert await look(client) == []
    await put(client, "b", SECRETS)
    before = await look(client, "?expand")
    await client.close()
    client = await start(**options)
    assert await look(client, "?expand") == before
    response = await client.delete(f"{SERVERS}/b")
    assert response.status == 200
    await client.close()
    assert await look(await start(**options)) == []


async def test_two_processes_see_the_same_servers(start):
    one, other = await start(), await start()
    await put(one, "a", ["http://a.example.org"])
    assert await look(other) == ["a"]
    await put(other, "a", ["http://b.example.org"])
    assert (await look(one, "?expand"))["a"]["Url"] == "http://b.example.org/"
    await one.delete(f"{SERVERS}/a")
    assert await look(other) == []
    await look(other, "/a", status=404)


async def test_a_gateway_that_is_read_only_fetches_nothing(start):
    client = await start(
        ReadOnly=True, DicomWeb={"Servers": {"a": ["http://a.example.org"]}}
    )
    assert await look(client, "/a") == ["get", "stow", "qido"]
    for call in ("retrieve", "wado"):
        response = await client.post(f"{SERVERS}/a/{call}", data=b"{}")
        assert response.status in (404, 405)


@pytest.mark.parametrize("call", ["get", "qido", "wado", "stow", "retrieve", "delete"])
async def test_a_wrong_method_is_told_the_right_ones(client, call):
    await put(client, "pacs", ["http://pacs.example.org/dicom-web"])
    for method in ("GET", "PUT"):
        response = await client.request(method, f"{SERVERS}/pacs/{call}")
        assert response.status == 405
        assert response.headers["Allow"] == "OPTIONS,POST"
