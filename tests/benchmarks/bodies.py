"""What the client sends and what it does with what comes back.

A body of files is framed before the clock starts and lies in memory; a body that is
too large for that is made as it goes. Every answer is judged: Orthanc answers 200 to
a STOW that stored nothing, so a status alone proves little.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .streams import Large, Many

BOUNDARY = b"gateway-benchmark-7d1c4f0a"
STOW_TYPE = f'multipart/related; type="application/dicom"; boundary={BOUNDARY.decode()}'
CHUNK = 128 * 1024
CLOSING = b"\r\n--" + BOUNDARY + b"--\r\n"


def part_head(length: int) -> bytes:
    """What precedes a file in a multipart body; the length spares a search."""
    head = b"\r\n--%b\r\nContent-Type: application/dicom\r\nContent-Length: %d\r\n\r\n"
    return head % (BOUNDARY, length)


def many_of(body: dict[str, Any]) -> Many:
    """The many instances that a plan describes."""
    return Many(Path(body["template"]), body["count"], body["studies"])


def large_of(body: dict[str, Any]) -> Large:
    """The large object that a plan describes."""
    return Large(Path(body["header"]), Path(body["frame"]), body["frames"])


def body_length(body: dict[str, Any]) -> int:
    """The length of a body of files."""
    if body["kind"] == "json":
        return len(json.dumps(body["value"]))
    sizes = [Path(file).stat().st_size for file in body["files"]]
    if body["kind"] == "file":
        return sum(sizes)
    return sum(size + len(part_head(size)) for size in sizes) + len(CLOSING)


def pieces(body: dict[str, Any]) -> Iterator[bytes]:
    """The body as it goes, before any framing of chunks."""
    if body["kind"] == "json":
        yield json.dumps(body["value"]).encode()
        return
    if body["kind"] == "file":
        yield Path(body["files"][0]).read_bytes()
        return
    if body["kind"] == "large":
        large = large_of(body)
        yield part_head(large.size)
        yield from large.pieces()
    else:
        for file in _files(body):
            yield part_head(len(file)) + file
    yield CLOSING


def _files(body: dict[str, Any]) -> Iterator[bytes]:
    if body["kind"] == "many":
        yield from many_of(body).objects()
    else:
        for file in body["files"]:
            yield Path(file).read_bytes()


def chunked(body: Iterable[bytes]) -> Iterator[bytes]:
    """The body in chunks of the usual size, small pieces gathered and large cut."""
    waiting = bytearray()
    for piece in body:
        if len(piece) < CHUNK:
            waiting += piece
        if len(waiting) >= CHUNK or (waiting and len(piece) >= CHUNK):
            yield _chunk(waiting)
            waiting.clear()
        if len(piece) >= CHUNK:
            view = memoryview(piece)
            for start in range(0, len(piece), CHUNK):
                yield _chunk(view[start : start + CHUNK])
    if waiting:
        yield _chunk(waiting)
    yield b"0\r\n\r\n"


def _chunk(piece: bytearray | memoryview) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


class Kept:
    """A short answer, in which a word must occur so many times."""

    def __init__(self, expect: dict[str, Any]) -> None:
        self._expect = expect
        self._body = bytearray()

    def take(self, piece: memoryview) -> None:
        """Keep it."""
        self._body += piece

    def problem(self) -> str | None:
        """What is wrong with the answer."""
        word, count = self._expect.get("word"), self._expect.get("count")
        if word is None:
            return None
        found = self._body.count(word.encode())
        never = self._expect.get("never")
        failures = self._body.count(never.encode()) if never else 0
        if found == count and not failures:
            return None
        start = bytes(self._body[:300]).decode("utf-8", "replace")
        counted = f"{word} came {found} times, not {count}; {failures} failures"
        return f"{counted}: {start}"


class Dropped:
    """An answer whose bytes are only counted."""

    def __init__(self, expect: dict[str, Any]) -> None:
        self._expect = expect
        self._count = 0

    def take(self, piece: memoryview) -> None:
        """Count and forget."""
        self._count += len(piece)

    def problem(self) -> str | None:
        """What is wrong with the answer."""
        least, most = self._expect["least"], self._expect["most"]
        if least <= self._count <= most:
            return None
        return f"{self._count} bytes came, not {least} to {most}"


class LargePart:
    """An answer of one part, too large to keep: its digest is compared."""

    def __init__(self, expect: dict[str, Any]) -> None:
        self._large = large_of(expect)
        self._expected = expect["digest"]
        self._left = self._large.size
        self._head: bytearray | None = bytearray()
        self._seen = hashlib.sha256()

    def take(self, piece: memoryview) -> None:
        """Skip the head of the part, then take the file and ignore what follows."""
        if self._head is not None:
            self._head += piece
            end = self._head.find(b"\r\n\r\n", 2)
            if end < 0:
                return
            piece, self._head = memoryview(bytes(self._head[end + 4 :])), None
        of_file = piece[: self._left]
        self._left -= len(of_file)
        self._seen.update(of_file)

    def problem(self) -> str | None:
        """What is wrong with the answer."""
        if self._left:
            return f"{self._left} bytes of the file did not come"
        if self._seen.hexdigest() != self._expected:
            return "the file that came back is another"
        return None


class ManyParts:
    """An answer of many small parts, each compared by its digest, in any order."""

    def __init__(self, expect: dict[str, Any]) -> None:
        self._digests: set[bytes] = expect["digests"]
        self._length: int = expect["length"]
        self._body = bytearray()

    def take(self, piece: memoryview) -> None:
        """Keep it: a study of many small instances is not large."""
        self._body += piece

    def problem(self) -> str | None:
        """What is wrong with the answer."""
        seen = set()
        view = memoryview(self._body)
        at = self._body.find(b"\r\n\r\n", 2)
        while at >= 0:
            stop = at + 4 + self._length
            seen.add(hashlib.sha256(view[at + 4 : stop]).digest())
            at = self._body.find(b"\r\n\r\n", stop)
        if seen == self._digests:
            return None
        return f"of {len(self._digests)} files {len(self._digests & seen)} came back"


SINKS = {"keep": Kept, "drop": Dropped, "large": LargePart, "many": ManyParts}


def sink_for(request: dict[str, Any]) -> Kept | Dropped | LargePart | ManyParts:
    """What takes the answer to a request of the plan."""
    return SINKS[request["sink"]](request.get("expect", {}))


def prepared(requests: list[dict[str, Any]]) -> None:
    """Fill in what is expected and takes a while to know."""
    for request in requests:
        expect = request.get("expect", {})
        if request["sink"] == "large":
            expect["digest"] = large_of(expect).digest()
    _prepare_many([request for request in requests if request["sink"] == "many"])


def _prepare_many(requests: list[dict[str, Any]]) -> None:
    if not requests:
        return
    many = many_of(requests[0]["expect"])
    digests = list(many.digests())
    length = len(next(many.objects()))
    each = many.count // many.studies
    for number, request in enumerate(requests):
        of_study = set(digests[number * each : (number + 1) * each])
        request["expect"] = {"digests": of_study, "length": length}


def read_plan(line: str) -> dict[str, Any]:
    """The plan as the measuring process wrote it."""
    plan: dict[str, Any] = json.loads(line)
    return plan
