"""Files, values, pictures and zips by Orthanc's routes, through real HTTP."""

import gc
import gzip
import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.fileset import FileSet
from pydicom.uid import JPEGBaseline8Bit

from tests import raw
from tests.factories import dataset, dicom_file, encode, image
from tests.web.test_orthanc_resources import PATIENT, SERIES, STUDY, get, store


async def fetch(client: Any, path: str, **headers: str) -> bytes:
    response = await client.get(path, headers=headers)
    assert response.status == 200, await response.text()
    body: bytes = await response.read()
    return body


def multiframe(frames: int = 3, **attributes: Any) -> bytes:
    pixels = b"".join(bytes([10 * number]) * 64 for number in range(frames))
    return dicom_file(
        Rows=8,
        Columns=8,
        NumberOfFrames=frames,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        PixelData=pixels,
        **attributes,
    )


# -- files and values --------------------------------------------------------------------


async def test_a_file_is_had_in_another_syntax(client: Any) -> None:
    (stored,) = await store(client, image())
    path = f"{stored['Path']}/file"
    body = await fetch(client, f"{path}?transcode=1.2.840.10008.1.2.5")
    made = pydicom.dcmread(io.BytesIO(body))
    assert made.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.5"
    for syntax in ("nonsense", "1.2.840.10008.1.2.4.102"):
        response = await client.get(f"{path}?transcode={syntax}")
        assert response.status == 400
        assert syntax in (await response.json())["Message"]


async def test_a_file_is_had_as_attributes(client: Any) -> None:
    (stored,) = await store(client, dicom_file())
    path = f"{stored['Path']}/file"
    response = await client.get(path, headers={"Accept": "application/dicom+json"})
    assert response.headers["Content-Type"] == "application/dicom+json"
    found = await response.json(content_type=None)
    assert found["00100020"]["Value"] == ["P1"]
    body = await fetch(client, path, Accept="application/dicom+xml")
    assert b'keyword="PatientID"' in body


async def test_the_meta_information_is_told(client: Any) -> None:
    (stored,) = await store(client, dicom_file(SOPInstanceUID="1.2.7"))
    found = await get(client, f"{stored['Path']}/header?simplify")
    assert found["TransferSyntaxUID"] == "1.2.840.10008.1.2.1"
    assert found["MediaStorageSOPInstanceUID"] == "1.2.7"
    assert int(found["FileMetaInformationGroupLength"]) > 100


async def test_long_values_are_given_in_parts(client: Any) -> None:
    value = bytes(range(256)) * 400
    made = dataset()
    made.add_new(0x00090010, "LO", "ACME")
    made.add_new(0x00091001, "OB", value)
    (stored,) = await store(client, encode(made))
    path = f"{stored['Path']}/content/0009-1001"
    assert await fetch(client, path) == value
    response = await client.get(path, headers={"Range": "bytes=256-511"})
    assert (response.status, await response.read()) == (206, value[256:512])


async def test_values_in_items_are_found(client: Any) -> None:
    inner = pydicom.Dataset()
    inner.CodeValue = "ABC"
    inner.add_new(0x00420011, "OB", b"\1" * 3000)
    (stored,) = await store(client, dicom_file(ProcedureCodeSequence=[inner, inner]))
    path = f"{stored['Path']}/content/0008-1032"
    assert await get(client, path) == ["0", "1"]
    assert await get(client, f"{path}/1") == ["0008-0100", "0042-0011"]
    assert await fetch(client, f"{path}/1/0008-0100") == b"ABC "
    assert await fetch(client, f"{path}/1/0042-0011") == b"\1" * 3000
    for wrong in ("2", "x", "1/0010-0010", "1/0008-0100/0", "-1"):
        await get(client, f"{path}/{wrong}", 404)


@pytest.mark.parametrize("syntax", [raw.IMPLICIT, raw.BIG, raw.DEFLATED])
async def test_values_keep_their_encoding(client: Any, syntax: str) -> None:
    made = dataset(PatientComments="Some text.")
    (stored,) = await store(client, encode(made, syntax))
    path = f"{stored['Path']}/content"
    assert await fetch(client, f"{path}/PatientComments") == b"Some text."
    assert "0010-4000" in await get(client, path)


async def test_fragments_are_listed_with_their_table(client: Any) -> None:
    frames = [b"\xff\xd8one\xff\xd9", b"\xff\xd8second\xff\xd9"]
    made = dataset(
        Rows=8,
        Columns=8,
        NumberOfFrames=2,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        PixelData=encapsulate(frames),
    )
    (stored,) = await store(client, encode(made, JPEGBaseline8Bit))
    path = f"{stored['Path']}/content/7fe0-0010"
    assert await get(client, path) == ["0", "1", "2"]
    assert (await fetch(client, f"{path}/1")).startswith(frames[0])
    assert (await fetch(client, f"{path}/2")).startswith(frames[1])
    await get(client, f"{path}/3", 404)
    stored_frame = await fetch(client, f"{stored['Path']}/frames/1/raw")
    assert stored_frame.startswith(frames[1])


async def test_a_document_is_given_as_it_is(client: Any) -> None:
    for size in (100, 5000):
        document = b"%PDF-" + b"x" * size
        file = dicom_file(
            SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1",
            MIMETypeOfEncapsulatedDocument="application/pdf",
            EncapsulatedDocument=document,
            EncapsulatedDocumentLength=len(document),
        )
        (stored,) = await store(client, file)
        response = await client.get(f"{stored['Path']}/pdf")
        assert response.headers["Content-Type"] == "application/pdf"
        assert await response.read() == document


# -- pictures ----------------------------------------------------------------------------


async def test_each_frame_is_shown(client: Any) -> None:
    (stored,) = await store(client, multiframe())
    path = stored["Path"]
    assert await get(client, f"{path}/frames") == [0, 1, 2]
    for number in range(3):
        body = await fetch(client, f"{path}/frames/{number}/image-uint8")
        assert np.asarray(Image.open(io.BytesIO(body))).max() == 10 * number
        body = await fetch(client, f"{path}/frames/{number}/raw")
        assert body == bytes([10 * number]) * 64
        packed = await fetch(client, f"{path}/frames/{number}/raw.gz")
        assert gzip.decompress(packed) == body
    for wrong, status in (("3/preview", 404), ("x/preview", 400), ("3", 404)):
        await get(client, f"{path}/frames/{wrong}", status)
    numbers = np.load(io.BytesIO(await fetch(client, f"{path}/numpy")))
    assert numbers.shape == (3, 8, 8, 1)
    body = await fetch(client, f"{path}/frames/1/numpy?compress")
    assert np.load(io.BytesIO(body))["arr_0"].max() == 10.0


async def test_a_picture_is_as_large_and_as_bright_as_wanted(client: Any) -> None:
    (stored,) = await store(client, image(64, 64))
    path = f"{stored['Path']}/rendered"
    body = await fetch(client, f"{path}?width=16&height=16")
    assert Image.open(io.BytesIO(body)).size == (16, 16)
    dark = await fetch(client, f"{path}?window-center=100000&window-width=10")
    assert np.asarray(Image.open(io.BytesIO(dark))).max() == 0
    for wrong in ("width=x", "width=100000", "window-center=x", "window-width=0"):
        response = await client.get(f"{path}?{wrong}")
        assert response.status == 400, wrong


async def test_sixteen_bits_are_kept_where_they_can_be(client: Any) -> None:
    (stored,) = await store(client, image(16, 16, BitsStored=16, HighBit=15))
    path = f"{stored['Path']}/image-uint16"
    kept = np.asarray(Image.open(io.BytesIO(await fetch(client, path))))
    assert kept.max() == 0xFFFE
    response = await client.get(path, headers={"Accept": "image/jpeg"})
    assert response.status == 406
    response = await client.get(path, headers={"Accept": "image/gif"})
    assert response.status == 406


async def test_what_has_no_pixels_has_no_picture(client: Any) -> None:
    (stored,) = await store(client, dicom_file())
    for name in ("preview", "rendered", "numpy", "matlab", "frames/0/raw", "pdf"):
        await get(client, f"{stored['Path']}/{name}", 404)


async def test_a_picture_that_is_known_is_not_sent_again(client: Any) -> None:
    (stored,) = await store(client, image())
    response = await client.get(f"{stored['Path']}/preview")
    known = {"If-None-Match": response.headers["ETag"]}
    response = await client.get(f"{stored['Path']}/preview", headers=known)
    assert response.status == 304


# -- zips --------------------------------------------------------------------------------


async def test_a_study_is_a_zip_with_folders(client: Any) -> None:
    files = [
        dicom_file(SeriesDescription="../../etc"),
        dicom_file(SeriesDescription="Größe"),
        dicom_file(SeriesInstanceUID="1.2.3.1.2", SeriesDescription="../../etc"),
        dicom_file(
            StudyInstanceUID="1.9", SeriesInstanceUID="1.9.1", StudyDescription="other"
        ),
    ]
    await store(client, *files)
    response = await client.get(f"/studies/{STUDY}/archive")
    assert response.headers["Content-Type"] == "application/zip"
    assert f'filename="{STUDY}.zip"' in response.headers["Content-Disposition"]
    body = await response.read()
    with zipfile.ZipFile(io.BytesIO(body)) as container:
        assert container.testzip() is None
        assert sorted(map(container.read, container.namelist())) == sorted(files[:3])
        assert set(container.namelist()) == {
            "P1 Doe Jane/A1/CT .. .. etc/CT000001.dcm",
            "P1 Doe Jane/A1/CT .. .. etc/CT000002.dcm",
            "P1 Doe Jane/A1/CT .. .. etc (2)/CT000001.dcm",
        }
    response = await client.post(f"/patients/{PATIENT}/archive", json={})
    with zipfile.ZipFile(io.BytesIO(await response.read())) as container:
        assert len(container.namelist()) == 4
    response = await client.head(f"/studies/{STUDY}/archive")
    assert (response.status, await response.read()) == (200, b"")


async def test_several_resources_are_one_zip(client: Any) -> None:
    files = [dicom_file(PatientID=f"P{n}", StudyInstanceUID=f"1.{n}") for n in (1, 2)]
    stored = await store(client, *files)
    names = [stored[0]["ParentStudy"], stored[0]["ID"], stored[1]["ParentPatient"]]
    response = await client.post("/tools/create-archive", json=names)
    with zipfile.ZipFile(io.BytesIO(await response.read())) as container:
        assert sorted(map(container.read, container.namelist())) == sorted(files)
    body = await fetch(client, f"/tools/create-archive?resources={','.join(names)}")
    with zipfile.ZipFile(io.BytesIO(body)) as container:
        assert len(container.namelist()) == 2
    for wrong, status in (([], 400), (["nothing"], 404), ({"Resources": [1]}, 400)):
        response = await client.post("/tools/create-archive", json=wrong)
        assert response.status == status
    asked = {"Resources": names, "Synchronous": False}
    response = await client.post("/tools/create-archive", json=asked)
    assert response.status == 400


async def test_a_zip_of_large_files_is_whole(client: Any) -> None:
    files = [image(1024, 1024), image(1024, 1024)]
    for file in files:
        response = await client.post("/instances", data=io.BytesIO(file))
        assert response.status == 200
    body = await fetch(client, f"/series/{SERIES}/archive")
    with zipfile.ZipFile(io.BytesIO(body)) as container:
        assert container.testzip() is None
        assert sorted(map(container.read, container.namelist())) == sorted(files)


async def test_a_medium_has_a_directory(client: Any, tmp_path: Path) -> None:
    files = [
        dicom_file(PatientName="Größe^Anna", SpecificCharacterSet="ISO_IR 192"),
        dicom_file(),
        dicom_file(SeriesInstanceUID="1.2.3.1.2", SeriesNumber=2),
        dicom_file(StudyInstanceUID="1.9", SeriesInstanceUID="1.9.1"),
    ]
    await store(client, *files)
    body = await fetch(client, f"/patients/{PATIENT}/media")
    with zipfile.ZipFile(io.BytesIO(body)) as container:
        assert container.testzip() is None
        container.extractall(tmp_path / "medium")
        names = sorted(container.namelist())
    assert names == ["DICOMDIR", *(f"IMAGES/IM{number}" for number in range(4))]
    medium = FileSet(tmp_path / "medium" / "DICOMDIR")
    assert len(medium) == 4
    assert set(medium.find_values("StudyInstanceUID")) == {"1.2.3.1", "1.9"}
    assert len(medium.find_values("SeriesInstanceUID")) == 3
    assert medium.find_values("PatientName") == ["Größe^Anna"]
    for one in medium:
        held = one.load()
        assert held.SOPInstanceUID == one.SOPInstanceUID
        assert held.StudyInstanceUID == one.StudyInstanceUID
    with warnings.catch_warnings():  # a set of files has a folder of its own to the end
        warnings.simplefilter("ignore", ResourceWarning)
        del medium, one
        gc.collect()
    response = await client.post(f"/studies/{STUDY}/media", json={"Synchronous": False})
    assert response.status == 400


async def test_a_zip_of_other_files_than_are_stored_is_refused(client: Any) -> None:
    (stored,) = await store(client, image())
    name = stored["ParentStudy"]
    for path in (
        f"/studies/{name}/archive?transcode=1.2.840.10008.1.2.5",
        f"/series/{stored['ParentSeries']}/media?transcode=1.2.840.10008.1.2.5",
        f"/tools/create-archive?resources={name}&transcode=1.2.840.10008.1.2.5",
    ):
        response = await client.get(path)
        assert response.status == 400, path
        assert "as they are stored" in (await response.json())["Details"]
