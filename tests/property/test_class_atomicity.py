"""A failing freeze of several classes leaves every one of them, and all else, as it was."""

import functools
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import icehouse
from icehouse.store.declarations import classes as machinery

LOCK = threading.Lock()


def kinds() -> dict[str, Any]:
    """What there may be in a class, made anew for each."""

    def method(self: Any) -> Any:
        return self

    def other(self: Any) -> Any:
        return LOCK

    @icehouse.freezable
    def freezable(self: Any) -> int:
        return 1

    return {
        "method": method,
        "uncallable": other,
        "freezable": freezable,
        "property": property(method),
        "class_method": classmethod(method),
        "static_method": staticmethod(method),
        "cached": functools.cached_property(method),
        "partial": functools.partialmethod(method),
        "number": 1,
        "frozen_state": icehouse.freeze([1]),
        "inner": type("inner", (), {"method": method}),
        "__slots__": ["slot"],
        "__annotations__": {"slot": int},
    }


# What makes freezing the class fail.
POISON: dict[str, Any] = {"state": [1], "lock": LOCK, "generator": (x for x in ())}

NAMES = st.sets(st.sampled_from(sorted(kinds())), max_size=6)
ROOTS = st.lists(st.tuples(NAMES, st.booleans(), st.integers(-1, 2)), min_size=1, max_size=4)


def made(description: Any, poison: tuple[int, str] | None) -> list[Any]:
    """Make classes: their entries, whether they refer to the others, and a base."""
    found: list[Any] = []
    for number, (names, refers, base) in enumerate(description):
        space = {name: value for name, value in kinds().items() if name in names}
        if poison is not None and poison[0] == number:
            space[poison[1]] = POISON[poison[1]]
        if refers:
            space["others"] = lambda self: found
        bases = (found[base],) if 0 <= base < number else ()
        cls = type(f"C{number}", bases, space)
        for inner in space.values():
            if isinstance(inner, type):
                inner.__qualname__ = f"C{number}.inner"
        found.append(cls)
    return found


def world(found: list[Any]) -> Any:
    """All that freezing could change."""
    seen = []
    for cls in found:
        parts = [cls, *(each for each in cls.__dict__.values() if isinstance(each, type))]
        for part in parts:
            seen.append(
                (part, part.__flags__, part.__bases__, [(k, id(v)) for k, v in vars(part).items()])
            )
            seen += [
                (name, type(value), dict(value.__dict__), value.__code__, value.__defaults__)
                for name, value in vars(part).items()
                if hasattr(value, "__code__")
            ]
    return seen


@given(description=ROOTS, data=st.data())
def test_a_failing_freeze_changes_no_class(description: Any, data: Any) -> None:
    at = data.draw(st.integers(0, len(description) - 1))
    found = made(description, (at, data.draw(st.sampled_from(sorted(POISON)))))
    order = data.draw(st.permutations(found))
    before = world(found)
    with pytest.raises(icehouse.NotFreezableError):
        icehouse.freeze(*order)
    assert world(found) == before
    assert not any(icehouse.is_frozen(cls) for cls in found)


@given(description=ROOTS, data=st.data())
def test_a_failure_in_the_middle_is_undone(description: Any, data: Any) -> None:
    found = made([(names, False, base) for names, _, base in description], None)
    last = data.draw(st.integers(1, len(found)))
    count = 0
    freeze_class = machinery._freeze_class

    def fail(cls: type, frozen: bool = True) -> None:
        nonlocal count
        count += frozen
        if frozen and count == last:
            raise MemoryError
        freeze_class(cls, frozen)

    before = world(found)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machinery, "_freeze_class", fail)
        with pytest.raises(MemoryError):
            icehouse.freeze(*found)
    assert world(found) == before
    icehouse.freeze(*found)
    assert all(icehouse.is_frozen(cls) for cls in found)
