"""Whatever a configuration holds, comments around it change nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.options import OPTIONS
from gateway.config.reader import expand, parse, strip
from gateway.config.settings import load
from gateway.errors import BadConfiguration

HERE = Path("x.json")
TRICKY = st.sampled_from(
    ["//", "/*", "*/", "${", "${A}", "$", "{", "}", ",", '"', "\\", "'", "\n", ",]"]
)
TEXTS = st.lists(TRICKY | st.text(max_size=5), max_size=6).map("".join)
PLAIN = TEXTS.map(lambda text: text.replace("${", "$ {"))


def values(texts: st.SearchStrategy[str]) -> st.SearchStrategy[object]:
    floats = st.floats(allow_nan=False, allow_infinity=False)
    scalars: st.SearchStrategy[object]
    scalars = st.none() | st.booleans() | st.integers() | floats | texts
    return st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
        ),
        max_leaves=12,
    )


def objects(texts: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, object]]:
    return st.dictionaries(texts, values(texts), max_size=5)


@st.composite
def gaps(draw: st.DrawFn) -> str:
    """Blanks and comments, as they may stand between two words."""
    block = TEXTS.map(lambda text: "/*" + text.replace("*/", "* /") + "*/")
    block = block.filter(lambda text: "*/" not in text[2:-2] and text != "/*/")
    line = TEXTS.map(lambda text: "//" + text.replace("\n", " ").replace("\r", " "))
    line = line.map(lambda text: text + "\n")
    blank = st.sampled_from([" ", "\n", "\r\n", "\t"])
    return "".join(draw(st.lists(block | line | blank, max_size=3)))


@st.composite
def commented(draw: st.DrawFn, value: object) -> str:
    """The value as JSON, with comments everywhere and commas at the ends."""

    def gap() -> str:
        return draw(gaps())

    def chance() -> bool:
        return draw(st.booleans())

    def ending(items: list[str]) -> str:
        comma = "," + gap() if items and chance() else ""
        return ",".join(items) + comma

    def write(value: object) -> str:
        if isinstance(value, list):
            return "[" + gap() + ending([write(item) for item in value]) + "]"
        if isinstance(value, dict):
            items = [
                gap() + words(name) + gap() + ":" + write(item)
                for name, item in value.items()
            ]
            return "{" + gap() + ending(items) + "}"
        return gap() + words(value) + gap()

    def words(value: object) -> str:
        return json.dumps(value, ensure_ascii=chance())

    return gap() + write(value) + gap()


@settings(max_examples=60)
@given(st.data(), values(TEXTS))
def test_comments_and_last_commas_change_nothing(
    data: st.DataObject, value: object
) -> None:
    text = data.draw(commented(value))
    assert json.loads(strip(text)) == value


@settings(max_examples=60)
@given(st.data(), values(TEXTS))
def test_stripping_moves_nothing(data: st.DataObject, value: object) -> None:
    text = data.draw(commented(value))
    stripped = strip(text)
    assert len(stripped) == len(text)
    for before, after in zip(text, stripped, strict=True):
        assert after in (before, " ")
        assert before not in "\r\n" or after == before


@given(objects(TEXTS))
def test_json_without_comments_is_left_alone(value: dict[str, object]) -> None:
    text = json.dumps(value)
    assert strip(text) == text


@given(objects(PLAIN))
def test_a_configuration_without_variables_is_read_as_it_is(
    value: dict[str, object],
) -> None:
    assert parse(json.dumps(value), HERE, {"A": "x"}) == value


@given(st.text("ab${}:-\"'\n", max_size=40), st.text("xy\n", max_size=3))
def test_a_position_leads_back_to_the_same_character(text: str, value: str) -> None:
    expanded = expand(text, {"a": value, "b": ""})
    for position, character in enumerate(expanded.text):
        origin = expanded.origin(position)
        assert 0 <= origin < len(text)
        assert text[origin] == character or text[origin] == "$"


def refusal(action: Callable[[], object]) -> str:
    """What is said against it, or nothing."""
    try:
        action()
    except BadConfiguration as error:
        return error.message
    return ""


@given(st.text(max_size=60) | TEXTS)
def test_any_text_is_read_or_refused(text: str) -> None:
    message = refusal(lambda: parse(text, HERE, {"A": "x"}))
    assert message == "" or message.startswith("x.json")


@given(value=values(TEXTS), name=st.sampled_from(sorted(OPTIONS)))
def test_any_value_is_taken_or_refused(
    value: object, name: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    section, option = name
    content: dict[str, object] = {option: value}
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps({section: content} if section else content))
    message = refusal(lambda: load([path], {}))
    assert message == "" or message.startswith(str(path))
