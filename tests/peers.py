"""The servers that tests and benchmarks start: the real Orthanc, and ours.

A claim about Orthanc is worth what the program itself answers, so the tests that
compare ask the program and not a recording of it. Debian 12 has 1.10.1 with
DICOMweb 1.7; ``tests/benchmarks/make_peer.sh DIR`` makes a Debian 13 tree with
1.12.7 and 1.20, and ``GATEWAY_ORTHANC_CHROOT=DIR`` says to use that one.

Each server gets a folder of its own, a free port, and is ended by its process id.
"""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import psutil

CHECKOUT = Path(__file__).resolve().parents[1]
CHROOT_VARIABLE = "GATEWAY_ORTHANC_CHROOT"
HOW_TO_INSTALL = "apt-get install orthanc orthanc-dicomweb"

SECONDS_TO_START = 30.0
SECONDS_TO_STOP = 20.0

# Everything is mounted in a namespace of the process, so nothing stays mounted
# after it; the last exec keeps the process id the one that we started. Without the
# machine's hosts file Orthanc looks its own host name up in the DNS for every answer
# (gethostid), which can take it seconds that are no fault of its.
ENTER_CHROOT = """
[ -e "$2/etc/hosts" ] || : > "$2/etc/hosts"
mount --bind "$1" "$2/srv" && mount -t proc proc "$2/proc" &&
mount --bind /etc/hosts "$2/etc/hosts" &&
cd / && exec chroot "$2" "$3" /srv/orthanc.json
"""


class MissingPeerError(Exception):
    """There is no Orthanc on this machine."""


class NotStartedError(Exception):
    """The server ended, or never answered, before it was ready."""


class Running(NamedTuple):
    """A server that answers."""

    url: str  # http://127.0.0.1:PORT, no slash at the end
    pid: int


@dataclass(frozen=True, slots=True)
class OrthancProgram:
    """An Orthanc with its DICOMweb plugin."""

    binary: Path  # as seen inside the chroot, if there is one
    plugin: Path  # likewise
    chroot: Path | None = None

    def command(self, folder: Path) -> list[str]:
        """The command that runs it with the configuration in this folder."""
        if self.chroot is None:
            return [str(self.binary), str(folder / "orthanc.json")]
        inside = [str(folder), str(self.chroot), str(self.binary)]
        return ["unshare", "--mount", "sh", "-c", ENTER_CHROOT, "sh", *inside]


def find_orthanc() -> OrthancProgram | None:
    """The Orthanc to compare with: that of the chroot if named, else the machine's."""
    named = os.environ.get(CHROOT_VARIABLE)
    if not named:
        return _orthanc_under(Path("/"))
    tree = Path(named).resolve()
    program = _orthanc_under(tree)
    if program is None:
        raise MissingPeerError(
            f"{CHROOT_VARIABLE} names {tree}, which has no Orthanc with DICOMweb;"
            f" tests/benchmarks/make_peer.sh {tree} makes one"
        )
    if os.geteuid() != 0:
        raise MissingPeerError(f"only root can use {CHROOT_VARIABLE}")
    return program


def _orthanc_under(tree: Path) -> OrthancProgram | None:
    binary = Path("usr/sbin/Orthanc")
    plugins = sorted(
        (tree / "usr/share/orthanc/plugins").glob("libOrthancDicomWeb.so*")
    )
    if not (tree / binary).exists() or not plugins:
        return None
    return OrthancProgram(
        binary=Path("/") / binary,
        plugin=Path("/") / plugins[0].relative_to(tree),
        chroot=None if tree == Path("/") else tree,
    )


@contextmanager
def orthanc(
    folder: Path,
    options: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
) -> Iterator[Running]:
    """Run Orthanc with its storage in this folder; options override the defaults."""
    program = find_orthanc()
    if program is None:
        raise MissingPeerError(f"no Orthanc on this machine: {HOW_TO_INSTALL}")
    folder = _made(folder)
    port = free_port()
    settings = {
        "Name": "peer",
        "StorageDirectory": "storage",  # beside the configuration file
        "IndexDirectory": "storage",
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": True,
        "AuthenticationEnabled": False,
        "Plugins": [str(program.plugin)],
        **(options or {}),
    }
    (folder / "orthanc.json").write_text(json.dumps(settings, indent=2))
    command = program.command(folder)
    with _running(command, folder, port, "/system", environment) as server:
        yield server


@contextmanager
def gateway(
    folder: Path,
    workers: int = 1,
    options: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
) -> Iterator[Running]:
    """Run our server with its storage in this folder, as a process of its own."""
    folder = _made(folder)
    port = free_port()
    settings = {
        "Name": "gateway",
        "StorageDirectory": str(folder / "storage"),
        "AuthenticationEnabled": False,
        **(options or {}),
    }
    config = folder / "gateway.json"
    config.write_text(json.dumps(settings, indent=2))
    command = [sys.executable, "-m", "gateway", "serve", "--config", str(config)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]
    with _running(command, folder, port, "/health", environment) as server:
        yield server


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _made(folder: Path) -> Path:
    folder = folder.resolve()
    (folder / "storage").mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _running(
    command: list[str],
    folder: Path,
    port: int,
    ready: str,
    environment: dict[str, str] | None,
) -> Iterator[Running]:
    log = folder / "server.log"
    url = f"http://127.0.0.1:{port}"
    with log.open("ab") as output, _process(command, output, environment) as process:
        _wait_until_ready(process, url + ready, log)
        yield Running(url, process.pid)


@contextmanager
def _process(
    command: list[str], output: IO[bytes], environment: dict[str, str] | None
) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        command,
        cwd=CHECKOUT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        _end(process)


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if _answers(url):
            return
        time.sleep(0.05)
    last_words = log.read_text(errors="replace")[-2000:]
    raise NotStartedError(f"{url} does not answer; {log} ends with:\n{last_words}")


def _answers(url: str) -> bool:
    # A proxy in the environment is not for a server on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except (OSError, http.client.HTTPException):
        return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End that process, then any worker that outlived it, each by its id."""
    workers = _children(process.pid)
    process.terminate()
    try:
        process.wait(SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for worker in workers:
        if worker.is_running():
            worker.kill()


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
