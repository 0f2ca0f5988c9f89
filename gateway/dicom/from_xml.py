"""The native DICOM model as clients send it (PS3.19 A.1), made the JSON model.

Expat reads the document; a document type is refused where it begins, so that no entity
is ever declared, expanded or fetched. What the values are worth is for
``gateway.dicom.from_json`` to say: all of them are text here.
"""

from typing import Any
from xml.parsers import expat

from gateway.dicom.dictionary import is_private
from gateway.dicom.from_json import DEPTH_LIMIT, attributes_of
from gateway.dicom.hierarchy import Attributes
from gateway.dicom.values import NAME_GROUPS
from gateway.errors import BadRequest

_COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")

#: Values of one attribute: numbers may leave gaps, and a gap costs memory.
_VALUE_LIMIT = 1_000_000

#: What may stand in what; everything else is no native model.
_CHILDREN = {
    "": {"NativeDicomModel"},
    "NativeDicomModel": {"DicomAttribute"},
    "Item": {"DicomAttribute"},
    "DicomAttribute": {"Value", "Item", "PersonName", "BulkData", "InlineBinary"},
    "PersonName": set(NAME_GROUPS),
    **{group: set(_COMPONENTS) for group in NAME_GROUPS},
}
_LEAVES = frozenset({"Value", "InlineBinary", *_COMPONENTS})


def attributes_of_xml(document: bytes) -> Attributes:
    """The attributes of one document, checked; raises BadRequest saying what is wrong."""
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_document_type
    parser.EntityDeclHandler = _refuse_document_type
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(document, True)
    except expat.ExpatError as error:
        raise BadRequest(f"the metadata is not XML: {error}") from None
    except (LookupError, ValueError):
        raise BadRequest("the metadata is XML in an unknown encoding") from None
    return attributes_of(reader.data_set)


def _refuse_document_type(*_: Any) -> None:
    raise BadRequest("the XML has a document type, which is not taken here")


class _Reader:
    """Takes the events of the parser; `data_set` is the outcome."""

    def __init__(self) -> None:
        self.data_set: dict[str, Any] = {}
        self._names = [""]  # of the open elements
        self._texts: list[str] = []  # of the open leaf
        self._sets: list[dict[str, Any]] = []  # the open data sets
        self._attributes: list[tuple[str, str, dict[str, Any]]] = []  # the open ones
        self._name: dict[str, str] = {}  # the open name of a person
        self._number = 0  # of the open value
        self._group: list[str] = []  # the components of the open group of a name

    def start(self, spelled: str, given: dict[str, str]) -> None:
        """An element begins."""
        name = spelled.rpartition(" ")[2]
        if name not in _CHILDREN.get(self._names[-1], ()):
            within = self._names[-1] or "the document"
            raise BadRequest(f"{name[:40]!r} within {within} is no native DICOM model")
        self._names.append(name)
        self._texts.clear()
        if name in ("Value", "Item", "PersonName"):
            self._number = _number(given)
        if name in ("NativeDicomModel", "Item"):
            self._open_set(name)
        elif name == "DicomAttribute":
            self._open_attribute(given)
        elif name == "BulkData":
            # A uuid names bulk data that is kept elsewhere: nobody here can find it.
            self._attributes[-1][2]["BulkDataURI"] = given.get("uri", "")
        elif name == "PersonName":
            self._name = {}
        elif name in NAME_GROUPS:
            self._group = [""] * len(_COMPONENTS)

    def _open_set(self, name: str) -> None:
        if len(self._sets) > DEPTH_LIMIT:
            raise BadRequest(f"sequences are nested deeper than {DEPTH_LIMIT}")
        inside: dict[str, Any] = {}
        if name == "Item":
            self._put(inside)
        else:
            self.data_set = inside
        self._sets.append(inside)

    def _open_attribute(self, given: dict[str, str]) -> None:
        tag = given.get("tag", "").upper()
        element: dict[str, Any] = {"vr": given["vr"]} if given.get("vr") else {}
        self._attributes.append((tag, given.get("privateCreator", "").strip(), element))

    def text(self, text: str) -> None:
        """Text; between elements it means nothing."""
        if self._names[-1] in _LEAVES:
            self._texts.append(text)
        elif text.strip():
            raise BadRequest(f"text within {self._names[-1]} is no native DICOM model")

    def end(self, _: str) -> None:
        """An element ends."""
        name = self._names.pop()
        text = "".join(self._texts)
        self._texts.clear()
        if name == "Value":
            self._put(text)
        elif name == "InlineBinary":
            self._attributes[-1][2]["InlineBinary"] = text
        elif name in _COMPONENTS:
            self._group[_COMPONENTS.index(name)] = text
        elif name in NAME_GROUPS:
            self._name[name] = "^".join(self._group).rstrip("^")
        elif name == "PersonName":
            self._put(self._name)
        else:
            self._close(name)

    def _close(self, name: str) -> None:
        if name == "DicomAttribute":
            tag, creator, element = self._attributes.pop()
            _place(self._sets[-1], tag, creator, element)
        elif name in ("NativeDicomModel", "Item"):
            self._sets.pop()

    def _put(self, value: Any) -> None:
        """Put a value at its number; those that are left out are empty."""
        tag, _, element = self._attributes[-1]
        values = element.setdefault("Value", [])
        number = self._number or len(values) + 1
        if not len(values) < number <= len(values) + _VALUE_LIMIT:
            raise BadRequest(f"({tag[:4]},{tag[4:8]}) has values in no order")
        if number > _VALUE_LIMIT:
            raise BadRequest(f"({tag[:4]},{tag[4:8]}) has too many values")
        values.extend([None] * (number - len(values) - 1))
        values.append(value)


def _number(given: dict[str, str]) -> int:
    text = given.get("number", "")
    if text and not (text.isascii() and text.isdigit() and len(text) < 10):
        raise BadRequest(f"number={text[:20]!r} is no number of a value")
    return int(text or "0")


def _place(
    data_set: dict[str, Any], tag: str, creator: str, element: dict[str, Any]
) -> None:
    """Put an attribute into its data set, a private one into its creator's block."""
    # With a creator (gggg,0010) is the element 10 of a block, and reserves none.
    if creator and len(tag) == 8 and is_private(tag) and tag[4:6] == "00":
        tag = _in_block(data_set, tag, creator)
    if tag in data_set:
        raise BadRequest(f"({tag[:4]},{tag[4:8]}) stands there twice")
    data_set[tag] = element


def _in_block(data_set: dict[str, Any], tag: str, creator: str) -> str:
    """The tag with the number of the block that its creator reserved (PS3.19 A.1.5).

    A block that nobody reserved in this document is reserved now.
    """
    for block in range(0x10, 0x100):
        reserving = f"{tag[:4]}00{block:02X}"
        within = f"{tag[:4]}{block:02X}{tag[6:]}"
        holder = data_set.get(reserving)
        if holder is None:
            data_set[reserving] = {"vr": "LO", "Value": [creator]}
            return within
        if holder.get("Value") == [creator] and within not in data_set:
            return within
    raise BadRequest(f"({tag[:4]},{tag[4:]}) finds no block for its creator")
