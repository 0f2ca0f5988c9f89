"""The command line: what it understands, what it calls, how it ends."""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from gateway import cli
from gateway.errors import BadConfiguration

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[Any, ...]]]:
    """Return what puts a function in place of a module's, and records its calls."""

    def put(module: str, function: str, answer: object) -> list[tuple[Any, ...]]:
        calls: list[tuple[Any, ...]] = []

        def called(*arguments: object) -> object:
            calls.append(arguments)
            if isinstance(answer, Exception):
                raise answer
            return answer

        stub = ModuleType(module)
        setattr(stub, function, called)
        monkeypatch.setitem(sys.modules, module, stub)
        return calls

    return put


class TestServe:
    @pytest.mark.parametrize(
        ("words", "configs", "host", "port", "workers"),
        [
            ("", [], None, None, None),
            ("serve", [], None, None, None),
            ("--port 9000", [], None, 9000, None),
            ("serve --host :: --port=0 --workers 4", [], "::", 0, 4),
            ("--config a", ["a"], None, None, None),
            ("--config a serve --config b", ["a", "b"], None, None, None),
            ("--config=a --config b --port 1", ["a", "b"], None, 1, None),
            ("--config serve", ["serve"], None, None, None),
        ],
    )
    def test_it_is_understood(
        self,
        words: str,
        configs: list[str],
        host: str | None,
        port: int | None,
        workers: int | None,
        stand_in: Callable[..., list[tuple[Any, ...]]],
    ) -> None:
        calls = stand_in("gateway.serve", "serve", 7)
        assert cli.main(words.split()) == 7
        assert calls == [([Path(config) for config in configs], host, port, workers)]

    @pytest.mark.parametrize(
        "words",
        [
            "--port 65536",
            "--port http",
            "--port -1",
            "--workers 0",
            "--config",
            "--por 1",
            "nonsense",
            "--config a version",
        ],
    )
    def test_nonsense_is_refused_with_2(
        self, words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as stop:
            cli.main(words.split())
        assert stop.value.code == 2
        assert "error:" in capsys.readouterr().err

    def test_a_bad_configuration_is_one_line_and_2(
        self,
        stand_in: Callable[..., list[tuple[Any, ...]]],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        stand_in("gateway.serve", "serve", BadConfiguration("a.json: no such file"))
        assert cli.main([]) == 2
        assert capsys.readouterr().err == "dicomweb-gateway: a.json: no such file\n"


def test_import_takes_paths_and_configurations(
    stand_in: Callable[..., list[tuple[Any, ...]]],
) -> None:
    calls = stand_in("gateway.importing", "import_paths", 0)
    assert cli.main(["--config", "c", "import", "a", "b.zip", "--config", "d"]) == 0
    assert calls == [([Path("c"), Path("d")], [Path("a"), Path("b.zip")])]


class TestCheckConfig:
    def test_a_good_one_is_told_with_its_files_and_oddities(
        self,
        stand_in: Callable[..., list[tuple[Any, ...]]],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        loaded = SimpleNamespace(files=[Path("a.json")], warnings=["Nmae is unknown"])
        calls = stand_in("gateway.config.settings", "load", loaded)
        assert cli.main(["check-config", "--config", "a.json"]) == 0
        assert calls == [([Path("a.json")], os.environ)]
        assert capsys.readouterr().out.splitlines() == [
            "read a.json",
            "warning: Nmae is unknown",
            "configuration is good",
        ]

    def test_a_bad_one_is_told_on_standard_error(
        self,
        stand_in: Callable[..., list[tuple[Any, ...]]],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        stand_in("gateway.config.settings", "load", BadConfiguration("bad"))
        assert cli.main(["check-config"]) == 2
        assert capsys.readouterr() == ("", "dicomweb-gateway: bad\n")


class TestVersion:
    @pytest.fixture(autouse=True)
    def installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the tests pass where the package runs without being installed."""
        monkeypatch.setattr(metadata, "version", lambda name: f"of-{name}")

    @pytest.mark.parametrize("words", [["version"], ["--version"]])
    def test_it_is_one_line(
        self, words: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(words) == 0
        (line,) = capsys.readouterr().out.splitlines()
        assert line == "dicomweb-gateway of-dicomweb-gateway"

    def test_it_can_tell_what_it_stands_on(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["version", "--verbose"]) == 0
        names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
        assert names == ["dicomweb-gateway", "Python", "aiohttp", "pydicom"]


class TestTest:
    @pytest.fixture
    def called(self, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
        """Return the programs that were called; none is, and all but mypy succeed."""
        commands: list[list[str]] = []

        def call(command: list[str], cwd: Path) -> int:
            assert cwd == CHECKOUT
            commands.append(command[1:])
            return int(command[-1] == "mypy")

        monkeypatch.setattr(subprocess, "call", call)
        return commands

    def test_all_checks_run_even_when_one_fails(
        self, called: list[list[str]], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["test"]) == 1
        assert len(called) == len(cli.CHECKS)
        assert called[-1] == ["-m", "pytest"]
        assert capsys.readouterr().out.endswith("=== failed: mypy\n")

    def test_arguments_are_for_pytest_alone(self, called: list[list[str]]) -> None:
        assert cli.main(["test", "-x", "tests/unit", "--lf"]) == 0
        assert called == [["-m", "pytest", "-x", "tests/unit", "--lf"]]

    def test_it_needs_a_checkout(
        self,
        called: list[list[str]],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        installed = tmp_path / "site-packages" / "gateway" / "cli.py"
        monkeypatch.setattr(cli, "__file__", str(installed))
        assert cli.main(["test"]) == 2
        assert "needs a checkout" in capsys.readouterr().err
        assert not called

    def test_it_says_when_its_tools_are_missing(
        self,
        called: list[list[str]],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(cli, "find_spec", lambda name: None)
        assert cli.main(["test"]) == 2
        assert "[docs,lint,test]" in capsys.readouterr().err
        assert not called


@pytest.mark.parametrize(
    "words", [["--help"], ["serve", "--help"], ["import", "-h"], ["test", "--help"]]
)
def test_help_is_there(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("usage: dicomweb-gateway")


def test_nothing_heavy_is_imported_before_a_command_is_known() -> None:
    words = "import sys, gateway.cli; print('aiohttp' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", words], cwd=CHECKOUT, capture_output=True, text=True
    )
    assert done.stdout == "False\n"
