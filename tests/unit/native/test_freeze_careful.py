"""Python code runs while a graph is walked: rules, and other threads with them."""

import collections
import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import icehouse
from icehouse.native import _image
from tests.unit.native.nodes import Image, Value
from tests.unit.native.rules import ruling, view


class Box:
    """Its rule runs the code that it holds."""

    def __init__(self, code: Callable[[], Any] = lambda: None) -> None:
        self.code = code


class Plain:
    def __init__(self, **fields: Any) -> None:
        vars(self).update(fields)


class Items(list[Any]):
    pass


class Table(dict[Any, Any]):
    def __iter__(self) -> Any:
        raise AssertionError("code of others")


class Odd:
    """A key whose comparison runs code, and collides with all others."""

    def __init__(self, code: Callable[[], Any] = lambda: None) -> None:
        self.code = code

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        self.code()
        return self is other


def rule_of(cls: type) -> Any:
    if cls is Box:
        return ("value", 77, lambda box: box.code())
    if cls is Items:
        return ("container", list, (), None)
    if cls is Table:
        return ("container", dict, (), None)
    if cls is Odd:
        return ("value", 78, id)
    return view(cls) if cls is Plain else None


@pytest.fixture(autouse=True)
def _rules() -> Any:
    with ruling(rule_of):
        yield


def decoded(obj: Any) -> Any:
    return Image(_image._image_bytes(obj)).decode()


@pytest.mark.parametrize("kind", ["list", "dict", "set", "fields", "subclass", "table"])
def test_what_holds_an_object_changes_while_it_is_asked(kind: str) -> None:
    def change() -> int:
        holder: Any = holders[kind]
        if kind == "fields":
            vars(holder).clear()
            vars(holder).update({f"new{i}": [i] * 100 for i in range(100)})
        else:
            holder.clear()
            more = {Plain() if kind == "set" else i: [i] * 100 for i in range(1000)}
            (getattr(holder, "extend", None) or holder.update)(more)
        gc.collect()
        return 1

    box = Box(change)
    rest = [[i, str(i)] for i in range(50)]
    holders: dict[str, Any] = {
        "list": [box, *rest],
        "dict": {"box": box, **{str(i): pair for i, pair in enumerate(rest)}},
        "set": {box, *range(50)},
        "fields": Plain(box=box, **{f"f{i}": pair for i, pair in enumerate(rest)}),
        "subclass": Items([box, *rest]),
        "table": Table(box=box, **{str(i): pair for i, pair in enumerate(rest)}),
    }
    found = decoded([holders[kind], 1])
    assert found[1] == 1
    content = found[0]
    if kind in ("subclass", "table"):
        content = content.values[0]
    elif kind == "fields":
        content = content.values
    members = list(content.values() if isinstance(content, dict) else content)
    assert Value(77, 1) in members
    members.remove(Value(77, 1))
    assert members == (list(range(50)) if kind == "set" else rest)


def test_what_is_made_on_the_way_has_its_own_identity() -> None:
    """Temporaries are kept, or the next would lie where the last one was, and be taken for it."""
    numbers = iter(range(10_000))
    boxes = [Box(lambda: [next(numbers), [1]]) for _ in range(5000)]
    made = decoded([boxes, Plain(boxes=boxes)])
    assert [value.payload[0] for value in made[0]] == list(range(5000))
    assert made[1].values == (made[0],)


def test_freezing_inside_a_rule() -> None:
    inner = {"a": [1, 2]}
    found = decoded([Box(lambda: icehouse.freeze(inner)["a"][1]), Box(lambda: decoded(inner)), 3])
    assert found == [Value(77, 2), Value(77, inner), 3]


def test_a_store_that_is_closed_by_a_rule_says_so() -> None:
    store = icehouse.Store()
    with pytest.raises(icehouse.StoreClosed):
        store.put([Box(store.close)])


def test_keys_whose_comparison_runs_code() -> None:
    table: Any = Table()
    for _ in range(5):
        dict.__setitem__(table, Odd(), 1)
    dict.__setitem__(table, Odd(lambda: dict.clear(table)), 2)
    members = {Odd() for _ in range(20)}
    found = decoded([Box(), dict(zip(members, range(20), strict=True)), members, table])
    assert len(found[1]) == len(found[2]) == 20


@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="its frames are larger")
def test_threads_of_little_stack() -> None:
    """What is made whole is never put off, and still takes little of it."""

    class Deep:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

    def freeze() -> None:
        done.append(_image._image_bytes(deep))

    deep: Any = None
    for _ in range(250):
        deep = Deep(deep)
    done: list[bytes] = []
    size = threading.stack_size(512 * 1024)
    try:
        with ruling(lambda cls: ("made", 7, lambda d: (("inner",), (d.inner,)))):
            thread = threading.Thread(target=freeze)
            thread.start()
            thread.join()
    finally:
        threading.stack_size(size)
    assert done


@pytest.mark.slow
def test_other_threads_change_everything_meanwhile() -> None:
    """Each container is whole: as it was at one moment."""
    ended = threading.Event()
    lists: list[Any] = [[0] * 20 for _ in range(20)]
    tables: list[Any] = [dict.fromkeys("abcdefghijkl", 0) for _ in range(20)]
    plains = [Plain(a=0, b=0, c=0) for _ in range(20)]
    queues = [Items([0] * 20) for _ in range(20)]

    def change() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            for i in range(20):
                lists[i][:] = [number] * (number % 50)
                tables[i].update(dict.fromkeys("abcdefghijkl", number))
                tables[i] = dict.fromkeys("abcdefghijkl", number)
                vars(plains[i]).update(a=number, b=number, c=number)
                queues[i][:] = [number] * (number % 50)

    def switch() -> int:
        time.sleep(0)
        return 1

    threads = [threading.Thread(target=change) for _ in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    for thread in threads:
        thread.start()
    try:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            parts: Any = [lists, tables, plains, queues]
            mixed = [[Box(switch), *pieces] for pieces in zip(*parts, strict=True)]
            for box, numbers, table, plain, queue in decoded([mixed, parts])[0]:
                assert box == Value(77, 1)
                assert len(set(numbers)) <= 1
                assert len(set(table.values())) == 1
                assert len(set(plain.values)) == 1
                assert len(set(queue.values[0])) <= 1
    finally:
        ended.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)


def test_a_deque_by_its_real_rule_while_it_changes() -> None:
    queue = collections.deque([Box(lambda: queue.clear()), 1, 2], maxlen=5)
    found = decoded(queue)
    assert found.values[0] == [Value(77, None), 1, 2]
