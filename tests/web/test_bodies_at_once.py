"""Frames and files answered where their requests arrive, as their handlers would."""

from typing import Any

import numpy
import pytest

from tests.clients import ROOT, store
from tests.connection import Answer, connected
from tests.factories import image

STUDY, SERIES = "1.2.3", "1.2.3.4"
OCTETS = "application/octet-stream"
MULTIPART = f'multipart/related; type="{OCTETS}"'
SIDE = 64
FRAME = SIDE * SIDE * 2  # bytes


def slice_of(number: int, frames: int = 3, side: int = SIDE) -> bytes:
    """An image of a series, none of whose pixels are those of another."""
    pixels = (numpy.arange(frames * side * side) * 7 + number).astype("<u2") % 4096
    return image(
        side,
        side,
        StudyInstanceUID=STUDY,
        SeriesInstanceUID=SERIES,
        SOPInstanceUID=f"{SERIES}.{number}",
        InstanceNumber=number,
        NumberOfFrames=frames,
        PixelData=pixels.tobytes(),
    )


def frame_of(file: bytes, number: int) -> bytes:
    """A frame of the three of an image."""
    pixels = file[-3 * FRAME :]
    return pixels[(number - 1) * FRAME : number * FRAME]


def path_of(number: int) -> str:
    """The address of an image."""
    return f"{ROOT}/studies/{STUDY}/series/{SERIES}/instances/{SERIES}.{number}"


async def ask(connection: Any, path: str, method: str = "GET", **headers: str) -> Any:
    """The answer to a request on a connection that stays."""
    lines = {"Host": "localhost", **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    await connection.send(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode())
    return await connection.answer()


def the_part(answer: Answer) -> bytes:
    """The only part of a multipart answer."""
    boundary = answer.headers["content-type"].partition("boundary=")[2].strip('"')
    head, _, rest = answer.body.partition(b"\r\n\r\n")
    assert head.startswith(b"--" + boundary.encode())
    body, end = rest[: -len(boundary) - 8], rest[-len(boundary) - 8 :]
    assert end.strip() == b"--" + boundary.encode() + b"--"
    return body


async def test_frames_are_answered_the_same_by_their_handler_and_without_it(
    start: Any, handled: list[str]
) -> None:
    client, file = await start(), slice_of(1)
    await store(client, file)
    handled.clear()
    async with connected(client) as connection:
        await ask(connection, "/system")
        first = await ask(connection, f"{path_of(1)}/frames/2", Accept=MULTIPART)
        again = await ask(connection, f"{path_of(1)}/frames/2", Accept=MULTIPART)
        other = await ask(connection, f"{path_of(1)}/frames/3", Accept=MULTIPART)
    assert len(handled) == 1
    assert {one.status for one in (first, again, other)} == {200}
    assert the_part(first) == the_part(again) == frame_of(file, 2)
    assert the_part(other) == frame_of(file, 3)
    vary = {"date", "x-request-id", "content-type"}
    assert {k: v for k, v in first.headers.items() if k not in vary} == {
        k: v for k, v in again.headers.items() if k not in vary
    }


@pytest.mark.parametrize(
    ("frames", "accept", "method", "status"),
    [
        ("1", OCTETS, "GET", 200),  # one part, which is the body
        ("1,2", MULTIPART, "GET", 200),
        ("1", MULTIPART, "HEAD", 200),
        ("4", MULTIPART, "GET", 404),
        ("0", MULTIPART, "GET", 400),
        ("x", MULTIPART, "GET", 400),
        ("1", "image/gif", "GET", 406),
        ("1", 'multipart/related; type="image/jls"', "GET", 200),
        ("1", "nonsense", "GET", 400),
    ],
)
async def test_what_is_more_than_a_frame_as_it_lies_is_for_the_handler(
    start: Any,
    handled: list[str],
    frames: str,
    accept: str,
    method: str,
    status: int,
) -> None:
    client = await start()
    await store(client, slice_of(1))
    path = f"{path_of(1)}/frames/{frames}"
    async with connected(client) as connection:
        await ask(connection, f"{path_of(1)}/frames/1", Accept=MULTIPART)
        handled.clear()
        lines = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n"
        await connection.send((lines + "Connection: close\r\n\r\n").encode())
        if method == "HEAD":
            assert (await connection.head())[0] == status
        else:
            assert (await connection.answer()).status == status
    assert handled == [path]


async def test_of_a_series_that_is_read_one_by_one_what_follows_is_known(
    start: Any, handled: list[str]
) -> None:
    client = await start()
    files = {number: slice_of(number) for number in range(1, 25)}
    await store(client, *files.values())
    handled.clear()
    async with connected(client) as connection:
        for number, file in files.items():
            path = f"{path_of(number)}/frames/1"
            answer = await ask(connection, path, Accept=MULTIPART)
            assert the_part(answer) == frame_of(file, 1)
    # The first stands alone, the second tells that it goes on.
    asked = [path.split("/frames")[0] for path in handled]
    assert asked[:2] == [path_of(1), path_of(2)]
    assert asked[2:] == [path_of(19)]


@pytest.mark.parametrize("overwrites", [False, True])
async def test_what_was_removed_or_replaced_is_not_answered_from_what_was_known(
    start: Any, overwrites: bool
) -> None:
    client, file = await start(OverwriteInstances=overwrites), slice_of(1)
    await store(client, file)
    async with connected(client) as connection:
        path = f"{path_of(1)}/frames/1"
        for _ in range(2):
            answer = await ask(connection, path, Accept=MULTIPART)
            assert the_part(answer) == frame_of(file, 1)
        if overwrites:
            other = file[:-FRAME] + bytes(FRAME)
            await store(client, other)
            answer = await ask(connection, f"{path_of(1)}/frames/3", Accept=MULTIPART)
            assert the_part(answer) == bytes(FRAME)
        else:
            assert (await client.delete(path_of(1))).status == 204
            answer = await ask(connection, path, Accept=MULTIPART)
            assert answer.status == 404


async def test_a_file_is_answered_the_same_by_its_handler_and_without_it(
    start: Any, handled: list[str]
) -> None:
    client, file = await start(), slice_of(1)
    await store(client, file)
    (found,) = await (await client.get("/instances")).json()
    path = f"/instances/{found}/file"
    async with connected(client) as connection:
        first = await ask(connection, path)
        handled.clear()
        again = await ask(connection, path)
        accepted = await ask(connection, path, Accept="application/dicom")
        assert handled == []
        tag = first.headers["etag"]
        unchanged = await ask(connection, path, **{"If-None-Match": tag})
        part = await ask(connection, path, Range="bytes=128-131")
        json = await ask(connection, path, Accept="application/dicom+json")
        syntax = await ask(connection, f"{path}?transcode=1.2.840.10008.1.2")
        assert len(handled) == 4
    assert first.body == again.body == accepted.body == file
    vary = {"date", "x-request-id"}
    assert {k: v for k, v in first.headers.items() if k not in vary} == {
        k: v for k, v in again.headers.items() if k not in vary
    }
    assert (unchanged.status, unchanged.body) == (304, b"")
    assert (part.status, part.body) == (206, b"DICM")
    assert json.body.startswith(b"{")
    assert syntax.status == 400  # there is nobody who makes that one


async def test_a_reader_that_takes_nothing_for_a_while_gets_all_in_the_end(
    start: Any,
) -> None:
    client = await start()
    files = [slice_of(number, 1, 600) for number in range(4)]
    await store(client, *files)
    known = {}
    for name in await (await client.get("/instances")).json():
        response = await client.get(f"/instances/{name}/file")
        known[name] = await response.read()
    assert sorted(known.values()) == sorted(files)
    order = [name for _ in range(6) for name in known]
    async with connected(client) as connection:
        for name in order:
            line = f"GET /instances/{name}/file HTTP/1.1\r\nHost: localhost\r\n\r\n"
            await connection.send(line.encode())
        for name in order:
            assert (await connection.answer()).body == known[name]
