"""What is said of an error, in the form that the client prefers.

Orthanc's object of JSON, which scripts read, unless the client names another: problem
details (RFC 9457), or text for a person at a terminal.
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import web

from gateway.errors import BadRequest, GatewayError, encodable
from gateway.web.context import accept, gateway
from gateway.web.cors import add_vary
from gateway.wire.media import Offer, choose

_JSON = "application/json"
_PROBLEM = "application/problem+json"
_TEXT = "text/plain"
_OFFERS = (Offer(_JSON), Offer(_PROBLEM), Offer(_TEXT))

#: When to come back to a server that is busy (seconds).
RETRY_AFTER = 5


@dataclass(frozen=True, slots=True)
class Problem:
    """An error, and how the two protocols call it."""

    error: Exception
    status: HTTPStatus
    name: str  # Orthanc's
    number: int  # Orthanc's

    @property
    def message(self) -> str:
        """A sentence for the client; what was not foreseen stays in the log."""
        known = isinstance(self.error, GatewayError)
        return str(self.error) if known else "see the log of the gateway"


def answer(request: web.Request, problem: Problem) -> web.Response:
    """The answer that says what went wrong, or only that something did."""
    response = web.Response(status=problem.status)
    if problem.status is HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(RETRY_AFTER)
    if not gateway(request).settings.http_describe_errors:
        return response
    kind = _kind(request)
    response.content_type = kind
    add_vary(response, "Accept")
    if kind == _TEXT:
        response.charset = "utf-8"
        response.body = f"{problem.status.phrase}: {problem.message}\n".encode()
    else:
        describe = _details if kind == _PROBLEM else _as_orthanc
        response.body = orjson.dumps(
            describe(request, problem), option=orjson.OPT_INDENT_2
        )
    return response


def _kind(request: web.Request) -> str:
    try:
        offer = choose(accept(request), _OFFERS)
    except BadRequest:  # which may be the error that is to be told
        offer = None
    return offer.kind if offer else _JSON


def _as_orthanc(request: web.Request, problem: Problem) -> dict[str, Any]:
    known = isinstance(problem.error, GatewayError)
    return {
        "Details": problem.message,
        "HttpError": problem.status.phrase,
        "HttpStatus": problem.status.value,
        "Message": problem.message if known else problem.name,
        "Method": request.method,
        "OrthancError": problem.name,
        "OrthancStatus": problem.number,
        "Uri": encodable(request.path),
    }


def _details(request: web.Request, problem: Problem) -> dict[str, Any]:
    return {
        "type": "about:blank",
        "title": problem.status.phrase,
        "status": problem.status.value,
        "detail": problem.message,
        "instance": encodable(request.path),
    }
