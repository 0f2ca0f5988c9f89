"""The same data for both servers, made once in a folder and kept.

Everything follows from seeds and counters, so that two machines compare the same
bytes.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from . import headers, phantom
from .headers import LABORATORY
from .kept import kept
from .streams import FRAME, INSTANCE_MARK, STUDY_MARK, Large, Many, numbered, patched

VERSION = 2  # of what is written here; a change makes the kept sets stale

# Every tenth name has an x in it.
FAMILY_NAMES = (
    *("Almeida", "Berger", "Hendrix", "Dupont", "Eriksen"),
    *("Farouk", "Gruber", "Haddad", "Ivanova", "Jansen"),
)
GIVEN_NAMES = ("Ada", "Bruno", "Clara", "David", "Emma", "Felipe", "Greta", "Hugo")
SERIES_OF_FIRST_STUDY = 12
FEW_FRAMES = 4


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything; a scale below 1 is for trying things out."""

    ct: int = 400
    small: int = 800
    tiny_studies: int = 300
    large_frames: int = 4096
    many: int = 20_000
    many_studies: int = 20
    million: int = 1_000_000

    @classmethod
    def scaled(cls, scale: float) -> "Sizes":
        """The usual sizes times a factor, none below what the workloads need."""
        return cls(
            ct=max(20, int(400 * scale)),
            small=max(40, int(800 * scale)),
            tiny_studies=max(60, int(300 * scale)),
            large_frames=max(16, int(4096 * scale)),
            many=max(200, int(1000 * scale) * 20),
            million=max(20_000, int(1_000_000 * scale)),
        )


@dataclass(frozen=True, slots=True)
class Instance:
    """A file of the data and who it is."""

    file: str
    patient: str
    study: str
    series: str
    instance: str
    size: int

    @property
    def orthanc_id(self) -> str:
        """The identifier that Orthanc's own REST API knows it by."""
        names = (self.patient, self.study, self.series, self.instance)
        digest = hashlib.sha1("|".join(names).encode()).hexdigest()
        return "-".join(digest[start : start + 8] for start in range(0, 40, 8))


@dataclass(frozen=True, slots=True)
class Collection:
    """All that the workloads send and ask for."""

    folder: Path
    ct: list[Instance]
    small: list[Instance]
    tiny: list[Instance]
    names_with_x: int
    large: Large
    few_frames: Large  # the same with hardly any
    many: Many
    million: int  # instances of the index that others are asked of

    @property
    def large_study_uid(self) -> str:
        """The study that the large object is alone in."""
        return _uids(3, 0, 0)["StudyInstanceUID"]

    @property
    def large_path(self) -> str:
        """The address of the large object below that of the studies."""
        return _path(_uids(3, 0, 0))

    @property
    def few_frames_path(self) -> str:
        """That of the one with few frames."""
        return _path(_uids(6, 0, 0))

    @property
    def many_study_uids(self) -> list[str]:
        """The studies that the many instances belong to."""
        return [f"{_root(4)}.{numbered(study)}" for study in range(self.many.studies)]


def usual_folder() -> Path:
    """Where the data is kept when no folder is given."""
    return Path(tempfile.gettempdir()) / "gateway-benchmark-data"


def collection(folder: Path, sizes: Sizes) -> Collection:
    """The data in this folder, made now as far as it is missing."""
    folder = folder.resolve()
    templates = kept(folder / f"v{VERSION}-templates", _write_templates)
    tiny = _set(folder, "tiny", sizes.tiny_studies, _tiny)
    return Collection(
        folder=folder,
        ct=_set(folder, "ct", sizes.ct, _ct),
        small=_set(folder, "small", sizes.small, _small),
        tiny=tiny,
        names_with_x=sum("x" in _name(study) for study in range(sizes.tiny_studies)),
        large=_large(templates, "large", _uids(3, 0, 0), sizes.large_frames),
        few_frames=_large(templates, "few", _uids(6, 0, 0), FEW_FRAMES),
        many=Many(templates / "many", sizes.many, sizes.many_studies),
        million=sizes.million,
    )


def _large(folder: Path, name: str, uids: dict[str, str], frames: int) -> Large:
    header = folder / f"{name}-{frames}.header"
    header.write_bytes(headers.large_header(uids, frames))
    return Large(header, folder / "frame", frames)


def _path(uids: dict[str, str]) -> str:
    series = f"{uids['StudyInstanceUID']}/series/{uids['SeriesInstanceUID']}"
    return f"{series}/instances/{uids['SOPInstanceUID']}"


def _root(kind: int) -> str:
    return f"{LABORATORY}.{kind}"


def _uids(kind: int, study: int, number: int, series: int = 1) -> dict[str, str]:
    study_uid = f"{_root(kind)}.{numbered(study)}"
    return {
        "PatientID": f"P{kind}-{numbered(study)}",
        "StudyInstanceUID": study_uid,
        "SeriesInstanceUID": f"{study_uid}.{series}",
        "SOPInstanceUID": f"{study_uid}.{series}.{numbered(number)}",
    }


Made = Iterator[tuple[dict[str, str], bytes]]


def _ct(count: int) -> Made:
    for number in range(count):
        uids = _uids(1, 0, number)
        pixels = phantom.stored(number, count)
        yield uids, headers.ct_instance(number + 1, uids, pixels)


def _small(count: int) -> Made:
    """Eight instances a study."""
    template = _small_template(2)
    for number in range(count):
        study = number // 8
        yield _uids(2, study, number), patched(template, study, number)


def _tiny(count: int) -> Made:
    """One instance a study, but the first study has many series."""
    pixels = headers.noise(7, 16 * 16)
    for study in range(count):
        for series in range(1, 1 + (SERIES_OF_FIRST_STUDY if study == 0 else 1)):
            uids = _uids(5, study, series, series)
            yield uids, headers.tiny_instance(uids, _tiny_study(study), pixels)


def _tiny_study(study: int) -> dict[str, str]:
    return {
        "PatientName": _name(study),
        "PatientBirthDate": f"19{50 + study % 50}0{1 + study % 9}15",
        "PatientSex": "MFO"[study % 3],
        "StudyDate": f"2024{1 + study % 12:02d}{1 + study % 28:02d}",
        "StudyTime": f"{study % 24:02d}3000",
        "StudyID": str(study),
        "AccessionNumber": f"A{study:06d}",
        "StudyDescription": f"Study number {study}",
        "ReferringPhysicianName": "Anders^Ruth",
    }


def _name(study: int) -> str:
    family = FAMILY_NAMES[study % len(FAMILY_NAMES)]
    return f"{family}^{GIVEN_NAMES[study % len(GIVEN_NAMES)]}"


def _small_template(kind: int) -> bytes:
    """A small instance with marks where its numbers go."""
    study_uid = f"{_root(kind)}.{STUDY_MARK}"
    uids = {
        "PatientID": f"P{kind}-{STUDY_MARK}",
        "StudyInstanceUID": study_uid,
        "SeriesInstanceUID": f"{study_uid}.1",
        "SOPInstanceUID": f"{study_uid}.1.{INSTANCE_MARK}",
    }
    return headers.small_instance(uids, headers.noise(kind, 96 * 96))


def _write_templates(folder: Path) -> None:
    (folder / "many").write_bytes(_small_template(4))
    (folder / "frame").write_bytes(headers.noise(99, FRAME // 2))


def _set(
    folder: Path, name: str, count: int, make: Callable[[int], Made]
) -> list[Instance]:
    def write(place: Path) -> None:
        instances = []
        for number, (uids, file) in enumerate(make(count)):
            path = place / f"{number:06d}.dcm"
            path.write_bytes(file)
            names = [uids[key] for key in ("PatientID", "StudyInstanceUID")]
            names += [uids[key] for key in ("SeriesInstanceUID", "SOPInstanceUID")]
            instances.append(asdict(Instance(path.name, *names, size=len(file))))
        (place / "index.json").write_text(json.dumps(instances))

    place = kept(folder / f"v{VERSION}-{name}-{count}", write)
    entries = json.loads((place / "index.json").read_text())
    return [
        Instance(**{**entry, "file": str(place / entry["file"])}) for entry in entries
    ]
