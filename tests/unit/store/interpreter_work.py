"""Functions that test_interpreters.py calls in other interpreters, which import them by name."""

import os
import sys
import threading
import time
from typing import Any

import icehouse


def add(a: int, b: int = 0) -> int:
    return a + b


def layers(view: Any) -> Any:
    return view["model"]["layers"]


def describe(*args: Any) -> list[str]:
    return [type(arg).__name__ for arg in args]


def fresh() -> Any:
    return icehouse.freeze({"made": ["there"]})


def nested_result(view: Any) -> Any:
    return {"views": [view, view["model"]], "handle": view.handle}


def put_and_bind(store: icehouse.Store, name: str) -> icehouse.Handle:
    return store.put({"from": name}, name=name)


def count_up(store: icehouse.Store, name: str, times: int) -> None:
    """Compare-and-swap until it works."""
    for _ in range(times):
        while True:
            handle, version = store.lookup(name)
            number = store.get(handle)[0]
            try:
                store.bind(name, store.put([number + 1]), expected=version)
                break
            except icehouse.Conflict:
                continue


def fail(kind: str) -> None:
    if kind == "value":
        raise ValueError("bad value", 3)
    if kind == "odd":
        raise Odd
    if kind == "exit":
        sys.exit(3)
    icehouse.get(icehouse.Handle(bytes(16)))


class Odd(Exception):
    """Does not pickle."""

    def __reduce__(self) -> Any:
        raise TypeError("no")


def unpicklable() -> Any:
    return threading.Lock()


def keep_views(view: Any) -> None:
    vars(sys)["kept_for_the_test"] = [view, view["model"], icehouse.freeze([1])]
    loop: list[Any] = [view]
    loop.append(loop)


def churn(store: icehouse.Store, times: int) -> int:
    for i in range(times):
        handle = store.put({"i": i, "text": "x" * (i % 100)})
        assert store.get(handle)["i"] == i
        store.delete(handle)
    return times


def meet(folder: str, count: int) -> float:
    """Return when all of `count` interpreters are here at once."""
    me = os.path.join(folder, str(threading.get_ident()))  # noqa: PTH118 - pathlib loads slowly
    with open(me, "w"):  # noqa: PTH123
        pass
    while len(os.listdir(folder)) < count:  # noqa: PTH208
        time.sleep(0.001)
    return time.monotonic()


def build_without_numpy(token: str) -> str:
    store = icehouse.Store.attach(token)
    with (made := store.create((1 << 17,), "int64")) as array:
        assert type(array) is memoryview
        array[5] = 7
    with (small := store.create((2, 3), "<f4")) as array:
        array[1, 2] = 0.5
    assert store.get(small.handle)[1, 2] == 0.5
    return str(made.handle)
