"""What is to be fetched of a study: what the remote holds, less what is held here.

A remote that can be searched says which instances it has, so that only those that lack
are fetched, and so that we know at the end whether all of them came. One that cannot is
asked for the whole.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.dicom.hierarchy import Level, first_text, is_uid
from gateway.errors import BadRequest, RemoteFailure
from gateway.remote.client import DicomWebClient

#: Matches asked for at a time: they are held whole, some kilobytes each.
PAGE = 250

#: What a server says that is too busy now; None if it says nothing.
_LATER = (None, 429, 503)

#: Instances of one resource at most; nobody has a study of so many.
MOST = 1_000_000

_ADDRESS = re.compile(
    r"/*studies/+(?P<Study>[0-9.]{1,64})(/+series/+(?P<Series>[0-9.]{1,64})"
    r"(/+instances/+(?P<Instance>[0-9.]{1,64}))?)?/*"
)
_LEVELS = ("Study", "Series", "Instance")


@dataclass(frozen=True, slots=True)
class Resource:
    """A study, a series or an instance of a remote server."""

    uids: tuple[str, ...]  # from the study down as far as it goes

    @property
    def path(self) -> str:
        """Its path at the remote (PS3.18 10.1)."""
        names = ("studies", "series", "instances")
        pairs = zip(names, self.uids, strict=False)
        return "".join(f"/{name}/{uid}" for name, uid in pairs)

    @property
    def level(self) -> Level:
        """Which of the three it is."""
        return Level(len(self.uids))

    def fields(self) -> dict[str, str]:
        """It as clients name it."""
        return dict(zip(_LEVELS, self.uids, strict=False))


def resource_of(fields: object) -> Resource:
    """The resource that `{"Study": ..., "Series": ..., "Instance": ...}` names.

    Raises BadRequest.
    """
    if not isinstance(fields, Mapping):
        raise BadRequest('Resources: an object with "Study" is expected for each')
    uids: list[str] = []
    for place, level in enumerate(_LEVELS):
        uid = fields.get(level)
        if uid in (None, ""):
            continue
        if not isinstance(uid, str) or not is_uid(uid):
            raise BadRequest(f"Resources: {level} is not a UID")
        if len(uids) < place:
            raise BadRequest(f"Resources: {_LEVELS[len(uids)]} is missing")
        uids.append(uid)
    if not uids:
        raise BadRequest("Resources: Study is missing")
    return Resource(tuple(uids))


def resource_at(uri: str) -> Resource | None:
    """The resource that a path names, if it names one."""
    found = _ADDRESS.fullmatch(uri)
    if found is None:
        return None
    return Resource(tuple(uid for uid in found.group(*_LEVELS) if uid))


#: Series and SOP Instance UID.
Name = tuple[str, str]


async def listed(
    client: DicomWebClient, resource: Resource, headers: Mapping[str, str]
) -> set[Name] | None:
    """The instances that the remote has of the resource; None if it cannot say.

    Raises RemoteFailure if it may be able to say later.
    """
    if resource.level is Level.INSTANCE:
        return {(resource.uids[1], resource.uids[2])}
    found: set[Name] = set()
    offset = 0
    while len(found) < MOST:
        try:
            page = await client.query(
                f"{resource.path}/instances",
                {
                    "includefield": "0020000E",
                    "limit": str(PAGE),
                    "offset": str(offset),
                },
                headers=headers,
            )
        except RemoteFailure as failure:
            if failure.retry and failure.status in _LATER:
                raise
            return None  # many that give files cannot be searched, and say so oddly
        before = len(found)
        for match in page:
            name = _name(match, resource)
            if name is None:
                return None
            found.add(name)
        # Some give all at once, whatever the limit, or the same again and again.
        if len(found) == before:
            return found
        offset += len(page)
    return None


def _name(match: dict[str, Any], resource: Resource) -> Name | None:
    try:
        series = resource.uids[1:2] or (first_text(match, "0020000E"),)
        uid = first_text(match, "00080018")
    except (AttributeError, TypeError, KeyError, IndexError):
        return None
    return (series[0], uid) if is_uid(series[0]) and is_uid(uid) else None


@dataclass(frozen=True, slots=True)
class Fetch:
    """One request, and the instances that it is to bring."""

    resource: Resource
    expected: frozenset[Name]


def plan(resource: Resource, there: set[Name], missing: set[Name]) -> list[Fetch]:
    """As few requests as bring what is missing and nothing else."""
    if missing == there:
        return [Fetch(resource, frozenset(missing))]
    study = resource.uids[0]
    fetches = []
    for series, names in _by_series(missing).items():
        if names == {name for name in there if name[0] == series}:
            fetches.append(Fetch(Resource((study, series)), frozenset(names)))
        else:
            fetches += singly(study, names)
    return fetches


def singly(study: str, names: Iterable[Name]) -> list[Fetch]:
    """A request for each instance."""
    return [
        Fetch(Resource((study, *name)), frozenset({name})) for name in sorted(names)
    ]


def _by_series(names: Iterable[Name]) -> dict[str, set[Name]]:
    found: dict[str, set[Name]] = defaultdict(set)
    for name in sorted(names):
        found[name[0]].add(name)
    return found
