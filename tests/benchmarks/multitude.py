"""A million instances in an index, without their files: what a search among many finds.

The rows are those that the project's own storage code makes of headers, in large
transactions; what each is called follows from its number. The index is made once for a
version of the schema and copied for each server that starts on it.
"""

import datetime
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from gateway.dicom.header import Header, read_header
from gateway.dicom.hierarchy import INSTANCE_TAGS, Attributes, Uids, orthanc_id
from gateway.storage.blobs import new_name
from gateway.storage.database import SqliteSession
from gateway.storage.entries import Entry, deflate, entry_of
from gateway.storage.identity import identify
from gateway.storage.index import Index
from gateway.storage.migrations import VERSION as SCHEMA
from gateway.storage.migrations import migrate

from . import headers
from .kept import kept
from .streams import numbered

VERSION = 1  # of what is written here
INSTANCES = 1_000_000

_TOGETHER = 5_000  # instances in one transaction
_PAGES = -1_000_000  # KiB that SQLite may hold while the index is made
_SIZE = 21_000  # bytes that a file would have
_ROOT = f"{headers.LABORATORY}.7"
_NAMES = {
    "PatientID": "P7",
    "StudyInstanceUID": _ROOT,
    "SeriesInstanceUID": f"{_ROOT}.1",
    "SOPInstanceUID": f"{_ROOT}.1.1",
}

# What ten studies are: modality, series, instances of each. In all 87 instances a study.
_KINDS = (
    *(("CT", 4, 50), ("MR", 6, 22), ("DX", 1, 2), ("US", 1, 24), ("DX", 1, 2)),
    *(("CT", 4, 50), ("MR", 6, 22), ("MG", 1, 4), ("PT", 3, 60), ("DX", 1, 2)),
)
_FIRST = ("An", "Bel", "Car", "Dor", "El", "Fre", "Gis", "Han", "Ing", "Jo", "Ka", "Lu")
_LAST = ("na", "la", "rik", "thea", "do", "dwin", "mar", "bert", "ria", "nas", "lin")
_FAMILY = (
    *("Mül", "Schnei", "Fi", "We", "Ba", "Hof", "Ko", "Rich", "Klei", "Wolf", "Neu"),
    *("Schwar", "Zim", "Brau", "Krü", "Hart", "Lan", "Wer", "Krau", "Leh", "Mai", "Al"),
)
_ENDING = (
    *("ler", "mann", "der", "scher", "ber", "ster", "xner", "feld", "bach", "ner"),
    *("hardt", "ger", "ke", "witz", "hausen", "brecht", "ert"),
)


@dataclass(frozen=True, slots=True)
class Study:
    """A study of the multitude, by its number."""

    number: int

    @property
    def uid(self) -> str:
        """Its Study Instance UID."""
        return f"{_ROOT}.{numbered(self.number)}"

    @property
    def kind(self) -> tuple[str, int, int]:
        """The modality, how many series there are, and instances in each."""
        return _KINDS[self.number * 7 % len(_KINDS)]

    @property
    def modalities(self) -> list[str]:
        """What its series are of: of a PET there is a CT, too."""
        modality, series, _ = self.kind
        return (
            ["CT", *["PT"] * (series - 1)] if modality == "PT" else [modality] * series
        )

    @property
    def size(self) -> int:
        """How many instances it has."""
        return self.kind[1] * self.kind[2]

    @property
    def patient(self) -> int:
        """The number of the patient: six tenths of the studies are somebody's first."""
        return self.number * 6 // 10

    @property
    def patient_id(self) -> str:
        """The PatientID."""
        return f"HOSP{self.patient * 7919 % 10_000_000:07d}"

    @property
    def name(self) -> str:
        """The patient's name."""
        number = self.patient * 31
        family = _FAMILY[number % len(_FAMILY)] + _ENDING[number % len(_ENDING)]
        given = _FIRST[number % len(_FIRST)] + _LAST[number % len(_LAST)]
        return f"{family}^{given}"

    @property
    def date(self) -> str:
        """The day that it was made: about ten each day."""
        day = datetime.date(2022, 1, 3) + datetime.timedelta(self.number // 10)
        return day.strftime("%Y%m%d")

    @property
    def accession(self) -> str:
        """The accession number."""
        return f"R{self.number * 104_729 % 100_000_000:08d}"

    def series(self, number: int) -> str:
        """The Series Instance UID of a series, from 1 on."""
        return f"{self.uid}.{number}"


def studies(instances: int) -> Iterator[Study]:
    """As many as hold so many instances."""
    number = 0
    while instances > 0:
        study = Study(number)
        yield study
        instances -= study.size
        number += 1


def index(folder: Path, instances: int) -> Path:
    """The folder of an index that holds so many, made now if it is not there."""
    name = f"v{VERSION}-million-{instances}-schema-{SCHEMA}"
    return kept(folder.resolve() / name, lambda place: _write(place, instances))


def copy(source: Path, storage: Path) -> None:
    """Let a server start with this index: `storage` is its StorageDirectory."""
    for file in source.iterdir():
        shutil.copyfile(file, storage / file.name)


def _write(place: Path, instances: int) -> None:
    with closing(sqlite3.connect(place / "gateway.db", isolation_level=None)) as made:
        made.execute("PRAGMA journal_mode = OFF")
        made.execute("PRAGMA synchronous = OFF")
        made.execute(f"PRAGMA cache_size = {_PAGES}")
        session = SqliteSession(made)
        migrate(session)
        identify(session, place, holds_files=False)
        held, template = Index(), _template()
        group: list[tuple[Entry, str, bool]] = []
        for study in studies(instances):
            group += ((entry, new_name(), False) for entry in _entries(study, template))
            if len(group) >= _TOGETHER:
                _add(made, held, group)
        _add(made, held, group)
        made.execute("DELETE FROM unstable")  # what came long ago is stable
        made.execute("PRAGMA journal_mode = WAL")


def _entries(study: Study, template: Header) -> Iterator[Entry]:
    for place, modality in enumerate(study.modalities, 1):
        attributes = template.attributes | {
            "00080020": _element("DA", study.date),
            "00080050": _element("SH", study.accession),
            "00080060": _element("CS", modality),
            "00100010": _element("PN", {"Alphabetic": study.name}),
            "00100020": _element("LO", study.patient_id),
            "0020000D": _element("UI", study.uid),
            "0020000E": _element("UI", study.series(place)),
            "00200010": _element("SH", str(study.number)),
            "00200011": _element("IS", place),
        }
        yield from _of_series(study, study.series(place), template, attributes)


def _of_series(
    study: Study, series: str, template: Header, attributes: Attributes
) -> Iterator[Entry]:
    """What its instances share is made once."""
    names = study.patient_id, study.uid, series
    header = template._replace(uids=Uids(*names, ""), attributes=attributes)
    shared = entry_of(header, _SIZE)
    common = {tag: attributes[tag] for tag in attributes if tag not in INSTANCE_TAGS}
    rest = deflate(b"," + orjson.dumps(common)[1:])  # blocks can be joined
    for number in range(1, study.kind[2] + 1):
        uid = f"{series}.{numbered(number)}"
        own = {tag: attributes[tag] for tag in attributes if tag in INSTANCE_TAGS}
        own["00080018"] = _element("UI", uid)
        own["00200013"] = _element("IS", number)
        text = orjson.dumps(own)
        yield shared._replace(
            uids=Uids(*names, uid),
            orthanc_ids=(*shared.orthanc_ids[:3], orthanc_id(*names, uid)),
            number=number,
            header=deflate(text[:-1]) + rest,
            instance=text.decode(),
        )


def _element(vr: str, value: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]}


def _template() -> Header:
    """A header of about a hundred elements, to be made another's."""
    pixels = headers.noise(0, 96 * 96)
    return read_header(headers.small_instance(_NAMES, pixels))


def _add(
    made: sqlite3.Connection, held: Index, group: list[tuple[Entry, str, bool]]
) -> None:
    made.execute("BEGIN")
    held.add(SqliteSession(made), group)
    made.execute("COMMIT")
    group.clear()
