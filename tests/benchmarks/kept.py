"""What is made once in a folder, and there from then on.

It is written beside its place and moved there when complete: a run that was interrupted
leaves nothing that a later one would take for whole.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def kept(folder: Path, write: Callable[[Path], None]) -> Path:
    """The folder, written now if it is not there."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=folder.parent))
        write(beside)
        os.replace(beside, folder)
    return folder
