"""Answers that are given again are those that would be made anew."""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import StorageFull
from gateway.storage.database import Session
from gateway.storage.metadata import texts
from gateway.web.answers import Answers
from gateway.web.context import GATEWAY
from tests.clients import JSON, ROOT, find, store
from tests.factories import content_type, dicom_file, multipart
from tests.settings import settings
from tests.starting import announced, ask

STUDY, SERIES = "9.1", "9.1.1"
METADATA = f"studies/{STUDY}/metadata"
XML = 'multipart/related; type="application/dicom+xml"'


def file(number: int = 1, **attributes: Any) -> bytes:
    given = {
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": SERIES,
        "SOPInstanceUID": f"{SERIES}.{number}",
        "InstanceNumber": str(number),
    }
    return dicom_file(**{**given, **attributes})


async def readings(client: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes what asks the database from now on."""
    seen: list[str] = []
    database = client.app[GATEWAY].archive.database
    stream, read, read_soon = database.stream, database.read, database.read_soon

    def noted_stream(work: Any, *rows: int) -> Any:
        seen.append("stream")
        return stream(work, *rows)

    async def noted_read(work: Any) -> Any:
        if "_correct" not in work.__qualname__ and "_settle" not in work.__qualname__:
            seen.append("read")
        return await read(work)

    def noted_read_soon(work: Any, tell: Any) -> Any:
        seen.append("read soon")
        return read_soon(work, tell)

    monkeypatch.setattr(database, "stream", noted_stream)
    monkeypatch.setattr(database, "read_soon", noted_read_soon)
    monkeypatch.setattr(database, "read", noted_read)
    return seen


@pytest.mark.parametrize(
    "path",
    [
        "studies?limit=1&includefield=all",
        "studies?PatientName=*",
        f"studies/{STUDY}/series",
        "instances?limit=2&offset=1",
        METADATA,
        f"studies/{STUDY}/series/{SERIES}/instances/{SERIES}.2/metadata",
    ],
)
@pytest.mark.parametrize("accept", [JSON, XML])
async def test_the_second_answer_is_the_first_and_asks_nobody(
    client: Any, monkeypatch: pytest.MonkeyPatch, path: str, accept: str
) -> None:
    await store(client, *(file(number) for number in range(1, 6)))
    seen = await readings(client, monkeypatch)
    first = await client.get(f"{ROOT}/{path}", headers={"Accept": accept})
    assert len(seen) == 1  # one reading is enough
    again = await client.get(f"{ROOT}/{path}", headers={"Accept": accept})
    assert first.status == again.status == 200
    assert len(seen) == 1
    assert await again.read() == await first.read()
    for name in ("Content-Type", "ETag", "Vary", "Cache-Control", "Warning"):
        assert again.headers.get(name) == first.headers.get(name)
    assert again.headers["X-Request-Id"] != first.headers["X-Request-Id"]
    head = await client.head(f"{ROOT}/{path}", headers={"Accept": accept})
    assert (head.status, await head.read()) == (200, b"")
    tag = {"If-None-Match": first.headers["ETag"], "Accept": accept}
    unchanged = await client.get(f"{ROOT}/{path}", headers=tag)
    assert (unchanged.status, await unchanged.read()) == (304, b"")
    assert unchanged.headers["ETag"] == first.headers["ETag"]
    assert len(seen) == 1


async def test_what_is_asked_for_in_another_way_is_another_answer(client: Any) -> None:
    await store(client, file())
    path = f"{ROOT}/studies"
    assert (await client.get(path, headers={"Accept": XML})).status == 200
    assert (await client.get(path)).headers["Content-Type"] == JSON
    for host in ("one.localhost", "two.localhost:81"):
        (found,) = await find(client, "studies", Host=host)
        assert found["00081190"]["Value"] == [f"http://{host}/dicom-web/studies/9.1"]
    assert len(await find(client, "studies?StudyInstanceUID=9.2")) == 0
    assert len(await find(client, "studies?StudyInstanceUID=9.1")) == 1


@pytest.mark.parametrize("count", [3, 700])
async def test_each_client_gets_the_coding_that_it_takes(
    start: Any, count: int
) -> None:
    client = await start(HttpCompressionEnabled=True)
    comments = "c" * 1000
    await store(client, *(file(n, PatientComments=comments) for n in range(count)))
    bodies = []
    for coding in ("identity", "gzip", "identity", "gzip", "gzip"):
        headers = {"Accept-Encoding": coding}
        response = await client.get(f"{ROOT}/{METADATA}", headers=headers)
        body = await response.read()
        is_small = response.headers.get("Content-Encoding") == "gzip"
        assert is_small == (coding == "gzip")
        assert "Accept-Encoding" in response.headers["Vary"]
        bodies.append(gzip.decompress(body) if is_small else body)
    assert len(json.loads(bodies[0])) == count
    assert bodies == bodies[:1] * 5


async def test_problems_are_told_anew(client: Any) -> None:
    assert (await client.get(f"{ROOT}/{METADATA}")).status == 404
    assert (await client.get(f"{ROOT}/studies?limit=x")).status == 400
    await store(client, file())
    assert (await client.get(f"{ROOT}/{METADATA}")).status == 200
    assert (await client.get(f"{ROOT}/studies?limit=x")).status == 400
    await client.delete(f"{ROOT}/studies/{STUDY}")
    assert (await client.get(f"{ROOT}/{METADATA}")).status == 404


Write = Callable[[Any], Awaitable[None]]


async def _stow(client: Any) -> None:
    await store(client, file(7))


async def _overwrite(client: Any) -> None:
    await store(client, file(1, PatientName="Other^One", StudyDescription="other"))


async def _upload(client: Any) -> None:
    assert (await client.post("/instances", data=file(8))).status == 200


async def _delete(path: str, client: Any) -> None:
    response = await client.delete(path)
    assert response.status in (200, 204), await response.text()


async def _delete_one(client: Any) -> None:
    await _delete(
        f"{ROOT}/studies/{STUDY}/series/{SERIES}/instances/{SERIES}.2", client
    )


async def _delete_by_identifier(client: Any) -> None:
    names = await (await client.get("/instances")).json()
    await _delete(f"/instances/{names[0]}", client)


async def _bulk_delete(client: Any) -> None:
    names = await (await client.get("/instances")).json()
    response = await client.post("/tools/bulk-delete", json={"Resources": names[:1]})
    assert response.status == 200


async def _recycle(client: Any) -> None:
    """Another patient comes in, and the only one that there may be has to go."""
    other = {"PatientID": "other", "StudyInstanceUID": "9.2"}
    await store(client, file(1, **other, SeriesInstanceUID="9.2.1"))


WRITES: list[Write] = [
    *(_stow, _overwrite, _upload, _delete_one, _delete_by_identifier),
    *(_bulk_delete, _recycle),
]


@pytest.mark.parametrize("write", WRITES)
async def test_after_every_write_all_processes_answer_anew(
    start: Any, write: Write
) -> None:
    options = {"OverwriteInstances": "Always", "MaximumPatientCount": 1}
    options["MaximumStorageMode"] = "Recycle"
    one, other = await start(**options), await start(**options)
    await store(one, *(file(number) for number in range(1, 4)))
    paths = (
        "studies?includefield=NumberOfStudyRelatedInstances&StudyDescription=*",
        *("studies", "series", "instances", METADATA),
    )

    async def answers(client: Any) -> list[bytes]:
        found = []
        for path in paths:
            response = await client.get(
                f"{ROOT}/{path}", headers={"Host": "a.localhost"}
            )
            found.append(await response.read() if response.status == 200 else b"-")
        return found

    before = [await answers(client) for client in (one, other, one, other)]
    assert before == [before[0]] * 4
    await write(one)
    after = [await answers(client) for client in (other, one)]
    parts = one.app[GATEWAY]
    for key in list(parts.answers._answers):
        parts.answers._drop(key)
    afresh = await answers(one)
    assert after == [afresh] * 2
    assert all(new != old for new, old in zip(afresh[1:], before[0][1:], strict=True))


def test_workers_of_one_server_answer_as_one(tmp_path: Path) -> None:
    settings(tmp_path)
    with announced(tmp_path, "--workers", "2") as server:
        url = f"http://127.0.0.1:{server.port}{ROOT}/studies"
        headers = {"Content-Type": content_type()}
        for count in range(1, 8):
            body = multipart(file(count))
            assert ask("POST", url, body, headers).status == 200
            # Connections of their own, which come to any of the workers.
            for _ in range(6):
                (found,) = json.loads(ask("GET", url).body)
                assert found["00201208"]["Value"] == [count]


async def test_a_change_that_was_undone_leaves_the_answers_true(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(client, file())
    before = await find(client, "studies")
    parts = client.app[GATEWAY]
    archive, version = parts.archive, parts.archive.version

    def work(session: Session) -> None:
        names = [one[0] for one in session.fetch("SELECT id FROM instances")]
        archive._index.remove(session, names)
        raise StorageFull

    with pytest.raises(StorageFull):
        await archive.database.write(work)
    assert archive.version == version + 1  # told too early
    assert await find(client, "studies") == before
    await archive.catalogue._correct()
    assert archive.version == version
    seen = await readings(client, monkeypatch)
    assert await find(client, "studies") == before
    assert seen == []


async def test_an_answer_that_is_still_true_is_not_made_again(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(client, file())
    response = await client.get(f"{ROOT}/{METADATA}")
    first = await response.read()
    other = {"StudyInstanceUID": "9.7", "SeriesInstanceUID": "9.7.1"}
    await store(client, file(3, **other))
    seen = await readings(client, monkeypatch)
    monkeypatch.setattr("gateway.contents.texts", None)  # whoever makes it would fail
    for _ in range(2):
        again = await client.get(f"{ROOT}/{METADATA}")
        assert await again.read() == first
    assert seen == ["stream"]  # it was compared once


async def test_what_changes_while_an_answer_is_made_is_in_the_next_one(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(client, *(file(number) for number in range(1, 600)))
    archive, loop = client.app[GATEWAY].archive, asyncio.get_running_loop()
    deleted = False

    def interrupted(*given: Any) -> Any:
        nonlocal deleted
        for place, text in enumerate(texts(*given)):
            if place == 100 and not deleted:
                deleted = True
                going = archive.delete(3, STUDY, SERIES, f"{SERIES}.500")
                asyncio.run_coroutine_threadsafe(going, loop).result()
            yield text

    monkeypatch.setattr("gateway.contents.texts", interrupted)
    first = await find(client, METADATA)
    second = await find(client, METADATA)
    assert (len(first), len(second)) == (599, 598)


async def test_files_that_others_overwrite_or_delete_are_looked_for_again(
    start: Any,
) -> None:
    options = {"OverwriteInstances": "Always"}
    one, other = await start(**options), await start(**options)
    old, new = file(PatientComments="old"), file(PatientComments="a new one")
    await store(one, old)
    (name,) = await (await one.get("/instances")).json()
    paths = (
        f"/instances/{name}/file",
        f"{ROOT}/studies/{STUDY}/series/{SERIES}/instances/{SERIES}.1",
    )

    async def bodies(client: Any) -> list[tuple[int, bytes]]:
        found = []
        for path in paths:
            accept = {"Accept": "application/dicom; transfer-syntax=*"}
            response = await client.get(path, headers=accept)
            found.append((response.status, await response.read()))
        return found

    for _ in range(2):
        assert await bodies(other) == [(200, old)] * 2
    await store(one, new)
    for client in (other, one, other):
        assert await bodies(client) == [(200, new)] * 2
    assert (await one.delete(f"{ROOT}/studies/{STUDY}")).status == 204
    for client in (other, one):
        assert [status for status, _ in await bodies(client)] == [404, 404]


def test_what_is_kept_is_bounded() -> None:
    answers = Answers(lambda: 1, kept=100_000, longest=30_000)
    for number in range(50):
        with answers.gathering(number, 1, "t") as gathering:
            gathering.add(bytes(10_000))
            gathering.done({})
        assert answers.size <= 100_000
    assert answers.get(49) is not None
    assert answers.get(0) is None
    with answers.gathering("long", 1, "t") as gathering:
        for _ in range(4):
            gathering.add(bytes(10_000))
        gathering.done({})
    assert answers.get("long") is None
    held = answers.get(49)
    assert held is not None
    for number in range(20):
        answers.add_form(49, held, str(number), bytes(10_000))
        assert answers.size <= 100_000
    assert answers.gathered == 0


def test_what_is_being_gathered_is_bounded_too() -> None:
    answers = Answers(lambda: 1, kept=100_000, longest=90_000)
    with answers.gathering("a", 1, "t") as one, answers.gathering("b", 1, "t") as other:
        one.add(bytes(60_000))
        other.add(bytes(60_000))
        assert answers.gathered == 60_000
        other.done({})
        one.done({})
    assert answers.get("a") is not None
    assert answers.get("b") is None
    assert answers.gathered == 0
