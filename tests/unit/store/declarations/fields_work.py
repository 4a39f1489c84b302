"""What tests of fields run in other processes and interpreters, which import it by name."""

import os
import time
from typing import Any

import icehouse


def count(field: icehouse.SharedField[int], times: int) -> None:
    """Count up by compare-and-swap, as listing 8 does."""
    for _ in range(times):
        while True:
            before = field.get()
            if field.compare_and_swap(before, before + 1):
                break


def count_in(socket: str, name: str, times: int) -> None:
    count(icehouse.connect(socket).get(name)["count"], times)


def count_in_store(store: icehouse.Store, name: str, times: int) -> None:
    count(store.get(name)["count"], times)


def count_in_view(view: Any, times: int) -> None:
    count(view["count"], times)


def write_for_ever(socket: str, name: str, size: int) -> None:
    """Write until somebody kills us."""
    field = icehouse.connect(socket).get(name)["last"]
    number = 0
    while True:
        number += 1
        field.set((os.getpid(), number, b"x" * size))


def read_many(socket: str, name: str, seconds: float) -> None:
    """Read what is written meanwhile: each value is whole."""
    field = icehouse.connect(socket).get(name)["last"]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        _, number, data = field.get()
        assert number >= 0
        assert data == b"x" * len(data)


def value_of(field: icehouse.SharedField[Any]) -> Any:
    return field.get()


HELD: list[Any] = []


def hold(what: Any) -> None:
    HELD.append(what)


def set_field(field: icehouse.SharedField[Any], value: Any) -> None:
    field.set(value)


def set_in(view: Any, key: str, value: Any) -> Any:
    view[key].set(value)
    return view[key].get()


def get_in(view: Any, key: str) -> Any:
    return view[key].get()


def put_field(store: icehouse.Store, field: icehouse.SharedField[Any], name: str) -> None:
    store.put({"field": field}, name=name)


def set_fields(socket: str, name: str, value: Any) -> Any:
    view = icehouse.connect(socket).get(name)
    before = view["field"].swap(value)
    return before, view["field"].get()


def local_value(view: Any) -> Any:
    """Use a local as a cache: the same list each time, filled here alone."""
    local = view["local"]
    local.get().append(len(local.get()))
    assert view["local"].get() is local.get()
    return list(local.get())


CALLS: list[int] = []


def make_list() -> list[int]:
    CALLS.append(1)
    time.sleep(0.01)
    return []


def calls() -> int:
    return len(CALLS)
