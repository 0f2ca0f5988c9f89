"""README's first five minutes, pasted line by line: they print what README says."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest

from tests.peers import free_port, gateway

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


class _Here:
    """Makes a line of README one for servers and a package that are elsewhere."""

    def __init__(self, url: str, config: Path, folder: Path) -> None:
        run = f"{sys.executable} -m gateway"
        second = str(folder / "second")
        self._changes = {
            "http://localhost:8042": url,
            "localhost:8043": f"localhost:{free_port()}",
            ".venv/lib/python3*/site-packages/pydicom": str(
                Path(pydicom.__file__).parent
            ),
            "python3 run.py --config /tmp/second.json": f"{run} --config {second}.json",
            "python3 run.py": f"{run} --config {config}",
            "/tmp/second": second,
        }
        _, _, port = self._changes["localhost:8043"].partition(":")
        self._changes["--port 8043"] = f"--port {port}"

    def __call__(self, text: str) -> str:
        for old, new in self._changes.items():
            text = text.replace(old, new)
        return text


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
        here = _Here(url, next(tmp_path.rglob("*.json")), tmp_path)
        with subprocess.Popen(
            ["bash"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=Path(__file__).parents[2],
        ) as shell:
            for command, expected in session:
                printed = _printed(shell, here(command))
                wanted = [here(line) for line in expected]
                assert printed == wanted, command
            assert shell.stdin is not None
            shell.stdin.close()


def test_readme_opens_with_the_two_commands() -> None:
    top = README.read_text("utf-8")[:1200]
    assert re.search(r"^    python3 run\.py\s", top, re.MULTILINE)
    assert re.search(r"^    python3 run\.py test\s", top, re.MULTILINE)
