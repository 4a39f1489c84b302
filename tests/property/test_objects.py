"""Graphs of users' classes: shared children and cycles, as views, thawed, and through a store."""

import collections
import types
from collections.abc import Callable
from typing import Any

import pytest
import user_classes as uc
import user_models as um
from graphs import ATOMS, TEXT
from hypothesis import given, settings
from hypothesis import strategies as st

import icehouse
from icehouse.store.freezing import anatomy

OURS = ("user_classes", "user_models", "types")
# What may refer to anything, also to what is made later: lazy views. Each is made empty and filled.
LAZY: list[Callable[[], Any]] = [
    lambda: uc.Plain("p"),
    lambda: uc.Slotted(None, None),
    lambda: uc.Mixed(None, None, None),
    lambda: uc.Point(0),
    lambda: uc.Keyed(key=""),
    lambda: um.Slim(0),
    lambda: um.Wide(0),
    lambda: types.SimpleNamespace(),
    list,
    dict,
    uc.Stack,
    uc.Registry,
    uc.Cache,
    uc.Names,
    collections.deque,
    collections.OrderedDict,
    lambda: collections.defaultdict(list),
]
# What is made whole, of children that are there already.
WHOLE: list[Callable[[Any], Any]] = [
    lambda child: uc.Place("p", child),
    lambda child: uc.Triple([child, child]),
    lambda child: uc.Bare([child]),
    lambda child: (child, child),
    lambda child: um.User("u", child),
    lambda child: um.Address.model_construct(street="s", number=child),
    lambda child: um.Open.model_construct(a=1, extra=child),
    lambda child: uc.Sealed("s", child),
    lambda child: uc.Stateful(child),
    lambda child: uc.Reduced(child),
    lambda child: uc.Box(child),
]
VALUES = ATOMS | st.one_of(
    TEXT.map(uc.Word),
    TEXT.map(lambda text: uc.Label(text, "red")),
    st.integers().map(uc.Count),
    st.floats(allow_nan=False).map(uc.Celsius),
    st.binary(max_size=20).map(uc.Blob),
    st.integers(0, 50).map(uc.Version),
    st.integers(-50, 50).map(um.Coin),
)


def fill(node: Any, name: str, child: Any) -> None:
    """Let a lazy node refer to a child."""
    if isinstance(node, (list, collections.deque)):
        node.append(child)
    elif isinstance(node, (dict, collections.UserDict)):
        node[name] = child
    else:
        names = [slot for slot, _ in anatomy.slots(type(node))] or [name]
        names = [slot for slot in names if not slot.startswith("_") and slot != "doubled"] + [name]
        for slot in names:
            try:
                setattr(node, slot, child)
            except AttributeError:
                continue
            return


@st.composite
def objects(draw: Callable[..., Any]) -> Any:
    nodes: list[Any] = [draw(st.sampled_from(LAZY))() for _ in range(draw(st.integers(1, 6)))]
    known = list(nodes)
    for _ in range(draw(st.integers(0, 6))):
        child = draw(st.sampled_from(known) | VALUES)
        known.append(draw(st.sampled_from(WHOLE))(child))
    for node in nodes:
        for number in range(draw(st.integers(0, 4))):
            fill(node, f"f{number}", draw(st.sampled_from(known) | VALUES))
    return nodes[0]


def content(obj: Any) -> list[Any] | None:
    """The children of an original in order, names too; None for a leaf."""
    if isinstance(obj, (list, tuple, collections.deque)):
        rest = anatomy.fields(obj, type(obj)) if type(obj) not in (list, tuple) else {}
        return [*obj, *rest.keys(), *rest.values()]
    if isinstance(obj, dict):
        rest = anatomy.fields(obj, type(obj)) if type(obj) is not dict else {}
        return [*obj.keys(), *obj.values(), *rest.keys(), *rest.values()]
    if type(obj).__module__ in OURS:
        if isinstance(obj, (str, int, float, bytes)):
            return None
        state = anatomy.fields(obj, type(obj))
        state.pop("lock", None)
        found = [*state.keys(), *state.values()]
        return [sorted(item) if isinstance(item, set) else item for item in found]
    return None


def check_alike(original: Any, other: Any) -> None:
    """The other graph has the same types, values, and the same objects in the same places."""
    pending, partners = [(original, other)], {}
    while pending:
        a, b = pending.pop()
        assert type(a) is type(b), (a, b)
        children = content(a)
        if children is None:
            assert a == b
            assert repr(a) == repr(b)
            continue
        if id(a) in partners:
            assert partners[id(a)] is b or isinstance(a, tuple)
            continue
        partners[id(a)] = b
        others = content(b)
        assert others is not None
        assert len(children) == len(others)
        pending += zip(children, others, strict=True)


def check_view(original: Any, view: Any) -> None:
    """Reading the view finds what the original has, and shared nodes are the same."""
    pending: list[tuple[Any, Any]] = [(original, view)]
    partners: dict[int, Any] = {}
    while pending:
        a, b = pending.pop()
        assert isinstance(b, type(a)) or type(a) in (list, dict), (a, b)
        if content(a) is None:
            assert a == b
            continue
        if id(a) in partners:
            assert icehouse.same(partners[id(a)], b) or type(a).__module__ != "builtins"
            continue
        partners[id(a)] = b
        if isinstance(a, (list, tuple, collections.deque)):
            assert len(a) == len(b)
            pending += zip(a, b, strict=True)
        elif isinstance(a, dict):
            assert list(a) == list(b)
            pending += zip(a.values(), b.values(), strict=True)
        if type(a).__module__ in OURS:
            pending += [
                (child, getattr(b, name))
                for name, child in anatomy.fields(a, type(a)).items()
                if not name.startswith("__") and name != "lock"
            ]


def unless_refused(freeze: Callable[[], Any]) -> Any:
    """What was frozen; None where a ring of things that are made whole was refused, rightly."""
    try:
        return freeze()
    except icehouse.NotFreezableError as error:
        reason = str(error)
    if "refers to itself" not in reason:
        raise AssertionError(reason)
    return None


@settings(deadline=None)
@given(objects())
def test_thaw_gives_the_graph_again(graph: Any) -> None:
    view = unless_refused(lambda: icehouse.freeze([graph]))
    if view is not None:
        check_alike(graph, icehouse.thaw(view)[0])


@settings(deadline=None)
@given(objects())
def test_views_read_as_the_graph(graph: Any) -> None:
    view = unless_refused(lambda: icehouse.freeze([graph]))
    if view is not None:
        check_view(graph, view[0])


@settings(deadline=None)
@given(objects(), objects())
def test_what_was_put_twice_is_alike(first: Any, second: Any) -> None:
    with icehouse.Store(capacity="64MiB") as store:
        handle = unless_refused(lambda: store.put({"a": first, "b": [second, first]}))
        if handle is None:
            return
        again = store.put({"view": store.get(handle)["b"]})
        thawed = icehouse.thaw(store.get(again)["view"])
        check_alike(second, thawed[0])
        check_alike(first, thawed[1])


@pytest.mark.parametrize("make", LAZY)
def test_every_lazy_kind_can_be_filled(make: Callable[[], Any]) -> None:
    node = make()
    fill(node, "f", 5)
    assert "5" in repr(content(node))
