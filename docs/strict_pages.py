"""Pages that need no scripts and no styles but those in files.

Sphinx and its themes write some into the pages themselves: the widths of columns, the
look of the index, the line that shows the search box to those who have scripts. The
gateway's Content-Security-Policy forbids them, and a browser would report each. All of
them can be done without.

Readers of screens need some words more than Sphinx writes: the level of a heading that is
none to HTML, and a way for the keyboard into what scrolls.
"""

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

_STYLE = re.compile(r'(<[a-z][^<>]*?) style="[^"]*"')
_HEADING = re.compile(r'role="heading"(?! aria-level)')
_SCROLLS = re.compile(r'<(pre|table class="[^"]*docutils[^"]*")>')
_SCRIPT = re.compile(r"<script>.*?</script>", re.DOTALL)


def strict(page: str) -> str:
    """The page without them."""
    page = _SCRIPT.sub("", _STYLE.sub(r"\1", page))
    page = _HEADING.sub('role="heading" aria-level="2"', page)
    return _SCROLLS.sub(r'<\1 tabindex="0">', page)


def _finish(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        for file in Path(app.outdir).glob("*.html"):
            file.write_text(strict(file.read_text(encoding="utf-8")), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Ask Sphinx to be called when the pages are there."""
    app.connect("build-finished", _finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
