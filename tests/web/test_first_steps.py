"""The main job in one breath: store, find, give back, delete."""

from typing import Any

from aiohttp.test_utils import TestClient

from tests.factories import content_type, image, multipart


async def test_an_instance_goes_in_is_found_and_comes_out_as_it_was(
    client: TestClient[Any, Any],
) -> None:
    file = image()
    response = await client.post(
        "/dicom-web/studies",
        data=multipart(file),
        headers={"Content-Type": content_type()},
    )
    assert response.status == 200
    stored = await response.json(content_type="application/dicom+json")
    url = stored["00081199"]["Value"][0]["00081190"]["Value"][0]
    found = await client.get("/dicom-web/studies", params={"PatientName": "doe*"})
    assert len(await found.json(content_type="application/dicom+json")) == 1
    path = url[url.index("/dicom-web") :]
    back = await client.get(path, headers={"Accept": "application/dicom"})
    assert await back.read() == file
    deleted = await client.delete(path)
    assert deleted.status == 204
    assert (await client.get(path)).status == 404
