"""Files that many small instances share."""

import ctypes
import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import NotFound, StorageFull
from gateway.places import Place
from gateway.storage import packing, packs
from gateway.storage.blobs import DiskBlobs
from gateway.storage.packs import blobs_in, extent_of, pack_of, room_of
from gateway.storage.reading import FileRange
from gateway.storage.sending import Sending
from tests.unit.storage.blob_contract import descriptors


def blob(number: int, size: int = 300) -> bytes:
    """Bytes that begin as a DICOM file does."""
    rest = (b"%d." % number) * (size // 2)
    return bytes(128) + b"DICM" + rest[: size - 132]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "storage"


@pytest.fixture
def blobs(folder: Path) -> Iterator[DiskBlobs]:
    opened = DiskBlobs(folder)
    opened.open_lane()
    yield opened
    opened.close_lane()


def another(folder: Path) -> DiskBlobs:
    opened = DiskBlobs(folder)
    opened.open_lane()
    return opened


def keep(blobs: DiskBlobs, *contents: bytes) -> list[str]:
    names = blobs.pack([[content] for content in contents])
    blobs.flush_pack()
    return names


def read(blobs: DiskBlobs, name: str) -> bytes:
    with blobs.open(name) as opened:
        return opened.read(0, 10**9)


def is_direct(descriptor: int) -> bool:
    """Whether what is written passes by the page cache."""
    return bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT)


def pack_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("blobs/*/*/*/*.pack"))


def marks(folder: Path) -> list[Path]:
    return sorted(folder.glob("incoming/*/*.pack"))


# -- in and out --------------------------------------------------------------------------


def test_blobs_of_a_pack_are_read_each_by_itself(
    blobs: DiskBlobs, folder: Path
) -> None:
    contents = [blob(n, size) for n, size in enumerate((132, 4080, 4081, 9000, 70_000))]
    names = keep(blobs, *contents)
    assert [read(blobs, name) for name in names] == contents
    assert len(set(names)) == len(names)
    (path,) = pack_files(folder)
    assert {pack_of(name) for name in names} == {path.stem}
    assert [extent_of(name)[1] for name in names] == list(map(len, contents))


@settings(deadline=None)
@given(sizes=st.lists(st.integers(132, 20_000), min_size=1, max_size=12))
def test_a_pack_tells_what_is_in_it_without_the_index(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("pack")
    blobs = another(folder)
    contents = [blob(n, size) for n, size in enumerate(sizes)]
    names = keep(blobs, *contents)
    blobs.close_lane()
    (path,) = pack_files(folder)
    found = list(blobs_in(path))
    assert [(place.start, place.size) for place in found] == list(map(extent_of, names))
    for place, content in zip(found, contents, strict=True):
        with place.open() as opened:
            assert opened.read(0, opened.size()) == content
            assert opened.read(130, 4) == content[130:134]
            assert opened.read(len(content) - 1, 100) == content[-1:]
            assert opened.read(len(content), 100) == b""


def test_groups_follow_each_other_in_one_pack_until_it_is_large(
    blobs: DiskBlobs, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "PACK_SIZE", 20_000)
    names = [keep(blobs, blob(n, 6000))[0] for n in range(5)]
    assert len(pack_files(folder)) == 2
    assert len(marks(folder)) == 1
    for n, name in enumerate(names):
        assert read(blobs, name) == blob(n, 6000)


def test_a_large_group_passes_by_the_page_cache_and_is_read_all_the_same(
    blobs: DiskBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing = os.pwritev
    written: list[int] = []

    def counted(descriptor: int, buffers: list[Any], start: int) -> int:
        if is_direct(descriptor):
            written.append(sum(map(len, buffers)))
        return writing(descriptor, buffers, start)

    monkeypatch.setattr(os, "pwritev", counted)
    contents = [blob(n, 700_001) for n in range(8)]
    before = keep(blobs, blob(1))
    names = keep(blobs, *contents)
    after = keep(blobs, blob(2))
    assert sum(written) == sum(map(room_of, map(len, contents)))
    assert [read(blobs, name) for name in names] == contents
    assert [read(blobs, name) for name in before + after] == [blob(1), blob(2)]


@pytest.mark.parametrize("where", ["open", "write"])
def test_where_nothing_passes_by_the_page_cache_it_is_written_through_it(
    blobs: DiskBlobs, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    opening, writing = os.open, os.pwritev
    contents = [blob(n, 700_000) for n in range(4)]

    def refuses(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "not here")
        return opening(path, flags, *rest, **named)

    def invalid(descriptor: int, *rest: Any) -> int:
        if is_direct(descriptor):
            raise OSError(errno.EINVAL, "not so")
        return writing(descriptor, *rest)

    if where == "open":
        monkeypatch.setattr(os, "open", refuses)
    else:
        monkeypatch.setattr(os, "pwritev", invalid)
    names = keep(blobs, *contents)
    assert [read(blobs, name) for name in names] == contents


def test_a_disk_that_takes_little_at_a_time_gets_all(
    blobs: DiskBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def little(descriptor: int, buffers: list[Any], start: int) -> int:
        return os.pwrite(descriptor, memoryview(b"".join(buffers))[:777], start)

    monkeypatch.setattr(os, "pwritev", little)
    names = blobs.pack([[blob(1)[:150], memoryview(blob(1))[150:]], [blob(2, 5000)]])
    assert [read(blobs, name) for name in names] == [blob(1), blob(2, 5000)]


# -- away --------------------------------------------------------------------------------


def test_what_is_removed_is_a_hole_and_its_room_is_free(
    blobs: DiskBlobs, folder: Path
) -> None:
    names = keep(blobs, *(blob(n, 50_000) for n in range(4)))
    (path,) = pack_files(folder)
    before = path.stat().st_blocks
    assert blobs.remove(names[1:3]) == []
    assert path.stat().st_blocks * 512 <= before * 512 - 2 * room_of(50_000)
    assert b"1." not in path.read_bytes()
    for name in names[1:3]:
        with pytest.raises(NotFound):
            blobs.open(name)
        assert not blobs.is_there(name)
    assert [read(blobs, names[n]) for n in (0, 3)] == [blob(0, 50_000), blob(3, 50_000)]
    assert blobs.remove(names[1:3]) == []


def test_a_pack_goes_with_its_last_blob_once_nobody_writes_to_it(
    blobs: DiskBlobs, folder: Path
) -> None:
    names = keep(blobs, blob(1), blob(2))
    other = another(folder)
    assert other.remove(names) == []
    assert len(pack_files(folder)) == 1  # somebody writes to it
    more = keep(blobs, blob(3))
    blobs.close_lane()
    assert marks(folder) == []
    assert read(other, more[0]) == blob(3)
    other.remove(more)
    assert list(folder.glob("blobs/*")) == []
    other.close_lane()
    blobs.open_lane()


def test_a_pack_that_nothing_is_left_in_goes_when_its_writer_ends(
    blobs: DiskBlobs, folder: Path
) -> None:
    blobs.remove(keep(blobs, blob(1)))
    blobs.close_lane()
    assert pack_files(folder) == marks(folder) == []
    blobs.open_lane()


def test_what_somebody_reads_stays_until_he_is_through(
    blobs: DiskBlobs, folder: Path
) -> None:
    names = keep(blobs, blob(1), blob(2))
    other = another(folder)
    with other.open(names[0]) as opened:
        assert blobs.remove(names) == [names[0]]
        assert opened.read(0, 1000) == blob(1)
    assert blobs.remove(names) == []
    with pytest.raises(NotFound):
        other.open(names[0])
    other.close_lane()


def test_what_was_lost_from_a_pack_is_not_found(blobs: DiskBlobs, folder: Path) -> None:
    (name,) = keep(blobs, blob(1))
    (path,) = pack_files(folder)
    before = descriptors()
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(NotFound):
        blobs.open(name)
    os.truncate(path, 0)
    with pytest.raises(NotFound):
        blobs.open(name)
    path.unlink()
    with pytest.raises(NotFound):
        blobs.locate(name)
    assert blobs.remove([name]) == []
    assert descriptors() == before


def test_where_there_are_no_holes_what_is_removed_is_written_over(
    blobs: DiskBlobs, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = keep(blobs, blob(1, 9000), blob(2))

    def knows_no_holes(*_: Any) -> int:
        ctypes.set_errno(errno.EOPNOTSUPP)
        return -1

    monkeypatch.setattr(packs, "_fallocate", knows_no_holes)
    blobs.remove(names[:1])
    (path,) = pack_files(folder)
    assert b"1." not in path.read_bytes()
    assert read(blobs, names[1]) == blob(2)
    assert packs.abilities_of(folder) == packs.Abilities()
    unpacked = another(folder)
    assert not unpacked.packs
    unpacked.close_lane()


# -- the disk says no --------------------------------------------------------------------


def full(*_: Any) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("size", [300, 700_000])
def test_a_full_disk_leaves_nothing_of_a_group_and_the_pack_goes_on(
    blobs: DiskBlobs, folder: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    kept = keep(blobs, blob(1))
    monkeypatch.setattr(os, "pwritev", full)
    with pytest.raises(StorageFull):
        blobs.pack([[blob(n, size)] for n in range(3)])
    monkeypatch.undo()
    (path,) = pack_files(folder)
    assert len(list(blobs_in(path))) == 1
    names = keep(blobs, blob(2))
    assert [read(blobs, name) for name in kept + names] == [blob(1), blob(2)]
    assert pack_files(folder) == [path]


def test_a_failed_flush_ends_the_pack(
    blobs: DiskBlobs, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel reports lost pages once: to ask again would be to believe a lie."""
    kept = keep(blobs, blob(1))
    names = blobs.pack([[blob(2)]])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", full)
        with pytest.raises(StorageFull):
            blobs.flush_pack()
    assert blobs.remove(names) == []
    more = keep(blobs, blob(3))
    assert pack_of(more[0]) != pack_of(kept[0])
    assert [read(blobs, name) for name in kept + more] == [blob(1), blob(3)]
    assert len(marks(folder)) == 2  # the next start looks at what is in the first


def test_a_pack_whose_name_is_not_safe_is_not_written_to(
    blobs: DiskBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = packing.flush_folder
    left = 2

    def failing(folder: Path) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, "full")
        flush(folder)

    monkeypatch.setattr(packing, "flush_folder", failing)
    with pytest.raises(StorageFull):
        blobs.pack([[blob(1)]])
    monkeypatch.undo()
    assert read(blobs, keep(blobs, blob(1))[0]) == blob(1)


# -- after a crash -----------------------------------------------------------------------


def test_a_start_makes_holes_of_what_got_no_row(
    blobs: DiskBlobs, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = keep(blobs, *(blob(n, 5000) for n in range(5)))
    tail = blobs.pack([[blob(9, 5000)]])
    living = another(folder)
    assert living.sweep(lambda name: False, lambda pack: []).removed == 0
    assert len(list(blobs_in(pack_files(folder)[0]))) == 6
    die(blobs)
    with_rows = [names[1], names[3]]
    swept = living.sweep(lambda name: False, lambda pack: with_rows)
    assert swept.removed == 3
    assert marks(folder) == []
    found = [place.start for place in blobs_in(pack_files(folder)[0])]
    assert found == [extent_of(name)[0] for name in with_rows]
    assert [read(living, name) for name in with_rows] == [blob(1, 5000), blob(3, 5000)]
    for name in (names[0], tail[0]):
        with pytest.raises(NotFound):
            living.open(name)
    living.close_lane()
    blobs.open_lane()


def test_a_start_removes_a_pack_of_which_nothing_got_a_row(
    blobs: DiskBlobs, folder: Path
) -> None:
    keep(blobs, blob(1), blob(2))
    die(blobs)
    after = another(folder)
    after.sweep(lambda name: False, lambda pack: [])
    assert list(folder.glob("blobs/*")) == marks(folder) == []
    after.close_lane()
    blobs.open_lane()


def test_a_mark_without_its_pack_goes(folder: Path, blobs: DiskBlobs) -> None:
    keep(blobs, blob(1))
    pack_files(folder)[0].unlink()
    die(blobs)
    after = another(folder)
    after.sweep(lambda name: False, lambda pack: [])
    assert marks(folder) == []
    after.close_lane()
    blobs.open_lane()


def die(blobs: DiskBlobs) -> None:
    """End as a process does that is killed: the locks go, nothing else is done."""
    blobs._pack._give_up()
    blobs.close_lane()


def test_a_place_of_its_own_is_named_by_its_file_and_one_in_a_pack_by_more() -> None:
    assert Place("/a").name == "/a"
    assert Place("/a", 0, 10).name != Place("/a", 4096, 10).name


def test_a_pack_whose_last_blob_goes_while_it_is_ended_goes_too(
    folder: Path, blobs: DiskBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = keep(blobs, blob(1))
    other = another(folder)

    def looked(descriptor: int) -> bool:
        found = packs.is_empty(descriptor)
        other.remove(names)
        return found

    monkeypatch.setattr(packing, "is_empty", looked)
    blobs.close_lane()
    other.close_lane()
    assert pack_files(folder) == []


def test_what_is_left_of_a_torn_block_goes_with_its_pack(folder: Path) -> None:
    dying = another(folder)
    keep(dying, blob(1))
    with pack_files(folder)[0].open("ab") as torn:
        torn.write(b"x" * 100)
    dying._pack._give_up()
    os.close(dying._lock)
    starting = another(folder)
    starting.sweep(lambda name: False, lambda pack: [])
    starting.close_lane()
    assert pack_files(folder) == []


@pytest.mark.parametrize("place", [0, 1, 2])
def test_who_reads_what_was_removed_keeps_nothing_else_of_a_dead_ones_pack(
    folder: Path, place: int
) -> None:
    dying, living = another(folder), another(folder)
    contents = [blob(number, 9_000) for number in (1, 2, 3)]
    names = keep(dying, *contents)
    with living.open(names[place]) as opened:
        dying._pack._give_up()
        os.close(dying._lock)
        with pack_files(folder)[0].open("ab") as torn:
            torn.write(bytes(128) + b"DICM")
        starting = another(folder)
        assert starting.sweep(lambda name: False, lambda pack: []).removed
        assert opened.read(0, 10**9) == contents[place]
    assert living.remove([names[place]]) == []
    assert pack_files(folder) == []
    for one in (living, starting):
        one.close_lane()


def test_a_disk_that_takes_no_file_more_is_no_obstacle_to_a_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    another(folder).close_lane()
    opened = os.open

    def refuses(path: Any, *arguments: Any) -> int:
        if Path(path).name == "probe":
            raise OSError(errno.ENOSPC, "no room")
        return opened(path, *arguments)

    monkeypatch.setattr(os, "open", refuses)
    blobs = another(folder)
    assert not blobs.packs
    blobs.close_lane()


# -- on the way to a reader ----------------------------------------------------------------


class OnTheWay:
    """Blobs of a pack that were sent, and that the reader has not taken yet."""

    def __init__(self, blobs: DiskBlobs) -> None:
        self.contents = [blob(number, 200_000) for number in (1, 2, 3)]
        self.names = keep(blobs, *self.contents)
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.theirs = socket.create_connection(server.getsockname())
            self.ours = server.accept()[0]
        self.ours.setblocking(False)
        pieces = [FileRange(name, 0, 200_000) for name in self.names]
        assert Sending(blobs, pieces).push(self.ours)

    def taken(self) -> bytes:
        """What the reader gets, once we have ended."""
        self.ours.close()
        with self.theirs, self.theirs.makefile("rb") as taken:
            return taken.read()


def removed(blobs: DiskBlobs, names: list[str]) -> bool:
    """Whether blobs go, if not at once: the network gives memory back a little later."""
    for _ in range(100):
        names = blobs.remove(names)
        if not names:
            return True
        time.sleep(0.02)
    return False


def test_what_was_sent_and_not_taken_yet_stays_when_its_blob_is_removed(
    blobs: DiskBlobs, folder: Path
) -> None:
    if not blobs.lends:
        pytest.skip(
            "the file system does not tell whose its memory is: use ext4 or xfs"
        )
    sent = OnTheWay(blobs)
    assert blobs.remove(sent.names) == sent.names
    assert sent.taken() == b"".join(sent.contents)
    assert removed(blobs, sent.names)
    assert not pack_files(folder)[0].stat().st_blocks


def test_what_was_sent_and_not_taken_outlives_even_its_connection(
    blobs: DiskBlobs, folder: Path
) -> None:
    sent = OnTheWay(blobs)
    sent.ours.close()
    other = another(folder)
    other.remove(sent.names)
    assert sent.taken() == b"".join(sent.contents)
    assert removed(other, sent.names)
    other.close_lane()


def test_where_nobody_tells_who_has_the_memory_what_is_sent_is_copied(
    blobs: DiskBlobs,
) -> None:
    blobs.lends = False
    sent = OnTheWay(blobs)
    assert blobs.remove(sent.names) == []
    assert sent.taken() == b"".join(sent.contents)


def test_what_lies_beside_something_on_its_way_is_removed_when_it_had_no_row(
    blobs: DiskBlobs,
) -> None:
    sent = OnTheWay(blobs)
    (beside,) = keep(blobs, blob(4, 5_000))
    assert blobs.remove([beside], seen=False) == []
    assert sent.taken() == b"".join(sent.contents)


def test_what_was_just_written_and_nobody_has_is_removed_at_once(
    blobs: DiskBlobs, folder: Path
) -> None:
    names = blobs.pack([[blob(1, 9_000)], [blob(2, 9_000)]])  # not flushed yet
    with blobs.open(names[0]) as opened:
        opened.read(0, 9_000)
    assert blobs.remove(names) == []
    assert not pack_files(folder)[0].stat().st_blocks
