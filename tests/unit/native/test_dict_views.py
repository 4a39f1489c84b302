"""keys(), values() and items() of FrozenDict against those of dict."""

import copy
import operator
from collections.abc import Callable, ItemsView, KeysView, ValuesView
from types import MappingProxyType
from typing import Any

import pytest

import icehouse

UNHASHABLE = {"a": [1], "b": {"c": 1}}
DICTS: list[dict[Any, Any]] = [
    {},
    {"a": 1},
    {"a": 1, "b": 2},
    UNHASHABLE,
    {1: "x", 2.5: "y", None: "z"},
    {(1, 2): 3, frozenset({1}): 4},
    {f"key{i}": i for i in range(9)},
    {f"key{i}": str(i) for i in range(100)},
    dict.fromkeys(range(50)),
]
OPERATORS = [operator.and_, operator.or_, operator.sub, operator.xor]
COMPARISONS = [operator.eq, operator.ne, operator.le, operator.lt, operator.ge, operator.gt]
OTHERS: list[Any] = [
    set(),
    {"a"},
    frozenset({"a", "z"}),
    {("a", 1), ("b", 3)},
    {"a": 1}.keys(),
    {"a": 1}.items(),
    {f"key{i}": i for i in range(20)}.keys(),
]
ITERABLES: list[Any] = [["a", "a"], ("b", "x"), "ab", [("a", 1)], {"b": 1}, 5, None, [[]]]
PARTS = ["keys", "items"]


def outcome(call: Callable[[], Any]) -> Any:
    try:
        result = call()
    except Exception as error:
        return type(error)
    return type(result), result


def shaped(original: dict[Any, Any]) -> Any:
    """A dict frozen beside others with its keys."""
    return icehouse.freeze([original, dict(original), dict(original)])[1]


@pytest.mark.parametrize("freeze", [icehouse.freeze, shaped])
@pytest.mark.parametrize("original", DICTS, ids=range(len(DICTS)))
def test_walking(freeze: Any, original: dict[Any, Any]) -> None:
    view = freeze(original)
    for part in ("keys", "values", "items"):
        ours, theirs = getattr(view, part)(), getattr(original, part)()
        assert len(ours) == len(theirs)
        assert list(ours) == list(theirs)
        assert list(reversed(ours)) == list(reversed(theirs))
        assert all(item in ours for item in theirs)
        assert type(ours.mapping) is MappingProxyType
        assert ours.mapping == original
        iterator = iter(ours)
        assert operator.length_hint(iterator) == len(original)
        copied = copy.copy(iterator)
        assert list(copied) == list(iterator)
        assert operator.length_hint(iterator) == 0
        assert next(iterator, "end") == "end"
    assert list(view) == list(original)
    assert list(reversed(view)) == list(reversed(original))
    assert dict(view) == original
    assert dict(view.items()) == original


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("operate", OPERATORS)
def test_operators(part: str, operate: Any) -> None:
    for original in DICTS:
        view = getattr(icehouse.freeze(original), part)()
        plain = getattr(original, part)()
        for other in OTHERS + ITERABLES:
            expected = outcome(lambda p=plain, o=other: operate(p, o))
            assert outcome(lambda v=view, o=other: operate(v, o)) == expected
            if original is UNHASHABLE and not isinstance(other, set):
                continue  # a view of dict comes first, and hashes all that is not a dict's
            expected = outcome(lambda p=plain, o=other: operate(o, p))
            assert outcome(lambda v=view, o=other: operate(o, v)) == expected
        for other in DICTS:
            expected = outcome(lambda p=plain, o=other: operate(p, getattr(o, part)()))
            ours = getattr(icehouse.freeze(other), part)()
            assert outcome(lambda v=view, o=ours: operate(v, o)) == expected


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("compare", COMPARISONS)
def test_comparisons(part: str, compare: Any) -> None:
    for original in DICTS:
        view = getattr(icehouse.freeze(original), part)()
        plain = getattr(original, part)()
        for other in OTHERS + ITERABLES:
            expected = outcome(lambda p=plain, o=other: compare(p, o))
            assert outcome(lambda v=view, o=other: compare(v, o)) == expected
            expected = outcome(lambda p=plain, o=other: compare(o, p))
            assert outcome(lambda v=view, o=other: compare(o, v)) == expected
        for other in DICTS:
            theirs, ours = getattr(other, part)(), getattr(icehouse.freeze(other), part)()
            expected = outcome(lambda p=plain, o=theirs: compare(p, o))
            assert outcome(lambda v=view, o=ours: compare(v, o)) == expected
            assert outcome(lambda v=view, o=theirs: compare(v, o)) == expected
            assert outcome(lambda p=plain, o=ours: compare(p, o)) == expected


@pytest.mark.parametrize("part", PARTS)
def test_isdisjoint(part: str) -> None:
    for original in DICTS:
        view = getattr(icehouse.freeze(original), part)()
        plain = getattr(original, part)()
        assert view.isdisjoint(view) == plain.isdisjoint(plain)
        for other in OTHERS + ITERABLES:
            expected = outcome(lambda p=plain, o=other: p.isdisjoint(o))
            assert outcome(lambda v=view, o=other: v.isdisjoint(o)) == expected


@pytest.mark.parametrize("item", ["a", ("a", 1), ("a", 2), ("a",), ["a", 1], ([], 1), 1, [1], None])
def test_in(item: Any) -> None:
    original = {"a": 1, "b": [1]}
    view = icehouse.freeze(original)
    for part in ("keys", "values", "items"):
        expected = outcome(lambda part=part: item in getattr(original, part)())
        assert outcome(lambda part=part: item in getattr(view, part)()) == expected
    assert ("b", [1]) in view.items()


def test_types() -> None:
    view = icehouse.freeze({"a": 1})
    assert isinstance(view.keys(), KeysView)
    assert isinstance(view.values(), ValuesView)
    assert isinstance(view.items(), ItemsView)
    with pytest.raises(TypeError):
        hash(view.keys())
    with pytest.raises(TypeError):
        hash(view.items())
    assert view.values() != view.values()
    assert repr(view.keys()) == "FrozenDictKeys(['a'])"
    assert repr(view.values()) == "FrozenDictValues([1])"
    assert repr(view.items()) == "FrozenDictItems([('a', 1)])"


def test_the_pair_of_items_is_used_again_only_if_nobody_has_it() -> None:
    view = icehouse.freeze({"a": 1, "b": (1, 2), "c": [3]})
    kept = list(view.items())
    assert kept == [("a", 1), ("b", (1, 2)), ("c", [3])]
    hashes = [hash(pair) for pair in icehouse.freeze({"a": 1, "b": 2}).items()]
    assert hashes == [hash(("a", 1)), hash(("b", 2))]


def test_many_records_of_one_shape() -> None:
    rows = [{"id": i, "name": f"n{i}", "tags": []} for i in range(100)]
    frozen = icehouse.freeze(rows)
    assert [dict(row.items()) for row in frozen] == rows
    assert frozen[3].keys() == frozen[4].keys()
    assert frozen[3].items() != frozen[4].items()


def test_a_key_that_nothing_else_holds() -> None:
    view = icehouse.freeze({"a": 1})
    keys, iterator = view.keys(), iter(view.items())
    del view
    assert list(keys) == ["a"]
    assert list(iterator) == [("a", 1)]
