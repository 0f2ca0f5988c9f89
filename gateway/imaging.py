"""What is made from what we hold: frames and instances in other transfer syntaxes.

The work is done by other processes. The same thing asked for twice at once is done once,
and what was made last is kept for a while, frames in memory and instances in files.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from gateway.archive import Archive, FileRange, Instance, Piece
from gateway.dicom.bulk import ReadAt
from gateway.dicom.frames import FrameIndex, FrameIndexes, Runs, frame_runs, index_of
from gateway.dicom.pixels import PixelLayout, has_pixels
from gateway.dicom.transcode import Source, can_transcode, frame_in, instance_in
from gateway.errors import NotFound
from gateway.flight import SingleFlight
from gateway.pool import Pool

T = TypeVar("T")

#: Bytes of frames that are kept.
FRAMES_KEPT = 64 * 1024 * 1024
#: Bytes of transcoded instances that are kept.
FILES_KEPT = 1024**3
#: Instances whose layout is kept.
_LAYOUTS_KEPT = 512


@dataclass(frozen=True, slots=True)
class Pixels:
    """What is known of an instance's pixels."""

    layout: PixelLayout | None  # None: there are none
    lossy_ratio: str
    lossy_method: str
    is_unclear: bool = False  # there are some, and nothing tells what they are

    def can_become(self, stored: str, target: str) -> bool:
        """Whether an instance with them can be had in a transfer syntax."""
        if self.is_unclear:
            return target == stored
        return can_transcode(stored, self.layout, target)


@dataclass(slots=True)
class _Made:
    """A transcoded instance in a file."""

    path: Path
    size: int
    readers: int = 0


class Imaging:
    """Frames and instances as somebody wants them; opened and closed by `async with`."""

    def __init__(
        self,
        archive: Archive,
        pool: Pool | None = None,
        *,
        frames_kept: int = FRAMES_KEPT,
        files_kept: int = FILES_KEPT,
    ) -> None:
        self._archive = archive
        self._pool = pool or Pool()
        self._flight = SingleFlight()
        self._indexes = FrameIndexes()
        self._layouts: OrderedDict[str, Pixels] = OrderedDict()
        self._frames: OrderedDict[Hashable, bytes] = OrderedDict()
        self._frames_size = 0
        self._frames_kept = frames_kept
        self._files: OrderedDict[Hashable, _Made] = OrderedDict()
        self._files_kept = files_kept

    async def __aenter__(self) -> Self:
        await self._pool.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._flight.__aexit__(kind, error, trace)
        await self._pool.__aexit__(kind, error, trace)
        paths = [made.path for made in self._files.values()]
        self._files.clear()
        await asyncio.to_thread(_remove, paths)

    @property
    def at_once(self) -> int:
        """How many frames are made at once."""
        return self._pool.count

    async def once(
        self, key: Hashable, work: Callable[..., bytes], *arguments: Any
    ) -> bytes:
        """What a function makes in another process, kept under the key for a while."""
        found = self._frames.get(key)
        if found is not None:
            self._frames.move_to_end(key)
            return found
        made = await self._flight.do(key, lambda: self._pool.run(work, *arguments))
        self._keep_frame(key, made)
        return made

    def _keep_frame(self, key: Hashable, made: bytes) -> None:
        if key in self._frames or len(made) > self._frames_kept // 4:
            return
        self._frames[key] = made
        self._frames_size += len(made)
        while self._frames_size > self._frames_kept:
            self._frames_size -= len(self._frames.popitem(last=False)[1])

    # -- pixels --------------------------------------------------------------------------

    async def pixels(self, instance: Instance) -> Pixels:
        """What is known of an instance's pixels."""
        found = self._layouts.get(instance.blob)
        if found is not None:
            self._layouts.move_to_end(instance.blob)
            return found
        attributes, layout = await self._archive.images(instance)
        found = Pixels(
            layout,
            _all(attributes, "00282112"),
            _all(attributes, "00282114"),
            is_unclear=layout is None and has_pixels(attributes),
        )
        self._layouts[instance.blob] = found
        while len(self._layouts) > _LAYOUTS_KEPT:
            self._layouts.popitem(last=False)
        return found

    async def layout(self, instance: Instance) -> PixelLayout:
        """The layout of an instance's pixels; raises NotFound if there are none."""
        layout = (await self.pixels(instance)).layout
        if layout is None:
            raise NotFound("this instance has no pixels")
        return layout

    async def source(self, instance: Instance) -> Source:
        """An instance as a worker needs to know it."""
        pixels = await self.pixels(instance)
        return Source(
            await self._archive.place(instance),
            instance.transfer_syntax,
            pixels.layout,
            pixels.lossy_ratio,
            pixels.lossy_method,
        )

    # -- frames --------------------------------------------------------------------------

    async def stored_runs(
        self, instance: Instance, numbers: Sequence[int]
    ) -> list[list[Piece]]:
        """The bytes of compressed frames, each as it lies in the file."""
        layout = await self.layout(instance)
        index = self._indexes.get(instance.blob)

        def find(read: ReadAt) -> tuple[FrameIndex, list[Runs]]:
            known = index or index_of(layout, read)
            return known, [frame_runs(layout, read, one, known) for one in numbers]

        found, frames = await self._archive.look(instance, find)
        self._indexes.put(instance.blob, found)
        return [
            [FileRange(instance.blob, start, start + size) for start, size in runs]
            for runs in frames
        ]

    async def frame(self, instance: Instance, number: int, target: str) -> bytes:
        """A frame in a transfer syntax; raises CannotTranscode."""
        key = ("frame", instance.blob, number, target)
        found = self._frames.get(key)
        if found is not None:
            self._frames.move_to_end(key)
            return found
        source = await self.source(instance)
        return await self.once(key, frame_in, source, number, target)

    # -- instances -----------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def transcoded(
        self, instance: Instance, target: str
    ) -> AsyncIterator[FileRange]:
        """An instance in a transfer syntax, in a file while it is in use."""
        key = (instance.blob, target)
        while True:
            made = self._files.get(key)
            if made is None:
                made = await self._flight.do(key, lambda: self._make(instance, target))
            if self._files.get(key) is made:
                break
        made.readers += 1
        self._files.move_to_end(key)
        try:
            yield FileRange(made.path.name, 0, made.size)
        finally:
            made.readers -= 1
            await asyncio.shield(self._trim())

    async def _make(self, instance: Instance, target: str) -> _Made:
        source = await self.source(instance)
        path = self._archive.scratch()
        work = asyncio.ensure_future(
            self._pool.run(instance_in, source, target, str(path))
        )
        try:
            await self._archive.check_room(instance.size)
            size = await asyncio.shield(work)
        except BaseException:
            # A worker cannot be stopped: what it writes goes when it is through.
            work.add_done_callback(lambda done: _discard(done, path))
            raise
        made = _Made(path, size)
        self._files[instance.blob, target] = made
        return made

    async def _trim(self) -> None:
        """Remove the files that were not needed for longest, if they are too many."""
        total = sum(made.size for made in self._files.values())
        gone = []
        for key, made in list(self._files.items()):
            if total <= self._files_kept:
                break
            if not made.readers:
                del self._files[key]
                total -= made.size
                gone.append(made.path)
        if gone:
            await asyncio.to_thread(_remove, gone)


def _all(attributes: Any, tag: str) -> str:
    values = attributes.get(tag, {}).get("Value", ())
    return "\\".join("" if value is None else str(value) for value in values)


def _discard(work: "asyncio.Future[int]", path: Path) -> None:
    if not work.cancelled():
        work.exception()
    with contextlib.suppress(RuntimeError):  # the loop has ended: the next start sweeps
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: loop.run_in_executor(None, _remove, [path]))


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
