"""What the service manager is told, on a real socket; and the unit that it is given."""

import configparser
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.telemetry.notify import ServiceManager
from tests.settings import settings
from tests.starting import CHECKOUT, announced, get

UNIT = CHECKOUT / "conf/dicomweb-gateway.service"


class Listener:
    """A service manager's end of the socket."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1))
        self.heard: list[str] = []

    def wait_for(self, state: str, seconds: float = 10) -> None:
        """Return once the state was told, from now on."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            with contextlib.suppress(TimeoutError):
                states = self.socket.recv(4096).decode().split("\n")
                self.heard += states
                if state in states:
                    return
        raise AssertionError(f"{state} was not told, but {self.heard}")

    def is_silent(self, seconds: float) -> bool:
        self.socket.settimeout(seconds)
        try:
            self.heard += self.socket.recv(4096).decode().split("\n")
        except TimeoutError:
            return True
        return False


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    address = str(tmp_path / "notify")
    made = Listener(address)
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    yield made
    made.socket.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_the_manager_learns_when_it_serves_and_when_it_ends(
    tmp_path: Path, listener: Listener, workers: int
) -> None:
    settings(tmp_path)
    with announced(tmp_path, "--workers", str(workers)) as server:
        listener.wait_for("READY=1")
        assert get(f"http://127.0.0.1:{server.port}/health/ready").status == 200
        server.process.send_signal(signal.SIGHUP)
        listener.wait_for("RELOADING=1")
        assert any(state.startswith("MONOTONIC_USEC=") for state in listener.heard)
        listener.wait_for("READY=1")
        assert "WATCHDOG=1" not in listener.heard
        server.process.terminate()
        listener.wait_for("STOPPING=1")
        assert server.process.wait(10) == 0


@pytest.mark.slow
def test_the_watchdog_is_fed_only_while_every_worker_is_well(
    tmp_path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings(tmp_path)
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    with announced(tmp_path, "--workers", "2") as server:
        listener.wait_for("READY=1")
        for _ in range(3):
            listener.wait_for("WATCHDOG=1")
        stuck = server.workers()[0]
        stuck.suspend()
        try:
            time.sleep(0.8)
            while not listener.is_silent(0.01):
                pass
            assert listener.is_silent(0.8)
        finally:
            stuck.resume()
        listener.wait_for("WATCHDOG=1")


def test_the_watchdog_of_another_process_is_none_of_ours() -> None:
    environment = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "2000000"}
    assert ServiceManager.of(environment, 7).watchdog == 2.0
    assert ServiceManager.of({**environment, "WATCHDOG_PID": "7"}, 7).watchdog == 2.0
    assert ServiceManager.of({**environment, "WATCHDOG_PID": "8"}, 7).watchdog == 0
    for wrong in ("", "soon", "-1"):
        made = ServiceManager.of({**environment, "WATCHDOG_USEC": wrong}, 7)
        assert made.watchdog == 0


@pytest.mark.parametrize("address", ["", "run/relative", "vsock:2:1"])
def test_what_is_no_socket_here_is_left_alone(address: str) -> None:
    manager = ServiceManager.of({"NOTIFY_SOCKET": address}, 1)
    assert manager.address is None
    manager.tell("READY=1")


def test_a_name_that_is_in_no_folder_can_be_told_too() -> None:
    address = f"@gateway-test-{os.getpid()}"
    listener = Listener(address)
    try:
        ServiceManager(address, 0).tell("READY=1", "STATUS=well")
        listener.wait_for("READY=1")
        assert listener.heard == ["READY=1", "STATUS=well"]
    finally:
        listener.socket.close()


def test_a_manager_that_is_gone_is_no_trouble(tmp_path: Path) -> None:
    ServiceManager(str(tmp_path / "gone"), 0).tell("READY=1")


# -- the unit ----------------------------------------------------------------------------


class Unit(configparser.RawConfigParser):
    """A unit of systemd: names may repeat, upper and lower case matter."""

    optionxform = staticmethod(str)  # type: ignore[assignment]


def test_the_unit_fits_what_the_server_does() -> None:
    unit = Unit(strict=False)
    unit.read_string(UNIT.read_text())
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert service["NotifyAccess"] == "main"
    assert service["ExecReload"].endswith("kill -HUP $MAINPID")
    assert int(service["TimeoutStopSec"]) > 30
    assert service["KillMode"] == "mixed"
    assert service["NoNewPrivileges"] == "true"
    assert service["ProtectSystem"] == "strict"
    assert service["StateDirectory"] == "dicomweb-gateway"


def test_systemd_has_nothing_to_say_against_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not here")
    program = "/opt/dicomweb-gateway/bin/dicomweb-gateway"
    text = UNIT.read_text()
    assert program in text
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace(program, sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # Units of the machine itself may have their faults.
    ours = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert ours == []
