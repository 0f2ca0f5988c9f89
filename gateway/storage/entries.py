"""A file's header as the rows of the index: computed once, away from the database.

What a search compares is stored as it is compared; what a search shows is stored as the
JSON it is shown in. Nothing here runs SQL.
"""

import zlib
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from gateway.dicom.header import Header
from gateway.dicom.hierarchy import (
    PATIENT_TAGS,
    SERIES_TAGS,
    STUDY_TAGS,
    Attributes,
    Uids,
    first_text,
    orthanc_id,
)
from gateway.dicom.normal_forms import (
    normalise_date,
    normalise_name_groups,
    normalise_number,
    normalise_text,
    normalise_time,
)

#: Deflate's fastest level: header JSON shrinks fourfold at it, little more at others.
_LEVEL = 1

#: A window of 8 KiB and as much memory for matches: the state of a compressor then comes
#: from the heap; a larger one would be mapped and given back for each header anew.
_WINDOW, _MEMORY = 13, 6

_PATIENT_AND_STUDY = PATIENT_TAGS | STUDY_TAGS
_LARGEST_NUMBER = 2**63 - 1


class Entry(NamedTuple):
    """One instance about to be added, ready for the index."""

    uids: Uids
    orthanc_ids: tuple[str, str, str, str]  # of patient, study, series, instance
    sop_class: str
    transfer_syntax: str
    number: int | None  # InstanceNumber
    size: int  # bytes of the file
    header: bytes  # deflated DICOM JSON
    bulk: str | None  # JSON: path -> [offset, length]
    instance: str  # DICOM JSON of what a search for instances shows
    attributes: Attributes  # for its parents, where they are missing


STUDY_COLUMNS = (
    "attributes",
    "patient_id_key",
    "patient_name_key",
    "birth_date",
    "sex_key",
    "study_date",
    "study_time",
    "accession_key",
    "study_id_key",
    "description_key",
    "referring_name_key",
)

SERIES_COLUMNS = (
    "attributes",
    "number",
    "modality_key",
    "description_key",
    "body_part_key",
    "step_date",
    "step_time",
)

_orthanc_id = lru_cache(maxsize=4096)(orthanc_id)


def deflate(text: bytes) -> bytes:
    """The text as deflate blocks that end on a byte boundary and stand alone."""
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -_WINDOW, _MEMORY)
    return compressor.compress(text) + compressor.flush(zlib.Z_FULL_FLUSH)


def inflate(blocks: bytes) -> bytes:
    """The text of such blocks."""
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(blocks)


def entry_of(header: Header, size: int) -> Entry:
    """The rows for a header; `size` is the file's, in bytes."""
    attributes = header.attributes
    names = _names(header.uids)
    return Entry(
        uids=header.uids,
        orthanc_ids=(
            _orthanc_id(*names[:1]),
            _orthanc_id(*names[:2]),
            _orthanc_id(*names[:3]),
            orthanc_id(*names),
        ),
        sop_class=header.sop_class,
        transfer_syntax=header.transfer_syntax,
        number=_number(attributes, "00200013"),
        size=size,
        header=deflate(header.text),
        bulk=orjson.dumps(header.bulk).decode() if header.bulk else None,
        instance=header.shown.decode(),
        attributes=attributes,
    )


def _names(uids: Uids) -> tuple[str, str, str, str]:
    return uids.patient_id, uids.study, uids.series, uids.instance


def _part(attributes: Attributes, tags: frozenset[str]) -> str:
    part = {tag: attributes[tag] for tag in attributes if tag in tags}
    return orjson.dumps(part).decode()


def _number(attributes: Attributes, tag: str) -> int | None:
    number = normalise_number(first_text(attributes, tag))
    if number is None or abs(number) > _LARGEST_NUMBER or number % 1:
        return None
    return int(number)


def _key(attributes: Attributes, tag: str) -> str | None:
    text = first_text(attributes, tag)
    return normalise_text(text) if text else None


def _name_key(attributes: Attributes, tag: str) -> str | None:
    groups = normalise_name_groups(attributes.get(tag, {}))
    return "=".join(groups) if any(groups) else None


def patient_attributes(attributes: Attributes) -> str:
    """DICOM JSON of the patient's attributes."""
    return _part(attributes, PATIENT_TAGS)


def study_values(attributes: Attributes) -> tuple[Any, ...]:
    """The values of a study's columns, as in STUDY_COLUMNS."""
    return (
        _part(attributes, _PATIENT_AND_STUDY),
        _key(attributes, "00100020"),
        _name_key(attributes, "00100010"),
        normalise_date(first_text(attributes, "00100030")) or None,
        _key(attributes, "00100040"),
        normalise_date(first_text(attributes, "00080020")) or None,
        normalise_time(first_text(attributes, "00080030")) or None,
        _key(attributes, "00080050"),
        _key(attributes, "00200010"),
        _key(attributes, "00081030"),
        _name_key(attributes, "00080090"),
    )


def series_values(attributes: Attributes) -> tuple[Any, ...]:
    """The values of a series' columns, as in SERIES_COLUMNS."""
    return (
        _part(attributes, SERIES_TAGS),
        _number(attributes, "00200011"),
        _key(attributes, "00080060"),
        _key(attributes, "0008103E"),
        _key(attributes, "00180015"),
        normalise_date(first_text(attributes, "00400244")) or None,
        normalise_time(first_text(attributes, "00400245")) or None,
    )
