"""How Sphinx builds the manual; ``python -m sphinx docs FOLDER`` does it.

Its pages are served by the gateway itself, with a Content-Security-Policy that lets
nothing run and nothing look otherwise than by files of its own.
"""

import configparser
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

_setup = configparser.ConfigParser(interpolation=None)
_setup.read(HERE.parent / "setup.cfg")

project = "dicomweb-gateway"
version = release = _setup["metadata"]["version"]
language = "en"

extensions = ["configuration_options", "strict_pages"]
exclude_patterns = ["_static"]
nitpicky = True
highlight_language = "none"
pygments_style = "friendly"

html_theme = "alabaster"
html_title = "dicomweb-gateway"
html_favicon = "../gateway/ui/icon.svg"
html_static_path = ["_static"]
html_theme_options = {
    "description": "The manual",
    "page_width": "70rem",
    "sidebar_width": "15rem",
    "fixed_sidebar": False,
    "show_powered_by": False,
    "font_family": 'system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif',
    "head_font_family": 'system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif',
}
html_sidebars = {"**": ["about.html", "searchbox.html", "navigation.html"]}
html_copy_source = False
html_show_copyright = False
