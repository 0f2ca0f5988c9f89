"""Bytes that wait for the end of their request."""

import errno
import os
from pathlib import Path

import pytest

from gateway.errors import StorageFull
from gateway.storage.spool import Spool

MIB = 1024 * 1024


async def test_a_little_stays_in_memory(tmp_path: Path) -> None:
    async with Spool(tmp_path) as spool:
        await spool.write(b"abc")
        await spool.write(memoryview(b"def"))
        assert spool.read_at(1, 4) == b"bcde"
        assert spool.read_at(4, 100) == b"ef"
        assert spool.read_at(6, 1) == b""
        assert spool.size == 6


async def test_much_goes_to_a_file_without_a_name(tmp_path: Path) -> None:
    content = os.urandom(3 * MIB + 17)
    before = len(os.listdir("/proc/self/fd"))
    async with Spool(tmp_path) as spool:
        for start in range(0, len(content), 300_000):
            await spool.write(content[start : start + 300_000])
        assert list(tmp_path.iterdir()) == []
        assert await spool.work(lambda: spool.read_at(0, len(content))) == content
        for start in (0, MIB - 1, 2 * MIB + 5, 3 * MIB + 10):
            assert spool.read_at(start, 5) == content[start : start + 5]
        assert spool.read_at(len(content) - 2, 100) == content[-2:]
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_full_disk_is_said_to_be_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no room")

    async with Spool(tmp_path) as spool:
        monkeypatch.setattr("gateway.storage.spool.os.write", full)
        with pytest.raises(StorageFull):
            await spool.write(bytes(2 * MIB))
        monkeypatch.undo()
