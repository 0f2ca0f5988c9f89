"""The options of ``conf/gateway.json`` as pages show them.

That file is the one place where an option is explained. The directive
``configuration-options`` reads it, makes a section of each of its headings and an entry,
also for the index, of each option; an option that a comment names becomes a link.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

SAMPLE = Path(__file__).resolve().parents[1] / "conf" / "gateway.json"

_COMMENT = re.compile(r"\s*// ?(.*)")
_HEADING = re.compile(r"\s*\* (.+)")
_OPTION = re.compile(r'\s*"(\w+)" : (.*)')
_QUOTED = re.compile(r'"([^"]*)"')
_SPECIAL = re.compile(r"([\\*`_|])")
_INDENT = "   "


@dataclass
class Option:
    """An option as the file has it."""

    key: str  # with the object that it is in
    default: str  # as JSON
    comment: list[str]


@dataclass
class Section:
    """What stands below a heading; the first one has none."""

    heading: str = ""
    comment: list[str] = field(default_factory=list)
    options: list[Option] = field(default_factory=list)


def read(text: str) -> list[Section]:
    """Take the file apart."""
    sections = [Section()]
    comment: list[str] = []
    inside = ""
    lines = iter(text.splitlines())
    for line in lines:
        if found := _COMMENT.match(line):
            comment.append(found[1])
        elif found := _HEADING.match(line):
            sections.append(Section(found[1]))
        elif not (found := _OPTION.match(line)):
            if not sections[-1].options:
                sections[-1].comment += [*comment, ""]
            comment = []
        elif found[2] == "{":
            inside = f"{found[1]}."
        else:
            default = _value(found[2], lines)
            sections[-1].options.append(Option(inside + found[1], default, comment))
            comment = []
    return sections


def _value(start: str, following: Iterator[str]) -> str:
    """A value, which may go over several lines."""
    while True:
        try:
            return json.dumps(json.loads(start.rstrip(" ,")))
        except ValueError:
            start += next(following).strip()


def page(sections: list[Section]) -> list[str]:
    """The sections as reStructuredText."""
    keys = {
        option.key.rpartition(".")[2]: option.key
        for section in sections
        for option in section.options
    }
    lines: list[str] = []
    for section in sections:
        if section.heading:
            lines += [section.heading, "-" * len(section.heading), ""]
        lines += paragraphs(section.comment, keys)
        for option in section.options:
            lines += [f".. confval:: {option.key}"]
            lines += [f"{_INDENT}:default: ``{option.default}``", ""]
            others = {n: k for n, k in keys.items() if k != option.key}
            told = paragraphs(option.comment, others)
            lines += [f"{_INDENT}{line}".rstrip() for line in told]
    return lines


def paragraphs(comment: list[str], keys: dict[str, str]) -> list[str]:
    """A comment as reStructuredText: what is indented in it is shown as it is."""
    lines: list[str] = []
    gathered: list[str] = []
    shown: list[str] = []
    for line in [*comment, ""]:
        if line.startswith("  "):
            shown.append(f"{_INDENT}{line}")
            continue
        if shown:
            lines += [prose(gathered, keys), "", "::", "", *shown, ""]
            gathered, shown = [], []
        if line:
            gathered.append(line)
        elif gathered:
            lines += [prose(gathered, keys), ""]
            gathered = []
    return lines


def prose(gathered: list[str], keys: dict[str, str]) -> str:
    """Text with its quoted words as links or as code."""
    text = " ".join(gathered)
    made = []
    for place, part in enumerate(_QUOTED.split(text)):
        if place % 2 == 0:
            made.append(_SPECIAL.sub(r"\\\1", part))
        elif part in keys:
            made.append(f":confval:`{part} <{keys[part]}>`")
        else:
            made.append(f'``"{part}"``')
    return "".join(made)


class ConfigurationOptions(SphinxDirective):
    """``.. configuration-options::``: all of them, section by section."""

    def run(self) -> list[nodes.Node]:
        """Parse what the file is made into."""
        self.env.note_dependency(str(SAMPLE))
        lines = page(read(SAMPLE.read_text(encoding="utf-8")))
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx of the directive."""
    app.add_directive("configuration-options", ConfigurationOptions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
