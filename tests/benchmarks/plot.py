"""The ratios as a picture: one bar for wall time and one for processor time a row."""

import math
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from .report import Row

_LINE, _LEFT, _WIDTH, _TOP = 34, 220, 960, 40  # pixels
_WALL, _CPU, _INK, _FAINT = "#2463a8", "#8db4dc", "#1c1c1c", "#c8c8c8"


def draw(rows: list[Row], path: Path) -> None:
    """Write a PNG of the rows that have a peer; the scale is logarithmic."""
    compared = [row for row in rows if row.wall_ratio and row.cpu_ratio]
    most = max((max(r.wall_ratio or 1, r.cpu_ratio or 1) for r in compared), default=1)
    decades = max(1, math.ceil(math.log10(most)))
    picture = Image.new("RGB", (_WIDTH, _TOP + _LINE * len(compared) + 24), "white")
    draft = ImageDraw.Draw(picture)
    font = ImageFont.load_default(13)
    step = (_WIDTH - _LEFT - 70) / (decades + 1)

    def place(ratio: float) -> float:
        return _LEFT + step * (1 + max(-1.0, math.log10(ratio)))

    title = "times Orthanc's: wall time (dark), processor time (light)"
    draft.text((_LEFT, 4), title, _INK, font)
    for decade in range(-1, decades + 1):
        at = place(10.0**decade)
        draft.line((at, _TOP - 6, at, picture.height - 20), _FAINT)
        draft.text((at - 8, picture.height - 18), f"{10.0**decade:g}", _INK, font)
    for number, row in enumerate(compared):
        top = _TOP + _LINE * number
        name = row.title if row.workers == 1 else f"{row.title} ({row.workers} workers)"
        draft.text((8, top + 5), name, _INK, font)
        for ratio, colour, below in (
            (row.wall_ratio or 1, _WALL, 0),
            (row.cpu_ratio or 1, _CPU, 13),
        ):
            start, stop = sorted((place(1.0), place(ratio)))
            draft.rectangle((start, top + below, stop, top + below + 11), colour)
            draft.text((stop + 4, top + below - 3), f"{ratio:.1f}", _INK, font)
    picture.save(path)
