"""The processes beside the server, when the server does not end as it should."""

import subprocess
import sys

import psutil
import pytest

SERVER = """
import asyncio, os
from gateway.pool import Pool

async def main():
    async with Pool(2) as pool:
        worker, fork = await pool.run(os.getpid), await pool.run(os.getppid)
        print(worker, fork, flush=True)
        await asyncio.sleep(60)

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.slow
def test_a_server_that_is_killed_leaves_no_process_behind(tmp_path):
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, env={"PYTHONPATH": "."}
    ) as server:
        assert server.stdout is not None
        named = {int(word) for word in server.stdout.readline().split()}
        below = psutil.Process(server.pid).children(recursive=True)
        assert len(named) == 2
        assert named <= {process.pid for process in below}
        server.kill()
        _, left = psutil.wait_procs(below, timeout=10)
        for process in left:
            process.kill()
        assert left == []
