"""Zips that are written as they go, read by Python's own reader and by unzip."""

import io
import shutil
import subprocess
import zipfile
import zlib
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire import zip_format
from gateway.wire.zip_format import Member

MOMENT = datetime(2024, 2, 29, 13, 37, 42)
GIBIBYTE = 1024**3


def written(files: dict[str, bytes], moment: datetime = MOMENT) -> bytes:
    out, listed = bytearray(), bytearray()
    for name, data in files.items():
        member = Member(name, len(data), moment)
        checksum = zlib.crc32(data)
        listed += zip_format.listed(member, checksum, len(out))
        out += zip_format.before(member, checksum) + data
    end = zip_format.ending(len(files), len(out), len(listed))
    return bytes(out + listed + end)


@given(
    st.dictionaries(
        st.text(st.characters(exclude_characters="\\\0:", codec="utf-8"), min_size=1),
        st.binary(max_size=100),
        max_size=5,
    )
)
def test_what_is_written_is_read(files: dict[str, bytes]) -> None:
    found = written(files)
    members = [Member(name, len(data), MOMENT) for name, data in files.items()]
    assert zip_format.length(members) == len(found)
    with zipfile.ZipFile(io.BytesIO(found)) as read:
        assert read.testzip() is None
        assert {one.filename: read.read(one) for one in read.infolist()} == files
        assert all(
            one.date_time == (2024, 2, 29, 13, 37, 42) for one in read.infolist()
        )


@pytest.mark.parametrize(("year", "told"), [(1970, 1980), (2200, 2107)])
def test_years_that_the_format_lacks(year: int, told: int) -> None:
    found = written({"a": b""}, MOMENT.replace(year=year, day=1))
    with zipfile.ZipFile(io.BytesIO(found)) as read:
        assert read.infolist()[0].date_time[0] == told


def test_more_files_than_the_old_form_counts() -> None:
    files = {f"{number}": b"" for number in range(70_000)}
    with zipfile.ZipFile(io.BytesIO(written(files))) as read:
        assert len(read.infolist()) == 70_000


def test_what_is_beyond_four_gibibytes(tmp_path: Path) -> None:
    large, small = Member("large", 5 * GIBIBYTE, MOMENT), Member("small", 4, MOMENT)
    path = tmp_path / "sparse.zip"
    with path.open("wb") as file:
        file.write(zip_format.before(large, 0))
        file.seek(large.size, io.SEEK_CUR)
        place = file.tell()
        file.write(zip_format.before(small, zlib.crc32(b"here")) + b"here")
        start = file.tell()
        file.write(zip_format.listed(large, 0, 0))
        file.write(zip_format.listed(small, zlib.crc32(b"here"), place))
        file.write(zip_format.ending(2, start, file.tell() - start))
    assert path.stat().st_size == zip_format.length([large, small])
    with zipfile.ZipFile(path) as read:
        assert read.read("small") == b"here"
        assert read.getinfo("large").file_size == large.size
        assert read.getinfo("small").header_offset == place > 5 * GIBIBYTE


@pytest.mark.skipif(shutil.which("unzip") is None, reason="there is no unzip here")
def test_unzip_has_nothing_to_say(tmp_path: Path) -> None:
    path = tmp_path / "some.zip"
    path.write_bytes(written({"a/b.dcm": b"x" * 1000, "a/\xe9.dcm": b""}))
    told = subprocess.run(["unzip", "-tq", path], capture_output=True, check=True)
    assert b"No errors" in told.stdout
