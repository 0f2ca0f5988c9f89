"""The command line: what ``dicomweb-gateway`` and ``python3 run.py`` understand.

Only the standard library is imported before a command is known: help needs no more.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from gateway.errors import BadConfiguration

PROGRAM = "dicomweb-gateway"

CHECKS = {
    "ruff check": ("-m", "ruff", "check", "."),
    "ruff format": ("-m", "ruff", "format", "--check", "."),
    "mypy": ("-m", "mypy"),
    "mypy run.py": ("-m", "mypy", "run.py"),
    "import contracts": (
        "-c",
        "from importlinter.cli import lint_imports_command; lint_imports_command()",
    ),
    "pytest": ("-m", "pytest"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    words = in_order(sys.argv[1:] if argv is None else argv)
    try:
        if words[0] == "test" and not {"-h", "--help"} & set(words[1:]):
            return test(words[1:])
        options = parser().parse_args(words)
        return int(options.command(options))
    except BadConfiguration as error:
        return refuse(str(error))
    except KeyboardInterrupt:
        return 130


def in_order(argv: Sequence[str]) -> list[str]:
    """Put the subcommand first: ``serve`` if none is named, any ``--config`` after it.

    ``--config a serve`` and ``--port 9000`` become ``serve --config a`` and
    ``serve --port 9000``.
    """
    start = 0
    while start < len(argv) and argv[start].startswith("--config"):
        start += 1 if "=" in argv[start] else 2
    configs, rest = list(argv[:start]), list(argv[start:])
    if rest and rest[0] in {"-h", "--help"}:
        return rest
    if rest and rest[0] == "--version":
        rest[0] = "version"
    if not rest or rest[0].startswith("-"):
        rest.insert(0, "serve")
    return [rest[0], *configs, *rest[1:]]


def refuse(reason: str) -> int:
    """Say on one line why nothing was done."""
    print(f"{PROGRAM}: {reason}", file=sys.stderr)
    return 2


# --- Commands -------------------------------------------------------------------------


def serve(options: argparse.Namespace) -> int:
    """Run the server until it is told to stop."""
    from gateway.serve import serve as run_server

    return run_server(options.config, options.host, options.port, options.workers)


def import_files(options: argparse.Namespace) -> int:
    """Store files, folders and zip archives."""
    from gateway.importing import import_paths

    return import_paths(options.config, options.paths)


def check_config(options: argparse.Namespace) -> int:
    """Read the configuration as ``serve`` would, and start nothing."""
    from gateway.config.settings import load

    loaded = load(options.config, os.environ)
    for file in loaded.files:
        print(f"read {file}")
    for warning in loaded.warnings:
        print(f"warning: {warning}")
    print("configuration is good")
    return 0


def version(options: argparse.Namespace) -> int:
    """Print the version; with ``--verbose`` also of what it stands on."""
    from importlib import metadata

    print(PROGRAM, metadata.version(PROGRAM))
    if options.verbose:
        print("Python", sys.version.split()[0])
        for name in ("aiohttp", "pydicom"):
            print(name, metadata.version(name))
    return 0


def test(arguments: Sequence[str]) -> int:
    """Run every check, or with arguments only pytest, on the checkout."""
    checkout = find_checkout()
    if checkout is None:
        return refuse(
            "test needs a checkout of the source: in one, run python3 run.py test"
        )
    if any(find_spec(name) is None for name in ("pytest", "ruff", "mypy", "sphinx")):
        return refuse(
            "test needs what pip install -e '.[docs,lint,test]' brings;"
            " python3 run.py test sets it up by itself"
        )
    checks = CHECKS
    if arguments:
        checks = {"pytest": (*CHECKS["pytest"], *arguments)}
    failed = []
    for name, check in checks.items():
        print(f"=== {name}", flush=True)
        if subprocess.call([sys.executable, *check], cwd=checkout):
            failed.append(name)
    if failed:
        print(f"=== failed: {', '.join(failed)}", flush=True)
    return 1 if failed else 0


def find_checkout() -> Path | None:
    """Return the folder this package was checked out to, or else the current one."""
    for folder in (Path(__file__).resolve().parents[1], Path.cwd()):
        if (folder / "run.py").is_file() and (folder / "tests").is_dir():
            return folder
    return None


# --- What it accepts ------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """Return the parser of all subcommands."""
    whole = argparse.ArgumentParser(
        prog=PROGRAM,
        description="A DICOMweb gateway. Without a command, it serves.",
        epilog="In a checkout, python3 run.py takes the same commands and options."
        " COMMAND --help tells more.",
        allow_abbrev=False,
    )
    commands = whole.add_subparsers(metavar="COMMAND", title="commands", required=True)
    config = config_option()
    _add_serve(commands, config)
    adding = commands.add_parser(
        "import",
        parents=[config],
        help="store files, folders and zip archives",
        description="Stores DICOM files, folders of them, and zip archives, and tells"
        " how many were stored, were already there, or were refused and why.",
        allow_abbrev=False,
    )
    adding.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    adding.set_defaults(command=import_files)
    checking = commands.add_parser(
        "check-config",
        parents=[config],
        help="read the configuration and tell what is wrong with it",
        description="Reads the configuration as serve would, tells which files were"
        " read and what is odd in them, and exits with 2 if it cannot be used.",
        allow_abbrev=False,
    )
    checking.set_defaults(command=check_config)
    commands.add_parser(
        "test",
        help="run the linters, the type checker and the tests of a checkout",
        description="Runs ruff, mypy, the import contracts and pytest, all of them"
        " even if one fails. With arguments, runs only pytest, with those arguments.",
        usage=f"{PROGRAM} test [PYTEST ARGUMENT ...]",
    )
    telling = commands.add_parser("version", help="print the version")
    telling.add_argument(
        "--verbose", action="store_true", help="also of Python, aiohttp and pydicom"
    )
    telling.set_defaults(command=version)
    return whole


def config_option() -> argparse.ArgumentParser:
    """Return the option that several commands share."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--config",
        action="append",
        default=[],
        type=Path,
        metavar="FILE|FOLDER",
        help="a JSON configuration file, or a folder whose *.json files are merged;"
        " may be repeated, and may stand before the command",
    )
    return shared


def _add_serve(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    config: argparse.ArgumentParser,
) -> None:
    serving = commands.add_parser(
        "serve",
        parents=[config],
        help="run the server (what happens without a command)",
        description="Runs the server until it is interrupted. What is said here wins"
        " over the configuration.",
        allow_abbrev=False,
    )
    serving.add_argument("--host", help="the address to listen on")
    serving.add_argument("--port", type=_port, help="the port to listen on")
    serving.add_argument(
        "--workers", type=_workers, metavar="N", help="how many processes serve"
    )
    serving.set_defaults(command=serve)


def _port(text: str) -> int:
    port = int(text) if text.isdecimal() else -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 0 to 65535")
    return port


def _workers(text: str) -> int:
    workers = int(text) if text.isdecimal() else 0
    if workers < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of processes")
    return workers
