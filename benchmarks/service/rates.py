"""What visitors of the admin side cost those who put and get: the same work with and without them.

Workers get and put as fast as they can, on end; and put a little whenever they wake up, as those do
who wait for requests. A round has 50 visitors, or none, or none but a program that has nothing to
do with icehouse, works as much as the admin process does for them, and gives way as far: some of
what visitors cost is what it costs to have a neighbour on this machine. A ratio is taken within a
round. The visitors' own process runs only where nobody else wants to (SCHED_IDLE) and is always
there: what is measured is what the admin process and the daemon do for them.
"""

import json
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
from benchmarks.service.crowd import NICE, Site, on_processor
from benchmarks.service.pages import LISTS, places
from icehouse.client.bench.harness import Timing
from icehouse.client.bench.result import OURS, Result
from icehouse.client.bench.targets import Limit, Target, seconds_text
from icehouse.server.admin.priority import give_way

SMALL = {"id": 48151623, "name": "reader", "ratio": 0.75, "active": True}
VISITORS = 50
# How long they are there before it counts.
SETTLE_SECONDS = 1.0
# A worker that has waited is given a processor where one is free, and must have it before it counts
# what it does on end.
WARM_SECONDS = 0.05
# What it puts on end, for each second that it gets.
PUTS_PER_SECOND = 500_000
# What a worker puts when it wakes up, and how long it sleeps.
BURST, NAP_SECONDS = 500, 0.002
CASES = ("put", "get", "put after a nap", "a second of processor")
ALONE, BESIDE = "without visitors", "beside a busy program"
# How long that program rests when it has worked enough, and what it does: it writes text, too.
TURN_SECONDS = 0.005
DOCUMENT = [{"number": i, "text": "x" * 20} for i in range(100)]
TARGET = Target("ratio", Limit(1.05, "within 5 %", ALONE), Limit(1.02, "within 2 %", ALONE))


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


def putting(store: icehouse.Store, many: int) -> tuple[float, list[Any]]:
    """Put without a pause, and give how many seconds one took, and the handles."""
    began = time.perf_counter()
    handles = [store.put(SMALL) for _ in range(many)]
    return (time.perf_counter() - began) / many, handles


def waking(store: icehouse.Store, bursts: int) -> tuple[float, list[Any]]:
    """Put a little after each of many naps."""
    total, handles = 0.0, []
    for _ in range(bursts):
        time.sleep(NAP_SECONDS)
        each, some = putting(store, BURST)
        total += each
        handles += some
    return total / bursts, handles


def neighbour(pipe: Connection) -> None:
    """Work for the share of the time that was told last, if it gets it; negative: end.

    Each time it is told one it answers with what it had of a processor since the last time.
    """
    give_way(int(NICE))
    share, began, ran = 0.0, time.monotonic(), time.thread_time()
    while share >= 0:
        if share and time.thread_time() - ran < share * (time.monotonic() - began):
            json.dumps(DOCUMENT)
            wait: float | None = 0.0
        else:
            wait = TURN_SECONDS if share else None
        if pipe.poll(wait):
            share = pipe.recv()
            pipe.send((time.thread_time() - ran) / (time.monotonic() - began))
            began, ran = time.monotonic(), time.thread_time()


def work(address: str, pipe: Connection) -> None:
    """Do all for so many seconds each, whenever asked: what one of each took, in seconds.

    Last comes what a second on a processor took, getting and putting on end: more where others had
    it meanwhile. Everything that was put is deleted off the clock. Negative seconds end this.
    """
    store = icehouse.connect(address)
    handles = [store.put(SMALL) for _ in range(1000)]
    while (seconds := pipe.recv()) >= 0:
        getting(store, handles, min(seconds, WARM_SECONDS))
        ran, began = time.thread_time(), time.perf_counter()
        got = getting(store, handles, seconds)
        put, some = putting(store, int(seconds * PUTS_PER_SECOND))
        second = (time.perf_counter() - began) / (time.thread_time() - ran)
        awake, others = waking(store, int(seconds / NAP_SECONDS))
        store.delete(*some, *others)
        pipe.send((put, got, awake, second))


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
                pipe.send(("end",) if target is visitors.main else -1.0)
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
    # What the other program had of a processor.
    beside: list[float] = field(default_factory=list)

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
            f" {max(self.daemon / self.seconds - alone, 0):.1%} more than without them, the busy"
            f" program {statistics.mean(self.beside or [0.0]):.1%}"
        )


def compared(
    site: Site,
    rounds: int,
    seconds: float,
    workers: int,
    every: float,
    crowd: Connection,
    other: Connection,
    paths: list[str],
) -> Iterator[Result]:
    """Compare rates with visitors, each of whom asks `every` seconds (0: at once), and without."""
    visits, alone, alone_seconds, busy = Visits(), 0.0, 0.0, 0.0
    sides = {name: tuple(Timing(name, 1) for _ in CASES) for name in (OURS, ALONE, BESIDE)}
    with processes(work, workers, site.daemon.socket) as pipes:

        def once(side: str) -> list[float]:
            nonlocal alone, alone_seconds, busy
            other.send(busy if side == BESIDE else 0.0)
            other.recv()
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
            other.send(0.0)
            had = other.recv()
            if side == OURS:
                visits.add(tally, took)
                visits.daemon += daemon
                visits.admin += admin
                busy = min(admin / took, 1.0)
            elif side == ALONE:
                alone, alone_seconds = alone + daemon, alone_seconds + took
            else:
                visits.beside.append(had)
            # Rates add up: the harmonic mean of the workers' times.
            return [statistics.harmonic_mean(case) for case in zip(*found, strict=True)]

        once(ALONE)
        once(OURS)
        for turn in range(rounds):
            for side in sorted(sides, reverse=turn % 2 == 1):
                for timing, value in zip(sides[side], once(side), strict=True):
                    timing.seconds.append(value)
    cores = len(os.sched_getaffinity(0))
    pace = f"a request each {every:g} s" if every else "without a pause"
    label = f"{workers} workers on {cores} cores, {VISITORS} visitors {pace}"
    for index, case in enumerate(CASES):
        timings = [each[index] for each in sides.values()]
        note = visits.text(alone / alone_seconds) if case == CASES[-1] else ""
        yield Result.timed(f"{case} beside visitors", label, timings, TARGET, note)


def rates(site: Site, rounds: int, seconds: float) -> Iterator[Result]:
    """Compare rates where a core is to spare and where none is; visitors as people are, and not."""
    paths = [*places(site).values(), *LISTS]
    cores = len(os.sched_getaffinity(0))
    with processes(visitors.main, 1) as (crowd,), processes(neighbour, 1) as (other,):
        for workers in sorted({max(1, cores - 1), cores}):
            for every in (1.0, 0.0):
                yield from compared(site, rounds, seconds, workers, every, crowd, other, paths)
