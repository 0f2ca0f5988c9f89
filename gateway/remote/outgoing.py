"""What holds for every request to another server, wherever it goes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from yarl import URL

from gateway.errors import BadConfiguration


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The options of the configuration that are not of one server."""

    http_timeout: float = 60.0  # seconds of silence that end a request; 0: no limit
    http_proxy: str = field(default="", repr=False)  # "user:password@host:port"
    verify_peers: bool = True  # certificates of others are checked
    ca_certificates: Path | None = None  # None: as the operating system says
    pkcs11: Mapping[str, object] = field(default_factory=dict, repr=False)
    verbose: bool = False  # each request has a line in the log

    def proxy(self) -> URL | None:
        """The address of the proxy, if there is one; raises BadConfiguration."""
        if not self.http_proxy:
            return None
        text = self.http_proxy
        try:
            url = URL(text if "://" in text else f"http://{text}")
        except ValueError:
            url = URL()
        if not url.host or url.explicit_port is None or url.path not in ("", "/"):
            expected = '"host:port" or "user:password@host:port" is expected'
            raise BadConfiguration(f'"HttpProxy" is not usable: {expected}')
        return url
