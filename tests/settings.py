"""Settings for tests: as from a configuration file with these options."""

import json
from pathlib import Path
from typing import Any

from gateway.config.settings import Settings, load


def settings(folder: Path, options: dict[str, Any] | None = None) -> Settings:
    """The settings that a file in the folder with the options gives."""
    given = {"StorageDirectory": "storage", "MinimumFreeSpaceMB": 0, **(options or {})}
    path = folder / "gateway.json"
    path.write_text(json.dumps(given))
    return load([path], {}).settings
