"""Images shown as they lie: trees and previews of everything, and nothing of it runs."""

import array
import gc
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from showing_samples import GOLDEN, is_bounded, keys, level, preview, texts, walk

import icehouse
from icehouse.native import _image
from icehouse.store.freezing import codes
from icehouse.store.showing import grids, parts, raw, tree, words
from icehouse.store.showing.sketch import PREVIEW, SUMMARY, Sketch

sys.path.append(str(Path(__file__).parents[2] / "corrupt"))

from forge import Forge


@pytest.fixture
def store() -> Iterator[icehouse.Store]:
    with icehouse.Store(capacity="1GiB") as opened:
        yield opened


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_every_kind_of_node_has_a_tree_and_a_preview(store: icehouse.Store, path: Path) -> None:
    handle = _image._put_image(store, bytearray(path.read_bytes()))
    modules = set(sys.modules)
    items = walk(store, handle)
    items.append(level(store, handle).item)
    assert all(item.kind != "damaged" for item in items), items
    assert all(is_bounded(item) for item in items), items
    _, text, _ = preview(store, handle)
    json.loads(text)
    # Not one module of what was frozen is imported for it.
    assert {name.partition(".")[0] for name in set(sys.modules) - modules}.isdisjoint(
        {"golden_types", "golden_models", "golden_structs", "numpy", "pandas", "pyarrow"}
    )


def test_every_kind_of_node_is_among_them() -> None:
    kinds = 0
    for path in GOLDEN:
        kinds |= _image._census(path.read_bytes())[0]
    found = {bit for bit in range(63) if kinds >> bit & 1} | {raw.Kind.LINK, raw.Kind.SHORT_STR}
    assert found == set(raw.Kind)


def test_values_say_what_they_are(store: icehouse.Store) -> None:
    import datetime
    import decimal
    import fractions
    import ipaddress
    import pathlib
    import re
    import uuid

    zone = datetime.timezone(datetime.timedelta(hours=2), "there")
    values = {
        "date": (datetime.date(2026, 11, 27), "2026-11-27"),
        "time": (datetime.datetime(2026, 1, 2, 3, 4, tzinfo=zone), "2026-01-02T03:04:00 [there]"),
        "delta": (datetime.timedelta(1), "1 day, 0:00:00"),
        "decimal": (decimal.Decimal("1.50"), "1.50"),
        "fraction": (fractions.Fraction(3, 7), "3/7"),
        "uuid": (uuid.UUID(int=7), str(uuid.UUID(int=7))),
        "ip": (ipaddress.ip_address("127.0.0.1"), "127.0.0.1"),
        "path": (pathlib.PurePosixPath("/a/b"), "/a/b"),
        "pattern": (re.compile("a+"), "a+"),
        "range": (range(10, 0, -3), "range(10, 0, -3)"),
        "slice": (slice(1, None, 2), "slice(1, None, 2)"),
        "class": (dict, "dict"),
        "function": (len, "len"),
    }
    found = level(store, store.put({name: value for name, (value, _) in values.items()}))
    assert dict(zip(keys(found), texts(found), strict=True)) == {
        name: text for name, (_, text) in values.items()
    }
    # They are one thing, and not what they are stored as.
    assert not any(item.has_children for item in found.items if item.key != "function")


def test_plain_values_and_their_bounds(store: icehouse.Store) -> None:
    big = 10**4000
    values = [
        None,
        True,
        -1,
        2**40,
        2**200,
        big,
        -big,
        1.5,
        math.inf,
        2j,
        ...,
        "é" * 300,
        b"\0" * 99,
    ]
    found = level(store, store.put(values))
    assert [item.kind for item in found.items] == [
        *("null", "bool", "int", "int", "int", "int", "int", "float", "float", "complex"),
        *("ellipsis", "str", "bytes"),
    ]
    assert texts(found)[:5] == ["None", "True", "-1", str(2**40), str(2**200)]
    assert [item.is_whole for item in found.items] == [True] * 5 + [False] * 2 + [True] * 4 + [
        False,
        False,
    ]
    assert "bits" in str(found.items[5].text)
    assert str(found.items[6].text).startswith("-0x")
    assert [item.length for item in found.items[-2:]] == [300, 99]
    assert all(is_bounded(item) for item in found.items)
    _, text, is_whole = preview(store, store.put(values))
    assert not is_whole
    assert json.loads(text)[:5] == values[:5]


def test_ints_of_every_size(store: icehouse.Store) -> None:
    edges = [
        sign * (2**bits + d)
        for bits in (29, 30, 31, 62, 63, 64, 500)
        for d in (-1, 0, 1)
        for sign in (1, -1)
    ]
    found = level(store, store.put([*edges, "not packed"]))
    assert texts(found)[:-1] == [str(edge) for edge in edges]


def test_keys_of_all_kinds(store: icehouse.Store) -> None:
    data = {
        1: "int", None: "null", (1, "x"): "tuple", 2.5: "float", b"k": "bytes",
        frozenset({1}): "set", "a/b~c": "escaped", "": "empty",
    }  # fmt: skip
    handle = store.put(data)
    found = level(store, handle)
    assert texts(found) == list(data.values())
    assert keys(found) == ["1", "None", '[1, "x"]', "2.5", "b'k'", "[1]", "a/b~c", ""]
    assert [item.key_kind for item in found.items] == [
        *("int", "null", "tuple", "float", "bytes", "set", "str", "str"),
    ]
    for item in found.items:
        assert item.path is not None
        below = level(store, handle, item.path).item
        assert (below.text, below.key) == (item.text, item.key)
    assert found.items[6].path == "/a~1b~0c"
    json.loads(preview(store, handle)[1])


def test_texts_that_nobody_should_obey(store: icehouse.Store) -> None:
    nasty = ["\ud800 alone", "\x1b[31mred", "right\u202eleft", "<script>", "a\nb", "\udcff" * 300]
    handle = store.put({**dict.fromkeys(nasty, 1), "values": [*nasty, 1]})
    found = level(store, handle)
    inner = level(store, handle, "/values")
    for item in [*found.items, *inner.items]:
        assert is_bounded(item), item
    assert inner.items[0].text == "\\ud800 alone"
    assert inner.items[3].text == "<script>"
    for item in found.items:
        assert item.path is not None
        assert level(store, handle, item.path).item.key == item.key
    preview(store, handle)[1].encode()


def test_a_path_may_be_written_by_hand(store: icehouse.Store) -> None:
    handle = store.put({"ü": {"x" * 200: [1, [2]]}, "n": (1, 2), "~n0": "odd"})
    for way, text in (
        ("/ü/" + "x" * 200 + "/1/0", "2"),
        ("/~n0/~n0/1/0", "2"),
        ("/n/1", "2"),
        ("/~0n0", "odd"),
        ("/~n2", "odd"),
    ):
        assert level(store, handle, way).item.text == text, way
    wrong = [
        "x",
        "/",
        "/n/2",
        "/n/-1",
        "/n/x",
        "/n/1/0",
        "/~n9",
        "/~2",
        "/~",
        "/n/" + "9" * 30,
        "/~n" + "9" * 30,
        "/0" * 300,
        "/" + "x" * 5000,
        "/n/\u0661",
    ]
    for way in wrong:
        with pytest.raises(tree.WayError) as error:
            level(store, handle, way)
        assert str(error.value).isprintable()
        assert len(str(error.value)) < 400


def test_cyclic_graphs(store: icehouse.Store) -> None:
    ring: list[Any] = [1]
    ring.append({"ring": ring})
    handle = store.put(ring)
    found = level(store, handle, "/1")
    assert (found.items[0].same_as, found.items[0].has_children) == ("", True)
    assert level(store, handle, "/1/ring/1/ring/1/ring").item.length == 2
    assert json.loads(preview(store, handle)[1]) == [1, {"ring": {"$ref": "$"}}]
    assert len(walk(store, handle)) == 3


def test_deep_graphs_end_somewhere(store: icehouse.Store) -> None:
    deep: list[Any] = []
    for _ in range(50_000):
        deep = [deep, 1]
    handle = store.put(deep)
    way, steps = "", 0
    while True:
        child = level(store, handle, way).items[0]
        if child.path is None:
            break
        way, steps = child.path, steps + 1
    assert steps == tree.STEPS_MAX
    assert child.has_children
    text = preview(store, handle)[1]
    assert "$more" in text
    json.loads(text)


def test_instances_are_fields(store: icehouse.Store) -> None:
    from collections import OrderedDict, deque

    class Plain:
        def __init__(self) -> None:
            self.a, self.b = 1, ["x"]

    handle = store.put(
        [Plain(), OrderedDict(k=1), deque([1, 2], 5), icehouse.Record("t.R", ("f",), (3,))]
    )
    plain, ordered, queue, record = level(store, handle).items
    assert plain.type.endswith("Plain")
    assert [(item.key, item.key_kind) for item in level(store, handle, "/0").items] == [
        ("a", "field"),
        ("b", "field"),
    ]
    assert level(store, handle, "/0/b/0").item.text == "x"
    assert (ordered.type, queue.type) == ("collections.OrderedDict", "collections.deque")
    assert keys(level(store, handle, "/2")) == ["$items", "maxlen"]
    assert texts(level(store, handle, "/2/~n0")) == ["1", "2"]
    assert (record.type, keys(level(store, handle, "/3"))) == ("t.R", ["f"])
    assert level(store, handle, "/3/f").item.text == "3"


def test_values_name_their_pieces(store: icehouse.Store) -> None:
    field = icehouse.SharedField(("one", 1))
    handle = store.put([time.gmtime(0), field, ValueError("no")])
    assert keys(level(store, handle, "/0")) == ["module", "qualname", "items", "hidden"]
    assert level(store, handle, "/2").item.type == "ValueError"
    assert level(store, handle, "/2/args/0").item.text == "no"
    assert level(store, handle, "/0").item.type == "time.struct_time"
    assert level(store, handle, "/0/items/0").item.text == "1970"
    assert keys(level(store, handle, "/1"))[:3] == ["id", "initial", "place"]
    assert level(store, handle, "/1/initial/1").item.text == "1"
    assert "initial" in preview(store, handle)[1]


class Bomb:
    """Whatever is done with it, or with its class, sets the bomb off."""

    def __init__(self) -> None:
        self.field = 1

    def __getattr__(self, name: str) -> Any:
        boom(name)

    def __repr__(self) -> str:
        return boom("repr")

    def __del__(self) -> None:
        if armed:
            boom("del")

    def __getattribute__(self, name: str) -> Any:
        if armed:
            boom(name)
        return object.__getattribute__(self, name)

    def __init_subclass__(cls) -> None:
        boom("init_subclass")

    def __iter__(self) -> Any:
        boom("iter")

    def __eq__(self, other: object) -> bool:
        return bool(boom("eq"))

    def __hash__(self) -> int:
        return 1


class Meta(type):
    def __getattribute__(cls, name: str) -> Any:
        if armed:
            boom(f"meta {name}")
        return type.__getattribute__(cls, name)

    def __instancecheck__(cls, instance: object) -> bool:
        return bool(boom("instancecheck"))

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if armed:
            boom("call")
        return type.__call__(cls, *args, **kwargs)


class Strange(metaclass=Meta):
    def __init__(self) -> None:
        self.field = 2


class Reduced:
    def __reduce__(self) -> Any:
        return (boom_later, (3,))


class Words(str):
    __slots__ = ()

    def __str__(self) -> str:
        return str(boom("str")) if armed else str.__str__(self)

    def __hash__(self) -> int:
        return str.__hash__(self)


class Items(list[Any]):
    def __iter__(self) -> Any:
        if armed:
            boom("iter")
        return list.__iter__(self)

    def __len__(self) -> int:
        if armed:
            boom("len")
        return list.__len__(self)


armed: list[str] = []
gone_off: list[str] = []


def boom(what: str) -> Any:
    gone_off.append(what)
    raise AssertionError(f"code of an image's class ran: {what}")


def boom_later(_: int) -> Any:
    if armed:
        boom("reduce")
    return Reduced()


def test_h20_h21_nothing_of_the_classes_of_an_image_runs(store: icehouse.Store) -> None:
    bomb = Bomb()
    handle = store.put(
        [bomb, Strange(), Reduced(), Words("word"), Items([1, 2]), ValueError("no"), Bomb, Strange]
    )
    armed.append("now")
    gone_off.clear()
    try:
        items = walk(store, handle)
        text = preview(store, handle)[1]
        gc.collect()
    finally:
        armed.clear()
    assert gone_off == []
    assert f"{__name__}.Bomb" in text
    assert {item.type.rpartition(".")[2] for item in items} >= {"Bomb", "Strange", "Words", "Items"}
    assert "2" in [item.text for item in items]


def test_h20_names_of_modules_are_never_imported(store: icehouse.Store) -> None:
    forge = Forge()
    classes = [forge.class_("antigravity", "x"), forge.class_("os", "system"), forge.class_("", "")]
    layout = forge.layout(0, forge.class_("this", "Zen"), 0, ["f"])
    objects = [forge.object(layout, 3)]
    codes_of_code = (codes.REDUCE, codes.EXCEPTION, codes.FUNCTION, codes.PARTIAL, codes.MODULE)
    values = [forge.value(code, forge.text("antigravity")) for code in codes_of_code]
    word = forge.words(raw.Kind.LIST, *classes, *objects, *values)
    handle = _image._put_image(store, forge.image(word))
    found = level(store, handle)
    assert texts(found)[:2] == ["antigravity.x", "os.system"]
    assert found.items[3].type == "this.Zen"
    assert len(found.items) == 9
    preview(store, handle)
    assert not {"antigravity", "this"} & set(sys.modules)


def test_links_between_images(store: icehouse.Store) -> None:
    inner = store.put({"pad": "x" * 5000, "n": [1, 2]})
    middle = store.put({"inner": store.get(inner), "pad": "y" * 5000})
    outer = store.put([store.get(middle), 2])
    first, second = level(store, outer).items
    assert (first.link, second.link) == (str(middle), None)
    found = level(store, outer, "/0/inner/n")
    assert texts(found) == ["1", "2"]
    assert json.loads(preview(store, outer)[1])[1] == 2
    store.delete(inner)
    assert level(store, outer, "/0/inner/n/1").item.text == "2"
    with pytest.raises(icehouse.HandleGone):
        level(store, inner)


def test_arrays(store: icehouse.Store) -> None:
    np = pytest.importorskip("numpy")
    grid = np.arange(12, dtype="<i4").reshape(3, 4)
    handle = store.put(
        {
            "c": grid,
            "f": np.asfortranarray(grid),
            "complex": np.array([1 + 2j]),
            "text": np.array(["ab", "ü"]),
            "half": np.array([0.5], "f2"),
            "scalar": np.array(7),
            "none": np.zeros((0, 3)),
            "records": np.zeros(2, [("a", "i4"), ("b", "f8")]),
            "many": array.array("d", range(1000)),
            "swapped": np.array([1, 2], ">u2"),
        }
    )
    for way in ("/c", "/f"):
        found = level(store, handle, f"{way}/1")
        assert texts(found) == ["4", "5", "6", "7"], way
    assert json.loads(preview(store, handle)[1])["f"] == grid.tolist()
    firsts = {
        way: texts(level(store, handle, f"/{way}"))[:2]
        for way in ("complex", "half", "none", "swapped")
    }
    assert firsts == {
        "complex": ["(1+2j)"],
        "half": ["0.5"],
        "none": [],
        "swapped": ["1", "2"],
    }
    assert level(store, handle, "/many", start=998).next is None
    assert all(item.kind != "damaged" for item in walk(store, handle))


@pytest.mark.parametrize("form", ["Zg", "T{<i:a:}", "9w", "", "?", "x", "^d", "0w", "99999999s"])
def test_elements_of_odd_formats_are_bytes_or_nothing_bad(store: icehouse.Store, form: str) -> None:
    opened = raw.open_raw(store, store.put(bytearray(b"\xff" * 200)))
    root = parts.root_of(opened)
    for size in (0, 1, 4, 36, 64):
        grid = grids.Grid(root.value.at, (), (), form, size)
        spot = parts.element_of(opened, grid)
        found = words.scalar_text(spot, 50)
        assert found is not None
        assert len(found[0]) <= 50


@pytest.mark.slow
def test_a_million_items_cost_what_a_page_costs(
    store: icehouse.Store, record_property: Any
) -> None:
    """A page reads what it shows: wherever it begins it makes as few steps as any other."""
    million = 1_000_000
    handles = {
        "list": store.put([*range(million - 1), None]),
        "packed": store.put(list(range(million))),
        "dict": store.put({f"key {i}": i for i in range(million)}),
        "ints": store.put(dict.fromkeys(range(million))),
    }
    for name, handle in handles.items():
        for start in (0, million - 100):
            began = time.perf_counter()
            found = level(store, handle, start=start)
            record_property(f"{name} from {start}", time.perf_counter() - began)
            assert len(found.items) == 100
            assert (found.next is None) == (start > 0)
            assert found.item.length == million
        began = time.perf_counter()
        preview(store, handle)
        record_property(f"preview of {name}", time.perf_counter() - began)
    began = time.perf_counter()
    assert level(store, handles["dict"], "/key 999999").item.text == "999999"
    record_property("a key by name", time.perf_counter() - began)
    opened = raw.open_raw(store, handles["dict"])
    with pytest.raises(tree.TooSlowError):
        tree.level(opened, "/key 999999", 0, 10, time.monotonic() - 1)
    assert len(tree.level(opened, "", 0, 10, time.monotonic() - 1).items) == 1


def test_a_text_of_gigabytes_is_not_read(store: icehouse.Store) -> None:
    handle = store.put(["x" * 50_000_000, "é" * 5_000_000, b"z" * 50_000_000, 7**200_000])
    import tracemalloc

    tracemalloc.start()
    try:
        found = level(store, handle)
        preview(store, handle)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert [item.length for item in found.items] == [50_000_000, None, 50_000_000, None]


def test_a_lease_ends_with_what_was_read(store: icehouse.Store) -> None:
    handle = store.put({"a": [1]})
    level(store, handle, "/a")
    preview(store, handle)
    with pytest.raises(tree.WayError):
        level(store, handle, "/b")
    assert store.stat(handle).leases == 0


def test_sketches_keep_to_their_limits(store: icehouse.Store) -> None:
    wide = [[list(range(100)) for _ in range(100)] for _ in range(100)]
    root = parts.root_of(raw.open_raw(store, store.put(wide)))
    for limits in (PREVIEW, SUMMARY):
        sketch = Sketch(limits, "  ")
        text = sketch.write(root)
        assert not sketch.is_whole
        assert text.count("$more") >= 1
        assert len(json.loads(text)) <= limits.items + 1


def test_wrong_arguments(store: icehouse.Store) -> None:
    opened = _image._look_open(store, store.put([1]))
    for call in (
        lambda: _image._look_open(store, "x"),  # type: ignore[arg-type]
        lambda: _image._look_open(None, None),  # type: ignore[arg-type]
        lambda: _image._look_about(b""),  # type: ignore[arg-type]
        lambda: _image._look_node(opened),  # type: ignore[call-arg]
        lambda: _image._look_node(opened, "x"),  # type: ignore[arg-type]
        lambda: _image._look_follow(opened, 0),  # type: ignore[call-arg]
    ):
        with pytest.raises(TypeError):
            call()
    for number in (-1, 2**32, 2**70):
        with pytest.raises(OverflowError):
            _image._look_node(opened, number)
    with pytest.raises(ValueError, match="int"):
        _image._look_node(opened, 3)
    with pytest.raises(icehouse.CorruptImage):
        _image._look_node(opened, 0)
    with pytest.raises(icehouse.CorruptImage):
        _image._look_follow(opened, 0, 32)
