"""From files on the disk to one object of JSON, in the dialect that Orthanc reads.

The dialect is JSON with ``//`` and ``/* */`` comments, a comma allowed after the last
item, and ``${NAME}`` or ``${NAME:-default}`` for the environment. Several files make
one configuration as long as no section is in two of them: which of the two would win
is a question that nobody should have to ask.

Everything that is taken out leaves blanks behind, so that an error is reported at the
line and column where the reader of the file will find it. This module knows no option
by its name; what the values mean is for ``gateway.config.settings``.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from gateway.errors import BadConfiguration

_STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_COMMENT = re.compile(rf"{_STRING}|//[^\r\n]*|/\*.*?\*/|/\*", re.DOTALL)
_COMMA = re.compile(rf"{_STRING}|,(?=[ \t\r\n]*[}}\]])", re.DOTALL)
_VARIABLE = re.compile(
    r"\$\{(?P<name>[^\s:{}\"']+)"
    r"(?::-(?:\"(?P<double>[^\"\r\n]*)\"|'(?P<single>[^'\r\n]*)'|(?P<bare>[^}\r\n]*)))?"
    r"\}"
)
_BLANKS = " \t\r\n"


@dataclass(frozen=True, slots=True)
class Section:
    """A value at the top level, and the file that holds it."""

    value: object
    path: Path


@dataclass(frozen=True, slots=True)
class Document:
    """All files together."""

    sections: Mapping[str, Section]
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Expanded:
    """A text whose variables are replaced, and where each piece came from."""

    text: str
    moves: tuple[tuple[int, int], ...]  # from here on: position now, position then

    def origin(self, position: int) -> int:
        """The position in the original text of a position in this one."""
        now, then = 0, 0
        for start, source in self.moves:
            if start > position:
                break
            now, then = start, source
        return then + position - now


def read(paths: Sequence[Path], environment: Mapping[str, str]) -> Document:
    """Merge the files, and those of the folders, into one document."""
    files = tuple(_files(paths))
    sections: dict[str, Section] = {}
    for path in files:
        for name, value in parse(_text(path), path, environment).items():
            if name in sections:
                raise BadConfiguration(
                    f'"{name}" is in two files, {sections[name].path} and {path}, '
                    "but a section belongs in one"
                )
            sections[name] = Section(value, path)
    return Document(sections, files)


def parse(
    text: str, path: Path, environment: Mapping[str, str] | None = None
) -> dict[str, object]:
    """The object that one file holds."""
    expanded = expand(text, environment or {})
    try:
        value: object = json.loads(
            strip(expanded.text),
            object_pairs_hook=lambda pairs: _object(pairs, path),
            parse_constant=lambda name: _no_number(name, path),
        )
    except json.JSONDecodeError as error:
        raise _unreadable(path, text, expanded, error.msg, error.pos) from None
    except RecursionError:
        raise BadConfiguration(f"{path}: objects are nested too deep") from None
    except ValueError:  # a number of more digits than Python is willing to turn
        raise BadConfiguration(f"{path}: a number is too long") from None
    if not isinstance(value, dict):
        raise BadConfiguration(f"{path}: an object {{...}} is expected at the top")
    return value


def expand(text: str, environment: Mapping[str, str]) -> Expanded:
    """Replace each variable by its value, its default, or nothing.

    A variable that is set to nothing counts as set, unlike in a shell. What is put in
    becomes part of the JSON as it stands, quotation marks and backslashes included.
    """
    pieces: list[str] = []
    moves: list[tuple[int, int]] = []
    length = end = 0
    for found in _VARIABLE.finditer(text):
        before = text[end : found.start()]
        value = environment.get(found["name"], _default(found))
        pieces += before, value
        # An error inside of what was put in is an error of the variable.
        length += len(before)
        moves += [(length + step, found.start()) for step in range(len(value))]
        length += len(value)
        end = found.end()
        moves.append((length, end))
    return Expanded("".join([*pieces, text[end:]]), tuple(moves))


def strip(text: str) -> str:
    """Blank out comments and the commas that follow a last item."""
    without = _COMMENT.sub(_blank, text)
    return _COMMA.sub(lambda found: _without_comma(found, without), without)


def _default(variable: re.Match[str]) -> str:
    parts = (variable["double"], variable["single"], variable["bare"])
    return next((part for part in parts if part is not None), "")


def _blank(found: re.Match[str]) -> str:
    if found[0].startswith('"'):
        return found[0]
    if found[0] == "/*":
        raise json.JSONDecodeError(
            "this comment has no end", found.string, found.start()
        )
    return re.sub(r"[^\r\n]", " ", found[0])


def _without_comma(found: re.Match[str], text: str) -> str:
    """Keep a comma that follows nothing: that one is a mistake."""
    if found[0] != ",":
        return found[0]
    before = found.start() - 1
    while before >= 0 and text[before] in _BLANKS:
        before -= 1
    return "," if before < 0 or text[before] in "[{,:" else " "


def _object(pairs: list[tuple[str, object]], path: Path) -> dict[str, object]:
    result: dict[str, object] = {}
    for name, value in pairs:
        if name in result:
            raise BadConfiguration(f'{path}: "{name}" is twice in the same object')
        result[name] = value
    return result


def _no_number(name: str, path: Path) -> NoReturn:
    raise BadConfiguration(f"{path}: {name} is no number that JSON knows")


def _unreadable(
    path: Path, text: str, expanded: Expanded, message: str, position: int
) -> BadConfiguration:
    origin = expanded.origin(position)
    line = text.count("\n", 0, origin) + 1
    column = origin - text.rfind("\n", 0, origin)
    return BadConfiguration(f"{path}, line {line}, column {column}: {message}")


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    """Every file once, those of a folder by name."""
    seen: set[Path] = set()
    for path in paths:
        for file in _folder(path) if path.is_dir() else [path]:
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield file


def _folder(path: Path) -> list[Path]:
    try:
        entries = sorted(path.iterdir())
    except OSError as error:
        raise BadConfiguration(f"{path}: {error.strerror}") from error
    files = [file for file in entries if _is_json(file)]
    if not files:  # a server with an empty archive would be a poor answer to a typo
        raise BadConfiguration(f"{path}: the folder holds no .json file")
    return files


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json" and path.is_file()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadConfiguration(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadConfiguration(f"{path}: the text is not UTF-8") from error
