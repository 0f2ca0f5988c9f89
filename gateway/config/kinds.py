"""What the value of an option may be.

A kind takes one value as JSON gave it, refuses it or turns it into the value that the
rest of the gateway works with. It says in words what it expected, and nothing else: the
name of the option and of its file are added by ``gateway.config.settings``. A kind that
may hold a password refuses without showing what it was given.

Lists become tuples. Objects stay plain dictionaries, which can be sent to another
process; they are only ever handed on as ``Mapping``, which nobody writes to.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Protocol

from gateway.definition import Unusable, definition_of

Network = IPv4Network | IPv6Network

_URL_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")
_TAG = re.compile(r"[A-Za-z][A-Za-z0-9]*|[0-9A-Fa-f]{4}[,-]?[0-9A-Fa-f]{4}")
_LINK = re.compile(r"https?://[^/\s]|\.{0,2}/|weasis:\S", re.IGNORECASE)
_HOST = re.compile(r"[^\s/?#@]*")
_EVERYBODY = (ip_network("0.0.0.0/0"), ip_network("::/0"))
_LEVELS = ("Patient", "Study", "Series", "Instance")
_NOTHING = object()


class Unfit(ValueError):
    """A value that its kind refuses."""

    def __init__(
        self, expected: str, value: object = _NOTHING, inside: str = ""
    ) -> None:
        super().__init__(expected)
        self.expected = expected
        self.inside = inside  # the way from the option to the value, when not itself
        self.secret = value is _NOTHING  # not given, hence not shown
        self.value = value


class Kind(Protocol):
    """What values an option takes."""

    def accept(self, value: object) -> object:
        """The value to work with, or ``Unfit``."""


@dataclass(frozen=True, slots=True)
class Flag:
    """Yes or no."""

    def accept(self, value: object) -> bool:
        """The same value."""
        if not isinstance(value, bool):
            raise Unfit("true or false", value)
        return value


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number."""

    minimum: int = 0
    maximum: int | None = None

    def accept(self, value: object) -> int:
        """The same value."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise Unfit(self._expected(), value)
        if value < self.minimum or (self.maximum is not None and value > self.maximum):
            raise Unfit(self._expected(), value)
        return value

    def _expected(self) -> str:
        if self.maximum is None:
            return f"a whole number of at least {self.minimum}"
        return f"a number from {self.minimum} to {self.maximum}"


@dataclass(frozen=True, slots=True)
class Text:
    """Any string."""

    secret: bool = False

    def accept(self, value: object) -> str:
        """The same value."""
        if isinstance(value, str):
            return value
        if self.secret:
            raise Unfit("a string")
        raise Unfit("a string", value)


@dataclass(frozen=True, slots=True)
class Host:
    """The name of a host, maybe with a port, or nothing."""

    def accept(self, value: object) -> str:
        """The same value."""
        if not isinstance(value, str) or not _HOST.fullmatch(value):
            raise Unfit('a host such as "pacs.example.org:8042"', value)
        return value


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words; upper and lower case do not matter."""

    words: tuple[str, ...]
    true: str | None = None  # the word that an older file says as true
    false: str | None = None

    def accept(self, value: object) -> str:
        """The word as it is spelled in the list."""
        flag = self.true if value is True else self.false if value is False else None
        if flag is not None:
            return flag
        known = {word.lower(): word for word in self.words}
        if not isinstance(value, str) or value.lower() not in known:
            raise Unfit("one of " + ", ".join(f'"{w}"' for w in self.words), value)
        return known[value.lower()]


@dataclass(frozen=True, slots=True)
class Place:
    """A file or a folder; what a relative one starts from is for others to say."""

    optional: bool = False  # an empty string means none

    def accept(self, value: object) -> Path | None:
        """The path as it is written."""
        if self.optional and value == "":
            return None
        if not isinstance(value, str) or not value or "\0" in value:
            raise Unfit("a path", value)
        return Path(value)


@dataclass(frozen=True, slots=True)
class UrlPath:
    """The path of an address, below which something is served."""

    folder: bool  # ends with a slash

    def accept(self, value: object) -> str:
        """The path with a slash before, and one after it if it is a folder."""
        parts = value.split("/") if isinstance(value, str) else [".."]
        if {".", ".."}.intersection(parts) or not _URL_PATH.fullmatch("/".join(parts)):
            raise Unfit('the path of an address, such as "/dicom-web/"', value)
        inner = "/".join(part for part in parts if part)
        return f"/{inner}/" if inner and self.folder else f"/{inner}"


@dataclass(frozen=True, slots=True)
class TextList:
    """A list of strings."""

    def accept(self, value: object) -> tuple[str, ...]:
        """The same strings."""
        return _strings(value, "a list of strings")


@dataclass(frozen=True, slots=True)
class TagList:
    """A list of tags, by keyword or by number; whether they exist is not known here."""

    def accept(self, value: object) -> tuple[str, ...]:
        """The same strings."""
        return _tags(value)


@dataclass(frozen=True, slots=True)
class LevelTags:
    """Lists of tags for the levels of the DICOM model."""

    def accept(self, value: object) -> Mapping[str, tuple[str, ...]]:
        """A list for each level that was given."""
        if not isinstance(value, dict) or not value.keys() <= set(_LEVELS):
            raise Unfit("an object with lists of tags for " + ", ".join(_LEVELS), value)
        return {level: _tags(value[level], level) for level in value}


@dataclass(frozen=True, slots=True)
class Networks:
    """A list of addresses and networks, with ``*`` for everybody."""

    def accept(self, value: object) -> tuple[Network, ...]:
        """The networks; ``*`` becomes the two that hold all addresses."""
        networks: list[Network] = []
        for place, text in enumerate(_strings(value, "a list of networks")):
            try:
                networks += _EVERYBODY if text == "*" else (ip_network(text, False),)
            except ValueError:
                expected = 'a network such as "10.0.0.0/8", or "*" for all,'
                raise Unfit(expected, text, str(place)) from None
        return tuple(networks)


@dataclass(frozen=True, slots=True)
class Users:
    """Names and their passwords."""

    def accept(self, value: object) -> Mapping[str, str]:
        """The same users."""
        users = _string_map(value, "an object of names and passwords")
        # What the environment does not hold becomes an empty string: that must not
        # turn into a user whom everybody can be.
        if not all(name and password for name, password in users.items()):
            raise Unfit("a name and a password, both not empty, for each user")
        return users


@dataclass(frozen=True, slots=True)
class Links:
    """Addresses by the name that people see."""

    def accept(self, value: object) -> Mapping[str, str]:
        """The same addresses."""
        links = _string_map(value, "an object of names and addresses")
        for name, link in links.items():
            if not _LINK.match(link):
                raise Unfit(
                    'an address such as "https://..." or "/ohif/..."', link, name
                )
        return links


@dataclass(frozen=True, slots=True)
class SecurityToken:
    """The module of PKCS#11 that holds a client's key."""

    def accept(self, value: object) -> Mapping[str, object]:
        """The same object."""
        kinds: dict[str, Kind] = {
            "Module": Text(),
            "Pin": Text(True),
            "Verbose": Flag(),
        }
        if not isinstance(value, dict) or not value.keys() <= kinds.keys():
            raise Unfit('an object with "Module", "Pin" and "Verbose"')
        return {name: _inside(kinds[name], value[name], name) for name in value}


@dataclass(frozen=True, slots=True)
class Servers:
    """Remote DICOMweb servers by name, each in the short or the long form."""

    def accept(self, value: object) -> Mapping[str, Mapping[str, object]]:
        """The servers, all in the long form."""
        if not isinstance(value, dict):
            raise Unfit("an object with a server for each name")
        return {name: _server(value[name], name) for name in value}


def _server(value: object, name: str) -> Mapping[str, object]:
    try:
        return definition_of(value)
    except Unusable as error:
        raise Unfit(error.expected, inside=_join(name, error.field)) from None


def _inside(kind: Kind, value: object, inside: str) -> object:
    """Check a value within an option, without ever showing it."""
    try:
        return kind.accept(value)
    except Unfit as error:
        raise Unfit(error.expected, inside=inside) from None


def _strings(value: object, expected: str, inside: str = "") -> tuple[str, ...]:
    if not isinstance(value, list):
        raise Unfit(expected, value, inside)
    for place, item in enumerate(value):
        if not isinstance(item, str) or not item:
            raise Unfit("a string that is not empty", item, _join(inside, str(place)))
    return tuple(value)


def _tags(value: object, inside: str = "") -> tuple[str, ...]:
    tags = _strings(value, "a list of tags", inside)
    for place, tag in enumerate(tags):
        if not _TAG.fullmatch(tag):
            expected = 'a tag such as "PatientID" or "0010,0020"'
            raise Unfit(expected, tag, _join(inside, str(place)))
    return tags


def _string_map(value: object, expected: str, inside: str = "") -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise Unfit(expected, inside=inside)
    for name, text in value.items():
        if not isinstance(text, str):
            raise Unfit("a string", inside=_join(inside, name))
    return dict(value)


def _join(*names: str) -> str:
    return ".".join(name for name in names if name)
