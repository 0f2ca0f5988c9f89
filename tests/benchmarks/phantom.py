"""Slices of a CT of nobody: a trunk of ellipses, as a scanner would show it.

What a picture costs depends on what is in it: noise over the whole range takes an
encoder several times as long as a body with air around it. Here are skin and fat,
muscle, bones, lungs with vessels, heart, liver and bowel, which change smoothly from
slice to slice, behind the blur and the noise of a scanner. Values are Hounsfield units
(HU), places and sizes millimetres from the middle of the slice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float32]

FIELD = 347.65625  # side of a slice (mm)
INTERCEPT = -1024  # HU of the stored value 0, with a slope of 1
_LARGEST = 4095  # stored value of 12 bits

#: HU of what is in the trunk and around it, with a contrast agent in the vessels.
AIR, LUNG, FAT, MUSCLE = -1000, -860, -105, 55
_HEART, _LIVER, _SPLEEN, _KIDNEY, _VESSEL, _BOWEL = 130, 110, 120, 170, 165, 35
_CORTEX, _MARROW, _DISC, _TABLE = 750, 220, 90, -650

#: Standard deviation of the noise (HU), and how much of it the blur leaves.
NOISE = 15.0
_LEFT = 3 / 8

_RIBS, _VESSELS_OF_LUNG, _VESSELS_OF_LIVER, _LOOPS = 10, 30, 8, 14


@dataclass(frozen=True, slots=True)
class Ellipse:
    """Something that lies over what comes before it."""

    across: float  # of the centre, to the right
    down: float  # of the centre
    width: float  # from the centre to the edge
    height: float
    value: float  # HU


def stored(number: int, count: int, side: int = 512) -> bytes:
    """The pixels of one of so many slices from neck to hip, always the same for it."""
    generator = np.random.default_rng(number)
    found = generator.standard_normal((side, side), np.float32)
    found *= NOISE / _LEFT
    found += body(number / count, side)
    _blur(found)
    np.rint(found - INTERCEPT, out=found)
    return np.clip(found, 0, _LARGEST).astype("<u2").tobytes()


def body(place: float, side: int) -> Values:
    """What there is at a place from 0 (neck) to 1 (hip), without blur and noise."""
    found = np.full((side, side), AIR, np.float32)
    for ellipse in _ellipses(place):
        _draw(found, ellipse)
    return found


def _draw(values: Values, one: Ellipse) -> None:
    columns, across = _within(len(values), one.across, one.width)
    rows, down = _within(len(values), one.down, one.height)
    values[rows, columns][(down * down)[:, None] + across * across <= 1] = one.value


def _within(side: int, centre: float, reach: float) -> tuple[slice, Values]:
    """The pixels along a side that something reaches, and where it is 1 away from them."""
    places = ((np.arange(side, dtype=np.float32) + 0.5) / side - 0.5) * FIELD
    start, stop = np.searchsorted(places, (centre - reach, centre + reach))
    return slice(start, stop), (places[start:stop] - centre) / reach


def _blur(values: Values) -> None:
    """By (1 2 1)/4 both ways: a usual kernel leaves nothing as fine as a pixel."""
    for turned in (values, values.T):
        turned[1:-1] = (turned[:-2] + turned[1:-1] * 2 + turned[2:]) / 4


# -- anatomy -----------------------------------------------------------------------------


def _ellipses(place: float) -> Iterator[Ellipse]:
    width = 158 + 8 * sin(pi * place)
    height = 112 + 8 * sin(2 * pi * place)
    yield Ellipse(0, 240, 195, 120, _TABLE)
    yield Ellipse(0, 244, 195, 120, AIR)
    yield Ellipse(0, 0, width, height, FAT)
    yield Ellipse(0, 0, width - 14, height - 12, MUSCLE)
    yield from _ribs(place, width - 18, height - 16)
    if place < 0.6:
        yield from _chest(place / 0.6)
    else:
        yield from _belly((place - 0.6) / 0.4)
    yield from _spine(place)
    yield Ellipse(16, 29, 11, 11, _VESSEL)  # the aorta


def _ribs(place: float, width: float, height: float) -> Iterator[Ellipse]:
    """They run down and forward: slices meet each a little further round."""
    for rib in range(_RIBS):
        angle = 2 * pi * (rib / _RIBS + place * 2)
        across, down = width * cos(angle), height * sin(angle)
        yield Ellipse(across, down, 10, 7, _CORTEX)
        yield Ellipse(across, down, 7, 4, _MARROW)


def _chest(place: float) -> Iterator[Ellipse]:
    size = sin(pi * (0.15 + 0.8 * place))
    for side in (-78, 78):
        yield Ellipse(side, -4, 60 * size + 4, 78 * size + 4, LUNG)
        for vessel in range(_VESSELS_OF_LUNG):
            out = (vessel / _VESSELS_OF_LUNG) ** 0.5
            across, down = _turned(vessel, place * 6, 55 * size * out, 72 * size * out)
            radius = 5 - 4 * out
            yield Ellipse(side + across, down - 4, radius, radius, MUSCLE)
    heart = sin(pi * place)
    yield Ellipse(12, -25, 20 + 29 * heart, 16 + 29 * heart, MUSCLE)
    yield Ellipse(12, -25, 12 + 25 * heart, 8 + 25 * heart, _HEART)
    yield Ellipse(0, 0, 9, 7, AIR)  # the windpipe


def _belly(place: float) -> Iterator[Ellipse]:
    yield Ellipse(0, -8, 136, 84, FAT)
    size = cos(pi / 2 * place)
    yield Ellipse(-66, -20, 66 * size + 4, 66 * size + 4, _LIVER)
    yield Ellipse(94, 8, 33 * size + 4, 41 * size + 4, _SPLEEN)
    for vessel in range(_VESSELS_OF_LIVER):
        across, down = _turned(vessel, place * 3, 37 * size, 37 * size)
        yield Ellipse(across - 66, down - 20, 3, 3, _VESSEL)
    kidney = sin(pi * place)
    for side in (-57, 57):
        yield Ellipse(side, 41, 20 * kidney + 2, 25 * kidney + 2, _KIDNEY)
    for loop in range(_LOOPS):
        out = loop / _LOOPS
        across, down = _turned(loop, place * 4, 82 * out, 41 * out)
        yield Ellipse(across + 20, down - 41, 13, 11, _BOWEL)
        if loop % 3 == 0:
            yield Ellipse(across + 20, down - 44, 7, 5, AIR)


def _turned(one: int, turn: float, across: float, down: float) -> tuple[float, float]:
    """Where the next of several lies on its way round."""
    return across * cos(one * 2.4 + turn), down * sin(one * 2.4 + turn)


def _spine(place: float) -> Iterator[Ellipse]:
    """A vertebra with its arch, or the disc between two."""
    disc = sin(40 * pi * place) > 0.7
    yield Ellipse(0, 57, 24, 18, MUSCLE if disc else _CORTEX)
    yield Ellipse(0, 57, 21, 15, _DISC if disc else _MARROW)
    yield Ellipse(0, 85, 16, 14, _CORTEX)
    yield Ellipse(0, 83, 11, 9, MUSCLE)  # the canal
