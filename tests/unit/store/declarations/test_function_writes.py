"""What a frozen function may not do to what it captured: writes, deletions, looking behind."""

import sys
import types
from typing import Any

import pytest

import icehouse

COUNT = 0


def refused(function: Any) -> str:
    with pytest.raises(icehouse.NotFreezableError) as caught:
        icehouse.freeze(function)
    return str(caught.value)


def test_writing_a_global_raises_at_the_call() -> None:
    def f(x: int) -> int:
        global COUNT
        if x:
            COUNT = COUNT + x
        return COUNT

    frozen = icehouse.freeze(f)
    assert frozen(0) == 0
    for _ in range(50):
        with pytest.raises(icehouse.FrozenError, match=r"f can't write the variable 'COUNT'"):
            frozen(1)
    assert COUNT == 0
    assert frozen(0) == 0


def test_writing_a_captured_variable_raises_at_the_call() -> None:
    count = 0

    def f(x: int) -> int:
        nonlocal count
        count += x
        return count

    frozen = icehouse.freeze(f)
    with pytest.raises(TypeError, match=r"f can't write the variable 'count'.*SharedField"):
        frozen(1)
    assert count == 0
    assert f(2) == 2


def test_writes_of_functions_inside() -> None:
    count = 0

    def f() -> Any:
        mine = 0

        def g() -> None:
            nonlocal count, mine
            mine += 1

            def h() -> None:
                nonlocal count
                count += 1

            h()

        try:
            g()
        except icehouse.FrozenError:
            return mine
        return "written"

    assert icehouse.freeze(f)() == 1
    assert count == 0


def test_deleting_raises_at_the_call() -> None:
    count = 1

    def f(which: int) -> Any:
        global COUNT
        nonlocal count
        if which == 1:
            del COUNT
        elif which == 2:
            del count
        return COUNT, count

    frozen = icehouse.freeze(f)
    assert frozen(0) == (0, 1)
    with pytest.raises(icehouse.FrozenError, match="f can't delete the variable 'COUNT'"):
        frozen(1)
    with pytest.raises(icehouse.FrozenError, match="f can't delete the variable 'count'"):
        frozen(2)
    assert frozen(0) == (0, 1)


def test_loops_imports_and_handlers_write_too() -> None:
    def loops() -> None:
        global COUNT
        for COUNT in range(3):  # noqa: B007
            pass

    def imports() -> None:
        global COUNT
        import json as COUNT  # noqa: N812

    def defines() -> None:
        global COUNT

        def COUNT() -> None:  # noqa: N802
            pass

    def handles() -> None:
        global COUNT
        try:
            raise ValueError
        except ValueError as COUNT:  # noqa: F841
            pass

    def walrus() -> None:
        global COUNT
        if (COUNT := 5) > 3:
            pass

    for f in (loops, imports, defines, handles, walrus):
        with pytest.raises(icehouse.FrozenError, match="'COUNT'"):
            icehouse.freeze(f)()
    assert COUNT == 0


def test_generators_that_write() -> None:
    def f() -> Any:
        global COUNT
        yield COUNT
        COUNT = 3

    running = icehouse.freeze(f)()
    assert next(running) == 0
    with pytest.raises(icehouse.FrozenError):
        next(running)


def test_writes_in_the_body_of_a_class_are_refused() -> None:
    def f() -> Any:
        class C:
            global COUNT
            COUNT = 3

        return C

    assert "the body of its class C writes 'COUNT'" in refused(f)


def test_writes_with_too_many_names_are_refused() -> None:
    lines = "\n".join(f"    x.name{n}" for n in range(300))
    space: dict[str, Any] = {"x": None, "__name__": __name__}
    exec(f"def f():\n    global x\n{lines}\n    x = 1", space)
    assert "256 names and more" in refused(space["f"])


def test_locals_of_a_function_that_writes() -> None:
    def f(what: str) -> Any:
        global COUNT
        if what == "write":
            COUNT = 1
        if what == "locals":
            return locals()
        if what == "vars":
            return vars()
        if what == "eval":
            return eval("what", {"what": 1}, {})
        if what == "eval here":
            return eval("what")
        return sorted(vars(types.SimpleNamespace(a=1))), dir(1) == dir(2)

    frozen = icehouse.freeze(f)
    assert frozen("other") == (["a"], True)
    assert frozen("eval") == 1
    for what in ("locals", "vars", "eval here"):
        with pytest.raises(icehouse.FrozenError, match=r"can't use \w+\(\) of its own variables"):
            frozen(what)


def test_a_debugger_may_look_at_a_function_that_writes() -> None:
    def f(x: int) -> Any:
        global COUNT
        y = x + 1
        if y < 0:
            COUNT = y
        return y

    frozen = icehouse.freeze(f)
    looked = []

    def trace(frame: Any, event: str, arg: object) -> Any:
        looked.append(dict(frame.f_locals))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        assert frozen(1) == 2
    finally:
        sys.settrace(before)
    assert looked
    assert frozen(1) == 2
    with pytest.raises(icehouse.FrozenError):
        frozen(-5)


def test_globals_are_a_copy() -> None:
    def f(change: str) -> Any:
        found = globals()
        if change:
            found["COUNT"] = 5
        return found["COUNT"], "globals" in found, COUNT

    frozen = icehouse.freeze(f)
    assert frozen("")[:2] == (0, False)
    with pytest.raises(TypeError):
        frozen("yes")
    assert f("")[0] == 0
    frozen.__globals__.update(COUNT=5)
    assert frozen("")[0] == 0


def test_private_names_are_out_of_reach() -> None:
    count = 3

    def f() -> Any:
        return COUNT, count

    frozen = icehouse.freeze(f)
    frozen.__closure__[0].cell_contents = 9
    for write in (
        lambda: setattr(frozen, "__code__", (lambda: 1).__code__),
        lambda: setattr(frozen, "__defaults__", (1,)),
        lambda: setattr(frozen, "x", 1),
        lambda: delattr(frozen, "__name__"),
    ):
        with pytest.raises((TypeError, AttributeError)):
            write()
    assert frozen() == (0, 3)
