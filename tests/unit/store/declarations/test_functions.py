"""Frozen functions: what they may be, what they captured, and that they are cut off from it."""

import asyncio
import functools
import inspect
import json
import math
import os.path
import subprocess
import sys
import textwrap
import types
import typing
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import icehouse
from icehouse.native._image import FrozenFunction

NUMBER = 42
FACTOR = 2
TEXTS = ("a", "b")


def helper(x: int) -> int:
    return x * FACTOR


def uses_helper(x: int) -> int:
    return helper(x) + NUMBER


def factorial(n: int) -> int:
    return 1 if n < 2 else n * factorial(n - 1)


def is_even(n: int) -> bool:
    return True if n == 0 else is_odd(n - 1)


def is_odd(n: int) -> bool:
    return False if n == 0 else is_even(n - 1)


def test_a_function_becomes_a_frozen_copy() -> None:
    frozen = icehouse.freeze(uses_helper)
    assert type(frozen) is FrozenFunction
    assert icehouse.is_frozen(frozen)
    assert not icehouse.is_frozen(uses_helper)
    assert frozen(1) == uses_helper(1) == 44
    assert icehouse.freeze(frozen) is frozen


def test_what_it_captured_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = icehouse.freeze(uses_helper)
    monkeypatch.setattr(sys.modules[__name__], "NUMBER", 4711)
    monkeypatch.setattr(sys.modules[__name__], "FACTOR", 100)
    monkeypatch.setattr(sys.modules[__name__], "helper", None)
    assert frozen(1) == 44


def test_lambdas_and_closures() -> None:
    step = 3
    add: Callable[[int], int] = lambda x: x + step  # noqa: E731 - a lambda is meant
    frozen = icehouse.freeze(add)
    step = 5
    assert frozen(1) == 4
    assert add(1) == 6


def test_defaults_freeze_as_snapshots() -> None:
    shared = [1, 2]

    kept = {"k": shared}

    def f(a: int, items: Any = shared, *, more: Any = kept, n: int = 3) -> Any:
        return a, items, more, n

    frozen = icehouse.freeze(f)
    shared.append(3)
    a, items, more, n = frozen(0)
    assert (a, n) == (0, 3)
    assert items == [1, 2]
    assert isinstance(items, icehouse.FrozenList)
    assert icehouse.same(more["k"], items)
    assert frozen(1, 2, more=3, n=4) == (1, 2, 3, 4)
    assert f(0)[1] == [1, 2, 3]


def test_functions_as_defaults_and_attributes_freeze_along() -> None:
    def f(x: int, by: Any = helper, dump: Any = json.dumps) -> Any:
        return by(x), dump([x])

    f.note = ["a"]  # type: ignore[attr-defined]
    f.by = helper  # type: ignore[attr-defined]
    f.load = json.loads  # type: ignore[attr-defined]
    frozen = icehouse.freeze(f)
    assert frozen(3) == (6, "[3]")
    assert frozen.note == ["a"]
    assert isinstance(frozen.note, icehouse.FrozenList)
    assert isinstance(frozen.by, FrozenFunction)
    assert frozen.__defaults__ == (frozen.by, json.dumps)
    assert frozen.load is json.loads


def test_recursion_calls_the_frozen_one(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = icehouse.freeze(factorial)
    monkeypatch.setattr(sys.modules[__name__], "factorial", None)
    assert frozen(10) == math.factorial(10)


def test_mutual_recursion() -> None:
    frozen = icehouse.freeze(is_even)
    assert frozen(10)
    assert not frozen(11)


def test_local_recursion() -> None:
    def count(n: int) -> int:
        return 0 if n == 0 else 1 + count(n - 1)

    def ping(n: int) -> str:
        return "ping" if n == 0 else pong(n - 1)

    def pong(n: int) -> str:
        return "pong" if n == 0 else ping(n - 1)

    assert icehouse.freeze(count)(20) == 20
    assert icehouse.freeze(ping, pong)(3) == "pong"


def test_the_same_function_is_frozen_once() -> None:
    def outer() -> Any:
        return helper, inner()

    def inner() -> Any:
        return helper

    a, b = icehouse.freeze(outer)()
    assert a is b
    assert isinstance(a, FrozenFunction)


def test_functions_inside_may_write_what_is_theirs() -> None:
    def outer(n: int) -> Any:
        total = 0
        seen = []

        def add(x: int) -> None:
            nonlocal total
            total += x

            def note() -> None:
                nonlocal total
                total += 1
                seen.append(x)

            note()

        for x in range(n):
            add(x)
        return total, seen

    assert icehouse.freeze(outer)(4) == (10, [0, 1, 2, 3])


def test_an_argument_that_is_a_cell() -> None:
    def outer(n: int, m: int = 1) -> int:
        def set_n() -> None:
            nonlocal n
            n = m + 5

        set_n()
        return n

    assert icehouse.freeze(outer)(4) == 6


def test_generators() -> None:
    def numbers(n: int) -> Iterator[int]:
        for i in range(n):
            got = yield i * FACTOR
            if got:
                return

    made = icehouse.freeze(numbers)
    assert list(made(3)) == [0, 2, 4]
    assert inspect.isgeneratorfunction(made)
    running = made(9)
    next(running)
    with pytest.raises(StopIteration):
        running.send(1)


def test_coroutines_and_asynchronous_generators() -> None:
    async def twice(x: int) -> int:
        await asyncio.sleep(0)
        return x * FACTOR

    async def stream(n: int) -> AsyncIterator[int]:
        for i in range(n):
            yield await twice(i)

    async def both(n: int) -> list[int]:
        return [x async for x in stream(n)]

    frozen = icehouse.freeze(both)
    assert inspect.iscoroutinefunction(frozen)
    assert inspect.isasyncgenfunction(icehouse.freeze(stream))
    assert asyncio.run(frozen(3)) == [0, 2, 4]


def test_comprehensions() -> None:
    def f(n: int) -> Any:
        a = [x * FACTOR for x in range(n)]
        b = {x: [y + NUMBER for y in range(x)] for x in range(n)}
        c = sum(x for x in a if x in {y for y in a})  # noqa: C416 - a set comprehension is meant
        return a, b, c, [lambda: x for x in a][0]()  # noqa: B023, RUF015

    assert icehouse.freeze(f)(2) == f(2)


def test_star_arguments() -> None:
    def f(a: int, /, b: int, *rest: int, c: int = 3, **more: int) -> Any:
        return a, b, rest, c, more

    frozen = icehouse.freeze(f)
    assert frozen(1, 2, 3, c=4, d=5) == f(1, 2, 3, c=4, d=5)
    assert inspect.signature(frozen) == inspect.signature(f)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'a'"):
        frozen(a=1, b=2)


def test_decorated_functions() -> None:
    def logged(prefix: str) -> Callable[[Any], Any]:
        def decorate(function: Any) -> Any:
            @functools.wraps(function)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                return prefix, function(*args, **kwargs)

            return wrapper

        return decorate

    @logged("a")
    @logged("b")
    def f(x: int) -> int:
        """Double."""
        return helper(x)

    frozen = icehouse.freeze(f)
    assert frozen(2) == ("a", ("b", 4))
    assert frozen.__wrapped__(2) == ("b", 4)
    assert isinstance(frozen.__wrapped__, FrozenFunction)
    assert (frozen.__name__, frozen.__doc__) == ("f", "Double.")
    assert list(inspect.signature(frozen).parameters) == ["x"]


def test_a_context_manager_of_contextlib() -> None:
    import contextlib

    @contextlib.contextmanager
    def doubled(x: int) -> Iterator[int]:
        yield helper(x)

    frozen = icehouse.freeze(doubled)
    with frozen(4) as eight:
        assert eight == 8


def test_modules_are_held_by_name() -> None:
    def f(x: int) -> Any:
        return math.sqrt(x), os.getpid(), json.dumps([x])

    frozen = icehouse.freeze(f)
    assert frozen(4) == (2.0, os.getpid(), "[4]")
    declared = icehouse.native._image._declaration_of(frozen)
    assert declared.facts["modules"] == {"math": "math", "os": "os", "json": "json"}


def test_functions_of_libraries_are_held_by_name() -> None:
    dumps = json.dumps
    join = os.path.join

    def f(x: int) -> Any:
        return dumps([x]), join("a", "b"), textwrap.dedent("  c")

    frozen = icehouse.freeze(f)
    assert frozen(1) == ("[1]", "a/b", "c")
    facts = icehouse.native._image._declaration_of(frozen).facts
    assert facts["cell_named"] == {"dumps": ("json", "dumps"), "join": ("posixpath", "join")}


def test_builtin_functions_and_types() -> None:
    size = len
    kind = dict

    def f(x: Any) -> Any:
        return size(x), sorted(x), kind(a=x), math.pi

    assert icehouse.freeze(f)("ba") == (2, ["a", "b"], {"a": "ba"}, math.pi)


def test_frozen_things_are_captured_as_they_are() -> None:
    table = icehouse.freeze({"a": [1]})
    constants = (1, "x", None, frozenset({1}))
    kinds = list[int]

    def f() -> Any:
        return table, constants, kinds, TEXTS

    got = icehouse.freeze(f)()
    assert got[0] is table
    assert got[1] is constants
    assert got[2] == list[int]
    assert got[3] == ("a", "b")


class Thing:
    def __init__(self, *items: int) -> None:
        self.items = list(items)

    def total(self, more: int = 0) -> int:
        return helper(sum(self.items)) + more


def test_a_class_is_captured_by_its_name() -> None:
    def f() -> Any:
        return Thing(1, 2).total()

    assert icehouse.freeze(f)() == 6


def test_the_function_of_a_class() -> None:
    frozen = icehouse.freeze(Thing.total)
    assert frozen(Thing(1, 2), 1) == 7


def test_methods_of_frozen_objects() -> None:
    thing = Thing(1, 2)
    with pytest.raises(icehouse.NotFreezableError, match="not frozen: freeze the object first"):
        icehouse.freeze(thing.total)
    view = icehouse.freeze(thing)
    method = icehouse.freeze(view.total)
    assert type(method) is types.MethodType
    assert isinstance(method.__func__, FrozenFunction)
    assert method(1) == 7
    assert icehouse.is_frozen(method)
    assert icehouse.freeze(method) is method

    def f() -> Any:
        return method(), bound()

    bound = view.total
    assert icehouse.freeze(f)() == (6, 6)


def test_partials() -> None:
    shared = [1]
    partial = functools.partial(Thing.total, Thing(1, 2), more=4)
    partial.note = shared  # type: ignore[attr-defined]
    frozen = icehouse.freeze(partial)
    assert isinstance(frozen, functools.partial)
    assert icehouse.is_frozen(frozen)
    assert frozen() == 10
    assert frozen(more=0) == 6
    assert frozen.note == [1]
    assert isinstance(frozen.func, FrozenFunction)
    assert frozen.args[0].items == [1, 2]
    assert dict(frozen.keywords) == {"more": 4}
    assert "more" in str(inspect.signature(frozen))
    for write in (
        lambda: setattr(frozen, "note", 1),
        lambda: delattr(frozen, "note"),
        lambda: frozen.keywords.__setitem__("more", 1),
        lambda: object.__setattr__(frozen, "note", 1),
        lambda: object.__setattr__(frozen, "_partial", 1),
        lambda: frozen.__setstate__((len, (), {}, {})),
    ):
        with pytest.raises((TypeError, AttributeError)):
            write()
    assert icehouse.freeze(functools.partial(json.dumps, indent=1))([1]) == "[\n 1\n]"
    assert icehouse.freeze(functools.partial(int, base=2))("11") == 3


def test_a_partial_that_is_captured() -> None:
    double = functools.partial(helper)

    def f(x: int) -> Any:
        return double(x)

    assert icehouse.freeze(f)(4) == 8


def test_annotations_survive() -> None:
    class Local:
        pass

    def f(a: int, b: "list[int] | None" = None, *c: Thing, **d: Local) -> dict[str, Thing]:
        raise NotImplementedError

    frozen = icehouse.freeze(f)
    assert frozen.__annotations__["a"] is int
    assert frozen.__annotations__["b"] == "list[int] | None"
    assert frozen.__annotations__["c"] is Thing
    assert frozen.__annotations__["d"].endswith("Local")
    assert frozen.__annotations__["return"] == dict[str, Thing]


def test_type_hints_survive() -> None:
    def f(a: int, b: "Thing", c: typing.Optional[int] = None) -> list[Thing]:  # noqa: UP045
        raise NotImplementedError

    hints = typing.get_type_hints(icehouse.freeze(f), globalns=globals())
    assert hints == {"a": int, "b": Thing, "c": int | None, "return": list[Thing]}


@pytest.mark.skipif(sys.version_info < (3, 12), reason="this syntax is new in 3.12")
def test_type_parameters_survive() -> None:
    space: dict[str, Any] = {"__name__": __name__}
    source = """
    def first[T: int, *Ts, **P](items: list[T], *rest: *Ts) -> T:
        kept: list[T] = [T and x for x in items]
        return kept[0]
    """
    exec(textwrap.dedent(source), space)
    frozen = icehouse.freeze(space["first"])
    assert frozen([7]) == 7
    names = [param.__name__ for param in frozen.__type_params__]
    assert names == ["T", "Ts", "P"]
    assert frozen.__annotations__["return"] is frozen.__type_params__[0]


def test_an_import_inside() -> None:
    def f() -> Any:
        import xml.sax as sax
        from json import decoder

        return decoder.__name__, sax.__name__

    assert icehouse.freeze(f)() == ("json.decoder", "xml.sax")


def test_a_relative_import_inside() -> None:
    space: dict[str, Any] = {"__name__": "json.encoder", "__package__": "json"}
    exec("def f():\n    from . import decoder\n    return decoder.__name__", space)
    assert icehouse.freeze(space["f"])() == "json.decoder"


def test_a_class_inside() -> None:
    def f(n: int) -> Any:
        class Local(Thing):
            FACTOR = FACTOR
            number = NUMBER

            def twice(self) -> int:
                return super().total() + helper(self.number)

        return Local(n).twice(), Local.FACTOR

    assert icehouse.freeze(f)(1) == f(1) == (86, 2)


def test_a_name_of_a_class_body_is_not_taken_for_a_global(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "LOCAL_STATE", [1], raising=False)
    source = """
    def f():
        class C:
            LOCAL_STATE = 5
            seen = LOCAL_STATE
        return C.seen
    """
    exec(textwrap.dedent(source), globals())
    try:
        assert icehouse.freeze(globals()["f"])() == 5
    finally:
        del globals()["f"]


def test_exceptions_pass_through() -> None:
    def f(x: int) -> int:
        try:
            return x // 0
        finally:
            helper(1)

    frozen = icehouse.freeze(f)
    with pytest.raises(ZeroDivisionError) as caught:
        frozen(1)
    names = [frame.name for frame in caught.traceback]
    assert names[-1] == "f"


def test_it_is_collected_with_all_that_it_made() -> None:
    import gc
    import weakref

    def ping(n: int) -> int:
        return 0 if n == 0 else pong(n - 1)

    def pong(n: int) -> int:
        return 0 if n == 0 else ping(n - 1)

    frozen = icehouse.freeze(ping)
    assert frozen(3) == 0
    dead = weakref.ref(frozen)
    del frozen
    gc.collect()
    assert dead() is None


def test_several_at_once() -> None:
    def f() -> Any:
        return g

    def g() -> Any:
        return f

    frozen = icehouse.freeze(f, g, {"plain": [f]}, [1])
    assert frozen()() is frozen
    with pytest.raises(TypeError, match="at least one"):
        icehouse.freeze()


def test_data_may_refer_to_the_functions_beside_it() -> None:
    def f() -> int:
        return 5

    table = icehouse.freeze({"f": f}, f)
    assert table["f"]() == 5
    with pytest.raises(icehouse.NotFreezableError, match=r"root\['g'\].*freeze it first"):
        icehouse.freeze({"g": helper}, f)


def test_modules_as_arguments_become_references() -> None:
    reference = icehouse.freeze(math)
    assert isinstance(reference, icehouse.ImmutableModule)
    assert reference.sqrt(4) == 2.0
    stray = types.ModuleType("stray")
    with pytest.raises(icehouse.NotFreezableError, match="stray"):
        icehouse.freeze(stray)


ENDLESS = """
import sys, threading
import icehouse

@icehouse.frozen
def deep(n):
    return 0 if n == 0 else 1 + deep(n - 1)

def go():
    try:
        deep(5_000_000)
    except RecursionError:
        said.append(deep(100))

said = []
sys.setrecursionlimit(10**7)
go()
thread = threading.Thread(target=go)
thread.start()
thread.join()
print(said)
"""


def test_a_recursion_ends_in_an_exception_whatever_the_limit_is() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ENDLESS], capture_output=True, text=True, timeout=120, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "[100, 100]\n", "")
