"""A search as one value: what to look for, where, and what to show of it (PS3.18 8.3.4)."""

from dataclasses import dataclass

from gateway.dicom.filters import Filter, Universal
from gateway.dicom.hierarchy import Level


@dataclass(frozen=True, slots=True)
class Sorting:
    """An attribute whose values matches are put in the order of."""

    tag: str
    descending: bool


@dataclass(frozen=True, slots=True)
class Query:
    """What a search asks for."""

    level: Level
    within: tuple[str, ...] = ()  # StudyInstanceUID, SeriesInstanceUID of the address
    filters: tuple[Filter, ...] = ()
    include: frozenset[str] = frozenset()  # tags to show beside the usual ones
    include_all: bool = False
    limit: int | None = None  # matches at most
    offset: int = 0  # matches to pass over
    order: tuple[Sorting, ...] = ()  # the order of arrival, if none
    case_sensitive: bool = False  # of text; names never are unless asked
    case_sensitive_names: bool = False

    def names(self, tag: str) -> bool:
        """Whether the query itself says which value of the attribute it wants."""
        return any(
            f.path == (tag,) and not isinstance(f.match, Universal)
            for f in self.filters
        )

    def shown(self) -> frozenset[str]:
        """The tags to show because they were asked for, as keys or as fields."""
        return self.include | {f.path[0] for f in self.filters}
