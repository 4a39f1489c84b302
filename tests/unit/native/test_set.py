"""FrozenSet against set and frozenset: every method, operator and comparison."""

import copy
import operator
import pickle
from collections import UserString
from collections.abc import Callable, Iterable, MutableSet, Set
from typing import Any

import pytest

import icehouse

SETS: list[set[Any]] = [
    set(),
    {1},
    {"a"},
    {1, 2, 3},
    {1.0, 2, "x"},
    {None, True, (), b"", "", ...},
    {"a", "b", "c", "d", "e"},
    set(range(8)),
    set(range(9)),
    set(range(200)),
    {f"key {i}" for i in range(200)},
    {(i, str(i)) for i in range(20)},
    {frozenset({1, 2}), frozenset({3}), (1, frozenset({4}))},
    {2**80, -(2**63), 2**63, -1, -2, 1 << 30, -(1 << 30) - 1},
    {1.5, 1j, -0.0, float("inf"), "é", "\ud800", "naïve" * 100, b"bytes"},
]
KINDS: list[Callable[[Iterable[Any]], Any]] = [set, frozenset]
OPERATORS = [operator.and_, operator.or_, operator.sub, operator.xor]
COMPARISONS = [operator.eq, operator.ne, operator.le, operator.lt, operator.ge, operator.gt]


def view_of(items: Any) -> Any:
    """A FrozenSet; an empty frozenset is inside, since it is frozen by nature."""
    view = icehouse.freeze([items])[0]
    assert type(view) is icehouse.FrozenSet
    return view


def outcome(call: Callable[[], Any]) -> Any:
    """What a call gives: its type and value, or the type of what it raises."""
    try:
        result = call()
    except Exception as error:
        return type(error)
    return type(result), result


class Sub(set[Any]):
    """A subclass without behaviour of its own."""


PAIRS = [(a, b) for i, a in enumerate(SETS) for b in SETS[max(0, i - 4) : i + 4]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("items", SETS, ids=range(len(SETS)))
def test_reading(kind: Any, items: set[Any]) -> None:
    original = kind(items)
    view = view_of(original)
    assert len(view) == len(original)
    assert set(view) == original
    assert set(original) == set(view)
    assert hash(view) == hash(frozenset(original))
    assert bool(view) == bool(original)
    assert all(item in view for item in original)
    assert "absent" not in view
    assert 10**30 not in view
    assert view == original
    assert original == view
    assert (view != original) is False
    assert view == frozenset(original)
    assert view.copy() is view
    iterator = iter(view)
    assert operator.length_hint(iterator) == len(original)
    list(iterator)
    assert operator.length_hint(iterator) == 0
    assert list(iterator) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operate", OPERATORS)
def test_operators(kind: Any, operate: Any) -> None:
    for a, b in PAIRS:
        original, view = kind(a), view_of(kind(a))
        expected = outcome(lambda original=original, b=b: operate(original, b))
        assert outcome(lambda view=view, b=b: operate(view, b)) == expected
        assert outcome(lambda view=view, b=b: operate(view, view_of(b))) == expected
        for left in (set, frozenset, Sub):
            expected = outcome(lambda left=left, b=b, o=original: operate(left(b), o))
            assert outcome(lambda left=left, b=b, view=view: operate(left(b), view)) == expected


@pytest.mark.parametrize("compare", COMPARISONS)
def test_comparisons(compare: Any) -> None:
    for a, b in PAIRS:
        view, other = view_of(a), view_of(frozenset(b))
        expected = compare(a, b)
        assert compare(view, other) == expected
        for kind in (set, frozenset, Sub):
            assert compare(view, kind(b)) == expected
            assert compare(kind(a), other) == expected
        keys = dict.fromkeys(b)
        assert compare(view, keys.keys()) == expected
        assert compare(view, icehouse.freeze(keys).keys()) == expected
        reversed_result = compare(b, a)
        assert compare(keys.keys(), view) == reversed_result
        assert compare(icehouse.freeze(keys).keys(), view) == reversed_result


METHODS = ["union", "intersection", "difference", "symmetric_difference"]
TESTS = ["isdisjoint", "issubset", "issuperset"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", METHODS + TESTS)
def test_methods_with_one_iterable(kind: Any, name: str) -> None:
    for a, b in PAIRS:
        original = kind(a)
        view = view_of(original)
        for other in (b, frozenset(b), list(b), tuple(b) * 2, dict.fromkeys(b), view_of(b)):
            plain = set(other) if type(other) is icehouse.FrozenSet else other
            expected = outcome(lambda o=original, p=plain: getattr(o, name)(p))
            assert outcome(lambda v=view, o=other: getattr(v, name)(o)) == expected
        expected = outcome(lambda o=original, b=b: getattr(o, name)(iter(list(b))))
        assert outcome(lambda v=view, b=b: getattr(v, name)(iter(list(b)))) == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", METHODS + TESTS)
@pytest.mark.parametrize(
    "arguments",
    [(), ([1], [2]), ([2, 3], {3}, (3, 4)), (5,), ([1], 5), ([[]],), (None,)],
    ids=repr,
)
def test_methods_with_other_arguments(kind: Any, name: str, arguments: Any) -> None:
    original = kind({1, 2, 3})
    view = view_of(original)
    expected = outcome(lambda: getattr(original, name)(*arguments))
    assert outcome(lambda: getattr(view, name)(*arguments)) == expected


@pytest.mark.parametrize("other", [[1], (1,), 1, "a", None, {1: 2}, object()], ids=repr)
def test_what_is_no_set(other: Any) -> None:
    original, view = {1}, view_of({1})
    for operate in OPERATORS:
        with pytest.raises(TypeError):
            operate(view, other)
        with pytest.raises(TypeError):
            operate(other, view)
    assert (view == other) is False
    assert (other == view) is False
    assert (view != other) is True
    for compare in COMPARISONS[2:]:
        with pytest.raises(TypeError):
            compare(view, other)
    assert view == original


def test_operators_with_keys_views() -> None:
    view = view_of({1, 2})
    keys, ours = {2: 0, 3: 0}.keys(), icehouse.freeze({2: 0, 3: 0}).keys()
    for other in (keys, ours):
        assert view & other == {2} == other & view
        assert view | other == {1, 2, 3} == other | view
        assert view - other == {1}
        assert other - view == {3}
        assert view ^ other == {1, 3} == other ^ view


def test_abc_and_generic_alias() -> None:
    view = view_of({1})
    assert isinstance(view, Set)
    assert not isinstance(view, MutableSet)
    assert icehouse.FrozenSet[int].__origin__ is icehouse.FrozenSet
    with pytest.raises(TypeError):
        icehouse.FrozenSet()


def test_h29_mutators_are_absent() -> None:
    view = view_of({1})
    for name in sorted(set(dir(set)) - set(dir(frozenset))):
        if not name.startswith("_"):
            assert not hasattr(view, name)
            with pytest.raises(icehouse.FrozenError, match="FrozenSet"):
                getattr(view, name)
    with pytest.raises(icehouse.FrozenError):
        view.attribute = 1
    with pytest.raises(icehouse.FrozenError):
        del view.attribute
    with pytest.raises(AttributeError):
        _ = view.nothing_of_this_name


def test_every_method_of_frozenset_exists() -> None:
    names = {name for name in dir(frozenset) if name not in ("__new__", "__init__")}
    assert names <= set(dir(icehouse.FrozenSet))


def test_augmented_assignment_makes_a_new_set() -> None:
    s = {1}
    s |= view_of({2})
    assert s == {1, 2}
    assert type(s) is set
    s.update(view_of({3}))
    assert s == {1, 2, 3}
    view = before = view_of({1})
    view |= {2}
    assert view == {1, 2}
    assert before == {1}


def test_unhashable_and_strange_lookups() -> None:
    view = view_of({1, "a", (1, 2), frozenset({5})})
    with pytest.raises(TypeError, match="unhashable"):
        [] in view  # noqa: B015
    assert UserString("a") in view
    assert 1.0 in view
    assert True in view
    assert (1.0, 2) in view
    assert frozenset({5}) in view
    assert view_of(frozenset({5})) in view


def test_h23_nan_is_equal_to_itself_only() -> None:
    nan = float("nan")
    view = view_of({nan, 1})
    assert view == view
    assert len(view) == 2
    assert nan not in view


def test_handle_copies_and_pickles() -> None:
    view = icehouse.freeze({1, 2, frozenset({3})})
    assert icehouse.freeze([{1}])[0].handle is None
    assert str(view.handle).startswith("ih1_")
    assert copy.copy(view) is view
    assert copy.deepcopy(view) is view
    assert pickle.loads(pickle.dumps(view)) == view
    assert view.__sizeof__() < 1000
    iterator = iter(view)
    first = next(iterator)
    assert {first, *copy.copy(iterator)} == view
    assert {first, *iterator} == view


def test_h24_hash_of_shared_and_deep_sets() -> None:
    shared: Any = frozenset({1})
    for _ in range(40):
        shared = frozenset({shared, (shared,)})
    assert hash(icehouse.freeze({shared})) == hash(frozenset({shared}))
    deep: Any = frozenset()
    for i in range(5_000):
        deep = frozenset({deep, i})
    view = icehouse.freeze([deep])[0]
    assert hash(view) == hash(deep)
    assert view == deep


def test_hash_as_a_key() -> None:
    original = frozenset({1, "a", (2, 3)})
    assert {original: 1}[view_of(original)] == 1
    assert {view_of(original): 1}[original] == 1
    assert icehouse.freeze({original: 1})[view_of(original)] == 1
