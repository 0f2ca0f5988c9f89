"""What becomes of an instance that came: stored or refused, and why.

Refusal is an answer, with the reason that the standard has for it; exceptions stay
within the intake.
"""

import enum
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gateway.dicom.header import Header
from gateway.dicom.hierarchy import Uids
from gateway.errors import BadConfiguration, Busy, GatewayError, NotDicom, StorageFull


class FailureReason(enum.IntEnum):
    """Why an instance was not stored (PS3.18 I.2.2, PS3.7 annex C)."""

    PROCESSING_FAILURE = 0x0110
    DUPLICATE_INSTANCE = 0x0111
    OUT_OF_RESOURCES = 0xA700
    CANNOT_UNDERSTAND = 0xC000


class WarningReason(enum.IntEnum):
    """What was changed in an instance that is stored (PS3.18 I.2.1)."""

    COERCED = 0xB000
    ELEMENTS_DISCARDED = 0xB006
    NOT_OF_ITS_CLASS = 0xB007


class Overwrite(enum.Enum):
    """What becomes of an address that is held with other content."""

    NEVER = "Never"
    ALWAYS = "Always"
    IF_CHANGED = "IfChanged"


class Stored(NamedTuple):
    """The instance is safe: on the disk and in the index."""

    uids: Uids
    orthanc_ids: tuple[str, str, str, str]  # of patient, study, series, instance
    sop_class: str
    already_there: bool  # the same bytes were held before


@dataclass(frozen=True, slots=True)
class Refused:
    """The instance is not stored, and nothing of it is left."""

    reason: FailureReason
    message: str  # for people; names the attribute, never the patient
    sop_class: str = ""  # empty when the file did not tell
    instance: str = ""  # SOPInstanceUID, likewise
    fault: type[Exception] | None = None  # of our own, where the instance has none
    is_other: bool = False  # it is no DICOM file, nor was meant to be stored as one

    @property
    def is_for_later(self) -> bool:
        """Whether nothing can be stored at the moment, whatever it is."""
        return self.fault is not None and issubclass(self.fault, (OSError, Busy))


Outcome = Stored | Refused


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be held; 0 for no limit."""

    storage_size: int = 0  # bytes of all instances
    patients: int = 0  # how many there may be
    recycle: bool = False  # the oldest give way to the newest; else these are refused
    free_space: int = 0  # bytes to leave free on the disk
    index_folder: Path | None = None  # whose disk has to keep as much free


NO_LIMITS = Limits()


class OtherStudy(GatewayError):
    """StudyInstanceUID (0020,000D) is not that of the address."""


class Duplicate(GatewayError):
    """SOPInstanceUID (0008,0018) is already held with other content."""


def refused(error: Exception, header: Header | None) -> Refused:
    """What an error means for the instance with that header, if it has one."""
    if header is None:
        return refusal(error, "", "")
    return refusal(error, header.sop_class, header.uids.instance)


_REASONS: tuple[tuple[type[Exception], FailureReason], ...] = (
    (StorageFull, FailureReason.OUT_OF_RESOURCES),
    (NotDicom, FailureReason.CANNOT_UNDERSTAND),
    (Duplicate, FailureReason.DUPLICATE_INSTANCE),
)


#: Errors of the family that are no fault of the instance.
_OURS = (Busy, BadConfiguration)


def refusal(error: Exception, sop_class: str, instance: str) -> Refused:
    """What an error means for an instance."""
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return Refused(reason, str(error), sop_class, instance)
    is_foreseen = isinstance(error, GatewayError)
    message = str(error) if is_foreseen else "an internal error"
    if isinstance(error, OSError):
        message = "the storage cannot be written"
    ours = not is_foreseen or isinstance(error, _OURS)
    fault = type(error) if ours else None
    return Refused(
        FailureReason.PROCESSING_FAILURE, message, sop_class, instance, fault
    )
