"""Statuses of functions and modules; several roots; what a failure leaves; __pre_freeze__."""

import itertools
import json
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from icehouse import (
    FREEZABLE_EXPLICIT,
    FREEZABLE_NO,
    FREEZABLE_PROXY,
    FREEZABLE_YES,
    ImmutableModule,
    NotFreezable,
    NotFreezableError,
    disabled,
    freezable,
    freeze,
    is_frozen,
    set_freezable,
)
from icehouse.store.declarations import status


def plain() -> Any:
    return lambda: 1


def decorated() -> Any:
    return freezable(lambda: 1)


def user_of(child: Any) -> Any:
    return freezable(lambda: child())


kinds = pytest.mark.parametrize("make", [plain, decorated])


# --- each status of a function -------------------------------------------------------------------


@kinds
@pytest.mark.parametrize("given", [FREEZABLE_YES, FREEZABLE_PROXY])
def test_yes_and_proxy(make: Callable[[], Any], given: int) -> None:
    assert freeze(set_freezable(make(), given))() == 1
    assert freeze(user_of(set_freezable(make(), given)))() == 1
    child = set_freezable(make(), given)
    assert freeze(child, user_of(child))() == 1


@kinds
def test_no(make: Callable[[], Any]) -> None:
    child = set_freezable(make(), FREEZABLE_NO)
    for objects in ((child,), (user_of(child),), (child, user_of(child)), (user_of(child), child)):
        with pytest.raises(NotFreezableError, match="FREEZABLE_NO"):
            freeze(*objects)
        assert not any(map(is_frozen, objects))
    set_freezable(child, FREEZABLE_YES)
    assert freeze(child)() == 1


@kinds
def test_explicit(make: Callable[[], Any]) -> None:
    def explicit() -> Any:
        return set_freezable(make(), FREEZABLE_EXPLICIT)

    assert freeze(explicit())() == 1
    outer = user_of(explicit())
    with pytest.raises(NotFreezableError, match=r"'child'.*FREEZABLE_EXPLICIT"):
        freeze(outer)
    assert not is_frozen(outer)
    for child in (explicit(), explicit()):
        outer = user_of(child)
        assert freeze(outer, child)() == 1
    for child in (explicit(), explicit()):
        outer = user_of(child)
        assert freeze(child, outer)() == 1
        assert outer() == 1


@kinds
def test_explicit_in_a_chain(make: Callable[[], Any]) -> None:
    child = set_freezable(make(), FREEZABLE_EXPLICIT)
    middle = user_of(child)
    outer = user_of(middle)
    with pytest.raises(NotFreezableError, match="FREEZABLE_EXPLICIT"):
        freeze(outer, middle)
    assert not is_frozen(middle)
    assert freeze(outer, child)() == 1


def test_disabled_function() -> None:
    child = decorated()
    outer = user_of(child)
    with disabled(child):
        for objects in ((child,), (outer,), (outer, child)):
            with pytest.raises(NotFreezableError, match="disabled"):
                freeze(*objects)
        assert child() == 1
    with disabled(child), pytest.raises(ZeroDivisionError):
        raise ZeroDivisionError
    assert freeze(outer)() == 1
    assert is_frozen(child)


def test_data_that_a_function_captured_has_its_status() -> None:
    class Settings:
        __slots__ = ("__weakref__", "value")

    settings = Settings()
    settings.value = 1
    function = freezable("settings")(lambda: settings.value)
    for given in (FREEZABLE_NO, FREEZABLE_EXPLICIT):
        set_freezable(settings, given)
        with pytest.raises(NotFreezableError, match=r"'settings'.*FREEZABLE_"):
            freeze(function)
    set_freezable(settings, FREEZABLE_YES)
    assert freeze(function)() == 1


def test_what_opts_out_is_refused_where_it_is_captured() -> None:
    class Lock(NotFreezable):
        pass

    lock = Lock()
    with pytest.raises(NotFreezableError, match=r"'lock'.*opts out"):
        freeze(freezable("*")(lambda: lock))


# --- modules -------------------------------------------------------------------------------------


@pytest.fixture
def module() -> Iterator[Any]:
    made = types.ModuleType("a_module_of_declarations")
    code = "def inner(): return 1\ndef outer(): return inner()\n"
    exec(code, vars(made))
    sys.modules[made.__name__] = made
    yield made
    del sys.modules[made.__name__]


def test_a_module_freezes_as_its_proxy() -> None:
    proxy: Any = freeze(json)
    assert proxy == ImmutableModule("json")
    assert not is_frozen(json)


def test_the_status_of_a_module_is_that_of_its_functions(module: Any) -> None:
    assert freeze(module.outer)() == 1
    set_freezable(module, FREEZABLE_NO)
    with pytest.raises(NotFreezableError, match=r"outer.*FREEZABLE_NO"):
        freeze(module.outer)
    with pytest.raises(NotFreezableError, match="FREEZABLE_NO"):
        freeze(module)
    set_freezable(module, FREEZABLE_EXPLICIT)
    with pytest.raises(NotFreezableError, match=r"inner.*FREEZABLE_EXPLICIT"):
        freeze(module.outer)
    assert freeze(module.outer, module.inner)() == 1
    assert freeze(module) == ImmutableModule(module)
    module.__freezable__ = True
    assert freeze(module.outer)() == 1
    module.__freezable__ = 1
    with pytest.raises(ValueError, match="a_module_of_declarations has __freezable__ = 1"):
        freeze(module.outer)


# --- several roots -------------------------------------------------------------------------------


def test_without_arguments() -> None:
    with pytest.raises(TypeError, match="at least"):
        freeze()


def test_the_first_is_returned_whatever_it_is() -> None:
    function, data = decorated(), {"a": [1]}
    assert freeze(function, data) is function
    assert freeze(data, decorated()) == {"a": [1]}
    assert is_frozen(freeze(data, function))
    assert freeze(5, decorated()) == 5
    assert data == {"a": [1]}
    assert not is_frozen(data)


def test_what_is_frozen_already_is_skipped() -> None:
    function = freeze(decorated())
    view = freeze([1])
    assert freeze(function) is function
    assert freeze(function, view, 1) is function
    assert freeze(view, decorated()) is view
    other = decorated()
    assert freeze(function, other) is function
    assert is_frozen(other)


def test_shared_children_and_cross_references() -> None:
    shared = decorated()
    first: Any = freezable(lambda n: second(n - 1) if n else shared())
    second: Any = freezable(lambda n: first(n - 1) if n else shared())
    freeze(first, second)
    assert all(map(is_frozen, (first, second, shared)))
    assert (first(5), second(4)) == (1, 1)
    values = [cell.cell_contents for cell in first.__closure__]
    assert any(value is shared for value in values)


def captures_a_lock() -> Any:
    lock = threading.Lock()
    return freezable("*")(lambda: lock)


BAD: dict[str, Callable[[], Any]] = {
    "status": lambda: set_freezable(decorated(), FREEZABLE_NO),
    "captured": captures_a_lock,
    "data": lambda: [threading.Lock()],
    "generator": lambda: {"a": (n for n in "abc")},
    "not freezable": NotFreezable,
    "child": lambda: user_of(set_freezable(decorated(), FREEZABLE_NO)),
    "invalid": lambda: set_invalid(decorated()),
}


def set_invalid(function: Any) -> Any:
    function.__freezable__ = "never"
    return function


def user_with(child: Any, limits: list[int]) -> Any:
    return freezable("limits")(lambda: (child(), limits))


class World:
    """Two functions, one that both reach, what one captured, and data."""

    def __init__(self) -> None:
        self.limits = limits = [1, 2]
        self.child = child = decorated()
        self.first = first = user_with(child, limits)
        self.second: Any = freezable(lambda: first())
        self.data = {"a": [1], "child": [2]}
        self.roots = [self.first, self.second, self.data]

    def check_unchanged(self) -> None:
        assert not any(map(is_frozen, (self.first, self.second, self.child, self.data)))
        self.limits.append(3)
        assert self.second() == (1, self.limits)
        assert self.second()[1] is self.limits
        self.first.note = self.child.note = "still mutable"
        assert self.data == {"a": [1], "child": [2]}


@pytest.mark.parametrize("name", BAD)
def test_a_failure_anywhere_leaves_all_as_it_was(name: str) -> None:
    world = World()
    for order in itertools.permutations([*world.roots, BAD[name]()]):
        with pytest.raises((NotFreezableError, ValueError)):
            freeze(*order)
        world.check_unchanged()
    assert freeze(*world.roots)()[0] == 1
    assert is_frozen(world.child)


# --- __pre_freeze__ of declarations --------------------------------------------------------------


def test_functions_are_asked_once_in_circles() -> None:
    calls: list[str] = []
    first: Any = freezable(lambda n: second(n - 1) if n else 0)
    second: Any = freezable(lambda n: first(n - 1) if n else 1)
    first.__pre_freeze__ = lambda: calls.append("first")
    second.__pre_freeze__ = lambda: calls.append("second")
    freeze(first, second, first)
    assert calls == ["first", "second"]
    assert first(3) == 1
    freeze(first, second)
    assert calls == ["first", "second"]


def test_a_veto_of_a_function() -> None:
    child = decorated()

    def veto() -> None:
        raise LookupError("not now")

    child.__pre_freeze__ = veto
    outer = user_of(child)
    for objects in ((child,), (outer,), (outer, child), (child, outer)):
        with pytest.raises(LookupError, match="not now"):
            freeze(*objects)
        assert not any(map(is_frozen, objects))
    del child.__pre_freeze__
    assert freeze(outer)() == 1


def test_a_hook_may_change_what_is_captured_and_freeze_parts() -> None:
    state: Any = [1]

    def prepare() -> None:
        nonlocal state
        state = freeze(state)

    function: Any = freezable(lambda: state)
    function.__pre_freeze__ = prepare
    assert freeze(function)() == [1]
    assert is_frozen(state)


def test_a_part_that_a_hook_froze_stays_frozen() -> None:
    part = decorated()
    function: Any = user_of(part)
    function.__pre_freeze__ = lambda: freeze(part)
    with pytest.raises(NotFreezableError):
        freeze(function, NotFreezable())
    assert is_frozen(part)
    assert not is_frozen(function)


def test_statuses_go_with_their_functions() -> None:
    before = len(status._statuses)
    for _ in range(100):
        set_freezable(decorated(), FREEZABLE_NO)
        assert freeze(decorated())() == 1
    assert len(status._statuses) == before


# --- data beside declarations --------------------------------------------------------------------


class Noting:
    def __init__(self) -> None:
        self.calls = 0

    def __pre_freeze__(self) -> None:
        self.calls += 1


def test_an_object_in_many_pieces_is_asked_once() -> None:
    shared = Noting()
    function: Any = freezable("shared")(lambda: shared)
    assert freeze([shared], function, {"a": shared}, shared)[0].calls == 1
    assert function().calls == 1
    assert shared.calls == 1

    def inner() -> int:
        return 1

    # A function inside of data is found while that freezes, which starts again then.
    data = [inner, shared]
    freeze(freezable("data")(lambda: data))
    assert shared.calls == 2


def test_an_argument_is_one_for_captured_state_too() -> None:
    for order in (1, -1):
        settings = set_freezable(Noting(), FREEZABLE_EXPLICIT)
        function: Any = freezable("settings")(lambda: settings)  # noqa: B023 - called in this turn
        with pytest.raises(NotFreezableError, match=r"'settings'.*FREEZABLE_EXPLICIT"):
            freeze(function)
        with pytest.raises(NotFreezableError, match="FREEZABLE_EXPLICIT"):
            freeze(function, [settings])
        freeze(*[function, [settings], settings][::order])
        assert is_frozen(function)


def test_what_a_hook_freezes_is_another_freezing() -> None:
    explicit = set_freezable(Noting(), FREEZABLE_EXPLICIT)
    failures: list[str] = []

    def hook() -> None:
        try:
            freeze([explicit])
        except NotFreezableError as error:
            failures.append(str(error))

    function = decorated()
    function.__pre_freeze__ = hook
    freeze(function, explicit)
    assert len(failures) == 1
