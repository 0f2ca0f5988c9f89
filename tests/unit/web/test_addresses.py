"""Public addresses: who is believed, and what is never handed on."""

from ipaddress import ip_network

import pytest
from multidict import CIMultiDict

from gateway.web.addresses import Addresses

EVERYBODY = (ip_network("0.0.0.0/0"), ip_network("::/0"))
PEER = "192.0.2.7"


def root(
    headers: dict[str, str],
    peer: str | None = PEER,
    secure: bool = False,
    **settings: object,
) -> str:
    made = Addresses(**{"public_root": "/dicom-web/", "trusted": EVERYBODY, **settings})
    return made.root(CIMultiDict(headers), peer, secure)


ROWS = {
    "Host is used": ({"Host": "a.b:90"}, "http://a.b:90/dicom-web/"),
    "a host without a port": ({"Host": "a.b"}, "http://a.b/dicom-web/"),
    "IPv6 in Host": (
        {"Host": "[2001:db8::1]:90"},
        "http://[2001:db8::1]:90/dicom-web/",
    ),
    "nothing at all": ({}, "http://localhost:8042/dicom-web/"),
    "Forwarded host and proto": (
        {"Host": "a", "Forwarded": "host=b;proto=https"},
        "https://b/dicom-web/",
    ),
    "Forwarded proto alone keeps Host": (
        {"Host": "a:1", "Forwarded": "proto=https"},
        "https://a:1/dicom-web/",
    ),
    "Forwarded host alone keeps the scheme": (
        {"Host": "a", "Forwarded": "for=1.2.3.4; host=b"},
        "http://b/dicom-web/",
    ),
    "names and values in any case": (
        {"Host": "a", "FORWARDED": "For=x;HOST=b;Proto=HTTPS"},
        "https://b/dicom-web/",
    ),
    "a quoted value": (
        {"Host": "a", "Forwarded": 'host="b.c:90";proto="https"'},
        "https://b.c:90/dicom-web/",
    ),
    "the first element counts": (
        {"Host": "a", "Forwarded": "host=b;proto=https, host=c;proto=http"},
        "https://b/dicom-web/",
    ),
    "a host in the second element does not": (
        {"Host": "a", "Forwarded": "for=1.2.3.4, host=c"},
        "http://a/dicom-web/",
    ),
    "both X-Forwarded": (
        {"Host": "a", "X-Forwarded-Host": "b", "X-Forwarded-Proto": "https"},
        "https://b/dicom-web/",
    ),
    "X-Forwarded wins over Forwarded": (
        {
            "Host": "a",
            "Forwarded": "host=c;proto=http",
            "X-Forwarded-Host": "b",
            "X-Forwarded-Proto": "https",
        },
        "https://b/dicom-web/",
    ),
    "X-Forwarded-Host alone is ignored": (
        {"Host": "a", "X-Forwarded-Host": "b"},
        "http://a/dicom-web/",
    ),
    "X-Forwarded-Proto alone is ignored": (
        {"Host": "a", "X-Forwarded-Proto": "https"},
        "http://a/dicom-web/",
    ),
    "half of X-Forwarded leaves Forwarded": (
        {"Host": "a", "X-Forwarded-Host": "b", "Forwarded": "host=c;proto=https"},
        "https://c/dicom-web/",
    ),
    "a list of hosts": (
        {"Host": "a", "X-Forwarded-Host": "b, c", "X-Forwarded-Proto": "HTTPS,http"},
        "https://b/dicom-web/",
    ),
    "a prefix": (
        {
            "Host": "a",
            "X-Forwarded-Host": "b",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Prefix": "/archive/",
        },
        "https://b/archive/dicom-web/",
    ),
    "a prefix with Host": (
        {"Host": "a", "X-Forwarded-Prefix": "/x/y"},
        "http://a/x/y/dicom-web/",
    ),
    "a port": (
        {
            "Host": "a",
            "X-Forwarded-Host": "b",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Port": "8443",
        },
        "https://b:8443/dicom-web/",
    ),
    "the usual port is left out": (
        {
            "Host": "a",
            "X-Forwarded-Host": "b",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Port": "443",
        },
        "https://b/dicom-web/",
    ),
    "a host that names its port keeps it": (
        {
            "Host": "a",
            "X-Forwarded-Host": "b:1",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Port": "2",
        },
        "https://b:1/dicom-web/",
    ),
    "a port behind an IPv6 address": (
        {
            "Host": "a",
            "X-Forwarded-Host": "[::1]",
            "X-Forwarded-Proto": "http",
            "X-Forwarded-Port": "81",
        },
        "http://[::1]:81/dicom-web/",
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_addresses_follow_what_the_proxy_says(row: str) -> None:
    headers, wanted = ROWS[row]
    assert root(headers) == wanted


TOLD = {
    "Host": "a",
    "Forwarded": "host=b;proto=https",
    "X-Forwarded-Host": "c",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Prefix": "/p",
    "X-Forwarded-Port": "1",
}


def test_a_configured_host_overrides_all_that_is_told() -> None:
    assert root(TOLD, host="pacs:80", ssl=False) == "http://pacs:80/dicom-web/"
    assert root(TOLD, host="pacs", ssl=True) == "https://pacs/dicom-web/"
    assert root(TOLD, secure=True, host="pacs") == "http://pacs/dicom-web/"


def test_ssl_is_the_scheme_where_nothing_tells_another() -> None:
    assert root({"Host": "a"}, ssl=True) == "https://a/dicom-web/"
    told = {"Host": "a", "Forwarded": "proto=http"}
    assert root(told, ssl=True) == "http://a/dicom-web/"


def test_who_speaks_tls_to_us_gets_https() -> None:
    assert root({"Host": "a"}, secure=True) == "https://a/dicom-web/"


def test_the_public_root_is_the_path() -> None:
    assert root({"Host": "a"}, public_root="/") == "http://a/"
    assert root({"Host": "a"}, public_root="/x/y/") == "http://a/x/y/"


@pytest.mark.parametrize(
    ("peer", "trusted", "believed"),
    [
        ("10.1.2.3", ["10.0.0.0/8"], True),
        ("192.0.2.7", ["10.0.0.0/8"], False),
        ("192.0.2.7", ["10.0.0.0/8", "192.0.2.7/32"], True),
        ("2001:db8::7", ["2001:db8::/32"], True),
        ("fe80::1%eth0", ["fe80::/10"], True),
        ("2001:db8::7", ["10.0.0.0/8"], False),
        ("10.1.2.3", [], False),
        ("nonsense", ["0.0.0.0/0"], False),
        (None, [], True),
    ],
)
def test_only_trusted_proxies_are_believed(
    peer: str | None, trusted: list[str], believed: bool
) -> None:
    found = root(TOLD, peer, trusted=tuple(map(ip_network, trusted)))
    assert found == ("https://c:1/p/dicom-web/" if believed else "http://a/dicom-web/")


@pytest.mark.parametrize(
    "host",
    [
        "a/b",
        "a\r\nX: y",
        "a b",
        "user@a",
        "a:b",
        "a:1:2",
        "a:123456",
        '"a"',
        "<script>",
        "a?b",
        "a#b",
        "a\\b",
        "é",
        "",
        "[",
        "[::1",
        "::1",
        "a,b",
        "a\n",
    ],
)
def test_what_is_no_host_is_never_handed_on(host: str) -> None:
    assert root({"Host": host}) == "http://localhost:8042/dicom-web/"
    forwarded = {"Host": "good", "Forwarded": f'host="{host}"'}
    told = {"Host": "good", "X-Forwarded-Host": host, "X-Forwarded-Proto": "https"}
    # Of a list the first counts, and quotes are no part of a value: that leaves "a".
    assert root(forwarded) in ("http://good/dicom-web/", "http://a/dicom-web/")
    assert root(told) in ("http://good/dicom-web/", "https://a/dicom-web/")


@pytest.mark.parametrize("proto", ["ftp", "javascript", "https:", "http s", "", "wss"])
def test_what_is_no_scheme_is_ignored(proto: str) -> None:
    told = {"Host": "a", "X-Forwarded-Host": "b", "X-Forwarded-Proto": proto}
    assert root(told) == "http://a/dicom-web/"
    forwarded = {"Host": "a", "Forwarded": f"host=b;proto={proto}"}
    assert root(forwarded) == "http://b/dicom-web/"


@pytest.mark.parametrize(
    "prefix",
    [
        "x",
        "//evil",
        "/a//b",
        "/a b",
        "/<b>",
        "/a?b",
        "/..",
        "/a/../b",
        "/.",
        "/%2e",
        "/",
    ],
)
def test_what_is_no_prefix_is_ignored(prefix: str) -> None:
    found = root({"Host": "a", "X-Forwarded-Prefix": prefix})
    assert found == "http://a/dicom-web/"


@pytest.mark.parametrize("port", ["x", "-1", "123456", "1 2", "80/x", ""])
def test_what_is_no_port_is_ignored(port: str) -> None:
    told = {
        "Host": "a",
        "X-Forwarded-Host": "b",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Port": port,
    }
    assert root(told) == "https://b/dicom-web/"
