"""The Native DICOM Model in XML with the addresses in it moved, as it streams by.

As in `rewriting`: only the tags are looked at that an address can be in (PS3.19 A.1), and
all else goes through as it is. A tag, or an address, that is too long for one goes through.
"""

import re
from html import unescape
from xml.sax.saxutils import escape

from gateway.wire.relocation import Relocation
from gateway.wire.rewriting import RETRIEVE_URI, RETRIEVE_URL

#: A longer tag or text holds no address (bytes).
LONGEST = 16 * 1024

_TAG = re.compile(
    rb"<(?P<closing>/?)(?:[A-Za-z_][\w.-]*:)?(?P<name>BulkData|DicomAttribute|Value)"
    rb"(?=[\s/>])(?P<rest>(?:[^<>\"']|\"[^\"<]*\"|'[^'<]*')*+)>"
)
_URI = re.compile(rb"(?<=\s)(?i:uri)\s*=\s*(\"[^\"]*\"|'[^']*')")
_ADDRESSES = re.compile(
    rf"\stag\s*=\s*[\"'](?i:{RETRIEVE_URL}|{RETRIEVE_URI})[\"']".encode()
)


class XmlRewriter:
    """Moves the URI of BulkData, and the values of RetrieveURL and RetrieveURI."""

    def __init__(self, relocation: Relocation) -> None:
        self._moved = relocation.moved
        self._held = b""
        self._listing = False  # within an attribute whose values are addresses
        self._valued = False  # within such a value

    def feed(self, chunk: bytes) -> bytes:
        """What can be sent on now."""
        buffer = self._held + chunk if self._held else chunk
        self._held = b""
        found: list[bytes] = []
        position = 0
        while position < len(buffer):
            step = self._text if self._valued else self._tag
            position = step(buffer, position, found)
        return b"".join(found)

    def close(self) -> bytes:
        """What was held back, when the text is at its end."""
        held, self._held = self._held, b""
        return held

    def _tag(self, buffer: bytes, at: int, found: list[bytes]) -> int:
        tag = _TAG.search(buffer, at)
        if tag is None:
            begun = _begun_tag(buffer, at)
            found.append(buffer[at:begun])
            self._held = buffer[begun:]
            return len(buffer)
        found.append(buffer[at : tag.start()])
        found.append(self._seen(tag))
        return tag.end()

    def _seen(self, tag: "re.Match[bytes]") -> bytes:
        """The tag as it is to be sent; notes where it leads."""
        rest = tag["rest"]
        if len(tag.group()) > LONGEST:
            return tag.group()
        opens = not tag["closing"] and not rest.endswith(b"/")
        if tag["name"] == b"DicomAttribute":
            self._listing = opens and _ADDRESSES.search(rest) is not None
        elif tag["name"] == b"Value":
            self._valued = opens and self._listing
        else:
            head = tag.group()[: tag.start("rest") - tag.start()]
            return head + _URI.sub(self._uri, rest) + b">"
        return tag.group()

    def _uri(self, attribute: "re.Match[bytes]") -> bytes:
        whole, value = attribute[0], attribute[1]
        moved = self._address(value[1:-1])
        return whole[: -len(value)] + value[:1] + moved + value[-1:]

    def _text(self, buffer: bytes, at: int, found: list[bytes]) -> int:
        end = buffer.find(b"<", at)
        if end < 0 and len(buffer) - at <= LONGEST:
            self._held = buffer[at:]
            return len(buffer)
        self._valued = False
        if end < 0 or end - at > LONGEST:
            return self._tag(buffer, at, found)
        found.append(self._address(buffer[at:end]))
        return end

    def _address(self, raw: bytes) -> bytes:
        try:
            text = unescape(raw.decode())
        except UnicodeDecodeError:
            return raw
        moved = self._moved(text)
        if moved == text:
            return raw
        return escape(moved, {'"': "&quot;", "'": "&apos;"}).encode()


def _begun_tag(buffer: bytes, at: int) -> int:
    """Where a tag may have begun whose end is not here yet; else the end."""
    begun = buffer.rfind(b"<", at)
    if begun < 0 or len(buffer) - begun > LONGEST:
        return len(buffer)
    return begun
