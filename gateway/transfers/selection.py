"""What is to be sent: instances, chosen by Orthanc's identifiers of any level."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from gateway.archive import Archive
from gateway.errors import NotFound
from gateway.storage.holdings import Member

#: Identifiers of instances that a job's content lists; of more there is the number.
MOST_LISTED = 10_000

_INSTANCES = "Instances"


@dataclass(slots=True)
class Selection:
    """The instances, each once, in the order in which they are sent."""

    given: dict[str, list[str]] = field(default_factory=dict)  # by level, as named
    instances: list[str] = field(default_factory=list)  # Orthanc's identifiers
    size: int = 0  # bytes of all of them

    def resources(self) -> dict[str, list[str]]:
        """What the content of a job shows of it."""
        shown = {**self.given, _INSTANCES: self.instances}
        return {kind: names[:MOST_LISTED] for kind, names in shown.items()}


async def select(archive: Archive, identifiers: Sequence[str]) -> Selection:
    """The instances below the identifiers; raises NotFound for one that is unknown."""
    kinds = await archive.holdings.kinds(identifiers)
    selection = Selection()
    seen: set[str] = set()
    for identifier in identifiers:
        if identifier not in kinds:
            raise NotFound(f"nothing here has the identifier {identifier[:80]!r}")
        kind, size = kinds[identifier]
        selection.given.setdefault(kind, []).append(identifier)
        async with aclosing(_below(archive, identifier, kind, size)) as members:
            async for member in members:
                if member.orthanc_id not in seen:
                    seen.add(member.orthanc_id)
                    selection.instances.append(member.orthanc_id)
                    selection.size += member.size
    return selection


async def _below(
    archive: Archive, identifier: str, kind: str, size: int
) -> AsyncGenerator[Member, None]:
    if kind == _INSTANCES:
        yield Member(identifier, size)
        return
    async with aclosing(archive.holdings.below(kind, identifier)) as groups:
        async for group in groups:
            for member in group:
                yield member
