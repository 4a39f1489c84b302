"""Programs of test_large.py: objects at the sizes where things usually break."""

import copy
import gc
import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import icehouse
from icehouse import Store

MIB = 1 << 20
GIB = 1 << 30


def mapping_of(address: int) -> tuple[str, str]:
    """Permissions and name of the mapping at an address."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        low, high = (int(part, 16) for part in fields[0].split("-"))
        if low <= address < high:
            return fields[1], fields[5] if len(fields) > 5 else ""
    raise AssertionError(f"nothing is mapped at {address:#x}")


def resident() -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon:"))


def image_over_a_gigabyte() -> None:
    import numpy

    count = GIB // 8 + 1000
    weights = numpy.arange(count, dtype=numpy.int64)
    with Store("3GiB") as store:
        handle = store.put({"weights": weights, "tail": [1, {"a": "b"}]})
        expected = [int(weights[i]) for i in range(0, count, count // 977)]
        total = int(weights.sum())
        del weights
        gc.collect()
        before = resident()
        assert store.stat(handle).size > GIB
        view = store.get(handle)
        first, second = view["weights"], store.get(handle)["weights"]
        address = first.__array_interface__["data"][0]
        assert address == second.__array_interface__["data"][0]
        permissions, name = mapping_of(address)
        assert permissions[:2] == "r-"
        assert "memfd:icehouse" in name
        assert address % 64 == 0
        assert not first.flags.writeable
        assert [int(first[i]) for i in range(0, count, count // 977)] == expected
        assert int(first.sum()) == total
        assert view["tail"] == [1, {"a": "b"}]
        # Read in place: no memory of our own.
        assert resident() - before < 64 * MIB
        del first, second, view
        store.delete(handle)
        usage = store.usage()
        assert (usage.images, usage.used) == (0, 0)
        store.check()


def bytes_over_a_gigabyte() -> None:
    size = GIB + 12345
    source = bytearray(size)
    for i in range(0, size, 1 << 20):
        source[i : i + 8] = i.to_bytes(8, "little")
    with Store("3GiB") as store:
        handle = store.put([source, "end"], seal=True)
        del source
        view, end = store.get(handle)
        assert end == "end"
        assert len(view) == size
        for i in range(0, size, 1 << 20):
            assert view[i : i + 8] == i.to_bytes(8, "little")
        assert memoryview(view)[-5:] == bytes(5)
        assert view.find((700 << 20).to_bytes(8, "little"), 1 << 20) == 700 << 20


def list_of_ints(count: int) -> None:
    original = list(range(count))
    with Store("1GiB") as store:
        view = store.get(store.put(original))
        assert len(view) == count
        assert store.stat(view).size < count * 4 + 4096
        assert view == original
        assert view[count - 1] == count - 1
        assert view[-count] == 0
        assert sum(view) == count * (count - 1) // 2
        part = view[count // 3 : count // 2 : 7]
        assert part == original[count // 3 : count // 2 : 7]
        assert icehouse.thaw(view) == original
        assert (count - 5) in view
        assert count not in view
        assert memoryview(view).nbytes == count * 4


def dict_of_keys(count: int) -> None:
    original = {f"key {i}": (i, str(i)) for i in range(count)}
    with Store("1GiB") as store:
        view = store.get(store.put(original))
        assert len(view) == count
        for i in range(0, count, 7):
            assert view[f"key {i}"] == (i, str(i))
            assert f"key {i}x" not in view
        assert list(view)[::1000] == list(original)[::1000]
        assert view == original
        assert icehouse.thaw(view) == original


# --- deep nesting ---------------------------------------------------------------------------------


def nest(kind: str, depth: int, inmost: Any) -> Any:
    made = inmost
    for i in range(depth):
        if kind == "list" or (kind == "mixed" and i % 3 == 0):
            made = [made]
        elif kind == "dict" or (kind == "mixed" and i % 3 == 1):
            made = {"k": made}
        else:
            made = (made, [])
    return made


def step(kind: str, made: Any) -> Any:
    return made["k"] if kind == "dict" else made[0]


def innermost(made: Any, depth: int) -> Any:
    """Follow it by hand, whatever the types are."""
    for _ in range(depth):
        made = made["k" if hasattr(made, "keys") else 0]
    return made


def works_or_recurses(call: Callable[[], Any]) -> Any:
    """Python's own answer to what is too deep for it, and nothing worse, is allowed."""
    try:
        return call()
    except RecursionError:
        return None


def deep(kind: str, depth: int) -> None:
    original, same, other = (nest(kind, depth, [i]) for i in (1, 1, 2))
    with Store("1GiB") as store:
        view = store.get(store.put(original))
        again, different = store.freeze(same), icehouse.freeze(other)
        assert innermost(view, depth) == [1]
        assert view == again
        assert view != different
        assert (view == original) is True
        assert (view == other) is False
        thawed = icehouse.thaw(view)
        assert innermost(thawed, depth) == [1]
        assert thawed is not original
        text = repr(view)
        assert len(text) < 100_000
        assert text == repr(view)
        try:
            hash(view)
        except (TypeError, RecursionError):
            pass
        else:
            raise AssertionError("it reaches a list")
        if kind != "tuple":
            assert icehouse.dumps(view) == icehouse.dumps(again) != icehouse.dumps(different)
        brackets = works_or_recurses(lambda: icehouse.dumps(view))
        if kind == "list":
            assert brackets == "[" * (depth + 1) + "1" + "]" * (depth + 1)
        sys.setrecursionlimit(5000)
        shallow = works_or_recurses(lambda: pickle.loads(pickle.dumps(view)))
        assert shallow is None or innermost(shallow, depth) == [1]
        assert copy.copy(view) is view
        assert copy.deepcopy(view) is view
        # A view inside of what is frozen is thawed first, and that is deep as well.
        wrapped = store.freeze({"inside": view})
        assert innermost(wrapped["inside"], depth) == [1]
        store.check()


def deep_hashable(depth: int) -> None:
    """Tuples of tuples are hashable, however deep: as Python hashes them, or not at all."""
    made: Any = (1,)
    for _ in range(depth):
        made = (made,)
    with Store("256MiB") as store:
        view = store.get(store.put([made]))[0]
        assert innermost(view, depth) == (1,)
        twin = store.get(store.put([made]))[0]
        found = works_or_recurses(lambda: hash(view))
        assert found in (None, works_or_recurses(lambda: hash(made)))
        assert works_or_recurses(lambda: view == twin) in (None, True)
        assert works_or_recurses(lambda: len(repr(view)) > 0) in (None, True)
        store.check()


def moderately_deep(depth: int) -> None:
    """Where Python itself manages, all results are the same."""
    for kind in ("list", "dict", "mixed"):
        original = nest(kind, depth, [1])
        view = icehouse.freeze(original)
        assert view == original
        assert original == view
        assert icehouse.thaw(view) == original
        assert pickle.loads(pickle.dumps(view)) == original
        assert json.loads(icehouse.dumps(icehouse.freeze(nest("list", depth, [1])))) == nest(
            "list", depth, [1]
        )


def many_objects(count: int) -> None:
    with Store("512MiB") as store:
        handles = {store.put([i, "x" * (i % 50)], name=f"n/{i:06}"): i for i in range(count)}
        assert len(handles) == count
        names = store.names("n/")
        assert len(names) == count
        assert {handles[handle] for handle in names.values()} == set(range(count))
        assert names["n/000123"] in handles
        assert len(store.names(f"n/{count // 2000:03}")) == 1000
        listed = store.ls()
        assert {stat.handle for stat in listed} == set(handles)
        for stat in listed:
            assert stat.names == (f"n/{handles[stat.handle]:06}",)
            assert stat.type == "list"
            assert stat.leases == 0
        for i in range(0, count, 97):
            name = f"n/{i:06}"
            stat = store.stat(name)
            assert handles[stat.handle] == i
            assert store.lookup(name) == (stat.handle, 1)
            assert store.get(name) == [i, "x" * (i % 50)]
        usage = store.usage()
        assert (usage.images, usage.names) == (count, count)
        store.check()
        for i in range(0, count, 2):
            store.delete(f"n/{i:06}")
        assert len(store.ls()) == len(store.names()) == count // 2
        store.check()
