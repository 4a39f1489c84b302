"""Views are frozen by their nodes: from store to store, whatever is in them, with nothing made."""

import collections
import dataclasses
import datetime
import decimal
import gc
import pickle
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import icehouse
from icehouse.native import _image
from tests.unit.native.rules import ruling


@dataclasses.dataclass
class Node:
    value: Any
    next: Any = None


@dataclasses.dataclass(frozen=True)
class Key:
    name: str


class Items(list[Any]):
    pass


@dataclasses.dataclass
class Wide:
    """Made whole, by a rule of the test."""

    content: Any


@pytest.fixture
def stores() -> Iterator[tuple[icehouse.Store, icehouse.Store]]:
    with icehouse.Store() as one, icehouse.Store() as other:
        yield one, other


EVERYTHING: dict[str, Any] = {
    "plain": [None, True, 1, -5, 1 << 40, 1 << 200, 1.5, 2j, "a", "\xe9" * 200, "", b"", ..., ()],
    "bytes": [b"x" * 100, b"y" * 100_000, bytearray(b"z"), bytearray(b"z" * 100_000)],
    "packed": [
        [1, 2, 300],
        [1.5, 2.5],
        [True, False],
        [1] * 5000,
        list("abcdefghijklmnopqrstuvwxyz"),
    ],
    "tuples": [
        (1, "a", (2,)),
        tuple(range(5000)),
        tuple(str(i) for i in range(100)),
        (None,) * 5000,
    ],
    "dicts": [{"a": 1, "b": 2}, {1: 2}, {i: str(i) for i in range(1000)}, {}, {(1, "x"): 2}],
    "shaped": [{f"k{i}": i for i in range(30)}, {f"k{i}": -i for i in range(30)}],
    "sets": [{1, 2}, set(range(1000)), frozenset("abc"), frozenset(range(500))],
    "array": memoryview(b"abcdef" * 2).cast("h", (2, 3)),
    "large array": memoryview(bytes(80_000)).cast("d"),
    "objects": [Node(1, Node([2])), Items([1, 2]), collections.OrderedDict(a=1)],
    "values": [datetime.date(2020, 1, 2), decimal.Decimal("1.5"), int, range(3)],
    "keys": {Key("a"): 1, (Key("b"), 1): 2, datetime.date(2020, 1, 1): 3},
}


@pytest.mark.parametrize("name", EVERYTHING)
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_every_kind_of_node(
    stores: tuple[icehouse.Store, icehouse.Store], name: str, depth: int
) -> None:
    one, other = stores
    view = one.get(one.put({name: EVERYTHING[name], "more": 0}))
    part = [view, view[name], [view[name]]][depth]
    again = other.get(other.put([part, part, {"k": part}]))
    assert repr(again[0]) == repr(again[2]["k"]) == repr(icehouse.freeze([part])[0])
    if depth == 0:
        assert again[0] == view
        assert again[0].keys() == {name, "more"}
    assert icehouse.same(again[0], again[1]) or not icehouse.is_frozen(part)
    thawed = icehouse.thaw(again[0])
    assert thawed == icehouse.thaw(part) or "array" in name


def test_a_copy_is_as_small_as_the_original(stores: tuple[icehouse.Store, icehouse.Store]) -> None:
    one, other = stores
    shared = [Node(i, "text") for i in range(100)]
    data = {"a": shared, "b": shared, "rows": [{"x": i, "y": "same"} for i in range(1000)]}
    handle = one.put(data)
    copied = other.put([one.get(handle)])
    assert other.stat(copied).size <= one.stat(handle).size + 64


def test_identity_and_cycles_are_kept(stores: tuple[icehouse.Store, icehouse.Store]) -> None:
    one, other = stores
    node = Node(1)
    node.next = [node, {"k": node}]
    view = one.get(one.put([node, node.next]))
    again = other.get(other.put([view[0], view[1], view]))
    assert icehouse.same(again[0], again[1][0])
    assert icehouse.same(again[0], again[0].next[1]["k"])
    assert icehouse.same(again[2][0], again[0])


def test_h24_deep_views(stores: tuple[icehouse.Store, icehouse.Store]) -> None:
    one, other = stores
    chain: Any = None
    for i in range(50_000):
        chain = Node(i, [chain])
    view = one.get(one.put(chain))
    again = other.get(other.put([view]))[0]
    depth = 0
    while again is not None:
        again = again.next[0]
        depth += 1
    assert depth == 50_000
    while chain is not None:
        chain = chain.next[0]


def test_slices(stores: tuple[icehouse.Store, icehouse.Store]) -> None:
    one, other = stores
    view = one.get(
        one.put([[Node(i) for i in range(10)], list(range(10)), tuple([[i] for i in range(5000)])])
    )
    objects, numbers, rows = view[0][8:2:-2], view[1][1:9:3], view[2][10:14]
    again = other.get(other.put([objects, numbers, rows, {"k": objects}]))
    assert [node.value for node in again[0]] == [8, 6, 4]
    assert again[1] == [1, 4, 7]
    assert again[2] == ([10], [11], [12], [13])
    assert icehouse.same(again[0], again[3]["k"])


def test_views_behind_links_are_copied_along(stores: tuple[icehouse.Store, icehouse.Store]) -> None:
    one, other = stores
    large = one.get(one.put([Node(i, "t") for i in range(1000)]))
    holder = one.put({"large": large, "part": large[5:7], "node": large[7]})
    assert one.stat(holder).links == 1
    again = other.get(other.put([one.get(holder)]))[0]
    assert other.usage().images == 1
    assert [node.value for node in again["part"]] == [5, 6]
    assert again["large"][999].value == 999
    assert again["node"].value == 7


def test_h24_a_part_of_a_tuple_of_views_stays_out_of_its_tree() -> None:
    view = icehouse.freeze([tuple(range(5000))])[0]
    big = tuple(view[i : i + 4000] for i in range(5))
    assert icehouse.freeze([big])[0] == big


def test_objects_are_linked_to(stores: tuple[icehouse.Store, icehouse.Store]) -> None:
    one, _ = stores
    handle = one.put(Node([Node(i, str(i)) for i in range(1000)]))
    view = one.get(handle)
    linking = one.put({"whole": view, "small": view.value[3]})
    assert one.stat(linking).links == 1
    assert one.stat(linking).size < 4096
    assert one.get(linking)["whole"].value[999].next == "999"
    assert one.get(linking)["small"].value == 3


# ---- trust ---------------------------------------------------------------------------------------


def untrusted(obj: Any) -> Any:
    """A view of an image of nobody knows whom."""
    return _image._open_buffer(_image._image_bytes(obj))


def test_h20_what_an_untrusted_image_says_of_classes_is_not_copied_into_ours() -> None:
    for view in (untrusted(Node(1)), untrusted([Node(1), 2])):
        with pytest.raises(icehouse.NotFreezableError, match="allow_classes") as caught:
            icehouse.freeze({"a": view})
        assert caught.value.path == "root['a']"
        assert icehouse.thaw(untrusted([1, {"a": 2}])) == [1, {"a": 2}]
    assert icehouse.freeze([untrusted([1, {"a": (2, "b")}])]) == [[1, {"a": (2, "b")}]]
    dates = [datetime.date(2020, 1, 1), decimal.Decimal(1), range(2)]
    assert icehouse.freeze([untrusted(dates)]) == [dates]


def test_h21_nor_what_runs_code() -> None:
    for obj in ([len], [ValueError("x")]):
        view = untrusted(obj)
        with pytest.raises(icehouse.NotFreezableError, match="allow_classes"):
            icehouse.freeze([view])


def test_bytes_of_an_untrusted_view_stay_untrusted() -> None:
    data = _image._image_bytes([untrusted([Node(1), [2]])])
    view = _image._open_buffer(data)
    assert view[0][0].value == 1
    assert type(view[0][0]) is _image.FrozenObject
    assert view[0][1] == [2]


def test_damage_is_found(stores: tuple[icehouse.Store, icehouse.Store]) -> None:
    data = bytearray(_image._image_bytes(["abcdefgh", [1, None, 1 << 40]]))
    where = data.index(b"abcdefgh")
    data[where] = 0xFF
    view = _image._open_buffer(bytes(data))
    with pytest.raises(icehouse.CorruptImage, match="ASCII"):
        icehouse.freeze([view])
    for at in range(64, len(data)):
        for value in (0, 7, 0x41, 0x80, 0x9D, 0xFF):
            changed = bytearray(data)
            changed[at] = value
            try:
                icehouse.freeze([_image._open_buffer(bytes(changed))])
            except (icehouse.CorruptImage, icehouse.NotFreezableError):
                continue


def test_what_is_made_whole_is_copied_without_being_made(
    stores: tuple[icehouse.Store, icehouse.Store],
) -> None:
    one, other = stores
    rule = ("made", 77, lambda wide: (("content",), (wide.content,)))
    with ruling(lambda cls: rule if cls is Wide else None):
        view = one.get(one.put([[Wide([1]), 2], 3]))
    copied = other.put([view[0]])  # there is no family 77, so it could not be made
    assert other.get(copied)[0][1] == 2


def test_what_a_view_holds_and_cannot_be_copied_is_said() -> None:
    """There is no path from a view to what is made of its nodes: then the root is named."""
    store = icehouse.Store()
    view = store.get(store.put({"field": icehouse.SharedField(5)}))
    store.close()
    with pytest.raises(icehouse.NotFreezableError, match="root") as caught:
        pickle.dumps(view)
    assert caught.value.path == "root"  # type: ignore[attr-defined]
    assert caught.value.holder is None  # type: ignore[attr-defined]


def test_code_runs_in_a_careful_walk_only(
    stores: tuple[icehouse.Store, icehouse.Store],
) -> None:
    """Who is trusted with what is handed on to what a link leads to: by Python code."""
    one, other = stores
    near = one.put([one.get(one.put(["far" * 1000]))])
    assert one.stat(near).links == 1
    graph: list[Any] = [one.get(near, allow_classes=[Node]), *[[str(i)] for i in range(50)]]
    expected, seen = icehouse.thaw(icehouse.freeze(graph)), []

    def clear(frame: Any, event: str, _arg: Any) -> None:
        if event == "call" and frame.f_code.co_name == "trust_of":
            seen.append(event)
            graph.clear()
            gc.collect()

    graph[0] = one.get(near, allow_classes=[Node])
    sys.setprofile(clear)
    try:
        handle = other.put(graph)
    finally:
        sys.setprofile(None)
    assert seen
    assert other.get(handle) == expected
