"""Sets up what the gateway needs, once, and starts it: see ``python3 run.py --help``.

Nothing but Python and its ``venv`` module has to be there. The first run makes
``.venv`` beside this file and installs the package into it; every later run only
compares a stamp and goes on to ``python -m gateway``. Where the package is installed in
the environment that runs this file, that one is used and no other is made.

Any Python since 3.6 can read this file, so that an old one is answered with a sentence.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

NEEDED = (3, 11)

if sys.version_info < NEEDED:
    sys.exit(
        f"The gateway needs Python 3.11 or newer and this is {sys.version.split()[0]}:"
        " install one (Debian 12, Ubuntu 24.04 or later: apt install python3"
        " python3-venv) and run this file with it."
    )

NAME = "dicomweb-gateway"
HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "gateway-stamp.json"
LOG = VENV / "setup.log"
LOCK = VENV / ".lock"
CONSTRAINTS = HERE / "conf" / "constraints.txt"
WATCHED = (HERE / "setup.cfg", HERE / "pyproject.toml", CONSTRAINTS)
DOCS = HERE / "docs"
MANUAL = VENV / "share" / "doc" / NAME / "html"
MADE_INTO_PAGES = ("docs/**/*", "conf/gateway.json", "README.rst", "CHANGES.rst")
SERVE_EXTRAS = ("codecs", "docs")
TEST_EXTRAS = ("codecs", "docs", "lint", "test")


class SetupError(Exception):
    """The environment cannot be made; the message says what to do."""


def main(arguments: list[str]) -> int:
    """Find or make the environment, and become the gateway in it."""
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(HERE), os.environ.get("PYTHONPATH")])
    )
    if {"-h", "--help"} & set(arguments):
        return start(sys.executable, arguments)  # help is standard-library code too
    extras = TEST_EXTRAS if arguments[:1] == ["test"] else SERVE_EXTRAS
    try:
        python = environment(extras)
    except SetupError as failure:
        say(str(failure))
        return 1
    except OSError as error:
        say(f"Cannot set up {VENV}: {error}")
        return 1
    except KeyboardInterrupt:
        say("\nStopped. The next run will do what was left undone.")
        return 130
    return start(python, arguments)


def start(python: str, arguments: list[str]) -> int:
    """Become ``python -m gateway``; ``-P`` keeps the current folder out of imports."""
    sys.stdout.flush()
    os.execv(python, [python, "-P", "-m", "gateway", *arguments])


def say(line: str) -> None:
    """Tell the person who waits; standard output is left to the command itself."""
    print(line, file=sys.stderr, flush=True)


# --- Which environment ----------------------------------------------------------------


def environment(extras: tuple[str, ...]) -> str:
    """Return the Python to go on with, and set it up first if need be."""
    ours = Path(sys.prefix).resolve() == VENV
    if not ours and sys.prefix != sys.base_prefix and is_installed(extras):
        return sys.executable
    if is_ready(extras):
        return str(PYTHON)
    if not ours and sys.prefix == sys.base_prefix and is_installed(extras):
        return sys.executable
    set_up(extras)
    return str(PYTHON)


def is_ready(extras: tuple[str, ...]) -> bool:
    """Say whether ``.venv`` is complete, current, and has these extras."""
    stamp = read_stamp()
    if stamp is None:
        return False
    return stamp == wanted(stamp["extras"]) and set(extras) <= set(stamp["extras"])


def read_stamp() -> dict | None:  # type: ignore[type-arg]
    """Return what the last complete set-up left, if its ``.venv`` can still be used."""
    try:
        stamp = json.loads(STAMP.read_text())
        made = {name: stamp[name] for name in wanted([])}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    changing = {name: made[name] for name in ("content", "manual", "extras")}
    right = {**wanted([]), **changing}
    return made if made == right and PYTHON.exists() else None


def wanted(extras: list[str]) -> dict[str, str | list[str]]:
    """Return the stamp of a ``.venv`` that is right for the files as they are now."""
    return {
        "python": "{}.{}".format(*sys.version_info),
        "folder": str(HERE),
        "content": digest(WATCHED),
        "manual": digest(pages()),
        "extras": sorted(extras),
    }


def pages() -> list[Path]:
    """Return the files that the manual is made of."""
    found = (file for pattern in MADE_INTO_PAGES for file in HERE.glob(pattern))
    return sorted(file for file in found if file.is_file() and file.suffix != ".pyc")


def digest(files: Iterable[Path]) -> str:
    """Return a digest of what is in the files."""
    content = hashlib.sha256()
    for file in files:
        content.update(file.read_bytes() if file.exists() else b"")
        content.update(b"\0")
    return content.hexdigest()


def is_installed(extras: tuple[str, ...]) -> bool:
    """Say whether the environment that runs this file has this version and its needs.

    The checkout itself does not count: it may hold the metadata of an install made
    for another environment.
    """
    import configparser

    setup = configparser.ConfigParser(interpolation=None)
    setup.read(HERE / "setup.cfg")
    needs = setup["options"]["install_requires"]
    for extra in extras:
        needs += "\n" + setup["options.extras_require"][extra]
    version = installed_version(NAME)
    return version == setup["metadata"]["version"] and all(
        is_met(need) for need in needs.split("\n") if need
    )


def is_met(need: str) -> bool:
    """Say whether a requirement as setup.cfg writes them, ``name>=bound``, is met."""
    name, _, bound = need.partition(";")[0].partition(">=")
    version = installed_version(name.strip())
    return version is not None and numbers(version) >= numbers(bound)


def installed_version(name: str) -> str | None:
    """Return the version of a distribution installed for this very interpreter."""
    from importlib import metadata

    elsewhere = [entry for entry in sys.path if Path(entry).resolve() != HERE]
    for found in metadata.distributions(name=name, path=elsewhere):
        return found.version
    return None


def numbers(version: str) -> list[int]:
    """Return ``3.14.5`` as ``[3, 14, 5]``."""
    digits = "".join(mark if mark.isdigit() else " " for mark in version)
    return [int(number) for number in digits.split()]


# --- Setting up -----------------------------------------------------------------------


def set_up(extras: tuple[str, ...]) -> None:
    """Make or renew ``.venv``, one process at a time."""
    import fcntl

    require_venv()
    VENV.mkdir(exist_ok=True)
    with LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another run is setting up .venv: waiting for it.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_ready(extras):
            install(extras)


def require_venv() -> None:
    """Debian ships ``venv`` and ``ensurepip`` in a package of their own."""
    from importlib.util import find_spec

    if find_spec("venv") is None or find_spec("ensurepip") is None:
        package = "python{}.{}-venv".format(*sys.version_info)
        raise SetupError(
            "This Python cannot make virtual environments:"
            f" apt install python3-venv (or {package}), and run this again."
        )


def install(extras: tuple[str, ...]) -> None:
    """Install the package; the stamp is gone until all of it is done.

    When pip refuses, it has changed nothing: what worked before may go on working.
    """
    import time

    began = time.monotonic()
    before = read_stamp()
    kept = STAMP.read_text() if before else ""
    extras = tuple(sorted({*extras, *(before["extras"] if before else ())}))
    STAMP.unlink(missing_ok=True)
    if before is None:
        say("Setting up .venv: installing aiohttp, pydicom … (once, about a minute)")
        make_venv()
    else:
        say("Renewing .venv: what it should hold has changed.")
    if is_to_fetch(extras, before):
        try:
            fetch(extras)
        except SetupError:
            if kept:
                STAMP.write_text(kept)
            raise
    build_manual()
    unfinished = STAMP.with_suffix(".new")
    unfinished.write_text(json.dumps(wanted(list(extras)), indent=2) + "\n")
    unfinished.replace(STAMP)
    say(f"  done in {time.monotonic() - began:.0f} s")


def is_to_fetch(
    extras: tuple[str, ...],
    before: dict | None,  # type: ignore[type-arg]
) -> bool:
    """Say whether packages may be missing, and not only pages of the manual be old."""
    if before is None:
        return True
    return before["content"] != digest(WATCHED) or not set(extras) <= {
        *before["extras"]
    }


def fetch(extras: tuple[str, ...]) -> None:
    """Install the package and what it needs."""
    say(
        "  fetching packages"
        + (", with those for the tests" if "test" in extras else "")
    )
    target = str(HERE) + ("[{}]".format(",".join(extras)) if extras else "")
    pip("install", "--constraint", str(CONSTRAINTS), "--editable", target)


def build_manual() -> None:
    """Make the pages that are served at /docs/; without them the gateway works too."""
    if not (DOCS / "conf.py").exists():
        return
    say("  putting the manual together")
    kept = str(VENV / "manual")  # what makes the next time quick
    try:
        run([str(PYTHON), "-m", "sphinx", "-q", "-d", kept, str(DOCS), str(MANUAL)])
    except SetupError:
        say(f"  that failed, {LOG} says why: it goes on without the manual")


def make_venv() -> None:
    """Make ``.venv`` anew, whatever a broken set-up may have left there."""
    import shutil

    for entry in VENV.iterdir():
        if entry == LOCK:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    say("  making the environment")
    base = getattr(sys, "_base_executable", sys.executable)
    run([base, "-m", "venv", str(VENV)])


def pip(*arguments: str) -> None:
    """Run the pip of ``.venv``, whatever this account sets for its other installs."""
    run([str(PYTHON), "-m", "pip", "--disable-pip-version-check", *arguments])


def run(command: list[str]) -> None:
    """Run a step: its words go to the log, and the last of them to who must help."""
    import subprocess

    surroundings = {**os.environ, "PIP_USER": "0", "PYTHONUNBUFFERED": "1"}
    surroundings.pop("PYTHONPATH", None)
    lines = []
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=surroundings,
        encoding="utf-8",
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            lines.append(line)
            show_progress(line)
    with LOG.open("a", encoding="utf-8") as log:
        log.writelines(lines)
    clear_progress()
    if process.returncode:
        raise SetupError(
            "\n".join(f"  | {line.rstrip()}" for line in lines[-12:])
            + f"\nSetting up failed; all of it is in {LOG}.\n"
            "Fetching packages needs the network (pip's own settings for a proxy or a"
            " mirror are used) and some 250 MB of disk. Then run this again."
        )


def show_progress(line: str) -> None:
    """On a terminal, show which package is at hand, on one line that is overwritten."""
    words = line.split()
    if words[:3] == ["Installing", "collected", "packages:"]:
        clear_progress()
        say(f"  packages to install: {len(words) - 3}")
    elif words[:1] == ["Collecting"] and sys.stderr.isatty():
        print(f"\r\033[K    {words[1]}", end="", file=sys.stderr, flush=True)


def clear_progress() -> None:
    """Wipe the line that ``show_progress`` wrote."""
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
