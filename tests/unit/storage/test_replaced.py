"""What was replaced or is being read goes later, and is told then."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.storage import replaced as module
from gateway.storage.blobs import DiskBlobs
from gateway.storage.replaced import Replaced


@pytest.fixture
def blobs(tmp_path: Path) -> Iterator[DiskBlobs]:
    opened = DiskBlobs(tmp_path)
    opened.open_lane()
    yield opened
    opened.close_lane()


def keep(blobs: DiskBlobs) -> str:
    (name,) = blobs.pack([[bytes(128) + b"DICM" + bytes(300)]])
    blobs.flush_pack()
    return name


def test_what_somebody_reads_is_tried_again_soon_and_told_when_it_is_gone(
    blobs: DiskBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY", 0.0)
    replaced, name = Replaced(blobs), keep(blobs)
    with blobs.open(name):
        assert replaced.remove_now([name]) == []
        assert replaced.remove()
        assert replaced.gone() == []
    assert replaced.remove()
    assert replaced.gone() == [name]
    assert replaced.gone() == []
    assert not replaced.remove()


def test_what_was_replaced_stays_for_a_while_although_nobody_reads_it(
    blobs: DiskBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY", 0.0)
    replaced, name = Replaced(blobs), keep(blobs)
    replaced.add([name])
    assert not replaced.remove()
    assert blobs.is_there(name)
    assert replaced.remove(all_of_them=True)
    assert not blobs.is_there(name)
    assert replaced.gone() == [name]


def test_a_start_tells_whether_others_live(blobs: DiskBlobs, tmp_path: Path) -> None:
    def swept(one: DiskBlobs) -> bool:
        return one.sweep(lambda name: False, lambda pack: []).alone

    assert swept(blobs)
    other = DiskBlobs(tmp_path)
    other.open_lane()
    assert not swept(other)
    other.close_lane()
    assert swept(blobs)
