"""QIDO-RS: names that are nearly right, pages, and what is said of both."""

import asyncio
import random
from typing import Any

import pytest

from gateway.dicom.fuzzy import is_like, pieces, words
from gateway.storage import search
from tests.clients import JSON, ROOT, find, store, values
from tests.factories import dicom_file

NAMES = {
    "Müller^Hans Peter": "1",
    "Smith^John": "2",
    "O'Brien^Siobhán": "3",
    "Yamada^Tarou=山田^太郎=やまだ^たろう": "4",
    "Łukasiewicz^Jan": "5",
    "Johnson^Anne-Marie": "6",
}


@pytest.fixture
async def named(client):
    await store(
        client,
        *(
            dicom_file(
                SpecificCharacterSet="ISO_IR 192",
                PatientName=name,
                PatientID=number,
                StudyInstanceUID=f"5.{number}",
                SeriesInstanceUID=f"5.{number}.1",
            )
            for name, number in NAMES.items()
        ),
    )
    return client


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("muller", "1"),
        ("MÜLLER", "1"),
        ("Mueller", "1"),
        ("peter müller", "1"),
        ("Hans^Muller", "1"),
        ("Mulelr", "1"),
        ("john", "26"),
        ("Jhon", "26"),
        ("Jhon Smit", "2"),
        ("obrien", "3"),
        ("brien", "3"),
        ("siobhan", "3"),
        ("山", "4"),
        ("太郎 山田", "4"),
        ("tarou yam", "4"),
        ("やまだ", "4"),
        ("lukasiewicz", "5"),
        ("jan", "5"),
        ("marie", "6"),
        ("*ohn*", "26"),
        ("Smi*", "2"),
        ("Smith^J?hn", "2"),
        ("smith anne", ""),
        ("x", ""),
    ],
)
async def test_names_are_found_by_words_that_are_nearly_right(named, name, expected):
    query = {"PatientName": name, "fuzzymatching": "true"}
    for path in ("studies", "series", "instances"):
        response = await named.get(f"{ROOT}/{path}", params=query)
        assert response.status == 200
        assert "Warning" not in response.headers
        found = await response.json(content_type=JSON)
        if path == "studies":
            assert "".join(sorted(values(found, "00100020"))) == expected
        else:
            assert len(found) == len(expected)


async def test_fuzzy_matching_finds_all_that_literal_matching_does(named):
    for name in (
        "O'*",
        "Smith^John",
        "Müller^*",
        "*^太郎",
        "Łuk*,Smith*",
        "Yamada^Tarou=",
    ):
        literal = await find(named, "studies", {"PatientName": name})
        query = {"PatientName": name, "fuzzymatching": "true"}
        fuzzy = await find(named, "studies", query)
        assert literal
        assert {*values(literal, "00100020")} <= {*values(fuzzy, "00100020")}


async def test_other_attributes_stay_exact(named):
    query = {"fuzzymatching": "true", "PatientID": "11"}
    assert await find(named, "studies", query) == []
    response = await named.get(f"{ROOT}/studies?fuzzymatching=maybe")
    assert response.status == 400


def test_a_piece_of_each_word_is_in_each_plain_name_that_is_like_it():
    chance = random.Random(1)
    for _ in range(5000):
        name = "".join(chance.choices("abc", k=chance.randint(4, 8)))
        word = list(name[: chance.randint(3, len(name))])
        at = chance.randrange(len(word))
        edit = chance.randrange(4)
        if edit == 0:
            word[at] = chance.choice("abcd")
        elif edit == 1:
            del word[at]
        elif edit == 2:
            word.insert(at, chance.choice("abcd"))
        elif at + 1 < len(word):
            word[at], word[at + 1] = word[at + 1], word[at]
        text = "".join(word)
        if not is_like(words(text), name):
            assert len(text) < 4
        else:
            assert any(piece in name for piece in pieces(text)), (name, text)


# --- pages ----------------------------------------------------------------------------


def numbered(count: int, start: int = 0, **attributes) -> list[bytes]:
    return [
        dicom_file(
            StudyInstanceUID=f"6.{n}", SeriesInstanceUID=f"6.{n}.1", **attributes
        )
        for n in range(start, start + count)
    ]


async def warning(client, path: str) -> str | None:
    response = await client.get(f"{ROOT}/{path}")
    assert response.status == 200
    head = await client.head(f"{ROOT}/{path}")
    assert head.headers.get("Warning") == response.headers.get("Warning")
    return response.headers.get("Warning")


async def test_what_a_limit_cuts_off_is_counted(client):
    await store(client, *numbered(7, PatientComments="x"))
    base = str(client.make_url(f"{ROOT}/"))
    for path, count in [
        ("studies?limit=3", 4),
        ("studies?limit=3&offset=3", 1),
        ("studies?limit=3&offset=4", None),
        ("studies?limit=7", None),
        ("studies?limit=100", None),
        ("studies?limit=2&offset=100", None),
        ("studies", None),
        ("studies?limit=0", None),
        ("series?limit=5", 2),
        ("instances?limit=6&Modality=CT", 1),
        ("studies?limit=2&PatientComments=x", 5),
        ("studies?limit=2&offset=9223372036854775807", None),
    ]:
        said = await warning(client, path)
        if count is None:
            assert said is None, path
        else:
            assert said == (
                f"299 {base}: There are {count} additional results that can be requested"
            ), path


async def test_counting_has_an_end(client, monkeypatch):
    await store(client, *numbered(7, PatientComments="x"))
    monkeypatch.setattr(search, "MOST_COUNTED", 2)
    for path in ("studies?limit=1", "studies?limit=1&PatientComments=x"):
        assert "There are more than 2 additional" in await warning(client, path)
    monkeypatch.setattr(search, "COUNTING_TIME", -1)
    said = await warning(client, "studies?limit=3&PatientComments=x")
    assert said.endswith("There may be additional results that can be requested")


async def test_the_settings_limit_an_answer(start):
    client = await start(DicomWeb={"QidoMaximumResults": 4})
    await store(client, *numbered(6))
    for path, found, more in [
        ("studies", 4, 2),
        ("studies?limit=3", 3, 3),
        ("studies?limit=50", 4, 2),
        ("studies?offset=4", 2, None),
    ]:
        assert len(await find(client, path)) == found
        said = await warning(client, path)
        assert (said is None) if more is None else (f"are {more} additional" in said)


async def test_long_pages_are_streamed_with_their_warning(client, monkeypatch):
    monkeypatch.setattr("gateway.dicomweb.qido._LONGEST_PAGE", 2)
    await store(client, *numbered(6))
    assert len(await find(client, "studies?limit=4")) == 4
    assert "are 2 additional" in await warning(client, "studies?limit=4")
    assert await warning(client, "studies?limit=6") is None


async def test_text_in_other_characters_is_not_given(client):
    for path in ("studies", "studies/1.2/metadata"):
        response = await client.get(f"{ROOT}/{path}", params={"charset": "latin1"})
        assert response.status == 400
        assert "charset" in await response.text()
    for charset in ("utf-8", "UTF-8", "iso-8859-1;q=0.5, utf-8", "*", ""):
        await find(client, "studies", {"charset": charset})
    headers = {"Accept-Charset": "iso-8859-1"}
    await find(client, "studies", **headers)


async def test_time_zones_are_said_not_to_be_adjusted(client):
    await store(client, *numbered(1, TimezoneOffsetFromUTC="+0100"))
    path = "studies?TimezoneOffsetFromUTC=%2B0100&StudyDate=20240131"
    assert "not adjusted to TimezoneOffsetFromUTC" in await warning(client, path)
    assert len(await find(client, path)) == 1
    assert await warning(client, "studies?TimezoneOffsetFromUTC=&StudyDate=") is None


@pytest.mark.parametrize("path", ["studies", "series", "instances", "studies/7/series"])
async def test_pages_neither_repeat_nor_skip_while_instances_come_in(client, path):
    def some(first: int) -> list[bytes]:
        # What comes later has the smaller number, and would be sorted before.
        return [
            dicom_file(
                StudyInstanceUID="7" if path == "studies/7/series" else f"7.{n}",
                SeriesInstanceUID=f"7.{n}.1",
                SOPInstanceUID=f"7.{n}.1.1",
                SeriesNumber=1000 - n,
                InstanceNumber=1000 - n,
            )
            for n in range(first, first + 10)
        ]

    await store(client, *some(0))
    tag = {"studies": "0020000D", "instances": "00080018"}.get(path, "0020000E")
    seen: list[str] = []
    stored = 10
    while page := await find(client, f"{path}?limit=3&offset={len(seen)}"):
        seen += values(page, tag)
        if stored < 40:
            await asyncio.gather(
                store(client, *some(stored)),
                find(client, f"{path}?limit=3&offset={len(seen)}"),
            )
            stored += 10
    assert len(seen) == len(set(seen)) == stored


async def test_lists_of_uids_may_be_as_long_as_a_request(client):
    await store(client, *numbered(3))
    uids = [f"6.{n}" for n in range(1500)]
    for separator in (",", "%5C"):
        path = f"studies?StudyInstanceUID={separator.join(uids)}"
        assert len(await find(client, path)) == 3


# --- what is known already ------------------------------------------------------------


async def test_a_search_that_would_find_the_same_is_not_repeated(client):
    await store(client, *numbered(2))
    first = await client.get(f"{ROOT}/studies")
    known = {"If-None-Match": first.headers["ETag"]}
    again = await client.get(f"{ROOT}/studies", headers=known)
    assert again.status == 304
    assert again.headers["ETag"] == first.headers["ETag"]
    assert "Accept" in again.headers["Vary"]
    assert await again.read() == b""
    assert (await client.head(f"{ROOT}/studies", headers=known)).status == 304
    for path, headers in [
        ("studies?limit=1", {}),
        ("series", {}),
        ("studies", {"Accept": "application/dicom+xml"}),
        ("studies", {"Host": "other.localhost"}),
    ]:
        response = await client.get(f"{ROOT}/{path}", headers={**known, **headers})
        assert response.status == 200, path
    await store(client, *numbered(1, 2))
    after = await client.get(f"{ROOT}/studies", headers=known)
    assert after.status == 200
    known = {"If-None-Match": f'"x", {after.headers["ETag"]}'}
    assert (await client.get(f"{ROOT}/studies", headers=known)).status == 304
    assert (await client.delete(f"{ROOT}/studies/6.0")).status == 204
    assert (await client.get(f"{ROOT}/studies", headers=known)).status == 200


# -- order -------------------------------------------------------------------------------


async def test_matches_come_in_the_order_that_is_asked_for(client: Any) -> None:
    days = {"1.2.1": "20240103", "1.2.2": "20240101", "1.2.3": "", "1.2.4": "20240103"}
    await store(
        client,
        *(
            dicom_file(
                StudyInstanceUID=study,
                SeriesInstanceUID=f"{study}.1",
                SOPInstanceUID=f"{study}.1.1",
                StudyDate=day,
                StudyTime="1000" if study == "1.2.1" else "0900",
            )
            for study, day in days.items()
        ),
    )

    async def order(asked: str, **more: str) -> list[Any]:
        found = await find(client, "studies", {"orderby": asked, **more})
        return values(found, "0020000D")

    assert await order("StudyDate") == ["1.2.3", "1.2.2", "1.2.1", "1.2.4"]
    assert await order("-StudyDate,-00080030") == ["1.2.1", "1.2.4", "1.2.2", "1.2.3"]
    whole = await order("-StudyDate")
    for offset, study in enumerate(whole):
        page = await order("-StudyDate", limit="1", offset=str(offset))
        assert page == [study]
    for wrong in ("Nonsense", "Rows", "StudyDate.Rows", "SeriesNumber"):
        response = await client.get(f"{ROOT}/studies", params={"orderby": wrong})
        assert response.status == 400
        assert "orderby" in await response.text()


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("series", {"SeriesDescription": "*x*", "orderby": "PatientName"}, "213"),
        ("series", {"PatientName": "*a*", "orderby": "-PatientID"}, "312"),
        ("series", {"PatientSex": "O*", "orderby": "-PatientName"}, "312"),
        ("instances", {"InstanceNumber": "1", "orderby": "PatientName"}, "213"),
        ("instances", {"InstanceNumber": "1", "orderby": "-SeriesNumber"}, "132"),
    ],
)
async def test_what_orders_the_matches_may_stand_above_what_is_asked_for(
    client: Any, path: str, query: dict[str, str], expected: str
) -> None:
    rows = [("1", "bar", 9), ("2", "abar", 1), ("3", "car", 5)]
    await store(
        client,
        *(
            dicom_file(
                StudyInstanceUID=number,
                SeriesInstanceUID=f"{number}.1",
                PatientName=name,
                PatientID=name,
                PatientSex="O",
                SeriesDescription="axial",
                SeriesNumber=series,
                InstanceNumber=1,
            )
            for number, name, series in rows
        ),
    )
    for page in ({"limit": "5"}, {"limit": "5", "offset": "0"}, {}):
        found = await find(client, path, query | page)
        assert "".join(values(found, "0020000D")) == expected
    page = await find(client, path, {**query, "limit": "1", "offset": "1"})
    assert values(page, "0020000D") == [expected[1]]
