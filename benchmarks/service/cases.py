"""The cases: each compares all contestants in one run on the same data, and reads what it got."""

import functools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.service.peers import Link, daemon_of, memory_of
from benchmarks.service.reclaim import reclaim
from icehouse.client.bench import targets
from icehouse.client.bench.corpora import all_corpora, data_folder, pairs
from icehouse.client.bench.harness import Timing
from icehouse.client.bench.result import OURS, Result

MIB = 1 << 20
SMALL = {"id": 48151623, "name": "reader", "ratio": 0.75, "active": True}
FIELDS = ["id", "name"]


@dataclass
class Bench:
    """What the cases work with: this process's links, and the reader at the other end."""

    links: dict[str, Link]
    pipe: Connection
    queue: Any
    server_pids: dict[str, int]
    quick: bool
    rounds: int
    spawn: Callable[[], Connection]
    nursery: Callable[[Callable[[Connection, str], None]], Connection]
    peers: list[str] = field(default_factory=list)

    def link(self, name: str) -> Any:
        """A contestant with what it alone has."""
        return self.links[name]

    def ask(self, *command: Any) -> Any:
        """Let the reader do something."""
        self.pipe.send(command)
        return self.pipe.recv()

    def interleaved(
        self,
        case: str,
        corpus: str,
        sides: dict[str, Callable[[], float]],
        target: targets.Target | None,
        note: str = "",
        rounds: int | None = None,
    ) -> Result:
        """Run every side once a round, beginning with another one each time."""
        timings = {name: Timing(name, 1) for name in sides}
        names = list(sides)
        for side in sides.values():
            side()
        for turn in range(rounds or self.rounds):
            for position in range(len(names)):
                name = names[(position + turn) % len(names)]
                timings[name].seconds.append(sides[name]())
        return Result.timed(case, corpus, list(timings.values()), target, note)


def mean_of(link: Link, count: int) -> float:
    """Seconds a put of a small dict; what was put is deleted off the clock."""
    put, clock = link.put, time.perf_counter
    begin = clock()
    keys = [put(SMALL) for _ in range(count)]
    seconds = (clock() - begin) / count
    for key in keys:
        link.drop(key)
    return seconds


def put(bench: Bench) -> Iterator[Result]:
    """Put a small dict."""
    counts = {OURS: 2000, "LMDB": 2000}
    sides = {
        name: lambda link=link, name=name: mean_of(link, counts.get(name, 200))
        for name, link in bench.links.items()
    }
    target = targets.seconds(10e-6, 2.5e-6)
    yield bench.interleaved("put", "dict of 4 fields", sides, target)


def get(bench: Bench) -> Iterator[Result]:
    """Get a fresh handle in another process and read two fields; its segment is mapped there."""

    def side(name: str, link: Link) -> float:
        keys = [link.put(SMALL) for _ in range(200)]
        seconds = bench.ask("two_fields", name, keys, FIELDS)
        for key in keys:
            link.drop(key)
        return statistics.median(seconds[1:])

    sides = {name: lambda name=name, link=link: side(name, link) for name, link in
             bench.links.items()}  # fmt: skip
    note = "median of 199 gets a round, the clock's own cost included"
    target = targets.seconds(2.5e-6, 0.8e-6)
    yield bench.interleaved("get, two fields", "dict of 4 fields", sides, target, note)


def get_unmapped(bench: Bench) -> Iterator[Result]:
    """The same where the reader has not mapped the segment: each image in one of its own."""
    store = bench.link(OURS).store

    def side() -> float:
        handles = [store.put(SMALL, evictable=True) for _ in range(20)]
        seconds = bench.ask("two_fields", OURS, [bytes(handle) for handle in handles], FIELDS)
        for handle in handles:
            store.delete(handle)
        return statistics.median(seconds)

    target = targets.seconds(300e-6, 100e-6)
    yield bench.interleaved("get, segment not mapped", "dict of 4 fields", {OURS: side}, target)


def big_dict(bench: Bench) -> Iterator[Result]:
    """Lookups in a dict of a million keys, and what one more reader of it needs."""
    count = 20_000 if bench.quick else 1_000_000
    native = pairs(count)
    names = [f"user:{i * 7919 % count}" for i in range(1000)]
    keys = {OURS: bench.links[OURS].put(native)}
    sides: dict[str, Callable[[], float]] = {
        OURS: lambda: bench.ask("lookups", OURS, keys[OURS], names)[0],
    }
    others = [name for name in ("LMDB", "shared_memory", "Redis") if name in bench.links]
    label = f"dict of {count:,} keys"
    if "LMDB" in others:
        link: Any = bench.links["LMDB"]
        with link.env.begin(write=True) as transaction:
            for name, value in native.items():
                transaction.put(name.encode(), link.encode(value))

        def records() -> float:
            return statistics.fmean(
                bench.ask("two_fields", "LMDB", [n.encode() for n in names], [0, 1])
            )

        sides["LMDB, a record a key"] = records
    yield bench.interleaved("lookup", label, sides, targets.seconds(1.5e-6, 300e-9))
    amounts: dict[str, list[float]] = {}
    for name in [OURS, *others]:
        if name not in keys:
            keys[name] = bench.links[name].put(native)
        pipe = bench.spawn()
        pipe.send(("growth", name, keys[name], names))
        amounts[name] = pipe.recv()
        pipe.send(("end", []))
        bench.links[name].drop(keys[name])
    note = "private bytes of a fresh process after 1,000 lookups"
    yield Result.counted("memory of a reader", label, amounts, targets.memory(4e6, 300e3), note)


def array(bench: Bench) -> Iterator[Result]:
    """A large array: put into recycled memory, get and read a byte in each 4 MiB."""
    import numpy

    size = (16 if bench.quick else 256) * MIB
    source = numpy.arange(size // 8, dtype=numpy.float64)
    last: dict[str, bytes] = {}
    peers = [name for name in bench.links if name != "Redis"]

    def put_once(name: str) -> float:
        link = bench.links[name]
        if name in last:
            link.drop(last[name])
        value = source if name in (OURS, "shared_memory") else source.tobytes()
        begin = time.perf_counter()
        last[name] = link.put(value)
        return time.perf_counter() - begin

    def copy() -> float:
        begin = time.perf_counter()
        memoryview(warm)[:] = memoryview(source).cast("B")
        return time.perf_counter() - begin

    warm = bytearray(size)
    sides = {name: lambda name=name: put_once(name) for name in peers}
    sides["memcpy"] = copy
    target = targets.seconds(size / 4e9, size / 7e9)
    rounds = min(bench.rounds, 7)
    label = f"{size // MIB} MiB"
    yield bench.interleaved("array put, recycled", label, sides, target, rounds=rounds)

    expected = float(sum(memoryview(source).cast("B")[:: 4 * MIB]))

    def read(name: str) -> float:
        seconds, total = bench.ask("strided", name, last[name])
        if name == OURS and total != expected:
            raise AssertionError("the array does not read as it was put")
        return float(seconds)

    sides = {name: lambda name=name: read(name) for name in peers}
    target = targets.seconds(60e-6, 15e-6)
    yield bench.interleaved("array get and strided read", label, sides, target, rounds=rounds)
    for name in peers:
        bench.links[name].drop(last.pop(name))

    def fresh() -> float:
        store = bench.link(OURS).store
        store.trim()
        begin = time.perf_counter()
        handle = store.put(source)
        seconds = time.perf_counter() - begin
        store.delete(handle)
        return seconds

    target = targets.seconds(size / 1.6e9, size / 2e9)
    yield bench.interleaved("array put, fresh", label, {OURS: fresh}, target, rounds=rounds)


def control(bench: Bench) -> Iterator[Result]:
    """A round trip to the daemon: stat of a handle. Redis: PING."""
    store = bench.link(OURS).store
    handle = store.put(SMALL)

    def per_call(call: Callable[[], object]) -> float:
        begin = time.perf_counter()
        for _ in range(500):
            call()
        return (time.perf_counter() - begin) / 500

    sides = {OURS: lambda: per_call(lambda: store.stat(handle))}
    if "Redis" in bench.links:
        client: Any = bench.link("Redis").client
        sides["Redis"] = lambda: per_call(client.ping)
    target = targets.seconds(60e-6, 25e-6)
    yield bench.interleaved("control round trip", "stat", sides, target)
    store.delete(handle)


def bare(bench: Bench, answer: Any) -> float:
    """The way to the reader and back alone: it is told the answer before."""
    bench.ask("receive", "bare Pipe", answer)
    begin = time.perf_counter()
    bench.pipe.send_bytes(bytes(16))
    bench.pipe.recv()
    return time.perf_counter() - begin


def handing_over(bench: Bench) -> Iterator[Result]:
    """Hand a document to another process, which reads one field and answers."""
    path = ["statuses", 50, "user", "screen_name"]
    for corpus in all_corpora(data_folder(None), quick=False):
        if corpus.name != "twitter":
            continue
        document = corpus.load()
        break
    else:
        return
    answer = document
    for key in path:
        answer = answer[key]
    link = bench.links[OURS]
    frozen = link.put(document)
    alone = functools.partial(bare, bench, answer)

    def hand(name: str, give: Callable[[], object]) -> float:
        bench.ask("receive", name, path)
        begin = time.perf_counter()
        give()
        got = bench.pipe.recv()
        seconds = time.perf_counter() - begin
        if got != answer:
            raise AssertionError("the field does not read as it was sent")
        return seconds

    def store(name: str, *, freeze: bool) -> float:
        side = bench.links[name]
        keys = [] if freeze else [frozen]

        def give() -> None:
            if freeze:
                keys.append(side.put(document))
            bench.pipe.send_bytes(keys[0])

        seconds = hand(name, give)
        if freeze:
            side.drop(keys[0])
        return seconds

    common = {
        "Pipe": lambda: hand("Pipe", lambda: bench.pipe.send(document)),
        "Queue": lambda: hand("Queue", lambda: bench.queue.put(document)),
    }
    others = {
        name: lambda name=name: store(name, freeze=True) for name in bench.links if name != OURS
    }
    label = "twitter.json, one field"
    yield bench.interleaved(
        "hand over, freezing included",
        label,
        {OURS: lambda: store(OURS, freeze=True), **common, **others},
        targets.Target(
            "ratio",
            targets.Limit(1 / 4, "4x faster than Pipe", "Pipe"),
            targets.Limit(1 / 8, "8x faster than Pipe", "Pipe"),
        ),
    )
    yield bench.interleaved(
        "hand over, already frozen",
        label,
        {OURS: lambda: store(OURS, freeze=False), **common, "bare Pipe": alone},
        targets.Target(
            "ratio",
            targets.Limit(1 / 40, "40x faster than Pipe", "Pipe"),
            targets.Limit(1 / 100, "100x faster than Pipe", "Pipe"),
        ),
    )
    link.drop(frozen)


def scaling(bench: Bench) -> Iterator[Result]:
    """Gets a second of each reader, with more and more of them."""
    import os

    link = bench.links[OURS]
    keys = [link.put(SMALL) for _ in range(500)]
    seconds = 0.2 if bench.quick else 1.0
    cores = len(os.sched_getaffinity(0))
    for readers in (1, 2, 4, 8, 16):
        if readers > max(cores, 2):
            break
        pipes = [bench.spawn() for _ in range(readers)]
        for _ in range(2):
            for pipe in pipes:
                pipe.send(("rate", OURS, keys, seconds))
            rates = [pipe.recv()[0] for pipe in pipes]
        for pipe in pipes:
            pipe.send(("end", []))
        amounts = {OURS: [1 / rate for rate in rates]}
        yield Result(
            "get, two fields, each of n readers",
            f"{readers} of {cores} cores",
            "seconds",
            {OURS: Result.counted("", "", amounts).sides[OURS]},
        )
    for key in keys:
        link.drop(key)


def daemon_memory(bench: Bench) -> Iterator[Result]:
    """What the daemon holds with a million small objects."""
    count = 10_000 if bench.quick else 1_000_000
    store = bench.link(OURS).store
    daemon = daemon_of(bench.server_pids[OURS])
    handles = [store.put(SMALL) for _ in range(count)]
    if store.usage().images < count:
        raise AssertionError("objects are missing")
    memory = memory_of(daemon)
    anonymous, shared = float(memory["RssAnon"]), memory["RssShmem"]
    note = (
        f"anonymous memory; of the segments themselves it has {shared / 1e6:.0f} MB mapped and "
        "resident"
    )
    amounts = {OURS: [anonymous]}
    target = targets.memory(400e6, 150e6)
    yield Result.counted("memory of the daemon", f"{count:,} objects", amounts, target, note)
    begin = time.perf_counter()
    listed = len(store.ls())
    seconds = time.perf_counter() - begin
    if listed < count:
        raise AssertionError("objects are not listed")
    yield Result.amount("list", f"{listed:,} objects", seconds / listed, None, "an object")
    for handle in handles:
        store.delete(handle)


CASES: dict[str, Callable[[Bench], Iterator[Result]]] = {
    "put": put,
    "get": get,
    "unmapped": get_unmapped,
    "control": control,
    "hand": handing_over,
    "scaling": scaling,
    "dict": big_dict,
    "array": array,
    "memory": daemon_memory,
    "reclaim": reclaim,
}
