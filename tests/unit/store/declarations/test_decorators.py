"""The decorators: what each does, how they nest, and what they leave as it is."""

import asyncio
import functools
import gc
import inspect
import itertools
import types
from collections.abc import Callable
from typing import Any

import pytest

import icehouse
from icehouse import (
    FREEZABLE_EXPLICIT,
    FREEZABLE_NO,
    FREEZABLE_YES,
    NotFreezableError,
    explicitly_freezable,
    freezable,
    freeze,
    frozen,
    immutable,
    interpreters,
    is_frozen,
    unfreezable,
)
from icehouse.native._image import FreezableFunction, FrozenFunction
from icehouse.store.declarations import status

LIMITS = [1, 2]
NAMES = {"a": 1}


def fresh() -> Callable[[], Any]:
    def function() -> Any:
        return LIMITS, NAMES

    return function


# --- what each does to a function ----------------------------------------------------------------


def test_frozen_freezes_at_once() -> None:
    @frozen
    def double(x: int, *, by: int = 2) -> int:
        """Multiply."""
        return x * by

    assert is_frozen(double)
    assert double(3) == 6
    assert double(3, by=3) == 9
    assert double.__doc__ == "Multiply."
    assert str(inspect.signature(double)) == "(x: int, *, by: int = 2) -> int"
    with pytest.raises(icehouse.FrozenError):
        double.x = 1  # type: ignore[attr-defined]


def test_frozen_refuses_captured_state_that_is_not_named() -> None:
    with pytest.raises(NotFreezableError, match="LIMITS"):
        frozen(fresh())
    with pytest.raises(NotFreezableError, match="NAMES"):
        frozen("LIMITS")(fresh())
    assert frozen("LIMITS", "NAMES")(fresh())() == ([1, 2], {"a": 1})
    assert frozen("*")(fresh())() == ([1, 2], {"a": 1})


def test_an_alias_of_a_named_value_is_allowed() -> None:
    alias = LIMITS

    def function() -> Any:
        return alias, LIMITS

    first, second = frozen("LIMITS")(function)()
    assert icehouse.same(first, second)
    with pytest.raises(NotFreezableError, match="alias"):
        frozen("NAMES")(lambda: (alias, NAMES))


def test_freezable_works_as_before_and_freezes_in_place() -> None:
    number = 1

    @freezable
    def function() -> int:
        return number

    assert not is_frozen(function)
    assert function() == 1
    number = 2
    assert function() == 2
    assert freeze(function) is function
    assert is_frozen(function)
    number = 3
    assert function() == 2


def test_freezable_freezes_where_it_is_used() -> None:
    @freezable
    def inner() -> int:
        return 1

    def outer() -> int:
        return inner() + 1

    assert freeze(outer)() == 2
    assert is_frozen(inner)
    assert not is_frozen(outer)


def test_freezable_takes_attributes_until_then() -> None:
    @freezable("LIMITS")
    def function() -> Any:
        return LIMITS

    function.note = "a"  # type: ignore[attr-defined]
    freeze(function)
    assert function.note == "a"  # type: ignore[attr-defined]
    with pytest.raises(icehouse.FrozenError):
        function.note = "b"  # type: ignore[attr-defined]
    assert is_frozen(function())


def test_explicitly_freezable_freezes_as_an_argument_alone() -> None:
    @explicitly_freezable
    def inner() -> int:
        return 1

    def outer() -> int:
        return inner()

    with pytest.raises(NotFreezableError, match=r"'inner'.*FREEZABLE_EXPLICIT"):
        freeze(outer)
    assert not is_frozen(inner)
    assert freeze(outer, inner)() == 1
    assert is_frozen(inner)
    # From then on it is no question any more.
    assert freeze(outer)() == 1


def test_both_as_argument_and_reached_in_either_order() -> None:
    for first_is_outer in (True, False):

        @explicitly_freezable
        def inner() -> int:
            return 1

        outer = freezable(lambda: inner())
        freeze(*((outer, inner) if first_is_outer else (inner, outer)))
        assert is_frozen(inner)
        assert is_frozen(outer)


def test_unfreezable_stays_a_function() -> None:
    @unfreezable
    def inner() -> int:
        return 1

    assert type(inner) is types.FunctionType
    with pytest.raises(NotFreezableError, match=r"inner.*FREEZABLE_NO"):
        freeze(inner)
    with pytest.raises(NotFreezableError, match=r"'inner'.*FREEZABLE_NO"):
        freeze(lambda: inner())
    with icehouse.Store(capacity=1 << 20) as store, pytest.raises(NotFreezableError):
        store.put(inner)


def test_generators_and_coroutines() -> None:
    @freezable
    def count(n: int) -> Any:
        yield from range(n)

    @frozen
    async def wait() -> int:
        await asyncio.sleep(0)
        return sum(count(4))

    assert is_frozen(count)
    assert asyncio.run(wait()) == 6
    assert inspect.iscoroutinefunction(wait)


# --- how they nest -------------------------------------------------------------------------------

FROZEN, FREEZABLE, UNFREEZABLE, EXPLICIT = "frozen", "freezable", "unfreezable", "explicit"
DECORATORS: dict[str, Any] = {
    FROZEN: frozen,
    FREEZABLE: freezable,
    UNFREEZABLE: unfreezable,
    EXPLICIT: explicitly_freezable,
}
# Rule 8 of PEP 795: outer, inner, and what comes of both.
TABLE = [
    (FROZEN, FROZEN, FROZEN),
    (FROZEN, FREEZABLE, FROZEN),
    (FROZEN, UNFREEZABLE, None),
    (FREEZABLE, FROZEN, FROZEN),
    (FREEZABLE, FREEZABLE, FREEZABLE),
    (FREEZABLE, UNFREEZABLE, UNFREEZABLE),
    (UNFREEZABLE, FROZEN, FROZEN),
    (UNFREEZABLE, FREEZABLE, FREEZABLE),
    (UNFREEZABLE, UNFREEZABLE, UNFREEZABLE),
    # And those with the fourth.
    (FROZEN, EXPLICIT, FROZEN),
    (FREEZABLE, EXPLICIT, EXPLICIT),
    (UNFREEZABLE, EXPLICIT, EXPLICIT),
    (EXPLICIT, EXPLICIT, EXPLICIT),
    (EXPLICIT, FROZEN, FROZEN),
    (EXPLICIT, FREEZABLE, FREEZABLE),
    (EXPLICIT, UNFREEZABLE, UNFREEZABLE),
]
STATUSES = {
    FREEZABLE: FREEZABLE_YES,
    UNFREEZABLE: FREEZABLE_NO,
    EXPLICIT: FREEZABLE_EXPLICIT,
}


def test_the_table_is_whole() -> None:
    assert {row[:2] for row in TABLE} == set(itertools.product(DECORATORS, repeat=2))


@pytest.mark.parametrize(("outer", "inner", "expected"), TABLE)
def test_nested_on_one_function(outer: str, inner: str, expected: str | None) -> None:
    decorated = DECORATORS[inner](lambda: 5)
    if expected is None:
        with pytest.raises(NotFreezableError, match="@unfreezable; take one of the two away"):
            DECORATORS[outer](decorated)
        assert status.status_of(decorated) is FREEZABLE_NO
        return
    made = DECORATORS[outer](decorated)
    assert made() == 5
    assert (type(made) is FrozenFunction) is (expected == FROZEN)
    assert (type(made) is FreezableFunction) is (expected in (FREEZABLE, EXPLICIT))
    if expected != FROZEN:
        assert status.status_of(made) is STATUSES[expected]
    if type(decorated) is FreezableFunction:
        assert made is decorated


def test_arguments_are_joined() -> None:
    for outer, inner in itertools.product((frozen, freezable, explicitly_freezable), repeat=2):
        if inner is frozen:
            continue
        made = freeze(outer("LIMITS")(inner("NAMES")(fresh())))
        assert made() == ([1, 2], {"a": 1})
    with pytest.raises(NotFreezableError, match="LIMITS"):
        frozen("LIMITS")(frozen("NAMES")(fresh()))


def test_functions_inside_function_bodies_are_not_reached() -> None:
    @unfreezable
    def outer() -> Any:
        def inner() -> int:
            return 1

        return inner

    assert freeze(outer())() == 1

    @freezable("LIMITS")
    def captures() -> Any:
        def inner() -> Any:
            return LIMITS

        return inner

    with pytest.raises(NotFreezableError, match="LIMITS"):
        freeze(captures())


# --- what can be decorated -----------------------------------------------------------------------


def test_methods_of_every_kind() -> None:
    class Thing:
        @freezable
        @staticmethod
        def static() -> int:
            return 1

        @freezable
        @classmethod
        def of_class(cls) -> str:
            return cls.__name__

        @freezable
        def plain(self) -> int:
            return 2

        @unfreezable
        @property  # type: ignore[prop-decorator]
        def name(self) -> str:
            """Its name."""
            return "thing"

    assert (Thing.static(), Thing.of_class(), Thing().plain(), Thing().name) == (
        1,
        "Thing",
        2,
        "thing",
    )
    assert type(vars(Thing)["static"].__func__) is FreezableFunction
    assert type(vars(Thing)["of_class"].__func__) is FreezableFunction
    assert type(vars(Thing)["plain"]) is FreezableFunction
    assert vars(Thing)["name"].__doc__ == "Its name."
    assert status.status_of(vars(Thing)["name"].fget) is FREEZABLE_NO


def test_above_other_decorators() -> None:
    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any) -> Any:
            return "logged", function(*args)

        return wrapper

    @frozen
    @logged
    def add(a: int, b: int) -> int:
        return a + b

    assert add(1, 2) == ("logged", 3)
    assert is_frozen(add)
    assert is_frozen(add.__wrapped__)


@pytest.mark.parametrize("by", [frozen, freezable, explicitly_freezable, unfreezable])
def test_what_is_no_declaration(by: Any) -> None:
    for wrong in (5, [1], None, functools.partial(print), len, types):
        with pytest.raises(TypeError, match=r"decorates functions and classes|takes"):
            by(wrong)


@pytest.mark.parametrize("by", [frozen, freezable, explicitly_freezable, unfreezable])
def test_a_cache_says_what_to_do(by: Any) -> None:
    with pytest.raises(NotFreezableError, match=r"__wrapped__.*InterpreterLocal"):
        by(functools.lru_cache(fresh()))


def test_what_is_no_name() -> None:
    wrong: Any
    for by in (frozen, freezable, explicitly_freezable):
        for wrong in ("a b", "", "x.y", "1"):
            with pytest.raises(ValueError, match="no name of a variable"):
                by(wrong)
        for wrong in (("a", 5), (len, len), ("a", len)):
            with pytest.raises(TypeError, match="names of captured state"):
                by(*wrong)
    wrong = "LIMITS"
    with pytest.raises(TypeError, match="takes no names"):
        unfreezable(wrong)


def test_empty_brackets() -> None:
    assert frozen()(lambda: 1)() == 1
    assert type(freezable()(lambda: 1)) is FreezableFunction


def test_the_names_of_the_prototype() -> None:
    assert immutable.explicitlyFreezable is immutable.explicitly_freezable is explicitly_freezable
    assert immutable.isfrozen is immutable.is_frozen is immutable.is_deep_frozen is is_frozen
    assert immutable.deep_freeze is immutable.freeze is freeze
    for name in immutable.__all__:
        same = getattr(icehouse, name, None)
        assert same is None or getattr(immutable, name) is same


# --- failures ------------------------------------------------------------------------------------


def test_a_failure_leaves_what_was_said_as_it_was() -> None:
    function = fresh()
    with pytest.raises(NotFreezableError):
        frozen("LIMITS")(function)
    assert status.named_state(function) == frozenset()
    assert status.status_of(function) is None
    assert not status.decorated(function)
    assert "__freezable__" not in vars(function)
    later = freezable("LIMITS")(function)
    with pytest.raises(NotFreezableError):
        frozen("x")(later)
    assert status.named_state(later) == {"LIMITS"}
    assert status.status_of(later) is FREEZABLE_YES


def test_names_go_with_the_function() -> None:
    gc.collect()  # what other tests left would go meanwhile
    before = len(status._names)
    for _ in range(100):
        freezable("LIMITS")(fresh())
    gc.collect()
    assert len(status._names) == before


# --- elsewhere -----------------------------------------------------------------------------------

IN_ANOTHER_INTERPRETER = """
import icehouse
from icehouse import immutable

limits = [1]

@icehouse.freezable("limits")
def function():
    return limits

@icehouse.unfreezable
def never():
    return 1

class Lock(icehouse.NotFreezable):
    pass

def refused(*objects):
    try:
        icehouse.freeze(*objects)
    except icehouse.NotFreezableError:
        return True
    return False

assert refused(never) and refused([Lock()])
with icehouse.disabled(function):
    assert refused(function)
icehouse.freeze(function)
limits.append(2)
assert function() == [1]
assert immutable.import_module("json").dumps([1]) == "[1]"

class Slotted:
    __slots__ = ("__weakref__",)

one = icehouse.set_freezable(Slotted(), icehouse.FREEZABLE_EXPLICIT)
assert refused([one]) and not refused(one) and not refused([Slotted()])
"""


def test_all_of_it_in_another_interpreter() -> None:
    if not interpreters.supported():
        pytest.skip("no interpreters here")
    with interpreters.Interpreter() as other:
        other.run(IN_ANOTHER_INTERPRETER)
