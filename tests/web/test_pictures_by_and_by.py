"""A picture that is light needs no task, and is what a handler answers with."""

import asyncio
import io
import threading
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gateway.imaging import Imaging
from gateway.web.context import GATEWAY
from tests.clients import ROOT, store
from tests.connection import Answer, Connection, connected, head
from tests.factories import dicom_file, image
from tests.web.test_rendered import multiframe
from tests.web.test_wado_rs import instance_path

CHANCE = np.random.default_rng(3)


async def asked(
    connection: Connection, handled: list[str], path: str, **headers: str
) -> Answer:
    """The answer of a connection that has been used before."""
    await connection.send(head("GET", "/system"))
    assert (await connection.answer()).status == 200
    handled.clear()
    await connection.send(head("GET", path, **headers))
    return await connection.answer()


def forget(client: Any) -> None:
    """Let no picture be kept from before."""
    client.app[GATEWAY].imaging._frames.clear()


def large() -> bytes:
    """An image of which a picture is too long to be answered without a task."""
    return dicom_file(
        Rows=700,
        Columns=700,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        PixelData=CHANCE.bytes(700 * 700),
    )


@pytest.mark.parametrize(
    ("query", "accept"),
    [
        ("", "image/jpeg"),
        ("", "*/*"),
        ("", "image/png"),
        ("?viewport=9,9&quality=40", "image/jpg"),
        ("?window=100,500,sigmoid&accept=image/png", "image/jpeg"),
        ("?annotation=dose", "*/*"),
    ],
)
async def test_it_is_answered_as_by_a_handler(
    start: Any, handled: list[str], query: str, accept: str
) -> None:
    client, file = await start(), image(16, 32)
    await store(client, file)
    path = f"{ROOT}/{instance_path(file)}/rendered{query}"
    answers = []
    async with connected(client) as connection:
        # The second time there is a tag to be compared, the third time a picture.
        for more in ({}, {"If_None_Match": '"another"'}, {}):
            found = await asked(connection, handled, path, Accept=accept, **more)
            assert handled == [path] * len(more)
            apart = {"date", "x-request-id"}
            kept = {n: v for n, v in found.headers.items() if n not in apart}
            answers.append((found.status, kept, found.body))
            if not more:
                continue
            forget(client)
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][0] == 200
    assert answers[0][2]


async def test_what_is_not_light_is_for_a_handler(
    start: Any, handled: list[str]
) -> None:
    client = await start()
    one, several, report = image(), multiframe(), dicom_file(SeriesInstanceUID="5.6.7")
    for file in (one, several, report, large_file := large()):
        await store(client, file)
    async with connected(client) as connection:
        for file, more, accept, status in (
            (one, "", "image/gif", 200),
            (one, "", "image/jp2", 200),
            (one, "", "text/plain", 406),
            (one, "?annotation=patient", "*/*", 200),
            (one, "?viewport=0,0", "*/*", 400),
            (one, "?viewport=9,9,5000,0,1,1", "*/*", 400),
            (one, "?quality=50", "image/png", 400),
            (report, "", "*/*", 404),
            (large_file, "?quality=100", "*/*", 200),
        ):
            path = f"{ROOT}/{instance_path(file)}/rendered{more}"
            found = await asked(connection, handled, path, Accept=accept)
            assert (found.status, handled) == (status, [path])
        gone = f"{ROOT}/studies/1.2/series/1.3/instances/1.4/rendered"
        assert (await asked(connection, handled, gone)).status == 404
        bad = f"{ROOT}/studies/x/series/1.3/instances/1.4/rendered"
        assert (await asked(connection, handled, bad)).status == 400
        first = f"{ROOT}/{instance_path(several)}/rendered"
        assert (await asked(connection, handled, first)).status == 200
        assert handled == []  # several frames, of which the first is shown


async def test_a_picture_for_nobody_is_not_made(
    start: Any, handled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, files = await start(), [image(StudyInstanceUID=f"8.{n}") for n in range(9)]
    made: list[str] = []
    go, begun = threading.Event(), threading.Event()
    make = Imaging._made

    def held(imaging: Imaging, instance: Any, *rest: Any) -> bytes:
        made.append(instance.study)
        begun.set()
        assert go.wait(10)
        return make(imaging, instance, *rest)

    monkeypatch.setattr(Imaging, "_made", held)
    for file in files:
        await store(client, file)
    try:
        tasks = []
        async with connected(client) as stays:
            for file in files[:-1]:
                tasks.append(asyncio.ensure_future(_leave(client, handled, file)))
            assert await asyncio.to_thread(begun.wait, 10)
            await asyncio.gather(*tasks)
            go.set()
            path = f"{ROOT}/{instance_path(files[-1])}/rendered"
            assert (await asked(stays, handled, path)).status == 200
    finally:
        go.set()
    assert len(made) < len(files)  # those that a thread had begun, and the last


@pytest.mark.parametrize("is_last", [True, False])
async def test_who_asks_after_it_was_replaced_gets_no_picture_begun_before(
    start: Any, monkeypatch: pytest.MonkeyPatch, is_last: bool
) -> None:
    client = await start(OverwriteInstances="Always")
    uids = {"StudyInstanceUID": "8.1", "SeriesInstanceUID": "8.2"}
    uids["SOPInstanceUID"] = "8.3"
    before, after = image(**uids), image(**uids, PixelData=bytes(512))
    go, begun = threading.Event(), threading.Event()
    make = Imaging._made

    def held(imaging: Imaging, *rest: Any) -> bytes:
        is_first = not begun.is_set()
        begun.set()
        assert not is_first or go.wait(10)
        return make(imaging, *rest)

    await store(client, before)
    path = f"{ROOT}/{instance_path(before)}/rendered"
    line = {"Accept": "image/png", **({"Connection": "close"} if is_last else {})}
    monkeypatch.setattr(Imaging, "_made", held)
    try:
        first = asyncio.ensure_future(client.get(path, headers=line))
        assert await asyncio.to_thread(begun.wait, 10)
        await store(client, after)
        second = asyncio.ensure_future(client.get(path, headers=line))
        await asyncio.sleep(0.1)
        go.set()
        old, new = [await (await one).read() for one in (first, second)]
    finally:
        go.set()
    assert len(set(Image.open(io.BytesIO(old)).tobytes())) > 1
    assert len(set(Image.open(io.BytesIO(new)).tobytes())) == 1


async def _leave(client: Any, handled: list[str], file: bytes) -> None:
    """Ask for a picture, and be gone."""
    async with connected(client) as connection:
        await connection.send(head("GET", "/system"))
        await connection.answer()
        path = f"{ROOT}/{instance_path(file)}/rendered"
        await connection.send(head("GET", path))
        await connection.send(b"")
        await asyncio.sleep(0.1)
        connection.vanish()
        await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("spacings", "size"),
    [
        ({"PixelSpacing": [1, 1], "ImagerPixelSpacing": [2, 1]}, (32, 16)),
        ({"ImagerPixelSpacing": [2, 1]}, (32, 32)),
        ({"NominalScannedPixelSpacing": [1, 2]}, (64, 16)),
        ({"PixelSpacing": [0, 1], "ImagerPixelSpacing": [2, 1]}, (32, 32)),
        ({"PixelSpacing": [2, 1], "ImagerPixelSpacing": [1, 1]}, (32, 32)),
    ],
)
async def test_what_stands_before_other_attributes_of_the_image_counts(
    start: Any, handled: list[str], spacings: dict[str, Any], size: tuple[int, int]
) -> None:
    client, file = await start(), image(16, 32, **spacings)
    await store(client, file)
    async with connected(client) as connection:
        path = f"{ROOT}/{instance_path(file)}/rendered"
        found = await asked(connection, handled, path)
    assert handled == []
    assert Image.open(io.BytesIO(found.body)).size == size
