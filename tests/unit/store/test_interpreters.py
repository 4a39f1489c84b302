"""icehouse.interpreters: calls, what travels, failures, parallel work, clean ends."""

import gc
import subprocess
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
import interpreter_work as work  # noqa: E402

sys.path.remove(HERE)
pytestmark = pytest.mark.skipif(not interpreters.supported(), reason="no interpreters here")

DATA = {"model": {"layers": [64, 64]}, "name": "x"}


@pytest.fixture(autouse=True)
def importable_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE)


@pytest.fixture
def other() -> Iterator[Interpreter]:
    with Interpreter() as interpreter:
        yield interpreter


def test_plain_values_go_by_pickle(other: Interpreter) -> None:
    assert other.call(work.add, 1, b=2) == 3
    assert other.call(work.describe, 1, "a", {"b": [1]}, None) == ["int", "str", "dict", "NoneType"]
    assert other.call(len, b"x" * 1_000_000) == 1_000_000


def test_views_go_by_reference_both_ways(other: Interpreter) -> None:
    view = icehouse.freeze(DATA)
    assert icehouse.same(other.call(work.layers, view), view["model"]["layers"])
    assert other.call(work.layers, view)[0] == 64
    result = other.call(work.nested_result, view)
    assert icehouse.same(result["views"][0], view)
    assert icehouse.same(result["views"][1], view["model"])
    assert result["handle"] == view.handle
    assert other.call(work.describe, view, view["model"], view.handle) == [
        "FrozenDict",
        "FrozenDict",
        "Handle",
    ]
    assert other.call(work.describe, view["model"]["layers"][1:]) == ["FrozenList"]


def test_a_received_result_is_not_kept_there(other: Interpreter) -> None:
    view = other.call(work.fresh)
    handle = view.handle
    del view
    with pytest.raises(icehouse.HandleGone):
        icehouse.get(handle)


def test_what_is_made_there_outlives_the_interpreter() -> None:
    with Interpreter() as interpreter:
        view = interpreter.call(work.fresh)
        interpreter.call(work.add, 1)
    assert view == {"made": ["there"]}
    assert icehouse.get(view.handle) == view


def test_a_store_is_the_same_store(other: Interpreter) -> None:
    with icehouse.Store("16MiB") as store:
        handle = other.call(work.put_and_bind, store, "there")
        assert store.get("there") == {"from": "there"}
        assert store.lookup("there") == (handle, 1)
    with pytest.raises(icehouse.StoreClosed):
        other.call(work.put_and_bind, store, "there")


def test_source_runs_in_main_and_stays(other: Interpreter) -> None:
    other.run("x = 1")
    other.run(
        """
        if x:
            x += 1
        """
    )
    other.run("assert x == 2")
    other.run("")
    with pytest.raises(InterpreterError, match="division by zero"):
        other.run("1 / 0")
    with pytest.raises(SyntaxError):
        other.run("1 +")
    other.run("assert x == 2")


def test_exceptions_carry_the_other_sides_traceback(other: Interpreter) -> None:
    with pytest.raises(ValueError, match="bad value") as caught:
        other.call(work.fail, "value")
    assert caught.value.args == ("bad value", 3)
    assert isinstance(caught.value.__cause__, InterpreterError)
    assert "interpreter_work.py" in str(caught.value.__cause__)
    with pytest.raises(InterpreterError, match="Odd"):
        other.call(work.fail, "odd")
    with pytest.raises(icehouse.HandleGone, match="ih1_00000"):
        other.call(work.fail, "gone")
    with pytest.raises(SystemExit):
        other.call(work.fail, "exit")
    with pytest.raises(TypeError, match="pickle"):
        other.call(work.unpicklable)
    with pytest.raises(TypeError, match="pickle"):
        other.call(work.add, threading.Lock())  # type: ignore[arg-type]
    assert other.call(work.add, 1) == 1


def test_functions_without_a_name_are_refused(other: Interpreter) -> None:
    def inner() -> None: ...

    for function in (inner, lambda: None):
        with pytest.raises(TypeError, match="top level of a module"):
            other.call(function)


def test_after_close() -> None:
    interpreter = Interpreter()
    assert not interpreter.closed
    interpreter.close()
    interpreter.close()
    assert interpreter.closed
    assert "closed" in repr(interpreter)
    for call in (lambda: interpreter.run("x = 1"), lambda: interpreter.call(work.add, 1)):
        with pytest.raises(InterpreterError, match="ended"):
            call()


def test_run_is_one_call() -> None:
    assert interpreters.run(work.add, 2, 3) == 5
    assert interpreters.run("import icehouse") is None
    with pytest.raises(TypeError):
        interpreters.run("x", 1)


def test_run_in_runs_all_at_once(tmp_path: Path) -> None:
    # On one GIL too: sleeping gives it to the others.
    assert len(interpreters.run_in(3, work.meet, str(tmp_path), 3)) == 3
    with pytest.raises(ValueError, match="bad value"):
        interpreters.run_in(2, work.fail, "value")
    with pytest.raises(ValueError, match="at least 1"):
        interpreters.run_in(0, work.add, 1)


def test_compare_and_swap_from_several_interpreters() -> None:
    with icehouse.Store("16MiB") as store:
        store.put([0], name="n")
        interpreters.run_in(3, work.count_up, store, "n", 50)
        assert store.get("n") == [150]
        assert store.version("n") == 151
        store.check()


def test_put_get_delete_from_several_interpreters() -> None:
    with icehouse.Store("16MiB") as store:
        interpreters.run_in(4, work.churn, store, 500)
        assert store.usage().images == 0
        assert store.usage().leases == 0
        store.check()


def test_an_interpreter_that_ends_lets_its_views_go() -> None:
    with icehouse.Store("16MiB") as store:
        handle = store.put(DATA)
        with Interpreter() as interpreter:
            view = store.get(handle)
            interpreter.call(work.keep_views, view)
            del view
            assert store.stat(handle).leases == 1
        gc.collect()
        assert store.stat(handle).leases == 0
        store.delete(handle)
        assert store.usage().images == 0


@pytest.mark.slow
def test_many_interpreters_come_and_go() -> None:
    with icehouse.Store("16MiB") as store:
        for _ in range(10):
            interpreters.run_in(3, work.churn, store, 20)
        store.check()


def test_leaving_without_close_is_clean() -> None:
    code = """
import icehouse
from icehouse.interpreters import Interpreter
kept = Interpreter()
kept.run("import icehouse; v = icehouse.freeze([1, {'a': 2}])")
"""
    command = [sys.executable, "-c", code]
    done: Any = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_zones_work_there_and_go_on_working_here() -> None:
    code = """
import datetime, zoneinfo
from icehouse.interpreters import Interpreter
with Interpreter() as other:
    other.run("import zoneinfo; assert zoneinfo.ZoneInfo('UTC').key == 'UTC'")
noon = datetime.datetime(2026, 7, 1, 12, tzinfo=zoneinfo.ZoneInfo("UTC"))
assert noon.utcoffset() == datetime.timedelta(0)
"""
    command = [sys.executable, "-c", code]
    done: Any = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
