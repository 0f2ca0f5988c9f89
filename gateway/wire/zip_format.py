"""What stands around the files in a zip that is written as it goes (APPNOTE 4.3).

Files are stored as they are: DICOM files that could be made smaller are so already. Size
and checksum stand before each, so that readers understand it that do not wait for the
end; what is long or far in has the fields of Zip64. The length of a zip follows from the
names and sizes alone.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

#: Names in UTF-8.
_FLAGS = 0x0800
_STORED = 0
_OLD, _ZIP64 = 20, 45  # versions that a reader needs
_MADE_BY = 3 << 8 | _ZIP64  # as on Unix
_MODE = 0o100640 << 16  # an ordinary file
_MAX_32 = 0xFFFFFFFF
_MAX_16 = 0xFFFF
_ZIP64_FIELD = 1
_EARLIEST, _LATEST = 1980, 2107  # years that the format knows


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a zip."""

    name: str  # with slashes between folders
    size: int  # bytes
    modified: datetime

    @property
    def is_large(self) -> bool:
        """Whether its size takes the fields of Zip64."""
        return self.size >= _MAX_32


def before(member: Member, checksum: int) -> bytes:
    """What stands before a file: its local header."""
    extra = b""
    size = member.size
    if member.is_large:
        extra = struct.pack("<HHQQ", _ZIP64_FIELD, 16, size, size)
        size = _MAX_32
    name = member.name.encode()
    fields = (_needed(member.is_large), _FLAGS, _STORED, *_when(member.modified))
    head = struct.pack("<IHHHHH", 0x04034B50, *fields)
    lengths = (len(name), len(extra))
    return head + struct.pack("<IIIHH", checksum, size, size, *lengths) + name + extra


def listed(member: Member, checksum: int, offset: int) -> bytes:
    """Its entry in the directory at the end; `offset` is where it begins."""
    far = [member.size, member.size] if member.is_large else []
    far += [offset] if offset >= _MAX_32 else []
    extra = struct.pack(f"<HH{len(far)}Q", _ZIP64_FIELD, 8 * len(far), *far)
    extra = extra if far else b""
    name = member.name.encode()
    size = _MAX_32 if member.is_large else member.size
    fields = (_needed(bool(far)), _FLAGS, _STORED, *_when(member.modified))
    head = struct.pack("<IHHHHHH", 0x02014B50, _MADE_BY, *fields)
    place = min(offset, _MAX_32)
    lengths = (len(name), len(extra), 0, 0, 0)
    return (
        head
        + struct.pack("<III", checksum, size, size)
        + struct.pack("<HHHHHII", *lengths, _MODE, place)
        + name
        + extra
    )


def ending(count: int, start: int, size: int) -> bytes:
    """What ends a zip whose directory of so many files and bytes begins there."""
    told = struct.pack(
        "<IHHHHIIH",
        *(0x06054B50, 0, 0, min(count, _MAX_16), min(count, _MAX_16)),
        *(min(size, _MAX_32), min(start, _MAX_32), 0),
    )
    if count < _MAX_16 and size < _MAX_32 and start < _MAX_32:
        return told
    versions = (_MADE_BY, _ZIP64, 0, 0)
    wide = struct.pack(
        "<IQHHIIQQQQ", 0x06064B50, 44, *versions, count, count, size, start
    )
    return wide + struct.pack("<IIQI", 0x07064B50, 0, start + size, 1) + told


def length(members: Iterable[Member]) -> int:
    """The length of a zip of these files."""
    offset = count = directory = 0
    for member in members:
        count += 1
        directory += len(listed(member, 0, offset))
        offset += len(before(member, 0)) + member.size
    return offset + directory + len(ending(count, offset, directory))


def _needed(wide: bool) -> int:
    return _ZIP64 if wide else _OLD


def _when(moment: datetime) -> tuple[int, int]:
    """Time and date as MS-DOS had them."""
    year = min(max(moment.year, _EARLIEST), _LATEST)
    time = moment.hour << 11 | moment.minute << 5 | moment.second // 2
    return time, (year - _EARLIEST) << 9 | moment.month << 5 | moment.day
