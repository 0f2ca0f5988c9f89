"""Images that tell of more frames than there are, or that have very many."""

import io
from typing import Any

import pydicom
import pytest
from pydicom.encaps import encapsulate

from gateway.dicomweb import frames
from tests.clients import ROOT, store
from tests.factories import dataset, dicom_file, encode
from tests.web.test_frames import MULTIPART, fetch, frames_of
from tests.web.test_orthanc_resources import get
from tests.web.test_orthanc_resources import store as upload
from tests.web.test_wado_rs import instance_path

ABSURD = 2_000_000_000
RLE = "1.2.840.10008.1.2.5"


def tiny(number: object, **attributes: Any) -> dict[str, Any]:
    """Attributes of an image of 64 bytes, a frame of 8 by 8 if it is one."""
    return {
        "Rows": 8,
        "Columns": 8,
        "NumberOfFrames": number,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelData": bytes(range(64)),
    } | attributes


@pytest.mark.parametrize("accept", [MULTIPART, f"{MULTIPART}; transfer-syntax={RLE}"])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", RLE])
async def test_frames_that_the_file_has_no_room_for_are_refused_at_once(
    client: Any, syntax: str, accept: str
) -> None:
    made = dataset(**tiny(ABSURD))
    if syntax == RLE:
        made.PixelData = encapsulate([bytes(64)])
        made["PixelData"].is_undefined_length = True
    file = encode(made, syntax)
    await store(client, file)
    path = f"{ROOT}/{instance_path(file)}"
    for address in (f"{path}/frames", f"{path}/pixeldata", path):
        headers = {"Accept": accept}
        if address == path:
            other = "1.2.840.10008.1.2.1" if syntax == RLE else RLE
            kind = 'multipart/related; type="application/dicom"'
            headers = {"Accept": f"{kind}; transfer-syntax={other}"}
        response = await client.get(address, headers=headers)
        assert response.status == 406, address
    response = await client.get(f"{path}/rendered", headers={"Accept": "image/gif"})
    assert response.status == 413


async def test_the_frames_that_are_there_are_listed(client: Any) -> None:
    (stored,) = await upload(client, dicom_file(**tiny(ABSURD)))
    assert await get(client, f"{stored['Path']}/frames") == [0]
    (stored,) = await upload(client, dicom_file(**tiny("2", PixelData=bytes(128))))
    assert await get(client, f"{stored['Path']}/frames") == [0, 1]
    many = tiny(200_000, Rows=1, Columns=1, PixelData=bytes(200_000))
    (stored,) = await upload(client, dicom_file(**many))
    response = await client.get(f"{stored['Path']}/frames")
    assert response.status == 413


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
async def test_very_many_frames_come_in_groups(
    client: Any, syntax: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "GROUP", 3)
    pixels = bytes(range(8)) * 8
    made = dataset(**tiny(8, Rows=2, Columns=4, PixelData=pixels))
    file = encode(made, syntax)
    assert pydicom.dcmread(io.BytesIO(file)).NumberOfFrames == 8
    await store(client, file)
    parts = await frames_of(client, file, "")
    assert [body for _, body in parts] == [bytes(range(8))] * 8
    assert [part["content-location"].rsplit("/", 1)[1] for part, _ in parts] == [
        str(number) for number in range(1, 9)
    ]
    response, body = await fetch(client, file, "/1")
    assert response.status == 200
    assert bytes(range(8)) in body
