"""DICOM JSON with the addresses in it moved, as it streams by (PS3.18 F.2).

Metadata of a study can be hundreds of megabytes, so nothing is loaded: the text is
searched for the few keys that have an address behind them, and all else goes through as
it is. A key is told from text that looks like one by its quotes: within a string they
have a backslash. However the text is cut into chunks, the same comes out; at most the
begun string is held back, and a string too long for an address goes through.

JSON that is none goes through as well: to judge it is for whoever reads it.
"""

import json
import re
from collections.abc import Callable
from typing import Protocol

from gateway.wire.relocation import Relocation

#: A longer string is no address (bytes, with its quotes and escapes).
LONGEST_ADDRESS = 16 * 1024

BULK_DATA_URI = "BulkDataURI"
RETRIEVE_URL, RETRIEVE_URI = "00081190", "0040E010"

Step = Callable[[bytes, int, list[bytes]], int]


class Rewriter(Protocol):
    """Takes a text in chunks, and gives it back with its addresses moved."""

    def feed(self, chunk: bytes) -> bytes:
        """What can be sent on now."""

    def close(self) -> bytes:
        """What was held back, when the text is at its end."""


def _spelled(letter: str) -> str:
    """A letter as JSON may spell it; of hexadecimal digits in either case."""
    ways = {letter, letter.lower()} if letter == "E" else {letter}
    escaped = [f"\\\\u00(?i:{ord(way):02x})" for way in ways]
    return f"(?:{'|'.join([*sorted(ways), *sorted(escaped)])})"


def _key(name: str) -> str:
    return "".join(map(_spelled, name))


_KEY = re.compile(
    f'"(?:(?P<uri>{_key(BULK_DATA_URI)})'
    f'|{_key(RETRIEVE_URL)}|{_key(RETRIEVE_URI)})"'.encode()
)
#: The same in a text without such escapes, which is found twice as fast.
_PLAIN_KEY = re.compile(
    f'"(?:(?P<uri>{BULK_DATA_URI})|00(?:{RETRIEVE_URL[2:]}|40[Ee]010))"'.encode()
)
#: The longest spelling of a key, but for its last quote.
_LONGEST_KEY = 1 + 6 * len(BULK_DATA_URI)

_BLANKS = re.compile(rb"[ \t\r\n]*")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_INSIDE = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_TOKEN = re.compile(rb'["{}\[\],:]')
_QUOTE, _BACKSLASH, _COLON, _BRACE = b'"\\:{'


class JsonRewriter:
    """Moves BulkDataURI, and the values of RetrieveURL and RetrieveURI."""

    def __init__(self, relocation: Relocation) -> None:
        self._moved = relocation.moved
        self._held = b""
        self._key = _KEY  # what finds the keys in the chunk
        self._step: Step = self._outside
        self._back: Step = self._outside  # where a string leads to
        self._turn: Callable[[bytes], bytes] = self._address  # what becomes of it
        self._behind_uri = False  # the key found last is BulkDataURI
        # Within RetrieveURL or RetrieveURI:
        self._name = ""  # of the member of the object
        self._valued = False  # behind its colon
        self._listed = 0  # 1 in an array, 2 in that of the values

    def feed(self, chunk: bytes) -> bytes:
        """What can be sent on now."""
        buffer = self._held + chunk if self._held else chunk
        self._held = b""
        self._key = _KEY if b"\\u" in buffer else _PLAIN_KEY
        found: list[bytes] = []
        position = 0
        while position < len(buffer):
            position = self._step(buffer, position, found)
        return b"".join(found)

    def close(self) -> bytes:
        """What was held back, when the text is at its end."""
        held, self._held = self._held, b""
        return held

    def _keep(self, buffer: bytes, at: int) -> int:
        self._held = buffer[at:]
        return len(buffer)

    # -- outside of what is looked for ---------------------------------------------------

    def _outside(self, buffer: bytes, at: int, found: list[bytes]) -> int:
        start = at
        while key := self._key.search(buffer, start):
            if key.start() == at or buffer[key.start() - 1] != _BACKSLASH:
                self._behind_uri = key["uri"] is not None
                self._step = self._colon
                found.append(buffer[at : key.end()])
                return key.end()
            start = key.start() + 1
        begun = _begun_key(buffer, at)
        found.append(buffer[at:begun])
        return self._keep(buffer, begun)

    def _colon(self, buffer: bytes, at: int, found: list[bytes]) -> int:
        at = _pass_blanks(buffer, at, found)
        if at == len(buffer):
            return at
        if buffer[at] != _COLON:  # it is a text, and no key
            self._step = self._outside
            return at
        found.append(b":")
        self._step = self._value
        return at + 1

    def _value(self, buffer: bytes, at: int, found: list[bytes]) -> int:
        at = _pass_blanks(buffer, at, found)
        if at == len(buffer):
            return at
        self._step = self._outside
        if self._behind_uri and buffer[at] == _QUOTE:
            self._expect(self._address, self._outside)
        elif not self._behind_uri and buffer[at] == _BRACE:
            found.append(b"{")
            self._step = self._attribute
            self._valued, self._listed = False, 0
            return at + 1
        return at

    # -- within the attributes that are addresses ----------------------------------------

    def _attribute(self, buffer: bytes, at: int, found: list[bytes]) -> int:
        token = _TOKEN.search(buffer, at)
        if token is None:
            found.append(buffer[at:])
            return len(buffer)
        found.append(buffer[at : token.start()])
        mark = token.group()
        if mark == b'"':
            self._expect(self._turn_of_string(), self._attribute)
            return token.start()
        if mark == b"{" or (mark == b"[" and self._listed):  # no such attribute has it
            self._step = self._outside
            return token.start()
        found.append(mark)
        if mark == b"}":
            self._step = self._outside
        elif mark == b"[":
            self._listed = 2 if self._valued and self._name == "Value" else 1
        elif mark == b"]":
            self._listed = 0
        elif not self._listed:
            self._valued = mark == b":"
        return token.end()

    def _turn_of_string(self) -> Callable[[bytes], bytes]:
        if self._listed == 2:
            return self._address
        if self._listed:
            return bytes
        if not self._valued:
            return self._named
        return self._address if self._name == BULK_DATA_URI else bytes

    # -- strings -------------------------------------------------------------------------

    def _expect(self, turn: Callable[[bytes], bytes], back: Step) -> None:
        self._step, self._turn, self._back = self._string, turn, back

    def _string(self, buffer: bytes, at: int, found: list[bytes]) -> int:
        string = _STRING.match(buffer, at)
        if string is not None:
            found.append(self._turn(string.group()))
            self._step = self._back
            return string.end()
        if len(buffer) - at < LONGEST_ADDRESS:
            return self._keep(buffer, at)
        self._name = ""
        found.append(b'"')
        self._step = self._endless
        return at + 1

    def _endless(self, buffer: bytes, at: int, found: list[bytes]) -> int:
        inside = _INSIDE.match(buffer, at)
        end = inside.end() if inside else at
        found.append(buffer[at:end])
        if end == len(buffer):
            return end
        if buffer[end] == _BACKSLASH:
            return self._keep(buffer, end)
        found.append(b'"')
        self._step = self._back
        return end + 1

    def _named(self, string: bytes) -> bytes:
        self._name = _text(string) or ""
        return string

    def _address(self, string: bytes) -> bytes:
        text = _text(string) if len(string) <= LONGEST_ADDRESS else None
        if text is None:
            return string
        moved = self._moved(text)
        return string if moved == text else json.dumps(moved).encode()


def _text(string: bytes) -> str | None:
    """What a string of JSON says; None if it is none."""
    try:
        if _BACKSLASH not in string:
            return string[1:-1].decode()
        found: str = json.loads(string)
    except ValueError:
        return None
    return found


def _pass_blanks(buffer: bytes, at: int, found: list[bytes]) -> int:
    blanks = _BLANKS.match(buffer, at)
    end = blanks.end() if blanks else at
    found.append(buffer[at:end])
    return end


def _begun_key(buffer: bytes, at: int) -> int:
    """Where a key may have begun that is not here yet; else the end.

    A key holds no quote, so only the last one can begin it. A backslash at the end is
    waited for too: it tells that the quote behind it begins nothing.
    """
    nearest = max(at, len(buffer) - _LONGEST_KEY)
    quote = buffer.rfind(b'"', nearest)
    if quote >= 0 and (quote == at or buffer[quote - 1] != _BACKSLASH):
        return quote
    return len(buffer) - buffer.endswith(b"\\")
