"""Instances in a zip (PS3.18 10.4.4): whole, with their length, or broken off."""

import asyncio
import io
import zipfile

import aiohttp
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from gateway.dicomweb import zip_rs
from gateway.web import zip_stream
from gateway.web.context import GATEWAY
from tests import kept
from tests.clients import ROOT, store
from tests.factories import dataset, encode, image
from tests.web.test_bulk import compressed
from tests.web.test_wado_rs import instance_path

STUDY = "studies/1.2.3.1"
SERIES = f"{STUDY}/series/1.2.3.1.1"
ZIP = "application/zip"
ELE = str(ExplicitVRLittleEndian)


async def fetch(client, path, accept=ZIP, **headers):
    headers["Accept"] = accept
    response = await client.get(f"{ROOT}/{path}", headers=headers)
    return response, await response.read()


def opened(body: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(body)) as read:
        assert read.testzip() is None
        return {one.filename: read.read(one) for one in read.infolist()}


def name(file: bytes) -> str:
    return "/".join(instance_path(file).split("/")[1::2]) + ".dcm"


async def test_a_study_in_a_zip_is_its_files(client, monkeypatch):
    monkeypatch.setattr(zip_stream, "_GATHERED", 1000)
    files = [image(InstanceNumber=n) for n in range(3)]
    files.append(image(256, 512, SeriesInstanceUID="1.2.3.1.2"))
    await store(client, *files)
    for path, wanted in (
        (STUDY, files),
        (SERIES, files[:3]),
        (instance_path(files[1]), files[1:2]),
    ):
        response, body = await fetch(client, path)
        assert response.status == 200
        assert response.headers["Content-Type"] == ZIP
        assert response.headers["Content-Length"] == str(len(body))
        uid = path.rsplit("/", 1)[1]
        assert response.headers["Content-Disposition"] == (
            f'attachment; filename="{uid}.zip"'
        )
        assert opened(body) == {name(file): file for file in wanted}
    asked = await client.get(f"{ROOT}/{STUDY}?accept={ZIP}")
    assert asked.headers["Content-Type"] == ZIP
    head = await client.head(f"{ROOT}/{STUDY}", headers={"Accept": ZIP})
    assert head.headers["Content-Length"] == asked.headers["Content-Length"]
    tag = {"If-None-Match": asked.headers["ETag"]}
    assert (await client.get(f"{ROOT}/{STUDY}?accept={ZIP}", headers=tag)).status == 304


async def test_a_zip_of_many_comes_without_its_length(client, monkeypatch):
    monkeypatch.setattr(zip_rs, "LENGTH_KNOWN", 3)
    monkeypatch.setattr("gateway.storage.database.STREAM_ROWS", 2)
    files = [image(InstanceNumber=n) for n in range(9)]
    await store(client, *files)
    response, body = await fetch(client, STUDY)
    assert "Content-Length" not in response.headers
    assert opened(body) == {name(file): file for file in files}


async def test_the_files_in_a_zip_are_in_the_syntax_that_is_asked_for(client):
    plain = dataset(InstanceNumber=1)
    implicit = encode(plain, ImplicitVRLittleEndian)
    lossless = compressed([b"of a size that nobody knows"])
    await store(client, implicit, lossless)
    _, body = await fetch(client, STUDY, f"{ZIP}; transfer-syntax=*")
    assert opened(body) == {name(file): file for file in (implicit, lossless)}
    response, body = await fetch(client, STUDY)
    assert response.status == 200
    found = opened(body)
    assert found[name(lossless)] == lossless
    made = pydicom.dcmread(io.BytesIO(found[name(implicit)]))
    assert made.file_meta.TransferSyntaxUID == ELE
    response, body = await fetch(client, STUDY, f"{ZIP}; transfer-syntax={ELE}")
    assert response.status == 206
    assert "left out" in response.headers["Warning"]
    assert list(opened(body)) == [name(implicit)]
    path = instance_path(lossless)
    response, _ = await fetch(client, path, f"{ZIP}; transfer-syntax={ELE}")
    assert response.status == 406


async def test_what_is_not_there_is_not_zipped(client):
    await store(client, image())
    for path in ("studies/9", f"{STUDY}/series/9", f"{SERIES}/instances/9"):
        assert (await fetch(client, path))[0].status == 404


@pytest.mark.parametrize("accept", [ZIP, None])
async def test_a_lost_file_is_left_out_and_said_to_be(client, accept):
    files = [image(256, 256, InstanceNumber=n) for n in range(3)]
    await store(client, *files)
    archive = client.app[GATEWAY].archive
    for number in range(3):
        held = await archive.instance(*instance_path(files[number]).split("/")[1::2])
        place = await archive.place(held)
        await asyncio.to_thread(kept.lose, place)
        response, body = await fetch(client, STUDY, accept or "*/*")
        assert response.status == (206 if number < 2 else 404)
        assert [file in body for file in files] == [n > number for n in range(3)]
        one = await client.get(
            f"{ROOT}/{instance_path(files[number])}",
            headers={"Accept": accept or "application/dicom"},
        )
        assert one.status == 404
        if number < 2:
            assert "gone" in response.headers["Warning"]
            assert int(response.headers["Content-Length"]) == len(body)


async def test_a_zip_with_a_lost_file_breaks_off(client, monkeypatch):
    async def all_of_them(archive, instances):
        return instances

    monkeypatch.setattr("gateway.archive.Archive.present", all_of_them)
    files = [image(256, 256, InstanceNumber=n) for n in range(3)]
    await store(client, *files)
    archive = client.app[GATEWAY].archive
    held = await archive.instance(*instance_path(files[2]).split("/")[1::2])
    place = await archive.place(held)
    await asyncio.to_thread(kept.lose, place)
    with pytest.raises(aiohttp.ClientError):
        await fetch(client, STUDY)
