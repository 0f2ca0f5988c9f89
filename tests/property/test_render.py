"""Whatever a file says of its image: a picture, or a refusal that says why."""

import io
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gateway.dicom.render import Frame, attributes_of, render
from gateway.dicom.render_options import rendered_options
from gateway.errors import GatewayError

NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 8, 16, 255, 65535, 2**31, -(2**31), 1e308, -1e308]),
    st.floats(-1e6, 1e6),
    st.sampled_from(["NaN", "inf", "x", "", None, {"Alphabetic": "x"}]),
)
WORDS = st.sampled_from(["INVERSE", "MONOCHROME1", "SIGMOID", "LINEAR_EXACT", "RGB"])
ELEMENTS = st.one_of(
    st.builds(
        lambda values: {"vr": "DS", "Value": values},
        st.lists(st.one_of(NUMBERS, WORDS), max_size=4),
    ),
    st.just({"vr": "US"}),
    st.just({"vr": "OW", "InlineBinary": "AAECAwQFBgcICQ=="}),
)
TAGS = (
    *("00280030", "00280034", "00280100", "00280101", "00280103", "00280120"),
    *("00280121", "00281050", "00281051", "00281052", "00281053", "00281056"),
    *("00281101", "00281102", "00281103", "00281201", "00281202", "00281203"),
    *("00281221", "00281222", "00281223", "00282000", "00283002", "00283006"),
    *("20500020", "60000010", "60000011", "60000015", "60000050", "60000051"),
    *("60003000", "00280004", "00181063", "00100010"),
)
ITEMS = st.dictionaries(st.sampled_from(TAGS), ELEMENTS, max_size=6)
SEQUENCES = ("00283000", "00283010", "00289132", "52009229", "52009230", "00480105")
NESTED = st.dictionaries(
    st.sampled_from(SEQUENCES),
    st.builds(lambda items: {"vr": "SQ", "Value": items}, st.lists(ITEMS, max_size=2)),
    max_size=3,
)
QUERIES = st.sampled_from(
    [
        {},
        {"viewport": "20,20,1,1,-5,5"},
        {"annotation": "patient,technique,overlays"},
        {"window": "1,2"},
        {"iccprofile": "srgb"},
    ]
)
KINDS = st.sampled_from(
    ["MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422"]
)
TYPES = st.sampled_from(["u1", "i1", "<u2", "<i2", "<u4", "<i4", "<f4", "<f8"])


@settings(max_examples=300, deadline=None)
@given(ITEMS, NESTED, QUERIES, KINDS, TYPES, st.integers(0, 2**32 - 1))
def test_a_picture_or_a_reason(
    items: Any, nested: Any, query: Any, photometric: str, dtype: str, seed: int
) -> None:
    options = rendered_options(query)
    generator = np.random.default_rng(seed)
    shape = (6, 5, 3) if photometric[:3] in ("RGB", "YBR") else (6, 5)
    values = np.frombuffer(
        generator.bytes(int(np.prod(shape)) * np.dtype(dtype).itemsize), dtype
    ).reshape(shape)
    (kept,) = attributes_of({**items, **nested}, [1], options)
    try:
        data = render(Frame(1, kept, values, photometric), options, "image/png")
    except GatewayError:
        return
    image = Image.open(io.BytesIO(data))
    image.load()
    assert image.mode in ("L", "RGB")
