"""OHIF as a hospital serves it: static files, and a configuration of its own."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests import npm

VERSION = "3.13.2"


def configuration(root: str, thumbnails: str) -> bytes:
    """app-config.js for the DICOMweb service with this root."""
    source = {
        "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
        "sourceName": "gateway",
        "configuration": {
            "friendlyName": "gateway",
            "name": "gateway",
            "wadoUriRoot": root,
            "qidoRoot": root,
            "wadoRoot": root,
            "qidoSupportsIncludeField": True,
            "imageRendering": "wadors",
            "thumbnailRendering": thumbnails,
            "enableStudyLazyLoad": True,
            "supportsFuzzyMatching": True,
            "supportsWildcard": True,
            "bulkDataURI": {"enabled": True},
        },
    }
    config = {
        "routerBasename": "/",
        "extensions": [],
        "modes": [],
        "customizationService": {},
        "showStudyList": True,
        "showCPUFallbackMessage": False,
        "investigationalUseDialog": {"option": "never"},
        "maxNumberOfWebWorkers": 2,
        "defaultDataSourceName": "gateway",
        "dataSources": [source],
    }
    return f"window.config = {json.dumps(config, indent=2)};\n".encode()


class _Handler(SimpleHTTPRequestHandler):
    """Files; and where there is none, the page, which reads the address itself."""

    root = ""  # of the DICOMweb service, once that runs
    thumbnails = ""  # how it gets them from there

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/app-config.js":
            body = configuration(type(self).root, type(self).thumbnails)
            self.send_response(200)
            self.send_header("Content-Type", "text/javascript")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        if not Path(self.translate_path(path)).is_file():
            self.path = "/index.html"
        super().do_GET()

    def log_message(self, *words: Any) -> None:
        """Say nothing."""


class Site:
    """Where the viewer is; it shows the service once it is told the root of it."""

    def __init__(self, url: str, handler: type[_Handler]) -> None:
        self.url = url
        self._handler = handler

    def show(self, root: str, thumbnails: str = "thumbnail") -> None:
        """Show what the service with this root holds.

        Services without thumbnails have them made by the viewer: "wadors".
        """
        self._handler.root = root
        self._handler.thumbnails = thumbnails


@contextmanager
def viewer() -> Iterator[Site]:
    """Serve OHIF on a port of this machine."""
    files = npm.unpacked("@ohif/app", VERSION) / "dist"
    handler = type("Handler", (_Handler,), {})
    make = partial(handler, directory=str(files))
    with ThreadingHTTPServer(("127.0.0.1", 0), make) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield Site(f"http://127.0.0.1:{server.server_port}", handler)
        server.shutdown()
        thread.join()
