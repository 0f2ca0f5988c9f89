"""Patients, studies, series, instances: their identifiers and what belongs to each.

The four levels and their unique keys are those of PS3.3 and PS3.4 C.6; the short
identifiers are Orthanc's, so that a script written for it finds the same names here.
Which attribute belongs to which level decides what a search returns and what is indexed.
"""

import enum
import hashlib
import re
from typing import Any, NamedTuple

#: One data set in the DICOM JSON model (PS3.18 F.2): tag -> {"vr": ..., "Value": [...]}.
Attributes = dict[str, dict[str, Any]]

_UID = re.compile(r"[0-9.]{1,64}")


class Level(enum.IntEnum):
    """The levels of the information model, from the top (PS3.4 C.6.1.1)."""

    PATIENT = 0
    STUDY = 1
    SERIES = 2
    INSTANCE = 3


class Uids(NamedTuple):
    """What names one instance among all others, from the patient down."""

    patient_id: str  # (0010,0020); empty when the file has none
    study: str  # (0020,000D)
    series: str  # (0020,000E)
    instance: str  # (0008,0018)


def orthanc_id(*names: str) -> str:
    """Orthanc's identifier of a patient, study, series or instance.

    `names` are the PatientID and the UIDs down to the level, without trailing blanks.
    """
    sha1 = hashlib.sha1("|".join(names).encode(), usedforsecurity=False)
    return sha1.digest().hex("-", 4)


def is_uid(text: str) -> bool:
    """Whether the text can be a UID: digits and dots, at most 64 (PS3.5 9.1).

    Components with leading zeros exist in real archives and are let through.
    """
    return _UID.fullmatch(text) is not None


PATIENT_TAGS = frozenset(
    {
        "00100010",  # PatientName
        "00100020",  # PatientID
        "00100021",  # IssuerOfPatientID
        "00100030",  # PatientBirthDate
        "00100032",  # PatientBirthTime
        "00100040",  # PatientSex
        "00101000",  # OtherPatientIDs
        "00101001",  # OtherPatientNames
        "00102160",  # EthnicGroup
        "00104000",  # PatientComments
    }
)

STUDY_TAGS = frozenset(
    {
        "00080020",  # StudyDate
        "00080030",  # StudyTime
        "00080050",  # AccessionNumber
        "00080051",  # IssuerOfAccessionNumberSequence
        "00080080",  # InstitutionName
        "00080090",  # ReferringPhysicianName
        "00080201",  # TimezoneOffsetFromUTC
        "00081030",  # StudyDescription
        "00081032",  # ProcedureCodeSequence
        "00081048",  # PhysiciansOfRecord
        "00081060",  # NameOfPhysiciansReadingStudy
        "00081080",  # AdmittingDiagnosesDescription
        "00101010",  # PatientAge
        "00101020",  # PatientSize
        "00101030",  # PatientWeight
        "0020000D",  # StudyInstanceUID
        "00200010",  # StudyID
        "00321032",  # RequestingPhysician
        "00321060",  # RequestedProcedureDescription
        "00380010",  # AdmissionID
    }
)

SERIES_TAGS = frozenset(
    {
        "00080021",  # SeriesDate
        "00080031",  # SeriesTime
        "00080060",  # Modality
        "00080070",  # Manufacturer
        "00080201",  # TimezoneOffsetFromUTC
        "00081010",  # StationName
        "0008103E",  # SeriesDescription
        "00081050",  # PerformingPhysicianName
        "00081070",  # OperatorsName
        "00081090",  # ManufacturerModelName
        "00180010",  # ContrastBolusAgent
        "00180015",  # BodyPartExamined
        "00180024",  # SequenceName
        "00181030",  # ProtocolName
        "00181400",  # AcquisitionDeviceProcessingDescription
        "00185100",  # PatientPosition
        "0020000E",  # SeriesInstanceUID
        "00200011",  # SeriesNumber
        "00200037",  # ImageOrientationPatient
        "00200052",  # FrameOfReferenceUID
        "00200060",  # Laterality
        "00200105",  # NumberOfTemporalPositions
        "00201002",  # ImagesInAcquisition
        "00400244",  # PerformedProcedureStepStartDate
        "00400245",  # PerformedProcedureStepStartTime
        "00400254",  # PerformedProcedureStepDescription
        "00400275",  # RequestAttributesSequence
        "00540081",  # NumberOfSlices
        "00540101",  # NumberOfTimeSlices
        "00541000",  # SeriesType
    }
)

INSTANCE_TAGS = frozenset(
    {
        "00080012",  # InstanceCreationDate
        "00080013",  # InstanceCreationTime
        "00080016",  # SOPClassUID
        "00080018",  # SOPInstanceUID
        "00080023",  # ContentDate
        "00080033",  # ContentTime
        "00080201",  # TimezoneOffsetFromUTC
        "00200012",  # AcquisitionNumber
        "00200013",  # InstanceNumber
        "00200032",  # ImagePositionPatient
        "00200037",  # ImageOrientationPatient
        "00200100",  # TemporalPositionIdentifier
        "00204000",  # ImageComments
        "00280008",  # NumberOfFrames
        "00280010",  # Rows
        "00280011",  # Columns
        "00280100",  # BitsAllocated
        "00541330",  # ImageIndex
    }
)


def tags_of(level: Level) -> frozenset[str]:
    """The attributes held with a row of the level; a study's include its patient's."""
    return {
        Level.PATIENT: PATIENT_TAGS,
        Level.STUDY: PATIENT_TAGS | STUDY_TAGS,
        Level.SERIES: SERIES_TAGS,
        Level.INSTANCE: INSTANCE_TAGS,
    }[level]


def first_text(attributes: Attributes, tag: str) -> str:
    """The first value of an attribute as text; empty when there is none.

    Of a person name it is the alphabetic group, else whichever comes first.
    """
    values = attributes.get(tag, {}).get("Value")
    value = values[0] if values else None
    if isinstance(value, dict):
        value = value.get("Alphabetic") or next(iter(value.values()), "")
    return "" if value is None else str(value)
