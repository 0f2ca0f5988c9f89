"""What is read of a part of a header is what is read of the whole."""

from typing import Any

import numpy as np
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dicom.grayscale import _curve, shades
from gateway.dicom.hierarchy import Attributes
from gateway.dicom.pixels import layout_of, pixel_attributes
from gateway.dicom.render_options import RenderOptions, Window

TAGS = st.sampled_from(
    [
        *("00080016", "00180050", "00280008", "00280010", "00280011", "00280100"),
        *("00290010", "00880200", "7FE00010", "7FE00001", "FFFCFFFC"),
    ]
)
TEXTS = st.one_of(
    st.sampled_from(['"', '{"', '"}', ',"00280010":{', ',"0028', '}}]},"0028', "\\"]),
    st.text(max_size=5),
)
VALUES = st.one_of(st.integers(0, 600), TEXTS)
PLAIN = st.builds(
    lambda values: {"vr": "US", "Value": values}, st.lists(VALUES, max_size=3)
)
BULK = st.just({"vr": "OW", "BulkDataURI": "bulk/7fe00010"})


def headers(elements: st.SearchStrategy[Any]) -> st.SearchStrategy[Attributes]:
    """In the order of their tags, as a rule."""
    made = st.dictionaries(TAGS, elements, max_size=7)
    return st.one_of(made, made.map(lambda one: dict(sorted(one.items()))))


ELEMENTS = st.recursive(
    st.one_of(PLAIN, BULK),
    lambda inner: st.builds(
        lambda items: {"vr": "SQ", "Value": items}, st.lists(headers(inner), max_size=2)
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(headers(ELEMENTS))
def test_the_layout_is_that_of_the_whole_header(attributes: Attributes) -> None:
    text = orjson.dumps(attributes)
    part = pixel_attributes(text)
    for tag in attributes:
        if tag.startswith(("0028", "7FE0")):
            assert part[tag] == attributes[tag]
    assert all(attributes[tag] == part[tag] for tag in part)
    places = {"7fe00010": (100, 2000)} if "7FE00010" in attributes else {}
    syntax = "1.2.840.10008.1.2.1"
    assert layout_of(part, syntax, places) == layout_of(attributes, syntax, places)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["u1", "i1", "<u2", "<i2", ">u2", "<u4", "<i4"]),
    st.integers(0, 2**32 - 1),
    st.integers(1, 60),
    st.one_of(st.none(), st.tuples(st.floats(-4e4, 4e4), st.floats(1, 7e4))),
    st.sampled_from([{}, {"00280004": {"vr": "CS", "Value": ["MONOCHROME1"]}}]),
    st.sampled_from([{}, {"00280120": {"vr": "US", "Value": [3]}}]),
)
def test_a_table_gives_each_value_the_shade_that_it_has_by_itself(
    kind: str,
    seed: int,
    rows: int,
    window: tuple[float, float] | None,
    polarity: Attributes,
    padding: Attributes,
) -> None:
    chance = np.random.default_rng(seed)
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    low, high = max(low, -(2**16)), min(high, 2**16 - 2)
    values = chance.integers(low, high, (rows, 7), endpoint=True).astype(kind)
    attributes = polarity | padding
    options = RenderOptions(window=Window(*window) if window else None)

    def present() -> np.ndarray:
        return np.ones(values.shape, bool)

    assert (
        shades(attributes, values, options)
        == _curve(attributes, values.astype(np.int64), present, options)
    ).all()
