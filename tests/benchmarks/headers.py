"""The DICOM objects of the benchmarks, written with pydicom.

Parsing costs what the header costs, so the CT's header is that of a real scanner in
size and in kind: nested sequences, private blocks, lists of decimal strings, names.
Only the making of the data needs this module; the measured client never does.
"""

from io import BytesIO

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from .phantom import FIELD, INTERCEPT

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
MULTIFRAME_WORD = "1.2.840.10008.5.1.4.1.1.7.3"
LABORATORY = "1.2.826.0.1.3680043.10.1511"

PATIENT = {
    "PatientBirthDate": "19570312",
    "PatientSex": "F",
    "PatientAge": "067Y",
    "PatientSize": "1.68",
    "PatientWeight": "71.5",
    "OtherPatientIDs": ["ALT-001", "ALT-002"],
    "EthnicGroup": "unknown",
    "PatientComments": "Allergy to iodine not known",
    "PregnancyStatus": 4,
    "PatientIdentityRemoved": "NO",
}
STUDY = {
    "StudyDate": "20240311",
    "StudyTime": "101112.000",
    "AccessionNumber": "ACC20240311",
    "ReferringPhysicianName": "Anders^Ruth^^Dr.",
    "StudyDescription": "CT Thorax and Abdomen with contrast",
    "StudyID": "4711",
    "NameOfPhysiciansReadingStudy": ["Okafor^Chidi^^Prof.", "Lindqvist^Maj"],
    "RequestingPhysician": "Anders^Ruth^^Dr.",
    "RequestedProcedureDescription": "CT Thorax/Abdomen",
    "InstitutionName": "Hospital of the Holy Ghost",
    "InstitutionAddress": "1 Hill Street, Riverside",
    "InstitutionalDepartmentName": "Radiology",
    "StationName": "CTAWP66012",
}
SERIES = {
    "Modality": "CT",
    "SeriesDate": "20240311",
    "SeriesTime": "101502.125",
    "SeriesDescription": "Thorax 1.0 B31f venous",
    "SeriesNumber": 4,
    "Laterality": "",
    "ProtocolName": "ThoraxAbdomen_venous",
    "BodyPartExamined": "CHEST",
    "PatientPosition": "HFS",
    "OperatorsName": "Novak^Jana",
    "PerformingPhysicianName": "Okafor^Chidi^^Prof.",
    "PerformedProcedureStepStartDate": "20240311",
    "PerformedProcedureStepStartTime": "101301",
    "PerformedProcedureStepID": "MPPS4711",
    "PerformedProcedureStepDescription": "Thorax venous",
    "CommentsOnThePerformedProcedureStep": "None",
    "FrameOfReferenceUID": f"{LABORATORY}.9.1",
    "PositionReferenceIndicator": "SN",
}
EQUIPMENT = {
    "Manufacturer": "Example Medical",
    "ManufacturerModelName": "Definition 64",
    "DeviceSerialNumber": "66012",
    "SoftwareVersions": ["syngo CT 2012B", "VA44A"],
    "SpatialResolution": "0.5",
    "DateOfLastCalibration": ["20240309", "20240310"],
    "TimeOfLastCalibration": ["061500", "061700"],
    "PixelPaddingValue": 0,
    "DeviceUID": f"{LABORATORY}.9.2",
    "GantryID": "G1",
}
ACQUISITION = {
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"],
    "AcquisitionDate": "20240311",
    "AcquisitionNumber": 3,
    "ScanOptions": "HELICAL MODE",
    "SliceThickness": "1.0",
    "KVP": "120",
    "DataCollectionDiameter": "500",
    "ReconstructionDiameter": str(FIELD),
    "DistanceSourceToDetector": "1085.6",
    "DistanceSourceToPatient": "595",
    "GantryDetectorTilt": "0",
    "TableHeight": "143.5",
    "RotationDirection": "CW",
    "ExposureTime": 500,
    "XRayTubeCurrent": 217,
    "Exposure": 77,
    "FilterType": "FLAT",
    "GeneratorPower": 26,
    "FocalSpots": ["0.7", "1.2"],
    "ConvolutionKernel": ["B31f", "3"],
    "SingleCollimationWidth": 0.6,
    "TotalCollimationWidth": 19.2,
    "TableSpeed": 46.0,
    "TableFeedPerRotation": 23.0,
    "SpiralPitchFactor": 1.2,
    "ExposureModulationType": "XYZ_EC",
    "EstimatedDoseSaving": 31.25,
    "CTDIvol": 5.123456789,
    "DataCollectionCenterPatient": [0.0, -143.5, 212.0],
    "ReconstructionTargetCenterPatient": [0.0, -143.5, 212.0],
    "ContrastBolusAgent": "APPLIED",
    "ContrastBolusRoute": "IV",
    "ContrastBolusVolume": "90",
    "ContrastBolusStartTime": "101410",
    "ContrastFlowRate": ["3.0", "2.5"],
    "ContrastFlowDuration": ["20", "12"],
    "ImageComments": "venous phase, 70 s after the start of the injection",
    "WindowCenter": ["40", "-600"],
    "WindowWidth": ["400", "1200"],
    "WindowCenterWidthExplanation": ["WINDOW1", "WINDOW2"],
    "RescaleIntercept": str(INTERCEPT),
    "RescaleSlope": "1",
    "RescaleType": "HU",
    "BurnedInAnnotation": "NO",
    "LossyImageCompression": "00",
    "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
}


def ct_instance(number: int, uids: dict[str, str], pixels: bytes) -> bytes:
    """One slice of a CT: about 250 elements, 512 x 512, 16 bits."""
    header = _image(uids, CT_IMAGE, rows=512)
    for attributes in (PATIENT, STUDY, SERIES, EQUIPMENT, ACQUISITION):
        _set(header, attributes)
    header.PatientName = "Müller^Anna-Maria^Luise^Dr.^"
    header.InstanceNumber = number
    header.AcquisitionTime = header.ContentTime = f"1015{number % 60:02d}.{number:06d}"
    header.ContentDate = "20240311"
    header.ImagePositionPatient = ["-173.828125", "-317.328125", f"{-number:.1f}"]
    header.SliceLocation = f"{-number:.1f}"
    header.PixelSpacing = ["0.6790161133", "0.6790161133"]
    _add_sequences(header, number)
    for group, creator in (
        (0x19, "EXAMPLE CT 01"),
        (0x29, "EXAMPLE CSA"),
        (0x43, "EX"),
    ):
        _add_private_block(header, group, creator, count=30)
    return _written(header, pixels)


def small_instance(uids: dict[str, str], pixels: bytes) -> bytes:
    """A small image of about 100 elements, 96 x 96, 16 bits."""
    header = _image(uids, CT_IMAGE, rows=96)
    for attributes in (PATIENT, STUDY, SERIES, EQUIPMENT):
        _set(header, attributes)
    header.PatientName = "Small^Object"
    header.InstanceNumber = 1
    header.ImagePositionPatient = ["-10", "-10", "1.5"]
    header.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    header.PixelSpacing = ["0.5", "0.5"]
    _add_private_block(header, 0x19, "EXAMPLE CT 01", count=22)
    return _written(header, pixels)


def tiny_instance(uids: dict[str, str], study: dict[str, str], pixels: bytes) -> bytes:
    """The least that makes a study to search for: 16 x 16."""
    header = _image(uids, CT_IMAGE, rows=16)
    _set(header, {"Modality": "CT", "SeriesNumber": 1, "InstanceNumber": 1})
    _set(header, study)
    return _written(header, pixels)


def large_header(uids: dict[str, str], frames: int) -> bytes:
    """What comes before the first frame of a multi-frame object of 512 x 512."""
    header = _image(uids, MULTIFRAME_WORD, rows=512)
    _set(header, {"PatientName": "Large^Object", "Modality": "OT", "StudyID": "1"})
    header.NumberOfFrames = frames
    length = frames * 512 * 512 * 2
    return _written(header, b"")[:-4] + length.to_bytes(4, "little")


def noise(seed: int, count: int) -> bytes:
    """That many pixels of 12 bits in 16, always the same for a seed."""
    generator = np.random.default_rng(seed)
    return generator.integers(0, 4096, count, dtype="<u2").tobytes()


def _image(uids: dict[str, str], sop_class: str, rows: int) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = uids["SOPInstanceUID"]
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header = FileDataset(None, {}, preamble=b"\0" * 128, file_meta=meta)
    header.SpecificCharacterSet = "ISO_IR 192"
    header.SOPClassUID = sop_class
    _set(header, uids)
    _set(header, {"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"})
    _set(header, {"Rows": rows, "Columns": rows, "PixelRepresentation": 0})
    _set(header, {"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11})
    return header


def _set(header: Dataset, attributes: dict) -> None:
    for keyword, value in attributes.items():
        setattr(header, keyword, value)


def _written(header: FileDataset, pixels: bytes) -> bytes:
    header.add_new(0x7FE00010, "OW", pixels)
    file = BytesIO()
    header.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _code(value: str, meaning: str, scheme: str = "SCT") -> Dataset:
    code = Dataset()
    code.CodeValue = value
    code.CodingSchemeDesignator = scheme
    code.CodeMeaning = meaning
    return code


def _reference(sop_class: str, number: int) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = sop_class
    reference.ReferencedSOPInstanceUID = f"{LABORATORY}.8.{number}"
    return reference


def _add_sequences(header: Dataset, number: int) -> None:
    header.ReferencedStudySequence = [_reference("1.2.840.10008.3.1.2.3.1", 1)]
    header.ReferencedImageSequence = [
        _reference(CT_IMAGE, 1000 + number + offset) for offset in range(3)
    ]
    source = _reference(CT_IMAGE, 5000 + number)
    source.PurposeOfReferenceCodeSequence = [_code("121322", "Source image", "DCM")]
    header.SourceImageSequence = [source]
    header.ProcedureCodeSequence = [_code("CTTHAB", "CT Thorax/Abdomen", "99HOSP")]
    header.AnatomicRegionSequence = [_code("51185008", "Chest")]
    header.ContrastBolusAgentSequence = [_code("7140000", "Iohexol")]
    request = Dataset()
    request.ScheduledProcedureStepID = "SPS4711"
    request.RequestedProcedureID = "RP4711"
    request.ScheduledProcedureStepDescription = "CT Thorax/Abdomen"
    request.ScheduledProtocolCodeSequence = [
        _code("CTTHV", "Thorax venous", "99HOSP"),
        _code("CTABV", "Abdomen venous", "99HOSP"),
    ]
    header.RequestAttributesSequence = [request]


def _add_private_block(header: Dataset, group: int, creator: str, count: int) -> None:
    """Private elements as scanners write them: texts, numbers, lists and blobs."""
    block = header.private_block(group, creator, create=True)
    kinds = (
        ("LO", "private text of the scanner"),
        ("DS", ["0.1", "-12.75", "3.5e-3"]),
        ("IS", ["1", "2", "4095"]),
        ("UN", bytes(range(48))),
        ("FD", [0.1, 1e-3]),
        ("SH", "V1.2"),
        ("US", [1, 2, 3]),
        ("OB", bytes(range(64))),
    )
    for offset in range(count):
        vr, value = kinds[offset % len(kinds)]
        block.add_new(0x01 + offset, vr, value)
