"""Taking in what lies on a disk: files, folders and zips, without a server.

The archive is opened beside a running server, or alone; what is imported is as safe as
what is sent. Several files are on their way at a time.
"""

import asyncio
import logging
import os
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import uvloop

from gateway.archive import Archive
from gateway.config.settings import load
from gateway.errors import BadRequest, GatewayError
from gateway.outcomes import Outcome, Stored
from gateway.parts import PRIVATE, make_archive, use_temporary_directory
from gateway.places import Opened, Place
from gateway.storage.packs import SUFFIX, blobs_in
from gateway.zips import store_zip

_STEP = 1024 * 1024

#: Files read and stored at the same time.
_AT_A_TIME = 16

#: Refused files named in the summary; of more, only how many there are.
_NAMED = 50

_BAR = 30


def import_paths(config_paths: Sequence[Path], paths: Sequence[Path]) -> int:
    """Import files, folders and zips; exit code 1 if anything was refused.

    Raises BadConfiguration.
    """
    loaded = load(config_paths, os.environ)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    os.umask(PRIVATE)
    use_temporary_directory(loaded.settings)
    report = Report(sys.stderr)
    missing = [path for path in paths if not path.exists()]
    for path in missing:
        report.refuse(str(path), "no such file or folder")

    async def run() -> None:
        async with make_archive(loaded.settings) as archive:
            await _import(archive, files, report)

    files = list(_files(paths))
    uvloop.run(run())
    report.close()
    print(report.summary())
    return 1 if report.refused else 0


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    """All files under the paths, folders in the order of their names."""
    for path in paths:
        if path.is_dir():
            for folder, folders, names in os.walk(path):
                folders.sort()
                for name in sorted(names):
                    yield Path(folder, name)
        elif path.exists():
            yield path


class Report:
    """Counts what became of each file and shows how far it is."""

    def __init__(self, out: TextIO) -> None:
        self.stored = 0
        self.already_there = 0
        self.refused = 0
        self.total = 0
        self._seen = 0
        self._out = out
        self._named: list[tuple[str, str]] = []
        self._reasons: Counter[str] = Counter()
        self._shown = -1

    def count(self, name: str, outcome: Outcome) -> None:
        """Note what became of one instance."""
        if not isinstance(outcome, Stored):
            self.refuse(name, outcome.message)
        elif outcome.already_there:
            self.already_there += 1
        else:
            self.stored += 1

    def refuse(self, name: str, reason: str) -> None:
        """Note one that was not stored."""
        self.refused += 1
        self._reasons[reason] += 1
        if len(self._named) < _NAMED:
            self._named.append((name, reason))

    def advance(self) -> None:
        """Show that one more file is done, on a terminal as a bar."""
        self._seen += 1
        if not self._out.isatty() or not self.total:
            return
        done = 1000 * self._seen // self.total
        if done != self._shown:
            self._shown = done
            bar = "#" * (_BAR * done // 1000)
            text = f"\r[{bar:<{_BAR}}] {self._seen} of {self.total} files"
            self._out.write(text)
            self._out.flush()

    def close(self) -> None:
        """End the line of the bar."""
        if self._shown >= 0:
            self._out.write("\n")

    def summary(self) -> str:
        """What became of everything, in lines."""
        lines = [
            f"stored: {self.stored}",
            f"already there: {self.already_there}",
            f"refused: {self.refused}",
        ]
        lines += [f"  {name}: {reason}" for name, reason in self._named]
        if self.refused > len(self._named):
            lines.append("  and more; all reasons:")
            lines += [f"  {n} x {reason}" for reason, n in self._reasons.most_common()]
        return "\n".join(lines)


async def _import(archive: Archive, files: list[Path], report: Report) -> None:
    report.total = len(files)
    waiting = iter(files)

    async def work() -> None:
        for path in waiting:
            try:
                await _import_file(archive, path, report)
            except (GatewayError, OSError) as error:
                report.refuse(str(path), str(error))
            report.advance()

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_A_TIME):
            group.create_task(work())


async def _import_file(archive: Archive, path: Path, report: Report) -> None:
    if await asyncio.to_thread(_is_special, path):
        raise BadRequest("neither a file nor a folder")
    with await asyncio.to_thread(path.open, "rb") as file:
        if path.suffix.lower() == ".zip" or await asyncio.to_thread(_is_zip, path):
            number = 0
            async for outcome in store_zip(archive, file):
                number += 1
                report.count(f"{path}, file {number}", outcome)
            return
        if path.suffix == SUFFIX and not os.fstat(file.fileno()).st_size:
            return  # the mark of a pack, or a pack that nothing is in
        if path.suffix == SUFFIX and (places := await asyncio.to_thread(_packed, path)):
            for place in places:
                with await asyncio.to_thread(place.open) as opened:
                    outcome = await _import_bytes(archive, opened)
                report.count(f"{path}, byte {place.start}", outcome)
            return
        with Opened(os.dup(file.fileno())) as opened:
            report.count(str(path), await _import_bytes(archive, opened))


async def _import_bytes(archive: Archive, opened: Opened) -> Outcome:
    position = 0
    async with archive.receive() as receiver:
        while chunk := await asyncio.to_thread(opened.read, position, _STEP):
            await receiver.write(chunk)
            position += len(chunk)
        return await receiver.keep()


def _packed(path: Path) -> list[Place]:
    """The instances in a pack of an archive; none if it is something else."""
    return list(blobs_in(path))


def _is_special(path: Path) -> bool:
    """Whether it is a pipe or a device, which may have no end."""
    return path.exists() and not path.is_file()


def _is_zip(path: Path) -> bool:
    """Whether the file begins like a zip; a DICOM file may end like one."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04" and zipfile.is_zipfile(path)
