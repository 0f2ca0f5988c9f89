"""``python -m tests.benchmarks``: measure our server and Orthanc on the same data."""

import argparse
import json
import signal
import socket
import sys
import tempfile
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests import peers

from . import flushing, plot, report, transfers
from .asking import FailedWorkloadError
from .data import Collection, Sizes, collection, usual_folder
from .rounds import Measure, Side, Starter, run
from .workload import Workload
from .workloads import WORKLOADS


def arguments(line: list[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__
    )
    names = list(dict.fromkeys(workload.name for workload in WORKLOADS))
    names += transfers.NAMES
    parser.add_argument(
        "--workload",
        nargs="+",
        choices=names,
        default=names,
        metavar="NAME",
        help=f"some of: {', '.join(names)}",
    )
    _add_servers(parser)
    add = parser.add_argument
    add("--rounds", type=int, default=3, help="the figures are their medians")
    add("--data", type=Path, default=usual_folder(), help="where the data is kept")
    add(
        "--storage", type=Path, help="where the servers store; default: beside the data"
    )
    add("--scale", type=float, default=1.0, help="of the data; below 1 to try out")
    add("--json", type=Path, help="also write the figures here")
    add("--plot", type=Path, help="also draw the ratios, as PNG")
    add("--check", action="store_true", help="fail when a floor is missed")
    return parser.parse_args(line)


def _add_servers(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    servers = ("gateway", "orthanc", "none")
    add("--ours", choices=servers, default="gateway", help="which server is ours")
    add("--peer", choices=servers, default="orthanc", help="which one it is beside")
    add(
        "--workers",
        type=int,
        nargs="+",
        metavar="N",
        help="processes of the gateway, instead of each row's own number; with several"
        " numbers every row is run with each",
    )
    add(
        "--flush",
        type=float,
        default=0.0,
        metavar="MS",
        help="milliseconds that each flush of either server takes at least",
    )


def starter(server: str, slow: Path | None, milliseconds: float) -> Starter:
    """What starts that server in a folder, with a library for its flushes if named."""

    def start(
        folder: Path, workers: int, options: dict[str, Any]
    ) -> AbstractContextManager[peers.Running]:
        environment = None
        if slow is not None:
            environment = flushing.environment(slow, milliseconds, folder)
        if server == "gateway":
            return peers.gateway(folder, workers, options, environment)
        return peers.orthanc(folder, options, environment)

    return start


def sides(asked: argparse.Namespace, storage: Path) -> list[Side]:
    """Those to measure, ours first."""
    slow = flushing.library(storage) if asked.flush else None
    named = {"ours": asked.ours, "peer": asked.peer}
    return [
        Side(name, starter(server, slow, asked.flush))
        for name, server in named.items()
        if server != "none"
    ]


def versions(side: Side, storage: Path) -> dict[str, str]:
    """What a server says that it is."""
    with (
        tempfile.TemporaryDirectory(dir=storage) as folder,
        side.start(Path(folder), 1, {}) as server,
    ):
        said = {"version": _said(f"{server.url}/system").get("Version", "?")}
        plugin = _said(f"{server.url}/plugins/dicom-web").get("Version")
        return said | ({"dicomweb": plugin} if plugin else {})


def _said(url: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            said: dict[str, Any] = json.load(answer)
            return said
    except (OSError, ValueError):
        return {}


def workloads(names: list[str], workers: list[int] | None) -> list[Workload]:
    """The rows of these names, with the workers that they are run with."""
    rows = [row for row in WORKLOADS if row.name in names]
    if workers is None:
        return rows
    return [replace(row, workers=number) for number in workers for row in rows]


def measured(
    asked: argparse.Namespace, both: list[Side], data: Collection, storage: Path
) -> Iterator[Measure]:
    """Run what was asked for."""
    rows = workloads(asked.workload, asked.workers)
    yield from run(asked.rounds, both, rows, data, storage)
    pairs = [name for name in transfers.NAMES if name in asked.workload]
    for workers in asked.workers or [1]:
        yield from transfers.run(pairs, asked.rounds, both, data, storage, workers)


def told(measures: Iterable[Measure]) -> Iterator[Measure]:
    """Tell of each measure as it comes."""
    for measure in measures:
        print(
            f"{measure.side} {measure.workload.title}: {measure.wall:.3f} s,"
            f" CPU {measure.spent.cpu:.2f} s, statuses {measure.statuses}",
            file=sys.stderr,
        )
        yield measure


def check_host_name() -> None:
    """Refuse a machine that doesn't know its own name.

    Orthanc asks for it with every answer; where that takes a time-out of the DNS, one
    query takes seconds, and a comparison would flatter us.
    """
    name = socket.gethostname()
    try:
        socket.gethostbyname(name)
    except OSError as error:
        raise peers.MissingPeerError(
            f"this machine can't resolve its own name {name}: add it to /etc/hosts"
        ) from error


def main() -> int:
    """Measure, print, and say by the exit status whether all went well."""
    asked = arguments()
    # Ended from outside, it still ends its server and clears its storage away.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    place = asked.storage or asked.data
    place.mkdir(parents=True, exist_ok=True)
    conditions = {"rounds": asked.rounds, "scale": asked.scale, "flush": asked.flush}
    with tempfile.TemporaryDirectory(prefix="storage-", dir=place) as folder:
        storage = Path(folder)
        try:
            check_host_name()
            both = sides(asked, storage)
            servers = {side.name: versions(side, storage) for side in both}
            data = collection(asked.data, Sizes.scaled(asked.scale))
            rows = report.rows(told(measured(asked, both, data, storage)))
        except (
            FailedWorkloadError,
            peers.MissingPeerError,
            flushing.NoCompilerError,
        ) as error:
            print(f"FAILED: {error}", file=sys.stderr)
            return 1
    return written(asked, rows, conditions | {"servers": servers})


def written(
    asked: argparse.Namespace, rows: list[report.Row], conditions: dict[str, Any]
) -> int:
    """Print the table, write what else was asked for; the exit status."""
    print(report.table(rows))
    if asked.flush:
        print(f"every flush took at least {asked.flush:g} ms")
    if asked.json is not None:
        document = report.as_json(rows, conditions)
        asked.json.write_text(json.dumps(document, indent=2) + "\n")
    if asked.plot is not None:
        plot.draw(rows, asked.plot)
    missed = report.missed(rows)
    for sentence in missed:
        print(sentence, file=sys.stderr)
    return 1 if asked.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
