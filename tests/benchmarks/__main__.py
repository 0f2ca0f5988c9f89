"""``python -m tests.benchmarks``: measure our server and Orthanc on the same data."""

import argparse
import itertools
import json
import signal
import socket
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests import peers

from . import plot, report, transfers
from .data import Sizes, collection, usual_folder
from .rounds import FailedWorkloadError, Measure, Side, run
from .workloads import WORKLOADS, Workload


def arguments(line: list[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__
    )
    names = list(dict.fromkeys(workload.name for workload in WORKLOADS))
    names += transfers.NAMES
    add = parser.add_argument
    add("--rounds", type=int, default=3, help="the figures are their medians")
    add(
        "--workload",
        nargs="+",
        choices=names,
        default=names,
        metavar="NAME",
        help=f"some of: {', '.join(names)}",
    )
    servers = ("gateway", "orthanc", "none")
    add("--ours", choices=servers, default="gateway", help="which server is ours")
    add("--peer", choices=servers, default="orthanc", help="which one it is beside")
    add("--workers", type=int, default=1, help="processes of the gateway")
    add("--data", type=Path, default=usual_folder(), help="where the data is kept")
    add(
        "--storage", type=Path, help="where the servers store; default: beside the data"
    )
    add("--scale", type=float, default=1.0, help="of the data; below 1 to try out")
    add("--json", type=Path, help="also write the figures here")
    add("--plot", type=Path, help="also draw the ratios, as PNG")
    add("--check", action="store_true", help="fail when a ratio is below 1")
    return parser.parse_args(line)


def starter(
    server: str, workers: int
) -> Callable[[Path], AbstractContextManager[peers.Running]]:
    """What starts that server in a folder."""
    if server == "gateway":
        return lambda folder: peers.gateway(folder, workers)
    return peers.orthanc


def sides(asked: argparse.Namespace) -> list[Side]:
    """Those to measure, ours first."""
    named = {"ours": asked.ours, "peer": asked.peer}
    return [
        Side(name, starter(server, asked.workers))
        for name, server in named.items()
        if server != "none"
    ]


def versions(side: Side, storage: Path) -> dict[str, str]:
    """What a server says that it is."""
    with (
        tempfile.TemporaryDirectory(dir=storage) as folder,
        side.start(Path(folder)) as server,
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


def measured(asked: argparse.Namespace, storage: Path) -> list[Measure]:
    """Run what was asked for, telling of each row as it comes."""
    data = collection(asked.data, Sizes.scaled(asked.scale))
    rows: list[Workload] = [row for row in WORKLOADS if row.name in asked.workload]
    pairs = [name for name in transfers.NAMES if name in asked.workload]
    if asked.ours != "gateway":
        pairs = []
    measures = []
    for measure in itertools.chain(
        run(asked.rounds, sides(asked), rows, data, storage),
        transfers.run(pairs, asked.rounds, data, storage, asked.workers),
    ):
        measures.append(measure)
        print(
            f"{measure.side} {measure.workload.title}: {measure.wall:.3f} s,"
            f" CPU {measure.spent.cpu:.2f} s, statuses {measure.statuses}",
            file=sys.stderr,
        )
    return measures


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
    with tempfile.TemporaryDirectory(prefix="storage-", dir=place) as storage:
        try:
            check_host_name()
            servers = {
                side.name: versions(side, Path(storage)) for side in sides(asked)
            }
            rows = report.rows(measured(asked, Path(storage)))
        except (FailedWorkloadError, peers.MissingPeerError) as error:
            print(f"FAILED: {error}", file=sys.stderr)
            return 1
    print(report.table(rows))
    conditions = {"servers": servers, "rounds": asked.rounds, "scale": asked.scale}
    conditions |= {"workers": asked.workers}
    if asked.json is not None:
        document = report.as_json(rows, conditions)
        asked.json.write_text(json.dumps(document, indent=2) + "\n")
    if asked.plot is not None:
        plot.draw(rows, asked.plot)
    behind = report.below(rows, 1.0)
    for sentence in behind:
        print(sentence, file=sys.stderr)
    return 1 if asked.check and behind else 0


if __name__ == "__main__":
    sys.exit(main())
