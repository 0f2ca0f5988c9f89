"""Text is compressed for those who can read it, if the settings have it so."""

import gzip
import zlib

import pytest

from tests.clients import JSON, ROOT, store
from tests.factories import dicom_file, image

XML = 'multipart/related; type="application/dicom+xml"'


def files(count: int, comments: str = "c" * 500) -> list[bytes]:
    return [
        dicom_file(
            StudyInstanceUID="8.1",
            SeriesInstanceUID="8.1.1",
            SOPInstanceUID=f"8.1.1.{n}",
            PatientComments=comments,
        )
        for n in range(count)
    ]


@pytest.fixture
async def compressing(start):
    return await start(HttpCompressionEnabled=True)


async def both(client, path: str, **headers: str) -> tuple[bytes, bytes]:
    """The body as it is, and as it comes compressed."""
    plain = await client.get(
        f"{ROOT}/{path}", headers={"Accept-Encoding": "identity", **headers}
    )
    small = await client.get(
        f"{ROOT}/{path}", headers={"Accept-Encoding": "gzip", **headers}
    )
    assert plain.status == small.status == 200
    assert "Content-Encoding" not in plain.headers
    assert small.headers["Content-Encoding"] == "gzip"
    for response in (plain, small):
        assert "Accept-Encoding" in response.headers["Vary"]
    assert plain.headers.get("ETag") == small.headers.get("ETag")
    return await plain.read(), await small.read()


@pytest.mark.parametrize("count", [12, 700])
@pytest.mark.parametrize("path", ["studies/8.1/metadata", "instances"])
async def test_json_is_the_same_when_inflated(compressing, path, count):
    await store(compressing, *files(count))
    plain, small = await both(compressing, path)
    assert gzip.decompress(small) == plain
    assert len(small) < len(plain) / 3


@pytest.mark.parametrize("count", [12, 700])
async def test_xml_is_compressed_too(compressing, count):
    await store(compressing, *files(count))
    plain, small = await both(compressing, "studies/8.1/metadata", Accept=XML)
    assert gzip.decompress(small).count(b"<NativeDicomModel") == count
    assert len(small) < len(plain) / 3


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, False),
        ("", False),
        ("br", False),
        ("gzip", True),
        ("x-gzip", True),
        ("*", True),
        ("gzip;q=0", False),
        ("*, gzip;q=0", False),
        ("deflate, GZIP;q=0.5", True),
        ("gzip;q=none", False),
    ],
)
async def test_only_for_clients_that_take_it(compressing, header, expected):
    await store(compressing, *files(12))
    response = await compressing.get(
        f"{ROOT}/studies/8.1/metadata",
        headers={} if header is None else {"Accept-Encoding": header},
        skip_auto_headers=["Accept-Encoding"],
    )
    assert response.status == 200
    assert (response.headers.get("Content-Encoding") == "gzip") is expected
    await response.read()


@pytest.mark.parametrize("count", [12, 700])
async def test_deflate_for_who_takes_nothing_else(compressing, count):
    await store(compressing, *files(count))
    url = f"{ROOT}/studies/8.1/metadata"
    plain = await compressing.get(url, headers={"Accept-Encoding": "identity"})
    small = await compressing.get(url, headers={"Accept-Encoding": "deflate, br"})
    assert small.headers["Content-Encoding"] == "deflate"
    assert zlib.decompress(await small.read()) == await plain.read()


async def test_not_unless_the_settings_have_it_so(client):
    await store(client, *files(12))
    response = await client.get(
        f"{ROOT}/studies/8.1/metadata", headers={"Accept-Encoding": "gzip"}
    )
    assert "Content-Encoding" not in response.headers
    assert "Accept-Encoding" not in response.headers["Vary"]


async def test_neither_what_is_short_nor_pixels_nor_files(compressing):
    await store(compressing, image(64, 64, SOPInstanceUID="1.2.3.9"))
    instance = "studies/1.2.3.1/series/1.2.3.1.1/instances/1.2.3.9"
    for path, accept in [
        ("studies?PatientID=none", JSON),
        (instance, "application/dicom"),
        ("studies/1.2.3.1", "*/*"),
        (f"{instance}/bulk/7fe00010", "application/octet-stream"),
    ]:
        response = await compressing.get(
            f"{ROOT}/{path}", headers={"Accept": accept, "Accept-Encoding": "gzip"}
        )
        assert response.status == 200
        assert "Content-Encoding" not in response.headers
        await response.read()


async def test_lists_and_descriptions_are_compressed(compressing):
    response = await compressing.get(
        "/openapi.json", headers={"Accept-Encoding": "gzip"}
    )
    assert response.headers["Content-Encoding"] == "gzip"
    body = await response.read()
    assert int(response.headers["Content-Length"]) == len(body)
    assert b"openapi" in gzip.decompress(body)
