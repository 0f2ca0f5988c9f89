"""Where a request goes: below the address of its server, and nowhere else."""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote, unquote, urlsplit

from yarl import URL

from gateway.errors import BadRequest

#: Pairs keep their order and may repeat a key; a mapping is sorted by its keys. A text is
#: a query as it came.
Arguments = Mapping[str, str] | Sequence[tuple[str, str]] | str

_LONGEST = 200  # characters of an address in a message
_IN_PATH = "/%:@!$&'()*+,;=-._~"  # what a path may hold as it is


def address(base: str, path: str, arguments: Arguments = ()) -> URL:
    """The address of a resource; raises BadRequest for a path that leads elsewhere."""
    if "?" in path:
        raise BadRequest('"Uri" has a question mark: what follows goes to "Arguments"')
    if re.search(r"[\x00-\x1f\x7f\\]", path):
        raise BadRequest('"Uri" has a character that a path cannot have')
    segments = [segment for segment in path.split("/") if segment]
    if any(unquote(segment) in (".", "..") for segment in segments):
        raise BadRequest('"Uri" goes up and down by "." or ".."')
    scheme, _, place = base.partition("://")
    end = "/" if path.endswith("/") or not segments else ""
    place = re.sub("/+", "/", f"{place}/{'/'.join(segments)}{end}")
    joined = f"{scheme.lower()}://{quote(place, safe=_IN_PATH + '[]')}"
    query = query_of(arguments)
    return URL(f"{joined}?{query}" if query else joined, encoded=True)


def query_of(arguments: Arguments) -> str:
    """The query of an address; an empty value leaves its key alone."""
    if isinstance(arguments, str):
        return arguments
    if isinstance(arguments, Mapping):
        return query_of(sorted(arguments.items()))
    return "&".join(
        f"{_escaped(key)}={_escaped(value)}" if value else _escaped(key)
        for key, value in arguments
    )


def shown(url: URL | str) -> str:
    """An address for people: its query may name patients, its user be a secret."""
    try:
        parts = urlsplit(str(url))
    except ValueError:
        return "an address that cannot be read"
    place = parts.netloc.rpartition("@")[2]
    text = f"{parts.scheme}://{place}{parts.path}" if place else parts.path
    return re.sub(r"[\x00-\x20\x7f\ud800-\udfff]", "?", text)[:_LONGEST]


def redirected(url: URL, location: str) -> URL | None:
    """Where a redirect leads; None if credentials may not go there."""
    try:
        target = url.join(URL(location, encoded=True)).with_user(None)
    except ValueError:
        return None
    if target.host != url.host:
        return None
    upgrade = url.scheme == "http" and target.scheme == "https"
    same = target.scheme == url.scheme and target.port == url.port
    return target.with_fragment(None) if same or upgrade else None


def _escaped(text: str) -> str:
    return quote(text, safe="")
