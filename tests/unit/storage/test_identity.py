"""Index and files belong together, or the start is refused."""

import shutil
from pathlib import Path

import pytest

from gateway.archive import Archive
from gateway.errors import BadConfiguration
from gateway.outcomes import Stored
from tests.factories import image
from tests.kept import contents, lose, places


async def _store(storage: Path, index: Path, file: bytes) -> Stored:
    async with Archive(storage, index) as archive, archive.receive() as receiver:
        await receiver.write(file)
        outcome = await receiver.keep()
    assert isinstance(outcome, Stored)
    return outcome


def _blobs(storage: Path) -> list[Path]:
    return [path for path in (storage / "blobs").rglob("*") if path.is_file()]


async def test_another_index_does_not_touch_the_files(tmp_path: Path) -> None:
    await _store(tmp_path / "files", tmp_path / "index", image(1024, 1024))
    (kept,) = _blobs(tmp_path / "files")
    under_way = tmp_path / "files" / "incoming" / "0" / kept.name
    kept.rename(under_way)
    with pytest.raises(BadConfiguration, match="holds files, but the index is new"):
        async with Archive(tmp_path / "files", tmp_path / "other"):
            pass
    assert under_way.exists()
    async with Archive(tmp_path / "files", tmp_path / "index"):
        pass
    assert len(_blobs(tmp_path / "files")) == 1


async def test_the_files_of_another_index_are_refused(tmp_path: Path) -> None:
    await _store(tmp_path / "one", tmp_path / "one", image())
    await _store(tmp_path / "two", tmp_path / "two", image())
    with pytest.raises(BadConfiguration, match="belong to another index"):
        async with Archive(tmp_path / "one", tmp_path / "two"):
            pass


async def test_a_folder_that_is_not_mounted_is_refused(tmp_path: Path) -> None:
    await _store(tmp_path / "files", tmp_path / "index", image())
    (tmp_path / "files").rename(tmp_path / "away")
    with pytest.raises(BadConfiguration, match="is it mounted"):
        async with Archive(tmp_path / "files", tmp_path / "index"):
            pass


async def test_a_lost_index_is_made_anew_from_the_files(tmp_path: Path) -> None:
    file = image()
    await _store(tmp_path / "files", tmp_path / "index", file)
    shutil.rmtree(tmp_path / "index")
    with pytest.raises(BadConfiguration, match="import the files"):
        async with Archive(tmp_path / "files", tmp_path / "index"):
            pass
    (kept,) = contents(tmp_path / "files")
    assert kept == file
    again = await _store(tmp_path / "new", tmp_path / "new", kept)
    assert not again.already_there


async def test_an_instance_whose_file_is_lost_is_mended_by_sending_it_again(
    tmp_path: Path,
) -> None:
    file = image()
    await _store(tmp_path / "files", tmp_path / "index", file)
    (place,) = places(tmp_path / "files")
    lose(place)
    again = await _store(tmp_path / "files", tmp_path / "index", file)
    assert not again.already_there
    assert contents(tmp_path / "files") == [file]
    async with Archive(tmp_path / "files", tmp_path / "index") as archive:
        assert (await archive.totals()).instances == 1
