"""Multipart bodies as a machine that is fed chunks and answers with events.

Why not the reader of the web framework: it hands over a part cut short as if it were
finished, trusts a part's Content-Length, and gives up when the data holds something
that merely begins like a delimiter. An archive can afford none of these, so here

- a ``PartEnd`` is only told once the delimiter line after the part was seen complete;
- a part ends at its delimiter and nowhere else, whatever its headers claim;
- ``CRLF--boundary`` followed by anything but blanks and a line end, or ``--``, is data.

Line ends. RFC 2046 5.1.1 wants CRLF. Writers that send bare LF exist, and guessing
could cost a byte of an image, so the first delimiter line decides for the whole body:
if it ended with CRLF, only ``CRLF--boundary`` ends a part and ``LF--boundary`` is data;
if it ended with LF, ``LF--boundary`` ends a part, and a CR just before it, which may be
the last byte of the data as well as half of a line end, is refused. The end of a
delimiter line and of a header line may be either, as nothing can be lost there.

There is no server, no loop and no file in here. Reading the chunks, counting them and
keeping what they hold is left to the caller.
"""

import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from gateway.errors import BadRequest, Truncated

#: RFC 2046 5.1.1 allows 70; Orthanc sends instances with boundaries of 73.
MAX_BOUNDARY = 200
MAX_PREAMBLE_BYTES = 4 * 1024  # what stands before the first delimiter
MAX_HEADER_BYTES = 8 * 1024  # of one part
MAX_HEADER_LINES = 32  # of one part, folded ones counted singly
_USUAL_HEADERS = 128  # bytes of a part's, up to which they are remembered

# What may follow ``--boundary`` on a delimiter line. Padding is legal, endless padding
# would have to be kept.
_LINE_END = re.compile(rb"(?P<closing>--)|[ \t]{0,64}\r?\n|(?P<endless>[ \t]{65})")
_LINE_END_BEGUN = re.compile(rb"-|[ \t]{0,64}\r?")
_BLANK_LINE = re.compile(rb"\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_HEADER_LINE = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:([^\x00-\x08\x0a-\x1f\x7f]*)"
)
_BOUNDARY = re.compile(r"[ -~]*[!-~]")  # visible, and no blank at the end
_CARRIAGE_RETURN = 0x0D


@dataclass(frozen=True, slots=True)
class PartBegin:
    """A part begins; its header block is complete."""

    headers: Mapping[str, str]  # names in lower case, the first of equal names


@dataclass(frozen=True, slots=True)
class PartData:
    """The next bytes of the open part, never none."""

    body: memoryview  # into the chunk that was fed


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The open part is whole: the delimiter line after it was seen."""


@dataclass(frozen=True, slots=True)
class MultipartEnd:
    """The closing delimiter was seen; whatever follows is ignored."""


Event = PartBegin | PartData | PartEnd | MultipartEnd

_PART_END, _MULTIPART_END = PartEnd(), MultipartEnd()  # they are all the same


class MultipartReader:
    """Takes a multipart body apart, however it is cut into chunks (RFC 2046 5.1)."""

    def __init__(self, boundary: str) -> None:
        self._dash_boundary = b"--" + boundary.encode("ascii")
        self._newline = b"\n"  # until the first delimiter line shows which it is
        self._delimiter = self._newline + self._dash_boundary
        self._kept = b"\n"  # a body begins at the beginning of a line
        self._step: Callable[[bytes, int, list[Event]], int] = self._read_preamble
        self._preamble = 0  # bytes skipped before the first delimiter
        self._part = 0  # number of the open or last part
        self._lead = 0  # bytes of the blank line that stand before the data
        self._failure: BadRequest | None = None

    def feed(self, chunk: bytes) -> list[Event]:
        """Tell what this chunk brought.

        The chunk must not change while an event that points into it is in use. If the
        body turns out wrong after something good, the good is told first and the next
        call raises, so that how a body is cut never decides which parts are whole.
        """
        if self._failure is not None:
            raise self._failure
        events: list[Event] = []
        try:
            self._read(chunk, events)
        except BadRequest as failure:
            self._failure = failure
            if not events:
                raise
        return events

    def close(self) -> None:
        """Raise ``Truncated`` unless the closing delimiter was seen."""
        if self._failure is not None:
            raise self._failure
        if self._step == self._ignore_epilogue:
            return
        if not self._part:
            raise Truncated("The body ended before the first multipart delimiter.")
        if self._step == self._read_headers:
            raise Truncated(f"The body ended in the headers of part {self._part}.")
        raise Truncated(f"The body ended inside part {self._part}.")

    def _read(self, chunk: bytes, events: list[Event]) -> None:
        # What is kept is a begun delimiter or header block. Most chunks leave nothing,
        # so joining, which copies the chunk, is rare.
        buffer = self._kept + chunk if self._kept else chunk
        self._kept = b""
        position = 0
        while position < len(buffer):
            position = self._step(buffer, position, events)

    def _read_preamble(self, buffer: bytes, start: int, events: list[Event]) -> int:
        at, line_end = self._find_delimiter(buffer, start)
        self._preamble += at - start
        if self._preamble > MAX_PREAMBLE_BYTES:
            raise BadRequest(
                f"No multipart delimiter within the first {MAX_PREAMBLE_BYTES} bytes;"
                " is it the boundary of the Content-Type?"
            )
        if line_end is None:
            return self._keep(buffer, at)
        if line_end.group().endswith(b"\r\n"):
            self._newline = b"\r\n"
            self._delimiter = self._newline + self._dash_boundary
        return self._pass_delimiter(line_end, events)

    def _read_headers(self, buffer: bytes, start: int, events: list[Event]) -> int:
        # It starts at the LF of the delimiter line, so that a part without any header
        # is no special case.
        blank = _BLANK_LINE.search(buffer, start, start + MAX_HEADER_BYTES)
        if blank is None:
            if len(buffer) - start >= MAX_HEADER_BYTES:
                raise self._bad_part(f"headers above {MAX_HEADER_BYTES} bytes")
            return self._keep(buffer, start)
        headers = self._parse_headers(buffer[start + 1 : blank.start()])
        events.append(PartBegin(headers))
        self._step = self._read_data
        # A delimiter may stand right behind the blank line, whose end then is the one
        # before the delimiter too (RFC 2046 5.1.1, body-part): look at it again.
        self._lead = len(self._newline)
        return blank.end() - self._lead

    def _read_data(self, buffer: bytes, start: int, events: list[Event]) -> int:
        at, line_end = self._find_delimiter(buffer, start)
        begin = start + self._lead
        if at > begin:
            events.append(PartData(memoryview(buffer)[begin:at]))
        if at > start:
            self._lead = 0
        if line_end is None:
            return self._keep(buffer, at)
        if self._newline == b"\n" and buffer[at] == _CARRIAGE_RETURN:
            raise self._bad_part("CR LF before a delimiter, LF after the first one")
        events.append(_PART_END)
        return self._pass_delimiter(line_end, events)

    def _ignore_epilogue(self, buffer: bytes, start: int, events: list[Event]) -> int:
        return len(buffer)

    def _pass_delimiter(self, line_end: re.Match[bytes], events: list[Event]) -> int:
        if line_end["closing"]:
            events.append(_MULTIPART_END)
            self._step = self._ignore_epilogue
            return line_end.end()
        self._part += 1
        self._step = self._read_headers
        return line_end.end() - 1

    def _find_delimiter(
        self, buffer: bytes, start: int
    ) -> tuple[int, re.Match[bytes] | None]:
        """Where the next delimiter stands and how its line ends.

        Without a line end: up to there nothing is of a delimiter, and the rest, if any,
        may be the beginning of one.
        """
        at = buffer.find(self._delimiter, start)
        while at >= 0:
            behind = at + len(self._delimiter)
            line_end = _LINE_END.match(buffer, behind)
            if line_end is not None:
                if line_end["endless"]:
                    raise BadRequest("A multipart delimiter is followed by blanks only")
                return self._with_carriage_return(buffer, start, at), line_end
            if _LINE_END_BEGUN.fullmatch(buffer, behind):
                return self._with_carriage_return(buffer, start, at), None
            at = buffer.find(self._delimiter, behind)
        return self._find_begun_delimiter(buffer, start), None

    def _find_begun_delimiter(self, buffer: bytes, start: int) -> int:
        # A boundary holds no line end, so only the last one can begin a delimiter.
        nearest = max(start, len(buffer) - len(self._delimiter) + 1)
        at = buffer.rfind(self._delimiter[:1], nearest)
        if at < 0 or not self._delimiter.startswith(buffer[at:]):
            at = len(buffer)
        return self._with_carriage_return(buffer, start, at)

    def _with_carriage_return(self, buffer: bytes, start: int, at: int) -> int:
        """With bare line feeds, go back over a CR: it may be data or not."""
        if self._newline == b"\n" and at > start and buffer[at - 1] == _CARRIAGE_RETURN:
            return at - 1
        return at

    def _keep(self, buffer: bytes, at: int) -> int:
        self._kept = buffer[at:]
        return len(buffer)

    def _parse_headers(self, block: bytes) -> Mapping[str, str]:
        """The header fields of a part; raises BadRequest."""
        if not block:
            return {}
        if block.count(b"\n") >= MAX_HEADER_LINES:
            raise self._bad_part(f"more than {MAX_HEADER_LINES} header lines")
        if len(block) <= _USUAL_HEADERS and b"--" not in block:
            usual = _usual_headers(block)
            if usual is not None:
                return usual
        headers: dict[str, str] = {}
        for line in _FOLD.sub(b" ", block).split(b"\n"):
            if line.startswith(self._dash_boundary):
                raise self._bad_part("no blank line after the headers")
            parsed = _HEADER_LINE.fullmatch(line.removesuffix(b"\r"))
            if parsed is None:
                raise self._bad_part(f"not a header line: {_text(line[:60])!r}")
            name = parsed[1].decode("ascii").lower()
            headers.setdefault(name, _text(parsed[2].strip()))
        return headers

    def _bad_part(self, reason: str) -> BadRequest:
        return BadRequest(f"Part {self._part} of the multipart body: {reason}.")


@lru_cache(64)
def _usual_headers(block: bytes) -> Mapping[str, str] | None:
    """The fields of a few lines, the same in most parts; None unless they are right."""
    headers: dict[str, str] = {}
    for line in block.split(b"\n"):
        parsed = _HEADER_LINE.fullmatch(line.removesuffix(b"\r"))
        if parsed is None:
            return None
        name = parsed[1].decode("ascii").lower()
        headers.setdefault(name, _text(parsed[2].strip()))
    return headers


def boundary_of(parameters: Mapping[str, str]) -> str:
    """Take the boundary from the parameters of a Content-Type (RFC 2046 5.1.1)."""
    boundary = parameters.get("boundary", "")
    if not boundary:
        raise BadRequest("The multipart Content-Type has no boundary parameter.")
    if len(boundary) > MAX_BOUNDARY:
        raise BadRequest(f"The multipart boundary is longer than {MAX_BOUNDARY}.")
    if not _BOUNDARY.fullmatch(boundary):
        raise BadRequest("The multipart boundary holds characters it may not hold.")
    return boundary


def new_boundary() -> str:
    """Make a boundary that no file can hold but by chance (RFC 2046 5.1.1).

    It is long because a long one is found faster: who searches skips as many bytes.
    """
    return secrets.token_hex(32)


def content_type(inner: str, boundary: str) -> str:
    """Spell the Content-Type of a body with such parts (PS3.18 8.6.1.2)."""
    # The type must be quoted, it holds a slash; the boundary need not be.
    return f'multipart/related; type="{inner}"; boundary={boundary}'


def part_header(
    boundary: str, headers: Iterable[tuple[str, str]], first: bool
) -> bytes:
    """Write all that stands before the data of a part.

    Viewers look for it literally: no preamble, one CRLF before a delimiter, and header
    names spelled as they are given.
    """
    lines = [f"{name}: {value}" for name, value in headers]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("A header of a part cannot hold a line end")
    lead = "" if first else "\r\n"
    head = "\r\n".join([f"{lead}--{boundary}", *lines])
    return f"{head}\r\n\r\n".encode()


def closing(boundary: str) -> bytes:
    """Write what stands behind the data of the last part."""
    return f"\r\n--{boundary}--\r\n".encode()


def length(
    boundary: str, parts: Iterable[tuple[Iterable[tuple[str, str]], int]]
) -> int:
    """Compute the Content-Length of a body from the headers and sizes of its parts."""
    total = len(closing(boundary))
    for number, (headers, size) in enumerate(parts):
        total += len(part_header(boundary, headers, first=number == 0)) + size
    return total


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
