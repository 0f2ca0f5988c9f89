"""Undoing compression, however it is cut into chunks."""

import gzip
import zlib
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.inflating import PIECE, Inflating


def bare(content: bytes) -> bytes:
    machine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return machine.compress(content) + machine.flush()


def members(content: bytes) -> bytes:
    half = len(content) // 2
    return gzip.compress(content[:half]) + gzip.compress(content[half:])


def cut(packed: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(packed), size):
        yield packed[start : start + size]


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, bare, members])
@given(content=st.binary(max_size=300), size=st.integers(1, 40))
def test_what_was_packed_comes_back(
    pack: Callable[[bytes], bytes], content: bytes, size: int
) -> None:
    inflating = Inflating()
    found = b"".join(
        piece for chunk in cut(pack(content), size) for piece in inflating.feed(chunk)
    )
    assert found == content
    assert inflating.complete


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, bare])
@pytest.mark.parametrize("over", [-1, 0, 1])
def test_no_piece_is_larger_than_the_bound(
    pack: Callable[[bytes], bytes], over: int
) -> None:
    content = bytes(3 * PIECE + over)
    inflating = Inflating()
    pieces = list(inflating.feed(pack(content)))
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) <= PIECE
    assert inflating.complete


@given(size=st.integers(1, 60))
def test_what_has_no_end_is_not_complete(size: int) -> None:
    packed = gzip.compress(bytes(range(256)))
    inflating = Inflating()
    for chunk in cut(packed[:-size], 7):
        list(inflating.feed(chunk))
    assert not inflating.complete


def test_nothing_is_complete_and_noise_is_refused() -> None:
    assert Inflating().complete
    with pytest.raises(zlib.error):
        list(Inflating().feed(b"\xff" * 50))
