"""repr() of views: what Python would show, within bounds."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

import icehouse

CASES: list[tuple[Any, str]] = [
    ([], "FrozenList([])"),
    ([1, 2], "FrozenList([1, 2])"),
    ([1.5, -0.0, True, None, ...], "FrozenList([1.5, -0.0, True, None, Ellipsis])"),
    (["a", "it's", "é", "\n", "\ud800"], "FrozenList(['a', \"it's\", 'é', '\\n', '\\ud800'])"),
    ({}, "FrozenDict({})"),
    ({"a": [1, 2]}, "FrozenDict({'a': [1, 2]})"),
    ({1: {2: {}}, (1,): ()}, "FrozenDict({1: {2: {}}, (1,): ()})"),
    (set(), "FrozenSet()"),
    ({1, 2}, "FrozenSet({1, 2})"),
    (frozenset({1}), "FrozenSet({1})"),
    (
        [set(), frozenset(), {1}, frozenset({2})],
        "FrozenList([set(), frozenset(), {1}, frozenset({2})])",
    ),
    (
        {frozenset({1}): {(frozenset({2}), 3): 4}},
        "FrozenDict({frozenset({1}): {(frozenset({2}), 3): 4}})",
    ),
    ([(1,), (1, "a"), ()], "FrozenList([(1,), (1, 'a'), ()])"),
    ([2**70, -(2**40), 1j, b"x"], f"FrozenList([{2**70}, {-(2**40)}, 1j, b'x'])"),
]


@pytest.mark.parametrize(("value", "text"), CASES, ids=[text for _, text in CASES])
def test_as_python_shows_it(value: Any, text: str) -> None:
    view = icehouse.freeze([value])[0]
    assert repr(view) == text
    assert str(view) == text
    assert f"{view}" == text


def test_frozen_tuple_and_slices() -> None:
    view = icehouse.freeze([tuple(range(5000))])[0]
    assert type(view) is icehouse.FrozenTuple
    assert repr(view) == f"FrozenTuple({tuple(range(5000))!r})"
    assert repr(view[:3]) == "FrozenTuple((0, 1, 2))"
    assert repr(view[:1]) == "FrozenTuple((0,))"
    assert repr(icehouse.freeze(["a", "b", "c"])[::-1]) == "FrozenList(['c', 'b', 'a'])"


def test_h24_cycles() -> None:
    cyclic: list[Any] = [1]
    cyclic.append(cyclic)
    cyclic.append({"again": cyclic})
    assert repr(icehouse.freeze(cyclic)) == "FrozenList([1, [...], {'again': [...]}])"
    mapping: dict[str, Any] = {"list": []}
    mapping["self"] = mapping
    mapping["list"].append(mapping)
    assert repr(icehouse.freeze(mapping)) == "FrozenDict({'list': [{...}], 'self': {...}})"
    assert repr(icehouse.freeze(mapping).values()) == "FrozenDictValues([[{...}], {...}])"


def test_twice_is_no_cycle() -> None:
    shared = [1]
    assert repr(icehouse.freeze([shared, shared])) == "FrozenList([[1], [1]])"


def test_h24_depth_is_bounded() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    text = repr(icehouse.freeze(deep))
    assert text == "FrozenList(" + "[" * 100 + "..." + "]" * 100 + ")"


def test_h24_shared_doubling_is_bounded() -> None:
    value: Any = ["x"]
    for _ in range(60):
        value = [value, value]
    text = repr(icehouse.freeze(value))
    assert len(text) < 2_000_000
    assert text.endswith("])")


def test_h24_items_and_text_are_bounded() -> None:
    text = repr(icehouse.freeze(list(range(300_000))))
    assert text.startswith("FrozenList([0, 1, 2, ")
    assert text.endswith("99999, ...])")
    text = repr(icehouse.freeze({i: str(i) for i in range(300_000)}))
    assert text.endswith(", ...})")
    text = repr(icehouse.freeze({i: str(i) for i in range(300_000)}).items())
    assert text.endswith("), (...)])")
    text = repr(icehouse.freeze(["x" * 1000] * 10_000))
    assert len(text) < 1_200_000
    text = repr(icehouse.freeze(["é" * 10_000_000]))
    assert len(text) < 100_000
    assert text.endswith("é'...])")
    text = repr(icehouse.freeze([["a", i] * 5 for i in range(50_000)]))
    assert "..., ...])" not in text
    assert len(text) < 1_000_000
    assert text.endswith("...])")


@pytest.fixture
def int_digits() -> Iterator[None]:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    yield
    sys.set_int_max_str_digits(before)


def test_h24_shared_doubling_in_keys_is_bounded() -> None:
    key: Any = frozenset({1})
    for _ in range(40):
        key = frozenset({key, (key,)})
    assert len(repr(icehouse.freeze({key: 1}))) < 2_000_000


def test_huge_ints_are_not_printed(int_digits: None) -> None:
    text = repr(icehouse.freeze([1 << 1_000_000, 5]))
    assert text.startswith("FrozenList([<int of about 1000")
    assert text.endswith(" bits>, 5])")
    assert "<int of about" in repr(icehouse.freeze({1 << 100_000: 1}))
    assert repr(icehouse.freeze([10**3000])) == f"FrozenList([{10**3000}])"


def test_dict_views() -> None:
    view = icehouse.freeze({"a": 1, "b": [2]})
    assert repr(view.keys()) == "FrozenDictKeys(['a', 'b'])"
    assert repr(view.values()) == "FrozenDictValues([1, [2]])"
    assert repr(view.items()) == "FrozenDictItems([('a', 1), ('b', [2])])"
    many = icehouse.freeze(dict.fromkeys(range(200_000)))
    assert repr(many.keys()).endswith("99999, ...])")
    assert repr(many.values()).endswith("None, ...])")
    empty = icehouse.freeze({})
    assert repr(empty.keys()) == "FrozenDictKeys([])"
    assert repr(empty.items()) == "FrozenDictItems([])"
