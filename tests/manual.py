"""The manual, built once for all processes of a test run."""

import fcntl
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
DOCS = CHECKOUT / "docs"


def built(shared: Path) -> Path:
    """The folder of the pages; whoever comes first builds them, the others wait.

    `shared` is a folder of this run. A warning fails who meets it.
    """
    pages = shared / "manual"
    told = shared / "manual.log"
    with (shared / "manual.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            strict = ("-q", "-n", "-W", "--keep-going", "-d", str(shared / "doctrees"))
            made = subprocess.run(
                [sys.executable, "-m", "sphinx", *strict, str(DOCS), str(pages)],
                capture_output=True,
                text=True,
                check=False,
            )
            words = made.stdout + made.stderr
            told.write_text(words or f"{made.returncode or ''}")
    assert not told.read_text(), told.read_text()
    return pages
