"""What is made from what we hold: pictures, frames and instances in other syntaxes.

The work is done by other processes, but for light pictures, for which a few threads are
enough. The same thing asked for twice at once is done once, and what was made last is
kept for a while, frames in memory and instances in files.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from gateway.archive import Archive, FileRange, Instance, Piece
from gateway.dicom.bulk import ReadAt
from gateway.dicom.frames import FrameIndex, FrameIndexes, Runs, frame_runs, index_of
from gateway.dicom.job import Job
from gateway.dicom.known_pixels import Pixels, pixels_in
from gateway.dicom.pixels import PixelLayout
from gateway.dicom.transcode import Source, frame_in, instance_in
from gateway.flight import SingleFlight
from gateway.light import LightWork
from gateway.pool import Pool
from gateway.storage.threads import Tell
from gateway.wanted import Seen, Wanted

T = TypeVar("T")

#: Bytes of frames that are kept.
FRAMES_KEPT = 64 * 1024 * 1024
#: Bytes of transcoded instances that are kept.
FILES_KEPT = 1024**3
#: Light pictures that are made at once: one for each processor that is left to this
#: worker, but no more. Each takes less than 64 MiB meanwhile.
LIGHT_AT_ONCE = 4
#: Instances whose layout is kept.
_LAYOUTS_KEPT = 512


@dataclass(slots=True)
class _Made:
    """A transcoded instance in a file."""

    path: Path
    size: int
    readers: int = 0


class Imaging:
    """Frames and instances as somebody wants them; opened and closed by `async with`.

    So many `workers`, processes like this one, share the machine.
    """

    def __init__(
        self,
        archive: Archive,
        pool: Pool | None = None,
        *,
        workers: int = 1,
        frames_kept: int = FRAMES_KEPT,
        files_kept: int = FILES_KEPT,
    ) -> None:
        self._archive = archive
        self._pool = pool or Pool()
        self._flight = SingleFlight()
        at_once = min(self._pool.count // workers, LIGHT_AT_ONCE)
        self._light = LightWork(max(at_once, 1))
        self._indexes = FrameIndexes()
        self._layouts: OrderedDict[str, Pixels] = OrderedDict()
        self._frames: OrderedDict[Hashable, bytes] = OrderedDict()
        self._frames_size = 0
        self._frames_kept = frames_kept
        self._files: OrderedDict[Hashable, _Made] = OrderedDict()
        self._files_kept = files_kept

    async def __aenter__(self) -> Self:
        await self._pool.__aenter__()
        await self._light.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._flight.__aexit__(kind, error, trace)
        await self._light.__aexit__(kind, error, trace)
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
        return await self._kept(key, lambda: self._pool.run(work, *arguments))

    async def picture(
        self, instance: Instance, work: Callable[..., bytes], job: Job, *arguments: Any
    ) -> bytes:
        """What a function makes of a job about an instance, kept for a while.

        The function takes the job, the arguments, and as `read` what reads the file if it
        is not to open it by the path in the job.
        """
        key = _key(instance, work, job, arguments)
        if not job.is_light:
            return await self._kept(
                key, lambda: self._elsewhere(instance, work, job, arguments)
            )
        made = self._held(key)
        if made is None:
            made = await self._light.once(
                key, lambda: self._made(instance, work, job, arguments)
            )
            self._keep_frame(key, made)
        return made

    async def numbers(
        self, instance: Instance, work: Callable[..., bytes], job: Job, *arguments: Any
    ) -> bytes:
        """The same for what is not light whatever the image is."""
        return await self._kept(
            _key(instance, work, job, arguments),
            lambda: self._elsewhere(instance, work, job, arguments),
        )

    async def picture_at(self, wanted: Wanted[T]) -> Seen[T]:
        """An instance, and its picture if that is light. Raises NotFound.

        All of it is done by a thread in one go: hops cost as much as a small picture.
        """
        held = self._seen_before(wanted)
        if held is not None:
            return held
        seen = await self._light.once(*self._looking(wanted), fresh=True)
        return self._kept_of(wanted, seen)

    def picture_soon(
        self, wanted: Wanted[T], tell: Tell, is_there: Callable[[], bool]
    ) -> bool:
        """The same for who waits in no task; false if too much waits already.

        `tell` gets what is seen; neither that nor an error if nobody is there any more.
        """

        def told(seen: Seen[T] | None, error: BaseException | None) -> None:
            tell(None if seen is None else self._kept_of(wanted, seen), error)

        held = self._seen_before(wanted)
        if held is None:
            return self._light.soon(*self._looking(wanted), told, is_there)
        asyncio.get_running_loop().call_soon(tell, held, None)
        return True

    def _seen_before(self, wanted: Wanted[T]) -> Seen[T] | None:
        known = self._archive.known(*wanted.names)
        held = self._held(wanted.key(known)) if known else None
        return Seen(known, None, held) if known and held is not None else None

    def _looking(self, wanted: Wanted[T]) -> tuple[Hashable, Callable[[], Seen[T]]]:
        """What there is to do, for a thread, and what it is known by."""

        def made() -> Seen[T]:
            instance, (found, job) = self._archive.described_here(
                *wanted.names, examine=wanted.look
            )
            if job is None or not job.is_light:
                return Seen(instance, found, None)
            picture = self._frames.get(wanted.key(instance))  # somebody was before us
            picture = picture or self._made(instance, wanted.work, job, ())
            return Seen(instance, None, picture)

        return (wanted.work, wanted.names, *wanted.asked), made

    def _kept_of(self, wanted: Wanted[T], seen: Seen[T]) -> Seen[T]:
        if seen.picture is not None:
            self._keep_frame(wanted.key(seen.instance), seen.picture)
        return seen

    def _made(
        self,
        instance: Instance,
        work: Callable[..., bytes],
        job: Job,
        arguments: tuple[Any, ...],
    ) -> bytes:
        """A picture, made here; for a thread."""
        return self._archive.seen(
            instance, lambda read: work(job, *arguments, read=read)
        )

    async def _elsewhere(
        self,
        instance: Instance,
        work: Callable[..., bytes],
        job: Job,
        arguments: tuple[Any, ...],
    ) -> bytes:
        place = await self._archive.place(instance)
        placed = replace(job, source=replace(job.source, place=place))
        return await self._pool.run(work, placed, *arguments)

    async def _kept(
        self, key: Hashable, make: Callable[[], Coroutine[Any, Any, bytes]]
    ) -> bytes:
        """What was made under the key, or is made now, once for all who want it."""
        found = self._held(key)
        if found is not None:
            return found

        async def made() -> bytes:
            # It is kept before it is no longer under way: in between it would be made anew.
            result = await make()
            self._keep_frame(key, result)
            return result

        return await self._flight.do(key, made)

    def _held(self, key: Hashable) -> bytes | None:
        found = self._frames.get(key)
        if found is not None:
            self._frames.move_to_end(key)
        return found

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
        found = await self._archive.header(
            instance, lambda header, places: _pixels(instance, header, places)
        )
        self._keep_pixels(instance, found)
        return found

    def _keep_pixels(self, instance: Instance, pixels: Pixels) -> None:
        self._layouts[instance.blob] = pixels
        while len(self._layouts) > _LAYOUTS_KEPT:
            self._layouts.popitem(last=False)

    async def find(self, *names: str) -> tuple[Instance, Pixels]:
        """An instance by its address or Orthanc's identifier, and its pixels.

        One look at the index is enough for both. Raises NotFound.
        """
        instance = self._archive.known(*names)
        if instance is not None:
            return instance, await self.pixels(instance)
        instance, pixels = await self._archive.described(
            *names, examine=_pixels, ahead=self._keep_pixels
        )
        self._keep_pixels(instance, pixels)
        return instance, pixels

    def known_pixels(self, instance: Instance) -> Pixels | None:
        """What is known of an instance's pixels already."""
        return self._layouts.get(instance.blob)

    async def layout(self, instance: Instance) -> PixelLayout:
        """The layout of an instance's pixels; raises NotFound if there are none."""
        return (await self.pixels(instance)).known_layout

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

        async def make() -> bytes:
            source = await self.source(instance)
            return await self._pool.run(frame_in, source, number, target)

        return await self._kept(("frame", instance.blob, number, target), make)

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


def _key(
    instance: Instance, work: Callable[..., bytes], job: Job, arguments: tuple[Any, ...]
) -> Hashable:
    return (work, instance.blob, job.numbers, job.options, job.kind, *arguments)


def _pixels(instance: Instance, header: bytes, places: dict[str, Any]) -> Pixels:
    return pixels_in(header, instance.transfer_syntax, places)


def _discard(work: "asyncio.Future[int]", path: Path) -> None:
    if not work.cancelled():
        work.exception()
    with contextlib.suppress(RuntimeError):  # the loop has ended: the next start sweeps
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: loop.run_in_executor(None, _remove, [path]))


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
