"""What we sent as a secret: found in what a server says, and never told."""

import base64
import html
import json
from urllib.parse import quote

import pytest
from multidict import CIMultiDict
from yarl import URL

from gateway.remote.exchange import Request
from gateway.remote.failures import Failures
from gateway.remote.secrets import secrets_of

PASSWORD = 'hush & "hush"/ä'
LOGIN = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()
HEADERS = {
    "Accept": "application/dicom+json",
    "Authorization": f"Basic {LOGIN}",
    "X-Api-Key": "k3y-of-ours",
    "X-Flag": "1",
}
FAILURES = Failures("pacs", "GET http://pacs/studies", secrets_of(HEADERS))


@pytest.mark.parametrize(
    "written",
    [
        f"Basic {LOGIN}",
        LOGIN,
        f"alice:{PASSWORD}",
        PASSWORD,
        html.escape(PASSWORD),
        quote(PASSWORD, safe=""),
        json.dumps(PASSWORD)[1:-1],
        base64.b64encode(PASSWORD.encode()).decode(),
        "k3y-of-ours",
    ],
)
def test_however_it_is_written(written: str) -> None:
    said = FAILURES.excerpt(f"you sent <{written}>, application/dicom+json 1".encode())
    assert said == "you sent <(hidden)>, application/dicom+json 1"
    for failure in (
        FAILURES.answered(500, f"no {written}", None, ""),
        FAILURES.nonsense(f"it redirects to /{written}"),
    ):
        assert written not in str(failure)
        assert "(hidden)" in str(failure)


def test_a_token_is_a_secret() -> None:
    failures = Failures("a", "b", secrets_of({"authorization": "Bearer abc.def"}))
    assert failures.excerpt(b"[abc.def] [Bearer abc.def]") == "[(hidden)] [(hidden)]"


def test_a_request_does_not_print_them() -> None:
    request = Request(
        "GET", URL("http://pacs/studies?PatientName=DOE"), CIMultiDict(HEADERS)
    )
    assert "Basic" not in repr(request)
    assert "DOE" not in repr(request)
