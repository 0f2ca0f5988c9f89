"""WADO-URI: parameters read strictly, the right status, the right media type."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from gateway.dicom.header import read_header
from tests.clients import store
from tests.factories import dicom_file, image
from tests.unit.dicom.test_render import linear
from tests.web.test_rendered import multiframe, pixels, report

STUDY, SERIES = "1.2.3.1", "1.2.3.1.1"


def uid_of(file: bytes) -> str:
    return read_header(file).uids.instance


async def get(client: Any, query: dict[str, str], accept: str | None = None) -> Any:
    headers = {"Accept": accept} if accept else {}
    response = await client.get("/wado", params=query, headers=headers)
    return response, await response.read()


def query(file: bytes, **others: str) -> dict[str, str]:
    return {
        "requestType": "WADO",
        "studyUID": STUDY,
        "seriesUID": SERIES,
        "objectUID": uid_of(file),
        **others,
    }


@pytest.fixture
async def held(client: Any) -> bytes:
    file = image(32, 16)
    await store(client, file)
    return file


async def test_a_picture_unless_something_else_is_wanted(
    client: Any, held: bytes
) -> None:
    for accept in (None, "*/*", "image/*", "application/dicom;q=0.5, */*;q=0.6"):
        response, data = await get(client, query(held), accept)
        assert response.status == 200, data
        if "dicom" not in (accept or ""):
            assert response.headers["Content-Type"] == "image/jpeg"
            assert Image.open(io.BytesIO(data)).size == (16, 32)


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [
        ("image/jpeg", "image/jpeg"),
        ("image/jpg", "image/jpeg"),
        ("image/png", "image/png"),
        ("image/gif", "image/gif"),
        ("image/jp2", "image/jp2"),
        ("video/mpeg,image/png", "image/png"),
        ("text/html, image/png;q=0.3, image/gif;q=0.6", "image/gif"),
    ],
)
async def test_content_type_goes_before_accept(
    client: Any, held: bytes, wanted: str, kind: str
) -> None:
    response, data = await get(client, query(held, contentType=wanted), "text/plain")
    assert response.status == 200, data
    assert response.headers["Content-Type"] == kind


async def test_a_file(client: Any, held: bytes) -> None:
    for syntax in (
        {},
        {"transferSyntax": "*"},
        {"transferSyntax": "1.2.840.10008.1.2.1"},
    ):
        asked = query(held, contentType="application/dicom", **syntax)
        response, data = await get(client, asked)
        assert (response.status, data) == (200, held)
        assert response.headers["Content-Type"] == "application/dicom"
        name = f'filename="{uid_of(held)}.dcm"'
        assert name in response.headers["Content-Disposition"]
        assert int(response.headers["Content-Length"]) == len(held)


async def test_a_file_in_another_syntax(client: Any) -> None:
    plain = pydicom.dcmread(io.BytesIO(image(16, 16)))
    plain.PatientName = "Doe^Jane"
    values = plain.pixel_array.copy()
    plain.compress(RLELossless)
    out = io.BytesIO()
    plain.save_as(out)
    file = out.getvalue()
    await store(client, file)
    for syntax, expected in (
        ({}, ExplicitVRLittleEndian),
        ({"transferSyntax": "*"}, RLELossless),
        ({"transferSyntax": RLELossless}, RLELossless),
        ({"transferSyntax": ExplicitVRLittleEndian}, ExplicitVRLittleEndian),
    ):
        asked = query(file, contentType="application/dicom", **syntax)
        response, data = await get(client, asked)
        assert response.status == 200, data
        assert int(response.headers["Content-Length"]) == len(data)
        found = pydicom.dcmread(io.BytesIO(data))
        assert found.file_meta.TransferSyntaxUID == expected
        np.testing.assert_array_equal(found.pixel_array, values)
        if expected == RLELossless:
            assert data == file
    asked = query(
        file, contentType="application/dicom", transferSyntax="1.2.840.10008.1.2.4.92"
    )
    response, _ = await get(client, asked)
    assert response.status == 406


async def test_what_is_lossy_stays_as_it_is(client: Any) -> None:
    path = Path(get_testdata_file("JPEG-lossy.dcm", download=False) or "")
    file = path.read_bytes()
    await store(client, file)
    uid = uid_of(file)
    asked = {
        "requestType": "WADO",
        "objectUID": uid,
        "contentType": "application/dicom",
    }
    _, data = await get(client, asked)
    assert data == file


async def test_names_in_any_case_and_names_that_are_not_known(
    client: Any, held: bytes
) -> None:
    asked = {
        "requesttype": "WADO",
        "STUDYUID": STUDY,
        "seriesuid": SERIES,
        "ObjectUID": uid_of(held),
        "colour": "blue",
    }
    response, _ = await get(client, asked)
    assert response.status == 200


async def test_the_object_is_enough(client: Any, held: bytes) -> None:
    asked = {"requestType": "WADO", "objectUID": uid_of(held)}
    response, _ = await get(client, asked)
    assert response.status == 200


async def test_an_object_in_two_studies(client: Any) -> None:
    first = image(16, 16, SOPInstanceUID="1.7.7")
    second = image(
        16,
        32,
        SOPInstanceUID="1.7.7",
        StudyInstanceUID="1.8",
        SeriesInstanceUID="1.8.1",
    )
    await store(client, first, second)
    asked = {"requestType": "WADO", "objectUID": "1.7.7"}
    response, _ = await get(client, asked)
    assert response.status == 400
    response, data = await get(client, {**asked, "studyUID": "1.8"})
    assert Image.open(io.BytesIO(data)).size == (32, 16)


@pytest.mark.parametrize(
    ("change", "status", "told"),
    [
        ({"requestType": "wado"}, 400, "requestType"),
        ({"requestType": ""}, 400, "requestType"),
        ({"objectUID": ""}, 400, "objectUID"),
        ({"objectUID": "1.2.x"}, 400, "objectUID"),
        ({"studyUID": "a"}, 400, "studyUID"),
        ({"studyUID": "1.2.3.9"}, 404, "study"),
        ({"seriesUID": "1.2.3.9"}, 404, "series"),
        ({"objectUID": "1.2.3.9"}, 404, "instance"),
        ({"contentType": "video/mpeg"}, 406, "image/jpeg"),
        ({"contentType": "nonsense"}, 400, "contentType"),
        ({"rows": "0"}, 400, "rows"),
        ({"columns": "99999"}, 400, "columns"),
        ({"rows": "a"}, 400, "rows"),
        ({"region": "0,0,2,1"}, 400, "region"),
        ({"region": "0.5,0,0.2,1"}, 400, "region"),
        ({"windowCenter": "40"}, 400, "windowWidth"),
        ({"windowWidth": "40"}, 400, "windowCenter"),
        ({"windowCenter": "40", "windowWidth": "0"}, 400, "windowWidth"),
        ({"imageQuality": "0"}, 400, "imageQuality"),
        ({"frameNumber": "2"}, 400, "frameNumber"),
        ({"frameNumber": "0"}, 400, "frameNumber"),
        ({"frameNumber": "1,1"}, 400, "frameNumber"),
        ({"anonymize": "yes"}, 406, "anonymize"),
        ({"anonymize": "maybe"}, 400, "anonymize"),
        ({"presentationUID": "1.2"}, 400, "presentationSeriesUID"),
        (
            {"presentationUID": "1", "presentationSeriesUID": "1"},
            404,
            "instance",
        ),
        (
            {"presentationUID": "x", "presentationSeriesUID": "1"},
            400,
            "presentationUID",
        ),
        (
            {
                "presentationUID": "1",
                "presentationSeriesUID": "1",
                "contentType": "application/dicom",
            },
            400,
            "presentationUID",
        ),
        ({"transferSyntax": "1.2.840.10008.1.2.4.50"}, 400, "transferSyntax"),
        (
            {"contentType": "application/dicom", "transferSyntax": "x"},
            400,
            "transferSyntax",
        ),
        (
            {
                "contentType": "application/dicom",
                "transferSyntax": "1.2.840.10008.1.2.2",
            },
            406,
            "transferSyntax",
        ),
    ],
)
async def test_what_is_wrong_is_named(
    client: Any, held: bytes, change: dict[str, str], status: int, told: str
) -> None:
    response, data = await get(client, {**query(held), **change})
    assert response.status == status, data
    assert told.encode() in data


async def test_the_picture_is_as_it_is_wanted(client: Any, held: bytes) -> None:
    png = {"contentType": "image/png"}
    _, data = await get(client, query(held, rows="64", **png))
    assert Image.open(io.BytesIO(data)).size == (32, 64)
    _, data = await get(client, query(held, rows="64", columns="16", **png))
    assert Image.open(io.BytesIO(data)).size == (16, 32)
    _, data = await get(client, query(held, region="0,0.5,1,1", **png))
    assert Image.open(io.BytesIO(data)).size == (16, 16)
    window = {"windowCenter": "20000", "windowWidth": "1"}
    _, data = await get(client, query(held, **window, **png))
    assert set(np.unique(pixels(data))) <= {0, 255}


async def test_a_frame(client: Any) -> None:
    file = multiframe()
    await store(client, file)
    values = np.arange(192).reshape(3, 8, 8) * 10
    asked = query(file, frameNumber="2", contentType="image/png")
    _, data = await get(client, asked)
    np.testing.assert_array_equal(pixels(data), linear(values[1], 1300, 2600))
    response, _ = await get(client, query(file, frameNumber="4"))
    assert response.status == 400
    _, data = await get(client, query(file, contentType="image/gif"))
    assert Image.open(io.BytesIO(data)).n_frames == 3


async def test_a_report(client: Any) -> None:
    file = report()
    await store(client, file)
    response, data = await get(client, query(file))
    assert response.headers["Content-Type"].startswith("text/html")
    response, data = await get(client, query(file, contentType="text/plain"))
    assert b"Length: 12.5 mm" in data


async def test_what_has_no_picture_is_a_file(client: Any) -> None:
    file = dicom_file()
    await store(client, file)
    response, data = await get(client, query(file))
    assert (response.status, data) == (200, file)
    response, _ = await get(client, query(file, contentType="image/jpeg"))
    assert response.status == 406


async def test_it_can_be_elsewhere_or_nowhere(start: Any) -> None:
    client = await start(DicomWeb={"WadoRoot": "/old/wado/"})
    file = image()
    await store(client, file)
    response = await client.get("/old/wado", params=query(file))
    assert response.status == 200
    response = await client.get("/wado", params=query(file))
    assert response.status == 404


async def test_it_can_be_switched_off(start: Any) -> None:
    client = await start(DicomWeb={"EnableWado": False})
    response = await client.get("/wado")
    assert response.status == 404
