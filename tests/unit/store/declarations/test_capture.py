"""What a function may not capture, and what it may not do to what it captured."""

import collections
import functools
import io
import json
import logging
import os
import queue
import random
import re
import sys
import threading
import types
import weakref
from pathlib import Path
from typing import Any

import pytest

import icehouse
from icehouse.native._image import FreezableFunction, FrozenFunction

CACHE: dict[str, int] = {}
LOCK = threading.Lock()
LOCAL = threading.local()
GENERATOR = (x for x in [1])
LOGGER = logging.getLogger("icehouse.tests")
SENTINEL = object()
INSTANCE_RANDOM = random.Random(1)
environ = os.environ
randint = random.randint
uniform = random.random


class Thing:
    pass


THING = Thing()
WEAK = weakref.ref(THING)


def refused(function: Any, *others: Any) -> str:
    with pytest.raises(icehouse.NotFreezableError) as caught:
        icehouse.freeze(function, *others)
    error = caught.value
    path: str = error.path  # type: ignore[attr-defined]
    assert str(error).startswith(f"cannot freeze {path}: ")
    return str(error)


def test_captured_state_is_refused_with_its_path_and_what_to_do() -> None:
    def f() -> Any:
        return CACHE

    text = refused(f)
    assert "f: global 'CACHE'" in text
    assert "type dict" in text
    assert '@icehouse.freezable("CACHE")' in text
    assert "SharedField" in text
    assert "InterpreterLocal" in text

    items = [1]

    def g() -> Any:
        return items

    assert "g: variable 'items'" in refused(g)
    with pytest.raises(icehouse.NotFreezableError) as caught:
        icehouse.freeze(g)
    assert caught.value.object is items  # type: ignore[attr-defined]
    assert caught.value.holder is g  # type: ignore[attr-defined]


def test_the_path_leads_through_functions() -> None:
    def deep() -> Any:
        return CACHE

    def middle() -> Any:
        return deep()

    def top() -> Any:
        return middle()

    text = refused(top)
    assert "top: variable 'middle' -> middle: variable 'deep' -> deep: global 'CACHE'" in text


def reads_environ() -> Any:
    return environ["HOME"]


def reads_environ_by_module() -> Any:
    return os.environ["HOME"]


def holds_lock() -> Any:
    with LOCK:
        return 1


def reads_local() -> Any:
    return LOCAL.x


def reads_generator() -> Any:
    return next(GENERATOR)


def logs() -> Any:
    LOGGER.info("x")


def rolls() -> Any:
    return INSTANCE_RANDOM.random()


def rolls_by_method() -> Any:
    return randint(1, 6)


def rolls_by_builtin_method() -> Any:
    return uniform()


def looks_at_weak() -> Any:
    return WEAK()


def holds_instance() -> Any:
    return THING


@functools.lru_cache
def cached(x: int) -> int:
    return x


def uses_cached() -> int:
    return cached(1)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (reads_environ, r"global 'environ'.*the environment is state.*`os.environ\[...\]`"),
        (holds_lock, "global 'LOCK'.*a lock belongs to the threads.*InterpreterLocal"),
        (reads_local, "global 'LOCAL'.*another for each thread.*InterpreterLocal"),
        (reads_generator, "global 'GENERATOR'.*half-way through.*list of its items"),
        (logs, r"global 'LOGGER'.*logging.getLogger\(name\) in the function"),
        (rolls, "global 'INSTANCE_RANDOM'.*random.Random"),
        (rolls_by_method, "global 'randint'.*is not frozen: freeze the object first"),
        (rolls_by_builtin_method, "global 'uniform'.*it is a method of an object"),
        (looks_at_weak, "global 'WEAK'.*a weak reference"),
        (holds_instance, "global 'THING'.*Thing.*it can change"),
        (uses_cached, "global 'cached'.*InterpreterLocal.*f.__wrapped__"),
    ],
    ids=lambda x: getattr(x, "__name__", "words"),
)
def test_what_cant_freeze_says_what_to_do(function: Any, words: str) -> None:
    assert re.search(words, refused(function))


def test_what_to_do_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/here")
    assert icehouse.freeze(reads_environ_by_module)() == "/here"
    assert icehouse.freeze(cached.__wrapped__)(3) == 3


def test_files_and_queues(tmp_path: Path) -> None:
    with (tmp_path / "x").open("w") as file:

        def write() -> Any:
            file.write("x")

        assert "open it in the function" in refused(write)
    buffer, waiting = io.BytesIO(), queue.Queue()  # type: ignore[var-annotated]
    assert "getvalue" in refused(lambda: buffer)
    assert "list of its items" in refused(lambda: waiting)


def test_stores_and_methods_of_classes() -> None:
    with icehouse.Store("16MiB") as store:
        assert "pass it as an argument" in refused(lambda: store)

    class Local:
        @classmethod
        def make(cls) -> Any:
            return cls

    assert "freeze the class first" in refused(Local.make)


def test_lru_caches_as_arguments() -> None:
    assert "f.__wrapped__" in refused(cached)
    assert "f.__wrapped__" in refused([cached])


def test_local_classes_need_to_freeze_along() -> None:
    class Local:
        pass

    def f() -> Any:
        return Local()

    text = refused(f)
    assert "f: variable 'Local'" in text
    assert "freeze(f, Local)" in text


def test_a_sentinel_goes_by_its_name() -> None:
    def f(x: Any = None) -> bool:
        return x is SENTINEL

    sys.modules.setdefault("test_capture_sentinel", types.ModuleType("test_capture_sentinel"))
    sys.modules["test_capture_sentinel"].MARK = SENTINEL  # type: ignore[attr-defined]
    try:
        assert icehouse.freeze(f)(SENTINEL)
    finally:
        del sys.modules["test_capture_sentinel"]
    alone = object()
    assert "member of an Enum" in refused(lambda: alone)


# --- named state ---------------------------------------------------------------------------------


def test_named_state_freezes_as_a_snapshot() -> None:
    table = {"a": [1]}
    other = table["a"]

    @icehouse.freezable("table", "other")
    def f() -> Any:
        return table, other

    assert isinstance(f, FreezableFunction)
    assert f()[0] is table
    frozen = icehouse.freeze(f)
    assert frozen is f
    assert type(f) is FrozenFunction
    got, also = f()
    assert got == {"a": [1]}
    assert icehouse.same(got["a"], also)
    table["b"] = []
    assert f()[0] == {"a": [1]}


def test_a_star_names_all() -> None:
    items, more = [1], {2}

    @icehouse.frozen("*")
    def f() -> Any:
        return items, more, CACHE

    assert f() == ([1], {2}, {})
    assert all(icehouse.is_frozen(part) for part in f())


def test_what_a_name_holds_counts() -> None:
    items = [1]
    alias = items

    @icehouse.freezable("items")
    def f() -> Any:
        return items, alias

    a, b = icehouse.freeze(f)()
    assert icehouse.same(a, b)

    other = [2]

    @icehouse.freezable("items")
    def g() -> Any:
        return items, other

    assert "variable 'other'" in refused(g)


def test_named_state_may_hold_functions() -> None:
    def double(x: int) -> int:
        return 2 * x

    @icehouse.freezable
    def triple(x: int) -> int:
        return 3 * x

    table = {"double": double, "more": [triple, (lambda x: -x)], "again": double}

    @icehouse.frozen("table")
    def f(name: str, x: int) -> Any:
        found = table[name]
        return [g(x) for g in found] if isinstance(found, icehouse.FrozenList) else found(x)

    assert f("double", 2) == 4
    assert f("more", 2) == [6, -2]
    assert type(triple) is FrozenFunction
    view = f.__closure__[0].cell_contents
    assert view["double"] is view["again"]
    assert view["more"][0] is triple


def test_named_state_that_cant_freeze_has_a_path() -> None:
    table = {"a": [threading.Lock()]}

    @icehouse.freezable("table")
    def f() -> Any:
        return table

    assert "f: variable 'table'['a'][0]" in refused(f)
    table = {"a": [lambda: CACHE]}  # type: ignore[list-item]
    text = refused(f)
    assert "f: variable 'table'['a'][0]" in text
    assert "global 'CACHE'" in text
    assert isinstance(f, FreezableFunction)


def test_state_made_anew_at_each_look_ends() -> None:
    class Endless:
        def __freeze__(self) -> Any:
            return [lambda: 1]

    state = Endless()

    @icehouse.freezable("state")
    def f() -> Any:
        return state

    with pytest.raises(icehouse.NotFreezableError, match="other ones each time"):
        icehouse.freeze(f)


# --- statuses ------------------------------------------------------------------------------------


def test_statuses_of_functions() -> None:
    def inner() -> int:
        return 1

    def outer() -> int:
        return inner()

    icehouse.set_freezable(inner, icehouse.FREEZABLE_NO)
    assert "outer: variable 'inner'" in refused(outer)
    assert "FREEZABLE_NO" in refused(inner)
    icehouse.set_freezable(inner, icehouse.FREEZABLE_EXPLICIT)
    assert "FREEZABLE_EXPLICIT" in refused(outer)
    assert icehouse.freeze(inner)() == 1
    assert icehouse.freeze(outer, inner)() == 1
    icehouse.set_freezable(inner, icehouse.FREEZABLE_YES)
    frozen = icehouse.freeze(outer)
    assert frozen() == 1
    assert "__freezable__" not in frozen.__closure__[0].cell_contents.__dict__


def test_disabled_and_hooks_of_functions() -> None:
    seen = []

    def f() -> int:
        return 1

    f.__pre_freeze__ = lambda: seen.append(1)  # type: ignore[attr-defined]
    with icehouse.disabled(f):
        assert "disabled" in refused(f)
    assert seen == []
    assert icehouse.freeze(f, f)() == 1
    assert seen == [1]


# --- H26: unbound names --------------------------------------------------------------------------


def test_h26_an_unbound_global_raises_at_the_call() -> None:
    def f(x: int) -> Any:
        return later(x) if x else len("ab")  # type: ignore[name-defined] # noqa: F821

    frozen = icehouse.freeze(f)
    assert frozen(0) == 2
    with pytest.raises(NameError, match=r"'later' is not defined: it was not bound when.*f was"):
        frozen(1)


def test_h26_under_a_decorator_the_own_name_is_the_function() -> None:
    space: dict[str, Any] = {"icehouse": icehouse, "__name__": __name__}
    source = "@icehouse.frozen\ndef f(n):\n    return 1 if n < 2 else n * f(n - 1)\n"
    exec(source, space)
    assert space["f"](5) == 120
    # It is defined again, as in a notebook: the name is bound to the function before.
    exec(source.replace("1 if", "2 if"), space)
    assert space["f"](5) == 240


def test_h26_local_functions_under_a_decorator() -> None:
    @icehouse.frozen
    def f(n: int) -> int:
        return 1 if n < 2 else n * f(n - 1)

    assert f(5) == 120

    @icehouse.frozen
    def g() -> Any:
        return later

    with pytest.raises(NameError, match="later"):
        g()
    later = 1
    with pytest.raises(NameError, match="later"):
        g()


def test_h26_mutual_recursion_of_freezable_functions() -> None:
    @icehouse.freezable
    def ping(n: int) -> str:
        return "ping" if n == 0 else pong(n - 1)

    @icehouse.freezable
    def pong(n: int) -> str:
        return "pong" if n == 0 else ping(n - 1)

    assert ping(1) == "pong"
    assert icehouse.freeze(ping, pong) is ping
    assert type(pong) is FrozenFunction
    assert ping(3) == "pong"
    assert pong.__closure__[0].cell_contents is ping


def test_h26_a_method_named_like_a_global_is_not_meant() -> None:
    class C:
        def later(self) -> Any:
            return later  # type: ignore[name-defined] # noqa: F821

    with pytest.raises(NameError, match="not bound when"):
        icehouse.freeze(C.later)(None)


def test_h26_super_needs_the_class() -> None:
    with pytest.raises(icehouse.NotFreezableError, match="its class is not there yet"):

        class C:
            @icehouse.frozen
            def f(self) -> Any:
                return super().__hash__()


# --- all or nothing ------------------------------------------------------------------------------


def test_a_failure_leaves_all_as_it_was() -> None:
    items = [1]

    @icehouse.freezable
    def good() -> Any:
        return also()

    @icehouse.freezable
    def also() -> int:
        return 1

    @icehouse.freezable("items")
    def named() -> Any:
        return items

    @icehouse.freezable
    def bad() -> Any:
        return good, named, CACHE

    for order in ((good, named, bad), (bad, good, named), (good, bad, named)):
        refused(*order)
        for f in (good, also, named, bad):
            assert type(f) is FreezableFunction
    assert named() is items
    good.x = 1
    assert icehouse.freeze(good).x == 1
    assert type(also) is FrozenFunction
    assert type(named) is FreezableFunction


def test_a_failure_at_the_last_step_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    from icehouse.store.declarations import functions

    commit = functions.FunctionItem.commit

    def fail(item: Any) -> None:
        if item.source is last:
            raise MemoryError
        commit(item)

    @icehouse.freezable
    def first() -> int:
        return 1

    @icehouse.freezable
    def last() -> int:
        return 2

    monkeypatch.setattr(functions.FunctionItem, "commit", fail)
    with pytest.raises(MemoryError):
        icehouse.freeze(first, last)
    assert type(first) is type(last) is FreezableFunction
    first.x = 1  # type: ignore[attr-defined]
    monkeypatch.undo()
    assert icehouse.freeze(first, last).x == 1


def test_counters_of_collections() -> None:
    counter = collections.Counter("aab")

    @icehouse.frozen("counter")
    def f(x: str) -> int:
        return counter[x]

    assert f("a") == 2


def test_methods_of_builtin_objects_are_as_frozen_as_these() -> None:
    assert not icehouse.is_frozen([].append)
    assert icehouse.is_frozen(len)
    assert icehouse.is_frozen(dict.fromkeys)
    assert icehouse.is_frozen("text".upper)


def test_functions_of_libraries_are_told_to_go_by_name() -> None:
    for what in (icehouse.freeze, icehouse.explain_freeze):
        said = ""
        try:
            said = str(what(json.dumps))
        except icehouse.NotFreezableError as error:
            said = str(error)
        assert "json.dumps is a function of a library" in said
        assert "freeze a function of yours that calls json.dumps" in said
    with pytest.raises(icehouse.NotFreezableError, match="not for its users to freeze"):
        icehouse.freeze(logging.getLogger)
    with pytest.raises(icehouse.NotFreezableError, match="a function of a library does not freeze"):
        icehouse.freeze([json.dumps])
    with pytest.raises(icehouse.NotFreezableError, match="a function inside of data does not"):
        icehouse.freeze([test_functions_of_libraries_are_told_to_go_by_name])
    assert icehouse.freeze(lambda x: json.dumps(x))([1]) == "[1]"
