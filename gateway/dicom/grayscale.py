"""From stored values to grey: modality, values of interest, polarity (PS3.4 N.2).

Few values occur many times in an image: the steps are worked out once for each value
that can occur, and looked up for each pixel. Results are rounded to the nearest of 256
shades, halves upwards.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.dicom.functional import items, number, numbers
from gateway.dicom.hierarchy import Attributes, first_text
from gateway.dicom.render_options import (
    LINEAR,
    LINEAR_EXACT,
    SIGMOID,
    RenderOptions,
    Window,
)
from gateway.dicom.tables import Table, signed_input, table

Values = npt.NDArray[np.generic]
Reals = npt.NDArray[np.float64]
Shades = npt.NDArray[np.uint8]

_WHITE = 255
_FUNCTIONS = (LINEAR, LINEAR_EXACT, SIGMOID)
_DESCRIPTOR, _DATA = "00283002", "00283006"

#: So many different values are worked out beforehand.
_MOST_VALUES = 1 << 17

#: Pixels that are looked up at a time: their places take eight bytes each meanwhile.
_BLOCK = 1 << 18

#: Tables of a window that are kept, of at most 64 KiB each.
_TABLES_KEPT = 64

#: Which values occur, found out where somebody wants to know.
Present = Callable[[], npt.NDArray[np.bool_]]


def shades(
    attributes: Attributes, values: Values, options: RenderOptions, bits: int = 0
) -> Shades:
    """The shades of a frame; `attributes` are those that hold for it.

    With `bits`, all values are known to have no more of them.
    """
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)
    if values.dtype.kind in "ui" and values.size:
        window = options.window or _window(attributes)
        if window is not None and _is_plain(attributes, values, options):
            return _by_window(attributes, values, window, _bounds(values, bits))
        low, high = _bounds(values)
        if high - low < _MOST_VALUES:
            return _by_table(attributes, values, options, (low, high))
    return _curve(attributes, values, lambda: np.isfinite(values), options)


def _by_table(
    attributes: Attributes,
    values: Values,
    options: RenderOptions,
    bounds: tuple[int, int],
) -> Shades:
    """The same, each value worked out once."""
    blocks = _blocks(values)
    domain = np.arange(bounds[0], bounds[1] + 1, dtype=np.int64)

    def present() -> npt.NDArray[np.bool_]:
        found = np.zeros(len(domain), bool)
        for block in blocks:
            found[values[block].astype(np.int64) - bounds[0]] = True
        return found

    curve = _curve(attributes, domain, present, options)
    if values.dtype.itemsize <= 2:
        curve = _of_all(curve, bounds[0], values.dtype.itemsize)
        return _looked_up_in(curve, values, blocks)
    return _looked_up_in(curve, values, blocks, bounds[0])


def _blocks(values: Values) -> list[slice]:
    """Some rows at a time, to stay small."""
    step = max(_BLOCK // (values.size // len(values) or 1), 1)
    return [slice(row, row + step) for row in range(0, len(values), step)]


def _bounds(values: Values, bits: int = 0) -> tuple[int, int]:
    """What values lie within: the smallest and the largest, or what so many bits give."""
    if not bits:
        return int(values.min()), int(values.max())
    if values.dtype.kind == "u":
        return 0, (1 << bits) - 1
    return -(1 << bits - 1), (1 << bits - 1) - 1


def _looked_up_in(
    curve: Shades, values: Values, blocks: list[slice], first: int = 0
) -> Shades:
    """The shade of each value, in a table that begins with that of the first one."""
    if len(blocks) == 1:
        return np.asarray(curve.take(_places(values, first)))
    found = np.empty(values.shape, np.uint8)
    for block in blocks:
        found[block] = curve.take(_places(values[block], first))
    return found


def _places(values: Values, first: int) -> npt.NDArray[np.integer[Any]]:
    return values.astype(np.int64) - first if first else values  # type: ignore[return-value]


def _of_all(curve: Shades, first: int, size: int) -> Shades:
    """A table in which each value of so many bytes is its own place.

    It counts from the end where it is negative.
    """
    whole = np.zeros(1 << 8 * size, np.uint8)
    whole[np.arange(first, first + len(curve))] = curve
    return whole


# -- the usual case: the slices of a series have one window, and much the same values ----


def _by_window(
    attributes: Attributes, values: Values, window: Window, bounds: tuple[int, int]
) -> Shades:
    inverted, line = is_inverted(attributes), _rescaling(attributes)
    around = _around(*bounds), values.dtype.itemsize
    curve = _table(*around, *line, window, inverted)
    return _looked_up_in(curve, values, _blocks(values))


def _is_plain(attributes: Attributes, values: Values, options: RenderOptions) -> bool:
    """Whether a window and a line are all that shades depend on."""
    tables = ["00283000", "20500010"] + ["00283010"] * (options.window is None)
    return values.dtype.itemsize <= 2 and not any(
        items(attributes, tag) for tag in tables
    )


def _around(low: int, high: int) -> tuple[int, int]:
    """Bounds that are wider and mostly the same for images that are alike."""
    largest = 1 << max(high, -low - 1, _WHITE).bit_length()
    return (-largest if low < 0 else 0), largest - 1


@lru_cache(maxsize=_TABLES_KEPT)
def _table(
    bounds: tuple[int, int],
    size: int,
    slope: float,
    intercept: float,
    window: Window,
    inverted: bool,
) -> Shades:
    """The shades of all values within the bounds, which are of so many bytes."""
    half = 1 << 8 * size - 1
    low, high = max(bounds[0], -half), min(bounds[1], 2 * half - 1)
    if low < 0:
        high = min(high, half - 1)
    domain = np.arange(low, high + 1, dtype=np.float64)
    with np.errstate(all="ignore"):
        spread = windowed(domain * slope + intercept, window)
        found = _of_all(_rounded(spread, inverted=inverted), low, size)
    found.flags.writeable = False
    return found


# -- any case ----------------------------------------------------------------------------


def _curve(
    attributes: Attributes,
    stored: Values,
    present: Present,
    options: RenderOptions,
) -> Shades:
    """The shade of each value; where there is no window, those present span one."""
    with np.errstate(all="ignore"):  # what a file says may lead anywhere
        spread = _spread(attributes, stored, present, options)
        spread = _presentation(attributes, spread)
        return _rounded(spread, inverted=is_inverted(attributes))


def _rounded(spread: Reals, *, inverted: bool) -> Shades:
    grey = np.floor(spread + 0.5)
    shown = np.asarray(np.clip(np.nan_to_num(grey), 0, _WHITE), np.uint8)
    if inverted:
        np.subtract(_WHITE, shown, out=shown)
    return shown


def _spread(
    attributes: Attributes,
    stored: Values,
    present: Present,
    options: RenderOptions,
) -> Reals:
    """Each value from 0 to 255, before polarity."""
    values, negative = _modality(attributes, stored)
    spread = _interesting(attributes, values, negative, options)
    if spread is None:
        occurring = present()
        counted = occurring & ~_padding(attributes, stored)
        if not counted.any():
            counted = occurring
        spread = _stretched(values, _dynamics(attributes, values[counted]))
    return spread


# -- modality ----------------------------------------------------------------------------


def _modality(attributes: Attributes, stored: Values) -> tuple[Reals, bool]:
    """Values after the modality's transformation, and whether they may be negative."""
    signed = signed_input(attributes)
    for item in items(attributes, "00283000")[:1]:
        found = table(item, _DESCRIPTOR, _DATA, signed=signed)
        if found is not None:
            return found.apply(stored).astype(np.float64), False
    slope, intercept = _rescaling(attributes)
    values = stored.astype(np.float64) * slope + intercept
    return values, signed or intercept < 0 or slope < 0


def _rescaling(attributes: Attributes) -> tuple[float, float]:
    """Slope and intercept."""
    slope = number(attributes, "00281053", 1.0) or 1.0
    return slope, number(attributes, "00281052", 0.0)


def _padding(attributes: Attributes, stored: Values) -> npt.NDArray[np.bool_]:
    """Which values stand where there is no image (PS3.3 C.7.5.1.1.2)."""
    padding = numbers(attributes, "00280120")
    if not padding:
        return np.zeros(stored.shape, bool)
    bounds = [padding[0], number(attributes, "00280121", padding[0])]
    if signed_input(attributes):
        bounds = [bound - 0x10000 if bound > 0x7FFF else bound for bound in bounds]
    return np.asarray((stored >= min(bounds)) & (stored <= max(bounds)))


# -- values of interest ------------------------------------------------------------------


def _interesting(
    attributes: Attributes, values: Reals, negative: bool, options: RenderOptions
) -> Reals | None:
    """Values from 0 to 255 by the request's window, the file's table or its window."""
    if options.window is not None:
        return windowed(values, options.window)
    for item in items(attributes, "00283010")[:1]:
        found = table(item, _DESCRIPTOR, _DATA, signed=negative)
        if found is not None:
            return _looked_up(found, values)
    window = _window(attributes)
    return None if window is None else windowed(values, window)


def _looked_up(found: Table, values: Reals) -> Reals:
    largest = 2**found.bits - 1
    return np.asarray(np.clip(found.apply(values), 0, largest) * (_WHITE / largest))


def _window(attributes: Attributes) -> Window | None:
    """The first window of the file, if it has one that can be used."""
    center, width = (number(attributes, tag) for tag in ("00281050", "00281051"))
    if center is None or width is None:
        return None
    named = first_text(attributes, "00281056").upper()
    function = named if named in _FUNCTIONS else LINEAR
    window = Window(center, width, function)
    return window if window.is_valid else None


def windowed(values: Reals, window: Window) -> Reals:
    """Values from 0 to 255 (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    center, width = window.center, window.width
    if window.function == SIGMOID:
        power = np.clip(-4 * (values - center) / width, -700, 700)
        return np.asarray(_WHITE / (1 + np.exp(power)))
    if window.function == LINEAR:
        center, width = center - 0.5, width - 1
    low, high = center - width / 2, center + width / 2
    inner = ((values - center) / (width or 1) + 0.5) * _WHITE
    outer = np.where(values > high, float(_WHITE), np.clip(inner, 0, _WHITE))
    return np.asarray(np.where(values <= low, 0.0, outer))


def _dynamics(attributes: Attributes, values: Reals) -> tuple[float, float]:
    """The smallest and the largest value; of single bits these are known."""
    if number(attributes, "00280101") == 1:
        return 0.0, 1.0
    if not values.size:
        return 0.0, 0.0
    return float(values.min()), float(values.max())


def _stretched(values: Reals, bounds: tuple[float, float]) -> Reals:
    low, high = bounds
    if not math.isfinite(high - low) or high <= low:
        return np.zeros(values.shape)
    return np.clip((values - low) / (high - low), 0, 1) * _WHITE


# -- presentation and polarity -----------------------------------------------------------


def _presentation(attributes: Attributes, spread: Reals) -> Reals:
    """Values from 0 to 255 by the table of a presentation, if there is one (C.11.6)."""
    for item in items(attributes, "20500010")[:1]:
        found = table(item, _DESCRIPTOR, _DATA, signed=False)
        if found is not None:
            places = np.nan_to_num(spread) * ((len(found.entries) - 1) / _WHITE)
            return _looked_up(found, places + found.first)
    return spread


def is_inverted(attributes: Attributes) -> bool:
    """Whether the smallest value is white."""
    if first_text(attributes, "20500020").upper() == "INVERSE":
        return True
    return first_text(attributes, "00280004").upper() == "MONOCHROME1"
