"""Subclasses of builtin containers, and the containers of collections, as views."""

import collections
import contextlib
import copy
import json
import operator
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence
from typing import Any

import pytest
import user_classes as uc

import icehouse

MAKERS: list[Callable[[], Any]] = [
    lambda: uc.Stack([1, "a", [2]]),
    lambda: uc.Registry(a=1, b=[2]),
    lambda: uc.Careful(a=1),
    lambda: uc.Tags({"x", "y"}),
    lambda: uc.FrozenTags({"x", "y"}),
    lambda: uc.Chunk(b"abc"),
    lambda: uc.Cache(a=1, b=2),
    lambda: uc.Names(a=1),
    lambda: uc.Words(["a", "b"]),
    lambda: uc.Title("abc"),
    lambda: collections.OrderedDict(b=1, a=[2]),
    lambda: collections.defaultdict(list, {"a": [1]}),
    lambda: collections.defaultdict(None, {}),
    lambda: collections.Counter("abracadabra"),
    lambda: collections.deque([1, [2], 3]),
    lambda: collections.deque([1, 2, 3], maxlen=5),
    lambda: collections.ChainMap({"a": 1}, {"a": 2, "b": [3]}),
    lambda: collections.UserDict({"a": [1]}),
    lambda: collections.UserList([1, [2]]),
    lambda: collections.UserString("text"),
]


@pytest.fixture(params=range(len(MAKERS)), ids=lambda i: f"{i}-{type(MAKERS[i]()).__name__}")
def original(request: pytest.FixtureRequest) -> Any:
    made = MAKERS[request.param]()
    uc.RAN.clear()
    return made


def test_a_view_is_what_it_was(original: Any) -> None:
    view = icehouse.freeze(original)
    assert isinstance(view, icehouse.FrozenObject)
    assert isinstance(view, type(original))
    assert view == original
    assert original == view
    assert operator.ne(view, original) is False
    assert len(view) == len(original)
    assert bool(view) == bool(original)
    assert list(view) == list(original)
    assert icehouse.is_frozen(view)
    assert copy.copy(view) is view


def test_thaw_gives_the_original(original: Any) -> None:
    thawed = icehouse.thaw(icehouse.freeze({"x": [original]}))["x"][0]
    assert type(thawed) is type(original)
    assert thawed == original
    if not isinstance(original, (set, frozenset)):
        assert repr(thawed) == repr(original)
    assert getattr(thawed, "__dict__", None) == getattr(original, "__dict__", None)


def test_every_item_reads_as_it_did(original: Any) -> None:
    view = icehouse.freeze(original)
    for item in original:
        assert item in view
    if isinstance(original, (Mapping, MutableMapping)):
        for key in original:
            assert view[key] == original[key]
            assert view.get(key) == original.get(key)
        assert list(view.items()) == list(original.items())
        assert list(view.keys()) == list(original.keys())
    elif hasattr(original, "__getitem__"):
        for i in range(-len(original), len(original)):
            assert view[i] == original[i]
        with pytest.raises(IndexError):
            view[len(original)]


@pytest.mark.parametrize(
    "method",
    "append extend insert pop remove clear sort reverse appendleft popleft rotate update "
    "setdefault "
    "popitem move_to_end add discard subtract __setitem__ __delitem__ __iadd__".split(),
)
def test_h29_nothing_that_writes_writes(original: Any, method: str) -> None:
    if not hasattr(original, method):
        return
    view = icehouse.freeze(original)
    before = list(view)
    arguments: dict[str, tuple[Any, ...]] = {
        "insert": (0, 1),
        "__setitem__": (0, 1),
        "pop": (),
        "update": ({"zz": 1},),
        "subtract": ({"zz": 1},),
        "extend": ([1],),
        "__iadd__": ([1],),
        "setdefault": ("zz", 1),
    }
    if method in ("clear", "sort", "reverse", "popleft", "popitem", "rotate"):
        chosen: tuple[Any, ...] = ()
    else:
        chosen = arguments.get(method, (next(iter(original), "zz"),))
    with pytest.raises((TypeError, AttributeError, icehouse.FrozenError)):
        getattr(view, method)(*chosen)
    assert list(view) == before


def test_items_can_not_be_set(original: Any) -> None:
    view = icehouse.freeze(original)
    for key in (0, "a"):
        with pytest.raises((TypeError, AttributeError)):
            view[key] = 1
        # Counter and its like ignore what they don't have.
        with contextlib.suppress(TypeError, AttributeError):
            del view[key]
    assert view == original


def test_methods_of_the_class_work() -> None:
    stack = icehouse.freeze(uc.Stack([1, 2, 3]))
    assert (stack.top(), stack.label, stack.count(2), stack.index(3)) == (3, "stack", 1, 2)
    assert stack[1:] == [2, 3]
    assert stack == [1, 2, 3]
    assert icehouse.freeze(uc.Tags({"b", "a"})).joined() == "a,b"
    assert icehouse.freeze(uc.FrozenTags({"b", "a"})).joined() == "a,b"
    assert icehouse.freeze(uc.Registry(z=1)).first() == "z"


def test_missing_is_honoured_and_never_writes() -> None:
    registry = icehouse.freeze(uc.Registry(a=1))
    assert registry["zz"] == "no zz"
    assert registry.get("zz") is None
    counter = icehouse.freeze(collections.Counter("aab"))
    assert counter["zz"] == 0
    default = icehouse.freeze(collections.defaultdict(list, {"a": [1]}))
    assert default["zz"] == []
    assert default.default_factory is list
    assert "zz" not in default
    with pytest.raises(KeyError):
        icehouse.freeze(collections.defaultdict(None, {}))["zz"]
    with pytest.raises(KeyError):
        icehouse.freeze(collections.defaultdict(uc.Empty, {}))["zz"]


def test_a_class_whose_methods_go_on_to_the_base_is_a_real_instance() -> None:
    made = icehouse.freeze([uc.Loud({"a": [1]}, extra=[1])])[0]
    assert type(made) is uc.Loud
    assert made["a"] == ("loud", [1])
    assert isinstance(made["a"][1], icehouse.FrozenList)
    assert made.get("a") == [1]
    assert made.more == {"extra": [1]}
    numbers = icehouse.freeze([uc.Numbers([1, 2])])[0]
    assert (numbers[1], repr(numbers)) == (4, "Numbers([1, 2])")
    thawed = icehouse.thaw(icehouse.freeze([uc.Loud({"a": [1]}, extra=[1])]))[0]
    assert type(thawed) is uc.Loud
    assert type(dict.__getitem__(thawed, "a")) is list
    ring = uc.Loud({})
    ring["self"] = ring
    with pytest.raises(icehouse.NotFreezableError, match="refers to itself"):
        icehouse.freeze([ring])


def test_methods_that_only_write_through_the_base_do_not_matter() -> None:
    view = icehouse.freeze(uc.Careful(b=1, a=2))
    assert isinstance(view, icehouse.FrozenObject)
    assert view.names() == ["a", "b"]
    with pytest.raises(TypeError):
        view["c"] = 1


def test_methods_of_the_base_under_other_names() -> None:
    view = icehouse.freeze(uc.Named(color="red"))
    assert view.color == "red"
    assert view.find("color") == "red"
    assert view.find("zz", 5) == 5
    with pytest.raises((AttributeError, KeyError)):
        _ = view.shape


def test_counters_count() -> None:
    counter = collections.Counter("abracadabra")
    view = icehouse.freeze(counter)
    assert view.most_common(2) == counter.most_common(2)
    assert sorted(view.elements()) == sorted(counter.elements())
    assert view.total() == counter.total()
    assert view + collections.Counter("a") == counter + collections.Counter("a")
    assert view - collections.Counter("a") == counter - collections.Counter("a")
    assert view & collections.Counter("ab") == collections.Counter("ab")
    assert view <= counter
    assert repr(view) == repr(counter)


def test_ordered_dicts_compare_in_order() -> None:
    forward = collections.OrderedDict(a=1, b=2)
    backward = collections.OrderedDict(b=2, a=1)
    view = icehouse.freeze(forward)
    assert view == forward
    assert view != backward
    assert backward != view
    assert view != icehouse.freeze(backward)
    assert view == {"b": 2, "a": 1}
    assert operator.eq({"b": 2, "a": 1}, view)
    assert list(reversed(view)) == ["b", "a"]
    assert repr(view) == repr(forward)
    forward.move_to_end("a")
    assert list(icehouse.freeze(forward)) == ["b", "a"]


def test_deques() -> None:
    original = collections.deque([3, 1, 2], maxlen=4)
    view = icehouse.freeze(original)
    assert view.maxlen == 4
    assert view == original
    assert view != [3, 1, 2]
    assert view < collections.deque([4])
    assert collections.deque([1]) < view
    assert list(reversed(view)) == [2, 1, 3]
    assert view.count(1) == 1
    assert view.index(2) == 2
    assert repr(view) == repr(original)
    assert icehouse.thaw(view).maxlen == 4
    with pytest.raises((TypeError, icehouse.FrozenError)):
        view.maxlen = 5
    assert icehouse.freeze(collections.deque()).maxlen is None
    with pytest.raises(TypeError):
        hash(view)


def test_chain_maps() -> None:
    view = icehouse.freeze(collections.ChainMap({"a": 1}, {"a": 2, "b": 3}))
    assert (view["a"], view["b"], len(view)) == (1, 3, 2)
    assert view.parents["a"] == 2
    assert view.maps[1] == {"a": 2, "b": 3}
    with pytest.raises(KeyError):
        view["zz"]


def test_sets_and_their_operators() -> None:
    view = icehouse.freeze(uc.Tags({"x", "y"}))
    assert view & {"x"} == {"x"}
    assert {"x"} & view == {"x"}
    assert view | {"z"} == {"x", "y", "z"}
    assert view - {"x"} == {"y"}
    assert view <= {"x", "y", "z"}
    assert {"x"} < view
    assert view.isdisjoint({"z"})
    with pytest.raises(TypeError):
        hash(view)
    frozen = icehouse.freeze(uc.FrozenTags({"x"}))
    assert hash(frozen) == hash(uc.FrozenTags({"x"}))
    assert {frozen: 1}[frozenset({"x"})] == 1


def test_operators_of_sequences_and_dicts() -> None:
    stack = icehouse.freeze(uc.Stack([1, 2]))
    assert operator.add(stack, [3]) == [1, 2, 3]
    assert stack * 2 == [1, 2, 1, 2]
    assert 2 * stack == [1, 2, 1, 2]
    assert stack < [1, 3]
    assert operator.lt([1, 1], stack)
    registry = icehouse.freeze(uc.Registry(a=1))
    assert registry | {"b": 2} == {"a": 1, "b": 2}
    assert {"b": 2} | registry == {"a": 1, "b": 2}


def test_bytearrays() -> None:
    view = icehouse.freeze(uc.Chunk(b"abc"))
    assert view == b"abc"
    assert view[0] == 97
    assert view[1:] == b"bc"
    assert view.startswith(b"ab")
    assert bytes(view) == b"abc"


def test_patterns_match() -> None:
    match icehouse.freeze([uc.Stack([1, 2]), uc.Registry(a=1)]):
        case [uc.Stack() as stack, uc.Registry() as registry]:
            assert (stack.top(), registry["a"]) == (2, 1)
        case _:
            pytest.fail("no match")


def test_h20_content_is_copied_and_thawed_past_the_class() -> None:
    original = uc.WatchedList([1, 2])
    uc.RAN.clear()
    view = icehouse.freeze([original])[0]
    assert isinstance(view, uc.WatchedList)
    assert uc.RAN == []
    assert len(view) == 2
    assert uc.RAN == ["WatchedList.__len__"]
    uc.RAN.clear()
    thawed = icehouse.thaw(view)
    assert list.__getitem__(thawed, 1) == 2
    del view
    assert uc.RAN == []


def test_json_of_views() -> None:
    data = {"o": collections.OrderedDict(a=1), "c": collections.Counter("a"), "s": uc.Stack([1])}
    view = icehouse.freeze(data)
    text = json.dumps(view, default=icehouse.json_default)
    assert json.loads(text) == {"o": {"a": 1}, "c": {"a": 1}, "s": [1]}
    assert json.loads(icehouse.dumps(view)) == {"o": {"a": 1}, "c": {"a": 1}, "s": [1]}


def test_a_default_factory_without_a_name_is_refused_with_its_path() -> None:
    with pytest.raises(icehouse.NotFreezableError, match=r"default_factory"):
        icehouse.freeze({"d": collections.defaultdict(lambda: 0)})


def test_nested_defaultdicts_share_and_cycle() -> None:
    inner: Any = collections.defaultdict(list)
    inner["self"] = inner
    inner["list"].append(inner)
    view = icehouse.freeze(inner)
    assert icehouse.same(view["self"], view)
    thawed = icehouse.thaw(view)
    assert thawed["self"] is thawed
    assert thawed["list"][0] is thawed


def test_a_mutable_sequence_of_abc() -> None:
    class_of = type("Seq", (uc.Words, MutableSequence), {"__module__": "nowhere"})
    view = icehouse.freeze(class_of(["a"]))
    assert view.data == ["a"]
