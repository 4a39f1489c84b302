"""Links: what is frozen with views of its own store in it refers to them, and reads as if it did
not."""

import contextlib
import copy
import gc
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import icehouse

BIG = {
    "numbers": list(range(5000)),
    "floats": [0.5 * i for i in range(2000)],
    "names": [f"name {i}" for i in range(500)],
    "rows": [{"id": i, "tags": ["a", f"t{i}"], "point": (i, -i)} for i in range(300)],
    "table": {f"key {i}": i for i in range(1000)},
    "mixed": {1: "one", (2, 3): "pair", None: [1.5] * 300},
    "set": set(range(1000)),
    "frozen": frozenset(str(i) for i in range(1000)),
    "tuple": tuple(range(10_000)),
    "bytes": b"x" * 100_000,
    "bytearray": bytearray(b"y" * 3000),
    "small": [1, 2, 3],
}
PARTS = [key for key in BIG if key != "small"]


@pytest.fixture
def store() -> Iterator[icehouse.Store]:
    with icehouse.Store(capacity=64 << 20) as opened:
        yield opened
        with contextlib.suppress(icehouse.StoreClosed):
            opened.check()


def stored(store: icehouse.Store, value: Any) -> Any:
    return store.get(store.put(value))


def links_of(store: icehouse.Store, view: Any) -> int:
    return store.stat(view.handle).links


@pytest.fixture
def big(store: icehouse.Store) -> Any:
    return stored(store, BIG)


def is_view(value: Any) -> bool:
    return type(value).__module__ == "icehouse"


@pytest.mark.parametrize("part", PARTS)
def test_each_kind_is_linked_and_reads_as_before(
    store: icehouse.Store, big: Any, part: str
) -> None:
    before = store.usage().used
    view = stored(store, {"part": big[part], "plain": 1})
    linked = view["part"]
    assert links_of(store, view) == 1
    assert store.usage().used - before <= 192
    assert type(linked) is type(big[part])
    assert is_view(linked)
    assert icehouse.same(linked, big[part])
    assert linked == BIG[part]
    assert BIG[part] == linked
    assert view == {"part": BIG[part], "plain": 1}
    assert len(linked) == len(BIG[part])  # type: ignore[arg-type]
    assert repr(view["part"]) == repr(big[part])
    assert repr(big[part])[:50].split("(", 1)[1] in repr(view)
    thawed = icehouse.thaw(view)
    assert thawed == {"part": BIG[part], "plain": 1}
    assert type(thawed["part"]) is type(BIG[part])
    assert icehouse.is_frozen(linked)
    copied = icehouse.thaw(pickle.loads(pickle.dumps(view)))
    assert copied == {"part": BIG[part], "plain": 1}


@pytest.mark.parametrize(
    "shape",
    [
        lambda v: [v],
        lambda v: (v, 1),
        lambda v: {"a": v},
        lambda v: {1: v, 2: None},
        lambda v: dict.fromkeys(range(20), v),
        lambda v: {f"k{i}": [v, i] for i in range(100)},
        lambda v: [[[[v]]], v],
        lambda v: (v, *range(5000)),
        lambda v: [{"a": v, "b": i} for i in range(50)],
    ],
)
def test_links_anywhere(store: icehouse.Store, big: Any, shape: Callable[[Any], Any]) -> None:
    for part in ("numbers", "rows", "table", "tuple"):
        handle = store.put(shape(big[part]))
        view, plain = store.get(handle), shape(BIG[part])
        assert store.stat(handle).links == 1
        assert view == plain
        assert icehouse.thaw(view) == plain
        assert icehouse.dumps(view) == icehouse.dumps(plain)
        assert icehouse.dumps(view, indent=1) == icehouse.dumps(plain, indent=1)
        again = icehouse.freeze(view)  # of another store: by value
        assert again == view
        assert again == plain
        assert view == again


def test_a_link_keeps_one_object_one(store: icehouse.Store, big: Any) -> None:
    view = stored(store, [big["rows"], big["rows"], big, {"again": big["table"]}])
    thawed = icehouse.thaw(view)
    assert thawed[0] is thawed[1]
    assert thawed[2]["rows"] is thawed[0]
    assert thawed[3]["again"] is thawed[2]["table"]
    assert links_of(store, view) == 1


def test_iterating_and_searching(store: icehouse.Store, big: Any) -> None:
    view = stored(store, {"x": [big["rows"], big["numbers"], big["tuple"]], "y": big["table"]})
    assert [len(item) for item in view["x"]] == [300, 5000, 10_000]
    assert [len(item) for item in reversed(view["x"])] == [10_000, 5000, 300]
    assert view["x"][1:][0][17] == 17
    assert BIG["numbers"] in view["x"]
    assert view["x"].index(BIG["tuple"]) == 2
    assert view["x"].count(BIG["rows"]) == 1
    assert [type(value) for value in view.values()] == [type(view["x"]), type(big)]
    assert dict(view.items())["y"]["key 7"] == 7
    assert BIG["table"] in list(view.values())
    assert [*BIG["numbers"], 1] > view["x"][1]
    assert [BIG["numbers"], 1] > stored(store, [big["numbers"]])
    assert memoryview(view["x"][1])[3] == 3
    assert bytes(memoryview(view["x"][1])) == bytes(memoryview(big["numbers"]))


def test_hashes_cross_links(store: icehouse.Store) -> None:
    inner = tuple(range(6000))
    words = frozenset(f"w{i}" for i in range(600))
    outer = (inner, words, tuple(range(5000)), 1)
    first = stored(store, [inner, words])
    # More than 4,096 nodes in its tree of tuples, so a FrozenTuple.
    view = stored(store, [(first[0], first[1], tuple(range(5000)), 1)])[0]
    assert hash(view[0]) == hash(inner)
    assert hash(view[1]) == hash(words)
    if is_view(view):
        assert hash(view) == hash(outer)
    assert view == outer
    assert {outer: 1}[view] == 1


def test_keys_are_never_links(store: icehouse.Store) -> None:
    inner, words = tuple(range(6000)), frozenset(f"w{i}" for i in range(600))
    first = stored(store, [inner, words])
    plain = {inner: 1, (inner, words): 2, words: {words}, ((((((inner,),),),),),): 3}
    view = stored(
        store,
        {
            first[0]: 1,
            (first[0], first[1]): 2,
            first[1]: {first[1]},
            ((((((first[0],),),),),),): 3,
        },
    )
    assert links_of(store, view) == 0
    assert view == plain
    assert icehouse.thaw(view) == plain
    assert view[inner] == 1
    assert view[(inner, words)] == 2
    assert view[words] == {words}


def test_a_tuple_that_is_value_and_key(store: icehouse.Store) -> None:
    inner = tuple(range(6000))
    deep = ((((((stored(store, [inner])[0],),),),),),)
    view = stored(store, [deep, {deep: deep}])
    plain = ((((((inner,),),),),),)
    assert view == [plain, {plain: plain}]
    assert icehouse.thaw(view) == [plain, {plain: plain}]


def test_what_is_small_or_a_slice_or_foreign_is_copied(store: icehouse.Store, big: Any) -> None:
    with icehouse.Store() as other:
        foreign = stored(other, BIG)
        for value in (big["small"], big["numbers"][1:], big["tuple"][::2], foreign["numbers"]):
            view = stored(store, [value])
            assert links_of(store, view) == 0
            assert view == [value]
        # A node of few bytes with much below it is not small.
        wrapped = stored(store, [[BIG["numbers"]], [[[[1]]]]])
        assert links_of(store, stored(store, {"w": wrapped[0]})) == 1
        assert links_of(store, stored(store, {"w": wrapped[1]})) == 0


def test_the_root_is_what_the_handle_names(store: icehouse.Store, big: Any) -> None:
    view = stored(store, big["rows"])
    assert links_of(store, view) == 0
    assert view.handle is not None
    assert not icehouse.same(view, big["rows"])
    store.delete(view)


def test_h05_sealed_images_stand_for_themselves(store: icehouse.Store, big: Any) -> None:
    linked = stored(store, [big["rows"]])
    sealed = store.get(store.put([big["rows"], linked], seal=True))
    assert links_of(store, sealed) == 0
    assert sealed == [BIG["rows"], [BIG["rows"]]]


def test_h16_another_store_gets_all_of_it(store: icehouse.Store, big: Any) -> None:
    chain = stored(store, [stored(store, {"b": big}), "c"])
    with icehouse.Store() as other:
        for value in (chain, [chain], {"x": chain[0]}):
            handle = other.put(value)
            assert other.stat(handle).links == 0
            assert other.get(handle) == value
    view = icehouse.freeze(chain)
    del chain
    store.close()
    assert view[0]["b"]["numbers"][17] == 17


def test_links_of_links_lead_straight_to_the_target(store: icehouse.Store, big: Any) -> None:
    second = stored(store, {"n": big["numbers"], "own": list(range(1000))})
    third = stored(store, {"n": second["n"], "second": second, "own": second["own"]})
    assert links_of(store, third) == 2
    assert icehouse.same(third["n"], big["numbers"])
    assert icehouse.same(third["second"]["n"], big["numbers"])
    assert third == {"n": BIG["numbers"], "second": icehouse.thaw(second), "own": second["own"]}


def test_more_targets_than_the_table_holds(store: icehouse.Store) -> None:
    views = [stored(store, [i] * 1100) for i in range(2060)]
    view = stored(store, views)
    assert links_of(store, view) == 2048
    assert view == [[i] * 1100 for i in range(2060)]
    thawed = icehouse.thaw(view)
    assert [item[0] for item in thawed] == list(range(2060))


def test_h15_what_is_linked_outlives_its_handle(store: icehouse.Store) -> None:
    first = store.put(BIG)
    second = store.put({"rows": store.get(first)["rows"]})
    store.delete(first)
    with pytest.raises(icehouse.HandleGone):
        store.get(first)
    assert store.stat(first).state == "deleted"
    assert store.stat(first).linked == 1
    for _ in range(2):
        assert store.get(second)["rows"][7]["id"] == 7
        gc.collect()
    rows = store.get(second)["rows"]
    store.delete(second)
    store.check()
    assert rows == BIG["rows"]
    assert store.usage().images == 1
    del rows
    assert store.usage().images == 0
    assert store.usage().used == 0


def test_h15_a_deleted_image_that_is_linked_lives_again(store: icehouse.Store) -> None:
    first = store.put(BIG)
    view = store.get(first)
    store.delete(first)
    second = store.put([view["rows"]])
    del view
    assert store.get(first)["numbers"][3] == 3
    store.delete(second)
    assert store.usage().images == 0


def test_h15_frozen_results_keep_what_they_link_to() -> None:
    view = icehouse.freeze({"rows": BIG["rows"], "n": BIG["numbers"]})
    outer = icehouse.freeze([view["rows"], view])
    handle = view.handle
    del view
    gc.collect()
    assert outer[0][5]["id"] == 5
    assert outer == [BIG["rows"], {"rows": BIG["rows"], "n": BIG["numbers"]}]
    del outer
    # If another test has forked, what was dropped is not freed at once but when more is.
    for i in range(100):
        icehouse.freeze([i])
    with pytest.raises(icehouse.HandleGone):
        icehouse.get(handle)


def test_store_freeze_links_and_goes(store: icehouse.Store, big: Any) -> None:
    before = store.usage()
    for _ in range(100):
        view = store.freeze([big["rows"], {"x": store.freeze([big["numbers"]])}])
        assert view[1]["x"][0][4999] == 4999
        del view
    after = store.usage()
    assert (after.images, after.used) == (before.images, before.used)
    assert store.stat(big.handle).linked == 0


def test_reading_goes_on_after_close(store: icehouse.Store, big: Any) -> None:
    view = stored(store, {"a": big["rows"], "b": stored(store, [big["numbers"]])})
    del big
    store.close()
    assert view["a"][3]["id"] == 3
    assert view["b"][0][17] == 17
    assert icehouse.thaw(view) == {"a": BIG["rows"], "b": [BIG["numbers"]]}


@pytest.mark.parametrize("touch", [False, True])
def test_h24_long_chains(store: icehouse.Store, touch: bool) -> None:
    """Each image links to the one before; reading and letting go recurses nowhere."""
    length = 20_000
    view = stored(store, {"pad": "x" * 1100, "before": None})
    for i in range(length):
        handle = store.put({"pad": i, "text": "x" * 1100, "before": view})
        store.delete(view)
        view = store.get(handle)
    assert store.usage().images == length + 1
    assert links_of(store, view) == 1
    if touch:
        at, count = view, 0
        while at is not None:
            at, count = at["before"], count + 1
        assert count == length + 1
        other = copy.deepcopy(view)
        assert other == view
        thawed, count = icehouse.thaw(view), 0
        while thawed is not None:
            thawed, count = thawed["before"], count + 1
        assert count == length + 1
        assert icehouse.dumps(view).count("before") == length + 1
        assert len(repr(view)) < 2 << 20
        del other, at
    store.delete(view)
    del view
    assert store.usage().images == 0


def test_ndarrays_that_are_views(store: icehouse.Store) -> None:
    np = pytest.importorskip("numpy")
    array = np.arange(100_000, dtype="f8").reshape(100, 1000)
    for order in ("C", "F"):
        view = stored(store, {"a": np.asarray(array, order=order), "other": [1]})
        whole = view["a"]
        before = store.usage().used
        linked = stored(store, {"again": whole, "x": 1, "dict": view})
        assert links_of(store, linked) == 1
        assert store.usage().used - before < 1000
        assert np.array_equal(linked["again"], array)
        assert linked["again"].ctypes.data == whole.ctypes.data
        assert np.array_equal(linked["dict"]["a"], array)
        assert np.array_equal(icehouse.thaw(linked)["again"], array)
        for part in (whole[1:], whole.T, whole.reshape(-1), whole.view("i8"), whole[:, ::2]):
            copied = stored(store, [part])
            assert links_of(store, copied) == 0
            assert np.array_equal(copied[0], part)


def test_names_and_flags_go_with_links(store: icehouse.Store, big: Any) -> None:
    store.put([big["rows"]], name="latest")
    assert store.get("latest")[0] == BIG["rows"]
    store.put([big["numbers"]], name="latest")
    assert store.get("latest")[0] == BIG["numbers"]


def test_a_full_store_leaves_nothing_behind(store: icehouse.Store, big: Any) -> None:
    before = store.usage().images
    with pytest.raises(icehouse.StoreFull):
        store.put([big["rows"], b"x" * (65 << 20)])
    with pytest.raises(icehouse.NotFreezableError):
        store.put([big["rows"], iter("")])
    assert store.usage().images == before
    assert store.stat(big.handle).linked == 0


def test_threads_follow_one_link(store: icehouse.Store, big: Any) -> None:
    for _ in range(20):
        view = stored(store, [big[part] for part in PARTS])
        start = threading.Barrier(4)
        found: list[Any] = []

        def read(view: Any = view, start: Any = start, found: Any = found) -> None:
            start.wait(60)
            found.append([view[i] for i in range(len(PARTS))])

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 4
        assert all(items[0] == BIG[PARTS[0]] for items in found)
