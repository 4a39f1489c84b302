"""Statuses of classes, the decorators on classes and in their bodies, and what failures leave."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

import icehouse
from icehouse import (
    FREEZABLE_EXPLICIT,
    FREEZABLE_NO,
    FREEZABLE_PROXY,
    FREEZABLE_YES,
    NotFreezable,
    NotFreezableError,
    disabled,
    explicitly_freezable,
    freezable,
    freeze,
    frozen,
    is_frozen,
    set_freezable,
    unfreezable,
)
from icehouse.native._image import FreezableFunction, FrozenFunction
from icehouse.store.declarations import status

DECORATORS: dict[str, Any] = {
    "frozen": frozen,
    "freezable": freezable,
    "unfreezable": unfreezable,
    "explicit": explicitly_freezable,
}


def make(*decorators: str) -> Any:
    """A class with state, decorated from the inside out."""

    class Thing:
        state: Any = [1]  # noqa: RUF012 - this is what it is about

        def read(self) -> Any:
            return self.state

    made: Any = Thing
    for name in decorators:
        made = DECORATORS[name](made)
    return made


def stateless() -> Any:
    class Base:
        def one(self) -> int:
            return 1

    return Base


def derived(base: Any) -> Any:
    class Derived(base):  # type: ignore[misc]
        def two(self) -> int:
            return int(self.one()) + 1

    return Derived


# --- each status, as root, as child, as both -----------------------------------------------------


@pytest.mark.parametrize("given", [FREEZABLE_YES, FREEZABLE_PROXY])
def test_yes_and_proxy(given: int) -> None:
    assert is_frozen(freeze(set_freezable(stateless(), given)))
    base = set_freezable(stateless(), given)
    cls = derived(base)
    freeze(base, cls)
    assert is_frozen(cls)
    assert is_frozen(base)
    assert cls().two() == 2


def test_a_base_that_is_declared_freezable_freezes_with_the_class() -> None:
    base = set_freezable(stateless(), FREEZABLE_YES)
    cls = freeze(derived(base))
    assert is_frozen(base)
    assert cls().two() == 2


def test_no() -> None:
    base = set_freezable(stateless(), FREEZABLE_NO)
    cls = derived(base)
    for objects in ((base,), (cls,), (base, cls), (cls, base)):
        with pytest.raises(NotFreezableError, match="FREEZABLE_NO"):
            freeze(*objects)
        assert not any(map(is_frozen, objects))
    for instance in (base(), cls()):
        with pytest.raises(NotFreezableError, match="FREEZABLE_NO"):
            freeze([instance])
    set_freezable(base, FREEZABLE_YES)
    assert freeze(cls)().two() == 2


def test_explicit() -> None:
    assert is_frozen(freeze(set_freezable(stateless(), FREEZABLE_EXPLICIT)))
    for order in (1, -1):
        base = set_freezable(stateless(), FREEZABLE_EXPLICIT)
        cls = set_freezable(derived(base), FREEZABLE_YES)
        with pytest.raises(NotFreezableError, match=r"Base.*FREEZABLE_EXPLICIT"):
            freeze(cls)
        assert not is_frozen(base)
        freeze(*[base, cls][::order])
        assert is_frozen(base)
        assert cls().two() == 2


def test_instances_of_an_explicit_class_until_it_is_frozen() -> None:
    cls = set_freezable(stateless(), FREEZABLE_EXPLICIT)
    freeze(cls())
    with pytest.raises(NotFreezableError, match="FREEZABLE_EXPLICIT"):
        freeze([cls()])
    freeze(cls)
    assert freeze([cls()])[0].one() == 1
    own = set_freezable(cls(), FREEZABLE_EXPLICIT)
    with pytest.raises(NotFreezableError, match="FREEZABLE_EXPLICIT"):
        freeze([own])


def test_what_opts_out() -> None:
    class Lock(NotFreezable):
        pass

    for objects in ((Lock,), (stateless(), Lock), (Lock, stateless())):
        with pytest.raises(NotFreezableError, match="opts out"):
            freeze(*objects)
        assert not any(map(is_frozen, objects))
    with pytest.raises(NotFreezableError, match="opts out"):
        frozen(Lock)


def test_disabled_class() -> None:
    cls = stateless()
    with disabled(cls):
        for objects in ((cls,), ([cls()],), (cls(),)):
            with pytest.raises(NotFreezableError, match="disabled"):
                freeze(*objects)
    freeze(cls)
    with pytest.raises(TypeError, match="frozen already"):
        disabled(cls)
    with pytest.raises(TypeError, match="frozen already"):
        set_freezable(cls, FREEZABLE_NO)


# --- nested decorators ---------------------------------------------------------------------------

LATER = ("freezable", "unfreezable", "explicit")
# Outer, inner, and what the class has become: frozen or a status; None: an error.
TABLE = [
    ("frozen", "frozen", "frozen"),
    ("frozen", "freezable", "frozen"),
    ("frozen", "unfreezable", None),
    ("frozen", "explicit", "frozen"),
    *((outer, "frozen", "frozen") for outer in ("freezable", "unfreezable", "explicit")),
    *((outer, "freezable", FREEZABLE_YES) for outer in ("freezable", "unfreezable", "explicit")),
    *((outer, "unfreezable", FREEZABLE_NO) for outer in ("freezable", "unfreezable", "explicit")),
    *(
        (outer, "explicit", FREEZABLE_EXPLICIT)
        for outer in ("freezable", "unfreezable", "explicit")
    ),
]


def test_the_table_is_whole() -> None:
    assert {row[:2] for row in TABLE} == set(itertools.product(DECORATORS, repeat=2))


@pytest.mark.parametrize(("outer", "inner", "expected"), TABLE)
def test_nested_on_one_class(outer: str, inner: str, expected: Any) -> None:
    cls = make(inner)
    if expected is None:
        with pytest.raises(NotFreezableError, match="@unfreezable; take one of the two away"):
            DECORATORS[outer](cls)
        assert status.status_of(cls) is FREEZABLE_NO
        assert not is_frozen(cls)
        return
    assert DECORATORS[outer](cls) is cls
    assert is_frozen(cls) is (expected == "frozen")
    if expected == "frozen":
        assert type(cls.state) is icehouse.FrozenList
        with pytest.raises(TypeError):
            cls.state = 5
    else:
        assert status.status_of(cls) is expected
        assert cls().read() == [1]
    freezes = expected in (FREEZABLE_YES, FREEZABLE_EXPLICIT)
    if freezes:
        assert type(freeze(cls).state) is icehouse.FrozenList


@pytest.mark.parametrize(("outer", "inner", "expected"), TABLE)
def test_nested_in_the_body_of_a_class(outer: str, inner: str, expected: Any) -> None:
    @DECORATORS[outer]
    class Outer:
        @DECORATORS[inner]
        def method(self) -> int:
            return 1

        @DECORATORS[inner]
        @staticmethod
        def static() -> int:
            return 2

    found = Outer.__dict__["method"]
    if outer != "frozen":
        assert not is_frozen(Outer)
        assert is_frozen(found) is (expected == "frozen")
        assert (type(found) is FreezableFunction) is (inner in ("freezable", "explicit"))
        if expected != "frozen":
            assert status.status_of(found) is expected
        assert (Outer().method(), Outer.static()) == (1, 2)
        return
    # A method that may not freeze does not keep its class from it; it can't be called.
    assert is_frozen(Outer)
    assert type(found) is FrozenFunction
    if inner in ("frozen", "freezable"):
        assert (Outer().method(), Outer.static()) == (1, 2)
        return
    for call in (Outer().method, Outer.static):
        with pytest.raises(NotFreezableError, match="FREEZABLE_"):
            call()


@pytest.mark.parametrize(("outer", "inner", "expected"), TABLE)
def test_a_class_in_the_body_of_a_class(outer: str, inner: str, expected: Any) -> None:
    def build() -> Any:
        @DECORATORS[outer]
        class Outer:
            @DECORATORS[inner]
            class Inner:
                def one(self) -> int:
                    return 1

        return Outer

    if outer == "frozen" and inner in ("unfreezable", "explicit"):
        with pytest.raises(NotFreezableError, match=r"Outer\.Inner.*FREEZABLE_"):
            build()
        return
    made = build()
    assert is_frozen(made) is (outer == "frozen")
    assert is_frozen(made.Inner) is (expected == "frozen")
    if expected != "frozen":
        assert status.status_of(made.Inner) is expected
    assert made.Inner().one() == 1


@pytest.mark.parametrize("outer", DECORATORS)
def test_what_is_not_decorated_in_the_body(outer: str) -> None:
    captured = [1]

    @(DECORATORS[outer] if outer == "unfreezable" else DECORATORS[outer]("captured"))
    class Outer:
        def method(self) -> Any:
            return captured

        @classmethod
        def of_class(cls) -> Any:
            return captured

        @property
        def value(self) -> Any:
            return captured

        class Inner:
            state: Any = [2]  # noqa: RUF012 - this is what it is about

            def method(self) -> Any:
                return captured

    inner = Outer.Inner
    if outer == "unfreezable":
        assert status.status_of(inner) is FREEZABLE_NO
        assert status.status_of(inner.method) is FREEZABLE_NO
        with pytest.raises(NotFreezableError):
            freeze(inner)
        return
    if outer != "frozen":
        assert not is_frozen(inner)
        assert Outer().method() is captured
        freeze(Outer)
    captured.append(3)
    assert is_frozen(inner)
    assert inner.state == [2]
    for found in (Outer().method(), Outer.of_class(), Outer().value, inner().method()):
        assert found == [1]


def test_what_merely_lies_in_the_class_is_not_of_its_body() -> None:
    def function() -> int:
        return 1

    other = make()

    @unfreezable
    class Outer:
        alias = function
        kind = other

    assert status.status_of(function) is None
    assert status.status_of(other) is None
    assert Outer.alias is function


def test_names_of_class_state_are_joined() -> None:
    values = [1]

    @freezable("values")
    class Outer:
        @freezable("more")
        def method(self) -> Any:
            return values, more

    more = [2]
    freeze(Outer)
    assert Outer().method() == ([1], [2])


# --- failures ------------------------------------------------------------------------------------


class Metaclass(type):
    def __pre_freeze__(cls) -> None:
        CALLS.append(cls.__name__)
        if cls.veto:
            raise LookupError("not now")

    veto = False


CALLS: list[str] = []


def test_the_hook_of_a_metaclass() -> None:
    CALLS.clear()

    class First(metaclass=Metaclass):
        pass

    class Second(First):
        veto = True

    with pytest.raises(LookupError, match="not now"):
        freeze(Metaclass, First, Second)
    assert CALLS == ["First", "Second"]
    assert not any(map(is_frozen, (Metaclass, First, Second)))
    type.__setattr__(Second, "veto", False)
    freeze(Metaclass, First, Second)
    assert all(map(is_frozen, (Metaclass, First, Second)))


BAD: dict[str, Callable[[], Any]] = {
    "status": lambda: set_freezable(stateless(), FREEZABLE_NO),
    "state": make,
    "not freezable": NotFreezable,
    "data": lambda: [iter("a")],
    "function": lambda: unfreezable(lambda: 1),
    "base": lambda: derived(set_freezable(stateless(), FREEZABLE_NO)),
}


def snapshot(cls: Any) -> dict[str, int]:
    return {name: id(value) for name, value in vars(cls).items()}


@pytest.mark.parametrize("name", BAD)
def test_a_failure_anywhere_leaves_classes_as_they_were(name: str) -> None:
    base = stateless()
    cls = derived(base)
    thing = make("freezable")
    before = [snapshot(each) for each in (base, cls, thing)]
    for order in itertools.permutations([base, cls, thing, BAD[name]()]):
        with pytest.raises(NotFreezableError):
            freeze(*order)
        assert [snapshot(each) for each in (base, cls, thing)] == before
        assert not any(map(is_frozen, (base, cls, thing)))
    base.added = 1
    assert thing().read() == [1]
    del base.added
    freeze(cls, base, thing)
    assert all(map(is_frozen, (base, cls, thing)))


def test_frozen_that_fails_leaves_no_mark() -> None:
    cls = derived(stateless())
    before = snapshot(cls)
    with pytest.raises(NotFreezableError):
        frozen("*")(cls)
    assert snapshot(cls) == before
    assert status.named_state(cls) == frozenset()
    assert status.named_state(cls.two) == frozenset()
    assert not status.decorated(cls)
