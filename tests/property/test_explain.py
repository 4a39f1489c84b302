"""A dry run says what freezing does: whether it succeeds, and the path and reason if it does not."""

import copyreg
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


class Slot:
    __slots__ = ("a", "b")


def slotted(child: Any) -> Slot:
    made = Slot()
    made.b = child
    return made


def deep(child: Any, levels: int) -> Any:
    """Put something below that many lists, dicts and objects."""
    for level in range(levels):
        child = ([child], {"k": child}, slotted(child))[level % 3]
    return child


REFUSED: list[Callable[[], Any]] = [
    threading.Lock,
    lambda: (n for n in range(3)),
    lambda: types,
    lambda: memoryview(bytearray(b"x")).release,
    lambda: iter([1]),
    Faulty,
    Pickled,
    Numbered,
    lambda: copyreg.__dict__.keys(),
    lambda: As(threading.Lock()),
    released := lambda: _released(),
]


def _released() -> memoryview:
    view = memoryview(b"abc")
    view.release()
    return view


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
        st.builds(
            lambda item, n: deep((item,), n) and _tuples(item, n), items, st.integers(1, 450)
        ),
    )


def _tuples(child: Any, levels: int) -> Any:
    for _ in range(levels):
        child = (child,)
    return child


LEAVES = st.one_of(
    VALUES,
    ATOMS,
    st.builds(lambda make: make(), st.sampled_from(REFUSED)),
    st.sampled_from(samples.REDUCED),
    st.builds(icehouse.freeze, st.lists(ATOMS, max_size=3)),
)
MIXED = st.recursive(LEAVES, containers, max_leaves=12)


def agrees(*roots: Any) -> None:
    """Freezing does what the dry run before it said."""
    report = icehouse.explain_freeze(*roots)
    assert report.ok == (not report.refused)
    try:
        icehouse.freeze(*roots)
    except icehouse.NotFreezableError as error:
        assert not report.ok, error
        first = report.refused[0]
        assert first.path == error.path
        assert first.object is error.object
        assert str(first.reason) in str(error)
        assert first.type is error.type
    except LookupError as error:
        assert not report.ok
        assert f"LookupError: {error}" in str(report.refused[0].reason)
        assert f"while freezing {report.refused[0].path}," in error.__notes__[0]
    else:
        assert report.ok, str(report)
    assert len(str(report).splitlines()) < 120


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
