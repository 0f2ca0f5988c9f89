"""Files of instances on a disk."""

import errno
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import StorageFull
from gateway.storage.blobs import DiskBlobs
from tests.unit.storage.blob_contract import BlobContract, descriptors, nothing_packed


class TestDiskBlobs(BlobContract):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "storage"

    def another(self) -> DiskBlobs:
        opened = DiskBlobs(self.folder)
        opened.open_lane()
        return opened

    def under_way(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("incoming/*/*"))

    # -- the disk says no --------------------------------------------------------------

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
    def test_a_full_disk_is_storage_full_and_leaves_nothing(
        self, blobs: DiskBlobs, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        before = descriptors()
        incoming = blobs.incoming()
        monkeypatch.setattr(os, "pwritev", failing(number))
        with pytest.raises(StorageFull):
            incoming.append([b"content"])
        incoming.discard()
        assert self.under_way() == []
        assert descriptors() == before

    def test_any_other_error_of_the_disk_is_not_called_full(
        self, blobs: DiskBlobs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        incoming = blobs.incoming()
        monkeypatch.setattr(os, "pwritev", failing(errno.EIO))
        with pytest.raises(OSError, match="Input/output") as caught:
            incoming.append([b"content"])
        assert not isinstance(caught.value, StorageFull)
        incoming.discard()

    def test_a_disk_that_takes_little_at_a_time_gets_all(
        self, blobs: DiskBlobs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def little(descriptor: int, buffers: list[Any], start: int) -> int:
            return os.pwrite(descriptor, memoryview(b"".join(buffers))[:3], start)

        monkeypatch.setattr(os, "pwritev", little)
        name = self.keep(blobs, b"0123456789")
        assert self.read(blobs, name) == b"0123456789"

    def test_a_failed_flush_is_never_followed_by_a_success(
        self, blobs: DiskBlobs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The kernel reports lost pages once; to ask again would be to believe a lie."""
        before = descriptors()
        incoming = blobs.incoming()
        incoming.append([b"content"])
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", failing(errno.EIO))
            with pytest.raises(OSError, match="Input/output"):
                incoming.flush()
        with pytest.raises(StorageFull):
            incoming.flush()
        assert descriptors() == before
        incoming.discard()

    def test_a_file_that_cannot_be_removed_now_goes_at_the_next_start(
        self, blobs: DiskBlobs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        incoming = blobs.incoming()
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", failing(errno.EROFS))
            incoming.discard()
        blobs.close_lane()
        after = self.another()
        assert after.sweep(lambda name: False, nothing_packed).removed == 1
        after.close_lane()

    # -- folders -----------------------------------------------------------------------

    def test_folders_that_are_left_empty_go(self, blobs: DiskBlobs) -> None:
        first, second = self.keep(blobs), self.keep(blobs)
        blobs.remove([first])
        assert len(list(self.folder.glob("blobs/*/*/*/*"))) == 1
        blobs.remove([second])
        assert list((self.folder / "blobs").iterdir()) == []

    def test_a_removal_and_a_publication_at_once_do_not_disturb_each_other(
        self, blobs: DiskBlobs
    ) -> None:
        """One takes away the folder that the other has just made."""
        errors: list[BaseException] = []
        other = self.another()

        def churn(mine: DiskBlobs) -> None:
            try:
                for _ in range(200):
                    mine.remove([self.keep(mine)])
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=churn, args=[b]) for b in (blobs, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        other.close_lane()
        assert errors == []
        assert blobs.names() == []
        assert self.under_way() == []

    def test_a_blob_that_moves_while_it_is_removed_is_removed(
        self, blobs: DiskBlobs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = self.flushed(blobs)
        unlink = Path.unlink
        asked: list[Path] = []

        def move_first(path: Path, missing_ok: bool = False) -> None:
            asked.append(path)
            if len(asked) == 2:  # not in place; before the look where it comes from
                blobs.publish(name)
            unlink(path, missing_ok)

        monkeypatch.setattr(Path, "unlink", move_first)
        blobs.remove([name])
        assert len(asked) == 3
        assert blobs.names() == []

    def test_what_is_no_file_of_ours_is_swept_and_a_folder_is_left(
        self, blobs: DiskBlobs
    ) -> None:
        blobs.close_lane()
        lane = self.folder / "incoming" / "0"
        (lane / "notes.txt").write_text("no blob")
        (lane / "lost+found").mkdir()
        after = self.another()
        assert after.sweep(lambda name: True, nothing_packed).removed == 1
        assert self.under_way() == ["lost+found"]
        after.close_lane()

    # -- a loss of power ---------------------------------------------------------------

    def test_new_folders_are_flushed_into_those_above(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        flushed: list[Path] = []
        fsync = os.fsync

        def note(descriptor: int) -> None:
            flushed.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", note)
        blobs = DiskBlobs(tmp_path / "a" / "b")
        blobs.open_lane()
        blobs.close_lane()
        for folder in ("", "a", "a/b", "a/b/incoming"):
            assert tmp_path / folder in flushed

    def test_removed_files_are_flushed_away(
        self, blobs: DiskBlobs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else a loss of power could bring a file back that nobody remembers."""
        first, second = self.keep(blobs), self.keep(blobs)
        flushed: list[Path] = []

        def note(descriptor: int) -> None:
            flushed.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))

        monkeypatch.setattr(os, "fsync", note)
        blobs.remove([first])
        (place,) = self.folder.glob(f"blobs/*/*/*/{second}")
        assert flushed == [place.parent]
        flushed.clear()
        blobs.remove([second])
        assert self.folder / "blobs" in flushed

    # -- lanes -------------------------------------------------------------------------

    def test_each_process_gets_a_lane_and_a_free_one_is_taken_again(self) -> None:
        first, second = self.another(), self.another()
        first.close_lane()
        third = self.another()
        lanes = {path.name for path in self.folder.glob("incoming/*/")}
        assert lanes == {"0", "1"}
        second.close_lane()
        third.close_lane()
        third.close_lane()

    def test_the_lane_of_another_process_is_swept_once_that_is_dead(
        self, blobs: DiskBlobs
    ) -> None:
        ready, told = os.pipe()
        process = os.fork()
        if not process:
            try:
                mine = self.another()
                name = self.flushed(mine)
                os.write(told, name.encode())
                signal.pause()
            finally:
                os._exit(1)
        name = os.read(ready, 100).decode()
        try:
            assert blobs.sweep(lambda name: False, nothing_packed).removed == 0
            assert self.under_way() == [name]
        finally:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            os.close(ready)
            os.close(told)
        assert blobs.sweep(lambda name: False, nothing_packed).removed == 1
        assert self.under_way() == []


def failing(number: int) -> Any:
    def fail(*arguments: Any, **named: Any) -> None:
        raise OSError(number, os.strerror(number))

    return fail
