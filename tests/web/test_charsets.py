"""Whatever a file's character set: JSON and XML come in UTF-8, and mean the same.

The examples are those of PS3.5 annexes H to K and pydicom's files of each set.
"""

import email
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian

from gateway.dicom.charsets import default_encodings
from tests import raw
from tests.clients import JSON, ROOT, find, store
from tests.factories import dataset, encode
from tests.reference import comparable, pydicom_json

FILES = sorted((Path(pydicom.__file__).parent / "data/charset_files").glob("*.dcm"))
XML = 'multipart/related; type="application/dicom+xml"'
NATIVE = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"
GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")

#: Specific Character Set, the bytes of a name, and the name.
EXAMPLES = {
    "H.3.1": (
        b"\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"
        b"=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    "H.3.2": (
        b"ISO 2022 IR 13\\ISO 2022 IR 87",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J"
        b"=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    "I.2": (
        b"\\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7"
        b"=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    "J.3": (b"ISO_IR 192", "Wang^XiaoDong=王^小東=".encode(), "Wang^XiaoDong=王^小東"),
    "J.4": (
        b"GB18030",
        "Wang^XiaoDong=王^小东=".encode("gb18030"),
        "Wang^XiaoDong=王^小东",
    ),
    "J.5, GBK": (
        b"GBK",
        "Wang^XiaoDong=王^小东=".encode("gbk"),
        "Wang^XiaoDong=王^小东",
    ),
    "K.2": (
        b"\\ISO 2022 IR 58",
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
        "Zhang^XiaoDong=张^小东",
    ),
}

#: Each single set of PS3.3 C.12.1.1.2, its codec, and a name in it.
SINGLE = {
    "ISO_IR 100": ("latin-1", "Äneas^Rüdiger"),
    "ISO_IR 101": ("iso8859-2", "Černý^Łukasz"),
    "ISO_IR 109": ("iso8859-3", "Ĉapelo^Ġorġ"),
    "ISO_IR 110": ("iso8859-4", "Šķēle^Ņikita"),
    "ISO_IR 144": ("iso8859-5", "Люкceмбypг^Роза"),
    "ISO_IR 127": ("iso8859-6", "قباني^لنزار"),
    "ISO_IR 126": ("iso8859-7", "Διονυσιος^Άννα"),
    "ISO_IR 138": ("iso8859-8", "שרון^דבורה"),
    "ISO_IR 148": ("iso8859-9", "Çavuşoğlu^İpek"),
    "ISO_IR 203": ("iso8859-15", "Œuvre^Žofie€"),
    "ISO_IR 13": ("shift_jis", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
    "ISO_IR 166": ("tis-620", "สมชาย^ใจดี"),
    "ISO_IR 192": ("utf-8", "Πάπας^王^🙂"),
    "GB18030": ("gb18030", "王^𠀀"),
    "ISO 2022 IR 100": ("latin-1", "Buc^Jérôme"),
}


def written(charset: bytes, name: bytes, comments: bytes = b"") -> bytes:
    """A file with these bytes, which no library has had its hands on."""

    def padded(value: bytes) -> bytes:
        return value + b" " * (len(value) % 2)

    data_set = dataset(PatientName="NAME")
    made = encode(data_set)
    elements = raw.explicit(0x00100010, b"PN", padded(name))
    made = made.replace(raw.explicit(0x00100010, b"PN", b"NAME"), elements)
    if comments:
        birth = raw.explicit(0x00104000, b"LT", padded(comments))
        study = made.index(b"\x20\x00\x0d\x00UI")
        made = made[:study] + birth + made[study:]
    if charset:
        first = made.index(b"\x08\x00\x16\x00UI")
        sets = raw.explicit(0x00080005, b"CS", padded(charset))
        made = made[:first] + sets + made[first:]
    return made


async def metadata(client) -> tuple[dict, ElementTree.Element]:
    """What the only study's only instance is in JSON, and in XML."""
    url = f"{ROOT}/studies/1.2.3.1/metadata"
    response = await client.get(url)
    assert response.status == 200
    assert (await response.read()).decode("utf-8")
    [in_json] = await response.json(content_type=JSON)
    [in_xml] = await documents(client, url)
    return in_json, in_xml


async def documents(client, url: str) -> list[ElementTree.Element]:
    response = await client.get(url, headers={"Accept": XML})
    assert response.status == 200
    head = f"Content-Type: {response.headers['Content-Type']}\r\n\r\n".encode()
    parts = email.message_from_bytes(head + await response.read()).get_payload()
    return [ElementTree.fromstring(part.get_payload(decode=True)) for part in parts]


def attribute(document: ElementTree.Element, tag: str) -> ElementTree.Element:
    found = document.find(f"{NATIVE}DicomAttribute[@tag='{tag}']")
    assert found is not None, tag
    return found


def names(element: ElementTree.Element) -> list[dict[str, str]]:
    """The names of an element of XML, as JSON has them."""
    return [
        {
            group.tag.removeprefix(NATIVE): "^".join(
                group.findtext(f"{NATIVE}{part}") or "" for part in COMPONENTS
            ).rstrip("^")
            for group in name
        }
        for name in element.iter(f"{NATIVE}PersonName")
    ]


def _has_letters(group: str) -> bool:
    return bool(group.strip("^ "))


def all_names(data_set: dict) -> Iterator[dict[str, str]]:
    """The names of a data set of JSON and of all items in it."""
    for element in data_set.values():
        for value in element.get("Value", ()):
            if element["vr"] == "PN" and any(map(_has_letters, value.values())):
                yield value
            elif element["vr"] == "SQ":
                yield from all_names(value)


def as_groups(name: str) -> dict[str, str]:
    return dict(zip(GROUPS, name.split("="), strict=False))


@pytest.mark.parametrize("example", EXAMPLES)
async def test_the_examples_of_the_standard_are_read_as_it_says(client, example):
    charset, name, expected = EXAMPLES[example]
    await store(client, written(charset, name))
    in_json, in_xml = await metadata(client)
    assert in_json["00100010"]["Value"] == [as_groups(expected)]
    assert names(attribute(in_xml, "00100010")) == [as_groups(expected)]
    for group in expected.split("="):
        [found] = await find(client, "studies", {"PatientName": group})
        assert found["00100010"]["Value"] == [as_groups(expected)]
        assert found["00080005"]["Value"] == ["ISO_IR 192"]


@pytest.mark.parametrize("charset", SINGLE)
async def test_each_set_of_characters_is_read(client, charset):
    codec, name = SINGLE[charset]
    text = f"{name.replace('^', ' ')}\r\n{name}"
    await store(
        client, written(charset.encode(), name.encode(codec), text.encode(codec))
    )
    in_json, in_xml = await metadata(client)
    assert in_json["00100010"]["Value"] == [{"Alphabetic": name}]
    assert in_json["00104000"]["Value"] == [text]
    assert names(attribute(in_xml, "00100010")) == [{"Alphabetic": name}]
    value = attribute(in_xml, "00104000").findtext(f"{NATIVE}Value")
    assert value.splitlines() == text.splitlines()
    assert len(await find(client, "studies", {"PatientName": name})) == 1


async def test_texts_of_several_lines_keep_their_set(client):
    comments = b"\x1b$)C\xb1\xe8\xc8\xf1\xc1\xdf\r\n\x1b$)C\xc8\xab plain"
    await store(client, written(b"\\ISO 2022 IR 149", b"Hong", comments))
    in_json, in_xml = await metadata(client)
    assert in_json["00104000"]["Value"] == ["김희중\r\n홍 plain"]
    value = attribute(in_xml, "00104000").findtext(f"{NATIVE}Value")
    assert value.split() == ["김희중", "홍", "plain"]


async def test_a_backslash_within_a_character_separates_nothing(client):
    name = "表^予=能^ソ"  # each has 5C as its second byte in Shift JIS
    client_name = name.encode("shift_jis")
    assert client_name.count(b"\\") == 4
    await store(client, written(b"ISO_IR 13", client_name))
    in_json, in_xml = await metadata(client)
    assert in_json["00100010"]["Value"] == [as_groups(name)]
    assert names(attribute(in_xml, "00100010")) == [as_groups(name)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_files_of_each_set_are_read_as_pydicom_reads_them(client, path):
    file = path.read_bytes()
    reference = pydicom.dcmread(path, force=True)
    if "StudyInstanceUID" not in reference:
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(reference, keyword, "1.2.3")
        file = encode(reference, ImplicitVRLittleEndian)
    reference.decode()
    await store(client, file)
    url = f"{ROOT}/studies/{reference.StudyInstanceUID}/metadata"
    [in_json] = await (await client.get(url)).json(content_type=JSON)
    expected = comparable(pydicom_json(reference))
    shown = comparable(in_json)
    for tag in ("00100010", "00081030", "00080090", "00321064"):
        assert shown.get(tag) == expected.get(tag), tag
    [in_xml] = await documents(client, url)
    assert names(in_xml) == list(all_names(in_json))


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("Ascii", "Doe"),
        ("Utf8", "Πάπας^王"),
        ("Latin1", "Rüdiger"),
        ("Latin2", "Łukasz"),
        ("Latin3", "Ĉapelo"),
        ("Latin4", "Ņikita"),
        ("Latin5", "Çavuşoğlu"),
        ("Cyrillic", "Роза"),
        ("Windows1251", "Роза"),
        ("Arabic", "قباني"),
        ("Greek", "Άννα"),
        ("Hebrew", "דבורה"),
        ("Thai", "สมชาย"),
        ("Japanese", "山田"),
        ("Korean", "홍길동"),
        ("SimplifiedChinese", "小东"),
        ("Chinese", "小东"),
    ],
)
async def test_files_that_name_no_set_have_that_of_the_settings(start, option, text):
    client = await start(DefaultEncoding=option)
    [codec] = default_encodings(option)
    await store(client, written(b"", text.encode(codec)))
    in_json, _ = await metadata(client)
    assert in_json["00100010"]["Value"] == [{"Alphabetic": text}]
    assert len(await find(client, "studies", {"PatientName": text})) == 1
