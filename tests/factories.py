"""Small DICOM files made by pydicom: any syntax, any attributes, and bad ones."""

import io
import itertools
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
_numbers = itertools.count(1)


def dataset(**attributes: Any) -> Dataset:
    """A small data set with the usual attributes, and those given by keyword."""
    number = next(_numbers)
    made = Dataset()
    made.SOPClassUID = CT_IMAGE
    made.SOPInstanceUID = f"1.2.3.4.{number}"
    made.StudyInstanceUID = "1.2.3.1"
    made.SeriesInstanceUID = "1.2.3.1.1"
    made.PatientName = "Doe^Jane"
    made.PatientID = "P1"
    made.StudyDate = "20240131"
    made.StudyTime = "101500"
    made.AccessionNumber = "A1"
    made.Modality = "CT"
    made.SeriesNumber = 1
    made.InstanceNumber = number
    for keyword, value in attributes.items():
        if value is None:
            del made[keyword]
        else:
            setattr(made, keyword, value)
    return made


def encode(data_set: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The data set as a DICOM file."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = transfer_syntax
    meta.MediaStorageSOPClassUID = data_set.get("SOPClassUID", CT_IMAGE)
    meta.MediaStorageSOPInstanceUID = data_set.get("SOPInstanceUID") or generate_uid()
    data_set.file_meta = meta
    out = io.BytesIO()
    pydicom.dcmwrite(out, data_set, enforce_file_format=True)
    return out.getvalue()


def dicom_file(**attributes: Any) -> bytes:
    """A small DICOM file with the attributes given by keyword."""
    return encode(dataset(**attributes))


def image(rows: int = 16, columns: int = 16, **attributes: Any) -> bytes:
    """A small DICOM file with pixel data of 16 bits."""
    usual = {
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelData": bytes(range(256)) * (2 * rows * columns // 256),
    }
    return dicom_file(**{**usual, **attributes})


def multipart(*parts: bytes, boundary: str = "BOUNDARY") -> bytes:
    """A multipart/related body with DICOM parts, closed as it should be."""
    delimiter = f"--{boundary}".encode()
    body = b"".join(
        delimiter + b"\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n"
        for part in parts
    )
    return body + delimiter + b"--\r\n"


def content_type(boundary: str = "BOUNDARY") -> str:
    """The Content-Type of such a body."""
    return f'multipart/related; type="application/dicom"; boundary={boundary}'
