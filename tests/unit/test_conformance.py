"""The conformance statement: a row for every item, and a test behind every claim."""

import ast
import csv
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PAGE = PROJECT / "docs" / "conformance.rst"
LAST = {"PS": 269, "ODW": 240}
WORDS = {"yes", "partly", "no", "later"}

_ROW = re.compile(r' +"(?:PS|ODW)-[0-9]')
_ID = re.compile(r"(PS|ODW)-([0-9]{3})")
_TEST = re.compile(r"``(tests/[\w/]+\.py)::(test_\w+)``")
_FILE = re.compile(r"\b(?:conf|docs|gateway|tests)/[\w./-]*\w")
_NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the tables."""

    name: str
    item: str
    supported: str
    how: str
    test: str


def _rows() -> list[Row]:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    found = [line for line in lines if _ROW.match(line)]
    return [Row(*cells) for cells in csv.reader(found, skipinitialspace=True)]


ROWS = _rows()


@cache
def functions_in(path: str) -> frozenset[str]:
    tree = ast.parse((PROJECT / path).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(
        node.name for node in ast.walk(tree) if isinstance(node, functions)
    )


@pytest.mark.parametrize("prefix", LAST)
def test_every_item_has_one_row(prefix: str) -> None:
    names = Counter(row.name for row in ROWS if row.name.partition("-")[0] == prefix)
    wanted = {f"{prefix}-{number:03}" for number in range(1, LAST[prefix] + 1)}
    assert names == Counter(wanted)


def test_each_row_says_whether_it_is_supported() -> None:
    for row in ROWS:
        assert _ID.fullmatch(row.name), row
        assert row.supported in WORDS, row
        assert row.item, row


def test_each_claim_names_a_test_that_there_is() -> None:
    for row in ROWS:
        if row.supported in ("no", "later"):
            assert row.test == _NOTHING, row
            continue
        found = _TEST.fullmatch(row.test)
        assert found, row
        path, name = found.groups()
        assert (PROJECT / path).is_file(), row
        assert name in functions_in(path), row


def test_what_is_missing_is_said() -> None:
    for row in ROWS:
        if row.supported == "partly":
            assert row.how not in ("", _NOTHING), row


def test_every_file_that_is_named_is_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    missing = {name for name in _FILE.findall(text) if not (PROJECT / name).exists()}
    assert not missing
