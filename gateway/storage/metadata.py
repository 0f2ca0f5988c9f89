"""What metadata is made of: whole headers, headers with values, or the index alone.

Each is a walk over the instances under an address, in the order of their numbers, that
gives study, series and instance UID and DICOM JSON.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.dicom.header import BIG_ENDIAN, DEFLATED
from gateway.dicom.hierarchy import Attributes, Level
from gateway.dicom.inline import Inliner
from gateway.storage.blobs import DiskBlobs
from gateway.storage.database import Row, Session
from gateway.storage.entries import inflate

Text = tuple[str, str, str, bytes]

_FROM = (
    " FROM instances i JOIN series e ON e.id = i.series JOIN studies s"
    " ON s.id = e.study JOIN headers h ON h.instance = i.id WHERE "
)
_WHERE = {
    Level.STUDY: "s.uid = ?",
    Level.SERIES: "s.uid = ? AND e.uid = ?",
    Level.INSTANCE: "s.uid = ? AND e.uid = ? AND i.uid = ?",
}
_IN_ORDER = " ORDER BY e.number, e.id, i.number, i.id"
_UIDS = "SELECT s.uid, e.uid, i.uid"
_WHOLE = f"{_UIDS}, h.json"
_WITH_PLACES = f"{_UIDS}, h.json, h.bulk, i.blob, i.transfer_syntax"
_MAIN = f"{_UIDS}, i.sop_class, s.attributes, e.attributes, i.attributes"

#: Instances of which an attribute is guessed for all, as in Orthanc.
_EXAMPLES = 3
_EXAMPLE = f" ORDER BY i.orthanc_id LIMIT {_EXAMPLES}"


@dataclass(frozen=True, slots=True)
class Manner:
    """What metadata is made of."""

    index_only: bool = False  # instead of headers
    guessed: tuple[str, ...] = ()  # tags that few instances stand for, with the index
    values: bool = False  # binary ones, instead of references
    as_numbers: bool = False  # where they are


AS_KEPT = Manner()


def texts(
    session: Session,
    blobs: DiskBlobs,
    level: Level,
    uids: Sequence[str],
    manner: Manner = AS_KEPT,
) -> Iterator[Text]:
    """The metadata of the instances under an address."""
    if manner.index_only:
        return _main_tags(session, level, uids, manner.guessed)
    if manner.values:
        return _with_values(session, level, uids, blobs, as_numbers=manner.as_numbers)
    return _whole(session, level, uids)


def _whole(session: Session, level: Level, uids: Sequence[str]) -> Iterator[Text]:
    """The headers as they are kept."""
    rows = session.iterate(_WHOLE + _FROM + _WHERE[level] + _IN_ORDER, uids)
    for study, series, uid, header in rows:
        yield study, series, uid, inflate(header)


# -- with values -------------------------------------------------------------------------


def _with_values(
    session: Session,
    level: Level,
    uids: Sequence[str],
    blobs: DiskBlobs,
    *,
    as_numbers: bool,
) -> Iterator[Text]:
    """The headers, with binary values that are not too large in them."""
    sql = _WITH_PLACES + _FROM + _WHERE[level] + _IN_ORDER
    for study, series, uid, *kept in session.iterate(sql, uids):
        yield study, series, uid, _valued(blobs, kept, as_numbers)


def _valued(blobs: DiskBlobs, kept: list[Any], as_numbers: bool) -> bytes:
    json, bulk, blob, syntax = kept
    header = inflate(json)
    if syntax in DEFLATED or not (bulk or as_numbers):
        return header
    with blobs.open(blob) as opened:
        inliner = Inliner(
            orjson.loads(bulk or b"{}"),
            opened.read,
            big_endian=syntax == BIG_ENDIAN,
            as_numbers=as_numbers,
        )
        return orjson.dumps(inliner.data_set(orjson.loads(header)))


# -- of the index ------------------------------------------------------------------------


def _main_tags(
    session: Session, level: Level, uids: Sequence[str], guessed: Sequence[str] = ()
) -> Iterator[Text]:
    """What the index holds of the instances and their parents, and what is guessed."""
    more = _guess(session, level, uids, guessed) if guessed else {}
    sql = _MAIN + _FROM + _WHERE[level] + _IN_ORDER
    for row in session.iterate(sql, uids):
        yield row[0], row[1], row[2], orjson.dumps(_main(row, more))


def _main(row: Row, more: Attributes) -> Attributes:
    study, series, uid, sop_class, *parts = row
    held: Attributes = dict(more)
    for part in parts:
        held |= orjson.loads(part)
    for tag, value in (
        ("0020000D", study),
        ("0020000E", series),
        ("00080018", uid),
        ("00080016", sop_class),
    ):
        if value:
            held[tag] = {"vr": "UI", "Value": [value]}
    held["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    return dict(sorted(held.items()))


def _guess(
    session: Session, level: Level, uids: Sequence[str], tags: Sequence[str]
) -> Attributes:
    """Of each attribute what most of a few instances have; of several, the first."""
    rows = session.fetch(_WHOLE + _FROM + _WHERE[level] + _EXAMPLE, uids)
    headers = [orjson.loads(inflate(row[3])) for row in rows]
    guessed = {}
    for tag in tags:
        votes = Counter(orjson.dumps(h[tag]) for h in headers if tag in h)
        if votes:
            best = min(votes, key=lambda text: (-votes[text], text))
            if b'"BulkDataURI"' not in best:
                guessed[tag] = orjson.loads(best)
    return guessed
