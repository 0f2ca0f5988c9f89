"""References in metadata get an address in front of them, and nothing else does."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from gateway.dicomweb.metadata import _with_base

WORDS = st.sampled_from(
    ["BulkDataURI", '"BulkDataURI":"', "BulkDataURI\\", '"', ":", "bulk/1", "x", "ä"]
)
TEXTS = st.lists(WORDS, max_size=5).map("".join)
DATA = st.recursive(
    TEXTS | st.integers(0, 9),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(TEXTS | st.just("BulkDataURI"), below, max_size=3)
    ),
    max_leaves=12,
)


@given(DATA)
def test_an_address_is_put_in_front_of_each_reference(data: object) -> None:
    header = orjson.dumps(data)
    absolute = header.replace(b'"BulkDataURI":"', b'"BulkDataURI":"http://here/')
    assert _with_base(header, b"http://here/") == absolute
