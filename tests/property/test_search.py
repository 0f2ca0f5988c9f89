"""The index finds what the meaning of a query says, no more and no less."""

import sqlite3
from unittest.mock import patch

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.dicom.filters import parse_filter
from gateway.dicom.header import Header
from gateway.dicom.hierarchy import INSTANCE_TAGS, Level, Uids
from gateway.dicom.matching import matcher
from gateway.dicom.query import Query
from gateway.errors import BadRequest
from gateway.storage.database import SqliteSession
from gateway.storage.entries import entry_of
from gateway.storage.index import Index
from gateway.storage.migrations import migrate
from gateway.storage.search import RARE, Search

texts = st.sampled_from(["", "A", "a", "ab", "Ab c", "B", "a[b]", "Ärzte", "x,y", "*"])
names = st.sampled_from(
    [
        {},
        {"Alphabetic": "Doe^Jane"},
        {"Alphabetic": "doe^john^^"},
        {
            "Alphabetic": "Yamada^Tarou",
            "Ideographic": "山田^太郎",
            "Phonetic": "やまだ",
        },
        {"Ideographic": "山田"},
        {"Alphabetic": "Doe"},
    ]
)
dates = st.sampled_from(["", "20240101", "20240131", "20231231", "2024.01.15", "noon"])
times = st.sampled_from(["", "10", "1015", "101500", "101500.25", "235959", "10:15:00"])
numbers = st.sampled_from([None, 1, 2, 3, "2", "1.0", "x", 0])

#: Tag, representation, values in data sets; of studies, series and instances.
OF_STUDIES = [
    ("00100010", "PN", names),
    ("00100030", "DA", dates),
    ("00100040", "CS", st.sampled_from(["", "M", "F"])),
    ("00080020", "DA", dates),
    ("00080030", "TM", times),
    ("00080050", "SH", texts),
    ("00080080", "LO", texts),  # held with a study, but without a column
    ("00080090", "PN", names),
    ("00081030", "LO", texts),
    ("00200010", "SH", texts),
]
OF_SERIES = [
    ("00080060", "CS", st.sampled_from(["", "CT", "MR", "ct"])),
    ("0008103E", "LO", texts),
    ("00080070", "LO", texts),
    ("00180015", "CS", st.sampled_from(["", "HEAD", "KNEE"])),
    ("00200011", "IS", numbers),
    ("00400244", "DA", dates),
    ("00400245", "TM", times),
]
OF_INSTANCES = [
    ("00080008", "CS", st.sampled_from(["", "A", "B\\A", "AB"])),
    ("00080016", "UI", st.sampled_from(["1.2.1", "1.2.2"])),
    ("00200013", "IS", numbers),
    ("00280010", "US", st.sampled_from([None, 64, 128])),
    ("00091001", "LO", texts),
    ("00180050", "DS", st.sampled_from([None, 2.5, "2.50", "x"])),
    ("0008002A", "DT", st.sampled_from(["", "20240101", "20240131120000+0100"])),
]
QUERY_TEXTS = [
    "",
    "*",
    "a*",
    "?",
    "*b*",
    "A",
    "ab",
    "a[*",
    "x,y",
    "A,B",
    "Ä*",
    "zz",
    "M",
]
QUERY_TEXTS += ["F", "CT", "M*", "CT,MR", "HEAD", "A\\B", '""', "ärzte", "?b", "\\"]
QUERY_NAMES = [
    "",
    "doe*",
    "DOE",
    "Doe^J*",
    "*tarou",
    "山田*",
    "山田^太郎",
    "=山田",
    "*=*",
]
QUERY_NAMES += [
    "やまだ",
    "Doe^Jane,Yamada^*",
    "d?e^j*",
    '""',
    "*^*",
    "yamada^tarou=山田*",
]
QUERY_DATES = [
    "",
    "20240101",
    "20240101-20240131",
    "-20240115",
    "2024011-",
    "20240115-",
]
QUERY_DATES += ["20240101,20240115", '""', "20231231-"]
QUERY_TIMES = ["", "10", "1015", "1000-1015", "-1015", "1015-", "101500.2-", '""']
QUERY_NUMBERS = ["", "1", "2", "1,2", "3.0", "64", "128", "9", '""', "2.5", "2\\1"]
QUERY_UIDS = ["", "1.2.1", "1.2.1,1.2.2", "1.2.1\\9", "9"]
WORDS = {
    "PN": QUERY_NAMES,
    "DA": QUERY_DATES,
    "DT": ["", "20240101", "20240101-20240131", "20240131110000+0000-", '""'],
    "TM": QUERY_TIMES,
    "IS": QUERY_NUMBERS,
    "US": QUERY_NUMBERS,
    "DS": QUERY_NUMBERS,
    "UI": QUERY_UIDS,
}
COMPUTED = [
    ("00080061", "CS"),
    ("00080062", "UI"),
    ("00080056", "CS"),
    ("00201206", "IS"),
    ("00201208", "IS"),
]
KEYS = [(tag, vr) for tag, vr, _ in (*OF_STUDIES, *OF_SERIES, *OF_INSTANCES)]
KEYS += [*COMPUTED, ("00100020", "LO"), ("00400275.00400009", "SH")]


def element(vr, value):
    if value is None or value in ("", {}):
        return {"vr": vr}
    values = value.split("\\") if isinstance(value, str) else [value]
    return {"vr": vr, "Value": values}


@st.composite
def attributes(draw, table):
    return {
        tag: element(vr, draw(values))
        for tag, vr, values in table
        if draw(st.integers(0, 3))
    }


@st.composite
def sequences(draw):
    steps = draw(st.lists(texts, max_size=2))
    items = [{"00400009": element("SH", step)} for step in steps]
    return {"00400275": {"vr": "SQ", **({"Value": items} if items else {})}}


@st.composite
def archives(draw):
    """The headers of a few studies: what is a study's or series' is the same in all."""
    headers = []
    for study in range(draw(st.integers(1, 3))):
        patient = draw(st.sampled_from(["P1", "p1", "P2", ""]))
        of_study = draw(attributes(OF_STUDIES)) | {"00100020": element("LO", patient)}
        for series in range(draw(st.integers(1, 3))):
            of_series = draw(attributes(OF_SERIES)) | draw(sequences())
            for instance in range(draw(st.integers(1, 3))):
                uids = Uids(patient, f"{study}", f"{study}.{series}", f"{instance}")
                found = of_study | of_series | draw(attributes(OF_INSTANCES))
                found["00080016"] = found.get("00080016", element("UI", "1.2.1"))
                found["0020000D"] = element("UI", uids.study)
                found["0020000E"] = element("UI", uids.series)
                found["00080018"] = element("UI", uids.instance)
                sop_class = found["00080016"]["Value"][0]
                shown = {tag: found[tag] for tag in found if tag in INSTANCE_TAGS}
                texts = orjson.dumps(found), orjson.dumps(shown)
                headers.append(Header(uids, sop_class, "1.2.3", found, {}, *texts))
    return draw(st.permutations(headers))


def stored(headers, tag):
    """The values of an attribute that are there, as a query would write them."""
    found = set()
    for header in headers:
        for value in header.attributes.get(tag, {}).get("Value", ()):
            groups = value.values() if isinstance(value, dict) else [value]
            found.update(map(str, groups))
    return sorted(found)


@st.composite
def filters(draw, headers):
    """A few filters; mostly on values that are there, or there would be no match."""
    found = {}
    for tag, vr in draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=3)):
        words = WORDS.get(vr, QUERY_TEXTS)
        there = stored(headers, tag)
        if there and draw(st.integers(0, 3)):
            words = there
        value = draw(st.sampled_from(words))
        flags = {
            "empty_value_matching": draw(st.booleans()),
            "multiple_value_matching": draw(st.booleans()),
            "fuzzy_matching": draw(st.booleans()),
        }
        try:
            parsed = parse_filter(tag, value, **flags)
        except BadRequest:
            continue
        found[parsed.path] = parsed
    return tuple(found.values())


def filled(headers):
    session = SqliteSession(sqlite3.connect(":memory:", isolation_level=None))
    migrate(session)
    entries = [(entry_of(header, 1), f"{n}", False) for n, header in enumerate(headers)]
    Index().add(session, entries)
    return session


def merged(header, headers):
    """All that can be asked of an instance: its header, and what is counted."""
    same = [other for other in headers if other.uids.study == header.uids.study]
    modalities = {
        other.attributes.get("00080060", {}).get("Value", [None])[0] for other in same
    }
    return header.attributes | {
        "00080056": element("CS", "ONLINE"),
        "00080061": element("CS", "\\".join(sorted(modalities - {None}))),
        "00080062": element("UI", "\\".join(sorted({o.sop_class for o in same}))),
        "00201206": element("IS", len({other.uids.series for other in same})),
        "00201208": element("IS", len(same)),
    }


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    archives(),
    st.data(),
    st.sampled_from([Level.STUDY, Level.SERIES, Level.INSTANCE]),
    st.booleans(),
    st.booleans(),
)
def test_the_index_finds_what_the_query_means(headers, data, level, text, name):
    session = filled(headers)
    for rare in (0, 1000, 0, 1000):  # what few rows have is sought in another way
        wanted = data.draw(filters(headers))
        query = Query(
            level, filters=wanted, case_sensitive=text, case_sensitive_names=name
        )
        with patch.dict(RARE, dict.fromkeys(RARE, rare)):
            found = sorted(match.uids for match in Search(session, query).matches())
        # A modality is the same in capitals and small letters, whatever the setting.
        modality = matcher(tuple(f for f in wanted if f.path == ("00080061",)))
        rest = tuple(f for f in wanted if f.path != ("00080061",))
        test = matcher(rest, text, name)
        expected = {
            (header.uids.study, header.uids.series, header.uids.instance)[: int(level)]
            for header in headers
            if test(merged(header, headers)) and modality(merged(header, headers))
        }
        assert found == sorted(expected), wanted


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(archives(), st.data(), st.integers(0, 4), st.integers(0, 4))
def test_a_page_is_a_slice_of_all_matches(headers, data, limit, offset):
    session = filled(headers)
    wanted = data.draw(filters(headers))
    for level in (Level.STUDY, Level.SERIES, Level.INSTANCE):
        everything = Search(session, Query(level, filters=wanted))
        whole = [match.uids for match in everything.matches()]
        query = Query(level, filters=wanted, limit=limit, offset=offset)
        search = Search(session, query)
        page = [match.uids for match in search.matches()]
        assert page == whole[offset : offset + limit]
        if len(page) == limit:
            assert search.remaining().count == len(whole[offset + limit :])
