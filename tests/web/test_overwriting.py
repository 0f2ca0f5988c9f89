"""Reading while somebody overwrites: what an answer began with it ends with."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.archive import Archive, FileRange
from gateway.web.context import GATEWAY
from tests import kept
from tests.clients import ROOT, store
from tests.factories import image
from tests.web.test_wado_rs import STUDY, instance_path, parts_of


def contents(folder: Path) -> list[bytes]:
    return kept.contents(folder / "storage")


@pytest.fixture
async def client(start: Any) -> Any:
    return await start(OverwriteInstances="Always")


async def test_a_study_that_is_overwritten_while_it_goes_out_goes_out_whole(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [image(128, 128, SOPInstanceUID=f"1.2.3.{n}") for n in range(4)]
    others = [image(64, 64, SOPInstanceUID=f"1.2.3.{n}") for n in range(4)]
    await store(client, *files)
    began, overwritten = asyncio.Event(), asyncio.Event()
    read = Archive.read

    async def late(archive: Archive, pieces: Any) -> Any:
        began.set()
        await overwritten.wait()
        async for chunk in read(archive, pieces):
            yield chunk

    # The answer has its length by then: it can only be what was held before.
    monkeypatch.setattr("gateway.web.transmission._is_plain", lambda _: False)
    monkeypatch.setattr(Archive, "read", late)
    asking = asyncio.ensure_future(client.get(f"{ROOT}/{STUDY}"))
    await began.wait()
    await store(client, *others)
    overwritten.set()
    response = await asking
    body = await response.read()
    found = [data for _, data in parts_of(response.headers["Content-Type"], body)]
    assert found == files


async def test_a_replaced_file_can_be_read_until_its_time_has_come(
    client: Any, tmp_path: Path
) -> None:
    file, other = (image(n, 16, SOPInstanceUID="1.2.3.9") for n in (16, 32))
    path = await asyncio.to_thread(instance_path, file)
    archive = client.app[GATEWAY].archive
    await store(client, file)
    before = await archive.instance(*path.split("/")[1::2])
    await store(client, other)
    answer = await client.get(f"{ROOT}/{path}")
    assert other in await answer.read()
    piece = FileRange(before.blob, 0, before.size)
    assert b"".join([bytes(c) async for c in archive.read([piece])]) == file
    # Somebody who deletes something else does not take it away.
    another = image(SOPInstanceUID="1.2.3.10", StudyInstanceUID="1.2.3.99")
    await store(client, another)
    await client.delete(f"{ROOT}/studies/1.2.3.99")
    assert file in await asyncio.to_thread(contents, tmp_path)
    leaving = archive._intake.replaced._leaving
    leaving[0] = (0.0, leaving[0][1])
    await store(client, image(64, 16, SOPInstanceUID="1.2.3.9"))
    assert file not in await asyncio.to_thread(contents, tmp_path)


async def test_nothing_replaced_is_left_when_the_server_has_ended(
    client: Any, tmp_path: Path
) -> None:
    for rows in (16, 32, 64):
        await store(client, image(rows, 16, SOPInstanceUID="1.2.3.9"))
    assert len(await asyncio.to_thread(contents, tmp_path)) == 3
    await client.close()
    assert len(await asyncio.to_thread(contents, tmp_path)) == 1


async def test_replaced_files_make_room_where_there_is_none(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await start(OverwriteInstances="Always", MinimumFreeSpaceMB=1)
    monkeypatch.setattr(
        "gateway.storage.blobs.DiskBlobs.free_space",
        lambda *_: 0 if len(contents(tmp_path)) > 1 else 1 << 40,
    )
    for rows in (16, 32, 64):
        monkeypatch.setattr("gateway.room._ROOM_SECONDS", 0.0)
        await store(client, image(rows, 16, SOPInstanceUID="1.2.3.9"))
    assert len(await asyncio.to_thread(contents, tmp_path)) <= 2


async def test_the_index_forgets_what_is_gone_although_nothing_more_comes(
    client: Any,
) -> None:
    intake = client.app[GATEWAY].archive._intake
    await store(client, image(16, 16, SOPInstanceUID="1.2.3.9"))
    await store(client, image(32, 16, SOPInstanceUID="1.2.3.9"))
    database, index = intake._database, intake._index
    assert len(await database.read(index.garbage)) == 1
    await asyncio.to_thread(lambda: intake.replaced.remove(all_of_them=True))
    await intake._note_gone(intake.replaced.gone())
    assert await database.read(index.garbage) == []
