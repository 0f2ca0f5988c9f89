"""What we sent as a secret, kept out of what we say of an answer.

Servers like to tell what they got, most of all on pages that say what went wrong with
it. A part of such a page becomes a message, a job's failure and a line in the log.
"""

import base64
import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

HIDDEN = "(hidden)"

#: Headers that hold no secret, and whose values are words that any answer may have.
_HARMLESS = frozenset(
    {
        *("accept", "accept-charset", "accept-encoding", "accept-language"),
        *("cache-control", "content-length", "content-type", "if-match"),
        *("if-modified-since", "if-none-match", "if-range", "if-unmodified-since"),
        *("range", "user-agent", "via"),
    }
)
#: Shorter ones are in words of all kinds: the gaps would tell them (characters).
_SHORTEST = 4


def secrets_of(headers: Mapping[str, str]) -> tuple[str, ...]:
    """What of the headers of a request nobody else may see."""
    found: list[str] = []
    for name, value in headers.items():
        lower = name.lower()
        if lower in ("authorization", "proxy-authorization"):
            found += [value, *_credentials(value)]
        elif lower not in _HARMLESS:
            found.append(value)
    return tuple(secret for secret in found if len(secret) >= _SHORTEST)


def hide(text: str, secrets: Sequence[str]) -> str:
    """The text without the secrets, in whatever way they are written."""
    forms = {form for secret in secrets for form in _forms(secret)}
    if not forms:
        return text
    longest_first = sorted(forms, key=lambda form: (-len(form), form))
    return re.sub("|".join(map(re.escape, longest_first)), HIDDEN, text)


def _credentials(value: str) -> Iterator[str]:
    """What follows the scheme, and the password in it (RFC 7617 2)."""
    scheme, _, credentials = value.strip().partition(" ")
    yield credentials.strip()
    if scheme.lower() != "basic":
        return
    try:
        login = base64.b64decode(credentials.strip(), validate=True).decode()
    except ValueError:
        return
    yield login
    yield login.partition(":")[2]


def _forms(secret: str) -> Iterator[str]:
    """A secret as pages and programs write it."""
    yield secret
    yield html.escape(secret)
    yield quote(secret, safe="")
    yield json.dumps(secret)[1:-1]
    yield base64.b64encode(secret.encode("utf-8", "replace")).decode()
