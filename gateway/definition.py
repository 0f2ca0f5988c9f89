"""What the definition of a remote server may say.

It comes in the configuration and by REST, and both are held to the same: one of the
short forms of Orthanc, or an object whose names Orthanc knows, or this gateway alone, or
that a user chose freely. What comes out is always the long form. No message holds a
value, as most of them could be secrets; where the value stands is told apart, for
whoever knows what to call it.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

_FORMS = '["url"], ["url", "user", "password"] or an object with "Url"'
_URL = 'an address that starts with "http://" or "https://"'
_FLAG_WORDS = {"true": True, "1": True, "false": False, "0": False}
_IN_A_TOKEN = "pkcs11:"  # how a URI starts that names a key in the place of a file
_FILES = ("CertificateFile", "CertificateKeyFile", "ServiceAccountFile")
_OAUTH2 = (
    *("GrantType", "TokenUrl", "ClientId", "ClientSecret", "Scope", "Audience"),
    *("ServiceAccountFile", "ClientAuthentication", "Subject", "Resource"),
)


class Unusable(ValueError):
    """A definition that cannot be used: what was expected, and of which field."""

    def __init__(self, expected: str, field: str = "") -> None:
        super().__init__(expected)
        self.expected = expected
        self.field = field  # empty: the definition itself


def definition_of(value: object) -> dict[str, object]:
    """The definition in the long form, every field checked; raises Unusable."""
    if isinstance(value, list | tuple) and len(value) in (1, 3):
        names = ("Url", "Username", "Password")
        value = dict(zip(names, value, strict=False))
    if not isinstance(value, Mapping):
        raise Unusable(_FORMS)
    given = {"Url" if key == "URL" else key: value[key] for key in value}
    if len(given) != len(value):
        raise Unusable('either "Url" or "URL"')
    fields = _with_url({key: _field(key, given[key]) for key in given})
    if "Password" in fields and "Username" not in fields:
        raise Unusable('"Username" beside "Password"')
    return fields


def placed(fields: Mapping[str, object], folder: Path) -> dict[str, object]:
    """The definition with its relative paths starting from this folder."""
    return {
        key: placed(value, folder)
        if isinstance(value, Mapping)
        else str(folder / str(value))
        if key in _FILES and value and not str(value).startswith(_IN_A_TOKEN)
        else value
        for key, value in fields.items()
    }


def _with_url(fields: dict[str, object]) -> dict[str, object]:
    """Take a name and a password out of the address, which is shown to people."""
    url = fields.get("Url")
    if not isinstance(url, str) or not re.match(r"https?://[^/]", url, re.IGNORECASE):
        raise Unusable(_URL, "Url")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise Unusable(_URL, "Url") from None
    if not host or re.search(r"[\s\\?#\x00-\x1f\x7f]", url):
        raise Unusable(f"{_URL}, without blanks, question mark and fragment", "Url")
    if not host.isascii():
        raise Unusable(f"{_URL} and a host in ASCII (xn--...)", "Url")
    login, at, place = parts.netloc.rpartition("@")
    if not at:
        return fields
    name, colon, password = login.partition(":")
    found = {"Username": unquote(name)}
    if colon:
        found["Password"] = unquote(password)
    return {**found, **fields, "Url": parts._replace(netloc=place).geturl()}


def _field(key: str, value: object) -> object:
    """A field that is known, or a property that the user may name freely."""
    known = _KNOWN.get(key)
    if known is not None:
        return known(key, value)
    if not isinstance(value, str | bool | int):
        raise Unusable("a string, a whole number, true or false", key)
    return value


def _text(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise Unusable("a string", key)
    return value


def _flag(key: str, value: object) -> bool:
    flag = _FLAG_WORDS.get(str(value).lower())
    if flag is None or not isinstance(value, str | bool | int):
        raise Unusable("true or false", key)
    return flag


def _whole(key: str, value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:18])
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Unusable("a whole number of at least 0", key)
    return value


def _seconds(key: str, value: object) -> int:
    if isinstance(value, str):
        raise Unusable("a whole number of at least 0", key)
    return _whole(key, value)


def _header_map(key: str, value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise Unusable("an object of names and values", key)
    for name, text in value.items():
        if not isinstance(text, str) or re.search(r"[\x00\r\n]", text):
            raise Unusable("a string of one line", f"{key}.{name}")
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise Unusable("names of headers", key)
    return dict(value)


def _oauth2(key: str, value: object) -> dict[str, str]:
    if not isinstance(value, Mapping) or not value.keys() <= set(_OAUTH2):
        raise Unusable("an object with some of " + ", ".join(_OAUTH2), key)
    for name, text in value.items():
        if not isinstance(text, str):
            raise Unusable("a string", f"{key}.{name}")
    if value.get("TokenUrl"):
        _check_token_url(value["TokenUrl"], f"{key}.TokenUrl")
    return dict(value)


def _check_token_url(url: str, field: str) -> None:
    """Raise Unusable for an address that nobody could post to, or that holds a login."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise Unusable(_URL, field) from None
    if parts.scheme not in ("http", "https") or not host:
        raise Unusable(_URL, field)
    if "@" in parts.netloc or re.search(r"[\s\\\x00-\x1f\x7f]", url):
        raise Unusable(f"{_URL}, without blanks, user and password", field)


_KNOWN: dict[str, Callable[[str, object], object]] = {
    "Url": _text,
    "Username": _text,
    "Password": _text,
    "CertificateFile": _text,
    "CertificateKeyFile": _text,
    "CertificateKeyPassword": _text,
    "Pkcs11": _flag,
    "Timeout": _seconds,
    "HttpHeaders": _header_map,
    "HasDelete": _flag,
    "ChunkedTransfers": _flag,
    "HasWadoRsUniversalTransferSyntax": _flag,
    "StowMaxInstances": _whole,
    "StowMaxSize": _whole,
    "Cache": _flag,
    "OAuth2": _oauth2,
}
