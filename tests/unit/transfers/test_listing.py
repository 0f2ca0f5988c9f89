"""What is to be fetched: how resources are named, and in how few requests they come."""

from typing import Any

import pytest

from gateway.errors import BadRequest, RemoteFailure
from gateway.transfers.listing import (
    Resource,
    listed,
    plan,
    resource_at,
    resource_of,
    singly,
)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"Study": "1.2"}, "/studies/1.2"),
        ({"Study": "1.2", "Series": ""}, "/studies/1.2"),
        ({"Study": "1.2", "Series": "3"}, "/studies/1.2/series/3"),
        (
            {"Study": "1.2", "Series": "3", "Instance": "4"},
            "/studies/1.2/series/3/instances/4",
        ),
    ],
)
def test_a_resource_has_an_address(fields: dict[str, str], path: str) -> None:
    resource = resource_of(fields)
    assert resource.path == path
    assert resource_at(path) == resource
    assert resource_at(f"{path}/") == resource
    assert resource.fields() == {name: uid for name, uid in fields.items() if uid}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "Study"),
        ({"Series": "1"}, "Study"),
        ({"Study": "1", "Instance": "2"}, "Series"),
        ({"Study": "a"}, "Study"),
        ({"Study": 1}, "Study"),
        ("1.2", "Study"),
    ],
)
def test_what_names_no_resource_is_refused(fields: object, named: str) -> None:
    with pytest.raises(BadRequest, match=named):
        resource_of(fields)


@pytest.mark.parametrize(
    "uri", ["", "/studies", "/studies/x", "/series/1", "/studies/1/metadata", "/1"]
)
def test_other_addresses_name_none(uri: str) -> None:
    assert resource_at(uri) is None


STUDY = Resource(("1",))
THERE = {("2", "20"), ("2", "21"), ("3", "30"), ("3", "31"), ("4", "40")}


def paths(missing: set[tuple[str, str]]) -> list[str]:
    return sorted(fetch.resource.path for fetch in plan(STUDY, THERE, missing))


def test_what_lacks_altogether_comes_in_one_request() -> None:
    assert paths(THERE) == ["/studies/1"]


def test_what_lacks_comes_in_few_requests_and_nothing_else_does() -> None:
    assert paths({("2", "20"), ("2", "21"), ("3", "31")}) == [
        "/studies/1/series/2",
        "/studies/1/series/3/instances/31",
    ]
    assert paths(set()) == []


def test_every_missing_instance_is_expected_of_one_request() -> None:
    missing = {("2", "20"), ("3", "30"), ("3", "31")}
    expected = [
        name for fetch in plan(STUDY, THERE, missing) for name in fetch.expected
    ]
    assert sorted(expected) == sorted(missing)
    assert [fetch.resource.uids for fetch in singly("1", {("3", "30")})] == [
        ("1", "3", "30")
    ]


class Searchable:
    """A client that answers searches from pages."""

    def __init__(self, *pages: Any) -> None:
        self.pages = list(pages)
        self.asked: list[dict[str, str]] = []

    async def query(
        self, path: str, arguments: dict[str, str], *, headers: object
    ) -> Any:
        self.asked.append(arguments)
        page = self.pages.pop(0) if len(self.pages) > 1 else self.pages[0]
        if isinstance(page, Exception):
            raise page
        return page


def match(uid: str, series: str = "2") -> dict[str, Any]:
    return {
        "0020000E": {"vr": "UI", "Value": [series]},
        "00080018": {"vr": "UI", "Value": [uid]},
    }


async def found(*pages: Any) -> Any:
    client: Any = Searchable(*pages)
    return await listed(client, STUDY, {})


async def test_pages_are_put_together() -> None:
    client: Any = Searchable([match("20"), match("21")], [match("22")], [])
    assert await listed(client, STUDY, {}) == {("2", "20"), ("2", "21"), ("2", "22")}
    assert [arguments["offset"] for arguments in client.asked] == ["0", "2", "3"]


async def test_a_server_that_repeats_itself_is_not_asked_for_ever() -> None:
    assert await found([match("20"), match("21")]) == {("2", "20"), ("2", "21")}


async def test_a_server_that_does_not_say_enough_cannot_be_searched() -> None:
    assert await found([{"00080018": {"vr": "UI", "Value": ["20"]}}]) is None
    assert await found([match("x")]) is None
    assert await found([{"0020000E": 3, "00080018": 4}]) is None


async def test_a_server_that_cannot_search_is_told_from_one_that_is_busy() -> None:
    for status in (400, 401, 404, 500, 501):
        failure = RemoteFailure("no", status=status, retry=status == 500)
        assert await found(failure) is None
    for busy in (None, 429, 503):
        with pytest.raises(RemoteFailure):
            await found(RemoteFailure("later", status=busy, retry=True))


async def test_an_instance_needs_no_search() -> None:
    client: Any = Searchable()
    one = Resource(("1", "2", "20"))
    assert await listed(client, one, {}) == {("2", "20")}
    assert not client.asked
