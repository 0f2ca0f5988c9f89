"""Flushes that take as long as on the disks of a hospital, for both servers alike.

The disk of a virtual machine may flush in a fifth of a millisecond. That flatters the
server that flushes most often: on a disk that turns, or behind a network, each flush
takes several.
"""

import os
import shutil
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("flush.c")
_NAME = "flush.so"


class NoCompilerError(Exception):
    """The library that slows flushes down can't be made on this machine."""


def library(folder: Path) -> Path:
    """The library, compiled into the folder."""
    made = folder.resolve() / _NAME
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(made), str(_SOURCE), "-ldl"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise NoCompilerError("--flush needs a C compiler, as cc") from error
    except subprocess.CalledProcessError as error:
        raise NoCompilerError(f"cc: {error.stderr}") from error
    return made


def environment(made: Path, milliseconds: float, folder: Path) -> dict[str, str]:
    """The environment of a server whose flushes take at least so long.

    The library is also put in the server's folder, which is all that it sees of this
    machine when it lives in a chroot: there it is known as /srv. One of the two is never
    there, and the loader says so in the server's log.
    """
    folder.mkdir(exist_ok=True)
    shutil.copyfile(made, folder / _NAME)
    preload = f"{made} /srv/{_NAME}"
    return os.environ | {
        "LD_PRELOAD": preload,
        "BENCHMARK_FLUSH_MS": str(milliseconds),
    }
