"""The Native DICOM Model: a data set as XML (PS3.19 A.1).

Some clients ask for metadata and search results in XML. What is stored is the JSON
model, so this is a translation of that model, text to text: building a tree of elements
first would cost several times as much, and nobody would look at the tree.

Reading XML is the business of ``gateway.dicom.from_xml``.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from gateway.dicom.dictionary import is_private, is_private_creator, keyword_of
from gateway.dicom.hierarchy import Attributes
from gateway.dicom.values import NAME_GROUPS

_NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
_OPENING = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    f'<NativeDicomModel xmlns="{_NAMESPACE}" xml:space="preserve">'
)
_CLOSING = "</NativeDicomModel>\n"

# PS3.19 A.1.5: the five components of a person's name, in the order of PS3.5 6.2.1.
_COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")

# XML 1.0 2.2: these characters cannot be written at all, not even as references.
_ILLEGAL = "\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff"
_SPECIAL_IN_TEXT = re.compile(f"[&<>\r{_ILLEGAL}]")
_SPECIAL_IN_QUOTES = re.compile(f'[&<>"\r\n\t{_ILLEGAL}]')
# A bare carriage return or, in quotes, any white space is changed by an XML reader.
_ESCAPES = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "\r": "&#13;",
    "\n": "&#10;",
    "\t": "&#9;",
}


def to_xml(attributes: Attributes) -> bytes:
    """Return one complete document, declaration included (PS3.18 10.4.3.3.2)."""
    pieces = [_OPENING]
    _write_attributes(pieces, attributes)
    pieces.append(_CLOSING)
    return "".join(pieces).encode()


def _write_attributes(pieces: list[str], attributes: Attributes) -> None:
    for tag, element in attributes.items():
        pieces.append(_start(tag, element.get("vr", "UN"), _creator(attributes, tag)))
        _write_content(pieces, element)
        pieces.append("</DicomAttribute>")


def _write_content(pieces: list[str], element: dict[str, Any]) -> None:
    if "BulkDataURI" in element:
        pieces.append(f'<BulkData uri="{_quoted(element["BulkDataURI"])}"/>')
    elif "InlineBinary" in element:
        pieces.append(f"<InlineBinary>{_text(element['InlineBinary'])}</InlineBinary>")
    elif element.get("vr") == "SQ":
        _write_items(pieces, element.get("Value", ()))
    elif element.get("vr") == "PN":
        _write_names(pieces, element.get("Value", ()))
    else:
        _write_values(pieces, element.get("Value", ()))


def _write_values(pieces: list[str], values: Iterable[Any]) -> None:
    # PS3.19 A.1.5: an empty value leaves out its element and keeps its number.
    for number, value in enumerate(values, 1):
        if value is not None and value != "":
            pieces.append(f'<Value number="{number}">{_text(str(value))}</Value>')


def _write_items(pieces: list[str], items: Iterable[Attributes | None]) -> None:
    for number, item in enumerate(items, 1):
        pieces.append(f'<Item number="{number}">')
        _write_attributes(pieces, item or {})
        pieces.append("</Item>")


def _write_names(pieces: list[str], names: Iterable[dict[str, str] | None]) -> None:
    for number, name in enumerate(names, 1):
        groups = "".join(_name_group(group, name or {}) for group in NAME_GROUPS)
        if groups:
            pieces.append(f'<PersonName number="{number}">{groups}</PersonName>')


def _name_group(group: str, name: dict[str, str]) -> str:
    components = _components(name.get(group) or "")
    return f"<{group}>{components}</{group}>" if components else ""


def _components(group: str) -> str:
    """Return a component group as elements; a sixth component stays in the fifth."""
    parts = group.split("^", len(_COMPONENTS) - 1)
    return "".join(
        f"<{component}>{_text(part)}</{component}>"
        for component, part in zip(_COMPONENTS, parts, strict=False)
        if part
    )


def _creator(attributes: Attributes, tag: str) -> str | None:
    """Return who reserved the block of a private tag, in this very data set."""
    if not is_private(tag) or is_private_creator(tag):
        return None
    values = attributes.get(f"{tag[:4]}00{tag[4:6]}", {}).get("Value")
    return str(values[0]) if values and values[0] else None


@lru_cache(8192)
def _start(tag: str, representation: str, creator: str | None) -> str:
    """Return the opening of an attribute, the same for every instance of a series."""
    # PS3.19 A.1.5: the creator stands for the block, whose number is then zero. With
    # no creator the number is all there is to tell two blocks apart, so it stays.
    shown = f"{tag[:4]}00{tag[6:]}" if creator else tag
    keyword = keyword_of(tag)
    return "".join(
        (
            f'<DicomAttribute tag="{_quoted(shown)}" vr="{_quoted(representation)}"',
            f' keyword="{keyword}"' if keyword else "",
            f' privateCreator="{_quoted(creator)}"' if creator else "",
            ">",
        )
    )


def _text(value: str) -> str:
    return _SPECIAL_IN_TEXT.sub(_escape, value)


def _quoted(value: str) -> str:
    return _SPECIAL_IN_QUOTES.sub(_escape, value)


def _escape(found: re.Match[str]) -> str:
    return _ESCAPES.get(found[0], "")
