"""Pictures are the same wherever they are made, and few are made at once."""

import asyncio
import io
import os
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import orjson
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, RLELossless

from gateway.archive import Archive, Instance
from gateway.dicom.extraction import Mode, picture_of
from gateway.dicom.hierarchy import Level
from gateway.dicom.job import Job, needed, perform
from gateway.dicom.pictures import GIF, JP2, JPEG, PAM, PNG, _scratch, saved
from gateway.dicom.render import attributes_of
from gateway.dicom.render_options import RenderOptions, rendered_options
from gateway.dicom.transcode import Source
from gateway.errors import CannotTranscode, NotFound
from gateway.imaging import Imaging
from gateway.outcomes import Stored
from gateway.places import NOWHERE
from gateway.pool import Pool
from tests.factories import dataset, dicom_file, encode, image
from tests.unit.storage.blob_contract import descriptors

CHANCE = np.random.default_rng(5)


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    async with Archive(tmp_path, tmp_path) as opened:
        yield opened


async def kept(archive: Archive, file: bytes) -> Instance:
    async with archive.receive() as receiver:
        await receiver.write(file)
        outcome = await receiver.keep()
    assert isinstance(outcome, Stored)
    return await archive.by_orthanc_id(outcome.orthanc_ids[3])


async def job_of(
    archive: Archive,
    instance: Instance,
    options: RenderOptions = RenderOptions(),  # noqa: B008 - it is frozen
    kind: str = PNG,
) -> Job:
    layouts = Imaging(archive)
    layout = await layouts.layout(instance)

    def attributes(header: bytes, places: dict[str, Any]) -> Any:
        found = attributes_of(orjson.loads(header), [1], options)
        return found, needed(found, places)

    found, places = await archive.header(instance, attributes)
    source = Source(NOWHERE, instance.transfer_syntax, layout)
    return Job(source, (1,), found, places, options, kind)


def grey(dtype: str, bits: int = 16, **attributes: Any) -> bytes:
    values = np.dtype(dtype)
    low, high = np.iinfo(values).min, np.iinfo(values).max
    if bits < values.itemsize * 8:
        low, high = max(low, -(1 << bits - 1)), min(high, (1 << bits - 1) - 1)
    pixels = CHANCE.integers(low, high, (24, 32), values, endpoint=True)
    return dicom_file(
        Rows=24,
        Columns=32,
        BitsAllocated=values.itemsize * 8,
        BitsStored=bits,
        HighBit=bits - 1,
        PixelRepresentation=int(values.kind == "i"),
        SamplesPerPixel=1,
        PhotometricInterpretation=attributes.pop("Photometric", "MONOCHROME2"),
        PixelData=pixels.tobytes(),
        **attributes,
    )


def big_endian() -> bytes:
    made = dataset(
        Rows=8,
        Columns=8,
        BitsAllocated=16,
        BitsStored=16,
        HighBit=15,
        PixelRepresentation=0,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
    )
    made.add_new("PixelData", "OW", np.arange(64, dtype=">u2").tobytes())
    return encode(made, ExplicitVRBigEndian)


def with_table() -> bytes:
    item = Dataset()
    item.LUTDescriptor = [256, 0, 8]
    item.add_new("LUTData", "OW", bytes(range(255, -1, -1)))
    return grey("<u2", 8, VOILUTSequence=Sequence([item]))


def in_colour() -> bytes:
    return dicom_file(
        Rows=16,
        Columns=16,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="RGB",
        PixelData=CHANCE.bytes(16 * 16 * 3),
    )


FILES = {
    "no window": lambda: grey("<u2", 12),
    "a window": lambda: grey(
        "<u2", 12, WindowCenter=40, WindowWidth=400, RescaleIntercept=-1024
    ),
    "signed": lambda: grey("<i2", 16, WindowCenter=0, WindowWidth=30000),
    "signed in 12 bits": lambda: grey("<i2", 12, PixelPaddingValue=-2000),
    "padded": lambda: grey("<u2", 16, PixelPaddingValue=7),
    "bits around": lambda: image(BitsStored=10, HighBit=12),
    "bytes": lambda: grey("u1", 8),
    "signed bytes": lambda: grey("i1", 8, Photometric="MONOCHROME1"),
    "big endian": big_endian,
    "a table": with_table,
    "colour": in_colour,
}
ASKED = {
    "as it is": {},
    "small": {"viewport": "9,9"},
    "a part": {"viewport": "20,20,1,1,-5,5"},
    "another window": {"window": "100,500,sigmoid"},
}


@pytest.mark.parametrize("kind", [JPEG, PNG])
async def test_a_thread_makes_the_picture_that_another_process_makes(
    archive: Archive, kind: str
) -> None:
    async with Imaging(archive, frames_kept=0) as imaging:
        for make in FILES.values():
            instance = await kept(archive, make())
            place = await archive.place(instance)
            for query in ASKED.values():
                job = await job_of(archive, instance, rendered_options(query), kind)
                assert job.is_light
                placed = replace(job, source=replace(job.source, place=place))
                here = await imaging.picture(instance, perform, job)
                assert here == await imaging.once("there", perform, placed)


async def test_so_it_does_for_plain_values(archive: Archive) -> None:
    async with Imaging(archive, frames_kept=0) as imaging:
        for make in FILES.values():
            instance = await kept(archive, make())
            place = await archive.place(instance)
            for mode in (Mode.PREVIEW, Mode.UINT8, Mode.UINT16, Mode.RENDERED):
                job = await job_of(archive, instance, kind=PAM)
                placed = replace(job, source=replace(job.source, place=place))
                here = await imaging.picture(instance, picture_of, job, mode)
                there = await imaging.once("there", picture_of, placed, mode)
                assert here == there


async def test_what_is_not_light(archive: Archive) -> None:
    made = await kept(archive, grey("<u2", 12))
    light = await job_of(archive, made)
    layout = light.source.layout
    assert light.is_light
    assert layout is not None

    def of(**changed: Any) -> Job:
        source = replace(light.source, layout=replace(layout, **changed))
        return replace(light, source=source)

    for heavy in (
        of(encapsulated=True, transfer_syntax=RLELossless),
        of(transfer_syntax="1.2.840.10008.1.2.1.99"),
        of(rows=4096, columns=4096),
        of(bits_allocated=32),
        of(tag="7FE00008"),
        of(photometric_interpretation="PALETTE COLOR"),
        of(photometric_interpretation="YBR_FULL", samples_per_pixel=3),
        replace(light, kind=GIF),
        replace(light, kind=JP2),
        replace(light, numbers=(1, 2)),
        replace(light, places={"00283006": (0, 2 * 1024 * 1024)}),
        replace(light, options=RenderOptions(annotation=frozenset({"overlays"}))),
        replace(light, options=RenderOptions(profile="srgb")),
        replace(light, options=rendered_options({"viewport": "8000,8000"})),
    ):
        assert not heavy.is_light


async def test_only_so_many_light_pictures_are_made_at_once(archive: Archive) -> None:
    instance = await kept(archive, image())
    under_way = most = 0
    lock = threading.Lock()

    def slow(job: Job, number: int, read: Any = None) -> bytes:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.02)
        with lock:
            under_way -= 1
        return b"%d" % number

    job = await job_of(archive, instance)
    async with Imaging(archive, Pool(6), workers=2) as imaging:
        made = (imaging.picture(instance, slow, job, number) for number in range(12))
        assert await asyncio.gather(*made) == [b"%d" % n for n in range(12)]
    assert most == 3


async def test_who_leaves_keeps_the_place_until_the_thread_is_through(
    archive: Archive,
) -> None:
    instance = await kept(archive, image())
    begun, go, seen = threading.Event(), threading.Event(), []

    def waiting(job: Job, number: int, read: Any = None) -> bytes:
        seen.append(number)
        begun.set()
        go.wait(10)
        return b""

    job = await job_of(archive, instance)
    async with Imaging(archive, Pool(1)) as imaging:
        first = asyncio.ensure_future(imaging.picture(instance, waiting, job, 1))
        assert await asyncio.to_thread(begun.wait, 10)
        first.cancel()
        second = asyncio.ensure_future(imaging.picture(instance, waiting, job, 2))
        await asyncio.sleep(0.02)
        assert seen == [1]
        go.set()
        assert await second == b""
        assert seen == [1, 2]


async def test_too_little_memory_is_no_fault_of_ours(archive: Archive) -> None:
    instance = await kept(archive, image())

    def greedy(job: Job, read: Any = None) -> bytes:
        raise MemoryError

    async with Imaging(archive) as imaging:
        with pytest.raises(CannotTranscode, match="memory"):
            await imaging.picture(instance, greedy, await job_of(archive, instance))


async def test_an_instance_and_its_pixels_are_one_look_at_the_index(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = image(20, 30)
    held = await kept(archive, file)
    reads = []
    read = archive.database.read

    async def counted(work: Any) -> Any:
        reads.append(work)
        return await read(work)

    monkeypatch.setattr(archive.database, "read", counted)
    imaging, names = Imaging(archive), (held.study, held.series, held.uid)
    for _ in range(2):
        found, pixels = await imaging.find(*names)
        assert found == held
        assert (pixels.known_layout.rows, pixels.known_layout.columns) == (20, 30)
        assert len(reads) == 1
    await archive.delete(Level.INSTANCE, *names)
    with pytest.raises(NotFound):
        await imaging.find(*names)
    with pytest.raises(NotFound, match="identifier"):
        await imaging.find(held.orthanc_id)


async def test_a_light_picture_is_one_look_at_the_index_by_a_thread(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = await kept(archive, image())
    job = await job_of(archive, held)
    names, asked = (held.study, held.series, held.uid), ((1,), job.options, PNG)
    looks: list[Instance] = []
    jobs = [None, replace(job, kind=GIF), job]

    def look(instance: Instance, header: bytes, places: Any) -> tuple[str, Job | None]:
        looks.append(instance)
        return "what it found", jobs[len(looks) - 1]

    async def never(work: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(archive.database, "read", never)
    async with Imaging(archive) as imaging:
        for _ in range(2):
            found = await imaging.picture_at(names, perform, look, asked)
            assert found == (held, "what it found", None)
        found = await imaging.picture_at(names, perform, look, asked)
        assert found[::2] == (held, await imaging.picture(held, perform, job))
        assert await imaging.picture_at(names, perform, look, asked) == found
        assert looks == [held] * 3  # the last time its picture was there
        others = (*names[:2], "1.2.3")
        with pytest.raises(NotFound):
            await imaging.picture_at(others, perform, look, asked)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_file_that_is_used_again_holds_one_picture(form: str) -> None:
    before = descriptors()
    kept: list[int] = []

    def work() -> None:
        for side in (1500, 9, 300, 2):
            values = CHANCE.integers(0, 255, (side, side), np.uint8)
            picture = Image.fromarray(values)
            out = io.BytesIO()
            picture.save(out, form)
            assert saved(picture, form) == out.getvalue()
            kept.append(os.fstat(_scratch()).st_size)
        with pytest.raises(OSError, match="wrong"):
            saved(cast("Any", _Broken()), form)
        assert saved(picture, form) == out.getvalue()

    with ThreadPoolExecutor(1) as threads:
        threads.submit(work).result()
    assert max(kept) <= 1024 * 1024
    assert kept[0] == 0  # it was too large to be kept
    assert descriptors() == before


class _Broken:
    def save(self, file: Any, form: str, **options: Any) -> None:
        """Write something, and fail."""
        file.write(b"x" * 100)
        raise OSError("something is wrong")
