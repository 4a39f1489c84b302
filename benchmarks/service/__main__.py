"""Run the comparisons of the daemon's store and print them as a table, or JSON.

    python -m benchmarks.service [--quick] [--json] [--rounds N] [--without PEER ...] [CASE ...]

Needs the extras `service` and `bench`; a contestant that is not installed is left out.
"""

import argparse
import contextlib
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.service.cases import CASES, Bench
from benchmarks.service.peers import LINKS, servers
from benchmarks.service.reader import serve
from benchmarks.service.telling import tell

SHARED = Path(__file__).resolve().parent.parent.parent.parent / "shared"


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.service", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--quick", action="store_true", help="just see that everything runs")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--without", action="append", default=[], metavar="PEER")
    parser.add_argument("--capacity", default="6GiB")
    chosen = parser.parse_args()
    for name in chosen.cases:
        if name not in CASES:
            parser.error(f"no case {name!r}: there are {', '.join(CASES)}")
    return chosen


@contextlib.contextmanager
def ready(chosen: argparse.Namespace, folder: Path) -> Iterator[Bench]:
    """Servers, links and a reader."""
    spawn = multiprocessing.get_context("spawn")
    names = [name for name in LINKS if name not in chosen.without]
    with servers(folder, names, chosen.capacity) as (addresses, pids):
        queue = spawn.Queue()
        readers: list[Any] = []

        def begin(target: Callable[..., None], *arguments: Any) -> Connection:
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=target, args=(theirs, *arguments))
            process.start()
            theirs.close()
            readers.append((process, ours))
            return ours

        def another() -> Connection:
            return begin(serve, queue, addresses)

        def nursery(target: Callable[[Connection, str], None]) -> Connection:
            return begin(target, addresses["icehouse"])

        links = {name: LINKS[name](address) for name, address in addresses.items()}
        pipe = another()
        rounds = 3 if chosen.quick else chosen.rounds
        try:
            yield Bench(links, pipe, queue, pids, chosen.quick, rounds, another, nursery)
        finally:
            for process, ours in readers:
                with contextlib.suppress(OSError):
                    ours.send(("end", []))
                process.join(5)
                process.kill()


def main() -> int:
    """Run and tell."""
    chosen = arguments()
    if SHARED.is_dir():
        os.environ.setdefault("ICEHOUSE_SHARED", str(SHARED))
    results = []
    # LMDB and Redis get what icehouse gets: files in memory.
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix="icehouse-bench-", dir=place) as folder,
        ready(chosen, Path(folder)) as bench,
    ):
        for name in chosen.cases or CASES:
            print(name, file=sys.stderr)
            results += list(CASES[name](bench))
    tell("service", results, chosen, 160)
    return 0


if __name__ == "__main__":
    sys.exit(main())
