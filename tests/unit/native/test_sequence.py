"""FrozenList and FrozenTuple behave as list and tuple do, but for writing."""

import binascii
import collections.abc
import copy
import functools
import math
import operator
import sys
from collections.abc import Callable
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

import icehouse
from icehouse import FrozenError, FrozenList, FrozenTuple

# One of every layout: words, each packed width, text runs, nested ones.
LISTS: list[list[Any]] = [
    [],
    [1],
    [1, -2, 3],
    [200, 255, 0],
    [-300, 300],
    [40_000, 65_535],
    [-(2**31), 2**31 - 1],
    [2**32 - 1, 5],
    [-(2**63), 2**63 - 1],
    [2**64 - 1, 2**63],
    [1.5, -0.0, 2.0**60, 1e300],
    [True, False, True],
    [True, 1, 1.0, 0],
    ["a", "b", "", "grün", "\U0001f600", "a"],
    ["ascii", "only", "text"],
    ["\ud800", "surrogate"],
    [None, ..., "x", b"bytes", 2.5, 10**30, -1, 3 + 4j],
    [[1, 2], [1, 2], {"a": [3]}, (1, (2, 3)), {4}, frozenset({5})],
    list(range(1000)),
    [*range(500), *map(str, range(500))],
]
# Larger than the tuples that come back as real ones.
TUPLES: list[tuple[Any, ...]] = [
    tuple(range(5000)),
    tuple(str(i) for i in range(5000)),
    tuple(i / 7 for i in range(5000)),
    (*range(5000), "x", None, ("y", 2.5), frozenset({1, "a"}), b"z"),
]
ORIGINALS = LISTS + TUPLES


def freeze(original: Any) -> Any:
    """Freeze, also what is frozen already and would come back as it is."""
    return (
        icehouse.freeze([original])[0] if isinstance(original, tuple) else icehouse.freeze(original)
    )


def name_of(original: Any) -> str:
    return f"{type(original).__name__}-{len(original)}-{str(original[:2])[:20]!r}"


@pytest.fixture(params=ORIGINALS, ids=name_of)
def original(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def view(original: Any) -> Any:
    view = freeze(original)
    assert type(view) is (FrozenList if isinstance(original, list) else FrozenTuple)
    return view


def outcome(function: Callable[..., Any], *args: Any) -> Any:
    """What a call gives: its value, or the type of its exception."""
    try:
        return function(*args)
    except Exception as error:
        return type(error)


INTERESTING = [
    *(0, 1, -1, 2, 3, 5, -2, 128, 255, 256, 300, 65_535, -300, 499, 4999, 10**30, -(10**30)),
    *(2**31 - 1, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), -(2**63) - 1),
    *(True, False, None, ..., 0.0, -0.0, 1.0, 1.5, 2.0**60, math.inf, -math.inf, math.nan, 1e300),
    *("a", "", "x", "b", "grün", "\U0001f600", "\ud800", "499", "surrogate", b"bytes", 3 + 4j),
    *([1, 2], (1, (2, 3)), {4}, frozenset({5}), {"a": [3]}, [], object()),
]


def test_length_items_and_iteration(original: Any, view: Any) -> None:
    assert len(view) == len(original)
    assert bool(view) == bool(original)
    assert list(view) == list(original)
    assert list(map(type, original)) == [
        {FrozenList: list, icehouse.FrozenDict: dict}.get(type(x), type(y))
        for x, y in zip(view, original, strict=True)
    ]
    assert list(reversed(view)) == list(reversed(original))
    n = len(original)
    for i in {0, 1, n // 2, n - 1, n, -1, -n, -n - 1, 2**63 - 1, -(2**63), 2**64}:
        assert outcome(operator.getitem, view, i) == outcome(operator.getitem, original, i)


def test_indices_are_what_has_index(view: Any, original: Any) -> None:
    class Two:
        def __index__(self) -> int:
            return 2

    assert outcome(operator.getitem, view, Two()) == outcome(operator.getitem, original, Two())
    assert outcome(lambda: view[True]) == outcome(operator.getitem, original, 1)
    for bad in ("0", 1.0, None, (0,), [0]):
        with pytest.raises(TypeError, match=type(view).__name__):
            view[bad]


BOUNDS = [None, 0, 1, 2, 7, -1, -3, 10**30, -(10**30), sys.maxsize, -sys.maxsize - 1]
STEPS = [None, 1, 2, 3, -1, -2, 10**30, -(10**30), sys.maxsize, -sys.maxsize - 1]


@pytest.mark.parametrize("step", STEPS)
def test_slices(original: Any, view: Any, step: int | None) -> None:
    for start in BOUNDS:
        for stop in BOUNDS:
            part = view[start:stop:step]
            wanted = original[start:stop:step]
            assert type(part) is type(view)
            assert part == wanted
            assert len(part) == len(wanted)
            assert part[::-1][::2] == wanted[::-1][::2]
            assert part[1:3] == wanted[1:3]
    with pytest.raises(ValueError, match="slice step cannot be zero"):
        view[::0]


def test_a_slice_copies_nothing_and_is_no_root() -> None:
    view = freeze(list(range(1000)))
    assert sys.getsizeof(view[10:900]) == sys.getsizeof(view) < 300
    assert view[:] is view
    assert view.handle is not None
    assert view[1:].handle is None
    assert freeze([[1, 2], 3])[0].handle is None


def test_searching(original: Any, view: Any) -> None:
    for value in [*INTERESTING, *original[:5], *original[-5:]]:
        for name in ("index", "count"):
            wanted = outcome(getattr(original, name), value)
            assert outcome(getattr(view, name), value) == wanted, value
        assert outcome(operator.contains, view, value) == outcome(
            operator.contains, original, value
        )
        part, plain = view[::-3], original[::-3]
        assert outcome(part.index, value) == outcome(plain.index, value)
        assert part.count(value) == plain.count(value)


@pytest.mark.parametrize("value", [5, "5"])
def test_index_takes_bounds(value: Any) -> None:
    for original in ([1, 5, 2, 5], ["5", "x", "5", 5, 5]):
        view = freeze(original)
        for start in [0, 1, 2, 4, -1, -3, 10**30, -(10**30)]:
            wanted = outcome(original.index, value, start)
            assert outcome(view.index, value, start) == wanted
            for stop in [0, 1, 3, -1, -2, 10**30, -(10**30)]:
                wanted = outcome(original.index, value, start, stop)
                assert outcome(view.index, value, start, stop) == wanted
    for args in [(), (1, 2, 3, 4), (1, None), (1, "0"), (1, 0, 1.0)]:
        assert outcome(original.index, *args) is TypeError
        assert outcome(view.index, *args) is TypeError


def test_searching_asks_the_value_itself() -> None:
    class Even:
        def __eq__(self, other: object) -> bool:
            return isinstance(other, int) and other % 2 == 0

        __hash__ = None  # type: ignore[assignment]

    class Broken:
        def __eq__(self, other: object) -> bool:
            raise ZeroDivisionError

        __hash__ = None  # type: ignore[assignment]

    view = freeze([1, 3, 4, 6])
    assert view.index(Even()) == 2
    assert view.count(Even()) == 2
    for search in (view.index, view.count, lambda x: x in view):
        with pytest.raises(ZeroDivisionError):
            search(Broken())


def test_joining_gives_ordinary_sequences(original: Any, view: Any) -> None:
    plain = type(original)
    other = plain([7, "x"])
    for sum_, wanted in [
        (view + other, original + other),
        (other + view, other + original),
        (view + view, original + original),
        (view[1:] + view[:1], original[1:] + original[:1]),
        (operator.concat(view, other), original + other),
        (view * 2, original * 2),
        (2 * view, 2 * original),
        (view * 0, original * 0),
        (view * -1, original * -1),
    ]:
        assert type(sum_) is plain
        assert sum_ == wanted
    foreign = (1,) if isinstance(original, list) else [1]
    for bad in (foreign, freeze({"a": 1}), 1, "x", None):
        with pytest.raises(TypeError):
            view + bad
        if not isinstance(bad, list):  # list's own += takes any iterable
            with pytest.raises(TypeError):
                bad + view
    for bad in (1.5, "x", view):
        with pytest.raises(TypeError):
            view * bad
    if len(original):
        with pytest.raises(MemoryError):
            view * sys.maxsize


def test_adding_in_place_extends_the_list_that_others_have() -> None:
    view = freeze([1, "a"])

    def extend(target: list[Any]) -> None:
        target += view

    mine: list[Any] = [0]
    for wanted in ([0, 1, "a"], [0, 1, "a", 1, "a"]):
        extend(mine)
        assert mine == wanted
    held = {"key": mine}
    held["key"] += view
    assert held["key"] is mine
    assert len(mine) == 7
    # What begins as a view, or can't be told, is bound anew.
    name = view
    name += [2]
    assert name == [1, "a", 2]
    assert view == [1, "a"]
    assert operator.iadd([0], view) == [0, 1, "a"]
    assert functools.reduce(operator.add, [view, view], []) == [1, "a", 1, "a"]
    pair: tuple[Any, ...] = (0,)
    pair += freeze(TUPLES[0])
    assert pair == (0, *TUPLES[0])


def test_equality_both_ways(original: Any, view: Any) -> None:
    again = freeze(original)
    other = list(original) if isinstance(original, tuple) else tuple(original)
    for same in (original, view, again, copy.deepcopy(original)):
        assert view == same
        assert same == view
        assert (view != same) is False
    for different in (other, [*original, 1], (*original, 1), None, "x", {}, 3):
        assert view != different
        assert different != view


@pytest.mark.parametrize("items", [[1, 2, 200], [1, 300], [-1], [1.5], ["a"], [True], [0.0] * 9])
def test_bytes_are_made_of_items_as_for_a_list(items: list[Any]) -> None:
    assert outcome(bytes, freeze(items)) == outcome(bytes, items)


def test_order(original: Any, view: Any) -> None:
    plain = type(original)
    others = [plain([]), plain([1]), plain([0, 0]), original, original[:-1], plain(["a"])]
    for compare in (operator.lt, operator.le, operator.gt, operator.ge):
        for other in others:
            wanted = outcome(compare, original, other)
            assert outcome(compare, view, other) == wanted
            assert outcome(compare, view, freeze(other)) == wanted
            assert outcome(compare, other, view) == outcome(compare, other, original)
        assert outcome(compare, view, 3) is TypeError


def test_hash(original: Any, view: Any) -> None:
    if isinstance(original, list):
        with pytest.raises(TypeError, match=r"unhashable type: .*FrozenList"):
            hash(view)
        assert not isinstance(view, collections.abc.Hashable)
    else:
        assert hash(view) == hash(original)
        assert hash(view[1:-1:2]) == hash(original[1:-1:2])
        assert {original: 1}[view] == 1


def test_hash_of_a_tuple_with_something_unhashable() -> None:
    view = freeze((*range(5000), [1]))
    assert type(view) is FrozenTuple
    with pytest.raises(TypeError, match="unhashable"):
        hash(view)
    assert hash(view[:-1]) == hash(tuple(range(5000)))


def test_h24_hash_of_tuples_with_exponentially_many_paths() -> None:
    def nest(times: int) -> Any:
        nested: tuple[Any, ...] = tuple(range(5000))
        for _ in range(times):
            nested = (nested, nested)
        return nested

    assert hash(freeze(nest(4))) == hash(nest(4))
    view = freeze(nest(200))
    assert type(view) is FrozenTuple
    assert hash(view) == hash((view[0], view[0]))


def test_h24_hash_of_deep_tuples() -> None:
    nested: tuple[Any, ...] = ()
    for i in range(100_000):
        nested = (nested, i)
    assert isinstance(hash(freeze(nested)), int)


def test_copying(original: Any, view: Any) -> None:
    assert copy.copy(view) is view
    assert copy.deepcopy(view) is view
    assert copy.deepcopy([view])[0] is view
    if isinstance(original, list):
        plain = view.copy()
        assert type(plain) is list
        assert plain == original
        plain.append(1)
        assert plain != view
        assert len(view) == len(original)
    else:
        with pytest.raises(AttributeError):
            view.copy()


MUTATORS = ["append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"]


@pytest.mark.parametrize("name", MUTATORS)
def test_h29_mutators_are_absent_and_say_why(name: str) -> None:
    view = freeze([3, 1])
    assert hasattr([], name)
    assert not hasattr(view, name)
    assert name not in dir(view)
    with pytest.raises(FrozenError, match=rf"FrozenList.*{name}"):
        getattr(view, name)
    with pytest.raises(AttributeError):
        getattr(freeze(TUPLES[0]), name)


def test_writing(view: Any) -> None:
    for write in (
        lambda: operator.setitem(view, 0, 1),
        lambda: operator.setitem(view, slice(None), []),
        lambda: operator.delitem(view, 0),
        lambda: setattr(view, "name", 1),
        lambda: delattr(view, "handle"),
        lambda: setattr(view, "handle", 1),
    ):
        with pytest.raises(FrozenError) as caught:
            write()
        assert isinstance(caught.value, TypeError)
        assert isinstance(caught.value, AttributeError)
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = view.nothing_of_the_kind
    assert not hasattr(view, "__dict__")
    with pytest.raises(TypeError):
        type(view).more = 1
    with pytest.raises(TypeError):
        type(view)()
    with pytest.raises(TypeError):
        type("Sub", (type(view),), {})


def test_every_read_only_name_is_there(original: Any, view: Any) -> None:
    absent = {"__iadd__", "__imul__", "__init__", "__getnewargs__", *MUTATORS}
    assert set(dir(type(original))) - absent <= set(dir(view))


def test_abstract_classes_patterns_and_generics(original: Any, view: Any) -> None:
    assert isinstance(view, collections.abc.Sequence)
    assert not isinstance(view, collections.abc.MutableSequence)
    match view:
        case [first, *_]:
            assert first == original[0]
        case []:
            assert len(original) == 0
        case _:
            pytest.fail("no sequence")
    assert type(view)[int].__origin__ is type(view)
    first, *rest = [*view, 1]
    assert [first, *rest] == [*original, 1]


def test_iterators() -> None:
    view = freeze([1, "a", 2.5])
    iterator = iter(view)
    assert iter(iterator) is iterator
    assert operator.length_hint(iterator) == 3
    assert next(iterator) == 1
    assert operator.length_hint(iterator) == 2
    assert list(iterator) == ["a", 2.5]
    assert list(iterator) == []
    assert operator.length_hint(iterator) == 0
    backwards = reversed(view[:2])
    assert list(backwards) == ["a", 1]
    del view
    assert list(iter(freeze([1, "gone", 2]))) == [1, "gone", 2]


FORMATS = {
    "b": [1, -2, 3],
    "B": [200, 255, 0],
    "h": [-300, 300],
    "H": [40_000, 65_535],
    "i": [-(2**31), 2**31 - 1],
    "I": [2**32 - 1, 5],
    "l": [-(2**63), 2**63 - 1],
    "L": [2**64 - 1, 2**63],
    "d": [1.5, -0.0, 1e300],
    "?": [True, False, True],
}


@pytest.mark.parametrize("length", [1, 100, 10_000])
@pytest.mark.parametrize("code", FORMATS)
def test_buffers_of_packed_lists(code: str, length: int) -> None:
    original = FORMATS[code] * length
    view = freeze(original)
    for part, plain in [
        (view, original),
        (view[1:], original[1:]),
        (view[::-1], original[::-1]),
        (view[5:0:-2], original[5:0:-2]),
        (view[:0], []),
    ]:
        memory = memoryview(part)
        assert memory.format == code
        assert memory.readonly
        assert memory.ndim == 1
        assert memory.shape == (len(plain),)
        assert memory.tolist() == plain
        if memory.c_contiguous:
            assert binascii.crc32(part) == binascii.crc32(memory)
        else:
            with pytest.raises(BufferError, match="contiguous"):
                binascii.crc32(part)
    del view, part
    assert memory.tolist() == []


def test_buffers_of_large_tuples() -> None:
    assert memoryview(freeze(TUPLES[0])).tolist() == list(range(5000))


@pytest.mark.parametrize("original", [[], ["a", "b"], [1, None], [1, 2.5], [[1]]])
def test_what_has_no_buffer(original: list[Any]) -> None:
    with pytest.raises(TypeError, match="packed"):
        memoryview(freeze(original))


def test_no_buffer_is_writable() -> None:
    import ctypes

    with pytest.raises((BufferError, TypeError)):
        (ctypes.c_char * 3).from_buffer(freeze([1, 2, 3]))


def test_numpy_takes_packed_lists_without_copying() -> None:
    numpy = pytest.importorskip("numpy")
    view = freeze(list(range(100_000)))
    array = numpy.asarray(view)
    assert array.dtype == numpy.uint32
    assert not array.flags.writeable
    assert not array.flags.owndata
    assert int(array.sum()) == sum(range(100_000))
    assert numpy.asarray(view[::-3]).tolist() == list(range(100_000))[::-3]
    del view
    assert int(array[-1]) == 99_999


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters())
    | st.binary(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple),
    max_leaves=20,
)


@hypothesis.given(st.lists(JSON), st.data())
def test_any_list(original: list[Any], data: st.DataObject) -> None:
    view = freeze(original)
    part = data.draw(st.slices(len(original)))
    assert view == original
    assert view[part] == original[part]
    assert list(view[part]) == original[part]
    if original:
        value = data.draw(st.sampled_from(original))
        assert view.index(value) == original.index(value)
        assert view.count(value) == original.count(value)
