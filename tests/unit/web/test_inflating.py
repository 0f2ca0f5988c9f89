"""Compressed bodies, in whatever chunks they come."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequest, TooLarge, Truncated
from gateway.web import inflating
from gateway.web.inflating import Inflating


def raw(data: bytes) -> bytes:
    made = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return made.compress(data) + made.flush()


FORMS = {
    "gzip": gzip.compress,
    "twice": lambda data: gzip.compress(data[:7]) + gzip.compress(data[7:]),
    "padded": lambda data: gzip.compress(data) + bytes(20),
    "deflate": zlib.compress,
    "deflate, bare": raw,
}


@given(st.binary(max_size=500), st.sampled_from(sorted(FORMS)), st.integers(1, 60))
def test_what_went_in_comes_out(data: bytes, form: str, step: int) -> None:
    body = FORMS[form](data)
    stream = Inflating("deflate" if form.startswith("deflate") else "gzip")
    found = b""
    for start in range(0, len(body), step):
        found += b"".join(stream.feed(body[start : start + step]))
    stream.end()
    assert found == data


@given(st.integers(0, 300), st.sampled_from(sorted(FORMS)))
def test_nothing_is_kept_back_at_the_bound_of_a_piece(more: int, form: str) -> None:
    data = bytes(1000 - 150 + more)
    stream = Inflating("deflate" if form.startswith("deflate") else "gzip")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gateway.wire.inflating.PIECE", 100)
        pieces = list(stream.feed(FORMS[form](data)))
    stream.end()
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= 100


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_pieces_are_bounded(coding: str) -> None:
    compress = gzip.compress if coding == "gzip" else zlib.compress
    sizes = [len(piece) for piece in Inflating(coding).feed(compress(bytes(5_000_000)))]
    assert sum(sizes) == 5_000_000
    assert max(sizes) <= 256 * 1024


def test_a_body_that_ends_too_soon_or_is_none() -> None:
    stream = Inflating("gzip")
    list(stream.feed(gzip.compress(b"x" * 1000)[:-9]))
    with pytest.raises(Truncated):
        stream.end()
    Inflating("gzip").end()
    with pytest.raises(BadRequest):
        list(Inflating("gzip").feed(b"not compressed"))


def test_a_bomb_is_stopped_and_what_is_dense_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inflating, "INFLATED_FREELY", 1_000_000)
    sizes: list[int] = []
    pieces = Inflating("gzip").feed(gzip.compress(bytes(9_000_000)))
    with pytest.raises(TooLarge, match="absurdly far"):
        sizes.extend(map(len, pieces))
    assert sum(sizes) <= 2_200_000
    dense = b"".join(number.to_bytes(4, "big") for number in range(500_000))
    assert sum(map(len, Inflating("gzip").feed(gzip.compress(dense)))) == len(dense)
