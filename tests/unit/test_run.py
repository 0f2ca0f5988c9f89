"""run.py: which environment it goes on with, and what it does to have one.

No test installs anything: the steps that would are recorded. Each works on a copy of
run.py in a folder of its own, so that no real ``.venv`` is touched.
"""

import ast
import configparser
import fcntl
import importlib.util
import os
import runpy
import shutil
import sys
import threading
from importlib import metadata  # noqa: F401  (run.py imports it while the path is cut)
from pathlib import Path
from types import ModuleType

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
COPIED = ("run.py", "setup.cfg", "pyproject.toml", "conf/constraints.txt")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "a checkout"
    for name in COPIED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, folder / name)
    return folder


def load(checkout: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_py", checkout / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def put_manual(run: ModuleType) -> None:
    """Give the checkout something to build."""
    (run.HERE / "docs").mkdir()
    for name in ("conf.py", "index.rst"):
        (run.HERE / "docs" / name).write_text(name)


class Steps:
    """Stands in for the steps of a set-up: venv makes a Python, pip nothing."""

    def __init__(self, run: ModuleType) -> None:
        self.run = run
        self.commands: list[list[str]] = []
        self.failing = False

    def __call__(self, command: list[str]) -> None:
        self.commands.append(command)
        if self.failing:
            raise self.run.SetupError("no network")
        if "venv" in command:
            self.run.PYTHON.parent.mkdir(parents=True)
            self.run.PYTHON.touch()

    @property
    def kinds(self) -> list[str]:
        kinds = [command[2] for command in self.commands]
        self.commands.clear()
        return kinds


@pytest.fixture
def run(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return run.py as loaded by a Python that has nothing installed."""
    module = load(checkout)
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    monkeypatch.setattr(module, "is_installed", lambda extras: False)
    return module


@pytest.fixture
def steps(run: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Steps:
    recorder = Steps(run)
    monkeypatch.setattr(run, "run", recorder)
    return recorder


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return what was started; nothing is."""
    commands: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, words: commands.append(words))
    return commands


class TestPython:
    def test_an_old_python_can_read_the_file(self) -> None:
        ast.parse((CHECKOUT / "run.py").read_text(), feature_version=(3, 6))

    def test_an_old_python_is_told_in_one_line_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "version_info", (3, 10, 13, "final", 0))
        monkeypatch.setattr(sys, "version", "3.10.13 (main)")
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(CHECKOUT / "run.py"), run_name="__main__")
        message = str(stop.value)
        assert "needs Python 3.11 or newer and this is 3.10.13" in message
        assert "apt install python3" in message
        assert "\n" not in message

    def test_it_asks_for_the_python_that_setup_cfg_asks_for(
        self, run: ModuleType
    ) -> None:
        setup = configparser.ConfigParser(interpolation=None)
        setup.read(CHECKOUT / "setup.cfg")
        needed = "{}.{}".format(*run.NEEDED)
        assert setup["options"]["python_requires"] == f">={needed}"

    @pytest.mark.parametrize("module", ["venv", "ensurepip"])
    def test_a_python_without_venv_is_told_in_one_line_what_to_install(
        self,
        module: str,
        run: ModuleType,
        steps: Steps,
        started: list[list[str]],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: None if name == module else name
        )
        assert run.main(["serve"]) == 1
        message = capsys.readouterr().err
        assert "apt install python3-venv" in message
        assert message.count("\n") == 1
        assert not run.VENV.exists()
        assert not started


class TestSetUp:
    def test_the_first_run_makes_the_environment_and_says_so(
        self, run: ModuleType, steps: Steps, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run.environment(()) == str(run.PYTHON)
        venv, pip = steps.commands
        assert venv[1:] == ["-m", "venv", str(run.VENV)]
        assert pip[-5:] == [
            "install",
            "--constraint",
            str(run.HERE / "conf" / "constraints.txt"),
            "--editable",
            str(run.HERE),
        ]
        shown = capsys.readouterr()
        assert "once, about a minute" in shown.err
        assert not shown.out

    def test_the_next_run_does_nothing_and_says_nothing(
        self, run: ModuleType, steps: Steps, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run.environment(())
        steps.commands.clear()
        capsys.readouterr()
        assert run.environment(()) == str(run.PYTHON)
        assert not steps.commands
        assert capsys.readouterr() == ("", "")

    @pytest.mark.parametrize("name", COPIED[1:])
    def test_a_changed_file_means_installing_again(
        self, name: str, run: ModuleType, steps: Steps
    ) -> None:
        run.environment(())
        steps.commands.clear()
        with (run.HERE / name).open("a") as file:
            file.write("# changed\n")
        run.environment(())
        assert steps.kinds == ["pip"]
        run.environment(())
        assert steps.kinds == []

    def test_tests_after_serving_add_what_they_need(
        self, run: ModuleType, steps: Steps
    ) -> None:
        run.environment(())
        steps.commands.clear()
        run.environment(run.TEST_EXTRAS)
        assert steps.commands[-1][-1] == f"{run.HERE}[codecs,docs,lint,test]"
        assert steps.kinds == ["pip"]

    def test_serving_after_tests_installs_nothing(
        self, run: ModuleType, steps: Steps
    ) -> None:
        run.environment(run.TEST_EXTRAS)
        steps.commands.clear()
        run.environment(())
        assert steps.kinds == []

    def test_renewing_keeps_what_the_tests_need(
        self, run: ModuleType, steps: Steps
    ) -> None:
        run.environment(run.TEST_EXTRAS)
        (run.HERE / "setup.cfg").write_text("[metadata]\n")
        run.environment(())
        assert steps.commands[-1][-1].endswith("[codecs,docs,lint,test]")
        assert run.is_ready(run.TEST_EXTRAS)

    def test_a_half_made_environment_is_made_anew(
        self, run: ModuleType, steps: Steps
    ) -> None:
        (run.VENV / "lib").mkdir(parents=True)
        (run.VENV / "lib" / "half").touch()
        (run.VENV / "lib64").symlink_to("lib")
        run.environment(())
        assert steps.kinds == ["venv", "pip"]
        assert not (run.VENV / "lib").exists()

    @pytest.mark.parametrize(
        "stamp", ["", "[]", "{}", '{"python": "3.11", "folder": "/"}']
    )
    def test_a_stamp_that_says_nothing_counts_as_none(
        self, stamp: str, run: ModuleType, steps: Steps
    ) -> None:
        run.environment(())
        steps.commands.clear()
        run.STAMP.write_text(stamp)
        run.environment(())
        assert steps.kinds == ["venv", "pip"]

    def test_an_interrupted_install_is_made_anew(
        self, run: ModuleType, steps: Steps, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run.environment(())

        def interrupt(*words: str) -> None:
            raise KeyboardInterrupt

        (run.HERE / "setup.cfg").write_text("[metadata]\n")
        with monkeypatch.context() as context:
            context.setattr(run, "pip", interrupt)
            assert run.main([]) == 130
        steps.commands.clear()
        run.environment(())
        assert steps.kinds == ["venv", "pip"]

    def test_a_refusal_of_pip_leaves_what_worked_before(
        self, run: ModuleType, steps: Steps
    ) -> None:
        run.environment(())
        steps.failing = True
        assert run.main(["test"]) == 1
        assert run.is_ready(())
        assert not run.is_ready(run.TEST_EXTRAS)

    def test_another_python_needs_another_environment(
        self, run: ModuleType, steps: Steps, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run.environment(())
        steps.commands.clear()
        monkeypatch.setattr(sys, "version_info", (3, 99, 0, "final", 0))
        run.environment(())
        assert steps.kinds == ["venv", "pip"]

    def test_the_manual_is_built_into_the_environment(
        self, run: ModuleType, steps: Steps
    ) -> None:
        put_manual(run)
        run.environment(())
        assert steps.commands[-1] == [
            *(str(run.PYTHON), "-m", "sphinx", "-q", "-d", str(run.VENV / "manual")),
            str(run.HERE / "docs"),
            str(run.VENV / "share" / "doc" / "dicomweb-gateway" / "html"),
        ]
        assert steps.kinds == ["venv", "pip", "sphinx"]

    def test_a_changed_page_is_built_and_nothing_is_fetched(
        self, run: ModuleType, steps: Steps
    ) -> None:
        put_manual(run)
        run.environment(())
        steps.commands.clear()
        (run.HERE / "docs" / "index.rst").write_text("other")
        run.environment(())
        assert steps.kinds == ["sphinx"]
        run.environment(())
        assert steps.kinds == []
        run.environment(run.TEST_EXTRAS)
        assert steps.kinds == ["pip", "sphinx"]

    def test_what_the_build_leaves_beside_the_pages_changes_nothing(
        self, run: ModuleType, steps: Steps
    ) -> None:
        put_manual(run)
        run.environment(())
        steps.commands.clear()
        cache = run.HERE / "docs" / "__pycache__"
        cache.mkdir()
        (cache / "conf.cpython-311.pyc").write_bytes(b"made")
        run.environment(())
        assert steps.kinds == []

    def test_a_manual_that_cannot_be_built_stops_nothing(
        self,
        run: ModuleType,
        steps: Steps,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        put_manual(run)

        def take(command: list[str]) -> None:
            steps.failing = "sphinx" in command
            steps(command)

        monkeypatch.setattr(run, "run", take)
        assert run.environment(()) == str(run.PYTHON)
        assert "goes on without the manual" in capsys.readouterr().err
        assert run.is_ready(())

    def test_a_moved_checkout_needs_another_environment(
        self, run: ModuleType, steps: Steps
    ) -> None:
        run.environment(())
        moved = load(run.HERE.rename(run.HERE.with_name("moved")))
        assert moved.VENV.exists()
        assert not moved.is_ready(())

    def test_a_python_that_went_away_means_making_it_anew(
        self, run: ModuleType, steps: Steps
    ) -> None:
        run.environment(())
        run.PYTHON.unlink()
        assert not run.is_ready(())

    def test_a_second_run_waits_for_the_first_and_takes_what_it_made(
        self, run: ModuleType, steps: Steps, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run.environment(())
        steps.commands.clear()
        stamp = run.STAMP.read_text()
        run.STAMP.unlink()
        waits = threading.Event()
        monkeypatch.setattr(run, "say", lambda line: waits.set())
        with run.LOCK.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            second = threading.Thread(target=run.set_up, args=((),))
            second.start()
            assert waits.wait(10)
            run.STAMP.write_text(stamp)
        second.join(10)
        assert steps.kinds == []

    def test_a_folder_that_cannot_be_written_is_named(
        self,
        run: ModuleType,
        started: list[list[str]],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        run.VENV.touch()
        assert run.main([]) == 1
        assert str(run.VENV) in capsys.readouterr().err
        assert not started


class TestStep:
    def test_a_step_that_fails_shows_its_last_words_and_what_to_do(
        self, run: ModuleType
    ) -> None:
        run.VENV.mkdir()
        words = "for n in range(100): print('word', n)\nraise SystemExit(3)"
        with pytest.raises(run.SetupError) as failure:
            run.run([sys.executable, "-c", words])
        message = str(failure.value)
        assert "word 99" in message
        assert "word 80" not in message
        assert "needs the network" in message
        assert "word 0\n" in run.LOG.read_text()

    def test_settings_for_other_installs_do_not_reach_pip(
        self, run: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run.VENV.mkdir()
        monkeypatch.setenv("PIP_USER", "1")
        monkeypatch.setenv("PYTHONPATH", "elsewhere")
        words = "import os; print(os.environ['PIP_USER'], 'PYTHONPATH' in os.environ)"
        run.run([sys.executable, "-c", words])
        assert run.LOG.read_text() == "0 False\n"

    def test_the_number_of_packages_is_told(
        self, run: ModuleType, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run.show_progress("Installing build dependencies: started\n")
        run.show_progress("Installing collected packages: yarl, aiohttp\n")
        assert capsys.readouterr().err == "  packages to install: 2\n"


class TestReuse:
    """An environment in which the package is installed is used as it is."""

    @pytest.fixture
    def run(self, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
        module = load(checkout)
        monkeypatch.setattr(sys, "path", [str(checkout), str(self.site(checkout))])
        return module

    @staticmethod
    def site(checkout: Path) -> Path:
        return checkout.parent / "site-packages"

    def put(self, folder: Path, **versions: str) -> None:
        for name, version in versions.items():
            info = folder / f"{name}-{version}.dist-info"
            info.mkdir(parents=True)
            (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")

    def put_all(self, run: ModuleType, **changed: str) -> None:
        setup = configparser.ConfigParser(interpolation=None)
        setup.read(run.HERE / "setup.cfg")
        needs = setup["options"]["install_requires"].split()
        pinned = [need.partition(">=")[0] for need in needs if ">=" in need]
        names = [name.replace("-", "_") for name in pinned]  # as folders are named
        versions = {
            **dict.fromkeys(names, "1000.0"),
            "dicomweb_gateway": setup["metadata"]["version"],
        }
        self.put(self.site(run.HERE), **{**versions, **changed})

    def test_a_complete_one_is_used(self, run: ModuleType) -> None:
        self.put_all(run)
        assert run.is_installed(())

    def test_one_without_the_package_is_not(self, run: ModuleType) -> None:
        self.put(self.site(run.HERE), aiohttp="1000.0")
        assert not run.is_installed(())

    def test_metadata_in_the_checkout_proves_nothing(self, run: ModuleType) -> None:
        self.put_all(run)
        site = self.site(run.HERE)
        (installed,) = site.glob("dicomweb_gateway*")
        installed.rename(run.HERE / installed.name)
        assert not run.is_installed(())

    def test_one_with_another_version_is_not(self, run: ModuleType) -> None:
        self.put_all(run, dicomweb_gateway="0.0.1")
        assert not run.is_installed(())

    def test_one_with_a_dependency_that_is_too_old_is_not(
        self, run: ModuleType
    ) -> None:
        self.put_all(run, aiohttp="3.9.5")
        assert not run.is_installed(())

    def test_one_without_pytest_will_not_do_for_tests(self, run: ModuleType) -> None:
        self.put_all(run)
        assert not run.is_installed(("test",))

    def test_an_activated_one_comes_before_ours(
        self, run: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.put_all(run)
        monkeypatch.setattr(sys, "prefix", "/some/venv")
        monkeypatch.setattr(run, "is_ready", lambda extras: True)
        assert run.environment(()) == sys.executable

    def test_ours_comes_before_one_of_the_system(
        self, run: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.put_all(run)
        monkeypatch.setattr(sys, "prefix", sys.base_prefix)
        assert run.environment(()) == sys.executable
        monkeypatch.setattr(run, "is_ready", lambda extras: True)
        assert run.environment(()) == str(run.PYTHON)


class TestStart:
    def test_it_becomes_the_gateway_of_this_checkout(
        self, run: ModuleType, steps: Steps, started: list[list[str]]
    ) -> None:
        run.main(["--port", "9000"])
        options = ["-P", "-m", "gateway", "--port", "9000"]
        assert started == [[str(run.PYTHON), *options]]
        assert os.environ["PYTHONPATH"] == str(run.HERE)

    def test_what_was_on_the_path_stays_there(
        self,
        run: ModuleType,
        steps: Steps,
        started: list[list[str]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("PYTHONPATH", "/elsewhere")
        run.main([])
        assert os.environ["PYTHONPATH"] == f"{run.HERE}:/elsewhere"

    def test_only_tests_bring_what_tests_need(
        self, run: ModuleType, steps: Steps, started: list[list[str]]
    ) -> None:
        run.main(["import", "test"])
        assert steps.commands[-1][-1] == f"{run.HERE}[codecs,docs]"
        run.main(["test", "-x"])
        assert steps.commands[-1][-1] == f"{run.HERE}[codecs,docs,lint,test]"

    @pytest.mark.parametrize("words", [["--help"], ["serve", "-h"]])
    def test_help_needs_no_environment(
        self,
        words: list[str],
        run: ModuleType,
        steps: Steps,
        started: list[list[str]],
    ) -> None:
        run.main(words)
        assert started == [[sys.executable, "-P", "-m", "gateway", *words]]
        assert not steps.commands
