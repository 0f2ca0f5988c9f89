"""From stored values to red, green and blue of 8 bits (PS3.3 C.7.6.3.1.2)."""

import numpy as np
import numpy.typing as npt

from gateway.dicom.functional import whole
from gateway.dicom.hierarchy import Attributes
from gateway.dicom.tables import signed_input, table
from gateway.errors import NotAcceptable

Values = npt.NDArray[np.generic]
Colours = npt.NDArray[np.uint8]

PALETTE = "PALETTE COLOR"
_AS_RGB = frozenset({"RGB", "YBR_RCT", "YBR_ICT"})  # codecs undo the latter two
_YBR = frozenset({"YBR_FULL", "YBR_FULL_422"})

#: Tags of the descriptor, the data and the segments of each colour's table.
_TABLES = (
    ("00281101", "00281201", "00281221"),
    ("00281102", "00281202", "00281222"),
    ("00281103", "00281203", "00281223"),
)


def colours(attributes: Attributes, values: Values, photometric: str) -> Colours:
    """The colours of a frame whose samples mean what `photometric` says."""
    if values.dtype.kind == "f":
        raise NotAcceptable("colour in floating point cannot be rendered")
    if photometric == PALETTE:
        return _palette(attributes, values)
    if values.ndim != 3 or values.shape[2] < 3:
        raise NotAcceptable(
            f"an image of {photometric or 'no colour space'} with"
            " one sample cannot be rendered"
        )
    samples = _eight_bits(values[:, :, :3], whole(attributes, "00280101", 8))
    if photometric in _AS_RGB:
        return samples
    if photometric in _YBR:
        return _from_ybr(samples)
    raise NotAcceptable(f"images of {photometric[:16]} cannot be rendered")


def _eight_bits(values: Values, bits: int) -> Colours:
    """The most significant 8 bits of each sample."""
    bits = min(max(bits, 1), 32)
    if values.dtype == np.uint8 and bits == 8:
        return np.ascontiguousarray(values, np.uint8)
    whole_values = np.asarray(values).astype(np.int64)
    if bits > 8:
        whole_values = whole_values >> (bits - 8)
    elif bits < 8:
        whole_values = whole_values * 255 // (2**bits - 1)
    return np.clip(whole_values, 0, 255).astype(np.uint8)


def _from_ybr(samples: Colours) -> Colours:
    light = samples[:, :, 0].astype(np.float32)
    blue, red = (samples[:, :, place].astype(np.float32) - 128 for place in (1, 2))
    channels = (
        light + np.float32(1.402) * red,
        light - np.float32(0.344136) * blue - np.float32(0.714136) * red,
        light + np.float32(1.772) * blue,
    )
    together = np.floor(np.stack(channels, 2) + 0.5)
    return np.clip(together, 0, 255).astype(np.uint8)


def _palette(attributes: Attributes, values: Values) -> Colours:
    signed = signed_input(attributes)
    channels = []
    for descriptor, data, segments in _TABLES:
        found = table(attributes, descriptor, data, signed=signed, segmented=segments)
        if found is None:
            raise NotAcceptable("the instance names a palette and has none")
        entries = found.apply(values)
        # Some writers say 16 bits and give 8.
        bits = 8 if found.bits > 8 and found.entries.max() < 256 else found.bits
        channels.append(entries >> (bits - 8) if bits > 8 else entries)
    return np.clip(np.stack(channels, 2), 0, 255).astype(np.uint8)
