"""Files, folders, comments, variables: how a configuration is read."""

import json
from pathlib import Path

import pytest

from gateway.config.reader import expand, parse, read, strip
from gateway.errors import BadConfiguration

HERE = Path("conf/x.json")


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_both_kinds_of_comments_are_left_out() -> None:
    text = '{ // one\n "a" : /* two\n lines */ 1, /**/ "b" : 2 } // end'
    assert parse(text, HERE) == {"a": 1, "b": 2}


def test_a_string_may_look_like_a_comment() -> None:
    text = r'{ "a" : "http://x/*y*/", "b" : "\"// no", "c" : "\\" /* yes */ }'
    assert parse(text, HERE) == {"a": "http://x/*y*/", "b": '"// no', "c": "\\"}


def test_a_comment_may_hold_quotation_marks_and_the_start_of_another() -> None:
    text = '{ // it\'s "so\n "a" : 1 /* // " /* */ }'
    assert parse(text, HERE) == {"a": 1}


def test_a_comma_after_the_last_item_is_tolerated() -> None:
    text = '{ "a" : [ 1, 2, ], "b" : { "c" : ",}", /* end */ }, // end\n }'
    assert parse(text, HERE) == {"a": [1, 2], "b": {"c": ",}"}}


@pytest.mark.parametrize("text", ["{ , }", '{ "a" : [ , ] }', '{ "a" : 1,, }'])
def test_a_comma_after_nothing_is_a_mistake(text: str) -> None:
    with pytest.raises(BadConfiguration, match="line 1, column"):
        parse(text, HERE)


def test_lines_and_columns_survive_comments() -> None:
    text = '{\r\n  /* one\r\n two */ "é" : 1, // three\r\n}'
    stripped = strip(text)
    assert len(stripped) == len(text)
    assert stripped.index('"é"') == text.index('"é"')
    assert stripped.count("\n") == text.count("\n")


def test_a_mistake_is_reported_with_its_line_and_column() -> None:
    text = '{\n  // a comment\n  "a" : 1 /* another */ "b" : 2\n}'
    with pytest.raises(BadConfiguration) as error:
        parse(text, HERE)
    assert str(error.value) == (
        "conf/x.json, line 3, column 25: Expecting ',' delimiter"
    )


def test_a_mistake_is_found_behind_a_variable_of_several_lines() -> None:
    text = '{\n  "a" : ${VALUE}, "b" = 2\n}'
    with pytest.raises(BadConfiguration, match=r"line 2, column 23: Expecting ':'"):
        parse(text, HERE, {"VALUE": "[\n1,\n2\n]"})


def test_a_mistake_within_a_variable_is_reported_at_the_variable() -> None:
    with pytest.raises(BadConfiguration, match="line 2, column 9"):
        parse('{\n  "a" : ${VALUE}\n}', HERE, {"VALUE": "secret"})


def test_a_comment_without_an_end_is_reported_where_it_starts() -> None:
    with pytest.raises(BadConfiguration, match=r"line 2, column 3.*no end"):
        parse('{\n  /* "a" : 1\n}', HERE)


@pytest.mark.parametrize("text", ["[]", "1", "null", '"{}"'])
def test_the_top_must_be_an_object(text: str) -> None:
    with pytest.raises(BadConfiguration, match="an object"):
        parse(text, HERE)


@pytest.mark.parametrize("text", ["", "   ", "// nothing", "{", '{"a":NaN}'])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(BadConfiguration, match=r"conf/x\.json"):
        parse(text, HERE)


def test_a_name_twice_in_one_object_is_refused() -> None:
    with pytest.raises(BadConfiguration, match=r'conf/x\.json: "b" is twice'):
        parse('{ "a" : { "b" : 1, "b" : 1 } }', HERE)


def test_the_same_name_in_two_objects_is_fine() -> None:
    assert parse('{ "a" : { "a" : 1 } }', HERE) == {"a": {"a": 1}}


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(BadConfiguration, match="nested too deep"):
        parse('{"a":' + "[" * 100_000, HERE)


def test_a_number_without_end_is_refused() -> None:
    with pytest.raises(BadConfiguration, match="too long"):
        parse('{"a":' + "1" * 100_000 + "}", HERE)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("a${X}b", "aXXb"),
        ("${X}${X}", "XXXX"),
        ("${X:-other}", "XX"),
        ("${UNSET}", ""),
        ("${UNSET:-}", ""),
        ("${UNSET:-http://a:80/-}", "http://a:80/-"),
        ('${UNSET:-"with } in it"}', "with } in it"),
        ("${UNSET:-'with } in it'}", "with } in it"),
        ('"${UNSET:-"a"}"', '"a"'),
        ("${EMPTY:-other}", ""),
        ("$X $ {X} ${} ${X", "$X $ {X} ${} ${X"),
    ],
)
def test_variables_are_replaced(text: str, result: str) -> None:
    assert expand(text, {"X": "XX", "EMPTY": ""}).text == result


def test_what_a_variable_holds_is_not_replaced_again() -> None:
    assert expand("${A}", {"A": "${B}", "B": "x"}).text == "${B}"


def test_a_variable_may_be_a_number_a_name_or_a_part_of_a_string() -> None:
    text = '{ "${NAME}" : ${NUMBER}, "b" : "http://${HOST:-localhost}/" }'
    environment = {"NAME": "a", "NUMBER": "5"}
    assert parse(text, HERE, environment) == {"a": 5, "b": "http://localhost/"}


def test_several_files_make_one_configuration(tmp_path: Path) -> None:
    one = written(tmp_path, "one.json", '{ "a" : 1 }')
    two = written(tmp_path, "two.json", '{ "b" : 2 }')
    document = read([one, two], {})
    assert document.files == (one, two)
    assert {name: s.value for name, s in document.sections.items()} == {"a": 1, "b": 2}
    assert document.sections["b"].path == two


def test_a_section_in_two_files_is_refused(tmp_path: Path) -> None:
    one = written(tmp_path, "one.json", '{ "DicomWeb" : { "Root" : "/a/" } }')
    two = written(tmp_path, "two.json", '{ "DicomWeb" : { "Ssl" : true } }')
    with pytest.raises(BadConfiguration, match=r'"DicomWeb" is in two files') as error:
        read([one, two], {})
    assert str(one) in str(error.value)
    assert str(two) in str(error.value)


def test_a_folder_gives_its_json_files_but_not_those_of_folders_in_it(
    tmp_path: Path,
) -> None:
    written(tmp_path, "b.JSON", '{ "b" : 2 }')
    written(tmp_path, "a.json", '{ "a" : 1 }')
    written(tmp_path, "c.json.bak", "no json")
    (tmp_path / "d.json").mkdir()
    written(tmp_path / "d.json", "e.json", '{ "e" : 3 }')
    document = read([tmp_path], {})
    assert [path.name for path in document.files] == ["a.json", "b.JSON"]
    assert list(document.sections) == ["a", "b"]


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    file = written(tmp_path, "a.json", '{ "a" : 1 }')
    assert read([tmp_path, file], {}).files == (file,)


def test_a_folder_without_any_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"no \.json file"):
        read([tmp_path], {})


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"absent\.json: No such file"):
        read([tmp_path / "absent.json"], {})


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes('{ "Name" : "Hôpital" }'.encode("latin-1"))
    with pytest.raises(BadConfiguration, match="not UTF-8"):
        read([path], {})


def test_a_byte_order_mark_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"a": 1}).encode())
    assert list(read([path], {}).sections) == ["a"]
