"""`import` as people run it: files, folders, zips, and what it says of them."""

import os
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from gateway.cli import main
from tests.factories import dicom_file, image
from tests.kept import contents
from tests.settings import settings
from tests.starting import CHECKOUT, announced, command, get

SUMMARY = ("stored", "already there", "refused")


class Done(NamedTuple):
    """What a run came to."""

    numbers: tuple[int, ...]  # stored, already there, refused
    said: str
    errors: str


def read(said: str, errors: str) -> Done:
    assert "Traceback" not in errors
    numbers = []
    for line, name in zip(said.splitlines(), SUMMARY, strict=False):
        shown, _, number = line.partition(": ")
        assert shown == name
        numbers.append(int(number))
    return Done(tuple(numbers), said, errors)


def run_alone(folder: Path, *paths: Path, code: int = 0) -> Done:
    """Run `import` with the configuration in the folder, as a process."""
    words = ["--config", str(folder / "gateway.json"), *map(str, paths)]
    done = subprocess.run(
        command("import", *words),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return read(done.stdout, done.stderr)


Run = Callable[..., Done]


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Do the same in this process, which is quicker."""

    def begin(*paths: Path, code: int = 0) -> Done:
        config = str(folder / "gateway.json")
        found = main(["import", "--config", config, *map(str, paths)])
        out, errors = capsys.readouterr()
        assert found == code, errors
        return read(out, errors)

    return begin


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a configuration, and one beside it for what is imported."""
    settings(tmp_path)
    (tmp_path / "given").mkdir()
    return tmp_path


def kept(folder: Path) -> list[bytes]:
    return contents(folder / "storage")


def test_a_file_is_stored_byte_for_byte(folder: Path) -> None:
    file = image(1024, 1024)
    path = folder / "given/a file with blanks.dcm"
    path.write_bytes(file)
    done = run_alone(folder, path)
    assert done.numbers == (1, 0, 0)
    assert done.errors == ""
    assert kept(folder) == [file]
    assert path.read_bytes() == file


def test_the_same_again_is_already_there(folder: Path, run: Run) -> None:
    path = folder / "given/x"
    path.write_bytes(dicom_file())
    assert run(path).numbers == (1, 0, 0)
    assert run(path).numbers == (0, 1, 0)
    assert run(path, path).numbers == (0, 2, 0)


def test_a_folder_is_imported_with_all_below_it(folder: Path, run: Run) -> None:
    files = [dicom_file() for _ in range(40)]
    for number, file in enumerate(files):
        place = folder / "given" / str(number % 3) / "deep"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.dcm").write_bytes(file)
    (folder / "given/empty").mkdir()
    assert run(folder / "given").numbers == (40, 0, 0)
    assert sorted(kept(folder)) == sorted(files)


def test_the_instances_of_an_archive_whose_index_is_lost_are_imported(
    folder: Path, run: Run
) -> None:
    files = [dicom_file() for _ in range(5)] + [image(1024, 1024)]
    for number, file in enumerate(files):
        (folder / f"given/{number}").write_bytes(file)
    assert run(folder / "given").numbers == (6, 0, 0)
    (folder / "storage").rename(folder / "old")
    (folder / "old/incoming/0" / ("0" * 32 + ".pack")).touch()  # as after a crash
    old = folder / "old"
    assert run(old / "blobs", old / "incoming" / "0").numbers == (6, 0, 0)
    assert sorted(kept(folder)) == sorted(files)
    # What is called so and is none is taken for what it is.
    (folder / "given/x.pack").write_bytes(files[0])
    assert run(folder / "given/x.pack").numbers == (0, 1, 0)


def test_the_files_of_a_zip_are_imported(folder: Path, run: Run) -> None:
    files = [dicom_file(), image()]
    for name in ("study.zip", "named like no zip"):
        with zipfile.ZipFile(folder / "given" / name, "w") as container:
            for number, file in enumerate(files):
                container.writestr(f"a/{number}", file)
            container.writestr("b/", "")
    done = run(folder / "given/named like no zip")
    assert done.numbers == (2, 0, 0)
    assert run(folder / "given").numbers == (0, 4, 0)


def test_what_is_refused_is_named_with_its_reason(folder: Path, run: Run) -> None:
    given = folder / "given"
    (given / "good").write_bytes(dicom_file(SOPInstanceUID="1.2", PatientName="A"))
    (given / "notes.txt").write_text("no DICOM")
    (given / "empty").write_bytes(b"")
    (given / "no study").write_bytes(dicom_file(StudyInstanceUID=None))
    (given / "broken.zip").write_bytes(b"PK\x03\x04 broken")
    done = run(given, given / "gone", code=1)
    assert done.numbers == (1, 0, 5)
    for name, reason in (
        ("notes.txt", "not a DICOM file"),
        ("empty", "not a DICOM file"),
        ("no study", "StudyInstanceUID (0020,000D)"),
        ("broken.zip", "the zip cannot be read"),
        ("gone", "no such file or folder"),
    ):
        line = next(line for line in done.said.splitlines() if f"/{name}: " in line)
        assert reason in line
    (given / "other").write_bytes(dicom_file(SOPInstanceUID="1.2", PatientName="B"))
    done = run(given / "other", code=1)
    assert done.numbers == (0, 0, 1)
    assert "other content" in done.said


def test_a_bad_file_in_a_zip_is_named_by_its_number(folder: Path, run: Run) -> None:
    path = folder / "given/a.zip"
    with zipfile.ZipFile(path, "w") as container:
        container.writestr("1", dicom_file())
        container.writestr("2", "no DICOM")
        container.writestr("3", dicom_file())
    done = run(path, code=1)
    assert done.numbers == (2, 0, 1)
    assert f"{path}, file 2: not a DICOM file" in done.said


def test_of_many_refused_not_all_are_named_but_all_reasons_counted(
    folder: Path, run: Run
) -> None:
    for number in range(70):
        (folder / "given" / f"{number:02}").write_text("no DICOM")
    done = run(folder / "given", code=1)
    assert done.numbers == (0, 0, 70)
    assert done.said.count("/given/") == 50
    assert "70 x not a DICOM file" in done.said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(folder: Path, run: Run) -> None:
    path = folder / "given/secret"
    path.write_bytes(dicom_file())
    path.chmod(0)
    assert "Permission denied" in run(path, code=1).said


def test_what_is_no_file_is_refused_and_not_waited_for(folder: Path, run: Run) -> None:
    os.mkfifo(folder / "given/pipe")
    os.symlink(folder / "nowhere", folder / "given/dangling")
    (folder / "given/good").write_bytes(dicom_file())
    done = run(folder / "given", code=1)
    assert done.numbers == (1, 0, 2)
    assert "/pipe: neither a file nor a folder" in done.said
    assert "/dangling: " in done.said


@pytest.mark.slow
def test_importing_beside_a_running_server_is_seen_by_it(folder: Path) -> None:
    (folder / "given/x").write_bytes(dicom_file())
    with announced(folder) as server:
        assert run_alone(folder, folder / "given").numbers == (1, 0, 0)
        found = get(f"http://127.0.0.1:{server.port}/dicom-web/instances")
        assert found.body.startswith(b'[{"00080005"')


def test_a_configuration_that_cannot_be_used_imports_nothing(
    folder: Path, run: Run
) -> None:
    (folder / "given/x").write_bytes(dicom_file())
    (folder / "gateway.json").write_text('{"HttpPort": "x"}')
    done = run(folder / "given", code=2)
    assert done.numbers == ()
    assert "HttpPort" in done.errors


def test_importing_needs_something_to_import(folder: Path) -> None:
    assert "PATH" in run_alone(folder, code=2).errors
