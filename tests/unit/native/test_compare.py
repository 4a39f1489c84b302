"""Equality and order of views: as the originals compare, however deep, shared or cyclic."""

import operator
import random
from collections import Counter, OrderedDict, UserList, defaultdict, namedtuple
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import icehouse

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.integers(-2, 2)
    | st.floats(allow_nan=False)
    | st.sampled_from([0.0, 1.0, -0.0, 2.0])
    | st.text(max_size=8)
    | st.binary(max_size=4)
    | st.complex_numbers(allow_nan=False, max_magnitude=10)
)
KEYS = st.recursive(
    LEAVES,
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
VALUES = st.recursive(
    LEAVES | KEYS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.sets(KEYS, max_size=3)
    ),
    max_leaves=12,
)
COMPARISONS = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]
Point = namedtuple("Point", "x y")
DEEP = 100_000


def boxed(value: Any) -> Any:
    """The view of a list around the value, so that there is a view whatever it is."""
    return icehouse.freeze([value])


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        return type(error)


@given(VALUES)
def test_a_view_equals_its_original(value: Any) -> None:
    view = boxed(value)
    assert view == [value]
    assert [value] == view
    assert (view != [value]) is False
    assert view == boxed(value)
    assert view == view


@given(VALUES, VALUES)
def test_two_values_compare_as_their_originals(a: Any, b: Any) -> None:
    expected = [a] == [b]
    assert (boxed(a) == boxed(b)) is expected
    assert (boxed(a) == [b]) is expected
    assert ([a] == boxed(b)) is expected
    assert (icehouse.freeze([a, [b]])[0:1] == [b]) is expected


@given(st.lists(VALUES, max_size=3), st.lists(VALUES, max_size=3))
def test_order_is_that_of_lists_and_tuples(a: list[Any], b: list[Any]) -> None:
    for compare in COMPARISONS:
        expected = outcome(lambda compare=compare: compare([a], [b]))
        assert outcome(lambda compare=compare: compare(boxed(a), boxed(b))) == expected
        assert outcome(lambda compare=compare: compare(boxed(a), [b])) == expected
        assert outcome(lambda compare=compare: compare([a], boxed(b))) == expected
        x, y = (tuple(a),), (tuple(b),)
        expected = outcome(lambda compare=compare, x=x, y=y: compare(x, y))
        views = icehouse.freeze([x, y])
        assert outcome(lambda compare=compare, v=views: compare(v[0], v[1])) == expected


UNEQUAL: list[tuple[Any, Any]] = [
    ([1], (1,)),
    ([], ()),
    ([], {}),
    ({}, set()),
    ([1], [1, 2]),
    ([1, 2], [1]),
    ([1], ["1"]),
    (["a"], [b"a"]),
    ({"a": 1}, {"a": 2}),
    ({"a": 1}, {"b": 1}),
    ({"a": 1}, {"a": 1, "b": 1}),
    ({1}, {2}),
    ({1}, [1]),
    ({frozenset({1})}, {frozenset({2})}),
    ({(1, frozenset({1})), 5}, {(1, frozenset({2})), 5}),
    (["é"], ["e"]),
    ([2**63], [-(2**63)]),
    ([2**53 + 1], [float(2**53)]),
    ([1.5], [1]),
    ([1, 2, 3], [1.0, 2.0, 3.5]),
    (["a", "b"], ["a", "c"]),
    ([None], [False]),
    ([[]], [()]),
    ([1], 1),
    ([1], None),
    ({"a": [1, {"b": (1, [2])}]}, {"a": [1, {"b": (1, [3])}]}),
]
EQUAL: list[tuple[Any, Any]] = [
    ([1, 2, 3], [1.0, 2, True + 2]),
    ([0, 1], [False, True]),
    ({1: "a"}, {True: "a"}),
    ({1.0}, {1}),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ({"a": 1}, OrderedDict(a=1)),
    ({"a": 1}, defaultdict(int, a=1)),
    ({"a": 1}, Counter("a")),
    ([(1, 2)], [Point(1, 2)]),
    ({frozenset({1})}, frozenset({frozenset({1.0})})),
    ({frozenset({-1}), frozenset({-2})}, {frozenset({-2}), frozenset({-1})}),
    ({(1, frozenset({2}))}, {(1.0, frozenset({2.0}))}),
    ([-0.0], [0.0]),
    (["é" * 200], ["é" * 200]),
    ([2.0**40], [2**40]),
    (list(range(1000)), [float(i) for i in range(1000)]),
]


@pytest.mark.parametrize(("a", "b"), UNEQUAL, ids=repr)
def test_unequal(a: Any, b: Any) -> None:
    for x, y in ((a, b), (b, a)):
        assert (boxed(x) == [y]) is False
        assert ([x] == boxed(y)) is False
        assert (boxed(x) == boxed(y)) is False
        assert (boxed(x) != boxed(y)) is True
        views = icehouse.freeze([x, y])
        assert (views[0] == views[1]) is False


@pytest.mark.parametrize(("a", "b"), EQUAL, ids=repr)
def test_equal(a: Any, b: Any) -> None:
    assert boxed(a) == [b]
    assert [b] == boxed(a)
    assert (boxed(a) != [b]) is False
    if type(b) in (list, dict, set, frozenset) and b != [Point(1, 2)]:
        assert boxed(a) == boxed(b)
        views = icehouse.freeze([a, b])
        assert views[0] == views[1]


def test_nan_is_equal_to_the_same_node_only() -> None:
    nan = float("nan")
    view = icehouse.freeze([{"a": nan}, {"a": nan}, nan])
    assert view == view
    assert view[0] == view[0]
    assert view != [{"a": nan}, {"a": nan}, nan]
    assert icehouse.freeze({"a": nan}) != icehouse.freeze({"a": nan})
    assert not icehouse.freeze([nan, nan]) < [nan]
    assert not icehouse.freeze([nan, "x"]) < icehouse.freeze([nan, "x"])


class Always(list[Any]):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None


class Never(dict[Any, Any]):
    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None


class Unsure:
    def __eq__(self, other: object) -> Any:
        return NotImplemented

    def __hash__(self) -> int:
        return 1


class Failing(list[Any]):
    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError

    __hash__ = None


class Plain(list[Any]):
    pass


def test_other_types_are_asked() -> None:
    assert boxed([1]) == [Always()]
    assert [Always()] == boxed([1])
    assert boxed({"a": 1}) != [Never(a=1)]
    assert boxed([1]) != [Unsure()]
    assert boxed([1]) == [Plain([1])]
    assert boxed([1]) != [Plain([2])]
    assert boxed([1]) == [UserList([1])]
    assert boxed({1: [2]}) == [{1: Always()}]
    for a, b in ((boxed([1]), [Failing([1])]), ([Failing([1])], boxed([1]))):
        with pytest.raises(ZeroDivisionError):
            a == b  # noqa: B015
    assert icehouse.freeze([1]) != 1
    assert (icehouse.freeze([1]) == None) is False  # noqa: E711


class Shrinking:
    """Empties a list while it is compared."""

    def __init__(self, victim: Any) -> None:
        self.victim = victim

    def __eq__(self, other: object) -> bool:
        self.victim.clear()
        return True

    def __hash__(self) -> int:
        return hash("a")


def test_lists_and_dicts_that_change_meanwhile() -> None:
    native: list[Any] = []
    native.extend([Shrinking(native), [1], {"a": 1}])
    assert icehouse.freeze([1, [1], {"a": 1}]) != native
    inner: list[Any] = []
    inner.extend([[Shrinking(inner), 2], 3])
    assert icehouse.freeze([[1, 2], 3]) != inner
    mapping: dict[Any, Any] = {}
    mapping.update(a=Shrinking(mapping), b=2)
    assert icehouse.freeze({"a": 1, "b": 2}) != mapping
    members: set[Any] = set()
    members.update([Shrinking(members), "b", "c"])
    assert (icehouse.freeze({"a", "b", "c"}) == members) in (True, False)


# --- H24 ---


def nested(levels: int, wrap: Callable[[Any], Any]) -> Any:
    value: Any = ["bottom"]
    for _ in range(levels):
        value = wrap(value)
    return value


@pytest.mark.parametrize(
    "wrap",
    [lambda v: [v], lambda v: {"a": v}, lambda v: [1, {"a": [v], "b": 2}], lambda v: ([v],)],
    ids=["list", "dict", "mixed", "tuple"],
)
def test_h24_any_depth(wrap: Any) -> None:
    original = nested(DEEP // 4 if wrap(0) == [1, {"a": [0], "b": 2}] else DEEP, wrap)
    view, other = icehouse.freeze([original, 0]), icehouse.freeze([original, 1])
    assert view[0] == original
    assert original == view[0]
    assert view[0] == other[0]
    assert view != other
    assert (view < other) is True
    assert (other > view) is True
    while isinstance(original, list | tuple | dict) and original != ["bottom"]:
        # Freed a level at a time, since freeing all at once is Python's own recursion.
        inner = original["a"] if isinstance(original, dict) else original[-1]
        if isinstance(original, tuple):
            original = inner
            continue
        original.clear()
        original = inner


def test_h24_a_difference_at_the_bottom_orders_the_whole() -> None:
    a, b = icehouse.freeze(nested(DEEP, lambda v: [v])), icehouse.freeze([])
    low: Any = [1]
    high: Any = [2, 0]
    for _ in range(DEEP):
        low, high = [low], [high]
    a, b = icehouse.freeze(low), icehouse.freeze(high)
    assert a < b
    assert b > a
    assert a != b
    assert a < high
    assert not b < low
    for value in (low, high):
        rest = value
        while rest and isinstance(rest[0], list):
            rest, gone = rest[0], rest
            gone.clear()


@pytest.mark.parametrize("double", [lambda v: (v, v), lambda v: [v, v], lambda v: {"a": v, "b": v}])
def test_h24_shared_parts_are_walked_once(double: Any) -> None:
    a, b, c = (nested(60, double) for _ in range(3))
    view = icehouse.freeze([a])
    assert view == [b]
    assert [b] == view
    assert view == icehouse.freeze([c])
    tree: Any = ["other"]
    for _ in range(60):
        tree = double(tree)
    assert view != [tree]


def test_h24_shared_sets_are_walked_once() -> None:
    def build(bottom: Any) -> Any:
        value = frozenset({bottom})
        for i in range(60):
            value = frozenset({value, (value, i)})
        return value

    view = icehouse.freeze({build(1)})
    assert view == {build(1)}
    assert view == icehouse.freeze({build(1)})
    assert view != {build(2)}
    assert view != icehouse.freeze({build(2)})


def ring(length: int, kind: str) -> Any:
    nodes: list[Any] = [[] if kind == "list" else {} for _ in range(length)]
    for i, node in enumerate(nodes):
        following = nodes[(i + 1) % length]
        if kind == "list":
            node.append(following)
        else:
            node["next"] = following
    return nodes[0]


@pytest.mark.parametrize("kind", ["list", "dict"])
def test_h24_rings_of_any_lengths_are_equal(kind: str) -> None:
    a, b = ring(1009, kind), ring(10_007, kind)
    view, other = icehouse.freeze(a), icehouse.freeze(b)
    assert view == other
    assert view == b
    assert b == view
    assert view == a


def test_h24_cycles_with_a_difference() -> None:
    def cycle(value: Any) -> Any:
        top: dict[str, Any] = {"list": [1, 2, (3, [])]}
        top["self"] = top
        top["list"].append(top)
        top["list"][2][1].extend([top["list"], value])
        return top

    assert icehouse.freeze(cycle(1)) == icehouse.freeze(cycle(1))
    assert icehouse.freeze(cycle(1)) == cycle(1)
    assert icehouse.freeze(cycle(1)) != icehouse.freeze(cycle(2))
    assert icehouse.freeze(cycle(1)) != cycle(2)


def test_h24_random_graphs_end_and_agree() -> None:
    rng = random.Random(24)
    for _ in range(200):
        nodes: list[Any] = [[] if rng.random() < 0.6 else {} for _ in range(rng.randint(1, 40))]
        for node in nodes:
            for key in range(rng.randint(0, 3)):
                child = rng.choice(nodes) if rng.random() < 0.8 else rng.randint(0, 2)
                if isinstance(node, list):
                    node.append(child)
                else:
                    node[key] = child
        assert icehouse.freeze(nodes) == nodes
        assert icehouse.freeze(nodes) == icehouse.freeze(nodes)


def test_slices_and_views_inside_native_containers() -> None:
    view = icehouse.freeze([1, [2], 3, [4]])
    assert view[1:] == [[2], 3, [4]]
    assert view[::2] == [1, 3]
    assert view[::-1] == [[4], 3, [2], 1]
    assert view[1:][::2] == icehouse.freeze([[2], [4]])
    assert [view, view[1]] == [[1, [2], 3, [4]], [2]]
    assert view == [1, view[1], 3, icehouse.freeze([4])]
    assert icehouse.freeze([(1, [2])]) == [(1, icehouse.freeze([2]))]
    assert icehouse.freeze({"a": [1]}) == {"a": icehouse.freeze([1])}
    big = icehouse.freeze(list(range(1000)))
    assert big[10:20] == list(range(10, 20))
    assert big[10:20] == big[10:20]
    assert big[10:20] != big[11:21]
