"""An answer as the bytes that go out: for what is asked for often and needs no waiting.

aiohttp makes an object of each answer, with a table of its headers, and writes that down
again. Here the headers are written once for as long as they are the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

_EMPTY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


@dataclass(frozen=True, slots=True)
class Whole:
    """An answer to a GET, but for the headers that every answer carries."""

    status: int
    head: bytes  # of the status line and the headers, each with its end
    body: bytes | memoryview = b""  # the latter is to be sent before it is another's

    @classmethod
    def of(
        cls, status: int, headers: Mapping[str, str], body: bytes | memoryview = b""
    ) -> "Whole":
        """An answer with these headers, and that of its length."""
        return cls(status, head_of(status, headers, len(body)), body)


def head_of(status: int, headers: Mapping[str, str], size: int) -> bytes:
    """Status line and headers of an answer with a body of so many bytes.

    Raises ValueError for a header that would end before its time (RFC 9110 5.5).
    """
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if status not in _EMPTY:
        lines.append(f"Content-Length: {size}")
    if any("\r" in line or "\n" in line or "\0" in line for line in lines):
        raise ValueError("a header would end before its time")
    return "\r\n".join([*lines, ""]).encode()
