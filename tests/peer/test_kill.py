"""SIGKILL at any moment: nothing acknowledged is lost, nothing half is seen, no strays.

``GATEWAY_KILLS=50`` sets how often each server is killed; the default keeps it short.
"""

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peer.killing import (
    Book,
    Server,
    Writer,
    check_lists,
    check_promises,
    check_strays,
)

KILLS = int(os.environ.get("GATEWAY_KILLS", "4"))
SEED = int(os.environ.get("GATEWAY_SEED", "0")) or random.randrange(1, 1 << 32)
WRITERS = 4


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    workers, options = request.param
    made = Server(tmp_path, workers, **options)
    yield made
    made.kill()


each_server = pytest.mark.parametrize(
    ("server", "changes"),
    [
        pytest.param((1, {}), False, id="one process", marks=pytest.mark.slow),
        pytest.param((2, {}), False, id="two workers", marks=pytest.mark.slow),
        pytest.param(
            (2, {"OverwriteInstances": "Always"}), True, id="replaced and deleted"
        ),
    ],
    indirect=["server"],
)


@each_server
def test_a_killed_server_has_all_that_it_acknowledged_and_nothing_half(
    server: Server, changes: bool
) -> None:
    chance = random.Random(SEED)
    print(f"GATEWAY_SEED={SEED}")
    book = Book()
    server.start()
    for turn in range(1, KILLS + 1):
        write_and_kill(server, book, turn, chance, changes=changes)
        assert not book.wrong, book.wrong
        server.start()
        check_strays(server.storage)
        check_promises(server, book, book.touched)
        check_lists(server, book, book.touched)
        book.touched.clear()
    check_promises(server, book, set(book.may_be))
    check_lists(server, book, set(book.may_be))
    lost = "Traceback" in server.log()
    assert not lost, server.log()
    held = sum(found != {None} for found in book.may_be.values())
    print(
        f"{KILLS} kills: {book.acknowledged} acknowledged ({book.repeats} repeats,"
        f" {book.replaced} replaced, {book.deleted} deleted), {book.unanswered} cut"
        f" off, {held} held, 0 lost, 0 unreadable, 0 strays"
    )
    assert book.acknowledged > KILLS


def write_and_kill(
    server: Server, book: Book, turn: int, chance: random.Random, *, changes: bool
) -> None:
    """Let writers write, kill, now and then a single worker before all of them."""
    writers = [
        Writer(server, book, f"{turn}.{n}", chance.getrandbits(32), changes=changes)
        for n in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    time.sleep(chance.uniform(0.02, 0.6))
    workers = server.workers()
    if workers and chance.random() < 0.3:
        chance.choice(workers).kill()
        time.sleep(chance.uniform(0.0, 0.3))
    for writer in writers:
        writer.ending.set()
    server.kill()
    for writer in writers:
        writer.join()
