"""thaw() of objects: real instances, with nothing of their classes run."""

import collections
import dataclasses
import gc
import pickle
import time
import types
from typing import Any

import pytest
from forged import Writer, distrusted_view_of, view_of

import icehouse
from icehouse.native import _image

# The kind of a list's node (docs/image-format.md).
LIST = 10


@dataclasses.dataclass
class Point:
    x: int
    y: Any = 0


@dataclasses.dataclass(frozen=True)
class Fixed:
    a: int


@dataclasses.dataclass(slots=True)
class Slotted:
    a: int
    b: Any = None


class Loud:
    """Everything that could run raises."""

    __slots__ = ("__dict__", "a")
    armed = False

    def __new__(cls) -> "Loud":
        assert not Loud.armed
        return object.__new__(cls)

    def __init__(self) -> None:
        assert not Loud.armed
        self.a = 1
        self.b = 2

    def __setattr__(self, name: str, value: object) -> None:
        assert not Loud.armed
        object.__setattr__(self, name, value)

    def __getattribute__(self, name: str) -> Any:
        assert not Loud.armed
        return object.__getattribute__(self, name)


class Hidden:
    """A descriptor of the class has the name of something in the instance's dict."""

    def __init__(self) -> None:
        self.__dict__["value"] = 1

    @property
    def value(self) -> str:
        return "computed"


class Numbers(list[Any]):
    pass


class Table(dict[Any, Any]):
    def __setitem__(self, key: Any, value: Any) -> None:
        raise AssertionError("not called by thaw")


class Group(set[Any]):
    pass


class Fast(frozenset[Any]):
    pass


class Keyed:
    def __init__(self, key: Any) -> None:
        self.key = key
        self.others: dict[Any, Any] = {}

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keyed) and self.key == other.key


class Vertex:
    """Hashed by identity."""

    def __init__(self) -> None:
        self.edges: dict[Any, Any] = {}


class Finalized:
    deleted = 0

    def __init__(self) -> None:
        self.path = "x"

    def __del__(self) -> None:
        Finalized.deleted += 1


@pytest.mark.parametrize(
    "value",
    [
        Point(1, [2, {"a": Point(3)}]),
        Fixed(1),
        Slotted(1, [Slotted(2)]),
        types.SimpleNamespace(a=1, b="two"),
        Numbers([1, 2]),
        Table(),
        Group({1, 2}),
        Fast({1, 2}),
        collections.deque([1, 2], maxlen=7),
        collections.OrderedDict(b=1, a=2),
        collections.defaultdict(int, a=1),
        collections.Counter("aab"),
    ],
)
def test_gives_an_equal_instance(value: Any) -> None:
    thawed = icehouse.thaw(view_of(value))
    assert type(thawed) is type(value)
    assert thawed == value
    assert thawed is not value


def test_fields_and_dicts_are_ordinary() -> None:
    point = icehouse.thaw(view_of(Point(1, [2])))
    point.x = 9
    point.y.append(3)
    point.z = "new"
    assert vars(point) == {"x": 9, "y": [2, 3], "z": "new"}
    numbers = Numbers([1])
    numbers.unit = "m"  # type: ignore[attr-defined]
    again = icehouse.thaw(view_of(numbers))
    again.append(2)
    assert (again, again.unit) == ([1, 2], "m")
    deque = icehouse.thaw(view_of(collections.deque([1], maxlen=2)))
    deque.extend([2, 3])
    assert (list(deque), deque.maxlen) == ([2, 3], 2)
    ordered = icehouse.thaw(view_of(collections.OrderedDict(a=1, b=2)))
    ordered.move_to_end("a")
    assert list(ordered) == ["b", "a"]
    default = icehouse.thaw(view_of(collections.defaultdict(list)))
    default["a"].append(1)
    assert default == {"a": [1]}


def test_h20_nothing_of_the_class_runs() -> None:
    view = view_of(Loud())
    Loud.armed = True
    try:
        thawed = icehouse.thaw(view)
    finally:
        Loud.armed = False
    assert type(thawed) is Loud
    assert (thawed.a, thawed.b) == (1, 2)


def test_descriptors_of_the_class_are_passed_by() -> None:
    thawed = icehouse.thaw(view_of(Hidden()))
    assert thawed.value == "computed"
    assert vars(thawed) == {"value": 1}


def test_sharing_and_cycles() -> None:
    shared = [1]
    point = Point(1, shared)
    point.x = point  # type: ignore[assignment]
    thawed = icehouse.thaw(view_of([point, point, shared]))
    assert thawed[0] is thawed[1]
    assert thawed[0].x is thawed[0]
    assert thawed[0].y is thawed[2]
    for container in (Numbers(), Group(), collections.deque(), Table()):
        owner = Vertex()
        owner.edges["container"] = container
        if isinstance(container, dict):
            dict.__setitem__(container, "owner", owner)
        elif isinstance(container, set):
            container.add(owner)
        else:
            container.append(owner)
            container.append(container)
        again = icehouse.thaw(view_of(owner))
        content = again.edges["container"]
        assert type(content) is type(container)
        inside = content["owner"] if isinstance(content, dict) else next(iter(content))
        assert inside is again
        if len(content) > 1:
            assert content[1] is content


def test_instances_as_keys() -> None:
    thawed = icehouse.thaw(view_of({Keyed(1): "one", Fixed(2): "two"}))
    assert thawed == {Keyed(1): "one", Fixed(2): "two"}
    a, b = Vertex(), Vertex()
    a.edges[b] = 1
    b.edges[a] = 2
    again = icehouse.thaw(view_of(a))
    (neighbour,) = again.edges
    assert neighbour.edges == {again: 2}


def test_depth_costs_no_stack() -> None:
    node = Point(0)
    for i in range(20_000):
        node = Point(i, node)
    words = Writer()
    layout = words.layout_of(__name__, "Point", ["x", "y"])
    word = words.object(layout, 1, 1)
    for _ in range(100_000):
        word = words.object(layout, 1, word)
    thawed = icehouse.thaw(_image._load_image(words.image(word)))
    depth = 0
    while type(thawed) is Point:
        thawed, depth = thawed.y, depth + 1
    assert depth == 100_001


def test_h20_records_where_the_class_may_not_be_had() -> None:
    thawed = icehouse.thaw(distrusted_view_of(Point(1, [2])))
    assert type(thawed) is icehouse.Record
    assert (thawed.x, thawed.y, thawed.type_name) == (1, [2], f"{__name__}.Point")
    loop = Point(1)
    loop.y = [loop]
    record = icehouse.thaw(distrusted_view_of(loop))
    assert record.y[0] is record
    numbers = icehouse.thaw(distrusted_view_of(Numbers([1, 2])))
    assert numbers[""] == [1, 2]
    # Types that hold data alone are had from anybody.
    assert icehouse.thaw(distrusted_view_of(collections.deque([1]))) == collections.deque([1])


def test_h20_finalizers_meet_no_fields_of_strangers() -> None:
    data = Writer()
    word = data.put(Finalized())
    gc.collect()
    image = data.image(word)
    store = icehouse.Store()
    allowed = store.get(store.put(icehouse.freeze([1])))
    assert allowed == [1]
    Finalized.deleted = 0
    stranger = icehouse.thaw(_image._open_buffer(image))
    assert type(stranger) is icehouse.Record
    del stranger
    mine = icehouse.thaw(_image._load_image(image))
    assert type(mine) is Finalized
    del mine
    gc.collect()
    assert Finalized.deleted == 1


def test_a_class_that_has_changed_since() -> None:
    class Changing:
        __slots__ = ("a", "gone")

    cls = type("Changing", (), {"__slots__": ("a", "gone"), "__module__": __name__})
    globals()["Changing"] = cls
    instance = cls()
    instance.a, instance.gone = 1, 2
    data = Writer()
    image = data.image(data.put(instance))
    assert icehouse.thaw(_image._load_image(image)).gone == 2
    globals()["Changing"] = type(
        "Changing", (), {"__slots__": ("a", "__dict__"), "__module__": __name__}
    )
    thawed = icehouse.thaw(_image._load_image(image))
    assert (thawed.a, thawed.gone, vars(thawed)) == (1, 2, {"gone": 2})
    globals()["Changing"] = type("Changing", (), {"__slots__": ("a",), "__module__": __name__})
    assert type(icehouse.thaw(_image._load_image(image))) is icehouse.Record
    del globals()["Changing"]


@pytest.mark.slow
def test_many_instances_thaw_in_less_time_than_pickle_loads_them() -> None:
    n = 200_000
    words = Writer()
    layout = words.layout_of(__name__, "Point", ["x", "y"])
    items = [words.object(layout, i << 1 | 1, 1) for i in range(n)]
    view = _image._load_image(words.image(words.words(LIST, *items)))
    dumped = pickle.dumps([Point(i) for i in range(n)], 5)
    ratios = []
    for _ in range(3):
        start = time.perf_counter()
        thawed = icehouse.thaw(view)
        between = time.perf_counter()
        loaded = pickle.loads(dumped)
        ratios.append((between - start) / (time.perf_counter() - between))
        assert thawed == loaded
    print(f"thaw takes {min(ratios):.2f} of what pickle.loads takes")


def test_h24_defaultdicts_too_deep_to_be_freed_are_not_made() -> None:
    """Freeing them recurses without a bound in CPython: an image could end its reader."""
    deep: Any = None
    for _ in range(30_000):
        deep = collections.defaultdict(list, x=deep)
    view = icehouse.freeze(deep)
    with pytest.raises(RecursionError, match="defaultdicts nested"):
        icehouse.thaw(view)
    shallow: Any = None
    for _ in range(1000):
        shallow = collections.defaultdict(list, x=shallow)
    assert type(icehouse.thaw(icehouse.freeze(shallow))) is collections.defaultdict


class Row(tuple[Any, ...]):
    """A tuple with attributes: what its rule gives is made anew, and goes when it was thawed."""


def row(i: int) -> Row:
    made = Row(({"number": i}, 2, 3, 4, 5))
    made.extra = [i]  # type: ignore[attr-defined]
    return made


def test_parts_of_real_instances_are_not_mixed_up() -> None:
    rows = tuple(icehouse.freeze([row(i) for i in range(20)]))
    assert [type(each) for each in rows] == [Row] * 20
    thawed = icehouse.thaw(rows)
    assert [each[0] for each in thawed] == [{"number": i} for i in range(20)]
    assert [each.extra for each in thawed] == [[i] for i in range(20)]


class Base:
    __slots__ = ("x",)


class Other:
    __slots__ = ("x",)


class Rebased(Base):
    __slots__ = ()


def test_a_class_with_other_bases_than_when_it_was_thawed_first() -> None:
    obj = Rebased()
    obj.x = 5  # type: ignore[attr-defined]
    view = icehouse.freeze(obj)
    assert icehouse.thaw(view).x == 5
    Rebased.__bases__ = (Other,)
    del globals()["Base"]
    gc.collect()  # the descriptor of the slot went with its class
    made = icehouse.thaw(view)
    assert made.x == 5
    assert type(made) is Rebased
