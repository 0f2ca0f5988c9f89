"""What any keeper of blobs must do; a backend's tests inherit it."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from gateway.errors import NotFound

Blobs = Any  # a backend


class BlobContract(ABC):
    """Tests of one backend: `another` opens the same place as one more process."""

    @abstractmethod
    def another(self) -> Blobs:
        """The backend opened anew at the same place; whoever had it may live on."""

    @pytest.fixture
    def blobs(self) -> Iterator[Blobs]:
        opened = self.another()
        yield opened
        opened.close_lane()

    def keep(self, blobs: Blobs, content: bytes = b"content") -> str:
        name = self.flushed(blobs, content)
        blobs.publish(name)
        return name

    def flushed(self, blobs: Blobs, content: bytes = b"content") -> str:
        incoming = blobs.incoming()
        incoming.append([content])
        incoming.flush()
        blobs.settle()
        return str(incoming.name)

    def read(self, blobs: Blobs, name: str) -> bytes:
        with blobs.open(name) as opened:
            return bytes(opened.read(0, opened.size()))

    # -- in and out --------------------------------------------------------------------

    def test_what_was_written_is_read(self, blobs: Blobs) -> None:
        incoming = blobs.incoming()
        incoming.append([b"one", memoryview(b"two")])
        incoming.append([])
        incoming.append([b"", b"three"])
        incoming.flush()
        blobs.settle()
        blobs.publish(incoming.name)
        assert incoming.size == 11
        assert self.read(blobs, incoming.name) == b"onetwothree"
        assert blobs.names() == [incoming.name]

    def test_thousands_of_buffers_are_written_in_their_order(
        self, blobs: Blobs
    ) -> None:
        buffers = [b"%d," % number for number in range(5000)]
        incoming = blobs.incoming()
        incoming.append(buffers)
        incoming.flush()
        blobs.publish(incoming.name)
        assert self.read(blobs, incoming.name) == b"".join(buffers)

    def test_an_empty_blob_is_a_blob(self, blobs: Blobs) -> None:
        assert self.read(blobs, self.keep(blobs, b"")) == b""

    def test_names_are_chance_and_never_the_same(self, blobs: Blobs) -> None:
        names = [self.keep(blobs) for _ in range(50)]
        assert len(set(names)) == 50
        assert all(name.isalnum() for name in names)
        assert sorted(blobs.names()) == sorted(names)

    def test_a_blob_is_read_before_it_is_in_place_and_by_others(
        self, blobs: Blobs
    ) -> None:
        name = self.flushed(blobs)
        other = self.another()
        with closing(_Lane(other)):
            assert self.read(other, name) == b"content"
            blobs.publish(name)
            assert self.read(other, name) == b"content"

    def test_a_reader_keeps_what_it_opened(self, blobs: Blobs) -> None:
        name = self.keep(blobs)
        with blobs.open(name) as opened:
            blobs.remove([name])
            assert opened.read(0, 100) == b"content"

    def test_a_blob_that_is_not_there_is_not_found(self, blobs: Blobs) -> None:
        with pytest.raises(NotFound):
            blobs.open("0" * 32)

    def test_publishing_twice_does_no_harm(self, blobs: Blobs) -> None:
        name = self.keep(blobs)
        blobs.publish(name)
        assert self.read(blobs, name) == b"content"

    def test_flushing_twice_does_no_harm(self, blobs: Blobs) -> None:
        incoming = blobs.incoming()
        incoming.append([b"content"])
        incoming.flush()
        incoming.flush()
        blobs.publish(incoming.name)
        assert self.read(blobs, incoming.name) == b"content"

    # -- away --------------------------------------------------------------------------

    def test_removed_blobs_are_gone_and_others_stay(self, blobs: Blobs) -> None:
        kept, *removed = [self.keep(blobs) for _ in range(4)]
        blobs.remove(removed)
        assert blobs.names() == [kept]
        for name in removed:
            with pytest.raises(NotFound):
                blobs.open(name)

    def test_removing_twice_or_what_never_was_does_no_harm(self, blobs: Blobs) -> None:
        name = self.keep(blobs)
        blobs.remove([name, name, "0" * 32])
        blobs.remove([name])
        blobs.remove([])
        assert blobs.names() == []

    def test_a_blob_that_is_removed_before_it_is_in_place_stays_away(
        self, blobs: Blobs
    ) -> None:
        name = self.flushed(blobs)
        other = self.another()
        with closing(_Lane(other)):
            other.remove([name])
        blobs.publish(name)
        assert blobs.names() == []
        with pytest.raises(NotFound):
            blobs.open(name)

    def test_a_discarded_one_leaves_nothing(self, blobs: Blobs) -> None:
        before = descriptors()
        incoming = blobs.incoming()
        incoming.append([b"content"])
        incoming.discard()
        incoming.discard()
        assert descriptors() == before
        with pytest.raises(NotFound):
            blobs.open(incoming.name)

    # -- after a crash -----------------------------------------------------------------

    def test_a_sweep_completes_what_has_its_row_and_removes_the_rest(
        self, blobs: Blobs
    ) -> None:
        kept = self.keep(blobs, b"kept before")
        known, unknown = self.flushed(blobs, b"known"), self.flushed(blobs, b"unknown")
        half = blobs.incoming()
        half.append([b"hal"])
        blobs.close_lane()
        after = self.another()
        with closing(_Lane(after)):
            swept = after.sweep({kept, known}.__contains__, nothing_packed)
            assert (swept.completed, swept.removed) == (1, 2)
            assert sorted(after.names()) == sorted([kept, known])
            assert self.read(after, known) == b"known"
            for name in (unknown, half.name):
                with pytest.raises(NotFound):
                    after.open(name)
            again = after.sweep({kept, known}.__contains__, nothing_packed)
            assert (again.completed, again.removed) == (0, 0)
        half.close()

    def test_a_sweep_leaves_alone_what_a_living_process_has_under_way(
        self, blobs: Blobs
    ) -> None:
        name = self.flushed(blobs)
        other = self.another()
        with closing(_Lane(other)):
            swept = other.sweep(lambda name: False, nothing_packed)
            assert (swept.completed, swept.removed) == (0, 0)
        blobs.publish(name)
        assert self.read(blobs, name) == b"content"

    def test_a_sweep_that_fails_half_way_can_be_repeated(self, blobs: Blobs) -> None:
        names = [self.flushed(blobs) for _ in range(3)]
        blobs.close_lane()
        asked = []

        def known(name: str) -> bool:
            asked.append(name)
            if len(asked) == 2:
                raise OSError("the index cannot be read")
            return True

        after = self.another()
        before = descriptors()
        with closing(_Lane(after)):
            with pytest.raises(OSError, match="index"):
                after.sweep(known, nothing_packed)
            assert descriptors() == before
            assert after.sweep(known, nothing_packed).completed == 2
            assert sorted(after.names()) == sorted(names)


def nothing_packed(pack: str) -> list[str]:
    """What is in a pack, where there is none."""
    raise AssertionError(f"there is no pack {pack}")


class _Lane:
    """Something that `closing` can close."""

    def __init__(self, blobs: Blobs) -> None:
        self.close = blobs.close_lane


def descriptors() -> set[str]:
    """The open descriptors of this process."""
    return {name for name in os.listdir("/proc/self/fd") if _opens(name)}


def _opens(name: str) -> bool:
    try:
        os.fstat(int(name))
    except OSError:
        return False
    return True
