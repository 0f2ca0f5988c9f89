"""The table, the settings and ``conf/gateway.json`` say the same."""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

from gateway.config.kinds import (
    Choice,
    Flag,
    Host,
    LevelTags,
    Links,
    Network,
    Networks,
    Place,
    SecurityToken,
    Servers,
    TagList,
    Text,
    TextList,
    UrlPath,
    Users,
    Whole,
)
from gateway.config.options import DICOM_WEB, OPTIONS, PASSED_OVER, TABLE, Option
from gateway.config.reader import strip
from gateway.config.settings import DicomWebSettings, Settings, load

SAMPLE = Path(__file__).parents[3] / "conf/gateway.json"
CLASSES = {"": Settings, DICOM_WEB: DicomWebSettings}
TYPES: dict[type, object] = {
    Flag: bool,
    Whole: int,
    Text: str,
    Host: str,
    Place: Path,
    UrlPath: str,
    TextList: tuple[str, ...],
    TagList: tuple[str, ...],
    LevelTags: Mapping[str, tuple[str, ...]],
    Links: Mapping[str, str],
    Networks: tuple[Network, ...],
    Users: Mapping[str, str],
    SecurityToken: Mapping[str, object],
    Servers: Mapping[str, Mapping[str, object]],
}
OF_ANOTHER = {"AuthenticationEnabled", "IndexDirectory", "DicomWeb.PublicRoot"}

rows = pytest.mark.parametrize("option", TABLE, ids=lambda option: option.key)


def sample() -> dict[str, object]:
    value = json.loads(strip(SAMPLE.read_text(encoding="utf-8")))
    assert isinstance(value, dict)
    return value


def remark(option: Option) -> str:
    """The comment right above an option in the sample, as one line."""
    text = SAMPLE.read_text(encoding="utf-8")
    text = text[text.index(f'"{DICOM_WEB}" : {{') :] if option.section else text
    lines = text[: text.index(f'"{option.name}" : ')].splitlines()[:-1]
    words: list[str] = []
    while lines and lines[-1].strip().startswith("//"):
        words.insert(0, lines.pop().strip().removeprefix("//").strip())
    return " ".join(words)


def test_no_option_is_in_the_table_twice() -> None:
    assert len(OPTIONS) == len(TABLE)


def test_no_option_is_both_in_the_table_and_passed_over() -> None:
    assert not PASSED_OVER.intersection(OPTIONS)


@pytest.mark.parametrize("section", CLASSES)
def test_the_settings_have_a_field_for_each_option_and_no_other(section: str) -> None:
    fields = [field.name for field in dataclasses.fields(CLASSES[section])]
    options = [option.field for option in TABLE if option.section == section]
    assert sorted(fields) == sorted([*options, *([] if section else ["dicom_web"])])


@rows
def test_the_field_has_the_type_of_the_option(option: Option) -> None:
    hint = get_type_hints(CLASSES[option.section])[option.field]
    may_be_none = NoneType in get_args(hint)
    optional = isinstance(option.kind, Place) and option.kind.optional
    unset = option.default is None and option.key not in OF_ANOTHER
    assert may_be_none is (unset or optional)
    if may_be_none:
        (hint,) = (part for part in get_args(hint) if part is not NoneType)
    if not isinstance(option.kind, Choice):
        assert hint == TYPES[type(option.kind)]
    elif get_origin(hint) is Literal:
        assert get_args(hint) == option.kind.words
    else:
        assert hint is str


@rows
def test_the_default_is_a_value_that_the_option_takes(option: Option) -> None:
    if option.default is not None:
        option.kind.accept(option.default)


@rows
def test_the_sample_shows_the_option_with_its_default(option: Option) -> None:
    section = sample()[DICOM_WEB] if option.section else sample()
    assert isinstance(section, dict)
    assert option.name in section
    assert section[option.name] == option.default
    assert type(section[option.name]) is type(option.default)


def test_the_sample_shows_no_other_option_and_keeps_the_order_of_the_table() -> None:
    top = sample()
    section = top.pop(DICOM_WEB)
    assert isinstance(section, dict)
    assert list(top) == [option.name for option in TABLE if not option.section]
    assert list(section) == [option.name for option in TABLE if option.section]


@rows
def test_the_sample_explains_the_option(option: Option) -> None:
    words = remark(option)
    assert len(words) > 20
    assert ("No effect yet." in words) is not option.effect
    assert ("Not an option of Orthanc" in words) is option.ours


@rows
def test_the_sample_names_each_word_that_may_be_chosen(option: Option) -> None:
    if isinstance(option.kind, Choice) and option.name != "SeriesMetadata":
        words = remark(option)
        words = re.sub(
            r'"Latin1" to "Latin5"',
            ", ".join(f'"Latin{number}"' for number in range(1, 6)),
            words,
        )
        assert not [word for word in option.kind.words if f'"{word}"' not in words]


def test_the_sample_is_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SAMPLE.parent)  # so that paths start from the same folder
    loaded = load([SAMPLE], {})
    assert loaded.warnings == ()
    assert loaded.settings == load([], {}).settings


@pytest.mark.parametrize(
    ("option", "field"),
    [
        ("HttpPort", "http_port"),
        ("CaseSensitivePN", "case_sensitive_pn"),
        ("HttpsCACertificates", "https_ca_certificates"),
        ("StoreMD5ForAttachments", "store_md5_for_attachments"),
        ("MaximumRequestBodySizeMB", "maximum_request_body_size_mb"),
        ("Pkcs11", "pkcs11"),
    ],
)
def test_a_field_is_named_by_the_words_of_its_option(option: str, field: str) -> None:
    assert OPTIONS["", option].field == field
