"""The cases with data of their own: opening, small puts, large arrays, memory of more readers."""

import gc
import mmap
import os
import pickle
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import msgspec

import icehouse
from icehouse.client.bench import targets
from icehouse.client.bench.cases import PICKLE_PROTOCOL, reader
from icehouse.client.bench.corpora import records
from icehouse.client.bench.facts import private_bytes
from icehouse.client.bench.harness import Now, Rounds, Side, compare, once, statements
from icehouse.client.bench.result import OURS, Result

MIB = 1 << 20
GIB = 1 << 30

# Ten keys, as a small message or a set of options has.
SMALL = {
    "id": 48151623,
    "name": "reader",
    "host": "node-17",
    "port": 8080,
    "ratio": 0.75,
    "active": True,
    "parent": None,
    "retries": 3,
    "path": "/srv/data",
    "level": "info",
}
# About 100 bytes when frozen.
TINY = {"name": "reader", "port": 8080, "ratio": 0.75, "active": True}


@dataclass
class Bench:
    """What these cases work with."""

    store: icehouse.Store
    plan: Rounds
    quick: bool
    only: frozenset[str] = field(default_factory=frozenset)

    def timed(
        self,
        case: str,
        corpus: str,
        sides: list[Side],
        target: targets.Target | None = None,
        note: str = "",
    ) -> Iterator[Result]:
        """Compare the wanted sides; nothing if none of them is wanted."""
        wanted = [side for side in sides if not self.only or side.name in self.only]
        if wanted:
            yield Result.timed(case, corpus, compare(wanted, self.plan), target, note)


def opening(bench: Bench) -> Iterator[Result]:
    """`get(handle)` of what this process has mapped: a small image and a very large one."""
    store = bench.store
    tiny = store.put(TINY, name="bench/tiny")
    pickled = pickle.dumps(TINY, PICKLE_PROTOCOL)
    size = store.stat(tiny).size
    store.get(tiny)
    sides = [
        statements(OURS, ["get(handle)"], get=store.get, handle=tiny),
        statements("pickle", ["loads(data)"], loads=pickle.loads, data=pickled),
    ]
    yield from bench.timed("get", f"{size} bytes", sides, targets.GET)
    by_name = statements(OURS, ["get('bench/tiny')"], get=store.get)
    yield from bench.timed("get", f"{size} bytes, by name", [by_name])
    store.delete("bench/tiny")

    count = 16 * MIB if bench.quick else GIB
    large = store.put({"payload": bytes(count)})
    # The first opening maps the segment; it is not what is asked here.
    store.get(large)
    sides = [statements(OURS, ["get(handle)"], get=store.get, handle=large)]
    yield from bench.timed("get", f"{count // MIB} MiB", sides, targets.GET)
    store.delete(large)
    store.trim()


def small_put(bench: Bench) -> Iterator[Result]:
    """`put` of a small dict; what was put is deleted while the clock stands."""
    put, delete = bench.store.put, bench.store.delete
    encoder = msgspec.msgpack.Encoder()

    def clock(n: int, now: Now) -> float:
        begin = now()
        handles = [put(SMALL) for _ in repeat(None, n)]
        seconds = now() - begin
        for handle in handles:
            delete(handle)
        return seconds

    sides = [
        Side(OURS, clock),
        statements("pickle", ["dumps(small, 5)"], dumps=pickle.dumps, small=SMALL),
        statements("msgspec", ["encode(small)"], encode=encoder.encode, small=SMALL),
    ]
    yield from bench.timed("put", "dict of 10 keys", sides, targets.SMALL_PUT)


def filled(count: int) -> bytearray:
    """So many bytes that are not all the same, in pages that are there."""
    block = bytes(range(256)) * 4096
    return bytearray(block * (count // len(block)))


def strided_sum(data: memoryview) -> int:
    """Read a byte of every page."""
    return sum(data[:: mmap.PAGESIZE])


def array_of(data: bytearray) -> Any:
    """Make the bytes an array of doubles: NumPy's where it is installed."""
    try:
        import numpy as np
    except ImportError:
        return memoryview(data).cast("d")
    return np.frombuffer(data, dtype=np.float64)


def array_put(bench: Bench) -> Iterator[Result]:
    """`put` of a large array into recycled pages, against memcpy into warm memory."""
    count = (16 if bench.quick else 256) * MIB
    source = filled(count)
    array = array_of(source)
    expected = strided_sum(memoryview(source))
    put, get, delete = bench.store.put, bench.store.get, bench.store.delete

    def clock(_: int, now: Now) -> float:
        begin = now()
        handle = put(array)
        seconds = now() - begin
        view = get(handle)
        if strided_sum(memoryview(view).cast("B")) != expected:
            raise AssertionError("the array does not read as it was put")
        del view
        delete(handle)
        return seconds

    warm = memoryview(filled(count))
    shared = memoryview(mmap.mmap(-1, count))
    flat = memoryview(source)

    def copy_into(target: memoryview) -> Callable[[], None]:
        def copy() -> None:
            target[:] = flat

        return copy

    sides = [
        Side(OURS, clock, once=True),
        once("memcpy", copy_into(warm)),
        once("memcpy to shared", copy_into(shared)),
        once("pickle", lambda: pickle.dumps(array, PICKLE_PROTOCOL) if count else None),
    ]
    if isinstance(array, memoryview):
        sides.pop()  # a memoryview can't be pickled
    yield from bench.timed("array put", f"{count // MIB} MiB", sides, targets.ARRAY_PUT)

    handle = put(array)
    get(handle)
    sides = [statements(OURS, ["get(handle)"], get=get, handle=handle)]
    yield from bench.timed("array get", f"{count // MIB} MiB", sides, targets.ARRAY_GET)
    delete(handle)


def in_child(work: Callable[[], float]) -> float:
    """Run `work` in a forked process and give what it returns."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        # The child never returns to its caller's frames, whatever happens.
        status = 1
        try:
            os.write(writable, struct.pack("d", work()))
            status = 0
        finally:
            os._exit(status)
    os.close(writable)
    answer = os.read(readable, 8)
    os.close(readable)
    _, status = os.waitpid(pid, 0)
    if status or len(answer) != 8:
        raise ChildProcessError(f"a reader ended with status {status}")
    return float(struct.unpack("d", answer)[0])


def further_reader(bench: Bench) -> Iterator[Result]:
    """Private memory that one more process needs to read a graph of 100 MB, every leaf of it."""
    count, readings = (5_000, 1) if bench.quick else (1_000_000, 3)
    native = records(count)
    pickled = pickle.dumps(native, PICKLE_PROTOCOL)
    handle = bench.store.put(native)
    size = bench.store.stat(handle).size
    read_native = reader(dict, list)
    read_view = reader(icehouse.FrozenDict, icehouse.FrozenList)
    expected = read_native(native)
    del native
    # The first reader: from here on the image's pages are shared, whoever reads them next. It
    # also runs the code that the children will run.
    if read_view(bench.store.get(handle)) != expected:
        raise AssertionError("the view does not read as the original does")
    gc.collect()
    gc.freeze()

    def growth(read: Callable[[], int]) -> Callable[[], float]:
        def measure() -> float:
            gc.disable()
            # What any work in a forked child makes private, its own interpreter's pages, is not
            # the image's doing: a small read before the first measurement has it done.
            read_view(icehouse.freeze(records(100)))
            read_native(pickle.loads(pickle.dumps(records(100))))  # noqa: S301
            before = private_bytes()
            before = private_bytes()
            if read() != expected:
                raise AssertionError("a reader read something else")
            return float(private_bytes() - before)

        return measure

    held: list[object] = []

    def open_view() -> int:
        held.append(bench.store.get(handle))
        return read_view(held[-1])

    def unpickle() -> int:
        held.append(pickle.loads(pickled))  # noqa: S301 - our own bytes
        return read_native(held[-1])

    amounts: dict[str, list[float]] = {}
    for name, read in ((OURS, open_view), ("pickle", unpickle)):
        if not bench.only or name in bench.only:
            amounts[name] = [in_child(growth(read)) for _ in range(readings)]
    gc.unfreeze()
    bench.store.delete(handle)
    if amounts:
        note = "private memory of a forked process after reading every leaf"
        label = f"graph of {targets.bytes_text(size)}"
        yield Result.counted("reader memory", label, dict(amounts), targets.READER, note)


FIXED: dict[str, Callable[[Bench], Iterator[Result]]] = {
    "get": opening,
    "put": small_put,
    "array": array_put,
    "memory": further_reader,
}
