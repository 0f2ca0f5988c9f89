"""The errors of requests to others."""

import ssl
import time
from email.utils import formatdate

import aiohttp
import pytest

from gateway.errors import (
    RemoteBadRequest,
    RemoteFailure,
    RemoteNotFound,
    RemoteRefused,
)
from gateway.remote.failures import LONGEST_WAIT, Failures

FAILURES = Failures("pacs", "GET http://pacs/studies")


@pytest.mark.parametrize(
    ("status", "kind", "retry"),
    [
        (400, RemoteBadRequest, False),
        (401, RemoteRefused, False),
        (403, RemoteRefused, False),
        (404, RemoteNotFound, False),
        (410, RemoteNotFound, False),
        (408, RemoteFailure, True),
        (413, RemoteFailure, False),
        (425, RemoteFailure, True),
        (429, RemoteFailure, True),
        (500, RemoteFailure, True),
        (501, RemoteFailure, False),
        (502, RemoteFailure, True),
        (503, RemoteFailure, True),
        (504, RemoteFailure, True),
        (505, RemoteFailure, False),
        (507, RemoteFailure, False),
        (599, RemoteFailure, True),
    ],
)
def test_the_status_says_what_it_is_and_whether_to_try_again(
    status: int, kind: type, retry: bool
):
    error = FAILURES.answered(status, "Because", None, "words")
    assert type(error) is kind
    assert (error.retry, error.status, error.server) == (retry, status, "pacs")
    start = "the remote server pacs, GET http://pacs/studies: it answered"
    assert str(error).startswith(f"{start} {status} Because")
    assert str(error).endswith(": words")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("99999999999999", LONGEST_WAIT),
        ("soon", None),
        ("-1", None),
        ("Wed, 99 Foo 2020 00:00:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        (None, None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_moment(text: str | None, seconds: float | None):
    assert FAILURES.answered(503, "", text, "").retry_after == seconds


def test_retry_after_may_be_a_moment_to_come():
    moment = formatdate(time.time() + 60, usegmt=True)
    found = FAILURES.answered(429, "", moment, "").retry_after
    assert found is not None
    assert 50 < found <= 60


def test_retry_after_means_nothing_where_trying_again_does_not():
    assert FAILURES.answered(404, "", "7", "").retry_after is None


def test_an_excerpt_is_short_and_one_line():
    text = FAILURES.excerpt(b"a\r\n\t b\x00\x1b[31m\xff" + b"x" * 10_000)
    assert text.startswith("a b?")
    assert len(text) <= 503
    assert text.isprintable()


def test_an_error_of_http_does_not_show_the_query():
    info = aiohttp.RequestInfo(None, "GET", {}, None)  # type: ignore[arg-type]
    error = aiohttp.ClientResponseError(info, (), message="Bad status line")
    assert "its answer is not HTTP: Bad status line" in str(FAILURES.broken(error))


def test_a_tls_failure_behind_an_error_is_told_as_one():
    error = aiohttp.ClientOSError(1, "broken")
    error.__cause__ = ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED]")
    failure = FAILURES.broken(error)
    assert "TLS with it fails: [SSL: TLSV13_ALERT_CERTIFICATE" in str(failure)
    assert not failure.retry


def test_a_tls_connection_that_is_cut_may_be_better_next_time():
    error = aiohttp.ClientOSError(1, "broken")
    error.__cause__ = ssl.SSLEOFError(8, "EOF occurred")
    assert FAILURES.broken(error).retry
