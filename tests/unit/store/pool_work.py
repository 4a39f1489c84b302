"""Functions that the tests of pools call in workers, which import them by name."""

import os
import signal
import sys
import threading
import time
from typing import Any

import icehouse


def add(a: int, b: int = 0) -> int:
    return a + b


def identity(value: Any) -> Any:
    return value


def both(value: Any) -> Any:
    """Something plain that refers to views, and the name of the type that came."""
    return {"type": type(value).__name__, "views": [value, value]}


def types_of(*args: Any) -> list[str]:
    return [type(each).__name__ for each in args]


def fresh(size: int) -> Any:
    return icehouse.freeze({"made": list(range(size))})


def plain(size: int) -> dict[str, list[int]]:
    return {"made": list(range(size))}


def total(values: Any) -> int:
    return sum(values)


def raising(kind: str) -> None:
    if kind == "value":
        raise ValueError("bad value", 3)
    if kind == "odd":
        raise Odd
    if kind == "exit":
        sys.exit(3)
    raise LookupError from ValueError("below")


class Odd(Exception):
    """Does not pickle."""

    def __reduce__(self) -> Any:
        raise TypeError("no")


class Unreadable:
    """Pickles, but can't be read."""

    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> None:
    raise RuntimeError("not to be read")


class Counter:
    """Has a method to call."""

    def __init__(self, start: int) -> None:
        self.start = start

    def plus(self, more: int) -> int:
        return self.start + more


def unreadable() -> Unreadable:
    return Unreadable()


def lock() -> Any:
    return threading.Lock()


_state: list[Any] = []


def begin(value: Any) -> None:
    _state.append(value)


def begun() -> list[Any]:
    return list(_state)


def fail_to_begin(kind: str) -> None:
    raising(kind)


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def touch_and_wait(touched: str, awaited: str) -> None:
    """Say that it runs, and run until it is told to end."""
    with open(touched, "w"):  # noqa: PTH123 - pathlib loads slowly
        pass
    while not os.path.exists(awaited):  # noqa: PTH110
        time.sleep(0.005)


def end(how: str) -> None:
    """End the process of the worker."""
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(7)


def thread_there() -> list[int]:
    """Use a thread in the worker."""
    seen: list[int] = []
    thread = threading.Thread(target=seen.append, args=(5,))
    thread.start()
    thread.join()
    return seen


def walk(view: Any) -> int:
    """Read every leaf."""
    if isinstance(view, (int, float, str, bool, type(None))):
        return 1
    values = view.values() if hasattr(view, "values") else view
    return sum(walk(each) for each in values)
