"""Structured reports as something to read: the content tree as text or HTML (PS3.18 8.7.4).

Whatever a report says is text here: nothing of it is markup, and a page needs no script,
no style and no image from anywhere.
"""

import html
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gateway.dicom.functional import items
from gateway.dicom.hierarchy import Attributes, first_text

CONTENT = "0040A730"

#: What a page with a report may do: show itself.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'self';"
    " sandbox"
)

_HEADINGS = (
    ("Patient", "00100010"),
    ("Patient ID", "00100020"),
    ("Birth date", "00100030"),
    ("Sex", "00100040"),
    ("Study", "00081030"),
    ("Study date", "00080020"),
    ("Series", "0008103E"),
    ("Institution", "00080080"),
    ("Completion", "0040A491"),
    ("Verification", "0040A493"),
)

#: Where each type of value has its text (PS3.3 C.17.3).
_TEXTS = {
    "TEXT": "0040A160",
    "DATETIME": "0040A120",
    "DATE": "0040A121",
    "TIME": "0040A122",
    "PNAME": "0040A123",
    "UIDREF": "0040A124",
}
_MEANING = "00080104"
_VALUE_TYPE = "0040A040"
_REFERENCED = frozenset({"IMAGE", "COMPOSITE", "WAVEFORM"})

_DEEPEST = 64
_MOST_ITEMS = 20_000


@dataclass(frozen=True, slots=True)
class Line:
    """One item of the tree."""

    depth: int
    name: str
    value: str
    is_container: bool


def is_report(attributes: Attributes) -> bool:
    """Whether there is a content tree."""
    return bool(items(attributes, CONTENT)) or first_text(attributes, _VALUE_TYPE) != ""


def title(attributes: Attributes) -> str:
    """What the report calls itself."""
    for item in items(attributes, "0040A043")[:1]:
        return first_text(item, _MEANING) or "Report"
    return "Report"


def as_text(attributes: Attributes) -> str:
    """The report as plain text."""
    lines = [title(attributes), ""]
    lines += [f"{name}: {value}" for name, value in _headings(attributes)]
    lines.append("")
    for line in _limited(attributes):
        name = f"{line.name}:" if line.name and line.value else line.name
        text = " ".join(filter(None, (name, line.value)))
        lines.append("  " * line.depth + text.replace("\r\n", "\n").replace("\r", "\n"))
    return "\n".join(lines) + "\n"


def as_html(attributes: Attributes) -> str:
    """The report as a page."""
    heading = html.escape(title(attributes))
    rows = "".join(
        f"<tr><th>{name}</th><td>{html.escape(value)}</td></tr>\n"
        for name, value in _headings(attributes)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">'
        f"<title>{heading}</title></head>\n<body>\n<h1>{heading}</h1>\n"
        f"<table>\n{rows}</table>\n{''.join(_tree(attributes))}</body>\n</html>\n"
    )


def _headings(attributes: Attributes) -> Iterator[tuple[str, str]]:
    for name, tag in _HEADINGS:
        value = first_text(attributes, tag)
        if value:
            yield name, value


def _tree(attributes: Attributes) -> Iterator[str]:
    depth = 0
    for line in _limited(attributes):
        level = line.depth + 1
        if level > depth:
            yield "<ul>\n" * (level - depth)
        else:
            yield "</ul>\n" * (depth - level)
        depth = level
        name, value = html.escape(line.name), html.escape(line.value)
        value = value.replace("\r\n", "\n").replace("\n", "<br>")
        if line.is_container or not value:
            yield f"<li><strong>{name or value}</strong></li>\n"
        else:
            yield f"<li><strong>{name}</strong>{': ' if name else ''}{value}</li>\n"
    yield "</ul>\n" * depth


def _limited(attributes: Attributes) -> Iterator[Line]:
    for count, line in enumerate(_lines(attributes, 0)):
        if count == _MOST_ITEMS:
            yield Line(0, "", f"[only the first {_MOST_ITEMS} items are shown]", False)
            return
        yield line


def _lines(attributes: Attributes, depth: int) -> Iterator[Line]:
    if depth > _DEEPEST:
        return
    for item in items(attributes, CONTENT):
        kind = first_text(item, _VALUE_TYPE).upper()
        name = next(
            (first_text(code, _MEANING) for code in items(item, "0040A043")), ""
        )
        yield Line(depth, name, _value(item, kind), kind == "CONTAINER")
        yield from _lines(item, depth + 1)


def _value(item: Attributes, kind: str) -> str:
    if kind in _TEXTS:
        return first_text(item, _TEXTS[kind])
    if kind == "CODE":
        return _code(item, "0040A168")
    if kind == "NUM":
        return _measured(item)
    if kind in _REFERENCED:
        uids = (first_text(one, "00081155") for one in items(item, "00081199"))
        return f"[{kind.lower()} {', '.join(filter(None, uids))}]"
    if kind in ("SCOORD", "SCOORD3D", "TCOORD"):
        shape = first_text(item, "00700023") or first_text(item, "0040A130")
        return f"[{shape.lower() or kind.lower()}]"
    return _back_reference(item, kind)


def _back_reference(item: Attributes, kind: str) -> str:
    places: list[Any] = item.get("0040DB73", {}).get("Value") or []
    if places:
        return f"[see item {'.'.join(map(str, places))}]"
    return "" if kind in ("CONTAINER", "") else f"[{kind.lower()[:16]}]"


def _code(item: Attributes, tag: str) -> str:
    for code in items(item, tag)[:1]:
        return first_text(code, _MEANING) or first_text(code, "00080100")
    return ""


def _measured(item: Attributes) -> str:
    for measured in items(item, "0040A300")[:1]:
        unit = next(iter(items(measured, "004008EA")), {})
        return f"{first_text(measured, '0040A30A')} {_unit(unit)}".strip()
    return _code(item, "0040A301")


def _unit(code: Attributes) -> str:
    unit = first_text(code, "00080100") or first_text(code, _MEANING)
    return "" if unit == "1" else unit
