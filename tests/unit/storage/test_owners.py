"""Owners: who lives is known, however the others ended."""

import asyncio
import sys
from pathlib import Path

from gateway.storage.owners import Owners
from tests.peers import CHECKOUT
from tests.unit.storage.blob_contract import descriptors

LIVE = """
import asyncio, sys
from pathlib import Path
from gateway.storage.owners import Owners

async def main():
    async with Owners(Path(sys.argv[1])) as owners:
        print(owners.token, int(owners.alone), flush=True)
        await asyncio.sleep(float(sys.argv[2]))

asyncio.run(main())
"""


async def other(folder: Path, seconds: float) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LIVE, str(folder), str(seconds)),
        cwd=CHECKOUT,
        stdout=asyncio.subprocess.PIPE,
    )


async def said(child: asyncio.subprocess.Process) -> tuple[str, bool]:
    assert child.stdout is not None
    token, alone = (await child.stdout.readline()).decode().split()
    return token, alone == "1"


async def alive(owners: Owners, token: str) -> bool:
    return await asyncio.to_thread(owners.alive, token)


async def test_the_first_is_alone_and_the_second_is_not(tmp_path: Path) -> None:
    async with Owners(tmp_path) as one:
        assert one.alone
        assert not await asyncio.to_thread(one.others)
        async with Owners(tmp_path) as two:
            assert not two.alone
            assert await asyncio.to_thread(one.others)
            assert await alive(one, two.token)
            assert await alive(two, one.token)
            assert await alive(one, one.token)
        assert not await alive(one, two.token)
    async with Owners(tmp_path) as again:
        assert again.alone


async def test_who_was_killed_is_dead_and_leaves_nothing_for_long(
    tmp_path: Path,
) -> None:
    child = await other(tmp_path, 600)
    token, alone = await said(child)
    assert alone
    async with Owners(tmp_path) as owners:
        assert not owners.alone
        assert await alive(owners, token)
        child.kill()
        await child.wait()
        assert not await alive(owners, token)
        assert (tmp_path / "owners" / token).exists()
    async with Owners(tmp_path) as owners:
        assert owners.alone
        assert [path.name for path in (tmp_path / "owners").iterdir()] == [owners.token]


async def test_of_several_that_start_at_once_one_is_alone(tmp_path: Path) -> None:
    children = [await other(tmp_path, 600) for _ in range(4)]
    answers = [await said(child) for child in children]
    assert sum(alone for _, alone in answers) == 1
    for child in children:
        child.kill()
        await child.wait()


async def test_nobody_is_nobody(tmp_path: Path) -> None:
    async with Owners(tmp_path) as owners:
        assert not await alive(owners, "")
        assert not await alive(owners, "0123456789abcdef")


async def test_opening_and_closing_leaves_no_descriptor(tmp_path: Path) -> None:
    before = descriptors()
    for _ in range(3):
        async with Owners(tmp_path) as owners:
            await alive(owners, owners.token)
    assert descriptors() == before
