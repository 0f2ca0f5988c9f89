"""Chunks of an answer, from files and from bytes between them."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gateway.errors import NotFound, Truncated
from gateway.storage import reading as module
from gateway.storage.blobs import DiskBlobs
from gateway.storage.reading import FileRange, Piece, Reading, at_once, same_bytes
from tests.unit.storage.blob_contract import descriptors

ROOM = memoryview(bytearray(module.CHUNK))


@pytest.fixture
def blobs(tmp_path: Path) -> Iterator[DiskBlobs]:
    opened = DiskBlobs(tmp_path)
    opened.open_lane()
    yield opened
    opened.close_lane()


def keep(blobs: DiskBlobs, content: bytes) -> str:
    incoming = blobs.incoming()
    incoming.append([content])
    incoming.flush()
    blobs.publish(incoming.name)
    return incoming.name


def chunks(blobs: DiskBlobs, pieces: Sequence[Piece]) -> list[bytes]:
    reading = Reading(blobs, pieces)
    found = []
    while chunk := reading.fill():
        found.append(bytes(chunk))
    assert not reading.fill()
    return found


CONTENT = bytes(range(256)) * 4

piece_kinds = st.one_of(
    st.binary(max_size=200),
    st.tuples(st.integers(0, len(CONTENT)), st.integers(0, len(CONTENT))).map(sorted),
)


@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(kinds=st.lists(piece_kinds, max_size=12), size=st.integers(1, 300))
def test_the_chunks_are_the_pieces_one_after_the_other(
    blobs: DiskBlobs, kinds: list[bytes | list[int]], size: int
) -> None:
    name = keep(blobs, CONTENT)
    pieces: list[Piece] = [
        kind if isinstance(kind, bytes) else FileRange(name, kind[0], kind[1])
        for kind in kinds
    ]
    whole = b"".join(
        piece if isinstance(piece, bytes) else CONTENT[piece.start : piece.stop]
        for piece in pieces
    )
    before = descriptors()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK", size)
        found = chunks(blobs, pieces)
    assert b"".join(found) == whole
    assert all(len(chunk) == size for chunk in found[:-1])
    assert descriptors() == before


def test_a_small_file_alone_takes_no_large_chunk(blobs: DiskBlobs) -> None:
    reading = Reading(blobs, [FileRange(keep(blobs, b"small"), 0, 5)])
    chunk = reading.fill()
    assert bytes(chunk) == b"small"
    assert len(chunk.obj) == 5  # type: ignore[arg-type]


def test_a_file_that_is_gone_is_not_found(blobs: DiskBlobs) -> None:
    with pytest.raises(NotFound):
        chunks(blobs, [b"header", FileRange("0" * 32, 0, 5)])


def test_a_file_that_is_too_short_is_an_error_and_not_a_shorter_answer(
    blobs: DiskBlobs,
) -> None:
    reading = Reading(blobs, [FileRange(keep(blobs, b"content"), 0, 100), b"closing"])
    before = descriptors()
    with pytest.raises(Truncated):
        list(iter(reading.fill, b""))
    reading.close()
    reading.close()
    assert descriptors() <= before


def test_a_reading_that_is_left_early_gives_its_descriptor_back(
    blobs: DiskBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 3)
    name = keep(blobs, b"content")
    before = descriptors()
    reading = Reading(blobs, [FileRange(name, 0, 7), b"more"])
    assert bytes(reading.fill()) == b"con"
    assert len(descriptors()) == len(before) + 1
    reading.close()
    assert descriptors() == before


# -- comparing -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (b"content", True),
        (b"Content", False),
        (b"contenT", False),
        (b"conten", False),
        (b"contents", False),
        (b"", False),
    ],
)
def test_bytes_are_the_same_only_if_every_one_is(
    blobs: DiskBlobs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    other: bytes,
    same: bool,
) -> None:
    monkeypatch.setattr(module, "CHUNK", 3)
    name = keep(blobs, b"content")
    file = tmp_path / "other"
    file.write_bytes(other)
    before = descriptors()
    assert same_bytes(blobs, name, 7, str(file)) is same
    assert same_bytes(blobs, name, 7, [other[:3], memoryview(other)[3:]]) is same
    assert descriptors() == before


def test_nothing_is_the_same_as_nothing(blobs: DiskBlobs, tmp_path: Path) -> None:
    name = keep(blobs, b"")
    empty = tmp_path / "empty"
    empty.touch()
    assert same_bytes(blobs, name, 0, [])
    assert same_bytes(blobs, name, 0, str(empty))


def test_comparing_with_a_file_that_is_gone_leaves_no_descriptor(
    blobs: DiskBlobs, tmp_path: Path
) -> None:
    name = keep(blobs, b"content")
    before = descriptors()
    with pytest.raises(NotFound):
        same_bytes(blobs, "0" * 32, 7, [b"content"])
    with pytest.raises(FileNotFoundError):
        same_bytes(blobs, name, 7, str(tmp_path / "none"))
    with pytest.raises(Truncated):
        same_bytes(blobs, name, 8, [b"contents"])
    assert descriptors() == before
    assert os.listdir(tmp_path)


# -- at once -----------------------------------------------------------------------------


def test_what_is_in_memory_is_read_at_once(blobs: DiskBlobs) -> None:
    name = keep(blobs, CONTENT)
    before = descriptors()
    pieces: list[Piece] = [b"head", FileRange(name, 3, 900), b"", FileRange(name, 0, 9)]
    whole = at_once(blobs, pieces, ROOM)
    assert whole is not None
    assert bytes(whole) == b"".join(chunks(blobs, pieces))
    assert at_once(blobs, [b"alone"], ROOM) == b"alone"
    assert descriptors() == before


def test_a_thread_is_left_what_is_long_many_or_wrong(blobs: DiskBlobs) -> None:
    name, before = keep(blobs, CONTENT), descriptors()
    for pieces in (
        [b"x" * (module.CHUNK + 1)],
        [FileRange(name, 0, 1)] * 9,
        [FileRange(name, 0, len(CONTENT) + 1)],
        [FileRange("0" * 32, 0, 1)],
    ):
        assert at_once(blobs, pieces, ROOM) is None
    assert descriptors() == before


def test_what_would_have_to_be_fetched_from_the_disk_is_left_to_a_thread(
    blobs: DiskBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, before = keep(blobs, CONTENT), descriptors()

    def not_there(*arguments: Any) -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "preadv", not_there)
    assert at_once(blobs, [FileRange(name, 0, 5)], ROOM) is None
    monkeypatch.setattr(os, "preadv", lambda _, buffers, *rest: len(buffers[0]) - 1)
    assert at_once(blobs, [FileRange(name, 0, 5)], ROOM) is None
    assert descriptors() == before


def test_a_blob_that_is_still_moving_is_left_to_a_thread(blobs: DiskBlobs) -> None:
    incoming = blobs.incoming()
    incoming.append([CONTENT])
    incoming.flush()
    assert at_once(blobs, [FileRange(incoming.name, 0, 5)], ROOM) is None
    blobs.publish(incoming.name)
    assert at_once(blobs, [FileRange(incoming.name, 0, 5)], ROOM) == CONTENT[:5]
