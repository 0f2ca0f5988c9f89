"""What readers make of zips that are larger than 4 GiB."""

import zipfile
import zlib
from datetime import datetime
from pathlib import Path

from gateway.web.zip_stream import Member, directory_entry, end_of, head_of

HUGE = 5 * 1024**3
MOMENT = datetime(2024, 2, 29, 13, 45, 58)


def test_files_and_places_beyond_4_gib_are_found(tmp_path: Path) -> None:
    members = [
        (Member("huge.dcm", HUGE, (), MOMENT), 0),
        (Member("Größe/small.dcm", 5, (b"small",), MOMENT), zlib.crc32(b"small")),
    ]
    path = tmp_path / "zip"
    directory = b""
    with path.open("wb") as file:
        for member, checksum in members:
            name = member.name.encode()
            directory += directory_entry(member, name, checksum, file.tell())
            file.write(head_of(member, name, checksum))
            for piece in member.pieces:
                assert isinstance(piece, bytes)
                file.write(piece)
            if not member.pieces:
                file.seek(member.size, 1)  # a hole in the file
        at = file.tell()
        file.write(directory + end_of(len(members), len(directory), at))
    with zipfile.ZipFile(path) as container:
        huge, small = container.infolist()
        assert huge.file_size == HUGE
        assert small.header_offset > HUGE
        assert container.read(small) == b"small"
        assert small.filename == "Größe/small.dcm"
        assert small.date_time == (2024, 2, 29, 13, 45, 58)
