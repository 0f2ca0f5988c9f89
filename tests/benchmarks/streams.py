"""Objects made while they are sent: too many, or too large, to hold.

A template made once is patched for each object, with identifiers of a fixed width so
that no length in the file changes. Nothing here needs pydicom or numpy, so that the
measured client stays light.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FRAME = 512 * 512 * 2

# Ten digits each, in the template's place of the study's and the instance's number.
STUDY_MARK = "7777777777"
INSTANCE_MARK = "8888888888"


def numbered(number: int) -> str:
    """Ten digits that are a component of a UID: it may not begin with a zero."""
    return str(1_000_000_000 + number)


@dataclass(frozen=True, slots=True)
class Many:
    """So many small instances, spread evenly over so many studies."""

    template: Path
    count: int
    studies: int

    def objects(self) -> Iterator[bytes]:
        """Each instance as a file, study after study."""
        template = self.template.read_bytes()
        each = self.count // self.studies
        for number in range(self.count):
            yield patched(template, number // each, number)

    def digests(self) -> Iterator[bytes]:
        """The SHA-256 of each instance, in the same order."""
        for file in self.objects():
            yield hashlib.sha256(file).digest()


def patched(template: bytes, study: int, number: int) -> bytes:
    """The template as instance ``number`` of ``study``, its last pixels its own."""
    file = template.replace(STUDY_MARK.encode(), numbered(study).encode())
    file = file.replace(INSTANCE_MARK.encode(), numbered(number).encode())
    return file[:-8] + number.to_bytes(8, "little")


@dataclass(frozen=True, slots=True)
class Large:
    """One multi-frame object whose frames differ from each other."""

    header: Path
    frame: Path
    frames: int

    @property
    def size(self) -> int:
        """The length of the file in bytes."""
        return self.header.stat().st_size + self.frames * FRAME

    def pieces(self) -> Iterator[bytes]:
        """The file from its first byte to its last, one frame at a time."""
        yield self.header.read_bytes()
        frame = self.frame.read_bytes()
        for number in range(self.frames):
            yield number.to_bytes(8, "little") + frame[8:]

    def digest(self) -> str:
        """The SHA-256 of the file."""
        seen = hashlib.sha256()
        for piece in self.pieces():
            seen.update(piece)
        return seen.hexdigest()
