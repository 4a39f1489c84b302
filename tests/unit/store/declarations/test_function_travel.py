"""Frozen functions in other interpreters and processes, which can't import what they were."""

import functools
import math
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import icehouse
from icehouse import interpreters
from icehouse.interpreters import Interpreter, InterpreterError

HERE = str(Path(__file__).parent)
sys.path.insert(0, HERE)
import function_work as work  # noqa: E402

sys.path.remove(HERE)
needs_interpreters = pytest.mark.skipif(not interpreters.supported(), reason="no interpreters here")

FACTOR = 3


def triple(x: int) -> int:
    return x * FACTOR


def tripled(*numbers: int) -> Any:
    return [triple(x) for x in numbers], math.prod(numbers)


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Iterator[Interpreter]:
    monkeypatch.syspath_prepend(HERE)
    with Interpreter() as interpreter:
        yield interpreter


# --- interpreters --------------------------------------------------------------------------------


@needs_interpreters
def test_frozen_functions_are_called_elsewhere(other: Interpreter) -> None:
    frozen = icehouse.freeze(tripled)
    assert other.call(frozen, 2, 3) == ([6, 9], 6)
    assert other.call(icehouse.freeze(lambda x, *, k: x + k), 1, k=4) == 5
    assert other.call(icehouse.freeze(functools.partial(triple, 7))) == 21
    with pytest.raises(TypeError, match=r"icehouse\.freeze\(function\)"):
        other.call(lambda: 1)
    with pytest.raises(TypeError, match=r"icehouse\.freeze"):
        other.call(icehouse.freezable(lambda: 1))


@needs_interpreters
def test_functions_are_arguments_and_results(other: Interpreter) -> None:
    frozen = icehouse.freeze(triple)
    assert other.call(work.call, frozen, 5) == 15
    assert other.call(work.identity, frozen) is frozen
    assert other.call(work.identity, {"f": [frozen]})["f"][0] is frozen


@needs_interpreters
def test_captured_views_and_errors(other: Interpreter) -> None:
    table = icehouse.freeze({"a": [1, 2]})

    def look(key: str) -> Any:
        return table[key]

    frozen = icehouse.freeze(look)
    assert other.call(frozen, "a") == [1, 2]
    with pytest.raises(KeyError) as caught:
        other.call(frozen, "b")
    assert "in look" in str(caught.value.__cause__)
    assert isinstance(caught.value.__cause__, InterpreterError)


@needs_interpreters
def test_functions_of_a_store(other: Interpreter) -> None:
    with icehouse.Store("16MiB") as store:
        handle = store.put(tripled)
        assert other.call(work.open_and_call, str(handle), 2, 3) == ([6, 9], 6)
        function = store.get(handle)
        assert other.call(work.is_same, str(handle), function)


@needs_interpreters
def test_writes_raise_there_too(other: Interpreter) -> None:
    count = 0

    def f() -> None:
        nonlocal count
        count += 1

    frozen = icehouse.freeze(f)
    for _ in range(3):
        with pytest.raises(icehouse.FrozenError, match="'count'"):
            other.call(frozen)


@needs_interpreters
def test_recursion_there(other: Interpreter) -> None:
    def even(n: int) -> bool:
        return n == 0 or odd(n - 1)

    def odd(n: int) -> bool:
        return n != 0 and even(n - 1)

    assert other.call(icehouse.freeze(even), 50)


@needs_interpreters
def test_what_is_missing_there_is_named(other: Interpreter) -> None:
    space = work.main_module("import only_here\ndef f():\n    return only_here")
    with pytest.raises(ImportError, match="f needs the module only_here"):
        other.call(icehouse.freeze(space["f"]))


@needs_interpreters
def test_many_interpreters_at_once() -> None:
    frozen = icehouse.freeze(tripled)
    results: list[Any] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            with Interpreter() as interpreter:
                results.extend(interpreter.call(frozen, n, 2) for n in range(25))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(results) == sorted(3 * [([n * 3, 6], n * 2) for n in range(25)])


# --- processes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_functions_travel_to_processes(child: Any, way: str) -> None:
    child("function_work.processes", way)


@pytest.mark.slow
def test_a_graph_of_200_functions_over_10_modules(child: Any) -> None:
    child("function_work.graph", 5)


def test_functions_travel_through_the_daemon(daemon: Any, child: Any) -> None:
    space = work.main_module(work.SOURCE)
    with icehouse.connect(daemon.socket) as store:
        store.put(space["work"], name="work")
        child("function_work.through_the_daemon", str(daemon.socket), "work", space["work"](4), 4)


def test_data_loads_nothing_of_it(child: Any) -> None:
    child("function_work.imports_nothing", HERE)
