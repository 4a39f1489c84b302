"""What visitors of the admin side cost those who put and get: the same work with and without them.

Workers put and get as fast as they can. Rounds with 50 visitors and without any alternate, and a
ratio is taken within a round. The visitors' own process yields to everybody (nice 19) and is there
in both arms: what is measured is what the admin process and the daemon do for them.
"""

import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import icehouse
from benchmarks.service import visitors
from benchmarks.service.crowd import Site, on_processor
from benchmarks.service.pages import LISTS, places
from icehouse.client.bench.harness import Timing
from icehouse.client.bench.result import OURS, Result
from icehouse.client.bench.targets import Limit, Target, seconds_text

SMALL = {"id": 48151623, "name": "reader", "ratio": 0.75, "active": True}
# Put without a pause: much longer than the kernel lets anybody run while others wait.
BATCH = 20_000
VISITORS = 50
# How long they are there before it counts.
SETTLE_SECONDS = 1.0
ALONE = "without visitors"
TARGET = Target("ratio", Limit(1.05, "within 5 %", ALONE), Limit(1.02, "within 2 %", ALONE))


def putting(store: icehouse.Store, seconds: float) -> float:
    """Put for so many seconds and give how many one took; what was put is deleted off the clock."""
    clock, total, done = time.perf_counter, 0.0, 0
    while total < seconds:
        began = clock()
        handles = [store.put(SMALL) for _ in range(BATCH)]
        total, done = total + clock() - began, done + BATCH
        store.delete(*handles)
    return total / done


def getting(store: icehouse.Store, handles: list[Any], seconds: float) -> float:
    """Get and read for so many seconds, without a pause, and give how many one took."""
    clock, done = time.perf_counter, 0
    began = now = clock()
    while now - began < seconds:
        for handle in handles:
            view: Any = store.get(handle)
            if view["id"] != SMALL["id"]:
                raise AssertionError("the object does not read as it was put")
        done += len(handles)
        now = clock()
    return (now - began) / done


def work(address: str, pipe: Connection) -> None:
    """Put and get for so many seconds each, whenever asked: seconds that each took on average."""
    store = icehouse.connect(address)
    handles = [store.put(SMALL) for _ in range(1000)]
    while seconds := pipe.recv():
        pipe.send((putting(store, seconds), getting(store, handles, seconds)))


@contextmanager
def processes(target: Any, many: int, *arguments: Any) -> Iterator[list[Connection]]:
    """Start processes that are told what to do, and end them."""
    spawn = multiprocessing.get_context("spawn")
    started = []
    for _ in range(many):
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=target, args=(*arguments, theirs))
        process.start()
        theirs.close()
        started.append((process, ours))
    try:
        yield [pipe for _, pipe in started]
    finally:
        for process, pipe in started:
            if process.is_alive():
                pipe.send(("end",) if target is visitors.main else 0.0)
            process.join(20)
            process.kill()
            process.join()


@dataclass
class Visits:
    """What the visitors of all rounds got, and what it took."""

    seconds: float = 0.0
    answers: int = 0
    failures: int = 0
    times: list[float] = field(default_factory=list)
    scrapes: list[float] = field(default_factory=list)
    admin: float = 0.0
    daemon: float = 0.0

    def add(self, tally: visitors.Tally, seconds: float) -> None:
        """Take a round in."""
        self.seconds += seconds
        self.answers += sum(tally.answers.values())
        self.failures += sum(tally.failures.values())
        self.failures += sum(many for status, many in tally.answers.items() if status != 200)
        self.times += tally.seconds
        self.scrapes += tally.scrapes

    def text(self, alone: float) -> str:
        """Tell them in words; `alone`: of a processor's time the daemon takes without them."""
        median = statistics.median(self.times) if self.times else 0.0
        scrape = statistics.median(self.scrapes) if self.scrapes else 0.0
        return (
            f"{self.answers / self.seconds:.0f} answers a second, {self.failures} failures;"
            f" median of pages and lists {seconds_text(median)}, of scrapes {seconds_text(scrape)};"
            f" the admin process had {self.admin / self.seconds:.1%} of a core, the daemon"
            f" {max(self.daemon / self.seconds - alone, 0):.1%} more than without them"
        )


def compared(
    site: Site,
    rounds: int,
    seconds: float,
    workers: int,
    every: float,
    crowd: Connection,
    paths: list[str],
) -> Iterator[Result]:
    """Compare rates with visitors, each of whom asks `every` seconds (0: at once), and without."""
    visits, alone, alone_seconds = Visits(), 0.0, 0.0
    sides = {name: (Timing(name, 1), Timing(name, 1)) for name in (OURS, ALONE)}
    with processes(work, workers, site.daemon.socket) as pipes:

        def once(side: str) -> tuple[float, float]:
            nonlocal alone, alone_seconds
            crowd.send(("visit", site.port, paths, VISITORS if side == OURS else 0, every))
            crowd.recv()
            time.sleep(min(SETTLE_SECONDS, seconds))
            crowd.send(("anew",))
            crowd.recv()
            daemon, admin = on_processor(site.daemon_pid), on_processor(site.admin_pid)
            began = time.monotonic()
            for pipe in pipes:
                pipe.send(seconds)
            found = [pipe.recv() for pipe in pipes]
            took = time.monotonic() - began
            daemon = on_processor(site.daemon_pid) - daemon
            admin = on_processor(site.admin_pid) - admin
            crowd.send(("home",))
            tally = crowd.recv()
            if side == OURS:
                visits.add(tally, took)
                visits.daemon += daemon
                visits.admin += admin
            else:
                alone, alone_seconds = alone + daemon, alone_seconds + took
            # Rates add up: the harmonic mean of the workers' times.
            puts, gets = zip(*found, strict=True)
            return statistics.harmonic_mean(puts), statistics.harmonic_mean(gets)

        once(ALONE)
        for turn in range(rounds):
            for side in (ALONE, OURS) if turn % 2 else (OURS, ALONE):
                for timing, value in zip(sides[side], once(side), strict=True):
                    timing.seconds.append(value)
    cores = len(os.sched_getaffinity(0))
    pace = f"a request each {every:g} s" if every else "without a pause"
    label = f"{workers} workers on {cores} cores, {VISITORS} visitors {pace}"
    note = visits.text(alone / alone_seconds)
    for case, index in (("put", 0), ("get", 1)):
        timings = [both[index] for both in sides.values()]
        yield Result.timed(f"{case} beside visitors", label, timings, TARGET, note)


def rates(site: Site, rounds: int, seconds: float) -> Iterator[Result]:
    """Compare rates where a core is to spare and where none is; visitors as people are, and not."""
    paths = [*places(site).values(), *LISTS]
    cores = len(os.sched_getaffinity(0))
    with processes(visitors.main, 1) as (crowd,):
        for workers in sorted({max(1, cores - 1), cores}):
            for every in (1.0, 0.0):
                yield from compared(site, rounds, seconds, workers, every, crowd, paths)
