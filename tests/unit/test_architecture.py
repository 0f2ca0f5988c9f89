"""The shape of the house: imports go down, and no room grows too large."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gateway

PACKAGE = Path(gateway.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
LONGEST = 400


def name(file: Path) -> str:
    return file.relative_to(PACKAGE.parent).as_posix()


each_file = pytest.mark.parametrize("file", FILES, ids=name)


def test_imports_keep_the_contracts() -> None:
    pytest.importorskip("importlinter", reason="comes with the extra lint")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command as c; c()",
            "--no-cache",
        ],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@each_file
def test_a_module_says_what_it_is(file: Path) -> None:
    assert ast.get_docstring(ast.parse(file.read_text()))


@each_file
def test_a_module_can_be_read_in_one_sitting(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize(
    "file", [file for file in FILES if file.name == "__init__.py"], ids=name
)
def test_a_package_holds_only_its_description(file: Path) -> None:
    assert len(ast.parse(file.read_text()).body) == 1
