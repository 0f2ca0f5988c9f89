"""Text in DICOM files, whatever its character set, as Python strings (PS3.5 6.1).

Text is decoded first and split into values afterwards: in several character sets the
second byte of a character can be a backslash (PS3.5 6.1.2.3). Wrongly declared text is
never an error: it is shown as well as it can be, and the file itself stays as it came.
"""

import warnings
from collections.abc import Sequence

from pydicom.charset import decode_bytes, python_encoding

from gateway.errors import BadConfiguration

Encodings = tuple[str, ...]

LATIN1: Encodings = ("iso8859",)

TEXT_DELIMITERS = frozenset(b"\\\t\n\f\r")
NAME_DELIMITERS = frozenset(b"\\^=")

_ESCAPE = b"\x1b"

# The set that pydicom's table of PS3.3 C.12.1.1.2 lacks, in both its spellings.
_MORE = {"ISO_IR 203": "iso8859_15", "ISO 2022 IR 203": "iso8859_15"}
_CODECS = {**python_encoding, **_MORE}

# Switches to GB 2312 (PS3.5 K.2); Python's codec hands it through as text.
_TO_GB_2312 = "\x1b$)A"

# Orthanc's names for the option DefaultEncoding, as codecs of Python.
_ORTHANC_NAMES = {
    "Ascii": "ascii",
    "Utf8": "utf8",
    "Latin1": "iso8859",
    "Latin2": "iso8859_2",
    "Latin3": "iso8859_3",
    "Latin4": "iso8859_4",
    "Latin5": "iso8859_9",
    "Cyrillic": "iso8859_5",
    "Windows1251": "cp1251",
    "Arabic": "iso8859_6",
    "Greek": "iso8859_7",
    "Hebrew": "iso8859_8",
    "Thai": "tis_620",
    "Japanese": "shift_jis",
    "Chinese": "gb18030",
    "JapaneseKanji": "iso2022_jp",
    "Korean": "euc_kr",
    "SimplifiedChinese": "gb2312",
}


def default_encodings(name: str) -> Encodings:
    """The codecs for files that declare no character set, by Orthanc's name of it."""
    try:
        return (_ORTHANC_NAMES[name],)
    except KeyError:
        names = ", ".join(_ORTHANC_NAMES)
        raise BadConfiguration(f"DefaultEncoding is one of {names}") from None


def encodings_of(names: Sequence[object], default: Encodings) -> Encodings:
    """The codecs that Specific Character Set (0008,0005) declares (PS3.3 C.12.1.1.2).

    An empty first name is the default repertoire; names nobody knows are passed over.
    """
    found = []
    for position, name in enumerate(names):
        spelled = str(name or "").strip().replace("ISO IR", "ISO_IR")
        if not spelled and position == 0:
            found.append(python_encoding[""])
            continue
        codec = _CODECS.get(spelled) or _CODECS.get(
            spelled.replace("ISO_IR ", "ISO 2022 IR ")
        )
        if codec:
            found.append(codec)
    return tuple(found) or default


def decode(
    value: bytes, encodings: Encodings, delimiters: frozenset[int] = TEXT_DELIMITERS
) -> str:
    """The text of a value field; bytes that do not fit become replacements.

    After a delimiter the first character set holds again (PS3.5 6.1.2.5.3).
    """
    if value.isascii() and _ESCAPE not in value:
        return value.decode("ascii")
    if _ESCAPE in value and len(encodings) > 1:
        return _decode_with_extensions(value, encodings, delimiters)
    try:
        return value.decode(encodings[0])
    except (UnicodeDecodeError, LookupError):
        return value.decode("latin-1")


def _decode_with_extensions(
    value: bytes, encodings: Encodings, delimiters: frozenset[int]
) -> str:
    """Text that switches its character set by escape sequences (PS3.5 6.1.2.5)."""
    if encodings[0] == LATIN1[0]:
        # The default repertoire is ASCII: whatever is beyond it after a delimiter, where
        # the escape sequence should have been repeated, can only mean the same as before.
        delimiters = frozenset()
    with warnings.catch_warnings():
        # What cannot be decoded is shown with replacements; that is no news to a log.
        warnings.simplefilter("ignore")
        text = decode_bytes(value, list(encodings), set(delimiters))
    return text.replace(_TO_GB_2312, "")
