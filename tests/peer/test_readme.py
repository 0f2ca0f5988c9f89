"""README's first five minutes, pasted line by line: they print what README says."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest

from tests.peers import gateway

README = Path(__file__).parents[2] / "README.rst"
_END = "@@ end of a command @@"


def _session() -> list[tuple[str, list[str]]]:
    """Commands of the first section, each with the lines that it prints."""
    text = README.read_text("utf-8")
    section = text[text.index("The first five minutes") : text.index("Moving from")]
    session: list[tuple[str, list[str]]] = []
    for line in section.splitlines():
        if line.startswith("    $ "):
            session.append((line.removeprefix("    $ "), []))
        elif line.startswith("    ") and session:
            session[-1][1].append(line.removeprefix("    "))
    return session


def _here(text: str, url: str, config: Path) -> str:
    """The line as it is for a server elsewhere and a package installed elsewhere."""
    bundled = str(Path(pydicom.__file__).parent)
    run = f"{sys.executable} -m gateway --config {config}"
    return (
        text.replace("http://localhost:8042", url)
        .replace(".venv/lib/python3*/site-packages/pydicom", bundled)
        .replace("python3 run.py", run)
    )


def _printed(shell: subprocess.Popen[str], command: str) -> list[str]:
    assert shell.stdin is not None
    assert shell.stdout is not None
    shell.stdin.write(f"{command}\necho; echo '{_END}'\n")
    shell.stdin.flush()
    lines = []
    while (line := shell.stdout.readline().rstrip("\n")) != _END:
        lines.append(line)
    while lines and not lines[-1]:
        lines.pop()
    return lines


@pytest.mark.peer
def test_the_first_five_minutes_print_what_readme_says(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("apt-get install curl")
    session = _session()
    assert len(session) > 15
    assert sum(bool(expected) for _, expected in session) > 12
    with gateway(tmp_path) as (url, _):
        config = next(tmp_path.rglob("*.json"))
        with subprocess.Popen(
            ["bash"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=Path(__file__).parents[2],
        ) as shell:
            for command, expected in session:
                printed = _printed(shell, _here(command, url, config))
                wanted = [_here(line, url, config) for line in expected]
                assert printed == wanted, command
            assert shell.stdin is not None
            shell.stdin.close()


def test_readme_opens_with_the_two_commands() -> None:
    top = README.read_text("utf-8")[:1200]
    assert re.search(r"^    python3 run\.py\s", top, re.MULTILINE)
    assert re.search(r"^    python3 run\.py test\s", top, re.MULTILINE)
