"""A dry run says what freezing does: whether it succeeds, and path and reason where not."""

import copyreg
import functools
import threading
import types
from collections.abc import Callable
from typing import Any

import freezing_samples as samples
import user_classes as uc
from graphs import ATOMS, TEXT, graphs
from hypothesis import given, settings
from hypothesis import strategies as st
from test_objects import objects
from universe import VALUES, nested

import icehouse


class Faulty:
    """Its own code raises what is no refusal."""

    def __reduce__(self) -> Any:
        raise LookupError("nothing to be had")


class Pickled:
    """A refusal that its own code gives."""

    def __reduce__(self) -> Any:
        raise TypeError("not this one")


class As:
    """It freezes as another object."""

    def __init__(self, other: Any) -> None:
        self.other = other

    def __freeze__(self) -> Any:
        return self.other


class Numbered:
    """Its `__dict__` has a key that is no name."""

    def __init__(self) -> None:
        vars(self)[5] = 1  # type: ignore[index]


class Never(icehouse.NotFreezable):
    """It opts out."""


class OnlyItself:
    """It is frozen where it is named, not where it is reached."""

    __freezable__ = icehouse.FREEZABLE_EXPLICIT


class Slot:
    __slots__ = ("__weakref__", "a", "b")


def slotted(child: Any) -> Slot:
    made = Slot()
    made.b = child
    return made


def deep(child: Any, levels: int) -> Any:
    """Put something below that many lists, dicts and objects."""
    for level in range(levels):
        child = ([child], {"k": child}, slotted(child))[level % 3]
    return child


def released() -> memoryview:
    view = memoryview(b"abc")
    view.release()
    return view


REFUSED: list[Callable[[], Any]] = [
    threading.Lock,
    lambda: (n for n in range(3)),
    lambda: types,
    lambda: memoryview(bytearray(b"x")).release,
    lambda: iter([1]),
    Faulty,
    Pickled,
    Numbered,
    Never,
    OnlyItself,
    lambda: icehouse.set_freezable(slotted(1), icehouse.FREEZABLE_EXPLICIT),
    lambda: icehouse.set_freezable(uc.Plain("p"), icehouse.FREEZABLE_NO),
    lambda: copyreg.__dict__.keys(),
    lambda: As(threading.Lock()),
    released,
]


def tuples(child: Any, levels: int) -> Any:
    for _ in range(levels):
        child = (child,)
    return child


def containers(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(items, max_size=4),
        st.lists(items, max_size=4).map(tuple),
        st.dictionaries(TEXT, items, max_size=4),
        st.dictionaries(st.builds(lambda n, c: (n, As(c)), st.integers(0, 3), items), items),
        st.builds(lambda item: [item, [item], (item, (item,))], items),
        st.builds(slotted, items),
        st.builds(As, items),
        st.builds(uc.Place, TEXT, items),
        st.builds(uc.Stateful, items),
        st.builds(uc.Reduced, items),
        st.builds(lambda item: uc.Stack([item]), items),
        st.builds(lambda item: types.SimpleNamespace(a=item), items),
        st.builds(lambda item: types.MappingProxyType({"a": item}), items),
        st.builds(deep, items, st.sampled_from([3, 70, 200, 330])),
        st.builds(tuples, items, st.integers(1, 450)),
    )


LEAVES = st.one_of(
    VALUES,
    ATOMS,
    st.builds(lambda make: make(), st.sampled_from(REFUSED)),
    st.sampled_from(samples.REDUCED),
    st.builds(icehouse.freeze, st.lists(ATOMS, max_size=3)),
)
MIXED = st.recursive(LEAVES, containers, max_leaves=12)


def freezing_error(*roots: Any) -> Exception | None:
    try:
        icehouse.freeze(*roots)
    except (icehouse.NotFreezableError, LookupError) as error:
        return error
    return None


def agrees(*roots: Any) -> None:
    """Freezing does what the dry run before it said."""
    report = icehouse.explain_freeze(*roots)
    error = freezing_error(*roots)
    assert report.ok == (error is None), (str(report), error)
    assert report.ok == (not report.refused)
    assert len(str(report).splitlines()) < 120
    if error is None:
        return
    first = report.refused[0]
    if isinstance(error, icehouse.NotFreezableError):
        assert first.path == error.path
        assert first.object is error.object
        assert first.type is error.type
        assert str(first.reason) in str(error)
    else:
        assert f"LookupError: {error}" in str(first.reason)
        assert f"while freezing {first.path}," in error.__notes__[0]


@settings(deadline=None)
@given(MIXED)
def test_what_may_be_refused(obj: Any) -> None:
    agrees(obj)


@settings(deadline=None)
@given(MIXED, MIXED)
def test_several_roots(first: Any, second: Any) -> None:
    agrees(first, second, first)


@settings(deadline=None)
@given(objects(), MIXED)
def test_classes_of_users(graph: Any, other: Any) -> None:
    agrees(graph)
    agrees([graph, other, graph])


@given(nested())
def test_values_of_the_library(obj: Any) -> None:
    agrees(obj)


@given(graphs())
def test_plain_graphs(obj: Any) -> None:
    agrees(obj)


def capturing(value: Any, other: Any, *, named: bool, default: bool) -> Any:
    """A function that captured two values, and calls another that captured one."""

    def inner() -> Any:
        return other

    def function(a: Any = value if default else None) -> Any:
        return a, inner, None if default else value

    return icehouse.freezable("value", "other")(function) if named else function


FUNCTIONS = st.builds(capturing, MIXED, MIXED, named=st.booleans(), default=st.booleans())


@settings(deadline=None)
@given(FUNCTIONS)
def test_functions(function: Any) -> None:
    agrees(function)


@settings(deadline=None)
@given(st.lists(FUNCTIONS | MIXED, min_size=1, max_size=4), FUNCTIONS)
def test_functions_and_data(roots: list[Any], function: Any) -> None:
    agrees(*roots, function, functools.partial(roots[0], function) if callable(roots[0]) else 1)


def class_with(value: Any, other: Any, *, declared: bool, derived: bool) -> type:
    class Base:
        state = other

    class Class(Base if derived else object):  # type: ignore[misc]
        state = value

        def method(self, a: Any = other) -> Any:
            return a, value, Class

        @staticmethod
        def static() -> Any:
            return other

    return icehouse.freezable("value")(Class) if declared else Class


CLASSES = st.builds(class_with, MIXED, MIXED, declared=st.booleans(), derived=st.booleans())


@settings(deadline=None)
@given(CLASSES)
def test_classes(cls: type) -> None:
    agrees(cls)


@settings(deadline=None)
@given(CLASSES, MIXED | FUNCTIONS)
def test_classes_and_others(cls: type, other: Any) -> None:
    agrees(cls, cls.__base__, other)
    agrees([cls(), cls])
