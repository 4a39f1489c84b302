"""Shared fields beside what multiprocessing shares a number with: `python -m benchmarks.fields`.

    python -m benchmarks.fields [--quick] [--markdown] [--rounds N]

Against `multiprocessing.Value` with its lock, which holds one C number for processes that inherit
it, and a Manager's Value (with a Manager's Lock for counting), which holds what can be pickled.
Rounds are interleaved. Needs the extra `service`.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import icehouse
from benchmarks.service.peers import servers
from icehouse.client.bench.facts import machine
from icehouse.client.bench.harness import Timing
from icehouse.client.bench.report import markdown, table
from icehouse.client.bench.result import OURS, Result

DAEMON = "the daemon's store"
SPAWN = multiprocessing.get_context("spawn")


class Field:
    """A SharedField: by its store the daemon's, an embedded one's, or nobody's."""

    def __init__(self, store: icehouse.Store | None) -> None:
        self.field = icehouse.SharedField(0)
        if store is not None:
            store.put(self.field)
        self.field.set(1)

    def get(self) -> int:
        """Read."""
        return self.field.get()

    def set(self, value: int) -> None:
        """Write."""
        self.field.set(value)

    def add(self) -> None:
        """Count up, whoever else does."""
        while True:
            before = self.field.get()
            if self.field.compare_and_swap(before, before + 1):
                return


class Locked:
    """What multiprocessing has: a value, and a lock that counting takes."""

    def __init__(self, value: Any, lock: Any) -> None:
        self.value, self.lock = value, lock

    def get(self) -> int:
        """Read."""
        found: int = self.value.value
        return found

    def set(self, value: int) -> None:
        """Write."""
        self.value.value = value

    def add(self) -> None:
        """Count up, whoever else does."""
        with self.lock:
            self.value.value += 1


def clocked(function: Callable[[], Any], times: int) -> float:
    """Seconds of one call."""
    begin = time.perf_counter()
    for _ in range(times):
        function()
    return (time.perf_counter() - begin) / times


def count(counter: Field | Locked, times: int, ready: Any, go: Any, done: Any) -> None:
    """Run in another process: count so many times."""
    ready.release()
    go.wait()
    for _ in range(times):
        counter.add()
    done.release()


def together(counter: Field | Locked, times: int) -> float:
    """Seconds of one count where two processes count at once."""
    ready, go, done = SPAWN.Semaphore(0), SPAWN.Event(), SPAWN.Semaphore(0)
    counter.set(0)
    processes = [
        SPAWN.Process(target=count, args=(counter, times, ready, go, done)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    for _ in processes:
        ready.acquire()
    begin = time.perf_counter()
    go.set()
    for _ in processes:
        done.acquire()
    seconds = time.perf_counter() - begin
    for process in processes:
        process.join()
    assert counter.get() == 2 * times, "a count was lost"
    return seconds / (2 * times)


def interleaved(case: str, on: str, sides: dict[str, Callable[[], float]], rounds: int) -> Result:
    """Run every side once a round, beginning with another one each time."""
    timings = {name: Timing(name, 1) for name in sides}
    names = list(sides)
    for side in sides.values():
        side()
    for turn in range(rounds):
        for position in range(len(names)):
            name = names[(position + turn) % len(names)]
            timings[name].seconds.append(sides[name]())
    return Result.timed(case, on, list(timings.values()))


def results(
    places: dict[str, Field], others: dict[str, Locked], rounds: int, times: int
) -> Iterator[Result]:
    """Every operation, in every place."""
    for on, ours in places.items():
        sides: dict[str, Field | Locked] = {OURS: ours, **others}
        # What takes a message to another process is asked for less often.
        fast = {name: times if name != "Manager" else times // 20 for name in sides}
        slow = {**fast, OURS: times // 20} if on == DAEMON else fast
        operations: dict[str, tuple[dict[str, int], Callable[[Any], Callable[[], Any]]]] = {
            "field, get": (fast, lambda side: side.get),
            "field, set": (slow, lambda side: lambda: side.set(1)),
            "field, count up": (slow, lambda side: side.add),
        }
        for case, (loops, make) in operations.items():
            timed = {
                name: partial(clocked, make(side), loops[name]) for name, side in sides.items()
            }
            yield interleaved(case, on, timed, rounds)
    yield interleaved(
        "field, two processes count up",
        DAEMON,
        {
            name: partial(together, side, times // 20)
            for name, side in {OURS: places[DAEMON], **others}.items()
        },
        max(3, rounds // 5),
    )


def main() -> int:
    """Run and tell."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fields", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="just see that everything runs")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    chosen = parser.parse_args()
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix="icehouse-bench-", dir=place) as folder,
        servers(Path(folder), [OURS], "256MiB") as (addresses, _),
        icehouse.Store("64MiB") as embedded,
        SPAWN.Manager() as manager,
    ):
        places = {
            "embedded": Field(embedded),
            "never put": Field(None),
            DAEMON: Field(icehouse.connect(addresses[OURS])),
        }
        value = SPAWN.Value("q", 0)
        others = {
            "multiprocessing.Value": Locked(value, value.get_lock()),
            "Manager": Locked(manager.Value("q", 0), manager.Lock()),
        }
        rounds, times = (2, 100) if chosen.quick else (chosen.rounds, 10_000)
        found = [result.as_json() for result in results(places, others, rounds, times)]
    report = {
        "schema": 1,
        "benchmark": "fields",
        "machine": machine(),
        "quick": chosen.quick,
        "clock": "wall",
        "results": found,
    }
    if chosen.markdown:
        print(markdown(report))
    else:
        from rich.console import Console

        Console(width=150).print(table(report, 150))
    return 0


if __name__ == "__main__":
    sys.exit(main())
