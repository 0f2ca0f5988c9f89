"""Where requests go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from gateway.errors import BadRequest
from gateway.remote.addresses import address, query_of, redirected, shown

BASE = "http://pacs:8042/dicom-web/"


@pytest.mark.parametrize(
    ("base", "path", "made"),
    [
        (BASE, "studies", "http://pacs:8042/dicom-web/studies"),
        (BASE, "/studies/", "http://pacs:8042/dicom-web/studies/"),
        (BASE, "//studies///1.2", "http://pacs:8042/dicom-web/studies/1.2"),
        (BASE, "", "http://pacs:8042/dicom-web/"),
        (BASE, "/", "http://pacs:8042/dicom-web/"),
        ("HTTPS://pacs//a//", "/b", "https://pacs/a/b"),
        (BASE, "a b/ä#c", "http://pacs:8042/dicom-web/a%20b/%C3%A4%23c"),
        (BASE, "bulk/%2F%41", "http://pacs:8042/dicom-web/bulk/%2F%41"),
        ("http://[::1]:8042/", "studies", "http://[::1]:8042/studies"),
    ],
)
def test_the_path_is_put_behind_the_address(base: str, path: str, made: str):
    assert str(address(base, path)) == made


@pytest.mark.parametrize(
    "path", ["a?b=c", "../etc", "a/../..", "a/./b", "%2e%2E/x", "a\r\nb", "a\\b", "\0"]
)
def test_a_path_that_leads_elsewhere_is_refused(path: str):
    with pytest.raises(BadRequest, match='"Uri"'):
        address(BASE, path)


@given(st.text(max_size=40))
def test_no_path_leaves_the_server(path: str):
    try:
        made = address(BASE, path)
    except BadRequest:
        return
    assert made.raw_path.startswith("/dicom-web/")
    assert (made.host, made.port, made.raw_fragment) == ("pacs", 8042, "")
    assert not made.raw_query_string


def test_arguments_are_sorted_and_encoded_and_an_empty_one_is_its_key():
    arguments = {"b": "x y&z=ä", "a": "1,2", "fuzzymatching": ""}
    assert query_of(arguments) == "a=1%2C2&b=x%20y%26z%3D%C3%A4&fuzzymatching"
    made = str(address(BASE, "studies", arguments))
    assert made.endswith("studies?a=1%2C2&b=x%20y%26z%3D%C3%A4&fuzzymatching")


def test_pairs_keep_their_order_and_may_repeat():
    pairs = [("includefield", "b"), ("includefield", "a")]
    assert query_of(pairs) == "includefield=b&includefield=a"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/other", "http://pacs:8042/other"),
        ("deeper?x=1#frag", "http://pacs:8042/dicom-web/deeper?x=1"),
        ("http://pacs:8042/x", "http://pacs:8042/x"),
        ("https://pacs/x", "https://pacs/x"),
        ("http://alice:secret@pacs:8042/x", "http://pacs:8042/x"),
        ("//pacs:8042/x", "http://pacs:8042/x"),
        ("http://pacs:8043/x", None),
        ("http://other:8042/x", None),
        ("//other/x", None),
        ("ftp://pacs/x", None),
        ("http://[bad/x", None),
    ],
)
def test_redirects_stay_with_the_server(location: str, target: str | None):
    found = redirected(URL(f"{BASE}studies"), location)
    assert (None if found is None else str(found)) == target


def test_a_redirect_does_not_leave_tls():
    assert redirected(URL("https://pacs/x"), "http://pacs/x") is None


def test_an_address_is_shown_without_its_query_and_its_user():
    text = "https://alice:secret@pacs/studies?PatientName=Doe#x"
    assert shown(text) == "https://pacs/studies"
    assert shown("/studies?PatientName=Doe") == "/studies"
    assert "\n" not in shown("http://pacs/a\nb")
