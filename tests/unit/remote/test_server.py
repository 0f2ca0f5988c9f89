"""Definitions of remote servers: what may be said, what is stored, what is shown."""

import json

import pytest

from gateway.definition import Unusable, definition_of
from gateway.errors import BadRequest
from gateway.remote.server import document, public, server_of

FULL = {
    "Url": "https://pacs:8443/dicom-web",
    "Username": "alice",
    "Password": "hush-1",
    "HttpHeaders": {"Authorization": "hush-2", "X-Site": "hush-3"},
    "CertificateFile": "client.pem",
    "CertificateKeyFile": "key.pem",
    "CertificateKeyPassword": "hush-5",
    "Pkcs11": False,
    "Timeout": 7,
    "HasDelete": "true",
    "ChunkedTransfers": 0,
    "HasWadoRsUniversalTransferSyntax": False,
    "Cache": True,
    "StowMaxInstances": 5,
    "StowMaxSize": "10",
    "OAuth2": {"TokenUrl": "https://id/", "ClientId": "g", "ClientSecret": "hush-6"},
    "Room": 12,
    "Locked": True,
    "Owner": "radiology",
}


def test_every_field_is_read():
    server = server_of("pacs", FULL)
    assert server.url == "https://pacs:8443/dicom-web/"
    assert (server.username, server.password) == ("alice", "hush-1")
    assert server.http_headers["X-Site"] == "hush-3"
    assert server.certificate_key_password == "hush-5"
    assert server.timeout == 7
    assert server.has_delete
    assert server.cache
    assert not server.chunked_transfers
    assert not server.universal_transfer_syntax
    assert server.oauth2 == FULL["OAuth2"]
    assert server.properties == {
        "HasDelete": "1",
        "ChunkedTransfers": "0",
        "HasWadoRsUniversalTransferSyntax": "0",
        "Cache": "1",
        "StowMaxInstances": "5",
        "StowMaxSize": "10",
        "Room": "12",
        "Locked": "1",
        "Owner": "radiology",
    }


def test_what_is_not_said_is_as_in_orthanc():
    server = server_of("pacs", ["http://pacs"])
    assert server.url == "http://pacs/"
    assert server.timeout == 0
    assert not server.has_delete
    assert server.chunked_transfers
    assert server.universal_transfer_syntax
    assert not server.cache
    assert server.oauth2 is None
    assert server.properties == {}


@pytest.mark.parametrize(
    "fields",
    [
        FULL,
        ["http://pacs/"],
        ["http://pacs/", "alice", "secret"],
        ["http://pacs/", "alice", ""],
        {"Url": "http://pacs/", "Username": "", "Password": "secret"},
        {"URL": "http://alice:s%40crt@pacs/x"},
    ],
)
def test_what_is_stored_makes_the_same_server(fields: object):
    server = server_of("pacs", fields)
    stored = json.loads(json.dumps(document(server)))
    assert server_of("pacs", stored) == server


def test_what_is_shown_and_printed_has_no_secret():
    server = server_of("pacs", FULL)
    shown = public(server)
    assert "hush" not in json.dumps(shown) + repr(server)
    assert shown["Password"] is None
    assert shown["CertificateKeyFile"] is None
    assert shown["HttpHeaders"] == ["Authorization", "X-Site"]
    assert shown["Room"] == "12"
    assert shown["OAuth2"]["ClientSecret"] is None
    assert shown["OAuth2"]["ClientId"] == "g"


def test_the_query_of_a_token_endpoint_is_not_shown():
    oauth2 = {"TokenUrl": "https://id:8443/t?key=hush#hush", "ClientId": "g"}
    server = server_of("pacs", {"Url": "http://pacs/", "OAuth2": oauth2})
    assert public(server)["OAuth2"] == {
        "TokenUrl": "https://id:8443/t",
        "ClientId": "g",
    }
    assert server.oauth2 == oauth2


def test_a_login_in_the_address_is_not_shown():
    server = server_of("pacs", ["http://alice:hush@pacs:80/x"])
    assert public(server)["Url"] == "http://pacs:80/x/"
    assert (server.username, server.password) == ("alice", "hush")


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ("hush", "pacs: "),
        (["http://hush", "hush"], "pacs: "),
        ({"Url": "ftp://hush/"}, "Url of the server pacs: "),
        ({"Url": "http://hush:x/"}, "Url of the server pacs: "),
        ({"Url": "http://hush/?x=1"}, "Url of the server pacs: "),
        ({"Url": "http://hush/a b"}, "Url of the server pacs: "),
        ({"Url": "http://h/", "Password": "hush"}, "pacs: "),
        ({"Url": "http://h/", "Timeout": -1}, "Timeout of"),
        ({"Url": "http://h/", "Timeout": True}, "Timeout of"),
        ({"Url": "http://h/", "Timeout": "7"}, "Timeout of"),
        ({"Url": "http://h/", "Cache": "hush"}, "Cache of"),
        ({"Url": "http://h/", "HasDelete": 2}, "HasDelete of"),
        ({"Url": "http://h/", "StowMaxSize": "hush"}, "StowMaxSize of"),
        ({"Url": "http://h/", "HttpHeaders": ["hush"]}, "HttpHeaders of"),
        ({"Url": "http://h/", "HttpHeaders": {"A": "x\r\nhush"}}, "HttpHeaders.A of"),
        ({"Url": "http://h/", "HttpHeaders": {"A b": "hush"}}, "HttpHeaders of"),
        ({"Url": "http://h/", "OAuth2": "hush"}, "OAuth2 of"),
        ({"Url": "http://h/", "OAuth2": {"Hush": "x"}}, "OAuth2 of"),
        ({"Url": "http://h/", "OAuth2": {"ClientId": 1}}, "OAuth2.ClientId of"),
        ({"Url": "http://h/", "OAuth2": {"TokenUrl": "hush"}}, "OAuth2.TokenUrl of"),
        (
            {"Url": "http://h/", "OAuth2": {"TokenUrl": "https://a:hush@id/"}},
            "OAuth2.TokenUrl of",
        ),
        (
            {"Url": "http://h/", "OAuth2": {"TokenUrl": "ftp://hush/"}},
            "OAuth2.TokenUrl of",
        ),
        (
            {"Url": "http://h/", "OAuth2": {"TokenUrl": "http://hush:x/"}},
            "OAuth2.TokenUrl of",
        ),
        ({"Url": "http://hüsh/"}, "Url of the server pacs: "),
        ({"Url": "http://h/", "Mine": 1.5}, "Mine of"),
        ({"Url": "http://h/", "Mine": None}, "Mine of"),
    ],
)
def test_a_wrong_field_is_named_and_not_shown(fields: object, where: str):
    with pytest.raises(BadRequest) as refused:
        server_of("pacs", fields)
    assert str(refused.value).startswith(where)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a\0"])
def test_a_name_that_cannot_be_seen_is_refused(name: str):
    with pytest.raises(BadRequest, match="name of a server"):
        server_of(name, ["http://pacs/"])


def test_names_are_free_text():
    assert server_of("Main Archive/2 ä", ["http://pacs/"]).name == "Main Archive/2 ä"


def test_the_definition_itself_names_the_field_apart():
    with pytest.raises(Unusable) as refused:
        definition_of({"Url": "http://x/", "Timeout": "soon"})
    assert refused.value.field == "Timeout"
    assert refused.value.expected == "a whole number of at least 0"
