"""FrozenObject over a container: subclasses of list, dict, set, ..., and those of `collections`."""

import collections
from collections.abc import Iterator, MutableSequence
from typing import Any

import pytest
from forged import view_of

import icehouse


class Numbers(list[Any]):
    def total(self) -> int:
        return sum(self)


class Table(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return f"no {key}"

    def first(self) -> str:
        return next(iter(self))


class Group(set[Any]):
    pass


class Fixed(frozenset[Any]):
    pass


class Own(list[Any]):
    """Methods of its own before those of list."""

    def __len__(self) -> int:
        return 99

    def __iter__(self) -> Iterator[str]:
        return iter("own")

    def __eq__(self, other: object) -> bool:
        return other == "own"

    __hash__ = None  # type: ignore[assignment]


class Named(collections.deque[Any]):
    name = "a deque"


def numbers() -> Numbers:
    made = Numbers([3, 1, 2])
    made.unit = "m"  # type: ignore[attr-defined]
    return made


def test_lists() -> None:
    view = view_of(numbers())
    assert isinstance(view, Numbers)
    assert isinstance(view, list)
    assert isinstance(view, MutableSequence)
    assert (len(view), view[0], view[-1], view[1:], view.total()) == (3, 3, 2, [1, 2], 6)
    assert list(view) == [3, 1, 2]
    assert list(reversed(view)) == [2, 1, 3]
    assert sorted(view) == [1, 2, 3]
    assert 1 in view
    assert 9 not in view
    assert (view.index(1), view.count(2), view.unit) == (1, 1, "m")
    assert view.__dict__ == {"unit": "m"}
    assert bool(view)
    assert not view_of(Numbers())
    assert repr(view) == "Numbers([3, 1, 2], unit='m')"


def test_lists_compare_as_lists() -> None:
    view = view_of(numbers())
    assert view == [3, 1, 2]
    assert view == [3, 1, 2]
    assert numbers() == view
    assert view == numbers()
    assert view == view_of([3, 1, 2])
    assert view_of([3, 1, 2]) == view
    assert view == view_of(numbers())
    assert view != [3]
    assert view != (3, 1, 2)
    assert view < [4]
    assert view > [2]
    assert view_of({"deep": [numbers()]}) == {"deep": [[3, 1, 2]]}
    with pytest.raises(TypeError, match="unhashable"):
        hash(view)


def test_list_operators() -> None:
    view = view_of(numbers())
    assert view + [4] == [3, 1, 2, 4]  # noqa: RUF005 - the operator is meant
    assert [4] + view == [4, 3, 1, 2]  # noqa: RUF005
    assert view + view == [3, 1, 2, 3, 1, 2]
    assert view * 2 == 2 * view == [3, 1, 2, 3, 1, 2]
    match view:
        case [first, *rest]:
            assert (first, rest) == (3, [1, 2])
        case _:
            pytest.fail("no match")


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (Numbers([1]), "append extend insert pop remove clear sort reverse"),
        (Table(a=1), "pop popitem clear update setdefault"),
        (Group({1}), "add discard remove clear pop update"),
        (collections.deque([1]), "append appendleft pop popleft rotate clear extendleft"),
        (collections.OrderedDict(a=1), "move_to_end popitem update clear"),
    ],
)
def test_h29_mutators_are_absent(value: Any, names: str) -> None:
    view = view_of(value)
    for name in names.split():
        assert not hasattr(view, name)
        with pytest.raises(icehouse.FrozenError, match=f"{type(value).__name__} is immutable"):
            getattr(view, name)
    assert view == value


def test_h29_item_assignment_is_refused() -> None:
    for view, key in [(view_of(numbers()), 0), (view_of(Table(a=1)), "a")]:
        with pytest.raises(icehouse.FrozenError, match="is immutable: item assignment"):
            view[key] = 1
        with pytest.raises(icehouse.FrozenError, match="is immutable: item deletion"):
            del view[key]
    view = view_of(numbers())
    with pytest.raises(icehouse.FrozenError, match="in-place operator '__iadd__'"):
        view += [1]
    with pytest.raises(icehouse.FrozenError):
        view.unit = "km"


def test_dicts() -> None:
    view = view_of(Table(b=1, a=[2]))
    assert isinstance(view, Table)
    assert isinstance(view, dict)
    assert (view["b"], view["a"], view["absent"]) == (1, [2], "no absent")
    assert view.get("absent") is None
    assert list(view) == list(view.keys()) == ["b", "a"]
    assert dict(view) == {"b": 1, "a": [2]} == {**view}
    assert dict(view.items()) == view
    assert view == {"a": [2], "b": 1}
    assert view == {"a": [2], "b": 1}
    assert Table(b=1, a=[2]) == view
    assert view != {"b": 1}
    assert view.first() == "b"
    assert ("b" in view, len(view)) == (True, 2)
    assert view | {"c": 3} == {"b": 1, "a": [2], "c": 3}
    assert list(reversed(view)) == ["a", "b"]
    match view:
        case {"b": value}:
            assert value == 1
        case _:
            pytest.fail("no match")
    assert view.fromkeys(["x"]) == {"x": None}


def test_sets() -> None:
    view = view_of(Group({1, 2}))
    assert isinstance(view, set)
    assert view == {1, 2}
    assert {1, 2} == view
    assert view & {1, 5} == {1}
    assert {1, 5} | view == {1, 2, 5}
    assert view < {1, 2, 3}
    assert view.isdisjoint({7})
    with pytest.raises(TypeError):
        hash(view)


def test_methods_of_the_class_come_first() -> None:
    view = view_of(Own([1, 2]))
    assert len(view) == 99
    assert list(view) == ["o", "w", "n"]
    assert view == "own"
    assert (view != [1, 2]) == (Own([1, 2]) != [1, 2])  # list's own __ne__
    assert view[0] == 1


def test_deques() -> None:
    view = view_of(collections.deque([1, 2, 3], maxlen=5))
    assert isinstance(view, collections.deque)
    assert (view.maxlen, len(view), view[0], list(view)) == (5, 3, 1, [1, 2, 3])
    assert view == collections.deque([1, 2, 3])
    assert collections.deque([1, 2, 3]) == view
    assert view != [1, 2, 3]
    assert view != [1, 2, 3]
    assert view < collections.deque([2])
    assert repr(view) == "deque([1, 2, 3], maxlen=5)"
    assert view_of(collections.deque()).maxlen is None
    named = view_of(Named([1]))
    assert (named.name, named) == ("a deque", collections.deque([1]))


def test_ordered_dicts() -> None:
    view = view_of(collections.OrderedDict([("b", 1), ("a", 2)]))
    assert view == {"a": 2, "b": 1}
    assert view == collections.OrderedDict([("b", 1), ("a", 2)])
    assert view != collections.OrderedDict([("a", 2), ("b", 1)])
    assert collections.OrderedDict([("a", 2), ("b", 1)]) != view
    assert view == view_of(collections.OrderedDict([("b", 1), ("a", 2)]))
    assert view != view_of(collections.OrderedDict([("a", 2), ("b", 1)]))
    assert list(reversed(view)) == ["a", "b"]


def test_default_dicts_answer_without_keeping() -> None:
    view = view_of(collections.defaultdict(int, a=1))
    assert (view["a"], view["absent"], len(view)) == (1, 0, 1)
    assert view.default_factory is int
    assert view == {"a": 1}
    lists = view_of(collections.defaultdict(list))
    assert lists["absent"] == []
    assert not hasattr(lists["absent"], "append")
    with pytest.raises(KeyError):
        view_of(collections.defaultdict(None, a=1))["absent"]


def test_counters() -> None:
    view = view_of(collections.Counter("aabc"))
    assert (view["a"], view["z"], view.total()) == (2, 0, 4)
    assert view.most_common(1) == [("a", 2)]
    assert view == collections.Counter("aabc")
    assert collections.Counter("aabc") == view
    assert view + collections.Counter("a") == collections.Counter("aaabc")
    assert view.copy() == collections.Counter("aabc")
    assert sorted(view.elements()) == list("aabc")
    with pytest.raises((TypeError, AttributeError)):
        view.update("x")
