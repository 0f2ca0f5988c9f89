"""What ingest learns from a file: who it is, its header as JSON, where its bulk lies.

Reads the file meta information (PS3.10 7.1) and the data set by the transfer syntax that
it names. The file itself is never changed: it is kept as it came, byte for byte.
"""

import mmap
import os
import re
import struct
import tempfile
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

from gateway.dicom.charsets import LATIN1, Encodings
from gateway.dicom.familiar import DataSet, Familiar
from gateway.dicom.hierarchy import Attributes, Uids, first_text, is_uid
from gateway.dicom.meta import START, Metas, read_meta
from gateway.dicom.walk import INLINE_BINARY_LIMIT, Buffer, Walk
from gateway.errors import NotDicom, StorageFull

_IMPLICIT = frozenset({"1.2.840.10008.1.2", "1.2.840.113619.5.2"})
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = frozenset(
    {
        "1.2.840.10008.1.2.1.99",
        "1.2.840.10008.1.2.4.95",
        "1.2.840.10008.1.2.4.205",
    }
)

_DEFLATED = re.compile(b"|".join(re.escape(uid.encode()) for uid in DEFLATED))

_LIKELY_META = 1024  # bytes that hold the file meta information of any usual file
#: Seen behind the last element: padding, and the line ends of careless multipart.
_AFTER_THE_END = b"\0 \r\n"
_MAGIC = b"DICM"
_PIXEL_PATH = "7fe00010"  # of Pixel Data among what stays in the file

#: Inflated data sets up to this size are walked in memory, larger ones in a file.
_INFLATE_IN_MEMORY = 4 * 1024 * 1024
_INFLATE_STEP = 1024 * 1024
#: Nobody sends a data set that inflates to more than this; a bomb does (bytes).
_INFLATE_LIMIT = 8 * 1024**3
#: Bytes that inflating leaves free on the disk, for whoever else writes there.
_INFLATE_LEAVES = 512 * 1024**2
#: How often it looks whether they are (bytes).
_INFLATE_LOOKS = 64 * 1024**2


class Header(NamedTuple):
    """All that is kept of a file beside the file."""

    uids: Uids
    sop_class: str  # SOPClassUID; empty when the file names none
    transfer_syntax: str  # TransferSyntaxUID (0002,0010)
    attributes: Attributes  # the data set; large values as references
    bulk: dict[str, tuple[int, int]]  # path of a reference -> offset, length
    text: bytes  # the attributes as DICOM JSON
    shown: bytes  # likewise, those of INSTANCE_TAGS


class HeaderReader:
    """Reads headers; `encodings` is for files that declare none.

    Binary values of more than `inline_binary` bytes stay in the file. It remembers what
    it read, and reads the like of it faster; several threads may use it.
    """

    def __init__(
        self, encodings: Encodings = LATIN1, inline_binary: int = INLINE_BINARY_LIMIT
    ) -> None:
        self._encodings = encodings
        self._inline_binary = inline_binary
        self._metas = Metas()
        self._familiar = Familiar()

    def read(self, buffer: Buffer) -> Header:
        """The header of the DICOM file in the buffer.

        Raises NotDicom, saying what is wrong, for whatever cannot be kept.
        """
        try:
            return self._header(buffer, len(buffer))
        except struct.error:
            raise NotDicom("the file ends inside an element") from None

    def read_in_front(self, front: bytes, size: int) -> Header | None:
        """The header of a file of `size` bytes of which this is the beginning.

        None where the beginning does not tell all: pixel data that is not encapsulated
        has to begin in it, and to be the last of the file.
        """
        if may_be_deflated(front):
            return None
        try:
            header = self._header(front, size)
        except (struct.error, NotDicom):
            return None  # or what is wrong is told by who sees the whole file
        start, length = header.bulk.get(_PIXEL_PATH, (0, 0))
        # What was read lies before the pixel data, and that is all there is.
        return header if 0 < start <= len(front) and start + length == size else None

    def read_file(self, path: Path) -> Header:
        """The header of the DICOM file at the path, of any size."""
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise NotDicom("an empty file")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
                return self.read(buffer)

    def _header(self, buffer: Buffer, size: int) -> Header:
        """The header of a file of that size; struct.error if the buffer is too short."""
        if size < START or buffer[128:START] != _MAGIC:
            raise NotDicom("not a DICOM file: no DICM at byte 128 (PS3.10 7.1)")
        meta, start = self._metas.read(buffer, size)
        transfer_syntax = first_text(meta, "00020010")
        if not is_uid(transfer_syntax):
            raise NotDicom("no valid TransferSyntaxUID (0002,0010)")
        kind = first_text(meta, "00020002")
        found = self._data_set(buffer, (start, size), transfer_syntax, kind)
        return Header(
            uids=_uids(found.attributes),
            sop_class=_sop_class(found.attributes, meta),
            transfer_syntax=transfer_syntax,
            attributes=found.attributes,
            bulk=found.bulk,
            text=found.text,
            shown=found.shown,
        )

    def _data_set(
        self, buffer: Buffer, extent: tuple[int, int], transfer_syntax: str, kind: str
    ) -> DataSet:
        start, end = extent
        if transfer_syntax in DEFLATED:
            with tempfile.SpooledTemporaryFile(_INFLATE_IN_MEMORY) as file:
                inflate(buffer, start, file)
                size = file.tell()
                if size <= _INFLATE_IN_MEMORY:
                    file.seek(0)
                    return self._walk(file.read(), (0, size), (False, False), kind)
                file.flush()
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as inflated:
                    return self._walk(inflated, (0, size), (False, False), kind)
        encoding = encoding_of(buffer, start, transfer_syntax)
        return self._walk(buffer, (start, end), encoding, kind)

    def _walk(
        self,
        buffer: Buffer,
        extent: tuple[int, int],
        encoding: tuple[bool, bool],
        kind: str,
    ) -> DataSet:
        implicit, big = encoding

        def begin() -> Walk:
            return Walk(
                buffer,
                extent[1],
                implicit=implicit,
                big=big,
                inline_binary=self._inline_binary,
            )

        found = self._familiar.read((kind, encoding), begin, extent, self._encodings)
        # Too short for an element: padding, or what is left of one that was cut off.
        if bytes(buffer[found.end :]).strip(_AFTER_THE_END):
            raise NotDicom("the file ends inside the header of an element")
        return found


def read_header(
    buffer: Buffer,
    encodings: Encodings = LATIN1,
    inline_binary: int = INLINE_BINARY_LIMIT,
) -> Header:
    """The header of one DICOM file, as HeaderReader reads it."""
    return HeaderReader(encodings, inline_binary).read(buffer)


def may_be_deflated(buffer: Buffer) -> bool:
    """Whether a file says, near its beginning, that its data set is deflated."""
    return _DEFLATED.search(buffer, 0, _LIKELY_META) is not None


def meta_of(buffer: Buffer) -> Attributes:
    """The file meta information of a file, of which the beginning is enough."""
    return read_meta(buffer, len(buffer))[0]


def data_set_start(buffer: Buffer) -> int:
    """Where the data set of a file begins, of which the beginning is enough."""
    return read_meta(buffer, len(buffer))[1]


def encoding_of(buffer: Buffer, start: int, transfer_syntax: str) -> tuple[bool, bool]:
    """Whether the data set that starts there is implicit, and whether big endian."""
    implicit = transfer_syntax in _IMPLICIT
    if implicit or transfer_syntax == "1.2.840.10008.1.2.1":
        implicit = _looks_implicit(buffer, start, implicit)
    return implicit, transfer_syntax == BIG_ENDIAN


def _looks_implicit(buffer: Buffer, start: int, declared: bool) -> bool:
    """Whether the first element is implicit, whatever the meta information says.

    Some writers name one encoding and use the other; the two letters tell.
    """
    code = bytes(buffer[start + 4 : start + 6])
    if len(code) < 2:
        return declared
    return not (code.isalpha() and code.isupper())


def inflate(
    buffer: Buffer, start: int, out: BinaryIO | tempfile.SpooledTemporaryFile[bytes]
) -> None:
    """Write the inflated data set to `out` (PS3.5 A.5), bounded in memory and size."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    look = _INFLATE_IN_MEMORY + 1
    try:
        for position in range(start, len(buffer), _INFLATE_STEP):
            piece = buffer[position : position + _INFLATE_STEP]
            while piece and not inflater.eof:
                out.write(inflater.decompress(piece, _INFLATE_STEP))
                piece = inflater.unconsumed_tail
                if out.tell() > _INFLATE_LIMIT:
                    raise NotDicom("the deflated data set is absurdly large")
                if out.tell() >= look:
                    _check_disk(out)
                    look += _INFLATE_LOOKS
        out.write(inflater.flush())
    except zlib.error:
        raise NotDicom("the deflated data set cannot be inflated") from None
    except OSError as error:
        raise StorageFull("no room to inflate the data set") from error
    if not inflater.eof:
        raise NotDicom("the deflated data set is cut off")


def _check_disk(out: BinaryIO | tempfile.SpooledTemporaryFile[bytes]) -> None:
    """Raise StorageFull if too little is left on the disk that this is written to."""
    state = os.fstatvfs(out.fileno())
    if state.f_bavail * state.f_frsize < _INFLATE_LEAVES:
        raise StorageFull("too little room is left to inflate the data set")


def _uids(attributes: Attributes) -> Uids:
    found = []
    for tag, keyword in (
        ("0020000D", "StudyInstanceUID"),
        ("0020000E", "SeriesInstanceUID"),
        ("00080018", "SOPInstanceUID"),
    ):
        uid = first_text(attributes, tag)
        if not uid:
            raise NotDicom(f"no {keyword} ({tag[:4]},{tag[4:]})")
        if not is_uid(uid):
            raise NotDicom(f"{keyword} ({tag[:4]},{tag[4:]}) is not a UID")
        found.append(uid)
    patient_id = attributes.get("00100020", {}).get("Value", [None])
    text = "\\".join("" if part is None else str(part) for part in patient_id)
    return Uids(text, *found)


def _sop_class(attributes: Attributes, meta: Attributes) -> str:
    uid = first_text(attributes, "00080016") or first_text(meta, "00020002")
    return uid if is_uid(uid) else ""
