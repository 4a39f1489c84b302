"""Programs of test_limits.py, each run in a process whose memory or descriptors are short."""

import collections
import contextlib
import datetime
import gc
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import content

import icehouse
from icehouse import Store, StoreFull

MIB = 1 << 20


class Source:
    """A buffer of which every image is made, so that a process uses no more memory than before."""

    def __init__(self, size: int) -> None:
        self.bytes = bytearray(bytes(range(256)) * (size // 256))
        self.rest = memoryview(self.bytes)[8:]

    def numbered(self, i: int) -> bytearray:
        self.bytes[:8] = i.to_bytes(8, "little")
        return self.bytes

    def verify(self, view: Any, i: int) -> None:
        assert bytes(view[:8]) == i.to_bytes(8, "little")
        with memoryview(view) as whole, whole[8:] as rest:
            assert rest == self.rest


def fill(store: Store, source: Source, most: int) -> tuple[list[icehouse.Handle], MemoryError]:
    """Put numbered copies until there is no room."""
    handles: list[icehouse.Handle] = []
    while len(handles) < most:
        try:
            handles.append(store.put(source.numbered(len(handles))))
        except MemoryError as error:
            return handles, error
    raise AssertionError(f"{most} images of {len(source.bytes)} bytes fitted")


def verify(store: Store, source: Source, handles: list[icehouse.Handle], most: int = 1000) -> None:
    for i in range(0, len(handles), 1 + len(handles) // most):
        source.verify(store.get(handles[i]), i)


def fill_and_recover(store: Store, size: int, limit: int) -> None:
    """Fill, verify, delete, and fill again: no less fits the second time."""
    source = Source(size)
    handles, error = fill(store, source, limit // size + 1)
    assert type(error) is StoreFull, repr(error)
    assert error.wanted >= size
    assert error.committed <= error.capacity
    assert 0 < error.used <= error.committed
    assert len(handles) * size > limit // 4, (len(handles), size, str(error))
    verify(store, source, handles, 50)
    store.check()
    count = len(handles)
    for handle in handles:
        store.delete(handle)
    del handle, error
    handles, _ = fill(store, source, limit // size + 1)
    assert len(handles) >= count * 9 // 10, (len(handles), count)
    verify(store, source, handles, 50)
    for handle in handles:
        store.delete(handle)
    store.trim()
    store.check()
    assert store.usage().used == 0


def in_a_cgroup(limit: int, capacity: str | None) -> None:
    """Nothing here may be killed: the limit is seen before a page too many is touched."""
    with Store(capacity) as store:
        if capacity is None:
            assert limit // 4 < store.capacity <= limit // 2, store.capacity
        most = store.capacity if capacity is None else limit
        fill_and_recover(store, 63 << 10, most)
        fill_and_recover(store, 3 * MIB, most)
        # Segments of their own.
        fill_and_recover(store, 24 * MIB, most)
        content.verify(store.get(store.put(content.make(1))), 1)
    # Memory that only a view holds is the same memory.
    source = Source(2 * MIB)
    views: list[Any] = []
    try:
        while len(views) < limit // MIB:
            views.append(icehouse.freeze(source.numbered(len(views))))
    except StoreFull:
        assert len(views) * 2 * MIB > limit // 8
    else:
        raise AssertionError("it all fitted")
    for i, view in enumerate(views):
        source.verify(view, i)
    del view
    views.clear()
    source.verify(icehouse.freeze(source.numbered(7)), 7)


def arrays_in_a_cgroup(limit: int) -> None:
    import numpy

    with Store("1GiB") as store:
        kept: list[icehouse.Handle] = []
        source = numpy.arange(2 * MIB, dtype=numpy.float64)  # 16 MiB
        for seal in (False, True):
            try:
                while len(kept) < 100:
                    source[0] = len(kept)
                    kept.append(store.put({"weights": source}, seal=seal))
            except StoreFull as error:
                assert error.wanted >= source.nbytes
            assert 2 < len(kept) < limit // source.nbytes, len(kept)
            source[0] = 0
            for i, handle in enumerate(kept):
                weights = store.get(handle)["weights"]
                assert weights[0] == i
                assert (weights[1:] == source[1:]).all()
            del weights
            store.check()
            for handle in kept:
                store.delete(handle)
            kept.clear()
            assert store.usage().images == 0


def without_shared_folder(state: str) -> None:
    """memfd does not need /dev/shm."""
    if state == "small":
        room = os.statvfs("/dev/shm")
        assert room.f_frsize * room.f_blocks == 65536
    else:
        assert not Path("/dev/shm").exists()
    with Store("256MiB") as store:
        handles = [store.put(content.make(i)) for i in range(500)]
        source = Source(100 * MIB)
        source.verify(store.get(store.put(source.numbered(3))), 3)
        for i, handle in enumerate(handles):
            content.verify(store.get(handle), i)
        store.check()
    source.verify(icehouse.freeze(source.numbered(4)), 4)


def few_descriptors() -> None:
    """A mapping needs no descriptor, so many segments don't either."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    source = Source(MIB)
    with Store("1GiB", segment_size="1MiB") as store:
        handles = [store.put(source.numbered(i), seal=i % 3 == 0) for i in range(300)]
        assert store.usage().segments >= 300
        assert len(list(Path("/proc/self/fd").iterdir())) < 20
        verify(store, source, handles)
        views = [store.get(handle) for handle in handles]
        store.check()
        # All descriptors taken: an error or success, and nothing is lost.
        taken = []
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        refused = 0
        for _ in range(10):
            try:
                handles.append(store.put(source.numbered(len(handles))))
            except icehouse.IcehouseError as error:
                assert "[Errno 24]" in str(error), error
                refused += 1
        assert refused == 10
        verify(store, source, handles)
        with contextlib.suppress(icehouse.IcehouseError):
            Store("16MiB").put([1])
        for fd in taken:
            os.close(fd)
        store.check()
        handles.append(store.put(source.numbered(len(handles))))
        verify(store, source, handles)
        for view, handle in zip(views, handles, strict=False):
            store.delete(handle)
            assert len(view) == MIB
        del view
        views.clear()
        store.delete(handles[-1])
        assert store.usage().used == 0


def little_address_space() -> None:
    """RLIMIT_AS: mappings and malloc fail at some point, each a typed error."""
    with Store("4GiB", segment_size="4MiB") as store:
        content.verify(store.get(store.put(content.make(1), name="first")), 1)
        before = store.usage().used
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + 400 * MIB, resource.RLIM_INFINITY))
        for size in (8 * MIB, 60 << 10, 700 << 10):
            source = Source(size)
            handles: list[icehouse.Handle] = []
            failed = 0
            while failed < 3:
                try:
                    handles.append(store.put(source.numbered(len(handles))))
                except StoreFull as error:
                    assert error.wanted >= size
                    failed += 1
                assert len(handles) * size < 1 << 30
            assert handles
            verify(store, source, handles, 30)
            for handle in handles:
                store.delete(handle)
            handles.clear()
            store.trim()
            store.check()
            assert store.usage().used == before
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        content.verify(store.get("first"), 1)
        source.verify(store.get(store.put(source.numbered(9))), 9)


# --- every allocation fails once ------------------------------------------------------------------


def subject() -> Any:
    """One of everything that the encoder knows."""
    shared = ["shared", 2.5]
    loop: list[Any] = [1]
    loop.append(loop)
    return {
        "none": [None, True, -1, 1 << 90, 1.5, 2j, "text", "é漢", b"bytes", ...],
        "packed": [list(range(100)), [i / 3 for i in range(50)], ["s" * i for i in range(30)]],
        "records": [{"id": i, "name": f"n{i}", "tags": [str(i)]} for i in range(20)],
        "table": {f"key {i}": i for i in range(60)},
        "sets": [{1, "a", None}, frozenset({(1, 2), "b"})],
        "tuples": ((1, (2, (3,))), (*range(3000), [])),
        "shared": [shared, shared],
        "loop": loop,
        "big": b"0123456789abcdef" * 8192,
        "array": bytearray(b"xyz" * 50_000),
    }


class Plain:
    """Freezes as a view."""

    def __init__(self, **fields: Any) -> None:
        vars(self).update(fields)


class Slotted:
    """The same, of slots."""

    __slots__ = ("left", "right")

    def __init__(self, left: Any, right: Any) -> None:
        self.left, self.right = left, right


Pair = collections.namedtuple("Pair", "left right")


def objects() -> list[Any]:
    """Objects that are read in place, and those that rules in Python are asked about."""
    quick = [Plain(a=i, b=[Slotted(i, Pair(1, i))], **{f"f{i}": 1}) for i in range(40)]
    asked = [collections.deque([quick[0], 2], 3), datetime.date(2020, 1, 2), {Pair(1, 2): 1}]
    return [quick, asked]


class Key(str):
    """No stored table knows it: its lookup builds an index of the view's."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, str(other))


def operations(store: Store, original: Any) -> dict[str, Callable[[], Any]]:
    plain = {key: value for key, value in original.items() if key not in ("loop", "big", "array")}
    kept = store.freeze(original)
    simple = store.freeze({key: plain[key] for key in ("packed", "records", "table")})

    quick, asked = objects()
    frozen = icehouse.freeze([quick, asked])

    # More than an encoder keeps its tables for: it begins with none, and grows them, each time.
    parts: list[Any] = [[i, f"part {i}"] if i % 2 else (i, [i]) for i in range(80_000)]
    much = [parts, parts[::-1], [{f"shape {i}": i, "b": i} for i in range(40)] * 2]

    def put() -> None:
        store.delete(store.put(original))

    def put_named() -> None:
        store.put(plain, name="n")
        store.delete("n")

    def walk() -> None:
        for record in kept["records"]:
            assert record["name"] == f"n{record['id']}"
        assert kept["table"]["key 7"] == 7
        assert sorted(kept["table"].items())[0] == ("key 0", 0)
        assert kept["packed"][2][-1] == "s" * 29
        assert None in kept["sets"][0]
        assert bytes(memoryview(kept["big"])[:4]) == b"0123"

    return {
        "freeze": lambda: icehouse.freeze(original),
        "freeze much": lambda: icehouse.freeze(much),
        "freeze objects": lambda: icehouse.freeze(quick),
        "ask rules": lambda: icehouse.freeze([asked, quick]),
        "copy objects": lambda: store.delete(store.put([frozen])),
        "store.freeze": lambda: store.freeze(plain),
        "put": put,
        "put_named": put_named,
        "put a view": lambda: store.delete(store.put(icehouse.freeze([1, "a"]))),
        "get": lambda: store.get(kept.handle),
        "walk": walk,
        "thaw": lambda: icehouse.thaw(kept),
        "compare": lambda: kept["records"] == original["records"] and kept["sets"] == [set(), {1}],
        "compare views": lambda: simple == kept,
        "repr": lambda: repr(kept),
        "hash": lambda: hash(kept["sets"][1]),
        "dumps": lambda: icehouse.dumps(simple, indent=1),
        "reduce": lambda: simple.__reduce_ex__(5),
        "foreign key": lambda: kept["table"][Key("key 7")] == 7,
        "union": lambda: kept["sets"][0] | {9},
        "stat": lambda: store.stat(kept),
        "ls": store.ls,
        "names": store.names,
        "bind": lambda: (store.bind("m", kept), store.bind("m", None)),
        "open and close": lambda: Store("1MiB").close(),
        "usage": store.usage,
        "interpreters' reference": lambda: icehouse.same(icehouse.get(kept.handle), kept),
    }


def allocations_fail(window: int, first: int, step: int) -> None:
    """Fails `window` calls of malloc from the i-th on, for every i until the operation succeeds.

    With PYTHONMALLOC=malloc these are Python's too. fail_malloc.c was loaded before libc.
    """
    import ctypes

    library = ctypes.PyDLL(None)
    fail_from, fail_end = library.fail_from, library.fail_end
    fail_from.argtypes = [ctypes.c_long, ctypes.c_long]
    fail_end.restype = ctypes.c_long
    original = subject()
    with Store("64MiB") as store:
        calls = operations(store, original)
        for call in calls.values():
            call()
        gc.collect()
        gc.disable()
        before = store.usage()
        for name, call in calls.items():
            i, quiet = first, 0
            while quiet < 3:
                result = None
                try:
                    fail_from(i, window)
                    result = call()
                except MemoryError:
                    quiet = 0
                # What ignores a failure on purpose (a cache) goes on and succeeds.
                failed = fail_end()
                quiet = quiet + 1 if failed == 0 else 0
                i += step
                assert i < 100_000, name
                result = None
                if store.version("n"):
                    store.delete("n")
                if store.version("m"):
                    store.bind("m", None)
                if i % 64 == 0:
                    store.check()
            gc.collect()
            store.check()
            usage = store.usage()
            assert (usage.used, usage.images, usage.leases, usage.names) == (
                before.used,
                before.images,
                before.leases,
                before.names,
            ), (name, i, before, usage, store.ls())
            call()
        del calls, call, result
        assert icehouse.thaw(store.freeze(original))["table"] == original["table"]
