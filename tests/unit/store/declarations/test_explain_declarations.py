"""explain_freeze of functions and classes: what is captured, and how it goes along."""

import functools
import json
import os
import threading
import types
from collections.abc import Callable
from typing import Any

import pytest
import user_classes as uc

import icehouse
from icehouse import NotFreezableError, explain_freeze, interpreters

LIMIT = 5
table = {"a": [1, 2]}
lock = threading.Lock()


def helper(x: int) -> int:
    return x + LIMIT


def faulty() -> Any:
    return table, lock


def user(x: Any) -> Any:
    found = helper(x), json.dumps(x), functools.reduce, uc.Plain
    return found, later  # type: ignore[name-defined] # noqa: F821 - that is the point


def actions(report: Any) -> dict[str, str]:
    return {entry.path: entry.action for entry in report}


def error_of(*roots: Any) -> NotFreezableError:
    with pytest.raises(NotFreezableError) as caught:
        icehouse.freeze(*roots)
    return caught.value


def check_first(*roots: Any) -> Any:
    """The report says what freezing then says; the report."""
    report = explain_freeze(*roots)
    error = error_of(*roots)
    first = report.refused[0]
    assert first.path == error.path
    assert first.object is error.object
    assert first.type is error.type
    assert str(first.reason) in str(error)
    return report


def test_what_a_function_captured() -> None:
    report = explain_freeze(user)
    assert actions(report) == {
        "user": "frozen",
        "user: global 'helper'": "frozen",
        "user: global 'helper' -> helper: global 'LIMIT'": "by nature",
        "user: global 'json'": "module",
        "user: global 'functools'": "module",
        "user: global 'uc'": "module",
        "user: global 'later'": "unbound",
    }
    assert report
    kinds = {entry.path: entry.type for entry in report}
    assert kinds["user: global 'json'"] is types.ModuleType
    assert "the function itself stays as it is" in str(report)
    assert type(user) is types.FunctionType
    assert type(helper) is types.FunctionType


def test_h26_what_is_not_bound_is_listed() -> None:
    unbound = explain_freeze(user).having("unbound")
    assert [entry.path for entry in unbound] == ["user: global 'later'"]
    assert "NameError" in str(unbound[0].reason)
    with pytest.raises(NameError, match="later"):
        icehouse.freeze(user)(1)


def test_all_that_stands_in_the_way() -> None:
    def function() -> Any:
        return table, faulty, lock, os.environ, helper

    report = check_first(function)
    assert [entry.path for entry in report.refused] == [
        "function: global 'table'",
        "function: global 'lock'",
        "function: global 'faulty' -> faulty: global 'table'",
        "function: global 'faulty' -> faulty: global 'lock'",
    ]


def test_state_that_is_named_is_walked() -> None:
    handlers = {"a": [1, threading.Lock()], "b": 2}

    @icehouse.freezable("handlers")
    def function() -> Any:
        return handlers

    report = check_first(function)
    assert [entry.path for entry in report.refused] == ["function: variable 'handlers'['a'][1]"]
    handlers["a"] = [1]
    report = explain_freeze(function)
    assert actions(report) == {
        "function": "in place",
        "function: variable 'handlers'": "frozen",
        "function: variable 'handlers'['a']": "frozen",
        "function: variable 'handlers'['a'][0]": "by nature",
        "function: variable 'handlers'['b']": "by nature",
    }
    assert not icehouse.is_frozen(function)
    function()["more"] = 1
    assert icehouse.freeze(function) is function


def test_shared_state_is_one() -> None:
    state = [1]

    @icehouse.freezable("*")
    def one() -> Any:
        return state

    @icehouse.freezable("*")
    def two() -> Any:
        return state, one

    text = str(explain_freeze(one, two))
    assert "variable 'state': same as one: variable 'state'" in text
    assert "variable 'one': same as one" in text


def test_defaults_attributes_and_partials() -> None:
    def function(a: Any = [1], *, b: Any = threading.Lock()) -> Any:  # noqa: B006, B008
        return a, b

    assert [e.path for e in check_first(function).refused] == ["function: default of 'b'"]
    partial = functools.partial(helper, [threading.Lock()])
    assert [e.path for e in check_first(partial).refused] == ["root: argument 0[0]"]
    fine = functools.partial(helper, [1])
    assert actions(explain_freeze(fine)) == {
        "root": "frozen",
        "root: function": "frozen",
        "root: function -> helper: global 'LIMIT'": "by nature",
        "root: argument 0": "frozen",
        "root: argument 0[0]": "by nature",
    }


def test_methods() -> None:
    plain = uc.Plain("p")
    check_first(plain.greet)
    frozen = icehouse.freeze(plain)
    assert explain_freeze(frozen.greet).ok


def test_functions_inside_data() -> None:
    check_first({"f": helper})
    frozen = icehouse.freeze(helper)
    report = explain_freeze({"f": frozen}, [frozen])
    assert report.totals() == {"frozen": 3, "by nature": 1}


def test_data_beside_functions() -> None:
    report = check_first([1, lock], helper, {"b": threading.Lock()})
    assert [entry.path for entry in report.refused] == ["root[1]", "root['b']"]
    assert explain_freeze([1], helper).ok


def test_hooks_of_functions() -> None:
    calls = []

    def function() -> None:
        pass

    function.__pre_freeze__ = lambda: calls.append(1)  # type: ignore[attr-defined]
    report = explain_freeze(function)
    assert report.ok
    assert [entry.path for entry in report.vetoes] == ["function"]
    assert calls == []
    assert explain_freeze(function, run_hooks=True).vetoes == []
    assert calls == [1]


class Faulty:
    def __reduce__(self) -> Any:
        raise LookupError("no")


def test_exceptions_of_captured_objects() -> None:
    faulty = [Faulty()]

    class Class:
        def method(self, a: Any = faulty) -> Any:
            return a

    with pytest.raises(LookupError) as caught:
        icehouse.freeze(Class)
    (note,) = caught.value.__notes__
    assert note.startswith("while freezing Class.method: default of 'a'[0], ")
    report = explain_freeze(Class)
    assert [entry.path for entry in report.refused] == ["Class.method: default of 'a'[0]"]
    assert "LookupError: no" in str(report.refused[0].reason)


def test_hooks_that_raise() -> None:
    def function() -> None:
        pass

    function.__pre_freeze__ = lambda: 1 / 0  # type: ignore[attr-defined]
    report = explain_freeze(function, run_hooks=True)
    assert "ZeroDivisionError" in str(report.refused[0].reason)


def test_statuses_of_functions() -> None:
    @icehouse.unfreezable
    def never() -> None:
        pass

    @icehouse.explicitly_freezable
    def explicit() -> None:
        pass

    def calls_them() -> Any:
        return explicit, never

    check_first(never)
    report = check_first(calls_them)
    assert len(report.refused) == 2
    assert explain_freeze(explicit).ok


def test_a_module() -> None:
    assert [e.action for e in explain_freeze(json)] == ["module"]


def chain(length: int) -> Callable[[], int]:
    def function(inner: Any = None) -> Any:
        return inner

    for _ in range(length):
        function = link(function)
    return function


def link(inner: Any) -> Any:
    def function() -> Any:
        return inner

    return function


def test_a_long_chain_of_functions_needs_no_stack() -> None:
    report = explain_freeze(chain(3000))
    assert report.totals() == {"frozen": 3001}
    assert len(str(report).splitlines()) < 40


def test_functions_in_a_circle() -> None:
    def even(n: int) -> bool:
        return n == 0 or odd(n - 1)

    def odd(n: int) -> bool:
        return n != 0 and even(n - 1)

    report = explain_freeze(even)
    assert report.totals() == {"frozen": 2}
    assert "variable 'even': same as even" in str(report)


def test_nothing_is_changed() -> None:
    state = [1]

    @icehouse.freezable("state")
    def function() -> Any:
        return state, helper

    before = dict(vars(function)), list(globals())
    explain_freeze(function)
    explain_freeze(function, [1])
    assert (dict(vars(function)), list(globals())) == before
    assert function() == (state, helper)
    function.mark = 1
    state.append(2)
    assert icehouse.freeze(function)()[0] == [1, 2]


# --- classes -------------------------------------------------------------------------------------


def make_class() -> Any:
    class Class:
        items = icehouse.freeze([1])
        numbers = (1, [2])
        inner = uc.Plain

        def good(self) -> Any:
            return helper(1), Class

        def bad(self) -> Any:
            return lock

        @property
        def prop(self) -> Any:
            return self.good()

        @staticmethod
        def static() -> Any:
            return table

        @icehouse.unfreezable
        def never(self) -> None:
            pass

    return Class


def test_what_a_class_holds() -> None:
    cls = icehouse.freezable(make_class())
    report = explain_freeze(cls)
    assert report
    found = actions(report)
    assert found["class Class"] == "in place"
    assert found["Class.good"] == "frozen"
    uncallable = {entry.path: str(entry.reason) for entry in report.having("uncallable")}
    assert set(uncallable) == {"Class.bad", "Class.static", "Class.never"}
    assert "lock" in uncallable["Class.bad"]
    assert found["class Class: attribute 'numbers'"] == "frozen"
    assert not icehouse.is_frozen(cls)
    assert icehouse.freeze(cls) is cls
    # It is what freezing does.
    for path in uncallable:
        with pytest.raises(NotFreezableError):
            getattr(cls(), path.partition(".")[2])()


def test_a_default_that_no_class_needs() -> None:
    lock = threading.Lock()

    class Class:
        def method(self, guard: Any = lock) -> Any:
            return guard

    report = explain_freeze(Class)
    assert report.ok, report
    assert [entry.path for entry in report.having("uncallable")] == ["Class.method"]
    assert icehouse.freeze(Class) is Class


def test_class_state_that_is_not_declared() -> None:
    report = check_first(make_class())
    assert [entry.path for entry in report.refused] == ["class Class: attribute 'numbers'"]


def test_bases() -> None:
    class Base:
        pass

    class Derived(Base):
        pass

    report = check_first(Derived)
    assert report.refused[0].object is Base
    report = explain_freeze(Base, Derived)
    assert report
    assert report.totals()["in place"] == 2
    assert icehouse.freeze(Base, Derived) is Base


def test_classes_and_instances() -> None:
    cls = icehouse.freezable(make_class())
    assert explain_freeze(cls, cls()).ok
    icehouse.freeze(cls)
    report = explain_freeze([cls, cls()])
    assert [entry.action for entry in report] == ["frozen", "frozen", "frozen"]
    assert "by its definition" in str(report)
    assert [entry.action for entry in explain_freeze([uc.Plain])] == ["frozen", "by name"]


def test_in_another_interpreter() -> None:
    if not interpreters.supported():
        pytest.skip("this Python has no interpreters")
    interpreters.run("""
        import icehouse, threading
        lock = threading.Lock()
        def function():
            return lock
        report = icehouse.explain_freeze(function, [lock])
        assert len(report.refused) == 2, report
        assert "cannot be frozen" in str(report)
    """)
