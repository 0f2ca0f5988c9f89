"""What the tests take from npm: fetched once, into a folder outside the checkout.

``GATEWAY_NPM_CACHE`` names that folder; it is ~/.cache/dicomweb-gateway-tests
otherwise. npm's own settings say where it fetches from.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

HOW_TO_INSTALL = "apt-get install nodejs npm"
_SECONDS = 180


def missing(what: str) -> NoReturn:
    """Skip the test, or fail it where nothing may be missing."""
    if os.environ.get("GATEWAY_REQUIRE_PEERS"):
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


def program(name: str) -> str:
    """Where node or npm is."""
    found = shutil.which(name)
    if found is None:
        missing(f"{name} is missing: {HOW_TO_INSTALL}")
    return found


def installed(folder: Path) -> Path:
    """The node_modules of the package.json in the folder."""
    wanted = (folder / "package.json").read_bytes()

    def fill(place: Path) -> None:
        (place / "package.json").write_bytes(wanted)
        _npm(place, "install", "--ignore-scripts", "--no-package-lock")

    digest = hashlib.sha256(wanted).hexdigest()[:16]
    return _kept(f"{folder.name}-{digest}", fill) / "node_modules"


def unpacked(name: str, version: str) -> Path:
    """The files of a package alone, without those that it depends on."""

    def fill(place: Path) -> None:
        _npm(place, "pack", "--ignore-scripts", f"{name}@{version}")
        (packed,) = place.glob("*.tgz")
        subprocess.run(["tar", "-xzf", packed.name], cwd=place, check=True)
        packed.unlink()

    plain = name.strip("@").replace("/", "-")
    return _kept(f"{plain}-{version}", fill) / "package"


def _kept(name: str, fill: Callable[[Path], None]) -> Path:
    """A folder that was filled, whole, now or by an earlier run."""
    named = os.environ.get("GATEWAY_NPM_CACHE")
    cache = Path(named) if named else Path.home() / ".cache/dicomweb-gateway-tests"
    place = cache / name
    if place.exists():
        return place
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            with tempfile.TemporaryDirectory(dir=cache) as unfinished:
                made = Path(unfinished) / name
                made.mkdir()
                fill(made)
                made.rename(place)
    return place


def _npm(folder: Path, *words: str) -> None:
    command = [program("npm"), *words, "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        missing(f"npm {words[0]} took longer than {_SECONDS} s")
    if done.returncode:
        told = " ".join(done.stderr.split("\n")[:4])
        missing(f"npm {words[0]} failed: {told}")
