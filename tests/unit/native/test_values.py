"""Values and real instances in images: opened, compared, found, printed, thawed; get(...)."""

import datetime
import decimal
import enum
import fractions
import json
import typing
import uuid
from typing import Any, NamedTuple

import msgspec
import pytest

import icehouse
from icehouse import CorruptImage, FrozenDict, FrozenList, FrozenTuple, Record, freeze, get, thaw


class Point(NamedTuple):
    x: Any
    y: Any


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mode(enum.StrEnum):
    FAST = "fast"


class Word(str):
    __slots__ = ()


class Node(msgspec.Struct):
    name: str
    parent: typing.Any = None
    children: list[Any] = []


class Raising(Exception):
    """Its repr says that it was made."""


UTC = datetime.UTC
VALUES: list[Any] = [
    datetime.date(1, 1, 1),
    datetime.date(9999, 12, 31),
    datetime.datetime(2024, 2, 29, 23, 59, 59, 999_999),
    datetime.datetime(2024, 10, 27, 2, 30, fold=1),
    datetime.datetime(2024, 1, 1, tzinfo=UTC),
    datetime.timedelta(-999_999_999),
    datetime.timedelta(1, 2, 3),
    datetime.time(1, 2, 3, 4),
    decimal.Decimal("1.50"),
    decimal.Decimal("-0"),
    decimal.Decimal("1E+100"),
    decimal.Decimal("-Infinity"),
    fractions.Fraction(-1, 3),
    uuid.UUID(int=0),
    uuid.UUID(int=2**128 - 1),
    Colour.RED,
    Level.HIGH,
    Mode.FAST,
    Point(1, (2, "three")),
    Word("a word"),
    Colour,
    datetime.date,
    range(5),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_come_back_as_themselves(value: Any) -> None:
    for view in (freeze([value]), freeze([value, value, [value]]), freeze({"a": (value,)})):
        found = view["a"][0] if isinstance(view, FrozenDict) else view[0]
        assert found == value
        assert type(found) is type(value)
        assert repr(found) == repr(value)
        assert hash(found) == hash(value)
    assert thaw(freeze([value])) == [value]
    assert freeze([value]) == [value]
    assert [value] == freeze([value])
    assert freeze([value]) == freeze([value])
    assert freeze({"k": value}) != {"k": None}
    assert repr(value)[:20] in repr(freeze([value]))


def test_members_and_utc_are_the_very_objects() -> None:
    view = freeze([Colour.RED, Level.LOW, UTC, Colour])
    assert view[0] is Colour.RED
    assert view[0] is Colour.RED
    assert view[1] is Level.LOW
    assert view[2] is UTC
    assert view[3] is Colour
    store = icehouse.Store()
    handle = store.put([Colour.BLUE])
    for _ in range(3):
        assert store.get(handle)[0] is Colour.BLUE
        assert type(store.get(handle, allow_classes=[])[0]) is Colour


def test_a_redefined_enumeration_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    store = icehouse.Store()
    handle = store.put([Colour.RED])
    assert get(handle)[0] is Colour.RED

    class Other(enum.Enum):
        RED = 7

    Other.__qualname__ = "Colour"
    monkeypatch.setitem(globals(), "Colour", Other)
    assert get(handle)[0] is Other.RED


def test_h23_dicts_and_sets_of_values() -> None:
    for n in (3, 50):
        original = {uuid.UUID(int=i): i for i in range(n)}
        view = freeze(original)
        assert view == original
        assert original == view
        assert all(view[key] == value for key, value in original.items())
        assert uuid.UUID(int=10**6) not in view
        assert "text" not in view
        assert thaw(view) == original
        assert freeze(set(original)) == set(original)
        assert uuid.UUID(int=1) in freeze(set(original))


def test_h23_keys_that_equal_plain_ones() -> None:
    original: dict[Any, int] = {Level.LOW: 1, Mode.FAST: 2, Word("w"): 3, (Level.HIGH, "x"): 4}
    view = freeze(original)
    for key in (1, 1.0, True, Level.LOW, "fast", Mode.FAST, "w", Word("w"), (2, "x"), "x", 2, None):
        assert (key in view) == (key in original)
        assert view.get(key) == original.get(key)
    plain = freeze({1: "a", "fast": "b"})
    assert plain[Level.LOW] == "a"
    assert plain[Mode.FAST] == "b"
    assert "w" not in plain


def test_hashes_of_tuples_and_sets_with_values() -> None:
    original = (datetime.date(2024, 1, 1), Point(1, 2), (uuid.UUID(int=3),))
    assert hash(freeze([original])[0]) == hash(original)
    wide = tuple(datetime.date.fromordinal(i) for i in range(1, 5001))
    store = icehouse.Store()
    view = store.get(store.put(wide))
    assert type(view) is FrozenTuple
    assert hash(view) == hash(wide)
    assert hash(store.get(store.put(frozenset(wide[:50])))) == hash(frozenset(wide[:50]))


def test_named_tuples_hold_views_and_compare_with_originals() -> None:
    original = [Point(1, [2]), Point({"a": 1}, Point(3, [4]))]
    view = freeze(original)
    assert view == original
    assert original == view
    assert type(view[1].y.y) is FrozenList
    assert view[0] != Point(1, [3])
    assert view[0] == (1, [2])
    thawed = thaw(view)
    assert thawed == original
    assert type(thawed[1]) is Point
    assert type(thawed[1].y.y) is list


def test_json_says_what_json_says() -> None:
    for fine in (
        {"p": Point(1, [2]), "level": Level.LOW, "mode": Mode.FAST, "word": Word("w")},
        [Word("a"), {Word("k"): 1, Mode.FAST: 2}],
    ):
        assert icehouse.dumps(freeze(fine)) == json.dumps(fine)
        assert icehouse.dumps(freeze(fine), indent=1) == json.dumps(fine, indent=1)
    dated = {"d": datetime.date(2024, 1, 1), "more": [1, 2]}
    with pytest.raises(TypeError, match="date is not JSON serializable"):
        icehouse.dumps(freeze(dated))
    assert icehouse.dumps(freeze(dated), default=str) == json.dumps(dated, default=str)
    with pytest.raises(TypeError, match="keys must be"):
        icehouse.dumps(freeze({uuid.UUID(int=1): 1}))


def test_thaw_closes_cycles_through_structs() -> None:
    root = Node("root")
    root.children = [Node("child", root), {"twin": Node("twin", root)}]
    thawed = thaw(freeze([root, root]))
    again = thawed[0]
    assert thawed[1] is again
    assert type(again.children) is list
    assert again.children[0].parent is again
    assert again.children[1]["twin"].parent is again
    assert freeze([root])[0].children[0].parent.name == "root"


def test_thaw_of_real_instances_that_hold_views() -> None:
    store = icehouse.Store()
    for original in (Point(1, [2, Point(3, {4})]), Node("a", [1], [Node("b")])):
        found = store.get(store.put(original))
        thawed = thaw(found)
        assert type(thawed) is type(original)
        assert thawed == original
        assert thaw((found, found))[0] == original
    assert type(thaw(store.get(store.put(Point(1, [2])))).y) is list
    plain = Point(1, [2])
    assert thaw(plain) is plain
    assert thaw(Colour.RED) is Colour.RED
    model = Node("mine", [1])
    assert thaw(model) is model


def test_h21_repr_does_not_make_exceptions(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(Raising, "__repr__", lambda self: made.append(self) or "Raising()")
    view = freeze([Raising("x")])
    assert "Raising" in repr(view)
    assert made == []
    assert type(view[0]) is Raising


def test_repr_of_many_is_bounded() -> None:
    view = freeze([Point(i, "x" * 100) for i in range(50_000)])
    assert len(repr(view)) < 3_000_000
    assert "..." in repr(view)
    deep: Any = None
    for _ in range(40):
        deep = slice(deep, deep, None)
    assert len(repr(freeze([deep]))) < 1000


def test_stat_names_types() -> None:
    store = icehouse.Store()
    names = [store.stat(store.put(value)).type for value in VALUES]
    assert names[:3] == ["date", "date", "datetime"]
    assert names[VALUES.index(Colour.RED)] == f"{__name__}.Colour"
    assert store.stat(store.put(Point(1, 2))).type == f"{__name__}.Point"
    assert store.stat(store.put(Colour)).type == "type"


# --- get() -------------------------------------------------------------------------------------


@pytest.fixture
def store() -> icehouse.Store:
    return icehouse.Store()


def test_type_is_checked(store: icehouse.Store) -> None:
    handle = store.put(Point(1, 2), name="point")
    for opened in (
        store.get(handle, type=Point),
        store.get("point", type=Point),
        get(handle, type=Point),
        get(str(handle), None, type=tuple),
        store.get(handle, type=(int, Point)),
    ):
        assert opened == Point(1, 2)
    with pytest.raises(TypeError, match=r"type=int\): found a .*Point"):
        store.get(handle, type=int)
    with pytest.raises(TypeError, match="the view of a dict is a FrozenDict"):
        store.get(store.put({"a": 1}), type=dict)
    assert store.get(store.put({"a": 1}), type=FrozenDict) == {"a": 1}
    assert store.get("absent", 7, type=Point) == 7
    with pytest.raises(TypeError):
        store.get(handle, type=3)  # type: ignore[call-overload]


def test_h27_native_gives_real_bytes_and_tuples(store: icehouse.Store) -> None:
    original = {"b": b"x" * 100_000, "t": tuple(range(5000)), "l": [(b"y" * 70_000,)]}
    handle = store.put(original)
    native = get(handle, native=True)
    assert type(native["b"]) is bytes
    assert type(native["t"]) is tuple
    assert type(native["l"][0][0]) is bytes
    assert native == original
    assert thaw(native) == original
    assert type(get(handle)["t"]) is FrozenTuple
    assert type(store.get(store.put(b"z" * 100_000), native=True)) is bytes
    assert type(store.get(store.put(b"z" * 100_000), native=True, type=bytes)) is bytes
    nested = ((tuple(range(5000)), "x"), [tuple("ab" * 3000)])
    view = store.get(store.put([nested]), native=True)
    assert view[0] == nested
    assert type(view[0][1][0]) is tuple


def test_h20_allow_classes_and_trust_are_the_readers(store: icehouse.Store) -> None:
    """Our own images are trusted anyway; what is given is taken before what is imported."""

    class Other(NamedTuple):
        x: Any
        y: Any

    Other.__qualname__ = "Point"
    handle = store.put([Point(1, 2)])
    assert type(store.get(handle)[0]) is Point
    assert type(store.get(handle, allow_classes=iter([Other]))[0]) is Other
    assert type(store.get(handle)[0]) is Point
    assert type(store.get(handle, trust=True)[0]) is Point
    with pytest.raises(TypeError, match="allow_classes"):
        store.get(handle, allow_classes=["Point"])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        store.get(handle, allow_classes=3)  # type: ignore[call-overload]


def test_h10_links_follow_their_own_trust(store: icehouse.Store) -> None:
    """What a reader allows holds behind links too, and so does native."""

    class Other(NamedTuple):
        x: Any
        y: Any

    Other.__qualname__ = "Point"
    inner = store.get(store.put([Point(i, 2) for i in range(500)] + [tuple(range(5000))]))
    handle = store.put({"inner": inner})
    assert store.stat(handle).links == 1
    view = store.get(handle, allow_classes=[Other], native=True)
    assert type(view["inner"][0]) is Other
    assert type(view["inner"][500]) is tuple
    assert type(store.get(handle)["inner"][0]) is Point


def test_handles_take_a_type_for_checkers() -> None:
    assert "Handle[" in str(icehouse.Handle[int])
    assert icehouse.Handle[int].__origin__ is icehouse.Handle  # type: ignore[attr-defined]


def test_records_of_classes_that_are_gone(store: icehouse.Store) -> None:
    handle = store.put([Point(1, [2]), Colour.RED])
    before = globals()["Point"], globals()["Colour"]
    del globals()["Point"], globals()["Colour"]
    try:
        view = get(handle)
        assert type(view[0]) is Record
        assert view[0].type_name == f"{__name__}.Point"
        assert view[1].name == "RED"
        assert type(thaw(view)[0]) is Record
    finally:
        globals()["Point"], globals()["Colour"] = before


def test_damage_names_offset_reason_and_cause() -> None:
    data = bytearray(icehouse.native._image._image_bytes([datetime.date(2024, 1, 1)]))
    at = data.index(b"\x9f")  # the header of the only VALUE
    data[at + 1] = 250
    with pytest.raises(CorruptImage) as caught:
        icehouse.native._image._open_buffer(bytes(data))[0]
    assert caught.value.offset == at
    assert "250" in caught.value.reason
    assert type(caught.value.__cause__) is ValueError
