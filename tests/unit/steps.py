"""Every step that changes the disk, one by one: to note them, or to die at one of them."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.storage import packs
from gateway.storage.database import SqliteDatabase

Watch = Callable[[str], None]


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Call `watch` with the name of each step before it is taken."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, name, label in (
            (os, "pwritev", "write"),
            (os, "pwrite", "write"),
            (packs, "punch", "punch"),
            (os, "fdatasync", "fdatasync"),
            (os, "fsync", "fsync"),
            (Path, "rename", "rename"),
            (Path, "unlink", "unlink"),
            (Path, "rmdir", "rmdir"),
            (Path, "mkdir", "mkdir"),
        ):
            patch.setattr(owner, name, _before(watch, label, getattr(owner, name)))
        opening = os.open
        patch.setattr(os, "open", _creating(watch, opening))
        connect = SqliteDatabase._connect

        def connected(database: SqliteDatabase, cache: int) -> Any:
            return _Connection(connect(database, cache), watch)

        patch.setattr(SqliteDatabase, "_connect", connected)
        yield


def _before(watch: Watch, label: str, step: Callable[..., Any]) -> Callable[..., Any]:
    def taken(*arguments: Any, **named: Any) -> Any:
        watch(f"{label} {_name(arguments[0])}")
        return step(*arguments, **named)

    return taken


def _creating(watch: Watch, opening: Callable[..., int]) -> Callable[..., int]:
    def opened(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if flags & os.O_EXCL:
            watch(f"create {path}")
        return opening(path, flags, *rest, **named)

    return opened


def _name(place: Any) -> str:
    return (
        os.readlink(f"/proc/self/fd/{place}") if isinstance(place, int) else str(place)
    )


class _Connection:
    """SQLite's connection; its commits are steps, and so is having committed."""

    def __init__(self, connection: sqlite3.Connection, watch: Watch) -> None:
        self._connection = connection
        self._watch = watch

    def execute(self, sql: str, *rest: Any) -> Any:
        if sql != "COMMIT":
            return self._connection.execute(sql, *rest)
        self._watch("before COMMIT")
        result = self._connection.execute(sql, *rest)
        self._watch("after COMMIT")
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)
