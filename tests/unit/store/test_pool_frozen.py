"""Frozen functions and classes in the workers of icehouse.interpreters.pool."""

import functools
import gc
import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

import icehouse
from icehouse import interpreters
from icehouse.interpreters import InterpreterError
from icehouse.store import pool_check
from icehouse.store.pool import Boxes, Pool

HERE = str(Path(__file__).parent)
sys.path.insert(0, HERE)
import pool_work as work  # noqa: E402

sys.path.remove(HERE)
INTERPRETERS = pytest.param(
    False, marks=pytest.mark.skipif(not interpreters.supported(), reason="no interpreters here")
)
numpy_like = pytest.mark.skipif(
    not interpreters.own_gil(), reason="such modules load where all share one GIL"
)


@pytest.fixture(params=[INTERPRETERS, True], ids=["interpreters", "processes"])
def pool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(HERE)
    with interpreters.pool(2, processes=request.param) as made:
        yield made


def adder(more: int) -> Any:
    data = icehouse.freeze({"more": [more]})

    def add_more(number: int, *, times: int = 1) -> int:
        return number + data["more"][0] * times

    return icehouse.freeze(add_more)


def test_frozen_functions_run_in_workers(pool: Pool) -> None:
    add_five = adder(5)
    assert pool.submit(add_five, 1).result() == 6
    assert pool.submit(add_five, 1, times=3).result() == 16
    assert list(pool.map(add_five, range(5), chunksize=2)) == [5, 6, 7, 8, 9]
    assert pool.submit(functools.partial(add_five, 2, times=2)).result() == 12
    assert pool.submit(icehouse.freeze(lambda x: math.sqrt(x)), 9).result() == 3.0
    # As an argument too.
    apply = icehouse.freeze(lambda function, value: function(value))
    assert pool.submit(apply, add_five, 3).result() == 8


def test_a_frozen_class_that_can_not_be_imported_goes_along(pool: Pool) -> None:
    @icehouse.frozen
    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

        def doubled(self) -> int:
            return self.x * 2

    make = icehouse.freeze(lambda x: Point(x).doubled())
    assert pool.submit(make, 4).result() == 8
    read = icehouse.freeze(lambda point: point.doubled())
    assert pool.submit(read, icehouse.freeze(Point(5))).result() == 10


def test_what_a_frozen_function_raises_has_its_traceback(pool: Pool) -> None:
    def fails(number: int) -> None:
        raise LookupError(number)

    failed = pool.submit(icehouse.freeze(fails), 3).exception()
    assert isinstance(failed, LookupError)
    assert failed.args == (3,)
    assert isinstance(failed.__cause__, InterpreterError)
    assert "in fails" in str(failed.__cause__)


def test_plain_local_functions_are_told_to_freeze(pool: Pool) -> None:
    with pytest.raises(TypeError, match=r"icehouse\.freeze\(function\)"):
        pool.submit(lambda: None)


def test_functions_that_are_gone_are_forgotten_by_workers(pool: Pool) -> None:
    for number in range(20):
        assert pool.submit(adder(number), 1).result() == number + 1
    gc.collect()
    assert pool.submit(work.add, 1).result() == 1
    boxes = pool._state.boxes
    assert len(boxes._boxes) <= 2


def test_boxes_are_kept_as_long_as_their_function() -> None:
    boxes = Boxes()
    gone = boxes.gone()
    function = adder(1)
    key, box = boxes.find(function)
    assert boxes.find(function) == (key, box)
    assert box[0] is function
    assert boxes.find(work.add)[1] == (work.add,)
    assert not gone
    del function, box
    gc.collect()
    assert list(gone) == [key]


# --- modules that don't load there ----------------------------------------------------------------


def test_modules_of_a_frozen_function_are_those_of_all_that_it_holds() -> None:
    @icehouse.frozen
    class Writer:
        def text(self) -> str:
            return json.dumps([1])

    def below(x: float) -> float:
        return math.floor(x)

    def above(x: float, way: Any = icehouse.freeze(below)) -> Any:  # noqa: B008 - what is tested
        return way(x), Writer().text()

    found = pool_check.modules_of(icehouse.freeze(above))
    assert {"json", "math"} <= set(found)
    assert pool_check.modules_of(functools.partial(icehouse.freeze(below), 1)) == ("math",)


@numpy_like
def test_a_captured_module_that_does_not_load_there_fails_at_submit() -> None:
    numpy = pytest.importorskip("numpy")

    def total(count: int) -> int:
        return int(numpy.arange(count).sum())

    def indirect(count: int) -> int:
        return total(count)

    with interpreters.pool(1) as pool:
        for function in (total, indirect):
            frozen = icehouse.freeze(function)
            with pytest.raises(InterpreterError, match=r"numpy.*processes=True") as caught:
                pool.submit(frozen, 3)
            assert function.__name__ in str(caught.value)
            assert "does not support loading in subinterpreters" in str(caught.value)
        assert pool.submit(adder(1), 1).result() == 2
    with interpreters.pool(1, processes=True) as processes:
        assert processes.submit(icehouse.freeze(indirect), 4).result() == 6


@numpy_like
def test_an_initializer_is_checked_when_the_pool_is_made() -> None:
    numpy = pytest.importorskip("numpy")
    with pytest.raises(InterpreterError, match="numpy"):
        interpreters.pool(1, initializer=icehouse.freeze(lambda: numpy.arange(1)))
