"""What lies in the folder of an archive, in whatever file it is."""

import sqlite3
from contextlib import closing
from pathlib import Path

from gateway.places import Place
from gateway.storage import packs

BLOCK = packs.ALIGNMENT


def files(storage: Path) -> list[Path]:
    """The files that are kept, packs among them."""
    return sorted(path for path in (storage / "blobs").rglob("*") if path.is_file())


def under_way(storage: Path) -> list[Path]:
    """The files that are not in place yet; the mark of a pack is none of them."""
    return [
        path for path in storage.glob("incoming/*/*") if path.suffix != packs.SUFFIX
    ]


def places(storage: Path) -> list[Place]:
    """Where each instance is that is kept, by itself or in a pack."""
    found: list[Place] = []
    for path in files(storage):
        if path.suffix == packs.SUFFIX:
            found += packs.blobs_in(path)
        else:
            found.append(Place(str(path)))
    return found


def contents(storage: Path) -> list[bytes]:
    """The bytes of each instance that is kept."""
    return [_content(place) for place in places(storage)]


def _content(place: Place) -> bytes:
    with place.open() as opened:
        return opened.read(0, opened.size())


def lose(place: Place) -> None:
    """Let the bytes of an instance be gone."""
    if place.size is None:
        Path(place.path).unlink()
        return
    with Path(place.path).open("r+b") as file:
        file.seek(place.start)
        file.write(bytes(packs.room_of(place.size)))


def check(storage: Path, database: Path) -> int:
    """Files and rows hold the same instances, and there is nothing else; how many."""
    with closing(sqlite3.connect(database)) as connection:
        rows = [row[0] for row in connection.execute("SELECT blob FROM instances")]
    expected: dict[str, list[tuple[int, int]]] = {}
    for row in rows:
        pack = packs.pack_of(row)
        if pack is None:
            expected[row] = []
        else:
            expected.setdefault(pack + packs.SUFFIX, []).append(packs.extent_of(row))
    kept = {path.name: path for path in files(storage)}
    # A pack that is written to just now may have lost all that was in it.
    for name in kept.keys() - expected.keys():
        assert _is_empty(kept.pop(name))
    assert set(kept) == set(expected)
    for name, extents in expected.items():
        if extents:
            _check_pack(kept[name], sorted(extents))
    return len(rows)


def _is_empty(path: Path) -> bool:
    return path.suffix == packs.SUFFIX and not any(path.read_bytes())


def _check_pack(path: Path, extents: list[tuple[int, int]]) -> None:
    found = [(place.start, place.size) for place in packs.blobs_in(path)]
    assert found == extents
    whole = bytearray(path.read_bytes())
    for start, size in extents:
        assert whole[start + 128 : start + 132] == b"DICM"
        room = packs.room_of(size)
        whole[start : start + room] = bytes(room)
    assert not any(whole), "something is left between the instances"
