"""What a row has to show at least, and whether it does."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Floor:
    """The least that a row must show, of what it says something about."""

    cpu: float | None = None  # the peer's processor time an item over ours
    wall: float | None = None  # the peer's time over ours
    p99: float | None = None  # seconds, at most
    growth: float | None = None  # bytes of proportional set size, at most
    bandwidth: float | None = None  # bytes a second


NO_FLOOR = Floor()


def said(figure: str, value: float | None, floor: float | None, *, most: bool) -> str:
    """A figure, with its floor and whether it is met; `most` for a ceiling."""
    if floor is None or value is None:
        return figure
    sign = "<=" if most else ">="
    met = value <= floor if most else value >= floor
    return f"{figure} ({sign}{floor:.3g} {'met' if met else 'MISSED'})"
